//! Runs a few threads in every order of their steps.
//!
//! A thread is a function that touches shared memory by [`step`] only. Its next step depends only
//! on the results of the steps before, so a thread is brought to any point by running it again with
//! these results given. Two orders that lead to the same memory and the same results are explored
//! as one.
//!
//! Orders that differ only in steps that do not disturb each other are explored as one, too: a step
//! at a place that no other thread disturbs is taken at once, and no other step instead of it. The
//! exploration is repeated until no thread is seen at a new place, so that these places are known.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    hash::{Hash, Hasher},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use crate::machine::Memory;

/// The code of a thread.
pub(crate) type Thread = Box<dyn Fn()>;

thread_local! {
    static RUN: RefCell<Run> = RefCell::default();
}

/// How a step uses its place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Use {
    Read,
    /// Any order of additions gives the same, and their steps have no result.
    Add,
    Change,
}

impl Use {
    /// Whether two threads that use one place in these ways disturb each other.
    fn disturbs(self, other: Self) -> bool {
        self != other || self == Self::Change
    }
}

/// A place of the memory, by an address or a number below all addresses.
pub(crate) type Place = usize;

/// The thread that runs.
#[derive(Default)]
struct Run {
    /// The results of its steps; those of earlier runs are given again.
    results: Vec<u64>,
    /// The number of steps that it has taken in this run.
    taken: usize,
    /// The new step, of which a run takes one, once it has been taken.
    new: Option<(Place, Use)>,
}

/// Ends a run before the next step.
struct Enough;

/// One step of a thread at one place. No other thread runs during a step.
pub(crate) fn step(place: Place, using: Use, action: impl FnOnce() -> u64) -> u64 {
    let known = RUN.with_borrow_mut(|run| {
        run.taken += 1;
        run.results.get(run.taken - 1).copied().ok_or(run.new.is_some())
    });
    match known {
        Ok(result) => result,
        Err(true) => resume_unwind(Box::new(Enough)),
        Err(false) => {
            let result = action();
            RUN.with_borrow_mut(|run| {
                run.results.push(result);
                run.new = Some((place, using));
            });
            result
        }
    }
}

/// How the threads use each place.
#[derive(Default)]
struct Uses(HashMap<Place, HashSet<(usize, u8)>>);

impl Uses {
    /// Notes a use; says whether it is new.
    fn note(&mut self, thread: usize, (place, using): (Place, Use)) -> bool {
        self.0.entry(place).or_default().insert((thread, using as u8))
    }

    /// Whether another thread disturbs this use.
    fn are_disturbed(&self, thread: usize, (place, using): (Place, Use)) -> bool {
        let others = self.0.get(&place).into_iter().flatten();
        others.filter(|(other, _)| *other != thread).any(|&(_, other)| {
            let other = [Use::Read, Use::Add, Use::Change][other as usize];
            using.disturbs(other)
        })
    }
}

/// The memory, and the points that all threads have reached.
#[derive(Clone, Hash)]
struct State {
    memory: Memory,
    /// Results of each thread's steps; `None` once it has ended.
    threads: Vec<Option<Vec<u64>>>,
}

/// Runs the threads in every order of their steps, and calls `end` with the memory that each order
/// leaves, perhaps more than once with the same memory; returns the number of different states.
///
/// # Panics
///
/// `end` panics.
pub(crate) fn explore(start: &Memory, threads: &[Thread], end: &dyn Fn(&Memory)) -> usize {
    let mut uses = Uses::default();
    loop {
        let (states, is_complete) = explore_with(&mut uses, start, threads, end);
        if is_complete {
            return states;
        }
    }
}

/// As [`explore`], with the uses of places that are known so far; says also whether no use was new.
fn explore_with(
    uses: &mut Uses,
    start: &Memory,
    threads: &[Thread],
    end: &dyn Fn(&Memory),
) -> (usize, bool) {
    let mut is_complete = true;
    let mut seen = HashSet::new();
    let mut open = vec![State { memory: *start, threads: vec![Some(Vec::new()); threads.len()] }];
    while let Some(state) = open.pop() {
        if !seen.insert(digest(&state)) {
            continue;
        }
        if state.threads.iter().all(Option::is_none) {
            end(&state.memory);
        }
        let begin = open.len();
        for (number, thread) in threads.iter().enumerate() {
            let Some(results) = &state.threads[number] else { continue };
            let mut next = state.clone();
            next.memory.install();
            RUN.set(Run { results: results.clone(), ..Run::default() });
            let ended = match catch_unwind(AssertUnwindSafe(thread)) {
                Ok(()) => true,
                Err(reason) if reason.is::<Enough>() => false,
                Err(reason) => resume_unwind(reason),
            };
            next.memory = Memory::installed();
            let run = RUN.take();
            next.threads[number] = (!ended).then_some(run.results);
            let is_alone = run.new.is_none_or(|step| {
                is_complete &= !uses.note(number, step);
                !uses.are_disturbed(number, step)
            });
            if is_alone {
                open.truncate(begin);
                open.push(next);
                break;
            }
            open.push(next);
        }
    }
    (seen.len(), is_complete)
}

/// Two numbers for a state; those of different states almost certainly differ.
fn digest(state: &State) -> [u64; 2] {
    let mut digest = Digest([1, 2]);
    state.hash(&mut digest);
    digest.0
}

/// Two numbers that depend on all that was written; faster than the library's hash.
struct Digest([u64; 2]);

impl Hasher for Digest {
    fn write_u64(&mut self, word: u64) {
        let [one, two] = &mut self.0;
        *one = (*one ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        *two = (*two ^ word).wrapping_mul(0xd6e8_feb8_6659_fd93).rotate_left(31);
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0[0] ^ self.0[1]
    }
}
