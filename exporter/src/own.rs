//! What the exporter counts of itself: `promhttp_*`, `process_*` and its build.

use crate::{
    metric::{Metric, counter, gauge},
    sink::Sink,
};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

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

/// Counters of the handler; cheap to clone, all clones count together.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// Whether `process_*` and `promhttp_*` are exposed.
    exposed: bool,
    in_flight: Gauge,
    ok: Counter,
    unavailable: Counter,
    failed: Counter,
}

impl Own {
    /// `exposed` is false with `--web.disable-exporter-metrics`.
    #[must_use]
    pub fn new(exposed: bool) -> Self {
        Self { exposed, ..Self::default() }
    }

    /// A scrape begins; the number of those under way, this one included.
    pub fn begin(&self) -> i64 {
        self.in_flight.inc() + 1
    }

    /// A scrape ended: served, or refused because too many were under way.
    pub fn end(&self, served: bool) {
        self.in_flight.dec();
        if served {
            self.ok.inc()
        } else {
            self.unavailable.inc()
        };
    }

    /// Something could not be exposed as it was collected.
    pub fn gathering_failed(&self) {
        self.failed.inc();
    }

    /// Puts all of it.
    pub fn collect(&self, out: &mut Sink) {
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
        out.put(&ERRORS, [&"encoding"], 0);
        out.put(&ERRORS, [&"gathering"], self.failed.get());
        out.put(&IN_FLIGHT, [], self.in_flight.get());
        out.put(&REQUESTS, [&"200"], self.ok.get());
        out.put(&REQUESTS, [&"500"], 0);
        out.put(&REQUESTS, [&"503"], self.unavailable.get());
        if let Err(error) = process(out) {
            tracing::debug!(%error, "cannot read this process's own figures");
        }
    }
}

fn process(out: &mut Sink) -> procfs::ProcResult<()> {
    use procfs::{CurrentSI as _, WithCurrentSystemInfo as _};
    let own = procfs::process::Process::myself()?;
    let stat = own.stat()?;
    let ticks = procfs::ticks_per_second() as f64;
    out.put(&CPU, [], (stat.utime + stat.stime) as f64 / ticks);
    out.put(&VIRTUAL, [], stat.vsize);
    out.put(&RESIDENT, [], stat.rss_bytes().get());
    let boot = procfs::KernelStats::current()?.btime as f64;
    out.put(&START, [], boot + stat.starttime as f64 / ticks);
    let limits = own.limits()?;
    out.put(&MAX_FDS, [], limit(limits.max_open_files.soft_limit));
    out.put(&VIRTUAL_MAX, [], limit(limits.max_address_space.soft_limit));
    out.put(&OPEN_FDS, [], own.fd_count()?);
    let (mut received, mut sent) = (0, 0);
    for device in own.dev_status()?.values() {
        received += device.recv_bytes;
        sent += device.sent_bytes;
    }
    out.put(&RECEIVED, [], received);
    out.put(&SENT, [], sent);
    Ok(())
}

/// `unlimited` is the largest number, as Go's client has it.
const fn limit(value: procfs::process::LimitValue) -> u64 {
    match value {
        procfs::process::LimitValue::Unlimited => u64::MAX,
        procfs::process::LimitValue::Value(value) => value,
    }
}
