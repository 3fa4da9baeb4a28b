//! Entries that were made recently.

use aya_ebpf::{macros::map, maps::Array};
use exporter_ebpf::{compare_exchange, exchange};

/// Addresses of entries that were made recently, each in a place that follows from the address,
/// until they are in the map of entries. Some entries never come into a table, and others come
/// without being seen there: so each is looked for before another takes its place, and before the
/// daemon reads.
#[map]
pub static RECENT: Array<Page> = Array::with_max_entries(PAGES, 0);
const PAGES: u32 = 64;

/// As many places as one call of a function can look at.
pub type Page = [u64; PLACES];
const PLACES: usize = 16;

/// The place in which an entry is noted.
#[inline(always)]
fn place(address: u64) -> Option<*mut u64> {
    // Entries have some hundred bytes.
    let hash = address >> 8 ^ address >> 18;
    let page = RECENT.get_ptr_mut(hash as u32 % PAGES)?;
    let number = (hash >> PAGES.trailing_zeros()) as usize % PLACES;
    Some(page.cast::<u64>().wrapping_add(number))
}

/// Notes an entry; returns the one that was noted in its place, which is to be looked for.
#[inline(always)]
pub fn note(address: u64) -> Option<u64> {
    // SAFETY: it lies in the map.
    let before = unsafe { exchange(place(address)?, address) };
    (before != 0).then_some(before)
}

/// Takes the note of an entry back, so that nothing looks for it any more.
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

/// Looks at every entry of a page, and forgets those for which `is_seen` says that they are in the
/// map.
#[inline(always)]
pub fn look(page: *mut Page, is_seen: impl Fn(u64) -> bool) {
    for number in 0..PLACES {
        let place = page.cast::<u64>().wrapping_add(number);
        // SAFETY: the kernel passes an element of the map.
        let noted = unsafe { place.read_volatile() };
        if noted != 0 && is_seen(noted) {
            // SAFETY: as above.
            unsafe { compare_exchange(place, noted, 0) };
        }
    }
}
