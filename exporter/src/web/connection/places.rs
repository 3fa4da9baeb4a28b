//! The places that connections take: one limit for all listeners together.

use super::{Limits, Phase, State, Turn, streams::Streams, unsent::unsent};
use hashbrown::HashMap;
use rustix::event::{PollFd, PollFlags, poll};
use serde::Serialize;
use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    io::Interest,
    net::TcpStream,
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

/// The time between two looks at a connection whose state depends on the clock or the kernel.
const TICK: Duration = Duration::from_secs(1);

/// All connections, at most `limit` of them.
#[derive(Debug)]
pub struct Places {
    limit: usize,
    limits: Limits,
    taken: Mutex<Taken>,
    /// Signalled when a place has become free, or a connection may have begun to give way.
    changed: Notify,
}

/// The numbers of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(in super::super) struct Connections {
    /// All of them.
    pub open: usize,
    /// Those with a request under way, from its whole head to the last byte of its answer.
    pub busy: usize,
    /// The most that there may be.
    pub limit: usize,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    all: HashMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    state: State,
    streams: Streams,
    stream: Arc<TcpStream>,
    leave: Arc<Notify>,
}

impl Taken {
    /// The number of places that are taken.
    fn places(&self) -> usize {
        self.all.values().map(|entry| entry.streams.places()).sum()
    }
}

impl Entry {
    /// The number of requests under way.
    fn requests(&self) -> usize {
        let is_under_way = matches!(self.state.phase, Phase::Answering | Phase::Leaving);
        self.streams.asked().max(usize::from(is_under_way))
    }

    /// The turn to give way, of a client that has not closed its side.
    fn turn(&self, unsent: u64, limits: &Limits, now: Instant) -> Option<Turn> {
        let left_alone = || self.streams.left_alone(limits.patience, limits.pace, now);
        self.state.turn(unsent, false, limits, now).or_else(|| left_alone().map(Turn::Slow))
    }
}

/// The place of one connection, free again when the last of its clones is dropped.
#[derive(Clone, Debug)]
pub(in super::super) struct Place(Arc<Owned>);

#[derive(Debug)]
struct Owned {
    places: Arc<Places>,
    number: u64,
    stream: Arc<TcpStream>,
    leave: Arc<Notify>,
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.places.lock().all.remove(&self.number);
        self.places.changed.notify_waiters();
    }
}

impl Places {
    /// Makes `limit` places, at least one.
    pub(in super::super) fn new(limit: usize, limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limit: limit.max(1),
            limits,
            taken: Mutex::default(),
            changed: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place for a new connection; at the limit, another connection is made to leave.
    pub(in super::super) async fn admit(self: &Arc<Self>, stream: TcpStream) -> Place {
        let stream = Arc::new(stream);
        self.until(|taken| {
            if taken.places() < self.limit {
                return Some(self.take(taken, &stream));
            }
            self.free_one(taken);
            None
        })
        .await
    }

    /// Waits until `ready` returns a value; it is called again at each change, and each second.
    async fn until<T>(&self, ready: impl Fn(&mut Taken) -> Option<T>) -> T {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(done) = ready(&mut self.lock()) {
                return done;
            }
            let _ = timeout(TICK, changed).await;
        }
    }

    fn take(self: &Arc<Self>, taken: &mut Taken, stream: &Arc<TcpStream>) -> Place {
        let number = taken.next;
        taken.next += 1;
        let leave = Arc::new(Notify::new());
        let entry = Entry {
            state: State::new(Instant::now()),
            streams: Streams::default(),
            stream: Arc::clone(stream),
            leave: Arc::clone(&leave),
        };
        taken.all.insert(number, entry);
        let places = Arc::clone(self);
        Place(Arc::new(Owned { places, number, stream: Arc::clone(stream), leave }))
    }

    /// Makes the connection that gives way first leave, since descriptors are short.
    pub(in super::super) fn shrink(&self) {
        self.free_one(&mut self.lock());
    }

    /// Makes the connection that gives way first leave, unless another one is already leaving.
    fn free_one(&self, taken: &mut Taken) {
        if taken.all.values().any(|entry| entry.state.phase == Phase::Leaving) {
            return;
        }
        let now = Instant::now();
        let turn = |(&number, entry): (&u64, &mut Entry)| {
            let owed = entry.state.debt.map_or(0, |_| unsent(&entry.stream));
            entry.state.settle(owed);
            Some((entry.turn(owed, &self.limits, now)?, number))
        };
        let first = taken.all.iter_mut().filter_map(turn).min();
        let first = first.or_else(|| first_half_closed(taken, None, &self.limits));
        if let Some((_, number)) = first {
            expel(taken, number);
        }
    }

    /// Where more than `max` requests are under way (0 is no limit), makes connections leave whose
    /// clients have closed their side, until no more than `max` requests or no such clients are
    /// left.
    pub(in super::super) async fn spare(&self, max: u64, own: &Place) {
        let is_over = |taken: &Taken| {
            max > 0 && taken.all.values().map(Entry::requests).sum::<usize>() as u64 > max
        };
        self.until(|taken| {
            if !is_over(taken) {
                return Some(());
            }
            if taken.all.values().any(|entry| entry.state.phase == Phase::Leaving) {
                return None;
            }
            match first_half_closed(taken, Some(own.0.number), &self.limits) {
                Some((_, number)) => {
                    expel(taken, number);
                    None
                }
                None => Some(()),
            }
        })
        .await;
    }

    /// The numbers of connections at this moment.
    pub(in super::super) fn connections(&self) -> Connections {
        let taken = self.lock();
        let busy = taken.all.values().filter(|entry| entry.state.is_busy()).count();
        Connections { open: taken.all.len(), busy, limit: self.limit }
    }

    /// Waits until there are no connections.
    pub(in super::super) async fn empty(&self) {
        self.until(|taken| taken.all.is_empty().then_some(())).await;
    }

    #[cfg(test)]
    pub(super) fn phases(&self) -> Vec<Phase> {
        self.lock().all.values().map(|entry| entry.state.phase).collect()
    }
}

/// Among the connections with a request under way whose clients have closed their side, the one
/// that has waited longest.
fn first_half_closed(taken: &Taken, besides: Option<u64>, limits: &Limits) -> Option<(Turn, u64)> {
    let under_way = taken.all.iter().filter(|(number, entry)| {
        entry.state.phase == Phase::Answering && Some(**number) != besides
    });
    let under_way: Vec<(&u64, &Entry)> = under_way.collect();
    let mut polled: Vec<PollFd<'_>> =
        under_way.iter().map(|(_, entry)| PollFd::new(&entry.stream, PollFlags::RDHUP)).collect();
    let no_time = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut polled, Some(&no_time)).ok()?;
    let now = Instant::now();
    (under_way.iter().zip(&polled))
        .filter_map(|((number, entry), polled)| {
            let gone =
                polled.revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR);
            Some((entry.state.turn(0, gone, limits, now)?, **number))
        })
        .min()
}

fn expel(taken: &mut Taken, number: u64) {
    if let Some(entry) = taken.all.get_mut(&number) {
        entry.state.leave();
        entry.leave.notify_one();
    }
}

impl Place {
    pub(super) fn stream(&self) -> &Arc<TcpStream> {
        &self.0.stream
    }

    /// Applies an event to the state, with the current time.
    pub(super) fn note(&self, event: impl FnOnce(&mut State, Instant)) {
        let places = &self.0.places;
        let mut taken = places.lock();
        let Some(entry) = taken.all.get_mut(&self.0.number) else { return };
        let before = entry.state.phase;
        event(&mut entry.state, Instant::now());
        let changed = entry.state.phase != before;
        drop(taken);
        if changed {
            places.changed.notify_waiters();
        }
    }

    /// Applies an event to the streams, and their phase to the connection's state.
    pub(super) fn note_stream<T>(
        &self,
        event: impl FnOnce(&mut Streams, Instant) -> T,
    ) -> Option<T> {
        let places = &self.0.places;
        let mut taken = places.lock();
        let entry = taken.all.get_mut(&self.0.number)?;
        let before = (entry.state.phase, entry.streams.places());
        let now = Instant::now();
        let result = event(&mut entry.streams, now);
        entry.state.follows(entry.streams.phase(), now);
        let changed = (entry.state.phase, entry.streams.places()) != before;
        let is_resetting = entry.streams.is_resetting();
        drop(taken);
        if changed {
            places.changed.notify_waiters();
        }
        if is_resetting {
            self.0.leave.notify_one();
        }
        Some(result)
    }

    /// Waits for a place for a stream that waits; at the limit, another connection is made to
    /// leave.
    pub(super) async fn admit_stream(&self) {
        let places = &self.0.places;
        places
            .until(|taken| {
                let is_free = taken.places() < places.limit;
                let Some(entry) = taken.all.get_mut(&self.0.number) else { return Some(()) };
                if is_free || entry.streams.is_place_free() {
                    entry.streams.asks();
                    return Some(());
                }
                places.free_one(taken);
                None
            })
            .await;
    }

    /// Whether the connection is between requests.
    pub(super) fn is_quiet(&self) -> bool {
        self.0.places.lock().all.get(&self.0.number).is_some_and(|e| e.state.phase == Phase::Quiet)
    }

    /// Ends the client's debt where the client has taken everything; returns whether it has no
    /// debt.
    pub(super) fn settle(&self) -> bool {
        let mut taken = self.0.places.lock();
        let Some(entry) = taken.all.get_mut(&self.0.number) else { return true };
        if entry.state.debt.is_some() {
            entry.state.settle(unsent(&entry.stream));
        }
        entry.state.debt.is_none()
    }

    /// Waits until the client has taken everything.
    pub(super) async fn settled(&self) {
        while !self.settle() {
            tokio::time::sleep(TICK / 10).await;
        }
    }

    /// Waits until a limit is passed or the place is needed, and returns the reason. Without
    /// `ticks`, the caller sees to it that the phase does not change meanwhile.
    pub(super) async fn overdue(&self, ticks: bool) -> &'static str {
        loop {
            let now = Instant::now();
            let next = match self.look(now) {
                Ok(next) if ticks => next.min(now + TICK),
                Ok(next) => next,
                Err(reason) => return reason,
            };
            tokio::select! {
                () = sleep_until(next) => {}
                () = self.0.leave.notified() => {}
            }
        }
    }

    /// The time of the next look, or the reason to close the connection. In the latter case, the
    /// kernel will drop the rest of an answer that the client did not take.
    fn look(&self, now: Instant) -> Result<Instant, &'static str> {
        let limits = &self.0.places.limits;
        let mut taken = self.0.places.lock();
        let entry = taken.all.get_mut(&self.0.number).ok_or("closed")?;
        let owed = entry.state.debt.map_or(0, |_| unsent(&entry.stream));
        entry.state.settle(owed);
        let overdue = entry.state.overdue(owed, limits, now);
        if let Some(reason) = overdue.or_else(|| entry.streams.overdue(limits, now)) {
            if owed > 0 || entry.state.phase == Phase::Writing {
                let _ = self.0.stream.set_zero_linger();
            }
            return Err(reason);
        }
        let end = entry.state.limit(limits).map(|limit| entry.state.since + limit);
        let tick = entry.state.debt.map(|_| now + TICK);
        Ok(end.into_iter().chain(tick).min().unwrap_or(now + TICK))
    }

    /// Waits until the connection is broken: the client has reset it or is out of reach. A client
    /// that has merely closed its side is not gone.
    pub(super) async fn broken(&self) -> io::Result<()> {
        while !self.0.stream.ready(Interest::ERROR).await?.is_error() {}
        Ok(())
    }

    /// Makes connections leave whose clients have given up, where they keep this request from being
    /// served.
    pub(super) async fn spare(&self, max: u64) {
        self.0.places.spare(max, self).await;
    }
}
