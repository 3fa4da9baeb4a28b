//! The handler of requests behind a server, on connections that are no sockets.

use exporter::{
    collectors::ALL,
    host::{Host, Namespace},
    scrape::{Engine, own::Own},
    testing::{fixture, flags, paths},
    web::{Privileges, Site, handle, places},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use std::{sync::Arc, time::Duration};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Serves two small collectors of the baseline machine.
pub struct Server {
    site: Arc<Site>,
    runtime: tokio::runtime::Runtime,
}

impl Server {
    /// Starts the collectors.
    pub fn new() -> Self {
        let flags = flags(&paths(&fixture("baseline")));
        let host = Host::new(&flags);
        let collectors = ["loadavg", "uname"]
            .iter()
            .filter_map(|name| ALL.iter().find(|spec| spec.name == *name))
            .map(|spec| (spec.name, (spec.new)(&host, &flags).expect("a collector")))
            .collect();
        let own = Own::new(false, host.bpf.clone(), host.own_netstat());
        let site = Site {
            engine: Engine::start(collectors, 1, own, Namespace::own()),
            disabled: vec!["arp"],
            path: "/metrics".into(),
            max_requests: 40,
            timeout: Duration::from_secs(30),
            offset: Duration::from_millis(500),
            guard: None,
            places: places(0),
            started: std::time::SystemTime::UNIX_EPOCH,
            privileges: Privileges::default(),
        };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        Self { site: Arc::new(site), runtime }
    }

    /// A client sends `data` and closes its side: it gets nothing but answers, none of them an
    /// error of the server. Another client then gets its metrics.
    pub fn feed(&self, data: &[u8]) {
        let answers = self.exchange(data);
        assert!(answers.is_empty() || answers.starts_with(b"HTTP/1."));
        assert!(!answers.starts_with(b"HTTP/1.1 500") && !answers.starts_with(b"HTTP/1.0 500"));
        let good = self.exchange(b"GET /metrics?collect[]=loadavg HTTP/1.0\r\n\r\n");
        assert!(good.starts_with(b"HTTP/1.0 200") && good.ends_with(b"\n"));
    }

    /// The same for the headers that a scrape is negotiated by: `data` up to its first NUL is
    /// `Accept`, the rest `Accept-Encoding`.
    pub fn negotiate(&self, data: &[u8]) {
        let line = |text: &[u8]| -> Vec<u8> {
            text.iter().map(|byte| if matches!(byte, 0..b' ' | 0x7f) { b' ' } else { *byte }).collect()
        };
        let (accept, encoding) = data.split_at(data.iter().position(|b| *b == 0).unwrap_or(data.len()));
        let (accept, encoding) = (line(accept), line(encoding));
        let ask = |path: &str| {
            let start = format!("GET {path} HTTP/1.0\r\nAccept: ");
            let request = [
                start.as_bytes(),
                &accept,
                b"\r\nAccept-Encoding: ",
                &encoding,
                b"\r\n\r\n",
            ];
            let answer = self.exchange(&request.concat());
            let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
            let (head, body) = answer.split_at(end + 4);
            let head = String::from_utf8_lossy(head).to_lowercase();
            assert!(head.starts_with("http/1.0 200") || head.starts_with("http/1.0 431"), "{head}");
            (head, body.to_vec())
        };
        let (head, body) = ask("/status");
        if head.contains("content-type: application/json") {
            assert!(body.starts_with(b"{") && body.ends_with(b"}\n"));
        } else if head.starts_with("http/1.0 200") {
            assert!(body.starts_with(b"<!DOCTYPE html>") && body.ends_with(b"</html>"));
        }
        let (head, body) = ask("/metrics?collect[]=loadavg");
        if head.contains("content-encoding: gzip") {
            assert!(body.starts_with(b"\x1f\x8b"));
        } else if head.contains("content-type: text/plain; version=0.0.4;") {
            assert!(body.starts_with(b"# HELP ") && body.ends_with(b"\n"));
        } else if head.starts_with("http/1.0 200") {
            assert!(head.contains("proto=io.prometheus.client.metricfamily; encoding="), "{head}");
        }
    }

    fn exchange(&self, data: &[u8]) -> Vec<u8> {
        let site = Arc::clone(&self.site);
        self.runtime.block_on(async move {
            let (mut client, server) = tokio::io::duplex(1 << 20);
            let router = axum::Router::new().fallback(move |request| {
                let site = Arc::clone(&site);
                async move { handle(&site, request).await }
            });
            let serving = tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .max_buf_size(64 << 10)
                    .max_headers(100)
                    .half_close(true)
                    .serve_connection(TokioIo::new(server), TowerToHyperService::new(router)),
            );
            let exchanged = async {
                let _ = client.write_all(data).await; // refused already
                let _ = client.shutdown().await;
                let mut answers = Vec::new();
                let _ = client.read_to_end(&mut answers).await;
                answers
            };
            let answers = tokio::time::timeout(Duration::from_secs(20), exchanged).await;
            let ended = tokio::time::timeout(Duration::from_secs(20), serving).await;
            ended.expect("the connection ends").expect("no panic").ok();
            answers.expect("an end of the answers")
        })
    }
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}
