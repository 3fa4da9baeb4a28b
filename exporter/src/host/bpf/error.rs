//! Why programs in the kernel cannot be loaded, or their counts not trusted.

use std::{io, path::PathBuf, sync::Arc};

/// The reason why programs in the kernel cannot be loaded, or their counts not trusted.
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
        /// The file that stands for the namespace.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// The kernel does not describe its types.
    #[error("the kernel has no type information (CONFIG_DEBUG_INFO_BTF): {0}")]
    NoBtf(io::Error),
    /// The kernel's description of its types is broken.
    #[error("the kernel's type information: {0}")]
    BadBtf(&'static str),
    /// The kernel lacks a structure or a member that the programs read.
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
    /// The kernel lacks an iterator that a program sits in.
    #[error("the kernel has no iterator for {0}")]
    NoIterator(&'static str),
    /// The kernel does not describe a variable that there is once for each processor.
    #[error("the kernel does not tell of its per-CPU variable {0}")]
    NoVariable(&'static str),
    /// Something of the kernel is not as the programs know it.
    #[error("the kernel has another {0}")]
    Unlike(&'static str),
    /// Nobody has tried the programs on this architecture.
    #[error("not tried on {0}")]
    Untried(&'static str),
    /// The processor has another byte order than the programs.
    #[error("the programs are for little-endian processors, and {0} is big-endian")]
    BigEndian(&'static str),
    /// The processor has shorter addresses than the programs.
    #[error("the programs are for processors of 64 bits, and {arch} has {bits}")]
    Narrow {
        /// The architecture.
        arch: &'static str,
        /// The width of its addresses.
        bits: u32,
    },
    /// The accounting of some processors was not found.
    #[error("the accounting of {found} of {possible} processors was found")]
    Unlocated {
        /// Processors whose accounting was found.
        found: usize,
        /// Processors that there can be.
        possible: usize,
    },
    /// The kernel accounts the time of a processor by context.
    #[error("the kernel tracks contexts on processor {0} (nohz_full)")]
    Tracked(u32),
    /// The kernel changed its accounting during each of the copies.
    #[error("the kernel's accounting changed during each of the copies")]
    Torn,
    /// The time of a processor is not as `/proc/stat` has it.
    #[error("processor {cpu}: mode {mode} is not as in /proc/stat")]
    Differ {
        /// The processor.
        cpu: u32,
        /// The mode, as a label.
        mode: &'static str,
    },
    /// The states of tasks are not as `/proc/<pid>/stat` has them.
    #[error("state {state}: {counted} tasks, not the {shown} that /proc shows")]
    States {
        /// The letter of the state.
        state: char,
        /// Tasks that the program has counted.
        counted: u64,
        /// Tasks that `/proc` shows.
        shown: u64,
    },
    /// `--path.procfs` shows another pid namespace than this process's.
    #[error("{} is of another pid namespace", .0.display())]
    OtherPids(PathBuf),
    /// A file that the counts are compared with cannot be read.
    #[error(transparent)]
    File(Box<crate::error::Error>),
    /// The file with the programs is malformed, or lacks a part.
    #[error("the programs' object file: {0}")]
    Object(String),
    /// The kernel refuses the types of the programs.
    #[error("the programs' types: {source}{}", advice(.source))]
    Types {
        /// The kernel's error.
        source: io::Error,
    },
    /// The kernel refuses a map.
    #[error("map {map}: {source}{}", advice(.source))]
    Create {
        /// The map.
        map: String,
        /// The kernel's error.
        source: io::Error,
    },
    /// The kernel refuses a program.
    #[error("program {program}: {source}{}", advice(.source))]
    Load {
        /// The program.
        program: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
    /// The kernel does not know a helper that a program calls.
    #[error("program {program}: {source}; it takes Linux {since} or later")]
    TooOld {
        /// The program.
        program: &'static str,
        /// The first version that has the helper.
        since: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
    /// A program does not run when it is asked to.
    #[error("program {program}: {source}")]
    Program {
        /// The program.
        program: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
    /// A map cannot be read or written.
    #[error("map {map}: {source}")]
    Map {
        /// The map.
        map: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
    /// The process that loads programs has refused.
    #[error("{0}")]
    Refused(String),
    /// The process that loads programs has ended, or does not answer.
    #[error("the process bpf_keeper, which loads programs, is gone")]
    NoKeeper,
    /// The interfaces could not be counted.
    #[error(transparent)]
    Netlink(#[from] crate::host::netlink::Error),
    /// Events were lost in each attempt to make good earlier losses.
    #[error("neighbours change too fast to take stock")]
    Unsettled,
    /// The map has no room for the entries of the tables.
    #[error("{entries} entries, room for {room}: see --bpf.neighbour-map-entries")]
    Full {
        /// Number of entries in the tables.
        entries: u64,
        /// Number of entries that the map has room for.
        room: u32,
    },
    /// The map has no room for the interfaces that have neighbours.
    #[error("more than {room} interfaces, each family one: see --bpf.interface-map-entries")]
    Crowded {
        /// Number of interfaces that the map has room for.
        room: usize,
    },
    /// The counts contradict themselves.
    #[error("a count of neighbours is below zero")]
    BelowZero,
    /// The error of an earlier attempt.
    #[error(transparent)]
    Before(Arc<Self>),
}

impl Error {
    /// Whether the error says only that the counts cannot be trusted for the time being.
    pub(super) fn is_doubt(&self) -> bool {
        match self {
            Self::Unsettled | Self::Full { .. } | Self::Crowded { .. } | Self::BelowZero => true,
            Self::Before(error) => error.is_doubt(),
            _ => false,
        }
    }

    /// The change to the exporter's start or to the kernel that would let the programs be loaded;
    /// `None` where it is not known, or stands in the error's own sentence.
    pub(super) fn remedy(&self) -> Option<String> {
        match self.root() {
            Self::Off => Some("start it without --no-bpf".into()),
            Self::Capability(names) => Some(grant(names)),
            Self::NoBtf(_) => Some("boot a kernel that is built with CONFIG_DEBUG_INFO_BTF".into()),
            _ => None,
        }
    }

    /// The error itself, without [`Error::Before`] around it.
    pub(super) fn root(&self) -> &Self {
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

/// The ways to grant capabilities, whose names `and` joins.
fn grant(names: &str) -> String {
    let names: Vec<&str> = names.split(" and ").collect();
    let added: Vec<String> =
        names.iter().map(|name| format!("--cap-add={}", name.trim_start_matches("CAP_"))).collect();
    format!(
        "AmbientCapabilities={} in a unit of systemd, {} for a container, or setcap {}+ep on the \
         program's file",
        names.join(" "),
        added.join(" "),
        names.join(",").to_lowercase(),
    )
}

/// The remedy for a refusal, as the rest of a sentence.
fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        // The process has the capabilities, or it would not have tried.
        Some(libc::EPERM) => {
            "; capabilities of a user namespace do not count, and bpf(2) must be allowed by the \
             container's seccomp profile and by the kernel's lockdown mode"
        }
        Some(libc::ENOMEM) => "; a smaller --bpf.neighbour-map-entries takes less memory",
        _ => "",
    }
}
