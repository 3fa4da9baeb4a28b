//! Drivers and events of the running kernel: `ethtool` asks interfaces that the test makes, while it
//! plugs and unplugs others, and `perf` counts work that the test does.
//!
//! Needs root, tracefs and events of the kernel's; does nothing elsewhere, unless
//! `BPF_REQUIRED` is set: then it fails.
#![expect(clippy::disallowed_methods, reason = "runs a program, reads the running kernel's files")]
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    process::Command,
    sync::Arc,
    thread,
    time::Duration,
};

use exporter::host::{
    perf::{Counter, Event, Type},
    tree::{Budget, SETTINGS_EVERY, Tree},
};
use nix::{
    mount::{MsFlags, mount},
    sched::CloneFlags,
};
use tests::{
    Server,
    namespace::{enter, in_a_thread},
    network::Network,
};

const REQUIRED: &str = "BPF_REQUIRED";

/// The values of the series whose lines begin so.
fn values(text: &str, begin: &str) -> Vec<f64> {
    let lines = text.lines().filter(|line| line.starts_with(begin));
    lines.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect()
}

/// The value of one series.
#[track_caller]
fn value(text: &str, series: &str) -> f64 {
    let [value] = values(text, series)[..] else { panic!("{series}\n{text}") };
    value
}

/// How many descriptors a server has, once it has had the time to close those of the last request.
fn descriptors(server: &Server) -> usize {
    thread::sleep(Duration::from_millis(20));
    fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap().count()
}

#[test]
fn interfaces_tell_of_themselves_while_others_are_plugged_and_unplugged() {
    in_a_thread(REQUIRED, || {
        enter(CloneFlags::CLONE_NEWNET)?;
        let network = Network::open()?;
        network.up(&["lo"])?;
        network.wire("va", "vb")?;
        let server = Server::start(&[
            "--no-bpf",
            "--collector.disable-defaults",
            "--collector.ethtool",
            "--collector.loadavg",
            "--collector.netclass",
            "--collector.netclass.netlink", // not sysfs, which shows another namespace
        ]);
        let scrape = || {
            let (_, text) = server.get("/metrics");
            for collector in ["ethtool", "loadavg", "netclass"] {
                let success =
                    format!("node_scrape_collector_success{{collector=\"{collector}\"}} 1\n");
                assert!(text.contains(&success), "{collector}\n{text}");
            }
            for (device, peer) in [("va", "vb"), ("vb", "va")] {
                assert!(text.contains(&format!("device=\"{device}\",driver=\"veth\"")), "{text}");
                let told =
                    value(&text, &format!("node_ethtool_peer_ifindex{{device=\"{device}\"}}"));
                let is = value(&text, &format!("node_network_iface_id{{device=\"{peer}\"}}"));
                assert!((told - is).abs() < 0.5, "{device}: {told}, {peer}: {is}");
            }
            text
        };
        scrape();
        let before = descriptors(&server);
        thread::scope(|scope| {
            let churn = scope.spawn(|| {
                for _ in 0..100 {
                    network.wire("xa", "xb").unwrap();
                    network.up(&["xa"]).unwrap();
                    network.remove("xa").unwrap();
                }
            });
            while !churn.is_finished() {
                scrape();
            }
        });
        // Connections are closed in the server's own time.
        assert!(
            (0..100).any(|_| {
                scrape();
                descriptors(&server) <= before
            }),
            "descriptors are lost"
        );
        network.wire("xa", "xb")?;
        assert!(scrape().contains("device=\"xa\",driver=\"veth\""), "plugged in again");
        Ok(())
    });
}

#[test]
fn events_are_counted_on_all_processors() {
    in_a_thread(REQUIRED, || {
        let switches = Event { kind: Type::Software, config: 3 };
        Counter::open(switches, 0).map_err(|errno| format!("no perf events: {errno}"))?;
        enter(CloneFlags::CLONE_NEWNS)?;
        let machine = tempfile::tempdir().unwrap();
        let (cpus, tracing) =
            (machine.path().join("devices/system/cpu"), machine.path().join("kernel/tracing"));
        fs::create_dir_all(&cpus).unwrap();
        fs::create_dir_all(&tracing).unwrap();
        fs::copy("/sys/devices/system/cpu/online", cpus.join("online")).unwrap();
        mount(Some("none"), &tracing, Some("tracefs"), MsFlags::empty(), None::<&str>)
            .map_err(|errno| format!("no tracefs: {errno}"))?;
        let server = Server::start(&[
            "--no-bpf",
            "--collector.disable-defaults",
            "--collector.perf",
            "--collector.perf.disable-hardware-profilers",
            "--collector.perf.disable-cache-profilers",
            "--collector.perf.tracepoint=sched:sched_process_fork",
            &format!("--path.sysfs={}", machine.path().display()),
        ]);
        let counts = || {
            let (_, text) = server.get("/metrics");
            assert!(
                value(&text, "node_scrape_collector_success{collector=\"perf\"}") > 0.5,
                "{text}"
            );
            let families = [
                "node_perf_context_switches_total{",
                "node_perf_cpu_migrations_total{",
                "node_perf_major_faults_total{",
                "node_perf_minor_faults_total{",
                "node_perf_page_faults_total{",
                "node_perf_sched_sched_process_fork{",
            ];
            let sums = families.map(|family| {
                let of_each = values(&text, family);
                assert!(!of_each.is_empty(), "{family}\n{text}");
                of_each.iter().sum::<f64>()
            });
            [sums[0], sums[5]]
        };
        let [switches, forks] = counts();
        talk(1000);
        for _ in 0..5 {
            assert!(Command::new("true").status().unwrap().success());
        }
        let [more_switches, more_forks] = counts();
        assert!(more_switches - switches >= 1000.0, "{switches} {more_switches}");
        assert!(more_forks - forks >= 5.0, "{forks} {more_forks}");
        Ok(())
    });
}

/// Two threads wait for each other as many times.
fn talk(times: usize) {
    let (mut here, mut there) = UnixStream::pair().unwrap();
    let echo = thread::spawn(move || {
        let mut byte = [0];
        while there.read(&mut byte).unwrap() > 0 {
            there.write_all(&byte).unwrap();
        }
    });
    for _ in 0..times {
        here.write_all(&[1]).unwrap();
        here.read_exact(&mut [0]).unwrap();
    }
    drop(here);
    echo.join().unwrap();
}

/// A network of this thread alone, and a folder with a sysfs, which shows the interfaces of the
/// thread that mounts it.
fn network_with_sysfs() -> Result<(Network, tempfile::TempDir), String> {
    enter(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
    let sys = tempfile::tempdir().unwrap();
    mount(Some("sysfs"), sys.path(), Some("sysfs"), MsFlags::empty(), None::<&str>)
        .map_err(|errno| format!("no sysfs: {errno}"))?;
    Ok((Network::open()?, sys))
}

#[test]
fn an_interface_that_comes_back_under_its_name_shows_its_own_attributes() {
    in_a_thread(REQUIRED, || {
        let (network, sys) = network_with_sysfs()?;
        let budget = Budget::new(100, usize::MAX);
        let mut folder = Tree::new(sys.path()).keeping(budget.clone()).devices("class/net");
        for round in 0..3 {
            network.wire("va", "vb")?;
            let index = Some(network.index("va")?);
            for scrape in 0..4 {
                let va = folder.list().unwrap().find(|entry| entry.bytes() == b"va").unwrap();
                let dir = va.dir().unwrap().unwrap();
                assert_eq!(dir.number("ifindex").unwrap(), index, "{round}, {scrape}");
                assert_eq!(dir.number("mtu").unwrap(), Some(1500));
            }
            assert_eq!(budget.left(), 97, "a directory and two attributes stay open");
            network.remove("va")?;
            assert!(folder.list().unwrap().all(|entry| entry.bytes() != b"va"));
        }
        Ok(())
    });
}

#[test]
fn a_directory_of_sysfs_that_is_made_anew_shows_its_own_attributes_and_names() {
    in_a_thread(REQUIRED, || {
        let (network, sys) = network_with_sysfs()?;
        let budget = Budget::new(100, usize::MAX);
        // Directories, where a class has links.
        let mut folder =
            Tree::new(sys.path()).keeping(budget.clone()).devices("devices/virtual/net");
        let mut names = Arc::default();
        let mut scrape = || {
            let va = folder.list().unwrap().find(|entry| entry.bytes() == b"va")?;
            let dir = va.dir().unwrap()?;
            let listed = dir.kept_list(&mut names).unwrap();
            assert_eq!(listed.filter(|entry| entry.bytes() == b"ifindex").count(), 1);
            let setting = dir.parse_setting("iflink", |text| Ok(text.parse().ok())).unwrap();
            Some([dir.number::<u32>("ifindex").unwrap(), setting.flatten()])
        };
        network.wire("va", "vb")?;
        for round in 0..3 {
            let ends = [Some(network.index("va")?), Some(network.index("vb")?)];
            for _ in 0..2 * SETTINGS_EVERY {
                assert_eq!(scrape(), Some(ends), "{round}");
            }
            // No scrape sees that there was none for a while.
            network.remove("va")?;
            network.wire("va", "vb")?;
        }
        for _ in 0..2 {
            scrape(); // closes the files of the last one but one
        }
        assert_eq!(budget.left(), 98, "a directory and an attribute stay open");
        // The listing of a directory does not tell of mounts upon the directories in it.
        let va = sys.path().join("devices/virtual/net/va");
        mount(Some("none"), &va, Some("tmpfs"), MsFlags::empty(), None::<&str>)
            .map_err(|errno| format!("no tmpfs: {errno}"))?;
        fs::write(va.join("ifindex"), "7777").unwrap();
        let mut scrapes = 1..=SETTINGS_EVERY;
        assert!(scrapes.any(|_| scrape() == Some([Some(7777), None])), "a mount is not noticed");
        Ok(())
    });
}
