//! A connection of HTTP/2, which hyper answers from its beginning to its end.

use super::{
    Place,
    converse::ask,
    streams::{Answered, MOST, Streams},
    wire::{Session, Wire},
};
use crate::web::{handler::Site, tls::HTTP2};
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, Method, header},
};
use bytes::Bytes;
use hyper::{
    body::{Body as _, Frame, Incoming, SizeHint},
    server::conn::http2::Builder,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::watch;

/// The most bytes of a request's body, which nobody reads, that are kept for a stream.
const BODY: u32 = 16 << 10;
/// The same for all streams of a connection: the protocol has no less.
const BODIES: u32 = (64 << 10) - 1;
/// The longest head of a request, by the protocol's own count.
const HEAD: u32 = 16 << 10;
/// The most streams that the client resets before they are seen.
const MOST_UNSEEN: usize = 20;
/// The most streams that are refused or reset for a fault of the client. A client of Go's may open
/// a hundred before it knows of [`MOST`].
const MOST_REFUSED: usize = 128;

/// Whether client and server have agreed on HTTP/2.
pub(super) fn is_agreed(session: &Session) -> bool {
    session.as_ref().is_some_and(|stream| stream.get_ref().1.alpn_protocol() == Some(HTTP2))
}

/// Answers requests until the client, a limit or `stop` ends the connection; the client is told so
/// where it can be.
pub(super) async fn serve(
    place: &Place,
    wire: Wire,
    site: &Arc<Site>,
    stop: &mut watch::Receiver<bool>,
) {
    let service = hyper::service::service_fn(|request: hyper::Request<Incoming>| {
        let stream = Stream::new(place.clone()); // before the request has a task
        respond(stream, Arc::clone(site), request.map(Body::new))
    });
    let mut serving = pin!(
        Builder::new(TokioExecutor::new())
            .max_concurrent_streams(MOST)
            .max_pending_accept_reset_streams(MOST_UNSEEN)
            .max_local_error_reset_streams(MOST_REFUSED)
            .initial_stream_window_size(BODY)
            .initial_connection_window_size(BODIES)
            .max_header_list_size(HEAD)
            .serve_connection(TokioIo::new(wire), service)
    );
    let mut broken = pin!(place.broken());
    let mut overdue = pin!(place.overdue(true));
    let mut stopping = false;
    loop {
        let mut until_ended = poll_fn(|cx| match serving.as_mut().poll(cx) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending if stopping && place.is_quiet() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        tokio::select! {
            ended = &mut until_ended => {
                if let Some(Err(error)) = ended {
                    tracing::debug!(%error, "connection ended");
                }
                return;
            }
            _ = &mut broken => return,
            reason = &mut overdue => {
                tracing::debug!(reason, "connection closed");
                break;
            }
            _ = stop.changed(), if !stopping => stopping = true,
        }
        serving.as_mut().graceful_shutdown();
    }
    serving.as_mut().graceful_shutdown();
    // Once: a client that takes nothing is not waited for.
    let _ = poll_fn(|cx| Poll::Ready(serving.as_mut().poll(cx))).await;
}

/// The stream of a request, until the last byte of the answer is out or nobody waits for it.
struct Stream {
    place: Place,
    step: Step,
}

#[derive(Clone, Copy)]
enum Step {
    Waiting,
    Asked,
    Told(Answered),
}

impl Stream {
    fn new(place: Place) -> Self {
        place.note_stream(|streams, _| streams.waits());
        Self { place, step: Step::Waiting }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let step = self.step;
        self.place.note_stream(|streams: &mut Streams, now| match step {
            Step::Waiting => streams.stops_waiting(now),
            Step::Asked => streams.is_given_up(now),
            Step::Told(answered) => streams.is_out(answered, now),
        });
    }
}

/// Answers one request.
async fn respond(
    mut stream: Stream,
    site: Arc<Site>,
    request: Request,
) -> Result<hyper::Response<Answer>, Infallible> {
    stream.place.admit_stream().await;
    stream.step = Step::Asked;
    let is_head = request.method() == Method::HEAD;
    let mut response = ask(&stream.place, &site, request).await;
    let bytes = response.body().size_hint().exact();
    if let Some(bytes) = bytes {
        let length = HeaderValue::from(bytes);
        response.headers_mut().entry(header::CONTENT_LENGTH).or_insert(length);
    }
    if is_head {
        *response.body_mut() = Body::empty(); // which hyper sees to in HTTP/1.1 alone
    }
    let told = stream.place.note_stream(|streams, now| streams.tells(bytes.unwrap_or(0), now));
    if let Some(told) = told {
        stream.step = Step::Told(told);
    }
    let stream = Arc::new(stream);
    Ok(response.map(|body| Answer { body, stream }))
}

/// An answer's text.
struct Answer {
    body: Body,
    stream: Arc<Stream>,
}

/// A part of the text. hyper takes all of it at once, and drops it when the last byte is out.
struct Part {
    bytes: Bytes,
    _stream: Arc<Stream>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let stream = &self.stream.clone();
        Pin::new(&mut self.body).poll_frame(cx).map_ok(|frame| {
            frame.map_data(|bytes| Bytes::from_owner(Part { bytes, _stream: Arc::clone(stream) }))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
