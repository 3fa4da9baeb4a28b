//! Addresses of interfaces, over rtnetlink (`RTM_GETADDR`).

use crate::{
    exposition::Label,
    host::netlink::{Address, Error, Links, Socket, Step},
    prelude::*,
};
use std::{fmt::Write as _, net::IpAddr};

static ADDRESS: Metric<4> = gauge("node_network_address_info", "node network address by device")
    .by(["address", "device", "netmask", "scope"]);

/// The addresses of the last dump, and the socket for it.
#[derive(Default)]
pub(super) struct Addresses {
    socket: Socket,
    found: Vec<Address>,
}

impl Addresses {
    /// Puts the addresses of the `links` that `filter` keeps.
    pub(super) fn collect(&mut self, links: &Links, filter: &Filter, out: &mut Sink) -> Result {
        let Self { socket, found } = self;
        found.clear();
        let mut begin = 0;
        let dumped = socket.addresses(|step| match step {
            Step::Start => begin = found.len(),
            Step::Item(address) => found.push(address),
        });
        match dumped {
            Ok(()) => drop(found.drain(..begin)),
            // Interfaces come and go all the time: an address missed by one dump is found in
            // another.
            Err(Error::Interrupted { .. }) => {
                found.sort_unstable();
                found.dedup();
            }
            Err(error) => return Err(error.into()),
        }
        for address in &*found {
            if let Some(link) = links.get(address.ifindex)
                && filter.keeps(&String::from_utf8_lossy(&link.name))
            {
                put(&link.name, address, out);
            }
        }
        Ok(())
    }
}

/// An address as the value of a label.
struct Shown(IpAddr);

impl Label for Shown {
    fn append(&self, text: &mut String) {
        let _ = write!(text, "{}", self.0); // a String takes everything
    }
}

fn put(device: &[u8], address: &Address, out: &mut Sink) {
    let ip = address.ip.to_canonical();
    let netmask = if ip.is_ipv4() && address.ip.is_ipv6() {
        address.prefix_length.saturating_sub(96) // of an IPv4 address within IPv6
    } else {
        address.prefix_length
    };
    out.put(&ADDRESS, [&Shown(ip), &device, &netmask, &scope(ip)], 1);
}

/// The scope as `node_exporter` derives it from the address, which is not the kernel's scope.
fn scope(ip: IpAddr) -> &'static str {
    let (link, interface, broadcast) = match ip {
        IpAddr::V4(ip) => {
            let local_multicast = matches!(ip.octets(), [224, 0, 0, _]);
            (ip.is_link_local() || local_multicast, false, ip.is_broadcast())
        }
        IpAddr::V6(ip) => {
            let [first, second, ..] = ip.octets();
            let multicast = |scope| first == 0xff && second & 0xf == scope;
            (ip.is_unicast_link_local() || multicast(2), multicast(1), false)
        }
    };
    if ip.is_loopback() || link {
        "link-local"
    } else if interface {
        "interface-local"
    } else if ip.is_unspecified() || ip.is_multicast() || broadcast {
        ""
    } else {
        "global"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::samples;

    #[test]
    fn addresses_are_told_with_their_scope() {
        let put = |ip: &str, prefix_length| {
            let ip = ip.parse().unwrap();
            samples(|out| {
                put(b"x", &Address { ifindex: 1, scope: 0, prefix_length, ip }, out);
            })
        };
        assert_eq!(
            put("10.1.2.3", 24),
            "node_network_address_info{address=\"10.1.2.3\",device=\"x\",netmask=\"24\",scope=\"global\"} 1\n"
        );
        assert!(
            put("::ffff:10.1.2.3", 120)
                .contains("{address=\"10.1.2.3\",device=\"x\",netmask=\"24\"")
        );
        for (ip, want) in [
            ("127.0.0.1", "link-local"),
            ("169.254.1.1", "link-local"),
            ("224.0.0.1", "link-local"),
            ("239.0.0.1", ""),
            ("255.255.255.255", ""),
            ("0.0.0.0", ""),
            ("::1", "link-local"),
            ("fe80::1", "link-local"),
            ("ff02::1", "link-local"),
            ("ff01::1", "interface-local"),
            ("ff05::1", ""),
            ("fd00::1", "global"),
        ] {
            assert_eq!(scope(ip.parse().unwrap()), want, "{ip}");
        }
    }
}
