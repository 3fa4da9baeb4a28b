//! The life of the exporter: from the flags to the first scrape, and from SIGTERM to the end.

use crate::{
    cli, collector::Collector, collectors, flag::Flags, host, log, memory, privileges, scrape, web,
};
use anyhow::{Context as _, Result, anyhow};
use std::{
    io::{self, Write as _},
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Serves with this configuration until SIGTERM or SIGINT.
///
/// # Errors
/// A collector's flags contradict each other, an address cannot be bound, or eBPF is required and
/// refused. Every error has been logged already.
pub fn run(config: &cli::Config) -> Result<()> {
    let started = SystemTime::now();
    let flags = &config.flags;
    memory::map_large_blocks();
    #[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
    host::names::look_up_without_libraries();
    let taken_up = privileges::take_up();
    let host = host::Host::new(flags);
    // Takes variables out of the environment, and so precedes all threads.
    let activated = flags.get(&web::SYSTEMD).then(web::Listener::activated);
    // `keep` forks, and so precedes the start of the log's thread.
    let kept = host.bpf.keep(|keep| privileges::restrict(keep).map(drop));
    let (level, format) = (flags.get(&log::LEVEL), flags.get(&log::FORMAT));
    let log = log::start(level, format, privileges::drop_all).inspect_err(|error| {
        let _ = writeln!(io::stderr(), "bpf_node_exporter: error: no thread for the log: {error}");
    })?;
    if let Err(errno) = taken_up {
        tracing::warn!("Capabilities of the program's file are not in effect: {errno}");
    }
    start(config, &host, started, kept, activated, &log)
        .inspect_err(|error| tracing::error!("{error:#}"))
}

fn start(
    config: &cli::Config,
    host: &host::Host,
    started: SystemTime,
    kept: io::Result<()>,
    activated: Option<Result<Vec<web::Listener>, String>>,
    log: &log::Log,
) -> Result<()> {
    let flags = &config.flags;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "Starting bpf_node_exporter");
    let descriptors = web::raise_descriptors();
    if let Err(error) = kept {
        tracing::warn!("The eBPF maps cannot grow later: {error}");
    }
    anyhow::ensure!(
        descriptors >= web::FEWEST_DESCRIPTORS,
        "{descriptors} open files are too few, it takes {} at least: {RAISE}",
        web::FEWEST_DESCRIPTORS
    );
    spare_descriptors()?;
    folders(host, flags)?;
    let namespace = host::Namespace::of(flags).map_err(|error| anyhow!(error))?;
    let collectors = namespace.run({
        let (host, config) = (host.clone(), config.clone());
        move || collectors(&host, &config)
    })??;
    if flags.get(&host::bpf::REQUIRED) {
        host.bpf.complete().map_err(|error| anyhow!("--bpf.required: ebpf: {error}"))?;
    }
    host.bpf.release();
    let guard = guard(flags)?;
    let listeners = match activated {
        Some(activated) => {
            tracing::info!("Listening on systemd activated listeners instead of port listeners.");
            activated
        }
        None => flags.get(&web::LISTEN).iter().map(|a| web::Listener::bind(a)).collect(),
    };
    let listeners = listeners.map_err(|error| anyhow!(error))?;
    let needs = privileges::needed(&host.bpf, &config.collectors, guard.is_some());
    let keep = privileges::sum(&needs);
    let kept = namespace.run_in_both(move || privileges::drop_all_but(keep))?;
    let privileges = privileges::listed(&needs, kept);
    let threads = usize::try_from(flags.get(&scrape::THREADS)).unwrap_or(1);
    let own =
        scrape::own::Own::new(!flags.get(&web::DISABLE_OWN), host.bpf.clone(), host.own_netstat())
            .with_lost_lines(log.lost());
    let enabled = |name: &str| config.collectors.iter().any(|spec| spec.name == name);
    let site = Arc::new(web::Site {
        engine: scrape::Engine::start(collectors, threads, own, namespace),
        disabled: collectors::ALL
            .iter()
            .map(|spec| spec.name)
            .filter(|name| !enabled(name))
            .collect(),
        path: flags.get(&web::PATH),
        max_requests: flags.get(&web::MAX_REQUESTS),
        timeout: flags.get(&web::TIMEOUT),
        offset: flags.get(&web::OFFSET),
        guard,
        places: web::places(descriptors),
        started,
        privileges,
    });
    spare_descriptors()?;
    memory::trim(); // memory that reading the command line and the patterns has freed
    memory::forget_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(listeners, site))
}

/// Makes the collectors, with their names.
fn collectors(
    host: &host::Host,
    config: &cli::Config,
) -> Result<Vec<(&'static str, Box<dyn Collector>)>> {
    let mut collectors = Vec::with_capacity(config.collectors.len());
    tracing::info!("Enabled collectors");
    for spec in &config.collectors {
        tracing::info!("{}", spec.name);
        let collector =
            (spec.new)(host, &config.flags).with_context(|| format!("collector {}", spec.name))?;
        collectors.push((spec.name, collector));
    }
    Ok(collectors)
}

/// Reads `--web.config.file`. Keys and hashes may be in it at any later time, so from then on no
/// other process sees this one's memory, and no core is dumped.
fn guard(flags: &Flags) -> Result<Option<web::Guard>> {
    let path = flags.get(&web::CONFIG);
    if path.is_empty() {
        return Ok(None);
    }
    privileges::hide_memory();
    let guard = web::Guard::open(&path);
    guard.map(Some).map_err(|error| anyhow!("--web.config.file={path}: {error}"))
}

const RAISE: &str = "raise the limit (ulimit -n, LimitNOFILE= of a unit)";

/// Makes sure that a few more files can be opened: tokio panics where it cannot open its own.
///
/// # Errors
/// The limit is reached.
fn spare_descriptors() -> Result<()> {
    const NEEDED: usize = 12;
    let mut spare = Vec::with_capacity(NEEDED);
    for _ in 0..NEEDED {
        let file =
            rustix::io::dup(io::stderr()).map_err(|_| anyhow!("too many open files: {RAISE}"))?;
        spare.push(file);
    }
    Ok(())
}

/// Refuses a start without procfs or sysfs, which nearly all collectors read; without one of the
/// other two folders, which few collectors read, only warns.
fn folders(host: &host::Host, flags: &Flags) -> Result<()> {
    for (flag, tree) in [("procfs", &host.proc), ("sysfs", &host.sys)] {
        let path = tree.root();
        anyhow::ensure!(path.is_dir(), "--path.{flag}={}: it is no directory", path.display());
    }
    for (name, tree) in [("path.rootfs", &host.root), ("path.udev.data", &host.udev)] {
        let given = host::FLAGS.iter().any(|flag| flag.name() == name && flags.gives(*flag));
        if given && !tree.root().is_dir() {
            tracing::warn!("--{name}={}: it is no directory", tree.root().display());
        }
    }
    Ok(())
}

/// Forgets the pages that only the first scrapes have used, and those around them, which the kernel
/// mapped, too.
async fn forget_first_scrapes(site: Arc<web::Site>) {
    const FIRST: u64 = 3;
    const LOOK: Duration = Duration::from_secs(2);
    while site.engine.counts().scrapes().served < FIRST {
        tokio::time::sleep(LOOK).await;
    }
    memory::forget_files();
}

async fn serve(listeners: Vec<web::Listener>, site: Arc<web::Site>) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut asked = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    for listener in &listeners {
        let address = listener.address();
        tracing::info!(address, "Listening on");
        let has_tls = site.guard.as_ref().is_some_and(web::Guard::has_tls);
        let state = if has_tls { "TLS is enabled." } else { "TLS is disabled." };
        let http2 = site.guard.as_ref().is_some_and(web::Guard::has_http2);
        tracing::info!(http2, address, "{state}");
    }
    let (stop, stopped) = tokio::sync::watch::channel(false);
    web::feed_watchdog(&site.engine);
    tokio::spawn(forget_first_scrapes(Arc::clone(&site)));
    let server = tokio::spawn(web::serve(listeners, site, stopped));
    web::notify("READY=1");
    asked().await;
    tracing::info!("Stopping");
    web::notify("STOPPING=1");
    let _ = stop.send(true);
    tokio::select! {
        _ = server => {}
        () = asked() => tracing::info!("Second signal: not waiting for scrapes"),
    }
    Ok(())
}
