//! Addresses of interfaces: `RTM_GETADDR`, `struct ifaddrmsg`.
//!
//! Parsed here and not by netlink-packet-route, which refuses a message whose label is not UTF-8:
//! an interface may have such a name.

use std::net::IpAddr;

use bytemuck::{Pod, Zeroable};
use libc::{IFA_ADDRESS, IFA_LOCAL, RTM_GETADDR, RTM_NEWADDR};

use netlink_packet_core::NLM_F_DUMP;

use super::{
    Error, Request, Socket, Step,
    wire::{self, Attributes, BadMessage},
};

/// `struct ifaddrmsg` of `include/uapi/linux/if_addr.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct IfAddr {
    family: u8,
    prefix_length: u8,
    flags: u8,
    scope: u8,
    index: u32,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Address {
    /// Index of the interface.
    pub ifindex: u32,
    /// `RT_SCOPE_…` of include/uapi/linux/rtnetlink.h.
    pub scope: u8,
    /// Length of the network's prefix, in bits.
    pub prefix_length: u8,
    /// The interface's own address, not the peer's of a point-to-point link.
    pub ip: IpAddr,
}

impl Address {
    /// The address in a `RTM_NEWADDR` message; `None` for one that is neither IPv4 nor IPv6.
    fn parse(payload: &[u8]) -> Result<Option<Self>, BadMessage> {
        let (head, attributes) = wire::split::<IfAddr>(payload, "an address is cut short")?;
        let mut address = None;
        let mut local = None;
        for attribute in Attributes(attributes) {
            match attribute? {
                (IFA_ADDRESS, value) => address = ip(value),
                (IFA_LOCAL, value) => local = ip(value),
                _ => {}
            }
        }
        Ok(local.or(address).map(|ip| Self {
            ifindex: head.index,
            scope: head.scope,
            prefix_length: head.prefix_length,
            ip,
        }))
    }
}

/// The address in an attribute.
pub(super) fn ip(value: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(value).map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(value).map(IpAddr::from);
    v4().or_else(|_| v6()).ok()
}

impl Socket {
    /// Gives `each` the IPv4 and IPv6 addresses of all interfaces, in the kernel's order.
    pub fn addresses(&mut self, mut each: impl FnMut(Step<Address>)) -> Result<(), Error> {
        let body = IfAddr::zeroed();
        let request = Request {
            name: "RTM_GETADDR",
            kind: RTM_GETADDR,
            flags: NLM_F_DUMP,
            answer: RTM_NEWADDR,
            body: bytemuck::bytes_of(&body),
        };
        self.dump(&request, |step| {
            match step {
                Step::Start => each(Step::Start),
                Step::Item(payload) => {
                    if let Some(address) = Address::parse(payload)? {
                        each(Step::Item(address));
                    }
                }
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::netlink::wire::tests::attribute;

    fn message(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let head = IfAddr { family: 2, prefix_length: 24, flags: 0, scope: 253, index: 3 };
        let mut bytes = bytemuck::bytes_of(&head).to_vec();
        for (kind, value) in attributes {
            bytes.extend(attribute(*kind, value));
        }
        bytes
    }

    #[test]
    fn the_own_address_is_preferred_to_the_peers() {
        let bytes = message(&[(IFA_ADDRESS, &[10, 0, 0, 1]), (IFA_LOCAL, &[10, 0, 0, 2])]);
        let address =
            Address { ifindex: 3, scope: 253, prefix_length: 24, ip: [10, 0, 0, 2].into() };
        assert_eq!(Address::parse(&bytes), Ok(Some(address)));
    }

    #[test]
    fn ipv6_has_only_one_address() {
        let bytes = message(&[(IFA_ADDRESS, &[0xfe; 16])]);
        assert_eq!(Address::parse(&bytes).unwrap().unwrap().ip, IpAddr::from([0xfe_u8; 16]));
    }

    #[test]
    fn messages_without_an_address_are_skipped() {
        assert_eq!(Address::parse(&message(&[(IFA_ADDRESS, &[1, 2, 3])])), Ok(None));
        assert_eq!(Address::parse(&message(&[])), Ok(None));
    }

    #[test]
    fn a_label_that_is_not_utf8_hides_no_address() {
        let bytes = message(&[(IFA_LOCAL, &[10, 0, 0, 2]), (libc::IFA_LABEL, b"e\xff\0")]);
        assert!(Address::parse(&bytes).is_ok_and(|address| address.is_some()));
    }

    #[test]
    fn an_address_cut_anywhere_does_not_panic() {
        let bytes = message(&[(IFA_LOCAL, &[10, 0, 0, 2])]);
        for length in 0..bytes.len() {
            assert_ne!(
                Address::parse(&bytes[..length]).map(|address| address.is_some()),
                Ok(true),
                "{length}"
            );
        }
    }
}
