//! The text of a line, in either of the two formats.

use super::Format;
use std::fmt::{Debug, Write as _};
use tracing::{
    Level,
    field::{Field, Visit},
};

/// RFC 3339 in UTC, with milliseconds.
pub(super) fn utc(now: std::time::SystemTime) -> String {
    jiff::Timestamp::try_from(now).map(|time| format!("{time:.3}")).unwrap_or_default()
}

impl Format {
    pub(super) fn line(self, time: &str, level: Level, record: impl FnOnce(&mut Line)) -> String {
        let mut line = Line { format: self, message: String::new(), fields: String::new() };
        record(&mut line);
        let Line { message, fields, .. } = line;
        match self {
            Self::Logfmt => {
                let mut text = format!("time={time} level={level} msg=");
                append_logfmt(&mut text, &message);
                text + &fields + "\n"
            }
            Self::Json => {
                let mut text = format!("{{\"time\":\"{time}\",\"level\":\"{level}\",\"msg\":");
                append_json(&mut text, &message);
                text + &fields + "}\n"
            }
        }
    }
}

pub(super) struct Line {
    format: Format,
    pub(super) message: String,
    pub(super) fields: String,
}

impl Line {
    /// Appends a field.
    pub(super) fn append(&mut self, name: &str, value: &str) {
        match self.format {
            Format::Logfmt => {
                let _ = write!(self.fields, " {name}=");
                append_logfmt(&mut self.fields, value);
            }
            Format::Json => {
                self.fields.push(',');
                append_json(&mut self.fields, name);
                self.fields.push(':');
                append_json(&mut self.fields, value);
            }
        }
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.push_str(value),
            name if name.starts_with("log.") => {} // the source of a line of the crate `log`
            name => self.append(name, value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// Appends a value, in quotes only where it needs them.
fn append_logfmt(text: &mut String, value: &str) {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '=' | '\\');
    if !value.is_empty() && value.chars().all(plain) {
        text.push_str(value);
    } else {
        append_json(text, value);
    }
}

fn append_json(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_node_exporters_form() {
        let line = |format: Format| {
            format.line("T", Level::WARN, |line| {
                line.message.push_str("a \"b\"\n\u{1}");
                line.append("n", "1");
                line.append("text", "c d");
            })
        };
        assert_eq!(
            line(Format::Logfmt),
            "time=T level=WARN msg=\"a \\\"b\\\"\\n\\u0001\" n=1 text=\"c d\"\n"
        );
        assert_eq!(
            line(Format::Json),
            "{\"time\":\"T\",\"level\":\"WARN\",\"msg\":\"a \\\"b\\\"\\n\\u0001\",\"n\":\"1\",\"text\":\"c d\"}\n"
        );
    }

    #[test]
    fn times_are_utc_with_milliseconds() {
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_795_426_448_593);
        assert_eq!(utc(at), "2026-11-23T09:34:08.593Z");
    }
}
