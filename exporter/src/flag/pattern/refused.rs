//! The reason for refusing a pattern, in one line.

use std::fmt;

/// The reason for refusing a pattern.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// The reason, in Go's words where Go refuses the pattern, too.
    pub(super) reason: &'static str,
    /// The part that is wrong.
    pub(super) part: String,
    /// The place of that part's first character, counted from 1.
    pub(super) place: usize,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}` at character {}", self.reason, shown(&self.part), self.place)
    }
}

/// A pattern, or a part of one, in one line of bounded length.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 200;
    let mut shown = String::new();
    for (i, c) in text.chars().enumerate() {
        if i == LONGEST {
            shown.push('…');
            break;
        }
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}
