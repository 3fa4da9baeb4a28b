use super::*;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("/etc/exporter"))
}

/// A TLS section with these lines besides.
fn tls(lines: &str) -> String {
    format!("tls_server_config:\n  cert_file: a.crt\n  key_file: a.key\n  {lines}\n")
}

/// The words of node_exporter 1.11.1, line by line.
#[test]
fn faults_are_worded_as_gos() {
    let unmarshal = |said: &str| format!("yaml: unmarshal errors:\n  {said}");
    for (text, said) in [
        (
            "junk: 1\nfoo: 2",
            "line 1: field junk not found in type web.Config\n  line 2: field foo not found in type web.Config",
        ),
        ("abc", "line 1: cannot unmarshal !!str `abc` into web.Config"),
        ("[a]", "line 1: cannot unmarshal !!seq into web.Config"),
        (
            "tls_server_config:\n  cert_filse: x",
            "line 2: field cert_filse not found in type web.TLSConfig",
        ),
        ("http_server_config: {http2: maybe}", "line 1: cannot unmarshal !!str `maybe` into bool"),
        ("http_server_config: {http2: 'true'}", "line 1: cannot unmarshal !!str `true` into bool"),
        ("http_server_config: {http2: 1}", "line 1: cannot unmarshal !!int `1` into bool"),
        (
            "http_server_config: {headers: [a]}",
            "line 1: cannot unmarshal !!seq into map[string]string",
        ),
        (
            "http_server_config: {headers: {X-XSS-Protection: [a]}}",
            "line 1: cannot unmarshal !!seq into string",
        ),
        (
            "http_server_config: {headers: {X-XSS-Protection: a, X-XSS-Protection: b}}",
            "line 1: key \"X-XSS-Protection\" already set in map",
        ),
        ("http_server_config: a", "line 1: cannot unmarshal !!str `a` into web.HTTPConfig"),
        (
            "http_server_config: {<<: {http2: x}, http2: true}",
            "line 1: cannot unmarshal !!str `x` into bool",
        ),
        ("rate_limit: {interval: 5x}", "line 1: cannot unmarshal !!str `5x` into time.Duration"),
        ("rate_limit: {interval: '5'}", "line 1: cannot unmarshal !!str `5` into time.Duration"),
        (
            "rate_limit: {interval: !!str 5}",
            "line 1: cannot unmarshal !!str `5` into time.Duration",
        ),
        ("rate_limit: {interval: -1s, burst: x}", "line 1: cannot unmarshal !!str `x` into int"),
        (
            "rate_limit: {burst: 99999999999999999999}",
            "line 1: cannot unmarshal !!float `9999999...` into int",
        ),
        ("rate_limit: {burst: '5'}", "line 1: cannot unmarshal !!str `5` into int"),
        (
            "rate_limit: {interval: [1], burst: {a: b}}",
            "line 1: cannot unmarshal !!seq into time.Duration\n  line 1: cannot unmarshal !!map into int",
        ),
        (
            "rate_limit: {burst: true, interval: 2001-01-01}",
            "line 1: cannot unmarshal !!bool `true` into int\n  line 1: cannot unmarshal !!timestamp `2001-01-01` into time.Duration",
        ),
        (
            "rate_limit: {interval: 1, interval: 2}",
            "line 1: field interval already set in type web.RateLimiterConfig",
        ),
        ("rate_limit: {[a]: b}", "line 1: cannot unmarshal !!seq into string"),
        ("rate_limit: {5: b}", "line 1: field 5 not found in type web.RateLimiterConfig"),
        (
            "rate_limit:\n  <<: &a {http2: false}",
            "line 2: field http2 not found in type web.RateLimiterConfig",
        ),
        (
            "{rate_limit: {burst: 1}, rate_limit: {burst: 2}}",
            "line 1: field rate_limit already set in type web.Config",
        ),
        ("basic_auth_users: {a: [b]}", "line 1: cannot unmarshal !!seq into config.plain"),
        ("basic_auth_users: [a]", "line 1: cannot unmarshal !!seq into map[string]config.Secret"),
        ("basic_auth_users: {a: b, a: c}", "line 1: key \"a\" already set in map"),
        (&tls("min_version: [a]"), "line 4: cannot unmarshal !!seq into string"),
        (&tls("cipher_suites: a"), "line 4: cannot unmarshal !!str `a` into []web.Cipher"),
        (
            &tls("prefer_server_cipher_suites: maybe"),
            "line 4: cannot unmarshal !!str `maybe` into bool",
        ),
        (&tls("client_allowed_sans: a"), "line 4: cannot unmarshal !!str `a` into []string"),
        (&tls("cert: {a: b}"), "line 4: cannot unmarshal !!map into string"),
        (&tls("key: [a]"), "line 4: cannot unmarshal !!seq into config.plain"),
        (&tls("cert_file: x"), "line 4: field cert_file already set in type web.TLSConfig"),
        (
            &tls("min_version: [a]\n  max_version: [b]\n  prefer_server_cipher_suites: x"),
            "line 4: cannot unmarshal !!seq into string\n  line 5: cannot unmarshal !!seq into string\n  line 6: cannot unmarshal !!str `x` into bool",
        ),
    ] {
        assert_eq!(parse(text).unwrap_err(), unmarshal(said), "{text}");
    }
}

#[test]
fn what_there_is_not_is_worded_as_gos() {
    for (text, said) in [
        (tls("min_version: TLS14"), "unknown TLS version: TLS14"),
        (tls("min_version: 1"), "unknown TLS version: 1"),
        (tls("cipher_suites: [a]"), "unknown cipher: a"),
        (
            tls("cipher_suites: [TLS_RSA_WITH_AES_256_GCM_SHA384]"),
            "unknown cipher: TLS_RSA_WITH_AES_256_GCM_SHA384",
        ),
        (tls("cipher_suites: [a, b]\n  curve_preferences: x"), "unknown cipher: a"),
        (tls("curve_preferences: [X]"), "unknown curve: X"),
        ("http_server_config: {headers: {A: b}}".into(), "HTTP header \"A\" can not be configured"),
        (
            "http_server_config: {headers: {x-frame-options: deny}}".into(),
            "HTTP header \"x-frame-options\" can not be configured",
        ),
        (
            "http_server_config: {headers: {X-Frame-Options: x}}".into(),
            "invalid value for X-Frame-Options. Expected one of: [\"deny\" \"sameorigin\"], but got: \"x\"",
        ),
        (
            "http_server_config: {headers: {X-Content-Type-Options: x}}".into(),
            "invalid value for X-Content-Type-Options. Expected one of: [\"nosniff\"], but got: \"x\"",
        ),
    ] {
        assert_eq!(parse(&text).unwrap_err(), said, "{text}");
    }
}

#[test]
fn a_secret_in_a_wrong_place_is_not_told() {
    let said = parse("basic_auth_users: hunter2hunter2").unwrap_err();
    assert!(said.ends_with("cannot unmarshal !!str into map[string]config.Secret"), "{said}");
}

#[test]
fn values_are_those_of_go() {
    for (text, interval, burst) in [
        ("{interval: 5, burst: 0x10}", 5, 16),
        ("{interval: 1h30m, burst: 1.5}", 5_400_000_000_000, 1),
        ("{interval: 1.5, burst: 010}", 1, 8),
        ("{burst: 1_000}", 0, 1000),
        ("{interval: ~}", 0, 0),
        ("{interval: '5s', burst: 0b11}", 5_000_000_000, 3),
        ("{burst: !!int '5'}", 0, 5),
        ("{interval: -1s, burst: -0x1}", -1_000_000_000, -1),
        ("~", 0, 0),
    ] {
        let config = parse(&format!("rate_limit: {text}")).unwrap();
        assert_eq!(config.rate, Rate { interval, burst }, "{text}");
    }
    for (text, http2) in
        [("{http2: off}", false), ("{http2: ~}", false), ("{http2: y}", true), ("{}", true)]
    {
        assert_eq!(parse(&format!("http_server_config: {text}")).unwrap().http2, http2, "{text}");
    }
    let config = parse("basic_auth_users: {b: 5, a: true, c: ~, ~: x}").unwrap();
    let users: Vec<_> = config.users.iter().map(|(n, h)| (n.as_str(), h.as_str())).collect();
    assert_eq!(users, [("", "x"), ("a", "true"), ("b", "5"), ("c", "")]);
    let config = parse(&tls("client_allowed_sans: []\n  cipher_suites: [~]\n  max_version: ~"));
    let tls = config.unwrap().tls;
    assert_eq!((tls.client_sans, tls.ciphers, tls.max), (Some(vec![]), vec![""], Version::Tls13));
    for text in
        ["", "~", "# nothing", "{rate_limit: ~, http_server_config: ~, tls_server_config: ~}"]
    {
        let config = parse(text).unwrap();
        assert!(!config.tls.is_configured() && config.http2 && config.users.is_empty(), "{text}");
    }
    assert!(!parse("tls_server_config: {client_auth_type: ''}").unwrap().tls.is_configured());
    assert!(parse("tls_server_config: {client_auth_type: x}").unwrap().tls.is_configured());
}

#[test]
fn paths_are_relative_to_the_file() {
    for (folder, path, joined) in [
        ("/etc/exporter", "a.crt", "/etc/exporter/a.crt"),
        ("/etc/exporter", "../a.crt", "/etc/a.crt"),
        ("/etc", "../../a.crt", "/a.crt"),
        ("/etc", "/a/../b", "/a/../b"),
        ("", "a", "a"),
        (".", "./a", "a"),
        ("c", "../../a", "../a"),
        ("c", "", ""),
    ] {
        assert_eq!(join(Path::new(folder), Path::new(path)), Path::new(joined), "{folder} {path}");
    }
}
