//! A connection from its beginning to its end: heads are read here, requests are answered by hyper.
//!
//! hyper keeps buffers of 16 KiB for each of its connections. So hyper holds a connection only
//! while a request is under way: a connection that is silent, idle or slow in sending costs its
//! socket, its task and the bytes that the client has sent. A connection of HTTP/2 is hyper's from
//! its beginning to its end, in [`http2`].

use super::{
    Place, State,
    handshake::shake,
    http2,
    wire::{Session, Wire, poll_piece, read_piece},
};
use crate::web::{
    guard::Peer,
    handler::{Site, handle},
};
use axum::{body::Body, extract::Request, response::Response};
use bytes::Bytes;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
};
use tokio::{io::AsyncWrite as _, sync::watch};

/// The longest head that is read.
const LONGEST: usize = 64 << 10;
/// The bytes of one read after the last answer.
const PIECE: usize = 1 << 10;

/// Answers the requests of one connection until it ends. Once `stop` changes, the request under
/// way is the last.
pub(in super::super) async fn converse(
    place: Place,
    site: Arc<Site>,
    mut stop: watch::Receiver<bool>,
) {
    let (mut session, mut is_open) = (None, true);
    if let Some(guard) = site.guard.as_ref().filter(|guard| guard.has_tls()) {
        session = tokio::select! {
            session = Box::pin(shake(&place, guard)) => session,
            _ = stop.changed() => return,
        };
        is_open = session.is_some();
    }
    if http2::is_agreed(&session) {
        let wire = Wire::of_http2(place.clone(), session.take());
        Box::pin(http2::serve(&place, wire, &site, &mut stop)).await;
        is_open = false;
    }
    let mut read = Vec::new();
    while is_open {
        let came = tokio::select! {
            came = head(&place, &mut session, &mut read) => came,
            _ = stop.changed() => return,
        };
        if !came {
            break;
        }
        let wire = Wire::new(place.clone(), session.take(), std::mem::take(&mut read));
        // In a box, so that a connection between requests does not hold the room for an answer.
        match Box::pin(answer(&place, wire, &site, &mut stop)).await {
            Next::Request(next, rest) => (session, read) = (next, rest),
            Next::Close => is_open = false,
            Next::Gone => return,
        }
        is_open &= !*stop.borrow();
    }
    Box::pin(close(&place, session)).await;
}

/// Reads a head; `false` where the connection ends instead.
async fn head(place: &Place, session: &mut Session, read: &mut Vec<u8>) -> bool {
    loop {
        let blank = read.iter().take_while(|&&byte| matches!(byte, b'\r' | b'\n')).count();
        read.drain(..blank); // empty lines are allowed before a request
        if !read.is_empty() {
            place.note(State::came);
            place.settle();
            if is_for_hyper(read) {
                return true;
            }
        }
        let came = tokio::select! {
            came = poll_fn(|cx| poll_piece(place, session, cx, read)) => came,
            reason = place.overdue(false) => {
                tracing::debug!(reason, "connection closed");
                return false;
            }
        };
        match came {
            Ok(false) => {}
            Ok(true) => return false,
            Err(error) => {
                tracing::debug!(%error, "connection ended");
                return false;
            }
        }
    }
}

/// Whether hyper can answer without reading more: the head is complete, or the bytes are no head
/// and will be refused.
pub(super) fn is_for_hyper(read: &[u8]) -> bool {
    let mut lines = read.split_inclusive(|&byte| byte == b'\n');
    let is_http = |line: &[u8]| line.windows(8).any(|part| part.starts_with(b" HTTP/1."));
    let refused = match lines.next() {
        Some(first) if first.ends_with(b"\n") => !is_http(first),
        first => first.is_none_or(|first| {
            !first.iter().all(|byte| (b' '..0x7f).contains(byte) || *byte == b'\r')
        }),
    };
    refused || read.len() >= LONGEST || lines.any(|line| matches!(line, b"\n" | b"\r\n"))
}

/// The next step after an answer.
enum Next {
    /// Read another request, which begins with these bytes, under this encryption.
    Request(Session, Vec<u8>),
    /// Close the connection: no more requests are answered.
    Close,
    /// Drop the connection: the client is gone, or is cut off.
    Gone,
}

/// Answers the request that has come, and further requests until hyper can give the connection
/// back.
async fn answer(
    place: &Place,
    wire: Wire,
    site: &Arc<Site>,
    stop: &mut watch::Receiver<bool>,
) -> Next {
    let has_body = Arc::new(AtomicBool::new(false));
    let service = hyper::service::service_fn(|request: hyper::Request<Incoming>| {
        if !request.body().is_end_stream() {
            has_body.store(true, Relaxed);
        }
        respond(place.clone(), Arc::clone(site), request.map(Body::new))
    });
    let mut serving = hyper::server::conn::http1::Builder::new()
        .max_buf_size(LONGEST)
        .max_headers(100)
        .half_close(true)
        .serve_connection(TokioIo::new(wire), service);
    let mut broken = pin!(place.broken());
    let mut overdue = pin!(place.overdue(true));
    let mut stopping = false;
    let ended = loop {
        let mut until_quiet = poll_fn(|cx| match Pin::new(&mut serving).poll(cx) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            // With a body, hyper keeps the connection: the unread rest of the body would be taken
            // for a head.
            Poll::Pending if place.is_quiet() && !has_body.load(Relaxed) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        tokio::select! {
            ended = &mut until_quiet => break ended,
            _ = &mut broken => return Next::Gone,
            reason = &mut overdue => {
                tracing::debug!(reason, "connection closed");
                return Next::Gone;
            }
            _ = stop.changed(), if !stopping => stopping = true,
        }
        Pin::new(&mut serving).graceful_shutdown();
    };
    match ended {
        Some(Ok(())) => Next::Close,
        Some(Err(error)) => {
            tracing::debug!(%error, "connection ended");
            if error.is_parse() || error.is_parse_too_large() { Next::Close } else { Next::Gone }
        }
        None => {
            let parts = serving.into_parts();
            let (session, rest) = parts.io.into_inner().into_parts(&parts.read_buf);
            Next::Request(session, rest)
        }
    }
}

/// Answers one request.
async fn respond(
    place: Place,
    site: Arc<Site>,
    request: Request,
) -> Result<hyper::Response<Answer>, Infallible> {
    place.note(State::requested);
    let response = ask(&place, &site, request).await;
    place.note(State::answered);
    Ok(response.map(|body| Answer { body, place }))
}

/// The handler's answer.
pub(super) async fn ask(place: &Place, site: &Site, mut request: Request) -> Response {
    if site.guard.is_some() {
        let address = place.stream().peer_addr();
        request.extensions_mut().insert(Peer(address.ok().map(|address| address.ip())));
    }
    place.spare(site.max_requests).await;
    handle(site, request).await
}

/// An answer's text; hyper drops it when it has taken all of it.
struct Answer {
    body: Body,
    place: Place,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.place.note(State::buffered);
    }
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Waits until the client has taken everything that was sent and closes its side, too. Bytes that
/// it still sends are read: unread bytes would make the kernel reset the connection, and so lose
/// the answer.
async fn close(place: &Place, session: Session) {
    place.note(State::closes);
    if let Some(mut stream) = session {
        tokio::select! {
            biased;
            _ = poll_fn(|cx| Pin::new(&mut stream).poll_shutdown(cx)) => {}
            _ = place.overdue(true) => return,
        }
    }
    let _ = rustix::net::shutdown(place.stream(), rustix::net::Shutdown::Write);
    let end = async {
        loop {
            match read_piece(place, &mut [0; PIECE]) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    place.stream().readable().await?;
                }
                Err(error) => return Err(error),
            }
        }
        place.settled().await;
        io::Result::Ok(())
    };
    tokio::select! {
        _ = end => {}
        _ = place.overdue(false) => {}
    }
}
