//! One connection to a bus: a socket that never blocks, and the messages that came over it.

use super::{
    Address, Object, Wrong,
    wire::{self, HEAD, Kind, Malformed, Message},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::OwnedFd,
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send,
        socket_with,
    },
};
use std::{
    io,
    time::{Duration, Instant},
};

/// At least so many bytes are asked for at once.
const CHUNK: usize = 1 << 14;

/// The bus itself.
const BUS: Object<'static> = Object {
    service: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
};

/// An object that every service has.
const PEER: Object<'static> = Object {
    service: "org.freedesktop.systemd1",
    path: "/",
    interface: "org.freedesktop.DBus.Peer",
};

#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    /// The bytes that were received; kept, so that later answers allocate nothing.
    received: Vec<u8>,
    /// How much of it is filled.
    filled: usize,
    /// Where the last message ends that was read.
    read: usize,
    /// The call that is sent; kept for its room.
    call: Vec<u8>,
    serial: u32,
    /// Whether a call failed: its answer may still come.
    is_broken: bool,
}

impl Connection {
    /// Connects to the first address that there is, and logs in.
    ///
    /// # Errors
    /// There is none, or it does not let this process in.
    pub(super) fn open(address: &Address, deadline: Instant) -> Result<Self, Wrong> {
        let mut wrong = Wrong::Address(address.to_string());
        for socket in address.sockets() {
            let unreachable = |errno: Errno| Wrong::Unreachable {
                address: address.clone(),
                source: errno.into(),
            };
            let tried = socket.and_then(|name| {
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
                    .map_err(unreachable)?;
                match connect(&socket, &name) {
                    Ok(()) => Ok(socket),
                    // Too many others wait to be let in.
                    Err(Errno::AGAIN) => Err(Wrong::Silent),
                    Err(errno) => Err(unreachable(errno)),
                }
            });
            match tried {
                Ok(socket) => return Self::log_in(socket, address, deadline),
                Err(error) => wrong = error,
            }
        }
        Err(wrong)
    }

    /// Names the asking user, and learns this connection's name on the bus.
    fn log_in(socket: OwnedFd, address: &Address, deadline: Instant) -> Result<Self, Wrong> {
        let mut connection = Self {
            socket,
            received: Vec::new(),
            filled: 0,
            read: 0,
            call: Vec::new(),
            serial: 0,
            is_broken: false,
        };
        // The user's number in decimal, each digit as the two hexadecimal ones of its byte.
        let user = rustix::process::geteuid().as_raw().to_string();
        let hexadecimal: String = user.chars().flat_map(|digit| ['3', digit]).collect();
        connection.send(format!("\0AUTH EXTERNAL {hexadecimal}\r\n").as_bytes(), deadline)?;
        if !connection.line(deadline)?.starts_with(b"OK ") {
            return Err(Wrong::Denied(address.clone()));
        }
        connection.send(b"BEGIN\r\n", deadline)?;
        match address {
            Address::Bus(_) => {
                if connection.call(&BUS, "Hello", &[], deadline)?.kind == Kind::Refusal {
                    return Err(Wrong::Denied(address.clone()));
                }
            }
            Address::Service(_) => connection.rouse(deadline)?,
        }
        Ok(connection)
    }

    /// Waits until the service answers. systemd does not look at bytes that came together with the
    /// end of the log-in until more bytes come.
    fn rouse(&mut self, deadline: Instant) -> Result<(), Wrong> {
        let mut patience = Duration::from_millis(10);
        loop {
            let until = deadline.min(Instant::now() + patience);
            match self.call(&PEER, "Ping", &[], until) {
                Err(Wrong::Silent) if until < deadline => patience *= 2,
                answer => return answer.map(drop),
            }
        }
    }

    /// Whether a call failed, so that none can be made any more.
    pub(super) const fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Whether no call can be made any more.
    pub(super) fn is_closed(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        self.is_broken
            || match recv(&self.socket, &mut [0_u8; 1], flags) {
                Ok((length, _)) => length == 0,
                Err(errno) => !matches!(errno, Errno::AGAIN | Errno::INTR),
            }
    }

    /// Sends a call and waits for its answer.
    ///
    /// # Errors
    /// There is no answer in time, or the connection is of no use any more.
    pub(super) fn call(
        &mut self,
        object: &Object<'_>,
        member: &str,
        arguments: &[&str],
        deadline: Instant,
    ) -> Result<Message<'_>, Wrong> {
        self.is_broken = true; // until there is an answer
        self.serial = self.serial.checked_add(1).unwrap_or(1);
        let mut call = std::mem::take(&mut self.call);
        call.clear();
        wire::append_call(&mut call, self.serial, object, member, arguments);
        let sent = self.send(&call, deadline);
        self.call = call;
        sent?;
        loop {
            self.message(deadline)?;
            // Anything else is a signal, or answers a call that this connection did not make.
            let message = Message::read(self.bytes())?;
            if message.kind != Kind::Other && message.answers == Some(self.serial) {
                break;
            }
            if deadline <= Instant::now() {
                return Err(Wrong::Silent);
            }
        }
        self.is_broken = false;
        Ok(Message::read(self.bytes())?)
    }

    /// The message, or the line, that was read last.
    fn bytes(&self) -> &[u8] {
        self.received.get(..self.read).unwrap_or_default()
    }

    /// Waits until the next message is here whole.
    fn message(&mut self, deadline: Instant) -> Result<(), Wrong> {
        self.received.copy_within(self.read..self.filled, 0);
        self.filled -= self.read;
        self.read = 0;
        self.fill(HEAD, deadline)?;
        let head = self.received.first_chunk::<HEAD>().map(wire::length);
        let length = head.transpose()?.unwrap_or_default();
        self.fill(length, deadline)?;
        self.read = length;
        Ok(())
    }

    /// A line of the conversation before the first message, without its end.
    fn line(&mut self, deadline: Instant) -> Result<&[u8], Wrong> {
        loop {
            let all = self.received.get(..self.filled).unwrap_or_default();
            if let Some(end) = all.windows(2).position(|two| two == b"\r\n") {
                self.read = end + 2;
                return Ok(self.bytes());
            }
            if self.filled >= CHUNK {
                return Err(Malformed::ENDLESS.into());
            }
            self.fill(self.filled + 1, deadline)?;
        }
    }

    /// Receives until there are so many bytes.
    fn fill(&mut self, length: usize, deadline: Instant) -> Result<(), Wrong> {
        while self.filled < length {
            let room = length.min(self.filled * 2).max(self.filled + CHUNK);
            if self.received.len() < room {
                self.received.resize(room, 0);
            }
            let free = self.received.get_mut(self.filled..).unwrap_or_default();
            match recv(&self.socket, free, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok((length, _)) => self.filled += length,
                Err(Errno::AGAIN) => self.wait(PollFlags::IN, deadline)?,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(io::Error::from(errno).into()),
            }
        }
        Ok(())
    }

    fn send(&self, mut bytes: &[u8], deadline: Instant) -> Result<(), Wrong> {
        while !bytes.is_empty() {
            match send(&self.socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(length) => bytes = bytes.get(length..).unwrap_or_default(),
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT, deadline)?,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(io::Error::from(errno).into()),
            }
        }
        Ok(())
    }

    /// Waits until the socket is ready.
    fn wait(&self, until: PollFlags, deadline: Instant) -> Result<(), Wrong> {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).ok();
        match poll(&mut [PollFd::new(&self.socket, until)], left.as_ref()) {
            Ok(0) => Err(Wrong::Silent),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(io::Error::from(errno).into()),
        }
    }
}
