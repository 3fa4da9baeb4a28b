//! Limits on what a client may cost: one connection, and that not for ever.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};

/// A request's line and headers must be there this long after its first byte, and the first
/// request this long after the connection.
const HEAD: Duration = Duration::from_secs(10);
/// A connection may be silent between requests for so long: longer than any scrape interval.
const IDLE: Duration = Duration::from_secs(330);
/// A client must take some of an answer that is ready within this time.
const STALL: Duration = Duration::from_secs(30);
/// How often the limits are looked at.
const TICK: Duration = Duration::from_secs(1);

/// What a connection is at, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Connected, or part of a request's head has come.
    Head,
    /// The request is being answered.
    Request,
    /// The last answer has been written or is being written.
    Idle,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    since: Instant,
    /// The client takes nothing.
    stalled: Option<Instant>,
}

/// Watches one connection.
#[derive(Clone, Debug)]
pub(super) struct Guard(Arc<Mutex<State>>);

impl Guard {
    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn enter(&self, phase: Phase) {
        self.update(|state| (state.phase, state.since) = (phase, Instant::now()));
    }

    /// The head of a request is complete; the answer is ready when what is returned is dropped.
    pub(super) fn request(&self) -> impl Drop + use<> {
        struct UnderWay(Guard);
        impl Drop for UnderWay {
            fn drop(&mut self) {
                self.0.enter(Phase::Idle);
            }
        }
        self.enter(Phase::Request);
        UnderWay(self.clone())
    }

    /// Waits until a limit is passed; says which.
    pub(super) async fn expired(&self) -> &'static str {
        loop {
            tokio::time::sleep(TICK).await;
            let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if state.stalled.is_some_and(|since| since.elapsed() > STALL) {
                return "the client takes no answer";
            }
            match state.phase {
                Phase::Head if state.since.elapsed() > HEAD => return "the request is slow",
                Phase::Idle if state.since.elapsed() > IDLE => return "idle",
                _ => {}
            }
        }
    }
}

/// Puts a guard on a connection.
pub(super) fn guard(stream: TcpStream) -> (Guarded, Guard) {
    let state = State { phase: Phase::Head, since: Instant::now(), stalled: None };
    let guard = Guard(Arc::new(Mutex::new(state)));
    (Guarded { stream, guard: guard.clone() }, guard)
}

/// A connection that tells its guard what comes and goes.
#[derive(Debug)]
pub(super) struct Guarded {
    stream: TcpStream,
    guard: Guard,
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.guard.update(|state| {
                if state.phase == Phase::Idle {
                    (state.phase, state.since) = (Phase::Head, Instant::now());
                }
            });
        }
        Poll::Ready(Ok(()))
    }
}

impl Guarded {
    fn wrote<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.guard.update(|state| {
            state.stalled =
                if polled.is_pending() { state.stalled.or(Some(Instant::now())) } else { None };
        });
        polled
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
