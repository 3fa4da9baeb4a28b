//! The status of the exporter, as a page and as JSON: its collectors, the programs in the kernel,
//! connections, scrapes and privileges.
//!
//! A request for it runs no collector. It copies the records that scrapes have left, each under its
//! lock, and makes the text afterwards. The page has neither scripts nor parts from elsewhere.

mod page;
mod tables;
mod words;

pub(super) use page::landing;

use super::{
    connection::Connections,
    handler::{NO_SNIFF, Site, text},
    query,
};
use crate::scrape::{
    own::Scrapes,
    status::{Clock, Collector, Programs, in_milliseconds},
};
use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use jiff::Timestamp;
use serde::Serialize;
use std::time::Instant;

/// The privileges that the exporter has kept after its start.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Privileges {
    /// The number of its user.
    pub user: u32,
    /// Capabilities that something enabled uses, or that were kept.
    pub capabilities: Vec<Capability>,
}

/// A capability of Linux.
#[derive(Clone, Debug, Serialize)]
pub struct Capability {
    /// Its name.
    pub name: String,
    /// Whether the exporter has it.
    #[serde(rename = "kept")]
    pub is_kept: bool,
    /// The collectors and flags that use it.
    pub users: Vec<&'static str>,
}

/// All that is shown.
#[derive(Serialize)]
struct Status<'a> {
    version: &'static str,
    #[serde(serialize_with = "in_milliseconds")]
    time: Timestamp,
    #[serde(serialize_with = "in_milliseconds")]
    started: Timestamp,
    collectors: Vec<Collector>,
    disabled_collectors: &'a [&'static str],
    programs: Vec<Programs>,
    scrapes: Scrapes,
    /// `--web.max-requests`; 0 is no limit.
    max_scrapes: u64,
    connections: Connections,
    privileges: &'a Privileges,
}

impl<'a> Status<'a> {
    fn read(site: &'a Site) -> Self {
        let clock = Clock::start();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            time: clock.time(Instant::now()),
            started: Timestamp::try_from(site.started).unwrap_or_default(),
            collectors: site.engine.collectors(&clock),
            disabled_collectors: &site.disabled,
            programs: site.engine.programs(),
            scrapes: site.engine.counts().scrapes(),
            max_scrapes: site.max_requests,
            connections: site.places.connections(),
            privileges: &site.privileges,
        }
    }
}

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=UTF-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Nothing is loaded but the icon and the style in the page itself.
const POLICY: (HeaderName, HeaderValue) = (
    header::CONTENT_SECURITY_POLICY,
    HeaderValue::from_static(
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'",
    ),
);

/// The answer to a request for the status.
pub(super) fn answer(site: &Site, headers: &HeaderMap) -> Response {
    let status = Status::read(site);
    let (kind, body) = if query::prefers_json(text(headers, "accept")) {
        match serde_json::to_string_pretty(&status) {
            Ok(json) => (JSON, json + "\n"),
            Err(error) => {
                let text = format!("The status has no form in JSON: {error}\n");
                return (StatusCode::INTERNAL_SERVER_ERROR, [NO_SNIFF], text).into_response();
            }
        }
    } else {
        (HTML, page::status(&status, &site.path))
    };
    let form = [
        (header::CONTENT_TYPE, kind),
        (header::VARY, HeaderValue::from_static("Accept")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (form, [POLICY, NO_SNIFF], body).into_response()
}
