//! Reads things that may hang, on threads of its own.
//!
//! One thread reads them all, one after the other. While some still wait for it, another is
//! started every now and then to help; a thread that finds nothing to do ends, save one. What
//! hangs keeps its thread and is not read again until it has come back: there is never more
//! than one thread more than there are things.

use crate::error::{Error, Result};
use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

pub(super) struct Reader<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    read: Box<dyn Fn(&mut T) + Send + Sync>,
    state: Mutex<State<T>>,
    /// There is something to read, or the end has come.
    work: Condvar,
    /// All that this call gave is read.
    done: Condvar,
}

struct State<T> {
    waiting: VecDeque<T>,
    read: Vec<T>,
    /// Counts the calls of [`Reader::read`].
    call: u64,
    /// How many things of this call are not read.
    missing: usize,
    has_idle: bool,
    closed: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Send + 'static> Reader<T> {
    pub(super) fn new(read: impl Fn(&mut T) + Send + Sync + 'static) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            read: Vec::new(),
            call: 0,
            missing: 0,
            has_idle: false,
            closed: false,
        };
        let shared = Shared {
            read: Box::new(read),
            state: Mutex::new(state),
            work: Condvar::new(),
            done: Condvar::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Reads `things`, and those that have come back since the last call, in at most the time
    /// that is given. Takes away what hangs; what no thread had the time for stays as it was.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(super) fn read(&self, things: &mut Vec<T>, patience: Duration) -> Result {
        let deadline = Instant::now() + patience;
        let mut state = lock(&self.shared.state);
        things.append(&mut state.read);
        state.call += 1;
        state.missing = things.len();
        state.waiting.extend(things.drain(..));
        let mut started = Ok(());
        if state.has_idle {
            self.shared.work.notify_one();
        } else if state.missing > 0 {
            started = self.start();
        }
        while state.missing > 0 && started.is_ok() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let (after, waited) = (self.shared.done)
                .wait_timeout(state, left.min(patience / 5))
                .unwrap_or_else(PoisonError::into_inner);
            state = after;
            if waited.timed_out() && !state.waiting.is_empty() {
                started = self.start();
            }
        }
        things.append(&mut state.read);
        things.extend(state.waiting.drain(..));
        started
    }

    fn start(&self) -> Result {
        let shared = Arc::clone(&self.shared);
        thread::Builder::new()
            .name("hwmon".into())
            .stack_size(256 << 10)
            .spawn(move || shared.work())
            .map(drop)
            .map_err(|source| Error::Call { call: "clone", source })
    }
}

impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        lock(&self.shared.state).closed = true;
        self.shared.work.notify_all();
    }
}

impl<T> Shared<T> {
    /// A thread's life.
    fn work(&self) {
        let mut state = lock(&self.state);
        loop {
            if let Some(mut thing) = state.waiting.pop_front() {
                let call = state.call;
                drop(state);
                (self.read)(&mut thing);
                state = lock(&self.state);
                state.read.push(thing);
                if state.call == call {
                    state.missing -= 1;
                    if state.missing == 0 {
                        self.done.notify_one();
                    }
                }
            } else if state.has_idle || state.closed {
                return;
            } else {
                state.has_idle = true;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.has_idle = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// A name, and how often it was read.
    type Thing = (&'static str, usize);

    #[test]
    fn what_hangs_costs_its_time_once_and_hides_no_other() {
        let (release, blocked) = mpsc::channel();
        let blocked = Mutex::new(blocked);
        let patience = Duration::from_secs(1);
        let reader = Reader::new(move |(name, n): &mut Thing| {
            if *name == "hangs" {
                let () = blocked.lock().unwrap().recv().unwrap();
            }
            *n += 1;
        });
        let mut things = vec![("hangs", 0), ("a", 0), ("b", 0)];
        reader.read(&mut things, patience).unwrap();
        things.sort_unstable();
        assert_eq!(things, [("a", 1), ("b", 1)]);

        let begin = Instant::now();
        reader.read(&mut things, patience).unwrap();
        things.sort_unstable();
        assert_eq!(things, [("a", 2), ("b", 2)]);
        assert!(begin.elapsed() < patience, "it is not waited for again");

        release.send(()).unwrap();
        release.send(()).unwrap();
        while things.len() < 3 {
            thread::yield_now();
            reader.read(&mut things, patience).unwrap();
        }
        assert!(things.iter().any(|(name, n)| *name == "hangs" && *n > 0));
    }

    #[test]
    fn nothing_to_read_needs_no_thread() {
        let reader = Reader::new(|(): &mut ()| {});
        assert!(reader.read(&mut Vec::new(), Duration::from_secs(60)).is_ok());
        assert!(!lock(&reader.shared.state).has_idle);
    }
}
