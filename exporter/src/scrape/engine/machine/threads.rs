//! The threads as the machine knows them: whether each is counted on, and since when it is busy.

use std::time::{Duration, Instant};

/// A thread's number, which no other thread gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Id(u64);

/// All threads; the [machine](super) has the table of their states.
#[cfg_attr(test, derive(Clone))]
pub(super) struct Threads {
    /// The number of threads to be counted on.
    wanted: usize,
    all: Vec<Thread>,
    last: u64,
}

#[cfg_attr(test, derive(Clone))]
struct Thread {
    id: Id,
    /// The start of its job; `None` while idle.
    since: Option<Instant>,
    relieved: bool,
}

impl Threads {
    /// No thread yet.
    pub(super) const fn new(wanted: usize) -> Self {
        Self { wanted, all: Vec::new(), last: 0 }
    }

    /// The number of threads that are counted on.
    fn counted(&self) -> usize {
        self.all.iter().filter(|thread| !thread.relieved).count()
    }

    /// The number of threads without a job.
    pub(super) fn idle(&self) -> usize {
        self.all.iter().filter(|thread| thread.since.is_none()).count()
    }

    /// A new thread, where fewer are counted on than are wanted.
    pub(super) fn hire(&mut self) -> Option<Id> {
        (self.counted() < self.wanted).then(|| {
            self.last += 1;
            self.all.push(Thread { id: Id(self.last), since: None, relieved: false });
            Id(self.last)
        })
    }

    /// Forgets a thread.
    pub(super) fn dismiss(&mut self, id: Id) {
        self.all.retain(|thread| thread.id != id);
    }

    /// Notes that a thread has a job.
    pub(super) fn works(&mut self, id: Id, now: Instant) {
        if let Some(thread) = self.all.iter_mut().find(|thread| thread.id == id) {
            thread.since = Some(now);
        }
    }

    /// Notes that a thread has done its job. Returns whether it may take another: a relieved thread
    /// whose place has been taken is dismissed.
    pub(super) fn is_back(&mut self, id: Id) -> bool {
        let full = self.counted() >= self.wanted;
        let Some(thread) = self.all.iter_mut().find(|thread| thread.id == id) else {
            return false;
        };
        thread.since = None;
        if thread.relieved && full {
            self.dismiss(id);
            return false;
        }
        thread.relieved = false;
        true
    }

    /// Threads that have been at one job for `patience` are no longer counted on.
    pub(super) fn relieve(&mut self, now: Instant, patience: Duration) {
        for thread in &mut self.all {
            let busy = thread.since.map(|since| now.saturating_duration_since(since));
            thread.relieved |= busy.is_some_and(|busy| busy >= patience);
        }
    }
}

#[cfg(test)]
impl Threads {
    /// All threads, each with the start of its job and whether it is relieved.
    pub(super) fn all(&self) -> impl Iterator<Item = (Id, Option<Instant>, bool)> {
        self.all.iter().map(|thread| (thread.id, thread.since, thread.relieved))
    }

    /// Whether no thread is relieved, and there are no more than are wanted.
    pub(super) fn are_counted_on(&self) -> bool {
        self.all.iter().all(|thread| !thread.relieved) && self.all.len() <= self.wanted
    }
}
