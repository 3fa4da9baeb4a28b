//! The answer of each path.

use super::{
    connection::Places,
    guard::{self, Guard},
    query,
    status::{self, Privileges},
    target::{Target, escape_non_ascii, has_good_port, host_error, target, unmet},
};
use crate::scrape::{
    Engine, Request,
    own::{Counts, Status},
};
use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

pub(super) const PLAIN: (HeaderName, HeaderValue) =
    (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
pub(super) const NO_SNIFF: (HeaderName, HeaderValue) =
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));

/// The longest time that a client can ask for: ten scrapes at Prometheus' own interval.
const LONGEST: Duration = Duration::from_secs(600);

/// The served metrics and the settings of the server.
pub struct Site {
    /// Runs the scrapes.
    pub engine: Arc<Engine>,
    /// Collectors that exist and are not enabled.
    pub disabled: Vec<&'static str>,
    /// `--web.telemetry-path`.
    pub path: String,
    /// `--web.max-requests`; 0 is no limit.
    pub max_requests: u64,
    /// `--web.scrape-timeout`; 0 is for ever.
    pub timeout: Duration,
    /// `--web.scrape-timeout-offset`.
    pub offset: Duration,
    /// `--web.config.file`.
    pub guard: Option<Guard>,
    /// The places of all connections.
    pub places: Arc<Places>,
    /// The exporter's start.
    pub started: SystemTime,
    /// The privileges that the exporter has kept.
    pub privileges: Privileges,
}

/// Answers a request; as in node_exporter, most answers do not depend on its method.
pub async fn handle(site: &Site, request: axum::extract::Request) -> Response {
    let (request, _body) = request.into_parts(); // which is there until the answer is
    if !has_good_port(&request.uri) {
        return bad("400 Bad Request");
    }
    if let Some(text) = host_error(request.version, &request.method, &request.headers) {
        return bad(text);
    }
    if let Some((status, text)) = unmet(request.version, &request.headers) {
        return refused(status, text);
    }
    let target = target(&request.method, request.uri.path(), &site.path);
    match (&target, &site.guard) {
        // These come before all that is configured.
        (Target::Server, _) => StatusCode::OK.into_response(),
        (Target::Bad(text), _) if !text.is_empty() => bad(text),
        (_, None) => answer(site, target, &request).await,
        (_, Some(guard)) => match guard.admit(&request).await {
            Ok(config) => {
                let mut response = answer(site, target, &request).await;
                guard::add_headers(&config, &mut response);
                response
            }
            Err(response) => response,
        },
    }
}

/// Answers a request that was let in.
async fn answer(site: &Site, target: Target, request: &Parts) -> Response {
    let (method, uri) = (&request.method, &request.uri);
    match target {
        Target::Metrics => metrics(site, uri.query().unwrap_or_default(), &request.headers).await,
        Target::Landing => {
            let html = [(header::CONTENT_TYPE, "text/html; charset=UTF-8")];
            (html, status::landing(site)).into_response()
        }
        Target::Status => status::answer(site, &request.headers),
        Target::Moved(path) => match uri.query() {
            Some(query) if !query.is_empty() => {
                moved(method, &format!("{path}?{}", escape_non_ascii(query)))
            }
            _ => moved(method, &path),
        },
        Target::Server => StatusCode::OK.into_response(),
        Target::Bad(text) => bad(text),
        Target::Unknown => {
            (StatusCode::NOT_FOUND, [PLAIN, NO_SNIFF], "404 page not found\n").into_response()
        }
    }
}

/// The answer to a malformed request, after which the connection ends.
fn bad(text: &'static str) -> Response {
    refused(StatusCode::BAD_REQUEST, text)
}

fn refused(status: StatusCode, text: &'static str) -> Response {
    let close = (header::CONNECTION, HeaderValue::from_static("close"));
    if text.is_empty() {
        return (status, [close]).into_response();
    }
    (status, [close, PLAIN], text).into_response()
}

fn moved(method: &Method, to: &str) -> Response {
    let location = (header::LOCATION, to);
    if method != Method::GET && method != Method::HEAD {
        return (StatusCode::MOVED_PERMANENTLY, [location]).into_response();
    }
    let html = (header::CONTENT_TYPE, "text/html; charset=utf-8");
    let page = format!("<a href=\"{}\">Moved Permanently</a>.\n\n", escape(to));
    (StatusCode::MOVED_PERMANENTLY, [location, html], page).into_response()
}

/// The text, escaped for a page.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&#34;").replace('<', "&lt;").replace('>', "&gt;")
}

async fn metrics(site: &Site, query: &str, headers: &HeaderMap) -> Response {
    let collectors = match wanted(site, query) {
        Ok(collectors) => collectors,
        Err(text) => return (StatusCode::BAD_REQUEST, [PLAIN], text).into_response(),
    };
    let codings = headers.get_all(header::ACCEPT_ENCODING);
    let gzip = query::takes_gzip(codings.iter().filter_map(|line| line.to_str().ok()));
    let counts = site.engine.counts();
    let under_way = counts.begin();
    let mut ended = Ended(counts, Status::Ok);
    if site.max_requests > 0 && under_way.unsigned_abs() > site.max_requests {
        ended.1 = Status::Refused;
        let text = format!(
            "Limit of concurrent requests reached ({}), try again later.\n",
            site.max_requests
        );
        return (StatusCode::SERVICE_UNAVAILABLE, [PLAIN, NO_SNIFF], text).into_response();
    }
    let names = Some(query::values(query, "name[]")).filter(|names| !names.is_empty());
    let deadline = match deadline(text(headers, "x-prometheus-scrape-timeout-seconds"), site.offset)
    {
        None => Some(site.timeout).filter(|timeout| !timeout.is_zero()),
        given => given,
    };
    let (format, content_type) = query::negotiate(text(headers, "accept"));
    let request = Request { collectors, names, deadline, format, gzip };
    let body = match site.engine.scrape(request).await {
        Ok(body) => body,
        Err(error) => {
            ended.1 = Status::Failed;
            let text = format!("An error has occurred while serving metrics:\n\n{error}\n");
            return (StatusCode::INTERNAL_SERVER_ERROR, [PLAIN, NO_SNIFF], text).into_response();
        }
    };
    drop(ended);
    let mut response = Body::from(body).into_response();
    if let Ok(value) = HeaderValue::from_str(&content_type) {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    if gzip {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// The text of a header, empty where there is none.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Counts the end of a scrape when dropped, even if the client has gone.
struct Ended<'a>(&'a Counts, Status);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.end(self.1);
    }
}

/// The time left for collectors, from the header that Prometheus sends. A malformed header counts
/// as absent; a time of more than [`LONGEST`] is read as that.
fn deadline(header: &str, offset: Duration) -> Option<Duration> {
    let seconds: f64 = header.parse().ok()?;
    let timeout = Duration::try_from_secs_f64(seconds.min(LONGEST.as_secs_f64())).ok()?;
    let timeout = Some(timeout).filter(|timeout| seconds.is_finite() && !timeout.is_zero())?;
    // As in other exporters, an offset that would leave no time is not applied.
    Some(timeout.checked_sub(offset).filter(|left| !left.is_zero()).unwrap_or(timeout))
}

/// The collectors that the query selects, or node_exporter's text that refuses the query.
fn wanted(site: &Site, query: &str) -> Result<Option<Vec<usize>>, String> {
    let collect = query::values(query, "collect[]");
    let exclude = query::values(query, "exclude[]");
    let all = site.engine.names();
    match (collect.is_empty(), exclude.is_empty()) {
        (true, true) => Ok(None),
        (false, false) => Err("Combined collect and exclude queries are not allowed.".into()),
        (true, false) => {
            let kept: Vec<usize> = (0..all.len())
                .filter(|&i| all.get(i).is_some_and(|n| !exclude.iter().any(|e| e == n)))
                .collect();
            // As in node_exporter, a query that excludes every collector selects all of them.
            Ok(Some(kept).filter(|kept| !kept.is_empty()))
        }
        (false, true) => {
            let mut slots = Vec::with_capacity(collect.len());
            for name in &collect {
                let Some(slot) = all.iter().position(|other| other == name) else {
                    let known = site.disabled.iter().any(|other| other == name);
                    let why = if known { "disabled" } else { "missing" };
                    return Err(format!(
                        "Couldn't create filtered metrics handler: couldn't create collector: {why} collector: {name}"
                    ));
                };
                if !slots.contains(&slot) {
                    slots.push(slot);
                }
            }
            Ok(Some(slots))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_header_counts_as_absent() {
        let offset = Duration::from_millis(500);
        let left = |header: &str| deadline(header, offset);
        assert_eq!(left("10"), Some(Duration::from_millis(9_500)));
        assert_eq!(left("0.5"), Some(Duration::from_millis(500)));
        assert_eq!(left("0.0005"), Some(Duration::from_micros(500)));
        for endless in ["1e19", "1e300", "18446744073709551616", "601"] {
            assert_eq!(left(endless), LONGEST.checked_sub(offset), "{endless}");
        }
        for none in ["", "x", "-1", "-0", "0", "1e-300", "NaN", "inf", "-inf", "1e999", "10s"] {
            assert_eq!(left(none), None, "{none}");
        }
    }
}
