//! Threads for questions that may never be answered.
//!
//! A crew starts with one thread, takes more (up to its size) where questions are not answered at
//! once, and keeps them. Rounds follow one another: [`Crew::ask`] begins one and ends it. A
//! question that is open from an earlier round is not asked a second time.
//!
//! A question:
//!
//! | phase    | goes on to                                                                          |
//! |----------|-------------------------------------------------------------------------------------|
//! | idle     | queued, when a round begins with it                                                 |
//! | queued   | open, when a thread takes it; idle, where the round ends before                     |
//! | open     | answered, or failed where asking panics: in its own round or in any later one       |
//! | answered | queued, when a round begins with it                                                 |
//! | failed   | queued, when a round begins with it                                                 |
//!
//! A thread:
//!
//! | state  | counted on | goes on to                                                                    |
//! |--------|------------|-------------------------------------------------------------------------------|
//! | free   | yes        | asking, when it takes a question; gone, with the crew                         |
//! | asking | yes        | free with the answer; parked, after two ticks or at the end of the round      |
//! | parked | no         | free with the answer, or gone where as many as the crew's size are counted on |
//!
//! A thread that unwinds is gone from whatever state, and its question has failed.

mod question;
mod threads;

pub use question::{Panicked, Question};

use crate::error::{Error, Result};
use question::Phase;
use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use threads::Place;

/// How long one thread asks alone: enough for questions that are answered from memory.
const ALONE: Duration = Duration::from_millis(1);
/// A thread that is seen with the same question at two ticks is parked.
const TICK: Duration = Duration::from_millis(50);

/// The threads.
pub struct Crew<S, T> {
    name: &'static str,
    shared: Arc<Shared<S, T>>,
    alone: Duration,
    /// Whether the last thread could not be started.
    lacks_threads: AtomicBool,
}

struct Shared<S, T> {
    ask: Box<dyn Fn(&S) -> T + Send + Sync>,
    size: usize,
    state: Mutex<State<S, T>>,
    /// A question is queued, or the crew is closed.
    work: Condvar,
    /// All questions of a round are answered.
    done: Condvar,
}

struct State<S, T> {
    queue: VecDeque<Arc<Question<S, T>>>,
    round: u64,
    /// Questions of this round that are not answered.
    open: usize,
    threads: usize,
    parked: usize,
    closed: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: Send + Sync + 'static, T: Send + 'static> Crew<S, T> {
    /// A crew of at most `size` threads (at least one) besides those that are parked. All are
    /// called `name`.
    pub fn new(
        name: &'static str,
        size: usize,
        ask: impl Fn(&S) -> T + Send + Sync + 'static,
    ) -> Self {
        let state = State {
            queue: VecDeque::new(),
            round: 0,
            open: 0,
            threads: 0,
            parked: 0,
            closed: false,
        };
        Self {
            name,
            shared: Arc::new(Shared {
                ask: Box::new(ask),
                size: size.max(1),
                state: Mutex::new(state),
                work: Condvar::new(),
                done: Condvar::new(),
            }),
            alone: ALONE,
            lacks_threads: AtomicBool::new(false),
        }
    }

    /// Asks the questions that are not open from an earlier round; returns once these are answered,
    /// or after `patience`.
    ///
    /// # Errors
    /// There is no thread that could ask, and none can be started.
    pub fn ask<'a>(
        &self,
        questions: impl IntoIterator<Item = &'a Arc<Question<S, T>>> + Clone,
        patience: Duration,
    ) -> Result {
        let deadline = Instant::now().checked_add(patience);
        lock(&self.shared.state).begin(questions.clone());
        let staffed = self.wait(questions.clone(), deadline);
        lock(&self.shared.state).end(questions);
        staffed
    }

    /// Waits until the round is answered or its time is over. One thread asks alone at first; then
    /// there are as many threads as the crew's size, and those that are stuck are parked.
    fn wait<'a>(
        &self,
        questions: impl IntoIterator<Item = &'a Arc<Question<S, T>>> + Clone,
        deadline: Option<Instant>,
    ) -> Result {
        let (mut wanted, mut wait) = (1, self.alone);
        loop {
            self.staff(wanted)?;
            let state = lock(&self.shared.state);
            let left = deadline.map_or(wait, |at| at.saturating_duration_since(Instant::now()));
            if state.open == 0 || left.is_zero() {
                return Ok(());
            }
            let is_open = |state: &mut State<S, T>| state.open > 0;
            let (mut state, timeout) =
                (self.shared.done.wait_timeout_while(state, wait.min(left), is_open))
                    .unwrap_or_else(PoisonError::into_inner);
            if timeout.timed_out() {
                if wait == TICK {
                    state.tick(questions.clone());
                }
                (wanted, wait) = (self.shared.size, TICK);
            }
        }
    }

    /// Sees to it that there are `wanted` threads, or as many as there are questions, and wakes
    /// them. Fewer threads than wanted are no error.
    fn staff(&self, wanted: usize) -> Result {
        while let Some(place) = Place::take(&self.shared, wanted) {
            let started = place.start(self.name);
            let lacked = self.lacks_threads.swap(started.is_err(), Relaxed);
            let Err(source) = started else { continue };
            if lock(&self.shared.state).working() == 0 {
                return Err(Error::Call { call: "clone", source });
            }
            if !lacked {
                tracing::warn!(error = %source, "cannot start another thread {}", self.name);
            }
            break;
        }
        let queued = lock(&self.shared.state).queue.len();
        match wanted.min(queued) {
            0 => {}
            1 => self.shared.work.notify_one(),
            _ => self.shared.work.notify_all(),
        }
        Ok(())
    }

    /// The number of threads, and the number of them that are parked.
    #[cfg(test)]
    pub fn threads(&self) -> (usize, usize) {
        let state = lock(&self.shared.state);
        (state.threads, state.parked)
    }
}

impl<S, T> State<S, T> {
    /// Threads that are counted on.
    const fn working(&self) -> usize {
        self.threads.saturating_sub(self.parked)
    }

    /// Begins a round: queues the questions that are not open from an earlier round.
    fn begin<'a>(&mut self, questions: impl IntoIterator<Item = &'a Arc<Question<S, T>>>)
    where
        S: 'a,
        T: 'a,
    {
        for question in questions {
            let mut phase = lock(&question.phase);
            if !matches!(*phase, Phase::Open { .. }) {
                *phase = Phase::Queued;
                self.queue.push_back(Arc::clone(question));
            }
        }
        self.open = self.queue.len();
    }

    /// Parks the threads whose question was open at the last tick too.
    fn tick<'a>(&mut self, questions: impl IntoIterator<Item = &'a Arc<Question<S, T>>>)
    where
        S: 'a,
        T: 'a,
    {
        for question in questions {
            if let Phase::Open { seen, parked, .. } = &mut *lock(&question.phase) {
                self.parked += usize::from(*seen && !*parked);
                *parked |= *seen;
                *seen = true;
            }
        }
    }

    /// Ends the round: open questions stay open, and queued ones are not asked any more.
    fn end<'a>(&mut self, questions: impl IntoIterator<Item = &'a Arc<Question<S, T>>>)
    where
        S: 'a,
        T: 'a,
    {
        self.queue.clear();
        self.open = 0;
        self.round += 1;
        for question in questions {
            match &mut *lock(&question.phase) {
                Phase::Open { parked, .. } => {
                    self.parked += usize::from(!*parked);
                    *parked = true;
                }
                phase @ Phase::Queued => *phase = Phase::Idle,
                Phase::Idle | Phase::Answered(_) | Phase::Failed => {}
            }
        }
    }
}

impl<S, T> Drop for Crew<S, T> {
    /// Free threads end now, the others once their questions are answered.
    fn drop(&mut self) {
        lock(&self.shared.state).closed = true;
        self.shared.work.notify_all();
    }
}

#[cfg(test)]
mod tests;
