//! A connection: its phases, the longest stay in each, and the phases that give way to a new
//! connection when all places are taken.
//!
//! | phase       | the connection                               | ends after          | gives way               |
//! |-------------|----------------------------------------------|---------------------|-------------------------|
//! | `Quiet`     | has sent nothing, or nothing since an answer | [`Limits::idle`]    | yes                     |
//! | `Head`      | has sent part of a request's head, or of the | [`Limits::head`]    | yes                     |
//! |             | TLS handshake before all requests            |                     |                         |
//! | `Answering` | has sent a request; the handler works on it  | the scrape's time   | if it will send no more |
//! | `Writing`   | has an answer ready; parts of it are written | the debt's time     | no                      |
//! | `Flushing`  | has an answer whose end is being written     | the debt's time     | no                      |
//! | `Closing`   | has been told that nothing more comes        | [`Limits::closing`] | yes                     |
//! | `Leaving`   | has been told to give way                    | at once             | does so                 |
//!
//! | event                            | from                   | to                          |
//! |----------------------------------|------------------------|-----------------------------|
//! | [`State::came`], a byte          | `Quiet`                | `Head`                      |
//! | [`State::requested`], whole head | `Quiet`, `Head`        | `Answering`                 |
//! | [`State::answered`]              | `Answering`            | `Writing`                   |
//! | [`State::buffered`], its end     | `Answering`, `Writing` | `Flushing`                  |
//! | [`State::flushed`]               | `Flushing`             | `Quiet`                     |
//! | [`State::greeted`], handshake    | `Head`                 | `Quiet`                     |
//! | [`State::follows`], a stream's   | all but the two below  | the phase that [`streams`]  |
//! | event in HTTP/2                  |                        | has for it                  |
//! | [`State::closes`]                | all but `Leaving`      | `Closing`                   |
//! | [`State::leave`]                 | all                    | `Leaving`, which stays so   |
//!
//! An event in any other phase changes nothing.
//!
//! The bytes that were sent to a client and that it has not taken are its debt, whatever the phase.
//! A debt begins with the first byte of an answer and ends when the client's kernel has
//! acknowledged every byte; before that, `Closing` does not end. From [`Limits::grace`] after the
//! debt's beginning, the client must have taken [`Limits::pace`] bytes for each second since. A
//! client in debt does not give way before it is behind that pace after [`Limits::patience`].
//!
//! A connection of HTTP/2 has many requests at once: [`streams`] has their table, the phase of the
//! connection that follows from them, and the debt of each answer.

mod converse;
mod frames;
mod handshake;
mod http2;
mod places;
mod streams;
mod unsent;
mod wire;

pub(super) use converse::converse;
pub use places::Places;
pub(super) use places::{Connections, Place};

use std::time::Duration;
use tokio::time::Instant;

/// The limits of the phases and of debts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Silence before the first request and between requests: longer than any scrape interval.
    idle: Duration,
    /// A request's line and headers, or a TLS handshake, from the first byte to the last.
    head: Duration,
    /// Reading bytes that still come after the last answer: unread bytes would make the kernel
    /// reset the connection before the client has that answer.
    closing: Duration,
    /// The time after which a debt's pace counts.
    grace: Duration,
    /// The same while another client waits for a place.
    patience: Duration,
    /// The slowest allowed pace, in bytes a second.
    pace: f64,
}

impl Limits {
    pub(super) const DEFAULT: Self = Self {
        idle: Duration::from_secs(330),
        head: Duration::from_secs(10),
        closing: Duration::from_millis(500),
        grace: Duration::from_secs(30),
        patience: Duration::from_secs(5),
        pace: 65_536.0,
    };
}

/// The phase of a connection; see the table above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Quiet,
    Head,
    Answering,
    Writing,
    Flushing,
    Closing,
    Leaving,
}

/// A connection's phase and debt.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    phase: Phase,
    since: Instant,
    /// The number of bytes that the kernel has taken so far.
    written: u64,
    debt: Option<Debt>,
}

/// The beginning of a debt, and the number of bytes that the client had taken by then.
#[derive(Clone, Copy, Debug)]
struct Debt {
    since: Instant,
    taken: u64,
}

/// The order in which connections give way: by kind, then by the beginning of their phase or debt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Idle(Instant),
    Slow(Instant),
    HalfClosed(Instant),
}

impl State {
    const fn new(now: Instant) -> Self {
        Self { phase: Phase::Quiet, since: now, written: 0, debt: None }
    }

    fn enter(&mut self, from: &[Phase], to: Phase, now: Instant) {
        if from.contains(&self.phase) {
            (self.phase, self.since) = (to, now);
        }
    }

    /// Part of a request has come.
    fn came(&mut self, now: Instant) {
        self.enter(&[Phase::Quiet], Phase::Head, now);
    }

    /// The head of a request is complete.
    fn requested(&mut self, now: Instant) {
        self.enter(&[Phase::Quiet, Phase::Head], Phase::Answering, now);
    }

    /// The handler has answered.
    fn answered(&mut self, now: Instant) {
        self.enter(&[Phase::Answering], Phase::Writing, now);
        self.owe(now);
    }

    /// The end of the answer is on its way.
    fn buffered(&mut self, now: Instant) {
        self.enter(&[Phase::Answering, Phase::Writing], Phase::Flushing, now);
    }

    /// The kernel has taken bytes.
    fn wrote(&mut self, bytes: usize, now: Instant) {
        self.owe(now); // hyper answers malformed requests by itself, without the handler
        self.written = self.written.saturating_add(bytes as u64);
    }

    /// The kernel has taken the whole answer.
    fn flushed(&mut self, now: Instant) {
        self.enter(&[Phase::Flushing], Phase::Quiet, now);
    }

    /// The TLS handshake is over.
    fn greeted(&mut self, now: Instant) {
        self.enter(&[Phase::Head], Phase::Quiet, now);
    }

    /// The streams of the connection have this phase, since this moment or an earlier one.
    fn follows(&mut self, (phase, since): (Phase, Option<Instant>), now: Instant) {
        if matches!(self.phase, Phase::Closing | Phase::Leaving) {
            return;
        }
        if self.phase != phase {
            (self.phase, self.since) = (phase, since.unwrap_or(now));
        }
        if phase == Phase::Writing {
            self.owe(now);
        }
    }

    /// No more requests are read.
    fn closes(&mut self, now: Instant) {
        if self.phase != Phase::Leaving {
            (self.phase, self.since) = (Phase::Closing, now);
        }
    }

    /// Another client needs the place.
    const fn leave(&mut self) {
        self.phase = Phase::Leaving;
    }

    fn owe(&mut self, now: Instant) {
        self.debt.get_or_insert(Debt { since: now, taken: self.written });
    }

    /// Ends the debt where the client has taken everything: `unsent` is the number of bytes that
    /// the kernel still holds.
    const fn settle(&mut self, unsent: u64) {
        if unsent == 0 && !matches!(self.phase, Phase::Writing | Phase::Flushing) {
            self.debt = None;
        }
    }

    /// Whether the client has been slower than `pace`, counted from `grace` after its debt began.
    fn is_behind(&self, unsent: u64, grace: Duration, pace: f64, now: Instant) -> bool {
        let Some(debt) = self.debt else { return false };
        let late = now.saturating_duration_since(debt.since).saturating_sub(grace);
        let taken = self.written.saturating_sub(unsent).saturating_sub(debt.taken);
        (taken as f64) < late.as_secs_f64() * pace
    }

    /// The longest time of the phase.
    const fn limit(&self, limits: &Limits) -> Option<Duration> {
        match self.phase {
            Phase::Quiet => Some(limits.idle),
            Phase::Head => Some(limits.head),
            Phase::Closing if self.debt.is_none() => Some(limits.closing),
            Phase::Leaving => Some(Duration::ZERO),
            Phase::Closing | Phase::Answering | Phase::Writing | Phase::Flushing => None,
        }
    }

    /// Whether a request is under way.
    const fn is_busy(&self) -> bool {
        matches!(self.phase, Phase::Answering | Phase::Writing | Phase::Flushing)
    }

    /// The reason to close the connection, if there is one.
    fn overdue(&self, unsent: u64, limits: &Limits, now: Instant) -> Option<&'static str> {
        if self.phase == Phase::Leaving {
            return Some("another client needs the place");
        }
        if self.is_behind(unsent, limits.grace, limits.pace, now) {
            return Some("the client is too slow in taking an answer");
        }
        let lasted = now.saturating_duration_since(self.since);
        let over = self.limit(limits).is_some_and(|limit| lasted >= limit);
        over.then_some(match self.phase {
            Phase::Quiet => "idle",
            Phase::Head => "the client is too slow in sending a request",
            _ => "closed",
        })
    }

    /// The connection's turn to give way to a new one; `None` where it does not give way.
    /// `half_closed` says that the client has closed its side, as a client that has given up does.
    fn turn(&self, unsent: u64, half_closed: bool, limits: &Limits, now: Instant) -> Option<Turn> {
        match (self.phase, self.debt) {
            // A connection that leaves has had its turn; without a debt, no bytes wait for the
            // client.
            (Phase::Leaving, _) | (Phase::Writing | Phase::Flushing, None) => None,
            (Phase::Answering, _) => half_closed.then_some(Turn::HalfClosed(self.since)),
            (Phase::Quiet | Phase::Head | Phase::Closing, None) => Some(Turn::Idle(self.since)),
            (_, Some(debt)) => self
                .is_behind(unsent, limits.patience, limits.pace, now)
                .then_some(Turn::Slow(debt.since)),
        }
    }
}

#[cfg(test)]
mod tests;
