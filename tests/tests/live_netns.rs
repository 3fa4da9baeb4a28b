//! `--path.netns` on the running kernel: collectors see the network namespace of a host, while HTTP
//! is served in that of a pod. The test makes both, and mounts the host's procfs and sysfs below one
//! folder, as Kubernetes mounts a host's root into a pod.
//!
//! Needs root; does nothing elsewhere, unless `BPF_REQUIRED` is set: then it fails, also
//! where eBPF does not serve.
#![expect(
    clippy::disallowed_methods,
    reason = "runs the program, reads the running kernel's files"
)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{
    fs,
    net::{TcpListener, TcpStream, UdpSocket},
    ops::RangeInclusive,
    os::linux::fs::MetadataExt as _,
    path::Path,
    process::Command,
    sync::mpsc::{Sender, channel},
    thread,
};

use exporter::{host::Namespace, testing::flags};
use nix::{
    mount::{MsFlags, mount},
    sched::CloneFlags,
    unistd::gettid,
};
use tests::{
    Hung, Server,
    namespace::{enter, in_a_thread},
    network::{Network, State},
    program,
};

const REQUIRED: &str = "BPF_REQUIRED";

/// The flags that name the host's namespaces and mounts, and the means to act there.
struct Host {
    args: Vec<String>,
    netns: Namespace,
    folder: tempfile::TempDir,
    /// Keeps a thread in the namespace.
    _stays: Sender<()>,
}

impl Host {
    /// Makes the host's network and the pod's, which the calling thread ends in.
    fn new() -> Result<Self, String> {
        enter(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
        let network = Network::open()?;
        network.wire("va", "vb")?;
        network.address("va", [10, 0, 0, 1], 8)?;
        network.up(&["lo", "va", "vb"])?;
        let folder = tempfile::tempdir().unwrap();
        let [proc, sys] = ["proc", "sys"].map(|name| folder.path().join(name));
        fs::create_dir(&proc).unwrap();
        fs::create_dir(&sys).unwrap();
        let none = None::<&str>;
        mount(Some("/proc"), &proc, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
            .and_then(|()| mount(Some("sysfs"), &sys, Some("sysfs"), MsFlags::MS_RDONLY, none))
            .map_err(|errno| format!("no mounts: {errno}"))?;

        let (tell, told) = channel();
        let (stays, leaves) = channel::<()>();
        thread::spawn(move || {
            let _ = tell.send(gettid());
            leaves.recv()
        });
        let thread = told.recv().unwrap();
        let netns = proc.join(format!("{}/task/{thread}/ns/net", std::process::id()));
        let root = folder.path().display();
        let named = format!("--path.netns={}", netns.display());
        let netns = Namespace::of(&flags(std::slice::from_ref(&named)))?;
        let args = vec![
            named,
            format!("--path.procfs={root}/proc"),
            format!("--path.sysfs={root}/sys"),
            format!("--path.rootfs={root}"),
        ];
        enter(CloneFlags::CLONE_NEWNET)?;
        let network = Network::open()?;
        network.wire("pa", "pb")?;
        network.up(&["lo", "pa"])?;
        Ok(Self { args, netns, folder, _stays: stays })
    }

    /// Runs a task in the host's network namespace.
    fn run<T: Send + 'static>(&self, task: impl FnOnce() -> T + Send + 'static) -> T {
        self.netns.run(task).unwrap()
    }

    /// The exporter with these arguments, in a pod: its processes are the pod's alone, too.
    fn pod(&self, args: &[&str]) -> Server {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
        Server::from(command.arg(program()).args(&self.args).args(args))
    }
}

/// Makes the neighbours with these last bytes of their address, in this thread's namespace.
fn neighbours(device: &str, last: RangeInclusive<u8>) {
    let addresses = last.map(|last| [10, 0, 0, last]);
    Network::open().unwrap().set_neighbours(device, addresses, State::Permanent).unwrap();
}

/// The number of a network namespace, by the path of its file.
fn number(path: impl AsRef<Path>) -> u64 {
    fs::metadata(path).unwrap().st_ino()
}

#[test]
fn collectors_see_the_hosts_network_and_http_is_the_pods() {
    in_a_thread(REQUIRED, || {
        let host = Host::new()?;
        // Of all this the pod has nothing.
        let sockets = host.run(|| {
            neighbours("va", 11..=13);
            fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
            let listeners = [(); 7].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            // One datagram stays in the queue, and another finds no socket.
            socket.send_to(&vec![0; 60_000], socket.local_addr().unwrap()).unwrap();
            let _ = socket.send_to(&[0], "127.0.0.1:9");
            (listeners, socket)
        });
        let server = host.pod(&[
            "--collector.disable-defaults",
            "--collector.arp",
            "--collector.ethtool",
            "--collector.neighbour",
            "--collector.netclass",
            "--collector.netdev",
            "--collector.netdev.address-info",
            "--collector.netstat",
            "--collector.network_route",
            "--collector.sockstat",
            "--collector.sysctl",
            "--collector.sysctl.include=net.ipv4.ip_forward",
            "--collector.tcpstat",
            "--collector.udp_queues",
        ]);
        let (_, text) = server.get("/metrics");
        let value = |series: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
            line.map(|value| value.parse::<f64>().unwrap())
        };
        for (series, is) in [
            ("node_arp_entries{device=\"va\"}", 3.0),
            ("node_netstat_Udp_NoPorts", 1.0),
            ("node_sockstat_UDP_inuse", 1.0),
            ("node_sysctl_net_ipv4_ip_forward", 1.0),
            ("node_tcp_connection_states{state=\"listen\"}", 7.0),
            ("node_network_up{device=\"va\"}", 1.0),
        ] {
            assert_eq!(value(series), Some(is), "{series}\n{text}");
        }
        for family in [
            "node_ethtool_info",
            "node_neighbour_entries",
            "node_network_address_info",
            "node_network_receive_bytes_total",
            "node_network_route_info",
        ] {
            let is_of_host =
                |line: &str| line.starts_with(family) && line.contains("device=\"va\"");
            assert!(text.lines().any(is_of_host), "{family}\n{text}");
        }
        assert!(value("node_udp_queues{ip=\"v4\",queue=\"rx\"}") >= Some(60_000.0), "{text}");
        assert!(!text.contains("device=\"pa\""), "the pod's interface\n{text}");
        // The exporter's own traffic is the pod's.
        let octets = "process_network_receive_bytes_total";
        assert!(value(octets).is_some_and(|octets| octets < 60_000.0), "{text}");
        assert!(value("node_netstat_IpExt_InOctets") >= Some(60_000.0), "{text}");
        // This sysfs is the host's: netlink may serve in its place.
        let source = |collector: &str, source: &str| {
            let labels = format!("{{collector=\"{collector}\",source=\"{source}\"}}");
            value(&format!("node_scrape_collector_source{labels}")) == Some(1.0)
        };
        assert!(source("netclass", "netlink"), "{text}");
        let is_ebpf = source("arp", "ebpf") && source("neighbour", "ebpf");
        assert!(is_ebpf || std::env::var_os(REQUIRED).is_none(), "{text}");

        host.run(|| neighbours("va", 14..=14));
        neighbours("pa", 15..=15);
        let (_, text) = server.get("/metrics");
        assert!(text.contains("node_arp_entries{device=\"va\"} 4\n"), "{text}");
        assert!(!text.contains("device=\"pa\""), "the pod's neighbour\n{text}");

        let address = server.address.clone();
        let refused = host.run(move || TcpStream::connect(address)).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        drop(sockets);
        Ok(())
    });
}

#[test]
fn a_thread_that_replaces_another_sees_the_hosts_network_and_has_no_capability() {
    in_a_thread(REQUIRED, || {
        let host = Host::new()?;
        let listeners = host.run(|| [(); 7].map(|()| TcpListener::bind("127.0.0.1:0").unwrap()));
        let hung = Hung::new();
        let server = hung.server(&["--collector.tcpstat", &host.args[0]]);
        let of_host = number(host.args[0].strip_prefix("--path.netns=").unwrap());
        let of_pod = number("/proc/thread-self/ns/net");
        assert_ne!(of_host, of_pod);
        // The first thread hangs, and more take its place.
        server.until("/metrics?collect[]=tcpstat", |_, text| {
            let _ = server.request("GET", "/metrics", "X-Prometheus-Scrape-Timeout-Seconds: 1\r\n");
            text.contains("{state=\"listen\"} 7\n") && server.threads("collectors") > 1
        });
        let mut seen = Vec::new();
        for thread in fs::read_dir(format!("/proc/{}/task", server.id())).unwrap() {
            let thread = thread.unwrap().path();
            let name = fs::read_to_string(thread.join("comm")).unwrap().trim().to_owned();
            let is_inside = matches!(&*name, "collectors" | "netns");
            let want = if is_inside { of_host } else { of_pod };
            assert_eq!(number(thread.join("ns/net")), want, "{name}");
            let status = fs::read_to_string(thread.join("status")).unwrap();
            assert!(status.contains("CapPrm:\t0000000000000000\n"), "{name}: {status}");
            seen.push(name);
        }
        assert!(seen.iter().any(|name| name == "netns"), "{seen:?}");
        hung.answer();
        drop((listeners, host.folder));
        Ok(())
    });
}
