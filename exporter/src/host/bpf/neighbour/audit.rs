//! Whether the map of entries and the tables agree, by their sizes.

use std::time::{Duration, Instant};

use exporter_common::neighbour::Totals;

/// How long a difference must last before the audit fails.
const AUDIT: Duration = Duration::from_secs(1);

/// How long after a resync the audit does not fail.
const CONTENT: Duration = Duration::from_secs(60);

/// The same where the map has more entries than the tables, which entries that are still held
/// cannot explain.
const SOON: Duration = Duration::from_secs(5);

/// Sizes of the tables against the size of the map.
#[derive(Debug, Default)]
pub(super) struct Audit {
    /// The difference that a resync has left: the tables' sizes include entries that are in no
    /// table any more while the kernel still holds references to them.
    held: i64,
    /// The last difference, less `held`.
    difference: i64,
    since: Option<Instant>,
    resync: Option<Instant>,
}

impl Audit {
    /// Notes the tables' sizes and the map's `entries`; says whether they have differed for too
    /// long.
    pub(super) fn fails(&mut self, totals: &Totals, entries: i64, now: Instant) -> bool {
        let difference = difference(totals, entries, self.held);
        if difference != self.difference || self.since.is_none() {
            self.since = Some(now);
        }
        self.difference = difference;
        let lasts = |since: Option<Instant>, long| {
            since.is_some_and(|since| now.saturating_duration_since(since) >= long)
        };
        let content = if difference < 0 { SOON } else { CONTENT };
        difference != 0
            && lasts(self.since, AUDIT)
            && (self.resync.is_none() || lasts(self.resync, content))
    }

    /// The difference that was noted last.
    pub(super) const fn difference(&self) -> i64 {
        self.difference
    }

    /// Accepts the difference that is left after a resync.
    pub(super) fn settle(&mut self, totals: &Totals, entries: i64, now: Instant) {
        self.held = difference(totals, entries, 0).max(0);
        self.difference = 0;
        self.since = Some(now);
        self.resync = Some(now);
    }
}

/// The sum of the tables' sizes less `entries` and less `held`.
fn difference(totals: &Totals, entries: i64, held: i64) -> i64 {
    let size: u64 = totals.tables.iter().map(|table| table.size).sum();
    size.cast_signed() - entries - held
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable as _;

    fn totals(size: u64) -> Totals {
        let mut totals = Totals::zeroed();
        totals.tables[1].size = size;
        totals
    }

    #[test]
    fn a_difference_must_last_before_the_audit_fails() {
        let mut audit = Audit::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let ten = totals(10);
        assert!(!audit.fails(&ten, 9, at(0)));
        assert!(!audit.fails(&ten, 8, at(2)), "the difference is another");
        assert!(audit.fails(&ten, 8, at(3)));
        audit.settle(&ten, 8, at(3));
        assert_eq!(audit.difference, 0);
        assert!(!audit.fails(&ten, 8, at(90)), "a resync has found nothing");
        assert!(!audit.fails(&ten, 9, at(91)), "not long enough");
        assert!(audit.fails(&ten, 9, at(92)));
        audit.settle(&ten, 9, at(92));
        assert!(!audit.fails(&ten, 7, at(100)));
        assert!(!audit.fails(&ten, 7, at(110)), "soon after a resync");
        assert!(audit.fails(&ten, 7, at(152)));
        audit.settle(&ten, 10, at(152));
        assert!(!audit.fails(&ten, 12, at(153)));
        assert!(!audit.fails(&ten, 12, at(155)), "soon after a resync");
        assert!(audit.fails(&ten, 12, at(157)), "more entries than the tables have");
    }
}
