//! The exporter's own metrics: its build and the counters of its scrapes (`promhttp_*`), put with
//! each answer; the process (`process_*`) and the programs in the kernel (`node_bpf_*`), each read
//! by a collector that the engine runs like any other.

use crate::{
    collector::Collector,
    error::{Error, Malformed, Result},
    exposition::{Metric, Sink, counter, gauge},
    host::{
        Shared,
        bpf::{AllFigures, Bpf},
        tree::{SingleFile, Tree},
    },
    parse,
};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use rustix::process::Resource;
use serde::Serialize;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

static BUILD: Metric<7> = gauge(
    "node_exporter_build_info",
    "A metric with a constant '1' value labeled by version, revision, branch, goversion from which node_exporter was built, and the goos and goarch for the build.",
)
.by(["branch", "goarch", "goos", "goversion", "revision", "tags", "version"]);
static ERRORS: Metric<1> = counter(
    "promhttp_metric_handler_errors_total",
    "Total number of internal errors encountered by the promhttp metric handler.",
)
.by(["cause"]);
static IN_FLIGHT: Metric =
    gauge("promhttp_metric_handler_requests_in_flight", "Current number of scrapes being served.");
static REQUESTS: Metric<1> = counter(
    "promhttp_metric_handler_requests_total",
    "Total number of scrapes by HTTP status code.",
)
.by(["code"]);
static LOST_LINES: Metric = counter(
    "process_log_lines_dropped_total",
    "Number of log lines that were dropped because standard error could not be written.",
);
static CPU: Metric =
    counter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.");
static MAX_FDS: Metric = gauge("process_max_fds", "Maximum number of open file descriptors.");
static OPEN_FDS: Metric = gauge("process_open_fds", "Number of open file descriptors.");
static RESIDENT: Metric = gauge("process_resident_memory_bytes", "Resident memory size in bytes.");
static VIRTUAL: Metric = gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.");
static VIRTUAL_MAX: Metric = gauge(
    "process_virtual_memory_max_bytes",
    "Maximum amount of virtual memory available in bytes.",
);
static START: Metric =
    gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.");
static RECEIVED: Metric = counter(
    "process_network_receive_bytes_total",
    "Number of bytes received by the process over the network.",
);
static SENT: Metric = counter(
    "process_network_transmit_bytes_total",
    "Number of bytes sent by the process over the network.",
);

/// All of the exporter's own metrics.
pub struct Own {
    /// The counters of scrapes.
    pub counts: Counts,
    /// Collectors that every scrape asks, with their names in the log.
    pub collectors: Vec<(&'static str, Box<dyn Collector>)>,
    /// The programs in the kernel, for the status.
    pub bpf: Bpf,
}

impl Own {
    /// `exposed` is false with `--web.disable-exporter-metrics`: then neither `process_*` nor
    /// `promhttp_*` is exposed. `netstat` is `net/netstat` of this process.
    #[must_use]
    pub fn new(exposed: bool, bpf: Bpf, netstat: Shared<SingleFile>) -> Self {
        let mut collectors: Vec<(&str, Box<dyn Collector>)> =
            vec![("exporter's programs", Box::new(Programs(bpf.clone(), Default::default())))];
        if exposed {
            match Process::new(netstat) {
                Ok(process) => collectors.push(("exporter's process", Box::new(process))),
                Err(error) => {
                    tracing::warn!(%error, "process_* is left out: cannot read /proc/self");
                }
            }
        }
        Self { counts: Counts::new(exposed), collectors, bpf }
    }

    /// The same, with the number of lines that the log loses.
    #[must_use]
    pub fn with_lost_lines(mut self, lost: Arc<AtomicU64>) -> Self {
        self.counts.lost_lines = lost;
        self
    }
}

/// The outcome of a request for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The request was served, or its client left.
    Ok,
    /// The answer could not be rendered.
    Failed,
    /// Too many requests were under way.
    Refused,
}

/// The numbers of requests for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Scrapes {
    /// Not answered yet.
    pub under_way: u64,
    /// Answered with metrics, or given up by the client.
    pub served: u64,
    /// Answered with status 500.
    pub failed: u64,
    /// Answered with status 503, since too many were under way.
    pub refused: u64,
}

/// Counters of the handler; cheap to clone, all clones count together.
#[derive(Clone)]
pub struct Counts {
    /// Whether `promhttp_*` is exposed.
    exposed: bool,
    in_flight: Gauge,
    ok: Counter,
    failed: Counter,
    refused: Counter,
    encoding: Counter,
    gathering: Counter,
    lost_lines: Arc<AtomicU64>,
}

impl Counts {
    fn new(exposed: bool) -> Self {
        Self {
            exposed,
            in_flight: Gauge::default(),
            ok: Counter::default(),
            failed: Counter::default(),
            refused: Counter::default(),
            encoding: Counter::default(),
            gathering: Counter::default(),
            lost_lines: Arc::default(),
        }
    }

    /// Counts the beginning of a scrape, and returns the number of scrapes under way, including
    /// this one.
    pub fn begin(&self) -> i64 {
        self.in_flight.inc() + 1
    }

    /// Counts the end of a scrape that was counted by [`Counts::begin`].
    pub fn end(&self, status: Status) {
        self.in_flight.dec();
        match status {
            Status::Ok => self.ok.inc(),
            Status::Failed => self.failed.inc(),
            Status::Refused => self.refused.inc(),
        };
    }

    /// The scrapes under way and those that have ended, exposed or not.
    #[must_use]
    pub fn scrapes(&self) -> Scrapes {
        let Self { in_flight, ok, failed, refused, .. } = self;
        Scrapes {
            under_way: in_flight.get().try_into().unwrap_or_default(),
            served: ok.get(),
            failed: failed.get(),
            refused: refused.get(),
        }
    }

    /// Counts an answer that left out conflicting samples.
    pub fn gathering_failed(&self) {
        self.gathering.inc();
    }

    /// Counts an answer that could not be rendered.
    pub fn encoding_failed(&self) {
        self.encoding.inc();
    }

    /// Puts the build, and the counters where they are exposed.
    pub fn put(&self, out: &mut Sink) {
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let version = env!("CARGO_PKG_VERSION");
        out.put(&BUILD, [&"", &arch, &"linux", &"", &"", &"", &version], 1);
        if !self.exposed {
            return;
        }
        out.put(&ERRORS, [&"encoding"], self.encoding.get());
        out.put(&ERRORS, [&"gathering"], self.gathering.get());
        out.put(&IN_FLIGHT, [], self.in_flight.get());
        out.put(&REQUESTS, [&"200"], self.ok.get());
        out.put(&REQUESTS, [&"500"], self.failed.get());
        out.put(&REQUESTS, [&"503"], self.refused.get());
        out.put(&LOST_LINES, [], self.lost_lines.load(Relaxed));
    }
}

/// The state and cost of the programs in the kernel, and room for the figures of the next scrape.
struct Programs(Bpf, AllFigures);

impl Collector for Programs {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self(bpf, figures) = self;
        bpf.collect(out, figures);
        bpf.keep_figures(figures);
        Ok(())
    }
}

/// This process as `/proc/self` shows it.
struct Process {
    /// The process's folder, to count its descriptors.
    folder: procfs::process::Process,
    stat: SingleFile,
    netstat: Shared<SingleFile>,
    /// Seconds since 1970.
    start: f64,
}

impl Process {
    fn new(netstat: Shared<SingleFile>) -> procfs::ProcResult<Self> {
        use procfs::CurrentSI as _;
        let folder = procfs::process::Process::myself()?;
        // Computed once: the boot time is in `/proc/stat`, the most expensive file of the kernel.
        let boot = procfs::KernelStats::current()?.btime as f64;
        let start = boot + folder.stat()?.starttime as f64 / procfs::ticks_per_second() as f64;
        Ok(Self { folder, stat: Tree::new("/proc/self").single_file("stat"), netstat, start })
    }

    fn put_stat(&mut self, out: &mut Sink) -> Result {
        use procfs::{FromRead as _, WithCurrentSystemInfo as _};
        let stat = procfs::process::Stat::from_read(self.stat.bytes()?).map_err(refused)?;
        out.put(&CPU, [], (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64);
        out.put(&VIRTUAL, [], stat.vsize);
        out.put(&RESIDENT, [], stat.rss_bytes().get());
        out.put(&START, [], self.start);
        out.put(&OPEN_FDS, [], self.folder.fd_count().map_err(refused)?);
        Ok(())
    }

    fn put_octets(&self, out: &mut Sink) -> Result {
        let [received, sent] = self.netstat.parse(out.scrape(), octets)?;
        out.put(&RECEIVED, [], received);
        out.put(&SENT, [], sent);
        Ok(())
    }
}

impl Collector for Process {
    fn collect(&mut self, out: &mut Sink) -> Result {
        out.put(&MAX_FDS, [], limit(Resource::Nofile));
        out.put(&VIRTUAL_MAX, [], limit(Resource::As));
        let stat = self.put_stat(out);
        stat.and(self.put_octets(out))
    }
}

/// The error of a file in `/proc/self` that could not be read.
fn refused(error: procfs::ProcError) -> Error {
    Error::Source { source_name: "/proc/self", error: error.into() }
}

/// Bytes received and sent by IP, of the whole network namespace: `IpExt` in `net/netstat`, a
/// line of names over a line of numbers. 0 where the kernel does not count them.
fn octets(text: &str) -> Result<[u64; 2], Malformed> {
    let mut lines = parse::lines(text).filter_map(|line| line.strip_prefix("IpExt: "));
    let (Some(names), Some(numbers)) = (lines.next(), lines.next()) else { return Ok([0; 2]) };
    let mut octets = [0; 2];
    for (name, number) in names.split(' ').zip(numbers.split(' ')) {
        match name {
            "InOctets" => octets[0] = parse::number("InOctets", number)?,
            "OutOctets" => octets[1] = parse::number("OutOctets", number)?,
            _ => {}
        }
    }
    Ok(octets)
}

/// A soft limit; no limit is the largest number, as in Go's client.
fn limit(resource: Resource) -> u64 {
    rustix::process::getrlimit(resource).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::malformed;

    #[test]
    fn octets_are_those_of_ip() {
        let text = "TcpExt: InOctets\nTcpExt: 1\nIpExt: InNoRoutes InOctets OutOctets New\nIpExt: 3 4 5 x\n";
        assert_eq!(octets(text), Ok([4, 5]));
        assert_eq!(octets("TcpExt: InOctets\nTcpExt: 1\n"), Ok([0, 0]));
        assert_eq!(malformed(octets("IpExt: OutOctets\nIpExt: x\n")), "bad OutOctets: \"x\"");
    }

    #[test]
    fn this_process_has_started_and_has_memory() {
        let mut out = Sink::default();
        out.begin(1);
        let netstat = Shared::new(Tree::new("/proc").single_file("net/netstat"));
        let Own { counts, mut collectors, .. } = Own::new(true, Bpf::off(), netstat);
        counts.put(&mut out);
        for (name, collector) in &mut collectors {
            collector.collect(&mut out).expect(name);
        }
        let names: Vec<&str> = out.families().map(crate::exposition::Family::name).collect();
        for family in [&CPU, &RESIDENT, &START, &OPEN_FDS, &MAX_FDS, &VIRTUAL_MAX, &RECEIVED] {
            assert!(names.contains(&&*family.name), "{}", family.name);
        }
    }
}
