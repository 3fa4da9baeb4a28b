//! The addresses that the exporter listens on.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};

/// Binds one `--web.listen-address`: `:9100` is every address of both families, a host name
/// its first address, IPv4 before IPv6.
///
/// # Errors
/// It is no address, or cannot be bound.
pub fn bind(address: &str) -> Result<TcpListener, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("listen tcp {address}: {error}");
    let listener = match address.strip_prefix(':') {
        Some(port) => {
            let port: u16 = port.parse().map_err(|_| wrong(&"no port number"))?;
            TcpListener::bind(SocketAddr::from(([0_u16; 8], port)))
                .or_else(|_| TcpListener::bind(SocketAddr::from(([0_u8; 4], port))))
        }
        None => {
            let mut all: Vec<SocketAddr> =
                address.to_socket_addrs().map_err(|error| wrong(&error))?.collect();
            all.sort_by_key(SocketAddr::is_ipv6);
            TcpListener::bind(all.first().ok_or_else(|| wrong(&"no such host"))?)
        }
    };
    let listener = listener.map_err(|error| wrong(&error))?;
    listener.set_nonblocking(true).map_err(|error| wrong(&error))?;
    Ok(listener)
}
