//! The map of interfaces, by tag.
//!
//! An interface has a choice of two groups of tags, so that the map takes interfaces until it is
//! nearly full.

use super::{Event, Machine, at};
use crate::neighbour::{CLEARING, GOING, Interface, LIVE, PHASE, Tags, WAYS};

/// The two groups one of which may have an interface.
#[inline(always)]
#[must_use]
pub const fn groups(tag: u64, mask: u32) -> [u32; 2] {
    let one = (tag ^ tag >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let two = (one ^ one >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    [(one >> 40) as u32 & mask, (two >> 40) as u32 & mask]
}

/// Whether a tag in the map is that of this interface, and the element counts it.
#[inline(always)]
const fn is_of(found: u64, tag: u64) -> bool {
    found & !PHASE == tag & !PHASE && (found & PHASE == LIVE || found & PHASE == GOING)
}

/// The address of the tag of the element of that number.
#[inline(always)]
fn tag_at<M: Machine + ?Sized>(number: u32) -> Option<*mut u64> {
    let group = M::group(number / WAYS)?;
    let tags: *mut u64 = at!(group: Tags.tags);
    Some(tags.wrapping_add((number % WAYS) as usize))
}

/// The tag of the element of that number; 0 if the element has none.
#[inline(always)]
pub fn tag_of<M: Machine + ?Sized>(number: u32) -> u64 {
    tag_at::<M>(number).map_or(0, |at| M::load(at))
}

/// Whether the element of that number counts the interface of this tag.
#[inline(always)]
pub fn is_at<M: Machine + ?Sized>(number: u32, tag: u64) -> bool {
    is_of(tag_of::<M>(number), tag)
}

/// The number of an interface's element. An interface without one is given an empty element; `None`
/// if no element is empty.
#[inline(always)]
pub fn locate<M: Machine + ?Sized>(tag: u64) -> Option<u32> {
    let groups = groups(tag, M::group_mask());
    for group in groups {
        let tags: *mut u64 = M::group(group).map(|group| at!(group: Tags.tags))?;
        for i in 0..WAYS {
            if is_of(M::load(tags.wrapping_add(i as usize)), tag) {
                return Some(group * WAYS + i);
            }
        }
    }
    for group in groups {
        let tags: *mut u64 = M::group(group).map(|group| at!(group: Tags.tags))?;
        for i in 0..WAYS {
            let at = tags.wrapping_add(i as usize);
            if M::load(at) == 0 {
                let before = M::compare_exchange(at, 0, tag);
                if before == 0 || is_of(before, tag) {
                    return Some(group * WAYS + i);
                }
            }
        }
    }
    None
}

/// Holds the element of that number, unless it belongs to another interface. To be released.
#[inline(always)]
pub fn hold_at<M: Machine + ?Sized>(number: u32, tag: u64) -> Option<*mut Interface> {
    let (at, element) = (tag_at::<M>(number)?, M::interface(number)?);
    M::add(at!(element: Interface.held), 1);
    let found = M::load(at);
    let going = tag & !PHASE | GOING;
    if found == tag || found == going && is_of(M::compare_exchange(at, going, tag), tag) {
        return Some(element);
    }
    release::<M>(element);
    None
}

/// Releases an element, which its holder must not touch again.
#[inline(always)]
pub fn release<M: Machine + ?Sized>(element: *mut Interface) {
    M::add(at!(element: Interface.held), -1);
}

/// Holds the element of an interface, and returns it with its number. To be released.
#[inline(always)]
pub fn hold<M: Machine + ?Sized>(tag: u64, device: u64) -> Option<(u32, *mut Interface)> {
    /// How often an element may be given to another interface between two steps.
    const TRIES: u32 = 2;
    for _ in 0..TRIES {
        let Some(number) = M::locate(tag) else {
            M::crowded();
            return None;
        };
        if let Some(element) = hold_at::<M>(number, tag) {
            if M::load(at!(element: Interface.device)) != device {
                M::exchange(at!(element: Interface.device), device);
            }
            return Some((number, element));
        }
    }
    M::lost();
    None
}

/// Counts an event of an interface.
#[inline(always)]
pub fn count<M: Machine + ?Sized>(tag: u64, device: u64, event: Event) {
    let Some((_, element)) = hold::<M>(tag, device) else { return };
    match event {
        Event::Overflow => M::add(at!(element: Interface.counts.overflows), 1),
        Event::Failure => M::add(at!(element: Interface.counts.failures), 1),
        Event::AddressChange => M::add(at!(element: Interface.counts.address_changes), 1),
        Event::Passed => {
            M::add(at!(element: Interface.counts.created), 1);
            M::add(at!(element: Interface.counts.removed), 1);
        }
    }
    release::<M>(element);
}

/// Takes the element of that number from its interface, where the interface is gone and the element
/// is not in use; says whether it did. Only one program at a time may do so.
#[inline(always)]
pub fn prune<M: Machine + ?Sized>(number: u32) -> bool {
    let Some(at) = tag_at::<M>(number) else { return false };
    let Some(element) = M::interface(number) else { return false };
    let tag = M::load(at);
    // The first look changes nothing, since most interfaces are there.
    if tag & PHASE != LIVE || !is_over::<M>(element, tag) {
        return false;
    }
    let going = tag & !PHASE | GOING;
    if M::compare_exchange(at, tag, going) != tag {
        return false;
    }
    if !is_over::<M>(element, tag)
        || M::compare_exchange(at, going, tag & !PHASE | CLEARING) != going
    {
        M::compare_exchange(at, going, tag);
        return false;
    }
    // `entries` and `noarp` are zero. `held` is changed only by programs that hold the element or
    // try to.
    M::exchange(at!(element: Interface.counts.created), 0);
    M::exchange(at!(element: Interface.counts.removed), 0);
    M::exchange(at!(element: Interface.counts.overflows), 0);
    M::exchange(at!(element: Interface.counts.failures), 0);
    M::exchange(at!(element: Interface.counts.address_changes), 0);
    M::exchange(at, 0);
    true
}

/// Whether an element is not in use, and its interface gone.
#[inline(always)]
fn is_over<M: Machine + ?Sized>(element: *mut Interface, tag: u64) -> bool {
    M::load(at!(element: Interface.held)) == 0
        && M::load(at!(element: Interface.counts.entries)) == 0
        && M::load(at!(element: Interface.counts.noarp)) == 0
        && !M::is_there(M::load(at!(element: Interface.device)), tag)
}
