//! The first and only process of a virtual machine that `cargo xtask vm` boots: tests the exporter
//! on the machine's kernel, prints the verdict in one line, and switches the machine off.
#![expect(clippy::disallowed_methods, reason = "runs programs, reads the running kernel's files")]
#![expect(clippy::print_stdout, reason = "the console is the only output")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read, Write},
    net::TcpStream,
    os::fd::AsRawFd as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    kmod::{ModuleInitFlags, finit_module},
    libc,
    mount::{MsFlags, mount},
    sys::{
        reboot::{RebootMode, reboot},
        socket::{AddressFamily, SockFlag, SockType, VsockAddr, connect, socket},
    },
};
use tests::network::{Network, State};

/// The first version of the kernel that has everything which the programs need.
const PROGRAMS_SINCE: (u32, u32) = (5, 13);

/// The first version in which a descriptor alone is enough to read a map.
const DESCRIPTORS_SINCE: (u32, u32) = (5, 19);

/// The first version with iterators and all that the program about tasks uses.
const TASKS_SINCE: (u32, u32) = (5, 8);

/// The first version that has the helper by which the accounting of all processors is found.
const ACCOUNTING_SINCE: (u32, u32) = (5, 19);

fn main() {
    let release = match prepare() {
        Ok(release) => release,
        Err(error) => format!("unprepared: {error}"),
    };
    let mut done = Vec::new();
    let asked = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let asked = |word| asked.split_whitespace().any(|other| other == word);
    let checked = if asked("stress") {
        // First of all: the kernel's hash tables have not grown yet.
        test("/stress", "stress test", has_programs(&release), &mut done)
    } else if asked("nohz_full=1") {
        contexts(&release, &mut done)
    } else {
        check(&release, &mut done)
    };
    let verdict = match checked {
        Ok(()) => "pass".to_owned(),
        Err(error) => format!("FAIL: {error}"),
    };
    println!("\nverdict: {release}: {}: {verdict}", done.join(", "));
    let _ = std::io::stdout().flush();
    let _ = reboot(RebootMode::RB_POWER_OFF);
}

/// Mounts the kernel's file systems and loads the modules; returns the kernel's release.
fn prepare() -> Result<String, Box<dyn std::error::Error>> {
    for (kind, at) in
        [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/tmp")]
    {
        fs::create_dir_all(at)?;
        mount(Some(kind), at, Some(kind), MsFlags::empty(), None::<&str>)?;
    }
    let modules = fs::read_dir("/modules")?.map(|entry| Ok(entry?.path()));
    let mut modules = modules.collect::<std::io::Result<Vec<_>>>()?;
    modules.sort(); // each after those that it needs
    for path in modules {
        if let Err(error) = finit_module(fs::File::open(&path)?, c"", ModuleInitFlags::empty()) {
            println!("{}: {error}", path.display());
        }
    }
    Ok(fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned())
}

type Checked = Result<(), String>;

/// The first two numbers of the kernel's version.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(['.', '-', '+']).map_while(|word| word.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Whether this kernel takes the programs.
fn has_programs(release: &str) -> bool {
    version(release) >= PROGRAMS_SINCE && Path::new("/sys/kernel/btf/vmlinux").exists()
}

fn check(release: &str, done: &mut Vec<String>) -> Checked {
    let (version, programs) = (version(release), has_programs(release));
    let best = if programs { "ebpf" } else { "netlink" };

    let network = Network::open()?;
    network.wire("va", "vb")?;
    network.address("va", [10, 1, 0, 254], 16)?;
    network.up(&["lo", "va", "vb"])?;
    network.set_neighbours("va", [[10, 1, 0, 9]], State::Noarp)?;
    network.set_neighbours("va", (1..=5).map(|n| [10, 1, 0, n]), State::Permanent)?;
    let mut server = Server::start(&[])?;
    server.expect("arp", best)?;
    server.expect("neighbour", best)?;
    server.expect_capabilities(programs && version < DESCRIPTORS_SINCE)?;
    if !programs && !server.log.contains("eBPF does not count neighbours, another source serves:") {
        return Err(format!("the log does not give the reason: {}", server.log));
    }
    network.remove_neighbours("va", [[10, 1, 0, 5]])?;
    server.entries = 4;
    server.expect("arp", best)?;
    network.set_neighbours("va", [[10, 1, 0, 5]], State::Permanent)?;
    done.push(format!("source {best}"));
    drop(server);

    Server::start(&["--no-bpf"])?.expect("arp", "netlink")?;
    done.push("netlink".to_owned());
    Server::start(&["--no-bpf", "--no-collector.arp.netlink"])?.expect("arp", "procfs")?;
    done.push("procfs".to_owned());
    network.remove("va")?;
    vsock(done)?;

    test("/live", "live tests", programs, done)?;
    processors(release, done)
}

/// A scrape over a vsock of this machine itself, where the kernel has that.
fn vsock(done: &mut Vec<String>) -> Checked {
    const PORT: u32 = 9100;
    const SERVED: &str = "\nnode_scrape_collector_success{collector=\"arp\"} 1\n";
    if !Path::new("/sys/module/vsock_loopback").exists() {
        done.push("no vsock".to_owned());
        return Ok(());
    }
    let server = Server::start(&["--no-bpf", &format!("--web.listen-address=vsock://:{PORT}")])?;
    let ask = || -> Result<String, Box<dyn std::error::Error>> {
        let socket = socket(AddressFamily::Vsock, SockType::Stream, SockFlag::empty(), None)?;
        connect(socket.as_raw_fd(), &VsockAddr::new(libc::VMADDR_CID_LOCAL, PORT))?;
        exchange(fs::File::from(socket))
    };
    // A second client comes when the first one's connection has ended.
    for _ in 0..2 {
        let text = ask().map_err(|error| format!("vsock: {error}"))?;
        if !text.starts_with("HTTP/1.1 200") || !text.contains(SERVED) {
            return Err(format!("vsock: {text}"));
        }
    }
    done.push("vsock".to_owned());
    drop(server);
    Ok(())
}

/// Asks for the metrics on a connection, and reads to its end.
fn exchange(mut stream: impl Read + Write) -> Result<String, Box<dyn std::error::Error>> {
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// Whether programs can copy the kernel's accounting of processors.
fn has_accounting(release: &str) -> bool {
    has_programs(release) && version(release) >= ACCOUNTING_SINCE
}

/// The processors' times, while one of two is taken offline and back.
fn processors(release: &str, done: &mut Vec<String>) -> Checked {
    const SECOND: &str = "/sys/devices/system/cpu/cpu1/online";
    let accounting = has_accounting(release);
    let tasks = version(release) >= TASKS_SINCE && Path::new("/sys/kernel/btf/vmlinux").exists();
    let source = if accounting { "ebpf" } else { "procfs" };
    let flags = ["--collector.cpu", "--collector.stat", "--collector.cpu.bpf-events"];
    let server = Server::start(&[&flags[..], &["--collector.processes"]].concat())?;
    server.served("cpu", source)?;
    server.served("processes", if tasks { "ebpf" } else { "procfs" })?;
    server.expect_capabilities(tasks && version(release) < DESCRIPTORS_SINCE)?;
    if !accounting && !server.log.contains("eBPF does not count the processors' times") {
        return Err(format!("the log does not say why: {}", server.log));
    }
    test("/live_tasks", "tasks", tasks, done)?;
    let has_second = |server: &Server| -> Result<bool, String> {
        let text = server.served("cpu", source)?;
        Ok(text.contains("node_cpu_seconds_total{cpu=\"1\",mode=\"idle\"}"))
    };
    for online in ["1", "0", "1"] {
        fs::write(SECOND, online).map_err(|error| format!("{SECOND}: {error}"))?;
        if has_second(&server)? != (online == "1") {
            return Err(format!("processor 1, online: {online}, is not told of as such"));
        }
        test("/live_cpu", &format!("times (processor 1: {online})"), accounting, done)?;
    }
    // Nothing was doubted meanwhile.
    let text = server.served("cpu", source)?;
    let doubts = "node_bpf_resyncs_total{reason=\"failure\",subject=\"cpu\"} ";
    if accounting && !text.contains(&format!("{doubts}0\n")) {
        return Err(format!("doubts: {text}"));
    }
    Ok(())
}

/// A kernel that tracks contexts on processor 1: its times are not copied, and the log says why.
fn contexts(release: &str, done: &mut Vec<String>) -> Checked {
    let tracked = fs::read_to_string("/sys/devices/system/cpu/nohz_full").unwrap_or_default();
    if tracked.trim() != "1" {
        return Err("the kernel is not built for nohz_full".to_owned());
    }
    Network::open()?.up(&["lo"])?;
    let server = Server::start(&["--collector.cpu"])?;
    server.served("cpu", "procfs")?;
    let reason = "the kernel tracks contexts on processor 1 (nohz_full)";
    if has_accounting(release) && !server.log.contains(reason) {
        return Err(format!("the log does not say why: {}", server.log));
    }
    done.push("nohz_full: procfs".to_owned());
    Ok(())
}

/// Runs the tests in `path`; where the kernel takes the programs, they must not skip.
fn test(path: &str, name: &str, programs: bool, done: &mut Vec<String>) -> Checked {
    let mut test = Command::new(path);
    test.args(["--test-threads=1", "--nocapture"]);
    if programs {
        test.env("BPF_REQUIRED", "1");
    }
    let status = test.status().map_err(|error| format!("{path}: {error}"))?;
    if !status.success() {
        return Err(format!("{name}: {status}"));
    }
    done.push(if programs { name.to_owned() } else { format!("{name} (without eBPF)") });
    Ok(())
}

/// The exporter, serving.
struct Server {
    child: Child,
    address: String,
    /// The lines of its log up to the start of serving.
    log: String,
    /// The number of neighbours of `va`.
    entries: u32,
}

impl Server {
    fn start(flags: &[&str]) -> Result<Self, String> {
        let mut child = Command::new("/bpf_node_exporter")
            .args(["--collector.disable-defaults", "--web.listen-address=127.0.0.1:0"])
            .args(["--collector.arp", "--collector.neighbour"])
            .args(flags)
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("the exporter: {error}"))?;
        let mut lines = BufReader::new(child.stderr.take().ok_or("no log")?).lines();
        let mut log = String::new();
        while let Some(Ok(line)) = lines.next() {
            if let Some((_, address)) = line.split_once("msg=\"Listening on\" address=") {
                let address = address.to_owned();
                std::thread::spawn(move || {
                    for line in lines.map_while(Result::ok) {
                        println!("{line}");
                    }
                });
                return Ok(Self { child, address, log, entries: 5 });
            }
            println!("{line}");
            log.push_str(&line);
        }
        Err("the exporter ends".to_owned())
    }

    fn scrape(&self) -> Result<String, String> {
        let ask = || {
            let stream = TcpStream::connect(&self.address)?;
            stream.set_read_timeout(Some(Duration::from_secs(30)))?;
            exchange(stream)
        };
        ask().map_err(|error| format!("no answer: {error}"))
    }

    /// The answer, in which that source must have served the collector.
    fn served(&self, collector: &str, source: &str) -> Result<String, String> {
        let text = self.scrape()?;
        let line = format!(
            "node_scrape_collector_source{{collector=\"{collector}\",source=\"{source}\"}} 1\n"
        );
        if text.contains(&line) { Ok(text) } else { Err(format!("no {line:?} in {text}")) }
    }

    /// Checks that the collector is served by that source, and that its counts are right.
    fn expect(&self, collector: &str, source: &str) -> Checked {
        let text = self.scrape()?;
        let entries = self.entries;
        for line in [
            format!(
                "node_scrape_collector_source{{collector=\"{collector}\",source=\"{source}\"}} 1\n"
            ),
            format!("node_scrape_collector_success{{collector=\"{collector}\"}} 1\n"),
            format!("node_arp_entries{{device=\"va\"}} {entries}\n"),
        ] {
            if !text.contains(&line) {
                return Err(format!("no {line:?} in {text}"));
            }
        }
        Ok(())
    }

    /// Checks that the exporter has given up its capabilities: all, or all but `CAP_BPF` where
    /// `one` says so.
    fn expect_capabilities(&self, one: bool) -> Checked {
        const BPF: u64 = 1 << 39;
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .map_err(|error| error.to_string())?;
        let field = |name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
        };
        let wanted = if one { BPF } else { 0 };
        let found = field("CapEff:");
        if field("NoNewPrivs:") == Some(1) && found.is_some_and(|found| found & !wanted == 0) {
            Ok(())
        } else {
            Err(format!("capabilities: {found:x?}, wanted {wanted:x}"))
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
