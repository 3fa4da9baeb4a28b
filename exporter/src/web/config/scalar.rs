//! The meaning of a plain scalar of YAML 1.1, as Go reads it.

/// A plain scalar's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    /// A number, cut to an integer, that fits.
    Number(i64),
    /// A number that is no `i64`, or none at all.
    NoInteger,
    /// A date or a time of day.
    Timestamp,
    /// A text; its nanoseconds where it is a duration.
    Text(Option<i64>),
}

pub(super) fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

pub(super) fn resolve(text: &str) -> Scalar {
    match text {
        text if is_null(text) => Scalar::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Scalar::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Scalar::Bool(false)
        }
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF"
        | "-.inf" | "-.Inf" | "-.INF" => Scalar::NoInteger,
        text => match number(&text.replace('_', "")) {
            Some(value) => value,
            None if is_timestamp(text) => Scalar::Timestamp,
            None => Scalar::Text(duration(text)),
        },
    }
}

/// The tag that a fault gives the scalar, without `!!`.
pub(super) fn tag(text: &str) -> &'static str {
    match resolve(text) {
        Scalar::Null => "null",
        Scalar::Bool(_) => "bool",
        Scalar::Number(_) if integer(&text.replace('_', "")).is_some() => "int",
        Scalar::Number(_) | Scalar::NoInteger => "float",
        Scalar::Timestamp => "timestamp",
        Scalar::Text(_) => "str",
    }
}

fn number(text: &str) -> Option<Scalar> {
    if let Some(value) = integer(text) {
        return Some(Scalar::Number(value));
    }
    let float: f64 = is_float(text).then(|| text.parse().ok())??;
    #[expect(clippy::cast_possible_truncation, reason = "to an integer, and it fits")]
    let value = (float.abs() < 2f64.powi(63)).then_some(float as i64);
    Some(value.map_or(Scalar::NoInteger, Scalar::Number))
}

/// An integer in one of Go's bases: `0x`, `0b`, `0o` or `0` for octal digits.
fn integer(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) if text.starts_with('-') => ("-", digits),
        Some(digits) => ("", digits),
        None => ("", text),
    };
    let (digits, base) = match digits.get(..2) {
        Some("0x" | "0X") => (digits.get(2..)?, 16),
        Some("0b" | "0B") => (digits.get(2..)?, 2),
        Some("0o" | "0O") => (digits.get(2..)?, 8),
        Some(other) if other.starts_with('0') => (digits.get(1..)?, 8),
        _ => (digits, 10),
    };
    if !digits.starts_with(|c: char| c.is_digit(base)) {
        return None; // another sign
    }
    i64::from_str_radix(&format!("{sign}{digits}"), base).ok()
}

/// Whether this is `1`, `1.5`, `.5` or `1.`, with an exponent or without.
fn is_float(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent = exponent.map(|text| text.strip_prefix(['-', '+']).unwrap_or(text));
    is_digits(whole)
        && is_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|digits| !digits.is_empty() && is_digits(digits))
}

/// Whether this begins as a date does: four digits, a dash, a month and a day.
fn is_timestamp(text: &str) -> bool {
    let date = text.split(['T', 't', ' ']).next().unwrap_or_default();
    let mut parts = date.split('-');
    let mut digits = |lengths: std::ops::RangeInclusive<usize>| {
        parts.next().is_some_and(|part| {
            lengths.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    digits(4..=4) && digits(1..=2) && digits(1..=2) && parts.next().is_none()
}

/// The nanoseconds of a duration in Go's form: `1h30m`, `-1.5s`, `0`.
pub(super) fn duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) if text.starts_with('-') => (-1.0, rest),
        Some(rest) => (1.0, rest),
        None => (1.0, text),
    };
    if rest == "0" {
        return Some(0);
    }
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let mut sum = 0.0;
    loop {
        let (number, tail) = rest.split_at(rest.find(|c| !is_number(c))?);
        let (unit, tail) = tail.split_at(tail.find(is_number).unwrap_or(tail.len()));
        let number: f64 = is_float(number).then(|| number.parse().ok())??;
        sum += number
            * match unit {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return None,
            };
        rest = tail;
        if rest.is_empty() {
            break;
        }
    }
    #[expect(clippy::cast_possible_truncation, reason = "it fits")]
    (sum < 2f64.powi(63)).then_some((sign * sum) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_those_of_yaml_1_1() {
        for (text, value, named) in [
            ("~", Scalar::Null, "null"),
            ("on", Scalar::Bool(true), "bool"),
            ("No", Scalar::Bool(false), "bool"),
            ("5", Scalar::Number(5), "int"),
            ("-5", Scalar::Number(-5), "int"),
            ("+5", Scalar::Number(5), "int"),
            ("1_000", Scalar::Number(1000), "int"),
            ("0x10", Scalar::Number(16), "int"),
            ("-0x1", Scalar::Number(-1), "int"),
            ("0b11", Scalar::Number(3), "int"),
            ("0o7", Scalar::Number(7), "int"),
            ("010", Scalar::Number(8), "int"),
            ("08", Scalar::Number(8), "float"),
            ("0", Scalar::Number(0), "int"),
            ("1.5", Scalar::Number(1), "float"),
            ("-1.5", Scalar::Number(-1), "float"),
            (".5", Scalar::Number(0), "float"),
            ("1.", Scalar::Number(1), "float"),
            ("1e2", Scalar::Number(100), "float"),
            ("99999999999999999999", Scalar::NoInteger, "float"),
            (".inf", Scalar::NoInteger, "float"),
            ("+-5", Scalar::Text(None), "str"),
            ("0x", Scalar::Text(None), "str"),
            ("1e", Scalar::Text(None), "str"),
            ("inf", Scalar::Text(None), "str"),
            ("2001-01-01", Scalar::Timestamp, "timestamp"),
            ("2001-01-01T00:00:00Z", Scalar::Timestamp, "timestamp"),
            ("5s", Scalar::Text(Some(5_000_000_000)), "str"),
            ("abc", Scalar::Text(None), "str"),
        ] {
            assert_eq!((resolve(text), tag(text)), (value, named), "{text}");
        }
    }

    #[test]
    fn durations_are_gos() {
        for (text, nanoseconds) in [
            ("0", Some(0)),
            ("1h30m", Some(5_400_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("-1s", Some(-1_000_000_000)),
            (".5ms", Some(500_000)),
            ("1us1ns", Some(1_001)),
            ("1µs", Some(1_000)),
            ("", None),
            ("5", None),
            ("s", None),
            (".s", None),
            ("1d", None),
            ("1s ", None),
            ("1s1", None),
            ("9999999999h", None),
        ] {
            assert_eq!(duration(text), nanoseconds, "{text}");
        }
    }
}
