//! Entries that no tracepoint tells of: those made and not used, those older than the programs,
//! and those whose end went unseen.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::{bpf_for_each_map_elem, bpf_get_current_task},
    macros::{map, raw_tracepoint},
    maps::Array,
    programs::RawTracePointContext,
};
use aya_log_ebpf::debug;
use exporter_common::neighbour::{FILLING, FLAGS, Key, STEPS, Table};
use exporter_ebpf::{Copied, Pointer, compare_exchange, exchange};

use crate::{
    entries::{remove, see, totals},
    kernel::{Neighbour, offset},
    known::{find, nth, state_of},
};

/// Addresses of entries that were made of late, each in a place that follows from it, until they
/// are in the map. Not all of them will come into a table, and not all that do are seen there: so
/// each is looked for before another takes its place, and before a read.
#[map]
static RECENT: Array<[u64; PLACES]> = Array::with_max_entries(PAGES, 0);
const PAGES: u32 = 64;
/// To call a function for each page takes as long as to look at all that is on it.
const PLACES: usize = 16;

/// To run a function [`STEPS`] times: `bpf_loop` came with Linux 5.17. Also what `sweep` is to
/// look at.
#[map]
static BATCH: Array<u64> = Array::with_max_entries(STEPS, 0);

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

/// Where in [`RECENT`] an entry is noted.
#[inline(always)]
fn place(address: u64) -> Option<*mut u64> {
    // Entries have some hundred bytes.
    let hash = address >> 8 ^ address >> 18;
    let page = RECENT.get_ptr_mut(hash as u32 % PAGES)?;
    let number = (hash >> PAGES.trailing_zeros()) as usize % PLACES;
    Some(page.cast::<u64>().wrapping_add(number))
}

/// An entry has been made.
#[inline(always)]
pub fn note(address: u64) {
    if let Some(place) = place(address) {
        // SAFETY: it lies in the map.
        let before = unsafe { exchange(place, address) };
        if before != 0 {
            see_at(before);
        }
    }
}

/// There is no more need to look for an entry.
#[inline(always)]
pub fn forget(address: u64) {
    if let Some(place) = place(address) {
        // SAFETY: it lies in the map.
        unsafe {
            if place.read_volatile() == address {
                compare_exchange(place, address, 0);
            }
        }
    }
}

/// As [`see`], for an address that was kept; says whether the entry is in the map then.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn see_at(address: u64) -> i32 {
    let n = Neighbour::<Copied>::new(address as *const c_void);
    // SAFETY: it lies in the map.
    let tables = totals().map_or([0; 2], |totals| unsafe {
        [(*totals).tables[0].address, (*totals).tables[1].address]
    });
    // Should it leave its table now, its memory is kept until this program has ended (RCU).
    if n.is_live(tables) {
        see(n, &n.key());
    }
    find(address).is_some().into()
}

/// Looks the tables up, and puts the entries that were made of late into the map where they are in
/// a table. Its arguments become `started` and `walk` of the totals.
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
    let Some(totals) = totals() else { return 0 };
    // SAFETY: it lies in the map.
    let [ipv4, ipv6] = unsafe { &mut (*totals).tables };
    look(parms[0].follow(offset!(parms_tbl)), ipv4);
    look(parms[1].follow(offset!(parms_tbl)), ipv6);
    // SAFETY: it lies in the map.
    unsafe {
        (*totals).started = ctx.arg(0);
        (*totals).walk = ctx.arg(1);
    }
    for_each!(RECENT, settle_page, core::ptr::null_mut());
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

extern "C" fn settle_page(_: *const c_void, _: *const u32, page: *mut [u64; PLACES]) -> u64 {
    for number in 0..PLACES {
        let place = page.cast::<u64>().wrapping_add(number);
        // SAFETY: the kernel passes an element of the map.
        let noted = unsafe { place.read_volatile() };
        if noted != 0 && see_at(noted) != 0 {
            // SAFETY: as above.
            unsafe { compare_exchange(place, noted, 0) };
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
    /// The number of the walk.
    walk: u32,
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
    let Some(totals) = totals() else { return 0 };
    let mut position = Position {
        heads: hash.member(offset!(hash_heads)),
        bucket,
        buckets: 1 << (hash.member::<u32>(offset!(hash_shift)) & 31),
        link: 0,
        // SAFETY: it lies in the map.
        walk: unsafe { (*totals).walk },
    };
    // Not in `step`: before Linux 6.8 the verifier holds for constant what is so at first, and
    // leaves out what is done otherwise.
    position.link = position.first();
    for_each!(BATCH, step, (&raw mut position).cast());
    // SAFETY: it lies in the map.
    unsafe { (*totals).walked = position.bucket };
    0
}

extern "C" fn step(_: *const c_void, _: *const u32, _: *const u64, position: *mut Position) -> u64 {
    // SAFETY: the kernel passes on what `walk` gave it.
    let position = unsafe { &mut *position };
    if position.link == 0 {
        position.bucket += 1;
        if position.bucket >= position.buckets {
            return 1;
        }
        position.link = position.first();
    } else {
        let n = Neighbour::behind(position.link);
        see_at(n.address());
        if let Some(known) = find(n.address()) {
            // SAFETY: it lies in a map.
            unsafe { (&raw mut (*known).walk).write_volatile(position.walk) };
        }
        position.link = n.next();
    }
    0
}

/// Takes entries out of the map which the last walk has not found: of [`STEPS`] slots, those from
/// `slot` on, and of the addresses in [`BATCH`].
#[raw_tracepoint]
fn sweep(ctx: RawTracePointContext) -> i32 {
    let Some(totals) = totals() else { return 0 };
    // SAFETY: it lies in the map.
    let mut sweep = Sweep { slot: ctx.arg(0), walk: unsafe { (*totals).walk } };
    for_each!(BATCH, sweep_one, (&raw mut sweep).cast());
    0
}

struct Sweep {
    slot: u32,
    /// The number of the last walk.
    walk: u32,
}

extern "C" fn sweep_one(
    _: *const c_void,
    number: *const u32,
    address: *const u64,
    sweep: *const Sweep,
) -> u64 {
    // SAFETY: the kernel passes an element of the map, and on what `sweep` gave it.
    let (number, address, sweep) = unsafe { (*number, *address, &*sweep) };
    let slot = nth(sweep.slot.wrapping_add(number)).map_or(0, |known| state_of(known) & !FLAGS);
    for address in [slot, address] {
        if address != 0 {
            sweep_entry(address, sweep.walk);
        }
    }
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sweep_entry(address: u64, walk: u32) -> i32 {
    let Some(known) = find(address) else { return 0 };
    // SAFETY: it lies in a map.
    let found = unsafe { (&raw const (*known).walk).read_volatile() };
    if found != walk
        && state_of(known) & FILLING == 0
        && let Some(Key { netns, ifindex, family }) = remove(address)
    {
        debug!(&(), "namespace {} interface {} family {}: removed unseen", netns, ifindex, family);
    }
    0
}
