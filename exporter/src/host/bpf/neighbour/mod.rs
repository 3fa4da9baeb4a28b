//! Neighbours per network namespace, interface and family, counted as they come and go.
//!
//! The programs of `exporter-ebpf/src/bin/neighbour` keep a map of all entries of the kernel's
//! tables, and counts that follow it. What they do not hear of, they are told to look for: entries
//! that are older than they are (`walk`), and then entries that the walk has not found (`sweep`).
//! The two together make the counts right whatever happened before and whatever happens meanwhile,
//! and they run at the start and whenever there is doubt:
//!
//! - a run of a program was missed, since the processor was already in it (`missed`);
//! - an event was lost, most likely since a map was full (`lost`);
//! - the tables' own sizes and the map's differ, and keep to it (`audit`).
//!
//! While the doubt cannot be removed there are no counts.

mod audit;
mod load;

use std::{
    collections::HashMap as Memory,
    os::fd::AsFd as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use aya::maps::{Array, HashMap, IterableMap as _, MapData, MapError};
use exporter_common::neighbour::{GONE, Known, STEPS, Totals};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

pub use exporter_common::neighbour::{Counts, FAMILIES, Key};

use self::audit::Audit;
use super::{
    Error, Health, Runs,
    object::{Hook, Set},
    permitted, sys,
};

/// The programs. The first to run is the last: what was created is not to be removed unseen.
const HOOKS: [Hook; 9] = [
    Hook::OnDemand(SETTLE),
    Hook::OnDemand(WALK),
    Hook::OnDemand(SWEEP),
    Hook::Tracepoint("neigh_cleanup_and_release"),
    Hook::Tracepoint("neigh_timer_handler"),
    Hook::Tracepoint("neigh_update"),
    Hook::Tracepoint("neigh_update_done"),
    Hook::Tracepoint("neigh_event_send_done"),
    Hook::Tracepoint("neigh_create"),
];

const SETTLE: &str = "settle";
const WALK: &str = "walk";
const SWEEP: &str = "sweep";

/// How often events may be lost during a resync before it has failed.
const TRIES: u32 = 5;

/// How long a walk may take; a table of a million entries takes half a second.
const PATIENCE: Duration = Duration::from_secs(5);

/// Interfaces that are gone are forgotten where there are more than this in all.
const MANY: usize = 4096;

/// Where to look and what to report.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The kernel's type information, `btf/vmlinux` below `/sys/kernel`.
    pub btf: &'a Path,
    /// Inode number of the network namespace that is of interest.
    pub netns: u32,
    /// How many entries of the tables there is room for.
    pub entries: u32,
}

/// Why the counts were brought up to date.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reason {
    Start,
    Missed,
    Lost,
    Audit,
}

impl Reason {
    const ALL: [Self; 4] = [Self::Start, Self::Missed, Self::Lost, Self::Audit];

    const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Missed => "missed",
            Self::Lost => "lost",
            Self::Audit => "audit",
        }
    }
}

/// The programs, attached, and their counts.
pub struct Neighbours {
    /// Holds the programs; they are detached with it.
    set: Set,
    counts: HashMap<MapData, Key, Counts>,
    /// Those that are not in their slot.
    entries: HashMap<MapData, u64, Known>,
    batch: Array<MapData, u64>,
    totals: Array<MapData, Totals>,
    netns: u32,
    /// Elements that the map of entries has room for.
    room: u32,
    /// Elements that the map of counts has room for.
    interfaces: u32,
    /// Whether all entries that are older than the programs are known.
    started: bool,
    /// Number of the last walk.
    walk: u32,
    /// Why the counts are not to be trusted, until they are.
    doubt: Option<Reason>,
    /// Whether the log says that there are no counts.
    warned: bool,
    /// Events lost and runs missed until the last resync.
    lost: u64,
    missed: u64,
    /// What the kernel said last of the programs that are attached.
    runs: [Runs; HOOKS.len()],
    resyncs: [u64; Reason::ALL.len()],
    audit: Audit,
    /// The scrape that the counts below were read for.
    scrape: u64,
    keys: Vec<Key>,
    values: Vec<Counts>,
    /// Counts of the last read, to tell interfaces that are gone; empty unless there are many.
    last: Memory<Key, Counts>,
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
    /// What the kernel lacks, or the process. That there is no room for the entries there are is
    /// none: see [`Neighbours::counts`].
    pub fn start(options: &Options<'_>) -> Result<Self, Error> {
        permitted()?;
        let interfaces = load::interfaces()?;
        let kernel = load::Kernel::read(options.btf)?;
        let set = kernel.load(load::Room { entries: options.entries, interfaces })?;
        let counts = HashMap::try_from(set.map("COUNTS")?).map_err(|e| wrong("COUNTS", e))?;
        let entries = HashMap::try_from(set.map("ENTRIES")?).map_err(|e| wrong("ENTRIES", e))?;
        let batch = Array::try_from(set.map("BATCH")?).map_err(|e| wrong("BATCH", e))?;
        let totals = Array::try_from(set.map("TOTALS")?).map_err(|e| wrong("TOTALS", e))?;
        sys::trim();
        let mut neighbours = Self {
            set,
            counts,
            entries,
            batch,
            totals,
            netns: options.netns,
            room: options.entries,
            interfaces,
            started: false,
            walk: 0,
            doubt: Some(Reason::Start),
            warned: false,
            lost: 0,
            missed: 0,
            runs: [Runs::default(); HOOKS.len()],
            resyncs: [0; Reason::ALL.len()],
            audit: Audit::default(),
            scrape: 0,
            keys: Vec::new(),
            values: Vec::new(),
            last: Memory::new(),
        };
        match neighbours.refresh() {
            Ok(()) | Err(Error::Full { .. } | Error::Unsettled) => Ok(neighbours),
            Err(error) => Err(error),
        }
    }

    /// Gives `each` every interface that ever had a neighbour, of all namespaces; as they were
    /// when this was first asked in the scrape of that number, 0 being none.
    ///
    /// # Errors
    ///
    /// The counts are not to be trusted: events were lost, or the map is too small. Each call
    /// tries to set that right.
    pub fn counts(&mut self, scrape: u64, mut each: impl FnMut(Key, &Counts)) -> Result<(), Error> {
        let is_fresh = scrape > 0 && scrape == self.scrape;
        let refreshed = if is_fresh { Ok(()) } else { self.refresh() };
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
        for (key, counts) in self.keys.iter().zip(&self.values) {
            each(*key, counts);
        }
        Ok(())
    }

    /// The inode number of the namespace of interest.
    #[must_use]
    pub const fn netns(&self) -> u32 {
        self.netns
    }

    /// Sizes of the tables for each of [`FAMILIES`], of all namespaces, as of the last counts.
    pub fn table_sizes(&self) -> Result<[u64; 2], Error> {
        Ok(self.totals()?.tables.map(|table| table.size))
    }

    /// What the programs cost, and whether they do what they should.
    pub fn health(&self, health: &mut impl Health) -> Result<(), Error> {
        for (hook, &runs) in HOOKS.iter().zip(&self.runs) {
            let runs = if hook.is_attached() { runs } else { self.set.runs(hook.name())? };
            health.program(hook.name(), hook.is_attached(), runs);
        }
        health.map("neighbour_entries", self.entries().unsigned_abs(), self.room.into());
        health.map("neighbour_interfaces", self.keys.len() as u64, self.interfaces.into());
        for (reason, n) in Reason::ALL.iter().zip(self.resyncs) {
            health.resyncs("neighbour", reason.name(), n);
        }
        health.audit("neighbour", self.audit.difference());
        Ok(())
    }

    /// The programs' names, before there are any.
    pub(super) fn programs() -> impl Iterator<Item = &'static str> {
        HOOKS.iter().filter(|hook| hook.is_attached()).map(|hook| hook.name())
    }

    /// Whether all of it works without any capability.
    ///
    /// It does since Linux 5.19, and before where `kernel.unprivileged_bpf_disabled` is 0: then
    /// descriptors are enough. Found out by trying, in a thread that has given up its own.
    #[must_use]
    pub fn needs_no_capability(&mut self) -> bool {
        thread::scope(|scope| {
            let attempt = || {
                let none = CapabilitySets {
                    effective: CapabilitySet::empty(),
                    permitted: CapabilitySet::empty(),
                    inheritable: CapabilitySet::empty(),
                };
                set_capabilities(None, none).is_ok()
                    && self.set.runs(SETTLE).is_ok()
                    && self.settle().is_ok()
                    && self.read().is_ok()
            };
            scope.spawn(attempt).join().unwrap_or_default()
        })
    }

    /// Reads the counts, once they are right.
    fn refresh(&mut self) -> Result<(), Error> {
        self.settle()?;
        self.read()?;
        let totals = self.totals()?;
        let missed = self.missed()?;
        let differs = self.audit.fails(&totals, self.entries(), Instant::now());
        let is_full = self.entries() > self.room.into();
        let reason = if totals.lost != self.lost || is_full {
            Some(Reason::Lost)
        } else if missed != self.missed {
            Some(Reason::Missed)
        } else if differs {
            Some(Reason::Audit)
        } else {
            None
        };
        self.doubt = self.doubt.or(reason);
        if let Some(reason) = self.doubt {
            self.resync()?;
            if let Some(n) = self.resyncs.get_mut(reason as usize) {
                *n += 1;
            }
            tracing::debug!(reason = reason.name(), "took stock of the neighbours");
            self.doubt = None;
        }
        self.prune()
    }

    /// Elements of the map of entries, as of the last read.
    fn entries(&self) -> i64 {
        self.values.iter().map(|counts| counts.entries + counts.noarp).sum()
    }

    /// Brings the map of entries up to date, and with it the counts.
    fn resync(&mut self) -> Result<(), Error> {
        for _ in 0..TRIES {
            self.walk = self.walk.wrapping_add(1);
            self.settle()?;
            let before = self.totals()?;
            let size: u64 = before.tables.iter().map(|table| table.size).sum();
            let full = Error::Full { entries: size, room: self.room };
            // To walk the tables all the same would cost time at each scrape, to no end.
            if size > self.room.into() {
                return Err(full);
            }
            let missed = self.missed()?;
            for i in 0..FAMILIES.len() {
                self.walk(i)?;
            }
            self.sweep()?;
            let (after, still) = (self.totals()?, self.missed()?);
            if (after.lost, still) == (before.lost, missed) {
                self.started = true;
                self.settle()?;
                self.read()?;
                (self.lost, self.missed) = (after.lost, missed);
                self.audit.settle(&self.totals()?, self.entries(), Instant::now());
                return Ok(());
            }
            self.read()?;
            if self.entries() >= self.room.into() {
                return Err(full);
            }
        }
        Err(Error::Unsettled)
    }

    /// Shows every entry of a table to the programs.
    fn walk(&mut self, table: usize) -> Result<(), Error> {
        let start = Instant::now();
        let (mut hash, mut bucket) = (0, 0);
        loop {
            self.settle()?; // looks the table up
            let Some(&now) = self.totals()?.tables.get(table) else { return Ok(()) };
            if now.hash != hash {
                // It has grown: what moved may have been passed over.
                (hash, bucket) = (now.hash, 0);
            }
            if now.address == 0 || bucket >= now.buckets {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                return Err(Error::Unsettled);
            }
            self.set.run(WALK, &[hash, bucket])?;
            bucket = self.totals()?.walked;
        }
    }

    /// Takes out of the map what the walk has not found.
    fn sweep(&mut self) -> Result<(), Error> {
        let (mut addresses, mut entries) = (Vec::new(), Vec::<Known>::new());
        sys::read(self.entries.map().fd().as_fd(), &mut addresses, &mut entries)
            .map_err(|source| Error::Map { map: "ENTRIES", source })?;
        let mut unseen = Vec::new();
        for (address, known) in addresses.iter().zip(&entries) {
            if known.state & GONE != 0 {
                // Out of the counts, and who wanted to take it out of the map as well could not.
                match self.entries.remove(address) {
                    Ok(()) | Err(MapError::KeyNotFound) => {}
                    Err(error) => return Err(wrong("ENTRIES", error)),
                }
            } else if known.walk != self.walk {
                unseen.push(*address);
            }
        }
        let mut unseen = unseen.chunks(STEPS as usize);
        let mut slots = (0..load::slots(self.room)).step_by(STEPS as usize);
        loop {
            let (chunk, slot) = (unseen.next(), slots.next());
            if let Some(chunk) = chunk {
                let mut batch = chunk.to_vec();
                batch.resize(STEPS as usize, 0);
                // It stays there; to look at an address once more does no harm.
                sys::write(self.batch.map().fd().as_fd(), &batch)
                    .map_err(|source| Error::Map { map: "BATCH", source })?;
            } else if slot.is_none() {
                return Ok(());
            }
            self.set.run(SWEEP, &[slot.unwrap_or_default().into(), 0])?;
        }
    }

    /// Looks the tables up, and for entries that no tracepoint has told of.
    fn settle(&mut self) -> Result<(), Error> {
        self.set.run(SETTLE, &[self.started.into(), self.walk.into()])
    }

    /// How often one of the programs did not run.
    fn missed(&mut self) -> Result<u64, Error> {
        let mut missed = 0;
        for (i, hook) in HOOKS.iter().enumerate().filter(|(_, hook)| hook.is_attached()) {
            let runs = self.set.runs(hook.name())?;
            missed += runs.missed;
            if let Some(known) = self.runs.get_mut(i) {
                *known = runs;
            }
        }
        Ok(missed)
    }

    fn totals(&self) -> Result<Totals, Error> {
        self.totals.get(&0, 0).map_err(|error| wrong("TOTALS", error))
    }

    fn read(&mut self) -> Result<(), Error> {
        sys::read(self.counts.map().fd().as_fd(), &mut self.keys, &mut self.values)
            .map_err(|source| Error::Map { map: "COUNTS", source })
    }

    /// Forgets interfaces without entries on which nothing has happened since the last read,
    /// where there are many. One that is still there begins anew.
    fn prune(&mut self) -> Result<(), Error> {
        if self.keys.len() <= MANY {
            self.last = Memory::new();
            return Ok(());
        }
        for (key, counts) in self.keys.iter().zip(&self.values) {
            if counts.entries == 0
                && counts.noarp == 0
                && key.netns != self.netns
                && self.last.get(key) == Some(counts)
            {
                self.counts.remove(key).map_err(|error| wrong("COUNTS", error))?;
            }
        }
        self.last = self.keys.iter().copied().zip(self.values.iter().copied()).collect();
        Ok(())
    }
}

fn wrong(map: &'static str, error: MapError) -> Error {
    Error::Map { map, source: std::io::Error::other(error) }
}
