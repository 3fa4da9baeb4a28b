//! Lines on their way to standard error: a bounded queue, and the thread that writes.
//!
//! Standard error may be a pipe that nobody reads. So a thread that logs only copies a line into
//! the queue, and the writing thread alone waits for the pipe.
//!
//! | the queue | a new line                        | the writing thread                           |
//! |-----------|-----------------------------------|----------------------------------------------|
//! | has room  | is kept                           | takes all lines at once and writes them      |
//! | is full   | is counted as lost                | takes all lines, and adds the number lost    |
//! | is losing | is counted as lost, even if short | the same                                     |
//!
//! The queue is losing from the first line that finds it full until the thread takes its lines;
//! then it is empty and has room. A short line that would still fit is lost, too, so that no line
//! overtakes another. Lines that cannot be written (the reader of a pipe has gone, a disk is full)
//! are counted as lost, and their number is written with the next line.

use memchr::memchr_iter;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    io::{self, Write},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

/// The most bytes that wait to be written: several times the lines of a scrape at level debug.
const ROOM: usize = 64 << 10;
/// The thread's stack: enough for writing, and for making the line with the number of lost lines.
const STACK: usize = 128 << 10;

/// The lines that wait, and the number of lost lines. Clones are the same queue.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Signalled when there is something to write.
    filled: Condvar,
    /// Signalled when there is nothing left to write.
    emptied: Condvar,
    lost: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Waiting {
    text: String,
    /// Whether a line has found the queue full.
    losing: bool,
    /// The number of lines lost since a line last gave such a number.
    lost: u64,
    /// Whether the thread holds lines that are not written yet.
    writing: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of lines lost since the start.
    pub(super) fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.0.lost)
    }

    /// Takes a line with its end, if there is room; never waits for standard error.
    pub(super) fn push(&self, line: &str) {
        let mut waiting = self.lock();
        waiting.losing |= !waiting.text.is_empty() && waiting.text.len() + line.len() > ROOM;
        if waiting.losing {
            waiting.lost += 1;
            self.0.lost.fetch_add(1, Relaxed);
        } else {
            waiting.text.push_str(line);
        }
        drop(waiting);
        self.0.filled.notify_one();
    }

    /// Waits until all lines are written, but not longer than `most`.
    pub(super) fn flush(&self, most: Duration) {
        let waiting = self.lock();
        let is_busy = |waiting: &mut Waiting| waiting.writing || !waiting.text.is_empty();
        drop(self.0.emptied.wait_timeout_while(waiting, most, is_busy));
    }

    /// Starts the writing thread, which begins with `prepare` and never ends. `say_lost` makes the
    /// line that gives a number of lost lines.
    pub(super) fn write_to(
        &self,
        out: impl Write + Send + 'static,
        prepare: impl FnOnce() + Send + 'static,
        say_lost: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<()> {
        let queue = self.clone();
        let run = move || {
            prepare();
            queue.write_all(out, say_lost);
        };
        thread::Builder::new().name("log".into()).stack_size(STACK).spawn(run).map(drop)
    }

    fn write_all(&self, mut out: impl Write, say_lost: impl Fn(u64) -> String) {
        let mut text = String::new();
        loop {
            text.clear();
            text.shrink_to(ROOM);
            let lost = self.next(&mut text);
            if lost > 0 {
                text.push_str(&say_lost(lost));
            }
            if let Err(unwritten) = write(&mut out, text.as_bytes()) {
                let lines = memchr_iter(b'\n', unwritten).count() as u64;
                // The unwritten line about lost lines is itself not counted; its number is added to
                // the next one.
                let lines = lines.saturating_sub(u64::from(lost > 0));
                self.lock().lost += lines + lost;
                self.0.lost.fetch_add(lines, Relaxed);
            }
        }
    }

    /// Waits for lines and takes them; returns the number of lost lines that no line has given yet.
    fn next(&self, text: &mut String) -> u64 {
        let mut waiting = self.lock();
        waiting.writing = false;
        if waiting.text.is_empty() {
            self.0.emptied.notify_all();
        }
        while waiting.text.is_empty() {
            waiting = self.0.filled.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.writing = true;
        waiting.losing = false;
        std::mem::swap(&mut waiting.text, text);
        std::mem::take(&mut waiting.lost)
    }
}

/// Writes everything, or returns the rest.
fn write<'a>(out: &mut impl Write, mut bytes: &'a [u8]) -> Result<(), &'a [u8]> {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(bytes),
            Ok(len) => bytes = bytes.get(len..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait(),
            Err(_) => return Err(bytes),
        }
    }
    Ok(())
}

/// Standard error without std's lock on it, for which another user of standard error would have to
/// wait.
#[derive(Debug)]
pub(super) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(io::stderr(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits for room in the pipe. Standard error may be non-blocking: another program with the same
/// file description may have set that.
fn wait() {
    let stderr = io::stderr();
    let second = Timespec { tv_sec: 1, tv_nsec: 0 };
    let _ = poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], Some(&second));
}

#[cfg(test)]
mod tests;
