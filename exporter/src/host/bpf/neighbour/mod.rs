//! Neighbours per network namespace, interface and family, counted as they come and go.
//!
//! The programs of `exporter-ebpf/src/bin/neighbour` keep a map of all entries of the kernel's
//! tables, and counts that follow it. A resync finds the entries that no tracepoint tells of:
//! `walk` puts entries that are older than the programs into the map, and `sweep` then takes out
//! those that the walk has not found in a table. A resync makes the map right after any events
//! before it and during it. It takes place at the start and whenever there is doubt:
//!
//! - a run of a program was missed, since the processor was already in it (`missed`);
//! - an event was lost, most likely since the map of entries was full (`lost`);
//! - an event was lost since the map of interfaces was full (`crowded`);
//! - the tables' own sizes and the map's differ for some time, or a count is below zero (`audit`).
//!
//! While the doubt cannot be removed there are no counts, and attempts become rarer ([`super::pause`]).
//! Elements of interfaces that are gone are taken back by the program `prune`.

mod audit;
mod carry;
mod counts;
mod growth;
mod load;
mod look;
mod stock;

use std::sync::Arc;

use aya::maps::{Array, HashMap, Map, MapData, MapError};
use exporter_common::neighbour::{Known, Totals};

pub use self::growth::{Neighbours, Options};
pub(super) use self::load::{Facts, PLAN, Room};
pub use exporter_common::neighbour::{Counts, FAMILIES, Key};

use self::{audit::Audit, counts::Interfaces, look::Look};
use super::{
    Error, Health, Runs,
    object::{Hook, Set},
    pause::Pause,
};

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

/// The reason of a resync.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reason {
    Start,
    Grow,
    Missed,
    Lost,
    Crowded,
    Audit,
}

impl Reason {
    const ALL: [Self; 6] =
        [Self::Start, Self::Grow, Self::Missed, Self::Lost, Self::Crowded, Self::Audit];

    const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Grow => "grow",
            Self::Missed => "missed",
            Self::Lost => "lost",
            Self::Crowded => "crowded",
            Self::Audit => "audit",
        }
    }
}

/// A set of the programs, attached, and its counts.
struct Counting {
    /// Holds the programs; they are detached with it.
    set: Set,
    interfaces: Interfaces,
    /// Entries whose slot another entry has taken.
    entries: HashMap<MapData, u64, Known>,
    batch: Array<MapData, u64>,
    totals: Array<MapData, Totals>,
    room: Room,
    /// Whether all entries that are older than the programs are known.
    started: bool,
    /// Number of the last walk.
    walk: u32,
    /// The reason why the counts cannot be trusted; `None` where they can.
    doubt: Option<Reason>,
    /// The error of the last attempt to remove the doubt, and the number of its scrape.
    failure: Option<(u64, Arc<Error>)>,
    pause: Pause,
    look: Look,
    /// The losses that the last resync has made good.
    good: Losses,
    /// The kernel's last figures on the programs that are attached.
    runs: [Runs; HOOKS.len()],
    /// The kernel's figures on the programs of earlier sets, added up.
    runs_before: [Runs; HOOKS.len()],
    /// The number of resyncs since the start, by reason.
    resyncs: [u64; Reason::ALL.len()],
    audit: Audit,
}

/// The losses since the programs were loaded.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Losses {
    /// Events.
    lost: u64,
    /// Events of interfaces for which there was no room.
    crowded: u64,
    /// Runs of programs.
    missed: u64,
}

impl Counting {
    /// Programs that have just been attached, with this `room`. They know no entry that is older,
    /// so that stock must be taken, and `reason` is the reason of that resync.
    fn new(set: Set, room: Room, reason: Reason) -> Result<Self, Error> {
        let (tags, counts) = (set.map("TAGS")?, set.map("COUNTS")?);
        let groups = load::groups(room.interfaces);
        let interfaces = Interfaces::new(array("TAGS", &tags)?, array("COUNTS", &counts)?, groups)?;
        let entries = HashMap::try_from(set.map("ENTRIES")?).map_err(|e| wrong("ENTRIES", e))?;
        let batch = Array::try_from(set.map("BATCH")?).map_err(|e| wrong("BATCH", e))?;
        let totals = Array::try_from(set.map("TOTALS")?).map_err(|e| wrong("TOTALS", e))?;
        Ok(Self {
            set,
            interfaces,
            entries,
            batch,
            totals,
            room,
            started: false,
            walk: 0,
            doubt: Some(reason),
            failure: None,
            pause: Pause::default(),
            look: Look::default(),
            good: Losses::default(),
            runs: [Runs::default(); HOOKS.len()],
            runs_before: [Runs::default(); HOOKS.len()],
            resyncs: [0; Reason::ALL.len()],
            audit: Audit::default(),
        })
    }

    /// Gives `health` the figures on the programs and maps.
    fn health(&self, health: &mut impl Health) -> Result<(), Error> {
        for (hook, runs) in HOOKS.iter().zip(self.all_runs()?) {
            health.program(hook.name(), hook.is_attached(), runs);
        }
        let entries = u64::try_from(self.interfaces.entries()).unwrap_or_default();
        health.map("neighbour_entries", entries, self.room.entries.into());
        let (used, room) = (self.interfaces.used() as u64, self.interfaces.room() as u64);
        health.map("neighbour_interfaces", used, room);
        for (reason, n) in Reason::ALL.iter().zip(self.resyncs) {
            health.resyncs("neighbour", reason.name(), n);
        }
        health.audit("neighbour", self.audit.difference());
        Ok(())
    }

    /// Whether all of it works as the calling thread is, without any capability.
    fn needs_no_capability(&mut self) -> bool {
        self.set.runs(SETTLE).is_ok() && self.settle().is_ok()
    }

    /// The kernel's figures on each program, those of earlier sets included.
    fn all_runs(&self) -> Result<[Runs; HOOKS.len()], Error> {
        let mut all = self.runs_before;
        for ((hook, known), sum) in HOOKS.iter().zip(&self.runs).zip(&mut all) {
            *sum += if hook.is_attached() { *known } else { self.set.runs(hook.name())? };
        }
        Ok(all)
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
