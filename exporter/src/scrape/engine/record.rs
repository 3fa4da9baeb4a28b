//! The last run of each slot, kept for the status.
//!
//! A record changes at the end of a run alone, by the thread that ran the collector and under the
//! lock that the thread takes for that end anyway. The outcome and the time since when it is so:
//!
//! | outcome    | a run ends with        | next       | since              |
//! |------------|------------------------|------------|--------------------|
//! | none       | any outcome            | that one   | the end of the run |
//! | success    | success                | success    | stays              |
//! | no data    | no data                | no data    | stays              |
//! | an error   | the same text          | the error  | stays              |
//! | any        | every other outcome    | that one   | the end of the run |
//!
//! The time, duration and sources of the run are those of the last run, whatever its outcome. A run
//! that hangs changes nothing before its end.

use super::{Engine, lock};
use crate::{
    error::Error,
    scrape::status::{self, Clock, PassedOver, Run, Running},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// The outcome of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Succeeded,
    NoData,
    Failed(Arc<str>),
}

impl Outcome {
    pub(super) const fn is_success(&self) -> bool {
        matches!(self, Self::Succeeded)
    }
}

/// The end of a run.
#[derive(Debug)]
pub(super) struct End {
    pub outcome: Outcome,
    pub began: Instant,
    pub duration: Duration,
    /// The source that served, of a collector that has several.
    pub source: Option<&'static str>,
    /// The best source that failed.
    pub passed_over: Option<(&'static str, Error)>,
}

impl End {
    fn at(&self) -> Instant {
        self.began + self.duration
    }
}

/// The last run of a slot, and the time since when runs have had its outcome.
#[derive(Debug)]
pub(super) struct Record {
    since: Instant,
    end: End,
}

impl Record {
    /// Notes the end of a run.
    pub(super) fn note(record: &mut Option<Self>, end: End) {
        let same = record.as_ref().filter(|record| record.end.outcome == end.outcome);
        let since = same.map_or_else(|| end.at(), |record| record.since);
        *record = Some(Self { since, end });
    }

    fn run(&self, clock: &Clock) -> Run {
        let Self { since, end } = self;
        let passed_over = end.passed_over.as_ref();
        Run {
            outcome: match &end.outcome {
                Outcome::Succeeded => status::Outcome::Succeeded,
                Outcome::NoData => status::Outcome::NoData,
                Outcome::Failed(error) => status::Outcome::Failed(error.to_string()),
            },
            since: clock.time(*since),
            ended: clock.time(end.at()),
            duration_seconds: end.duration.as_secs_f64(),
            source: end.source,
            passed_over: passed_over
                .map(|(source, error)| PassedOver { source, error: error.to_string() }),
        }
    }
}

impl Engine {
    /// The collectors, each with its last run and the run under way. Nothing is run for it.
    #[must_use]
    pub fn collectors(&self, clock: &Clock) -> Vec<status::Collector> {
        let state = lock(&self.state);
        let of = |(slot, name): (usize, &&'static str)| {
            let record = state.records.get(slot).and_then(Option::as_ref);
            let running = state.machine.under_way(slot, clock.now());
            status::Collector {
                name,
                last: record.map(|record| record.run(clock)),
                running: running
                    .map(|(age, is_late)| Running { seconds: age.as_secs_f64(), is_late }),
            }
        };
        self.names().iter().enumerate().map(of).collect()
    }

    /// The subjects of the programs in the kernel, and the enabled collectors that may use them.
    #[must_use]
    pub fn programs(&self) -> Vec<status::Programs> {
        let is_enabled = |name: &&'static str| self.names().contains(name);
        let of = |report: crate::host::bpf::Report| status::Programs {
            collectors: status::users(report.subject).iter().copied().filter(is_enabled).collect(),
            report,
        };
        self.bpf.report().into_iter().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each row of the table above: outcomes of runs that end at seconds 1, 2, …, and since when
    /// the last one is so.
    #[test]
    fn an_outcome_is_so_since_the_first_run_that_had_it() {
        let begin = Instant::now();
        let failed = |text: &str| Outcome::Failed(text.into());
        let (good, none) = (|| Outcome::Succeeded, || Outcome::NoData);
        for (outcomes, since) in [
            (vec![good()], 1),
            (vec![none()], 1),
            (vec![failed("a")], 1),
            (vec![good(), good(), good()], 1),
            (vec![none(), none()], 1),
            (vec![failed("a"), failed("a")], 1),
            (vec![failed("a"), failed("b")], 2),
            (vec![failed("a"), failed("b"), failed("a")], 3),
            (vec![good(), failed("a"), failed("a")], 2),
            (vec![failed("a"), good(), good()], 2),
            (vec![failed("a"), none()], 2),
            (vec![none(), good()], 2),
            (vec![good(), none()], 2),
            (vec![none(), failed("a")], 2),
        ] {
            let mut record = None;
            let last = outcomes.len();
            for (outcome, second) in outcomes.iter().cloned().zip(1..) {
                let began = begin + Duration::from_secs(second);
                let (duration, source) = (Duration::ZERO, Some("netlink"));
                let passed_over = (second == 1).then_some(("ebpf", Error::NoData));
                Record::note(&mut record, End { outcome, began, duration, source, passed_over });
            }
            let record = record.expect("runs have ended");
            assert_eq!(record.since - begin, Duration::from_secs(since), "{outcomes:?}");
            assert_eq!(record.end.at() - begin, Duration::from_secs(last as u64));
            assert_eq!(record.end.passed_over.is_some(), last == 1, "of the last run alone");
        }
    }
}
