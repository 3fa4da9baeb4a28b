//! Loading the programs, and telling them the offsets of the members that they read in the running
//! kernel.

use std::collections::HashMap;

use bytemuck::{Pod, Zeroable};
use exporter_common::neighbour::{Offsets, STEPS, WAYS};

use super::{Error, HOOKS};
use crate::host::{
    bpf::{
        btf::Btf,
        object::{Fit, Plan, Set},
    },
    netlink::{Links, Socket},
};

/// The room in the maps.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, Pod, PartialEq, Zeroable)]
pub(in crate::host::bpf) struct Room {
    /// Entries of the tables.
    pub(in crate::host::bpf) entries: u32,
    /// Interfaces; one with neighbours of both families counts twice.
    pub(in crate::host::bpf) interfaces: u32,
}

/// Room for four times the interfaces of this namespace: other namespaces have some, too.
pub(super) fn interfaces() -> Result<u32, Error> {
    let mut links = Links::new();
    Socket::open()?.links(&mut links)?;
    Ok(u32::try_from(links.iter().count().saturating_mul(4)).unwrap_or(u32::MAX))
}

/// The number of groups of tags with room for `interfaces` interfaces.
pub(super) fn groups(interfaces: u32) -> u32 {
    interfaces.clamp(WAYS, 1 << 20).div_ceil(WAYS).next_power_of_two()
}

/// The programs, as `cargo xtask ebpf` has built them.
pub(in crate::host::bpf) static PLAN: Plan = Plan {
    name: "neighbour",
    object: aya::include_bytes_aligned!("../../../../../exporter-ebpf/prebuilt/neighbour.o"),
    hooks: &HOOKS,
    maps: &["TAGS", "COUNTS", "ENTRIES", "BATCH", "TOTALS"],
    since: "5.13",
};

/// The number of slots among which `entries` entries mostly find their own slot free.
pub(super) fn slots(entries: u32) -> u32 {
    entries.max(STEPS).next_power_of_two()
}

/// The facts about the running kernel that the programs need.
#[derive(Debug)]
pub(in crate::host::bpf) struct Facts(Offsets);

impl Facts {
    /// Adds the names of the types and members that [`Facts::of`] asks for.
    pub(in crate::host::bpf) fn names(wanted: &mut Vec<&str>) {
        // Nothing fails while names are only noted.
        let _ = offsets(|structure, path| {
            wanted.push(structure);
            wanted.extend(path);
            Ok(0)
        });
    }

    /// The facts, from the kernel's types.
    pub(in crate::host::bpf) fn of(types: &mut Btf<'_>) -> Result<Self, Error> {
        let of = |structure, path: &[&str]| {
            types
                .offset(structure, path)
                .ok_or_else(|| Error::NoMember { structure, member: path.join(".") })
        };
        offsets(of).map(Self)
    }

    /// Loads and attaches the programs.
    pub(in crate::host::bpf) fn load(
        &self,
        targets: &HashMap<&'static str, u32>,
        room: Room,
    ) -> Result<Set, Error> {
        let (slots, groups) = (slots(room.entries), groups(room.interfaces));
        let (slot_mask, group_mask) = (slots - 1, groups - 1);
        let fit = Fit {
            globals: &[
                ("OFFSETS", bytemuck::bytes_of(&self.0)),
                ("SLOT_MASK", bytemuck::bytes_of(&slot_mask)),
                ("GROUP_MASK", bytemuck::bytes_of(&group_mask)),
            ],
            elements: &[
                ("TAGS", groups),
                ("COUNTS", groups * WAYS),
                ("ENTRIES", room.entries),
                ("SLOTS", slots),
            ],
            targets,
            told: &[],
        };
        Set::load(&PLAN, &fit)
    }
}

/// Asks `of` for the offset of every member that the programs read, by its structure and its path
/// in it.
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
        table_most: of("neigh_table", &["gc_thresh3"])?,
        table_nht: of("neigh_table", &["nht"])?,
        hash_heads: heads,
        hash_shift: of("neigh_hash_table", &["hash_shift"])?,
        device_ifindex: of("net_device", &["ifindex"])?,
        device_net: of("net_device", &["nd_net", "net"])?,
        device_state: of("net_device", &["reg_state"])?,
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
