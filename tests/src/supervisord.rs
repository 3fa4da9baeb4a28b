//! A server that answers as supervisord does, with the answer in `fixtures/baseline`.
#![expect(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on panics"
)]

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
};

use exporter::testing::fixture;

/// Starts one on a free port, for as long as the test runs; returns its URL.
///
/// # Panics
/// No port can be had.
pub fn start() -> String {
    let answer =
        std::fs::read_to_string(fixture("baseline/supervisord/answer.xml")).expect("an answer");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let _ = serve(client, &answer);
        }
    });
    format!("http://{address}/RPC2")
}

/// Answers a question, once all of it has come.
fn serve(mut client: TcpStream, answer: &str) -> std::io::Result<()> {
    let mut question = Vec::new();
    while !question.ends_with(b"</methodCall>") {
        let mut some = [0; 1024];
        let read = client.read(&mut some)?;
        if read == 0 {
            return Ok(());
        }
        question.extend(some.iter().take(read));
    }
    let length = answer.len();
    write!(client, "HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n{answer}")
}
