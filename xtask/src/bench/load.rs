//! The loads of the cases, made in namespaces that end with them.
//!
//! Processes, threads, sockets and the thresholds of the neighbour tables, which are those of the
//! whole machine, are held by processes of this program, `cargo xtask bench hold`, until their
//! standard input ends: also where the benchmark is interrupted or killed.

#![expect(clippy::disallowed_methods, reason = "starts this program")]

use crate::kept::Kept;
use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::{
        prctl::set_pdeathsig,
        resource::{Resource, getrlimit, setrlimit},
        signal::{Signal, kill},
        wait::waitpid,
    },
    unistd::{ForkResult, Pid, fork, pause},
};
use std::{
    any::Any,
    fs,
    io::{self, BufRead as _, BufReader},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};
use testbed::network::{Network, State};

/// The parts of a load that would not end with the namespaces; they end when dropped.
pub(super) type Held = Box<dyn Any>;

/// Wires whose ends, `size` together, are up; /sys shows them.
pub(super) fn links(size: u32) -> Result<Held> {
    let network = Network::open()?;
    network.up(&["lo"])?;
    for n in 0..size / 2 {
        let (name, peer) = (format!("q{n}"), format!("r{n}"));
        network.wire(&name, &peer)?;
        network.up(&[&name, &peer])?;
    }
    let folder = tempfile::tempdir()?;
    let (none, sys) = (None::<&str>, folder.path());
    mount(Some("sysfs"), sys, Some("sysfs"), MsFlags::empty(), none).context("sysfs")?;
    // The memory of exporters is counted there.
    let groups = "/sys/fs/cgroup";
    mount(Some(groups), &sys.join("fs/cgroup"), none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
        .context(groups)?;
    mount(Some(sys), "/sys", none, MsFlags::MS_MOVE, none).context("/sys")?;
    Ok(Box::new(()))
}

/// IPv4 neighbours of one interface, which do not expire.
pub(super) fn neighbours(size: u32) -> Result<Held> {
    let network = Network::open()?;
    network.wire("n0", "n1")?;
    network.address("n0", [10, 0, 0, 1], 8)?;
    network.up(&["lo", "n0", "n1"])?;
    network.set_neighbours("n0", addresses(size), State::Permanent)?;
    Ok(Box::new(Neighbours { network, size }))
}

fn addresses(size: u32) -> impl Iterator<Item = [u8; 4]> {
    (256..256 + size).map(|n| {
        let [_, a, b, c] = n.to_be_bytes();
        [10, a, b, c]
    })
}

/// Neighbours that are removed when dropped.
struct Neighbours {
    network: Network,
    size: u32,
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        // The kernel would remove them too, but later: the next case's exporter would count them.
        let _ = self.network.remove_neighbours("n0", addresses(self.size));
    }
}

/// Processes, and as many threads of one process.
pub(super) fn processes(size: u32) -> Result<Held> {
    Network::open()?.up(&["lo"])?;
    Ok(Box::new(Holder::start("processes", size)?))
}

/// TCP sockets, all connected to each other.
pub(super) fn sockets(size: u32) -> Result<Held> {
    Network::open()?.up(&["lo"])?;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    // Some descriptors have other uses. Each holder has a port, and one for each pair of sockets.
    let most = u32::try_from(most).unwrap_or(u32::MAX).saturating_sub(50).min(40_000) / 2 * 2;
    ensure!(most > 0, "the limit of open files is too low");
    let mut holders = Vec::new();
    let mut left = size;
    while left > 0 {
        let part = left.min(most);
        holders.push(Holder::start("sockets", part)?);
        left -= part;
    }
    Ok(Box::new(holders))
}

/// Mounts of small filesystems.
pub(super) fn mounts(size: u32) -> Result<Held> {
    Network::open()?.up(&["lo"])?;
    // Exporters read the mounts of the first process, which is not in this namespace.
    let none = None::<&str>;
    mount(Some("/proc/self"), "/proc/1", none, MsFlags::MS_BIND, none).context("/proc/1")?;
    let folder = tempfile::tempdir()?;
    tmpfs(folder.path())?;
    let mounts = Mounts(folder);
    for n in 0..size {
        let path = mounts.0.path().join(n.to_string());
        fs::create_dir(&path)?;
        tmpfs(&path)?;
    }
    Ok(Box::new(mounts))
}

fn tmpfs(path: &Path) -> Result<()> {
    mount(Some("bench"), path, Some("tmpfs"), MsFlags::empty(), Some("size=64k"))
        .with_context(|| path.display().to_string())
}

/// A folder with mounts in it.
struct Mounts(tempfile::TempDir);

impl Drop for Mounts {
    fn drop(&mut self) {
        // The folder cannot be removed while something is mounted there.
        let _ = umount2(self.0.path(), MntFlags::MNT_DETACH);
    }
}

/// A process that holds a part of a load, ended when dropped.
pub(super) struct Holder(Child);

impl Holder {
    pub(super) fn start(kind: &str, number: u32) -> Result<Self> {
        let mut holder = Command::new(std::env::current_exe()?)
            .args(["bench", "hold", kind, &number.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0) // the terminal interrupts the benchmark alone
            .spawn()
            .map(Self)?;
        let mut word = String::new();
        let stdout = holder.0.stdout.as_mut().context("no output")?;
        BufReader::new(stdout).read_line(&mut word)?;
        ensure!(word.trim() == READY, "{kind} cannot be made");
        Ok(holder)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // The end of its input.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// The word of a holder that has made all.
const READY: &str = "ready";

/// In a holder: makes a part of a load, and holds it until the input ends.
pub(crate) fn hold(kind: &str, number: &str) -> Result<()> {
    let number: u32 = number.parse()?;
    match kind {
        "processes" => hold_processes(number),
        "sockets" => hold_sockets(number),
        "thresholds" => {
            let _kept = Kept::thresholds([number; 3])?;
            wait()
        }
        _ => bail!("{kind}: no such load"),
    }
}

fn wait() -> Result<()> {
    println!("{READY}");
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

fn hold_sockets(number: u32) -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let mut sockets = Vec::new();
    for _ in 0..number / 2 {
        sockets.push(TcpStream::connect(address)?);
        sockets.push(listener.accept()?.0);
    }
    wait()
}

fn hold_processes(number: u32) -> Result<()> {
    let mut children = Children::default();
    for _ in 0..number {
        children.0.push(child()?);
    }
    for _ in 0..number {
        thread::Builder::new().stack_size(16 << 10).spawn(thread::park)?;
    }
    wait()
}

/// A process that sleeps until it is killed, or the first thread of this one ends.
#[expect(unsafe_code, reason = "a process that runs no program cannot be had otherwise")]
fn child() -> Result<Pid> {
    // SAFETY: this process has one thread, so that the child finds no lock that another holds.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let _ = set_pdeathsig(Signal::SIGKILL);
            loop {
                pause();
            }
        }
    }
}

/// Processes that are killed when dropped.
#[derive(Default)]
struct Children(Vec<Pid>);

impl Drop for Children {
    fn drop(&mut self) {
        for &child in &self.0 {
            let _ = kill(child, Signal::SIGKILL);
        }
        for &child in &self.0 {
            let _ = waitpid(child, None);
        }
    }
}
