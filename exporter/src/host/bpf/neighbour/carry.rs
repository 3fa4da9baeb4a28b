//! Counters that go on where a set of programs takes over from another.
//!
//! The new programs count from 0 while the old ones still count. Each exposed counter is the new
//! counter and a part that the old one had counted before. There is such a part for each interface
//! of the namespace of interest; of interfaces elsewhere only gauges are exposed, which need none.

use std::collections::HashMap;

use bytemuck::Zeroable as _;
use exporter_common::neighbour::{Counts, Key};

/// The counts of earlier sets.
#[derive(Debug, Default)]
pub(super) struct Carried {
    parts: HashMap<Key, Part>,
    /// The number of the last reading.
    reading: u64,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    counts: Counts,
    /// The last reading in which the set that counts knew the interface; 0 for none. While it is 0,
    /// nothing has happened to the interface since that set was attached.
    seen: u64,
}

/// Two sets' counts of an interface, those of the new set read no later than those of the old one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub(super) key: Key,
    pub(super) old: Counts,
    pub(super) new: Counts,
    /// Whether the sets' numbers of entries differ because the old set has missed events, and not
    /// because entries came or went between the two readings.
    pub(super) differ: bool,
}

impl Carried {
    /// The interfaces that have a part from earlier sets.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        self.parts.keys().copied()
    }

    /// Another set takes over: its counters go on from those of the old set. No counter is less
    /// than before.
    ///
    /// Entries that the old set has missed for want of room count as created, and entries whose end
    /// it has missed as removed.
    pub(super) fn take_over(&mut self, pairs: impl Iterator<Item = Pair>) {
        let mut parts = HashMap::new();
        for Pair { key, old, new, differ } in pairs {
            let part = self.parts.get(&key).map_or(Counts::zeroed(), |part| part.counts);
            let unheard = if differ { new.entries - old.entries } else { 0 };
            let (came, went) = (unheard.max(0).unsigned_abs(), unheard.min(0).unsigned_abs());
            let rest = |old: u64, part: u64, new: u64| (old + part).saturating_sub(new);
            let counts = Counts {
                created: rest(old.created + came, part.created, new.created),
                removed: rest(old.removed + went, part.removed, new.removed),
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
    /// the interfaces that the set does not know yet. An interface that the set has known and
    /// forgotten is gone.
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

/// The counts, with the counters of both added.
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

    /// All interfaces of two sets, at rest.
    fn take_over(carried: &mut Carried, old: &[(Key, Counts)], new: &[(Key, Counts)]) {
        let of = |set: &[(Key, Counts)], key| {
            set.iter().find(|(of, _)| *of == key).map_or(Counts::zeroed(), |(_, counts)| *counts)
        };
        let pair = |key| Pair { key, old: of(old, key), new: of(new, key), differ: true };
        carried.take_over([A, B].into_iter().map(pair));
    }

    #[test]
    fn counters_go_on() {
        let mut carried = Carried::default();
        take_over(
            &mut carried,
            &[(A, counts(5, 30, 25)), (B, counts(0, 7, 7))],
            &[(A, counts(5, 2, 1))],
        );
        assert_eq!(
            exposed(&mut carried, &[(A, counts(5, 2, 1))]),
            [(A, counts(5, 30, 25)), (B, counts(0, 7, 7))]
        );
        let next = [(A, counts(6, 4, 2)), (B, counts(1, 1, 0))];
        let want = [(A, counts(6, 32, 26)), (B, counts(1, 8, 7))];
        assert_eq!(exposed(&mut carried, &next), want);
        // A third set takes over.
        take_over(&mut carried, &next, &[(A, counts(6, 0, 0)), (B, counts(1, 1, 0))]);
        let third = [(A, counts(6, 0, 0)), (B, counts(1, 1, 0))];
        assert_eq!(exposed(&mut carried, &third), want);
    }

    #[test]
    fn entries_without_room_in_the_old_set_are_made_up_for() {
        let mut carried = Carried::default();
        take_over(
            &mut carried,
            &[(A, counts(5, 5, 0)), (B, counts(9, 9, 0))],
            &[(A, counts(8, 0, 0)), (B, counts(2, 0, 0))],
        );
        assert_eq!(
            exposed(&mut carried, &[(A, counts(8, 0, 0)), (B, counts(2, 0, 0))]),
            [(A, counts(8, 8, 0)), (B, counts(2, 9, 7))]
        );
    }

    #[test]
    fn an_entry_that_came_between_two_readings_was_not_missed() {
        let mut carried = Carried::default();
        let (old, new) = (counts(9, 9, 0), counts(8, 0, 0));
        carried.take_over([Pair { key: A, old, new, differ: false }].into_iter());
        assert_eq!(exposed(&mut carried, &[(A, counts(8, 0, 0))]), [(A, counts(8, 9, 0))]);
    }

    #[test]
    fn no_counter_goes_back_where_the_old_programs_lost_more_than_they_counted() {
        let mut carried = Carried::default();
        take_over(&mut carried, &[(A, counts(5, 5, 0))], &[(A, counts(50, 90, 40))]);
        let [(_, now)] = exposed(&mut carried, &[(A, counts(50, 90, 40))])[..] else { panic!() };
        assert!(now.created >= 90 && now.removed >= 40, "{now:?}");
    }

    #[test]
    fn an_interface_that_is_forgotten_begins_anew() {
        let mut carried = Carried::default();
        take_over(&mut carried, &[(A, counts(0, 5, 5)), (B, counts(0, 6, 6))], &[]);
        assert_eq!(exposed(&mut carried, &[(A, counts(0, 0, 0))]).len(), 2);
        assert_eq!(exposed(&mut carried, &[]), [(B, counts(0, 6, 6))], "the set has not known B");
        assert_eq!(exposed(&mut carried, &[(A, counts(0, 1, 1))])[0], (A, counts(0, 1, 1)));
    }
}
