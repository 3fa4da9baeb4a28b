//! Interfaces that come and go on the running kernel: their counts go with them.
//!
//! Needs root, as tests/live.rs does.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{
    fs,
    os::linux::fs::MetadataExt as _,
    path::Path,
    time::{Duration, Instant},
};

use exporter::host::bpf::{Counts, Health, Neighbours, Options, Runs, Sizes};
use nix::sched::CloneFlags;
use rtnetlink::LinkVeth;
use tests::{
    namespace::{enter, in_a_thread, skip},
    network::{Network, State},
};

/// The variable of the environment that makes it a failure if the machine cannot be tested on.
const REQUIRED: &str = "BPF_REQUIRED";

#[test]
fn interfaces_that_go_free_their_room_and_others_keep_their_counts() {
    in_a_namespace(|network| {
        let Some(mut neighbours) = start(Sizes::default()) else { return };
        let (others, _) = elements(&neighbours);
        let ten = || (1..=10).map(|n| [10, 0, 0, n]);
        network.set_neighbours("va", ten(), State::Permanent).unwrap();
        network.remove_neighbours("va", ten()).unwrap();
        for _ in 0..6 {
            plug(network, 100);
            neighbours.counts(0, |_, _| {}).unwrap();
            unplug(network, 100);
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
        assert!(used < others + 500, "{used} of 1200, and {others} of others");
    });
}

#[test]
fn a_map_without_room_for_the_interfaces_is_not_trusted_until_it_has_room() {
    in_a_namespace(|network| {
        // Interfaces of all namespaces take room, those of other programs, too.
        let Some(neighbours) = start(Sizes::default()) else { return };
        let (others, _) = elements(&neighbours);
        drop(neighbours);
        let interfaces = u32::try_from(others + 32).unwrap().next_power_of_two() * 2;
        // A wire has two ends, each with neighbours of IPv6.
        let wires = interfaces / 2 + 1;
        let Some(mut neighbours) = start(Sizes { interfaces, ..Sizes::default() }) else { return };
        plug(network, wires);
        let error = neighbours.counts(0, |_, _| {}).unwrap_err().to_string();
        let (_, room) = elements(&neighbours);
        let reason = format!(
            "more than {room} interfaces, each family one: see --bpf.interface-map-entries"
        );
        assert_eq!(error, reason);
        assert_eq!(neighbours.counts(0, |_, _| {}).unwrap_err().to_string(), reason, "still full");
        unplug(network, wires);
        let start = Instant::now();
        while let Err(error) = neighbours.counts(0, |_, _| {}) {
            assert!(start.elapsed() < Duration::from_secs(60), "{error}");
        }
    });
}

/// Makes `n` wires and sets them up.
fn plug(network: &Network, n: u32) {
    for n in 0..n {
        let (name, peer) = (format!("c{n}"), format!("d{n}"));
        network.add(LinkVeth::new(&name, &peer).up().build()).unwrap();
        network.up(&[&peer]).unwrap();
    }
}

/// Removes them.
fn unplug(network: &Network, n: u32) {
    for n in 0..n {
        network.remove(&format!("c{n}")).unwrap();
    }
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
fn in_a_namespace(test: fn(&Network)) {
    in_a_thread(REQUIRED, move || {
        enter(CloneFlags::CLONE_NEWNET)?;
        let network = Network::open()?;
        network.wire("va", "vb")?;
        network.address("va", [10, 0, 0, 254], 24)?;
        network.up(&["va", "vb"])?;
        test(&network);
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
