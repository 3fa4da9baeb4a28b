//! Reads Go's syntax of regular expressions and writes that of the crate `regex`.
//!
//! Every part is written so that its meaning does not depend on its place: a flag such as `(?i)` is
//! written before each character that it applies to, groups are written where they are needed, and
//! classes such as `\d` are spelled out. A pattern that Go refuses is refused in Go's words. The
//! syntax is that of <https://pkg.go.dev/regexp/syntax>.

use super::{
    class::{self, Class},
    part::{Level, Part, Shape},
    refused::Refused,
};

/// The deepest nesting of groups; Go allows about as much.
const DEEPEST: usize = 1000;
/// The most repetitions that numbers may ask for, in a row or one within the other, as in Go.
const MOST: u32 = 1000;

/// The same pattern in the syntax of the crate `regex`.
///
/// # Errors
/// Go refuses it.
pub(super) fn translate(pattern: &str) -> Result<String, Refused> {
    let text: Vec<char> = pattern.chars().collect();
    let mut parser = Parser {
        text: &text,
        at: 0,
        flags: Flags::default(),
        open: Vec::new(),
        level: Level::default(),
    };
    let mut repeated = None;
    while let Some(&c) = text.get(parser.at) {
        repeated = parser.step(c, repeated)?;
    }
    if let Some(open) = parser.open.last() {
        return Err(parser.refuse("missing closing )", open.place));
    }
    Ok(parser.level.finish().text)
}

/// The switches of `(?ims)`. `U` is read and has no effect: it changes the match that is found,
/// never whether the text matches.
#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    fold: bool,
    lines: bool,
    dot_all: bool,
}

/// A group whose end has not been read yet.
struct Open {
    outside: Level,
    flags: Flags,
    place: usize,
}

struct Parser<'a> {
    text: &'a [char],
    at: usize,
    flags: Flags,
    open: Vec<Open>,
    level: Level,
}

/// Larger numbers are read as this one: Go refuses them all.
const TOO_MANY: u32 = 100_000_000;

impl Parser<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.text.get(self.at + ahead).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek(0)?;
        self.at += 1;
        Some(c)
    }

    fn comes(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(i, c)| self.peek(i) == Some(c))
    }

    fn between(&self, from: usize, to: usize) -> String {
        self.text.get(from..to).unwrap_or_default().iter().collect()
    }

    /// Refuses the part between `from` and the current place.
    fn refuse(&self, reason: &'static str, from: usize) -> Refused {
        Refused { reason, part: self.between(from, self.at), place: from + 1 }
    }

    /// Refuses the whole rest from `from` on, which lacks its end.
    fn refuse_rest(&mut self, reason: &'static str, from: usize) -> Refused {
        self.at = self.text.len();
        self.refuse(reason, from)
    }

    /// Reads the part that begins with `c`. `repeated` is the place of a repetition directly before
    /// this part; the step returns that place for the next one.
    fn step(&mut self, c: char, repeated: Option<usize>) -> Result<Option<usize>, Refused> {
        let from = self.at;
        match c {
            '(' if self.peek(1) == Some('?') => self.special_group()?,
            '(' => self.open_group(1)?,
            ')' => self.close_group()?,
            '|' => {
                self.at += 1;
                self.level.end_branch();
            }
            '^' if self.flags.lines => self.push(1, "(?m:^)"),
            '^' => self.push(1, r"\A"),
            '$' if self.flags.lines => self.push(1, "(?m:$)"),
            '$' => self.push(1, r"\z"),
            '.' if self.flags.dot_all => self.push(1, "(?s:.)"),
            '.' => self.push(1, "."),
            '[' => {
                let class = self.bracketed()?;
                self.push_class(class);
            }
            '*' | '+' | '?' => {
                self.at += 1;
                self.repeat(&c.to_string(), None, from, repeated)?;
                return Ok(Some(from));
            }
            '{' => match self.numbers() {
                Some((least, most)) => {
                    let text = match most {
                        Some(most) if most == least => format!("{{{least}}}"),
                        Some(most) => format!("{{{least},{most}}}"),
                        None => format!("{{{least},}}"),
                    };
                    if least > MOST || most.is_some_and(|most| most > MOST || most < least) {
                        return Err(self.refuse("invalid repeat count", from));
                    }
                    self.repeat(&text, Some((least, most)), from, repeated)?;
                    return Ok(Some(from));
                }
                None => self.literal('{', 1),
            },
            '\\' => self.backslash()?,
            c => self.literal(c, 1),
        }
        Ok(None)
    }

    fn push(&mut self, read: usize, text: impl Into<String>) {
        self.at += read;
        self.level.row.push(Part::item(text));
    }

    fn push_class(&mut self, class: String) {
        self.push(0, if self.flags.fold { format!("(?i:{class})") } else { class });
    }

    fn literal(&mut self, c: char, read: usize) {
        let mut text = String::new();
        class::push(&mut text, c);
        if self.flags.fold && (c.is_ascii_alphabetic() || !c.is_ascii()) {
            text = format!("(?i:{text})");
        }
        self.push(read, text);
    }

    /// Adds a code point as a literal; a surrogate never matches, since no text has one.
    fn code_point(&mut self, code: u32) {
        match char::from_u32(code) {
            Some(c) => self.literal(c, 0),
            None => self.push(0, class::NOTHING),
        }
    }

    /// Repeats the last part: `how` is the operator, `numbers` its least and most repetitions where
    /// they were given as numbers.
    fn repeat(
        &mut self,
        how: &str,
        numbers: Option<(u32, Option<u32>)>,
        from: usize,
        repeated: Option<usize>,
    ) -> Result<(), Refused> {
        if self.peek(0) == Some('?') {
            self.at += 1; // prefers fewer repetitions: no effect on whether the text matches
        }
        if let Some(first) = repeated {
            return Err(self.refuse("invalid nested repetition operator", first));
        }
        let Some(part) = self.level.row.pop() else {
            return Err(self.refuse("missing argument to repetition operator", from));
        };
        let mut part = part.grouped(Shape::Item);
        part.text.push_str(how);
        part.shape = Shape::Row;
        if let Some((least, most)) = numbers {
            part.repeats = match most.unwrap_or(least) {
                0 if most.is_some() => 0,
                0 => part.repeats,
                times => times.saturating_mul(part.repeats.max(1)),
            };
            if part.repeats > MOST {
                return Err(self.refuse("invalid repeat count", from));
            }
        }
        self.level.row.push(part);
        Ok(())
    }

    /// Reads `{2}`, `{2,}` or `{2,3}`; `None` for any other brace, which is a literal.
    fn numbers(&mut self) -> Option<(u32, Option<u32>)> {
        let mut at = self.at + 1;
        let least = number(self.text, &mut at)?;
        let mut most = Some(least);
        if self.text.get(at) == Some(&',') {
            at += 1;
            most = match self.text.get(at) {
                Some('}') => None,
                _ => Some(number(self.text, &mut at)?),
            };
        }
        (self.text.get(at) == Some(&'}')).then_some(())?;
        self.at = at + 1;
        Some((least, most))
    }

    fn open_group(&mut self, read: usize) -> Result<(), Refused> {
        let place = self.at;
        self.at += read;
        if self.open.len() == DEEPEST {
            return Err(self.refuse("expression nests too deeply", place));
        }
        let outside = std::mem::take(&mut self.level);
        self.open.push(Open { outside, flags: self.flags, place });
        Ok(())
    }

    fn close_group(&mut self) -> Result<(), Refused> {
        self.at += 1;
        let Some(open) = self.open.pop() else {
            return Err(self.refuse("unexpected )", self.at - 1));
        };
        let inside = std::mem::replace(&mut self.level, open.outside).finish();
        self.flags = open.flags;
        self.level.row.push(inside);
        Ok(())
    }

    /// Reads `(?P<name>`, `(?<name>`, `(?flags:` and `(?flags)`.
    fn special_group(&mut self) -> Result<(), Refused> {
        let from = self.at;
        for start in ["(?P<", "(?<"] {
            let length = start.len();
            if !self.comes(start) || self.peek(length).is_none() {
                continue;
            }
            let rest = self.text.get(from + length..).unwrap_or_default();
            let Some(end) = rest.iter().position(|&c| c == '>') else {
                return Err(self.refuse_rest("invalid named capture", from));
            };
            let name = rest.get(..end).unwrap_or_default();
            if name.is_empty() || !name.iter().all(|&c| c == '_' || c.is_ascii_alphanumeric()) {
                self.at = from + length + end + 1;
                return Err(self.refuse("invalid named capture", from));
            }
            return self.open_group(length + end + 1);
        }
        self.at += 2;
        let mut flags = self.flags;
        let (mut on, mut seen) = (true, false);
        while let Some(c) = self.next() {
            match c {
                'i' => flags.fold = on,
                'm' => flags.lines = on,
                's' => flags.dot_all = on,
                'U' => {}
                '-' if on => {
                    (on, seen) = (false, false);
                    continue;
                }
                ':' | ')' if on || seen => {
                    if c == ':' {
                        let length = self.at - from;
                        self.at = from;
                        self.open_group(length)?;
                    }
                    self.flags = flags;
                    return Ok(());
                }
                _ => break,
            }
            seen = true;
        }
        Err(self.refuse("invalid or unsupported Perl syntax", from))
    }

    fn backslash(&mut self) -> Result<(), Refused> {
        let from = self.at;
        match self.peek(1) {
            Some('A') => self.push(2, r"\A"),
            Some('z') => self.push(2, r"\z"),
            Some('b') => self.push(2, r"(?-u:\b)"),
            Some('B') => self.push(2, r"(?-u:\B)"),
            Some('C') => {
                self.at += 2;
                return Err(self.refuse("invalid escape sequence", from));
            }
            Some('Q') => {
                self.at += 2;
                while let Some(c) = self.peek(0) {
                    if self.comes(r"\E") {
                        self.at += 2;
                        break;
                    }
                    self.literal(c, 1);
                }
            }
            _ => match self.class()? {
                Some(class) => self.push_class(class),
                None => {
                    let code = self.escape()?;
                    self.code_point(code);
                }
            },
        }
        Ok(())
    }

    /// Reads `\p{name}` or `\d`, inside of brackets and outside.
    fn class(&mut self) -> Result<Option<String>, Refused> {
        let from = self.at;
        if self.peek(0) != Some('\\') {
            return Ok(None);
        }
        let Some(letter) = self.peek(1) else { return Ok(None) };
        if let Some(class) = class::perl(letter) {
            self.at += 2;
            return Ok(Some(class.to_owned()));
        }
        if !matches!(letter, 'p' | 'P') {
            return Ok(None);
        }
        self.at += 2;
        let name = match self.next() {
            Some('{') => {
                let start = self.at;
                loop {
                    match self.next() {
                        Some('}') => break self.between(start, self.at - 1),
                        Some(_) => {}
                        None => return Err(self.refuse("invalid character class range", from)),
                    }
                }
            }
            other => other.into_iter().collect(),
        };
        class::unicode(&name, letter == 'P')
            .filter(|class| regex::Regex::new(class).is_ok())
            .map(Some)
            .ok_or_else(|| self.refuse("invalid character class range", from))
    }

    /// Reads a character after a backslash.
    fn escape(&mut self) -> Result<u32, Refused> {
        let from = self.at;
        self.at += 1;
        let Some(c) = self.next() else {
            return Err(self.refuse("trailing backslash at end of expression", from));
        };
        let octal = |c: Option<char>| c.and_then(|c| c.to_digit(8));
        let code = match c {
            'a' => Some(0x07),
            'f' => Some(0x0C),
            'n' => Some(0x0A),
            'r' => Some(0x0D),
            't' => Some(0x09),
            'v' => Some(0x0B),
            'x' => self.hexadecimal(),
            // A single digit that is not 0 would refer to a group.
            '0'..='7' if c == '0' || octal(self.peek(0)).is_some() => {
                let mut code = octal(Some(c)).unwrap_or(0);
                for _ in 0..2 {
                    let Some(digit) = octal(self.peek(0)) else { break };
                    code = code * 8 + digit;
                    self.at += 1;
                }
                Some(code)
            }
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(u32::from(c)),
            _ => None,
        };
        code.ok_or_else(|| self.refuse("invalid escape sequence", from))
    }

    /// Reads `{10FFFF}` or `7f`, after `\x`.
    fn hexadecimal(&mut self) -> Option<u32> {
        let first = self.next()?;
        if first != '{' {
            let second = self.next()?;
            return Some(first.to_digit(16)? * 16 + second.to_digit(16)?);
        }
        let mut code = None;
        loop {
            match self.next()? {
                '}' => return code,
                c => {
                    let next = code.unwrap_or(0) * 16 + c.to_digit(16)?;
                    code = Some(next).filter(|&code| code <= u32::from(char::MAX));
                    code?;
                }
            }
        }
    }

    fn bracketed(&mut self) -> Result<String, Refused> {
        let from = self.at;
        self.at += 1;
        let negated = self.peek(0) == Some('^');
        if negated {
            self.at += 1;
        }
        let mut class = Class::default();
        let mut first = true;
        while first || self.peek(0) != Some(']') {
            first = false;
            if let Some(named) = self.named()? {
                class.class(&named);
            } else if let Some(other) = self.class()? {
                class.class(&other);
            } else {
                let start = self.at;
                let low = self.member(from)?;
                let mut high = low;
                if self.peek(0) == Some('-') && self.peek(1).is_some_and(|c| c != ']') {
                    self.at += 1;
                    high = self.member(from)?;
                }
                if high < low {
                    return Err(self.refuse("invalid character class range", start));
                }
                class.range(low, high);
            }
        }
        self.at += 1;
        Ok(class.finish(negated))
    }

    /// Reads one character between brackets.
    fn member(&mut self, bracket: usize) -> Result<u32, Refused> {
        match self.peek(0) {
            None => Err(self.refuse_rest("missing closing ]", bracket)),
            Some('\\') => self.escape(),
            Some(c) => {
                self.at += 1;
                Ok(u32::from(c))
            }
        }
    }

    /// Reads `[:alpha:]`; `None` where its end is missing, since then the brackets hold plain
    /// characters.
    fn named(&mut self) -> Result<Option<String>, Refused> {
        let from = self.at;
        let rest = self.text.get(from..).unwrap_or_default();
        if !self.comes("[:") {
            return Ok(None);
        }
        let Some(end) = (2..rest.len()).find(|&i| rest.get(i..i + 2) == Some(&[':', ']'])) else {
            return Ok(None);
        };
        self.at += end + 2;
        class::posix(&self.between(from + 2, from + end))
            .map(Some)
            .ok_or_else(|| self.refuse("invalid character class range", from))
    }
}

/// A decimal number without leading zeros, at most [`TOO_MANY`].
fn number(text: &[char], at: &mut usize) -> Option<u32> {
    let digits = text.get(*at..)?.iter().map_while(|c| c.to_digit(10));
    let (mut number, mut length) = (0_u32, 0);
    for digit in digits {
        if length > 0 && number == 0 {
            return None;
        }
        number = (number.saturating_mul(10) + digit).min(TOO_MANY);
        length += 1;
    }
    *at += length;
    (length > 0).then_some(number)
}
