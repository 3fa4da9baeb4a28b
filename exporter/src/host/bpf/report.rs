//! The programs as a person wants to see them: loaded or refused, why, and their figures.
//!
//! Figures are those of the last scrape, which leaves them here: to read them costs the kernel
//! nothing, and no scrape waits for it.

use super::{Bpf, Error, Shared, Subject, cpu, neighbour, object::Plan, tasks};
use serde::Serialize;
use std::sync::PoisonError;

/// A subject, its programs' state and their figures.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The subject, as in `node_bpf_resyncs_total`.
    pub subject: &'static str,
    /// Whether its programs count.
    #[serde(flatten)]
    pub state: State,
    /// The figures of the last scrape.
    #[serde(flatten)]
    pub figures: Figures,
}

/// The state of a subject's programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// No collector has asked for them.
    Unused,
    /// They are loaded.
    Loaded,
    /// They cannot be loaded.
    Refused {
        /// The reason.
        reason: String,
        /// The change that would let them be loaded, where it is known.
        remedy: Option<String>,
    },
}

/// The figures of one subject.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// The programs.
    pub programs: Vec<Program>,
    /// The maps.
    pub maps: Vec<Map>,
    /// How often the counts were brought up to date, by reason.
    pub resyncs: Vec<Resyncs>,
    /// By how much the kernel's own count exceeds that of the programs.
    pub audit_difference: Option<i64>,
    /// Whether the process is there that loads programs with more room.
    pub keeper: Option<bool>,
}

/// A program.
#[derive(Clone, Debug, Serialize)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// Whether it hangs on an event; the others run on demand.
    pub attached: bool,
    /// Its runs; 0 unless `kernel.bpf_stats_enabled` is set.
    pub runs: u64,
    /// The time that they took; 0 likewise.
    pub run_seconds: f64,
    /// Runs that did not take place since the processor was in the program already.
    pub missed_runs: u64,
}

/// A map.
#[derive(Clone, Debug, Serialize)]
pub struct Map {
    /// Its name.
    pub name: &'static str,
    /// The elements in it.
    pub entries: u64,
    /// The elements that it has room for.
    pub max_entries: u64,
}

/// How often a subject's counts were brought up to date for one reason.
#[derive(Clone, Debug, Serialize)]
pub struct Resyncs {
    /// The reason.
    pub reason: &'static str,
    /// The number.
    pub total: u64,
}

/// The subjects and their programs, in the order of the figures.
pub(super) const SUBJECTS: [(&str, &Plan); 4] = [
    ("neighbour", &neighbour::PLAN),
    ("cpu", &cpu::PLAN),
    ("interrupts", &cpu::INTERRUPTS),
    ("tasks", &tasks::PLAN),
];

/// The figures of all subjects.
pub type AllFigures = [Figures; SUBJECTS.len()];

impl Figures {
    /// Empties the figures; buffers stay for the next scrape.
    pub(super) fn clear(&mut self) {
        self.programs.clear();
        self.maps.clear();
        self.resyncs.clear();
        self.audit_difference = None;
        self.keeper = None;
    }
}

impl Bpf {
    /// Keeps the figures of a scrape for [`Bpf::report`], and gives back the buffers of those before.
    pub fn keep_figures(&self, figures: &mut AllFigures) {
        let mut kept = self.0.figures.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *kept, figures);
    }

    /// All subjects, with the figures of the last scrape.
    #[must_use]
    pub fn report(&self) -> [Report; SUBJECTS.len()] {
        let Shared { neighbours, cpu, interrupts, tasks, .. } = &*self.0;
        let figures = self.0.figures.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut states =
            [state(neighbours), state(cpu), state(interrupts), state(tasks)].into_iter();
        let mut figures = figures.into_iter();
        SUBJECTS.map(|(subject, _)| Report {
            subject,
            state: states.next().unwrap_or(State::Unused),
            figures: figures.next().unwrap_or_default(),
        })
    }
}

fn state<T>(subject: &Subject<T>) -> State {
    match subject.get() {
        None => State::Unused,
        Some(Ok(_)) => State::Loaded,
        Some(Err(error)) => refused(error),
    }
}

fn refused(error: &Error) -> State {
    State::Refused { reason: error.to_string(), remedy: error.remedy() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_remedy() {
        let remedy = |error: Error| match refused(&error) {
            State::Refused { remedy, .. } => remedy.unwrap_or_default(),
            state => panic!("{state:?}"),
        };
        assert_eq!(remedy(Error::Off), "start it without --no-bpf");
        let grant = remedy(Error::Capability("CAP_BPF and CAP_PERFMON"));
        for part in [
            "AmbientCapabilities=CAP_BPF CAP_PERFMON",
            "--cap-add=BPF --cap-add=PERFMON",
            "setcap cap_bpf,cap_perfmon+ep",
        ] {
            assert!(grant.contains(part), "{grant}");
        }
        let grant = remedy(Error::Before(Error::Capability("CAP_BPF").into()));
        assert!(grant.contains("setcap cap_bpf+ep"), "{grant}");
        assert_eq!(remedy(Error::Torn), "");
    }

    #[test]
    fn a_subject_without_an_answer_is_unused() {
        let states = Bpf::off().report().map(|report| report.state);
        assert_eq!(states, [const { State::Unused }; 4]);
        let bpf = Bpf::off();
        assert!(bpf.cpu(false).is_err());
        let [neighbour, cpu, ..] = bpf.report();
        assert_eq!(neighbour.state, State::Unused);
        assert_eq!(cpu.state, refused(&Error::Off));
    }
}
