//! The cases of exporter-toolkit's own tests, with files of ours: where a configuration ends the
//! start, and the answers of a server that starts.
//!
//! The expectations are node_exporter's. `PEER=NODE_EXPORTER cargo test -p tests --test tls toolkit`
//! lets it go through the same cases.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod cases;

use super::{CLIENT, Pair, ask, own, params};
use cases::{
    BEHAVIOUR, Case, Client, ENABLED, FILES, Hello, IF_GIVEN, PAIR, PASSWORDS, PLAIN, TLS, USERS,
    Want::{Answer, End},
    user,
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::aws_lc_rs as aws,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use std::{
    fs,
    io::{Read as _, Write as _},
    path::PathBuf,
    process::Command,
    sync::Arc,
};
use tempfile::TempDir;
use tests::{Server, program};

/// A folder with the certificates and the configuration.
struct Site {
    folder: TempDir,
    server: Pair,
    clients: [(&'static str, Pair); 2],
}

impl Site {
    fn new() -> Self {
        // RSA, for which most of the suites are.
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        let cert = params("localhost", None, false).self_signed(&key).unwrap().pem();
        let server = Pair { cert, key: key.serialize_pem() };
        let clients = ["first", "second"].map(|name| (name, own(&params(name, CLIENT, true))));
        let site = Self { folder: tests::folder(), server, clients };
        site.write("server.crt", &site.server.cert);
        site.write("server.key", &site.server.key);
        for (name, Pair { cert, .. }) in &site.clients {
            site.write(&format!("{name}.crt"), cert);
        }
        site
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn configure(&self, config: &str) {
        let block = |pem: &str| format!("    {}\n", pem.trim().replace('\n', "\n    "));
        let config = config.replace("@PAIR\n", PAIR).replace("@CERT", &block(&self.server.cert));
        self.write("web.yml", &config.replace("@KEY", &block(&self.server.key)));
    }

    fn command(&self, program: &Program, mut command: Command) -> Command {
        command.args(["--collector.disable-defaults", "--collector.uname"]).args(program.flags);
        let config = self.folder.path().join("web.yml");
        command.arg(format!("--web.config.file={}", config.display()));
        command
    }

    fn start(&self, program: &Program) -> Server {
        Server::from(&mut self.command(program, Command::new(&program.path)))
    }

    /// The output of a start that ends.
    fn end(&self, program: &Program) -> String {
        let mut command = Command::new("timeout");
        command.arg("30").arg(&program.path).arg("--web.listen-address=127.0.0.1:0");
        let output = self.command(program, command).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        if output.status.code() == Some(1) { said } else { format!("{}: {said}", output.status) }
    }

    /// The answer to a client's last request, or the refusal of its handshake.
    fn answer(&self, server: &Server, client: &Client) -> String {
        let user = client.user.map(|user| {
            let coded = base64(user.as_bytes());
            format!("Authorization: Basic {coded}\r\n")
        });
        let user = user.unwrap_or_default();
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{user}\r\n");
        let mut last = String::new();
        for _ in 0..client.requests {
            last = match client {
                Client { hello: Some(hello), .. } => greet(server, *hello),
                Client { tls: false, .. } => {
                    let mut stream = server.connect();
                    stream.write_all(request.as_bytes()).unwrap();
                    let mut text = String::new();
                    stream.read_to_string(&mut text).unwrap();
                    status(&text)
                }
                _ => self.ask_by_tls(server, client, &request),
            };
        }
        last
    }

    fn ask_by_tls(&self, server: &Server, client: &Client, request: &str) -> String {
        let mut provider = aws::default_provider();
        if !client.suites.is_empty() {
            provider.cipher_suites.retain(|suite| client.suites.contains(&suite.suite()));
        }
        if let Some(group) = client.group {
            provider.kx_groups = vec![group];
        }
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.server.cert.as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(provider));
        let versions = [&rustls::version::TLS12, &rustls::version::TLS13];
        let versions = if client.suites.is_empty() { &versions[..] } else { &versions[..1] };
        let builder = builder.with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        let pair = self.clients.iter().find(|(name, _)| Some(*name) == client.pair);
        let config = match pair {
            None => builder.with_no_client_auth(),
            Some((_, Pair { cert, key })) => {
                let cert = CertificateDer::from_pem_slice(cert.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![cert], key).unwrap()
            }
        };
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = StreamOwned::new(connection, server.connect());
        let asked = stream.write_all(request.as_bytes()).and_then(|()| stream.flush());
        let chosen = stream.conn.negotiated_cipher_suite().map(|suite| suite.suite());
        match asked.and_then(|()| ask(stream, b"")) {
            Ok(text) if client.suites.is_empty() => status(&text),
            Ok(text) => format!("{} by {:?}", status(&text), chosen.unwrap()),
            Err(error) => error.to_string().replace("received fatal alert: ", ""),
        }
    }
}

/// The status and the reason of an answer.
fn status(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.split_once(' ').map_or(line, |(_, status)| status).to_owned()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let number = (0..3).fold(0, |n, i| n << 8 | usize::from(*three.get(i).unwrap_or(&0)));
        for i in 0..4 {
            let digit = DIGITS.get(number >> (18 - 6 * i) & 63).copied().map(char::from);
            text.push(if i <= three.len() { digit.unwrap() } else { '=' });
        }
    }
    text
}

/// Greets as a client of TLS up to 1.2, and returns the alert that comes back.
fn greet(server: &Server, Hello { version, suite }: Hello) -> String {
    let extensions = [
        &[0, 10, 0, 6, 0, 4, 0, 29, 0, 23][..], // groups: X25519, P-256
        &[0, 11, 0, 2, 1, 0],                   // points: uncompressed
        &[0, 13, 0, 6, 0, 4, 4, 1, 8, 4],       // signatures: RSA with SHA-256
    ]
    .concat();
    let length = |len: usize| u16::try_from(len).unwrap().to_be_bytes();
    let body = [&version[..], &[7; 32], &[0], &[0, 2], &suite, &[1, 0]].concat();
    let body = [&body[..], &length(extensions.len()), &extensions].concat();
    let message = [&[1, 0], &length(body.len())[..], &body].concat();
    let record = [&[22, 3, 1], &length(message.len())[..], &message].concat();
    let mut stream = server.connect();
    stream.write_all(&record).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    match answer.as_slice() {
        [21, 3, _, 0, 2, 2, 40] => "HandshakeFailure".into(),
        [21, 3, _, 0, 2, 2, 70] => "ProtocolVersion".into(),
        [b'H', b'T', b'T', b'P', ..] => "HTTP".into(),
        other => format!("{other:?}"),
    }
}

/// A program that goes through the cases.
struct Program {
    path: PathBuf,
    flags: &'static [&'static str],
}

/// This exporter, and node_exporter where it is given.
fn programs() -> Vec<Program> {
    let own = Program { path: program().clone(), flags: &["--no-bpf"] };
    let peer = std::env::var_os("PEER");
    let peer = peer.map(|path| Program { path: path.into(), flags: &[] });
    std::iter::once(own).chain(peer).collect()
}

/// Goes through cases, each of which must come out as said.
fn check(cases: &[Case]) {
    let site = Site::new();
    let mut wrong = Vec::new();
    for program in programs() {
        for Case { name, config, client, want } in cases {
            site.configure(config);
            let (is, fine) = match *want {
                End(said) => {
                    let is = site.end(&program);
                    let fine = is.contains(said) && !is.contains("exit status");
                    (is, fine)
                }
                Answer(answer) => {
                    let is = site.answer(&site.start(&program), client);
                    let fine = is == answer;
                    (is, fine)
                }
            };
            if !fine {
                wrong.push(format!("{}: {name}: {is}", program.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn files() {
    check(&FILES);
}

#[test]
fn behaviour() {
    check(&BEHAVIOUR);
}

#[test]
fn passwords() {
    check(&PASSWORDS);
}

#[test]
fn enabled() {
    check(&ENABLED);
}

#[test]
fn no_such_file() {
    for program in programs() {
        let said = Site::new().end(&program);
        assert!(said.contains("web.yml: no such file or directory"), "{said}");
    }
}

#[test]
fn a_file_that_changes() {
    let refuses = "@PAIR\n  client_auth_type: RequireAndVerifyClientCert\n";
    for program in programs() {
        let site = Site::new();
        site.configure(refuses);
        let server = site.start(&program);
        assert_eq!(site.answer(&server, &TLS), "CertificateRequired");
        site.configure(IF_GIVEN);
        assert_eq!(site.answer(&server, &TLS), "200 OK");
        site.configure(refuses);
        assert_eq!(site.answer(&server, &TLS), "CertificateRequired");
    }
}

#[test]
fn many_at_the_same_time() {
    for program in programs() {
        let site = Site::new();
        site.configure(USERS);
        let server = site.start(&program);
        let clients = ["alice:alice123", "alice:alice1234"].map(|name| user(name, PLAIN));
        let answers = || clients.each_ref().map(|client| site.answer(&server, client));
        assert_eq!(answers(), ["200 OK", "401 Unauthorized"]);
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..150).map(|_| scope.spawn(answers)).collect();
            for one in all {
                assert_eq!(one.join().unwrap(), ["200 OK", "401 Unauthorized"]);
            }
        });
    }
}

#[test]
fn headers() {
    let config = "http_server_config:
  headers:
    X-Frame-Options: deny
    Strict-Transport-Security: max-age=60; includeSubDomains
    X-Content-Type-Options: nosniff
    X-XSS-Protection: 1
    Content-Security-Policy: default-src 'self' *.example.org
";
    for program in programs() {
        let site = Site::new();
        site.configure(config);
        let (head, _) = site.start(&program).request("GET", "/", "");
        for line in config.to_lowercase().lines().skip(2) {
            assert!(head.contains(&format!("\r\n{}\r\n", line.trim())), "{line}: {head}");
        }
    }
}
