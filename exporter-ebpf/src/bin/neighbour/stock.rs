//! Programs for entries that no tracepoint tells of: those made and not used, those older than the
//! programs, and those whose end was missed; and for interfaces that are gone.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::bpf_get_current_task,
    macros::{map, raw_tracepoint},
    maps::Array,
    programs::RawTracePointContext,
};
use exporter_common::neighbour::{
    FILLING, FLAGS, STEPS, Table, Tags, WAYS,
    protocol::{
        entries::remove,
        interfaces::prune as prune_one,
        known::{content, find, state_of},
    },
};
use exporter_ebpf::{Copied, Pointer, for_each};

use crate::{
    kernel::{Neighbour, offset},
    machine::{Running, TAGS, nth, see, total, totals},
    recent::{self, RECENT},
};

/// A map to loop with: `for_each!` calls a function once for each element, since `bpf_loop` came
/// only with Linux 5.17. The elements hold the addresses that `sweep` looks at.
#[map]
static BATCH: Array<u64> = Array::with_max_entries(STEPS, 0);

/// Notes an entry that was made, and looks for the entry that was noted in the same place before.
#[inline(always)]
pub fn note(address: u64) {
    if let Some(before) = recent::note(address) {
        see_at(before);
    }
}

/// Puts the entry at an address that was noted into the map, if it is in a table; says whether the
/// map has it then.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn see_at(address: u64) -> i32 {
    let n = Neighbour::<Copied>::new(address as *const c_void);
    let tables = [total!(tables[0].address), total!(tables[1].address)];
    // Should the entry leave its table now, its memory is kept until this program has ended (RCU).
    if n.is_live(tables) {
        see(n, &n.place());
    }
    find::<Running>(address).is_some().into()
}

/// Finds the tables, and puts recently made entries into the map where they are in a table. Its
/// arguments become `started` and `walk` of the totals.
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
    to.most = u64::from(table.member::<u32>(offset!(table_most)));
    let hash = table.follow(offset!(table_nht));
    to.hash = hash.0 as u64;
    to.buckets = 1 << (hash.member::<u32>(offset!(hash_shift)) & 31);
}

extern "C" fn settle_page(_: *const c_void, _: *const u32, page: *mut recent::Page) -> u64 {
    recent::look(page, |address| see_at(address) != 0);
    0
}

/// The position of a walk.
struct Position {
    heads: u64,
    bucket: u64,
    buckets: u64,
    /// The link to the next entry; 0 at the end of a bucket.
    link: u64,
    /// The number of the walk.
    walk: u32,
}

/// The number of buckets that a step looks at together, to pass them if all are empty: a table that
/// was large once has hundreds of thousands of buckets for good. Every table has as many, or a
/// multiple.
const ABREAST: u64 = 8;

impl Position {
    /// The heads of so many buckets, from the current one on.
    #[inline(always)]
    fn heads<T: Copy + Default>(&self) -> T {
        let head = self.heads.wrapping_add(self.bucket * 8);
        Pointer::<Copied>::new(head as *const c_void).member(0)
    }

    /// The link to the first entry of the bucket.
    #[inline(always)]
    fn first(&self) -> u64 {
        self.heads()
    }

    /// Whether this bucket and those that are looked at with it are empty.
    #[inline(always)]
    fn are_empty(&self) -> bool {
        let heads: [u64; ABREAST as usize] = self.heads();
        heads.iter().fold(0, |all, head| all | head) == 0
    }
}

/// Puts entries of a table into the map: [`STEPS`] steps from a bucket on, whole buckets only.
///
/// A walk sees every entry that is in the table from its beginning to its end, unless the table
/// grows meanwhile.
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
        walk: total!(walk),
    };
    // Read here and not in `step`: before Linux 6.8 the verifier takes a value that is constant at
    // the first call of a function for constant at every call, and drops the branches for others.
    position.link = position.first();
    for_each!(BATCH, step, (&raw mut position).cast());
    // SAFETY: it lies in the map.
    unsafe { (*totals).walked = position.bucket };
    0
}

extern "C" fn step(_: *const c_void, _: *const u32, _: *const u64, position: *mut Position) -> u64 {
    // SAFETY: the kernel passes on the pointer that `walk` gave it.
    let position = unsafe { &mut *position };
    if position.link == 0 {
        position.bucket += 1;
        if position.bucket >= position.buckets {
            return 1;
        }
        if position.bucket % ABREAST == 0 && position.are_empty() {
            position.bucket += ABREAST - 1;
            return 0;
        }
        position.link = position.first();
    } else {
        let n = Neighbour::behind(position.link);
        see_at(n.address());
        if let Some(known) = find::<Running>(n.address()) {
            // SAFETY: it lies in a map.
            unsafe { (&raw mut (*known).walk).write_volatile(position.walk) };
        }
        position.link = n.next();
    }
    0
}

/// Takes entries out of the map that the last walk has not found: those in [`STEPS`] slots from
/// `slot` on, and those whose addresses are in [`BATCH`].
#[raw_tracepoint]
fn sweep(ctx: RawTracePointContext) -> i32 {
    let mut sweep = Sweep { slot: ctx.arg(0), walk: total!(walk) };
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
    // SAFETY: the kernel passes an element of the map and the pointer of `sweep`.
    let (number, address, sweep) = unsafe { (*number, *address, &*sweep) };
    let slot = nth(sweep.slot.wrapping_add(number))
        .map_or(0, |slot| state_of::<Running>(content(slot)) & !FLAGS);
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
    let Some(known) = find::<Running>(address) else { return 0 };
    // SAFETY: it lies in a map.
    let found = unsafe { (&raw const (*known).walk).read_volatile() };
    if found == walk || state_of::<Running>(known) & FILLING != 0 {
        return 0;
    }
    remove::<Running>(address).into()
}

/// Frees the elements of interfaces that are gone.
#[raw_tracepoint]
fn prune(_: RawTracePointContext) -> i32 {
    for_each!(TAGS, prune_group, core::ptr::null_mut());
    0
}

extern "C" fn prune_group(_: *const c_void, group: *const u32, tags: *const Tags) -> u64 {
    for i in 0..WAYS {
        // SAFETY: the kernel passes an element of the map and its number.
        let (group, tag) =
            unsafe { (*group, tags.cast::<u64>().wrapping_add(i as usize).read_volatile()) };
        if tag != 0 {
            prune_element(group * WAYS + i);
        }
    }
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn prune_element(number: u32) -> i32 {
    prune_one::<Running>(number).into()
}
