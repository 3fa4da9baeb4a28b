//! One connection to a bus: that of zbus, driven by the thread that asks, and only while it asks.

use super::{
    Address, Object, Wrong,
    socket::{Reader, Socket},
};
use futures_util::StreamExt as _;
use rustix::{
    fd::OwnedFd,
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, connect, socket_with},
};
use std::{
    io,
    num::NonZeroUsize,
    time::{Duration, Instant},
};
use tokio::runtime::{self, Runtime};
use zbus::{DynamicType, Guid, Message, MessageStream, connection::Builder, message};

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

/// The fields are in the order in which they are dropped: the runtime drives all others.
#[derive(Debug)]
pub(super) struct Connection {
    answers: MessageStream,
    bus: zbus::Connection,
    socket: Socket,
    runtime: Runtime,
    /// Whether a call failed: its answer may still come.
    is_broken: bool,
}

impl Connection {
    /// Connects to the first address that there is, and logs in.
    ///
    /// # Errors
    /// There is none, or it does not let this process in.
    pub(super) fn open(address: &Address, deadline: Instant) -> Result<Self, Wrong> {
        let connected = reach(address)?;
        let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (socket, bus) = runtime.block_on(in_time(deadline, async {
            let socket = Socket::new(connected)?;
            let mut reader = Reader::new(socket.clone(), matches!(address, Address::Service(_)));
            let guid = log_in(&socket, &mut reader, address).await?;
            // A queue of one message: more of them could be of any size.
            let builder = Builder::authenticated_socket(reader, guid);
            Ok((socket, builder.max_queued(NonZeroUsize::MIN).build().await?))
        }))?;
        let answers = MessageStream::from(&bus);
        let mut connection = Self { answers, bus, socket, runtime, is_broken: false };
        match address {
            Address::Bus(_) => connection.greet(address, deadline)?,
            Address::Service(_) => connection.rouse(deadline)?,
        }
        Ok(connection)
    }

    /// Learns this connection's name on the bus, as the bus asks of the first call.
    fn greet(&mut self, address: &Address, deadline: Instant) -> Result<(), Wrong> {
        let hello = call(&BUS, "Hello", &())?;
        let mut is_in = false;
        self.ask(&[hello], deadline, |_, answer| {
            is_in = answer.message_type() == message::Type::MethodReturn;
        })?;
        if is_in { Ok(()) } else { Err(Wrong::Denied(address.clone())) }
    }

    /// Waits until the service answers. systemd does not look at bytes that came together with the
    /// end of the log-in until more bytes come.
    fn rouse(&mut self, deadline: Instant) -> Result<(), Wrong> {
        let mut patience = Duration::from_millis(10);
        loop {
            let until = deadline.min(Instant::now() + patience);
            match self.ask(&[call(&PEER, "Ping", &())?], until, |_, _| {}) {
                Err(Wrong::Silent) if until < deadline => patience *= 2,
                answer => return answer,
            }
        }
    }

    /// Whether a call failed, so that none can be made any more.
    pub(super) const fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Whether no call can be made any more.
    pub(super) fn is_closed(&self) -> bool {
        self.is_broken || self.bus.is_closed() || self.socket.is_closed()
    }

    /// Sends these calls at once, and gives each answer to `each` with the place of its call, in
    /// any order.
    ///
    /// # Errors
    /// An answer does not come in time, or the connection is of no use any more.
    pub(super) fn ask(
        &mut self,
        calls: &[Message],
        deadline: Instant,
        mut each: impl FnMut(usize, &Message),
    ) -> Result<(), Wrong> {
        self.is_broken = true; // until all have an answer
        self.runtime.block_on(in_time(deadline, async {
            self.bus.send_all(calls).await?;
            let serial = |call: &Message| Some(call.primary_header().serial_num());
            let mut waiting: Vec<_> = calls.iter().map(serial).collect();
            let mut missing = calls.len();
            while missing > 0 {
                let ended = || io::Error::from(io::ErrorKind::UnexpectedEof);
                let answer = self.answers.next().await.ok_or_else(ended)??;
                // Anything else is a signal, or answers a call that this connection did not make.
                if let serial @ Some(_) = answer.header().reply_serial()
                    && let Some((place, call)) =
                        waiting.iter_mut().enumerate().find(|(_, call)| **call == serial)
                {
                    *call = None;
                    missing -= 1;
                    each(place, &answer);
                }
            }
            Ok(())
        }))?;
        self.is_broken = false;
        Ok(())
    }
}

/// A call, which starts no service that is not running.
pub(super) fn call<B>(object: &Object<'_>, method: &'static str, body: &B) -> Result<Message, Wrong>
where
    B: serde::Serialize + DynamicType,
{
    let call = Message::method_call(object.path, method)
        .destination(object.service)
        .interface(object.interface)
        .with_flags(message::Flags::NO_AUTO_START);
    Ok(call.build(body)?)
}

/// Connects to the first address that there is.
fn reach(address: &Address) -> Result<OwnedFd, Wrong> {
    let mut wrong = Wrong::Address(address.to_string());
    for socket in address.sockets() {
        let unreachable =
            |errno: Errno| Wrong::Unreachable { address: address.clone(), source: errno.into() };
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
            Ok(socket) => return Ok(socket),
            Err(error) => wrong = error,
        }
    }
    Err(wrong)
}

/// Names the asking user, and learns the server's own name. zbus's log-in would take lines of any
/// length, and messages with descriptors.
async fn log_in(
    socket: &Socket,
    reader: &mut Reader,
    address: &Address,
) -> Result<Guid<'static>, Wrong> {
    // The user's number in decimal, each digit as the two hexadecimal ones of its byte.
    let user = rustix::process::geteuid().as_raw().to_string();
    let hexadecimal: String = user.chars().flat_map(|digit| ['3', digit]).collect();
    socket.write(format!("\0AUTH EXTERNAL {hexadecimal}\r\n").as_bytes()).await?;
    let line = reader.line().await?;
    let name = str::from_utf8(&line).ok().and_then(|line| line.strip_prefix("OK "));
    let name = name.ok_or_else(|| Wrong::Denied(address.clone()))?;
    socket.write(b"BEGIN\r\n").await?;
    Ok(Guid::try_from(name.to_owned())?)
}

async fn in_time<T>(
    deadline: Instant,
    future: impl Future<Output = Result<T, Wrong>>,
) -> Result<T, Wrong> {
    tokio::time::timeout_at(deadline.into(), future).await.unwrap_or(Err(Wrong::Silent))
}
