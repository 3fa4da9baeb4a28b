//! `cargo xtask bench neighbours`: the cost of counting neighbours, by their number and by source.
//!
//! The benchmark runs in a network namespace of its own, so that no other program is disturbed. But
//! the tables' thresholds are those of the whole machine: they are raised, and put back at the end.
//! So is `kernel.bpf_stats_enabled`, which makes the kernel measure the programs. The kernel does
//! not shrink a hash table that has grown.

#![expect(clippy::print_stdout, reason = "prints its table")]

use crate::{
    cgroup::Cgroup,
    ended::{Ended, free_port},
    kept::{Kept, STATISTICS},
};
use anyhow::{Context as _, Result, bail, ensure};
use nix::sched::CloneFlags;
use procfs::process::Process;
use std::{
    ops::Range,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};
use testbed::{
    namespace::{Turn, enter},
    network::{Network, State},
};

const USAGE: &str = "\
usage: cargo xtask bench neighbours --exporter PATH [--peer NODE_EXPORTER] [--entries N,N,…]
  as root, in the initial network namespace; 1000,10000,100000,500000 entries unless told.";

struct Options {
    exporter: PathBuf,
    peer: Option<PathBuf>,
    entries: Vec<u32>,
}

pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let options = options(arguments)?;
    let _turn = Turn::take();
    let most = options.entries.iter().max().copied().unwrap_or_default();
    let mut kept = Kept::thresholds([most + 10_000; 3])?;
    kept.set(STATISTICS, "1")?;
    // The thresholds are seen in the initial namespace alone, where this thread stays.
    let measured = thread::spawn(move || {
        enter(CloneFlags::CLONE_NEWNET).map_err(anyhow::Error::msg)?;
        measure(&options)
    });
    measured.join().map_err(|_| anyhow::anyhow!("the measuring panicked"))?
}

fn options(arguments: &[&str]) -> Result<Options> {
    let (mut exporter, mut peer, mut entries) = (None, None, vec![1000, 10_000, 100_000, 500_000]);
    let mut rest = arguments.iter();
    while let Some(&name) = rest.next() {
        let Some(&value) = rest.next() else { bail!("{name}: no value\n{USAGE}") };
        match name {
            "--exporter" => exporter = Some(value.into()),
            "--peer" => peer = Some(value.into()),
            "--entries" => {
                entries = value.split(',').map(str::parse).collect::<Result<_, _>>()?;
            }
            _ => bail!("{name}: no such option\n{USAGE}"),
        }
    }
    let Some(exporter) = exporter else { bail!("{USAGE}") };
    Ok(Options { exporter, peer, entries })
}

/// In the namespace: fills the table step by step, and measures after each.
fn measure(options: &Options) -> Result<()> {
    let network = Network::open()?;
    network.wire("n0", "n1")?;
    network.address("n0", [10, 0, 0, 1], 8)?;
    network.up(&["lo", "n0", "n1"])?;
    // The room that the exporter would choose by itself if this namespace showed the thresholds.
    let most = options.entries.iter().max().copied().unwrap_or_default();
    let room = format!("--bpf.neighbour-map-entries={}", most + (1 << 15));
    let mut subjects = vec![
        Subject::start("ebpf", &options.exporter, &["--bpf.required", &room])?,
        Subject::start("netlink", &options.exporter, &["--no-bpf"])?,
    ];
    if let Some(peer) = &options.peer {
        subjects.push(Subject::start("node_exporter", peer, &[])?);
    }
    println!(
        "| neighbours | source | time per scrape, ms | CPU per scrape, ms | resident, MiB | charged, MiB |"
    );
    println!("|---:|---|---:|---:|---:|---:|");
    let mut costs = Vec::new();
    let mut there = 0;
    for &wanted in &options.entries {
        let ebpf = subjects.first_mut().context("no subject")?;
        let before = ebpf.programs()?;
        // Room grows with scrapes: entries that find none cost more, and are counted later.
        for begin in (there..wanted).step_by(TURN as usize) {
            fill(&network, begin..wanted.min(begin + TURN))?;
            ebpf.scrape()?;
        }
        there = wanted;
        let filled = ebpf.programs()?;
        for subject in &mut subjects {
            let figures = subject.measure(wanted)?;
            println!(
                "| {wanted} | {} | {:.3} | {:.2} | {:.1} | {} |",
                subject.name,
                figures.median,
                figures.cpu,
                figures.resident,
                figures.charged.map_or_else(|| "?".to_owned(), |charged| format!("{charged:.1}"))
            );
        }
        let rested = subjects.first_mut().context("no subject")?.programs()?;
        for _ in 0..TURNS {
            fill(&network, SPARE..SPARE + TURN)?;
            empty(&network, SPARE..SPARE + TURN)?;
        }
        let turned = subjects.first_mut().context("no subject")?.programs()?;
        costs.push((wanted, mean(&before, &filled), mean(&rested, &turned)));
    }
    empty(&network, 0..there)?;
    println!("\n| neighbours | an event while as many come, ns | while {TURN} come and go, ns |");
    println!("|---:|---:|---:|");
    for (wanted, filling, turning) in costs {
        println!("| {wanted} | {filling:.0} | {turning:.0} |");
    }
    println!("\n| program | runs | mean, ns |\n|---|---:|---:|");
    for (program, runs, seconds) in subjects.first_mut().context("no subject")?.programs()? {
        println!("| {program} | {runs} | {:.0} |", seconds / runs * 1e9);
    }
    Ok(())
}

/// Neighbours that come and go while the others stay.
const SPARE: u32 = 1 << 23;
const TURN: u32 = 5000;
const TURNS: u32 = 4;

/// The mean time of a run of an attached program between `before` and `after`, in nanoseconds.
fn mean(before: &[(String, f64, f64)], after: &[(String, f64, f64)]) -> f64 {
    let sum = |programs: &[(String, f64, f64)]| {
        let attached = programs.iter().filter(|(name, ..)| name.starts_with("neigh_"));
        attached.fold((0.0, 0.0), |(n, time), (_, runs, seconds)| (n + runs, time + seconds))
    };
    let ((runs, seconds), (more, longer)) = (sum(before), sum(after));
    (longer - seconds) / (more - runs) * 1e9
}

/// The samples of a family with one label: its value and the sample's.
fn samples<'a>(text: &'a str, prefix: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
    text.lines().filter_map(move |line| {
        let (label, value) = line.strip_prefix(prefix)?.split_once("\"} ")?;
        Some((label, value.parse().ok()?))
    })
}

fn fill(network: &Network, numbers: Range<u32>) -> Result<()> {
    Ok(network.set_neighbours("n0", addresses(numbers), State::Permanent)?)
}

fn empty(network: &Network, numbers: Range<u32>) -> Result<()> {
    Ok(network.remove_neighbours("n0", addresses(numbers))?)
}

fn addresses(numbers: Range<u32>) -> impl Iterator<Item = [u8; 4]> {
    numbers.map(|n| {
        let [_, a, b, c] = (n + 256).to_be_bytes();
        [10, a, b, c]
    })
}

/// A program that is measured; ended when dropped.
struct Subject {
    name: &'static str,
    child: Ended,
    url: String,
    client: ureq::Agent,
    /// The group that counts its memory with the kernel's; dropped after the child's end.
    cgroup: Option<Cgroup>,
}

/// Milliseconds, and MiB.
struct Figures {
    median: f64,
    cpu: f64,
    resident: f64,
    charged: Option<f64>,
}

impl Subject {
    fn start(name: &'static str, program: &Path, flags: &[&str]) -> Result<Self> {
        let port = free_port()?;
        let cgroup = Cgroup::new(name);
        let child = Cgroup::command(cgroup.as_ref(), program)
            .args(["--collector.disable-defaults", "--collector.arp"])
            .args(flags)
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stderr(Stdio::null())
            .spawn()
            .map(Ended)
            .with_context(|| program.display().to_string())?;
        let timeout = Some(Duration::from_secs(60));
        let client = ureq::Agent::config_builder().timeout_global(timeout).build().new_agent();
        let url = format!("http://127.0.0.1:{port}/metrics");
        let mut subject = Self { name, child, url, client, cgroup };
        let started = Instant::now();
        while let Err(error) = subject.scrape() {
            ensure!(subject.child.try_wait()?.is_none(), "{} ends", program.display());
            if started.elapsed() > Duration::from_secs(20) {
                return Err(error.context(program.display().to_string()));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(subject)
    }

    fn scrape(&mut self) -> Result<String> {
        let mut answer = self.client.get(&self.url).call()?;
        Ok(answer.body_mut().with_config().limit(u64::MAX).read_to_string()?)
    }

    /// The programs, the number of their runs, and the time of these in seconds.
    fn programs(&mut self) -> Result<Vec<(String, f64, f64)>> {
        let text = self.scrape()?;
        let seconds = |program| {
            samples(&text, "node_bpf_program_run_seconds_total{program=\"")
                .find(|(other, _)| *other == program)
                .map_or(0.0, |(_, seconds)| seconds)
        };
        Ok(samples(&text, "node_bpf_program_runs_total{program=\"")
            .map(|(program, runs)| (program.to_owned(), runs, seconds(program)))
            .collect())
    }

    /// Scrapes for about two seconds, but at least five times.
    fn measure(&mut self, wanted: u32) -> Result<Figures> {
        let line = "node_arp_entries{device=\"n0\"} ";
        let text = self.scrape()?;
        let counted = text
            .lines()
            .find_map(|found| found.strip_prefix(line))
            .with_context(|| format!("{}: no entries", self.name))?;
        let is_wanted = counted.parse::<f64>()?.total_cmp(&f64::from(wanted)).is_eq();
        ensure!(is_wanted, "{}: {counted}, not {wanted}", self.name);
        let begin = Instant::now();
        let (mut times, before) = (Vec::new(), self.cpu()?);
        while times.len() < 5 || begin.elapsed() < Duration::from_secs(2) {
            let start = Instant::now();
            self.scrape()?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        let cpu = (self.cpu()? - before) * 1e3 / times.len() as f64;
        times.sort_unstable_by(f64::total_cmp);
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        let resident = self.process()?.status()?.vmrss.unwrap_or_default() as f64 / 1024.0;
        let charged = self.cgroup.as_ref().map(Cgroup::held).transpose()?;
        Ok(Figures { median, cpu, resident, charged })
    }

    fn process(&self) -> Result<Process> {
        Ok(Process::new(i32::try_from(self.child.id())?)?)
    }

    /// CPU time of all threads, in seconds.
    fn cpu(&self) -> Result<f64> {
        let stat = self.process()?.stat()?;
        Ok((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64)
    }
}
