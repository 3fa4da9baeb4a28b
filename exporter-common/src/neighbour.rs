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

    /// What happened on an interface since the programs were attached.
    pub struct Counts {
        /// Entries now, less the entries there were at the start; `NUD_NOARP` left out.
        pub entries: i64,
        /// Entries that came into the table or ceased to be `NUD_NOARP`.
        pub created: u64,
        /// Entries that left the table or became `NUD_NOARP`.
        pub removed: u64,
        /// Entries that were made but never came into the table: another processor was
        /// faster, or the interface went away.
        pub abandoned: u64,
        /// Entries that were refused since the table was full, or memory short.
        pub overflows: u64,
        /// Address resolutions that ended without an answer.
        pub failures: u64,
        /// Link-layer addresses that took the place of another.
        pub address_changes: u64,
        /// Anything that changes a dump of the interface's table: while this stands still, so
        /// does the table.
        pub events: u64,
        /// Whether the interface resolves no addresses at all (loopback, tunnels): 0 or 1.
        pub noarp: u64,
    }

    /// An entry that was made and may or may not have come into the table.
    pub struct Pending {
        /// Whose it will be.
        pub key: Key,
        /// To fill the gap.
        pub padding: u32,
        /// Address of its `struct neigh_table`.
        pub table: u64,
        /// Address of its `struct net_device`.
        pub device: u64,
        /// When it was made, in the kernel's ticks (jiffies).
        pub born: u64,
    }

    /// Where the running kernel keeps what the programs read: bytes from the start of each
    /// structure, from the kernel's BTF.
    pub struct Offsets {
        /// `neighbour.tbl`
        pub neighbour_tbl: u32,
        /// `neighbour.dev`
        pub neighbour_dev: u32,
        /// `neighbour.ops`
        pub neighbour_ops: u32,
        /// `neighbour.output`
        pub neighbour_output: u32,
        /// `neighbour.nud_state`
        pub neighbour_nud_state: u32,
        /// `neighbour.type`
        pub neighbour_type: u32,
        /// `neighbour.dead`
        pub neighbour_dead: u32,
        /// `neighbour.ha`
        pub neighbour_ha: u32,
        /// `neighbour.hash.pprev`, since Linux 6.13; [`ABSENT`] before.
        pub neighbour_hash_pprev: u32,
        /// `neigh_ops.connected_output`
        pub ops_connected_output: u32,
        /// `neigh_table.family`
        pub table_family: u32,
        /// `net_device.flags`
        pub device_flags: u32,
        /// `net_device.ifindex`
        pub device_ifindex: u32,
        /// `net_device.header_ops`
        pub device_header_ops: u32,
        /// `net_device.nd_net.net`
        pub device_net: u32,
        /// `net_device.addr_len`
        pub device_addr_len: u32,
        /// `net.ns.inum`
        pub net_inum: u32,
    }
}

/// The offset of a member that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// Of the two totals: events that could not be recorded since a map was full.
pub const LOST: u32 = 0;
/// Of the two totals: pending entries.
pub const WAITING: u32 = 1;
