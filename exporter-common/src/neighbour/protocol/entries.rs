//! Entries as they are seen, change and leave, and the counts that follow the map of entries.

use super::{
    Event, Machine, at,
    interfaces::{hold, hold_at, is_at, release},
    known::{Put, Taken, change, find, interface_of, put, state_of, take},
};
use crate::neighbour::{FILLING, Interface, Known, NOARP};

/// Counts an element that has come into the map of entries (`n` is 1) or gone from it (-1).
#[inline(always)]
fn count<M: Machine + ?Sized>(element: *mut Interface, is_noarp: bool, n: i64) {
    if is_noarp {
        M::add(at!(element: Interface.counts.noarp), n);
    } else {
        M::add(at!(element: Interface.counts.entries), n);
    }
}

/// The state that an element of the map of entries is to have.
#[inline(always)]
fn wanted<M: Machine + ?Sized>(address: u64) -> u64 {
    if M::is_noarp(address) { address | NOARP } else { address }
}

/// Notes that an entry was seen in its table, in the state `seen`: it must be in the map.
#[inline(always)]
pub fn see<M: Machine + ?Sized>(seen: u64, tag: u64, device: u64) {
    let Some(known) = find::<M>(seen & !NOARP) else {
        M::insert(seen, tag, device);
        return;
    };
    if state_of::<M>(known) != seen || !is_at::<M>(interface_of::<M>(known), tag) {
        M::correct(seen, tag, device);
    }
}

/// Corrects an entry that is in the map with another state than was seen, or another interface.
#[inline(always)]
pub fn correct<M: Machine + ?Sized>(seen: u64, tag: u64, device: u64) {
    let address = seen & !NOARP;
    let Some(known) = find::<M>(address) else { return };
    if state_of::<M>(known) & FILLING != 0 {
        // The program that fills the element looks at the entry again afterwards.
        return;
    }
    if is_at::<M>(interface_of::<M>(known), tag) {
        turn::<M>(known, seen, tag);
        settle::<M>(known, seen, tag);
    } else if remove::<M>(address) {
        // The map had another entry of this address, whose end was missed.
        M::insert(seen, tag, device);
    } else {
        M::lost();
    }
}

/// Gives an entry's element the state that the entry has now. The entry may have changed since it
/// was seen, and the program that the kernel told of the change may have changed the element
/// already.
#[inline(always)]
fn settle<M: Machine + ?Sized>(known: *mut Known, seen: u64, tag: u64) {
    let address = seen & !NOARP;
    let now = wanted::<M>(address);
    if now != seen {
        turn::<M>(known, now, tag);
    }
    if (state_of::<M>(known) != now || wanted::<M>(address) != now) && !M::is_dead(address) {
        M::lost();
    }
}

/// Makes an element NOARP or live, as `to` says, unless it is so already.
#[inline(always)]
fn turn<M: Machine + ?Sized>(known: *mut Known, to: u64, tag: u64) {
    // The interface's element is held, since the entry may be taken out before its change is
    // counted.
    let Some(element) = hold_at::<M>(interface_of::<M>(known), tag) else { return };
    if change::<M>(known, to ^ NOARP, to) == to ^ NOARP {
        if to & NOARP == 0 {
            M::add(at!(element: Interface.counts.entries), 1);
            M::add(at!(element: Interface.counts.created), 1);
            M::add(at!(element: Interface.counts.noarp), -1);
        } else {
            M::add(at!(element: Interface.counts.noarp), 1);
            M::add(at!(element: Interface.counts.removed), 1);
            M::add(at!(element: Interface.counts.entries), -1);
        }
    }
    release::<M>(element);
}

/// Puts an entry that is in a table into the map.
#[inline(always)]
pub fn insert<M: Machine + ?Sized>(seen: u64, tag: u64, device: u64) {
    let address = seen & !NOARP;
    let has_started = M::has_started();
    let Some((number, element)) = hold::<M>(tag, device) else { return };
    match put::<M>(seen, number, M::walk()) {
        Put::New => {
            let is_noarp = seen & NOARP != 0;
            count::<M>(element, is_noarp, 1);
            if M::is_dead(address)
                && let Some(taken) = take::<M>(address)
            {
                // Its end was told already, or will be told as that of an entry that is not in the
                // map. The counters make up for a change that was counted meanwhile.
                if taken.was_noarp && !is_noarp && has_started {
                    M::add(at!(element: Interface.counts.created), 1);
                } else if is_noarp && !taken.was_noarp {
                    M::add(at!(element: Interface.counts.removed), 1);
                }
                uncount::<M>(&taken);
            } else {
                if !is_noarp && has_started {
                    M::add(at!(element: Interface.counts.created), 1);
                }
                M::forget(address);
                if wanted::<M>(address) != seen
                    && let Some(known) = find::<M>(address)
                {
                    settle::<M>(known, seen, tag);
                }
            }
        }
        Put::There => {}
        Put::Not => {
            // An entry that is dead need not be in the map: another program is taking it out.
            if !M::is_dead(address) {
                M::lost();
            }
        }
    }
    release::<M>(element);
}

/// Takes an entry out of the map and out of the counts; says whether the map had it.
#[inline(always)]
pub fn remove<M: Machine + ?Sized>(address: u64) -> bool {
    let Some(taken) = take::<M>(address) else { return false };
    if taken.is_stuck {
        M::lost();
    }
    if !taken.was_noarp
        && let Some(element) = M::interface(taken.interface)
    {
        M::add(at!(element: Interface.counts.removed), 1);
    }
    uncount::<M>(&taken);
    true
}

/// Subtracts an entry that was taken out of the map. The element of its interface must not be
/// touched afterwards: it may belong to another interface.
#[inline(always)]
fn uncount<M: Machine + ?Sized>(taken: &Taken) {
    if let Some(element) = M::interface(taken.interface) {
        count::<M>(element, taken.was_noarp, -1);
    }
}

/// Notes that an entry has left its table, in the state `seen`.
#[inline(always)]
pub fn leave<M: Machine + ?Sized>(seen: u64, tag: u64, device: u64) {
    let address = seen & !NOARP;
    if remove::<M>(address) {
        return;
    }
    // The entry came and went without being seen in its table.
    M::forget(address);
    if seen & NOARP == 0 && M::has_started() {
        M::count(tag, device, Event::Passed);
    }
}
