//! Processes and threads that a program in the kernel has counted.

use super::{Counts, Source, States, procfs::Procfs};
use crate::{
    host::bpf::{
        self, Bpf,
        tasks::{Tasks, letter},
    },
    prelude::*,
};
use std::sync::PoisonError;

pub(super) struct Ebpf(Bpf);

impl Ebpf {
    /// `None` where the program cannot be had, or misses tasks that `procfs` shows.
    pub(super) fn new(host: &Host, procfs: &mut Procfs) -> Option<Self> {
        let loaded = host.bpf.tasks(|tasks| compare(tasks, procfs));
        let source = if loaded.is_ok() { "ebpf" } else { "procfs" };
        host.bpf.tell_tasks(source, loaded.as_ref().err().copied());
        loaded.is_ok().then(|| Self(host.bpf.clone()))
    }
}

impl Source for Ebpf {
    fn count(&mut self, _: &mut Faults<Error>) -> Result<Counts> {
        // Without the program this source would not have been chosen.
        let tasks = self.0.loaded_tasks().ok_or(Error::NoData)?;
        let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(counts(&mut tasks)?)
    }
}

fn counts(tasks: &mut Tasks) -> Result<Counts, bpf::Error> {
    let sums = tasks.read()?;
    let states = |sums: &[u64]| {
        let mut states = States::default();
        for (i, n) in sums.iter().enumerate() {
            if let Some(letter) = letter(i) {
                states.add(letter, *n);
            }
        }
        states
    };
    Ok(Counts {
        processes: states(&sums.processes),
        threads: states(&sums.threads),
        allocated: sums.allocated as f64,
    })
}

/// States that tasks change between all the time.
const RESTLESS: &[u8] = b"RSD";

/// Holds a count against the tasks that `/proc` shows before and after it, since the bits of a state are no
/// part of the kernel's type information. The tasks of a bit that was taken for another would be
/// missing from their state; so each state must have as many as `/proc` shows of the first
/// processes, which are the kernel's own, at least. `/proc` may hide the others (`hidepid`).
fn compare(tasks: &mut Tasks, procfs: &mut Procfs) -> Result<(), bpf::Error> {
    const MOST: usize = 1000;
    /// Processes come and go meanwhile.
    const TIMES: usize = 5;
    let file = |error| bpf::Error::File(Box::new(error));
    let mut last = Ok(());
    for _ in 0..TIMES {
        let before = procfs.some(MOST).map_err(file)?;
        let counted = counts(tasks)?;
        let after = procfs.some(MOST).map_err(file)?;
        last = has_all(&before, &counted, &after);
        if last.is_ok() {
            break;
        }
    }
    last
}

/// Whether of each state as many were counted as were shown before and after.
fn has_all(before: &Counts, counted: &Counts, after: &Counts) -> Result<(), bpf::Error> {
    let states = (b'A'..=b'z').map(|state| [state]).filter(|state| !RESTLESS.contains(&state[0]));
    for state in std::iter::once(RESTLESS.to_vec()).chain(states.map(|state| state.to_vec())) {
        let of = |counts: &Counts| state.iter().map(|&state| counts.processes.of(state)).sum();
        let (before, counted, after): (u64, u64, u64) = (of(before), of(counted), of(after));
        let shown = before.min(after);
        // Few are in a state for a moment only.
        if counted + before.abs_diff(after) + shown / 8 + 1 < shown {
            let state = state.last().copied().unwrap_or_default().into();
            return Err(bpf::Error::States { state, counted, shown });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(states: &[(u8, u64)]) -> Counts {
        let mut counts = Counts::default();
        for (state, n) in states {
            counts.processes.add(*state, *n);
        }
        counts
    }

    #[test]
    fn tasks_in_the_wrong_state_are_missed_in_their_own() {
        let shown = of(&[(b'R', 1), (b'S', 80), (b'I', 60), (b'Z', 3)]);
        let agrees = |counted| has_all(&shown, &of(counted), &shown).map_err(|e| e.to_string());
        assert_eq!(agrees(&[(b'R', 1), (b'S', 80), (b'I', 60), (b'Z', 3)]), Ok(()));
        assert_eq!(
            agrees(&[(b'R', 21), (b'S', 60), (b'I', 60), (b'Z', 3)]),
            Ok(()),
            "they woke up"
        );
        assert_eq!(agrees(&[(b'S', 800), (b'I', 60), (b'Z', 30)]), Ok(()), "/proc hides some");
        assert_eq!(
            agrees(&[(b'R', 1), (b'S', 80), (b'D', 60), (b'Z', 3)]).unwrap_err(),
            "state I: 0 tasks, not the 60 that /proc shows"
        );
        let changed = of(&[(b'R', 1), (b'S', 30), (b'I', 60), (b'Z', 3)]);
        let few = of(&[(b'S', 20), (b'I', 60), (b'Z', 3)]);
        assert!(has_all(&shown, &few, &changed).is_ok(), "many ended meanwhile");
        assert!(has_all(&shown, &few, &shown).is_err());
    }
}
