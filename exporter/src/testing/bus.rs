//! A bus that answers from a recording.
//!
//! A recording has a line for each call and its answer, as `busctl --json=short call` prints it:
//! `{"path":…,"interface":…,"member":…,"arguments":[…],"type":…,"data":[…]}`. Calls that it does not
//! have are refused, as are those whose answer does not have the form of its type.

use serde_json::Value;
use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::Shutdown,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

/// A bus on an abstract socket.
#[derive(Debug)]
pub struct Server {
    name: String,
    listening: Mutex<Option<Listening>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Listening {
    socket: UnixListener,
    thread: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    recording: PathBuf,
    mood: Mutex<Mood>,
    /// The connections that it has.
    clients: Mutex<Vec<UnixStream>>,
    accepted: AtomicUsize,
    calls: AtomicUsize,
}

/// The way in which the bus treats a call.
#[derive(Clone, Copy, Debug)]
pub enum Mood {
    /// It answers.
    Answers,
    /// It takes connections and says nothing at all.
    Silent,
    /// It logs clients in and says nothing more.
    SilentOnceAuthenticated,
    /// It answers, save the first call of each connection.
    Drowses,
    /// It closes the connection instead of an answer.
    Closes,
    /// It sends the answer to a call of a service as this function spoils it, and closes the
    /// connection.
    Spoils(fn(Vec<u8>, usize) -> Vec<u8>, usize),
}

impl Server {
    /// Starts a bus that reads this recording at each call.
    ///
    /// # Panics
    /// There is no socket for it.
    #[must_use]
    pub fn start(recording: &Path) -> Self {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let number = STARTED.fetch_add(1, Ordering::SeqCst);
        let server = Self {
            name: format!("bpf_node_exporter-test-bus-{}-{number}", std::process::id()),
            listening: Mutex::default(),
            shared: Arc::new(Shared {
                recording: recording.to_owned(),
                mood: Mutex::new(Mood::Answers),
                clients: Mutex::default(),
                accepted: AtomicUsize::new(0),
                calls: AtomicUsize::new(0),
            }),
        };
        server.listen();
        server
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> String {
        format!("unix:abstract={}", self.name)
    }

    /// How many connections it took, and how many calls of services it heard.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let get = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        (get(&self.shared.accepted), get(&self.shared.calls))
    }

    /// Changes the bus's treatment from the next call on.
    pub fn set(&self, mood: Mood) {
        *lock(&self.shared.mood) = mood;
    }

    /// Closes all connections, after a signal that nobody asked for, as systemd does before it
    /// executes itself anew.
    pub fn disconnect(&self) {
        let fields = [
            (1, "o", "/org/freedesktop/systemd1"),
            (2, "s", "org.freedesktop.systemd1.Manager"),
            (3, "s", "Reloading"),
        ];
        for mut client in lock(&self.shared.clients).drain(..) {
            let _ = client.write_all(&message(4, &fields, None, &[]));
            let _ = client.shutdown(Shutdown::Both);
        }
    }

    /// Lets nobody connect any more.
    ///
    /// # Panics
    /// The thread that listens has.
    pub fn vanish(&self) {
        let Some(listening) = lock(&self.listening).take() else { return };
        let _ = rustix::net::shutdown(&listening.socket, rustix::net::Shutdown::Both);
        listening.thread.join().expect("a thread that ends");
    }

    /// Lets clients connect.
    ///
    /// # Panics
    /// There is no socket for it.
    pub fn listen(&self) {
        let address = SocketAddr::from_abstract_name(&self.name).expect("a name");
        let socket = UnixListener::bind_addr(&address).expect("a socket");
        let shared = Arc::clone(&self.shared);
        let incoming = socket.try_clone().expect("a descriptor");
        let thread = thread::spawn(move || {
            for stream in incoming.incoming().map_while(Result::ok) {
                shared.accepted.fetch_add(1, Ordering::SeqCst);
                lock(&shared.clients).extend(stream.try_clone());
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.serve(&stream));
            }
        });
        *lock(&self.listening) = Some(Listening { socket, thread });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.vanish();
        self.disconnect();
    }
}

/// The address of a bus that lives as long as the process, one for each recording.
#[must_use]
pub fn serve(recording: &Path) -> String {
    static SERVERS: Mutex<BTreeMap<PathBuf, Server>> = Mutex::new(BTreeMap::new());
    let mut servers = lock(&SERVERS);
    let start = || Server::start(recording);
    servers.entry(recording.to_owned()).or_insert_with(start).address()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Serves until the client leaves or breaks the protocol.
    fn serve(&self, stream: &UnixStream) {
        self.converse(stream);
        let _ = stream.shutdown(Shutdown::Both);
    }

    fn converse(&self, stream: &UnixStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        let (mut line, mut writer) = (Vec::new(), stream);
        reader.read_until(b'\n', &mut line).ok()?;
        if matches!(*lock(&self.mood), Mood::Silent) {
            return io::copy(&mut reader, &mut io::sink()).ok().map(drop);
        }
        line.starts_with(b"\0AUTH EXTERNAL ").then_some(())?;
        writer.write_all(b"OK 0123456789abcdef0123456789abcdef\r\n").ok()?;
        line.clear();
        reader.read_until(b'\n', &mut line).ok()?;
        (line == b"BEGIN\r\n").then_some(())?;
        let (mut is_awake, mut is_bus) = (false, false);
        loop {
            let mut call = Call::read(&mut reader)?;
            let is_hello = call.member == "Hello";
            is_bus |= is_hello;
            if is_bus {
                ":1.1".clone_into(&mut call.service);
            }
            if !is_hello {
                self.calls.fetch_add(1, Ordering::SeqCst);
            }
            let answer = if is_hello {
                // A bus also tells its clients their names.
                let name = "org.freedesktop.DBus";
                let fields =
                    [(1, "o", "/org/freedesktop/DBus"), (2, "s", name), (3, "s", "NameAcquired")];
                writer.write_all(&message(4, &fields, None, &[])).ok()?;
                call.answer("s", &Value::from(vec![":1.7"]))
            } else {
                self.recorded(&call)
            };
            let answer = answer.unwrap_or_else(|| {
                let name = "org.freedesktop.DBus.Error.UnknownObject";
                message(3, &[(4, "s", name), call.sender()], Some(call.serial), &[])
            });
            match *lock(&self.mood) {
                Mood::Silent | Mood::SilentOnceAuthenticated => {}
                Mood::Drowses if !is_awake => is_awake = true,
                Mood::Closes => return None,
                Mood::Spoils(spoil, place) if !is_hello => {
                    return writer.write_all(&spoil(answer, place)).ok();
                }
                Mood::Answers | Mood::Drowses | Mood::Spoils(..) => {
                    writer.write_all(&answer).ok()?;
                }
            }
        }
    }

    fn recorded(&self, call: &Call) -> Option<Vec<u8>> {
        #[expect(clippy::disallowed_methods, reason = "not a file of the machine")]
        let text = std::fs::read_to_string(&self.recording).ok()?;
        let is_it = |line: &Value| {
            let is = |key: &str, word: &str| line.get(key).and_then(Value::as_str) == Some(word);
            is("path", &call.path)
                && is("interface", &call.interface)
                && is("member", &call.member)
                && line.get("arguments") == Some(&Value::from(call.arguments.clone()))
        };
        let line: Value =
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).find(is_it)?;
        call.answer(line.get("type")?.as_str()?, line.get("data")?)
    }
}

/// A method call.
#[derive(Debug, Default)]
struct Call {
    serial: u32,
    /// The name of the service. A bus replaces it with that of the service's connection.
    service: String,
    path: String,
    interface: String,
    member: String,
    arguments: Vec<String>,
}

impl Call {
    /// Reads a little-endian call all of whose arguments are strings.
    fn read(reader: &mut impl io::Read) -> Option<Self> {
        let mut head = [0; 16];
        reader.read_exact(&mut head).ok()?;
        (head[..2] == [b'l', 1]).then_some(())?;
        let number = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?));
        let (body, serial, fields) = (number(4)? as usize, number(8)?, number(12)? as usize);
        let begin = (16 + fields).next_multiple_of(8);
        let mut message = head.to_vec();
        reader.take((begin - 16 + body) as u64).read_to_end(&mut message).ok()?;
        let string = |at: usize| -> Option<(String, usize)> {
            let at = at.next_multiple_of(4);
            let length = u32::from_le_bytes(message.get(at..at + 4)?.try_into().ok()?) as usize;
            let text = message.get(at + 4..at + 4 + length)?;
            Some((String::from_utf8(text.to_vec()).ok()?, at + 4 + length + 1))
        };
        let mut call = Self { serial, ..Self::default() };
        let mut at = 16;
        while at < 16 + fields {
            let (code, kind) = (*message.get(at)?, *message.get(at + 2)?);
            let end = if kind == b'g' {
                at + 4 + usize::from(*message.get(at + 4)?) + 2
            } else {
                let (text, end) = string(at + 4)?;
                match code {
                    1 => call.path = text,
                    2 => call.interface = text,
                    3 => call.member = text,
                    6 => call.service = text,
                    _ => {}
                }
                end
            };
            at = end.next_multiple_of(8);
        }
        let mut at = begin;
        while at < begin + body {
            let (text, end) = string(at)?;
            call.arguments.push(text);
            at = end;
        }
        Some(call)
    }

    fn answer(&self, signature: &str, data: &Value) -> Option<Vec<u8>> {
        let (mut body, mut rest) = (Vec::new(), signature);
        for value in data.as_array()? {
            let (kind, after) = split(rest)?;
            append(kind, value, &mut body)?;
            rest = after;
        }
        let fields = [(8, "g", signature), self.sender()];
        rest.is_empty().then(|| message(2, &fields, Some(self.serial), &body))
    }

    /// The field of the answer that names its sender, as systemd sends it without a bus, too.
    fn sender(&self) -> (u8, &str, &str) {
        (7, "s", &self.service)
    }
}

/// A message of this type with these fields and this body.
fn message(kind: u8, fields: &[(u8, &str, &str)], answers: Option<u32>, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or_default();
    let mut bytes = vec![b'l', kind, 1, 1];
    bytes.extend(length.to_le_bytes());
    bytes.extend(9_u32.to_le_bytes());
    let mut array = Vec::new();
    if let Some(serial) = answers {
        array.extend([5, 1, b'u', 0]);
        array.extend(serial.to_le_bytes());
    }
    for (code, kind, text) in fields {
        pad(&mut array, 8);
        array.extend([*code, 1]);
        array.extend(kind.bytes());
        array.push(0);
        let _ = append(kind, &Value::from(*text), &mut array);
    }
    bytes.extend(u32::try_from(array.len()).unwrap_or_default().to_le_bytes());
    bytes.extend(array);
    pad(&mut bytes, 8);
    bytes.extend(body);
    bytes
}

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

/// The first complete type of a signature, and the rest.
fn split(signature: &str) -> Option<(&str, &str)> {
    let mut depth = 0;
    for (i, byte) in signature.bytes().enumerate() {
        match byte {
            b'a' => continue,
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return signature.split_at_checked(i + 1);
        }
    }
    None
}

/// Appends a value of one complete type, padded from the beginning of `bytes`.
fn append(kind: &str, value: &Value, bytes: &mut Vec<u8>) -> Option<()> {
    match kind.as_bytes().first()? {
        b's' | b'o' => {
            let text = value.as_str()?;
            pad(bytes, 4);
            bytes.extend(u32::try_from(text.len()).ok()?.to_le_bytes());
            bytes.extend(text.as_bytes());
            bytes.push(0);
        }
        b'g' => {
            let text = value.as_str()?;
            bytes.push(u8::try_from(text.len()).ok()?);
            bytes.extend(text.as_bytes());
            bytes.push(0);
        }
        b'u' => {
            pad(bytes, 4);
            bytes.extend(u32::try_from(value.as_u64()?).ok()?.to_le_bytes());
        }
        b't' => {
            pad(bytes, 8);
            bytes.extend(value.as_u64()?.to_le_bytes());
        }
        b'b' => {
            pad(bytes, 4);
            bytes.extend(u32::from(value.as_bool()?).to_le_bytes());
        }
        b'v' => {
            let kind = value.get("type")?;
            append("g", kind, bytes)?;
            append(kind.as_str()?, value.get("data")?, bytes)?;
        }
        b'a' => {
            let element = kind.get(1..)?;
            pad(bytes, 4);
            let at = bytes.len();
            bytes.extend([0; 4]);
            if matches!(element.as_bytes().first()?, b'(' | b't') {
                pad(bytes, 8);
            }
            let begin = bytes.len();
            for value in value.as_array()? {
                append(element, value, bytes)?;
            }
            let length = u32::try_from(bytes.len() - begin).ok()?;
            bytes.get_mut(at..at + 4)?.copy_from_slice(&length.to_le_bytes());
        }
        b'(' => {
            pad(bytes, 8);
            let mut rest = kind.get(1..kind.len() - 1)?;
            for value in value.as_array()? {
                let (kind, after) = split(rest)?;
                append(kind, value, bytes)?;
                rest = after;
            }
            rest.is_empty().then_some(())?;
        }
        _ => return None,
    }
    Some(())
}
