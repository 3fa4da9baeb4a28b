//! A steady scrape allocates nothing in any collector: buffers, descriptors and names are kept.

#![expect(unsafe_code, reason = "an allocator that counts")]

use exporter::{
    collectors::ALL,
    exposition::Sink,
    host::{
        Host,
        perf::{Counter, Event, Type},
    },
    testing::{fixture, flags, golden_flags},
};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// Collectors that may allocate, and the reason.
const ALLOWED: &[(&str, &str)] = &[
    ("cpu", "one list of borrowed words for cpu.info, which is off by default"),
    ("logind", "messages of D-Bus"),
    ("supervisord", "a tree of XML, of any form"),
    ("systemd", "messages of D-Bus"),
    ("textfile", "files that users write: any number, with any names"),
];

/// Counts the allocations of the thread that collects; other threads do not disturb.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
}

// SAFETY: every call is passed to the system allocator with its own arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the promises of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the promises of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the promises of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The port of an NTP server that gives each question back as its answer.
#[expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]
fn ntp_server() -> u16 {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut packet = [0; 48];
        while let Ok((_, client)) = socket.recv_from(&mut packet) {
            packet[0] = packet[0] & 0x38 | 4; // a server's mode
            packet.copy_within(40..48, 24); // its transmit time is the origin
            packet.copy_within(40..48, 32); // and the time at which the question came
            let _ = socket.send_to(&packet, client);
        }
    });
    port
}

#[test]
fn a_steady_scrape_allocates_nothing() {
    let machine = fixture("baseline");
    let mut given = golden_flags(&machine);
    given.push(format!("--collector.ntp.server-port={}", ntp_server()));
    given.push(format!("--collector.supervisord.url={}", tests::supervisord::start()));
    let software = Event { kind: Type::Software, config: 3 };
    let may_count = Counter::open(software, 0).is_ok();
    if may_count {
        given.push("--collector.perf.cpus=0".into());
        given.push("--no-collector.perf.disable-software-profilers".into());
    }
    let flags = flags(&given);
    let host = Host::new(&flags);
    let mut guilty = Vec::new();
    for spec in ALL {
        let mut collector = (spec.new)(&host, &flags).unwrap();
        let mut sink = Sink::default();
        let mut allocated = 0;
        for scrape in 1..=3 {
            sink.begin(scrape);
            let before = ALLOCATIONS.get();
            let result = collector.collect(&mut sink);
            allocated = ALLOCATIONS.get() - before;
            // A collector that fails at once would allocate nothing, and prove nothing.
            result.unwrap_or_else(|error| panic!("{}: {error}", spec.name));
            let puts = sink.families().next().is_some();
            assert!(puts || spec.name == "perf" && !may_count, "{} puts nothing", spec.name);
        }
        if allocated > 0 && ALLOWED.iter().all(|(name, _)| *name != spec.name) {
            guilty.push((spec.name, allocated));
        }
    }
    assert!(guilty.is_empty(), "allocations in the third scrape: {guilty:?}");
}
