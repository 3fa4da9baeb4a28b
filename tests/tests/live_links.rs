//! Interfaces of the running kernel, in network namespaces that the test makes: the attributes that
//! `netclass` derives from netlink must be those in `/sys/class/net`, and no interface may be
//! missed, nor a descriptor be left open, while others come and go.
//!
//! Needs root; does nothing elsewhere, unless `BPF_REQUIRED` is set: then it fails. Kinds
//! of interfaces that the kernel does not know are left out, and named.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![expect(unsafe_code, reason = "interfaces without a driver are made by ioctl")]

use std::{
    collections::HashSet,
    fs::File,
    io,
    os::fd::AsRawFd as _,
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
    libc,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::CloneFlags,
};
use rtnetlink::{
    LinkBond, LinkBridge, LinkDummy, LinkGre, LinkIfb, LinkMacVlan, LinkSit, LinkVlan, LinkVxlan,
    LinkWireguard,
    packet_route::link::{BondMode, LinkAttribute, LinkMode, MacVlanMode},
};
use tests::{
    namespace::{enter, in_a_thread},
    network::{self, Network},
};

#[test]
fn netlink_and_sysfs_agree() {
    in_namespace(|machine, network| {
        let _held = make_one_of_each_kind(network);
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
        for (change, when) in CHANGES {
            change(network).unwrap();
            compare(&mut fast, when);
        }
    });
}

/// Changes of the interfaces `va` and `vb`, one after the other.
const CHANGES: [(fn(&Network) -> network::Result, &str); 18] = [
    (|it| it.rename("va", "vz").and_then(|()| it.rename("vz", "va")), "renamed twice"),
    (|it| it.rename("va", "vz"), "renamed"),
    (|it| it.rename("vz", "va"), "renamed back"),
    (|it| it.change("va", |va| va.address(vec![2, 0, 0, 0, 0, 1])), "another address"),
    (|it| it.change("va", |va| va.address(vec![2, 0, 0, 0, 0, 1])), "the same address"),
    (|it| it.down("va"), "down"),
    (|it| it.change("vb", |vb| vb.mtu(1400).txqueuelen(7).link_group(9)), "numbers"),
    (|it| it.up(&["va"]), "up"),
    (|it| it.change("va", |va| va.promiscuous(true)), "promiscuous"),
    (|it| it.change("va", |va| va.allmulticast(true)), "all multicast"),
    (|it| it.change("va", |va| va.promiscuous(false)), "not promiscuous"),
    (
        |it| {
            it.change("va", |va| va.append_extra_attribute(LinkAttribute::Mode(LinkMode::Dormant)))
        },
        "dormant",
    ),
    (|it| it.change("va", |va| va.alias("none")), "another alias"),
    (|it| it.remove("va"), "removed"),
    (|it| it.wire("va", "vb"), "made again"),
    (|it| it.up(&["va"]), "one end up"),
    (|it| it.up(&["vb"]), "both ends up"),
    (|it| it.down("lo"), "lo down"),
];

#[test]
fn alternative_names_are_told_over_netlink() {
    in_namespace(|machine, network| {
        network.wire("va", "vb").unwrap();
        network.add_name("va", "uplink").unwrap();
        network.change("va", |va| va.alias("core")).unwrap();
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
    in_namespace(|machine, network| {
        network.wire("va", "vb").unwrap();
        network.change("va", |va| va.alias("core")).unwrap();
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
    in_namespace(|machine, network| {
        let stable: Vec<String> = (0..100).map(|n| format!("stay{n}")).collect();
        for pair in stable.chunks(2) {
            if let [a, b] = pair {
                network.wire(a, b).unwrap();
            }
        }
        let names: Vec<&str> = stable.iter().map(String::as_str).collect();
        network.up(&names).unwrap();
        let host = Host::new(&flags(&paths(machine)));
        let mut running = ["netdev", "netclass", "ethtool", "qdisc"]
            .map(|name| Running::on(&host, name, machine, &[]));
        for running in &mut running {
            running.scrape();
        }
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let descriptors = open();
        let churn = || {
            for n in 0..20 {
                network.wire(&format!("come{n}"), &format!("go{n}")).unwrap();
            }
            for n in 0..20 {
                network.rename(&format!("come{n}"), &format!("coming{n}")).unwrap();
            }
            for n in 0..20 {
                network.remove(&format!("coming{n}")).unwrap();
            }
        };
        while_running(churn, || {
            for scrape in 1..=SCRAPES {
                for running in &mut running {
                    let (text, _) = running.scrape();
                    let kind = if running.name == "qdisc" { ",kind=\"noqueue\"" } else { "" };
                    let exposed: HashSet<&str> =
                        text.lines().filter_map(|line| line.split(' ').next()).collect();
                    for name in &stable {
                        for family in running.families() {
                            let series = format!("{family}{{device=\"{name}\"{kind}}}");
                            assert!(exposed.contains(&*series), "{series} in {scrape}");
                        }
                    }
                }
            }
            assert_eq!(open(), descriptors, "descriptors");
        });
    });
}

#[test]
fn routes_and_addresses_that_come_and_go_belong_to_interfaces() {
    const SCRAPES: usize = 200;
    in_namespace(|machine, network| {
        let host = Host::new(&flags(&paths(machine)));
        let addresses = ["--collector.netdev.address-info"];
        let mut running = [("network_route", &[][..]), ("netdev", &addresses)]
            .map(|(name, args)| Running::on(&host, name, machine, args));
        let churn = || {
            for n in 0..10 {
                let (come, go) = (format!("come{n}"), format!("go{n}"));
                network.wire(&come, &go).unwrap();
                network.address(&come, [10, 1, n, 1], 24).unwrap();
                network.up(&[&come, &go]).unwrap();
                network.route([10, 2, n, 0], 24, [10, 1, n, 2]).unwrap();
            }
            for n in 0..10 {
                network.remove(&format!("come{n}")).unwrap();
            }
        };
        let mut seen = HashSet::new();
        while_running(churn, || {
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

/// Calls `check` while another thread calls `churn` over and over.
fn while_running(churn: impl Fn() + Sync, check: impl FnOnce()) {
    let end = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !end.load(Relaxed) {
                churn();
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
            "ethtool" => &["node_ethtool_peer_ifindex", "node_network_autonegotiate"],
            "qdisc" => &["node_qdisc_packets_total", "node_qdisc_backlog"],
            "netclass" => &["node_network_up", "node_network_iface_link", "node_network_device_id"],
            _ => &[],
        }
    }
}

/// Makes interfaces of many kinds; some last no longer than the files.
fn make_one_of_each_kind(network: &Network) -> Vec<File> {
    let [here, there] = [[10, 0, 0, 1].into(), [10, 0, 0, 2].into()];
    let vxlan = LinkVxlan::new("vx0", 5).port(4789).local(here);
    let bond = LinkBond::new("bo0").mode(BondMode::ActiveBackup);
    let below = |name| network.index(name).unwrap();
    network.up(&["lo"]).unwrap();
    network.wire("va", "vb").unwrap();
    network.wire("vc", "vd").unwrap();
    network.change("va", |va| va.alias("\u{fc}plink").link_group(7)).unwrap();
    network.up(&["va", "vb"]).unwrap();
    let (vlan, macvlan) = (
        LinkVlan::new("va.7", below("va"), 7),
        LinkMacVlan::new("mv0", below("va"), MacVlanMode::Bridge),
    );
    let enslave = |port: &str, controller: &str| {
        let controller = network.index(controller)?;
        network.change(port, |port| port.controller(controller))
    };
    let tried = [
        network.add_name("va", "another-name"),
        network.add(LinkBridge::new("br0").up().build()),
        network.add(LinkBridge::new("br1").up().build()),
        enslave("vc", "br0").and_then(|()| network.up(&["vc"])),
        network.add(LinkDummy::new("du0").up().build()),
        network.add(vlan.up().build()),
        network.add(bond.build()),
        enslave("vd", "bo0").and_then(|()| network.up(&["bo0"])),
        network.add(LinkBond::new("bo1").up().build()),
        network.add(LinkGre::new("gre9").local(here).remote(there).build()),
        network.add(LinkSit::new("si9").local(here).remote(there).build()),
        network.add(vxlan.build()),
        network.add(macvlan.up().build()),
        network.add(LinkWireguard::new("wg0").up().build()),
        network.add(LinkIfb::new("ifb9").up().build()),
    ];
    let files = [("tu0", libc::IFF_TUN), ("ta0", libc::IFF_TAP)].map(|(name, kind)| {
        let file = tun(name, kind).map_err(|error| format!("{name}: {error}"))?;
        network.up(&[name])?;
        Ok(file)
    });
    let files = files.into_iter().filter_map(|file: Result<_, String>| {
        file.inspect_err(|error| println!("not tested: {error}")).ok()
    });
    for error in tried.into_iter().filter_map(Result::err) {
        println!("not tested: {error}");
    }
    files.collect()
}

/// Makes an interface whose packets the program has: it lasts as long as the file is open.
fn tun(name: &str, kind: libc::c_int) -> io::Result<File> {
    /// `struct ifreq` of include/uapi/linux/if.h.
    #[repr(C)]
    struct Request {
        name: [u8; libc::IFNAMSIZ],
        flags: libc::c_short,
        rest: [u8; 22],
    }
    let file = File::options().read(true).write(true).open("/dev/net/tun")?;
    let flags = (kind | libc::IFF_NO_PI).try_into().unwrap();
    let mut request = Request { name: [0; libc::IFNAMSIZ], flags, rest: [0; 22] };
    request.name.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    // SAFETY: the kernel reads and writes the `struct ifreq`, which lives until the call returns.
    match unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } {
        0 => Ok(file),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Runs `test` in a network namespace of its own, with a folder that has its sysfs.
fn in_namespace(test: impl FnOnce(&Path, &Network) + Send + 'static) {
    in_a_thread("BPF_REQUIRED", || {
        let machine = Mounted::new()?;
        test(machine.folder.path(), &Network::open()?);
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
