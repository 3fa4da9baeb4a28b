//! Network namespaces in which neighbours come and go, and their numbers of neighbours.

use std::{
    collections::BTreeMap,
    fs,
    os::linux::fs::MetadataExt as _,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
};

use exporter::host::{
    Shared,
    bpf::FAMILIES,
    netlink::{Links, Neighbour, NeighbourDump, Socket, Step, Table},
};
use nix::sched::{CloneFlags, setns};
use tests::{namespace::enter, network::Network};

/// The address of `va`; it goes when the interface goes down.
pub(crate) const OWN: [u16; 8] = [0xfd00, 1, 0, 0, 0, 0, 0, 1];

/// Entries by namespace, interface and family; those without are left out.
pub(crate) type Entries = BTreeMap<(u32, u32, u32), u64>;

/// The number of this thread's namespace.
pub(crate) fn netns() -> u32 {
    u32::try_from(fs::metadata("/proc/thread-self/ns/net").unwrap().st_ino()).unwrap()
}

/// A network namespace with the interface `va`, whose other end lies in a second namespace.
pub(crate) struct Place {
    pub(crate) netns: u32,
    /// A thread that is in it.
    pub(crate) tid: Arc<AtomicU32>,
    asks: Sender<Ask>,
    answers: Receiver<Entries>,
}

/// The ways to count the neighbours of a namespace.
#[derive(Clone, Copy)]
pub(crate) enum Ask {
    /// One by one: [`dump`].
    Whole,
    /// By the exporter's netlink source.
    Netlink,
}

impl Place {
    pub(crate) fn new() -> Self {
        let (asks, asked) = channel();
        let (answer, answers) = channel();
        let (say, told) = channel();
        let tid = Arc::new(AtomicU32::new(0));
        let own = Arc::clone(&tid);
        thread::spawn(move || {
            enter(CloneFlags::CLONE_NEWNET).unwrap();
            own.store(nix::unistd::gettid().as_raw().cast_unsigned(), Relaxed);
            let _wire = ends(&Network::open().unwrap());
            say.send(netns()).unwrap();
            let mut socket = Socket::open().unwrap();
            let dumps = FAMILIES.map(|family| Shared::new(NeighbourDump::new(family)));
            for (scrape, ask) in (1..).zip(asked) {
                let entries = match ask {
                    Ask::Whole => dump(&mut socket),
                    Ask::Netlink => tell(&mut socket, &dumps, scrape),
                };
                if answer.send(entries).is_err() {
                    return;
                }
            }
        });
        Self { netns: told.recv().unwrap(), tid, asks, answers }
    }

    pub(crate) fn ask(&self, ask: Ask) -> Entries {
        self.asks.send(ask).unwrap();
        self.answers.recv().unwrap()
    }

    /// A thread in the namespace.
    pub(crate) fn spawn(&self, work: impl FnOnce(&Network) + Send + 'static) -> JoinHandle<()> {
        let path = format!("/proc/self/task/{}/ns/net", self.tid.load(Relaxed));
        thread::spawn(move || {
            setns(fs::File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            work(&Network::open().unwrap());
        })
    }

    pub(crate) fn run(&self, work: impl FnOnce(&Network) + Send + 'static) {
        self.spawn(work).join().unwrap();
    }
}

/// Makes both ends of a wire; it stays while the result is held. The other end answers for some
/// addresses.
pub(crate) fn ends(network: &Network) -> Sender<()> {
    network.wire("va", "vb").unwrap();
    network.address("va", [10, 1, 255, 254], 16).unwrap();
    network.address("va", OWN, 64).unwrap();
    let (tell, told) = channel();
    let (end, ended) = channel::<()>();
    thread::spawn(move || {
        enter(CloneFlags::CLONE_NEWNET).unwrap();
        tell.send(nix::unistd::gettid()).unwrap();
        ended.recv().unwrap(); // the interface has come
        let network = Network::open().unwrap();
        network.up(&["lo"]).unwrap();
        if network.up(&["vb"]).is_err() {
            return; // a namespace that ends at once takes the wire along
        }
        for last in (0..250).step_by(2) {
            network.accept([10, 1, 1, last]).unwrap();
        }
        let _ = ended.recv();
    });
    network.move_to("vb", told.recv().unwrap()).unwrap();
    network.up(&["lo", "va"]).unwrap();
    end.send(()).unwrap();
    end
}

/// The neighbours of this thread's namespace: each counted once, however often a dump has it. A
/// dump during which the hash table grows or has grown is taken again.
fn dump(socket: &mut Socket) -> Entries {
    let netns = netns();
    let mut entries = Entries::new();
    for family in FAMILIES {
        let mut all = BTreeMap::new();
        loop {
            let before = hash(family);
            let each = |step: Step<Neighbour<'_>>| match step {
                Step::Start => all.clear(),
                Step::Item(neighbour) => {
                    let key = (neighbour.ifindex, neighbour.address().unwrap());
                    all.insert(key, neighbour.is_noarp());
                }
            };
            socket.neighbours(family, each).unwrap();
            let after = table(family);
            if after.hash == before && !after.is_growing() {
                break;
            }
        }
        for ((ifindex, _), _) in all.into_iter().filter(|&(_, is_noarp)| !is_noarp) {
            *entries.entry((netns, ifindex, family.into())).or_default() += 1;
        }
    }
    entries
}

/// Identifies the kernel's hash table of a family; a table that has grown is another.
pub(crate) fn hash(family: u8) -> (u32, u32) {
    table(family).hash
}

fn table(family: u8) -> Table {
    Socket::default().neighbour_table(family).unwrap().unwrap()
}

/// The entries of this thread's namespace by the exporter's netlink source.
fn tell(socket: &mut Socket, dumps: &[Shared<NeighbourDump>; 2], scrape: u64) -> Entries {
    let (netns, mut links, mut entries) = (netns(), Links::new(), Entries::new());
    socket.links(&mut links).unwrap();
    for (family, dump) in FAMILIES.into_iter().zip(dumps) {
        let tally = dump.get(scrape).unwrap();
        for link in links.iter() {
            let n = tally.entries(link.index);
            if n > 0 {
                entries.insert((netns, link.index, family.into()), n);
            }
        }
    }
    entries
}
