//! Runs the collectors of a scrape on a few threads, isolated from each other: an error, a panic or
//! a hang is one collector's failure, and a scrape does not wait for the needs of another.
//!
//! A collector is run by one thread at a time, and all scrapes that wait for it share its next run,
//! so that more scrapes make no more work. A scrape whose time is over is answered without the
//! collectors that it still waits for; their runs go on for other scrapes. [`machine`] has the
//! tables of the states of scrapes, collectors and threads. The exporter's own metrics are read by
//! collectors, too.

mod answer;
mod machine;
mod news;
mod record;
mod threads;

use crate::{
    collector::Collector,
    exposition::Format,
    flag::{AnyFlag, Flag},
    host::{Namespace, bpf::Bpf},
    scrape::own::{Counts, Own},
};
use answer::{Kept, Reading, Rendered, Renderer};
use machine::{Machine, News, Scrape};
use news::{Known, Said};
use record::Record;
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

/// Rendering takes milliseconds. An answer is given up when it has not come this long after the
/// scrape's deadline.
const GRACE: Duration = Duration::from_secs(10);

/// The collectors and the threads that run them.
pub struct Engine {
    /// The names of all collectors, then of the collectors of the exporter's own metrics.
    names: Vec<&'static str>,
    /// The number of collectors, without those of the exporter's own metrics.
    collectors: usize,
    state: Mutex<State>,
    /// Signalled when there is a job for a thread.
    work: Condvar,
    counts: Counts,
    bpf: Bpf,
    render: Render,
    /// The network namespace in which the threads are started.
    namespace: Namespace,
    /// Whether the last thread could not be started.
    lacks_threads: AtomicBool,
}

struct State {
    machine: Machine<Asked, Arc<Reading>>,
    /// The collectors by slot; `None` while a collector runs.
    seats: Vec<Option<Seat>>,
    /// The last run of each slot; `None` before the first.
    records: Vec<Option<Record>>,
    kept: Kept,
    known: Known,
}

/// A collector while it does not run.
struct Seat {
    collector: Box<dyn Collector>,
    said: Said,
}

/// The machine's value for a scrape: the request, and the way to its client.
struct Asked {
    request: Request,
    answer: oneshot::Sender<Answer>,
}

type Answer = Result<Vec<u8>, Failed>;
type Render = fn(&mut Renderer, &Engine, &Scrape<Asked, Arc<Reading>>) -> Result<Rendered, String>;

/// The answer could not be rendered; the log has the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the metrics could not be rendered")]
pub struct Failed;

/// A client's request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Positions in [`Engine::names`]; `None` for all.
    pub collectors: Option<Vec<usize>>,
    /// Only families of these names (`name[]`).
    pub names: Option<Vec<String>>,
    /// The time that collectors may take; `None` for no limit.
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
    /// Takes the collectors and starts `threads` threads for them in `namespace`: one at least, and
    /// no more than can ever run at once.
    #[must_use]
    pub fn start(
        collectors: Vec<(&'static str, Box<dyn Collector>)>,
        threads: usize,
        own: Own,
        namespace: Namespace,
    ) -> Arc<Self> {
        Self::start_with(collectors, threads, own, namespace, Renderer::render)
    }

    fn start_with(
        collectors: Vec<(&'static str, Box<dyn Collector>)>,
        threads: usize,
        own: Own,
        namespace: Namespace,
        render: Render,
    ) -> Arc<Self> {
        let Own { counts, collectors: own, bpf } = own;
        let count = collectors.len();
        let (names, seats): (Vec<_>, Vec<_>) = (collectors.into_iter().chain(own))
            .map(|(name, collector)| (name, Some(Seat { collector, said: Said::default() })))
            .unzip();
        let machine = Machine::new(seats.len(), threads.min(seats.len()).max(1));
        let kept = Kept::new(seats.len());
        let records = std::iter::repeat_with(|| None).take(seats.len()).collect();
        let known = Known::default();
        let engine = Arc::new(Self {
            names,
            collectors: count,
            state: Mutex::new(State { machine, seats, records, kept, known }),
            work: Condvar::new(),
            counts,
            bpf,
            render,
            namespace,
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

    /// The counters of scrapes.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Runs the requested collectors and renders their samples. If the caller drops the future, all
    /// work that was to be done for it alone is dropped.
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

    /// Ends the waiting of scrapes whose time is over, and replaces threads that are stuck.
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

    /// Wakes that number of threads. The caller holds no lock: woken threads take it first of all.
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

/// A client that waits for its scrape: dropping it takes the scrape out of the machine.
struct Waits<'a> {
    engine: &'a Engine,
    number: u64,
    deadline: Option<Instant>,
}

impl Waits<'_> {
    /// Whether no answer can be expected any more.
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
