//! A machine for the protocol: memory, and a kernel with two entries.

use std::cell::UnsafeCell;

use bytemuck::Zeroable as _;
use exporter_common::neighbour::{
    FLAGS, Interface, Key, Known, NOARP, Slot, Tags,
    protocol::{Machine, Refused, entries},
    tag,
};

use crate::explore::{Place, Use, step};

/// The memory that the threads share.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Memory {
    pub(crate) slots: [Slot; 2],
    /// The hash map of displaced entries: an address, 0 if there is none, and its element.
    pub(crate) away: [(u64, Known); 2],
    pub(crate) groups: [Tags; 1],
    /// As many elements as the tests use; the tags of the others stay zero.
    pub(crate) interfaces: [Interface; USED],
    pub(crate) entries: [Entry; 2],
    /// Whether each device is registered, and the interface of the tag.
    pub(crate) devices: [(bool, u64); 3],
    pub(crate) lost: u64,
    pub(crate) crowded: u64,
}

/// An entry in the kernel's own memory.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Entry {
    pub(crate) is_dead: bool,
    pub(crate) is_noarp: bool,
}

// Places that have no address of their own: the hash map, the daemon's totals, and the kernel's
// devices and entries.
const AWAY: Place = 0;
const LOST: Place = 1;
const CROWDED: Place = 2;
const DEVICES: Place = 3;
const DEAD: [Place; 2] = [4, 5];
const KIND: [Place; 2] = [6, 7];

/// Elements of the map of interfaces that the tests use.
const USED: usize = 3;

struct Shared(UnsafeCell<Option<Memory>>);

thread_local! {
    /// At one address as long as the test runs: pointers are results of steps.
    static MEMORY: Shared = const { Shared(UnsafeCell::new(None)) };
}

/// The address of a part of the memory.
fn at<T>(of: impl FnOnce(*mut Memory) -> *mut T) -> *mut T {
    MEMORY.with(|memory| {
        // SAFETY: one OS thread runs all threads of the model, and keeps no reference.
        let memory = unsafe { (*memory.0.get()).as_mut().expect("a memory") };
        of(&raw mut *memory)
    })
}

/// Uses the memory in one step.
pub(crate) fn with<R>(action: impl FnOnce(&mut Memory) -> R) -> R {
    // SAFETY: as above.
    action(unsafe { &mut *at(|memory| memory) })
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self {
            slots: [Slot::zeroed(); 2],
            away: [(0, Known::zeroed()); 2],
            groups: [Tags::zeroed(); 1],
            interfaces: [Interface::zeroed(); USED],
            entries: [Entry::default(); 2],
            devices: [(false, 0); 3],
            lost: 0,
            crowded: 0,
        }
    }

    /// Makes this memory the one that the threads share.
    pub(crate) fn install(&self) {
        // SAFETY: only results of steps point into the memory between two steps, and they are used
        // within a run.
        MEMORY.with(|memory| unsafe { *memory.0.get() = Some(*self) });
    }

    pub(crate) fn installed() -> Self {
        with(|memory| *memory)
    }
}

/// The address of the entry of that number; both have the same place in the map where the test
/// says so.
pub(crate) const fn address(entry: usize) -> u64 {
    (entry as u64 + 1) << 9
}

/// The entry at an address.
const fn entry(address: u64) -> usize {
    ((address & !FLAGS) >> 9) as usize - 1
}

/// The tag of the interface of that number.
pub(crate) const fn tag_of(interface: u32) -> u64 {
    tag(&Key { netns: 0xf000_0000, ifindex: interface, family: 2 })
}

/// The model, where both entries have the same place if `COLLIDE`.
pub(crate) struct Model<const COLLIDE: bool>;

// SAFETY: the memory stays where it is as long as the test runs.
unsafe impl<const COLLIDE: bool> Machine for Model<COLLIDE> {
    fn load(at: *mut u64) -> u64 {
        // SAFETY: a number of the memory, and no other thread runs.
        step(at.addr(), Use::Read, || unsafe { *at })
    }

    fn add(at: *mut u64, n: i64) {
        step(at.addr(), Use::Add, || {
            // SAFETY: as above.
            unsafe { *at = (*at).wrapping_add_signed(n) }
            0
        });
    }

    fn exchange(at: *mut u64, new: u64) -> u64 {
        // SAFETY: as above.
        step(at.addr(), Use::Change, || unsafe { at.replace(new) })
    }

    fn compare_exchange(at: *mut u64, old: u64, new: u64) -> u64 {
        step(at.addr(), Use::Change, || {
            // SAFETY: as above.
            let found = unsafe { *at };
            if found == old {
                // SAFETY: as above.
                unsafe { *at = new }
            }
            found
        })
    }

    fn load_half(at: *mut u32) -> u32 {
        // SAFETY: as above.
        step(at.addr(), Use::Read, || unsafe { *at }.into()) as u32
    }

    fn store_half(at: *mut u32, new: u32) {
        step(at.addr(), Use::Change, || {
            // SAFETY: as above.
            unsafe { *at = new }
            0
        });
    }

    fn slot(address: u64) -> Option<*mut Slot> {
        let number = if COLLIDE { 0 } else { entry(address) };
        // SAFETY: as above.
        Some(at(|memory| unsafe { &raw mut (*memory).slots[number] }))
    }

    fn away(address: u64) -> Option<*mut Known> {
        let found = step(AWAY, Use::Read, || {
            with(|memory| memory.away.iter().position(|&(of, _)| of == address))
                .map_or(0, |number| number as u64 + 1)
        });
        let number = (found as usize).checked_sub(1)?;
        // SAFETY: as above.
        Some(at(|memory| unsafe { &raw mut (*memory).away[number].1 }))
    }

    fn put_away(address: u64, known: &Known) -> Result<(), Refused> {
        let result = step(AWAY, Use::Change, || {
            with(|memory| {
                if memory.away.iter().any(|&(of, _)| of == address) {
                    return 1;
                }
                let Some(free) = memory.away.iter_mut().find(|(of, _)| *of == 0) else { return 2 };
                *free = (address, *known);
                0
            })
        });
        match result {
            0 => Ok(()),
            1 => Err(Refused::There),
            _ => Err(Refused::Full),
        }
    }

    fn take_away(address: u64) -> bool {
        step(AWAY, Use::Change, || {
            with(|memory| {
                // A removed element keeps its content, as in the kernel.
                let found = memory.away.iter_mut().find(|(of, _)| *of == address);
                found.map_or(0, |(of, _)| {
                    *of = 0;
                    1
                })
            })
        }) != 0
    }

    fn group_mask() -> u32 {
        0
    }

    fn group(_: u32) -> Option<*mut Tags> {
        // SAFETY: as above.
        Some(at(|memory| unsafe { &raw mut (*memory).groups[0] }))
    }

    fn interface(number: u32) -> Option<*mut Interface> {
        // SAFETY: as above.
        Some(at(|memory| unsafe { &raw mut (*memory).interfaces[number as usize] }))
    }

    fn has_started() -> bool {
        true
    }

    fn walk() -> u32 {
        1
    }

    fn lost() {
        step(LOST, Use::Add, || {
            with(|memory| memory.lost += 1);
            0
        });
    }

    fn crowded() {
        step(CROWDED, Use::Add, || {
            with(|memory| memory.crowded += 1);
            0
        });
    }

    fn forget(_: u64) {}

    fn is_dead(address: u64) -> bool {
        step(DEAD[entry(address)], Use::Read, || {
            with(|memory| memory.entries[entry(address)].is_dead).into()
        }) != 0
    }

    fn is_noarp(address: u64) -> bool {
        step(KIND[entry(address)], Use::Read, || {
            with(|memory| memory.entries[entry(address)].is_noarp).into()
        }) != 0
    }

    fn is_there(device: u64, tag: u64) -> bool {
        step(DEVICES, Use::Read, || {
            with(|memory| memory.devices[device as usize] == (true, tag)).into()
        }) != 0
    }
}

impl<const COLLIDE: bool> Model<COLLIDE> {
    /// A tracepoint that tells of an entry at an interface and a device.
    pub(crate) fn see(entry: usize, interface: u32, device: u64) {
        if !Self::is_dead(address(entry)) {
            entries::see::<Self>(Self::seen(entry), tag_of(interface), device);
        }
    }

    /// An entry dies, and the kernel tells of its end.
    pub(crate) fn die(entry: usize, interface: u32, device: u64) {
        step(DEAD[entry], Use::Change, || {
            with(|memory| memory.entries[entry].is_dead = true);
            0
        });
        entries::leave::<Self>(Self::seen(entry), tag_of(interface), device);
    }

    /// An entry becomes `NUD_NOARP` or ceases to be, and the kernel tells of the change.
    pub(crate) fn turn(entry: usize, is_noarp: bool, interface: u32, device: u64) {
        step(KIND[entry], Use::Change, || {
            with(|memory| memory.entries[entry].is_noarp = is_noarp);
            0
        });
        Self::see(entry, interface, device);
    }

    fn seen(entry: usize) -> u64 {
        let address = address(entry);
        if Self::is_noarp(address) { address | NOARP } else { address }
    }
}
