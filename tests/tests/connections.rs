//! Clients that are idle, silent, half-closed, gone or many, and the end of the exporter.

#![expect(clippy::string_slice, clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};
use tests::{Hung, Server, answer};

const GET: &[u8] = b"GET /metrics?collect[]=uname HTTP/1.1\r\nHost: x\r\n\r\n";
const SLOW: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

/// Everything up to the end of the connection.
fn rest(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Waits until a request under way waits for the collector that hangs.
fn until_one_waits(server: &Server) {
    server.until("/metrics?collect[]=uname", |_, text| {
        text.contains("\npromhttp_metric_handler_requests_in_flight 2\n")
    });
}

/// Waits until the exporter has closed its listener.
fn until_refused(server: &Server) {
    let start = Instant::now();
    while TcpStream::connect(&server.address).is_ok() {
        assert!(start.elapsed() < Duration::from_secs(8), "the exporter still listens");
    }
}

/// Whether this is the answer to a request that waited for that collector.
fn is_late(text: &str) -> bool {
    text.starts_with("HTTP/1.1 200")
        && text.contains("\nnode_scrape_collector_success{collector=\"loadavg\"} 0\n")
        && text.contains("\nnode_uname_info{")
}

#[test]
fn a_client_that_closes_its_side_is_answered() {
    let hung = Hung::new();
    let server = hung.server(&[]);
    let mut client = server.connect();
    client.write_all(SLOW).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    until_one_waits(&server);
    hung.answer();
    let text = rest(client);
    assert!(is_late(&text), "{text}");
}

#[test]
fn idle_and_silent_clients_take_no_others_place() {
    // 64 descriptors are enough for the exporter itself and four connections.
    let args = ["--no-bpf", "--collector.disable-defaults", "--collector.uname"];
    let server = Server::start_with_limits("-n 64", &args);
    let mut idle: Vec<TcpStream> = Vec::new();
    let mut silent = Vec::new();
    for _ in 0..100 {
        let mut client = server.connect();
        client.write_all(GET).unwrap();
        answer(&mut client);
        idle.push(client);
        silent.push(server.connect());
    }
    let (status, text) = server.get("/metrics");
    assert_eq!(status, "200");
    assert!(text.contains("\nprocess_max_fds 64\n"), "{text}");
    assert!(text.contains("\nnode_scrape_collector_success{collector=\"uname\"} 1\n"), "{text}");
    let open = text.split("\nprocess_open_fds ").nth(1).unwrap().lines().next().unwrap();
    assert!(open.parse::<f64>().unwrap() < 40.0, "{open} descriptors are open");
    let mut gone = idle.first().unwrap();
    assert_eq!(gone.read(&mut [0]).unwrap(), 0, "the first client has given way");
}

#[test]
fn the_limit_of_descriptors_is_raised() {
    let server = Server::start_with_limits("-Sn 64 && ulimit -Hn 500", &["--no-bpf"]);
    let (_, text) = server.get("/metrics?collect[]=uname");
    assert!(text.contains("\nprocess_max_fds 500\n"), "{text}");
}

#[test]
fn requests_that_come_together_are_answered_one_by_one() {
    let server = Hung::new().server(&[]);
    let mut client = server.connect();
    let body = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
    let last = b"GET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    client.write_all(&[GET, body, b"\r\n", GET, last].concat()).unwrap();
    let text = rest(client);
    let answers: Vec<&str> =
        text.match_indices("HTTP/1.1 ").map(|(at, _)| &text[at + 9..at + 12]).collect();
    assert_eq!(answers, ["200", "404", "200", "404"], "{text}");
    // The same connection, with pauses.
    let mut client = server.connect();
    for request in [GET, body, GET, b"\r\n\r\n", GET] {
        for piece in request.chunks(20) {
            client.write_all(piece).unwrap();
        }
        if request.len() > 10 {
            assert!(answer(&mut client).starts_with("HTTP/1.1 "));
        }
    }
    client.write_all(b"nonsense\r\n").unwrap();
    assert!(rest(client).starts_with("HTTP/1.1 400"));
}

#[test]
fn clients_that_are_gone_take_no_requests_place() {
    let hung = Hung::new();
    let server = hung.server(&["--web.max-requests=1"]);
    let mut reset = server.connect();
    reset.write_all(SLOW).unwrap();
    server.until("/metrics?collect[]=uname", |status, _| status == "503");
    // Without time to linger, closing a connection resets it.
    nix::sys::socket::setsockopt(
        &reset,
        nix::sys::socket::sockopt::Linger,
        &nix::libc::linger { l_onoff: 1, l_linger: 0 },
    )
    .unwrap();
    drop(reset);
    server.until("/metrics?collect[]=uname", |status, _| status == "200");
    // A client that closed its connection without a reset might still wait for its answer. It gives
    // way to the next request.
    let mut closed = server.connect();
    closed.write_all(SLOW).unwrap();
    server.until("/metrics?collect[]=uname", |status, _| status == "503");
    drop(closed);
    server.until("/metrics?collect[]=uname", |status, _| status == "200");
    hung.answer();
}

#[test]
fn sigterm_lets_scrapes_end() {
    let hung = Hung::new();
    let server = hung.server(&[]);
    let mut idle = server.connect();
    idle.write_all(GET).unwrap();
    answer(&mut idle);
    let mut asking = server.connect();
    asking.write_all(SLOW).unwrap();
    until_one_waits(&server);
    server.signal("TERM");
    assert_eq!(rest(idle), "", "an idle connection is closed at once");
    until_refused(&server);
    hung.answer();
    let text = rest(asking);
    assert!(is_late(&text), "{text}");
    assert!(text.to_lowercase().contains("connection: close"), "{text}");
    assert_eq!(server.end(), Some(0));
}

#[test]
fn a_second_signal_ends_at_once() {
    let hung = Hung::new();
    let server = hung.server(&[]);
    let mut asking = server.connect();
    asking.write_all(SLOW).unwrap();
    until_one_waits(&server);
    let start = Instant::now();
    server.signal("TERM");
    until_refused(&server);
    server.signal("INT");
    assert_eq!(server.end(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(9), "the exporter waited for the scrape");
}
