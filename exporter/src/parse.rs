//! Reading words and numbers out of kernel text.

use crate::error::Malformed;
use std::str::FromStr;

/// Words in a row, each expected to be something.
pub trait Words<'a>: Iterator<Item = &'a str> {
    /// The next word.
    ///
    /// # Errors
    /// There is none.
    fn word(&mut self, what: &'static str) -> Result<&'a str, Malformed> {
        self.next().ok_or_else(|| Malformed::new(what, ""))
    }

    /// The next word, as a number.
    ///
    /// # Errors
    /// There is none, or it is no number of that type (out of range included).
    fn number<T: FromStr>(&mut self, what: &'static str) -> Result<T, Malformed> {
        number(what, self.word(what)?)
    }
}

impl<'a, I: Iterator<Item = &'a str>> Words<'a> for I {}

/// All of `text` as a number.
///
/// # Errors
/// It is no number of that type (out of range included).
pub fn number<T: FromStr>(what: &'static str, text: &str) -> Result<T, Malformed> {
    text.parse().map_err(|_| Malformed::new(what, text))
}
