//! Metrics of the programs in the kernel: their cost, their room, and whether their counts are
//! right.
//!
//! Programs that a collector asked for in vain are exposed as not attached, and have no other
//! metric.

use super::{
    Bpf, CpuTimes, Error, Health, Interrupts, Neighbours, Runs, Shared, Subject, Tasks, tasks,
};
use crate::exposition::{Metric, Sink, counter, gauge};
use std::sync::TryLockError;

static ATTACHED: Metric<1> =
    gauge("node_bpf_program_attached", "Whether an eBPF program is attached.").by(["program"]);
static RUNS: Metric<1> = counter(
    "node_bpf_program_runs_total",
    "Runs of an eBPF program, where kernel.bpf_stats_enabled is set.",
)
.by(["program"]);
static SECONDS: Metric<1> = counter(
    "node_bpf_program_run_seconds_total",
    "Time that the runs of an eBPF program took, where kernel.bpf_stats_enabled is set.",
)
.by(["program"]);
static MISSED: Metric<1> = counter(
    "node_bpf_program_missed_runs_total",
    "Runs that did not take place since the processor was in the eBPF program already.",
)
.by(["program"]);
static ELEMENTS: Metric<1> = gauge("node_bpf_map_entries", "Elements of an eBPF map.").by(["map"]);
static ROOM: Metric<1> =
    gauge("node_bpf_map_max_entries", "Elements that an eBPF map has room for.").by(["map"]);
static RESYNCS: Metric<2> = counter(
    "node_bpf_resyncs_total",
    "How often the counts of eBPF were brought up to date with the kernel's own tables.",
)
.by(["reason", "subject"]);
static AUDIT: Metric<1> = gauge(
    "node_bpf_audit_difference",
    "By how much the kernel's own count exceeds that of eBPF, since the last resync.",
)
.by(["subject"]);
static KEEPER: Metric = gauge(
    "node_bpf_keeper_up",
    "Whether the process is there that loads eBPF programs with more room.",
);

impl Bpf {
    /// Puts all of it; of a subject nothing where no collector wants its programs, or while one that
    /// is late reads from them.
    pub fn collect(&self, out: &mut Sink) {
        let Shared { neighbours, cpu, interrupts, tasks, .. } = &*self.0;
        put(neighbours, Neighbours::programs(), out, Neighbours::health);
        put(cpu, std::iter::empty(), out, CpuTimes::health);
        put(interrupts, Interrupts::programs(), out, Interrupts::health);
        put(tasks, [tasks::PROGRAM].into_iter(), out, Tasks::health);
    }
}

/// Puts the metrics of one subject.
fn put<T>(
    subject: &Subject<T>,
    programs: impl Iterator<Item = &'static str>,
    out: &mut Sink,
    health: impl FnOnce(&T, &mut Sink) -> Result<(), Error>,
) {
    let loaded = match subject.get() {
        None | Some(Err(Error::Off)) => return,
        Some(Err(_)) => {
            for program in programs {
                out.put(&ATTACHED, [&program], 0);
            }
            return;
        }
        Some(Ok(loaded)) => loaded,
    };
    let subject = match loaded.try_lock() {
        Ok(subject) => subject,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return,
    };
    let told = health(&subject, out);
    drop(subject);
    if let Err(error) = told {
        tracing::debug!("node_bpf_*: {error}");
    }
}

impl Health for Sink {
    fn program(&mut self, name: &'static str, attached: bool, runs: Runs) {
        if attached {
            self.put(&ATTACHED, [&name], 1);
        }
        if runs.count > 0 {
            self.put(&RUNS, [&name], runs.count);
            self.put(&SECONDS, [&name], runs.nanoseconds as f64 / 1e9);
        }
        self.put(&MISSED, [&name], runs.missed);
    }

    fn map(&mut self, name: &'static str, elements: u64, room: u64) {
        self.put(&ELEMENTS, [&name], elements);
        self.put(&ROOM, [&name], room);
    }

    fn resyncs(&mut self, subject: &'static str, reason: &'static str, n: u64) {
        self.put(&RESYNCS, [&reason, &subject], n);
    }

    fn audit(&mut self, subject: &'static str, difference: i64) {
        self.put(&AUDIT, [&subject], difference as f64);
    }
    fn keeper(&mut self, is_there: bool) {
        self.put(&KEEPER, [], u64::from(is_there));
    }
}
