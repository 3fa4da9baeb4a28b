//! Answers of the kernel that several collectors use, each asked for once a scrape.

use super::tree::File;
use crate::error::{Malformed, Result};
use std::sync::{Arc, Mutex, PoisonError};

/// An answer of the kernel that several collectors use, asked for once a scrape.
pub struct Shared<T>(Arc<Mutex<Answer<T>>>);

struct Answer<T> {
    scrape: u64,
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
        Self(Arc::new(Mutex::new(Answer { scrape: 0, value })))
    }

    /// Calls `refresh` where the answer is not of this scrape or a later one, then `read`.
    ///
    /// # Errors
    /// What `refresh` says (it is called again for the next that asks) and what `read` says.
    pub fn with<R>(
        &self,
        scrape: u64,
        refresh: impl FnOnce(&mut T) -> Result,
        read: impl FnOnce(&T) -> Result<R>,
    ) -> Result<R> {
        let mut answer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if answer.scrape < scrape || scrape == 0 {
            answer.scrape = 0; // should `refresh` fail or panic
            refresh(&mut answer.value)?;
            answer.scrape = scrape;
        }
        read(&answer.value)
    }
}

impl Shared<File> {
    /// Parses the file, which is read once a scrape.
    ///
    /// # Errors
    /// It cannot be read, or what `parse` says; the error names the file.
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
    fn what_is_shared_is_asked_for_once_a_scrape() {
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
    }
}
