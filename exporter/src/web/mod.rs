//! HTTP: node_exporter's `/metrics` and landing page.

mod connection;
mod handler;
mod query;

pub use handler::{Site, handle};

use crate::flag::{AnyFlag, Flag, Flags, switch, text};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use std::{
    net::{SocketAddr, TcpListener, ToSocketAddrs as _},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{Semaphore, watch};

/// `--web.listen-address`.
pub const LISTEN: Flag<Vec<String>> = Flag::value(
    "web.listen-address",
    &[":9100"],
    "Addresses on which to expose metrics and web interface. Repeatable for multiple addresses.",
);
/// `--web.telemetry-path`.
pub const PATH: Flag<String> =
    Flag::value("web.telemetry-path", &["/metrics"], "Path under which to expose metrics.");
/// `--web.disable-exporter-metrics`.
pub const DISABLE_OWN: Flag<bool> = switch(
    "web.disable-exporter-metrics",
    false,
    "Exclude metrics about the exporter itself (promhttp_*, process_*, go_*).",
);
/// `--web.max-requests`.
pub const MAX_REQUESTS: Flag<u64> = Flag::value(
    "web.max-requests",
    &["40"],
    "Maximum number of parallel scrape requests. Use 0 to disable.",
);
/// `--web.scrape-timeout-offset`.
pub const OFFSET: Flag<Duration> = Flag::value(
    "web.scrape-timeout-offset",
    &["0.5s"],
    "How long before the scrape's timeout collectors are no longer waited for.",
);
const CONFIG: Flag<String> = text("web.config.file", "Not supported yet.").hidden();
const SYSTEMD: Flag<bool> = switch("web.systemd-socket", false, "Not supported yet.").hidden();

/// The flags of this module.
pub static FLAGS: &[&dyn AnyFlag] =
    &[&PATH, &DISABLE_OWN, &MAX_REQUESTS, &LISTEN, &OFFSET, &CONFIG, &SYSTEMD];

/// Connections at the same time; further ones wait to be accepted.
const CONNECTIONS: usize = 512;

/// Refuses what is not there yet.
///
/// # Errors
/// The flag that asks for it.
pub fn check(flags: &Flags) -> Result<(), String> {
    if !flags.get(&CONFIG).is_empty() {
        return Err("--web.config.file: TLS and authentication are not supported yet".into());
    }
    if flags.get(&SYSTEMD) {
        return Err("--web.systemd-socket: socket activation is not supported yet".into());
    }
    if let Some(address) = flags.get(&LISTEN).iter().find(|a| a.starts_with("vsock://")) {
        return Err(format!("--web.listen-address={address}: vsock is not supported yet"));
    }
    Ok(())
}

/// Binds one `--web.listen-address`: `:9100` is every address of both families, a host name
/// its first address, IPv4 before IPv6.
///
/// # Errors
/// It is no address, or cannot be bound.
pub fn bind(address: &str) -> Result<TcpListener, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("listen tcp {address}: {error}");
    let listener = match address.strip_prefix(':') {
        Some(port) => {
            let port: u16 = port.parse().map_err(|_| wrong(&"no port number"))?;
            TcpListener::bind(SocketAddr::from(([0_u16; 8], port)))
                .or_else(|_| TcpListener::bind(SocketAddr::from(([0_u8; 4], port))))
        }
        None => {
            let mut all: Vec<SocketAddr> =
                address.to_socket_addrs().map_err(|error| wrong(&error))?.collect();
            all.sort_by_key(SocketAddr::is_ipv6);
            TcpListener::bind(all.first().ok_or_else(|| wrong(&"no such host"))?)
        }
    };
    let listener = listener.map_err(|error| wrong(&error))?;
    listener.set_nonblocking(true).map_err(|error| wrong(&error))?;
    Ok(listener)
}

/// Serves until `stop` changes; then running scrapes are finished.
pub async fn serve(listener: TcpListener, site: Arc<Site>, mut stop: watch::Receiver<bool>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "cannot listen"),
    };
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            _ = stop.changed() => break,
            accepted = async {
                let place = Arc::clone(&free).acquire_owned().await;
                listener.accept().await.map(|(stream, _)| (stream, place))
            } => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let site = Arc::clone(&site);
                let stop = stop.clone();
                tokio::spawn(async move {
                    let _ = stream.set_nodelay(true);
                    serve_connection(stream, site, stop).await;
                    drop(place);
                });
            }
            Err(error) => {
                // No descriptors left, or the client has gone: neither ends the exporter.
                tracing::debug!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    // Every connection ends once its request is answered; silent ones at once.
    let all = u32::try_from(CONNECTIONS).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(Duration::from_secs(30), free.acquire_many(all)).await;
}

async fn serve_connection(
    stream: tokio::net::TcpStream,
    site: Arc<Site>,
    mut stop: watch::Receiver<bool>,
) {
    let (stream, guard) = connection::guard(stream);
    let watched = guard.clone();
    let router = axum::Router::new().fallback(move |request| {
        let (site, guard) = (Arc::clone(&site), watched.clone());
        async move {
            let _under_way = guard.request();
            handle(&site, request).await
        }
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .max_buf_size(64 << 10)
        .max_headers(100)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut serving = std::pin::pin!(serving);
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = serving.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended");
                }
                return;
            }
            reason = guard.expired() => return tracing::debug!(reason, "connection closed"),
            _ = stop.changed(), if !stopping => {
                stopping = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}
