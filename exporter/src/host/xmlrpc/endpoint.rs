//! The URL of a server.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::Uri;
use percent_encoding::percent_decode_str;
use std::path::PathBuf;

/// A server, and how it wants to be asked.
#[derive(Debug, Eq, PartialEq)]
pub struct Endpoint {
    pub(super) place: Place,
    /// Of the header `Host`.
    pub(super) host: String,
    /// The path, with the query.
    pub(super) target: String,
    /// The whole header `Authorization`, or nothing.
    pub(super) authorization: String,
}

#[derive(Debug, Eq, PartialEq)]
pub(super) enum Place {
    Tcp(String, u16),
    Unix(PathBuf),
}

impl Endpoint {
    /// Reads `http://[USER[:PASSWORD]@]HOST[:PORT][/PATH]` or `unix://[USER[:PASSWORD]@]/PATH`. On a
    /// Unix socket `/RPC2` is asked for.
    ///
    /// # Errors
    /// It is neither: a sentence without the URL, which may have a password.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        if let Some(rest) = url.strip_prefix("unix://") {
            let (authority, path) = rest.split_at(rest.find('/').ok_or("no path of a socket")?);
            return Ok(Self {
                place: Place::Unix(path.into()),
                host: "unix".into(),
                target: "/RPC2".into(),
                authorization: authorization(authority),
            });
        }
        let uri: Uri = url.parse().map_err(|_| "it is no URL")?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err("https is not supported"),
            _ => return Err("it begins with neither http:// nor unix://"),
        }
        let (Some(authority), Some(host)) = (uri.authority(), uri.host()) else {
            return Err("it names no host");
        };
        let whole = authority.as_str();
        let named = whole.rsplit_once('@').map_or(whole, |(_, named)| named);
        let port = match named.strip_prefix(host).and_then(|rest| rest.strip_prefix(':')) {
            None | Some("") => 80,
            Some(port) => port.parse().map_err(|_| "its port is no number up to 65535")?,
        };
        Ok(Self {
            place: Place::Tcp(host.trim_matches(['[', ']']).into(), port),
            host: named.into(),
            target: uri.path_and_query().map_or("/", |target| target.as_str()).into(),
            authorization: authorization(whole),
        })
    }
}

/// The header with the user and password of a URL, if the URL has them.
fn authorization(authority: &str) -> String {
    let Some((user, _)) = authority.rsplit_once('@') else { return String::new() };
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let mut both: Vec<u8> = percent_decode_str(user).collect();
    both.push(b':');
    both.extend(percent_decode_str(password));
    format!("Authorization: Basic {}\r\n", BASE64_STANDARD.encode(both))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> (String, String, String, String) {
        let Endpoint { place, host, target, authorization } = Endpoint::parse(url).unwrap();
        (format!("{place:?}"), host, target, authorization)
    }

    #[test]
    fn urls_name_a_place_and_a_path() {
        let none = String::new;
        for (url, place, host, target) in [
            ("http://localhost:9001/RPC2", "Tcp(\"localhost\", 9001)", "localhost:9001", "/RPC2"),
            ("http://[::1]:9001", "Tcp(\"::1\", 9001)", "[::1]:9001", "/"),
            ("http://a.test/x?y=1", "Tcp(\"a.test\", 80)", "a.test", "/x?y=1"),
            ("unix:///run/s.sock", "Unix(\"/run/s.sock\")", "unix", "/RPC2"),
        ] {
            assert_eq!(parsed(url), (place.into(), host.into(), target.into(), none()), "{url}");
        }
        let basic = "Authorization: Basic dTpwOkA=\r\n";
        assert_eq!(parsed("http://u:p%3A%40@h:1/").3, basic);
        assert_eq!(parsed("unix://u:p%3A%40@/run/s").3, basic);
        assert_eq!(parsed("http://u:p%3A%40@h:1/").1, "h:1");
    }

    #[test]
    fn other_urls_are_refused() {
        for (url, said) in [
            ("https://h/", "https"),
            ("ftp://h/", "neither"),
            ("localhost:9001", "neither"),
            ("/run/s.sock", "neither"),
            ("", "no URL"),
            ("http://", "no URL"),
            ("http://h:99999/", "port"),
            ("http://a b/", "no URL"),
            ("unix://", "no path"),
            ("unix://run", "no path"),
        ] {
            let error = Endpoint::parse(url).unwrap_err();
            assert!(error.contains(said), "{url}: {error}");
        }
    }
}
