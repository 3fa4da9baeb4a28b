//! A table of neighbours as a whole: `RTM_GETNEIGHTBL`, `struct ndt_config`.
//!
//! Every network namespace may ask for it, though all of them share one table.

use bytemuck::{Pod, Zeroable};
use libc::{RTM_GETNEIGHTBL, RTM_NEWNEIGHTBL};
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR};

use super::{
    Error, Request, Socket, bad, connect, receive,
    wire::{self, Attributes, BadMessage, Messages},
};

const NAME: &str = "RTM_GETNEIGHTBL";

/// `NDTA_CONFIG` of include/uapi/linux/neighbour.h.
const NDTA_CONFIG: u16 = 5;

/// `struct ndtmsg` of the same header.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct NdtMsg {
    family: u8,
    padding: [u8; 3],
}

/// `struct ndt_config` of the same header.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct Config {
    key_length: u16,
    entry_size: u16,
    entries: u32,
    last_flush: u32,
    last_rand: u32,
    hash_random: u32,
    hash_mask: u32,
    hash_chain_gc: u32,
    proxy_queue: u32,
}

/// The table of one family, of all network namespaces.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Table {
    /// Entries of all states.
    pub entries: u32,
    /// Buckets of its hash table less one, and the seed of the hash. A table that grows gets another
    /// hash table, with another number of buckets and another seed.
    pub hash: (u32, u32),
}

impl Table {
    /// Whether the kernel is about to make the hash table larger, or is moving the entries: it does
    /// so when an entry comes that is one more than there are buckets.
    #[must_use]
    pub const fn is_growing(&self) -> bool {
        self.entries > self.hash.0.saturating_add(1)
    }

    /// The table in a `RTM_NEWNEIGHTBL` message; `None` where the message tells of an interface.
    fn parse(payload: &[u8]) -> Result<Option<Self>, BadMessage> {
        const SHORT: &str = "a table of neighbours is cut short";
        let (_, attributes) = wire::split::<NdtMsg>(payload, SHORT)?;
        for attribute in Attributes(attributes) {
            if let (NDTA_CONFIG, value) = attribute? {
                let config: Config = wire::number(value, SHORT)?;
                let hash = (config.hash_mask, config.hash_random);
                return Ok(Some(Self { entries: config.entries, hash }));
            }
        }
        Ok(None)
    }
}

impl Socket {
    /// The table of neighbours of `family` (`AF_INET` or `AF_INET6`); `None` where the kernel has
    /// none.
    ///
    /// The socket is closed once the table is told: the kernel would go on to tell of each
    /// interface.
    ///
    /// # Errors
    /// The kernel refuses, or its answer cannot be read.
    pub fn neighbour_table(self, family: u8) -> Result<Option<Table>, Error> {
        let body = NdtMsg { family, padding: [0; 3] };
        let request = Request {
            name: NAME,
            kind: RTM_GETNEIGHTBL,
            flags: NLM_F_DUMP,
            answer: RTM_NEWNEIGHTBL,
            body: bytemuck::bytes_of(&body),
        };
        let socket = match self.open {
            Some(socket) => socket,
            None => connect(self.protocol)?,
        };
        // The kernel's first part is no larger (`NLMSG_GOODSIZE`).
        let (mut message, mut buffer) = (Vec::new(), vec![0; 8192]);
        let flags = NLM_F_REQUEST | request.flags;
        wire::request(request.kind, flags, 1, request.body, &mut message);
        socket.send(&message, 0).map_err(|source| Error::Call { call: "send", source })?;
        loop {
            let Some(bytes) = receive(&socket, &mut buffer)? else {
                return Err(bad(&request, BadMessage("a part is larger than the kernel's limit")));
            };
            for message in Messages(bytes) {
                let (header, payload) = message.map_err(|what| bad(&request, what))?;
                match header.kind {
                    NLMSG_DONE | NLMSG_ERROR => {
                        return match wire::errno(payload) {
                            Ok(0) => Ok(None),
                            Ok(errno) => Err(Error::Refused {
                                request: NAME,
                                source: std::io::Error::from_raw_os_error(errno),
                            }),
                            Err(what) => Err(bad(&request, what)),
                        };
                    }
                    kind if kind == request.answer => {
                        let table = Table::parse(payload).map_err(|what| bad(&request, what))?;
                        if table.is_some() {
                            return Ok(table);
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::netlink::wire::tests::attribute;

    #[test]
    fn a_table_is_told_apart_from_its_interfaces() {
        let config = Config { entries: 7, hash_mask: 15, hash_random: 99, ..Config::zeroed() };
        let head = bytemuck::bytes_of(&NdtMsg { family: 2, padding: [0; 3] }).to_vec();
        let rest = attribute(NDTA_CONFIG, bytemuck::bytes_of(&config));
        let bytes = [head.as_slice(), &attribute(1, b"arp_cache\0"), &rest].concat();
        assert_eq!(Table::parse(&bytes), Ok(Some(Table { entries: 7, hash: (15, 99) })));
        let name = [head.as_slice(), &attribute(1, b"arp_cache\0")].concat();
        assert_eq!(Table::parse(&name), Ok(None));
        for length in 0..bytes.len() {
            assert_ne!(Table::parse(&bytes[..length]).map(|table| table.is_some()), Ok(true));
        }
    }

    #[test]
    fn the_kernel_tells_of_its_tables() {
        let table = Socket::default().neighbour_table(2).unwrap().unwrap();
        assert!((table.hash.0 + 1).is_power_of_two(), "{table:?}");
        assert_eq!(
            Socket::default().neighbour_table(1).unwrap(),
            None,
            "AF_UNIX has no neighbours"
        );
    }
}
