//! The counts that programs in the kernel keep.

use std::sync::PoisonError;

use super::Source;
use crate::{
    host::{Shared, bpf::Bpf, netlink::LinkDump},
    prelude::*,
};

/// `AF_INET`.
const IPV4: u32 = 2;

pub(super) struct Ebpf {
    bpf: Bpf,
    links: Shared<LinkDump>,
    /// Index of an interface and its neighbours.
    counts: Vec<(u32, u64)>,
}

impl Ebpf {
    pub(super) fn new(host: &Host) -> Self {
        Self { bpf: host.bpf.clone(), links: host.links.clone(), counts: Vec::new() }
    }
}

impl Source for Ebpf {
    fn count(&mut self, scrape: u64, each: &mut dyn FnMut(&str, u64)) -> Result {
        // Without programs this source would not have been chosen.
        let Ok(neighbours) = self.bpf.neighbours() else { return Err(Error::NoData) };
        let mut neighbours = neighbours.lock().unwrap_or_else(PoisonError::into_inner);
        self.counts.clear();
        let netns = neighbours.netns();
        neighbours.counts(scrape, |key, counts| {
            if key.netns == netns && key.family == IPV4 && counts.entries > 0 {
                self.counts.push((key.ifindex, counts.entries.unsigned_abs()));
            }
        })?;
        drop(neighbours);

        // An interface without neighbours has no series; an index without a link is gone.
        self.counts.sort_unstable();
        for link in self.links.get(scrape)?.iter() {
            if let Ok(i) = self.counts.binary_search_by_key(&link.index, |&(index, _)| index)
                && let Some(&(_, n)) = self.counts.get(i)
            {
                each(&String::from_utf8_lossy(&link.name), n);
            }
        }
        Ok(())
    }
}
