//! The count of one event on one processor, over all counters that were opened for it.
//!
//! | state       | goes on to                                                                   |
//! |-------------|------------------------------------------------------------------------------|
//! | closed      | open; unsupported, where the kernel says so; closed for any other error      |
//! | open        | closed and at once anew, where it cannot be read or its time stands still:   |
//! |             | its processor was offline                                                    |
//! | unsupported | itself                                                                       |

use crate::host::perf::{Counter, Event, Reading, is_unsupported};
use rustix::io::Errno;

/// A counter that can be asked; of the kernel's, or of a test's.
pub(super) trait Source: Sized {
    fn open(event: Event, processor: u32) -> Result<Self, Errno>;
    fn read(&self) -> Result<Option<Reading>, Errno>;
}

impl Source for Counter {
    fn open(event: Event, processor: u32) -> Result<Self, Errno> {
        Self::open(event, processor)
    }

    fn read(&self) -> Result<Option<Reading>, Errno> {
        self.read()
    }
}

pub(super) struct Count<S> {
    state: State<S>,
    /// Of the counter that is open.
    last: Reading,
    /// Of all counters, each scaled to the time that it was open.
    total: u64,
    /// Whether any counter has ever counted.
    has_run: bool,
}

enum State<S> {
    Closed,
    Open(S),
    Unsupported,
}

impl<S> Default for Count<S> {
    fn default() -> Self {
        Self { state: State::Closed, last: Reading::default(), total: 0, has_run: false }
    }
}

impl<S: Source> Count<S> {
    /// The count, opening a counter where there is none, if `may_open`. `None` where the event is
    /// not supported or has not been counted for a moment yet.
    pub(super) fn get(
        &mut self,
        event: Event,
        processor: u32,
        may_open: bool,
    ) -> Result<Option<u64>, Errno> {
        if let State::Open(counter) = &self.state {
            match counter.read() {
                Ok(Some(reading)) if reading.enabled > self.last.enabled => {
                    return Ok(self.advance(reading));
                }
                _ => self.close(),
            }
        }
        if let State::Unsupported = self.state {
            return Ok(None);
        }
        if !may_open {
            return Err(Errno::MFILE);
        }
        match S::open(event, processor) {
            Ok(counter) => {
                let reading = counter.read()?.unwrap_or_default();
                self.state = State::Open(counter);
                Ok(self.advance(reading))
            }
            Err(errno) if is_unsupported(errno) => {
                self.state = State::Unsupported;
                Ok(None)
            }
            Err(errno) => Err(errno),
        }
    }

    /// Closes the counter; the count is kept.
    fn close(&mut self) {
        self.state = State::Closed;
        self.last = Reading::default();
    }

    pub(super) const fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    pub(super) const fn is_unsupported(&self) -> bool {
        matches!(self.state, State::Unsupported)
    }

    /// Adds the events since the last reading, as if they had been counted all the time.
    fn advance(&mut self, reading: Reading) -> Option<u64> {
        let since = |new: u64, old: u64| u128::from(new.saturating_sub(old));
        let value = since(reading.value, self.last.value);
        let enabled = since(reading.enabled, self.last.enabled);
        let running = since(reading.running, self.last.running);
        self.last = reading;
        self.has_run |= running > 0;
        let scaled = (value * enabled).checked_div(running).unwrap_or_default();
        self.total = self.total.saturating_add(u64::try_from(scaled).unwrap_or(u64::MAX));
        self.has_run.then_some(self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::perf::Type;
    use std::{cell::RefCell, collections::VecDeque};

    thread_local! {
        /// The answers that opening and reading give, in their order.
        static SCRIPT: RefCell<VecDeque<Step>> = const { RefCell::new(VecDeque::new()) };
    }

    #[derive(Debug)]
    enum Step {
        Open(Result<(), Errno>),
        Read(Result<Option<Reading>, Errno>),
    }

    struct Fake;

    impl Source for Fake {
        fn open(_: Event, _: u32) -> Result<Self, Errno> {
            match SCRIPT.with_borrow_mut(VecDeque::pop_front) {
                Some(Step::Open(result)) => result.map(|()| Self),
                other => panic!("opened instead of {other:?}"),
            }
        }

        fn read(&self) -> Result<Option<Reading>, Errno> {
            match SCRIPT.with_borrow_mut(VecDeque::pop_front) {
                Some(Step::Read(result)) => result,
                other => panic!("read instead of {other:?}"),
            }
        }
    }

    const EVENT: Event = Event { kind: Type::Software, config: 0 };

    fn read(value: u64, enabled: u64, running: u64) -> Step {
        Step::Read(Ok(Some(Reading { value, enabled, running })))
    }

    /// The count after these steps.
    fn play(count: &mut Count<Fake>, script: Vec<Step>) -> Result<Option<u64>, Errno> {
        SCRIPT.set(script.into());
        let got = count.get(EVENT, 0, true);
        assert!(SCRIPT.with_borrow(VecDeque::is_empty), "{:?}", SCRIPT.take());
        got
    }

    #[test]
    fn events_that_took_turns_are_scaled_by_what_was_counted_since() {
        let mut count = Count::default();
        assert_eq!(play(&mut count, vec![Step::Open(Ok(())), read(0, 5, 0)]), Ok(None));
        assert_eq!(play(&mut count, vec![read(0, 10, 0)]), Ok(None), "not yet its turn");
        assert_eq!(play(&mut count, vec![read(100, 110, 50)]), Ok(Some(200)), "half of the time");
        assert_eq!(play(&mut count, vec![read(150, 210, 150)]), Ok(Some(250)), "all the time");
        assert_eq!(play(&mut count, vec![read(150, 310, 150)]), Ok(Some(250)), "at no time");
        let far = u64::MAX;
        assert_eq!(play(&mut count, vec![read(far, far, 151)]), Ok(Some(far)), "no overflow");
    }

    #[test]
    fn a_count_goes_on_after_its_processor_was_offline() {
        let mut count = Count::default();
        play(&mut count, vec![Step::Open(Ok(())), read(7, 10, 10)]).unwrap();
        let offline = vec![read(7, 10, 10), Step::Open(Err(Errno::NODEV))];
        assert_eq!(play(&mut count, offline), Err(Errno::NODEV));
        assert!(!count.is_open());
        assert_eq!(play(&mut count, vec![Step::Open(Err(Errno::NODEV))]), Err(Errno::NODEV));
        let online = vec![Step::Open(Ok(())), read(1, 1, 1)];
        assert_eq!(play(&mut count, online), Ok(Some(8)));
        let ended = vec![Step::Read(Ok(None)), Step::Open(Ok(())), read(2, 2, 2)];
        assert_eq!(play(&mut count, ended), Ok(Some(10)), "the counter has ended");
        let broken = vec![Step::Read(Err(Errno::IO)), Step::Open(Ok(())), read(1, 1, 1)];
        assert_eq!(play(&mut count, broken), Ok(Some(11)));
    }

    #[test]
    fn an_event_that_the_machine_does_not_have_is_not_asked_for_again() {
        let mut count = Count::default();
        assert_eq!(play(&mut count, vec![Step::Open(Err(Errno::ACCESS))]), Err(Errno::ACCESS));
        assert_eq!(play(&mut count, vec![Step::Open(Err(Errno::NOENT))]), Ok(None));
        assert!(count.is_unsupported());
        assert_eq!(play(&mut count, vec![]), Ok(None));
    }

    #[test]
    fn nothing_is_opened_where_descriptors_are_short() {
        let mut count = Count::<Fake>::default();
        assert_eq!(count.get(EVENT, 0, false), Err(Errno::MFILE));
    }
}
