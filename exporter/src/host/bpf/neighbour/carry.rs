//! Counters that go on where a set of programs takes over from another.
//!
//! The new programs count from 0 while the old ones still count. What is exposed is the new counter
//! and a part that the old one had counted before, for each interface of the namespace of interest;
//! of the others only gauges are exposed, which need no such part.

use std::collections::HashMap;

use bytemuck::Zeroable as _;
use exporter_common::neighbour::{Counts, Key};

/// What the sets before have counted.
#[derive(Debug, Default)]
pub(super) struct Carried {
    parts: HashMap<Key, Part>,
    /// Number of the last reading.
    reading: u64,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    counts: Counts,
    /// The last reading in which the set that counts knew the interface; 0 for none. Until then
    /// nothing has happened to the interface since that set was attached.
    seen: u64,
}

impl Carried {
    /// Another set takes over. `old` was read while nothing happened that the new one had not
    /// counted in `new`, or after that; so no counter is ever exposed that is less than before.
    ///
    /// Entries that the old set did not hear of, as there was no room, count as created, and those
    /// whose end it did not hear of as removed.
    pub(super) fn take_over(&mut self, old: &[(Key, Counts)], new: &[(Key, Counts)]) {
        let new: HashMap<Key, Counts> = new.iter().copied().collect();
        let mut parts = HashMap::new();
        let before = self.parts.drain().map(|(key, part)| (key, (Counts::zeroed(), part.counts)));
        let mut all: HashMap<Key, (Counts, Counts)> = before.collect();
        for (key, counts) in old {
            all.entry(*key).or_insert_with(|| (Counts::zeroed(), Counts::zeroed())).0 = *counts;
        }
        for (key, (old, part)) in all {
            let new = new.get(&key).copied().unwrap_or(Counts::zeroed());
            let unheard = new.entries - old.entries;
            let (came, went) = (unheard.max(0).unsigned_abs(), unheard.min(0).unsigned_abs());
            let rest = |old: u64, part: u64, new: u64| (old + part).saturating_sub(new);
            let counts = Counts {
                created: rest(old.created, part.created, new.created) + came,
                removed: rest(old.removed, part.removed, new.removed) + went,
                overflows: rest(old.overflows, part.overflows, new.overflows),
                failures: rest(old.failures, part.failures, new.failures),
                address_changes: rest(
                    old.address_changes,
                    part.address_changes,
                    new.address_changes,
                ),
                ..Counts::zeroed()
            };
            if counts != Counts::zeroed() {
                parts.insert(key, Part { counts, seen: 0 });
            }
        }
        self.parts = parts;
    }

    /// Gives `each` the interfaces that the set knows with their counters since the start, and then
    /// those that it does not know yet. One that it has known and forgotten is gone.
    pub(super) fn each<'a>(
        &mut self,
        known: impl Iterator<Item = &'a (Key, Counts)>,
        mut each: impl FnMut(Key, &Counts),
    ) {
        self.reading += 1;
        for (key, counts) in known {
            match self.parts.get_mut(key) {
                None => each(*key, counts),
                Some(part) => {
                    part.seen = self.reading;
                    each(*key, &sum(counts, &part.counts));
                }
            }
        }
        let reading = self.reading;
        self.parts.retain(|_, part| part.seen == 0 || part.seen == reading);
        for (key, part) in self.parts.iter().filter(|(_, part)| part.seen == 0) {
            each(*key, &part.counts);
        }
    }
}

/// The counts, with the counters of both.
const fn sum(counts: &Counts, part: &Counts) -> Counts {
    Counts {
        entries: counts.entries,
        noarp: counts.noarp,
        created: counts.created + part.created,
        removed: counts.removed + part.removed,
        overflows: counts.overflows + part.overflows,
        failures: counts.failures + part.failures,
        address_changes: counts.address_changes + part.address_changes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Key = Key { netns: 1, ifindex: 1, family: 2 };
    const B: Key = Key { netns: 1, ifindex: 2, family: 2 };

    fn counts(entries: i64, created: u64, removed: u64) -> Counts {
        Counts { entries, created, removed, ..Counts::zeroed() }
    }

    fn exposed(carried: &mut Carried, known: &[(Key, Counts)]) -> Vec<(Key, Counts)> {
        let mut all = Vec::new();
        carried.each(known.iter(), |key, counts| all.push((key, *counts)));
        all.sort_unstable_by_key(|(key, _)| key.ifindex);
        all
    }

    #[test]
    fn counters_go_on() {
        let mut carried = Carried::default();
        carried.take_over(&[(A, counts(5, 30, 25)), (B, counts(0, 7, 7))], &[(A, counts(5, 2, 1))]);
        assert_eq!(
            exposed(&mut carried, &[(A, counts(5, 2, 1))]),
            [(A, counts(5, 30, 25)), (B, counts(0, 7, 7))]
        );
        let next = [(A, counts(6, 4, 2)), (B, counts(1, 1, 0))];
        let want = [(A, counts(6, 32, 26)), (B, counts(1, 8, 7))];
        assert_eq!(exposed(&mut carried, &next), want);
        // Once more.
        carried.take_over(&next, &[(A, counts(6, 0, 0)), (B, counts(1, 1, 0))]);
        let third = [(A, counts(6, 0, 0)), (B, counts(1, 1, 0))];
        assert_eq!(exposed(&mut carried, &third), want);
    }

    #[test]
    fn what_there_was_no_room_for_is_made_up_for() {
        let mut carried = Carried::default();
        carried.take_over(
            &[(A, counts(5, 5, 0)), (B, counts(9, 9, 0))],
            &[(A, counts(8, 0, 0)), (B, counts(2, 0, 0))],
        );
        assert_eq!(
            exposed(&mut carried, &[(A, counts(8, 0, 0)), (B, counts(2, 0, 0))]),
            [(A, counts(8, 8, 0)), (B, counts(2, 9, 7))]
        );
    }

    #[test]
    fn no_counter_goes_back_where_the_old_programs_lost_more_than_they_counted() {
        let mut carried = Carried::default();
        carried.take_over(&[(A, counts(5, 5, 0))], &[(A, counts(50, 90, 40))]);
        let [(_, now)] = exposed(&mut carried, &[(A, counts(50, 90, 40))])[..] else { panic!() };
        assert!(now.created >= 90 && now.removed >= 40, "{now:?}");
    }

    #[test]
    fn an_interface_that_is_forgotten_begins_anew() {
        let mut carried = Carried::default();
        carried.take_over(&[(A, counts(0, 5, 5)), (B, counts(0, 6, 6))], &[]);
        assert_eq!(exposed(&mut carried, &[(A, counts(0, 0, 0))]).len(), 2);
        assert_eq!(exposed(&mut carried, &[]), [(B, counts(0, 6, 6))], "the set has not known B");
        assert_eq!(exposed(&mut carried, &[(A, counts(0, 1, 1))])[0], (A, counts(0, 1, 1)));
    }
}
