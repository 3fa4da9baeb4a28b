//! Metrics of the programs in the kernel: their cost, their room, and whether their counts are
//! right.
//!
//! Programs that a collector asked for in vain are exposed as not attached, and have no other
//! metric.

use super::{
    AllFigures, Bpf, CpuTimes, Error, Figures, Health, Interrupts, Map, Neighbours, Program,
    Resyncs, Runs, Shared, Subject, Tasks, tasks,
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
    /// Puts all of it, and notes it in `figures`; of a subject nothing where no collector wants its
    /// programs, or while one that is late reads from them.
    pub fn collect(&self, out: &mut Sink, figures: &mut AllFigures) {
        let Shared { neighbours, cpu, interrupts, tasks, .. } = &*self.0;
        let [of_neighbours, of_cpu, of_interrupts, of_tasks] = figures;
        let to = Both { out, figures: of_neighbours };
        put(neighbours, Neighbours::programs(), to, Neighbours::health);
        put(cpu, std::iter::empty(), Both { out, figures: of_cpu }, CpuTimes::health);
        let to = Both { out, figures: of_interrupts };
        put(interrupts, Interrupts::programs(), to, Interrupts::health);
        let to = Both { out, figures: of_tasks };
        put(tasks, [tasks::PROGRAM].into_iter(), to, Tasks::health);
    }
}

/// Puts the metrics of one subject.
fn put<'a, T>(
    subject: &Subject<T>,
    programs: impl Iterator<Item = &'static str>,
    mut to: Both<'a>,
    health: impl FnOnce(&T, &mut Both<'a>) -> Result<(), Error>,
) {
    to.figures.clear();
    let loaded = match subject.get() {
        None | Some(Err(Error::Off)) => return,
        Some(Err(_)) => {
            for program in programs {
                to.out.put(&ATTACHED, [&program], 0);
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
    let told = health(&subject, &mut to);
    drop(subject);
    if let Err(error) = told {
        tracing::debug!("node_bpf_*: {error}");
    }
}

/// The destinations of the figures: the metrics, and the report.
struct Both<'a> {
    out: &'a mut Sink,
    figures: &'a mut Figures,
}

impl Health for Both<'_> {
    fn program(&mut self, name: &'static str, attached: bool, runs: Runs) {
        let Self { out, figures } = self;
        if attached {
            out.put(&ATTACHED, [&name], 1);
        }
        let Runs { count: runs, nanoseconds, missed: missed_runs } = runs;
        let run_seconds = nanoseconds as f64 / 1e9;
        if runs > 0 {
            out.put(&RUNS, [&name], runs);
            out.put(&SECONDS, [&name], run_seconds);
        }
        out.put(&MISSED, [&name], missed_runs);
        figures.programs.push(Program { name, attached, runs, run_seconds, missed_runs });
    }

    fn map(&mut self, name: &'static str, elements: u64, room: u64) {
        self.out.put(&ELEMENTS, [&name], elements);
        self.out.put(&ROOM, [&name], room);
        self.figures.maps.push(Map { name, entries: elements, max_entries: room });
    }

    fn resyncs(&mut self, subject: &'static str, reason: &'static str, n: u64) {
        self.out.put(&RESYNCS, [&reason, &subject], n);
        self.figures.resyncs.push(Resyncs { reason, total: n });
    }

    fn audit(&mut self, subject: &'static str, difference: i64) {
        self.out.put(&AUDIT, [&subject], difference as f64);
        self.figures.audit_difference = Some(difference);
    }

    fn keeper(&mut self, is_there: bool) {
        self.out.put(&KEEPER, [], u64::from(is_there));
        self.figures.keeper = Some(is_there);
    }
}
