//! `cargo xtask bench`: this exporter beside node_exporter, scraped in turn over loopback.

#![expect(clippy::disallowed_methods, reason = "starts the programs it measures")]
#![expect(clippy::print_stdout, reason = "prints its table")]

use crate::{
    cgroup::Cgroup,
    ended::{Ended, free_port},
};
use anyhow::{Context as _, Result, bail, ensure};
use procfs::process::Process;
use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const USAGE: &str = "\
usage: cargo xtask bench --peer NODE_EXPORTER [--exporter PATH] [--scrapes N]
                         [--flag FLAG]… [--own-flag FLAG]… [--peer-flag FLAG]…
  --flag is given to both, --own-flag and --peer-flag to one of them.";

/// Scrapes of each exporter before the measurement begins.
const WARM_UP: u32 = 20;

struct Options {
    peer: PathBuf,
    exporter: Option<PathBuf>,
    scrapes: u32,
    own_flags: Vec<String>,
    peer_flags: Vec<String>,
}

/// Measures and prints a table.
pub fn run(arguments: &[&str]) -> Result<()> {
    let options = options(arguments)?;
    let exporter = match options.exporter {
        Some(path) => path,
        None => build()?,
    };
    let mut ours = Subject::start("bpf_node_exporter", exporter, &options.own_flags)?;
    let mut peer = Subject::start("node_exporter", options.peer, &options.peer_flags)?;
    for _ in 0..WARM_UP {
        ours.scrape()?;
        peer.scrape()?;
    }
    let before = [ours.cpu()?, peer.cpu()?];
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..options.scrapes {
        for (times, subject) in times.iter_mut().zip([&mut ours, &mut peer]) {
            times.push(subject.scrape()?);
        }
    }
    let mut figures = Vec::new();
    for ((subject, before), times) in [&ours, &peer].into_iter().zip(before).zip(times) {
        figures.push(Figures::new(subject, before, times)?);
    }
    let [ours, peer] = figures.as_slice() else { bail!("two exporters were measured") };
    print(ours, peer, options.scrapes);
    Ok(())
}

fn options(arguments: &[&str]) -> Result<Options> {
    let (mut peer, mut exporter, mut scrapes) = (None, None, 500);
    let (mut own_flags, mut peer_flags) = (Vec::new(), Vec::new());
    let mut rest = arguments.iter();
    while let Some(&name) = rest.next() {
        let Some(&value) = rest.next() else { bail!("{name}: no value\n{USAGE}") };
        match name {
            "--peer" => peer = Some(value.into()),
            "--exporter" => exporter = Some(value.into()),
            "--scrapes" => scrapes = value.parse().with_context(|| format!("{name} {value}"))?,
            "--flag" => {
                own_flags.push(value.into());
                peer_flags.push(value.into());
            }
            "--own-flag" => own_flags.push(value.into()),
            "--peer-flag" => peer_flags.push(value.into()),
            _ => bail!("{name}: no such option\n{USAGE}"),
        }
    }
    ensure!(scrapes > 0, "--scrapes 0 measures nothing");
    let Some(peer) = peer else { bail!("{USAGE}") };
    Ok(Options { peer, exporter, scrapes, own_flags, peer_flags })
}

/// Builds the exporter as it is shipped and returns its path.
fn build() -> Result<PathBuf> {
    let output = Command::new(env!("CARGO"))
        .args(["build", "--release", "--package", "bpf_node_exporter"])
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .context("cargo")?;
    ensure!(output.status.success(), "the exporter does not build");
    (serde_json::Deserializer::from_slice(&output.stdout).into_iter::<serde_json::Value>())
        .filter_map(|message| Some(message.ok()?.get("executable")?.as_str()?.into()))
        .last()
        .context("cargo names no executable")
}

/// A program that is measured; ended when dropped.
struct Subject {
    name: &'static str,
    child: Ended,
    url: String,
    client: ureq::Agent,
    /// The number of samples in one answer.
    samples: usize,
    /// Where its memory is counted with the kernel's; dropped after the child's end.
    cgroup: Option<Cgroup>,
}

impl Subject {
    fn start(name: &'static str, program: PathBuf, flags: &[String]) -> Result<Self> {
        let port = free_port()?;
        let cgroup = Cgroup::new(name);
        let child = Cgroup::command(cgroup.as_ref(), &program)
            .args(flags)
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stderr(Stdio::null()) // writing a log line for each scrape would be measured too
            .spawn()
            .map(Ended)
            .with_context(|| program.display().to_string())?;
        let client = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .new_agent();
        let url = format!("http://127.0.0.1:{port}/metrics");
        let mut subject = Self { name, child, url, client, samples: 0, cgroup };
        let started = Instant::now();
        while let Err(error) = subject.scrape() {
            if let Some(status) = subject.child.try_wait()? {
                bail!("{}: {status}", program.display());
            }
            if started.elapsed() > Duration::from_secs(20) {
                return Err(error.context(program.display().to_string()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let text = subject.client.get(&subject.url).call()?.body_mut().read_to_string()?;
        subject.samples = text.lines().filter(|line| !line.starts_with('#')).count();
        Ok(subject)
    }

    /// One scrape as Prometheus does it: the connection is kept, the answer packed.
    fn scrape(&mut self) -> Result<Duration> {
        let began = Instant::now();
        let mut answer = self.client.get(&self.url).header("Accept-Encoding", "gzip").call()?;
        let body = answer.body_mut().with_config().limit(u64::MAX).read_to_vec()?;
        ensure!(!body.is_empty(), "{}: an empty answer", self.name);
        Ok(began.elapsed())
    }

    fn process(&self) -> Result<Process> {
        Ok(Process::new(i32::try_from(self.child.id())?)?)
    }

    /// Seconds in user mode and in the kernel, of all threads that ever ran.
    fn cpu(&self) -> Result<[f64; 2]> {
        let stat = self.process()?.stat()?;
        let ticks = procfs::ticks_per_second() as f64;
        Ok([stat.utime as f64 / ticks, stat.stime as f64 / ticks])
    }
}

/// The figures of one subject.
struct Figures {
    name: &'static str,
    samples: usize,
    /// Milliseconds a scrape in user mode and in the kernel.
    cpu: [f64; 2],
    /// Milliseconds.
    p50: f64,
    p99: f64,
    /// MiB: at the end, and at the peak.
    resident: f64,
    peak: f64,
    /// MiB at the end with the kernel's, eBPF maps included; 0 where there are no cgroups.
    charged: f64,
}

impl Figures {
    fn new(subject: &Subject, before: [f64; 2], mut times: Vec<Duration>) -> Result<Self> {
        times.sort_unstable();
        let quantile = |q: usize| {
            let i = (times.len() * q / 100).min(times.len().saturating_sub(1));
            times.get(i).map_or(0.0, |time| time.as_secs_f64() * 1e3)
        };
        let [user, kernel] = subject.cpu()?;
        let [user_before, kernel_before] = before;
        let scrapes = times.len() as f64;
        let status = subject.process()?.status()?;
        let mib = |kib: Option<u64>| kib.unwrap_or_default() as f64 / 1024.0;
        Ok(Self {
            name: subject.name,
            samples: subject.samples,
            cpu: [user - user_before, kernel - kernel_before].map(|s| s * 1e3 / scrapes),
            p50: quantile(50),
            p99: quantile(99),
            resident: mib(status.vmrss),
            peak: mib(status.vmhwm),
            charged: subject.cgroup.as_ref().map_or(Ok(0.0), Cgroup::held)?,
        })
    }
}

fn print(ours: &Figures, peer: &Figures, scrapes: u32) {
    let kernel = procfs::sys::kernel::Version::current()
        .map_or_else(|_| "unknown".into(), |v| format!("{}.{}", v.major, v.minor));
    println!("{scrapes} scrapes of each, in turn, over loopback; Linux {kernel}\n");
    println!("| | {} | {} | ratio |\n|---|---:|---:|---:|", ours.name, peer.name);
    let row = |what: &str, get: &dyn Fn(&Figures) -> f64| {
        let (a, b) = (get(ours), get(peer));
        println!("| {what} | {a:.2} | {b:.2} | {:.2} |", a / b);
    };
    println!("| samples | {} | {} | |", ours.samples, peer.samples);
    row("CPU per scrape, ms", &|f| f.cpu.iter().sum());
    row("… in user mode, ms", &|f| f.cpu[0]);
    row("… in the kernel, ms", &|f| f.cpu[1]);
    row("time per scrape, median, ms", &|f| f.p50);
    row("time per scrape, 99th percentile, ms", &|f| f.p99);
    row("resident memory, MiB", &|f| f.resident);
    row("resident memory at its peak, MiB", &|f| f.peak);
    row("charged to the control group, MiB", &|f| f.charged);
}
