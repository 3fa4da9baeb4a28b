//! How `/proc/self/mountstats` is written.

use crate::{parse::number, prelude::*};
use std::ops::RangeInclusive;

/// The words of a line, which need not be UTF-8.
pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// The mounts of the file, in its order.
pub(super) struct Mounts<'a>(pub(super) &'a [u8]);

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
        while !self.0.is_empty() {
            let (head, rest) = split(self.0);
            self.0 = rest;
            if !begins(head) {
                continue;
            }
            let mut after = rest;
            while !after.is_empty() {
                let (line, next) = split(after);
                if begins(line) {
                    break;
                }
                after = next;
            }
            self.0 = after;
            let body = rest.get(..rest.len() - after.len()).unwrap_or_default();
            return Some(Block { head, body });
        }
        None
    }
}

/// A mount of any kind.
pub(super) struct Block<'a> {
    head: &'a [u8],
    body: &'a [u8],
}

/// An NFS mount.
#[derive(Debug)]
pub(super) struct Mount<'a> {
    pub(super) device: &'a [u8],
    pub(super) point: &'a [u8],
    /// Of the format: `1.0` or `1.1`.
    pub(super) version: &'a [u8],
    body: &'a [u8],
}

impl<'a> Block<'a> {
    /// `None` for what has no statistics.
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
        Some(Mount { device, point, version, body: self.body })
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
    pub(super) fn lines(
        &self,
    ) -> impl Iterator<Item = Result<Line<'a, std::str::SplitAsciiWhitespace<'a>>, Malformed>> + use<'a>
    {
        let mut operations = false;
        self.body.split(|&byte| byte == b'\n').map(move |line| {
            let line = std::str::from_utf8(line)
                .map_err(|_| Malformed::new("text", &String::from_utf8_lossy(line)))?;
            let mut words = line.split_ascii_whitespace();
            Ok(match words.next() {
                Some(name) if operations => {
                    Line::Operation(name.strip_suffix(':').unwrap_or(name), words)
                }
                Some("age:") => Line::Age(words),
                Some("bytes:") => Line::Bytes(words),
                Some("events:") => Line::Events(words),
                Some("xprt:") => Line::Transport(words),
                Some("per-op") => {
                    operations = true;
                    Line::Other
                }
                None | Some(_) => Line::Other,
            })
        })
    }
}

/// Place of a transport's idle time.
pub(super) const IDLE: usize = 4;

/// Places of an operation's times.
pub(super) const MILLISECONDS: RangeInclusive<usize> = 5..=7;

/// A transport's protocol and numbers, in the places of TCP's.
pub(super) fn transport<'a>(
    version: &[u8],
    mut words: impl Words<'a>,
) -> Result<(&'a str, [u64; 13]), Malformed> {
    let protocol = words.word("protocol")?;
    let (least, most) = match (version, protocol) {
        (b"1.0", "udp") => (7, 7),
        (b"1.0", "tcp") | (b"1.1", "udp") => (10, 10),
        (b"1.1", "tcp") => (13, 13),
        // What follows is RDMA's own, and no queues.
        (b"1.1", "rdma") => (20, 10),
        _ => return Err(Malformed::new("protocol", protocol)),
    };
    let mut values = [0; 13];
    let mut count = 0;
    for word in words {
        let value = number("value", word)?;
        // UDP has neither connections nor their times, which come after the second.
        let place = if protocol == "udp" && count >= 2 { count + 3 } else { count };
        if count < most
            && let Some(at) = values.get_mut(place)
        {
            *at = value;
        }
        count += 1;
    }
    if count < least {
        Err(Malformed::new("number of values", protocol))
    } else {
        Ok((protocol, values))
    }
}
