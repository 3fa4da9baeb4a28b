//! TLS and `--web.config.file`, by clients of all kinds.

#![expect(clippy::disallowed_methods, reason = "a test reads and writes files")]

mod toolkit;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use rustls::ClientConfig;
use std::{
    fs,
    io::{Read as _, Write as _},
    net::Shutdown,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tests::{
    HASH_OF_RIGHT, Hung, Server, answer,
    tls::{Pair, Site, ask, client, connect, own, params, server_pair},
};

const CLIENT: Option<ExtendedKeyUsagePurpose> = Some(ExtendedKeyUsagePurpose::ClientAuth);

const LAST: &[u8] =
    b"GET /metrics?collect[]=uname HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
const NEXT: &[u8] = b"GET /metrics?collect[]=uname HTTP/1.1\r\nHost: x\r\n\r\n";

/// The status that a request gets, or the TLS library's word for the server's refusal.
fn status(server: &Server, client: &Arc<ClientConfig>) -> String {
    match ask(connect(server, client), LAST) {
        Ok(answer) if answer.is_empty() => "closed".into(),
        Ok(answer) => answer.get(9..12).unwrap_or(&answer).to_owned(),
        Err(error) => error.to_string().replace("received fatal alert: ", ""),
    }
}

#[test]
fn clients_are_let_in_by_their_certificates() {
    let authority_key = KeyPair::generate().unwrap();
    let authority = params("authority", None, true);
    let authority_cert = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let signed = |params: &CertificateParams| {
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &issuer).unwrap().pem();
        Pair { cert, key: key.serialize_pem() }
    };
    // One that is leaf and authority at once, as the toolkit's own.
    let both = own(&params("both", CLIENT, true));
    let server = Some(ExtendedKeyUsagePurpose::ServerAuth);
    let mut late = params("late", CLIENT, true);
    late.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let late = own(&late);
    let purpose = own(&params("purpose", server.clone(), true));
    let clients = [
        ("none", None),
        ("both", Some(&both)),
        ("late", Some(&late)),
        ("purpose", Some(&purpose)),
        ("stranger", Some(&own(&params("stranger", CLIENT, true)))),
        ("signed", Some(&signed(&params("signed", CLIENT, false)))),
        ("signed for servers", Some(&signed(&params("signed", server, false)))),
    ];
    let pool =
        [&authority_cert, &both.cert, &late.cert, &purpose.cert].map(String::as_str).concat();
    let all = "client_ca_file: pool.pem\n  client_auth_type: ";
    for (lines, let_in) in [
        (
            "client_auth_type: NoClientCert",
            &["none", "both", "late", "purpose", "stranger", "signed", "signed for servers"][..],
        ),
        (
            "client_auth_type: RequestClientCert",
            &["none", "both", "late", "purpose", "stranger", "signed", "signed for servers"],
        ),
        (
            "client_auth_type: RequireAnyClientCert",
            &["both", "late", "purpose", "stranger", "signed", "signed for servers"],
        ),
        (
            "client_auth_type: RequireClientCert",
            &["both", "late", "purpose", "stranger", "signed", "signed for servers"],
        ),
        (&format!("{all}VerifyClientCertIfGiven"), &["none", "both", "signed"]),
        (&format!("{all}RequireAndVerifyClientCert"), &["both", "signed"]),
        (
            &format!("{all}RequireAndVerifyClientCert\n  client_allowed_sans: [x, signed]"),
            &["signed"],
        ),
        (&format!("{all}RequireAndVerifyClientCert\n  client_allowed_sans: []"), &[]),
        (&format!("{all}VerifyClientCertIfGiven\n  client_allowed_sans: [both]"), &["both"]),
        (
            "client_auth_type: RequireAnyClientCert\n  client_allowed_sans: [stranger]",
            &["stranger"],
        ),
        ("client_auth_type: RequireAndVerifyClientCert", &[]),
    ] {
        let site = Site::new(&format!("  {lines}\n"));
        site.write("pool.pem", &pool);
        let server = site.server();
        for (name, pair) in &clients {
            let status = status(&server, &site.client(*pair));
            assert_eq!(status == "200", let_in.contains(name), "{lines}: {name}: {status}");
        }
    }
}

#[test]
fn a_refusal_says_why() {
    let both = own(&params("both", CLIENT, true));
    let lines = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: pool.pem\n  client_allowed_sans: [x]\n";
    let site = Site::new(lines);
    site.write("pool.pem", &both.cert);
    let server = site.server();
    let stranger = own(&params("stranger", CLIENT, true));
    for (pair, said) in [
        (None, "CertificateRequired"),
        (Some(&stranger), "UnknownCA"),
        (Some(&both), "BadCertificate"),
    ] {
        assert_eq!(status(&server, &site.client(pair)), said);
    }
}

#[test]
fn requests_follow_each_other_on_one_connection() {
    let site = Site::new("");
    let server = site.server();
    let mut stream = connect(&server, &site.client(None));
    for request in [NEXT, b"\r\n", NEXT] {
        for piece in request.chunks(20) {
            stream.write_all(piece).unwrap();
        }
        if request.len() > 2 {
            assert!(answer(&mut stream).starts_with("HTTP/1.1 200"));
        }
    }
    let many = [NEXT, b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi", LAST].concat();
    let text = ask(stream, &many).unwrap();
    let answers: Vec<&str> =
        text.match_indices("HTTP/1.1 ").filter_map(|(at, _)| text.get(at + 9..at + 12)).collect();
    assert_eq!(answers, ["200", "404", "200"], "{text}");
}

#[test]
fn a_client_that_speaks_http_is_told() {
    let site = Site::new("");
    let server = site.server();
    let mut stream = server.connect();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let told = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
    assert_eq!(text, told);
    let mut stream = server.connect();
    stream.write_all(b"nonsense").unwrap();
    let mut alert = Vec::new();
    stream.read_to_end(&mut alert).unwrap();
    assert_eq!(alert.first(), Some(&21), "a TLS alert: {alert:?}");
}

#[test]
fn clients_in_any_state_take_nobodys_place() {
    let site = Site::new("");
    // 64 descriptors are those of the exporter itself and of four connections.
    let args = ["--no-bpf", "--collector.disable-defaults", "--collector.uname", &site.flag()];
    let server = Server::start_with_limits("-n 64", &args);
    let client = site.client(None);
    let mut kept: Vec<Box<dyn std::any::Any>> = Vec::new();
    for _ in 0..20 {
        let mut idle = connect(&server, &client);
        idle.write_all(NEXT).unwrap();
        answer(&mut idle);
        let mut half = connect(&server, &client);
        half.write_all(b"GET /met").unwrap(); // with the handshake before it
        half.flush().unwrap();
        let mut hello = server.connect();
        hello.write_all(b"\x16\x03\x01\x02\x00\x01\x00").unwrap();
        kept.extend([
            Box::new(idle) as Box<dyn std::any::Any>,
            Box::new(half),
            Box::new(hello),
            Box::new(server.connect()),
        ]);
    }
    assert_eq!(status(&server, &client), "200");
}

#[test]
fn a_client_that_closes_its_side_is_answered() {
    let site = Site::new("");
    let client = site.client(None);
    for says_so in [true, false] {
        let hung = Hung::new();
        let server = hung.server(&[&site.flag()]);
        let mut stream = connect(&server, &client);
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        if says_so {
            stream.conn.send_close_notify();
        }
        stream.flush().unwrap();
        stream.sock.shutdown(Shutdown::Write).unwrap();
        let start = Instant::now();
        while !ask(connect(&server, &client), LAST).unwrap().contains("_in_flight 2\n") {
            assert!(start.elapsed() < Duration::from_secs(30), "no request is under way");
        }
        hung.answer();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200") && text.contains("\nnode_uname_info{"), "{text}");
    }
}

#[test]
fn certificates_are_replaced_while_clients_connect() {
    let site = Site::new("");
    // More clients than the default lets in at once.
    let server = Server::start(&[&site.flag(), "--web.max-requests=0"]);
    let pairs = [server_pair(), server_pair()];
    let trusted = [&site.cert, &pairs[0].cert, &pairs[1].cert].map(String::as_str);
    let client = Arc::new(client(&trusted, None));
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let refused = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..50)
            .map(|_| {
                scope.spawn(|| {
                    let mut refused = Vec::new();
                    while !stop.load(Relaxed) {
                        match status(&server, &client).as_str() {
                            "200" => drop(served.fetch_add(1, Relaxed)),
                            other => refused.push(other.to_owned()),
                        }
                    }
                    refused
                })
            })
            .collect();
        for pair in pairs.iter().cycle().take(6) {
            let before = served.load(Relaxed);
            site.write("server.crt", &pair.cert); // does not fit the key for a moment
            std::thread::sleep(Duration::from_millis(20));
            site.write("server.key", &pair.key);
            let start = Instant::now();
            while served.load(Relaxed) < before + 20 && start.elapsed() < Duration::from_secs(30) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        stop.store(true, Relaxed);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(refused.is_empty(), "{refused:?}");
    assert!(served.load(Relaxed) >= 120);
}

#[test]
fn a_broken_file_refuses_until_it_is_whole_again() {
    let site = Site::new("");
    let server = site.server();
    let client = site.client(None);
    let good = fs::read_to_string(Path::new(&site.path("web.yml"))).unwrap();
    let mut open = connect(&server, &client);
    open.write_all(NEXT).unwrap();
    assert!(answer(&mut open).starts_with("HTTP/1.1 200"));
    for broken in ["junk", "", "tls_server_config: {cert_file: server.crt, key_file: nowhere}"] {
        site.write("web.yml", broken);
        assert_eq!(status(&server, &client), "InternalError", "{broken}");
    }
    site.write("web.yml", "junk");
    open.write_all(NEXT).unwrap();
    assert!(answer(&mut open).starts_with("HTTP/1.1 500"));
    site.write("web.yml", &good);
    open.write_all(NEXT).unwrap();
    assert!(answer(&mut open).starts_with("HTTP/1.1 200"));
    assert_eq!(status(&server, &client), "200");
}

#[test]
fn names_passwords_and_headers() {
    let more = format!(
        "http_server_config:\n  headers: {{X-Frame-Options: deny}}\nbasic_auth_users: {{bob: '{HASH_OF_RIGHT}'}}\n"
    );
    let site = Site::new(&more);
    let server = site.server();
    let client = site.client(None);
    let with = |line: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{line}\r\n");
        ask(connect(&server, &client), request.as_bytes()).unwrap().to_lowercase()
    };
    let refused = with("");
    assert!(refused.starts_with("http/1.1 401"), "{refused}");
    assert!(refused.contains("\r\nwww-authenticate: basic\r\n"), "{refused}");
    assert!(refused.contains("\r\nx-frame-options: deny\r\n"), "{refused}");
    assert!(with("Authorization: Basic Ym9iOndyb25n\r\n").starts_with("http/1.1 401"));
    for _ in 0..2 {
        assert!(with("Authorization: Basic Ym9iOnJpZ2h0\r\n").starts_with("http/1.1 200"));
    }
}
