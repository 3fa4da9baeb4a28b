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

    /// The next word, as a hexadecimal number.
    ///
    /// # Errors
    /// There is none, or it is no such number of at most 64 bits.
    fn hex(&mut self, what: &'static str) -> Result<u64, Malformed> {
        hex(what, self.word(what)?)
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

/// All of `text` as a hexadecimal number, without `0x`.
///
/// # Errors
/// It is no such number of at most 64 bits.
pub fn hex(what: &'static str, text: &str) -> Result<u64, Malformed> {
    u64::from_str_radix(text, 16).map_err(|_| Malformed::new(what, text))
}
