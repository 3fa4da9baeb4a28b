use super::*;
use rcgen::{CertificateParams, KeyPair};
use std::path::Path;

fn pair() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// The server of a configuration with these lines, and with a certificate and a key as texts.
fn made(lines: &str) -> (Config, Result<ServerConfig, String>) {
    let (cert, key) = pair();
    let indented =
        |pem: &str| pem.lines().flat_map(|line| ["    ", line, "\n"]).collect::<String>();
    let (cert, key) = (indented(&cert), indented(&key));
    let text = format!("tls_server_config:\n  cert: |\n{cert}  key: |\n{key}  {lines}\n");
    let config = Config::parse(&text, Path::new("")).unwrap();
    let server = server(&config, config.http2);
    (config, server)
}

fn suites(server: &ServerConfig) -> Vec<String> {
    let all = server.crypto_provider().cipher_suites.iter();
    all.map(|suite| format!("{:?}", suite.suite())).collect()
}

#[test]
fn suites_are_in_gos_order_and_of_those_asked_for() {
    let tls13 =
        ["TLS13_AES_128_GCM_SHA256", "TLS13_AES_256_GCM_SHA384", "TLS13_CHACHA20_POLY1305_SHA256"];
    let all = suites(&made("").1.unwrap());
    assert_eq!(all[..3], tls13);
    assert_eq!(all[3], "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");
    assert_eq!(all.len(), SUITES.len());
    let lines = "cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, \
                 TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]";
    let some = suites(&made(lines).1.unwrap());
    assert_eq!(some[..3], tls13, "as in Go, these cannot be chosen");
    assert_eq!(
        some[3..],
        ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"]
    );
}

#[test]
fn groups_are_those_asked_for() {
    let groups = |lines: &str| -> Vec<String> {
        let (_, server) = made(lines);
        let server = server.unwrap();
        let all = server.crypto_provider().kx_groups.iter();
        all.map(|group| format!("{:?}", group.name())).collect()
    };
    assert_eq!(groups(""), ["X25519MLKEM768", "X25519", "secp256r1", "secp384r1", "secp521r1"]);
    assert_eq!(groups("curve_preferences: [CurveP521]"), ["secp521r1"]);
    assert_eq!(groups("curve_preferences: [CurveP384, X25519]"), ["secp384r1", "X25519"]);
}

#[test]
fn what_cannot_be_had_is_refused_or_warned_of() {
    const CBC: &str = "cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]";
    for (lines, refused, warned) in [
        ("", None, &[][..]),
        ("min_version: TLS10", None, &["min_version: there is no TLS below 1.2"]),
        ("min_version: TLS13", None, &[]),
        ("max_version: TLS12", None, &[]),
        ("max_version: TLS11", Some("max_version: there is no TLS below 1.2"), &[]),
        (
            "min_version: TLS13\n  max_version: TLS12",
            Some(NO_VERSION),
            &["min_version is above max_version"],
        ),
        (CBC, None, &["cipher_suites: there is no CBC here"]),
        (
            &format!("{CBC}\n  max_version: TLS12"),
            Some("cipher_suites: none of them can be served up to TLS 1.2"),
            &["cipher_suites: there is no CBC here"],
        ),
        ("client_auth_type: X", Some("invalid ClientAuth: X"), &[]),
        (
            "client_ca: x",
            Some("client CA's have been configured without a Client Auth Policy"),
            &[],
        ),
        (
            "client_ca_file: /nonexistent/x",
            Some("open /nonexistent/x: no such file or directory"),
            &[],
        ),
        (
            "client_auth_type: VerifyClientCertIfGiven",
            None,
            &["client_auth_type verifies certificates"],
        ),
    ] {
        let (config, server) = made(lines);
        let said = server.err();
        assert_eq!(said.is_some(), refused.is_some(), "{lines}: {said:?}");
        assert!(said.unwrap_or_default().starts_with(refused.unwrap_or_default()), "{lines}");
        let warnings = warnings(&config);
        assert_eq!(warnings.len(), warned.len(), "{lines}: {warnings:?}");
        assert!(warnings.iter().zip(warned).all(|(is, want)| is.starts_with(want)), "{lines}");
    }
}

#[test]
fn http2_requires_its_suite() {
    for (lines, fine) in [
        ("", true),
        ("cipher_suites: []", true),
        ("cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]", true),
        ("cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]", false),
        ("cipher_suites: [TLS_AES_128_GCM_SHA256]", false),
        ("cipher_suites: [TLS_AES_128_GCM_SHA256]\n  min_version: TLS13", true),
        ("cipher_suites: [TLS_AES_128_GCM_SHA256]\nhttp_server_config: {http2: false}", true),
    ] {
        let said = check_http2(&made(lines).0);
        assert_eq!(said.is_ok(), fine, "{lines}: {said:?}");
    }
}

#[test]
fn pairs_that_are_none_are_refused_in_gos_words() {
    let provider = aws::default_provider();
    let ((cert, key), (other, _)) = (pair(), pair());
    for (cert, key, said) in [
        (cert.as_str(), key.as_str(), ""),
        ("", &key, "tls: failed to find any PEM data in certificate input"),
        (
            &key,
            &key,
            "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched",
        ),
        (&cert, "x", "tls: failed to find any PEM data in key input"),
        (&cert, &cert, "tls: found a certificate rather than a key in the PEM for the private key"),
        (&other, &key, "tls: private key does not match public key"),
    ] {
        let loaded = pair::load(cert.as_bytes(), key.as_bytes(), &provider).err();
        assert_eq!(loaded.unwrap_or_default(), said);
    }
}
