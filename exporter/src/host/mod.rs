//! Everything a collector may see of the machine: its files, its mounts, the kernel's answers over
//! netlink, and the programs in the kernel.
//!
//! Imports `exposition` and the ground (`error`, `parse`, `flag`), no collector.
//!
//! The paths below are the only ones in the exporter that begin at the root: a test host puts
//! a folder of its own in their place.

pub mod bpf;
pub mod bus;
pub mod crew;
pub mod ethtool;
mod limit;
pub mod mounts;
#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
pub mod names;
pub mod netlink;
mod netns;
pub mod ntp;
pub mod perf;
mod shared;
mod sysfs;
pub mod tree;
pub mod xmlrpc;
pub mod zone;

pub use netns::Namespace;
pub use shared::Shared;

use crate::flag::{AnyFlag, Flag, Flags};
use bpf::{Bpf, FAMILIES, Sizes};
use bus::Bus;
use mounts::Mounts;
use netlink::{LinkDump, NeighbourDump};
use std::path::PathBuf;
use tree::{SingleFile, Tree};

const PROC: Flag<PathBuf> = Flag::value("path.procfs", &["/proc"], "procfs mountpoint.");
const SYS: Flag<PathBuf> = Flag::value("path.sysfs", &["/sys"], "sysfs mountpoint.");
const ROOT: Flag<PathBuf> = Flag::value("path.rootfs", &["/"], "rootfs mountpoint.");
const UDEV: Flag<PathBuf> = Flag::value("path.udev.data", &["/run/udev/data"], "udev data path.");
const BUS: Flag<String> = Flag::value(
    "dbus.address",
    &["unix:path=/var/run/dbus/system_bus_socket"],
    "Address of the system bus.",
)
.variable("DBUS_SYSTEM_BUS_ADDRESS");

/// The names of the softirqs' vectors as node_exporter writes them, in the kernel's order
/// (`include/linux/interrupt.h`).
pub const SOFTIRQ_VECTORS: [&str; 10] = [
    "hi",
    "timer",
    "net_tx",
    "net_rx",
    "block",
    "block_iopoll",
    "tasklet",
    "sched",
    "hrtimer",
    "rcu",
];

/// The flags with the places at which the machine is seen.
pub static FLAGS: &[&dyn AnyFlag] = &[&PROC, &SYS, &ROOT, &UDEV, &netns::PATH, &BUS];

/// The machine.
#[derive(Clone)]
pub struct Host {
    /// `--path.procfs`.
    pub proc: Tree,
    /// The files about the network in `--path.procfs`.
    pub net: Tree,
    /// `--path.sysfs`.
    pub sys: Tree,
    /// `--path.rootfs`.
    pub root: Tree,
    /// `--path.udev.data`.
    pub udev: Tree,
    /// `/proc/stat`, which costs the kernel a walk over all interrupts of all processors.
    pub stat: Shared<SingleFile>,
    /// `netstat` in [`Host::net`].
    pub netstat: Shared<SingleFile>,
    /// The mounted file systems.
    pub mounts: Shared<Mounts>,
    /// The interfaces of the [`Namespace`] and their counters.
    pub links: Shared<LinkDump>,
    /// Dumps of the tables of IPv4 and IPv6 neighbours, each of which costs the kernel a walk over
    /// the neighbours of all network namespaces.
    pub neighbours: [Shared<NeighbourDump>; 2],
    /// The system bus.
    pub bus: Bus,
    /// Programs in the kernel; off for a machine that is a folder of files.
    pub bpf: Bpf,
}

impl Host {
    /// The machine that the flags point to.
    #[must_use]
    pub fn new(flags: &Flags) -> Self {
        let proc = Tree::new(flags.get(&PROC));
        let memory = limit::memory(&proc);
        let sys = Tree::new(flags.get(&SYS)).keeping(limit::attributes(memory));
        let net = netns::files(&proc, flags, proc.is_procfs());
        let bpf = if flags.get(&bpf::ENABLED) && proc.is_procfs() {
            Bpf::new(&proc, &net, &sys, sizes(memory, flags))
        } else {
            Bpf::off()
        };
        Self {
            bpf,
            bus: Bus::new(bus::Address::Bus(flags.get(&BUS))),
            stat: Shared::new(proc.single_file("stat")),
            netstat: Shared::new(net.single_file("netstat")),
            mounts: Shared::new(Mounts::new(&proc)),
            links: Shared::new(LinkDump::default()),
            neighbours: FAMILIES.map(|family| Shared::new(NeighbourDump::new(family))),
            proc,
            net,
            sys,
            root: Tree::new(flags.get(&ROOT)),
            udev: Tree::new(flags.get(&UDEV)),
        }
    }

    /// Whether this process runs as root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        rustix::process::geteuid().is_root()
    }

    /// Whether `--path.procfs` is a procfs, and so shows the running kernel (this container's view
    /// or the host's), and not a folder of files.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.proc.is_procfs()
    }

    /// `net/netstat` of this process, wherever `--path.procfs` leads (every procfs shows its readers
    /// their own network) and whatever `--path.netns` names.
    #[must_use]
    pub fn own_netstat(&self) -> Shared<SingleFile> {
        if self.is_running() && self.net.root() == self.proc.path("net") {
            self.netstat.clone()
        } else {
            Shared::new(Tree::new("/proc").single_file("net/netstat"))
        }
    }

    /// Whether `--path.sysfs` is a sysfs. It may show the interfaces of another network namespace
    /// than [`Host::links`]: a sysfs shows that of the process that mounted it.
    #[must_use]
    pub fn has_sysfs(&self) -> bool {
        self.sys.is_sysfs()
    }

    /// Whether `--path.sysfs` is a sysfs and shows the same interfaces as [`Host::links`].
    #[must_use]
    pub fn has_own_sysfs(&self) -> bool {
        self.has_sysfs() && sysfs::shows(&self.sys, &self.links)
    }
}

/// The most room in the eBPF maps: as the flags say, else as much as a fifth of the limit on memory
/// allows, if there is a limit.
fn sizes(memory: Option<u64>, flags: &Flags) -> Sizes {
    /// Bytes that an entry takes in the maps, as the kernel accounts for them.
    const ENTRY: u64 = 150;
    let default = Sizes::default();
    let given = |flag| match flags.get(flag) {
        0 => None,
        given => Some(u32::try_from(given).unwrap_or(u32::MAX)),
    };
    let allowed = || {
        let entries = memory? / 5 / ENTRY;
        Some(u32::try_from(entries).map_or(default.entries, |n| n.min(default.entries)))
    };
    Sizes {
        expected: default.expected,
        entries: given(&bpf::NEIGHBOUR_MAP_ENTRIES).or_else(allowed).unwrap_or(default.entries),
        interfaces: given(&bpf::INTERFACE_MAP_ENTRIES).unwrap_or(default.interfaces),
    }
}
