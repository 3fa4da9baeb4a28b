//! Interfaces of the running kernel, in network namespaces that the test makes: the attributes that
//! `netclass` derives from netlink must be those in `/sys/class/net`, and no interface may be
//! missed while others come and go.
//!
//! Needs root and `ip`; does nothing elsewhere, unless `BPF_REQUIRED` is set: then it fails. Kinds
//! of interfaces that the kernel does not know are left out, and named.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use exporter::{
    collector::Collector,
    collectors::ALL,
    exposition::{Sink, text},
    host::Host,
    testing::{flags, paths},
};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::CloneFlags,
};
use tests::namespace::{batch, enter, in_a_thread, ip};

#[test]
fn netlink_and_sysfs_agree() {
    in_namespace(|machine| {
        make_one_of_each_kind();
        let mut fast = Running::new("netclass", machine, &[]);
        assert_eq!(fast.scrape().1, Some("netlink"), "sysfs is this namespace's");
        let compare = |fast: &mut Running, when: &str| {
            // The kernel changes some attributes in its own time, perhaps between the two.
            for _ in 0..100 {
                let mut slow =
                    Running::new("netclass", machine, &["--no-collector.netclass.netlink"]);
                let (want, source) = slow.scrape();
                assert_eq!(source, Some("sysfs"));
                let (have, source) = fast.scrape();
                assert_eq!(source, Some("netlink"));
                assert!(want.lines().count() > 100, "{when}: {want}");
                if have == want {
                    return;
                }
            }
            let mut slow = Running::new("netclass", machine, &["--no-collector.netclass.netlink"]);
            let (have, want) = (fast.scrape().0, slow.scrape().0);
            let differ = |a: &str, b: &str| {
                let lines = a.lines().filter(|line| !b.lines().any(|other| other == *line));
                lines.fold(String::new(), |all, line| all + line + "\n")
            };
            panic!("{when}: netlink\n{}sysfs\n{}", differ(&have, &want), differ(&want, &have));
        };
        compare(&mut fast, "at first");
        compare(&mut fast, "with the kept state");
        for change in [
            "link set va name vz;link set vz name va",
            "link set va name vz",
            "link set vz name va",
            "link set va address 02:00:00:00:00:01",
            "link set va address 02:00:00:00:00:01",
            "link set va down",
            "link set vb mtu 1400 txqueuelen 7 group 9",
            "link set va up",
            "link set va promisc on",
            "link set va allmulticast on",
            "link set va promisc off",
            "link set va mode dormant",
            "link set va alias none",
            "link del va",
            "link add va type veth peer name vb",
            "link set va up",
            "link set vb up",
            "link set lo down",
        ] {
            for command in change.split(';') {
                ip(command).unwrap();
            }
            compare(&mut fast, change);
        }
    });
}

#[test]
fn alternative_names_are_told_over_netlink() {
    in_namespace(|machine| {
        ip("link add va type veth peer name vb").unwrap();
        ip("link property add dev va altname uplink").unwrap();
        ip("link set va alias core").unwrap();
        let args = ["--collector.netclass.netlink", "--collector.netclass_rtnl.with-stats"];
        let (text, _) = Running::new("netclass", machine, &args).scrape();
        for line in [
            "node_network_altnames_info{altname=\"uplink\",device=\"va\"} 1",
            "node_network_carrier{device=\"va\"} 0",
            "node_network_receive_packets_total{device=\"va\"} 0",
            "node_network_speed_bytes{device=\"va\"} 1.25e+09",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}: {text}");
        }
        assert!(text.contains("duplex=\"Full\",ifalias=\"core\",operstate=\"down\"} 1"), "{text}");
    });
}

#[test]
fn another_namespaces_sysfs_is_read_as_it_is() {
    in_namespace(|machine| {
        ip("link add va type veth peer name vb").unwrap();
        ip("link set va alias core").unwrap();
        let aliases = ["--collector.netdev.label-ifalias"];
        let received = |machine: &Path, labels: &str| {
            let (text, _) = Running::new("netdev", machine, &aliases).scrape();
            let line = format!("node_network_receive_bytes_total{{{labels}}} 0");
            assert!(text.lines().any(|other| other == line), "{line}: {text}");
        };
        received(machine, "device=\"va\",ifalias=\"core\"");
        received(machine, "device=\"vb\",ifalias=\"\"");
        // This sysfs was mounted before, in another namespace.
        let elsewhere = Path::new("/");
        let (text, source) = Running::new("netclass", elsewhere, &[]).scrape();
        assert_eq!(source, Some("sysfs"));
        assert!(!text.contains("device=\"va\""), "{text}");
        received(elsewhere, "device=\"va\"");
    });
}

#[test]
fn interfaces_that_come_and_go_hide_no_others() {
    const SCRAPES: usize = 200;
    in_namespace(|machine| {
        let stable: Vec<String> = (0..100).map(|n| format!("stay{n}")).collect();
        for pair in stable.chunks(2) {
            if let [a, b] = pair {
                ip(&format!("link add {a} type veth peer name {b}")).unwrap();
            }
        }
        let host = Host::new(&flags(&paths(machine)));
        let mut running = ["netdev", "netclass"].map(|name| Running::on(&host, name, machine, &[]));
        let churn = [
            lines(20, |n| format!("link add come{n} type veth peer name go{n}")),
            lines(20, |n| format!("link set come{n} name coming{n}")),
            lines(20, |n| format!("link del coming{n}")),
        ];
        while_running(&churn, || {
            for scrape in 1..=SCRAPES {
                for running in &mut running {
                    let (text, _) = running.scrape();
                    let exposed: HashSet<&str> =
                        text.lines().filter_map(|line| line.split(' ').next()).collect();
                    for name in &stable {
                        for family in running.families() {
                            let series = format!("{family}{{device=\"{name}\"}}");
                            assert!(exposed.contains(&*series), "{series} in {scrape}");
                        }
                    }
                }
            }
        });
    });
}

#[test]
fn routes_and_addresses_that_come_and_go_belong_to_interfaces() {
    const SCRAPES: usize = 200;
    in_namespace(|machine| {
        let host = Host::new(&flags(&paths(machine)));
        let addresses = ["--collector.netdev.address-info"];
        let mut running = [("network_route", &[][..]), ("netdev", &addresses)]
            .map(|(name, args)| Running::on(&host, name, machine, args));
        let churn = [
            lines(10, |n| {
                format!(
                    "link add come{n} type veth peer name go{n}\n\
                     addr add 10.1.{n}.1/24 dev come{n}\n\
                     link set come{n} up\n\
                     link set go{n} up\n\
                     route add 10.2.{n}.0/24 via 10.1.{n}.2 dev come{n}"
                )
            }),
            lines(10, |n| format!("link del come{n}")),
        ];
        let mut seen = HashSet::new();
        while_running(&churn, || {
            // A repeated series fails in `scrape`.
            for _ in 0..SCRAPES {
                for running in &mut running {
                    let (text, _) = running.scrape();
                    assert!(!text.contains("device=\"\""), "{text}");
                    for family in ["node_network_route_info", "node_network_address_info"] {
                        if text.contains(&format!("{family}{{")) {
                            seen.insert(family);
                        }
                    }
                }
            }
        });
        assert_eq!(seen.len(), 2, "families seen: {seen:?}");
    });
}

/// A line for each of the first numbers.
fn lines(numbers: usize, line: impl Fn(usize) -> String) -> String {
    (0..numbers).fold(String::new(), |lines, n| lines + &line(n) + "\n")
}

/// Calls `check` while `ip` runs with the batches of `churn`, one after the other, over and over.
fn while_running(churn: &[String], check: impl FnOnce()) {
    let end = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !end.load(Relaxed) {
                for lines in churn {
                    batch(lines);
                }
            }
        });
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check));
        end.store(true, Relaxed);
        if let Err(panic) = checked {
            std::panic::resume_unwind(panic);
        }
    });
}

/// One collector, kept from scrape to scrape.
struct Running {
    name: &'static str,
    collector: Box<dyn Collector>,
    sink: Sink,
    scrape: u64,
}

impl Running {
    fn new(name: &'static str, machine: &Path, args: &[&str]) -> Self {
        let mut all = paths(machine);
        all.extend(args.iter().map(|&arg| arg.to_owned()));
        Self::on(&Host::new(&flags(&all)), name, machine, args)
    }

    fn on(host: &Host, name: &'static str, machine: &Path, args: &[&str]) -> Self {
        let mut all = paths(machine);
        all.extend(args.iter().map(|&arg| arg.to_owned()));
        let spec = ALL.iter().find(|spec| spec.name == name).unwrap();
        let collector = (spec.new)(host, &flags(&all)).unwrap();
        Self { name, collector, sink: Sink::default(), scrape: 0 }
    }

    /// The exposition, and the source that served.
    fn scrape(&mut self) -> (String, Option<&'static str>) {
        self.scrape += 1;
        self.sink.begin(self.scrape);
        let result = self.collector.collect(&mut self.sink);
        assert!(result.is_ok(), "{}: {result:?}", self.name);
        let mut body = Vec::new();
        assert_eq!(
            text::append(&[&self.sink], None, &mut text::Order::default(), &mut body),
            [],
            "{}",
            self.name
        );
        (String::from_utf8(body).unwrap(), self.sink.source())
    }

    /// Families with a sample for every interface.
    fn families(&self) -> &'static [&'static str] {
        match self.name {
            "netdev" => {
                &["node_network_receive_bytes_total", "node_network_transmit_carrier_total"]
            }
            "netclass" => &["node_network_up", "node_network_iface_link", "node_network_device_id"],
            _ => &[],
        }
    }
}

fn make_one_of_each_kind() {
    for command in [
        "link set lo up",
        "link add va type veth peer name vb",
        "link add vc type veth peer name vd",
        "link set va alias \u{fc}plink",
        "link property add dev va altname another-name",
        "link set va group 7",
        "link set va up",
        "link set vb up",
        "link add br0 type bridge",
        "link set br0 up",
        "link add br1 type bridge",
        "link set br1 up",
        "link set vc master br0",
        "link set vc up",
        "link add du0 type dummy",
        "link set du0 up",
        "link add link va name va.7 type vlan id 7",
        "link set va.7 up",
        "link add bo0 type bond mode active-backup",
        "link set vd master bo0",
        "link set bo0 up",
        "link add bo1 type bond",
        "link set bo1 up",
        "tuntap add tu0 mode tun",
        "link set tu0 up",
        "tuntap add ta0 mode tap",
        "link add gre9 type gre local 10.0.0.1 remote 10.0.0.2",
        "link add si9 type sit local 10.0.0.1 remote 10.0.0.2",
        "link add vx0 type vxlan id 5 dstport 4789 local 10.0.0.1",
        "link add link va name mv0 type macvlan mode bridge",
        "link set mv0 up",
        "link add wg0 type wireguard",
        "link set wg0 up",
        "link add ifb9 type ifb",
        "link set ifb9 up",
    ] {
        if let Err(error) = ip(command) {
            println!("not tested: {error}");
        }
    }
}

/// Runs `test` in a network namespace of its own, with a folder that has its sysfs.
fn in_namespace(test: impl FnOnce(&Path) + Send + 'static) {
    in_a_thread("BPF_REQUIRED", || {
        let machine = Mounted::new()?;
        test(machine.folder.path());
        Ok(())
    });
}

/// A folder with a sysfs in it, seen by this thread only.
struct Mounted {
    folder: tempfile::TempDir,
    sys: PathBuf,
}

impl Mounted {
    fn new() -> Result<Self, String> {
        ip("-V")?;
        enter(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
        let folder = tempfile::tempdir().unwrap();
        let sys = folder.path().join("sys");
        std::fs::create_dir(&sys).unwrap();
        mount(Some("sysfs"), &sys, Some("sysfs"), MsFlags::MS_RDONLY, None::<&str>)
            .map_err(|errno| format!("mount sysfs: {errno}"))?;
        Ok(Self { folder, sys })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = umount2(&self.sys, MntFlags::MNT_DETACH);
    }
}
