//! The state of the collectors and of the programs in the kernel, for people: the records that
//! scrapes have left, in types that have a form in JSON.

pub use crate::host::bpf::{Figures, Program, Report, State};
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use std::time::Instant;

/// A moment on both clocks: records are kept by the one that never jumps, and shown by the other.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant, Timestamp);

impl Clock {
    /// This moment.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now(), Timestamp::now())
    }

    /// This moment, by the clock of the records.
    pub(super) const fn now(&self) -> Instant {
        self.0
    }

    /// The time of an earlier moment.
    #[must_use]
    pub fn time(&self, at: Instant) -> Timestamp {
        let Self(now, time) = *self;
        time.checked_sub(now.saturating_duration_since(at)).unwrap_or(time)
    }
}

/// Writes a time with three digits after the second, so that times are ordered as their texts are.
///
/// # Errors
/// That of the serializer.
pub fn in_milliseconds<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{time:.3}"))
}

/// A collector.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Collector {
    /// Its name.
    pub name: &'static str,
    /// Its last run that has ended.
    pub last: Option<Run>,
    /// The run under way.
    pub running: Option<Running>,
}

/// A run that has ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    /// Its outcome.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The end of the first run from which on all had this outcome.
    #[serde(serialize_with = "in_milliseconds")]
    pub since: Timestamp,
    /// Its end.
    #[serde(serialize_with = "in_milliseconds")]
    pub ended: Timestamp,
    /// The time that it took.
    pub duration_seconds: f64,
    /// The source that served, where the collector has several.
    pub source: Option<&'static str>,
    /// The best source that did not serve.
    pub passed_over: Option<PassedOver>,
}

/// The outcome of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", content = "error", rename_all = "snake_case")]
pub enum Outcome {
    /// All was exposed.
    Succeeded,
    /// The machine has nothing for the collector.
    NoData,
    /// Something could not be read or understood.
    Failed(String),
}

/// A source that did not serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// Its name.
    pub source: &'static str,
    /// The reason.
    pub error: String,
}

/// A run under way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Running {
    /// The time since it began.
    pub seconds: f64,
    /// Whether a scrape has given it up.
    #[serde(rename = "late")]
    pub is_late: bool,
}

/// A subject of the programs in the kernel.
#[derive(Clone, Debug, Serialize)]
pub struct Programs {
    /// Its state and figures.
    #[serde(flatten)]
    pub report: Report,
    /// The enabled collectors that may use it.
    pub collectors: Vec<&'static str>,
}

/// The collectors that may use the programs of a subject.
#[must_use]
pub fn users(subject: &str) -> &'static [&'static str] {
    match subject {
        "neighbour" => &["arp", "neighbour"],
        "cpu" | "interrupts" => &["cpu"],
        "tasks" => &["processes"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{collectors::ALL, host::bpf::Bpf};
    use std::time::Duration;

    #[test]
    fn each_subject_has_users_that_exist() {
        for report in Bpf::off().report() {
            let users = users(report.subject);
            assert!(!users.is_empty(), "{}", report.subject);
            for user in users {
                assert!(ALL.iter().any(|spec| spec.name == *user), "{user}");
            }
        }
    }

    #[test]
    fn a_moment_has_the_same_place_on_both_clocks() {
        let now = Instant::now();
        let clock = Clock(now, Timestamp::from_millisecond(1_700_000_000_000).unwrap());
        let time = |at| {
            in_milliseconds(&clock.time(at), serde_json::value::Serializer).unwrap().to_string()
        };
        assert_eq!(time(now), "\"2023-11-14T22:13:20.000Z\"");
        let before = now.checked_sub(Duration::from_micros(1_500_000)).unwrap();
        assert_eq!(time(before), "\"2023-11-14T22:13:18.500Z\"");
        let later = now + Duration::from_secs(1);
        assert_eq!(time(later), "\"2023-11-14T22:13:20.000Z\"", "no earlier moment: now");
    }
}
