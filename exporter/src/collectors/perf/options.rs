//! The values of the flags.

use crate::{
    error::{Error, Result},
    parse::is_digits,
};
use std::str::FromStr;

/// More processors than Linux can have.
const MOST: u32 = 1 << 16;

/// The processors in a list such as `0,2-4,8-16:4`, where the last part has 8, 12 and 16: in order,
/// each once.
///
/// # Errors
/// A part is no number or range, or a step is 0.
pub(super) fn cpus(list: &str) -> Result<Vec<u32>> {
    let wrong = |part: &str| {
        Error::Flag(format!(
            "--collector.perf.cpus={list}: {part:?} is no processor or range of them"
        ))
    };
    let number = |text: &str| -> Option<u32> {
        is_digits(text).then(|| text.parse().ok()).flatten().filter(|&number| number < MOST)
    };
    let mut cpus = Vec::new();
    for part in list.split(',') {
        let (range, step) = part.split_once(':').unwrap_or((part, "1"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let is_range = range.contains('-') || !part.contains(':');
        let parsed = number(first).zip(number(last)).zip(number(step).filter(|&step| step > 0));
        let Some(((first, last), step)) = parsed.filter(|_| is_range) else {
            return Err(wrong(part));
        };
        cpus.extend((first..=last).step_by(step as usize));
    }
    cpus.sort_unstable();
    cpus.dedup();
    Ok(cpus)
}

/// A tracepoint, `system:event`.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Tracepoint {
    pub(super) system: String,
    pub(super) event: String,
}

impl FromStr for Tracepoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            Some((system, event))
                if [system, event]
                    .iter()
                    .all(|part| !part.is_empty() && !part.contains([':', '/'])) =>
            {
                Ok(Self { system: system.into(), event: event.into() })
            }
            _ => Err(Error::Flag(format!(
                "--collector.perf.tracepoint={text}: invalid tracepoint config {text}, must be SYSTEM:EVENT"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_are_read() {
        for (list, want) in [
            ("0", &[0][..]),
            ("3,1,1", &[1, 3]),
            ("1-3,2-4", &[1, 2, 3, 4]),
            ("1-10:5", &[1, 6]),
            ("8-16:4,0", &[0, 8, 12, 16]),
            ("3-1", &[]),
        ] {
            assert_eq!(cpus(list).unwrap(), want, "{list}");
        }
        for wrong in
            ["x", "", "1,", "1-", "-1", "1-2-3", "1-2:0", "1-2:x", "1:2", "1-2:1:1", "+1", "65536"]
        {
            let error = cpus(wrong).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--collector.perf.cpus={wrong}: ")), "{error}");
        }
    }

    #[test]
    fn tracepoints_have_a_system_and_an_event() {
        let tracepoint: Tracepoint = "sched:sched_switch".parse().unwrap();
        assert_eq!((&*tracepoint.system, &*tracepoint.event), ("sched", "sched_switch"));
        for wrong in ["sched", "a:b:c", ":b", "a:", "", "../..:b", "a:b/c"] {
            assert!(wrong.parse::<Tracepoint>().is_err(), "{wrong}");
        }
    }
}
