//! Sockets that are not TCP's, or not the exporter's own, and the messages to systemd.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixListener, UnixStream},
    },
    process::{Command, Stdio},
    time::Duration,
};
use tests::{Server, program, run};

const ARGS: [&str; 3] = ["--no-bpf", "--collector.disable-defaults", "--collector.uname"];

/// Asks for the metrics and returns the answer.
fn ask(mut stream: impl Read + Write) -> String {
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn is_answer(text: &str) -> bool {
    text.starts_with("HTTP/1.1 200") && text.contains("\nnode_uname_info{")
}

#[test]
fn a_unix_socket_serves_and_is_taken_away() {
    let folder = tests::folder();
    let path = folder.path().join("exporter.sock");
    let unix = format!("--web.listen-address=unix://{}?mode=600", path.display());
    let server = Server::start(&[&ARGS[..], &[&unix]].concat());
    assert_eq!(server.address, path.display().to_string());
    for _ in 0..2 {
        let stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let text = ask(stream);
        assert!(is_answer(&text), "{text}");
    }
    // More clients than there are places, none of which asks for anything.
    let idle: Vec<_> = (0..50).map(|_| UnixStream::connect(&path).unwrap()).collect();
    assert!(is_answer(&ask(UnixStream::connect(&path).unwrap())));
    drop(idle);
    assert_eq!(server.stop(), Some(0));
    assert!(!path.exists());
}

/// An exporter that is handed this socket as systemd does it.
fn activated(socket: OwnedFd) -> Server {
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3<&0"#, "sh"]);
    shell.arg(program()).args(ARGS).arg("--web.systemd-socket").stdin(Stdio::from(socket));
    Server::from(&mut shell)
}

#[test]
fn sockets_are_handed_over() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = activated(listener.into());
    assert_eq!(server.address, address.to_string());
    assert!(is_answer(&ask(TcpStream::connect(address).unwrap())));
    let folder = tests::folder();
    let path = folder.path().join("handed.sock");
    let server = activated(UnixListener::bind(&path).unwrap().into());
    assert!(is_answer(&ask(UnixStream::connect(&path).unwrap())));
    assert_eq!(server.stop(), Some(0));
    assert!(path.exists(), "the file is systemd's");
}

#[test]
fn nothing_handed_over_ends_the_start() {
    let output = run(&["--web.systemd-socket", "--no-bpf"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("no socket activation file descriptors found"), "{said}");
}

#[test]
fn systemd_is_told() {
    let folder = tests::folder();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut shell = Command::new("env");
    shell.arg(format!("NOTIFY_SOCKET={}", path.display())).arg("WATCHDOG_USEC=100000");
    shell.arg(program()).args(ARGS);
    let server = Server::from(&mut shell);
    let mut told = Vec::new();
    let mut until = |last: &str, times: usize| {
        while told.iter().filter(|state| *state == last).count() < times {
            let mut state = [0; 100];
            let len = socket.recv(&mut state).unwrap();
            told.push(String::from_utf8_lossy(state.get(..len).unwrap()).into_owned());
        }
    };
    until("READY=1", 1);
    until("WATCHDOG=1", 3);
    server.signal("TERM");
    until("STOPPING=1", 1);
    assert_eq!(server.end(), Some(0));
    let others = ["READY=1", "WATCHDOG=1", "STOPPING=1"];
    assert!(told.iter().all(|state| others.contains(&state.as_str())), "{told:?}");
}
