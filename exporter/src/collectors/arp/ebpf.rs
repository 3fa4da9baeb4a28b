//! The counts that programs in the kernel keep.

use std::sync::PoisonError;

use super::Source;
use crate::{
    bpf::Bpf,
    netlink::{Links, Socket},
    prelude::*,
};

/// `AF_INET`.
const IPV4: u32 = 2;

pub(super) struct Ebpf {
    bpf: Bpf,
    socket: Option<Socket>,
    links: Links,
    /// Index of an interface and its neighbours.
    counts: Vec<(u32, u64)>,
}

impl Ebpf {
    pub(super) fn new(host: &Host) -> Self {
        Self { bpf: host.bpf.clone(), socket: None, links: Links::new(), counts: Vec::new() }
    }
}

impl Source for Ebpf {
    fn count(&mut self, each: &mut dyn FnMut(&str, u64)) -> Result {
        // Without programs this source would not have been chosen.
        let Ok(neighbours) = self.bpf.neighbours() else { return Err(Error::NoData) };
        let mut neighbours = neighbours.lock().unwrap_or_else(PoisonError::into_inner);
        self.counts.clear();
        let netns = neighbours.netns();
        neighbours.counts(|key, counts| {
            if key.netns == netns && key.family == IPV4 && counts.entries > 0 {
                self.counts.push((key.ifindex, counts.entries));
            }
        })?;
        neighbours.drain_log();
        drop(neighbours);

        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(Socket::open()?),
        };
        socket.links(&mut self.links)?;
        for &(ifindex, n) in &self.counts {
            // Without a name it went away after its neighbours were counted.
            if let Some(link) = self.links.get(ifindex) {
                each(&String::from_utf8_lossy(&link.name), n);
            }
        }
        Ok(())
    }
}
