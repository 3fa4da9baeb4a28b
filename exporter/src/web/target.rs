//! The target of a request: its host and its path, read as Go's `net/http` reads them.

use super::query;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, header};
use std::fmt::Write as _;

/// The path of the status. Where the metrics are at this path or at `/`, there is no status.
pub(super) const STATUS: &str = "/status";

/// The target of a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The metrics.
    Metrics,
    /// The page at `/`.
    Landing,
    /// The page at [`STATUS`].
    Status,
    /// A redirection to another path, escaped.
    Moved(String),
    /// `OPTIONS *`, which asks for the server itself.
    Server,
    /// A path that is malformed, or `*` with another method.
    Bad(&'static str),
    /// A path that is not served.
    Unknown,
}

/// The target of `path`, as it stands in the request, where the metrics are at `telemetry`. A
/// telemetry path that ends with a slash serves all paths below it.
pub(super) fn target(method: &Method, path: &str, telemetry: &str) -> Target {
    if path == "*" {
        return if method == Method::OPTIONS { Target::Server } else { Target::Bad("") };
    }
    let asked = match query::unescape(path) {
        // The URI of CONNECT is a host, which is read as a path without a slash.
        Some(path) if !path.is_empty() || method == Method::CONNECT => path,
        _ => return Target::Bad("400 Bad Request"),
    };
    let clean = if method == Method::CONNECT { asked.clone() } else { clean(&asked) };
    let telemetry = telemetry.as_bytes();
    if let Some(folder) = telemetry.strip_suffix(b"/")
        && clean == folder
        && !folder.is_empty()
    {
        return Target::Moved(escape(telemetry));
    }
    if clean != asked {
        Target::Moved(escape(&clean))
    } else if clean == telemetry || (telemetry.ends_with(b"/") && clean.starts_with(telemetry)) {
        Target::Metrics
    } else if clean == b"/" {
        Target::Landing
    } else if clean == STATUS.as_bytes() {
        Target::Status
    } else {
        Target::Unknown
    }
}

/// Whether there is a status beside metrics at `telemetry`.
pub(super) fn has_status(telemetry: &str) -> bool {
    target(&Method::GET, STATUS, telemetry) == Target::Status
}

/// The path without empty parts, `.` and `..`; a slash at its end stays.
pub(super) fn clean(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut clean = Vec::with_capacity(path.len());
    for part in &parts {
        clean.push(b'/');
        clean.extend_from_slice(part);
    }
    if parts.is_empty() || path.ends_with(b"/") {
        clean.push(b'/');
    }
    clean
}

/// The path, escaped for a `Location`.
fn escape(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for &byte in path {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// A query, escaped for a `Location`.
pub(super) fn escape_non_ascii(query: &str) -> String {
    let mut text = String::with_capacity(query.len());
    for byte in query.bytes() {
        if byte.is_ascii() {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// Go's answer to a request whose `Host` is missing, given twice or malformed; HTTP/2 has no need of
/// one.
pub(super) fn host_error(
    version: Version,
    method: &Method,
    headers: &HeaderMap,
) -> Option<&'static str> {
    if version == Version::HTTP_2 {
        return None;
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version >= Version::HTTP_11 && method != Method::CONNECT => {
            Some("400 Bad Request: missing required Host header")
        }
        (Some(_), Some(_)) => Some("400 Bad Request"),
        (Some(host), None) if !host.as_bytes().iter().all(|&byte| is_host_byte(byte)) => {
            Some("400 Bad Request: malformed Host header")
        }
        _ => None,
    }
}

/// Go's status and text for a request with a coding of its body other than `chunked`, or with an
/// expectation other than `100-continue`; HTTP/2 has neither.
pub(super) fn unmet(version: Version, headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
    if version == Version::HTTP_2 {
        return None;
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_chunked = match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    };
    if !is_chunked && version >= Version::HTTP_11 {
        return Some((StatusCode::NOT_IMPLEMENTED, "Unsupported transfer encoding"));
    }
    let expected = headers.get(header::EXPECT).map(HeaderValue::as_bytes).unwrap_or_default();
    let mut tokens = expected.split(|byte| b" \t,".contains(byte));
    let is_met =
        expected.is_empty() || tokens.any(|token| token.eq_ignore_ascii_case(b"100-continue"));
    (!is_met).then_some((StatusCode::EXPECTATION_FAILED, ""))
}

/// Whether the port in an absolute URI, or in the target of CONNECT, is a number where there is
/// one.
pub(super) fn has_good_port(uri: &Uri) -> bool {
    let Some(authority) = uri.authority() else { return true };
    let (_, port) = authority.as_str().rsplit_once(':').unwrap_or_default();
    port.ends_with(']') || port.contains('@') || port.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!$%&'()*+,-.:;=[]_~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(path: &str) -> Target {
        Target::Moved(path.into())
    }

    #[test]
    fn paths_are_cleaned_as_in_go() {
        for (path, want) in [
            ("/metrics", Target::Metrics),
            ("/", Target::Landing),
            ("/status", Target::Status),
            ("/%73tatus", Target::Status),
            ("/x/../status", moved("/status")),
            ("/status/", Target::Unknown),
            ("/status/x", Target::Unknown),
            ("/%6Detrics", Target::Metrics),
            ("/%6detrics", Target::Metrics),
            ("/metrics/", Target::Unknown),
            ("/METRICS", Target::Unknown),
            ("/metrics%2F", Target::Unknown),
            ("/metrics%3Fa", Target::Unknown),
            ("/x/", Target::Unknown),
            ("//metrics", moved("/metrics")),
            ("/./metrics", moved("/metrics")),
            ("/x/../metrics", moved("/metrics")),
            ("/../metrics", moved("/metrics")),
            ("/metrics/.", moved("/metrics")),
            ("/metrics/..", moved("/")),
            ("//%6Detrics", moved("/metrics")),
            ("/%2Fmetrics", moved("/metrics")),
            ("/%2e%2E/metrics", moved("/metrics")),
            ("//", moved("/")),
            ("/.", moved("/")),
            ("/x//y/", moved("/x/y/")),
            ("//a%20b%C3%A9%ff", moved("/a%20b%C3%A9%FF")),
            ("//a!b", moved("/a%21b")),
            ("", Target::Bad("400 Bad Request")),
            ("/%zz", Target::Bad("400 Bad Request")),
            ("/%4", Target::Bad("400 Bad Request")),
            ("/a+b", Target::Unknown),
            ("*", Target::Bad("")),
        ] {
            assert_eq!(target(&Method::GET, path, "/metrics"), want, "{path}");
        }
        assert_eq!(target(&Method::OPTIONS, "*", "/metrics"), Target::Server);
        assert_eq!(target(&Method::CONNECT, "//metrics", "/metrics"), Target::Unknown);
        assert_eq!(target(&Method::CONNECT, "", "/metrics"), Target::Unknown);
        assert_eq!(target(&Method::GET, "/a+b", "/a+b"), Target::Metrics);
    }

    #[test]
    fn a_telemetry_path_with_a_slash_at_its_end_is_a_folder() {
        for (path, want) in [
            ("/metrics", moved("/metrics/")),
            ("//metrics", moved("/metrics/")),
            ("/%6Detrics", moved("/metrics/")),
            ("/metrics/", Target::Metrics),
            ("/metrics/x", Target::Metrics),
            ("/metrics/x/", Target::Metrics),
            ("/metricsx", Target::Unknown),
            ("/", Target::Landing),
        ] {
            assert_eq!(target(&Method::GET, path, "/metrics/"), want, "{path}");
        }
        assert_eq!(target(&Method::CONNECT, "/metrics", "/metrics/"), moved("/metrics/"));
        for path in ["/", "/x", "/x/"] {
            assert_eq!(target(&Method::GET, path, "/"), Target::Metrics, "{path}");
        }
        assert_eq!(target(&Method::GET, "//", "/"), moved("/"));
    }

    #[test]
    fn the_metrics_take_the_place_of_the_status() {
        let at = |path, telemetry| target(&Method::GET, path, telemetry);
        assert_eq!(at("/status", "/status"), Target::Metrics);
        assert_eq!(at("/status", "/status/"), moved("/status/"));
        assert_eq!(at("/status", "/"), Target::Metrics);
        assert_eq!(at("/status", "/status/x"), Target::Status);
        assert_eq!(at("/status/", "/status/"), Target::Metrics);
    }

    #[test]
    fn ports_in_uris_are_numbers() {
        for good in [
            "/x:y",
            "http://x",
            "http://x:",
            "http://x:80/",
            "http://x:99999/",
            "http://[::1]/",
            "http://[::1]:80/",
            "http://u:p@x/",
            "x:80",
        ] {
            assert!(has_good_port(&Uri::from_static(good)), "{good}");
        }
        for bad in ["http://x:y/", "http://x:8y", "http://[::1]:y/", "http://u:p@x:y/", "x:y"] {
            assert!(!has_good_port(&Uri::from_static(bad)), "{bad}");
        }
    }

    #[test]
    fn codings_and_expectations_are_gos() {
        let status = |version, lines: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, HeaderValue::from_static(value));
            }
            unmet(version, &headers).map_or(0, |(status, _)| status.as_u16())
        };
        for (lines, want) in [
            (&[][..], 0),
            (&[("transfer-encoding", "Chunked")], 0),
            (&[("transfer-encoding", "gzip, chunked")], 501),
            (&[("transfer-encoding", "chunked, chunked")], 501),
            (&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], 501),
            (&[("transfer-encoding", "")], 501),
            (&[("expect", "")], 0),
            (&[("expect", "100-Continue")], 0),
            (&[("expect", "x, 100-continue")], 0),
            (&[("expect", "100-continued")], 417),
            (&[("expect", "x")], 417),
        ] {
            assert_eq!(status(Version::HTTP_11, lines), want, "{lines:?}");
        }
        assert_eq!(status(Version::HTTP_10, &[("transfer-encoding", "gzip")]), 0);
    }

    #[test]
    fn hosts_are_checked_as_by_go() {
        let error = |version, hosts: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, HeaderValue::from_static(host));
            }
            host_error(version, &Method::GET, &headers)
        };
        let malformed = Some("400 Bad Request: malformed Host header");
        for (host, want) in [
            ("x", None),
            ("", None),
            ("[::1]:80", None),
            ("a,b", None),
            ("a%b", None),
            ("a b", malformed),
            ("a/b", malformed),
            ("a@b", malformed),
            ("\"", malformed),
            ("a<b", malformed),
        ] {
            assert_eq!(error(Version::HTTP_11, &[host]), want, "{host}");
            assert_eq!(error(Version::HTTP_10, &[host]), want, "{host}");
        }
        let missing = Some("400 Bad Request: missing required Host header");
        assert_eq!(error(Version::HTTP_11, &[]), missing);
        assert_eq!(error(Version::HTTP_10, &[]), None);
        assert_eq!(error(Version::HTTP_11, &["a", "a"]), Some("400 Bad Request"));
        assert_eq!(error(Version::HTTP_10, &["a", "b"]), Some("400 Bad Request"));
        assert_eq!(host_error(Version::HTTP_11, &Method::CONNECT, &HeaderMap::new()), None);
    }
}
