//! The life of the exporter: from the flags to the first scrape, and from SIGTERM to the end.

use crate::{cli, collectors, flag::Flags, host, log, privileges, scrape, upstream, web};
use anyhow::{Context as _, Result, anyhow};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::sync::Arc;

/// Serves what `config` asks for until SIGTERM or SIGINT.
///
/// # Errors
/// A collector's flags contradict each other, an address cannot be bound, or eBPF is required
/// and refused.
pub fn run(config: &cli::Config) -> Result<()> {
    let flags = &config.flags;
    log::start(flags.get(&log::LEVEL), flags.get(&log::FORMAT));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "Starting bpf_node_exporter");
    if !config.missing.is_empty() {
        let collectors = config.missing.join(",");
        tracing::warn!(collectors, "Not built yet, ignored");
    }
    descriptors()?;
    let host = host::Host::new(flags);
    folders(&host, flags)?;
    if flags.get(&host::bpf::REQUIRED) {
        host.bpf.neighbours().map_err(|error| anyhow!("--bpf.required: ebpf: {error}"))?;
    }
    let mut collectors = Vec::with_capacity(config.collectors.len());
    tracing::info!("Enabled collectors");
    for spec in &config.collectors {
        tracing::info!("{}", spec.name);
        let collector =
            (spec.new)(&host, flags).with_context(|| format!("collector {}", spec.name))?;
        collectors.push((spec.name, collector));
    }
    let mut listeners = Vec::new();
    for address in flags.get(&web::LISTEN) {
        let listener = web::bind(&address).map_err(|error| anyhow!(error))?;
        listeners.push(listener);
    }
    privileges::drop_all_but(&host.bpf, &config.collectors);
    let threads = usize::try_from(flags.get(&scrape::THREADS)).unwrap_or(1);
    let own =
        scrape::own::Own::new(!flags.get(&web::DISABLE_OWN), host.bpf.clone(), host.own_netstat());
    let enabled = |name: &str| config.collectors.iter().any(|spec| spec.name == name);
    let site = Arc::new(web::Site {
        engine: scrape::Engine::start(collectors, threads, own),
        disabled: collectors::ALL
            .iter()
            .map(|spec| spec.name)
            .filter(|name| !enabled(name))
            .chain(upstream::COLLECTORS.iter().copied())
            .collect(),
        path: flags.get(&web::PATH),
        max_requests: flags.get(&web::MAX_REQUESTS),
        offset: flags.get(&web::OFFSET),
    });
    descriptors()?;
    host::bpf::trim(); // what the command line and the patterns took while they were read
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(listeners, site))
}

/// Raises the limit of open files as far as is allowed, and makes sure that a few more can be
/// opened: tokio panics where it cannot open its own.
fn descriptors() -> Result<()> {
    const NEEDED: usize = 12;
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit); // the limit stays, which may be enough
    let mut spare = Vec::with_capacity(NEEDED);
    for _ in 0..NEEDED {
        let file = rustix::io::dup(std::io::stderr()).map_err(|_| {
            anyhow!("too many open files: raise the limit (ulimit -n, LimitNOFILE= of a unit)")
        })?;
        spare.push(file);
    }
    Ok(())
}

/// Without procfs and sysfs there is nothing to serve; the other two serve a few collectors.
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

async fn serve(listeners: Vec<std::net::TcpListener>, site: Arc<web::Site>) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    for listener in &listeners {
        let address = listener.local_addr()?.to_string();
        tracing::info!(address, "Listening on");
    }
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let servers: Vec<_> = (listeners.into_iter())
        .map(|listener| tokio::spawn(web::serve(listener, Arc::clone(&site), stopped.clone())))
        .collect();
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("Stopping");
    let _ = stop.send(true);
    for server in servers {
        let _ = server.await;
    }
    Ok(())
}
