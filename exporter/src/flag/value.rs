//! The types of flags, save patterns.

use super::{Form, Value};
use std::{path::PathBuf, time::Duration};

/// The last text given, or nothing.
pub(super) fn last<'a>(given: &[&'a str]) -> &'a str {
    given.last().copied().unwrap_or_default()
}

impl Value for bool {
    const FORM: Form = Form::Switch;
    fn parse(given: &[&str]) -> Result<Self, String> {
        last(given).parse().map_err(|_| format!("{:?} is neither true nor false", last(given)))
    }
}

/// Reads numbers as Go reads flags: digits after a decimal point are cut off, and underscores may
/// stand between digits. A negative number becomes 0, which means no limit for a limit, and no
/// setting for any other flag.
impl Value for u64 {
    const FORM: Form = Form::Once;
    fn parse(given: &[&str]) -> Result<Self, String> {
        let given = last(given);
        let is_grouped = given.split('_').skip(1).all(|group| group.starts_with(is_digit))
            && given.rsplit('_').skip(1).all(|group| group.ends_with(is_digit));
        let text = if is_grouped { given.replace('_', "") } else { given.to_owned() };
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "wanted")]
        let cut = number.map(|number| number as Self);
        (text.parse().ok()).or(cut).ok_or_else(|| format!("{given:?} is no number"))
    }
}

const fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

impl Value for String {
    const FORM: Form = Form::Once;
    fn parse(given: &[&str]) -> Result<Self, String> {
        Ok(last(given).to_owned())
    }
}

impl Value for PathBuf {
    const FORM: Form = Form::Once;
    fn parse(given: &[&str]) -> Result<Self, String> {
        Ok(last(given).into())
    }
}

impl Value for Vec<String> {
    const FORM: Form = Form::Repeated;
    fn parse(given: &[&str]) -> Result<Self, String> {
        Ok(given.iter().map(|&text| text.to_owned()).collect())
    }
}

/// Go's notation: `1.5s`, `300ms`, `1m30s`.
impl Value for Duration {
    const FORM: Form = Form::Once;
    fn parse(given: &[&str]) -> Result<Self, String> {
        let whole = last(given);
        let wrong = || format!("{whole:?} is no duration such as 1.5s, 300ms or 1m30s");
        if matches!(whole, "0" | "-0" | "+0") {
            return Ok(Self::ZERO);
        }
        let (mut rest, mut sum) = (whole.strip_prefix('+').unwrap_or(whole), Self::ZERO);
        while !rest.is_empty() {
            let end = rest.find(|c: char| c.is_alphabetic()).ok_or_else(wrong)?;
            let (number, tail) = rest.split_at(end);
            let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(end);
            let unit = match unit {
                "ns" => 1e-9,
                "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(wrong()),
            };
            let number: f64 =
                (number.parse().ok()).filter(|_| !number.starts_with('+')).ok_or_else(wrong)?;
            let part = Self::try_from_secs_f64(number * unit).map_err(|_| wrong())?;
            sum = sum.checked_add(part).ok_or_else(wrong)?;
            rest = tail;
        }
        // Go counts nanoseconds in 63 bits, 292 years.
        let fits = i64::try_from(sum.as_nanos()).is_ok();
        if fits && whole.ends_with(char::is_alphabetic) { Ok(sum) } else { Err(wrong()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        let parse = |text| <u64 as Value>::parse(&[text]);
        for (text, number) in [
            ("0", 0),
            ("40", 40),
            ("-1", 0),
            ("1.5", 1),
            ("4e1", 40),
            ("1_000", 1000),
            ("0_1", 1),
            ("-0.5", 0),
            ("18446744073709551615", u64::MAX),
            ("1e300", u64::MAX),
        ] {
            assert_eq!(parse(text), Ok(number), "{text}");
        }
        for wrong in ["", "x", "1x", "NaN", "inf", " 1", "0x10", "_1", "1_", "1__0", "1_.5"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let parse = |text| <Duration as Value>::parse(&[text]);
        assert_eq!(parse("0.5s"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(parse("2h"), Ok(Duration::from_secs(7200)));
        for zero in ["0", "+0", "-0", "0s", "+0s"] {
            assert_eq!(parse(zero), Ok(Duration::ZERO), "{zero}");
        }
        for micro in ["7us", "7\u{b5}s", "7\u{3bc}s"] {
            assert_eq!(parse(micro), Ok(Duration::from_micros(7)), "{micro}");
        }
        assert_eq!(parse("2562047h"), Ok(Duration::from_secs(2_562_047 * 3600)));
        for wrong in
            ["", "+", "5", "s", "-1s", "1x", "1s5", "1e400s", "NaNs", "2562048h", "1s+1s", "++1s"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
