//! Reading words and numbers out of kernel text.

use crate::error::Malformed;
use std::{ops::RangeInclusive, str::FromStr};

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

    /// The next words, as numbers.
    ///
    /// # Errors
    /// As [`Words::number`], for any of them.
    fn numbers<T: FromStr + Copy + Default, const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[T; N], Malformed> {
        let mut numbers = [T::default(); N];
        for number in &mut numbers {
            *number = self.number(what)?;
        }
        Ok(numbers)
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
/// It is no such number of at most 64 bits.
pub fn hex(what: &'static str, text: &str) -> Result<u64, Malformed> {
    u64::from_str_radix(text, 16).map_err(|_| Malformed::new(what, text))
}

/// All of `text` as a number in C's notation: `0x` for base 16, `0` for base 8. Attributes in
/// sysfs are read so, since some drivers print hexadecimal numbers and others of the same class
/// do not.
///
/// # Errors
/// It is no such number (out of range included).
pub fn unsigned(text: &str) -> Result<u64, Malformed> {
    let (digits, radix) = match text.split_at_checked(2) {
        Some(("0x" | "0X", digits)) => (digits, 16),
        Some(("0b" | "0B", digits)) => (digits, 2),
        Some(("0o" | "0O", digits)) => (digits, 8),
        Some(_) if text.starts_with('0') => (text, 8),
        _ => (text, 10),
    };
    Some(digits)
        .filter(|digits| !digits.starts_with('+'))
        .and_then(|digits| u64::from_str_radix(digits, radix).ok())
        .ok_or_else(|| Malformed::new("number", text))
}

/// As [`unsigned`], with a sign.
///
/// # Errors
/// It is no such number (out of range included).
pub fn signed(text: &str) -> Result<i64, Malformed> {
    let (digits, sign) = match text.strip_prefix('-') {
        Some(digits) => (digits, -1),
        None => (text.strip_prefix('+').unwrap_or(text), 1),
    };
    (unsigned(digits).ok())
        .and_then(|magnitude| i64::try_from(i128::from(magnitude) * sign).ok())
        .ok_or_else(|| Malformed::new("number", text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::malformed;

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
            assert_eq!(signed(&format!("+{text}")), Ok(number.cast_signed()), "+{text}");
            assert_eq!(signed(&format!("-{text}")), Ok(-number.cast_signed()), "-{text}");
        }
        assert_eq!(unsigned("0xffffffffffffffff"), Ok(u64::MAX));
        assert_eq!(signed("-9223372036854775808"), Ok(i64::MIN));
        for wrong in ["", "-1", "+1", "0x", "0x+1", "08", "1 2", "18446744073709551616"] {
            assert_eq!(malformed(unsigned(wrong)), format!("bad number: {wrong:?}"));
        }
        for wrong in
            ["", "-", "x", "0x", "0x-1", "08", "1.5", "--1", "+-1", "é", "9223372036854775808"]
        {
            assert_eq!(malformed(signed(wrong)), format!("bad number: {wrong:?}"));
        }
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
