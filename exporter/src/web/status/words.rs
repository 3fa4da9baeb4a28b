//! Times and numbers as words of a page.

use jiff::Timestamp;
use maud::{Markup, html};

/// A time, for people and for machines.
pub(super) fn moment(time: Timestamp) -> Markup {
    html! { time datetime=(time) { (time.strftime("%Y-%m-%d %H:%M:%S UTC")) } }
}

/// The time between two moments, in the two largest units.
pub(super) fn age(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.as_second().saturating_sub(from.as_second()).max(0);
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, hours, ..) => format!("{days} d {hours} h"),
    }
}

/// Seconds, in a unit that leaves few digits.
pub(super) fn seconds(seconds: f64) -> String {
    let (number, unit) = match seconds {
        ..1e-6 => (seconds * 1e9, "ns"),
        ..1e-3 => (seconds * 1e6, "µs"),
        ..1.0 => (seconds * 1e3, "ms"),
        _ => (seconds, "s"),
    };
    let digits = if number < 10.0 { 2 } else { usize::from(number < 100.0) };
    format!("{number:.digits$} {unit}")
}

/// A number with a thin space between thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, 3.4e-8, 0.000_123_4, 0.012, 0.5, 1.0, 12.34, 123.4].map(seconds);
        assert_eq!(
            texts,
            ["0.00 ns", "34.0 ns", "123 µs", "12.0 ms", "500 ms", "1.00 s", "12.3 s", "123 s"]
        );
        let texts = [0, 999, 1_000, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]);
        let second = |second| Timestamp::from_second(second).unwrap();
        let texts = [0, 59, 61, 3_661, 90_000].map(|s| age(second(1), second(1 + s)));
        assert_eq!(texts, ["0 s", "59 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]);
        assert_eq!(age(second(5), second(1)), "0 s", "the clock was set back");
    }
}
