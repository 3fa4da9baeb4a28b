//! A place in the text, and the words after it.

use crate::error::Malformed;
use memchr::{memchr, memchr2, memchr3};

/// Reads lines piece by piece.
pub(super) struct Cursor<'a> {
    pub(super) text: &'a str,
    /// Byte offset of the place, always at the beginning of a character.
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The next byte. The text may end only before a line, never within one.
    pub(super) fn peek(&self) -> Result<u8, Malformed> {
        self.rest().bytes().next().ok_or_else(|| self.ended())
    }

    /// The rest of the line, without its end.
    pub(super) fn seen(&self) -> &'a str {
        self.rest().lines().next().unwrap_or_default()
    }

    fn ended(&self) -> Malformed {
        Malformed::new(
            "last line, which has no end",
            self.text.lines().next_back().unwrap_or_default(),
        )
    }

    pub(super) fn skip_blanks(&mut self) {
        self.at += self.rest().bytes().take_while(|byte| b" \t".contains(byte)).count();
    }

    /// The text before `end`, an offset in the rest; moves to `end`.
    fn take(&mut self, end: Option<usize>) -> Result<&'a str, Malformed> {
        let token = end.and_then(|end| self.rest().get(..end)).ok_or_else(|| self.ended())?;
        self.at += token.len();
        Ok(token)
    }

    pub(super) fn word(&mut self) -> Result<&'a str, Malformed> {
        self.take(memchr3(b' ', b'\t', b'\n', self.rest().as_bytes()))
    }

    /// The rest of the line; moves past its end.
    pub(super) fn line(&mut self) -> Result<&'a str, Malformed> {
        let line = self.take(memchr(b'\n', self.rest().as_bytes()))?;
        self.at += 1;
        Ok(line)
    }

    /// A name, wholly or partly in quotes; empty where the text has no name here.
    pub(super) fn name(&mut self, colon: bool) -> Result<String, Malformed> {
        let begin = self.rest();
        let wrong = || Malformed::new("name", begin.lines().next().unwrap_or_default());
        let mut name = String::new();
        let mut quoted = false;
        let starts = |byte: u8| {
            byte.is_ascii_alphabetic() || b"_\"".contains(&byte) || (colon && byte == b':')
        };
        if !starts(self.peek()?) {
            return Ok(name);
        }
        loop {
            match self.peek()? {
                b'"' => {
                    quoted = !quoted;
                    if !quoted {
                        self.at += 1;
                        return Ok(name);
                    }
                }
                // Upstream takes other characters within quotes into the name, and then refuses the
                // name.
                byte if byte.is_ascii_alphanumeric() || b"_:".contains(&byte) => {
                    name.push(char::from(byte));
                }
                _ => return Err(wrong()),
            }
            self.at += 1;
            let next = self.peek()?;
            if !quoted && !starts(next) && !next.is_ascii_digit() {
                return Ok(name);
            }
        }
    }

    /// A label's value, between quotes.
    pub(super) fn label_value(&mut self) -> Result<String, Malformed> {
        self.skip_blanks();
        if self.peek()? != b'"' {
            return Err(Malformed::new("label value, not in quotes", self.seen()));
        }
        self.at += 1;
        let begin = self.seen();
        let mut value = String::new();
        loop {
            value.push_str(self.take(memchr3(b'"', b'\\', b'\n', self.rest().as_bytes()))?);
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Ok(value);
                }
                b'\\' => {
                    self.at += 1;
                    value
                        .push(escape(self.peek()?).ok_or_else(|| Malformed::new("escape", begin))?);
                    self.at += 1;
                }
                _ => return Err(Malformed::new("label value, with a line's end", begin)),
            }
        }
    }

    /// A sample's value.
    pub(super) fn value(&mut self) -> Result<(&'a str, f64), Malformed> {
        let word = self.word()?;
        float(word).map(|value| (word, value)).ok_or_else(|| Malformed::new("value", word))
    }

    /// The rest of a line after its value; returns whether it has a timestamp.
    pub(super) fn timestamp(&mut self) -> Result<bool, Malformed> {
        let has_one = self.peek()? != b'\n';
        if has_one {
            self.skip_blanks();
            let word = self.word()?;
            word.parse::<i64>().map_err(|_| Malformed::new("timestamp", word))?;
            if self.peek()? != b'\n' {
                return Err(Malformed::new("end of line", self.seen()));
            }
        }
        self.at += 1;
        Ok(has_one)
    }
}

/// The character that `\` and this byte stand for.
const fn escape(byte: u8) -> Option<char> {
    match byte {
        b'\\' => Some('\\'),
        b'"' => Some('"'),
        b'n' => Some('\n'),
        _ => None,
    }
}

/// A help text; `None` where an escape is wrong.
pub(super) fn unescaped(mut text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    while let Some((before, after)) = text.split_once('\\') {
        plain.push_str(before);
        plain.push(escape(after.bytes().next()?)?);
        text = after.get(1..)?;
    }
    plain.push_str(text);
    Some(plain)
}

/// A number as Go reads it, without hexadecimal exponents and underscores: a number too large for a
/// float64 is wrong, and NaN has no sign.
pub(super) fn float(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    let named = memchr2(b'n', b'N', text.as_bytes()).is_some();
    let right = if value.is_nan() { text.len() == 3 } else { value.is_finite() || named };
    right.then_some(value)
}
