//! The maps, and the processor as a [`Machine`] for [`exporter_common::neighbour::protocol`].

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_NOEXIST},
    macros::map,
    maps::{Array, HashMap},
};
use exporter_common::neighbour::{
    FAMILIES, Interface, Key, Known, Slot, Tags, Totals,
    protocol::{Event, Machine, Refused, entries, interfaces},
    tag,
};
use exporter_ebpf::{Access, Copied, add, compare_exchange, exchange};

use crate::{
    kernel::{Neighbour, Place, is_there},
    recent,
};

/// Entries, each in a place that follows from its address.
#[map]
static SLOTS: Array<Slot> = Array::with_max_entries(1 << 16, 0);

/// The number of slots, which is a power of two, less one. Set by the daemon before the programs
/// are loaded.
#[unsafe(no_mangle)]
static SLOT_MASK: u32 = 0;

/// Displaced entries. The map is allocated at once: entries come and go fast, and an allocation for
/// each would take a microsecond.
#[map]
static ENTRIES: HashMap<u64, Known> = HashMap::with_max_entries(1 << 16, 0);

/// The interfaces that the elements of [`COUNTS`] are given to. The daemon maps both arrays into
/// its memory.
#[map]
pub static TAGS: Array<Tags> = Array::with_max_entries(1 << 10, BPF_F_MMAPABLE);

/// The number of elements of [`TAGS`], which is a power of two, less one. Set by the daemon as
/// `SLOT_MASK`.
#[unsafe(no_mangle)]
static GROUP_MASK: u32 = 0;

/// The interfaces.
#[map]
static COUNTS: Array<Interface> = Array::with_max_entries(1 << 13, BPF_F_MMAPABLE);

#[map]
static TOTALS: Array<Totals> = Array::with_max_entries(1, 0);

/// The totals of all interfaces.
#[inline(always)]
pub fn totals() -> Option<*mut Totals> {
    TOTALS.get_ptr_mut(0)
}

/// A member of the totals: `total!(<member>)`; 0 if there are none.
macro_rules! total {
    ($($member:tt)+) => {
        $crate::machine::totals().map_or(Default::default(), |totals| {
            // SAFETY: it lies in a map; volatile, since the daemon has programs change it.
            unsafe { (&raw const (*totals).$($member)+).read_volatile() }
        })
    };
}
pub(crate) use total;

/// The slot of that number.
#[inline(always)]
pub fn nth(number: u32) -> Option<*mut Slot> {
    SLOTS.get_ptr_mut(number)
}

/// The tag of an interface. Tables of other families than ours are not counted.
#[inline(always)]
pub fn tag_of(key: &Key) -> Option<u64> {
    let tag = tag(key);
    if tag == 0 && (key.family == FAMILIES[0].into() || key.family == FAMILIES[1].into()) {
        Running::lost();
    }
    (tag != 0).then_some(tag)
}

/// Notes that an entry was seen: if it is in a table, it must be in the map.
#[inline(always)]
pub fn see<A: Access>(n: Neighbour<A>, place: &Place) {
    if !n.is_dead()
        && let Some(tag) = tag_of(&place.key)
    {
        entries::see::<Running>(n.seen(), tag, place.device);
    }
}

/// Notes that an entry has left its table.
#[inline(always)]
pub fn leave<A: Access>(n: Neighbour<A>, place: &Place) {
    if let Some(tag) = tag_of(&place.key) {
        entries::leave::<Running>(n.seen(), tag, place.device);
    }
}

/// Counts another event of an interface.
#[inline(always)]
pub fn count(place: &Place, event: Event) {
    if let Some(tag) = tag_of(&place.key) {
        Running::count(tag, place.device, event);
    }
}

/// A static that the daemon sets before the programs are loaded.
macro_rules! set_by_the_daemon {
    ($name:ident) => {
        // SAFETY: a read of a static; volatile, since the compiler sees a zero.
        unsafe { (&raw const $name).read_volatile() }
    };
}

/// This processor, in the running kernel.
pub enum Running {}

// SAFETY: elements of arrays stay where they are, and those of the hash map until the program ends,
// though they may be given to another entry meanwhile.
unsafe impl Machine for Running {
    #[inline(always)]
    fn load(at: *mut u64) -> u64 {
        // SAFETY: the verifier checks the read.
        unsafe { at.read_volatile() }
    }

    #[inline(always)]
    fn add(at: *mut u64, n: i64) {
        // SAFETY: the protocol passes members of elements.
        unsafe { add(at, n) }
    }

    #[inline(always)]
    fn exchange(at: *mut u64, new: u64) -> u64 {
        // SAFETY: as above.
        unsafe { exchange(at, new) }
    }

    #[inline(always)]
    fn compare_exchange(at: *mut u64, old: u64, new: u64) -> u64 {
        // SAFETY: as above.
        unsafe { compare_exchange(at, old, new) }
    }

    #[inline(always)]
    fn load_half(at: *mut u32) -> u32 {
        // SAFETY: the verifier checks the read.
        unsafe { at.read_volatile() }
    }

    #[inline(always)]
    fn store_half(at: *mut u32, new: u32) {
        // SAFETY: the verifier checks the write.
        unsafe { at.write_volatile(new) }
    }

    #[inline(always)]
    fn slot(address: u64) -> Option<*mut Slot> {
        // Entries have 512 bytes.
        nth((address >> 9 ^ address >> 25) as u32 & set_by_the_daemon!(SLOT_MASK))
    }

    #[inline(always)]
    fn away(address: u64) -> Option<*mut Known> {
        ENTRIES.get_ptr_mut(address)
    }

    #[inline(always)]
    fn put_away(address: u64, known: &Known) -> Result<(), Refused> {
        /// From include/uapi/asm-generic/errno-base.h, as helpers return it.
        const EEXIST: i32 = -17;
        ENTRIES.insert(address, known, BPF_NOEXIST.into()).map_err(|errno| match errno {
            EEXIST => Refused::There,
            _ => Refused::Full,
        })
    }

    #[inline(always)]
    fn take_away(address: u64) -> bool {
        ENTRIES.remove(address).is_ok()
    }

    #[inline(always)]
    fn group_mask() -> u32 {
        set_by_the_daemon!(GROUP_MASK)
    }

    #[inline(always)]
    fn group(number: u32) -> Option<*mut Tags> {
        TAGS.get_ptr_mut(number)
    }

    #[inline(always)]
    fn interface(number: u32) -> Option<*mut Interface> {
        COUNTS.get_ptr_mut(number)
    }

    #[inline(always)]
    fn has_started() -> bool {
        total!(started) != 0
    }

    #[inline(always)]
    fn walk() -> u32 {
        total!(walk)
    }

    #[inline(always)]
    fn lost() {
        if let Some(totals) = totals() {
            // SAFETY: it lies in a map.
            unsafe { add(&raw mut (*totals).lost, 1) }
        }
    }

    #[inline(always)]
    fn crowded() {
        if let Some(totals) = totals() {
            // SAFETY: it lies in a map.
            unsafe { add(&raw mut (*totals).crowded, 1) }
        }
    }

    #[inline(always)]
    fn forget(address: u64) {
        recent::forget(address);
    }

    #[inline(always)]
    fn is_dead(address: u64) -> bool {
        Neighbour::<Copied>::new(address as *const c_void).is_dead()
    }

    #[inline(always)]
    fn is_noarp(address: u64) -> bool {
        Neighbour::<Copied>::new(address as *const c_void).is_noarp()
    }

    #[inline(always)]
    fn is_there(device: u64, tag: u64) -> bool {
        is_there(device, tag)
    }

    #[inline(always)]
    fn locate(tag: u64) -> Option<u32> {
        u32::try_from(neighbour_locate(tag)).ok()
    }

    #[inline(always)]
    fn count(tag: u64, device: u64, event: Event) {
        neighbour_count(tag, device, event as u32);
    }

    #[inline(always)]
    fn insert(seen: u64, tag: u64, device: u64) {
        neighbour_insert(seen, tag, device);
    }

    #[inline(always)]
    fn correct(seen: u64, tag: u64, device: u64) {
        neighbour_correct(seen, tag, device);
    }
}

// Functions that the linker sees, so that the verifier checks each once, not again for each call.
// They take and return numbers only.

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn neighbour_locate(tag: u64) -> i32 {
    interfaces::locate::<Running>(tag).map_or(-1, u32::cast_signed)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn neighbour_count(tag: u64, device: u64, event: u32) -> i32 {
    const EVENTS: [Event; 4] =
        [Event::Overflow, Event::Failure, Event::AddressChange, Event::Passed];
    for known in EVENTS {
        if known as u32 == event {
            interfaces::count::<Running>(tag, device, known);
        }
    }
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn neighbour_insert(seen: u64, tag: u64, device: u64) -> i32 {
    entries::insert::<Running>(seen, tag, device);
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn neighbour_correct(seen: u64, tag: u64, device: u64) -> i32 {
    entries::correct::<Running>(seen, tag, device);
    0
}
