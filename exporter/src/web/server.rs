//! Accepts connections and serves each in a task of its own.

use super::{
    connection,
    handler::{Site, handle},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use std::{net::TcpListener, sync::Arc, time::Duration};
use tokio::sync::{Semaphore, watch};

/// Connections at the same time; further ones wait to be accepted.
const CONNECTIONS: usize = 512;

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
