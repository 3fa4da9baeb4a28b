//! The map of the entries that are known, by address.
//!
//! An entry's slot follows from its address, so that entries which the kernel has allocated one
//! after another lie side by side, and a processor that has come by one has the next at hand. The
//! kernel's own hash map scatters them, and takes two locks besides; it has only those whose slot
//! another has taken.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    macros::map,
    maps::{Array, HashMap},
};
use exporter_common::neighbour::{FILLING, FLAGS, GONE, Key, Known, NOARP, Slot};
use exporter_ebpf::{compare_exchange, exchange};

use crate::entries::add;

#[map]
static SLOTS: Array<Slot> = Array::with_max_entries(1 << 16, 0);

/// One less than there are slots, a power of two. Set by the daemon before the programs are loaded.
#[unsafe(no_mangle)]
pub static SLOT_MASK: u32 = 0;

/// Entries whose slot was taken. They come and go too fast to be allocated one by one, which would
/// cost a microsecond.
#[map]
static ENTRIES: HashMap<u64, Known> = HashMap::with_max_entries(1 << 16, 0);

/// From include/uapi/asm-generic/errno-base.h, as helpers return it.
const EEXIST: i32 = -17;

#[inline(always)]
fn slot(address: u64) -> Option<*mut Slot> {
    // SAFETY: a read of a static; volatile, since the daemon sets what the compiler sees as zero.
    let mask = unsafe { (&raw const SLOT_MASK).read_volatile() };
    // Entries have 512 bytes.
    SLOTS.get_ptr_mut((address >> 9 ^ address >> 25) as u32 & mask)
}

/// What is in a slot, whoever's it is.
#[inline(always)]
fn content(slot: *mut Slot) -> *mut Known {
    // SAFETY: it lies in the map.
    unsafe { &raw mut (*slot).known }
}

/// Whether an entry that wanted this slot is elsewhere.
#[inline(always)]
fn has_away(slot: *mut Slot) -> bool {
    // SAFETY: it lies in the map.
    unsafe { (&raw const (*slot).away).read_volatile() != 0 }
}

/// The state of an element, as it is now.
#[inline(always)]
pub fn state_of(known: *mut Known) -> u64 {
    // SAFETY: it lies in a map.
    unsafe { (&raw const (*known).state).read_volatile() }
}

/// Changes the state of an element where it is `old`; returns what it was.
#[inline(always)]
pub fn change(known: *mut Known, old: u64, new: u64) -> u64 {
    // SAFETY: it lies in a map.
    unsafe { compare_exchange(&raw mut (*known).state, old, new) }
}

/// Sets the state of an element that nobody else changes, after all that was done before.
#[inline(always)]
fn set(known: *mut Known, state: u64) {
    // SAFETY: it lies in a map.
    unsafe { exchange(&raw mut (*known).state, state) };
}

/// The element for an entry.
#[inline(always)]
pub fn find(address: u64) -> Option<*mut Known> {
    find_in(slot(address)?, address).map(|(known, _)| known)
}

/// The element for an entry whose slot this is, and whether it is elsewhere.
#[inline(always)]
fn find_in(slot: *mut Slot, address: u64) -> Option<(*mut Known, bool)> {
    if state_of(content(slot)) & !FLAGS == address {
        Some((content(slot), false))
    } else if has_away(slot) {
        ENTRIES.get_ptr_mut(address).map(|known| (known, true))
    } else {
        None
    }
}

/// What has become of an entry that was to be put in.
pub enum Put {
    New,
    /// Another was faster.
    There,
    /// There is no room, or another is still taking it out.
    Not,
}

/// Puts an entry into the map.
#[inline(always)]
pub fn put(state: u64, key: &Key, walk: u32) -> Put {
    let address = state & !FLAGS;
    let Some(slot) = slot(address) else { return Put::Not };
    let own = content(slot);
    let before = change(own, 0, address | FILLING);
    if before == 0 {
        // SAFETY: it lies in the map.
        unsafe {
            (&raw mut (*own).key).write_volatile(*key);
            (&raw mut (*own).walk).write_volatile(walk);
        }
        let is_away = has_away(slot) && ENTRIES.get_ptr(address).is_some();
        set(own, if is_away { 0 } else { state });
        return if is_away { Put::There } else { Put::New };
    }
    if before & !FLAGS == address {
        return if before & GONE == 0 { Put::There } else { Put::Not };
    }
    // Said first: who gets the slot meanwhile is to look here.
    add!(slot.away, 1);
    let put = match ENTRIES.insert(address, Known { state, key: *key, walk }, BPF_NOEXIST.into()) {
        Ok(()) if state_of(own) & !FLAGS != address => return Put::New,
        Ok(()) => {
            // Somebody did, and may have looked here and withdrawn, too.
            let _ = ENTRIES.remove(address);
            Put::Not
        }
        // One that could not be taken out altogether is for the daemon to remove.
        Err(EEXIST) => match ENTRIES.get_ptr_mut(address) {
            Some(known) if state_of(known) & GONE == 0 => Put::There,
            _ => Put::Not,
        },
        Err(_) => Put::Not,
    };
    add!(slot.away, -1);
    put
}

/// What was taken out of the map.
pub struct Taken {
    pub key: Key,
    pub was_noarp: bool,
    /// Whether it could not be taken out altogether.
    pub is_stuck: bool,
}

/// Takes an entry out of the map. Nobody else is given it.
#[inline(always)]
pub fn take(address: u64) -> Option<Taken> {
    let slot = slot(address)?;
    let (known, is_away) = find_in(slot, address)?;
    // Its state may change meanwhile; but not twice in a few nanoseconds.
    let was_noarp = if change(known, address, address | GONE) == address {
        false
    } else if change(known, address | NOARP, address | NOARP | GONE) == address | NOARP {
        true
    } else {
        return None;
    };
    // SAFETY: it lies in a map.
    let key = unsafe { (&raw const (*known).key).read_volatile() };
    let mut is_stuck = false;
    if is_away {
        is_stuck = ENTRIES.remove(address).is_err();
        add!(slot.away, -1);
    } else {
        set(known, 0);
    }
    Some(Taken { key, was_noarp, is_stuck })
}

/// The entry in the slot of that number, whoever's it is.
#[inline(always)]
pub fn nth(number: u32) -> Option<*mut Known> {
    SLOTS.get_ptr_mut(number).map(content)
}
