//! Answers of the kernel that several collectors use, each asked for once a scrape.

use super::tree::SingleFile;
use crate::error::{Malformed, Result};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An answer of the kernel that several collectors use, asked for once a scrape.
pub struct Shared<T>(Arc<Mutex<Answer<T>>>);

struct Answer<T> {
    /// The scrape that the value was asked for; `None` where no value may be used.
    scrape: Option<u64>,
    value: T,
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Shared<T> {
    /// An answer that has not been asked for.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(Answer { scrape: None, value })))
    }

    /// Calls `refresh` where the answer is not of this scrape or a later one, then `read`.
    ///
    /// # Errors
    /// Those of `read`, and those of `refresh`, which is then called again for the next collector
    /// that asks.
    pub fn with<R>(
        &self,
        scrape: u64,
        refresh: impl FnOnce(&mut T) -> Result,
        read: impl FnOnce(&T) -> Result<R>,
    ) -> Result<R> {
        let mut answer = self.lock();
        if answer.scrape.is_none_or(|of| of < scrape) {
            answer.scrape = None; // should `refresh` fail or panic
            refresh(&mut answer.value)?;
            answer.scrape = Some(scrape);
        }
        read(&answer.value)
    }

    /// Calls `refresh` and then `read`, for callers outside a scrape. The next scrape asks anew.
    ///
    /// # Errors
    /// Those of `refresh` and of `read`.
    pub fn anew<R>(
        &self,
        refresh: impl FnOnce(&mut T) -> Result,
        read: impl FnOnce(&T) -> Result<R>,
    ) -> Result<R> {
        let mut answer = self.lock();
        answer.scrape = None;
        refresh(&mut answer.value)?;
        read(&answer.value)
    }

    fn lock(&self) -> MutexGuard<'_, Answer<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared<SingleFile> {
    /// Parses the file, which is read once a scrape.
    ///
    /// # Errors
    /// The file cannot be read, or `parse` fails; the error names the file.
    pub fn parse<R>(
        &self,
        scrape: u64,
        parse: impl FnOnce(&str) -> Result<R, Malformed>,
    ) -> Result<R> {
        self.with(scrape, |file| file.bytes().map(drop), |file| file.parse_last(parse))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use std::cell::Cell;

    #[test]
    fn shared_answers_are_asked_for_once_a_scrape() {
        let shared = Shared::new(0);
        let asked = Cell::new(0);
        let ask = |scrape| {
            shared.with(
                scrape,
                |value| {
                    asked.set(asked.get() + 1);
                    *value = asked.get();
                    if asked.get() == 2 { Err(Error::NoData) } else { Ok(()) }
                },
                |value| Ok(*value),
            )
        };
        assert_eq!((ask(1).ok(), ask(1).ok()), (Some(1), Some(1)));
        assert!(ask(2).is_err());
        assert_eq!(ask(2).ok(), Some(3), "a failure is not kept");
        assert_eq!(ask(1).ok(), Some(3), "an older scrape may have a newer answer");
        let set = |next| {
            move |value: &mut i32| {
                *value = next;
                Ok(())
            }
        };
        let anew = |next| shared.anew(set(next), |value| Ok(*value));
        assert_eq!((anew(7).ok(), anew(8).ok()), (Some(7), Some(8)));
        assert_eq!(ask(2).ok(), Some(4), "an answer from outside serves no scrape");
    }
}
