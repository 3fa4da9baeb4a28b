//! `--web.config.file`: its keys and values, and the words for its faults, after exporter-toolkit.

mod file;
mod scalar;
mod yaml;

pub(super) use file::{Source, read};

use axum::http::{HeaderName, HeaderValue};
use std::path::{Component, Path, PathBuf};
use yaml::{Faults, Node};
use zeroize::Zeroizing;

/// The meaning of a file.
#[derive(Debug)]
pub(super) struct Config {
    pub tls: Tls,
    /// Whether HTTP/2 is offered over TLS.
    pub http2: bool,
    /// Headers of every answer.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub rate: Rate,
    /// Names and bcrypt hashes, in the order of the names.
    pub users: Vec<(String, Zeroizing<String>)>,
}

/// `tls_server_config`. Of a text and a file of the same content, the file counts.
#[derive(Debug)]
pub(super) struct Tls {
    pub cert: Content,
    pub key: Content,
    pub client_ca: Content,
    pub client_auth: String,
    /// Where there are any, a client's certificate must have one of them.
    pub client_sans: Option<Vec<String>>,
    /// Names out of [`CIPHERS`]; empty where Go's own choice is meant.
    pub ciphers: Vec<&'static str>,
    /// Names out of [`CURVES`]; empty where Go's own choice is meant.
    pub curves: Vec<&'static str>,
    pub min: Version,
    pub max: Version,
}

/// A text, or the path of a file that holds it.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub text: Zeroizing<String>,
    pub file: PathBuf,
}

impl Content {
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.file.as_os_str().is_empty()
    }
}

/// Versions of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    Tls10,
    Tls11,
    Tls12,
    Tls13,
}

/// `rate_limit`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rate {
    /// Nanoseconds between two requests; 0 is no limit.
    pub interval: i64,
    /// How many may come at once.
    pub burst: i64,
}

const VERSIONS: [(&str, Version); 4] = [
    ("TLS10", Version::Tls10),
    ("TLS11", Version::Tls11),
    ("TLS12", Version::Tls12),
    ("TLS13", Version::Tls13),
];
pub(super) const CURVES: [&str; 4] = ["CurveP256", "CurveP384", "CurveP521", "X25519"];
/// The suites that Go knows and does not hold for insecure.
pub(super) const CIPHERS: [&str; 13] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
];
/// The headers that can be set, and their values where not any will do.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
];
/// Stands in a list for an element that is null.
const NONE: &str = "";

impl Default for Tls {
    fn default() -> Self {
        Self {
            cert: Content::default(),
            key: Content::default(),
            client_ca: Content::default(),
            client_auth: String::new(),
            client_sans: None,
            ciphers: Vec::new(),
            curves: Vec::new(),
            min: Version::Tls12,
            max: Version::Tls13,
        }
    }
}

impl Tls {
    /// Whether any of the keys that turn TLS on is given.
    pub(super) fn is_configured(&self) -> bool {
        !(self.cert.is_empty()
            && self.key.is_empty()
            && self.client_ca.is_empty()
            && self.client_auth.is_empty())
    }
}

impl Config {
    /// Reads the text of a file in this folder, relative to which its paths are.
    ///
    /// # Errors
    /// It is no YAML, has keys or values that there are not, or a header that cannot be set.
    pub(super) fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        let mut config = Self {
            tls: Tls::default(),
            http2: true,
            headers: Vec::new(),
            rate: Rate::default(),
            users: Vec::new(),
        };
        let Some(root) = yaml::load(text)? else { return Ok(config) };
        let mut faults = Faults::default();
        let mut headers = Vec::new();
        root.fields("web.Config", &mut faults, &mut |name, node, faults| {
            match name {
                "tls_server_config" => config.tls.read(node, faults)?,
                "http_server_config" => {
                    node.fields("web.HTTPConfig", faults, &mut |name, node, faults| {
                        match name {
                            "http2" => config.http2 = node.boolean(faults).unwrap_or_default(),
                            "headers" => {
                                headers = node.texts("map[string]string", "string", faults);
                            }
                            _ => return Ok(false),
                        }
                        Ok(true)
                    })?;
                }
                "rate_limit" => {
                    node.fields("web.RateLimiterConfig", faults, &mut |name, node, faults| {
                        match name {
                            "interval" => {
                                config.rate.interval = node.duration(faults).unwrap_or_default();
                            }
                            "burst" => {
                                config.rate.burst = node.integer(faults).unwrap_or_default();
                            }
                            _ => return Ok(false),
                        }
                        Ok(true)
                    })?;
                }
                "basic_auth_users" => {
                    let of = "map[string]config.Secret";
                    config.users = node.texts(of, "config.plain", faults);
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        faults.into_result()?;
        config.users.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        config.headers =
            headers.iter().map(|(name, value)| header(name, value)).collect::<Result<_, _>>()?;
        for content in [&mut config.tls.cert, &mut config.tls.key, &mut config.tls.client_ca] {
            content.file = join(folder, &content.file);
        }
        Ok(config)
    }
}

impl Tls {
    fn read(&mut self, node: &Node, faults: &mut Faults) -> Result<(), String> {
        node.fields("web.TLSConfig", faults, &mut |name, node, faults| {
            let mut text = |what| node.text(what, faults).unwrap_or_default();
            match name {
                "cert" => self.cert.text = text("string"),
                "key" => self.key.text = text("config.plain"),
                "client_ca" => self.client_ca.text = text("string"),
                "cert_file" => self.cert.file = PathBuf::from(text("string").as_str()),
                "key_file" => self.key.file = PathBuf::from(text("string").as_str()),
                "client_ca_file" => self.client_ca.file = PathBuf::from(text("string").as_str()),
                "client_auth_type" => text("string").as_str().clone_into(&mut self.client_auth),
                "client_allowed_sans" => {
                    let all = node.list("string", faults).iter();
                    let all = all.filter_map(|node| node.text("string", faults));
                    let all: Vec<String> = all.map(|text| text.as_str().to_owned()).collect();
                    self.client_sans = (!node.is_null()).then_some(all);
                }
                "cipher_suites" => {
                    self.ciphers = names(node, "web.Cipher", "cipher", &CIPHERS, faults)?;
                }
                "curve_preferences" => {
                    self.curves = names(node, "web.Curve", "curve", &CURVES, faults)?;
                }
                "min_version" => self.min = version(node, faults)?.unwrap_or(Version::Tls12),
                "max_version" => self.max = version(node, faults)?.unwrap_or(Version::Tls13),
                // Go has an order of its own, whatever is said here.
                "prefer_server_cipher_suites" => drop(node.boolean(faults)),
                _ => return Ok(false),
            }
            Ok(true)
        })
    }
}

/// The elements of a list, each one of the `known`; `kind` is the noun for a fault.
fn names(
    node: &Node,
    of: &str,
    kind: &str,
    known: &[&'static str],
    faults: &mut Faults,
) -> Result<Vec<&'static str>, String> {
    let mut all = Vec::new();
    for node in node.list(of, faults) {
        if node.is_null() {
            all.push(NONE);
            continue;
        }
        let Some(text) = node.text("string", faults) else { continue };
        let name = known.iter().find(|name| **name == text.as_str());
        all.push(name.ok_or_else(|| format!("unknown {kind}: {}", text.as_str()))?);
    }
    Ok(all)
}

fn version(node: &Node, faults: &mut Faults) -> Result<Option<Version>, String> {
    if node.is_null() {
        return Ok(None);
    }
    let Some(text) = node.text("string", faults) else { return Ok(None) };
    match VERSIONS.iter().find(|(name, _)| *name == text.as_str()) {
        Some((_, version)) => Ok(Some(*version)),
        None => Err(format!("unknown TLS version: {}", text.as_str())),
    }
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let Some((known, values)) = HEADERS.iter().find(|(known, _)| *known == name) else {
        return Err(format!("HTTP header {name:?} can not be configured"));
    };
    if !values.is_empty() && !values.contains(&value) {
        let values: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
        return Err(format!(
            "invalid value for {name}. Expected one of: [{}], but got: {value:?}",
            values.join(" ")
        ));
    }
    let line = value.replace(['\r', '\n'], " ");
    HeaderName::from_bytes(known.as_bytes())
        .ok()
        .zip(HeaderValue::from_str(line.trim_matches([' ', '\t'])).ok())
        .ok_or_else(|| format!("invalid value for {name}: {value:?} cannot be in a header"))
}

/// The path as seen from where the exporter was started, without `..` where that can be had.
fn join(folder: &Path, path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() || path.is_absolute() {
        return path.to_owned();
    }
    let mut clean = PathBuf::new();
    for part in folder.join(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if clean.file_name().is_some() => drop(clean.pop()),
            Component::ParentDir if clean.has_root() => {}
            part => clean.push(part),
        }
    }
    clean
}

#[cfg(test)]
mod tests;
