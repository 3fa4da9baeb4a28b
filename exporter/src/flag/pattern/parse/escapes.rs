//! The parts of a pattern behind a backslash or in brackets.

use super::{
    Parser, Refused,
    class::{self, Class},
};

impl Parser<'_> {
    pub(super) fn backslash(&mut self) -> Result<(), Refused> {
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

    /// `\p{name}` and `\d`, inside of brackets and outside.
    pub(super) fn class(&mut self) -> Result<Option<String>, Refused> {
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

    /// A character after a backslash.
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

    /// `{10FFFF}` or `7f`, after `\x`.
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

    pub(super) fn bracketed(&mut self) -> Result<String, Refused> {
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

    /// One character between brackets.
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

    /// `[:alpha:]`; without its end it is no such name.
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
