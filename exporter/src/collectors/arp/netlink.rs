//! A dump of the table: `RTM_GETNEIGH`.

use std::collections::HashMap;

use super::Source;
use crate::{
    netlink::{Links, Socket, Step},
    prelude::*,
};

/// `AF_INET`.
const IPV4: u8 = 2;

#[derive(Default)]
pub(super) struct Netlink {
    socket: Option<Socket>,
    links: Links,
    /// By index of the interface.
    counts: HashMap<u32, u64>,
}

impl Source for Netlink {
    fn count(&mut self, each: &mut dyn FnMut(&str, u64)) -> Result {
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
        socket.links(&mut self.links)?;
        for (&ifindex, &n) in counts.iter() {
            // Without a name it went away after its neighbours were counted.
            if let Some(link) = self.links.get(ifindex) {
                each(&String::from_utf8_lossy(&link.name), n);
            }
        }
        Ok(())
    }
}
