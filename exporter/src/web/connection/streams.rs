//! The requests of a connection of HTTP/2, each on a stream of its own.
//!
//! | a stream is | its request                                         | takes a place | ends by                 |
//! |-------------|-----------------------------------------------------|---------------|-------------------------|
//! | waiting     | is whole; a place is waited for                     | no            | a place, or a reset     |
//! | asked       | is with the handler                                 | yes           | the answer, or a reset  |
//! | told        | has an answer, of which the kernel has not all bytes | yes           | the last byte, or a reset |
//!
//! The first stream of a connection takes the place that the connection has already; each further
//! one takes a place as a connection of HTTP/1.1 would. The phase of the connection follows from its
//! streams:
//!
//! | the connection has                | its phase   |
//! |-----------------------------------|-------------|
//! | a stream that is told             | `Writing`   |
//! | else one that is asked or waiting | `Answering` |
//! | else part of a frame or head      | `Head`      |
//! | else nothing                      | `Quiet`     |
//!
//! `Quiet` counts from the end of the last stream, so that a client that merely shows that it is
//! still there is idle. Besides the connection's debt each answer has one of its own, of its whole
//! length: a client may take other answers and leave one alone.

use super::{Limits, Phase, frames::Heard};
use std::time::Duration;
use tokio::time::Instant;

/// The most streams of one connection. Go's clients open another connection where they need more.
pub(super) const MOST: u32 = 16;
/// The most streams that a client may reset on one connection: opening and resetting costs a client
/// nothing but these frames.
const MOST_RESETS: u32 = 1_000;

/// The streams of a connection; none where it is one of HTTP/1.1.
#[derive(Clone, Debug, Default)]
pub(super) struct Streams {
    waiting: usize,
    asked: usize,
    told: Vec<Told>,
    /// Whether part of a frame has come, or part of a head's frames.
    is_halfway: bool,
    /// The number of streams that the client has reset.
    resets: u32,
    /// When the last stream ended.
    ended: Option<Instant>,
}

/// An answer that is not out yet.
#[derive(Clone, Copy, Debug)]
struct Told {
    since: Instant,
    bytes: u64,
}

/// The name of an answer among those of its connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered(Told);

impl Streams {
    /// A request is whole.
    pub(super) const fn waits(&mut self) {
        self.waiting += 1;
    }

    /// A request that waits has a place.
    pub(super) const fn asks(&mut self) {
        self.waiting -= 1;
        self.asked += 1;
    }

    /// A request that waits is given up.
    pub(super) const fn stops_waiting(&mut self, now: Instant) {
        self.waiting -= 1;
        self.ended = Some(now);
    }

    /// A request that is with the handler is given up.
    pub(super) const fn is_given_up(&mut self, now: Instant) {
        self.asked -= 1;
        self.ended = Some(now);
    }

    /// The handler has answered with so many bytes.
    pub(super) fn tells(&mut self, bytes: u64, now: Instant) -> Answered {
        self.asked -= 1;
        let told = Told { since: now, bytes };
        self.told.push(told);
        Answered(told)
    }

    /// The last byte of an answer is out, or the answer is given up.
    pub(super) fn is_out(&mut self, answered: Answered, now: Instant) {
        let Answered(Told { since, bytes }) = answered;
        let is_it = |told: &Told| told.since == since && told.bytes == bytes;
        if let Some(at) = self.told.iter().position(is_it) {
            self.told.swap_remove(at);
        }
        self.ended = Some(now);
    }

    /// Bytes have come.
    pub(super) fn hear(&mut self, heard: Heard, now: Instant) {
        self.ended.get_or_insert(now);
        self.is_halfway = heard.is_halfway;
        self.resets = self.resets.saturating_add(heard.resets);
    }

    /// The places that the connection takes.
    pub(super) fn places(&self) -> usize {
        (self.asked + self.told.len()).max(1)
    }

    /// Whether a waiting stream may take the place that the connection has.
    pub(super) const fn is_place_free(&self) -> bool {
        self.asked == 0 && self.told.is_empty()
    }

    /// The number of requests that are with the handler.
    pub(super) const fn asked(&self) -> usize {
        self.asked
    }

    /// The phase of the connection, and its beginning where it is not this moment.
    pub(super) const fn phase(&self) -> (Phase, Option<Instant>) {
        if !self.told.is_empty() {
            (Phase::Writing, None)
        } else if self.asked + self.waiting > 0 {
            (Phase::Answering, None)
        } else if self.is_halfway {
            (Phase::Head, None)
        } else {
            (Phase::Quiet, self.ended)
        }
    }

    /// Whether the client resets streams as no client has reason to.
    pub(super) const fn is_resetting(&self) -> bool {
        self.resets > MOST_RESETS
    }

    /// The beginning of the answer that has been left alone longest past its time, which begins
    /// with `grace`.
    pub(super) fn left_alone(&self, grace: Duration, pace: f64, now: Instant) -> Option<Instant> {
        let is_late = |told: &&Told| {
            let late = now.saturating_duration_since(told.since).saturating_sub(grace);
            (told.bytes as f64) < late.as_secs_f64() * pace
        };
        self.told.iter().filter(is_late).map(|told| told.since).min()
    }

    /// The reason to close the connection, if a stream is one.
    pub(super) fn overdue(&self, limits: &Limits, now: Instant) -> Option<&'static str> {
        if self.left_alone(limits.grace, limits.pace, now).is_some() {
            return Some("the client is too slow in taking an answer");
        }
        self.is_resetting().then_some("the client resets too many streams")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Waits,
        Asks,
        StopsWaiting,
        IsGivenUp,
        Tells,
        /// The first or the last of the answers is out.
        IsOut(bool),
        Hear(bool),
        /// Four seconds pass.
        Time,
    }

    const EVENTS: [Event; 10] = [
        Event::Waits,
        Event::Asks,
        Event::StopsWaiting,
        Event::IsGivenUp,
        Event::Tells,
        Event::IsOut(true),
        Event::IsOut(false),
        Event::Hear(true),
        Event::Hear(false),
        Event::Time,
    ];
    const BYTES: u64 = 100_000;

    /// The streams, and their model.
    #[derive(Clone)]
    struct World {
        streams: Streams,
        waiting: usize,
        asked: usize,
        answers: Vec<(Answered, Instant)>,
        is_halfway: bool,
        ended: Option<Instant>,
        now: Instant,
    }

    impl World {
        /// The same after an event; `None` where the event cannot come.
        fn after(&self, event: Event) -> Option<Self> {
            let mut world = self.clone();
            let (streams, now) = (&mut world.streams, world.now);
            match event {
                Event::Waits => {
                    streams.waits();
                    world.waiting += 1;
                }
                Event::Asks => {
                    world.waiting = world.waiting.checked_sub(1)?;
                    world.asked += 1;
                    streams.asks();
                }
                Event::StopsWaiting => {
                    world.waiting = world.waiting.checked_sub(1)?;
                    streams.stops_waiting(now);
                    world.ended = Some(now);
                }
                Event::IsGivenUp => {
                    world.asked = world.asked.checked_sub(1)?;
                    streams.is_given_up(now);
                    world.ended = Some(now);
                }
                Event::Tells => {
                    world.asked = world.asked.checked_sub(1)?;
                    world.answers.push((streams.tells(BYTES, now), now));
                }
                Event::IsOut(first) => {
                    let at = if first { 0 } else { world.answers.len().checked_sub(1)? };
                    let answered = world.answers.get(at)?.0;
                    world.answers.remove(at);
                    streams.is_out(answered, now);
                    world.ended = Some(now);
                }
                Event::Hear(is_halfway) => {
                    streams.hear(Heard { is_halfway, resets: 0 }, now);
                    world.is_halfway = is_halfway;
                    world.ended.get_or_insert(now);
                }
                Event::Time => world.now += Duration::from_secs(4),
            }
            Some(world)
        }

        fn check(&self, path: &[Event]) {
            let streams = &self.streams;
            let phase = match (self.answers.len(), self.asked + self.waiting, self.is_halfway) {
                (1.., ..) => (Phase::Writing, None),
                (0, 1.., _) => (Phase::Answering, None),
                (0, 0, true) => (Phase::Head, None),
                (0, 0, false) => (Phase::Quiet, self.ended),
            };
            assert_eq!(streams.phase(), phase, "{path:?}");
            let taken = self.asked + self.answers.len();
            assert_eq!(streams.places(), taken.max(1), "{path:?}");
            assert_eq!(streams.is_place_free(), taken == 0, "{path:?}");
            assert_eq!(streams.asked(), self.asked, "{path:?}");
            let oldest = self.answers.iter().map(|(_, since)| *since).min();
            let limits = Limits::DEFAULT;
            let time = limits.grace + Duration::from_secs_f64(BYTES as f64 / limits.pace);
            if let Some(oldest) = oldest {
                let is_over = |at| streams.overdue(&limits, at).is_some();
                assert!(!is_over(oldest + time.mul_f64(0.99)), "{path:?}");
                assert!(is_over(oldest + time.mul_f64(1.01)), "{path:?}");
            }
            let late = self.now + Duration::from_secs(60);
            assert_eq!(streams.left_alone(limits.patience, limits.pace, late), oldest, "{path:?}");
        }
    }

    #[test]
    fn every_sequence_of_events_keeps_the_tables() {
        fn go(world: &World, path: &mut Vec<Event>, longest: usize) -> usize {
            world.check(path);
            if path.len() == longest {
                return 1;
            }
            let mut paths = 0;
            for event in EVENTS {
                let Some(after) = world.after(event) else { continue };
                path.push(event);
                paths += go(&after, path, longest);
                path.pop();
            }
            paths
        }
        let world = World {
            streams: Streams::default(),
            waiting: 0,
            asked: 0,
            answers: Vec::new(),
            is_halfway: false,
            ended: None,
            now: Instant::now(),
        };
        assert!(go(&world, &mut Vec::new(), 7) > 10_000);
    }

    #[test]
    fn a_client_that_resets_a_thousand_streams_is_cut_off() {
        let (mut streams, now) = (Streams::default(), Instant::now());
        streams.hear(Heard { is_halfway: false, resets: MOST_RESETS }, now);
        assert_eq!(streams.overdue(&Limits::DEFAULT, now), None);
        streams.hear(Heard { is_halfway: false, resets: 1 }, now);
        let reason = "the client resets too many streams";
        assert_eq!(streams.overdue(&Limits::DEFAULT, now), Some(reason));
    }
}
