//! The guard before the pages where `--web.config.file` is given: the limit of requests, headers,
//! names and passwords, and the settings of TLS connections. The file counts as it is at the
//! time of each request and of each handshake.

mod bucket;
mod hash;
mod queue;
mod users;

use super::{
    config::{Config, Source},
    handler::{NO_SNIFF, PLAIN},
    tls,
};
use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use bucket::Bucket;
use rustls::ServerConfig;
use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};
use users::{Users, Verdict};
use zeroize::Zeroizing;

/// The address that a request comes from, unless it comes by a socket that has none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub Option<IpAddr>);

/// The settings of one handshake.
pub(super) struct Handshake {
    pub server: Arc<ServerConfig>,
    /// Whether a client without a certificate is turned away after it.
    pub needs_certificate: bool,
}

/// The file, and the state that is kept between requests.
#[derive(Debug)]
pub struct Guard {
    source: Source,
    /// As the file was at the start.
    has_tls: bool,
    /// As the file was at the start.
    http2: bool,
    /// As the file was at the start.
    limit: Option<Mutex<Bucket>>,
    users: Users,
    requests: Faults,
    handshakes: Faults,
}

/// The fault that was logged last, while it lasts.
#[derive(Debug, Default)]
struct Faults(Mutex<Option<String>>);

impl Faults {
    /// Logs a fault that is news.
    fn hear(&self, fault: Option<&str>) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_deref() == fault {
            return;
        }
        *last = fault.map(str::to_owned);
        drop(last);
        if let Some(err) = fault {
            tracing::error!(err, "Unable to parse configuration");
        }
    }
}

impl Guard {
    /// Reads the file and all that it names, so that faults are known at the start.
    ///
    /// # Errors
    /// The fault, as exporter-toolkit words it.
    pub fn open(path: &str) -> Result<Self, String> {
        let source = Source::new(path);
        let config = source.read()?;
        for (_, hash) in &config.users {
            hash::check(hash)?;
        }
        let rate = config.rate;
        if rate.interval != 0 {
            tracing::info!(
                burst = rate.burst,
                interval_seconds = rate.interval as f64 / 1e9,
                "Rate Limiter is enabled."
            );
        }
        let has_tls = config.tls.is_configured();
        if has_tls {
            match tls::server(&config, config.http2) {
                Ok(server) => tls::warm_up(&server),
                Err(error) if error == tls::NO_VERSION => {}
                Err(error) => return Err(error),
            }
            tls::check_http2(&config)?;
            for warning in tls::warnings(&config) {
                tracing::warn!("{warning}");
            }
        }
        Ok(Self {
            source,
            has_tls,
            http2: has_tls && config.http2,
            limit: Bucket::new(rate, Instant::now()).map(Mutex::new),
            users: Users::default(),
            requests: Faults::default(),
            handshakes: Faults::default(),
        })
    }

    /// Whether connections begin with a handshake.
    pub const fn has_tls(&self) -> bool {
        self.has_tls
    }

    /// Whether clients are offered HTTP/2.
    pub const fn has_http2(&self) -> bool {
        self.http2
    }

    /// The settings of the next handshake.
    ///
    /// # Errors
    /// It cannot be had at this moment.
    pub(super) fn handshake(&self) -> Result<Handshake, String> {
        let config = self.source.read()?;
        if !config.tls.is_configured() {
            return Err("TLS config is not present".into());
        }
        let server = Arc::new(tls::server(&config, self.http2)?);
        Ok(Handshake { server, needs_certificate: tls::needs_certificate(&config) })
    }

    /// Lets a request pass, or answers it; `Ok` holds the configuration of this moment.
    pub(super) async fn admit(&self, request: &Parts) -> Result<Arc<Config>, Response> {
        let config = match self.source.read() {
            Ok(config) => config,
            Err(error) => {
                self.requests.hear(Some(&error));
                return Err(refusal(StatusCode::INTERNAL_SERVER_ERROR));
            }
        };
        self.requests.hear(None);
        if let Some(limit) = &self.limit {
            let mut limit = limit.lock().unwrap_or_else(PoisonError::into_inner);
            if !limit.takes(Instant::now()) {
                return Err(refusal(StatusCode::TOO_MANY_REQUESTS));
            }
        }
        if config.users.is_empty() {
            return Ok(config);
        }
        let peer = request.extensions.get::<Peer>().and_then(|peer| peer.0);
        let verdict = match credentials(&request.headers) {
            Some((user, password)) => self.users.check(&config, user, password, peer).await,
            None => Verdict::Wrong,
        };
        let mut response = match verdict {
            Verdict::Right => return Ok(config),
            Verdict::Wrong => {
                let mut response = refusal(StatusCode::UNAUTHORIZED);
                let basic = HeaderValue::from_static("Basic");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, basic);
                response
            }
            Verdict::Busy => refusal(StatusCode::SERVICE_UNAVAILABLE),
        };
        add_headers(&config, &mut response);
        Err(response)
    }

    /// Logs why there was no handshake, or that there was one, where that is news.
    pub(super) fn hear_of_handshake(&self, fault: Option<&str>) {
        self.handshakes.hear(fault);
    }
}

/// Adds the headers that every answer is to have.
pub(super) fn add_headers(config: &Config, response: &mut Response) {
    for (name, value) in &config.headers {
        response.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
}

/// An answer that says no more than its status.
fn refusal(status: StatusCode) -> Response {
    let text = format!("{}\n", status.canonical_reason().unwrap_or_default());
    (status, [PLAIN, NO_SNIFF], text).into_response()
}

/// The name and the password of an `Authorization` header.
fn credentials(headers: &HeaderMap) -> Option<(String, Zeroizing<Vec<u8>>)> {
    let given = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, text) = given.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = Zeroizing::new(hash::base64(text)?);
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let (user, password) = decoded.split_at_checked(colon)?;
    let user = String::from_utf8(user.to_vec()).ok()?;
    Some((user, Zeroizing::new(password.get(1..)?.to_vec())))
}

#[cfg(test)]
mod tests;
