//! The cases: a configuration, a client, and the result.

use exporter::web::P521;
use rustls::{
    CipherSuite,
    crypto::{SupportedKxGroup, aws_lc_rs as aws},
};

/// The result that a case must have.
#[derive(Clone, Copy)]
pub(super) enum Want {
    /// The start ends with an error that says this.
    End(&'static str),
    /// The last request is answered so: the status line, a TLS alert or the like.
    Answer(&'static str),
}
use Want::{Answer, End};

pub(super) struct Case {
    pub(super) name: &'static str,
    /// The configuration, in which `@PAIR`, `@CERT` and `@KEY` are the server's.
    pub(super) config: &'static str,
    pub(super) client: Client,
    pub(super) want: Want,
}

/// The requests of a case, one unless said otherwise.
#[derive(Clone, Copy)]
pub(super) struct Client {
    pub(super) tls: bool,
    /// The name of its certificate.
    pub(super) pair: Option<&'static str>,
    /// The suites that it offers; the answer then names the one that was chosen.
    pub(super) suites: &'static [CipherSuite],
    pub(super) group: Option<&'static dyn SupportedKxGroup>,
    /// The first bytes, of a client that is not rustls; only the server's alert matters.
    pub(super) hello: Option<Hello>,
    pub(super) user: Option<&'static str>,
    pub(super) requests: usize,
}

/// The version and the suite that a client offers.
#[derive(Clone, Copy)]
pub(super) struct Hello {
    pub(super) version: [u8; 2],
    pub(super) suite: [u8; 2],
}

pub(super) const PLAIN: Client = Client {
    tls: false,
    pair: None,
    suites: &[],
    group: None,
    hello: None,
    user: None,
    requests: 1,
};
pub(super) const TLS: Client = Client { tls: true, ..PLAIN };
pub(super) const OK: Want = Answer("200 OK");
pub(super) const UNAUTHORIZED: Want = Answer("401 Unauthorized");

pub(super) const fn case(
    name: &'static str,
    config: &'static str,
    client: Client,
    want: Want,
) -> Case {
    Case { name, config, client, want }
}

/// A configuration that ends the start, whoever would ask.
pub(super) const fn bad(name: &'static str, config: &'static str, said: &'static str) -> Case {
    case(name, config, PLAIN, End(said))
}

/// The server's certificate and key, in files.
pub(super) const PAIR: &str =
    "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";
pub(super) const IF_GIVEN: &str = "@PAIR\n  client_auth_type: VerifyClientCertIfGiven\n";
pub(super) const SOME_SUITES: &str = "@PAIR\n  min_version: TLS12\n  max_version: TLS12\n  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]\n";
pub(super) const SUITES_TURNED: &str = "@PAIR\n  min_version: TLS12\n  max_version: TLS12\n  prefer_server_cipher_suites: false\n  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n";
pub(super) const P521_ALONE: &str =
    "@PAIR\n  min_version: TLS13\n  curve_preferences: [CurveP521]\n";
pub(super) const SANS: &str = "@PAIR\n  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: second.crt\n  client_allowed_sans: [one, second, two]\n";
pub(super) const BOTH_SUITES: &[CipherSuite] = &[
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
];
/// The passwords are the names and `123`; made by libxcrypt, of which the second is none.
pub(super) const USERS: &str = "basic_auth_users:
  alice: $2b$06$webcasesabcdefghijkluu6ihJHgdwIdy8L7S5gvBldPSRP94YiVq
  bob: $2b$18$webcasesabcdefghijkluu6ihJHgdwIdy8L7S5gvBldPSRP94YiVq
  carol: $2b$05$webcasesabcdefghijkluuaqSKIjfGYtq/oQqiFnpjvwIuVVzU6Y.
  dave: $2b$05$webcasesabcdefghijkluuY5mBX7erqOaIONa2P0JXqxvbbDFHekq
";
pub(super) const TLS_USERS: &str = "@PAIR\nbasic_auth_users:
  carol: $2b$05$webcasesabcdefghijkluuaqSKIjfGYtq/oQqiFnpjvwIuVVzU6Y.
  dave: $2b$05$webcasesabcdefghijkluuY5mBX7erqOaIONa2P0JXqxvbbDFHekq
";
pub(super) const NO_CERT: &str = "missing one of cert or cert_file";
pub(super) const NO_KEY: &str = "missing one of key or key_file";
pub(super) const NO_FILE: &str = "no such file or directory";
pub(super) const NO_HTTP2: &str = "http2: TLSConfig.CipherSuites is missing an HTTP/2-required \
                        AES_128_GCM_SHA256 cipher";

pub(super) const fn with(pair: &'static str) -> Client {
    Client { pair: Some(pair), ..TLS }
}

pub(super) const fn suites(suites: &'static [CipherSuite]) -> Client {
    Client { suites, ..TLS }
}

pub(super) const fn group(group: &'static dyn SupportedKxGroup) -> Client {
    Client { group: Some(group), ..TLS }
}

pub(super) const fn user(user: &'static str, client: Client) -> Client {
    Client { user: Some(user), ..client }
}

pub(super) const fn hello(version: [u8; 2], suite: [u8; 2]) -> Client {
    Client { hello: Some(Hello { version, suite }), ..TLS }
}

pub(super) const TLS11: [u8; 2] = [3, 2];
pub(super) const TLS12: [u8; 2] = [3, 3];
/// `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`.
pub(super) const GCM: [u8; 2] = [0xc0, 0x2f];
/// `TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA`.
const CBC: [u8; 2] = [0xc0, 0x14];

/// The files that the start reads.
#[rustfmt::skip]
pub(super) const FILES: [Case; 17] = [
    case("an empty file", "", PLAIN, OK),
    bad("words", "XbAeUhBqk\nPq7sK0zLw\n", "cannot unmarshal !!str `XbAeUhB...` into web.Config"),
    bad("a key that there is not", "tls_server_config:\n  cert_fil: a\n", "yaml: unmarshal errors:"),
    bad("an empty path of the certificate", "tls_server_config: {cert_file: '', key_file: server.key}", NO_CERT),
    bad("an empty certificate", "tls_server_config: {cert: '', key_file: server.key}", NO_CERT),
    bad("an empty path of the key", "tls_server_config: {cert_file: server.crt, key_file: ''}", NO_KEY),
    bad("an empty key", "tls_server_config: {cert_file: server.crt, key: ''}", NO_KEY),
    bad("two empty paths", "tls_server_config: {cert_file: '', key_file: '', client_auth_type: x}", NO_CERT),
    bad("no such certificate", "tls_server_config: {cert_file: nowhere, key_file: server.key}", NO_FILE),
    bad("no such key", "tls_server_config: {cert_file: server.crt, key_file: nowhere}", NO_FILE),
    bad("neither of the files", "tls_server_config: {cert_file: nowhere, key_file: nowhere}", NO_FILE),
    bad("authorities, and no mode", "@PAIR\n  client_ca_file: /dev/null\n", "client CA's have been configured without a Client Auth Policy"),
    bad("no such authorities", "@PAIR\n  client_ca_file: nowhere\n", NO_FILE),
    bad("a hash that is none", "@PAIR\nbasic_auth_users: {john: doe}\n", "hashedSecret too short to be a bcrypted password"),
    bad("an invented suite", "@PAIR\n  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA1]\n", "unknown cipher: TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA1"),
    bad("an invented curve", "@PAIR\n  curve_preferences: [CurveP255]\n", "unknown curve: CurveP255"),
    bad("an invented version", "@PAIR\n  min_version: TLS122\n", "unknown TLS version: TLS122"),
];

/// TLS, headers, clients' certificates and the limit of requests.
#[rustfmt::skip]
pub(super) const BEHAVIOUR: [Case; 25] = [
    case("a client that speaks HTTP", IF_GIVEN, PLAIN, Answer("400 Bad Request")),
    case("a client that speaks TLS to HTTP", "", hello(TLS12, GCM), Answer("HTTP")),
    case("a certificate and a key in files", IF_GIVEN, TLS, OK),
    case("a certificate and a key as texts", "tls_server_config:\n  cert: |\n@CERT  key: |\n@KEY", TLS, OK),
    case("TLS 1.1", IF_GIVEN, hello(TLS11, GCM), Answer("ProtocolVersion")),
    case("all suites", "@PAIR\n  cipher_suites: [
        TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256,
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
        TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA]\n", TLS, OK),
    case("a suite of both", SOME_SUITES, suites(&[CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]),
        Answer("200 OK by TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384")),
    case("no suite of both", SOME_SUITES, hello(TLS12, CBC), Answer("HandshakeFailure")),
    case("two suites of both", SOME_SUITES, suites(BOTH_SUITES), Answer("200 OK by TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")),
    case("two suites, in the client's order", SUITES_TURNED, suites(BOTH_SUITES), Answer("200 OK by TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")),
    case("all curves", "@PAIR\n  curve_preferences: [CurveP256, CurveP384, CurveP521, X25519]\n", TLS, OK),
    case("a curve of both", P521_ALONE, group(P521), OK),
    case("no curve of both", P521_ALONE, group(aws::kx_group::SECP384R1), Answer("HandshakeFailure")),
    case("without HTTP/2, and its suite",
        "@PAIR\n  max_version: TLS12\n  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]\nhttp_server_config: {http2: false}\n", TLS, OK),
    bad("HTTP/2 without its suite", "@PAIR\n  max_version: TLS12\n  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]\n", NO_HTTP2),
    bad("another X-Content-Type-Options", "http_server_config: {headers: {X-Content-Type-Options: sniff}}", "invalid value for X-Content-Type-Options."),
    bad("another X-Frame-Options", "http_server_config: {headers: {X-Frame-Options: foo}}", "invalid value for X-Frame-Options."),
    bad("another header", "http_server_config: {headers: {Content-Type: foo}}", "can not be configured"),
    case("any certificate, from a file", "@PAIR\n  client_auth_type: RequireAnyClientCert\n", with("first"), OK),
    case("any certificate, with a key as text",
        "tls_server_config:\n  cert_file: server.crt\n  key: |\n@KEY  client_auth_type: RequireAnyClientCert\n", with("first"), OK),
    case("a certificate that is its own authority",
        "@PAIR\n  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: first.crt\n", with("first"), OK),
    case("an allowed name", SANS, with("second"), OK),
    case("no allowed name", "@PAIR\n  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: second.crt\n  client_allowed_sans: [bad]\n",
        with("second"), Answer("BadCertificate")),
    case("no limit of requests", "rate_limit: {interval: 0, burst: 0}", Client { requests: 11, ..PLAIN }, OK),
    case("a limit of none", "rate_limit: {interval: 1s, burst: 0}", Client { requests: 11, ..PLAIN }, Answer("429 Too Many Requests")),
];

/// Names and passwords.
#[rustfmt::skip]
pub(super) const PASSWORDS: [Case; 10] = [
    case("no password", USERS, PLAIN, UNAUTHORIZED),
    case("a right one", USERS, user("dave:dave123", PLAIN), OK),
    case("no password, over TLS", TLS_USERS, TLS, UNAUTHORIZED),
    case("a right one, over TLS", TLS_USERS, user("dave:dave123", TLS), OK),
    case("another right one, over TLS", TLS_USERS, user("carol:carol123", TLS), OK),
    case("a wrong one, over TLS", TLS_USERS, user("dave:bad", TLS), UNAUTHORIZED),
    case("a name that there is not, over TLS", TLS_USERS, user("nobody:nobody", TLS), UNAUTHORIZED),
    case("the password of no name", USERS, Client { requests: 2, ..user("fakeuser:fakepassword", PLAIN) }, UNAUTHORIZED),
    case("a name that ends with a hash", USERS,
        user("alice$2b$06$webcasesabcdefghijkluu6ihJHgdwIdy8L7S5gvBldPSRP94YiVq:fakepassword", PLAIN), UNAUTHORIZED),
    case("a password that begins with a hash", USERS,
        user("alice:$2b$06$webcasesabcdefghijkluu6ihJHgdwIdy8L7S5gvBldPSRP94YiVqfakepassword", PLAIN), UNAUTHORIZED),
];

/// Whether TLS is configured.
#[rustfmt::skip]
pub(super) const ENABLED: [Case; 5] = [
    case("keys that turn nothing on", "tls_server_config: {min_version: TLS12, prefer_server_cipher_suites: true}", PLAIN, OK),
    case("files", "@PAIR\n", TLS, OK),
    bad("texts", "tls_server_config: {cert: cert, key: key}", "failed to find any PEM data in certificate input"),
    bad("authorities alone", "tls_server_config: {client_ca_file: first.crt}", NO_CERT),
    bad("a mode alone", "tls_server_config: {client_auth_type: RequireAndVerifyClientCert}", NO_CERT),
];
