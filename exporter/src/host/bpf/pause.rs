//! When to try again after a failure.

use std::time::{Duration, Instant};

/// Makes attempts ever rarer while they fail.
#[derive(Debug, Default)]
pub(super) struct Pause {
    /// The last failure, and the time after it without attempts.
    last: Option<(Instant, Duration)>,
}

impl Pause {
    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(60);

    /// Whether an attempt may be made.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.last.is_none_or(|(since, long)| now.saturating_duration_since(since) >= long)
    }

    /// An attempt has failed.
    pub(super) fn lengthen(&mut self, now: Instant) {
        let long = self.last.map_or(Self::FIRST, |(_, long)| (long * 2).min(Self::LONGEST));
        self.last = Some((now, long));
    }

    /// An attempt has succeeded.
    pub(super) const fn end(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_with_success() {
        let (mut pause, start) = (Pause::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(pause.is_over(start));
        let mut now = 0;
        for long in [1, 2, 4, 8, 16, 32, 60, 60] {
            pause.lengthen(at(now));
            assert!(!pause.is_over(at(now)), "{long}");
            assert!(!pause.is_over(at(now + long - 1) + Duration::from_millis(999)), "{long}");
            assert!(pause.is_over(at(now + long)), "{long}");
            now += long;
        }
        pause.end();
        assert!(pause.is_over(at(now)));
        pause.lengthen(at(now));
        assert!(pause.is_over(at(now + 1)), "the first pause again");
    }
}
