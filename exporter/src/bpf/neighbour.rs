//! Neighbours per network namespace, interface and family, counted as they come and go.
//!
//! The programs count changes; what there was before them is added here, from a netlink dump
//! of the namespace of interest. A dump is no snapshot, so the two are set against each other
//! per interface, and only where nothing happened on the interface meanwhile; the others are
//! tried again. From then on the counts of that namespace are those of a dump, entries of
//! state `NUD_NOARP` left out. Of other namespaces, those that began after the programs are
//! exact; entries older than the programs are not known and never counted.

use std::{collections::HashMap, fs, os::fd::AsFd, path::Path, thread, time::Duration};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, IterableMap, MapData, MapError, hash_map},
    programs::{Program, ProgramError, RawTracePoint, RawTracePointRunOptions, TestRun as _},
};
use aya_log::EbpfLogger;
use exporter_common::neighbour::{ABSENT, LOST, Offsets, WAITING};
use log::Log;

pub use exporter_common::neighbour::Key;

use super::{Error, Hook, Runs, btf, find, permitted, sys};
use crate::netlink::{Links, NUD_NOARP, Neighbour, Socket, Step};

/// Both families that have neighbours: `AF_INET` and `AF_INET6`.
const FAMILIES: [u8; 2] = [2, 10];

/// The programs of `exporter-ebpf/src/bin/neighbour.rs`. The first to run is the last: what
/// was created is not to be removed unseen.
const HOOKS: [Hook; 7] = [
    Hook::OnDemand(SETTLE),
    Hook::Tracepoint("neigh_cleanup_and_release"),
    Hook::Tracepoint("neigh_timer_handler"),
    Hook::Tracepoint("neigh_update"),
    Hook::Tracepoint("neigh_update_done"),
    Hook::Tracepoint("neigh_event_send_done"),
    Hook::Tracepoint("neigh_create"),
];

/// The program that counts what no tracepoint has told of.
const SETTLE: &str = "settle";

/// How often an interface is compared with a dump before the others are left to wait for it.
const TRIES: u32 = 10;

/// What is counted right before or after it shows in a dump takes no longer than this, save
/// where the kernel is preempted in between.
const GRACE: Duration = Duration::from_millis(1);

/// `IFF_LOOPBACK`, `IFF_POINTOPOINT` and `IFF_NOARP` of `include/uapi/linux/if.h`.
const IFF_WITHOUT_ARP: u32 = 0x8 | 0x10 | 0x80;

/// Interfaces that are gone are forgotten where there are more than this in all.
const MANY: usize = 4096;

/// Where to look and what to report.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The kernel's type information, `btf/vmlinux` below `/sys/kernel`.
    pub btf: &'a Path,
    /// Inode number of the network namespace in which [`Neighbours::start`] is called.
    pub netns: u32,
}

/// What is known of the neighbours of an interface.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Entries in the table, `NUD_NOARP` left out.
    pub entries: u64,
    /// Entries made since the start, `NUD_NOARP` left out.
    pub created: u64,
    /// Entries removed since the start, `NUD_NOARP` left out.
    pub removed: u64,
    /// Entries refused since the start because the table was full, or memory short.
    pub overflows: u64,
    /// Address resolutions since the start that ended without an answer.
    pub failures: u64,
    /// Link-layer addresses that took the place of another since the start.
    pub address_changes: u64,
}

/// What is kept of an interface between reads.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Entries older than the programs; `None` while not known.
    before: Option<i64>,
    /// The kernel's count of events at the last read.
    events: u64,
}

/// The programs, attached, and their counts.
pub struct Neighbours {
    /// Holds the programs; they are detached with it.
    ebpf: Ebpf,
    map: hash_map::HashMap<MapData, Key, Changes>,
    totals: Array<MapData, u64>,
    logger: EbpfLogger<&'static dyn Log>,
    socket: Socket,
    links: Links,
    netns: u32,
    known: HashMap<Key, Known>,
    /// Whether every interface of the namespace is to be compared with a dump.
    fresh: bool,
    /// Index and family of those that changed meanwhile, to be compared again.
    open: Vec<(u32, u8)>,
    /// Events lost and runs missed at the time of that comparison.
    doubts: u64,
    keys: Vec<Key>,
    changes: Vec<Changes>,
    dumped: HashMap<(u32, u32), i64>,
}

/// What the kernel side counts.
type Changes = exporter_common::neighbour::Counts;

impl std::fmt::Debug for Neighbours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Neighbours").field("netns", &self.netns).finish_non_exhaustive()
    }
}

impl Neighbours {
    /// Loads and attaches the programs, and takes stock of this thread's network namespace.
    ///
    /// # Errors
    ///
    /// What the kernel lacks, or the process. An interface on which too much happens is none:
    /// see [`Neighbours::counts`].
    pub fn start(options: &Options<'_>) -> Result<Self, Error> {
        permitted()?;
        let mut socket = Socket::open()?;
        let mut links = Links::new();
        socket.links(&mut links)?;
        let (mut ebpf, totals) = load(options.btf, room(links.len()))?;
        let logger = EbpfLogger::init(&mut ebpf).map_err(|error| Error::Map {
            map: "AYA_LOGS",
            source: std::io::Error::other(error),
        })?;
        let map = ebpf.take_map("COUNTS").ok_or_else(|| absent("COUNTS"))?;
        let map = hash_map::HashMap::try_from(map).map_err(|error| wrong("COUNTS", error))?;
        sys::trim();
        let mut neighbours = Self {
            ebpf,
            map,
            totals,
            logger,
            socket,
            links,
            netns: options.netns,
            known: HashMap::new(),
            fresh: true,
            open: Vec::new(),
            doubts: 0,
            keys: Vec::new(),
            changes: Vec::new(),
            dumped: HashMap::new(),
        };
        match neighbours.settle() {
            Ok(()) | Err(Error::Unsettled(_)) => Ok(neighbours),
            Err(error) => Err(error),
        }
    }

    /// Gives `each` every interface that ever had a neighbour, of all namespaces.
    ///
    /// # Errors
    ///
    /// The counts are not to be trusted: events were lost, or too much happened on an
    /// interface to compare it with a dump. Each call tries to take stock again.
    pub fn counts(&mut self, mut each: impl FnMut(Key, Counts)) -> Result<(), Error> {
        let doubts = self.doubts()?;
        if doubts != self.doubts {
            self.fresh = true;
        }
        if self.fresh || !self.open.is_empty() {
            self.settle()?;
        }
        self.read()?;
        for (key, changes) in self.keys.iter().zip(&self.changes) {
            let known = self.known.entry(*key).or_default();
            let entries = known.before.unwrap_or_default().saturating_add(changes.entries);
            if entries < 0 && key.netns == self.netns {
                self.fresh = true;
            }
            let counts = Counts {
                entries: u64::try_from(entries).unwrap_or_default(),
                created: changes.created,
                removed: changes.removed,
                overflows: changes.overflows,
                failures: changes.failures,
                address_changes: changes.address_changes,
            };
            each(*key, counts);
        }
        self.prune()?;
        if self.fresh { Err(Error::Unsettled(1)) } else { Ok(()) }
    }

    /// The inode number of the namespace whose counts are exact.
    #[must_use]
    pub const fn netns(&self) -> u32 {
        self.netns
    }

    /// Gives `each` the programs' names and what running them has cost.
    pub fn programs(&self, mut each: impl FnMut(&'static str, Runs)) -> Result<(), Error> {
        for hook in &HOOKS {
            let program = hook.name();
            let fd = self
                .ebpf
                .program(program)
                .ok_or(ProgramError::NotLoaded)
                .and_then(Program::fd)
                .map_err(|source| super::program(program, source))?;
            let runs =
                sys::runs(fd.as_fd()).map_err(|source| Error::Map { map: program, source })?;
            each(program, runs);
        }
        Ok(())
    }

    /// Forwards what the programs have logged to the log, at the level they gave it.
    pub fn drain_log(&mut self) {
        self.logger.flush();
    }

    /// Events that were lost and runs that were missed: while it stands still, all is counted.
    fn doubts(&self) -> Result<u64, Error> {
        let mut doubts = self.total(LOST)?;
        self.programs(|_, runs| doubts = doubts.wrapping_add(runs.missed))?;
        Ok(doubts)
    }

    /// One of the totals.
    fn total(&self, which: u32) -> Result<u64, Error> {
        self.totals.get(&which, 0).map_err(|error| wrong("TOTALS", error))
    }

    /// Reads the map, after the program that brings it up to date.
    fn read(&mut self) -> Result<(), Error> {
        if self.total(WAITING)? != 0 {
            find::<RawTracePoint>(&mut self.ebpf, SETTLE)?
                .test_run(RawTracePointRunOptions::default())
                .map_err(|source| super::program(SETTLE, source))?;
        }
        sys::read(self.map.map().fd().as_fd(), &mut self.keys, &mut self.changes)
            .map_err(|source| Error::Map { map: "COUNTS", source })
    }

    /// Takes stock of the namespace, or of the interfaces that were left open.
    fn settle(&mut self) -> Result<(), Error> {
        for _ in 0..TRIES {
            if self.fresh {
                self.doubts = self.doubts()?;
                self.known.clear();
            }
            self.compare()?;
            self.fresh = false;
            if self.open.is_empty() {
                return Ok(());
            }
        }
        Err(Error::Unsettled(self.open.len()))
    }

    /// Compares the interfaces with a dump; those that change meanwhile are left open.
    fn compare(&mut self) -> Result<(), Error> {
        self.read()?;
        for (key, changes) in self.keys.iter().zip(&self.changes) {
            self.known.entry(*key).or_default().events = changes.events;
        }
        self.socket.links(&mut self.links)?;
        thread::sleep(GRACE);
        self.dump()?;
        thread::sleep(GRACE);
        self.introduce();
        self.read()?;
        self.open.clear();
        for (key, changes) in self.keys.iter().zip(&self.changes) {
            let known = self.known.entry(*key).or_default();
            if known.before.is_some() {
                continue;
            }
            if key.netns != self.netns {
                known.before = Some(0);
            } else if known.events == changes.events {
                let dumped = self.dumped.get(&(key.ifindex, key.family)).copied();
                known.before = Some(dumped.unwrap_or_default() - changes.entries);
            } else {
                self.open.push((key.ifindex, u8::try_from(key.family).unwrap_or_default()));
            }
        }
        Ok(())
    }

    /// Gives interfaces of which the programs have not heard a place in the map.
    fn introduce(&mut self) {
        /// The kernel refuses what is there already: the programs were first, theirs stays.
        const NOEXIST: u64 = 1;
        for &(ifindex, family) in self.dumped.keys() {
            let key = Key { netns: self.netns, ifindex, family };
            if !self.known.contains_key(&key) {
                let flags = self.links.get(ifindex).map_or(0, |link| link.flags);
                let noarp = u64::from(flags & IFF_WITHOUT_ARP != 0);
                let nothing = Changes { noarp, ..bytemuck::Zeroable::zeroed() };
                let _ = self.map.insert(key, nothing, NOEXIST);
            }
        }
    }

    /// Counts the neighbours of the namespace by walking them: all, or of what is open.
    fn dump(&mut self) -> Result<(), Error> {
        let whole = FAMILIES.map(|family| (None, family));
        let parts = self.open.iter().map(|&(ifindex, family)| (Some(ifindex), family));
        let asked = whole.into_iter().filter(|_| self.fresh).chain(parts.filter(|_| !self.fresh));
        for (only, family) in asked {
            let dumped = &mut self.dumped;
            self.socket.neighbours_of(family, only, |step| match step {
                Step::Start => dumped.retain(|&(ifindex, other), _| {
                    other != u32::from(family) || only.is_some_and(|only| only != ifindex)
                }),
                Step::Item(Neighbour { ifindex, state, .. }) => {
                    let n = dumped.entry((ifindex, family.into())).or_default();
                    *n += i64::from(state & NUD_NOARP == 0);
                }
            })?;
        }
        Ok(())
    }

    /// Forgets interfaces that are gone, where there are many.
    ///
    /// An interface without entries on which nothing has happened since the last read; of the
    /// namespace of interest, only if it is no longer there.
    fn prune(&mut self) -> Result<(), Error> {
        if self.keys.len() <= MANY {
            return Ok(());
        }
        self.socket.links(&mut self.links)?;
        for (key, changes) in self.keys.iter().zip(&self.changes) {
            let Some(known) = self.known.get_mut(key) else { continue };
            let entries = known.before.unwrap_or_default() + changes.entries;
            let there = key.netns == self.netns && self.links.get(key.ifindex).is_some();
            if entries <= 0 && known.events == changes.events && !there {
                self.map.remove(key).map_err(|error| wrong("COUNTS", error))?;
                self.known.remove(key);
            } else {
                known.events = changes.events;
            }
        }
        Ok(())
    }
}

/// How many interfaces are counted at most, for each family one: four times those there are,
/// since other namespaces have some, too. To read the map takes the longer the larger it is.
fn room(links: usize) -> u32 {
    let wanted = links.saturating_mul(2 * 4).clamp(1 << 14, 1 << 18);
    u32::try_from(wanted.next_power_of_two()).unwrap_or(1 << 18)
}

/// The structures that the programs read.
const STRUCTURES: [&str; 5] = ["neighbour", "neigh_ops", "neigh_table", "net_device", "net"];

/// Loads and attaches the programs; the second is the map `TOTALS`.
fn load(path: &Path, room: u32) -> Result<(Ebpf, Array<MapData, u64>), Error> {
    #[expect(clippy::disallowed_methods, reason = "once, at the start; the path is given")]
    let data = fs::read(path).map_err(Error::NoBtf)?;
    let types = btf::Btf::parse(&data, &STRUCTURES).map_err(Error::BadBtf)?;
    let offsets = offsets(&types)?;
    let types = types.blanked(&HOOKS.map(|hook| format!("btf_trace_{}", hook.name())));
    drop(data);
    let types = aya::Btf::parse(&types, aya::Endianness::default())
        .map_err(|_| Error::BadBtf("cannot be parsed"))?;
    let mut ebpf = EbpfLoader::new()
        .btf(None)
        .override_global("OFFSETS", &offsets, true)
        .map_max_entries("COUNTS", room)
        .load(OBJECT)
        .map_err(|error| Error::Object(Box::new(error)))?;
    for hook in &HOOKS {
        hook.attach(&mut ebpf, &types)?;
    }
    let totals = ebpf.take_map("TOTALS").ok_or_else(|| absent("TOTALS"))?;
    let totals = Array::try_from(totals).map_err(|error| wrong("TOTALS", error))?;
    Ok((ebpf, totals))
}

/// The programs, as `cargo xtask ebpf` has built them.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../exporter-ebpf/prebuilt/neighbour.o");

/// Where the running kernel keeps what the programs read.
fn offsets(btf: &btf::Btf<'_>) -> Result<Offsets, Error> {
    let of = |structure: &'static str, path: &[&str]| {
        btf.offset(structure, path)
            .ok_or_else(|| Error::NoMember { structure, member: path.join(".") })
    };
    Ok(Offsets {
        neighbour_tbl: of("neighbour", &["tbl"])?,
        neighbour_dev: of("neighbour", &["dev"])?,
        neighbour_ops: of("neighbour", &["ops"])?,
        neighbour_output: of("neighbour", &["output"])?,
        neighbour_nud_state: of("neighbour", &["nud_state"])?,
        neighbour_type: of("neighbour", &["type"])?,
        neighbour_dead: of("neighbour", &["dead"])?,
        neighbour_ha: of("neighbour", &["ha"])?,
        neighbour_hash_pprev: of("neighbour", &["hash", "pprev"]).unwrap_or(ABSENT),
        ops_connected_output: of("neigh_ops", &["connected_output"])?,
        table_family: of("neigh_table", &["family"])?,
        device_flags: of("net_device", &["flags"])?,
        device_ifindex: of("net_device", &["ifindex"])?,
        device_header_ops: of("net_device", &["header_ops"])?,
        device_net: of("net_device", &["nd_net", "net"])?,
        device_addr_len: of("net_device", &["addr_len"])?,
        net_inum: of("net", &["ns", "inum"])?,
    })
}

fn absent(map: &'static str) -> Error {
    Error::Map { map, source: std::io::ErrorKind::NotFound.into() }
}

fn wrong(map: &'static str, error: MapError) -> Error {
    Error::Map { map, source: std::io::Error::other(error) }
}
