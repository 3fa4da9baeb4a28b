//! The format of `/proc/self/mountstats`.

use crate::{parse::decimal, prelude::*};
use std::ops::RangeInclusive;

/// The words of a line, which need not be UTF-8.
pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// The mounts of the file, in its order.
pub(super) struct Mounts<'a> {
    rest: &'a [u8],
    /// The number of lines before the rest.
    lines: usize,
}

impl<'a> Mounts<'a> {
    pub(super) const fn new(text: &'a [u8]) -> Self {
        Self { rest: text, lines: 0 }
    }
}

/// The first line, with its end, and the rest.
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b'\n', text).map_or(text.len(), |end| end + 1);
    text.split_at_checked(end).unwrap_or_default()
}

/// Whether a line begins a mount; the others are indented.
fn begins(line: &[u8]) -> bool {
    line.starts_with(b"device ") || line.starts_with(b"no device ")
}

impl<'a> Iterator for Mounts<'a> {
    type Item = Block<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let (head, rest) = split(self.rest);
            self.rest = rest;
            self.lines += 1;
            if !begins(head) {
                continue;
            }
            let line = self.lines;
            let mut after = rest;
            while !after.is_empty() {
                let (next, behind) = split(after);
                if begins(next) {
                    break;
                }
                self.lines += 1;
                after = behind;
            }
            self.rest = after;
            let body = rest.get(..rest.len() - after.len()).unwrap_or_default();
            return Some(Block { line, head, body });
        }
        None
    }
}

/// A mount of any kind.
pub(super) struct Block<'a> {
    /// The number of the first line.
    line: usize,
    head: &'a [u8],
    body: &'a [u8],
}

/// An NFS mount.
#[derive(Debug)]
pub(super) struct Mount<'a> {
    pub(super) device: &'a [u8],
    pub(super) point: &'a [u8],
    /// The version of the format: `1.0` or `1.1`.
    pub(super) version: &'a [u8],
    line: usize,
    body: &'a [u8],
}

impl<'a> Block<'a> {
    /// `None` for a mount that has no statistics.
    pub(super) fn nfs(&self) -> Option<Mount<'a>> {
        let mut words = words(self.head);
        let words: [&[u8]; 9] = std::array::from_fn(|_| words.next().unwrap_or_default());
        let [
            b"device",
            device,
            b"mounted",
            b"on",
            point,
            b"with",
            b"fstype",
            b"nfs" | b"nfs4",
            version,
        ] = words
        else {
            return None;
        };
        let version = version.strip_prefix(b"statvers=")?;
        Some(Mount { device, point, version, line: self.line, body: self.body })
    }
}

/// A line of a mount's statistics.
pub(super) enum Line<'a, W> {
    Age(W),
    Bytes(W),
    Events(W),
    Transport(W),
    /// With its name.
    Operation(&'a str, W),
    Other,
}

impl<'a> Mount<'a> {
    /// The lines, each with its number in the file.
    pub(super) fn lines(
        &self,
    ) -> impl Iterator<
        Item = (usize, Result<Line<'a, std::str::SplitAsciiWhitespace<'a>>, Malformed>),
    > + use<'a> {
        let mut operations = false;
        let lines = self.body.split(|&byte| byte == b'\n');
        (self.line + 1..)
            .zip(lines)
            .map(move |(number, line)| (number, read(line, &mut operations)))
    }
}

/// Reads a line; `operations` says whether the lines of operations have begun.
fn read<'a>(
    line: &'a [u8],
    operations: &mut bool,
) -> Result<Line<'a, std::str::SplitAsciiWhitespace<'a>>, Malformed> {
    let malformed = |what| Malformed::new(what, &String::from_utf8_lossy(line));
    let text = std::str::from_utf8(line).map_err(|_| malformed("text"))?;
    let mut words = text.split_ascii_whitespace();
    Ok(match words.next() {
        Some(name) if *operations => {
            let name = name.strip_suffix(':').ok_or_else(|| malformed("operation"))?;
            Line::Operation(name, words)
        }
        Some("age:") => Line::Age(words),
        Some("bytes:") => Line::Bytes(words),
        Some("events:") => Line::Events(words),
        Some("xprt:") => Line::Transport(words),
        Some("per-op") => {
            *operations = true;
            Line::Other
        }
        None | Some(_) => Line::Other,
    })
}

/// Place of a transport's idle time.
pub(super) const IDLE: usize = 4;

/// The places of an operation's times.
pub(super) const MILLISECONDS: RangeInclusive<usize> = 5..=7;

/// A number of a line; `None` where it is malformed.
pub(super) type Value = Option<f64>;

/// Times are unsigned in the file, though the kernel's differences can be negative: as upstream, a
/// time above the integers that a sample holds exactly begins anew at 0.
const EXACT: u64 = 1 << 53;

/// A time, which begins anew at 2^53.
pub(super) fn time(word: &str) -> Result<f64, Malformed> {
    match word.parse::<u64>() {
        Ok(time) => Ok((time % EXACT) as f64),
        Err(_) => decimal("value", word),
    }
}

/// Reads the numbers of a line into `values`; `is_time` tells whether a place has a time.
pub(super) fn numbers<'a>(
    mut words: impl Words<'a>,
    is_time: impl Fn(usize) -> bool,
    values: &mut [Value],
) -> Result<(), Malformed> {
    let mut faults = Faults::default();
    for (place, value) in values.iter_mut().enumerate() {
        let word = words.word("value");
        *value = faults.keep(
            word.and_then(|word| if is_time(place) { time(word) } else { decimal("value", word) }),
        );
    }
    faults.end()
}

/// Reads a transport's numbers into `values`, at the places that TCP gives them; numbers of an
/// unknown protocol are left out.
pub(super) fn transport<'a>(
    version: &[u8],
    protocol: &str,
    words: impl Iterator<Item = &'a str> + Clone,
    values: &mut [Value; 13],
) -> Result<(), Malformed> {
    let (least, most) = match (version, protocol) {
        (b"1.0", "udp") => (7, 7),
        (b"1.0", "tcp") | (b"1.1", "udp") => (10, 10),
        (b"1.1", "tcp") => (13, 13),
        // Behind the tenth, RDMA has other numbers than TCP.
        (b"1.1", "rdma") => (20, 10),
        _ => return Ok(()),
    };
    if words.clone().count() < least {
        return Err(Malformed::new("number of values", protocol));
    }
    *values = [Some(0.0); 13];
    let mut faults = Faults::default();
    for (count, word) in words.take(most).enumerate() {
        // UDP lacks the third to the fifth number of TCP, which tell of connections.
        let place = if protocol == "udp" && count >= 2 { count + 3 } else { count };
        let value = if place == IDLE { time(word) } else { decimal("value", word) };
        if let Some(at) = values.get_mut(place) {
            *at = faults.keep(value);
        }
    }
    faults.end()
}
