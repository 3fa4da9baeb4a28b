//! The exporter: everything but `main`.
//!
//! In reading order: what a collector is and what it writes to; what it sees of the
//! machine; how it is configured; how a scrape runs them all; how it is served.

pub mod collector;
pub mod collectors;
pub mod error;
pub mod metric;
pub mod parse;
pub mod sink;

pub mod bpf;
pub mod crew;
pub mod host;
pub mod mountinfo;
pub mod netlink;
pub mod tree;

pub mod cli;
pub mod flag;
pub mod log;
pub mod privileges;
pub mod upstream;

pub mod exposition;
pub mod own;
pub mod scrape;
pub mod web;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

/// What every collector's file begins with.
pub mod prelude {
    pub use crate::collector::{Collector, Spec};
    pub use crate::error::{Absent, Error, Malformed, Optional, Result};
    pub use crate::flag::{Filter, Flag, Flags, Pattern, pattern, switch, text, texts};
    pub use crate::host::Host;
    pub use crate::metric::{Metric, counter, gauge, untyped};
    pub use crate::parse::Words;
    pub use crate::sink::Sink;
    pub use crate::tree::{Dir, Entry, File, Folder, Names, Seen, Tree};
}

use anyhow::{Context as _, Result, anyhow};
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
    let host = host::Host::new(flags);
    if flags.get(&cli::BPF_REQUIRED) {
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
    privileges::drop_all_but(&host.bpf, config.collectors.iter().map(|spec| spec.name));
    let threads = usize::try_from(flags.get(&scrape::THREADS)).unwrap_or(1);
    let own = own::Own::new(!flags.get(&web::DISABLE_OWN), host.bpf.clone(), host.own_netstat());
    let enabled = |name: &str| config.collectors.iter().any(|spec| spec.name == name);
    let site = Arc::new(web::Site {
        engine: scrape::Engine::start(collectors, threads, own),
        disabled: collectors::ALL
            .iter()
            .map(|spec| spec.name)
            .filter(|name| !enabled(name))
            .collect(),
        path: flags.get(&web::PATH),
        max_requests: flags.get(&web::MAX_REQUESTS),
        offset: flags.get(&web::OFFSET),
    });
    bpf::trim(); // what the command line and the patterns took while they were read
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(listeners, site))
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
