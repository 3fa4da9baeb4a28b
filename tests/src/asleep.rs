//! Processes that do nothing.
#![expect(unsafe_code, reason = "the process is forked")]

use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, waitpid},
    },
    unistd::{ForkResult, Pid, fork, pause},
};

/// A process that does nothing, killed when dropped.
#[derive(Debug)]
pub struct Asleep(Pid);

impl Asleep {
    /// Forks the process.
    ///
    /// # Panics
    /// The kernel refuses.
    #[must_use]
    pub fn new() -> Self {
        Self(forked(true))
    }

    /// The same, stopped by a signal: state `T`.
    ///
    /// # Panics
    /// The kernel refuses.
    #[must_use]
    pub fn stopped() -> Self {
        let asleep = Self::new();
        kill(asleep.0, Signal::SIGSTOP).expect("a process");
        let _ = waitpid(asleep.0, Some(WaitPidFlag::WUNTRACED));
        asleep
    }

    /// A process that has ended and is not waited for until this is dropped: state `Z`.
    ///
    /// # Panics
    /// The kernel refuses.
    #[must_use]
    pub fn dead() -> Self {
        Self(forked(false))
    }
}

impl Default for Asleep {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Asleep {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
        let _ = waitpid(self.0, None);
    }
}

fn forked(lives: bool) -> Pid {
    // SAFETY: the child makes system calls and nothing else.
    match unsafe { fork() }.expect("a process") {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            if lives {
                loop {
                    pause();
                }
            }
            // SAFETY: ends the process.
            unsafe { nix::libc::_exit(0) }
        }
    }
}
