//! Lines on their way to standard error: a bounded queue, and the thread that writes.
//!
//! Standard error may be a pipe that nobody reads. So whoever logs only copies a line into the
//! queue, and the thread alone waits for the pipe.
//!
//! | the queue | a line                            | the thread                                   |
//! |-----------|-----------------------------------|----------------------------------------------|
//! | has room  | is kept                           | takes all lines at once and writes them      |
//! | is full   | is counted as lost                | takes all lines, and says how many are lost  |
//! | losing    | is counted as lost, even if short | the same: so that lines keep their order     |
//!
//! The queue is losing from the first line that finds it full until the thread takes the lines
//! that are in it; then it is empty and has room. Lines that cannot be written (the reader of a
//! pipe has gone, a disk is full) are lost, too, and said with the next line that comes.

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

/// How much waits to be written, in bytes: what a scrape logs at debug level, several times.
const ROOM: usize = 64 << 10;
/// Enough for writing, and for the line that says how many are lost.
const STACK: usize = 128 << 10;

/// Lines that wait, and what became of others. Clones are the same queue.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// There is something to write.
    filled: Condvar,
    /// There is nothing left to write.
    emptied: Condvar,
    lost: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Waiting {
    text: String,
    /// A line has found the queue full.
    losing: bool,
    /// Lines that were lost since it was last said.
    lost: u64,
    /// The thread has lines that are not written yet.
    writing: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many lines have been lost.
    pub(super) fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.0.lost)
    }

    /// Takes a line with its end, if there is room. Never waits for standard error.
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

    /// Waits until all is written, but not longer than that.
    pub(super) fn flush(&self, most: Duration) {
        let waiting = self.lock();
        let is_busy = |waiting: &mut Waiting| waiting.writing || !waiting.text.is_empty();
        drop(self.0.emptied.wait_timeout_while(waiting, most, is_busy));
    }

    /// Starts the thread, which begins with `prepare` and never ends. `say_lost` makes the line
    /// for a number of lost ones.
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
                // The line about lost lines is none of them, but they are still to be said.
                let lines = lines.saturating_sub(u64::from(lost > 0));
                self.lock().lost += lines + lost;
                self.0.lost.fetch_add(lines, Relaxed);
            }
        }
    }

    /// Waits for lines and takes them, with the number of lost ones that has not been said.
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

/// Standard error without the lock that std has for it: who else uses it is not to wait for it.
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

/// Waits for room. A file description is non-blocking where another program that has it, too,
/// has made it so.
fn wait() {
    let stderr = io::stderr();
    let second = Timespec { tv_sec: 1, tv_nsec: 0 };
    let _ = poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], Some(&second));
}

#[cfg(test)]
mod tests;
