//! The sources of the processors' times, and the times that are exposed.

use crate::{
    host::{
        Shared,
        bpf::{self, Bpf},
    },
    parse::{decimal, number, rows},
    prelude::*,
};
use std::{cmp::Ordering, sync::PoisonError, time::Instant};

/// `USER_HZ`, the same on all architectures of Linux that matter here.
const TICKS_PER_SECOND: f64 = 100.0;
/// Where idle time falls by so many seconds, the numbers begin anew.
const JUMP_BACK: f64 = 3.0;

/// A processor's number and its seconds: user, nice, system, idle, iowait, irq, softirq, steal,
/// guest and guest nice; NaN where the kernel's text is no number.
type OfCpu = (u32, [f64; 10]);

/// The times of all processors that are online.
pub(super) struct Times {
    /// Where programs copy the times.
    bpf: Option<Bpf>,
    stat: Shared<SingleFile>,
    /// The times that are exposed, ordered as labels are.
    kept: Vec<OfCpu>,
    /// Room for the times that the kernel tells at this scrape.
    fresh: Vec<OfCpu>,
    /// Whether the programs served at the last scrape.
    copied: bool,
}

impl Times {
    /// `events` is for softirqs and context switches, which programs copy along with the times.
    pub(super) fn new(host: &Host, events: bool) -> Self {
        let mut bpf = None;
        if host.is_running() {
            let loaded = host.bpf.cpu(events);
            let source = if loaded.is_ok() { "ebpf" } else { "procfs" };
            host.bpf.tell_cpu(source, loaded.as_ref().err().copied());
            bpf = loaded.is_ok().then(|| host.bpf.clone());
        }
        let (copied, stat) = (bpf.is_some(), host.stat.clone());
        Self { bpf, stat, kept: Vec::new(), fresh: Vec::new(), copied }
    }

    /// Reads the times. Where a line of `/proc/stat` is malformed the others are read all the same.
    pub(super) fn read(&mut self, out: &mut Sink) -> Result {
        let mut faults = Faults::default();
        if self.copy(out) {
            out.served_by("ebpf");
        } else {
            let Self { stat, fresh, .. } = self;
            match stat.parse(out.scrape(), |text| parse(text, fresh)) {
                Err(error @ Error::Read { .. }) => return Err(error),
                parsed => faults.keep(parsed),
            };
            out.served_by("procfs");
        }
        update(&mut self.kept, &mut self.fresh);
        faults.end()
    }

    /// Has programs copy the times; says whether they did.
    fn copy(&mut self, out: &mut Sink) -> bool {
        let Self { bpf, fresh, .. } = self;
        let Some(loaded) = bpf.as_ref().and_then(Bpf::loaded_cpu) else { return false };
        let mut times = loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let copied = times.read(Instant::now()).map(|times| {
            fresh.clear();
            let seconds = |(cpu, times): &bpf::cpu::OfCpu| (*cpu, times.map(seconds));
            fresh.extend(times.iter().map(seconds));
        });
        drop(times);
        match &copied {
            Ok(()) if !self.copied => tracing::info!("eBPF tells the processors' times again"),
            Err(error) if self.copied => {
                tracing::warn!(
                    "eBPF does not tell the processors' times, another source serves: {error}"
                );
            }
            _ => {}
        }
        self.copied = copied.is_ok();
        if let Err(error) = copied {
            out.pass_over("ebpf", error.into());
        }
        self.copied
    }

    /// Whether programs have copied the times of the last reading.
    pub(super) const fn are_copied(&self) -> bool {
        self.copied
    }

    /// The times that were read last, ordered as labels are.
    pub(super) fn iter(&self) -> impl Iterator<Item = &OfCpu> {
        self.kept.iter()
    }
}

/// Seconds of so many nanoseconds.
fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

/// Puts the processors' lines of `/proc/stat` into `times`. Old kernels have fewer columns.
fn parse(text: &str, times: &mut Vec<OfCpu>) -> Result<(), Malformed> {
    times.clear();
    rows(text, |line| {
        // The line of all interrupts is long: its words are not looked for.
        let Some(cpu) = line.strip_prefix("cpu").filter(|cpu| !cpu.starts_with(' ')) else {
            return Ok(());
        };
        let mut words = cpu.split_ascii_whitespace().peekable();
        let (Some(cpu), Some(_)) = (words.next(), words.peek()) else { return Ok(()) };
        let cpu = number("processor", cpu)?;
        let mut faults = Faults::default();
        let mut seconds = [0.0; 10];
        for (seconds, word) in seconds.iter_mut().zip(words) {
            let ticks = faults.keep(decimal("ticks", word));
            *seconds = ticks.map_or(f64::NAN, |ticks| ticks / TICKS_PER_SECOND);
        }
        times.push((cpu, seconds));
        faults.end()
    })
}

/// Replaces `times` by `fresh`, in which a number that is a little lower than before is raised to
/// its old value; see [`JUMP_BACK`]. A number that is NaN stays so.
fn update(times: &mut Vec<OfCpu>, fresh: &mut Vec<OfCpu>) {
    for (cpu, seconds) in &mut *fresh {
        let Ok(i) = times.binary_search_by(|(old, _)| as_labels(*old, *cpu)) else { continue };
        let Some((_, old)) = times.get(i) else { continue };
        let ([_, _, _, idle, ..], [_, _, _, old_idle, ..]) = (&*seconds, old);
        if old_idle - *idle >= JUMP_BACK {
            continue;
        }
        for (seconds, old) in seconds.iter_mut().zip(old).filter(|(new, _)| !new.is_nan()) {
            *seconds = seconds.max(*old);
        }
    }
    fresh.sort_unstable_by(|(a, _), (b, _)| as_labels(*a, *b));
    std::mem::swap(times, fresh);
}

/// The order of two numbers as texts of a label: `10` comes before `9`.
fn as_labels(a: u32, b: u32) -> Ordering {
    itoa::Buffer::new().format(a).cmp(itoa::Buffer::new().format(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_do_not_fall_save_at_a_jump() {
        let mut times = Vec::new();
        let mut see = |fresh: &[(u32, f64, f64)]| {
            let mut fresh = fresh
                .iter()
                .map(|&(cpu, user, idle)| (cpu, [user, 0., 0., idle, 0., 0., 0., 0., 0., 0.]))
                .collect();
            update(&mut times, &mut fresh);
            times.iter().map(|(cpu, times)| (*cpu, times[0], times[3])).collect::<Vec<_>>()
        };
        assert_eq!(see(&[(9, 0.5, 10.0), (10, 0.6, 10.0)]), [(10, 0.6, 10.0), (9, 0.5, 10.0)]);
        assert_eq!(see(&[(9, 0.4, 7.01), (10, 0.7, 7.0)]), [(10, 0.7, 7.0), (9, 0.5, 10.0)]);
        assert_eq!(
            see(&[(9, 0.6, 10.1), (10, 0.1, 0.1)]),
            [(10, 0.1, 0.1), (9, 0.6, 10.1)],
            "a jump resets all"
        );
        assert_eq!(see(&[(10, 0.1, 0.1)]), [(10, 0.1, 0.1)], "offline");
        let back = see(&[(9, 0.0, 0.5), (10, 0.1, 0.1)]);
        assert_eq!(back, [(10, 0.1, 0.1), (9, 0.0, 0.5)], "and back");
    }

    #[test]
    fn a_number_that_is_not_known_is_not_kept_from_before() {
        let mut times = vec![(0, [5.0; 10])];
        let mut now = [4.0; 10];
        now[0] = f64::NAN;
        update(&mut times, &mut vec![(0, now)]);
        let (cpu, [user, rest @ ..]) = times[0];
        assert!(user.is_nan());
        assert_eq!((cpu, rest), (0, [5.0; 9]));
        update(&mut times, &mut vec![(0, [6.0; 10])]);
        assert_eq!(times, [(0, [6.0; 10])]);
    }
}
