//! A Unix socket for zbus, which takes no message that is too long and no descriptor.

use bytes::{Buf as _, BytesMut};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{Shutdown, shutdown},
};
use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
    sync::Arc,
};
use tokio::net::UnixStream;
use zbus::{
    Message,
    connection::socket::{self, Split},
    export::async_trait::async_trait,
};

/// At least so many bytes are asked for at once.
const CHUNK: usize = 1 << 14;

/// No line of the log-in may be longer than this, in bytes.
const LONGEST_LINE: usize = 1 << 10;

/// The bytes with which every message begins, and which tell how long it is. Fields follow.
const HEAD: usize = 16;

/// The code of the field that names the sender (the D-Bus Specification, "Header Fields").
const SENDER: u8 = 7;

/// No message may be longer than this, in bytes: the list of 50,000 units. zbus would take 128 MiB.
const LONGEST: usize = 16 << 20;

/// The socket of a connection. It has two halves, and the connection keeps a clone.
#[derive(Clone, Debug)]
pub(super) struct Socket(Arc<UnixStream>);

impl Socket {
    /// Takes a connected socket. The runtime of the calling thread will drive it.
    pub(super) fn new(connected: OwnedFd) -> io::Result<Self> {
        UnixStream::from_std(connected.into()).map(|stream| Self(Arc::new(stream)))
    }

    /// Whether the other side has closed it, even if signals are left that nobody read.
    pub(super) fn is_closed(&self) -> bool {
        let mut socket = [PollFd::new(&*self.0, PollFlags::RDHUP)];
        let ended = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        poll(&mut socket, Some(&Timespec::default())).is_err()
            || socket.iter().any(|socket| socket.revents().intersects(ended))
    }

    pub(super) async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.0.writable().await?;
            match self.0.try_write(bytes) {
                Ok(length) => bytes.advance(length),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The half that receives, and from which zbus takes the other.
#[derive(Debug)]
pub(super) struct Reader {
    socket: Socket,
    /// The bytes that were received and are not yet given on.
    received: BytesMut,
    /// How much of the message that zbus reads is not yet given on.
    left: usize,
    /// Whether a service sends the messages, without a bus between.
    is_direct: bool,
}

impl Reader {
    pub(super) fn new(socket: Socket, is_direct: bool) -> Self {
        Self { socket, received: BytesMut::new(), left: 0, is_direct }
    }

    /// A line of the log-in, without its end.
    pub(super) async fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.received.windows(2).position(|two| two == b"\r\n") {
                let line = self.received.split_to(end).to_vec();
                self.received.advance(2);
                return Ok(line);
            }
            if self.received.len() >= LONGEST_LINE {
                return Err(malformed("a line without an end"));
            }
            self.fill(self.received.len() + 1).await?;
        }
    }

    /// Receives until there are so many bytes.
    async fn fill(&mut self, length: usize) -> io::Result<()> {
        while self.received.len() < length {
            self.received.reserve(CHUNK);
            self.socket.0.readable().await?;
            match self.socket.0.try_read_buf(&mut self.received) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl socket::Socket for Reader {
    type ReadHalf = Self;
    type WriteHalf = Writer;

    fn split(self) -> Split<Self, Writer> {
        let writer = Writer(self.socket.clone());
        Split::new(self, writer)
    }
}

#[async_trait]
impl socket::ReadHalf for Reader {
    async fn recvmsg(&mut self, into: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        if self.left == 0 {
            self.fill(HEAD).await?;
            let (header, body) = lengths(&self.received)?;
            self.left = header + body;
            if self.is_direct {
                self.fill(header).await?;
                mark_sender(&mut self.received);
            }
        }
        self.fill(1).await?;
        let length = into.len().min(self.received.len()).min(self.left);
        if let Some(into) = into.get_mut(..length) {
            self.received.copy_to_slice(into);
        }
        self.left -= length;
        Ok((length, Vec::new()))
    }
}

/// The lengths of the header, fields and padding included, and of the body of the message that
/// begins with these bytes.
fn lengths(head: &[u8]) -> io::Result<(usize, usize)> {
    let (body, fields) = (number(head, 4), number(head, 12));
    if body > LONGEST || fields > LONGEST {
        return Err(malformed("a message is too long"));
    }
    Ok(((HEAD + fields).next_multiple_of(8), body))
}

/// Makes the sender's name one that a bus gives. A service without a bus between may send its own,
/// as systemd does (`org.freedesktop.systemd1`), and zbus refuses a message with such a sender.
fn mark_sender(header: &mut [u8]) {
    if let Some(first) = sender(header).and_then(|name| header.get_mut(name)) {
        *first = b':';
    }
}

/// The place of the sender's name in a header.
fn sender(header: &[u8]) -> Option<usize> {
    let (mut at, end) = (HEAD, HEAD + number(header, 12));
    while at < end {
        // Each field has its code, the signature of its one type and its value.
        let [code, _, type_, _] = *header.get(at..)?.first_chunk()?;
        let value = at + 4;
        if (code, type_) == (SENDER, b's') {
            return Some(value + 4);
        }
        let length = match type_ {
            b'o' | b's' => number(header, value).checked_add(5)?,
            b'g' => usize::from(*header.get(value)?) + 2,
            _ => 4,
        };
        at = value.checked_add(length)?.checked_next_multiple_of(8)?;
    }
    None
}

/// The number of four bytes at this place of a message; 0 where there is none.
fn number(message: &[u8], at: usize) -> usize {
    let bytes = message.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
    let is_big_endian = message.first() == Some(&b'B');
    (if is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }) as usize
}

fn malformed(fault: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, fault)
}

/// The half that sends.
#[derive(Debug)]
pub(super) struct Writer(Socket);

#[async_trait]
impl socket::WriteHalf for Writer {
    async fn sendmsg(&mut self, bytes: &[u8], _: &[BorrowedFd<'_>]) -> io::Result<usize> {
        self.0.write(bytes).await.map(|()| bytes.len())
    }

    async fn send_messages(&mut self, messages: &[Message]) -> zbus::Result<()> {
        let bytes: Vec<&[u8]> = messages.iter().map(|message| message.data().bytes()).collect();
        Ok(self.0.write(&bytes.concat()).await?)
    }

    async fn close(&mut self) -> io::Result<()> {
        Ok(shutdown(&*self.0.0, Shutdown::Both)?)
    }
}
