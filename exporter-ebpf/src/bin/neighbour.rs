//! Counts neighbours per network namespace, interface and family as they come and go.
//!
//! [`ENTRIES`] holds every entry of the kernel's tables, by address and by whether it is
//! `NUD_NOARP`: those are not counted. Counts follow that map and nothing else: who puts an entry
//! in adds one, who takes it out subtracts one, and the map lets a single processor do either. So
//! it does not matter how often, in which order or where an entry is seen, as long as it is seen
//! once while it is there and once when it goes:
//!
//! ```text
//! allocated, or refused      neigh_create               noted; an overflow
//! constructed, inserted      (nothing: any of it may fail)
//! used, changed              neigh_event_send_done,     in the map
//!                            neigh_update_done
//! not used                   `settle`, before a read    in the map
//! older than the programs    `walk`, at the start       in the map
//! resolution fails           neigh_timer_handler        a failure
//! unlinked                   neigh_cleanup_and_release  out of the map
//! removed unseen             `sweep`                    out of the map
//! ```
//!
//! The kernel (net/core/neighbour.c) sets `dead` before it unlinks an entry and only then tells
//! of it; so an entry that is not dead after it was put in will be told of, and one that is may
//! have been told of before and is taken out again.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "helpers take raw pointers")]
#![expect(clippy::inline_always, reason = "the verifier follows a pointer's type into no call")]

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    helpers::generated::{bpf_for_each_map_elem, bpf_get_current_task},
    macros::{btf_tracepoint, map, raw_tracepoint},
    maps::{Array, HashMap},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use aya_log_ebpf::debug;
use exporter_common::neighbour::{Counts, Entry, Key, Offsets, STEPS, Table, Totals};
use exporter_ebpf::{Access, Copied, Pointer, Typed, add, exchange};

/// The neighbours of each interface.
#[map]
static COUNTS: HashMap<Key, Counts> = HashMap::with_max_entries(1 << 14, BPF_F_NO_PREALLOC);

/// The entries of the tables, and where each is counted. Entries come and go too fast to be
/// allocated one by one, which would cost a microsecond.
#[map]
static ENTRIES: HashMap<Entry, Key> = HashMap::with_max_entries(1 << 16, 0);

/// Addresses of entries that were made of late, each in a place that follows from it. Not all of
/// them will come into a table, and not all that do are seen there: so each is looked for before
/// another takes its place, and before a read.
#[map]
static RECENT: Array<u64> = Array::with_max_entries(PLACES, 0);
const PLACES: u32 = 1024;

#[map]
static TOTALS: Array<Totals> = Array::with_max_entries(1, 0);

/// To run a function [`STEPS`] times: `bpf_loop` came with Linux 5.17. Also what `sweep` is to
/// look at.
#[map]
static BATCH: Array<Entry> = Array::with_max_entries(STEPS, 0);

/// Set by the daemon before the programs are loaded.
#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets {
    neighbour_tbl: 0,
    neighbour_dev: 0,
    neighbour_nud_state: 0,
    neighbour_dead: 0,
    neighbour_ha: 0,
    neighbour_link: 0,
    neighbour_target: 0,
    table_family: 0,
    table_entries: 0,
    table_nht: 0,
    hash_heads: 0,
    hash_shift: 0,
    device_ifindex: 0,
    device_net: 0,
    device_addr_len: 0,
    device_ip: 0,
    device_ip6: 0,
    ip_parms: 0,
    ip6_parms: 0,
    parms_tbl: 0,
    task_nsproxy: 0,
    nsproxy_net: 0,
    net_loopback: 0,
    net_inum: 0,
};

/// The offset of a member; volatile, since the daemon sets what the compiler sees as zero.
macro_rules! offset {
    ($member:ident) => {
        // SAFETY: a read of a static.
        unsafe { (&raw const OFFSETS.$member).read_volatile() }
    };
}

/// Adds to what is counted: `add!(<pointer>.<member>, <number>)`.
macro_rules! add {
    // SAFETY: it lies in a map.
    ($at:ident.$member:ident, $n:expr) => {{ unsafe { add((&raw mut (*$at).$member).cast(), $n) } }};
}

// include/uapi/linux/neighbour.h
const NUD_FAILED: u8 = 0x20;
const NUD_NOARP: u8 = 0x40;
const NUD_PERMANENT: u8 = 0x80;
/// `NUD_VALID` of include/net/neighbour.h: a link-layer address is known.
const NUD_VALID: u8 = 0xde;
/// `NEIGH_UPDATE_F_OVERRIDE` of include/net/neighbour.h.
const OVERRIDE: u32 = 1;
/// `NEIGH_UPDATE_F_ADMIN`: bit 31, and bit 7 since Linux 5.16.
const ADMIN: u32 = 1 << 31 | 1 << 7;

/// From include/uapi/asm-generic/errno-base.h, as helpers return it.
const EEXIST: i32 = -17;

/// Whether an entry is out of the table, or not yet in it.
#[inline(always)]
fn is_dead<A: Access>(n: Pointer<A>) -> bool {
    n.member::<u8>(offset!(neighbour_dead)) != 0
}

/// An entry, as its state is now.
#[inline(always)]
fn entry<A: Access>(n: Pointer<A>) -> Entry {
    let noarp = n.member::<u8>(offset!(neighbour_nud_state)) & NUD_NOARP != 0;
    Entry { address: n.0 as u64, noarp: noarp.into() }
}

/// The interface of a `struct net_device`, for a `struct neigh_table`.
///
/// To be called before anything branches: the verifier searches all types of the kernel for each
/// pointer that is followed, on each path.
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
        noarp: 0,
        created: 0,
        removed: 0,
        overflows: 0,
        failures: 0,
        address_changes: 0,
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

/// An entry has come into the map.
#[inline(never)]
fn gain(key: &Key, noarp: u64, created: u64) -> i32 {
    if let Some(counts) = counts(key) {
        if noarp != 0 {
            add!(counts.noarp, 1);
        } else {
            add!(counts.entries, 1);
        }
        if created != 0 {
            add!(counts.created, 1);
        }
    }
    0
}

/// An entry has gone from the map.
#[inline(never)]
fn lose(key: &Key, noarp: u64) -> i32 {
    if let Some(counts) = counts(key) {
        if noarp != 0 {
            add!(counts.noarp, -1);
        } else {
            add!(counts.entries, -1);
            add!(counts.removed, 1);
        }
    }
    0
}

/// An event cannot be recorded, most likely since a map is full.
#[inline(always)]
fn lost() {
    if let Some(totals) = TOTALS.get_ptr_mut(0) {
        add!(totals.lost, 1);
    }
}

/// Whether all entries that are older than the programs are known, so that others are new.
#[inline(always)]
fn started() -> u64 {
    // SAFETY: it lies in the map.
    TOTALS.get_ptr(0).map_or(0, |totals| unsafe { (&raw const (*totals).started).read_volatile() })
}

/// Takes an entry out of the map, and out of the counts; says whether it was there.
#[inline(always)]
fn remove(entry: Entry, key: &Key) -> bool {
    let removed = ENTRIES.remove(entry).is_ok();
    if removed {
        lose(key, entry.noarp);
    }
    removed
}

/// Puts an entry that is in a table into the map, as it was a moment ago.
#[inline(always)]
fn adopt(entry: Entry, key: &Key) {
    if ENTRIES.get_ptr(entry).is_some() {
        return;
    }
    match ENTRIES.insert(entry, key, BPF_NOEXIST.into()) {
        Ok(()) => {}
        Err(EEXIST) => return,
        Err(_) => return lost(),
    }
    let other = Entry { noarp: entry.noarp ^ 1, ..entry };
    let changed = ENTRIES.get_ptr(other).is_some() && remove(other, key);
    let created = if changed { 1 } else { started() };
    gain(key, entry.noarp, created & !entry.noarp);
}

/// An entry has been seen: where it is in a table, it is in the map.
#[inline(always)]
fn see<A: Access>(n: Pointer<A>, key: &Key) {
    if is_dead(n) {
        return;
    }
    let before = entry(n);
    adopt(before, key);
    if is_dead(n) {
        leave(n, key);
    } else if entry(n).noarp != before.noarp {
        // An administrator has changed it meanwhile, and who saw that may have been faster.
        lost();
    }
}

/// An entry has left its table.
#[inline(always)]
fn leave<A: Access>(n: Pointer<A>, key: &Key) {
    let address = n.0 as u64;
    if !remove(Entry { address, noarp: 0 }, key)
        && !remove(Entry { address, noarp: 1 }, key)
        && entry(n).noarp == 0
        && started() != 0
        && let Some(counts) = counts(key)
    {
        add!(counts.created, 1);
        add!(counts.removed, 1);
    }
}

/// A table has allocated an entry, or could not.
#[btf_tracepoint(function = "neigh_create")]
fn neigh_create(ctx: BtfTracePointContext) -> Option<()> {
    let (table, device) = (Pointer::<Typed>::new(ctx.arg(0)), Pointer::<Typed>::new(ctx.arg(1)));
    let n = Pointer::<Typed>::new(ctx.arg(3));
    // Some kernels tell the verifier that `n` is never null, so that it drops the first
    // test; the second reads a zero then.
    if n.0.is_null() || n.member::<u64>(offset!(neighbour_tbl)) == 0 {
        let counts = counts(&key(device, table))?;
        add!(counts.overflows, 1);
        return Some(());
    }
    // The argument once more, as a number: the verifier lets nobody reckon with a pointer.
    let address = Pointer::<Copied>::new(ctx.as_ptr()).member::<u64>(3 * 8);
    if let Some(place) = RECENT.get_ptr_mut(place(address)) {
        // SAFETY: it lies in the map.
        let before = unsafe { exchange(place, address) };
        see_at(before);
    }
    Some(())
}

/// Where in [`RECENT`] an entry is noted.
#[inline(always)]
const fn place(address: u64) -> u32 {
    // Entries have some hundred bytes.
    (address >> 8 ^ address >> 18) as u32 % PLACES
}

/// An entry is to be resolved.
#[btf_tracepoint(function = "neigh_event_send_done")]
fn neigh_event_send_done(ctx: BtfTracePointContext) {
    let n = Pointer::<Typed>::new(ctx.arg(0));
    see(n, &key_of(n));
}

/// An entry has changed, or the change was refused.
#[btf_tracepoint(function = "neigh_update_done")]
fn neigh_update_done(ctx: BtfTracePointContext) {
    let n = Pointer::<Typed>::new(ctx.arg(0));
    see(n, &key_of(n));
}

/// An entry is about to change.
#[btf_tracepoint(function = "neigh_update")]
fn neigh_update(ctx: BtfTracePointContext) -> Option<()> {
    let n = Pointer::<Typed>::new(ctx.arg(0));
    let (new, flags): (u8, u32) = (ctx.arg(2), ctx.arg(3));
    let state = n.member::<u8>(offset!(neighbour_nud_state));
    let refused = flags & ADMIN == 0 && state & (NUD_NOARP | NUD_PERMANENT) != 0;
    if flags & OVERRIDE != 0 && state & NUD_VALID != 0 && new & NUD_VALID != 0 && !refused {
        let old = n.0.wrapping_byte_add(offset!(neighbour_ha) as usize);
        let length = n.follow(offset!(neighbour_dev)).member::<u8>(offset!(device_addr_len));
        if differ(Pointer::new(old), Pointer::new(ctx.arg(1)), length) && !is_dead(n) {
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
fn neigh_cleanup_and_release(ctx: BtfTracePointContext) {
    let n = Pointer::<Typed>::new(ctx.arg(0));
    leave(n, &key_of(n));
}

/// Calls `each` with every element of a map: its key, its value and `context`.
///
/// A macro, since the verifier wants the map's and the function's addresses as constants.
macro_rules! for_each {
    ($map:ident, $each:ident, $context:expr) => {
        // SAFETY: the map and the function are what the helper wants.
        unsafe {
            let map = (&raw const $map).cast_mut().cast();
            bpf_for_each_map_elem(map, $each as *mut c_void, $context, 0);
        }
    };
}

/// Looks the tables up, and puts the entries that were made of late into the map where they are in
/// a table. Its argument becomes [`Totals::started`].
///
/// Attached to nothing, like those below: the daemon runs it before it reads.
#[raw_tracepoint]
fn settle(ctx: RawTracePointContext) -> i32 {
    // Every namespace has a loopback device, and each device has parameters for each table.
    // SAFETY: takes nothing.
    let task = Pointer::<Copied>::new(unsafe { bpf_get_current_task() } as *const c_void);
    let loopback = task
        .follow(offset!(task_nsproxy))
        .follow(offset!(nsproxy_net))
        .follow(offset!(net_loopback));
    let parms = [
        loopback.follow(offset!(device_ip)).follow(offset!(ip_parms)),
        loopback.follow(offset!(device_ip6)).follow(offset!(ip6_parms)),
    ];
    let Some(totals) = TOTALS.get_ptr_mut(0) else { return 0 };
    // SAFETY: it lies in the map.
    let [ipv4, ipv6] = unsafe { &mut (*totals).tables };
    look(parms[0].follow(offset!(parms_tbl)), ipv4);
    look(parms[1].follow(offset!(parms_tbl)), ipv6);
    // SAFETY: it lies in the map.
    unsafe { (*totals).started = ctx.arg(0) };
    for_each!(RECENT, settle_one, core::ptr::null_mut());
    0
}

#[inline(always)]
fn look(table: Pointer<Copied>, to: &mut Table) {
    to.address = table.0 as u64;
    to.size = u64::from(table.member::<u32>(offset!(table_entries)));
    let hash = table.follow(offset!(table_nht));
    to.hash = hash.0 as u64;
    to.buckets = 1 << (hash.member::<u32>(offset!(hash_shift)) & 31);
}

/// The tables' addresses, where they are known.
#[inline(always)]
fn tables() -> [u64; 2] {
    // SAFETY: it lies in the map.
    TOTALS.get_ptr(0).map_or([0; 2], |totals| unsafe {
        [(*totals).tables[0].address, (*totals).tables[1].address]
    })
}

/// Whether an entry may be there. Its memory may have come to other use: what is not of a table
/// is not there, and what came to use as another entry has been told of.
#[inline(always)]
fn is_entry(n: Pointer<Copied>) -> bool {
    let table = n.member::<u64>(offset!(neighbour_tbl));
    let [ipv4, ipv6] = tables();
    table != 0 && (table == ipv4 || table == ipv6) && !is_dead(n)
}

/// As [`see`], for an address that was kept; says whether there is an entry.
#[inline(never)]
fn see_at(address: u64) -> bool {
    if address == 0 {
        return false;
    }
    let known = |noarp| ENTRIES.get_ptr(Entry { address, noarp }).is_some();
    if known(0) || known(1) {
        return true;
    }
    let n = Pointer::<Copied>::new(address as *const c_void);
    let there = is_entry(n);
    if there {
        let key = key_of(n);
        see(n, &key);
        // Nobody holds the entry for us: it may have left its table before it was put into the
        // map, and its memory have come to other use. Then nobody would take it out again.
        if key_of(n) != key {
            lost();
        }
    }
    there
}

extern "C" fn settle_one(_: *const c_void, _: *const u32, place: *mut u64) -> u64 {
    // SAFETY: the kernel passes an element of the map.
    let noted = unsafe { place.read_volatile() };
    if see_at(noted) {
        // SAFETY: as above.
        let found = unsafe { exchange(place, 0) };
        // Another may have been noted meanwhile. Where it is not there yet it is put back.
        if found != noted && !see_at(found) {
            // SAFETY: as above.
            let found = unsafe { exchange(place, found) };
            if found != 0 && !see_at(found) {
                lost();
            }
        }
    }
    0
}

/// Where a walk has got to.
struct Position {
    heads: u64,
    bucket: u64,
    buckets: u64,
    /// What the last link leads to; 0 at the end of a bucket.
    link: u64,
}

impl Position {
    /// The link to the first entry of the bucket.
    #[inline(always)]
    fn first(&self) -> u64 {
        let head = self.heads.wrapping_add(self.bucket * 8);
        Pointer::<Copied>::new(head as *const c_void).member(0)
    }
}

/// Puts entries of a table into the map: [`STEPS`] steps from a bucket on, whole buckets only.
///
/// Sees every entry that is there from beginning to end, unless the table grows meanwhile.
#[raw_tracepoint]
fn walk(ctx: RawTracePointContext) -> i32 {
    let (hash, bucket): (u64, u64) = (ctx.arg(0), ctx.arg(1));
    let hash = Pointer::<Copied>::new(hash as *const c_void);
    let mut position = Position {
        heads: hash.member(offset!(hash_heads)),
        bucket,
        buckets: 1 << (hash.member::<u32>(offset!(hash_shift)) & 31),
        link: 0,
    };
    // Not in `step`: before Linux 6.8 the verifier holds for constant what is so at first, and
    // leaves out what is done otherwise.
    position.link = position.first();
    for_each!(BATCH, step, (&raw mut position).cast());
    if let Some(totals) = TOTALS.get_ptr_mut(0) {
        // SAFETY: it lies in the map.
        unsafe { (*totals).walked = position.bucket };
    }
    0
}

extern "C" fn step(
    _: *const c_void,
    _: *const u32,
    _: *const Entry,
    position: *mut Position,
) -> u64 {
    // SAFETY: the kernel passes on what `walk` gave it.
    let position = unsafe { &mut *position };
    if position.link == 0 {
        position.bucket += 1;
        if position.bucket >= position.buckets {
            return 1;
        }
        position.link = position.first();
    } else {
        let n = position.link.wrapping_sub(u64::from(offset!(neighbour_target)));
        let n = Pointer::<Copied>::new(n as *const c_void);
        see_at(n.0 as u64);
        position.link = n.member(offset!(neighbour_link));
    }
    0
}

/// Takes what is no longer in a table out of the map, of the entries in [`BATCH`].
#[raw_tracepoint]
fn sweep(_: RawTracePointContext) -> i32 {
    for_each!(BATCH, sweep_one, core::ptr::null_mut());
    0
}

extern "C" fn sweep_one(_: *const c_void, _: *const u32, entry: *const Entry) -> u64 {
    // SAFETY: the kernel passes an element of the map.
    let entry = unsafe { *entry };
    let Some(known) = ENTRIES.get_ptr(entry) else { return 0 };
    // SAFETY: the map holds it.
    let known = unsafe { *known };
    let n = Pointer::<Copied>::new(entry.address as *const c_void);
    let noarp = self::entry(n).noarp;
    if is_entry(n) && key_of(n) == known && noarp == entry.noarp {
        return 0;
    }
    if remove(entry, &known) {
        let Key { netns, ifindex, family } = known;
        debug!(&(), "namespace {} interface {} family {}: removed unseen", netns, ifindex, family);
    }
    0
}
