//! The format of os-release(5).

use crate::{
    error::{Malformed, Result},
    parse::rows,
};
use jiff::{civil::Date, tz::TimeZone};
use std::borrow::Cow;

/// The assignments that are exposed; a value that the file does not have is empty.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Release<'a> {
    pub(super) build_id: Cow<'a, str>,
    pub(super) id: Cow<'a, str>,
    pub(super) id_like: Cow<'a, str>,
    pub(super) image_id: Cow<'a, str>,
    pub(super) image_version: Cow<'a, str>,
    pub(super) name: Cow<'a, str>,
    pub(super) pretty_name: Cow<'a, str>,
    support_end: Cow<'a, str>,
    pub(super) variant: Cow<'a, str>,
    pub(super) variant_id: Cow<'a, str>,
    pub(super) version: Cow<'a, str>,
    pub(super) version_codename: Cow<'a, str>,
    pub(super) version_id: Cow<'a, str>,
}

impl<'a> Release<'a> {
    /// Takes the assignments of a file; of two assignments to one name, the last counts. A
    /// malformed assignment is left out.
    pub(super) fn parse(&mut self, text: &'a str) -> Result<(), Malformed> {
        rows(text, |line| {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                return Ok(());
            }
            let (name, rest) =
                line.split_once('=').ok_or_else(|| Malformed::new("assignment", line))?;
            let name = name.trim();
            let name = name.strip_prefix("export ").unwrap_or(name);
            if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                return Err(Malformed::new("name", line));
            }
            if let Some(field) = self.field(name) {
                *field = unquote(rest.trim())?;
            }
            Ok(())
        })
    }

    /// The field that an assignment to this name sets.
    fn field(&mut self, name: &str) -> Option<&mut Cow<'a, str>> {
        Some(match name {
            "BUILD_ID" => &mut self.build_id,
            "ID" => &mut self.id,
            "ID_LIKE" => &mut self.id_like,
            "IMAGE_ID" => &mut self.image_id,
            "IMAGE_VERSION" => &mut self.image_version,
            "NAME" => &mut self.name,
            "PRETTY_NAME" => &mut self.pretty_name,
            "SUPPORT_END" => &mut self.support_end,
            "VARIANT" => &mut self.variant,
            "VARIANT_ID" => &mut self.variant_id,
            "VERSION" => &mut self.version,
            "VERSION_CODENAME" => &mut self.version_codename,
            "VERSION_ID" => &mut self.version_id,
            _ => return None,
        })
    }

    /// The version as a number, such as 24.04; 0 where the version does not begin with a number.
    pub(super) fn major_minor(&self) -> f64 {
        let mut dots = 0;
        let end = self.version_id.find(|c: char| {
            dots += u32::from(c == '.');
            !c.is_ascii_digit() && (c != '.' || dots > 1)
        });
        let number = self.version_id.get(..end.unwrap_or(self.version_id.len()));
        number
            .filter(|text| !text.starts_with('.'))
            .and_then(|text| text.parse().ok())
            .unwrap_or(0.0)
    }

    /// The end of support, in seconds since 1970; `None` where it is not given.
    pub(super) fn support_end(&self) -> Result<Option<i64>, Malformed> {
        if self.support_end.is_empty() {
            return Ok(None);
        }
        let date = Some(&self.support_end)
            .filter(|text| text.len() == "2006-01-02".len())
            .and_then(|text| text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok());
        match date {
            Some(date) => Ok(Some(date.timestamp().as_second())),
            None => Err(Malformed::new("SUPPORT_END", &self.support_end)),
        }
    }
}

/// The value without its quotes, its escapes and a comment after `#`. The value is copied only
/// where characters in its middle are left out.
fn unquote(value: &str) -> Result<Cow<'_, str>, Malformed> {
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let plain = inner.unwrap_or(value);
    if !plain.contains(|c: char| matches!(c, '"' | '\'' | '\\' | '#') || c < ' ') {
        return Ok(Cow::Borrowed(plain));
    }
    let wrong = |what| Malformed::new(what, value);
    let mut text = String::with_capacity(value.len());
    let mut kept = 0; // the rest is white space before a possible comment
    let mut quote = None;
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (_, c) if c < ' ' && c != '\t' => return Err(wrong("character")),
            (None, '"' | '\'') => quote = Some(c),
            (None, '#') => {
                text.truncate(kept);
                return Ok(Cow::Owned(text));
            }
            (None, ' ' | '\t') => text.push(c),
            (Some(end), c) if c == end => quote = None,
            (Some('"'), '\\') => {
                text.push(match chars.next() {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some(c @ ('"' | '\\' | '$' | '`')) => c,
                    _ => return Err(wrong("escape")),
                });
                kept = text.len();
            }
            (_, c) => {
                text.push(c);
                kept = text.len();
            }
        }
    }
    if quote.is_some() { Err(wrong("quote")) } else { Ok(Cow::Owned(text)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::malformed;

    #[test]
    fn values_are_unquoted_as_a_shell_does() {
        for (value, want) in [
            ("", ""),
            ("a b", "a b"),
            ("\"a b\"", "a b"),
            ("'a \"b\" \\n'", "a \"b\" \\n"),
            (r#""\"a\" \\ \$ \` \n""#, "\"a\" \\ $ ` \n"),
            ("a  # comment", "a"),
            ("\"a # b \" # c", "a # b "),
            ("a'b'\"c\"d", "abcd"),
            ("a\\b", "a\\b"),
            ("#", ""),
        ] {
            assert_eq!(unquote(value).as_deref(), Ok(want), "{value}");
        }
        assert_eq!(malformed(unquote("\"a")), "bad quote: \"\\\"a\"");
        assert_eq!(malformed(unquote("'a\"")), "bad quote: \"'a\\\"\"");
        assert_eq!(malformed(unquote("\"\\x\"")), r#"bad escape: "\"\\x\"""#);
        assert_eq!(malformed(unquote("a\u{1}")), "bad character: \"a\\u{1}\"");
    }

    #[test]
    fn lines_are_assignments_or_comments() {
        let parse = |text| Release::default().parse(text);
        let mut release = Release::default();
        release.parse("# x\n\n export ID = a\nNOVEL='\nID=b\n").unwrap();
        assert_eq!(release, Release { id: "b".into(), ..Release::default() });
        assert_eq!(malformed(parse("ID")), "bad assignment: \"ID\"");
        assert_eq!(malformed(parse("1D=a")), "bad name: \"1D=a\"");
        assert_eq!(malformed(parse("=a")), "bad name: \"=a\"");
    }

    #[test]
    fn versions_and_dates_are_numbers() {
        let release = |version: &'static str, end: &'static str| Release {
            version_id: version.into(),
            support_end: end.into(),
            ..Release::default()
        };
        for (version, number) in [
            ("24.04.1", 24.04_f64),
            ("12", 12.0),
            ("7.", 7.0),
            (".5", 0.0),
            ("", 0.0),
            ("rolling", 0.0),
            ("9-x", 9.0),
        ] {
            assert_eq!(release(version, "").major_minor().to_bits(), number.to_bits(), "{version}");
        }
        assert_eq!(release("", "").support_end(), Ok(None));
        assert_eq!(release("", "2026-05-13").support_end(), Ok(Some(1_778_630_400)));
        for wrong in ["2026-13-01", "2026-02-30", "soon", "2026-05-13T00:00", "20260513"] {
            assert!(release("", wrong).support_end().is_err(), "{wrong}");
        }
    }
}
