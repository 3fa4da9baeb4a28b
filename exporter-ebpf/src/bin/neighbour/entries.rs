//! The counts, which follow the map of entries.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    macros::map,
    maps::{Array, HashMap},
};
use exporter_common::neighbour::{Counts, FILLING, Key, Known, NOARP, Totals};
use exporter_ebpf::{Access, Copied};

use crate::{
    kernel::Neighbour,
    known::{Put, Taken, change, find, put, state_of, take},
    stock,
};

/// The neighbours of each interface.
#[map]
static COUNTS: HashMap<Key, Counts> = HashMap::with_max_entries(1 << 14, BPF_F_NO_PREALLOC);

#[map]
static TOTALS: Array<Totals> = Array::with_max_entries(1, 0);

/// Adds to what is counted: `add!(<pointer>.<member>, <number>)`.
macro_rules! add {
    ($at:ident.$member:ident, $n:expr) => {{
        // SAFETY: it lies in a map.
        unsafe { exporter_ebpf::add((&raw mut (*$at).$member).cast(), $n) }
    }};
}
pub(crate) use add;

/// What concerns no single interface.
#[inline(always)]
pub fn totals() -> Option<*mut Totals> {
    TOTALS.get_ptr_mut(0)
}

/// An event cannot be recorded, most likely since a map is full: the daemon is to take stock.
#[inline(always)]
pub fn lost() {
    if let Some(totals) = totals() {
        add!(totals.lost, 1);
    }
}

/// The counts of an interface, new ones where there are none.
#[inline(never)]
pub fn counts(key: &Key) -> Option<*mut Counts> {
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

/// An element has come into the map (1) or gone from it (-1).
#[inline(always)]
fn count(counts: *mut Counts, is_noarp: bool, n: i64) {
    if is_noarp {
        add!(counts.noarp, n);
    } else {
        add!(counts.entries, n);
    }
}

/// What [`Known::state`] is for an entry.
#[inline(always)]
fn state<A: Access>(n: Neighbour<A>, address: u64) -> u64 {
    if n.is_noarp() { address | NOARP } else { address }
}

/// An entry has been seen: where it is in a table, it is in the map.
#[inline(always)]
pub fn see<A: Access>(n: Neighbour<A>, key: &Key) {
    if n.is_dead() {
        return;
    }
    let address = n.address();
    let seen = state(n, address);
    let Key { netns, ifindex, family } = *key;
    let Some(known) = find(address) else {
        insert(seen, netns, ifindex, family);
        return;
    };
    // SAFETY: it lies in the map.
    if state_of(known) != seen || unsafe { (*known).key } != *key {
        correct(seen, netns, ifindex, family);
    }
}

/// What the map knows of an entry is not what was seen of it.
///
/// A function that the linker sees, as the next, is one that the verifier looks at once, not for
/// each way that leads to it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn correct(seen: u64, netns: u32, ifindex: u32, family: u32) -> i32 {
    let address = seen & !NOARP;
    let key = Key { netns, ifindex, family };
    let Some(known) = find(address) else { return 0 };
    if state_of(known) & FILLING != 0 {
        // Who puts it in looks again.
        return 0;
    }
    // SAFETY: it lies in the map.
    if unsafe { (*known).key } == key {
        turn(known, seen, &key);
        settle(Neighbour::new(address as *const c_void), known, seen, &key);
    } else if remove(address).is_some() {
        // The end of another entry that was there had gone unseen.
        insert(seen, netns, ifindex, family);
    } else {
        lost();
    }
    0
}

/// The element of the map for an entry is what the entry is now. Another may have changed it since
/// it was seen, and who was told of that may have been faster.
#[inline(always)]
fn settle(n: Neighbour<Copied>, known: *mut Known, seen: u64, key: &Key) {
    let address = seen & !NOARP;
    let now = state(n, address);
    if now != seen {
        turn(known, now, key);
    }
    if (state_of(known) != now || state(n, address) != now) && !n.is_dead() {
        lost();
    }
}

/// An element of the map becomes `NUD_NOARP`, or ceases to be, unless it is so.
#[inline(always)]
fn turn(known: *mut Known, to: u64, key: &Key) {
    if change(known, to ^ NOARP, to) == to ^ NOARP
        && let Some(counts) = counts(key)
    {
        if to & NOARP == 0 {
            add!(counts.entries, 1);
            add!(counts.created, 1);
            add!(counts.noarp, -1);
        } else {
            add!(counts.entries, -1);
            add!(counts.removed, 1);
            add!(counts.noarp, 1);
        }
    }
}

/// Puts an entry that is in a table into the map.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn insert(seen: u64, netns: u32, ifindex: u32, family: u32) -> i32 {
    let address = seen & !NOARP;
    let key = Key { netns, ifindex, family };
    let n = Neighbour::<Copied>::new(address as *const c_void);
    let (Some(totals), Some(counts)) = (totals(), counts(&key)) else { return 0 };
    // SAFETY: it lies in the map.
    let (started, walk) = unsafe { ((*totals).started, (*totals).walk) };
    match put(seen, &key, walk) {
        Put::New => {}
        Put::There => return 0,
        Put::Not => {
            lost();
            return 0;
        }
    }
    let is_noarp = seen & NOARP != 0;
    count(counts, is_noarp, 1);
    if n.is_dead()
        && let Some(taken) = take(address)
    {
        // Told of already, or to be told of as one that was never seen.
        count(counts, taken.was_noarp, -1);
        return 0;
    }
    if !is_noarp && started != 0 {
        add!(counts.created, 1);
    }
    stock::forget(address);
    if state(n, address) != seen
        && let Some(known) = find(address)
    {
        settle(n, known, seen, &key);
    }
    0
}

/// Takes an entry out of the map, and out of the counts; says where it was.
#[inline(always)]
pub fn remove(address: u64) -> Option<Key> {
    let Taken { key, was_noarp, is_stuck } = take(address)?;
    if is_stuck {
        lost();
    }
    if let Some(counts) = counts(&key) {
        count(counts, was_noarp, -1);
        if !was_noarp {
            add!(counts.removed, 1);
        }
    }
    Some(key)
}

/// An entry has left its table.
#[inline(always)]
pub fn leave<A: Access>(n: Neighbour<A>, key: &Key) {
    let address = n.address();
    if remove(address).is_some() {
        return;
    }
    // It came and went between two looks.
    stock::forget(address);
    if !n.is_noarp()
        && let Some(totals) = totals()
        // SAFETY: it lies in the map.
        && unsafe { (*totals).started } != 0
        && let Some(counts) = counts(key)
    {
        add!(counts.created, 1);
        add!(counts.removed, 1);
    }
}
