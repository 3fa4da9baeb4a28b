//! The log: lines on standard error in node_exporter's two forms, logfmt and JSON.
//!
//! A thread that logs never waits for standard error: see `queue.rs`.

mod line;
mod queue;

use crate::flag::{AnyFlag, Flag, Form, Value};
use line::utc;
use queue::{Queue, Stderr};
use std::{
    io,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, SystemTime},
};
use tracing::{Event, Level, Subscriber, level_filters::LevelFilter};
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

/// The format of a line.
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

/// The longest time for which the end of the program waits for the last lines.
const LAST: Duration = Duration::from_millis(500);

/// The log, from its start to the end of the program: dropping it waits until the last lines are
/// written, half a second at most.
#[derive(Debug)]
pub struct Log(Queue);

impl Log {
    /// The number of lost lines: standard error was full and unread, or could not be written.
    #[must_use]
    pub fn lost(&self) -> Arc<AtomicU64> {
        self.0.lost()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.0.flush(LAST);
    }
}

/// Starts logging to standard error, including the messages of the crate `log`. The writing thread
/// calls `prepare` first.
///
/// # Errors
/// The thread cannot be started.
pub fn start(
    severity: Severity,
    format: Format,
    prepare: impl FnOnce() + Send + 'static,
) -> io::Result<Log> {
    let queue = Queue::default();
    queue.write_to(Stderr, prepare, move |lost| {
        format.line(&utc(SystemTime::now()), Level::WARN, |line| {
            line.message.push_str("Log lines lost, as standard error could not be written");
            line.append("lines", &lost.to_string());
        })
    })?;
    let lines = Lines { format, queue: queue.clone() };
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(wanted(severity)));
    // Both fail only where a test has started the log already.
    let _ = tracing::subscriber::set_global_default(subscriber);
    let _ = tracing_log::LogTracer::init();
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let place = within_crate(&place);
        tracing::error!(place, "panic: {}", panic.payload_as_str().unwrap_or("of unknown cause"));
    }));
    Ok(Log(queue))
}

/// A place in a source file without the folder of its crate on the machine of the build.
fn within_crate(place: &str) -> &str {
    let registry = place.split_once("/registry/src/").and_then(|(_, index)| index.split_once('/'));
    registry.map_or(place, |(_, within)| within)
}

/// The lines that are logged. Lines of other crates at level debug are left out: they address the
/// authors of those crates.
fn wanted(Severity(level): Severity) -> Targets {
    Targets::new()
        .with_default(level.min(LevelFilter::INFO))
        .with_target("exporter", level)
        .with_target("h2", LevelFilter::OFF) // a client's faults, as often as the client likes
}

struct Lines {
    format: Format,
    queue: Queue,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let time = utc(SystemTime::now());
        let level = *event.metadata().level();
        self.queue.push(&self.format.line(&time, level, |line| event.record(line)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn places_lack_the_folders_of_the_build_machine() {
        let registry = "/home/x/.cargo/registry/src/index.crates.io-1/tokio-1.2.3/src/a.rs:1:2";
        assert_eq!(within_crate(registry), "tokio-1.2.3/src/a.rs:1:2");
        assert_eq!(within_crate("exporter/src/log.rs:1:2"), "exporter/src/log.rs:1:2");
    }

    #[test]
    fn debug_lines_of_other_crates_are_left_out() {
        let debug = wanted(Severity(LevelFilter::DEBUG));
        assert!(debug.would_enable("exporter::scrape", &Level::DEBUG));
        assert!(debug.would_enable("aya::bpf", &Level::INFO));
        assert!(!debug.would_enable("aya::bpf", &Level::DEBUG));
        let error = wanted(Severity(LevelFilter::ERROR));
        assert!(!error.would_enable("aya::bpf", &Level::WARN));
        assert!(!error.would_enable("exporter::web", &Level::WARN));
    }
}
