//! What the kernel side counts of neighbours, and what it must know of the kernel.

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

    /// An entry of a table, as it is known.
    pub struct Known {
        /// Address of its `struct neighbour`, and in the bits that are zero in every such address
        /// [`FLAGS`]. One number, so that it can be changed as long as it is still this entry's:
        /// the place of a removed one is given to another at once.
        pub state: u64,
        /// Where it is counted.
        pub key: Key,
        /// The walk that has found it last, or that ran last when it came.
        pub walk: u32,
    }

    /// A place for an entry.
    pub struct Slot {
        /// The entry; all zero if there is none.
        pub known: Known,
        /// How many entries that this place is for are elsewhere.
        pub away: u64,
    }

    /// The neighbours of an interface, and what happened to them since the programs were attached.
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

    /// What concerns no single interface.
    pub struct Totals {
        /// Events that could not be recorded, most likely since a map was full.
        pub lost: u64,
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
        /// Its own count of entries: of all namespaces and states, and also those that have been
        /// taken out while others still hold them.
        pub size: u64,
        /// Address of its hash table, which is another once it has grown.
        pub hash: u64,
        /// Buckets of the hash table.
        pub buckets: u64,
    }

    /// Where the running kernel keeps what the programs read: bytes from the start of each
    /// structure, from the kernel's BTF.
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
        /// Where in an entry such a link leads: to `neighbour.hash` since Linux 6.13, to the start
        /// before.
        pub neighbour_target: u32,
        /// `neighbour.hash.pprev` since Linux 6.13: what leads to the entry. 0 before.
        pub neighbour_pprev: u32,
        /// `neigh_table.family`
        pub table_family: u32,
        /// `neigh_table.entries`
        pub table_entries: u32,
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

/// What a state has beside an address.
pub const FLAGS: u64 = NOARP | GONE | FILLING;

/// The entry is `NUD_NOARP`: it is not counted among the others.
pub const NOARP: u64 = 1;

/// Somebody is taking the entry out of the map.
pub const GONE: u64 = 2;

/// Somebody is putting the entry into the map.
pub const FILLING: u64 = 4;

/// How many steps a walk takes at a time, and how many entries are looked after.
pub const STEPS: u32 = 2048;
