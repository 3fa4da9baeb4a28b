//! How often to look for interfaces that are gone.

use std::time::{Duration, Instant};

/// Interfaces without entries are looked at again where more have become so, and from time to time.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// The last look, and how many there were after it.
    last: Option<(Instant, usize)>,
}

impl Look {
    const EVERY: Duration = Duration::from_secs(60);
    const MORE: usize = 64;

    /// Whether to look at so many `idle` interfaces.
    pub(super) fn is_due(&self, idle: usize, now: Instant) -> bool {
        idle > 0
            && self.last.is_none_or(|(since, before)| {
                idle >= before + Self::MORE || now.saturating_duration_since(since) >= Self::EVERY
            })
    }

    /// They have been looked at, and so many are left.
    pub(super) const fn done(&mut self, idle: usize, now: Instant) {
        self.last = Some((now, idle));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_interfaces_are_looked_at_where_there_are_more_or_a_minute_has_passed() {
        let (mut look, start) = (Look::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!look.is_due(0, start), "none");
        assert!(look.is_due(1, start));
        look.done(10, start);
        assert!(!look.is_due(73, at(1)));
        assert!(look.is_due(74, at(1)));
        assert!(!look.is_due(10, at(59)));
        assert!(look.is_due(10, at(60)));
        assert!(!look.is_due(0, at(60)), "none");
    }
}
