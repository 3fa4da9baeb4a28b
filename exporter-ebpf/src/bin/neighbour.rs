//! Counts neighbours per network namespace, interface and family as they come and go.
//!
//! What happens to an entry (net/core/neighbour.c), and where it is seen:
//!
//! ```text
//! allocated, or refused      neigh_create               kept as pending; an overflow
//! constructed, inserted      (nothing: any of it may fail)
//! used, changed              neigh_event_send_done,     no longer pending: counted
//!                            neigh_update(_done)
//! not used                   the daemon runs `settle`   no longer pending: counted, or dropped
//! resolution fails           neigh_timer_handler        a failure
//! unlinked                   neigh_cleanup_and_release  counted back, or no longer pending
//! ```
//!
//! Only entries without `NUD_NOARP` are counted. What an entry is follows from its type and
//! its interface ([`Entry::is_unusual`]), save for the few that an administrator has made an
//! exception, which are in [`UNUSUAL`]: so nothing is kept of an entry that has been counted.
//! Its state alone would not do: an entry that others still hold when it is unlinked has lost
//! it by then, `NUD_NOARP` stands for any valid one.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "helpers take raw pointers")]
#![expect(clippy::inline_always, reason = "the verifier follows a pointer's type into no call")]

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_F_NO_PREALLOC, BPF_NOEXIST},
    helpers::{bpf_jiffies64, generated::bpf_for_each_map_elem},
    macros::{btf_tracepoint, map, raw_tracepoint},
    maps::{Array, HashMap},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use aya_log_ebpf::debug;
use exporter_common::neighbour::{ABSENT, Counts, Key, LOST, Offsets, Pending, WAITING};
use exporter_ebpf::{Access, Copied, Pointer, Typed, add};

/// What happened, by interface.
#[map]
static COUNTS: HashMap<Key, Counts> = HashMap::with_max_entries(1 << 14, BPF_F_NO_PREALLOC);

/// Entries that were made and not seen since, by address; they come and go too fast to be
/// allocated.
#[map]
static PENDING: HashMap<u64, Pending> = HashMap::with_max_entries(1 << 14, 0);

/// Entries that are not what their type and interface imply, by address.
#[map]
static UNUSUAL: HashMap<u64, u8> = HashMap::with_max_entries(1 << 14, BPF_F_NO_PREALLOC);

/// Two numbers, see [`exporter_common::neighbour`].
#[map]
static TOTALS: Array<u64> = Array::with_max_entries(2, 0);

/// Set by the daemon before the programs are loaded.
#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets {
    neighbour_tbl: 0,
    neighbour_dev: 0,
    neighbour_ops: 0,
    neighbour_output: 0,
    neighbour_nud_state: 0,
    neighbour_type: 0,
    neighbour_dead: 0,
    neighbour_ha: 0,
    neighbour_hash_pprev: 0,
    ops_connected_output: 0,
    table_family: 0,
    device_flags: 0,
    device_ifindex: 0,
    device_header_ops: 0,
    device_net: 0,
    device_addr_len: 0,
    net_inum: 0,
};

/// The offset of a member; volatile, since the daemon sets what the compiler sees as zero.
macro_rules! offset {
    ($member:ident) => {
        // SAFETY: a read of a static.
        unsafe { (&raw const OFFSETS.$member).read_volatile() }
    };
}

/// Adds to what is counted: `add!(<counts>.<member>, <number>)`.
macro_rules! add {
    // SAFETY: the counts lie in the map.
    ($counts:ident.$member:ident, $n:expr) => {{ unsafe { add((&raw mut (*$counts).$member).cast(), $n) } }};
}

// include/uapi/linux/neighbour.h
const NUD_FAILED: u8 = 0x20;
const NUD_NOARP: u8 = 0x40;
const NUD_PERMANENT: u8 = 0x80;
/// `NUD_VALID` of include/net/neighbour.h: a link-layer address is known.
const NUD_VALID: u8 = 0xde;
// include/uapi/linux/rtnetlink.h
const RTN_BROADCAST: u8 = 3;
const RTN_MULTICAST: u8 = 5;
/// `IFF_LOOPBACK`, `IFF_POINTOPOINT` and `IFF_NOARP` of include/uapi/linux/if.h.
const IFF_WITHOUT_ARP: u32 = 0x8 | 0x10 | 0x80;
/// `NEIGH_UPDATE_F_OVERRIDE` of include/net/neighbour.h.
const OVERRIDE: u32 = 1;
/// `NEIGH_UPDATE_F_ADMIN`: bit 31, and bit 7 since Linux 5.16.
const ADMIN: u32 = 1 << 31 | 1 << 7;

/// From include/uapi/asm-generic/errno-base.h, as helpers return it.
const EEXIST: i32 = -17;

/// Ticks, at least a second, after which an entry that is not in the table will not get there.
const PATIENCE: u64 = 1000;

/// What an entry is, at one moment.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Entry {
    /// Of its `struct neighbour`.
    address: u64,
    /// Whether it is out of the table, or not yet in it.
    dead: bool,
    noarp: bool,
    /// Whether its address is one that is never resolved: multicast or broadcast.
    group: bool,
    /// Whether no address is ever resolved on its interface.
    noarp_device: bool,
}

impl Entry {
    /// Reads a `struct neighbour`.
    ///
    /// Without branches between the reads: the verifier searches all types of the kernel for each pointer that
    /// is read, on each path.
    #[inline(always)]
    fn read<A: Access>(n: Pointer<A>) -> Self {
        let device = n.follow(offset!(neighbour_dev));
        let kind = n.member::<u8>(offset!(neighbour_type));
        Self {
            address: n.0 as u64,
            dead: n.member::<u8>(offset!(neighbour_dead)) != 0,
            noarp: n.member::<u8>(offset!(neighbour_nud_state)) & NUD_NOARP != 0,
            group: matches!(kind, RTN_MULTICAST | RTN_BROADCAST),
            noarp_device: (device.member::<u32>(offset!(device_flags)) & IFF_WITHOUT_ARP != 0)
                | (device.member::<u64>(offset!(device_header_ops)) == 0),
        }
    }

    /// Whether it is not as `arp_constructor` and `ndisc_constructor` make entries.
    #[inline(always)]
    const fn is_unusual(&self) -> bool {
        self.noarp != (self.group | self.noarp_device)
    }
}

/// The interface of a `struct net_device`, for a `struct neigh_table`.
#[inline(always)]
fn key<A: Access>(device: Pointer<A>, table: Pointer<A>) -> Key {
    Key {
        netns: device.follow(offset!(device_net)).member(offset!(net_inum)),
        ifindex: device.member(offset!(device_ifindex)),
        family: table.member(offset!(table_family)),
    }
}

/// The interface of an entry that is in a table.
#[inline(always)]
fn key_of<A: Access>(n: Pointer<A>) -> Key {
    key(n.follow(offset!(neighbour_dev)), n.follow(offset!(neighbour_tbl)))
}

/// The counts of an interface, new ones where there are none.
#[inline(never)]
fn counts(key: &Key) -> Option<*mut Counts> {
    const ZERO: Counts = Counts {
        entries: 0,
        created: 0,
        removed: 0,
        abandoned: 0,
        overflows: 0,
        failures: 0,
        address_changes: 0,
        events: 0,
        noarp: 0,
    };
    let counts = COUNTS.get_ptr_mut(key).or_else(|| {
        // Another processor may be first: then its entry serves.
        let _ = COUNTS.insert(key, ZERO, BPF_NOEXIST.into());
        COUNTS.get_ptr_mut(key)
    });
    if counts.is_none() {
        lost();
    }
    counts
}

/// Adds to one of the totals.
#[inline(always)]
fn total(which: u32, n: i64) {
    if let Some(total) = TOTALS.get_ptr_mut(which) {
        // SAFETY: it lies in the map.
        unsafe { add(total, n) };
    }
}

/// An event cannot be recorded since a map is full.
#[inline(always)]
fn lost() {
    total(LOST, 1);
}

/// Takes an entry out of the pending; says whether it was there.
#[inline(always)]
fn settled(address: u64) -> bool {
    let settled = PENDING.remove(address).is_ok();
    if settled {
        total(WAITING, -1);
    }
    settled
}

/// Puts an entry into the set of the unusual; says whether it was not there.
#[inline(always)]
fn remember(address: u64) -> bool {
    let result = UNUSUAL.insert(address, 1, BPF_NOEXIST.into());
    if result.is_err_and(|error| error != EEXIST) {
        lost();
    }
    result.is_ok()
}

/// Takes an entry out of the set of the unusual; says whether it was there.
#[inline(always)]
fn forget(address: u64) -> bool {
    // It hardly ever is, and looking first spares the bucket's lock.
    UNUSUAL.get_ptr(address).is_some() && UNUSUAL.remove(address).is_ok()
}

/// Counts an entry that has been found in the table.
#[inline(always)]
fn count(entry: &Entry, key: &Key) -> Option<()> {
    let counts = counts(key)?;
    // SAFETY: the counts lie in the map.
    unsafe { (&raw mut (*counts).noarp).write_volatile(entry.noarp_device.into()) };
    if !(entry.noarp_device | entry.group) {
        add!(counts.entries, 1);
        add!(counts.created, 1);
    }
    if entry.is_unusual() {
        reconcile(entry, counts);
    }
    Some(())
}

/// Makes the counts follow an entry's `NUD_NOARP`.
///
/// Of several processors that see the same change, the set lets one account for it.
#[inline(always)]
fn reconcile(entry: &Entry, counts: *mut Counts) {
    let address = entry.address;
    if !(if entry.is_unusual() { remember(address) } else { forget(address) }) {
        return;
    }
    if entry.noarp {
        add!(counts.entries, -1);
        add!(counts.removed, 1);
    } else {
        add!(counts.entries, 1);
        add!(counts.created, 1);
    }
    add!(counts.events, 1);
}

/// An entry has been used: it is in the table. Says whether it was pending.
#[inline(always)]
fn confirm(entry: &Entry) -> bool {
    let Some(pending) = PENDING.get_ptr(entry.address) else {
        return false;
    };
    // SAFETY: the map holds it.
    let key = unsafe { (*pending).key };
    // Where it is dead already, its removal is about to be seen.
    if !entry.dead && settled(entry.address) {
        count(entry, &key);
    }
    true
}

/// A table has allocated an entry, or could not.
#[btf_tracepoint(function = "neigh_create")]
fn neigh_create(ctx: BtfTracePointContext) -> Option<()> {
    let (table, device) = (Pointer::<Typed>::new(ctx.arg(0)), Pointer::new(ctx.arg(1)));
    let n = Pointer::<Typed>::new(ctx.arg(3));
    let key = key(device, table);
    let counts = counts(&key)?;
    // Some kernels tell the verifier that `n` is never null, so that it drops the first
    // test; the second reads a zero then.
    if n.0.is_null() || n.member::<u64>(offset!(neighbour_tbl)) == 0 {
        add!(counts.overflows, 1);
        return Some(());
    }
    let pending = Pending {
        key,
        padding: 0,
        table: table.0 as u64,
        device: device.0 as u64,
        // SAFETY: takes nothing.
        born: unsafe { bpf_jiffies64() },
    };
    match PENDING.insert(n.0 as u64, pending, BPF_NOEXIST.into()) {
        Ok(()) => total(WAITING, 1),
        // Left from an entry that came to nothing.
        Err(EEXIST) => drop(PENDING.insert(n.0 as u64, pending, BPF_ANY.into())),
        Err(_) => lost(),
    }
    add!(counts.events, 1);
    Some(())
}

/// An entry is to be resolved.
#[btf_tracepoint(function = "neigh_event_send_done")]
fn neigh_event_send_done(ctx: BtfTracePointContext) {
    confirm(&Entry::read(Pointer::<Typed>::new(ctx.arg(0))));
}

/// An entry is about to change.
#[btf_tracepoint(function = "neigh_update")]
fn neigh_update(ctx: BtfTracePointContext) -> Option<()> {
    let n = Pointer::<Typed>::new(ctx.arg(0));
    let (new, flags): (u8, u32) = (ctx.arg(2), ctx.arg(3));
    let entry = Entry::read(n);
    let state = n.member::<u8>(offset!(neighbour_nud_state));
    if flags & ADMIN == 0 {
        if state & (NUD_NOARP | NUD_PERMANENT) != 0 {
            return Some(()); // refused
        }
    } else if !confirm(&entry) && !entry.dead && entry.is_unusual() {
        // An entry older than these programs is unusual without their knowledge.
        remember(entry.address);
    }
    if flags & OVERRIDE != 0 && state & NUD_VALID != 0 && new & NUD_VALID != 0 {
        let old = n.0.wrapping_byte_add(offset!(neighbour_ha) as usize);
        let length = n.follow(offset!(neighbour_dev)).member::<u8>(offset!(device_addr_len));
        if differ(Pointer::new(old), Pointer::new(ctx.arg(1)), length) {
            let counts = counts(&key_of(n))?;
            add!(counts.address_changes, 1);
        }
    }
    Some(())
}

/// Whether two link-layer addresses differ, in their first or last eight bytes; null is none.
#[inline(always)]
fn differ(old: Pointer<Copied>, new: Pointer<Copied>, length: u8) -> bool {
    if new.0.is_null() || length == 0 {
        return false;
    }
    // What lies behind a shorter address is read and shifted out; the machine's first byte
    // is its lowest.
    let shift = 64 - 8 * u32::from(length.min(8));
    let last = u32::from(length.saturating_sub(8));
    (old.member::<u64>(0) ^ new.member::<u64>(0)) << shift != 0
        || last > 0 && old.member::<u64>(last) != new.member::<u64>(last)
}

/// An entry has changed, or the change was refused.
#[btf_tracepoint(function = "neigh_update_done")]
fn neigh_update_done(ctx: BtfTracePointContext) -> Option<()> {
    let n = Pointer::<Typed>::new(ctx.arg(0));
    let error: i32 = ctx.arg(1);
    let entry = Entry::read(n);
    if confirm(&entry) || error != 0 {
        return Some(());
    }
    // Nearly always nothing is unusual, before or after: then no counts are looked up.
    if !entry.dead && (entry.is_unusual() || UNUSUAL.get_ptr(entry.address).is_some()) {
        reconcile(&entry, counts(&key_of(n))?);
    }
    Some(())
}

/// An entry's timer has run. It is not armed for a failed entry: this is the first to see it.
#[btf_tracepoint(function = "neigh_timer_handler")]
fn neigh_timer_handler(ctx: BtfTracePointContext) -> Option<()> {
    let n = Pointer::<Typed>::new(ctx.arg(0));
    if n.member::<u8>(offset!(neighbour_nud_state)) == NUD_FAILED {
        let counts = counts(&key_of(n))?;
        add!(counts.failures, 1);
    }
    Some(())
}

/// An entry has left the table.
#[btf_tracepoint(function = "neigh_cleanup_and_release")]
fn neigh_cleanup_and_release(ctx: BtfTracePointContext) -> Option<()> {
    let n = Pointer::<Typed>::new(ctx.arg(0));
    let (key, entry) = (key_of(n), Entry::read(n));
    // A stray's state is not its own, and its output leads nowhere.
    let ops = n.follow(offset!(neighbour_ops));
    let connected = n.member::<u64>(offset!(neighbour_output))
        == ops.member::<u64>(offset!(ops_connected_output));

    let pending = PENDING.get_ptr(entry.address).is_some() && settled(entry.address);
    let unusual = forget(entry.address);
    let counts = counts(&key)?;
    // A change of an interface's flags flushes its entries, which were made before it.
    // SAFETY: the counts lie in the map.
    let default = entry.group || unsafe { (&raw const (*counts).noarp).read_volatile() } != 0;
    if !(entry.noarp && (connected || unusual != default)) {
        add!(counts.removed, 1);
        if pending {
            add!(counts.created, 1);
        } else {
            add!(counts.entries, -1);
        }
    }
    add!(counts.events, 1);
    Some(())
}

/// Counts the pending entries that are in the table, and drops those that will not get there.
///
/// Attached to nothing: the daemon runs it before it reads.
#[raw_tracepoint]
fn settle(_: RawTracePointContext) -> i32 {
    let map = (&raw const PENDING).cast_mut().cast();
    // SAFETY: the map and the function are what the helper wants.
    unsafe {
        bpf_for_each_map_elem(map, settle_one as *mut c_void, core::ptr::null_mut(), 0);
    }
    0
}

extern "C" fn settle_one(_: *const c_void, n: *const u64, pending: *const Pending) -> u64 {
    // SAFETY: the kernel passes an element of the map.
    let (n, pending) = unsafe { (Pointer::<Copied>::new(*n as *const c_void), *pending) };
    let entry = Entry::read(n);
    // The memory may have come to other use since: what is not in the table is not there.
    if n.member::<u64>(offset!(neighbour_tbl)) == pending.table
        && n.member::<u64>(offset!(neighbour_dev)) == pending.device
        && !entry.dead
    {
        if is_linked(n) && settled(entry.address) {
            count(&entry, &pending.key);
        }
    // SAFETY: takes nothing.
    } else if unsafe { bpf_jiffies64() }.saturating_sub(pending.born) > PATIENCE
        && settled(entry.address)
        && let Some(counts) = counts(&pending.key)
    {
        add!(counts.abandoned, 1);
        let Key { netns, ifindex, family } = pending.key;
        debug!(&(), "namespace {} interface {} family {}: abandoned", netns, ifindex, family);
    }
    0
}

/// Whether the table's link to the entry leads to it; not known before Linux 6.13.
#[inline(always)]
fn is_linked(n: Pointer<Copied>) -> bool {
    /// From the start of a `struct hlist_node` to its `pprev`.
    const PPREV: u64 = 8;
    match offset!(neighbour_hash_pprev) {
        ABSENT => true,
        pprev => {
            let node = n.0 as u64 + u64::from(pprev) - PPREV;
            n.follow(pprev).member::<u64>(0) == node
        }
    }
}
