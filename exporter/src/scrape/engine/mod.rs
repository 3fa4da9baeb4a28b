//! Runs the collectors of a scrape on a few threads, each on its own: an error, a panic or a
//! hang is one collector's failure.
//!
//! A collector is run by one thread at a time. One that misses a scrape's deadline is reported
//! as late and not started again until it has come back; a fresh thread takes the place of the
//! one it holds, so nothing queues up behind it.

use crate::exposition::packing::Packer;
use crate::{
    collector::Collector,
    error::Error,
    exposition::{
        Metric, Sink, conflicts, gauge,
        text::{self, Order},
    },
    flag::{AnyFlag, Flag},
    scrape::own::Own,
};
use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
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

static DURATION: Metric<1> = gauge(
    "node_scrape_collector_duration_seconds",
    "node_exporter: Duration of a collector scrape.",
)
.by(["collector"]);
static SUCCESS: Metric<1> =
    gauge("node_scrape_collector_success", "node_exporter: Whether a collector succeeded.")
        .by(["collector"]);
static SOURCE: Metric<2> =
    gauge("node_scrape_collector_source", "Which source served a collector that has several.")
        .by(["collector", "source"]);
static TIMEOUT: Metric<1> = gauge(
    "node_scrape_collector_timeout",
    "1 where a collector did not answer before the scrape's deadline.",
)
.by(["collector"]);

/// A thread that has been in one collector for so long is no longer counted on.
const STALLED: Duration = Duration::from_secs(1);

/// The collectors and the threads that run them.
pub struct Engine {
    names: Vec<&'static str>,
    state: Mutex<State>,
    changed: Condvar,
    own: Own,
    threads: usize,
}

#[derive(Default)]
struct State {
    slots: Vec<Slot>,
    queue: VecDeque<Task>,
    /// Threads that are counted on: waiting, or at work for less than [`STALLED`].
    workers: usize,
    /// Threads that wait for a task; without any, nobody needs to be woken.
    idle: usize,
    scrapes: u64,
    spare: Vec<Sink>,
    compress: Option<Packer>,
    order: Order,
    /// Conflicts that are in the log.
    told: conflicts::Told,
    /// Of the last answer that was not packed.
    body_len: usize,
}

/// One collector: waiting here, or out with a thread.
struct Slot {
    collector: Option<Box<dyn Collector>>,
    running: Option<Running>,
    /// Emptied sinks; more than one only where scrapes overlapped.
    spare: Vec<Sink>,
    failure: Option<String>,
}

struct Running {
    since: Instant,
    /// Its thread has been replaced and ends once the collector comes back.
    replaced: bool,
    /// A scrape's deadline passed while it ran.
    late: bool,
}

enum Task {
    Collect(usize, Arc<Scrape>),
    Finish(Arc<Scrape>),
}

struct Scrape {
    number: u64,
    started: Instant,
    request: Request,
    progress: Mutex<Progress>,
}

struct Progress {
    waiting: usize,
    outcomes: Vec<Outcome>,
    /// Taken by whoever renders the answer: what comes later is dropped.
    answer: Option<oneshot::Sender<Vec<u8>>>,
    finishing: bool,
}

struct Outcome {
    slot: usize,
    duration: Duration,
    success: bool,
    late: bool,
    sink: Option<Sink>,
}

/// What a client asks for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Positions in [`Engine::names`], each once; all where `None`.
    pub collectors: Option<Vec<usize>>,
    /// Only families of these names (`name[]`).
    pub names: Option<Vec<String>>,
    /// How long collectors may take.
    pub deadline: Option<Duration>,
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
        let names = collectors.iter().map(|(name, _)| *name).collect();
        let slots = (collectors.into_iter())
            .map(|(_, collector)| Slot {
                collector: Some(collector),
                running: None,
                spare: Vec::new(),
                failure: None,
            })
            .collect();
        let engine = Arc::new(Self {
            names,
            state: Mutex::new(State { slots, ..State::default() }),
            changed: Condvar::new(),
            own,
            threads: threads.max(1),
        });
        engine.staff(&mut lock(&engine.state));
        engine
    }

    /// The collectors' names, in alphabetical order.
    #[must_use]
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// What the exporter counts of itself.
    #[must_use]
    pub const fn own(&self) -> &Own {
        &self.own
    }

    /// Runs the collectors asked for and renders what they expose. Goes on to its end where the
    /// caller no longer waits.
    pub async fn scrape(self: &Arc<Self>, request: Request) -> Vec<u8> {
        let engine = Arc::clone(self);
        tokio::spawn(async move { engine.run(request).await }).await.unwrap_or_default()
    }

    async fn run(self: Arc<Self>, request: Request) -> Vec<u8> {
        let (answer, mut body) = oneshot::channel();
        let deadline = request.deadline.map(|after| Instant::now() + after);
        let scrape = self.enqueue(request, answer);
        loop {
            let left = deadline.map_or(STALLED, |at| at.saturating_duration_since(Instant::now()));
            let tick = if left.is_zero() { STALLED } else { left.min(STALLED) };
            match tokio::time::timeout(tick, &mut body).await {
                Ok(body) => return body.unwrap_or_default(),
                Err(_) => self.relieve(&scrape, deadline.is_some_and(|at| at <= Instant::now())),
            }
        }
    }

    fn enqueue(&self, request: Request, answer: oneshot::Sender<Vec<u8>>) -> Arc<Scrape> {
        let mut state = lock(&self.state);
        state.scrapes += 1;
        let wanted: Vec<usize> =
            request.collectors.clone().unwrap_or_else(|| (0..state.slots.len()).collect());
        let late = |slot: &usize| {
            (state.slots.get(*slot)).is_some_and(|s| s.running.as_ref().is_some_and(|run| run.late))
        };
        let (late, ready): (Vec<usize>, Vec<usize>) = wanted.into_iter().partition(late);
        let outcomes = (late.into_iter())
            .map(|slot| Outcome {
                slot,
                duration: Duration::ZERO,
                success: false,
                late: true,
                sink: None,
            })
            .collect();
        let scrape = Arc::new(Scrape {
            number: state.scrapes,
            started: Instant::now(),
            request,
            progress: Mutex::new(Progress {
                waiting: ready.len(),
                outcomes,
                answer: Some(answer),
                finishing: ready.is_empty(),
            }),
        });
        if ready.is_empty() {
            state.queue.push_back(Task::Finish(Arc::clone(&scrape)));
        }
        for slot in ready {
            state.queue.push_back(Task::Collect(slot, Arc::clone(&scrape)));
        }
        self.wake(state);
        scrape
    }

    /// Replaces threads that are stuck in a collector; where the scrape's deadline has passed,
    /// marks what it still waits for as late and has the rest served.
    fn relieve(self: &Arc<Self>, scrape: &Arc<Scrape>, expired: bool) {
        let mut state = lock(&self.state);
        let mut lost = 0;
        for slot in &mut state.slots {
            if let Some(run) = &mut slot.running
                && (expired || run.since.elapsed() >= STALLED)
            {
                lost += usize::from(!run.replaced);
                run.replaced = true;
            }
        }
        state.workers -= lost.min(state.workers);
        self.staff(&mut state);
        if expired {
            self.expire(&mut state, scrape);
        }
        self.wake(state);
    }

    /// Wakes the threads that wait. Without the lock, which is what they want first.
    fn wake(&self, state: MutexGuard<'_, State>) {
        let any = state.idle > 0;
        drop(state);
        if any {
            self.changed.notify_all();
        }
    }

    fn expire(&self, state: &mut State, scrape: &Arc<Scrape>) {
        let mut progress = lock(&scrape.progress);
        if progress.finishing {
            return;
        }
        progress.finishing = true;
        let is_mine =
            |task: &Task| matches!(task, Task::Collect(_, other) if Arc::ptr_eq(other, scrape));
        state.queue.retain(|task| !is_mine(task));
        let answered: Vec<usize> = progress.outcomes.iter().map(|outcome| outcome.slot).collect();
        let all = 0..state.slots.len();
        let wanted = scrape.request.collectors.clone().unwrap_or_else(|| all.collect());
        for slot in wanted.into_iter().filter(|slot| !answered.contains(slot)) {
            if let Some(run) = state.slots.get_mut(slot).and_then(|slot| slot.running.as_mut()) {
                run.late = true;
            }
            tracing::warn!(
                collector = self.names.get(slot).copied().unwrap_or_default(),
                "collector did not answer before the scrape's deadline"
            );
            progress.outcomes.push(Outcome {
                slot,
                duration: scrape.started.elapsed(),
                success: false,
                late: true,
                sink: None,
            });
        }
        state.queue.push_front(Task::Finish(Arc::clone(scrape)));
    }

    /// Starts threads until enough are counted on.
    fn staff(self: &Arc<Self>, state: &mut State) {
        while state.workers < self.threads {
            let engine = Arc::clone(self);
            let started = thread::Builder::new()
                .name("collectors".into())
                .stack_size(512 << 10)
                .spawn(move || engine.work());
            match started {
                Ok(_) => state.workers += 1,
                Err(error) => {
                    tracing::error!(%error, "cannot start a thread for collectors");
                    return;
                }
            }
        }
    }

    /// A thread's life.
    fn work(&self) {
        let mut state = lock(&self.state);
        loop {
            let ready = |task: &Task| match task {
                Task::Collect(slot, _) => {
                    state.slots.get(*slot).is_none_or(|slot| slot.collector.is_some())
                }
                Task::Finish(_) => true,
            };
            let next = state.queue.iter().position(ready).and_then(|i| state.queue.remove(i));
            match next {
                None => {
                    state.idle += 1;
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                    state.idle -= 1;
                }
                Some(Task::Finish(scrape)) => {
                    drop(state);
                    self.finish(&scrape);
                    state = lock(&self.state);
                }
                Some(Task::Collect(i, scrape)) => {
                    let Some(slot) = state.slots.get_mut(i) else { continue };
                    let Some(mut collector) = slot.collector.take() else { continue };
                    let mut sink = slot.spare.pop().unwrap_or_default();
                    let since = Instant::now();
                    slot.running = Some(Running { since, replaced: false, late: false });
                    drop(state);
                    sink.begin(scrape.number);
                    sink.due(scrape.request.deadline.map(|after| scrape.started + after));
                    let result = catch_unwind(AssertUnwindSafe(|| collector.collect(&mut sink)));
                    let duration = since.elapsed();
                    state = lock(&self.state);
                    let success = matches!(result, Ok(Ok(())));
                    let Some(slot) = state.slots.get_mut(i) else { continue };
                    slot.collector = Some(collector);
                    let replaced = slot.running.take().is_some_and(|run| run.replaced);
                    self.log(i, &mut slot.failure, duration, result);
                    let outcome =
                        Outcome { slot: i, duration, success, late: false, sink: Some(sink) };
                    if let Some(finish) = Self::deliver(&mut state, &scrape, outcome) {
                        state.queue.push_front(finish);
                    }
                    let leaves = replaced && state.workers >= self.threads;
                    // One task this thread takes itself.
                    if state.idle > 0 && state.queue.len() > usize::from(!leaves) {
                        self.changed.notify_all();
                    }
                    if leaves {
                        return;
                    }
                    state.workers += usize::from(replaced);
                }
            }
        }
    }

    /// Hands the outcome to its scrape; the last one finishes it.
    fn deliver(state: &mut State, scrape: &Arc<Scrape>, outcome: Outcome) -> Option<Task> {
        let mut progress = lock(&scrape.progress);
        if progress.finishing {
            if let (Some(slot), Some(sink)) = (state.slots.get_mut(outcome.slot), outcome.sink) {
                slot.spare.push(sink);
            }
            return None;
        }
        progress.outcomes.push(outcome);
        progress.waiting -= 1;
        progress.finishing = progress.waiting == 0;
        progress.finishing.then(|| Task::Finish(Arc::clone(scrape)))
    }

    /// Renders and sends the answer, and takes the sinks back.
    fn finish(&self, scrape: &Scrape) {
        let (mut outcomes, answer) = {
            let mut progress = lock(&scrape.progress);
            (std::mem::take(&mut progress.outcomes), progress.answer.take())
        };
        outcomes.sort_by_key(|outcome| outcome.slot);
        let (mut about, mut len, mut compress, mut order) = {
            let mut state = lock(&self.state);
            let about = state.spare.pop().unwrap_or_default();
            (about, state.body_len, state.compress.take(), std::mem::take(&mut state.order))
        };
        about.begin(scrape.number);
        for outcome in &outcomes {
            let Some(&name) = self.names.get(outcome.slot) else { continue };
            about.put(&DURATION, [&name], outcome.duration.as_secs_f64());
            about.put(&SUCCESS, [&name], outcome.success);
            if let Some(source) = outcome.sink.as_ref().and_then(Sink::source) {
                about.put(&SOURCE, [&name, &source], 1);
            }
            if outcome.late {
                about.put(&TIMEOUT, [&name], 1);
            }
        }
        self.own.collect(&mut about);
        let mut sinks = vec![&about];
        sinks.extend(outcomes.iter().filter_map(|outcome| outcome.sink.as_ref()));
        let names = scrape.request.names.as_deref();
        let (body, conflicts) = if scrape.request.gzip {
            let compress = compress.get_or_insert_with(Packer::default);
            let conflicts = text::append(&sinks, names, &mut order, compress);
            (compress.finish(), conflicts)
        } else {
            let mut body = Vec::with_capacity(len + len / 8);
            let conflicts = text::append(&sinks, names, &mut order, &mut body);
            len = body.len();
            (body, conflicts)
        };
        if !conflicts.is_empty() {
            self.own.gathering_failed();
        }
        let conflicts = lock(&self.state).told.news(conflicts);
        if !conflicts.is_empty() {
            tracing::error!(?conflicts, "error gathering metrics");
        }
        if let Some(answer) = answer {
            let _ = answer.send(body); // the client may have gone
        }
        let mut state = lock(&self.state);
        state.body_len = len;
        state.order = order;
        state.compress = compress.or(state.compress.take());
        state.spare.push(about);
        for outcome in outcomes {
            if let (Some(slot), Some(sink)) = (state.slots.get_mut(outcome.slot), outcome.sink) {
                slot.spare.push(sink);
            }
        }
    }

    /// An error is logged when it changes, not at every scrape.
    fn log(
        &self,
        slot: usize,
        last: &mut Option<String>,
        duration: Duration,
        result: thread::Result<Result<(), Error>>,
    ) {
        let name = self.names.get(slot).copied().unwrap_or_default();
        let duration_seconds = duration.as_secs_f64();
        let err = match result {
            Ok(Ok(())) => {
                tracing::debug!(name, duration_seconds, "collector succeeded");
                *last = None;
                return;
            }
            Ok(Err(Error::NoData)) => {
                tracing::debug!(name, duration_seconds, "collector returned no data");
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(panic) => {
                let text = (panic.downcast_ref::<String>().map(String::as_str))
                    .or_else(|| panic.downcast_ref::<&str>().copied());
                format!("panic: {}", text.unwrap_or("of unknown cause"))
            }
        };
        if last.as_ref() == Some(&err) {
            tracing::debug!(name, duration_seconds, err, "collector failed");
        } else {
            tracing::error!(name, duration_seconds, err, "collector failed");
            *last = Some(err);
        }
    }
}

#[cfg(test)]
mod tests;
