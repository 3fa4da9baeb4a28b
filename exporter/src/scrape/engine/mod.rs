//! Runs the collectors of a scrape on a few threads, each on its own: an error, a panic or a
//! hang is one collector's failure, and a scrape pays for no other.
//!
//! A collector is run by one thread at a time, and scrapes that wait for it share its next run:
//! their number makes no more work. A scrape that has no more time goes without the collectors
//! that it waits for, and leaves them to the others. The states of scrapes, collectors and
//! threads, and what leads from one to the next, are in [`machine`]; the exporter's own metrics
//! are collected as all others are.

mod answer;
mod machine;
mod news;
mod threads;

use crate::{
    collector::Collector,
    exposition::Format,
    flag::{AnyFlag, Flag},
    scrape::own::{Counts, Own},
};
use answer::{Kept, Reading, Rendered, Renderer};
use machine::{Machine, News, Scrape};
use news::{Known, Said};
use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// `--runtime.gomaxprocs`: how many threads run collectors.
pub const THREADS: Flag<u64> = Flag::value(
    "runtime.gomaxprocs",
    &["1"],
    "The target number of CPUs Go will run on (GOMAXPROCS); here, of threads that run collectors.",
)
.variable("GOMAXPROCS");

/// The flags of this module.
pub static FLAGS: &[&dyn AnyFlag] = &[&THREADS];

/// Rendering takes milliseconds. An answer that is not there so long after the scrape's deadline
/// is given up.
const GRACE: Duration = Duration::from_secs(10);

/// The collectors and the threads that run them.
pub struct Engine {
    /// Of all collectors, then of those that collect the exporter's own metrics.
    names: Vec<&'static str>,
    /// How many of them are collectors.
    collectors: usize,
    state: Mutex<State>,
    /// There is something to do for a thread.
    work: Condvar,
    counts: Counts,
    render: Render,
    /// Whether the last thread could not be started.
    lacks_threads: AtomicBool,
}

struct State {
    machine: Machine<Asked, Arc<Reading>>,
    /// By slot; absent while it runs.
    seats: Vec<Option<Seat>>,
    kept: Kept,
    known: Known,
}

/// A collector while it does not run.
struct Seat {
    collector: Box<dyn Collector>,
    said: Said,
}

/// What comes with a scrape.
struct Asked {
    request: Request,
    answer: oneshot::Sender<Answer>,
}

type Answer = Result<Vec<u8>, Failed>;
type Render = fn(&mut Renderer, &Engine, &Scrape<Asked, Arc<Reading>>) -> Result<Rendered, String>;

/// There is no answer: it could not be rendered, which the log explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the metrics could not be rendered")]
pub struct Failed;

/// What a client asks for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Positions in [`Engine::names`]; all where `None`.
    pub collectors: Option<Vec<usize>>,
    /// Only families of these names (`name[]`).
    pub names: Option<Vec<String>>,
    /// How long collectors may take; for ever where `None`.
    pub deadline: Option<Duration>,
    /// The form of the answer.
    pub format: Format,
    /// Whether the answer is to be compressed with gzip.
    pub gzip: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    /// Takes the collectors and starts `threads` threads for them (at least one).
    #[must_use]
    pub fn start(
        collectors: Vec<(&'static str, Box<dyn Collector>)>,
        threads: usize,
        own: Own,
    ) -> Arc<Self> {
        Self::start_with(collectors, threads, own, Renderer::render)
    }

    fn start_with(
        collectors: Vec<(&'static str, Box<dyn Collector>)>,
        threads: usize,
        own: Own,
        render: Render,
    ) -> Arc<Self> {
        let Own { counts, collectors: own } = own;
        let count = collectors.len();
        let (names, seats): (Vec<_>, Vec<_>) = (collectors.into_iter().chain(own))
            .map(|(name, collector)| (name, Some(Seat { collector, said: Said::default() })))
            .unzip();
        let machine = Machine::new(seats.len(), threads.max(1));
        let kept = Kept::new(seats.len());
        let engine = Arc::new(Self {
            names,
            collectors: count,
            state: Mutex::new(State { machine, seats, kept, known: Known::default() }),
            work: Condvar::new(),
            counts,
            render,
            lacks_threads: AtomicBool::new(false),
        });
        engine.staff();
        engine
    }

    /// The collectors' names, in alphabetical order.
    #[must_use]
    pub fn names(&self) -> &[&'static str] {
        self.names.get(..self.collectors).unwrap_or_default()
    }

    /// What the exporter counts of its scrapes.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Runs the collectors asked for and renders what they expose. A caller that no longer waits
    /// takes with it all that was to be done for it alone.
    ///
    /// # Errors
    /// The answer could not be rendered.
    pub async fn scrape(self: &Arc<Self>, request: Request) -> Answer {
        let (waits, mut answer) = self.ask(request);
        loop {
            let patience = lock(&self.state).machine.patience(waits.number, Instant::now());
            match tokio::time::timeout(patience, &mut answer).await {
                // A thread that ended without an answer has dropped the sender.
                Ok(answered) => return answered.unwrap_or(Err(Failed)),
                Err(_) if waits.is_over() => return Err(Failed),
                Err(_) => self.tick(),
            }
        }
    }

    fn ask(self: &Arc<Self>, request: Request) -> (Waits<'_>, oneshot::Receiver<Answer>) {
        let (answer, answered) = oneshot::channel();
        let now = Instant::now();
        let deadline = request.deadline.and_then(|after| now.checked_add(after));
        let mut slots: Vec<usize> = match &request.collectors {
            None => (0..self.collectors).collect(),
            Some(some) => some.iter().copied().filter(|&slot| slot < self.collectors).collect(),
        };
        slots.sort_unstable();
        slots.dedup();
        slots.extend(self.collectors..self.names.len());
        let mut news = Vec::new();
        let asked = Asked { request, answer };
        let mut state = lock(&self.state);
        let number = state.machine.ask(slots, deadline, asked, now, &mut news);
        let wake = state.machine.to_wake(0);
        drop(state);
        self.wake(wake);
        self.staff();
        self.tell(&news);
        (Waits { engine: self, number, deadline }, answered)
    }

    /// Looks for scrapes whose time is over and for threads that are stuck.
    fn tick(self: &Arc<Self>) {
        let mut news = Vec::new();
        let mut state = lock(&self.state);
        state.machine.tick(Instant::now(), &mut news);
        let wake = state.machine.to_wake(0);
        drop(state);
        self.wake(wake);
        self.staff();
        self.tell(&news);
    }

    /// Wakes so many threads. Without the lock, which is what they want first.
    fn wake(&self, threads: usize) {
        match threads {
            0 => {}
            1 => self.work.notify_one(),
            _ => self.work.notify_all(),
        }
    }

    /// The name of a slot.
    fn name(&self, slot: usize) -> &'static str {
        self.names.get(slot).copied().unwrap_or_default()
    }
}

/// A client that waits for its scrape: once it is dropped, nothing of the scrape is left.
struct Waits<'a> {
    engine: &'a Engine,
    number: u64,
    deadline: Option<Instant>,
}

impl Waits<'_> {
    /// Whether nothing can be expected any more.
    fn is_over(&self) -> bool {
        self.deadline.and_then(|at| at.checked_add(GRACE)).is_some_and(|at| at <= Instant::now())
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.engine.state);
        let left = state.machine.leave(self.number);
        if let Some(scrape) = left {
            state.kept.take_back(scrape.parts);
        }
    }
}

#[cfg(test)]
mod tests;
