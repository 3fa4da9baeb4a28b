//! A dump of the table: `RTM_GETNEIGH`.

use std::collections::HashMap;

use super::Source;
use crate::{
    host::Shared,
    netlink::{LinkDump, Socket, Step},
    prelude::*,
};

/// `AF_INET`.
const IPV4: u8 = 2;

pub(super) struct Netlink {
    socket: Option<Socket>,
    links: Shared<LinkDump>,
    /// By index of the interface.
    counts: HashMap<u32, u64>,
}

impl Netlink {
    pub(super) fn new(host: &Host) -> Self {
        Self { socket: None, links: host.links.clone(), counts: HashMap::new() }
    }
}

impl Source for Netlink {
    fn count(&mut self, scrape: u64, each: &mut dyn FnMut(&str, u64)) -> Result {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(Socket::open()?),
        };
        let counts = &mut self.counts;
        socket.neighbours(IPV4, |step| match step {
            Step::Start => counts.clear(),
            Step::Item(neighbour) if neighbour.is_noarp() => {}
            Step::Item(neighbour) => *counts.entry(neighbour.ifindex).or_default() += 1,
        })?;
        // An interface without neighbours is no series; one without a name is gone.
        for link in self.links.get(scrape)?.iter() {
            if let Some(&n) = counts.get(&link.index) {
                each(&String::from_utf8_lossy(&link.name), n);
            }
        }
        Ok(())
    }
}
