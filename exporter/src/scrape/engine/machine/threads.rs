//! The threads, as the machine sees them: which are counted on, and since when they are busy.

use std::time::{Duration, Instant};

/// A thread's number; none is given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Id(u64);

/// All threads; the table is that of the [machine](super).
#[cfg_attr(test, derive(Clone))]
pub(super) struct Threads {
    /// How many are to be counted on.
    wanted: usize,
    all: Vec<Thread>,
    last: u64,
}

#[cfg_attr(test, derive(Clone))]
struct Thread {
    id: Id,
    /// Since when it is at work.
    since: Option<Instant>,
    relieved: bool,
}

impl Threads {
    /// None yet.
    pub(super) const fn new(wanted: usize) -> Self {
        Self { wanted, all: Vec::new(), last: 0 }
    }

    /// How many are counted on.
    fn counted(&self) -> usize {
        self.all.iter().filter(|thread| !thread.relieved).count()
    }

    /// How many have nothing to do.
    pub(super) fn idle(&self) -> usize {
        self.all.iter().filter(|thread| thread.since.is_none()).count()
    }

    /// A new one, where fewer are counted on than are wanted.
    pub(super) fn hire(&mut self) -> Option<Id> {
        (self.counted() < self.wanted).then(|| {
            self.last += 1;
            self.all.push(Thread { id: Id(self.last), since: None, relieved: false });
            Id(self.last)
        })
    }

    /// Forgets one.
    pub(super) fn dismiss(&mut self, id: Id) {
        self.all.retain(|thread| thread.id != id);
    }

    /// It has a job.
    pub(super) fn works(&mut self, id: Id, now: Instant) {
        if let Some(thread) = self.all.iter_mut().find(|thread| thread.id == id) {
            thread.since = Some(now);
        }
    }

    /// It has done its job. Whether it is to do another: where its place has been taken, it is
    /// dismissed.
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

    /// Those that have been at one job for `patience` are no longer counted on.
    pub(super) fn relieve(&mut self, now: Instant, patience: Duration) {
        for thread in &mut self.all {
            let busy = thread.since.map(|since| now.saturating_duration_since(since));
            thread.relieved |= busy.is_some_and(|busy| busy >= patience);
        }
    }
}

#[cfg(test)]
impl Threads {
    /// All threads, since when they are at work, and whether they are relieved.
    pub(super) fn all(&self) -> impl Iterator<Item = (Id, Option<Instant>, bool)> {
        self.all.iter().map(|thread| (thread.id, thread.since, thread.relieved))
    }

    /// Whether none is relieved, and there are no more than are wanted.
    pub(super) fn are_counted_on(&self) -> bool {
        self.all.iter().all(|thread| !thread.relieved) && self.all.len() <= self.wanted
    }
}
