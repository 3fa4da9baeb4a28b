//! The kernel side's counts of neighbours, and the facts about the kernel that it needs.

pub mod protocol;

crate::shared! {
    /// An interface in a network namespace, seen by one of the neighbour tables.
    pub struct Key {
        /// Inode number of the namespace, as in `/proc/self/ns/net`.
        pub netns: u32,
        /// Index of the interface; unique within its namespace.
        pub ifindex: u32,
        /// `AF_INET` (ARP) or `AF_INET6` (neighbour discovery).
        pub family: u32,
    }

    /// An element of the map of entries. [`protocol`] has the table of its states.
    pub struct Known {
        /// Address of the entry's `struct neighbour`, and in the bits that are zero in every such
        /// address [`FLAGS`]. One number, so that a step that changes the state fails where the
        /// element has been given to another entry.
        pub state: u64,
        /// Number of the element of the map of interfaces that counts the entry.
        pub interface: u32,
        /// Number of the walk that found the entry last, or that ran last when the entry came.
        pub walk: u32,
    }

    /// A place in the map of entries.
    pub struct Slot {
        /// The entry; all zero if there is none.
        pub known: Known,
        /// The number of entries of this place that are in the map of displaced entries.
        pub away: u64,
    }

    /// The tags of [`WAYS`] elements of the map of interfaces. [`protocol`] has the table of their
    /// states.
    pub struct Tags {
        /// [`tag`] of each interface, with its phase in place of [`LIVE`]; 0 if there is none.
        pub tags: [u64; WAYS as usize],
    }

    /// An element of the map of interfaces.
    pub struct Interface {
        /// The interface's counts.
        pub counts: Counts,
        /// Programs that are about to change the counts.
        pub held: u64,
        /// Address of the `struct net_device` that was seen last.
        pub device: u64,
    }

    /// The neighbours of an interface, and their events since the programs were attached.
    pub struct Counts {
        /// Entries in the table now; `NUD_NOARP` left out.
        pub entries: i64,
        /// Entries in the table now that are `NUD_NOARP`.
        pub noarp: i64,
        /// Entries that came into the table or ceased to be `NUD_NOARP`.
        pub created: u64,
        /// Entries that left the table or became `NUD_NOARP`.
        pub removed: u64,
        /// Entries that were refused since the table was full, or memory short.
        pub overflows: u64,
        /// Address resolutions that ended without an answer.
        pub failures: u64,
        /// Link-layer addresses that took the place of another.
        pub address_changes: u64,
    }

    /// Counts and states that belong to no single interface.
    pub struct Totals {
        /// Events that could not be recorded, most likely since the map of entries was full.
        pub lost: u64,
        /// Events that could not be recorded since the map of interfaces was full.
        pub crowded: u64,
        /// Whether all entries that are older than the programs are known: 0 or 1.
        pub started: u32,
        /// Number of the walk that runs or ran last.
        pub walk: u32,
        /// The bucket that the next walk of a table is to begin with.
        pub walked: u64,
        /// The tables, for each of [`FAMILIES`].
        pub tables: [Table; 2],
    }

    /// A table of neighbours, as the programs run on demand have found it.
    pub struct Table {
        /// Address of its `struct neigh_table`; 0 where the kernel has none.
        pub address: u64,
        /// Its own count of entries: of all namespaces and states, and also those that have left
        /// the table while the kernel still holds references to them.
        pub size: u64,
        /// Address of its hash table, which is another once it has grown.
        pub hash: u64,
        /// Buckets of the hash table.
        pub buckets: u64,
        /// `gc_thresh3`: entries that the table takes at most, save those that are permanent.
        pub most: u64,
    }

    /// The offsets, in the running kernel, of the members that the programs read: bytes from the
    /// start of each structure, from the kernel's BTF.
    pub struct Offsets {
        /// `neighbour.tbl`
        pub neighbour_tbl: u32,
        /// `neighbour.dev`
        pub neighbour_dev: u32,
        /// `neighbour.nud_state`
        pub neighbour_nud_state: u32,
        /// `neighbour.dead`
        pub neighbour_dead: u32,
        /// `neighbour.refcnt`
        pub neighbour_refcnt: u32,
        /// `neighbour.ha`
        pub neighbour_ha: u32,
        /// `neighbour.hash` since Linux 6.13, `neighbour.next` before: the link to the next entry.
        pub neighbour_link: u32,
        /// The place in an entry that such a link points to: `neighbour.hash` since Linux 6.13, the
        /// start before.
        pub neighbour_target: u32,
        /// `neighbour.hash.pprev` since Linux 6.13: the address of the link to the entry. 0 before.
        pub neighbour_pprev: u32,
        /// `neigh_table.family`
        pub table_family: u32,
        /// `neigh_table.entries`
        pub table_entries: u32,
        /// `neigh_table.gc_thresh3`
        pub table_most: u32,
        /// `neigh_table.nht`
        pub table_nht: u32,
        /// `neigh_hash_table.hash_heads` since Linux 6.13, `hash_buckets` before.
        pub hash_heads: u32,
        /// `neigh_hash_table.hash_shift`
        pub hash_shift: u32,
        /// `net_device.ifindex`
        pub device_ifindex: u32,
        /// `net_device.nd_net.net`
        pub device_net: u32,
        /// `net_device.reg_state`
        pub device_state: u32,
        /// `net_device.addr_len`
        pub device_addr_len: u32,
        /// `net_device.ip_ptr`
        pub device_ip: u32,
        /// `net_device.ip6_ptr`
        pub device_ip6: u32,
        /// `in_device.arp_parms`
        pub ip_parms: u32,
        /// `inet6_dev.nd_parms`
        pub ip6_parms: u32,
        /// `neigh_parms.tbl`
        pub parms_tbl: u32,
        /// `task_struct.nsproxy`
        pub task_nsproxy: u32,
        /// `nsproxy.net_ns`
        pub nsproxy_net: u32,
        /// `net.loopback_dev`
        pub net_loopback: u32,
        /// `net.ns.inum`
        pub net_inum: u32,
    }
}

/// The families that have neighbours: `AF_INET` and `AF_INET6`.
pub const FAMILIES: [u8; 2] = [2, 10];

/// The bits of a state that are not the address.
pub const FLAGS: u64 = NOARP | GONE | FILLING;

/// The entry is `NUD_NOARP`: it is not counted among the others.
pub const NOARP: u64 = 1;

/// A program is taking the entry out of the map.
pub const GONE: u64 = 2;

/// A program is putting the entry into the map.
pub const FILLING: u64 = 4;

/// Elements of the map of interfaces whose tags lie side by side.
pub const WAYS: u32 = 8;

/// The bits of a tag that are not the interface.
pub const PHASE: u64 = 7;

/// The element counts the interface.
pub const LIVE: u64 = 1;

/// The element counts the interface, and will be taken from it unless a program sets it back to
/// [`LIVE`].
pub const GOING: u64 = 2;

/// The element is made ready for the next interface.
pub const CLEARING: u64 = 3;

/// The interface and its family as one number; 0 if the number cannot be formed.
///
/// The kernel numbers namespaces from `0xEFFF_FFF8` (include/uapi/linux/nsfs.h) and dynamically from
/// `0xF000_0000` (fs/proc/generic.c), so that 29 bits tell them apart; an index is a positive `int`.
#[inline]
#[must_use]
pub const fn tag(key: &Key) -> u64 {
    let [ipv4, ipv6] = FAMILIES;
    if key.netns >> 29 != 7
        || key.ifindex >> 31 != 0
        || key.family != ipv4 as u32 && key.family != ipv6 as u32
    {
        return 0;
    }
    let family = (key.family == ipv6 as u32) as u64;
    (key.netns as u64 & 0x1fff_ffff) << 35 | (key.ifindex as u64) << 4 | family << 3 | LIVE
}

/// The interface that a tag stands for.
#[expect(clippy::cast_possible_truncation, reason = "each number has its bits")]
#[inline]
#[must_use]
pub const fn key(tag: u64) -> Key {
    let [ipv4, ipv6] = FAMILIES;
    Key {
        netns: (tag >> 35) as u32 | 7 << 29,
        ifindex: (tag >> 4) as u32 & 0x7fff_ffff,
        family: if tag >> 3 & 1 == 0 { ipv4 as u32 } else { ipv6 as u32 },
    }
}

/// The number of steps that a walk takes in one run of its program, and of slots that a sweep looks
/// at.
pub const STEPS: u32 = 2048;
