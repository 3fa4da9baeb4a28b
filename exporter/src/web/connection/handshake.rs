//! The TLS handshake that a connection begins with, where TLS is configured.

use super::{
    Place, State,
    wire::{Session, Socket, read_piece},
};
use crate::web::guard::{Guard, Handshake};
use bytes::Bytes;
use std::{io, time::Duration};
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::{LazyConfigAcceptor, rustls::server::Acceptor};

/// Bytes of a TLS record's head: enough to tell a client that speaks HTTP.
const FIRST: usize = 5;
/// Files that are being replaced may not fit each other, or not be whole: they are tried again
/// before a client is refused.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(100);
/// A record that says `internal_error`, in the form that every version reads before a cipher is
/// agreed on.
const INTERNAL_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];
/// The answer to a client that speaks HTTP, in Go's words.
const NOT_TLS: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// Shakes hands; None where the connection is to be closed instead.
pub(super) async fn shake(place: &Place, guard: &Guard) -> Session {
    let mut first = Vec::new();
    let ended = tokio::select! {
        begun = begin(place, &mut first) => begun.err(),
        reason = place.overdue(true) => Some(io::Error::other(reason)),
    };
    let shaken = match ended {
        Some(error) => Err(error),
        None => tokio::select! {
            shaken = go_on(place, guard, first.into()) => shaken,
            reason = place.overdue(true) => Err(io::Error::other(reason)),
        },
    };
    match shaken {
        Ok(session) => {
            place.note(State::greeted);
            session
        }
        Err(error) => {
            tracing::debug!(%error, "no TLS handshake");
            None
        }
    }
}

/// Reads until it is clear which protocol the client speaks.
async fn begin(place: &Place, first: &mut Vec<u8>) -> io::Result<()> {
    while first.len() < FIRST {
        place.stream().readable().await?;
        let mut piece = [0; 1 << 10]; // gone before the next await
        match read_piece(place, &mut piece) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => {
                place.note(State::came);
                first.extend_from_slice(piece.get(..len).unwrap_or_default());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether a client begins as one does that does not know of TLS here.
fn is_http(first: &[u8]) -> bool {
    [&b"GET /"[..], b"HEAD ", b"POST ", b"PUT /", b"OPTIO"].iter().any(|m| first.starts_with(m))
}

async fn go_on(place: &Place, guard: &Guard, first: Bytes) -> io::Result<Session> {
    let plain = is_http(&first);
    let mut socket = Socket::new(place.clone(), first);
    if plain {
        socket.write_all(NOT_TLS).await?;
        return Ok(None);
    }
    let start = LazyConfigAcceptor::new(Acceptor::default(), socket);
    let start = start.await?;
    let Some(Handshake { server, needs_certificate }) = settings(guard).await else {
        let mut socket = Socket::new(place.clone(), Bytes::new());
        socket.write_all(&INTERNAL_ERROR).await?;
        return Ok(None);
    };
    let stream = start.into_stream(server).await?;
    if needs_certificate && stream.get_ref().1.peer_certificates().is_none() {
        tracing::debug!("the client shows no certificate, and needs one with an allowed name");
        return Ok(None);
    }
    Ok(Some(Box::new(stream)))
}

/// The settings of this handshake, if they can be had within a second.
async fn settings(guard: &Guard) -> Option<Handshake> {
    let mut tries = 0;
    loop {
        tries += 1;
        match guard.handshake() {
            Ok(handshake) => {
                guard.hear_of_handshake(None);
                return Some(handshake);
            }
            Err(error) if tries >= TRIES => {
                guard.hear_of_handshake(Some(&error));
                return None;
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_that_do_not_know_of_tls_are_told() {
        for (first, plain) in [
            (&b"GET / HTTP/1.1"[..], true),
            (b"POST /", true),
            (b"OPTIO", true),
            (b"\x16\x03\x01\x02\x00", false),
            (b"PRI *", false),
            (b"GET h", false),
        ] {
            assert_eq!(is_http(first), plain, "{:?}", String::from_utf8_lossy(first));
        }
    }
}
