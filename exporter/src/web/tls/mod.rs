//! TLS, as `tls_server_config` asks for it: by rustls, with the cryptography of AWS-LC.
//!
//! rustls has neither CBC suites nor versions below 1.2; a configuration that needs them is
//! refused, one that merely allows them starts with a warning. Sessions are never resumed, so that
//! each connection is held against the certificates and the rules of its own time.

mod client;
mod p521;
mod pair;

use super::config::{Config, Content, Tls, Version, read};
use client::{ClientAuth, Verifier};
pub use p521::P521;
use rustls::{
    CipherSuite, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
    crypto::{
        CryptoProvider,
        aws_lc_rs::{self as aws, kx_group},
    },
    server::NoServerSessionStorage,
    version::{TLS12, TLS13},
};
use std::sync::Arc;
use zeroize::Zeroizing;

/// The protocols that are offered, the best first. Without HTTP/2 none is, as in Go.
const PROTOCOLS: [&[u8]; 2] = [HTTP2, b"http/1.1"];
/// The name of HTTP/2 for clients.
pub(super) const HTTP2: &[u8] = b"h2";
/// Go's order: whatever the configuration's, or the client's.
const SUITES: [CipherSuite; 9] = [
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// The settings of connections, read at this moment; `http2` says whether HTTP/2 is offered.
///
/// # Errors
/// A part is missing, cannot be read, contradicts another or cannot be served.
pub(super) fn server(config: &Config, http2: bool) -> Result<ServerConfig, String> {
    let tls = &config.tls;
    if tls.cert.is_empty() {
        return Err("missing one of cert or cert_file".into());
    }
    if tls.key.is_empty() {
        return Err("missing one of key or key_file".into());
    }
    let named = |content: &Content, name: &str| {
        let file = content.file.display();
        bytes(content).map_err(|error| format!("failed to read {name} ({file}): {error}"))
    };
    let (cert, key) = (named(&tls.cert, "cert_file")?, named(&tls.key, "key_file")?);
    let provider = Arc::new(provider(tls));
    let pair = pair::load(&cert, &key, &provider)
        .map_err(|error| format!("failed to load X509KeyPair: {error}"))?;
    let pool = bytes(&tls.client_ca)?;
    let auth = ClientAuth::parse(&tls.client_auth)?;
    if !tls.client_ca.is_empty() && auth == ClientAuth::None {
        return Err("client CA's have been configured without a Client Auth Policy".into());
    }
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(tls)?)
        .map_err(|error| error.to_string())?;
    let builder = if auth == ClientAuth::None {
        builder.with_no_client_auth()
    } else {
        let verifier = Verifier::new(auth, &pool, tls.client_sans.clone(), &provider)?;
        builder.with_client_cert_verifier(Arc::new(verifier))
    };
    let mut server = builder.with_cert_resolver(Arc::new(pair));
    server.ignore_client_order = true;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    if http2 {
        server.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    }
    Ok(server)
}

/// Makes a key of each group, which is slow the first time: no client is kept waiting for it.
pub(super) fn warm_up(server: &ServerConfig) {
    for group in &server.crypto_provider().kx_groups {
        if let Err(error) = group.start() {
            tracing::warn!(%error, "a group for keys cannot be used");
        }
    }
}

/// Whether a client that shows no certificate is turned away after all.
pub(super) fn needs_certificate(config: &Config) -> bool {
    config.tls.client_sans.is_some()
        && ClientAuth::parse(&config.tls.client_auth).is_ok_and(|auth| auth != ClientAuth::None)
}

/// A fault that ends the start, although connections would be served.
///
/// # Errors
/// HTTP/2 would be offered without the suite that it requires.
pub(super) fn check_http2(config: &Config) -> Result<(), String> {
    let tls = &config.tls;
    let is_required = |name: &&str| {
        matches!(
            *name,
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" | "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
        )
    };
    let needed = config.http2 && !tls.ciphers.is_empty() && tls.min < Version::Tls13;
    if needed && !tls.ciphers.iter().any(is_required) {
        return Err("http2: TLSConfig.CipherSuites is missing an HTTP/2-required \
                    AES_128_GCM_SHA256 cipher (need at least one of \
                    TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 or \
                    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)"
            .into());
    }
    Ok(())
}

/// Settings that are served otherwise than configured.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let tls = &config.tls;
    let mut warnings = Vec::new();
    if tls.min < Version::Tls12 {
        warnings.push("min_version: there is no TLS below 1.2, which is taken instead".into());
    }
    if tls.min > tls.max && tls.max >= Version::Tls12 {
        warnings.push("min_version is above max_version: every connection will be refused".into());
    }
    let cbc: Vec<&str> = tls.ciphers.iter().copied().filter(|name| name.contains("CBC")).collect();
    if !cbc.is_empty() {
        warnings.push(format!("cipher_suites: there is no CBC here: {}", cbc.join(", ")));
    }
    let verifies = ClientAuth::parse(&tls.client_auth).is_ok_and(ClientAuth::verifies);
    if verifies && tls.client_ca.is_empty() {
        warnings.push(
            "client_auth_type verifies certificates, and there is no client_ca_file: every \
             certificate will be refused"
                .into(),
        );
    }
    warnings
}

/// The text of a content, or that of its file.
fn bytes(content: &Content) -> Result<Zeroizing<Vec<u8>>, String> {
    if content.file.as_os_str().is_empty() {
        return Ok(Zeroizing::new(content.text.as_bytes().to_vec()));
    }
    read(&content.file)
}

/// The suites and groups that are asked for, in Go's order. Suites of TLS 1.3 cannot be chosen.
fn provider(tls: &Tls) -> CryptoProvider {
    let mut provider = aws::default_provider();
    let is_wanted = |suite: &SupportedCipherSuite| {
        let name = format!("{:?}", suite.suite());
        suite.tls13().is_some() || tls.ciphers.is_empty() || tls.ciphers.contains(&name.as_str())
    };
    provider.cipher_suites.retain(is_wanted);
    provider
        .cipher_suites
        .sort_by_key(|suite| SUITES.iter().position(|other| *other == suite.suite()));
    if tls.curves.is_empty() {
        provider.kx_groups.push(P521);
    } else {
        let all = [
            ("CurveP256", kx_group::SECP256R1),
            ("CurveP384", kx_group::SECP384R1),
            ("CurveP521", P521),
            ("X25519", kx_group::X25519),
        ];
        let group = |name: &&str| Some(all.iter().find(|(known, _)| known == name)?.1);
        provider.kx_groups = tls.curves.iter().filter_map(group).collect();
    }
    provider
}

/// The versions that remain of those asked for.
fn versions(tls: &Tls) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    if tls.max < Version::Tls12 {
        return Err("max_version: there is no TLS below 1.2".into());
    }
    let is_there = |name: &&str| !name.contains("CBC") && name.starts_with("TLS_ECDHE");
    let has_suite = tls.ciphers.is_empty() || tls.ciphers.iter().any(is_there);
    let mut versions = Vec::new();
    if tls.max >= Version::Tls13 {
        versions.push(&TLS13);
    }
    if tls.min <= Version::Tls12 && has_suite {
        versions.push(&TLS12);
    }
    if versions.is_empty() && tls.min <= tls.max {
        return Err(format!(
            "cipher_suites: none of them can be served up to TLS 1.2: {}",
            tls.ciphers.join(", ")
        ));
    }
    if versions.is_empty() || tls.min > tls.max {
        return Err(NO_VERSION.into());
    }
    Ok(versions)
}

/// Where Go would start, and refuse each connection.
pub(super) const NO_VERSION: &str = "min_version is above max_version";

#[cfg(test)]
mod tests;
