//! The state and the decisions of the engine. There is no thread, clock or lock in here: the caller
//! passes the time, and carries out the returned decision.
//!
//! The states of a scrape, and the places where they keep it:
//!
//! | state     | kept in                | goes on to                                                   |
//! |-----------|------------------------|--------------------------------------------------------------|
//! | waiting   | `scrapes`              | ready, when its last part is read or its deadline has passed |
//! | ready     | `scrapes` and `ready`  | rendering, when a thread takes it                            |
//! | rendering | with that thread alone | answered                                                     |
//!
//! A client that leaves takes its scrape out of either of the first two states.
//!
//! A part of a scrape, one for each slot (collector) that was asked for:
//!
//! | state   | goes on to                                                                             |
//! |---------|----------------------------------------------------------------------------------------|
//! | missing | read, at the end of a run of its slot that began after the scrape had asked            |
//! | missing | late, at the scrape's deadline                                                         |
//! | late    | never changes; late from the start, if the run under way is older than all the scrape's time |
//! | read    | read anew, at the end of each later run of its slot while the scrape is kept           |
//!
//! So all scrapes that are kept share one reading of each slot, whatever their number and however
//! long one slot keeps them waiting.
//!
//! A slot, by its run under way and its run that waits to follow:
//!
//! | running | waiting | queued | goes on to                                                            |
//! |---------|---------|--------|-----------------------------------------------------------------------|
//! | –       | –       | no     | waiting, when a scrape asks                                           |
//! | –       | yes     | yes    | running, when a thread takes it; idle, when all its scrapes have left |
//! | yes     | –       | no     | idle at the end of the run; both, when a scrape asks                  |
//! | yes     | yes     | no     | waiting at the end; running alone, when all that wait have left       |
//!
//! Scrapes are numbered as they ask, and a run bears the number of the youngest scrape that it
//! serves: it serves every scrape with that number or a lower number whose part of the slot is
//! missing. Scrapes with higher numbers belong to the run that waits.
//!
//! A thread:
//!
//! | state             | counted on | goes on to                                                     |
//! |-------------------|------------|----------------------------------------------------------------|
//! | idle              | yes        | at work, when it takes a job                                   |
//! | at work           | yes        | idle or at work at the end; relieved, once it is stuck         |
//! | at work, relieved | no         | dismissed at the end where its place is taken, else counted on |

mod threads;

pub(super) use threads::Id;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};
use threads::Threads;

/// A thread that has been at one job for this long is no longer counted on. A scrape with a timeout
/// of one second has half a second for its collectors; this is half of that, so that the
/// replacement gets the other half.
pub(super) const STALLED: Duration = Duration::from_millis(250);
/// The same while an answer waits to be rendered and no thread is idle: a fifth of the time between
/// a scrape's deadline and its timeout.
pub(super) const URGENT: Duration = Duration::from_millis(100);
/// A run that takes less is never reported as late, however little time a scrape has.
const SLOW: Duration = Duration::from_millis(100);
/// A run that takes half of this is reported as late, even if it only serves scrapes without a
/// deadline.
const HUNG: Duration = Duration::from_secs(60);

/// The slots, the scrapes and the threads. `T` is kept with a scrape for its caller; `R` is a
/// handle of the samples of a run.
#[cfg_attr(test, derive(Clone))]
pub(super) struct Machine<T, R> {
    slots: Vec<Slot>,
    /// Slots whose waiting run may start, in the order of starting.
    queue: VecDeque<usize>,
    /// The scrapes that wait or are ready, in the order of their numbers.
    scrapes: Vec<Scrape<T, R>>,
    /// The numbers of the scrapes that can be rendered.
    ready: VecDeque<u64>,
    /// The number of the last scrape that asked.
    last: u64,
    threads: Threads,
    /// Whether the last job was an answer: runs and answers take turns.
    rendered: bool,
}

#[cfg_attr(test, derive(Clone, Hash))]
#[derive(Default)]
struct Slot {
    running: Option<Running>,
    waiting: Option<Waiting>,
    /// `Some` while the slot is reported as late: until a run takes less time than this.
    late: Option<Duration>,
}

#[cfg_attr(test, derive(Clone, Hash))]
struct Running {
    number: u64,
    since: Instant,
}

#[cfg_attr(test, derive(Clone, Hash))]
struct Waiting {
    number: u64,
    scrapes: usize,
    /// The last deadline of its scrapes; `None` where one of them has no deadline.
    due: Option<Instant>,
}

/// One request for metrics.
#[cfg_attr(test, derive(Clone, Hash))]
pub(super) struct Scrape<T, R> {
    /// From 1 on, in the order in which scrapes asked.
    pub number: u64,
    asked: Instant,
    deadline: Option<Instant>,
    missing: usize,
    /// Sorted by slot.
    pub parts: Vec<Part<R>>,
    /// The caller's own value.
    pub request: T,
}

/// A scrape's part of one slot.
#[cfg_attr(test, derive(Clone, Hash))]
pub(super) struct Part<R> {
    pub slot: usize,
    pub state: Share<R>,
}

#[cfg_attr(test, derive(Clone, Hash))]
pub(super) enum Share<R> {
    Missing,
    /// The scrape waited this long in vain.
    Late(Duration),
    Read(R),
}

/// The next job of a thread.
pub(super) enum Job<T, R> {
    Run(Run),
    Render(Scrape<T, R>),
    /// Wait until woken.
    Wait,
    /// End: another thread has taken its place.
    Leave,
}

/// A run that starts.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub slot: usize,
    /// The number of the youngest scrape that it serves.
    pub number: u64,
    /// The time at which the last of its scrapes gives up; `None` for never.
    pub due: Option<Instant>,
}

/// A change that is worth a line in the log, with the number of the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A scrape gave up on the slot, or its run hangs.
    Late(usize),
    /// The slot answers again.
    Back(usize),
}

/// The later of two deadlines; `None` stands for never, and is the latest.
fn later(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    Some(a?.max(b?))
}

impl Slot {
    /// The time that the run under way has taken.
    fn age(&self, now: Instant) -> Option<Duration> {
        self.running.as_ref().map(|run| now.saturating_duration_since(run.since))
    }

    /// Returns whether the slot becomes late: its run under way is too slow for a scrape that had
    /// `time`, and that was not reported yet.
    fn turns_late(&mut self, now: Instant, time: Duration) -> bool {
        // Half of the time: a run that takes about as long as a scrape has would otherwise be
        // reported as late and as back in turn.
        let limit = (time / 2).max(SLOW);
        let news = self.late.is_none() && self.age(now).is_some_and(|age| age >= limit);
        if news {
            self.late = Some(limit);
        }
        news
    }

    /// Adds a scrape to the slot's next run. Returns whether that run is new and may start at once.
    fn join(&mut self, number: u64, deadline: Option<Instant>) -> bool {
        match &mut self.waiting {
            Some(waiting) => {
                waiting.number = number;
                waiting.scrapes += 1;
                waiting.due = later(waiting.due, deadline);
                false
            }
            None => {
                self.waiting = Some(Waiting { number, scrapes: 1, due: deadline });
                self.running.is_none()
            }
        }
    }

    /// A scrape gives up its missing part of this slot: a waiting run that serves no other scrape
    /// is dropped.
    fn forgo(&mut self, number: u64) {
        let is_served = self.running.as_ref().is_some_and(|run| number <= run.number);
        let waiting = self.waiting.as_mut().filter(|_| !is_served);
        if let Some(waiting) = waiting {
            waiting.scrapes -= 1;
            if waiting.scrapes == 0 {
                self.waiting = None;
            }
        }
    }
}

impl<T, R> Scrape<T, R> {
    /// The part of this slot, if the scrape asked for the slot.
    fn part(&mut self, slot: usize) -> Option<&mut Part<R>> {
        let i = self.parts.binary_search_by_key(&slot, |part| part.slot).ok()?;
        self.parts.get_mut(i)
    }

    fn is_due(&self, now: Instant) -> bool {
        self.missing > 0 && self.deadline.is_some_and(|at| at <= now)
    }
}

impl<T, R: Clone> Machine<T, R> {
    /// A machine with that number of slots, and of threads to be counted on.
    pub(super) fn new(slots: usize, threads: usize) -> Self {
        Self {
            slots: std::iter::repeat_with(Slot::default).take(slots).collect(),
            queue: VecDeque::new(),
            scrapes: Vec::new(),
            ready: VecDeque::new(),
            last: 0,
            threads: Threads::new(threads),
            rendered: false,
        }
    }

    /// A scrape asks for `slots` (in rising order, each once), and gives up at `deadline`. Returns
    /// its number.
    pub(super) fn ask(
        &mut self,
        slots: impl IntoIterator<Item = usize>,
        deadline: Option<Instant>,
        request: T,
        now: Instant,
        news: &mut Vec<News>,
    ) -> u64 {
        self.last += 1;
        let number = self.last;
        let time = deadline.map(|at| at.saturating_duration_since(now));
        let mut parts = Vec::with_capacity(self.slots.len());
        let mut missing = 0;
        for i in slots {
            let Some(slot) = self.slots.get_mut(i) else { continue };
            let state = match (slot.age(now), time) {
                (Some(age), Some(time)) if age >= time => {
                    if slot.turns_late(now, time) {
                        news.push(News::Late(i));
                    }
                    Share::Late(Duration::ZERO)
                }
                _ => {
                    if slot.join(number, deadline) {
                        self.queue.push_back(i);
                    }
                    missing += 1;
                    Share::Missing
                }
            };
            parts.push(Part { slot: i, state });
        }
        if missing == 0 {
            self.ready.push_back(number);
        }
        self.scrapes.push(Scrape { number, asked: now, deadline, missing, parts, request });
        number
    }

    /// Takes out the scrape of a client that has gone: nothing more is done for it. Returns the
    /// scrape, unless a thread is rendering or has rendered it.
    pub(super) fn leave(&mut self, number: u64) -> Option<Scrape<T, R>> {
        let scrape = self.remove(number)?;
        self.ready.retain(|&other| other != number);
        for part in scrape.parts.iter().filter(|part| matches!(part.state, Share::Missing)) {
            if let Some(slot) = self.slots.get_mut(part.slot) {
                slot.forgo(number);
            }
        }
        self.drop_empty();
        Some(scrape)
    }

    fn remove(&mut self, number: u64) -> Option<Scrape<T, R>> {
        let i = self.scrapes.binary_search_by_key(&number, |scrape| scrape.number).ok()?;
        Some(self.scrapes.remove(i))
    }

    /// Drops slots without a waiting run from the queue.
    fn drop_empty(&mut self) {
        let Self { queue, slots, .. } = self;
        queue.retain(|&i| slots.get(i).is_some_and(|slot| slot.waiting.is_some()));
    }

    /// Makes the missing parts of scrapes late whose deadlines have passed, and relieves threads
    /// that are stuck.
    pub(super) fn tick(&mut self, now: Instant, news: &mut Vec<News>) {
        for scrape in self.scrapes.iter_mut().filter(|scrape| scrape.is_due(now)) {
            let waited = now.saturating_duration_since(scrape.asked);
            for part in &mut scrape.parts {
                if !matches!(part.state, Share::Missing) {
                    continue;
                }
                part.state = Share::Late(waited);
                let Some(slot) = self.slots.get_mut(part.slot) else { continue };
                slot.forgo(scrape.number);
                if slot.turns_late(now, waited) {
                    news.push(News::Late(part.slot));
                }
            }
            scrape.missing = 0;
            self.ready.push_back(scrape.number);
        }
        self.drop_empty();
        for (i, slot) in self.slots.iter_mut().enumerate() {
            if slot.turns_late(now, HUNG) {
                news.push(News::Late(i));
            }
        }
        let idle = self.threads.idle() > 0;
        self.threads.relieve(now, if self.ready.is_empty() || idle { STALLED } else { URGENT });
    }

    /// The time to wait for a scrape's answer before the next [`Machine::tick`].
    pub(super) fn patience(&self, number: u64, now: Instant) -> Duration {
        match self.scrapes.binary_search_by_key(&number, |scrape| scrape.number) {
            Err(_) => STALLED,
            Ok(i) => match self.scrapes.get(i) {
                Some(scrape) if scrape.missing > 0 => {
                    let left = scrape.deadline.map(|at| at.saturating_duration_since(now));
                    left.map_or(STALLED, |left| left.min(STALLED))
                }
                _ => URGENT,
            },
        }
    }

    /// The next job of this thread, whose last job is over.
    pub(super) fn next(&mut self, thread: Id, now: Instant) -> Job<T, R> {
        if !self.threads.is_back(thread) {
            return Job::Leave;
        }
        let job = self.job(now);
        if !matches!(job, Job::Wait) {
            self.threads.works(thread, now);
        }
        job
    }

    fn job(&mut self, now: Instant) -> Job<T, R> {
        if !self.rendered || self.queue.is_empty() {
            let number = self.ready.pop_front();
            if let Some(scrape) = number.and_then(|number| self.remove(number)) {
                self.rendered = true;
                return Job::Render(scrape);
            }
        }
        self.rendered = false;
        while let Some(i) = self.queue.pop_front() {
            let Some(slot) = self.slots.get_mut(i) else { continue };
            let Some(Waiting { number, due, .. }) = slot.waiting.take() else { continue };
            slot.running = Some(Running { number, since: now });
            return Job::Run(Run { slot: i, number, due });
        }
        Job::Wait
    }

    /// Ends the run of `slot`; all scrapes that the run serves get `read`. Returns the reading of
    /// the run before, if scrapes held it.
    pub(super) fn end(
        &mut self,
        slot: usize,
        read: &R,
        now: Instant,
        news: &mut Vec<News>,
    ) -> Option<R> {
        let state = self.slots.get_mut(slot)?;
        let Running { number, since } = state.running.take()?;
        let took = now.saturating_duration_since(since);
        if state.late.take_if(|limit| took < *limit).is_some() {
            news.push(News::Back(slot));
        }
        if state.waiting.is_some() {
            self.queue.push_back(slot);
        }
        let mut before = None;
        for scrape in self.scrapes.iter_mut().take_while(|scrape| scrape.number <= number) {
            let Some(part) = scrape.part(slot) else { continue };
            match &mut part.state {
                Share::Late(_) => {}
                Share::Read(old) => before = Some(std::mem::replace(old, read.clone())),
                missing @ Share::Missing => {
                    *missing = Share::Read(read.clone());
                    scrape.missing -= 1;
                    if scrape.missing == 0 {
                        self.ready.push_back(scrape.number);
                    }
                }
            }
        }
        before
    }

    /// A new thread, where fewer are counted on than wanted. The thread is counted on from here,
    /// before it is started.
    pub(super) fn hire(&mut self) -> Option<Id> {
        self.threads.hire()
    }

    /// Forgets a thread that has ended or could not be started.
    pub(super) fn dismiss(&mut self, thread: Id) {
        self.threads.dismiss(thread);
    }

    /// The time that the slot's run under way has taken, and whether it is reported as late.
    pub(super) fn under_way(&self, slot: usize, now: Instant) -> Option<(Duration, bool)> {
        let slot = self.slots.get(slot)?;
        Some((slot.age(now)?, slot.late.is_some()))
    }

    /// The number of idle threads to wake, where `taken` jobs will be taken without a wake.
    pub(super) fn to_wake(&self, taken: usize) -> usize {
        let jobs = self.queue.len() + self.ready.len();
        self.threads.idle().min(jobs.saturating_sub(taken))
    }
}

#[cfg(test)]
impl<T, R> Machine<T, R> {
    /// Whether the machine has no scrape and no waiting run.
    pub(super) fn is_empty(&self) -> bool {
        let waits = |slot: &Slot| slot.waiting.is_some();
        self.scrapes.is_empty() && self.queue.is_empty() && !self.slots.iter().any(waits)
    }

    /// Whether, besides, no run is under way and each thread is counted on.
    pub(super) fn is_at_rest(&self) -> bool {
        let runs = |slot: &Slot| slot.running.is_some();
        self.is_empty() && !self.slots.iter().any(runs) && self.threads.are_counted_on()
    }

    /// The number of threads, relieved ones included.
    pub(super) fn threads(&self) -> usize {
        self.threads.all().count()
    }
}

#[cfg(test)]
mod tests;
