//! The map of entries, by address.
//!
//! An entry's place follows from its address, so that entries which the kernel has allocated one
//! after another lie side by side, and a processor that has read one has the next in its cache. A
//! hash map of the kernel scatters entries, and takes two locks besides; only displaced entries are
//! kept in one.

use super::{Machine, Refused, at};
use crate::neighbour::{FILLING, FLAGS, GONE, Known, NOARP, Slot};

/// The element that lies in a place, which may be that of any entry.
#[inline(always)]
#[must_use]
pub const fn content(slot: *mut Slot) -> *mut Known {
    at!(slot: Slot.known)
}

/// Whether an entry of this place is displaced.
#[inline(always)]
fn has_away<M: Machine + ?Sized>(slot: *mut Slot) -> bool {
    M::load(at!(slot: Slot.away)) != 0
}

/// The state of an element.
#[inline(always)]
pub fn state_of<M: Machine + ?Sized>(known: *mut Known) -> u64 {
    M::load(at!(known: Known.state))
}

/// The number of the element that counts an entry.
#[inline(always)]
pub fn interface_of<M: Machine + ?Sized>(known: *mut Known) -> u32 {
    M::load_half(at!(known: Known.interface))
}

/// Changes the state of an element where it is `old`; returns the state before.
#[inline(always)]
pub fn change<M: Machine + ?Sized>(known: *mut Known, old: u64, new: u64) -> u64 {
    M::compare_exchange(at!(known: Known.state), old, new)
}

/// The element of an entry.
#[inline(always)]
pub fn find<M: Machine + ?Sized>(address: u64) -> Option<*mut Known> {
    find_in::<M>(M::slot(address)?, address).map(|(known, _)| known)
}

/// The element of an entry that has this place, and whether the entry is displaced.
#[inline(always)]
fn find_in<M: Machine + ?Sized>(slot: *mut Slot, address: u64) -> Option<(*mut Known, bool)> {
    if state_of::<M>(content(slot)) & !FLAGS == address {
        Some((content(slot), false))
    } else if has_away::<M>(slot) {
        M::away(address).map(|known| (known, true))
    } else {
        None
    }
}

/// The outcome of putting an entry into the map.
pub enum Put {
    /// The entry was put into the map.
    New,
    /// Another program has put the entry into the map.
    There,
    /// There is no room, or another program is still taking the entry out.
    Not,
}

/// Puts an entry into the map, to be counted at that `interface`.
#[inline(always)]
pub fn put<M: Machine + ?Sized>(state: u64, interface: u32, walk: u32) -> Put {
    let address = state & !FLAGS;
    let Some(slot) = M::slot(address) else { return Put::Not };
    let own = content(slot);
    let before = change::<M>(own, 0, address | FILLING);
    if before == 0 {
        M::store_half(at!(own: Known.interface), interface);
        M::store_half(at!(own: Known.walk), walk);
        let is_away = has_away::<M>(slot) && M::away(address).is_some();
        M::exchange(at!(own: Known.state), if is_away { 0 } else { state });
        return if is_away { Put::There } else { Put::New };
    }
    if before & !FLAGS == address {
        return if before & GONE == 0 { Put::There } else { Put::Not };
    }
    // `away` is raised first: a program that is given the place meanwhile must look in the hash
    // map.
    M::add(at!(slot: Slot.away), 1);
    let put = match M::put_away(address, &Known { state, interface, walk }) {
        Ok(()) if state_of::<M>(own) & !FLAGS != address => return Put::New,
        Ok(()) => {
            // Another program was given the place for this entry, and may have found this element
            // and withdrawn as well.
            let _ = M::take_away(address);
            Put::Not
        }
        // An element that is stuck in the hash map is removed by the daemon.
        Err(Refused::There) => match M::away(address) {
            Some(known) if state_of::<M>(known) & GONE == 0 => Put::There,
            _ => Put::Not,
        },
        Err(Refused::Full) => Put::Not,
    };
    M::add(at!(slot: Slot.away), -1);
    put
}

/// An entry that was taken out of the map.
pub struct Taken {
    /// Number of the element that counts the entry.
    pub interface: u32,
    /// Whether the entry is counted as `NUD_NOARP`.
    pub was_noarp: bool,
    /// Whether its element is stuck in the hash map, which refused to remove it.
    pub is_stuck: bool,
}

/// Makes an element going; says whether it was NOARP. `None` if the element is not that of the
/// entry, or another program fills or takes it.
#[inline(always)]
fn claim<M: Machine + ?Sized>(known: *mut Known, address: u64) -> Option<bool> {
    /// How often an entry may change between two steps.
    const TRIES: u32 = 4;
    for _ in 0..TRIES {
        let found = state_of::<M>(known);
        if found & !NOARP != address {
            return None;
        }
        if change::<M>(known, found, found | GONE) == found {
            return Some(found & NOARP != 0);
        }
    }
    M::lost();
    None
}

/// Takes an entry out of the map; one program alone can take it.
#[inline(always)]
pub fn take<M: Machine + ?Sized>(address: u64) -> Option<Taken> {
    let slot = M::slot(address)?;
    let (known, is_away) = find_in::<M>(slot, address)?;
    let was_noarp = claim::<M>(known, address)?;
    let interface = interface_of::<M>(known);
    let mut is_stuck = false;
    if is_away {
        is_stuck = !M::take_away(address);
        M::add(at!(slot: Slot.away), -1);
    } else {
        M::exchange(at!(known: Known.state), 0);
    }
    Some(Taken { interface, was_noarp, is_stuck })
}
