//! The addresses that the exporter listens on, read and bound as Go's `net.Listen` does.

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, ipproto::TCP, netdevice, socket_with, sockopt,
};
use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, ToSocketAddrs as _},
};

/// Connections that wait to be accepted; the kernel allows no more than `net.core.somaxconn`.
pub(super) const BACKLOG: i32 = 4096;

/// One `--web.listen-address`, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address<'a> {
    /// An address or a name; empty for every address.
    host: &'a str,
    /// The interface of a link-local address.
    zone: Option<&'a str>,
    /// A number or the name of a service.
    port: Port<'a>,
}

#[derive(Debug, PartialEq, Eq)]
enum Port<'a> {
    Number(u16),
    Name(&'a str),
}

impl<'a> Address<'a> {
    /// Reads `:9100`, `host:9100`, `192.0.2.1:9100`, `[2001:db8::1]:9100` or
    /// `[fe80::1%eth0]:9100`; a port may also be the name of a service.
    ///
    /// # Errors
    /// A sentence with the correction.
    pub(super) fn parse(text: &'a str) -> Result<Self, String> {
        if text.contains("://") {
            return Err("an address is written without a scheme, as :9100 or host:9100".into());
        }
        if text.parse::<u16>().is_ok() {
            return Err(format!("a port is written behind a colon: :{text}"));
        }
        let wrong = |what: &str| Err(format!("{what}: write {}", suggestion(text)));
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => match rest.split_once(']') {
                None => return wrong("a bracket is not closed"),
                Some((host, tail)) => match tail.strip_prefix(':') {
                    Some(port) => (host, port),
                    None => return wrong("the port is missing"),
                },
            },
            None => match text.rsplit_once(':') {
                None => return wrong("the port is missing"),
                Some((host, _)) if host.contains(':') => {
                    return wrong("an IPv6 address stands in brackets");
                }
                Some(parts) => parts,
            },
        };
        if host.contains(['[', ']']) || port.contains(['[', ']', ':']) {
            return Err("it is no address such as :9100, host:9100 or [2001:db8::1]:9100".into());
        }
        if port.is_empty() {
            return wrong("the port is missing");
        }
        let (host, zone) = match host.split_once('%') {
            Some((host, zone)) if text.starts_with('[') => (host, Some(zone)),
            _ => (host, None),
        };
        let port = match port.parse() {
            Ok(number) => Port::Number(number),
            Err(_) if port.strip_prefix(['+', '-']).unwrap_or(port).parse::<f64>().is_ok() => {
                return Err(format!("{port} is no port: ports are numbers from 0 to 65535"));
            }
            Err(_) => Port::Name(port),
        };
        Ok(Self { host, zone, port })
    }

    /// The address to bind; the unspecified IPv6 address stands for every address of both families.
    fn resolve(&self) -> Result<SocketAddr, String> {
        let port = match self.port {
            Port::Number(number) => number,
            Port::Name(name) => service(name)?,
        };
        if self.host.is_empty() {
            return Ok((Ipv6Addr::UNSPECIFIED, port).into());
        }
        match (self.host.parse::<IpAddr>(), self.zone) {
            (Ok(IpAddr::V6(address)), Some(zone)) => {
                let zone = interface(zone)?;
                Ok(SocketAddrV6::new(address, port, 0, zone).into())
            }
            (_, Some(zone)) => Err(format!("only an IPv6 address has a zone such as %{zone}")),
            // An IPv4 address in IPv6's notation is that of IPv4.
            (Ok(address), None) => Ok((address.to_canonical(), port).into()),
            (Err(_), None) => {
                let mut all: Vec<SocketAddr> = ((self.host, port).to_socket_addrs())
                    .map_err(|error| format!("lookup {}: {error}", self.host))?
                    .collect();
                all.sort_by_key(SocketAddr::is_ipv6); // IPv4 first, as in Go
                all.first().copied().ok_or_else(|| format!("lookup {}: no such host", self.host))
            }
        }
    }
}

/// An address to write instead of a wrong one.
fn suggestion(text: &str) -> String {
    let whole = text.trim_matches(['[', ']', ':']);
    if let Some((host, port)) = text.rsplit_once(':')
        && !port.is_empty()
        && host.parse::<Ipv6Addr>().is_ok()
    {
        return format!("[{host}]:{port}");
    }
    match text.trim_matches(['[', ']']).parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]:9100"),
        Err(_) if whole.is_empty() || whole.contains([':', '[', ']']) => {
            ":9100, host:9100 or [2001:db8::1]:9100".into()
        }
        Err(_) => format!("{whole}:9100"),
    }
}

/// The port of a TCP service, from `/etc/services`.
fn service(name: &str) -> Result<u16, String> {
    #[expect(clippy::disallowed_methods, reason = "the exporter's own machine, not the one seen")]
    let services = std::fs::read("/etc/services").unwrap_or_default();
    port_of(name, &String::from_utf8_lossy(&services))
        .or(match name {
            // These two are known even without the file.
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        })
        .ok_or_else(|| format!("unknown port {name:?}: it is no number and not in /etc/services"))
}

fn port_of(name: &str, services: &str) -> Option<u16> {
    services.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let (first, port) = (words.next()?, words.next()?.strip_suffix("/tcp")?);
        let known = std::iter::once(first).chain(words).any(|n| n.eq_ignore_ascii_case(name));
        known.then(|| port.parse().ok())?
    })
}

/// The index of an interface by its name or number.
fn interface(zone: &str) -> Result<u32, String> {
    socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .and_then(|socket| netdevice::name_to_index(socket, zone))
        .or_else(|error| zone.parse().map_err(|_| error))
        .map_err(|_| format!("there is no interface {zone:?}"))
}

/// Binds one `--web.listen-address`: `:9100`, `0.0.0.0:9100` and `[::]:9100` are every address of
/// both families, a host name its first address, IPv4 before IPv6.
///
/// # Errors
/// The text is no address, or the address cannot be bound.
pub(super) fn bind(address: &str) -> Result<TcpListener, String> {
    let wrong = |error: &dyn fmt::Display| format!("listen tcp {address}: {error}");
    let to = Address::parse(address).and_then(|parsed| parsed.resolve());
    let to = to.map_err(|error| wrong(&error))?;
    let listener = if to.ip().is_unspecified() {
        match listen((Ipv6Addr::UNSPECIFIED, to.port()).into()) {
            // The kernel has no IPv6.
            Err(error) if is_without_family(&error) => {
                listen((Ipv4Addr::UNSPECIFIED, to.port()).into())
            }
            other => other,
        }
    } else {
        listen(to)
    };
    listener.map_err(|error| wrong(&reason(&error)))
}

fn is_without_family(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// A listening socket of one family; the unspecified IPv6 address takes IPv4 connections, too,
/// whatever `net.ipv6.bindv6only` is.
fn listen(to: SocketAddr) -> io::Result<TcpListener> {
    let family = if to.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(TCP))?;
    if to.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, !to.ip().is_unspecified())?;
    }
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &to)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// The reason why an address cannot be bound, with a remedy.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "address already in use".into(),
        io::ErrorKind::AddrNotAvailable => "no interface has this address".into(),
        io::ErrorKind::PermissionDenied => {
            "permission denied: a port below 1024 takes CAP_NET_BIND_SERVICE".into()
        }
        _ if error.raw_os_error() == Some(libc::EMFILE) => {
            "too many open files: raise the limit (ulimit -n, LimitNOFILE= of a unit)".into()
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        for (text, host, zone, port) in [
            (":9100", "", None, Port::Number(9100)),
            (":0", "", None, Port::Number(0)),
            ("127.0.0.1:1", "127.0.0.1", None, Port::Number(1)),
            ("host.example:65535", "host.example", None, Port::Number(65535)),
            ("[::]:9100", "::", None, Port::Number(9100)),
            ("[fe80::1%eth0]:9100", "fe80::1", Some("eth0"), Port::Number(9100)),
            ("[]:9100", "", None, Port::Number(9100)),
            (":http-alt", "", None, Port::Name("http-alt")),
            ("localhost:https", "localhost", None, Port::Name("https")),
        ] {
            assert_eq!(Address::parse(text), Ok(Address { host, zone, port }), "{text}");
        }
    }

    #[test]
    fn wrong_addresses_are_answered_with_a_correction() {
        for (text, said) in [
            ("9400", "a port is written behind a colon: :9400"),
            ("::1:9400", "an IPv6 address stands in brackets: write [::1]:9400"),
            ("2001:db8::1", "an IPv6 address stands in brackets: write [2001:db8::1]:9100"),
            ("fe80::1:80", "an IPv6 address stands in brackets: write [fe80::1]:80"),
            (":99999", "99999 is no port: ports are numbers from 0 to 65535"),
            ("host:-1", "-1 is no port: ports are numbers from 0 to 65535"),
            ("host:1.5", "1.5 is no port: ports are numbers from 0 to 65535"),
            ("localhost", "the port is missing: write localhost:9100"),
            ("127.0.0.1", "the port is missing: write 127.0.0.1:9100"),
            ("localhost:", "the port is missing: write localhost:9100"),
            ("[::1]", "the port is missing: write [::1]:9100"),
            ("[::1", "a bracket is not closed: write [::1]:9100"),
            ("", "the port is missing: write :9100, host:9100 or [2001:db8::1]:9100"),
            (":", "the port is missing: write :9100, host:9100 or [2001:db8::1]:9100"),
            ("http://x:9100", "an address is written without a scheme, as :9100 or host:9100"),
            (
                "a:b:9100",
                "an IPv6 address stands in brackets: write :9100, host:9100 or [2001:db8::1]:9100",
            ),
            ("[::1]]:9", "the port is missing: write :9100, host:9100 or [2001:db8::1]:9100"),
            ("a]:9", "it is no address such as :9100, host:9100 or [2001:db8::1]:9100"),
        ] {
            assert_eq!(Address::parse(text).unwrap_err(), said, "{text}");
        }
    }

    #[test]
    fn services_have_ports() {
        let services =
            "# http-alt 1/tcp\nhttp-alt 8080/udp\nhttp-alt\t8080/tcp\twebcache # x\nbad\nx y/tcp\n";
        assert_eq!(port_of("http-alt", services), Some(8080));
        assert_eq!(port_of("HTTP-alt", services), Some(8080));
        assert_eq!(port_of("webcache", services), Some(8080));
        for name in ["x", "bad", "#", ""] {
            assert_eq!(port_of(name, services), None, "{name}");
        }
        assert_eq!(service("https"), Ok(443));
        assert!(service("no-such-service").unwrap_err().contains("no-such-service"));
    }

    #[test]
    fn every_address_is_of_both_families() {
        for address in [":0", "[::]:0", "0.0.0.0:0"] {
            let listener = bind(address).unwrap();
            let port = listener.local_addr().unwrap().port();
            listener.set_nonblocking(false).unwrap();
            std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            listener.accept().unwrap();
            // The port is taken in both families, in whichever form the second listener asks for
            // it.
            for other in [":", "[::]:", "0.0.0.0:", "127.0.0.1:"] {
                let error = bind(&format!("{other}{port}")).unwrap_err();
                assert_eq!(error, format!("listen tcp {other}{port}: address already in use"));
            }
        }
    }

    #[test]
    fn an_ipv4_address_in_ipv6_notation_is_of_ipv4() {
        for address in ["[::ffff:127.0.0.1]:0", "[::ffff:7f00:1]:0"] {
            let listener = bind(address).unwrap();
            assert_eq!(listener.local_addr().unwrap().ip(), Ipv4Addr::LOCALHOST);
        }
    }

    #[test]
    fn a_port_taken_in_one_family_is_taken() {
        let there = listen((Ipv4Addr::UNSPECIFIED, 0).into()).unwrap();
        let port = there.local_addr().unwrap().port();
        assert!(bind(&format!(":{port}")).unwrap_err().ends_with("address already in use"));
    }

    #[test]
    fn interfaces_have_numbers() {
        assert_eq!(interface("lo"), Ok(1));
        assert_eq!(interface("7"), Ok(7));
        assert!(interface("none").unwrap_err().contains("none"));
        assert!(bind("[fe80::1%none]:0").unwrap_err().contains("there is no interface"));
        assert!(bind("[127.0.0.1%lo]:0").unwrap_err().contains("only an IPv6 address"));
    }
}
