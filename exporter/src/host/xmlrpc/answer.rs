//! The answer to a question in HTTP.

use super::Error;
use std::ops::Range;

/// Headers that an answer may have.
const HEADERS: usize = 64;

/// Where the body stands in `bytes`, once all of it is there; `is_all` says that nothing follows.
///
/// # Errors
/// The bytes are no answer of HTTP, or one that refuses, or they end early.
pub(super) fn body(bytes: &[u8], is_all: bool) -> Result<Option<Range<usize>>, Error> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(bytes).map_err(|_| Error::Answer("is no HTTP"))?;
    let httparse::Status::Complete(begin) = parsed else {
        return if is_all { Err(Error::Answer("ends early")) } else { Ok(None) };
    };
    let status = response.code.unwrap_or_default();
    if !(200..300).contains(&status) {
        return Err(Error::Status(status));
    }
    let header = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    if header("Transfer-Encoding").is_some() {
        return Err(Error::Answer("is in chunks, which HTTP/1.0 does not have"));
    }
    let end = match header("Content-Length").map(|length| length.trim().parse::<usize>()) {
        Some(Ok(length)) => begin.checked_add(length).ok_or(Error::Answer("is too long"))?,
        Some(Err(_)) => return Err(Error::Answer("has a length that is no number")),
        None if is_all => bytes.len(),
        None => return Ok(None),
    };
    match end {
        end if end <= bytes.len() => Ok(Some(begin..end)),
        _ if is_all => Err(Error::Answer("ends early")),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_waited_for() {
        let text = b"HTTP/1.1 200 OK\r\nX: y\r\ncontent-length:  4 \r\n\r\nbody";
        for length in 0..text.len() {
            assert!(matches!(body(&text[..length], false), Ok(None)), "{length}");
            assert!(matches!(body(&text[..length], true), Err(Error::Answer("ends early"))));
        }
        let range = body(text, false).unwrap().unwrap();
        assert_eq!(&text[range], b"body");
    }

    #[test]
    fn odd_answers_are_refused() {
        for (text, want) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "no number"),
            ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "no number"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n", "too long"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "chunks"),
            ("HTTP/1.1 500 no\r\nTransfer-Encoding: chunked\r\n\r\n", "status 500"),
            ("\x16\x03\x01", "no HTTP"),
        ] {
            let error = body(text.as_bytes(), false).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(HEADERS + 1));
        assert!(body(many.as_bytes(), true).is_err());
    }
}
