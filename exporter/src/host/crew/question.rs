//! Questions and their phases.

use super::lock;
use crate::error::Error;
use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering::Relaxed},
};

/// One question, which the asker keeps from round to round.
pub struct Question<S, T> {
    pub(super) subject: S,
    pub(super) phase: Mutex<Phase<T>>,
    silent: AtomicBool,
}

pub(super) enum Phase<T> {
    Idle,
    Queued,
    /// `seen`: the question was open at a tick; `parked`: its thread is parked.
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

    /// The subject of the question.
    pub const fn subject(&self) -> &S {
        &self.subject
    }

    /// Notes whether the question is `silent`, that is without an answer; says whether that has
    /// changed.
    pub fn note(&self, silent: bool) -> bool {
        self.silent.swap(silent, Relaxed) != silent
    }

    /// The last answer, or that asking panicked; `None` while the question is open, and where no
    /// thread had time for it.
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
