//! Neighbours per network namespace, interface and family, counted as they come and go.
//!
//! The programs of `exporter-ebpf/src/bin/neighbour` keep a map of all entries of the kernel's
//! tables, and counts that follow it. Entries that no tracepoint tells of are looked for: those
//! older than the programs (`walk`), and then those that the walk has not found (`sweep`). The two
//! together are a resync. It makes the map right whatever happened before and whatever happens
//! meanwhile, and takes place at the start and whenever there is doubt:
//!
//! - a run of a program was missed, since the processor was already in it (`missed`);
//! - an event was lost, most likely since the map of entries was full (`lost`);
//! - an event was lost since the map of interfaces was full (`crowded`);
//! - the tables' own sizes and the map's differ, and keep to it, or a count is below zero (`audit`).
//!
//! While the doubt cannot be removed there are no counts, and attempts become rarer ([`pause`]).
//! Elements of interfaces that are gone are taken back by the program `prune`.

mod audit;
mod counts;
mod load;
mod pause;
mod stock;

use std::{os::fd::AsFd as _, path::Path, sync::Arc, thread, time::Instant};

use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData, MapError},
    programs::{Program, ProgramError},
};
use aya_log::EbpfLogger;
use exporter_common::neighbour::{Known, Totals};
use log::Log;
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

pub use exporter_common::neighbour::{Counts, FAMILIES, Key};

use self::{
    audit::Audit,
    counts::Interfaces,
    pause::{Look, Pause},
};
use super::{Error, Health, Hook, Runs, permitted, sys};

/// The programs, in the order in which they are attached: `neigh_create` comes last, so that no
/// entry is noted before its end can be seen.
const HOOKS: [Hook; 10] = [
    Hook::OnDemand(SETTLE),
    Hook::OnDemand(WALK),
    Hook::OnDemand(SWEEP),
    Hook::OnDemand(PRUNE),
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

const PRUNE: &str = "prune";

/// Where to look and what to report.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The kernel's type information, `btf/vmlinux` below `/sys/kernel`.
    pub btf: &'a Path,
    /// Inode number of the network namespace that is of interest.
    pub netns: u32,
    /// How many entries of the tables there is room for.
    pub entries: u32,
    /// How many interfaces there is room for, each family one; 0 goes by the links there are.
    pub interfaces: u32,
}

/// Why the counts were brought up to date.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reason {
    Start,
    Missed,
    Lost,
    Crowded,
    Audit,
}

impl Reason {
    const ALL: [Self; 5] =
        [Self::Start, Self::Missed, Self::Lost, Self::Crowded, Self::Audit];

    const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Missed => "missed",
            Self::Lost => "lost",
            Self::Crowded => "crowded",
            Self::Audit => "audit",
        }
    }
}

/// The programs, attached, and their counts.
pub struct Neighbours {
    /// Holds the programs; they are detached with it.
    ebpf: Ebpf,
    interfaces: Interfaces,
    /// Entries whose slot another has taken.
    entries: HashMap<MapData, u64, Known>,
    batch: Array<MapData, u64>,
    totals: Array<MapData, Totals>,
    logger: EbpfLogger<&'static dyn Log>,
    netns: u32,
    /// Elements that the map of entries has room for.
    room: u32,
    /// Whether all entries that are older than the programs are known.
    started: bool,
    /// Number of the last walk.
    walk: u32,
    /// Why the counts are not to be trusted, until they are.
    doubt: Option<Reason>,
    /// What was found of the doubt last, and in which scrape.
    failure: Option<(u64, Arc<Error>)>,
    pause: Pause,
    look: Look,
    /// Whether the log says that there are no counts.
    warned: bool,
    /// What the last resync has made good.
    good: Losses,
    /// What the kernel said last of the programs that are attached.
    runs: [Runs; HOOKS.len()],
    resyncs: [u64; Reason::ALL.len()],
    audit: Audit,
    /// The scrape that the counts were read for.
    scrape: u64,
}

/// What was not recorded since the programs were loaded.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Losses {
    /// Events.
    lost: u64,
    /// Events of interfaces for which there was no room.
    crowded: u64,
    /// Runs of programs.
    missed: u64,
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
        let interfaces = match options.interfaces {
            0 => load::interfaces()?,
            given => given,
        };
        let mut ebpf = load::load(options.btf, options.entries, interfaces)?;
        let logger = EbpfLogger::init(&mut ebpf).map_err(|error| Error::Map {
            map: "AYA_LOGS",
            source: std::io::Error::other(error),
        })?;
        let mut map = |name| ebpf.take_map(name).ok_or_else(|| absent(name));
        let interfaces = Interfaces::new(
            array("TAGS", &map("TAGS")?)?,
            array("COUNTS", &map("COUNTS")?)?,
            load::groups(interfaces),
        )?;
        let entries = HashMap::try_from(map("ENTRIES")?).map_err(|e| wrong("ENTRIES", e))?;
        let batch = Array::try_from(map("BATCH")?).map_err(|e| wrong("BATCH", e))?;
        let totals = Array::try_from(map("TOTALS")?).map_err(|e| wrong("TOTALS", e))?;
        sys::trim();
        let mut neighbours = Self {
            ebpf,
            interfaces,
            entries,
            batch,
            totals,
            logger,
            netns: options.netns,
            room: options.entries,
            started: false,
            walk: 0,
            doubt: Some(Reason::Start),
            failure: None,
            pause: Pause::default(),
            look: Look::default(),
            warned: false,
            good: Losses::default(),
            runs: [Runs::default(); HOOKS.len()],
            resyncs: [0; Reason::ALL.len()],
            audit: Audit::default(),
            scrape: 0,
        };
        match neighbours.refresh(0, Instant::now()) {
            Err(error) if !error.is_doubt() => Err(error),
            _ => Ok(neighbours),
        }
    }

    /// Gives `each` every interface that has had a neighbour, of all namespaces, as it was when this
    /// was first asked in the scrape of that number, 0 being none. An interface that is gone is
    /// left out sooner or later.
    ///
    /// # Errors
    ///
    /// The counts are not to be trusted: events were lost, or a map is too small. A scrape tries to
    /// set that right at most once, and does so less often the longer that fails.
    pub fn counts(&mut self, scrape: u64, mut each: impl FnMut(Key, &Counts)) -> Result<(), Error> {
        let is_fresh = scrape > 0 && scrape == self.scrape;
        let refreshed = if is_fresh { Ok(()) } else { self.refresh(scrape, Instant::now()) };
        self.logger.flush();
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
        for (key, counts) in self.interfaces.iter() {
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
            let runs = if hook.is_attached() { runs } else { self.runs(hook)? };
            health.program(hook.name(), hook.is_attached(), runs);
        }
        let entries = u64::try_from(self.interfaces.entries()).unwrap_or_default();
        health.map("neighbour_entries", entries, self.room.into());
        let (used, room) = (self.interfaces.used() as u64, self.interfaces.room() as u64);
        health.map("neighbour_interfaces", used, room);
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
                    && self.runs(&Hook::OnDemand(SETTLE)).is_ok()
                    && self.settle().is_ok()
            };
            scope.spawn(attempt).join().unwrap_or_default()
        })
    }

    /// What the kernel knows of a program.
    fn runs(&self, hook: &Hook) -> Result<Runs, Error> {
        let program = hook.name();
        let fd = self
            .ebpf
            .program(program)
            .ok_or(ProgramError::NotLoaded)
            .and_then(Program::fd)
            .map_err(|source| super::program(program, source))?;
        sys::runs(fd.as_fd()).map_err(|source| Error::Map { map: program, source })
    }

    fn totals(&self) -> Result<Totals, Error> {
        self.totals.get(&0, 0).map_err(|error| wrong("TOTALS", error))
    }
}

/// The array of that name.
fn array<'a>(name: &'static str, map: &'a Map) -> Result<&'a MapData, Error> {
    match map {
        Map::Array(map) => Ok(map),
        _ => Err(absent(name)),
    }
}

fn absent(map: &'static str) -> Error {
    Error::Map { map, source: std::io::ErrorKind::NotFound.into() }
}

fn wrong(map: &'static str, error: MapError) -> Error {
    Error::Map { map, source: std::io::Error::other(error) }
}
