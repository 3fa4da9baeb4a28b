//! The programs in the kernel: loading them, and reading what they count.
//!
//! Whether they can run is found out by trying. A refusal is an [`Error`] that says in one
//! sentence what is missing and what to grant, never the end of the exporter: another source
//! serves then. Needed are Linux 5.13 or later with `CONFIG_DEBUG_INFO_BTF`, and the
//! capabilities `CAP_BPF` and `CAP_PERFMON`; nothing of tracefs, perf, kprobes or trampolines.

mod btf;
mod health;
mod keeper;
mod mapped;
mod neighbour;
mod object;
mod sys;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, Once, OnceLock, PoisonError},
};

use self::{keeper::Keeper, neighbour::Kernel};
use crate::flag::{AnyFlag, Flag, switch};
use rustix::thread::{CapabilitySet, capabilities};

pub use self::{
    neighbour::{Counts, FAMILIES, Key, Neighbours, Options},
    sys::{Runs, forget_code, trim},
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
    /// The process that loads has said no.
    #[error("{0}")]
    Refused(String),
    /// The process that loads has ended, or does not answer.
    #[error("the process bpf_keeper, which loads programs, is gone")]
    NoKeeper,
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
    /// The map has no room for the interfaces that have neighbours.
    #[error("more than {room} interfaces, each family one: see --bpf.interface-map-entries")]
    Crowded {
        /// Interfaces there is room for.
        room: usize,
    },
    /// The counts contradict themselves.
    #[error("a count of neighbours is below zero")]
    BelowZero,
    /// What an earlier attempt has found.
    #[error(transparent)]
    Before(Arc<Self>),
}

impl Error {
    /// Whether the counts cannot be trusted for the time being, and nothing else is wrong.
    fn is_doubt(&self) -> bool {
        match self {
            Self::Unsettled | Self::Full { .. } | Self::Crowded { .. } | Self::BelowZero => true,
            Self::Before(error) => error.is_doubt(),
            _ => false,
        }
    }

    /// The error, found out now or before.
    fn root(&self) -> &Self {
        match self {
            Self::Before(error) => error.root(),
            error => error,
        }
    }
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
    "Neighbours of all network namespaces that eBPF has room for at most; 0 goes by the limit on memory.",
);

/// `--bpf.interface-map-entries`.
pub const INTERFACE_MAP_ENTRIES: Flag<u64> = Flag::value(
    "bpf.interface-map-entries",
    &["0"],
    "Interfaces of all network namespaces whose neighbours eBPF has room for at most, each family one; 0 is 262144.",
);

/// The flags of this module.
pub static FLAGS: &[&dyn AnyFlag] =
    &[&ENABLED, &REQUIRED, &NEIGHBOUR_MAP_ENTRIES, &INTERFACE_MAP_ENTRIES];

/// Room for what is counted.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Entries of the neighbour tables there may soon be. There is room for so many at first, as
    /// far as `entries` allows, and for some thousand at least.
    pub expected: u32,
    /// Entries of the neighbour tables there is room for at most.
    pub entries: u32,
    /// Interfaces there is room for at most, those with neighbours of both families twice.
    pub interfaces: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { expected: 0, entries: 1 << 20, interfaces: 1 << 18 }
    }
}

/// The programs, for all that want them: each subject is loaded by the first that asks.
#[derive(Clone, Debug)]
pub struct Bpf(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The kernel's type information; `None` where programs are not wanted.
    btf: Option<PathBuf>,
    /// This thread's network namespace.
    netns: PathBuf,
    sizes: Sizes,
    /// Who loads, unless this process does.
    keeper: Mutex<Option<Keeper>>,
    neighbours: OnceLock<Result<Mutex<Neighbours>, Error>>,
    told: Once,
}

impl Bpf {
    /// Programs for the kernel that describes its types in the file `btf`; they report on the
    /// network namespace of the file `netns`, which must be this process's. Nothing is loaded yet.
    #[must_use]
    pub fn new(btf: PathBuf, netns: PathBuf, sizes: Sizes) -> Self {
        Self::with(Some(btf), netns, sizes)
    }

    /// No programs: who asks is told [`Error::Off`].
    #[must_use]
    pub fn off() -> Self {
        Self::with(None, PathBuf::new(), Sizes::default())
    }

    fn with(btf: Option<PathBuf>, netns: PathBuf, sizes: Sizes) -> Self {
        let (keeper, neighbours, told) = (Mutex::default(), OnceLock::new(), Once::new());
        Self(Arc::new(Shared { btf, netns, sizes, keeper, neighbours, told }))
    }

    /// Forks a process that loads the programs, and can do so again once this one has given up its
    /// capabilities. `confine` takes all capabilities from the calling thread but those given.
    ///
    /// To be called while there is a single thread. Where programs are not wanted or not permitted
    /// nothing is done.
    ///
    /// # Errors
    /// The process cannot be forked: there will be no more room later.
    pub fn keep(&self, confine: fn(CapabilitySet) -> rustix::io::Result<()>) -> io::Result<()> {
        let Some(btf) = self.0.btf.clone() else { return Ok(()) };
        if permitted().is_err() || !btf.exists() {
            return Ok(());
        }
        let mut kernel = None;
        let load = move |room| {
            if kernel.is_none() {
                kernel = Some(Kernel::read(&btf)?);
            }
            kernel.as_ref().map_or(Err(Error::NoKeeper), |kernel| kernel.load(room))
        };
        *self.keeper() = Some(Keeper::fork(&neighbour::PLAN, confine, load)?);
        Ok(())
    }

    /// Ends the process of [`Bpf::keep`] where nobody has asked for programs.
    pub fn release(&self) {
        *self.keeper() = None;
    }

    fn keeper(&self) -> MutexGuard<'_, Option<Keeper>> {
        self.0.keeper.lock().unwrap_or_else(PoisonError::into_inner)
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
        let start = || self.start().map(Mutex::new);
        self.0.neighbours.get_or_init(start).as_ref()
    }

    fn start(&self) -> Result<Neighbours, Error> {
        let Shared { btf, netns: path, sizes, .. } = &*self.0;
        let btf = btf.as_deref().ok_or(Error::Off)?;
        let netns = rustix::fs::stat(path)
            .map_err(|errno| Error::NoNamespace { path: path.clone(), source: errno.into() })?;
        // The number of a namespace has 32 bits.
        let netns = u32::try_from(netns.st_ino).unwrap_or_default();
        let options = Options { btf, netns, sizes: *sizes };
        match self.keeper().take() {
            Some(keeper) => Neighbours::through(keeper, &options),
            None => Neighbours::start(&options),
        }
    }

    /// Says once which source serves the neighbours, and why.
    pub fn tell(&self, source: &'static str) {
        self.0.told.call_once(|| match self.neighbours() {
            Ok(_) => tracing::info!(source, "Neighbours are counted by programs in the kernel"),
            Err(Error::Off) => {
                tracing::info!(source, "Neighbours are not counted by eBPF, as --no-bpf says");
            }
            Err(error) => {
                tracing::warn!(
                    source,
                    "eBPF does not count neighbours, another source serves: {error}"
                );
            }
        });
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

/// What loading takes, since Linux 5.8.
const BOTH: CapabilitySet = CapabilitySet::BPF.union(CapabilitySet::PERFMON);

/// What of that the process has: both, or the one that stood for them before.
fn loading() -> CapabilitySet {
    let has = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.permitted);
    if has.contains(BOTH) { BOTH } else { CapabilitySet::SYS_ADMIN }
}

/// Whether the process has what loading takes.
fn permitted() -> Result<(), Error> {
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
    /// Whether the process is there that can load more.
    fn keeper(&mut self, is_there: bool);
}
