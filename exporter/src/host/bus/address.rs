//! Where a bus listens.

use super::Wrong;
use rustix::net::SocketAddrUnix;
use std::fmt;

/// Where to connect to: addresses of the form `unix:path=…` or `unix:abstract=…`, with `;` between
/// them, which are tried in turn (the D-Bus Specification, "Server Addresses").
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A bus, which passes calls on to services.
    Bus(String),
    /// A service, which answers without a bus between.
    Service(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl Address {
    /// systemd, which answers root alone there.
    #[must_use]
    pub fn systemd() -> Self {
        Self::Service("unix:path=/run/systemd/private".to_owned())
    }

    fn text(&self) -> &str {
        let (Self::Bus(text) | Self::Service(text)) = self;
        text
    }

    /// The sockets, in the order in which they are to be tried.
    pub(super) fn sockets(&self) -> impl Iterator<Item = Result<SocketAddrUnix, Wrong>> {
        let all = self.text().split(';').filter(|one| !one.is_empty());
        all.map(|one| socket(one).ok_or_else(|| wrong(one)))
    }
}

fn wrong(address: &str) -> Wrong {
    Wrong::Address(address.to_owned())
}

/// The socket of one address.
fn socket(address: &str) -> Option<SocketAddrUnix> {
    let pairs = address.strip_prefix("unix:")?.split(',').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find_map(|(key, value)| match key {
        "path" => SocketAddrUnix::new(unescape(value)?).ok(),
        "abstract" => SocketAddrUnix::new_abstract_name(&unescape(value)?).ok(),
        _ => None,
    })
}

/// Bytes that are not letters, digits or `-_/.\*` are written as `%` and two hexadecimal digits.
fn unescape(value: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut rest) = (Vec::with_capacity(value.len()), value);
    while let Some((plain, escaped)) = rest.split_once('%') {
        bytes.extend(plain.as_bytes());
        let (digits, after) = escaped.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    bytes.extend(rest.as_bytes());
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sockets of an address; `None` where it is wrong.
    fn sockets(address: &str) -> Vec<Option<String>> {
        let name = |socket: SocketAddrUnix| {
            let path = socket.path_bytes().map(|path| String::from_utf8_lossy(path).into_owned());
            let hidden = socket.abstract_name().map(|name| format!("@{}", name.escape_ascii()));
            path.or(hidden)
        };
        Address::Bus(address.into()).sockets().map(|socket| socket.ok().and_then(name)).collect()
    }

    #[test]
    fn addresses_are_tried_in_turn() {
        let some = |name: &str| Some(name.to_owned());
        for (address, want) in [
            ("unix:path=/run/bus", vec![some("/run/bus")]),
            ("unix:abstract=/a%20b,guid=0123", vec![some("@/a b")]),
            ("unix:guid=0123,path=/x;unix:path=/y;", vec![some("/x"), some("/y")]),
            ("tcp:host=a,port=1;unix:path=/y", vec![None, some("/y")]),
            ("unix:path=%zz", vec![None]),
            ("unix:path=/%ü", vec![None]),
            ("unix:tmpdir=/tmp", vec![None]),
            ("/run/bus", vec![None]),
            ("", vec![]),
        ] {
            assert_eq!(sockets(address), want, "{address}");
        }
        let long = format!("unix:path=/{}", "x".repeat(200));
        assert_eq!(sockets(&long), [None]);
        assert_eq!(Address::systemd().sockets().flatten().count(), 1);
    }
}
