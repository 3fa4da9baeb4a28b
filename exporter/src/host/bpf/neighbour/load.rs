//! Loading the programs, and telling them where the running kernel keeps what they read.

use std::{fs, path::Path};

use aya::{Ebpf, EbpfLoader};
use exporter_common::neighbour::{Offsets, STEPS, WAYS};

use super::{Error, HOOKS};
use crate::host::{
    bpf::btf,
    netlink::{Links, Socket},
};

/// How many interfaces are counted at most, for each family one: sixteen times those there are
/// here, since other namespaces have some, too.
pub(super) fn interfaces() -> Result<u32, Error> {
    let mut links = Links::new();
    Socket::open()?.links(&mut links)?;
    let wanted = links.iter().count().saturating_mul(16).clamp(1 << 11, 1 << 18);
    Ok(u32::try_from(wanted).unwrap_or(1 << 18))
}

/// How many groups of tags have room for so many interfaces.
pub(super) fn groups(interfaces: u32) -> u32 {
    interfaces.clamp(WAYS, 1 << 20).div_ceil(WAYS).next_power_of_two()
}

/// The structures that the programs read.
const STRUCTURES: [&str; 10] = [
    "in_device",
    "inet6_dev",
    "neigh_hash_table",
    "neigh_parms",
    "neigh_table",
    "neighbour",
    "net",
    "net_device",
    "nsproxy",
    "task_struct",
];

/// The programs, as `cargo xtask ebpf` has built them.
static OBJECT: &[u8] =
    aya::include_bytes_aligned!("../../../../../exporter-ebpf/prebuilt/neighbour.o");

/// In how many slots so many entries find theirs free more often than not.
pub(super) fn slots(entries: u32) -> u32 {
    entries.max(STEPS).next_power_of_two()
}

/// Loads and attaches the programs, with room for so many entries and interfaces.
pub(super) fn load(path: &Path, entries: u32, interfaces: u32) -> Result<Ebpf, Error> {
    #[expect(clippy::disallowed_methods, reason = "once, at the start; the path is given")]
    let data = fs::read(path).map_err(Error::NoBtf)?;
    let types = btf::Btf::parse(&data, &STRUCTURES).map_err(Error::BadBtf)?;
    let offsets = offsets(&types)?;
    let attached = HOOKS.iter().filter(|hook| hook.is_attached());
    let tracepoints: Vec<_> = attached.map(|hook| format!("btf_trace_{}", hook.name())).collect();
    let types = types.blanked(&tracepoints);
    drop(data);
    let types = aya::Btf::parse(&types, aya::Endianness::default())
        .map_err(|_| Error::BadBtf("cannot be parsed"))?;
    let mut ebpf = EbpfLoader::new()
        .btf(None)
        .override_global("OFFSETS", &offsets, true)
        .override_global("SLOT_MASK", &(slots(entries) - 1), true)
        .override_global("GROUP_MASK", &(groups(interfaces) - 1), true)
        .map_max_entries("TAGS", groups(interfaces))
        .map_max_entries("COUNTS", groups(interfaces) * WAYS)
        .map_max_entries("ENTRIES", entries)
        .map_max_entries("SLOTS", slots(entries))
        .load(OBJECT)
        .map_err(|error| Error::Object(Box::new(error)))?;
    for hook in &HOOKS {
        hook.attach(&mut ebpf, &types)?;
    }
    Ok(ebpf)
}

fn offsets(btf: &btf::Btf<'_>) -> Result<Offsets, Error> {
    let of = |structure: &'static str, path: &[&str]| {
        btf.offset(structure, path)
            .ok_or_else(|| Error::NoMember { structure, member: path.join(".") })
    };
    let heads = of("neigh_hash_table", &["hash_heads"]);
    // Linux 6.13 made plain links between entries into those of the kernel's lists.
    let (link, target, pprev, heads) = match heads {
        Ok(heads) => {
            let hash = of("neighbour", &["hash"])?;
            (hash, hash, of("neighbour", &["hash", "pprev"])?, heads)
        }
        Err(_) => (of("neighbour", &["next"])?, 0, 0, of("neigh_hash_table", &["hash_buckets"])?),
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
