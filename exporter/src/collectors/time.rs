//! The clock, the exporter's time zone, and the sources of the clock, from
//! `/sys/devices/system/clocksource`.
//!
//! The time zone is that of the process (`TZ`, else `/etc/localtime`), found once at the start;
//! changes between its summer and winter time are followed.

use crate::{host::zone, prelude::*};
use jiff::{Timestamp, tz::TimeZone};
use rustix::time::{ClockId, Timespec, clock_gettime};

pub const SPEC: Spec = Spec {
    name: "time",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| {
        Ok(Box::new(Time {
            zone: zone::local(),
            clocksources: host.sys.devices("devices/system/clocksource"),
        }))
    },
};

static SECONDS: Metric = gauge("node_time_seconds", "System time in seconds since epoch (1970).");
static ZONE: Metric<1> =
    gauge("node_time_zone_offset_seconds", "System time zone offset in seconds.").by(["time_zone"]);
static AVAILABLE: Metric<2> = gauge(
    "node_time_clocksource_available_info",
    "Available clocksources read from '/sys/devices/system/clocksource'.",
)
.by(["clocksource", "device"]);
static CURRENT: Metric<2> = gauge(
    "node_time_clocksource_current_info",
    "Current clocksource read from '/sys/devices/system/clocksource'.",
)
.by(["clocksource", "device"]);

struct Time {
    zone: TimeZone,
    clocksources: Folder,
}

impl Collector for Time {
    fn collect(&mut self, out: &mut Sink) -> Result {
        put_time(&self.zone, clock_gettime(ClockId::Realtime), out);
        let Some(entries) = self.clocksources.list().unless_absent()? else { return Ok(()) };
        // The label `device` is the folder's place in alphabetical order, as in node_exporter.
        let mut faults = Faults::default();
        for (device, entry) in entries.filter(|entry| is_clocksource(entry.bytes())).enumerate() {
            let Some(dir) = faults.read(entry.dir()) else { continue };
            if let Some(names) = faults.read(dir.text("available_clocksource")) {
                for name in names.split_ascii_whitespace() {
                    out.put(&AVAILABLE, [&name, &device], 1);
                }
            }
            if let Some(name) = faults.read(dir.text("current_clocksource")) {
                out.put(&CURRENT, [&name, &device], 1);
            }
        }
        faults.end()
    }
}

fn put_time(zone: &TimeZone, now: Timespec, out: &mut Sink) {
    let nanoseconds = i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec);
    out.put(&SECONDS, [], nanoseconds as f64 / 1e9);
    let now = Timestamp::from_second(now.tv_sec).unwrap_or_default();
    let local = zone.to_offset_info(now);
    out.put(&ZONE, [&local.abbreviation()], i64::from(local.offset().seconds()));
}

/// `clocksource[0-9]*`
fn is_clocksource(name: &[u8]) -> bool {
    name.strip_prefix(b"clocksource").and_then(<[u8]>::first).is_some_and(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, exposed};

    #[test]
    fn a_machine_without_clocksources_still_has_a_time() {
        let (text, result) = Machine::new().collect(&SPEC, &[]);
        result.unwrap();
        assert!(text.contains("\nnode_time_seconds 1."), "{text}");
        assert!(!text.contains("clocksource_"), "{text}");
    }

    #[test]
    fn summer_and_winter_have_their_names_and_offsets() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let at =
            |tv_sec, tv_nsec| exposed(|out| put_time(&zone, Timespec { tv_sec, tv_nsec }, out));
        let winter = at(1_700_000_000, 500_000_000);
        assert!(winter.contains("\nnode_time_seconds 1.7000000005e+09\n"), "{winter}");
        assert!(winter.contains("{time_zone=\"CET\"} 3600\n"), "{winter}");
        assert!(at(1_720_000_000, 0).contains("{time_zone=\"CEST\"} 7200\n"));
        let far = at(i64::MAX, 0);
        assert!(far.contains("{time_zone=\"CET\"} 3600\n"), "{far}");
    }

    #[test]
    fn only_numbered_folders_are_clocksources() {
        assert!(is_clocksource(b"clocksource0") && is_clocksource(b"clocksource10"));
        assert!(!is_clocksource(b"clocksource") && !is_clocksource(b"clocksourcex"));
        assert!(!is_clocksource(b"power"));
    }
}
