//! Reading the map of interfaces.

use std::{os::fd::AsFd as _, sync::atomic::Ordering::Relaxed};

use aya::maps::MapData;
use bytemuck::Zeroable as _;
use exporter_common::neighbour::{
    CLEARING, Counts, Interface, Key, PHASE, Tags, WAYS, key, protocol::interfaces::groups, tag,
};

use super::Error;
use crate::host::bpf::mapped::Mapped;

/// Interfaces that have or had neighbours, and their counts.
pub(super) struct Interfaces {
    tags: Mapped<Tags>,
    elements: Mapped<Interface>,
    /// The number of groups of tags, less one.
    mask: u32,
    /// As of the last read.
    counts: Vec<(Key, Counts)>,
    /// Elements in use, as of the last read.
    used: usize,
}

impl Interfaces {
    /// The maps `TAGS`, which has `groups` groups, and `COUNTS`.
    pub(super) fn new(tags: &MapData, counts: &MapData, groups: u32) -> Result<Self, Error> {
        let wrong = |map| move |source| Error::Map { map, source };
        Ok(Self {
            tags: Mapped::new(tags.fd().as_fd(), groups).map_err(wrong("TAGS"))?,
            elements: Mapped::new(counts.fd().as_fd(), groups.saturating_mul(WAYS))
                .map_err(wrong("COUNTS"))?,
            mask: groups.saturating_sub(1),
            counts: Vec::new(),
            used: 0,
        })
    }

    /// The number of interfaces that there is room for; one with neighbours of both families counts
    /// twice.
    pub(super) const fn room(&self) -> usize {
        self.tags.words().len()
    }

    /// Elements in use, as of the last read.
    pub(super) const fn used(&self) -> usize {
        self.used
    }

    /// Each interface and its counts, as of the last read.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(Key, Counts)> {
        self.counts.iter()
    }

    /// Entries of all interfaces, as of the last read.
    pub(super) fn entries(&self) -> i64 {
        self.iter().map(|(_, counts)| counts.entries + counts.noarp).sum()
    }

    /// Interfaces without entries, as of the last read.
    pub(super) fn idle(&self) -> usize {
        self.iter().filter(|(_, counts)| counts.entries == 0 && counts.noarp == 0).count()
    }

    /// Whether a count is below zero, as of the last read.
    pub(super) fn is_below_zero(&self) -> bool {
        self.iter().any(|(_, counts)| counts.entries < 0 || counts.noarp < 0)
    }

    /// Reads the counts of all interfaces.
    pub(super) fn read(&mut self) {
        let mut counts = std::mem::take(&mut self.counts);
        counts.clear();
        self.used = 0;
        for (number, word) in self.tags.words().iter().enumerate() {
            let tag = word.load(Relaxed);
            if !is_used(tag) {
                continue;
            }
            self.used += 1;
            if let Some(sum) = self.sum(tag, number) {
                counts.push((key(tag), sum));
            }
        }
        self.counts = counts;
    }

    /// The counts of one interface, read now; all zero if no element counts it.
    pub(super) fn of(&self, key: &Key) -> Counts {
        let mut sum = Counts::zeroed();
        for element in self.elements_of(tag(key)) {
            if let Some(element) = self.elements.get(element) {
                add(&mut sum, &element.counts);
            }
        }
        sum
    }

    /// The counts of the interface of this tag, one of whose elements has that number; `None` if an
    /// element before that one counts it, too.
    fn sum(&self, tag: u64, number: usize) -> Option<Counts> {
        let mut sum = self.elements.get(number)?.counts;
        for other in self.elements_of(tag) {
            if other < number {
                return None;
            }
            if other > number {
                add(&mut sum, &self.elements.get(other)?.counts);
            }
        }
        Some(sum)
    }

    /// The numbers of the elements that count the interface of this tag: mostly one.
    fn elements_of(&self, tag: u64) -> impl Iterator<Item = usize> {
        let [one, two] = groups(tag, self.mask);
        let two = (two != one).then_some(two);
        let groups = [Some(one), two].into_iter().flatten();
        let numbers = groups.flat_map(|group| {
            let begin = group as usize * WAYS as usize;
            begin..begin + WAYS as usize
        });
        numbers.filter(move |&number| {
            let found = self.tags.words().get(number).map_or(0, |word| word.load(Relaxed));
            is_used(found) && (found ^ tag) & !PHASE == 0
        })
    }
}

/// Whether the element of such a tag counts an interface.
const fn is_used(tag: u64) -> bool {
    tag != 0 && tag & PHASE != CLEARING
}

const fn add(sum: &mut Counts, counts: &Counts) {
    sum.entries += counts.entries;
    sum.noarp += counts.noarp;
    sum.created += counts.created;
    sum.removed += counts.removed;
    sum.overflows += counts.overflows;
    sum.failures += counts.failures;
    sum.address_changes += counts.address_changes;
}
