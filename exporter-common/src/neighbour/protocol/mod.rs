//! How entries come into the map and leave it, and how counts follow, on all processors at once.
//!
//! The programs in the kernel and the tests in user space run the same code; [`Machine`] has the
//! memory and the steps below it. Every change of shared memory is one step that is ordered with
//! the steps before and after it, and no step waits: a program may have interrupted the program
//! that it would wait for.
//!
//! # An element of the map of entries
//!
//! `A` is the address of the entry, `N` is [`NOARP`](super::NOARP) or nothing.
//!
//! | state | name | changes to another state |
//! |---|---|---|
//! | `0` | empty | [`put`](known::put), to filling |
//! | `A FILLING` | filling | only the program that filled it: to live, or to empty where the map has the entry elsewhere |
//! | `A` | live | a change to `NUD_NOARP`, to NOARP; [`take`](known::take), to going |
//! | `A NOARP` | NOARP | a change from `NUD_NOARP`, to live; [`take`](known::take), to going |
//! | `A N GONE` | going | only the program that took it: to empty |
//!
//! Each change is a compare-and-exchange, so that one program alone makes it and counts it: the
//! program that makes an element live or NOARP adds one, the program that makes it going subtracts
//! one, and the program that changes `N` does both. A program that finds an element filling leaves
//! it to the program that fills it, which looks at the entry again afterwards.
//!
//! Two entries may have the same place. Then the second one is displaced: it is in a hash map of
//! the kernel, where its state begins with live. The place counts its displaced entries, so that a
//! search goes on to the hash map only where there are some. Two programs may put one entry into
//! its place and into the hash map at once: each looks for the other's element after it has made
//! its own visible, and at least one withdraws.
//!
//! # An element of the map of interfaces
//!
//! `K` is the interface, by [`tag`](super::tag).
//!
//! | tag | name | changes to another state |
//! |---|---|---|
//! | `0` | empty | [`locate`](interfaces::locate), to live: the counts are zero already |
//! | `K LIVE` | live | [`prune`](interfaces::prune), to going |
//! | `K GOING` | going | a program that counts an event or an entry, back to live; [`prune`](interfaces::prune), back to live where the element is in use or the interface still there, else to clearing |
//! | `K CLEARING` | clearing | [`prune`](interfaces::prune), which alone may set the counts to zero, to empty |
//!
//! An element may be given to another interface at any time unless it is in use. It is in use while
//! an entry is counted there, and while a program holds it: `held` is raised first, and then the
//! tag is read. Where the tag is that of another interface by then, `held` is lowered and nothing
//! else was touched. `prune` goes the other way round: it sets the tag first, and then reads
//! `held`. So at least one of the two sees the other. `prune` reads `held` before `entries` and
//! `noarp`: without a holder both only fall, and stay at zero.
//!
//! Therefore no count is lost even if an interface that is there is taken for gone: only its
//! counters start again.
//!
//! An element emptied between another program's search and its step from empty to live may give an
//! interface two elements. Both are right: the interface's counts are their sum.

#![expect(unsafe_code, reason = "a machine promises that its pointers are valid")]
#![expect(clippy::inline_always, reason = "the verifier follows a pointer's type into no call")]

pub mod entries;
pub mod interfaces;
pub mod known;

use super::{Interface, Known, Slot, Tags};

/// Events of an interface that change none of its entries in the map.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// An entry was refused.
    Overflow,
    /// A resolution failed.
    Failure,
    /// A link-layer address took the place of another.
    AddressChange,
    /// An entry came and went without having been in the map.
    Passed,
}

/// The base that the protocol runs on: the maps, the processor's steps, and the kernel's entries.
///
/// # Safety
///
/// A pointer that an implementation gives out is valid for reads and writes as long as the program
/// runs.
pub unsafe trait Machine {
    /// Reads a number.
    fn load(at: *mut u64) -> u64;
    /// Adds to a number.
    fn add(at: *mut u64, n: i64);
    /// Puts a number and returns the one that was there.
    fn exchange(at: *mut u64, new: u64) -> u64;
    /// Puts a number where `old` was; returns the number that was there.
    fn compare_exchange(at: *mut u64, old: u64, new: u64) -> u64;
    /// Reads a number that changes only while the element is filled.
    fn load_half(at: *mut u32) -> u32;
    /// Puts such a number.
    fn store_half(at: *mut u32, new: u32);

    /// The place of an entry.
    fn slot(address: u64) -> Option<*mut Slot>;
    /// The element of a displaced entry.
    fn away(address: u64) -> Option<*mut Known>;
    /// Puts a displaced entry into the hash map.
    fn put_away(address: u64, known: &Known) -> Result<(), Refused>;
    /// Takes a displaced entry out of the hash map; says whether it is out.
    fn take_away(address: u64) -> bool;
    /// The number of groups of tags, which is a power of two, less one.
    fn group_mask() -> u32;
    /// The tags of a group.
    fn group(number: u32) -> Option<*mut Tags>;
    /// The element of that number.
    fn interface(number: u32) -> Option<*mut Interface>;

    /// Whether all entries that are older than the programs are in the map.
    fn has_started() -> bool;
    /// Number of the walk that runs or ran last.
    fn walk() -> u32;
    /// Tells the daemon that an event was not recorded.
    fn lost();
    /// Tells the daemon that an event was not recorded since the map of interfaces is full.
    fn crowded();
    /// Takes a note of an entry back, so that nothing looks for it any more.
    fn forget(address: u64);

    /// Whether an entry is out of its table, or not yet in it.
    fn is_dead(address: u64) -> bool;
    /// Whether an entry is `NUD_NOARP`.
    fn is_noarp(address: u64) -> bool;
    /// Whether the device at this address is registered, and the interface of this tag.
    fn is_there(device: u64, tag: u64) -> bool;

    // Functions that the verifier must check once, not again for each call.

    /// [`interfaces::locate`]
    #[inline(always)]
    fn locate(tag: u64) -> Option<u32> {
        interfaces::locate::<Self>(tag)
    }
    /// [`interfaces::count`]
    #[inline(always)]
    fn count(tag: u64, device: u64, event: Event) {
        interfaces::count::<Self>(tag, device, event);
    }
    /// [`entries::insert`]
    #[inline(always)]
    fn insert(seen: u64, tag: u64, device: u64) {
        entries::insert::<Self>(seen, tag, device);
    }
    /// [`entries::correct`]
    #[inline(always)]
    fn correct(seen: u64, tag: u64, device: u64) {
        entries::correct::<Self>(seen, tag, device);
    }
}

/// The reason why the hash map does not take a displaced entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refused {
    /// The map has the entry already.
    There,
    /// The map is full, or another reason.
    Full,
}

/// The address of a member of an element: `at!(<pointer>: <type>.<member>)`.
macro_rules! at {
    ($pointer:ident : $of:ident . $($member:tt)+) => {
        $pointer.wrapping_byte_add(core::mem::offset_of!($of, $($member)+)).cast()
    };
}
use at;
