//! `cargo xtask soak`: scrapes without pause while interfaces, namespaces, mounts and neighbours
//! come and go, and compares the last minute with the first.
//!
//! It runs in its own namespaces of the network and of mounts, which end with it. Only the tables
//! of neighbours are those of the whole machine; their thresholds stay as they are. Programs that
//! run at the same time disturb the figures: the CPU time for a scrape says more than the number of
//! scrapes.

#![expect(clippy::disallowed_methods, reason = "starts the programs it measures")]
#![expect(clippy::print_stdout, reason = "prints its table")]

use crate::{cgroup::Cgroup, ended::Ended};
use anyhow::{Context as _, Result, bail, ensure};
use nix::sched::CloneFlags;
use procfs::process::Process;
use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::channel,
    },
    thread,
    time::{Duration, Instant},
};
use testbed::{
    namespace::{Turn, enter},
    network::{Network, State},
};

const USAGE: &str = "\
usage: cargo xtask soak --exporter PATH [--minutes N] [--flag FLAG]…
  as root; ten minutes unless told.";

/// Collectors that are off by default and ask for links, mounts or neighbours.
const FLAGS: [&str; 4] = [
    "--collector.network_route",
    "--collector.mountstats",
    "--collector.netdev.address-info",
    "--collector.neighbour.namespaces",
];

const MINUTE: Duration = Duration::from_secs(60);

struct Options {
    exporter: PathBuf,
    minutes: u32,
    flags: Vec<String>,
}

pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let options = options(arguments)?;
    let _turn = Turn::take();
    enter(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).map_err(anyhow::Error::msg)?;
    soak(&options)
}

fn options(arguments: &[&str]) -> Result<Options> {
    let (mut exporter, mut minutes, mut flags) = (None, 10, Vec::new());
    let mut rest = arguments.iter();
    while let Some(&name) = rest.next() {
        let Some(&value) = rest.next() else { bail!("{name}: no value\n{USAGE}") };
        match name {
            "--exporter" => exporter = Some(value.into()),
            "--minutes" => minutes = value.parse().context(USAGE)?,
            "--flag" => flags.push(value.to_owned()),
            _ => bail!("{name}: no such option\n{USAGE}"),
        }
    }
    ensure!(minutes >= 2, "the first and the last minute are compared: 2 at least\n{USAGE}");
    Ok(Options { exporter: exporter.context(USAGE)?, minutes, flags })
}

/// Soaks the exporter; called in the namespaces.
fn soak(options: &Options) -> Result<()> {
    // An interface that stays all the time.
    let network = Network::open()?;
    network.wire("s0", "s1")?;
    network.address("s0", [10, 0, 0, 1], 16)?;
    network.address("s0", [0xfd00, 1, 0, 0, 0, 0, 0, 1], 64)?;
    network.up(&["lo", "s0", "s1"])?;
    // The sysfs of this namespace, for netclass; the cgroups are in the sysfs of the machine.
    let sysfs = tempfile::tempdir()?;
    let path = sysfs.path().to_str().context("a path that is no text")?;
    command("mount", &["-t", "sysfs", "sysfs", path])?;
    let exporter = Exporter::start(options, path)?;
    let churn = Churn::start();
    // During these ten seconds buffers grow to the size that the churn needs.
    let _ = exporter.measure(Duration::from_secs(10))?;
    println!(
        "| minute | scrapes/s | CPU per scrape, ms | resident, MiB | charged, MiB \
         | not to be reclaimed, MiB | descriptors | map entries | turns of the churn |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---|---:|");
    let mut all = Vec::new();
    for minute in 1..=options.minutes {
        let turns = churn.turns.load(Relaxed);
        let figures = exporter.measure(MINUTE)?;
        println!(
            "| {minute} | {:.1} | {:.2} | {:.1} | {:.1} | {:.1} | {} | {} | {} |",
            figures.rate,
            figures.cpu,
            figures.resident,
            figures.charged,
            figures.held,
            figures.descriptors,
            figures.maps,
            churn.turns.load(Relaxed) - turns
        );
        all.push(figures);
    }
    churn.stop()?;
    let errors = exporter.errors.load(Relaxed);
    println!("\n{errors} ERROR lines");
    let (first, last) = (all.first().context("no minute")?, all.last().context("no minute")?);
    ensure!(errors == 0, "the exporter has logged errors");
    // Other programs may use the machine: one of the two figures is enough.
    ensure!(
        last.rate >= 0.9 * first.rate || last.cpu <= 1.1 * first.cpu,
        "the scrapes have become slower"
    );
    ensure!(last.resident <= first.resident * 1.1 + 1.0, "the memory has grown");
    ensure!(last.held <= first.held * 1.1 + 1.0, "the kernel's memory has grown");
    ensure!(last.descriptors <= first.descriptors + 8, "the descriptors have grown");
    Ok(())
}

/// The figures of a minute.
struct Figures {
    /// Scrapes in a second.
    rate: f64,
    /// CPU time of all threads for a scrape, in user mode and in the kernel, in milliseconds.
    cpu: f64,
    /// Resident memory at the end, in MiB.
    resident: f64,
    /// Memory at the end, with the kernel's and the children's, in MiB; 0 where there are no
    /// cgroups.
    charged: f64,
    /// The part of it that the kernel cannot take back, in MiB.
    held: f64,
    descriptors: usize,
    /// Elements of each map at the end.
    maps: String,
}

/// The exporter.
struct Exporter {
    child: Ended,
    url: String,
    client: ureq::Agent,
    errors: Arc<AtomicU64>,
    /// The exporter's cgroup; dropped after the child's end.
    cgroup: Option<Cgroup>,
}

impl Exporter {
    fn start(options: &Options, sysfs: &str) -> Result<Self> {
        let cgroup = Cgroup::new("soak");
        let mut child = Cgroup::command(cgroup.as_ref(), &options.exporter)
            .args(FLAGS)
            .arg(format!("--path.sysfs={sysfs}"))
            .args(&options.flags)
            .arg("--web.listen-address=127.0.0.1:0")
            .stderr(Stdio::piped())
            .spawn()
            .map(Ended)
            .with_context(|| options.exporter.display().to_string())?;
        let log = BufReader::new(child.stderr.take().context("no log")?);
        let (tell, address) = channel();
        let errors = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&errors);
        thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("msg=\"Listening on\" address=") {
                    let _ = tell.send(address.to_owned());
                }
                if !line.contains("level=INFO") {
                    println!("{line}");
                }
                if line.contains("level=ERROR") {
                    counted.fetch_add(1, Relaxed);
                }
            }
        });
        let timeout = Some(Duration::from_secs(30));
        let client = ureq::Agent::config_builder().timeout_global(timeout).build().new_agent();
        let address =
            address.recv_timeout(Duration::from_secs(20)).context("the exporter does not serve")?;
        Ok(Self { child, url: format!("http://{address}/metrics"), client, errors, cgroup })
    }

    fn scrape(&self) -> Result<String> {
        let mut answer = self.client.get(&self.url).call()?;
        Ok(answer.body_mut().with_config().limit(u64::MAX).read_to_string()?)
    }

    /// Scrapes without pause.
    fn measure(&self, time: Duration) -> Result<Figures> {
        let process = Process::new(i32::try_from(self.child.id())?)?;
        let cpu = || -> Result<f64> {
            let stat = process.stat()?;
            Ok((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64)
        };
        let (begin, before, mut scrapes, mut text) = (Instant::now(), cpu()?, 0.0, String::new());
        while begin.elapsed() < time {
            text = self.scrape()?;
            scrapes += 1.0;
        }
        let maps = text
            .lines()
            .filter_map(|line| line.strip_prefix("node_bpf_map_entries{map=\""))
            .fold(String::new(), |all, line| all + &line.replace("\"}", "") + " ");
        Ok(Figures {
            rate: scrapes / begin.elapsed().as_secs_f64(),
            cpu: (cpu()? - before) * 1e3 / scrapes,
            resident: process.status()?.vmrss.unwrap_or_default() as f64 / 1024.0,
            charged: self.cgroup.as_ref().map_or(Ok(0.0), Cgroup::charged)?,
            held: self.cgroup.as_ref().map_or(Ok(0.0), Cgroup::held)?,
            descriptors: process.fd_count()?,
            maps: maps.trim().to_owned(),
        })
    }
}

/// Threads that make things come and go.
struct Churn {
    stop: Arc<AtomicBool>,
    turns: Arc<AtomicU64>,
    threads: Vec<thread::JoinHandle<Result<()>>>,
}

impl Churn {
    fn start() -> Self {
        let mut churn = Self { stop: Arc::default(), turns: Arc::default(), threads: Vec::new() };
        for turn in [links, neighbours, namespaces, mounts] {
            let (stop, turns) = (Arc::clone(&churn.stop), Arc::clone(&churn.turns));
            churn.threads.push(thread::spawn(move || {
                let network = Network::open()?;
                for n in 0_u32.. {
                    if stop.load(Relaxed) {
                        break;
                    }
                    turn(n, &network)?;
                    turns.fetch_add(1, Relaxed);
                    // Half of the time is left to the exporter.
                    thread::sleep(Duration::from_millis(20));
                }
                Ok(())
            }));
        }
        churn
    }

    fn stop(self) -> Result<()> {
        self.stop.store(true, Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| anyhow::anyhow!("the churn panicked"))??;
        }
        Ok(())
    }
}

/// Interfaces with addresses, routes and neighbours, made and removed.
fn links(turn: u32, network: &Network) -> Result<()> {
    let name = |n: u8| format!("a{turn}x{n}");
    for n in 0..8 {
        let (a, b) = (name(n), format!("b{turn}x{n}"));
        network.wire(&a, &b)?;
        network.address(&a, [10, 1, n, 1], 24)?;
        network.up(&[&a, &b])?;
        network.route([10, 2, n, 0], 24, [10, 1, n, 2])?;
        network.set_neighbours(&a, [[10, 1, n, 2]], State::Permanent)?;
    }
    for n in 0..8 {
        network.remove(&name(n))?;
    }
    Ok(())
}

/// Neighbours on an interface that stays.
fn neighbours(turn: u32, network: &Network) -> Result<()> {
    let [.., part] = (turn % 4 + 1).to_be_bytes();
    let addresses = || (0..100).map(|n| [10, 0, part, n]);
    network.set_neighbours("s0", addresses(), State::Permanent)?;
    network.remove_neighbours("s0", addresses())?;
    Ok(())
}

/// A namespace with an interface and a neighbour, which ends with its thread.
fn namespaces(_: u32, _: &Network) -> Result<()> {
    let brief = thread::spawn(|| {
        enter(CloneFlags::CLONE_NEWNET).map_err(anyhow::Error::msg)?;
        let network = Network::open()?;
        network.wire("x", "y")?;
        network.up(&["x", "y"])?;
        network.set_neighbours("x", [[10, 9, 0, 1]], State::Permanent)?;
        Ok(())
    });
    brief.join().map_err(|_| anyhow::anyhow!("a namespace panicked"))?
}

fn mounts(turn: u32, _: &Network) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().to_str().context("a path that is no text")?;
    command("mount", &["-t", "tmpfs", "-o", "size=1m", &format!("soak{turn}"), path])?;
    command("umount", &[path])
}

fn command(program: &str, words: &[&str]) -> Result<()> {
    let status = Command::new(program).args(words).status()?;
    ensure!(status.success(), "{program} {} fails", words.join(" "));
    Ok(())
}
