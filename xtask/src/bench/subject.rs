//! An exporter that is measured, and the figures of its scrapes.

#![expect(clippy::disallowed_methods, reason = "asks a program for its version")]

use crate::{
    cgroup::Cgroup,
    ended::{Ended, ends_along, free_port},
};
use anyhow::{Context as _, Result, bail, ensure};
use flate2::read::MultiGzDecoder;
use nix::{
    time::{ClockId, clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};
use procfs::process::Process;
use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The kernel tells the CPU of each mode in ticks of 10 ms: fewer than these say nothing.
pub(super) const TICKS: f64 = 20.0;

/// A program that is measured; ended when dropped.
pub(super) struct Subject {
    name: &'static str,
    child: Ended,
    url: String,
    client: ureq::Agent,
    clock: ClockId,
    /// The number of samples in one answer.
    samples: usize,
    /// The group that counts its memory with the kernel's; dropped after the child's end.
    cgroup: Option<Cgroup>,
    /// Seconds in user mode and in the kernel before the first scrape that counts.
    before: [f64; 2],
    /// Its CPU before each scrape that counts, and the time of the scrape.
    scrapes: Vec<(Duration, Duration)>,
}

impl Subject {
    pub(super) fn start(name: &'static str, program: &Path, flags: &[String]) -> Result<Self> {
        let port = free_port()?;
        let cgroup = Cgroup::new(name);
        let child = ends_along(&mut Cgroup::command(cgroup.as_ref(), program))
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
        let clock = clock_getcpuclockid(Pid::from_raw(i32::try_from(child.id())?))?;
        let mut subject = Self {
            name,
            child,
            url,
            client,
            clock,
            samples: 0,
            cgroup,
            before: [0.0; 2],
            scrapes: Vec::new(),
        };
        let started = Instant::now();
        while let Err(error) = subject.scrape() {
            if let Some(status) = subject.child.try_wait()? {
                bail!("{}: {status}", program.display());
            }
            if started.elapsed() > Duration::from_secs(20) {
                return Err(error.context(program.display().to_string()));
            }
            thread::sleep(Duration::from_millis(20));
        }
        let mut samples = 0;
        subject.lines(|line| samples += usize::from(!line.starts_with('#')))?;
        subject.samples = samples;
        Ok(subject)
    }

    /// Gives each line of one answer to `each`.
    pub(super) fn lines(&mut self, mut each: impl FnMut(&str)) -> Result<()> {
        // A text that is not packed would take more memory, and raise the peak.
        let packed = self.answer()?;
        for line in BufReader::new(MultiGzDecoder::new(packed.as_slice())).lines() {
            each(&line?);
        }
        Ok(())
    }

    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The answer to a scrape as Prometheus does it: the connection is kept, the answer packed.
    fn answer(&mut self) -> Result<Vec<u8>> {
        let mut answer = self.client.get(&self.url).header("Accept-Encoding", "gzip").call()?;
        let body = answer.body_mut().with_config().limit(u64::MAX).read_to_vec()?;
        ensure!(!body.is_empty(), "{}: an empty answer", self.name);
        Ok(body)
    }

    /// The time of one scrape.
    pub(super) fn scrape(&mut self) -> Result<Duration> {
        let began = Instant::now();
        self.answer()?;
        Ok(began.elapsed())
    }

    /// One scrape that counts.
    pub(super) fn measure(&mut self) -> Result<()> {
        if self.scrapes.is_empty() {
            self.before = self.modes()?;
        }
        let before = self.cpu()?;
        let time = self.scrape()?;
        self.scrapes.push((before, time));
        Ok(())
    }

    fn process(&self) -> Result<Process> {
        Ok(Process::new(i32::try_from(self.child.id())?)?)
    }

    /// The CPU of all threads that ever ran.
    fn cpu(&self) -> Result<Duration> {
        Ok(clock_gettime(self.clock)?.into())
    }

    /// Seconds in user mode and in the kernel, of all threads that ever ran.
    fn modes(&self) -> Result<[f64; 2]> {
        let stat = self.process()?.stat()?;
        let ticks = procfs::ticks_per_second() as f64;
        Ok([stat.utime as f64 / ticks, stat.stime as f64 / ticks])
    }

    /// The figures of all scrapes that counted, but the charged memory.
    fn figures(&self) -> Result<Figures> {
        let [user, kernel] = self.modes()?;
        let [user_before, kernel_before] = self.before;
        let last = self.cpu()?;
        let ends = self.scrapes.iter().skip(1).map(|(before, _)| *before).chain([last]);
        let cpu = ends.zip(&self.scrapes).map(|(end, (begin, _))| end.saturating_sub(*begin));
        let number = self.scrapes.len() as f64;
        let modes = [user - user_before, kernel - kernel_before];
        let is_exact = modes.iter().sum::<f64>() * procfs::ticks_per_second() as f64 >= TICKS;
        let status = self.process()?.status()?;
        let mib = |kib: Option<u64>| kib.unwrap_or_default() as f64 / 1024.0;
        Ok(Figures {
            samples: self.samples,
            cpu: Spread::new(cpu.map(milliseconds).collect()),
            modes: is_exact.then(|| modes.map(|seconds| seconds * 1e3 / number)),
            time: Spread::new(self.scrapes.iter().map(|(_, time)| milliseconds(*time)).collect()),
            resident: mib(status.vmrss),
            peak: mib(status.vmhwm),
            charged: None,
        })
    }

    /// The figures of all scrapes of subjects that were scraped in turn.
    pub(super) fn all_figures(subjects: [&Self; 2]) -> Result<[Figures; 2]> {
        let [a, b] = subjects.map(Self::figures);
        let mut all = [a?, b?];
        // Memory is taken back when nothing else is asked any more: resident pages may go with it.
        // A name below /proc that one has looked up holds the folder that the other has.
        subjects.iter().filter_map(|subject| subject.cgroup.as_ref()).for_each(Cgroup::reclaim);
        for (figures, subject) in all.iter_mut().zip(subjects) {
            figures.charged = subject.cgroup.as_ref().map(Cgroup::held).transpose()?;
        }
        Ok(all)
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The figures of one subject.
pub(super) struct Figures {
    pub(super) samples: usize,
    /// Milliseconds from the begin of each scrape to that of the next one: work after the answer
    /// counts too.
    pub(super) cpu: Spread,
    /// Milliseconds a scrape in user mode and in the kernel; none after too few scrapes.
    pub(super) modes: Option<[f64; 2]>,
    /// Milliseconds.
    pub(super) time: Spread,
    /// MiB: at the end, and at the peak.
    pub(super) resident: f64,
    pub(super) peak: f64,
    /// MiB at the end with the kernel's, eBPF maps included; none where there are no cgroups.
    pub(super) charged: Option<f64>,
}

/// Values of a figure, from the least to the most.
pub(super) struct Spread(Vec<f64>);

impl Spread {
    pub(super) fn new(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        Self(values)
    }

    pub(super) const fn number(&self) -> usize {
        self.0.len()
    }

    pub(super) fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    /// The value that `percent` of all are below.
    pub(super) fn quantile(&self, percent: usize) -> f64 {
        let last = self.0.len().saturating_sub(1);
        self.0.get((self.0.len() * percent / 100).min(last)).copied().unwrap_or(f64::NAN)
    }
}

/// The version that a program tells, as both exporters do.
pub(super) fn version(program: &Path) -> Result<String> {
    let name = || program.display().to_string();
    let output = Command::new(program).arg("--version").output().with_context(name)?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let (_, rest) =
        text.split_once("version ").with_context(|| format!("{}: no version", name()))?;
    Ok(rest.split([' ', ',', '\n']).next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_orders_its_values() {
        let spread = Spread::new(vec![4.0, 1.0, 3.0, 2.0]);
        let quantiles = [0, 50, 99, 100].map(|percent| spread.quantile(percent).to_string());
        assert_eq!(quantiles, ["1", "3", "4", "4"]);
        assert_eq!((spread.number(), spread.mean().to_string()), (4, "2.5".to_owned()));
        let many = Spread::new((0..200).map(f64::from).collect());
        assert_eq!(many.quantile(99).to_string(), "198");
    }
}
