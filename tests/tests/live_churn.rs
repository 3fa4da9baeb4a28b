//! Interfaces that come and go on the running kernel: their counts go with them.
//!
//! Needs root and `ip`, as tests/live.rs does.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{
    fmt::Write as _,
    fs,
    os::linux::fs::MetadataExt as _,
    path::Path,
    time::{Duration, Instant},
};

use exporter::host::bpf::{Counts, Health, Neighbours, Options, Runs, Sizes};
use nix::sched::CloneFlags;
use tests::namespace::{batch, enter, in_a_thread, ip, skip};

/// The variable of the environment that makes it a failure if the machine cannot be tested on.
const REQUIRED: &str = "BPF_REQUIRED";

#[test]
fn interfaces_that_go_free_their_room_and_others_keep_their_counts() {
    in_a_namespace(|| {
        let Some(mut neighbours) = start(Sizes::default()) else { return };
        let mut lines = String::new();
        for what in ["add", "del"] {
            for n in 1..=10 {
                let rest =
                    if what == "add" { " lladdr 02:00:00:00:00:01 nud permanent" } else { "" };
                writeln!(lines, "neigh {what} 10.0.0.{n} dev va{rest}").unwrap();
            }
        }
        batch(&lines);
        for _ in 0..6 {
            batch(&pairs("add", 100));
            neighbours.counts(0, |_, _| {}).unwrap();
            batch(&pairs("del", 100));
        }
        let own = fs::metadata("/proc/thread-self/ns/net").unwrap().st_ino();
        let mut of_va = None::<Counts>;
        let each = |key: exporter::host::bpf::Key, counts: &Counts| {
            if u64::from(key.netns) == own && key.family == 2 && counts.created > 0 {
                of_va = Some(*counts);
            }
        };
        neighbours.counts(0, each).unwrap();
        let counts = of_va.unwrap();
        assert_eq!((counts.entries, counts.created, counts.removed), (0, 10, 10), "{counts:?}");
        // Each pair has used two elements, in the family IPv6 alone.
        let (used, _) = elements(&neighbours);
        assert!(used < 500, "{used} of 1200");
    });
}

#[test]
fn a_map_without_room_for_the_interfaces_is_not_trusted_until_it_has_room() {
    in_a_namespace(|| {
        let sizes = Sizes { interfaces: 64, ..Sizes::default() };
        let Some(mut neighbours) = start(sizes) else { return };
        batch(&pairs("add", 100));
        let error = neighbours.counts(0, |_, _| {}).unwrap_err().to_string();
        let (_, room) = elements(&neighbours);
        let reason = format!(
            "more than {room} interfaces, each family one: see --bpf.interface-map-entries"
        );
        assert_eq!(error, reason);
        assert_eq!(neighbours.counts(0, |_, _| {}).unwrap_err().to_string(), reason, "still full");
        batch(&pairs("del", 100));
        let start = Instant::now();
        while let Err(error) = neighbours.counts(0, |_, _| {}) {
            assert!(start.elapsed() < Duration::from_secs(60), "{error}");
        }
    });
}

/// Lines for `ip -batch` that make `n` wires and set them up, or remove them.
fn pairs(what: &str, n: u32) -> String {
    (0..n).fold(String::new(), |mut lines, n| {
        if what == "add" {
            writeln!(lines, "link add c{n} up type veth peer name d{n}").unwrap();
            writeln!(lines, "link set d{n} up").unwrap();
        } else {
            writeln!(lines, "link del c{n}").unwrap();
        }
        lines
    })
}

/// The number of elements of the map of interfaces that are in use, and the number of all.
fn elements(neighbours: &Neighbours) -> (u64, u64) {
    struct Elements(u64, u64);
    impl Health for Elements {
        fn program(&mut self, _: &'static str, _: bool, _: Runs) {}
        fn map(&mut self, name: &'static str, elements: u64, room: u64) {
            if name == "neighbour_interfaces" {
                *self = Self(elements, room);
            }
        }
        fn resyncs(&mut self, _: &'static str, _: &'static str, _: u64) {}
        fn audit(&mut self, _: &'static str, _: i64) {}
        fn keeper(&mut self, _: bool) {}
    }
    let mut elements = Elements(0, 0);
    neighbours.health(&mut elements).unwrap();
    (elements.0, elements.1)
}

/// A network namespace with the interface `va`.
fn in_a_namespace(test: fn()) {
    in_a_thread(REQUIRED, move || {
        enter(CloneFlags::CLONE_NEWNET)?;
        for command in [
            "link add va type veth peer name vb",
            "addr add 10.0.0.254/24 dev va",
            "link set va up",
            "link set vb up",
        ] {
            ip(command)?;
        }
        test();
        Ok(())
    });
}

/// Starts the programs, for the namespace of this thread.
fn start(sizes: Sizes) -> Option<Neighbours> {
    let netns = fs::metadata("/proc/thread-self/ns/net").unwrap().st_ino();
    let netns = u32::try_from(netns).unwrap();
    let btf = Path::new("/sys/kernel/btf/vmlinux");
    let options = Options { btf, netns, sizes };
    Neighbours::start(&options).map_err(|reason| skip(REQUIRED, &reason.to_string())).ok()
}
