//! Loading the programs, and telling them where the running kernel keeps what they read.

use std::{collections::HashMap, path::Path};

use exporter_common::neighbour::{Offsets, STEPS};

use super::{Error, HOOKS};
use crate::host::{
    bpf::{
        btf::Btf,
        object::{Fit, Plan, Set},
    },
    netlink::{Links, Socket},
};

/// How many interfaces are counted at most, for each family one: sixteen times those there are
/// here, since other namespaces have some, too. To read the map takes the longer the larger it is.
pub(super) fn interfaces() -> Result<u32, Error> {
    let mut links = Links::new();
    Socket::open()?.links(&mut links)?;
    let wanted = links.iter().count().saturating_mul(16).clamp(1 << 13, 1 << 18);
    Ok(u32::try_from(wanted.next_power_of_two()).unwrap_or(1 << 18))
}

/// The programs, as `cargo xtask ebpf` has built them.
pub(super) static PLAN: Plan = Plan {
    object: aya::include_bytes_aligned!("../../../../../exporter-ebpf/prebuilt/neighbour.o"),
    hooks: &HOOKS,
    maps: &["COUNTS", "ENTRIES", "BATCH", "TOTALS"],
};

/// In how many slots so many entries find theirs free more often than not.
pub(super) fn slots(entries: u32) -> u32 {
    entries.max(STEPS).next_power_of_two()
}

/// How much the maps hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Room {
    /// Entries of the tables.
    pub(super) entries: u32,
    /// Interfaces, for each family one.
    pub(super) interfaces: u32,
}

/// What the programs must know of the running kernel.
#[derive(Debug)]
pub(super) struct Kernel {
    offsets: Offsets,
    /// The numbers of the tracepoints' types, by the programs' names.
    tracepoints: HashMap<&'static str, u32>,
}

impl Kernel {
    /// Reads it from a file like `/sys/kernel/btf/vmlinux`.
    pub(super) fn read(types: &Path) -> Result<Self, Error> {
        let attached = HOOKS.iter().filter(|hook| hook.is_attached());
        let definitions: Vec<_> =
            attached.map(|hook| (hook.name(), format!("btf_trace_{}", hook.name()))).collect();
        let mut wanted: Vec<&str> = definitions.iter().map(|(_, name)| name.as_str()).collect();
        offsets(|structure, path| {
            wanted.push(structure);
            wanted.extend(path);
            Ok(0)
        })?;
        wanted.sort_unstable();
        wanted.dedup();
        let mut types = Btf::read(types, &wanted)?;
        let offsets = offsets(|structure, path| {
            types
                .offset(structure, path)
                .ok_or_else(|| Error::NoMember { structure, member: path.join(".") })
        })?;
        let number =
            |(program, name): &(&'static str, String)| Some((*program, types.definition(name)?));
        Ok(Self { offsets, tracepoints: definitions.iter().filter_map(number).collect() })
    }

    /// Loads and attaches the programs.
    pub(super) fn load(&self, room: Room) -> Result<Set, Error> {
        let mask = slots(room.entries) - 1;
        let fit = Fit {
            globals: &[
                ("OFFSETS", bytemuck::bytes_of(&self.offsets)),
                ("SLOT_MASK", bytemuck::bytes_of(&mask)),
            ],
            elements: &[
                ("COUNTS", room.interfaces),
                ("ENTRIES", room.entries),
                ("SLOTS", mask + 1),
            ],
            tracepoints: &self.tracepoints,
        };
        Set::load(&PLAN, &fit)
    }
}

/// Asks for the place of every member that is read: of a structure, or of a structure in it …
fn offsets(
    mut of: impl FnMut(&'static str, &[&'static str]) -> Result<u32, Error>,
) -> Result<Offsets, Error> {
    let heads = of("neigh_hash_table", &["hash_heads"]);
    let buckets = of("neigh_hash_table", &["hash_buckets"]);
    let (hash, pprev) = (of("neighbour", &["hash"]), of("neighbour", &["hash", "pprev"]));
    let next = of("neighbour", &["next"]);
    // Linux 6.13 made plain links between entries into those of the kernel's lists.
    let (link, target, pprev, heads) = match heads {
        Ok(heads) => {
            let hash = hash?;
            (hash, hash, pprev?, heads)
        }
        Err(_) => (next?, 0, 0, buckets?),
    };
    Ok(Offsets {
        neighbour_tbl: of("neighbour", &["tbl"])?,
        neighbour_dev: of("neighbour", &["dev"])?,
        neighbour_nud_state: of("neighbour", &["nud_state"])?,
        neighbour_dead: of("neighbour", &["dead"])?,
        neighbour_refcnt: of("neighbour", &["refcnt"])?,
        neighbour_ha: of("neighbour", &["ha"])?,
        neighbour_link: link,
        neighbour_target: target,
        neighbour_pprev: pprev,
        table_family: of("neigh_table", &["family"])?,
        table_entries: of("neigh_table", &["entries"])?,
        table_nht: of("neigh_table", &["nht"])?,
        hash_heads: heads,
        hash_shift: of("neigh_hash_table", &["hash_shift"])?,
        device_ifindex: of("net_device", &["ifindex"])?,
        device_net: of("net_device", &["nd_net", "net"])?,
        device_addr_len: of("net_device", &["addr_len"])?,
        device_ip: of("net_device", &["ip_ptr"])?,
        device_ip6: of("net_device", &["ip6_ptr"])?,
        ip_parms: of("in_device", &["arp_parms"])?,
        ip6_parms: of("inet6_dev", &["nd_parms"])?,
        parms_tbl: of("neigh_parms", &["tbl"])?,
        task_nsproxy: of("task_struct", &["nsproxy"])?,
        nsproxy_net: of("nsproxy", &["net_ns"])?,
        net_loopback: of("net", &["loopback_dev"])?,
        net_inum: of("net", &["ns", "inum"])?,
    })
}
