//! The engine's lines in the log: one for each change, none for each scrape. No function in here is
//! called with the engine's lock held.

use super::{Engine, News, record::Outcome};
use crate::{
    error::Error,
    exposition::{conflicts::Told, text::Conflict},
};
use std::{sync::Arc, thread, time::Duration};

impl Engine {
    /// Logs the collectors that are late and those that are back.
    pub(super) fn tell(&self, news: &[News]) {
        for news in news {
            match *news {
                News::Late(slot) => {
                    let name = self.name(slot);
                    tracing::warn!(name, "collector does not answer in time");
                }
                News::Back(slot) => tracing::info!(name = self.name(slot), "collector is back"),
            }
        }
    }
}

/// The error last logged of a collector; `None` after a success.
#[derive(Default)]
pub(super) struct Said(Option<Arc<str>>);

impl Said {
    /// Logs the end of a run, above level debug only where it is news, and returns the outcome.
    pub(super) fn hear(
        &mut self,
        name: &str,
        duration: Duration,
        result: thread::Result<Result<(), Error>>,
    ) -> Outcome {
        let duration_seconds = duration.as_secs_f64();
        let err = match result {
            Ok(Ok(())) => {
                if self.0.take().is_some() {
                    tracing::info!(name, duration_seconds, "collector succeeds again");
                } else {
                    tracing::debug!(name, duration_seconds, "collector succeeded");
                }
                return Outcome::Succeeded;
            }
            Ok(Err(Error::NoData)) => {
                tracing::debug!(name, duration_seconds, "collector returned no data");
                return Outcome::NoData;
            }
            Ok(Err(error)) => error.to_string(),
            Err(panic) => format!("panic: {}", cause(&*panic)),
        };
        if let Some(said) = self.0.as_ref().filter(|said| ***said == *err) {
            tracing::debug!(name, duration_seconds, err, "collector failed");
            return Outcome::Failed(Arc::clone(said));
        }
        tracing::error!(name, duration_seconds, err, "collector failed");
        let err: Arc<str> = err.into();
        self.0 = Some(Arc::clone(&err));
        Outcome::Failed(err)
    }
}

/// The message of a panic.
pub(super) fn cause(panic: &(dyn std::any::Any + Send)) -> &str {
    (panic.downcast_ref::<String>().map(String::as_str))
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("of unknown cause")
}

/// The flaws of answers that were logged: a failure, and conflicts of families.
#[derive(Default)]
pub(super) struct Known {
    failure: Option<String>,
    conflicts: Told,
}

/// The flaws of an answer that are to be logged.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Flaws {
    failure: Option<String>,
    conflicts: Vec<Conflict>,
}

impl Known {
    /// Returns the flaws of an answer that are news.
    pub(super) fn learn(&mut self, outcome: Result<Vec<Conflict>, String>) -> Flaws {
        let mut news = Flaws::default();
        let conflicts = match outcome {
            Ok(conflicts) => conflicts,
            Err(failure) => {
                if self.failure.as_ref() != Some(&failure) {
                    self.failure = Some(failure.clone());
                    news.failure = Some(failure);
                }
                return news;
            }
        };
        self.failure = None;
        news.conflicts = self.conflicts.news(conflicts);
        news
    }
}

impl Flaws {
    /// Logs the flaws, if there are any.
    pub(super) fn say(self) {
        if let Some(err) = self.failure {
            tracing::error!(err, "cannot render the metrics");
        }
        if !self.conflicts.is_empty() {
            tracing::error!(conflicts = ?self.conflicts, "error gathering metrics");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flaws_of_answers_are_news_once() {
        let conflict = |name: &str| Conflict::Inconsistent { family: name.into() };
        let mut known = Known::default();
        let mut learn = |outcome: Result<&[&str], &str>| {
            let outcome = match outcome {
                Ok(names) => Ok(names.iter().map(|name| conflict(name)).collect()),
                Err(failure) => Err(failure.to_owned()),
            };
            let Flaws { failure, conflicts } = known.learn(outcome);
            (failure, conflicts.len())
        };
        assert_eq!(learn(Ok(&["a"])), (None, 1));
        assert_eq!(learn(Ok(&["a", "b"])), (None, 1), "a is known");
        assert_eq!(learn(Ok(&[])), (None, 0));
        assert_eq!(learn(Ok(&["a", "b"])), (None, 0), "a filter may have hidden them");
        assert_eq!(learn(Err("x")), (Some("x".into()), 0));
        assert_eq!(learn(Err("x")), (None, 0));
        assert_eq!(learn(Ok(&["a"])), (None, 0));
        assert_eq!(learn(Err("x")), (Some("x".into()), 0), "it was over");
    }

    #[test]
    fn the_end_of_a_failure_is_success() {
        let mut said = Said::default();
        let mut hear = |result| {
            let outcome = said.hear("name", Duration::ZERO, result);
            (outcome.is_success(), said.0.is_some())
        };
        assert_eq!(hear(Ok(Err(Error::Flag("x".into())))), (false, true));
        assert_eq!(hear(Ok(Err(Error::NoData))), (false, true));
        assert_eq!(hear(Ok(Ok(()))), (true, false));
        assert_eq!(hear(Err(Box::new("x"))), (false, true));
    }
}
