//! The log: lines on standard error in node_exporter's two forms, logfmt and JSON.

use crate::flag::{AnyFlag, Flag, Form, Value};
use std::{
    fmt::{Debug, Write as _},
    io::Write as _,
};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    Layer, filter::Targets, layer::Context, layer::SubscriberExt as _, registry::LookupSpan,
};

/// `--log.level`.
pub const LEVEL: Flag<Severity> = Flag::value(
    "log.level",
    &["info"],
    "Only log messages with the given severity or above. One of: [debug, info, warn, error]",
);
/// `--log.format`.
pub const FORMAT: Flag<Format> =
    Flag::value("log.format", &["logfmt"], "Output format of log messages. One of: [logfmt, json]");

/// The flags of this module.
pub static FLAGS: &[&dyn AnyFlag] = &[&LEVEL, &FORMAT];

/// The least severity that is logged.
#[derive(Clone, Copy, Debug)]
pub struct Severity(LevelFilter);

impl Value for Severity {
    const FORM: Form = Form::Once;
    fn parse(given: &[&str]) -> Result<Self, String> {
        let level = given.last().map(|level| level.to_lowercase());
        Ok(Self(match level.as_deref().unwrap_or_default() {
            "debug" => LevelFilter::DEBUG,
            "info" => LevelFilter::INFO,
            "warn" => LevelFilter::WARN,
            "error" => LevelFilter::ERROR,
            _ => return Err("it is one of debug, info, warn, error".into()),
        }))
    }
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `time=… level=INFO msg=… key=value`
    Logfmt,
    /// `{"time":"…","level":"INFO","msg":"…","key":"value"}`
    Json,
}

impl Value for Format {
    const FORM: Form = Form::Once;
    fn parse(given: &[&str]) -> Result<Self, String> {
        match given {
            [.., "logfmt"] => Ok(Self::Logfmt),
            [.., "json"] => Ok(Self::Json),
            _ => Err("it is one of logfmt, json".into()),
        }
    }
}

/// Starts logging to standard error; the crate `log`'s messages too.
pub fn start(severity: Severity, format: Format) {
    let subscriber =
        tracing_subscriber::registry().with(Lines(format).with_filter(wanted(severity)));
    // Both fail only where a test has started the log already.
    let _ = tracing::subscriber::set_global_default(subscriber);
    let _ = tracing_log::LogTracer::init();
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let place = within_crate(&place);
        tracing::error!(place, "panic: {}", panic.payload_as_str().unwrap_or("of unknown cause"));
    }));
}

/// What is logged: of other crates, nothing that only their authors understand. The programs in the
/// kernel log under their own name.
fn wanted(Severity(level): Severity) -> Targets {
    let own = ["exporter", "neighbour"].map(|target| (target, level));
    Targets::new().with_default(level.min(LevelFilter::INFO)).with_targets(own)
}

/// The place of a source file without the folder that the machine which built it had its crate in.
fn within_crate(place: &str) -> &str {
    let registry = place.split_once("/registry/src/").and_then(|(_, index)| index.split_once('/'));
    registry.map_or(place, |(_, within)| within)
}

struct Lines(Format);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let now = std::time::SystemTime::now();
        let time = utc(now);
        let line = self.0.line(&time, *event.metadata().level(), |line| event.record(line));
        let _ = std::io::stderr().lock().write_all(line.as_bytes()); // nowhere left to say it
    }
}

/// RFC 3339 in UTC, with milliseconds.
fn utc(now: std::time::SystemTime) -> String {
    jiff::Timestamp::try_from(now).map(|time| format!("{time:.3}")).unwrap_or_default()
}

impl Format {
    fn line(self, time: &str, level: Level, record: impl FnOnce(&mut Line)) -> String {
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

struct Line {
    format: Format,
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        match (field.name(), self.format) {
            ("message", _) => self.message.push_str(value),
            (name, _) if name.starts_with("log.") => {} // where a line of the crate `log` came from
            (name, Format::Logfmt) => {
                let _ = write!(self.fields, " {name}=");
                append_logfmt(&mut self.fields, value);
            }
            (name, Format::Json) => {
                self.fields.push(',');
                append_json(&mut self.fields, name);
                self.fields.push(':');
                append_json(&mut self.fields, value);
            }
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// Quoted only where it has to be.
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
                line.fields.push_str("");
            })
        };
        assert_eq!(line(Format::Logfmt), "time=T level=WARN msg=\"a \\\"b\\\"\\n\\u0001\"\n");
        assert_eq!(
            line(Format::Json),
            "{\"time\":\"T\",\"level\":\"WARN\",\"msg\":\"a \\\"b\\\"\\n\\u0001\"}\n"
        );
    }

    #[test]
    fn levels_are_read_in_any_case() {
        for (text, level) in [
            ("INFO", LevelFilter::INFO),
            ("Warn", LevelFilter::WARN),
            ("debug", LevelFilter::DEBUG),
        ] {
            assert_eq!(Severity::parse(&[text]).unwrap().0, level);
        }
        assert!(Severity::parse(&["loud"]).is_err() && Severity::parse(&[""]).is_err());
    }

    #[test]
    fn other_crates_debug_in_vain() {
        let debug = wanted(Severity(LevelFilter::DEBUG));
        assert!(debug.would_enable("exporter::scrape", &Level::DEBUG));
        assert!(debug.would_enable("neighbour::stock", &Level::DEBUG));
        assert!(debug.would_enable("aya::bpf", &Level::INFO));
        assert!(!debug.would_enable("aya::bpf", &Level::DEBUG));
        let error = wanted(Severity(LevelFilter::ERROR));
        assert!(!error.would_enable("aya::bpf", &Level::WARN));
        assert!(!error.would_enable("exporter::web", &Level::WARN));
    }

    #[test]
    fn places_are_not_those_of_the_machine_that_built() {
        let registry = "/home/x/.cargo/registry/src/index.crates.io-1/tokio-1.2.3/src/a.rs:1:2";
        assert_eq!(within_crate(registry), "tokio-1.2.3/src/a.rs:1:2");
        assert_eq!(within_crate("exporter/src/log.rs:1:2"), "exporter/src/log.rs:1:2");
    }

    #[test]
    fn times_are_utc_with_milliseconds() {
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_795_426_448_593);
        assert_eq!(utc(at), "2026-11-23T09:34:08.593Z");
    }
}
