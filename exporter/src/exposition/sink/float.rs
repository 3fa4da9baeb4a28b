//! Numbers as the Go client prints them: `strconv.AppendFloat(v, 'g', -1, 64)`.

use std::io::Write as _;

/// Types that can be a sample's value.
pub trait Number {
    /// Appends the value as the text format prints it.
    fn append(self, text: &mut String);
}

/// Every integer up to here is a float64 without loss: 2^53.
const EXACT: u64 = 1 << 53;
/// Exponents from which the scientific form is used.
const SCIENTIFIC_FROM: i32 = 6;
/// Exponents below which the scientific form is used.
const SCIENTIFIC_BELOW: i32 = -4;

impl Number for f64 {
    fn append(self, text: &mut String) {
        append_float(text, self);
    }
}

impl Number for f32 {
    fn append(self, text: &mut String) {
        append_float(text, f64::from(self));
    }
}

impl Number for bool {
    fn append(self, text: &mut String) {
        text.push(if self { '1' } else { '0' });
    }
}

impl Number for u64 {
    fn append(self, text: &mut String) {
        if self <= EXACT { append_integer(text, self) } else { append_float(text, self as f64) }
    }
}

impl Number for i64 {
    fn append(self, text: &mut String) {
        if self.unsigned_abs() > EXACT {
            return append_float(text, self as f64);
        }
        if self < 0 {
            text.push('-');
        }
        append_integer(text, self.unsigned_abs());
    }
}

macro_rules! number {
    ($($small:ty => $large:ty),*) => {$(
        impl Number for $small {
            fn append(self, text: &mut String) {
                #[expect(clippy::allow_attributes, reason = "usize has no From")]
                #[allow(clippy::cast_lossless, reason = "usize has no From")]
                (self as $large).append(text);
            }
        }
    )*};
}
number!(u8 => u64, u16 => u64, u32 => u64, usize => u64, i8 => i64, i16 => i64, i32 => i64);

/// Appends `value` in Go's shortest form: as few digits as give the same float64 back, the
/// scientific form for exponents below -4 or of 6 and more, at least two digits of exponent.
pub fn append_float(text: &mut String, value: f64) {
    if value.is_nan() {
        return text.push_str("NaN");
    }
    if value.is_infinite() {
        return text.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    }
    if value == 0.0 {
        return text.push('0'); // the client compares with zero, and so loses the sign
    }
    if value.abs() <= EXACT as f64 && value.fract() == 0.0 {
        #[expect(clippy::cast_possible_truncation, reason = "it is a whole number")]
        return (value as i64).append(text); // the fast path: most values are whole
    }
    if (1e-4..1e6).contains(&value.abs()) {
        // Neither this crate nor Go takes the scientific form here, and no value is whole.
        return text.push_str(zmij::Buffer::new().format_finite(value));
    }
    // Rust's `{:e}` has the digits and the exponent, in another notation: `-1.5e-7`.
    let mut buffer = [0; 32];
    let mut rest = buffer.as_mut_slice();
    let _ = write!(rest, "{value:e}"); // at most 24 bytes
    let unused = rest.len();
    let used = buffer.len() - unused;
    let printed = buffer.get(..used).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or_default();
    let (mantissa, exponent) = printed.split_once('e').unwrap_or((printed, "0"));
    let exponent = exponent.parse().unwrap_or(0);
    let mantissa = match mantissa.strip_prefix('-') {
        Some(positive) => {
            text.push('-');
            positive
        }
        None => mantissa,
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    append_digits(text, whole, fraction, exponent);
}

/// Appends a number of which `whole` is the first digit and `fraction` the others, without
/// trailing zeros.
fn append_digits(text: &mut String, whole: &str, fraction: &str, exponent: i32) {
    if !(SCIENTIFIC_BELOW..SCIENTIFIC_FROM).contains(&exponent) {
        text.push_str(whole);
        if !fraction.is_empty() {
            text.push('.');
            text.push_str(fraction);
        }
        text.push_str(if exponent < 0 { "e-" } else { "e+" });
        let exponent = exponent.unsigned_abs();
        if exponent < 10 {
            text.push('0');
        }
        text.push_str(itoa::Buffer::new().format(exponent));
    } else if exponent < 0 {
        text.push_str("0.");
        (1..exponent.unsigned_abs()).for_each(|_| text.push('0'));
        text.push_str(whole);
        text.push_str(fraction);
    } else {
        text.push_str(whole);
        let shift = exponent.unsigned_abs() as usize;
        match fraction.split_at_checked(shift) {
            Some((before, "")) => text.push_str(before),
            Some((before, after)) => {
                text.push_str(before);
                text.push('.');
                text.push_str(after);
            }
            None => {
                text.push_str(fraction);
                (fraction.len()..shift).for_each(|_| text.push('0'));
            }
        }
    }
}

/// Appends a whole number of at most 2^53, as nine samples in ten are.
fn append_integer(text: &mut String, value: u64) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value);
    let exponent = digits.len() - 1;
    if exponent < SCIENTIFIC_FROM.unsigned_abs() as usize {
        return text.push_str(digits);
    }
    let (whole, fraction) = digits.split_at(1);
    append_digits(
        text,
        whole,
        fraction.trim_end_matches('0'),
        i32::try_from(exponent).unwrap_or(0),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn printed(value: impl Number) -> String {
        let mut text = String::new();
        value.append(&mut text);
        text
    }

    /// The rule of Go's `%g` restated: digits and point from the decimal expansion of `{:e}`.
    fn expected(value: f64) -> String {
        let sign = if value < 0.0 { "-" } else { "" };
        let printed = format!("{:e}", value.abs());
        let (mantissa, exponent) = printed.split_once('e').unwrap();
        let exponent: i32 = exponent.parse().unwrap();
        let digits: String = mantissa.chars().filter(|&c| c != '.').collect();
        if !(-4..6).contains(&exponent) {
            let point = if digits.len() > 1 { "." } else { "" };
            let exponent_sign = if exponent < 0 { '-' } else { '+' };
            return format!(
                "{sign}{}{point}{}e{exponent_sign}{:02}",
                digits.split_at(1).0,
                digits.split_at(1).1,
                exponent.abs()
            );
        }
        let plain = format!("{}", value.abs()); // Rust prints these without an exponent
        format!("{sign}{plain}")
    }

    #[test]
    fn numbers_are_printed_as_go_prints_them() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-1.0, "-1"),
            (0.21, "0.21"),
            (0.0001, "0.0001"),
            (0.000_01, "1e-05"),
            (5.5062e-5, "5.5062e-05"),
            (307_868.0, "307868"),
            (999_999.0, "999999"),
            (1e6, "1e+06"),
            (123_456.789, "123456.789"),
            (1_234_567.89, "1.23456789e+06"),
            (128_861_226.0, "1.28861226e+08"),
            (1_073_741_824.0, "1.073741824e+09"),
            (1.795_426_447_94e9, "1.79542644794e+09"),
            (18_446_744_073_709_551_615.0, "1.8446744073709552e+19"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (5e-324, "5e-324"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(printed(value), text);
        }
        assert_eq!(printed(u64::MAX), "1.8446744073709552e+19");
        assert_eq!(printed(i64::MIN), "-9.223372036854776e+18");
        assert_eq!(printed((1_u64 << 53) + 1), "9.007199254740992e+15");
        assert_eq!(printed(-1_000_000), "-1e+06");
        assert_eq!(printed(true), "1");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn every_float_keeps_its_value_and_has_the_form(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite() && value != 0.0);
            let text = printed(value);
            prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), bits);
            prop_assert_eq!(text, expected(value));
        }

        #[test]
        fn floats_near_the_limits_of_the_forms(digits in 1_u64..10_000_000_000, shift in -12_i32..12) {
            let value = digits as f64 * 10_f64.powi(shift);
            prop_assert_eq!(printed(value), expected(value));
        }

        #[test]
        fn integers_print_as_their_floats(value in any::<u64>(), shift in 0..64) {
            let value: u64 = value >> shift;
            prop_assert_eq!(printed(value), printed(value as f64));
            let value = value.cast_signed();
            prop_assert_eq!(printed(value), printed(value as f64));
        }
    }
}
