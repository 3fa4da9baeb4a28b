//! Neighbours come and go in many ways and places at once; at every rest each interface's count
//! must be that of a dump. In a kernel that has just booted the hash tables grow first, once in the
//! kernel's life: meanwhile neither the programs nor the netlink source may tell more entries than
//! there are.
//!
//! Needs root, as tests/live.rs does. Four rests, and more until `STRESS_EVENTS` entries
//! have come or gone. The thresholds of the tables are those of the whole machine: they are
//! raised, lowered for a second to make the tables overflow, and put back.
#![expect(clippy::disallowed_methods, reason = "opens the running kernel's files")]
#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]

mod place;

use std::{
    net::{IpAddr, UdpSocket},
    path::Path,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use exporter::host::bpf::{FAMILIES, Health, Neighbours, Options, Runs, Sizes};
use nix::{sched::CloneFlags, unistd::Pid};
use place::{Ask, Entries, OWN, Place, ends, hash, netns};
use rtnetlink::LinkVeth;
use tests::{
    namespace::{self, enter, skip},
    network::{Family, Network, State},
    thresholds::Thresholds,
};

/// The variable of the environment that makes it a failure if the machine cannot be tested on.
const REQUIRED: &str = "BPF_REQUIRED";

#[test]
fn counts_are_those_of_a_dump_at_every_rest() {
    let wanted: u64 = std::env::var("STRESS_EVENTS").map_or(0, |n| n.parse().unwrap());
    let _turn = namespace::Turn::take();
    let Some(thresholds) = Thresholds::raise() else {
        return skip(
            REQUIRED,
            "the thresholds cannot be set: not root, or not the initial namespace",
        );
    };
    if let Err(reason) = enter(CloneFlags::CLONE_NEWNET) {
        return skip(REQUIRED, &reason);
    }
    let mut neighbours = start();
    let places: Vec<Place> = (0..3).map(|_| Place::new()).collect();
    grow(neighbours.as_mut(), &places[0]);
    let Some(mut neighbours) = neighbours else { return };
    compare(&mut neighbours, &places[..1], "grown");

    let churn = Churn::start(&places);
    let (begin, mut events, mut rests) = (Instant::now(), 0, 0);
    while rests < 4 || events < wanted {
        let until = Instant::now() + Duration::from_millis(1500);
        while Instant::now() < until {
            let _ = neighbours.counts(0, |_, _| {});
            thread::sleep(Duration::from_millis(20));
        }
        if rests % 2 == 1 {
            // The programs are dropped in the middle, as after a kill.
            let more = sum(&mut neighbours);
            assert!(more > 0, "the churn has ended after {events} events");
            events += more;
            drop(neighbours);
            neighbours = start().unwrap();
        }
        let rest = churn.lock.write().unwrap();
        compare(&mut neighbours, &places, &format!("rest {rests}"));
        drop(rest);
        rests += 1;
        if rests % 10 == 0 {
            println!("{rests} rests, {events} events before the last start");
        }
    }
    churn.stop();
    compare(&mut neighbours, &places, "the end");
    events += sum(&mut neighbours);
    overflow(&mut neighbours, &places[0], &thresholds);
    drop(thresholds);
    audit(&mut neighbours);
    println!("{events} events, {rests} rests, {:?}", begin.elapsed());
}

fn start() -> Option<Neighbours> {
    let netns = netns();
    let btf = Path::new("/sys/kernel/btf/vmlinux");
    // Room from the start: growth has tests of its own.
    let sizes = Sizes { expected: 1 << 18, ..Sizes::default() };
    let options = Options { btf, netns, sizes };
    Neighbours::start(&options).map_err(|reason| skip(REQUIRED, &reason.to_string())).ok()
}

/// Entries that came or went.
fn sum(neighbours: &mut Neighbours) -> u64 {
    let mut sum = 0;
    let _ = neighbours.counts(0, |_, counts| sum += counts.created + counts.removed);
    sum
}

/// The programs' counts of the namespaces.
fn counted(neighbours: &mut Neighbours, places: &[Place]) -> Entries {
    let mut entries = Entries::new();
    let counted = neighbours.counts(0, |key, counts| {
        let n = u64::try_from(counts.entries).unwrap();
        if n > 0 && places.iter().any(|place| place.netns == key.netns) {
            entries.insert((key.netns, key.ifindex, key.family), n);
        }
    });
    counted.unwrap();
    entries
}

/// Compares the counts with dumps of all namespaces.
#[track_caller]
fn compare(neighbours: &mut Neighbours, places: &[Place], when: &str) {
    let start = Instant::now();
    loop {
        let before: Entries = places.iter().flat_map(|place| place.ask(Ask::Whole)).collect();
        let counted = counted(neighbours, places);
        if counted == before {
            return;
        }
        // Timers and the kernel's own cleaning go on.
        assert!(
            start.elapsed() < Duration::from_secs(15),
            "{when}: counted {counted:?}, dumped {before:?}"
        );
    }
}

/// Checks that a count lies between those of the dumps before and after it, while entries only
/// come.
fn grow(mut neighbours: Option<&mut Neighbours>, place: &Place) {
    let buckets = || FAMILIES.map(|family| hash(family).0 + 1);
    let before = buckets();
    let looks = Arc::new(AtomicU32::new(0));
    let looked = Arc::clone(&looks);
    let adding = place.spawn(move |network| {
        for thousand in 0..20 {
            // However quick the machine is, there are looks while the tables fill.
            while looked.load(Relaxed) < thousand / 4 {
                thread::sleep(Duration::from_millis(1));
            }
            let numbers = thousand * 1000..(thousand + 1) * 1000;
            network.set_neighbours("va", addresses(numbers), State::Permanent).unwrap();
        }
    });
    let sum = |entries: &Entries| entries.values().sum::<u64>();
    let places = std::slice::from_ref(place);
    while !adding.is_finished() {
        let before = sum(&place.ask(Ask::Whole));
        let programs = neighbours.as_mut().map(|neighbours| sum(&counted(neighbours, places)));
        let netlink = sum(&place.ask(Ask::Netlink));
        let after = sum(&place.ask(Ask::Whole));
        for (source, told) in [("programs", programs), ("netlink", Some(netlink))] {
            let is_right = told.is_none_or(|told| (before..=after).contains(&told));
            assert!(is_right, "{source}: {before}, {told:?}, {after}");
        }
        looks.fetch_add(1, Relaxed);
    }
    adding.join().unwrap();
    let looks = looks.load(Relaxed);
    assert!(looks > 3);
    println!("{looks} looks while the hash tables went from {before:?} to {:?} buckets", buckets());
}

/// Makes a table overflow: the refusals of all interfaces must add up to the kernel's own count.
fn overflow(neighbours: &mut Neighbours, place: &Place, thresholds: &Thresholds) {
    place.run(|network| {
        for family in [Family::Inet, Family::Inet6] {
            let _ = network.flush("va", family, &[]);
        }
    });
    let mut refused = |family: u32| {
        let mut sum = 0;
        let counted = neighbours.counts(0, |key, counts| {
            if key.family == family {
                sum += counts.overflows;
            }
        });
        counted.unwrap();
        sum
    };
    let (before, kernel) = (refused(2), thresholds.table_fulls());
    thresholds.set([100, 150, 200]);
    place.run(|_| send(0..2000));
    thresholds.set(Thresholds::HIGH);
    let (counted, wanted) = (refused(2) - before, thresholds.table_fulls() - kernel);
    assert!(wanted > 0, "the table has not overflown");
    assert_eq!(counted, wanted, "overflows");
    println!("{counted} overflows");
}

/// Waits until no difference to the tables' own sizes is left.
fn audit(neighbours: &mut Neighbours) {
    struct Report(i64);
    impl Health for Report {
        fn program(&mut self, name: &'static str, _: bool, runs: Runs) {
            println!("{name}: missed {} runs", runs.missed);
        }
        fn map(&mut self, _: &'static str, _: u64, _: u64) {}
        fn keeper(&mut self, _: bool) {}
        fn resyncs(&mut self, _: &'static str, reason: &'static str, n: u64) {
            println!("{n} times brought up to date, reason {reason}");
        }
        fn audit(&mut self, _: &'static str, difference: i64) {
            self.0 = difference;
        }
    }
    let start = Instant::now();
    loop {
        neighbours.counts(0, |_, _| {}).unwrap();
        let mut report = Report(0);
        neighbours.health(&mut report).unwrap();
        if report.0 == 0 {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(15), "audit difference {}", report.0);
        thread::sleep(Duration::from_millis(500));
    }
}

/// Threads that make neighbours come and go, one turn at a time.
struct Churn {
    /// Each turn holds this lock for reading.
    lock: Arc<RwLock<()>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Churn {
    fn start(places: &[Place]) -> Self {
        let mut churn = Self { lock: Arc::default(), stop: Arc::default(), threads: Vec::new() };
        let other = Pid::from_raw(places[1].tid.load(Relaxed).cast_signed());
        // A request may fail on account of another thread: the entry was removed, the interface is
        // down or gone.
        for place in &places[..2] {
            churn.add(place, |turn, network| {
                let states = [State::Permanent, State::Stale, State::Noarp, State::Reachable];
                let first = turn * 500 % 6000;
                let state = states[turn as usize % 4];
                let _ = network.set_neighbours("va", addresses(first..first + 4000), state);
                let _ = network.remove_neighbours("va", addresses(first + 500..first + 4000));
            });
            churn.add(place, |turn, network| {
                let family = [Family::Inet, Family::Inet6][turn as usize % 2];
                let _ = network.flush("va", family, &[State::Permanent, State::Noarp]);
                thread::sleep(Duration::from_millis(50));
                if turn % 4 == 0 {
                    network.down("va").unwrap();
                    network.change("va", |va| va.arp(false)).unwrap();
                    network.up(&["va"]).unwrap();
                    network.change("va", |va| va.arp(true)).unwrap();
                    network.address("va", OWN, 64).unwrap();
                }
            });
        }
        // Real resolution: the other end answers for some of the addresses.
        churn.add(&places[2], |turn, _| send(turn * 300 % 5000..turn * 300 % 5000 + 300));
        churn.add(&places[0], move |turn, network| {
            let (name, peer, index) = (format!("m{turn}"), format!("p{turn}"), 5000 + turn % 3);
            let _ = network.add(LinkVeth::new(&name, &peer).index(index).up().build());
            let _ = network.set_neighbours(&name, [[10, 9, 0, 1]], State::Permanent);
            let _ = network.move_to(&name, other);
            // There the interface is down, and may have another index.
        });
        churn.add(&places[1], |_, network| {
            for name in network.names().unwrap().values().filter(|name| name.starts_with('m')) {
                let _ = network.set_neighbours(name, [[10, 9, 0, 2]], State::Permanent);
                let _ = network.remove(name);
            }
        });
        churn.add(&places[2], |_, _| {
            // A namespace ends with its thread.
            let brief = thread::spawn(|| {
                enter(CloneFlags::CLONE_NEWNET).unwrap();
                let network = Network::open().unwrap();
                let _wire = ends(&network);
                network.set_neighbours("va", addresses(0..100), State::Stale).unwrap();
            });
            brief.join().unwrap();
        });
        churn
    }

    fn add(&mut self, place: &Place, turn: impl Fn(u32, &Network) + Send + 'static) {
        let (lock, stop) = (Arc::clone(&self.lock), Arc::clone(&self.stop));
        self.threads.push(place.spawn(move |network| {
            for n in 0.. {
                if stop.load(Relaxed) {
                    return;
                }
                let _running = lock.read().unwrap();
                turn(n, network);
            }
        }));
    }

    fn stop(self) {
        self.stop.store(true, Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

/// Makes the kernel look for neighbours.
fn send(numbers: std::ops::Range<u32>) {
    let Ok(socket) = UdpSocket::bind("0.0.0.0:0") else { return };
    for n in numbers {
        let _ = socket.send_to(b"x", (format!("10.1.{}.{}", n / 250 + 1, n % 250), 9));
    }
}

/// The addresses of neighbours of these numbers, of both families.
fn addresses(numbers: std::ops::Range<u32>) -> impl Iterator<Item = IpAddr> {
    numbers.map(|n| {
        let n = n + 2;
        let ([.., high], [.., low]) = ((n / 250 + 1).to_be_bytes(), (n % 250).to_be_bytes());
        match (n % 3, n.to_be_bytes()) {
            (0, [.., a, b]) => [0xfd00, 1, 0, 0, 0, 0, 0, u16::from_be_bytes([a, b])].into(),
            _ => [10, 1, high, low].into(),
        }
    })
}
