//! The kernel's answers over netlink: links, neighbours, addresses, routes; TCP sockets; counters of
//! connection tracking; and over generic netlink, ethtool's and nl80211's.
//!
//! One blocking socket and one buffer, both reused: a dump allocates nothing once the buffers have
//! grown. Messages are read in the buffer, and every length in them is checked.
//!
//! A dump is no snapshot. Where the kernel says that the table changed while it was
//! walked (`NLM_F_DUMP_INTR`), the dump is taken anew, a few times at most. Links,
//! addresses and routes carry that flag, neighbours do not: `neighbour.rs` and `tally.rs`
//! say how their dumps are checked.

mod address;
mod conntrack;
mod diag;
mod ethtool;
mod genl;
mod link;
mod links;
mod neighbour;
mod nl80211;
mod qdisc;
mod route;
mod table;
mod tally;
mod watch;
mod wire;

use std::{io, time::Duration};

use netlink_packet_core::{NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NLMSG_OVERRUN};
use netlink_sys::SocketAddr;
use rustix::net::sockopt;

pub use self::{
    address::Address,
    conntrack::ConntrackStats,
    diag::{InetSocket, InetTable},
    ethtool::{Ethtool, Mode, Modes, bits},
    link::{HardwareAddress, Link, Stats},
    links::{LinkDump, Links},
    neighbour::{NUD_FAILED, NUD_NOARP, Neighbour},
    nl80211::{Bss, Interface, Nl80211, Station, Status},
    qdisc::Qdisc,
    route::{Hop, RTN_UNICAST, Route},
    table::Table,
    tally::{NeighbourDump, STATES, States, Tally},
    watch::{Change, Watch},
    wire::BadMessage,
};
use crate::error::Refusal;
use wire::{Header, Messages};

/// How long the kernel may take to send the next part of an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a dump is taken where the table changes meanwhile.
const TRIES: u32 = 5;

/// The kernel fills at most this much at a time (`netlink_recvmsg()`), so a larger buffer
/// would save nothing.
const BUFFER: usize = 32 * 1024;

/// The reason why a dump failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call on the socket failed.
    #[error("{call}: {source}")]
    Call {
        /// The system call.
        call: &'static str,
        /// Its error.
        source: io::Error,
    },
    /// The kernel answered with an error.
    #[error("{request}: {source}")]
    Refused {
        /// The request, as the kernel's headers call it.
        request: &'static str,
        /// The error in the answer.
        source: io::Error,
    },
    /// The answer is not as the kernel's headers describe it.
    #[error("{request}: {what}")]
    BadMessage {
        /// The request, as the kernel's headers call it.
        request: &'static str,
        /// The fault that was found.
        what: BadMessage,
    },
    /// The table changed during each of the dumps: the last may lack entries.
    #[error("{request}: the table changed during each of {TRIES} dumps")]
    Interrupted {
        /// The request, as the kernel's headers call it.
        request: &'static str,
    },
}

impl Error {
    /// Whether the kernel does not know the subject of the question.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        let Self::Refused { source, .. } = self else { return false };
        source.raw_os_error() == Some(libc::ENOENT)
    }

    /// The meaning of the errno with which the kernel answered; `None` for every other error.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        let Self::Refused { source, .. } = self else { return None };
        Some(source.raw_os_error().map_or(Refusal::Failed, Refusal::of))
    }
}

impl From<Error> for crate::error::Error {
    fn from(error: Error) -> Self {
        Self::Source { source_name: "netlink", error: Box::new(error) }
    }
}

/// The part of the kernel that a socket asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// Links, neighbours, addresses, routes.
    Route,
    /// Sockets.
    SockDiag,
    /// Families that have no number of their own, such as ethtool.
    Generic,
    /// Connection tracking.
    Netfilter,
}

impl Protocol {
    const fn number(self) -> isize {
        match self {
            Self::Route => netlink_sys::protocols::NETLINK_ROUTE,
            Self::SockDiag => netlink_sys::protocols::NETLINK_SOCK_DIAG,
            Self::Generic => netlink_sys::protocols::NETLINK_GENERIC,
            Self::Netfilter => netlink_sys::protocols::NETLINK_NETFILTER,
        }
    }
}

/// A step of a dump.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step<T> {
    /// A dump begins, the first or another: forget the entries of an earlier one.
    Start,
    /// One entry.
    Item(T),
}

impl Step<&[u8]> {
    fn parse<T>(
        self,
        parse: impl FnOnce(&[u8]) -> Result<T, BadMessage>,
    ) -> Result<Step<T>, BadMessage> {
        match self {
            Self::Start => Ok(Step::Start),
            Self::Item(payload) => parse(payload).map(Step::Item),
        }
    }
}

/// A dump as the kernel sends it, in parts.
#[derive(Clone, Copy)]
enum Raw<'a> {
    /// As [`Step::Start`].
    Start,
    /// Another part begins, this datagram. The kernel goes on with its walk, which it had stopped
    /// when the datagram before was full.
    Part(&'a [u8]),
    /// One entry.
    Item(&'a [u8]),
}

/// A question to the kernel.
struct Request<'a> {
    /// Its name in the kernel's headers.
    name: &'static str,
    /// `RTM_GET…`.
    kind: u16,
    /// `NLM_F_DUMP` for all entries; `NLM_F_ACK` for one answer, after which the kernel sends its
    /// end.
    flags: u16,
    /// The type of the messages that answer it: `RTM_NEW…`.
    answer: u16,
    /// The fixed structure after the header.
    body: &'a [u8],
}

/// A socket to one of the kernel's tables.
///
/// It is opened at first use, and sees the network namespace of the thread that opens it. After
/// an error it is opened anew by the next dump, since the rest of the broken answer may still be
/// under way.
pub struct Socket {
    /// None before first use, and after an error.
    open: Option<netlink_sys::Socket>,
    protocol: Protocol,
    sequence: u32,
    message: Vec<u8>,
    buffer: Vec<u8>,
}

impl Default for Socket {
    /// A socket to the routing tables.
    fn default() -> Self {
        Self::new(Protocol::Route)
    }
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Socket").field(&self.open).finish()
    }
}

impl Socket {
    /// A socket that is not open yet.
    #[must_use]
    pub const fn new(protocol: Protocol) -> Self {
        Self { open: None, protocol, sequence: 0, message: Vec::new(), buffer: Vec::new() }
    }

    /// Opens a socket to the routing tables in the network namespace of this thread.
    pub fn open() -> Result<Self, Error> {
        let open = Some(connect(Protocol::Route)?);
        Ok(Self { open, ..Self::new(Protocol::Route) })
    }

    /// A socket to a peer that is not the kernel, for fuzzing. After an error it is closed, and
    /// the kernel is asked.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn to(socket: netlink_sys::Socket, protocol: Protocol) -> Self {
        Self { open: Some(socket), ..Self::new(protocol) }
    }

    /// Asks `request` and gives each payload of the answer to `each`, whole dumps again
    /// where the kernel says that one is not consistent.
    fn dump(
        &mut self,
        request: &Request<'_>,
        each: impl FnMut(Step<&[u8]>) -> Result<(), BadMessage>,
    ) -> Result<(), Error> {
        let consistent = self.try_dump(request, TRIES, each)?;
        if consistent { Ok(()) } else { Err(Error::Interrupted { request: request.name }) }
    }

    /// As [`Socket::dump`], at most `tries` times; says whether the last was consistent.
    fn try_dump(
        &mut self,
        request: &Request<'_>,
        tries: u32,
        mut each: impl FnMut(Step<&[u8]>) -> Result<(), BadMessage>,
    ) -> Result<bool, Error> {
        self.try_parts(request, tries, |raw| match raw {
            Raw::Start => each(Step::Start),
            Raw::Part(_) => Ok(()),
            Raw::Item(payload) => each(Step::Item(payload)),
        })
    }

    /// As [`Socket::try_dump`], and tells where the kernel's parts begin.
    fn try_parts(
        &mut self,
        request: &Request<'_>,
        tries: u32,
        mut each: impl FnMut(Raw<'_>) -> Result<(), BadMessage>,
    ) -> Result<bool, Error> {
        if self.buffer.is_empty() {
            self.buffer.resize(BUFFER, 0);
        }
        for _ in 0..tries {
            let socket = match self.open.take() {
                Some(socket) => socket,
                None => connect(self.protocol)?,
            };
            each(Raw::Start).map_err(|what| bad(request, what))?;
            let consistent = self.answer(&socket, request, &mut each)?;
            self.open = Some(socket);
            if consistent {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// One dump, whole; says whether it was consistent.
    fn answer(
        &mut self,
        socket: &netlink_sys::Socket,
        request: &Request<'_>,
        each: &mut impl FnMut(Raw<'_>) -> Result<(), BadMessage>,
    ) -> Result<bool, Error> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let flags = NLM_F_REQUEST | request.flags;
        wire::request(request.kind, flags, sequence, request.body, &mut self.message);
        socket.send(&self.message, 0).map_err(|source| Error::Call { call: "send", source })?;

        let mut consistent = true;
        loop {
            let Some(bytes) = receive(socket, &mut self.buffer)? else {
                // A message did not fit: the buffer has grown, the dump starts over. The rest of
                // this dump is told apart by its sequence number.
                return drain(socket, sequence, &mut self.buffer).map(|()| false);
            };
            each(Raw::Part(bytes)).map_err(|what| bad(request, what))?;
            for message in Messages(bytes) {
                let (header, payload) = message.map_err(|what| bad(request, what))?;
                if header.sequence != sequence {
                    continue;
                }
                consistent &= header.flags & NLM_F_DUMP_INTR == 0;
                match header.kind {
                    NLMSG_DONE | NLMSG_ERROR => {
                        return match wire::errno(payload) {
                            Ok(0) => Ok(consistent),
                            Ok(errno) => Err(Error::Refused {
                                request: request.name,
                                source: io::Error::from_raw_os_error(errno),
                            }),
                            Err(what) => Err(bad(request, what)),
                        };
                    }
                    NLMSG_OVERRUN => consistent = false,
                    kind if kind == request.answer => {
                        each(Raw::Item(payload)).map_err(|what| bad(request, what))?;
                    }
                    _ => {}
                }
            }
        }
    }
}

/// A socket that talks to the kernel only.
fn connect(protocol: Protocol) -> Result<netlink_sys::Socket, Error> {
    let call = |call| move |source| Error::Call { call, source };
    let mut socket = netlink_sys::Socket::new(protocol.number()).map_err(call("socket"))?;
    socket.bind_auto().map_err(call("bind"))?;
    socket.connect(&SocketAddr::new(0, 0)).map_err(call("connect"))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))
        .map_err(|errno| Error::Call { call: "setsockopt SO_RCVTIMEO", source: errno.into() })?;
    // Since Linux 4.20; makes the kernel refuse a request that it would misread.
    let _ = socket.set_netlink_get_strict_chk(true);
    Ok(socket)
}

/// The next datagram, or `None` where it did not fit the buffer, which has then grown.
fn receive<'a>(
    socket: &netlink_sys::Socket,
    buffer: &'a mut Vec<u8>,
) -> Result<Option<&'a [u8]>, Error> {
    let received = loop {
        match socket.recv(&mut buffer.as_mut_slice(), libc::MSG_TRUNC) {
            // The kernel never closes its side.
            Ok(0) => {
                let source = io::ErrorKind::UnexpectedEof.into();
                return Err(Error::Call { call: "recv", source });
            }
            Ok(received) => break received,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(Error::Call { call: "recv", source }),
        }
    };
    if received > buffer.len() {
        buffer.resize(received.next_power_of_two(), 0);
        return Ok(None);
    }
    Ok(buffer.get(..received))
}

/// Reads a dump to its end.
fn drain(socket: &netlink_sys::Socket, sequence: u32, buffer: &mut Vec<u8>) -> Result<(), Error> {
    loop {
        let Some(bytes) = receive(socket, buffer)? else { continue };
        let done = |header: Header| {
            header.sequence == sequence && matches!(header.kind, NLMSG_DONE | NLMSG_ERROR)
        };
        if Messages(bytes).flatten().any(|(header, _)| done(header)) {
            return Ok(());
        }
    }
}

const fn bad(request: &Request<'_>, what: BadMessage) -> Error {
    Error::BadMessage { request: request.name, what }
}
