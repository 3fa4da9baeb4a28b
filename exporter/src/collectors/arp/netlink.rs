//! A dump of the table: `RTM_GETNEIGH`.

use super::Source;
use crate::{
    host::{
        Shared,
        netlink::{LinkDump, NeighbourDump},
    },
    prelude::*,
};

pub(super) struct Netlink {
    tally: Shared<NeighbourDump>,
    links: Shared<LinkDump>,
}

impl Netlink {
    pub(super) fn new(host: &Host) -> Self {
        let [tally, _] = host.neighbours.clone();
        Self { tally, links: host.links.clone() }
    }
}

impl Source for Netlink {
    fn count(&mut self, scrape: u64, each: &mut dyn FnMut(&str, u64)) -> Result {
        let tally = self.tally.get(scrape)?;
        // An interface without neighbours has no series; an index without a link is gone.
        for link in self.links.get(scrape)?.iter() {
            let n = tally.entries(link.index);
            if n > 0 {
                each(&String::from_utf8_lossy(&link.name), n);
            }
        }
        Ok(())
    }
}
