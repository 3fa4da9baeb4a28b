//! The programs in the kernel: loading them, and reading what they count.
//!
//! Whether they can run is found out by trying. A refusal is an [`Error`] that says in one
//! sentence what is missing and what to grant, never the end of the exporter: another source
//! serves then. Needed are Linux 5.13 or later with `CONFIG_DEBUG_INFO_BTF`, and the
//! capabilities `CAP_BPF` and `CAP_PERFMON`; nothing of tracefs, perf, kprobes or trampolines.

mod btf;
mod health;
mod neighbour;
mod object;
mod sys;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock},
};

use crate::flag::{AnyFlag, Flag, switch};
use rustix::thread::{CapabilitySet, capabilities};

pub use self::{
    neighbour::{Counts, FAMILIES, Key, Neighbours, Options},
    sys::{Runs, trim},
};

/// Why programs in the kernel cannot be had, or cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line forbids it.
    #[error("--no-bpf")]
    Off,
    /// The process may not load programs.
    #[error("not permitted to load programs: grant {0}")]
    Capability(&'static str),
    /// The process cannot tell its network namespace.
    #[error("{}: {source}", path.display())]
    NoNamespace {
        /// The file that stands for it.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel does not describe its types.
    #[error("the kernel has no type information (CONFIG_DEBUG_INFO_BTF): {0}")]
    NoBtf(io::Error),
    /// The kernel's description of its types is broken.
    #[error("the kernel's type information: {0}")]
    BadBtf(&'static str),
    /// The kernel lacks what the programs read.
    #[error("the kernel has no {structure}.{member}")]
    NoMember {
        /// The structure.
        structure: &'static str,
        /// The member, or a path of them.
        member: String,
    },
    /// The kernel lacks an event that a program waits for.
    #[error("the kernel has no tracepoint {0}")]
    NoTracepoint(&'static str),
    /// The file with the programs is not as it should be.
    #[error("the programs' object file: {0}")]
    Object(String),
    /// The kernel refuses the types of the programs.
    #[error("the programs' types: {source}{}", advice(.source))]
    Types {
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refuses a map.
    #[error("map {map}: {source}{}", advice(.source))]
    Create {
        /// The map.
        map: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refuses a program.
    #[error("program {program}: {source}{}", advice(.source))]
    Load {
        /// The program.
        program: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel does not know a helper that a program calls.
    #[error("program {program}: {source}; it takes Linux 5.13 or later")]
    TooOld {
        /// The program.
        program: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A program does not run when it is asked to.
    #[error("program {program}: {source}")]
    Program {
        /// The program.
        program: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A map cannot be read or written.
    #[error("map {map}: {source}")]
    Map {
        /// The map.
        map: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The interfaces could not be counted.
    #[error(transparent)]
    Netlink(#[from] crate::host::netlink::Error),
    /// Events were lost in each attempt to make good for those that were lost before.
    #[error("neighbours change too fast to take stock")]
    Unsettled,
    /// The map has no room for the entries of the tables.
    #[error("{entries} entries, room for {room}: see --bpf.neighbour-map-entries")]
    Full {
        /// Entries there are.
        entries: u64,
        /// Entries there is room for.
        room: u32,
    },
}

impl From<Error> for crate::error::Error {
    fn from(error: Error) -> Self {
        Self::Source { source_name: "ebpf", error: Box::new(error) }
    }
}

/// `--bpf`: whether programs are loaded into the kernel.
pub const ENABLED: Flag<bool> =
    switch("bpf", true, "Count with eBPF programs in the kernel where they can be loaded.");
/// `--bpf.required`.
pub const REQUIRED: Flag<bool> =
    switch("bpf.required", false, "End the start where an eBPF program cannot be loaded.");
/// `--bpf.neighbour-map-entries`.
pub const NEIGHBOUR_MAP_ENTRIES: Flag<u64> = Flag::value(
    "bpf.neighbour-map-entries",
    &["0"],
    "Neighbours of all network namespaces that eBPF has room for; 0 goes by the thresholds of the kernel's tables.",
);

/// The flags of this module.
pub static FLAGS: &[&dyn AnyFlag] = &[&ENABLED, &REQUIRED, &NEIGHBOUR_MAP_ENTRIES];

/// The programs, for all that want them: each subject is loaded by the first that asks.
#[derive(Clone, Debug)]
pub struct Bpf(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The kernel's type information; `None` where programs are not wanted.
    btf: Option<PathBuf>,
    /// This thread's network namespace.
    netns: PathBuf,
    /// Room for entries of the neighbour tables.
    entries: u32,
    neighbours: OnceLock<Result<Mutex<Neighbours>, Error>>,
}

impl Bpf {
    /// Programs for the kernel that describes its types in the file `btf`; they report on the
    /// network namespace of the file `netns`, which must be this process's, and have room for so
    /// many `entries` of the neighbour tables. Nothing is loaded yet.
    #[must_use]
    pub fn new(btf: PathBuf, netns: PathBuf, entries: u32) -> Self {
        Self(Arc::new(Shared { btf: Some(btf), netns, entries, neighbours: OnceLock::new() }))
    }

    /// No programs: who asks is told [`Error::Off`].
    #[must_use]
    pub fn off() -> Self {
        let shared =
            Shared { btf: None, netns: PathBuf::new(), entries: 0, neighbours: OnceLock::new() };
        Self(Arc::new(shared))
    }

    /// The names of the programs that are to be attached.
    pub fn programs(&self) -> impl Iterator<Item = &'static str> {
        Neighbours::programs()
    }

    /// What was loaded: nothing, unless someone has asked for it.
    #[must_use]
    pub fn loaded(&self) -> Option<&Mutex<Neighbours>> {
        self.0.neighbours.get().and_then(|result| result.as_ref().ok())
    }

    /// The counts of neighbours; loads and attaches the programs at the first call.
    ///
    /// # Errors
    ///
    /// Why they cannot be had; found out once.
    pub fn neighbours(&self) -> Result<&Mutex<Neighbours>, &Error> {
        let start = || {
            let started = self.0.start();
            if let Err(error) = &started
                && !matches!(error, Error::Off)
            {
                tracing::warn!("eBPF does not count neighbours, another source serves: {error}");
            }
            started.map(Mutex::new)
        };
        self.0.neighbours.get_or_init(start).as_ref()
    }
}

impl Shared {
    fn start(&self) -> Result<Neighbours, Error> {
        let btf = self.btf.as_deref().ok_or(Error::Off)?;
        let netns = rustix::fs::stat(&self.netns).map_err(|errno| Error::NoNamespace {
            path: self.netns.clone(),
            source: errno.into(),
        })?;
        // The number of a namespace has 32 bits.
        let netns = u32::try_from(netns.st_ino).unwrap_or_default();
        Neighbours::start(&Options { btf, netns, entries: self.entries })
    }
}

/// What to do about a refusal.
fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        // The capabilities are there, or nothing would have been tried.
        Some(libc::EPERM) => {
            "; capabilities of a user namespace do not count, and bpf(2) must be allowed by the \
             container's seccomp profile and by the kernel's lockdown mode"
        }
        Some(libc::ENOMEM) => "; a smaller --bpf.neighbour-map-entries takes less memory",
        _ => "",
    }
}

/// Whether the process has what loading takes.
fn permitted() -> Result<(), Error> {
    const BOTH: CapabilitySet = CapabilitySet::BPF.union(CapabilitySet::PERFMON);
    let has = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    if has.contains(CapabilitySet::SYS_ADMIN) || has.contains(BOTH) {
        Ok(())
    } else if has.contains(CapabilitySet::BPF) {
        Err(Error::Capability("CAP_PERFMON"))
    } else if has.contains(CapabilitySet::PERFMON) {
        Err(Error::Capability("CAP_BPF"))
    } else {
        Err(Error::Capability("CAP_BPF and CAP_PERFMON"))
    }
}

/// What the programs cost, and whether they do what they should.
pub trait Health {
    /// A program that is loaded.
    fn program(&mut self, name: &'static str, attached: bool, runs: Runs);
    /// A map: its elements, and how many it has room for.
    fn map(&mut self, name: &'static str, elements: u64, room: u64);
    /// How often a subject was brought up to date.
    fn resyncs(&mut self, subject: &'static str, reason: &'static str, n: u64);
    /// By how much a subject differs from what it should be.
    fn audit(&mut self, subject: &'static str, difference: i64);
}
