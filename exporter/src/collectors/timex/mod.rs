//! State of the kernel's clock discipline, from adjtimex(2).
//!
//! The numbers (`kernel/time/ntp.c`) are always those of the running kernel, whatever
//! `--path.procfs` is. Offset and jitter are in nanoseconds where the status has `STA_NANO`, else
//! in microseconds; frequencies are in parts per million, with 16 bits after the point. A sandbox
//! that refuses the call has no data.

mod sys;

use crate::prelude::*;

pub const SPEC: Spec = Spec {
    name: "timex",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |_, _| Ok(Box::new(Timex)),
};

static OFFSET: Metric =
    gauge("node_timex_offset_seconds", "Time offset in between local system and reference clock.");
static FREQUENCY: Metric =
    gauge("node_timex_frequency_adjustment_ratio", "Local clock frequency adjustment.");
static MAX_ERROR: Metric = gauge("node_timex_maxerror_seconds", "Maximum error in seconds.");
static ESTIMATED_ERROR: Metric =
    gauge("node_timex_estimated_error_seconds", "Estimated error in seconds.");
static STATUS: Metric = gauge("node_timex_status", "Value of the status array bits.");
static CONSTANT: Metric =
    gauge("node_timex_loop_time_constant", "Phase-locked loop time constant.");
static TICK: Metric = gauge("node_timex_tick_seconds", "Seconds between clock ticks.");
static PPS_FREQUENCY: Metric =
    gauge("node_timex_pps_frequency_hertz", "Pulse per second frequency.");
static PPS_JITTER: Metric = gauge("node_timex_pps_jitter_seconds", "Pulse per second jitter.");
static PPS_SHIFT: Metric =
    gauge("node_timex_pps_shift_seconds", "Pulse per second interval duration.");
static PPS_STABILITY: Metric = gauge(
    "node_timex_pps_stability_hertz",
    "Pulse per second stability, average of recent frequency changes.",
);
static PPS_JITTERS: Metric = counter(
    "node_timex_pps_jitter_total",
    "Pulse per second count of jitter limit exceeded events.",
);
static PPS_CALIBRATIONS: Metric =
    counter("node_timex_pps_calibration_total", "Pulse per second count of calibration intervals.");
static PPS_ERRORS: Metric =
    counter("node_timex_pps_error_total", "Pulse per second count of calibration errors.");
static PPS_UNSTABLE: Metric = counter(
    "node_timex_pps_stability_exceeded_total",
    "Pulse per second count of stability limit exceeded events.",
);
static TAI: Metric =
    gauge("node_timex_tai_offset_seconds", "International Atomic Time (TAI) offset.");
static SYNC: Metric = gauge(
    "node_timex_sync_status",
    "Is clock synchronized to a reliable server (1 = yes, 0 = no).",
);

/// adjtimex(2)'s result where the clock is not synchronized.
const TIME_ERROR: i32 = 5;
/// Nanoseconds.
const STA_NANO: i32 = 0x2000;
const NANO: f64 = 1e9;
const MICRO: f64 = 1e6;
/// Parts per million with 16 bits after the point.
const PPM: f64 = 1e6 * 65536.0;

struct Timex;

impl Collector for Timex {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let (state, timex) = match sys::adjtimex() {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(Error::NoData);
            }
            answer => answer.map_err(|source| Error::Call { call: "adjtimex", source })?,
        };
        put(state, &timex, out);
        Ok(())
    }
}

fn put(state: i32, timex: &libc::timex, out: &mut Sink) {
    let fine = if timex.status & STA_NANO == 0 { MICRO } else { NANO };
    out.put(&SYNC, [], state != TIME_ERROR);
    out.put(&OFFSET, [], timex.offset as f64 / fine);
    out.put(&FREQUENCY, [], 1.0 + timex.freq as f64 / PPM);
    out.put(&MAX_ERROR, [], timex.maxerror as f64 / MICRO);
    out.put(&ESTIMATED_ERROR, [], timex.esterror as f64 / MICRO);
    out.put(&STATUS, [], timex.status);
    out.put(&CONSTANT, [], timex.constant);
    out.put(&TICK, [], timex.tick as f64 / MICRO);
    out.put(&PPS_FREQUENCY, [], timex.ppsfreq as f64 / PPM);
    out.put(&PPS_JITTER, [], timex.jitter as f64 / fine);
    out.put(&PPS_SHIFT, [], timex.shift);
    out.put(&PPS_STABILITY, [], timex.stabil as f64 / PPM);
    out.put(&PPS_JITTERS, [], timex.jitcnt);
    out.put(&PPS_CALIBRATIONS, [], timex.calcnt);
    out.put(&PPS_ERRORS, [], timex.errcnt);
    out.put(&PPS_UNSTABLE, [], timex.stbcnt);
    out.put(&TAI, [], timex.tai);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(state: i32, timex: libc::timex) -> String {
        crate::testing::exposed(|out| put(state, &timex, out))
    }

    #[test]
    fn offset_and_jitter_are_in_the_unit_of_the_status() {
        let timex = libc::timex { offset: -1500, jitter: 2000, maxerror: 500_000, ..sys::zeroed() };
        let text = lines(0, timex);
        assert!(text.contains("\nnode_timex_offset_seconds -0.0015\n"), "{text}");
        assert!(text.contains("\nnode_timex_pps_jitter_seconds 0.002\n"), "{text}");
        let text = lines(0, libc::timex { status: STA_NANO | 1, ..timex });
        assert!(text.contains("\nnode_timex_offset_seconds -1.5e-06\n"), "{text}");
        assert!(text.contains("\nnode_timex_pps_jitter_seconds 2e-06\n"), "{text}");
        assert!(text.contains("\nnode_timex_maxerror_seconds 0.5\n"), "{text}");
        assert!(text.contains("\nnode_timex_status 8193\n"), "{text}");
    }

    #[test]
    fn frequencies_have_sixteen_bits_after_the_point() {
        let timex = libc::timex { freq: 65536 * 100, stabil: 65536, ..sys::zeroed() };
        let text = lines(TIME_ERROR, timex);
        assert!(text.contains("\nnode_timex_frequency_adjustment_ratio 1.0001\n"), "{text}");
        assert!(text.contains("\nnode_timex_pps_stability_hertz 1e-06\n"), "{text}");
        assert!(text.contains("\nnode_timex_sync_status 0\n"), "{text}");
        assert!(lines(0, timex).contains("\nnode_timex_sync_status 1\n"));
    }
}
