//! The bytes of a connection: as they are on its socket, and as hyper reads and writes them.

use super::{Place, State, frames::Frames};
use bytes::Bytes;
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

/// Read at once while a head comes, and after the last answer.
const PIECE: usize = 4 << 10;

/// A socket that notes every read and write in its state, and begins with bytes that were read before.
#[derive(Debug)]
pub(super) struct Socket {
    place: Place,
    before: Bytes,
    /// Whether bytes have come since this was last looked at.
    has_come: bool,
}

impl Socket {
    pub(super) const fn new(place: Place, before: Bytes) -> Self {
        Self { place, before, has_come: false }
    }

    /// Writes as soon as the kernel takes bytes.
    fn write(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.place.stream().poll_write_ready(cx))?;
            match write() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(bytes) => {
                    self.place.note(|state, now| state.wrote(bytes, now));
                    return Poll::Ready(Ok(bytes));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

/// Hands out bytes that were read before; `false` where there are none.
fn take(before: &mut Bytes, buffer: &mut ReadBuf<'_>) -> bool {
    let is_some = !before.is_empty();
    let len = before.len().min(buffer.remaining());
    buffer.put_slice(&before.split_to(len));
    is_some
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if take(&mut self.before, buffer) {
            return Poll::Ready(Ok(()));
        }
        let stream = self.place.stream();
        loop {
            ready!(stream.poll_read_ready(cx))?;
            match stream.try_read(buffer.initialize_unfilled()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(bytes) => {
                    buffer.advance(bytes);
                    if bytes > 0 {
                        self.place.note(State::came);
                        self.has_come = true;
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, || self.place.stream().try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, || self.place.stream().try_write_vectored(parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = rustix::net::shutdown(self.place.stream(), rustix::net::Shutdown::Write);
        Poll::Ready(done.map_err(io::Error::from))
    }
}

/// The encryption of a connection, if it has one. In a box: it is large, and most are plain.
pub(super) type Session = Option<Box<TlsStream<Socket>>>;

/// A connection without its encryption, as hyper has it.
#[derive(Debug)]
pub(super) struct Wire {
    line: Line,
    /// Read before, and to be read first.
    before: Bytes,
    /// Follows the frames of HTTP/2.
    frames: Option<Frames>,
}

#[derive(Debug)]
enum Line {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl Wire {
    pub(super) fn new(place: Place, session: Session, before: Vec<u8>) -> Self {
        let line = match session {
            Some(stream) => Line::Tls(stream),
            None => Line::Plain(Socket::new(place, Bytes::new())),
        };
        Self { line, before: before.into(), frames: None }
    }

    /// A connection of HTTP/2.
    pub(super) fn of_http2(place: Place, session: Session) -> Self {
        Self { frames: Some(Frames::new()), ..Self::new(place, session, Vec::new()) }
    }

    /// The encryption and the unread bytes, where hyper, which has read `read`, does not go on.
    pub(super) fn into_parts(self, read: &Bytes) -> (Session, Vec<u8>) {
        let session = match self.line {
            Line::Plain(_) => None,
            Line::Tls(stream) => Some(stream),
        };
        (session, [&read[..], &self.before].concat())
    }

    fn place(&self) -> &Place {
        match &self.line {
            Line::Plain(socket) => &socket.place,
            Line::Tls(stream) => &stream.get_ref().0.place,
        }
    }
}

/// Appends the bytes that have come to `read`; returns whether the client will send no more. Now and
/// then that is nothing: when part of a TLS record has come, the state is another.
pub(super) fn poll_piece(
    place: &Place,
    session: &mut Session,
    cx: &mut Context<'_>,
    read: &mut Vec<u8>,
) -> Poll<io::Result<bool>> {
    let mut piece = [0; PIECE]; // not across an await: each connection would keep it
    let Some(stream) = session else {
        ready!(place.stream().poll_read_ready(cx))?;
        return match read_piece(place, &mut piece) {
            Ok(len) => {
                read.extend_from_slice(piece.get(..len).unwrap_or_default());
                Poll::Ready(Ok(len == 0))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Ready(Ok(false)),
            Err(error) => Poll::Ready(Err(error)),
        };
    };
    let mut buffer = ReadBuf::new(&mut piece);
    match poll_decrypted(stream, cx, &mut buffer) {
        Poll::Ready(came) => {
            came?;
            read.extend_from_slice(buffer.filled());
            Poll::Ready(Ok(buffer.filled().is_empty()))
        }
        Poll::Pending if std::mem::take(&mut stream.get_mut().0.has_come) => Poll::Ready(Ok(false)),
        Poll::Pending => Poll::Pending,
    }
}

/// Reads; a client that says nothing before it closes its side sends no more either.
fn poll_decrypted(
    stream: &mut TlsStream<Socket>,
    cx: &mut Context<'_>,
    buffer: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    match ready!(Pin::new(stream).poll_read(cx, buffer)) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
        done => Poll::Ready(done),
    }
}

/// Reads the bytes that have come on the socket, as they are.
pub(super) fn read_piece(place: &Place, piece: &mut [u8]) -> io::Result<usize> {
    place.stream().try_read(piece)
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if take(&mut self.before, buffer) {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(match &mut self.line {
            Line::Plain(socket) => Pin::new(socket).poll_read(cx, buffer),
            Line::Tls(stream) => poll_decrypted(stream, cx, buffer),
        })?;
        if let Some(frames) = &mut self.frames {
            let heard = frames.hear(buffer.filled().get(before..).unwrap_or_default());
            self.place().note_stream(|streams, now| streams.hear(heard, now));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.line {
            Line::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Line::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.line {
            Line::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, parts),
            Line::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The bytes of hyper are then with the kernel, encrypted where the connection is.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Line::Tls(stream) = &mut self.line {
            ready!(Pin::new(stream).poll_flush(cx))?;
        }
        self.place().note(State::flushed);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.line {
            Line::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Line::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
