//! Reading rows, words and numbers out of kernel text.
//!
//! A number that a kernel can print is no fault, even if it is larger than 2^64, or negative where
//! the documentation has no negative numbers. [`decimal`], [`hexadecimal`] and [`any_base`] read
//! every such number as a float64, the type of samples. [`number`] is for numbers that must fit a
//! type, such as the number of a processor.

mod order;

pub use order::RowOrder;

use crate::error::{Faults, Malformed};
use std::{
    ops::{Range, RangeInclusive},
    str::FromStr,
};

/// The words of a line, read one after the other; an error names the expected word.
pub trait Words<'a>: Iterator<Item = &'a str> {
    /// The next word.
    ///
    /// # Errors
    /// No word is left.
    fn word(&mut self, what: &'static str) -> Result<&'a str, Malformed> {
        self.next().ok_or_else(|| Malformed::new(what, ""))
    }

    /// The next word, as [`decimal`] reads it.
    ///
    /// # Errors
    /// No word is left, or the word is no number.
    fn decimal(&mut self, what: &'static str) -> Result<f64, Malformed> {
        decimal(what, self.word(what)?)
    }

    /// The next word, as [`hexadecimal`] reads it.
    ///
    /// # Errors
    /// No word is left, or the word is no number.
    fn hexadecimal(&mut self, what: &'static str) -> Result<f64, Malformed> {
        hexadecimal(what, self.word(what)?)
    }
}

impl<'a, I: Iterator<Item = &'a str>> Words<'a> for I {}

/// The lines of a text, as [`str::lines`] has them; memchr finds their ends faster.
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    line_places(text).filter_map(|place| text.get(place))
}

/// The places of the lines of a text.
fn line_places(text: &str) -> impl Iterator<Item = Range<usize>> {
    let bytes = text.as_bytes();
    let mut begin = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(begin..).filter(|rest| !rest.is_empty())?;
        let found = memchr::memchr(b'\n', rest);
        let line = found
            .and_then(|end| rest.get(..end))
            .map_or(rest, |line| line.strip_suffix(b"\r").unwrap_or(line));
        let place = begin..begin + line.len();
        begin += found.map_or(rest.len(), |end| end + 1);
        Some(place)
    })
}

/// Gives `row` each line of a table; after a malformed row, the others are still read.
///
/// # Errors
/// The first error of `row`, with the number of its line.
pub fn rows<'a>(
    text: &'a str,
    row: impl FnMut(&'a str) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    rows_after(0, text, row)
}

/// As [`rows`], without the first `head` lines.
///
/// # Errors
/// As [`rows`].
pub fn rows_after<'a>(
    head: usize,
    text: &'a str,
    mut row: impl FnMut(&'a str) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut faults = Faults::default();
    for (number, line) in (1..).zip(lines(text)).skip(head) {
        faults.keep(row(line).map_err(|malformed| malformed.in_line(number)));
    }
    faults.end()
}

/// All of `text` as the decimal number that a kernel may print: of any length, with a sign or
/// without, with a fraction or without.
///
/// # Errors
/// `text` is no such number, or larger than a float64 can be.
pub fn decimal(what: &'static str, text: &str) -> Result<f64, Malformed> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_decimal = |text: &str| {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        is_digits(whole) && is_digits(fraction)
    };
    let number = match short(digits.as_bytes()) {
        Some(number) if digits.len() < text.len() => Some(-(number as f64)),
        Some(number) => Some(number as f64),
        None => text.parse().ok().filter(|number: &f64| number.is_finite() && is_decimal(digits)),
    };
    number.ok_or_else(|| Malformed::new(what, text))
}

/// The fast path for nearly all numbers: those of at most 19 digits, which are below 2^64.
fn short(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    digits.iter().try_fold(0, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then(|| number * 10 + u64::from(digit))
    })
}

/// All of `text` as a hexadecimal number of any length, without `0x`, with a sign or without.
///
/// # Errors
/// `text` is no such number.
pub fn hexadecimal(what: &'static str, text: &str) -> Result<f64, Malformed> {
    in_base(16, text.strip_prefix('-').unwrap_or(text))
        .map(|number| if text.starts_with('-') { -number } else { number })
        .ok_or_else(|| Malformed::new(what, text))
}

/// All of `text` as a number of any length in C's notation, with a sign or without; see
/// [`unsigned`].
///
/// # Errors
/// `text` is no such number.
pub fn any_base(text: &str) -> Result<f64, Malformed> {
    let magnitude = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (radix, digits) = notation(magnitude);
    in_base(radix, digits)
        .map(|number| if text.starts_with('-') { -number } else { number })
        .ok_or_else(|| Malformed::new("number", text))
}

fn in_base(radix: u32, digits: &str) -> Option<f64> {
    let is_number = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    is_number.then(|| match u64::from_str_radix(digits, radix) {
        Ok(number) => number as f64,
        Err(_) => (digits.chars().filter_map(|c| c.to_digit(radix)))
            .fold(0.0, |number, digit| number * f64::from(radix) + f64::from(digit)),
    })
}

/// All of `text` as a number.
///
/// # Errors
/// `text` is no number of that type (out of range included).
pub fn number<T: FromStr>(what: &'static str, text: &str) -> Result<T, Malformed> {
    text.parse().map_err(|_| Malformed::new(what, text))
}

/// The kernel's lists of numbers, such as `1,4-6`: each part from its first to its last number.
pub fn ranges<T: FromStr>(
    what: &'static str,
    text: &str,
) -> impl Iterator<Item = Result<RangeInclusive<T>, Malformed>> {
    text.trim_end_matches('\n').split(',').filter(|part| !part.is_empty()).map(move |part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) => Ok(first..=last),
            _ => Err(Malformed::new(what, part)),
        }
    })
}

/// Whether `text` is a number without sign, of any length.
#[must_use]
pub fn is_digits(text: impl AsRef<[u8]>) -> bool {
    let text = text.as_ref();
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// All of `text` as a hexadecimal number, without `0x`.
///
/// # Errors
/// `text` is no such number of at most 64 bits.
pub fn hex(what: &'static str, text: &str) -> Result<u64, Malformed> {
    u64::from_str_radix(text, 16).map_err(|_| Malformed::new(what, text))
}

/// All of `text` as a number in C's notation: `0x` for base 16, `0` for base 8. Attributes in sysfs
/// are read in this way, since some drivers of a class print hexadecimal numbers and others do not.
///
/// # Errors
/// `text` is no such number (out of range included).
pub fn unsigned(text: &str) -> Result<u64, Malformed> {
    let (radix, digits) = notation(text);
    Some(digits)
        .filter(|digits| !digits.starts_with('+'))
        .and_then(|digits| u64::from_str_radix(digits, radix).ok())
        .ok_or_else(|| Malformed::new("number", text))
}

/// The base that C's prefixes give, and the digits after the prefix.
fn notation(text: &str) -> (u32, &str) {
    match text.split_at_checked(2) {
        Some(("0x" | "0X", digits)) => (16, digits),
        Some(("0b" | "0B", digits)) => (2, digits),
        Some(("0o" | "0O", digits)) => (8, digits),
        Some(_) if text.starts_with('0') => (8, text),
        _ => (10, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::malformed;

    #[test]
    fn lines_are_those_of_the_standard_library() {
        for text in ["", "\n", "a", "a\n", "a\nb", "a\n\nb\n\n", "a\r\nb\r", "\r\n\r", "é\n€"] {
            assert!(lines(text).eq(text.lines()), "{text:?}");
        }
    }

    #[test]
    fn numbers_in_c_notation() {
        for (text, number) in [
            ("0", 0),
            ("42", 42),
            ("0xfF", 255),
            ("0X1f", 31),
            ("017", 15),
            ("0022", 18),
            ("0o17", 15),
            ("0b101", 5),
            ("0B11", 3),
        ] {
            assert_eq!(unsigned(text), Ok(number), "{text}");
        }
        assert_eq!(unsigned("0xffffffffffffffff"), Ok(u64::MAX));
        for wrong in ["", "-1", "+1", "0x", "0x+1", "08", "1 2", "18446744073709551616"] {
            assert_eq!(malformed(unsigned(wrong)), format!("bad number: {wrong:?}"));
        }
    }

    #[test]
    fn every_number_that_a_kernel_can_print_is_read() {
        for (text, number) in [
            ("0", 0.0),
            ("-5", -5.0),
            ("007", 7.0),
            ("0.25", 0.25),
            ("-2400.500", -2400.5),
            ("9223372036854775808", 9_223_372_036_854_775_808.0),
            ("18446744073709551488", 18_446_744_073_709_551_488.0),
            ("99999999999999999999999", 1e23),
        ] {
            assert_eq!(decimal("number", text), Ok(number), "{text}");
        }
        for wrong in
            ["", "-", "--1", "+1", "x", "1x", "1 ", "1.", ".5", "1e3", "inf", "nan", "0x1", "1.2.3"]
        {
            assert_eq!(malformed(decimal("number", wrong)), format!("bad number: {wrong:?}"));
        }
        assert!(decimal("number", &"9".repeat(400)).is_err(), "past float64");

        assert_eq!(hexadecimal("number", "00fF"), Ok(255.0));
        assert_eq!(hexadecimal("number", "-f"), Ok(-15.0));
        assert_eq!(hexadecimal("number", "10000000000000000"), Ok(18_446_744_073_709_551_616.0));
        for wrong in ["", "-", "+1", "0x1", "g", "1 "] {
            assert_eq!(malformed(hexadecimal("number", wrong)), format!("bad number: {wrong:?}"));
        }

        assert_eq!(any_base("0x10"), Ok(16.0));
        assert_eq!(any_base("-017"), Ok(-15.0));
        assert_eq!(any_base("0x10000000000000000"), Ok(18_446_744_073_709_551_616.0));
        assert_eq!(any_base("100000000000000000000"), Ok(1e20));
        for wrong in ["", "0x", "08", "x", "1.5", "é"] {
            assert_eq!(malformed(any_base(wrong)), format!("bad number: {wrong:?}"));
        }
    }

    #[test]
    fn a_malformed_row_hides_no_other() {
        let mut seen = Vec::new();
        let read = rows_after(1, "head\n1\nx\n3\ny\n", |line| {
            seen.push(decimal("number", line)?);
            Ok(())
        });
        assert_eq!(read, Err(Malformed::new("number", "x").in_line(3)));
        assert_eq!(seen, [1.0, 3.0]);
        assert_eq!(rows("", |_| Err(Malformed::new("row", ""))), Ok(()));
    }

    #[test]
    fn lists_of_numbers() {
        let list = |text| ranges::<u16>("list", text).collect::<Result<Vec<_>, _>>();
        assert_eq!(list("\n"), Ok(vec![]));
        assert_eq!(list("1,3-5,9\n"), Ok(vec![1..=1, 3..=5, 9..=9]));
        for wrong in ["x", "1-", "-1", "1-2-3", "1 ", "70000"] {
            assert_eq!(malformed(list(wrong)), format!("bad list: {wrong:?}"));
        }
    }

    #[test]
    fn digits_are_a_number_of_any_length() {
        assert!(is_digits("0") && is_digits("99999999999999999999999"));
        assert!(!is_digits("") && !is_digits("-1") && !is_digits("1 ") && !is_digits(b"\xb2"));
    }
}
