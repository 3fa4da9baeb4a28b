//! Questions, and what becomes of them.

use super::lock;
use crate::error::Error;
use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering::Relaxed},
};

/// One question; the same one as long as there is someone who asks it.
pub struct Question<S, T> {
    pub(super) subject: S,
    pub(super) phase: Mutex<Phase<T>>,
    silent: AtomicBool,
}

pub(super) enum Phase<T> {
    Idle,
    Queued,
    /// `seen`: at a tick; `parked`: the thread is.
    Open {
        round: u64,
        seen: bool,
        parked: bool,
    },
    Answered(T),
    /// Asking panicked.
    Failed,
}

/// A question that has no answer, as asking it panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("panic in a question")]
pub struct Panicked;

impl Panicked {
    /// The error of the source that was asked.
    #[must_use]
    pub fn of(self, source_name: &'static str) -> Error {
        Error::Source { source_name, error: self.into() }
    }
}

impl<S, T> Question<S, T> {
    /// The question, not asked yet.
    pub const fn new(subject: S) -> Self {
        Self { subject, phase: Mutex::new(Phase::Idle), silent: AtomicBool::new(false) }
    }

    /// What it is about.
    pub const fn subject(&self) -> &S {
        &self.subject
    }

    /// Keeps whether it has no answer, and says whether that is news.
    pub fn note(&self, silent: bool) -> bool {
        self.silent.swap(silent, Relaxed) != silent
    }

    /// The last answer, or that there is none; `None` while it is open, and where no thread had
    /// the time for it.
    pub fn answer(&self) -> Option<Result<T, Panicked>>
    where
        T: Copy,
    {
        match &*lock(&self.phase) {
            Phase::Answered(answer) => Some(Ok(*answer)),
            Phase::Failed => Some(Err(Panicked)),
            Phase::Idle | Phase::Queued | Phase::Open { .. } => None,
        }
    }
}
