//! Room that grows with the number of neighbours, the process that keeps the capabilities for that,
//! and limits on memory: tests of the program on the running kernel.
//!
//! Needs root, as tests/live.rs does, and for the limit a control group of its own.
#![expect(clippy::disallowed_methods, reason = "runs programs, reads the running kernel's files")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use nix::sched::CloneFlags;
use tests::{
    Server,
    namespace::{enter, in_a_thread, skip},
    network::{Family, Network, State},
    program,
    thresholds::Thresholds,
};

/// The variable of the environment that makes it a failure if the machine cannot be tested on.
const REQUIRED: &str = "BPF_REQUIRED";

const ARGS: [&str; 4] =
    ["--collector.disable-defaults", "--collector.arp", "--collector.neighbour", "--bpf.required"];

/// Runs `test` in a network namespace with the interface `va`.
fn in_a_namespace(test: impl FnOnce(&Network) + Send + 'static) {
    in_a_thread(REQUIRED, || {
        enter(CloneFlags::CLONE_NEWNET)?;
        let network = Network::open()?;
        network.wire("va", "vb")?;
        network.address("va", [10, 0, 0, 1], 8)?;
        network.up(&["lo", "va", "vb"])?;
        test(&network);
        Ok(())
    });
}

/// The text of one scrape.
struct Scrape(String);

impl Scrape {
    fn of(server: &Server) -> Self {
        let (status, text) = server.get("/metrics");
        assert_eq!(status, "200");
        Self(text)
    }

    /// The value of a series, `None` if the scrape has no such series.
    fn value(&self, series: &str) -> Option<u64> {
        let mut values =
            self.0.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value = values.next()?;
        assert_eq!(values.next(), None, "{series} is there twice");
        // Go's form: 1.5e+05.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        Some(value.parse::<f64>().unwrap() as u64)
    }

    fn source(&self) -> &str {
        let of = "node_scrape_collector_source{collector=\"neighbour\",source=\"";
        let line = self.0.lines().find_map(|line| line.strip_prefix(of));
        line.and_then(|rest| rest.split('"').next()).unwrap_or_default()
    }

    fn of_va(&self, metric: &str) -> Option<u64> {
        self.value(&format!("node_neighbour_{metric}{{device=\"va\",family=\"ipv4\"}}"))
    }

    fn room(&self) -> u64 {
        self.value("node_bpf_map_max_entries{map=\"neighbour_entries\"}").unwrap()
    }
}

/// The addresses of neighbours of these numbers.
fn numbered(numbers: std::ops::Range<u32>) -> impl Iterator<Item = [u8; 4]> {
    numbers.map(|n| {
        let [_, a, b, c] = (n + 2).to_be_bytes();
        [10, a, b, c]
    })
}

/// Makes neighbours of these numbers.
fn add(network: &Network, numbers: std::ops::Range<u32>) {
    network.set_neighbours("va", numbered(numbers), State::Permanent).unwrap();
}

/// Scrapes until `is_so` says yes, for at most `long`.
fn until(server: &Server, long: Duration, is_so: impl Fn(&Scrape) -> bool) -> Scrape {
    let begin = Instant::now();
    loop {
        let scrape = Scrape::of(server);
        if is_so(&scrape) {
            return scrape;
        }
        assert!(begin.elapsed() < long, "{}", scrape.0);
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn room_follows_the_neighbours() {
    const MANY: u32 = 150_000;
    let Some(_raised) = Thresholds::raise() else {
        return skip(REQUIRED, "the thresholds cannot be set");
    };
    in_a_namespace(|network| {
        let server = Server::start(&ARGS);
        let first = Scrape::of(&server);
        assert_eq!(first.source(), "ebpf");
        assert!(first.room() < u64::from(MANY) / 4, "maps start small");
        let server = &server;
        // Entries that are older than every set but the first, and events of the past.
        add(network, 0..100);
        network.remove_neighbours("va", numbered(0..50)).unwrap();
        until(server, Duration::from_secs(10), |scrape| scrape.of_va("removed_total") == Some(50));
        thread::scope(|scope| {
            let adding = scope.spawn(|| add(network, 100..MANY));
            let mut before = 0;
            while !adding.is_finished() {
                let scrape = Scrape::of(server);
                // Where another source serves for a moment, there are no counters.
                if let Some(created) = scrape.of_va("created_total") {
                    assert!(created >= before, "{created} after {before}");
                    before = created;
                }
                assert!(scrape.of_va("entries").is_some(), "a gap: {}", scrape.0);
                thread::sleep(Duration::from_millis(50));
            }
        });
        let want = u64::from(MANY) - 50;
        let full = until(server, Duration::from_secs(20), |scrape| {
            scrape.source() == "ebpf" && scrape.of_va("entries") == Some(want)
        });
        assert_eq!(full.of_va("removed_total"), Some(50));
        assert_eq!(full.of_va("created_total"), Some(want + 50));
        assert!(full.room() > u64::from(MANY));
        let grown = full.value("node_bpf_resyncs_total{reason=\"grow\",subject=\"neighbour\"}");
        assert!(grown.unwrap() > 0);
        network.down("va").unwrap();
        network.flush("va", Family::Inet, &[]).unwrap();
        let none =
            until(server, Duration::from_secs(60), |scrape| scrape.of_va("entries").is_none());
        assert_eq!(none.source(), "ebpf");
        assert_eq!(none.of_va("removed_total"), none.of_va("created_total"));
    });
}

#[test]
fn room_follows_the_interfaces_too() {
    in_a_namespace(|network| {
        let server = Server::start(&ARGS);
        // A scrape during which another set takes stock does not tell the room.
        let room = |scrape: &Scrape| {
            scrape.value("node_bpf_map_max_entries{map=\"neighbour_interfaces\"}")
        };
        let first = room(&Scrape::of(&server)).unwrap();
        let many = u32::try_from(first).unwrap();
        for n in (0..many).step_by(2) {
            let [name, peer] = [n, n + 1].map(|n| format!("d{n}"));
            network.wire(&name, &peer).unwrap();
            network.up(&[&name, &peer]).unwrap();
            for (n, name) in [(n, name), (n + 1, peer)] {
                let [.., a, b] = n.to_be_bytes();
                network.set_neighbours(&name, [[172, 16, a, b]], State::Permanent).unwrap();
            }
        }
        let all = |scrape: &Scrape| {
            (0..many).all(|n| {
                let series = format!("node_neighbour_entries{{device=\"d{n}\",family=\"ipv4\"}}");
                scrape.value(&series) == Some(1)
            })
        };
        let grown = until(&server, Duration::from_secs(60), |scrape| {
            scrape.source() == "ebpf" && room(scrape) > Some(first) && all(scrape)
        });
        assert_eq!(grown.value("node_bpf_keeper_up"), Some(1));
    });
}

#[test]
fn the_keeper_alone_keeps_capabilities_and_counting_goes_on_without_it() {
    in_a_namespace(|network| {
        let server = Server::start(&ARGS);
        let line = |pid: &str, name: &str| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(':').trim().to_owned()
        };
        let own = server.id().to_string();
        let children = format!("/proc/{own}/task/{own}/children");
        let keeper = fs::read_to_string(&children).unwrap().trim().to_owned();
        assert_eq!(line(&keeper, "Name"), "bpf_keeper");
        // CAP_PERFMON and CAP_BPF.
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            assert_eq!(line(&keeper, set), "000000c000000000", "{set}");
            assert_eq!(line(&own, set), "0000000000000000", "{set}");
        }
        assert_eq!(line(&keeper, "NoNewPrivs"), "1");
        let sockets = fs::read_dir(format!("/proc/{keeper}/fd")).unwrap().count();
        assert_eq!(sockets, 4, "standard input, output, the log and the socket");

        assert!(Command::new("kill").args(["-TERM", &keeper]).status().unwrap().success());
        assert_eq!(
            Scrape::of(&server).value("node_bpf_keeper_up"),
            Some(1),
            "the keeper ignores the signal"
        );
        assert!(Command::new("kill").args(["-KILL", &keeper]).status().unwrap().success());
        until(&server, Duration::from_secs(10), |scrape| {
            scrape.value("node_bpf_keeper_up") == Some(0)
        });
        add(network, 0..100);
        until(&server, Duration::from_secs(10), |scrape| scrape.of_va("entries") == Some(100));

        let server = Server::start(&ARGS);
        let own = server.id().to_string();
        let children = format!("/proc/{own}/task/{own}/children");
        let keeper = fs::read_to_string(&children).unwrap().trim().to_owned();
        assert_eq!(server.stop(), Some(0));
        let begin = Instant::now();
        while Path::new(&format!("/proc/{keeper}")).exists() {
            assert!(begin.elapsed() < Duration::from_secs(10), "the keeper outlives the program");
            thread::sleep(Duration::from_millis(10));
        }
    });
}

/// A control group, removed when dropped.
struct Group(PathBuf);

impl Group {
    /// A group with this many bytes of memory.
    fn new(limit: u64) -> Option<Self> {
        let name = format!("exporter-test-{}", std::process::id());
        for (root, file) in
            [("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")]
        {
            let folder = Path::new(root).join(&name);
            if fs::create_dir(&folder).is_ok() {
                let group = Self(folder);
                // Not made where it is missing: the folder of all hierarchies takes any file.
                let file = fs::OpenOptions::new().write(true).open(group.0.join(file));
                if file.and_then(|mut file| write!(file, "{limit}")).is_ok() {
                    return Some(group);
                }
            }
        }
        None
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The program has been killed, and may still be on its way out of the group.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn a_limit_of_16_megabytes_is_enough_for_all() {
    in_a_namespace(|network| {
        let Some(group) = Group::new(16_000_000) else {
            return skip(REQUIRED, "no control group limits memory");
        };
        let server = Server::from(
            Command::new("sh")
                .args(["-c", "echo $$ >$0/cgroup.procs && exec \"$@\""])
                .arg(&group.0)
                .arg(program())
                .arg("--bpf.required"),
        );
        for _ in 0..5 {
            assert_eq!(Scrape::of(&server).source(), "ebpf");
        }
        // A fifth of the limit.
        add(network, 0..5000);
        let grown = until(&server, Duration::from_secs(20), |scrape| {
            scrape.source() == "ebpf" && scrape.of_va("entries") == Some(5000)
        });
        assert!(grown.room() < 30_000, "{}", grown.room());
        drop(server);
    });
}
