//! The protocol of the neighbour programs, in every order of the steps of a few processors.
#![expect(unsafe_code, reason = "the protocol's memory is addressed as the kernel's is")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on panics"
)]

mod explore;
mod machine;

use std::cell::Cell;

use exporter_common::neighbour::{
    FLAGS, Known, LIVE, NOARP, PHASE,
    protocol::{Event, Machine as _, interfaces},
};

use explore::{Thread, explore};
use machine::{Memory, Model, address, tag_of};

/// Both entries have a place of their own.
type Apart = Model<false>;
/// Both entries have the same place.
type Together = Model<true>;

/// The elements that the map of entries has.
fn known(memory: &Memory) -> Vec<Known> {
    let slots = memory.slots.iter().map(|slot| slot.known).filter(|known| known.state != 0);
    let away = memory.away.iter().filter(|(address, _)| *address != 0).map(|(_, known)| *known);
    slots.chain(away).collect()
}

/// The sum over the elements of an interface.
fn sum(
    memory: &Memory,
    interface: u32,
    of: impl Fn(&exporter_common::neighbour::Counts) -> i64,
) -> i64 {
    let elements = memory.groups[0].tags.iter().zip(&memory.interfaces);
    let own = elements.filter(|(tag, _)| (*tag ^ tag_of(interface)) & !PHASE == 0);
    own.map(|(_, element)| of(&element.counts)).sum()
}

/// Checks at every end that nothing is under way, and that the counts are those of the map of
/// entries.
fn rests(memory: &Memory, interfaces: &[u32]) {
    let known = known(memory);
    for element in &memory.interfaces {
        assert_eq!(element.held, 0, "{memory:?}");
    }
    for &tag in &memory.groups[0].tags {
        assert!(tag == 0 || tag & PHASE == LIVE, "{memory:?}");
    }
    for &interface in interfaces {
        let own = known.iter().copied().filter(|known| {
            let tag = memory.groups[0].tags[known.interface as usize];
            (tag ^ tag_of(interface)) & !PHASE == 0
        });
        let (noarp, other): (Vec<Known>, Vec<Known>) =
            own.partition(|known| known.state & NOARP != 0);
        let counted = [sum(memory, interface, |c| c.noarp), sum(memory, interface, |c| c.entries)];
        let wanted = [noarp, other].map(|known| i64::try_from(known.len()).expect("a few"));
        assert_eq!(counted, wanted, "{interface}: {memory:?}");
    }
    for known in &known {
        assert_eq!(known.state & FLAGS & !NOARP, 0, "{memory:?}");
        let tag = memory.groups[0].tags[known.interface as usize];
        assert!(interfaces.iter().any(|&i| tag_of(i) == tag), "{memory:?}");
    }
    let away = memory.away.iter().filter(|(address, _)| *address != 0).count() as u64;
    assert_eq!(memory.slots.iter().map(|slot| slot.away).sum::<u64>(), away, "{memory:?}");
    assert_eq!(memory.crowded, 0);
}

/// Checks that the map has the kernel's entries in their states, unless an event was lost.
fn agrees(memory: &Memory, interfaces: &[u32], seen: &[usize]) {
    rests(memory, interfaces);
    if memory.lost > 0 {
        return;
    }
    let mut states: Vec<_> = known(memory).iter().map(|known| known.state).collect();
    states.sort_unstable();
    let alive = seen.iter().filter(|&&entry| !memory.entries[entry].is_dead);
    let wanted: Vec<_> =
        alive.map(|&entry| address(entry) | u64::from(memory.entries[entry].is_noarp)).collect();
    assert_eq!(states, wanted, "{memory:?}");
}

/// Checks that the counters, which began at zero, account for all entries beyond the `before` first
/// ones.
fn adds_up(memory: &Memory, interface: u32, before: i64) {
    if memory.lost == 0 {
        let came = sum(memory, interface, |c| c.created.cast_signed() - c.removed.cast_signed());
        assert_eq!(before + came, sum(memory, interface, |c| c.entries), "{memory:?}");
    }
}

/// Gives the element of that number to an interface, whose device was seen last.
const fn give(memory: &mut Memory, number: usize, interface: u32, device: u64) {
    memory.groups[0].tags[number] = tag_of(interface);
    memory.interfaces[number].device = device;
}

/// Puts an entry into the map, counted at the element of that number.
fn put(memory: &mut Memory, slot: usize, entry: usize, number: usize) {
    let state = address(entry) | u64::from(memory.entries[entry].is_noarp);
    memory.slots[slot].known = Known { state, interface: number as u32, walk: 1 };
    if state & NOARP == 0 {
        memory.interfaces[number].counts.entries += 1;
    } else {
        memory.interfaces[number].counts.noarp += 1;
    }
}

fn thread(run: impl Fn() + 'static) -> Thread {
    Box::new(run)
}

fn prune(numbers: std::ops::Range<u32>) -> Thread {
    thread(move || {
        for number in numbers.clone() {
            interfaces::prune::<Apart>(number);
        }
    })
}

/// Runs `threads` in every order, and prints the number of states.
#[expect(clippy::print_stdout, reason = "output for people who run the test")]
fn every_order(start: &Memory, threads: &[Thread], end: impl Fn(&Memory)) -> usize {
    let (ends, lost) = (Cell::new(0_u32), Cell::new(0_u32));
    let states = explore(start, threads, &|memory| {
        ends.set(ends.get() + 1);
        lost.set(lost.get() + u32::from(memory.lost > 0));
        end(memory);
    });
    println!("{states} states, {} ends, {} with a loss", ends.get(), lost.get());
    assert!(ends.get() > 1, "there was one order only");
    lost.get() as usize
}

#[test]
fn an_entry_seen_while_it_leaves_is_counted_once() {
    let mut start = Memory::new();
    start.devices[1] = (true, tag_of(1));
    give(&mut start, 0, 1, 1);
    let threads = [
        thread(|| Apart::see(0, 1, 1)),
        thread(|| Apart::see(0, 1, 1)),
        thread(|| Apart::die(0, 1, 1)),
    ];
    let lost = every_order(&start, &threads, |memory| {
        agrees(memory, &[1], &[0]);
        adds_up(memory, 1, 0);
        let created = sum(memory, 1, |c| c.created.cast_signed());
        assert!(memory.lost > 0 || created == 1, "{memory:?}");
    });
    assert_eq!(lost, 0);
}

#[test]
fn a_change_to_noarp_and_back_is_counted_in_every_order() {
    for was_noarp in [false, true] {
        let mut start = Memory::new();
        start.devices[1] = (true, tag_of(1));
        start.entries[0].is_noarp = was_noarp;
        give(&mut start, 0, 1, 1);
        put(&mut start, 0, 0, 0);
        let before = i64::from(!was_noarp);
        let threads = [
            thread(move || Apart::turn(0, !was_noarp, 1, 1)),
            thread(move || Apart::turn(0, was_noarp, 1, 1)),
            thread(|| Apart::die(0, 1, 1)),
        ];
        every_order(&start, &threads, |memory| {
            agrees(memory, &[1], &[0]);
            adds_up(memory, 1, before);
        });
    }
}

#[test]
fn entries_of_one_place_are_both_in_the_map() {
    let mut start = Memory::new();
    start.devices[1] = (true, tag_of(1));
    give(&mut start, 0, 1, 1);
    let both = |other: fn()| {
        let threads =
            [thread(|| Together::see(0, 1, 1)), thread(|| Together::see(1, 1, 1)), thread(other)];
        every_order(&start, &threads, |memory| {
            agrees(memory, &[1], &[0, 1]);
            adds_up(memory, 1, 0);
        });
    };
    both(|| Together::die(0, 1, 1));
    both(|| Together::see(1, 1, 1));
}

#[test]
fn a_displaced_entry_is_found_while_its_place_is_left() {
    let mut start = Memory::new();
    start.devices[1] = (true, tag_of(1));
    give(&mut start, 0, 1, 1);
    put(&mut start, 0, 0, 0);
    let threads = [
        thread(|| Together::die(0, 1, 1)),
        thread(|| {
            Together::see(1, 1, 1);
            Together::see(1, 1, 1);
        }),
        thread(|| Together::see(1, 1, 1)),
    ];
    every_order(&start, &threads, |memory| {
        agrees(memory, &[1], &[0, 1]);
        adds_up(memory, 1, 1);
    });
}

#[test]
fn counts_are_right_though_interfaces_are_taken_for_gone() {
    // No device is there, so that only elements in use are kept.
    let mut start = Memory::new();
    give(&mut start, 0, 1, 1);
    let with = |others: [fn(); 2], seen: &[usize]| {
        let [one, two] = others.map(thread);
        every_order(&start, &[prune(0..1), one, two], |memory| agrees(memory, &[1, 2], seen));
    };
    with([|| Apart::see(0, 1, 1), || Apart::count(tag_of(2), 2, Event::Overflow)], &[0]);
    with([|| Apart::see(0, 1, 1), || Apart::die(0, 1, 1)], &[0]);
}

#[test]
fn an_element_is_not_taken_from_an_entry_that_changes_or_goes() {
    let mut start = Memory::new();
    give(&mut start, 0, 1, 1);
    put(&mut start, 0, 0, 0);
    let with = |others: [fn(); 2], seen: &[usize]| {
        let [one, two] = others.map(thread);
        every_order(&start, &[prune(0..1), one, two], |memory| agrees(memory, &[1, 2], seen));
    };
    with([|| Apart::turn(0, true, 1, 1), || Apart::die(0, 1, 1)], &[0]);
    with([|| Apart::see(1, 2, 2), || Apart::die(0, 1, 1)], &[0, 1]);
}

#[test]
fn no_event_of_an_interface_that_is_there_is_lost() {
    // Its index was that of another device before.
    let mut start = Memory::new();
    start.devices[2] = (true, tag_of(1));
    give(&mut start, 0, 1, 1);
    let threads = [
        thread(|| Apart::count(tag_of(1), 2, Event::Overflow)),
        thread(|| Apart::count(tag_of(1), 2, Event::Failure)),
        prune(0..1),
    ];
    every_order(&start, &threads, |memory| {
        rests(memory, &[1]);
        let events = [
            sum(memory, 1, |c| c.overflows.cast_signed()),
            sum(memory, 1, |c| c.failures.cast_signed()),
        ];
        assert!(memory.lost > 0 || events == [1, 1], "{memory:?}");
    });
}

#[test]
fn an_interface_with_two_elements_counts_their_sum() {
    let mut start = Memory::new();
    give(&mut start, 0, 2, 2);
    start.devices[1] = (true, tag_of(1));
    let twice = Cell::new(0);
    let event = || thread(|| Apart::count(tag_of(1), 1, Event::Overflow));
    every_order(&start, &[event(), event(), prune(0..1)], |memory| {
        rests(memory, &[1, 2]);
        assert_eq!(sum(memory, 1, |c| c.overflows.cast_signed()), 2, "{memory:?}");
        let elements = memory.groups[0].tags.iter().filter(|&&tag| tag == tag_of(1)).count();
        twice.set(twice.get() + usize::from(elements == 2));
    });
    assert!(twice.get() > 0, "no order gives two elements");
}

#[test]
fn an_entry_whose_end_was_missed_makes_way_for_another_at_its_address() {
    let mut start = Memory::new();
    start.devices[2] = (true, tag_of(2));
    give(&mut start, 0, 1, 1);
    give(&mut start, 1, 2, 2);
    put(&mut start, 0, 0, 0);
    let threads = [thread(|| Apart::see(0, 2, 2)), thread(|| Apart::see(0, 2, 2)), prune(0..1)];
    every_order(&start, &threads, |memory| agrees(memory, &[1, 2], &[0]));
}
