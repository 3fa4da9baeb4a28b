//! One question to an XML-RPC server, over HTTP, by TCP or by a Unix socket.
//!
//! The whole exchange has a deadline, and the answer an end, whatever the server does. HTTP/1.0 is
//! spoken, by which an answer comes in one piece. Looking a name up is the one step without a
//! deadline: `localhost` and addresses need no server for that.

mod answer;
mod endpoint;

use std::{
    io,
    net::{TcpStream, ToSocketAddrs as _},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect,
        recv, send, socket_with,
        sockopt::{Timeout, set_socket_timeout},
    },
};

pub use endpoint::Endpoint;
use endpoint::Place;

/// Bytes that an answer may have: more than ten thousand processes of supervisord.
const MOST: usize = 16 << 20;

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A step of the exchange failed.
    #[error("{step}: {error}")]
    Failed {
        /// The step.
        step: &'static str,
        /// The reason.
        error: io::Error,
    },
    /// The server refuses.
    #[error("the server answers with status {0}")]
    Status(u16),
    /// The answer is not HTTP, ends early or is too long.
    #[error("the answer {0}")]
    Answer(&'static str),
}

impl From<Error> for crate::error::Error {
    fn from(error: Error) -> Self {
        Self::Source { source_name: "xmlrpc", error: Box::new(error) }
    }
}

fn failed<E: Into<io::Error>>(step: &'static str) -> impl Fn(E) -> Error {
    move |error| {
        let error = error.into();
        let is_late = error.kind() == io::ErrorKind::WouldBlock;
        let error = if is_late { Errno::TIMEDOUT.into() } else { error };
        Error::Failed { step, error }
    }
}

impl Endpoint {
    /// Asks, and returns the body of the answer, which `buffer` holds. Waits at most `patience`.
    ///
    /// # Errors
    /// The server cannot be reached, is silent or refuses, or the answer is no HTTP or too long.
    pub fn ask<'a>(
        &self,
        question: &str,
        patience: Duration,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], Error> {
        let until = Instant::now() + patience;
        let stream = self.connect(until)?;
        let head = format!(
            "POST {} HTTP/1.0\r\nHost: {}\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n{}\r\n",
            self.target,
            self.host,
            question.len(),
            self.authorization,
        );
        write(&stream, head.as_bytes(), until)?;
        write(&stream, question.as_bytes(), until)?;
        buffer.clear();
        loop {
            let read = read(&stream, buffer, until)?;
            if let Some(body) = answer::body(buffer, read == 0)? {
                return Ok(buffer.get(body).unwrap_or_default());
            }
            if buffer.len() > MOST {
                return Err(Error::Answer("is too long"));
            }
        }
    }

    fn connect(&self, until: Instant) -> Result<OwnedFd, Error> {
        match &self.place {
            Place::Tcp(host, port) => {
                let mut result = Err(io::ErrorKind::NotFound.into());
                for address in (&**host, *port).to_socket_addrs().map_err(failed("getaddrinfo"))? {
                    result = TcpStream::connect_timeout(&address, left(until));
                    if result.is_ok() {
                        break;
                    }
                }
                result.map(OwnedFd::from).map_err(failed("connect"))
            }
            Place::Unix(path) => {
                let address = SocketAddrUnix::new(path).map_err(failed("connect"))?;
                let flags = SocketFlags::CLOEXEC;
                let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
                    .map_err(failed("socket"))?;
                // Of a Unix socket also the time that connect(2) may take.
                limit(&socket, Timeout::Send, until)?;
                connect(&socket, &address).map_err(failed("connect"))?;
                Ok(socket)
            }
        }
    }
}

/// The time that is left; 0 would be no limit.
fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now()).max(Duration::from_micros(1))
}

fn limit(socket: &OwnedFd, direction: Timeout, until: Instant) -> Result<(), Error> {
    set_socket_timeout(socket, direction, Some(left(until))).map_err(failed("setsockopt"))
}

fn write(socket: &OwnedFd, mut bytes: &[u8], until: Instant) -> Result<(), Error> {
    while !bytes.is_empty() {
        limit(socket, Timeout::Send, until)?;
        match send(socket, bytes, SendFlags::NOSIGNAL) {
            Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(failed("send")(errno)),
        }
    }
    Ok(())
}

/// Appends some more of the answer; returns 0 at its end.
fn read(socket: &OwnedFd, buffer: &mut Vec<u8>, until: Instant) -> Result<usize, Error> {
    const SOME: usize = 16 << 10;
    let begin = buffer.len();
    buffer.resize(begin + SOME, 0);
    let received = loop {
        limit(socket, Timeout::Recv, until)?;
        let free = buffer.get_mut(begin..).unwrap_or_default();
        match recv(socket, free, RecvFlags::empty()) {
            Err(Errno::INTR) => {}
            received => break received.map(|(received, _)| received),
        }
    };
    buffer.truncate(begin + received.unwrap_or(0));
    received.map_err(failed("recv"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        os::unix::net::UnixListener,
        thread,
    };

    const QUESTION: &str = "<methodCall/>";
    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(50);

    /// A server that reads a question, writes `answer` and keeps the connection until the client
    /// closes it, or closes it where the answer `ends`. Returns the question.
    fn server(answer: &'static [u8], ends: bool) -> (Endpoint, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://me:p%40ss@{}/RPC2", listener.local_addr().unwrap());
        let thread = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut read = Vec::new();
            while !read.ends_with(QUESTION.as_bytes()) {
                let mut some = [0; 1024];
                let n = stream.read(&mut some).unwrap();
                assert!(n > 0, "the client closed the connection");
                read.extend(&some[..n]);
            }
            let _ = stream.write_all(answer);
            if !ends {
                let _ = stream.read(&mut [0]);
            }
            String::from_utf8(read).unwrap()
        });
        (Endpoint::parse(&url).unwrap(), thread)
    }

    #[test]
    fn an_answer_ends_with_its_length_or_with_the_connection() {
        for (answer, ends) in [
            (&b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nbodyrest"[..], false),
            (b"HTTP/1.1 200 OK\r\n\r\nbody", true),
        ] {
            let (endpoint, thread) = server(answer, ends);
            let mut buffer = Vec::new();
            assert_eq!(endpoint.ask(QUESTION, LONG, &mut buffer).unwrap(), b"body");
            let read = thread.join().unwrap();
            assert!(read.starts_with("POST /RPC2 HTTP/1.0\r\n"), "{read}");
            assert!(read.contains("\r\nAuthorization: Basic bWU6cEBzcw==\r\n"), "{read}");
            assert!(read.contains("\r\nContent-Length: 13\r\n"), "{read}");
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for (answer, want) in [
            (&b"HTTP/1.0 401 Unauthorized\r\n\r\n"[..], "status 401"),
            (b"", "ends early"),
            (b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nbody", "ends early"),
            (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "is no HTTP"),
        ] {
            let (endpoint, thread) = server(answer, true);
            let error = endpoint.ask(QUESTION, LONG, &mut Vec::new()).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
            thread.join().unwrap();
        }
    }

    #[test]
    fn a_silent_server_costs_no_more_than_the_time_it_was_given() {
        for answer in [&b""[..], b"HTTP/1.0 200 OK\r\nContent-Le", b"HTTP/1.0 200 OK\r\n\r\nbod"] {
            let (endpoint, thread) = server(answer, false);
            let error = endpoint.ask(QUESTION, SHORT, &mut Vec::new()).unwrap_err().to_string();
            assert!(error.starts_with("recv: ") && error.contains("timed out"), "{error}");
            thread.join().unwrap();
        }
    }

    #[test]
    fn unix_sockets_are_spoken_to_and_waited_for_no_longer_than_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let endpoint = Endpoint::parse(&format!("unix://{}", path.display())).unwrap();
        let mut buffer = Vec::new();
        thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nbody").unwrap();
            });
            // The server may have closed the connection before all is sent.
            let body = endpoint.ask(QUESTION, LONG, &mut buffer).map(<[u8]>::to_vec);
            assert!(matches!(&body, Ok(body) if body == b"body") || body.is_err(), "{body:?}");
        });
        // A queue for one connection, which nobody accepts.
        rustix::net::listen(&listener, 0).unwrap();
        let waiting = endpoint.connect(Instant::now() + LONG).unwrap();
        let error = endpoint.ask(QUESTION, SHORT, &mut buffer).unwrap_err().to_string();
        assert!(error.starts_with("connect: "), "{error}");
        assert!(error.contains("timed out"), "{error}");
        drop((listener, waiting));
        let error = endpoint.ask(QUESTION, SHORT, &mut buffer).unwrap_err().to_string();
        assert!(error.starts_with("connect: Connection refused"), "{error}");
    }
}
