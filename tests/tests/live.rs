//! Counts of neighbours on the running kernel: the programs, the exporter's netlink, the crate
//! rtnetlink and `/proc/net/arp` must agree, in network namespaces that the test makes.
//!
//! Needs root and a kernel that takes the programs; does nothing elsewhere, unless `BPF_REQUIRED`
//! is set: then it fails.
#![expect(clippy::disallowed_methods, reason = "reads the running kernel's files")]
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]

use std::{
    collections::BTreeMap,
    fs,
    net::UdpSocket,
    os::linux::fs::MetadataExt as _,
    path::Path,
    sync::mpsc::{Sender, channel},
    thread,
    time::{Duration, Instant},
};

use exporter::host::{
    bpf::{Counts, Neighbours, Options, Sizes},
    netlink::{Links, Neighbour, Socket, Step},
};
use nix::sched::CloneFlags;
use rtnetlink::LinkVeth;
use tests::{
    namespace::{enter, in_a_thread, skip},
    network::{Family, Network, State},
};

const IPV4: u8 = 2;
const IPV6: u8 = 10;

/// Neighbours by name of the interface and family; those without are left out.
type Entries = BTreeMap<(String, u8), u64>;

#[test]
fn all_sources_agree_while_neighbours_come_and_go() {
    in_a_namespace(agree);
}

#[test]
fn a_map_that_is_too_small_is_not_trusted_until_there_is_room() {
    in_a_namespace(overfill);
}

/// The variable of the environment that makes it a failure if the machine cannot be tested on.
const REQUIRED: &str = "BPF_REQUIRED";

fn in_a_namespace(test: fn(Namespace)) {
    in_a_thread(REQUIRED, move || Namespace::new().map(test));
}

fn agree(mut at: Namespace) {
    // Older than the programs: counted by the dump.
    at.set([[10, 1, 0, 1]], State::Permanent);
    at.set([[10, 1, 0, 2]], State::Noarp);
    let older = another();
    let Some(mut neighbours) = start(1 << 16) else { return };
    at.expect(&mut neighbours, &[(("va", IPV4), 1)], "older than the programs");
    follow(&mut neighbours, older, 3);

    at.set([[10, 1, 0, 2]], State::Permanent);
    at.expect(&mut neighbours, &[(("va", IPV4), 2)], "NUD_NOARP taken away");
    at.set([[10, 1, 0, 1]], State::Noarp);
    at.expect(&mut neighbours, &[(("va", IPV4), 1)], "NUD_NOARP given");
    at.network.remove_neighbours("va", [[10, 1, 0, 1], [10, 1, 0, 2]]).unwrap();
    at.expect(&mut neighbours, &[], "none");

    // Resolved, or not; multicast and broadcast are no neighbours.
    for address in ["10.1.0.77:9", "10.1.255.255:9", "239.1.2.3:9", "[fd00:1::77]:9", "127.0.0.1:9"]
    {
        send(address);
    }
    let one = [(("va", IPV4), 1), (("va", IPV6), 1)];
    at.expect(&mut neighbours, &one, "one, not resolved");
    for family in [Family::Inet, Family::Inet6] {
        // The kernel may be quicker with an entry that has failed.
        let _ = at.network.flush("va", family, &[]);
    }

    at.set(many(1000), State::Permanent);
    at.expect(&mut neighbours, &[(("va", IPV4), 1000)], "1,000");
    at.network.remove_neighbours("va", many(400)).unwrap();
    at.expect(&mut neighbours, &[(("va", IPV4), 600)], "400 removed");
    let counts = at.counts(&mut neighbours)[&("va".to_owned(), IPV4)];
    assert!(counts.created >= 1000 && counts.removed >= 400, "{counts:?}");

    // Held by a socket while the interface goes down: a stray.
    let socket = send("10.1.1.240:9");
    at.network.down("va").unwrap();
    at.expect(&mut neighbours, &[], "the link is down");
    drop(socket);
    at.network.up(&["va"]).unwrap();
    at.set(many(10), State::Permanent);
    // Before Linux 6.2 an interface can be renamed only while it is down, which takes its
    // neighbours.
    let name = if at.network.rename("va", "vc").is_ok() { "vc" } else { "va" };
    at.expect(&mut neighbours, &[((name, IPV4), 10)], "renamed");

    follow(&mut neighbours, another(), 3);
    at.network.remove(name).unwrap();
    at.expect(&mut neighbours, &[], "the link is gone");
}

#[test]
fn interfaces_change_move_and_leave_their_index_to_others() {
    in_a_namespace(rearrange);
}

fn rearrange(mut at: Namespace) {
    let Some(mut neighbours) = start(1 << 16) else { return };
    let add = |at: &Namespace, n: u8, device: &str| {
        at.network.set_neighbours(device, [[10, 2, 0, n]], State::Permanent).unwrap();
    };
    let arp = |at: &Namespace, on| at.network.change("du", |link| link.arp(on)).unwrap();
    // While the interface is down, a change of its flags flushes nothing.
    at.network.add(LinkVeth::new("du", "dv").index(4321).build()).unwrap();
    add(&at, 1, "du");
    arp(&at, true);
    add(&at, 2, "du");
    at.expect(&mut neighbours, &[(("du", IPV4), 2)], "down");
    arp(&at, false);
    add(&at, 3, "du");
    at.network.up(&["du"]).unwrap();
    arp(&at, true);
    add(&at, 4, "du");
    arp(&at, false);
    let remaining = at.dump();
    let remaining: Vec<_> =
        remaining.iter().map(|((name, family), n)| ((name.as_str(), *family), *n)).collect();
    at.expect(&mut neighbours, &remaining, "with and without ARP");
    at.network.remove("du").unwrap();
    at.network.add(LinkVeth::new("ea", "eb").index(4321).build()).unwrap();
    at.expect(&mut neighbours, &[], "another interface has the index");
    at.network.up(&["ea"]).unwrap();
    add(&at, 1, "ea");
    add(&at, 2, "ea");
    at.expect(&mut neighbours, &[(("ea", IPV4), 2)], "another interface has the index");

    let there = another();
    at.network.move_to("ea", there.thread).unwrap();
    at.expect(&mut neighbours, &[], "moved away");
    follow(&mut neighbours, there, 3);
}

/// Starts the programs, for the namespace of this thread.
fn start(entries: u32) -> Option<Neighbours> {
    let netns = fs::metadata("/proc/thread-self/ns/net").unwrap().st_ino();
    let netns = u32::try_from(netns).unwrap();
    let btf = Path::new("/sys/kernel/btf/vmlinux");
    let sizes = Sizes { entries, ..Sizes::default() };
    let options = Options { btf, netns, sizes };
    Neighbours::start(&options).map_err(|reason| skip(REQUIRED, &reason.to_string())).ok()
}

fn overfill(mut at: Namespace) {
    // The map is for all namespaces, also for those that other programs have made.
    let Some(neighbours) = start(1 << 16) else { return };
    let there = neighbours.table_sizes().unwrap().iter().sum::<u64>();
    drop(neighbours);
    let room = 1000 + u32::try_from(there).unwrap();
    let Some(mut neighbours) = start(room) else { return };
    at.set(many(2000), State::Permanent);
    let error = neighbours.counts(0, |_, _| {}).unwrap_err().to_string();
    let reason = format!("entries, room for {room}: see --bpf.neighbour-map-entries");
    assert!(error.contains(&reason), "{error}");
    assert!(neighbours.counts(0, |_, _| {}).is_err(), "still full");
    at.network.remove_neighbours("va", many(1900)).unwrap();
    at.expect(&mut neighbours, &[(("va", IPV4), 100)], "there is room again");
}

/// The addresses of the first `n` neighbours.
fn many(n: u16) -> impl Iterator<Item = [u8; 4]> {
    (0..n).map(|n| {
        let ([_, high], [_, low]) = ((n / 250 + 1).to_be_bytes(), (n % 250 + 1).to_be_bytes());
        [10, 1, high, low]
    })
}

/// Makes the kernel look for a neighbour.
fn send(address: &str) -> Option<UdpSocket> {
    let any = if address.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any).unwrap();
    socket.set_broadcast(true).unwrap();
    // Multicast has no route where none was added.
    socket.connect(address).ok()?;
    let _ = socket.send(b"x");
    Some(socket)
}

/// A network namespace, the thread's own from here on: it ends with the thread.
struct Namespace {
    network: Network,
    socket: Socket,
    links: Links,
}

impl Namespace {
    /// Enters a new namespace, with the interfaces `va` and `vb` as the ends of one wire.
    fn new() -> Result<Self, String> {
        enter(CloneFlags::CLONE_NEWNET)?;
        let network = Network::open()?;
        network.wire("va", "vb")?;
        network.address("va", [10, 1, 0, 254], 16)?;
        network.address("va", [0xfd00, 1, 0, 0, 0, 0, 0, 1], 64)?;
        network.up(&["lo", "va", "vb"])?;
        Ok(Self { network, socket: Socket::open().unwrap(), links: Links::new() })
    }

    /// Makes neighbours of `va`, or sets their state.
    fn set(&self, addresses: impl IntoIterator<Item = [u8; 4]>, state: State) {
        self.network.set_neighbours("va", addresses, state).unwrap();
    }

    fn name(&mut self, ifindex: u32) -> String {
        self.socket.links(&mut self.links).unwrap();
        let name = self.links.get(ifindex).map(|link| link.name.as_slice()).unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    }

    /// The programs' counts of this namespace.
    fn counts(&mut self, neighbours: &mut Neighbours) -> BTreeMap<(String, u8), Counts> {
        let mut all = Vec::new();
        let netns = neighbours.netns();
        neighbours.counts(0, |key, counts| all.push((key, *counts))).unwrap();
        all.retain(|(key, _)| key.netns == netns);
        all.into_iter()
            .map(|(key, counts)| {
                ((self.name(key.ifindex), u8::try_from(key.family).unwrap()), counts)
            })
            .collect()
    }

    /// The entries in a dump.
    fn dump(&mut self) -> Entries {
        let mut all = Vec::new();
        for family in [IPV4, IPV6] {
            let begin = all.len();
            let each = |step: Step<Neighbour<'_>>| match step {
                Step::Start => all.truncate(begin),
                Step::Item(neighbour) if neighbour.is_noarp() => {}
                Step::Item(neighbour) => all.push((neighbour.ifindex, family)),
            };
            self.socket.neighbours(family, each).unwrap();
        }
        let mut entries = Entries::new();
        for (ifindex, family) in all {
            *entries.entry((self.name(ifindex), family)).or_default() += 1;
        }
        entries
    }

    /// The entries in a dump that the crate rtnetlink takes and reads.
    fn shown(&self) -> Entries {
        let names = self.network.names().unwrap();
        let mut entries = Entries::new();
        for (family, number) in [(Family::Inet, IPV4), (Family::Inet6, IPV6)] {
            for neighbour in self.network.neighbours(family).unwrap() {
                if neighbour.header.state != State::Noarp {
                    // An interface may be gone by now.
                    let name = names.get(&neighbour.header.ifindex).cloned().unwrap_or_default();
                    *entries.entry((name, number)).or_default() += 1;
                }
            }
        }
        entries
    }

    /// Waits until the programs tell `want`, and then asks all other sources.
    #[track_caller]
    fn expect(&mut self, neighbours: &mut Neighbours, want: &[((&str, u8), u64)], when: &str) {
        let want: Entries =
            want.iter().map(|((name, family), n)| (((*name).to_owned(), *family), *n)).collect();
        let start = Instant::now();
        loop {
            let mut counted: Entries = self
                .counts(neighbours)
                .into_iter()
                .map(|(key, counts)| (key, counts.entries.unsigned_abs()))
                .collect();
            counted.retain(|_, n| *n > 0);
            let seen = [counted, self.dump(), self.shown()];
            let mut ipv4 = want.clone();
            ipv4.retain(|(_, family), _| *family == IPV4);
            let file = file();
            if seen.iter().all(|entries| *entries == want) && file == ipv4 {
                return;
            }
            // The kernel removes entries in its own time.
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "{when}: want {want:?}, programs, netlink, rtnetlink: {seen:?}, file {file:?}"
            );
            thread::yield_now();
        }
    }
}

/// A namespace in another thread.
struct Other {
    thread: nix::unistd::Pid,
    number: u64,
    end: Sender<()>,
}

/// The entries in `/proc/net/arp`.
fn file() -> Entries {
    let text = fs::read_to_string("/proc/thread-self/net/arp").unwrap();
    let mut entries = Entries::new();
    for line in text.lines().skip(1) {
        let device = line.split_whitespace().last().unwrap().to_owned();
        *entries.entry((device, IPV4)).or_default() += 1;
    }
    entries
}

/// Another namespace with three neighbours, in a thread that ends when [`Other`] says so.
fn another() -> Other {
    let (number, here) = channel();
    let (end, told) = channel::<()>();
    thread::spawn(move || {
        let there = Namespace::new().unwrap();
        there.set((1..=3).map(|n| [10, 1, 0, n]), State::Permanent);
        let netns = fs::metadata("/proc/thread-self/ns/net").unwrap().st_ino();
        number.send((netns, nix::unistd::gettid())).unwrap();
        let _ = told.recv();
    });
    let (number, thread) = here.recv().unwrap();
    Other { thread, number, end }
}

/// Waits until the other namespace's neighbours are counted, ends the namespace, and waits until
/// they are gone.
fn follow(neighbours: &mut Neighbours, other: Other, want: u64) {
    let netns = u32::try_from(other.number).unwrap();
    let mut reach = |want: u64| {
        let start = Instant::now();
        loop {
            let mut sum = 0;
            let each = |key: exporter::host::bpf::Key, counts: &Counts| {
                if key.netns == netns && key.family == u32::from(IPV4) {
                    sum += counts.entries.unsigned_abs();
                }
            };
            neighbours.counts(0, each).unwrap();
            if sum == want {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "want {want}, have {sum}");
            thread::yield_now();
        }
    };
    reach(want);
    drop(other.end);
    reach(0);
}
