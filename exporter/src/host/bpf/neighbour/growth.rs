//! Room that follows the number of neighbours and interfaces.
//!
//! Maps do not grow. So where one is three quarters full, or too small for the tables, another set
//! of programs and maps is loaded, takes stock while the old set still counts, and takes over:
//!
//! | growth | event | action | next |
//! |---|---|---|---|
//! | rests | room is short | the loader is asked for a set of twice or of the needed size | asked |
//! | asked | the set is loaded | the set takes stock | moves |
//! | asked | a refusal, or the loader has ended | the reason is logged, once | refused |
//! | moves | stock is taken | the counters are carried over, the old set is closed | rests |
//! | moves | the new set is too small | it is closed, twice its room is wanted | rests |
//! | moves | … and none may be larger | it is closed, the reason is logged | refused |
//! | moves | events were lost | stock is taken again at the next scrape | moves |
//! | refused | a minute has passed | | rests |
//!
//! Each scrape takes the steps that are possible without waiting. Where the old set's counts cannot
//! be trusted, the scrape waits for the loader, and goes on to a larger set where the new one is
//! too small. Until the new set takes over, its counts are not shown.

use std::{
    collections::HashSet,
    path::Path,
    time::{Duration, Instant},
};

use exporter_common::neighbour::{Counts, Key};

use super::{
    Counting, HOOKS, Reason, Room,
    carry::{Carried, Pair},
    counts::Interfaces,
    load, stock,
};
use crate::{
    host::bpf::{
        Error, Health, Sizes,
        loader::{Loader, Question},
    },
    memory,
};

/// How long no room is asked for after a refusal.
const AGAIN: Duration = Duration::from_secs(60);

/// How long to wait for a new set where the old one cannot be trusted.
const PATIENCE: Duration = Duration::from_secs(2);

/// The least room.
const LEAST: Room = Room { entries: 1 << 12, interfaces: 1 << 9 };

/// The kernel's types, the namespace to report on, and the room.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The kernel's type information, `btf/vmlinux` below `/sys/kernel`.
    pub btf: &'a Path,
    /// Inode number of the network namespace that is of interest.
    pub netns: u32,
    /// The room in the maps.
    pub sizes: Sizes,
}

/// Where growth has got to.
enum Growth {
    Rests,
    Asked(Room),
    Moves(Box<Counting>),
    Refused(Instant),
}

/// The programs, attached, and their counts.
pub struct Neighbours {
    counting: Counting,
    growth: Growth,
    /// The last refusal that the log tells of; empty for none.
    refused: String,
    /// The least room of the next set, since a set with less was too small.
    least: Room,
    loader: Loader,
    /// The most room that a set may have.
    most: Room,
    carried: Carried,
    netns: u32,
    /// Whether the log says that there are no counts.
    warned: bool,
    /// The scrape that the counts were read for.
    scrape: u64,
}

impl std::fmt::Debug for Neighbours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Neighbours").field("netns", &self.netns).finish_non_exhaustive()
    }
}

impl Neighbours {
    /// Loads and attaches the programs, and takes stock of all network namespaces.
    ///
    /// # Errors
    ///
    /// The kernel lacks something, or the process a capability. Maps that are too small for the
    /// entries are no error here: see [`Neighbours::counts`].
    pub fn start(options: &Options<'_>) -> Result<Self, Error> {
        Self::through(Loader::own(options.btf)?, options)
    }

    /// As [`Neighbours::start`], with a loader that serves others as well.
    pub(in crate::host::bpf) fn through(
        loader: Loader,
        options: &Options<'_>,
    ) -> Result<Self, Error> {
        let Sizes { expected, entries, interfaces } = options.sizes;
        let most = Room { entries, interfaces };
        let first = Room {
            entries: expected.max(LEAST.entries).min(most.entries),
            interfaces: load::interfaces()?.max(LEAST.interfaces).min(most.interfaces),
        };
        let set = loader.load(Question::Neighbour(first))?;
        let mut neighbours = Self {
            counting: Counting::new(set, first, Reason::Start)?,
            growth: Growth::Rests,
            refused: String::new(),
            least: Room::default(),
            loader,
            most,
            carried: Carried::default(),
            netns: options.netns,
            warned: false,
            scrape: 0,
        };
        memory::trim();
        match neighbours.refresh(0, Instant::now()) {
            Err(error) if !error.is_doubt() => Err(error),
            _ => Ok(neighbours),
        }
    }

    /// Gives `each` the counts of every interface, of all namespaces, that has had a neighbour. The
    /// counts are read at the first call in the scrape of that number, or at each call where
    /// `scrape` is 0. An interface that is gone is left out sooner or later.
    ///
    /// # Errors
    ///
    /// The counts cannot be trusted: events were lost, or a map is too small. A scrape tries at
    /// most once to set them right, and ever fewer scrapes try while the attempts fail.
    pub fn counts(&mut self, scrape: u64, each: impl FnMut(Key, &Counts)) -> Result<(), Error> {
        let is_fresh = scrape > 0 && scrape == self.scrape;
        let refreshed = if is_fresh { Ok(()) } else { self.refresh(scrape, Instant::now()) };
        match &refreshed {
            Ok(()) if self.warned => tracing::info!("neighbours are counted by eBPF again"),
            Err(error) if !self.warned => {
                tracing::warn!("eBPF lost count of the neighbours, another source serves: {error}");
            }
            _ => {}
        }
        self.warned = refreshed.is_err();
        refreshed?;
        self.scrape = scrape;
        self.carried.each(self.counting.interfaces.iter(), each);
        Ok(())
    }

    /// The inode number of the namespace of interest.
    #[must_use]
    pub const fn netns(&self) -> u32 {
        self.netns
    }

    /// Sizes of the tables for each of [`FAMILIES`], of all namespaces, as of the last counts.
    ///
    /// [`FAMILIES`]: super::FAMILIES
    pub fn table_sizes(&self) -> Result<[u64; 2], Error> {
        Ok(self.counting.totals()?.tables.map(|table| table.size))
    }

    /// Gives `health` the figures on the programs and maps.
    pub fn health(&self, health: &mut impl Health) -> Result<(), Error> {
        if let Some(is_there) = self.loader.keeper_is_there() {
            health.keeper(is_there);
        }
        self.counting.health(health)
    }

    /// The programs' names, known before any program is loaded.
    pub(in crate::host::bpf) fn programs() -> impl Iterator<Item = &'static str> {
        HOOKS.iter().filter(|hook| hook.is_attached()).map(|hook| hook.name())
    }

    /// Whether all of it works as the calling thread is, without any capability, save for more room
    /// without a keeper.
    #[must_use]
    pub fn needs_no_capability(&mut self) -> bool {
        self.counting.needs_no_capability()
    }

    /// Sets the counts right where they are in doubt, and reads them.
    fn refresh(&mut self, scrape: u64, now: Instant) -> Result<(), Error> {
        /// How often the next set may be too small, though it was made for the entries known then.
        const TIMES: u32 = 3;
        let mut counted = self.counting.refresh(scrape, now);
        for _ in 0..TIMES {
            if counted.as_ref().is_err_and(|error| !error.is_doubt()) {
                break;
            }
            if self.grow(counted.as_ref().err(), now)? {
                counted = Ok(());
            } else if counted.is_ok() || !matches!(self.growth, Growth::Rests) {
                break;
            }
        }
        counted
    }

    /// Takes the steps that are possible; says whether another set has taken over, whose counts are
    /// right.
    fn grow(&mut self, doubt: Option<&Error>, now: Instant) -> Result<bool, Error> {
        if let Growth::Refused(since) = self.growth
            && now.saturating_duration_since(since) >= AGAIN
        {
            self.growth = Growth::Rests;
        }
        if matches!(self.growth, Growth::Rests)
            && let Some(room) = self.wanted(doubt)?
        {
            tracing::debug!(room.entries, room.interfaces, "more room for neighbours is wanted");
            match self.loader.ask(Question::Neighbour(room)) {
                Ok(()) => self.growth = Growth::Asked(room),
                Err(error) => self.refuse(&error, now),
            }
        }
        if let Growth::Asked(room) = self.growth {
            let patience = if doubt.is_some() { PATIENCE } else { Duration::ZERO };
            let Some(answer) = self.loader.answer(patience) else { return Ok(false) };
            match answer.and_then(|set| Counting::new(set, room, Reason::Grow)) {
                Ok(next) => self.growth = Growth::Moves(Box::new(next)),
                Err(error) => self.refuse(&error, now),
            }
        }
        let Growth::Moves(mut next) = std::mem::replace(&mut self.growth, Growth::Rests) else {
            return Ok(false);
        };
        match next.refresh(0, now) {
            Ok(()) => {
                self.take_over(*next)?;
                return Ok(true);
            }
            Err(error) if matches!(error.root(), Error::Full { .. } | Error::Crowded { .. }) => {
                match twice(next.room, error.root(), self.most) {
                    Some(least) => self.least = least,
                    None => self.refuse(&error, now),
                }
            }
            Err(error) if error.is_doubt() => self.growth = Growth::Moves(next),
            Err(error) => self.refuse(&error, now),
        }
        Ok(false)
    }

    /// Notes that there is no more room for the time being, or for good.
    fn refuse(&mut self, error: &Error, now: Instant) {
        let reason = error.to_string();
        if reason != self.refused {
            tracing::warn!("no more room for the counts of eBPF: {reason}");
            self.refused = reason;
        }
        self.growth = Growth::Refused(now);
    }

    /// The room that is wanted, if it differs from the room of the set that counts.
    fn wanted(&self, doubt: Option<&Error>) -> Result<Option<Room>, Error> {
        let (have, interfaces) = (self.counting.room, &self.counting.interfaces);
        let counted = u64::try_from(interfaces.entries()).unwrap_or_default();
        let entries = stock::size(&self.counting.totals()?).max(counted);
        let doubt = doubt.map(Error::root);
        let wanted = Room {
            entries: more(
                have.entries,
                entries,
                matches!(doubt, Some(Error::Full { .. })),
                self.most.entries,
            )
            .max(self.least.entries),
            interfaces: more(
                have.interfaces,
                interfaces.used() as u64,
                matches!(doubt, Some(Error::Crowded { .. })),
                self.most.interfaces,
            )
            .max(self.least.interfaces),
        };
        Ok((wanted != have).then_some(wanted))
    }

    /// Puts `next`, which has taken stock, in the place of the set that counts.
    fn take_over(&mut self, mut next: Counting) -> Result<(), Error> {
        // Both sets put the entries that they have only noted into their maps, so that neither is
        // ahead.
        self.counting.settle()?;
        next.settle()?;
        self.counting.interfaces.read();
        next.interfaces.read();
        let (old, new) = (&self.counting.interfaces, &next.interfaces);
        let keys: HashSet<Key> = (old.iter().map(|(key, _)| *key))
            .chain(self.carried.keys())
            .filter(|key| key.netns == self.netns)
            .collect();
        let is_exact = self.counting.doubt.is_none();
        self.carried.take_over(keys.into_iter().map(|key| pair(key, old, new, is_exact)));
        for (sum, n) in next.resyncs.iter_mut().zip(self.counting.resyncs) {
            *sum += n;
        }
        next.runs_before = self.counting.all_runs()?;
        let Room { entries, interfaces } = next.room;
        tracing::info!(entries, interfaces, "eBPF has other room for neighbours");
        self.counting = next;
        self.least = Room::default();
        self.refused.clear();
        memory::trim();
        Ok(())
    }
}

/// Two sets' counts of an interface: at a moment of rest, if there is one.
fn pair(key: Key, old: &Interfaces, new: &Interfaces, is_exact: bool) -> Pair {
    /// How often to look for such a moment.
    const TIMES: u32 = 50;
    /// The two sets count an event within this time of each other, unless the processor is
    /// interrupted in between.
    const REST: Duration = Duration::from_micros(5);
    // The new set is read first: an event between the two readings is then counted twice. Read
    // last, it would be lost, and a counter would go back.
    let mut counts = (new.of(&key), old.of(&key));
    for _ in 0..TIMES {
        let start = Instant::now();
        while start.elapsed() < REST {
            std::hint::spin_loop();
        }
        let again = (new.of(&key), old.of(&key));
        if again == counts {
            let (new, old) = counts;
            return Pair { key, old, new, differ: true };
        }
        counts = again;
    }
    let (new, old) = counts;
    Pair { key, old, new, differ: !is_exact }
}

/// Twice the room of a set that was too small, as far as `most` allows; `None` where it allows no
/// more.
fn twice(room: Room, error: &Error, most: Room) -> Option<Room> {
    let double = |have: u32, most: u32| have.saturating_mul(2).min(most);
    let more = match error {
        Error::Full { .. } => Room { entries: double(room.entries, most.entries), ..room },
        Error::Crowded { .. } => {
            Room { interfaces: double(room.interfaces, most.interfaces), ..room }
        }
        _ => room,
    };
    (more != room).then_some(more)
}

/// The room for `used` elements, where there is room for `have` and may be room for `most`.
fn more(have: u32, used: u64, is_full: bool, most: u32) -> u32 {
    let (have, most) = (u64::from(have), u64::from(most));
    let is_short = is_full || used.saturating_mul(4) >= have.saturating_mul(3);
    let wanted = (used + used / 2).next_power_of_two().max(have * 2);
    let room = if is_short { wanted.min(most.max(have)) } else { have };
    u32::try_from(room).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_that_is_too_small_is_followed_by_twice_its_room() {
        let (room, most) =
            (Room { entries: 8, interfaces: 4 }, Room { entries: 12, interfaces: 4 });
        let full = Error::Full { entries: 9, room: 8 };
        assert_eq!(twice(room, &full, most), Some(Room { entries: 12, ..room }));
        assert_eq!(twice(Room { entries: 12, ..room }, &full, most), None);
        assert_eq!(twice(room, &Error::Crowded { room: 4 }, most), None);
    }

    #[test]
    fn room_doubles_or_becomes_as_large_as_needed() {
        let most = 1 << 20;
        assert_eq!(more(4096, 3071, false, most), 4096);
        assert_eq!(more(4096, 3072, false, most), 8192);
        assert_eq!(more(4096, 10, true, most), 8192, "a part of the map is full");
        assert_eq!(more(4096, 150_000, false, most), 1 << 18);
        assert_eq!(more(4096, 150_000, false, 100_000), 100_000, "no more than allowed");
        assert_eq!(more(100_000, 150_000, true, 100_000), 100_000);
        assert_eq!(more(5000, 5000, true, 100), 5000, "never less than now");
        assert_eq!(more(u32::MAX, u64::MAX / 4, true, u32::MAX), u32::MAX);
    }
}
