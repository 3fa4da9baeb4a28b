//! A thread's life. Its place among the threads and its question are held by guards, which give
//! them back also where the thread unwinds.

use super::{Phase, Question, Shared, State, lock};
use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError},
    thread,
};

/// A thread's place among those that are counted.
pub(super) struct Place<S, T>(Arc<Shared<S, T>>);

impl<S: Send + Sync + 'static, T: Send + 'static> Place<S, T> {
    /// A place, if fewer threads are counted on than are `wanted`, and fewer than there are queued
    /// questions.
    pub(super) fn take(shared: &Arc<Shared<S, T>>, wanted: usize) -> Option<Self> {
        let mut state = lock(&shared.state);
        (state.working() < wanted.min(state.queue.len())).then(|| {
            state.threads += 1;
            Self(Arc::clone(shared))
        })
    }

    /// Starts its thread.
    pub(super) fn start(self, name: &str) -> io::Result<()> {
        thread::Builder::new()
            .name(name.into())
            .stack_size(256 << 10)
            .spawn(move || {
                while let Some(asking) = self.next() {
                    asking.ask();
                }
            })
            .map(drop)
    }

    /// Waits for a question; `None` where the thread is to end.
    fn next(&self) -> Option<Asking<'_, S, T>> {
        let shared = &*self.0;
        let mut state = lock(&shared.state);
        while !state.closed && state.working() <= shared.size {
            if let Some(question) = state.queue.pop_front() {
                let round = state.round;
                *lock(&question.phase) = Phase::Open { round, seen: false, parked: false };
                return Some(Asking { shared, question, outcome: Phase::Failed });
            }
            state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }
}

impl<S, T> Drop for Place<S, T> {
    fn drop(&mut self) {
        lock(&self.0.state).threads -= 1;
    }
}

/// A question that is being asked.
struct Asking<'a, S, T> {
    shared: &'a Shared<S, T>,
    question: Arc<Question<S, T>>,
    outcome: Phase<T>,
}

impl<S, T> Asking<'_, S, T> {
    fn ask(mut self) {
        let asked = AssertUnwindSafe(|| (self.shared.ask)(&self.question.subject));
        if let Ok(answer) = catch_unwind(asked) {
            self.outcome = Phase::Answered(answer);
        }
    }
}

impl<S, T> Drop for Asking<'_, S, T> {
    fn drop(&mut self) {
        let outcome = std::mem::replace(&mut self.outcome, Phase::Idle);
        let mut state = lock(&self.shared.state);
        let before = std::mem::replace(&mut *lock(&self.question.phase), outcome);
        let Phase::Open { round, parked, .. } = before else { return };
        if state.close(round, parked) {
            drop(state);
            self.shared.done.notify_one();
        }
    }
}

impl<S, T> State<S, T> {
    /// Notes that a question is no longer open; says whether it was the last of this round.
    const fn close(&mut self, round: u64, parked: bool) -> bool {
        if parked {
            self.parked -= 1;
        }
        if round != self.round {
            return false;
        }
        self.open -= 1;
        self.open == 0
    }
}
