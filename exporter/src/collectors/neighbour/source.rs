//! The sources of the entries and of their events.

use std::sync::{MutexGuard, PoisonError};

use super::{
    super::arp::{self, Source as _, procfs::Procfs},
    BY_STATE, CHANGES, CREATED, ENTRIES, FAILURES, NDISC, OF_NAMESPACE, OVERFLOWS, REMOVED, family,
};
use crate::{
    collector::ask_in_turn,
    host::{
        Shared,
        bpf::{Bpf, Counts, FAMILIES, Key},
        netlink::{Link, LinkDump, Links, NeighbourDump, STATES},
    },
    prelude::*,
};

pub(super) struct Source {
    ways: &'static [arp::Via],
    filter: Filter,
    states: bool,
    namespaces: bool,
    bpf: Bpf,
    dumps: [Shared<NeighbourDump>; 2],
    arp: Procfs,
    links: Shared<LinkDump>,
    /// The counts by index of the interface and family, sorted.
    counts: Vec<((u32, u32), Counts)>,
    /// Network namespace, family and entries, sorted.
    of_namespaces: Vec<(u32, u32, i64)>,
}

impl Source {
    pub(super) fn new(host: &Host, filter: Filter, states: bool, namespaces: bool) -> Self {
        Self {
            ways: arp::ways(host, None),
            filter,
            states,
            namespaces,
            bpf: host.bpf.clone(),
            dumps: host.neighbours.clone(),
            arp: Procfs::new(host),
            links: host.links.clone(),
            counts: Vec::new(),
            of_namespaces: Vec::new(),
        }
    }

    /// The sizes of the tables as the programs know them.
    pub(super) fn table_sizes(&self) -> Option<[u64; 2]> {
        self.neighbours()?.table_sizes().ok()
    }

    fn neighbours(&self) -> Option<MutexGuard<'_, crate::host::bpf::Neighbours>> {
        Some(self.bpf.loaded()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn collect(&mut self, out: &mut Sink) -> Result {
        let ways = self.ways.iter().map(|via| (via.name(), *via));
        let mut last = None;
        ask_in_turn("neighbour", ways, out, |via, out| {
            last = Some(via);
            match via {
                arp::Via::Ebpf => self.ask_programs(out),
                arp::Via::Netlink => self.ask_netlink(out),
                arp::Via::Procfs => self.read_procfs(out),
            }
        })?;
        // The file has no states, and a copied tree has no netlink to ask.
        if self.states && last != Some(arp::Via::Procfs) {
            return out.attempt(|out| self.put_states(out));
        }
        Ok(())
    }

    fn ask_programs(&mut self, out: &mut Sink) -> Result {
        let (mut counts, mut sums) =
            (std::mem::take(&mut self.counts), std::mem::take(&mut self.of_namespaces));
        counts.clear();
        sums.clear();
        let namespaces = self.namespaces;
        // The programs exist: without them this source would not have been chosen.
        let mut neighbours = self.neighbours().ok_or(Error::NoData)?;
        let netns = neighbours.netns();
        let counted = neighbours.counts(out.scrape(), |key, of| {
            if key.netns == netns {
                counts.push(((key.ifindex, key.family), *of));
            }
            if namespaces {
                sum(&mut sums, key, of.entries);
            }
        });
        drop(neighbours);
        counts.sort_unstable_by_key(|&(key, _)| key);
        (self.counts, self.of_namespaces) = (counts, sums);
        counted?;
        let links = self.links.get(out.scrape())?;
        for link in kept(&links, &self.filter) {
            for number in FAMILIES.map(u32::from) {
                let key = (link.index, number);
                let Ok(i) = self.counts.binary_search_by_key(&key, |&(key, _)| key) else {
                    continue;
                };
                if let Some((_, counts)) = self.counts.get(i) {
                    put_counts(&link.name, number, counts, out);
                }
            }
        }
        for &(netns, number, n) in &self.of_namespaces {
            if let Some(n) = positive(n) {
                out.put(&OF_NAMESPACE, [&family(number), &netns], n);
            }
        }
        Ok(())
    }

    fn ask_netlink(&self, out: &mut Sink) -> Result {
        let [ipv4, ipv6] = &self.dumps;
        let tallies = [ipv4.get(out.scrape())?, ipv6.get(out.scrape())?];
        let links = self.links.get(out.scrape())?;
        for link in kept(&links, &self.filter) {
            for (tally, number) in tallies.iter().zip(FAMILIES) {
                put_entries(&link.name, number.into(), tally.entries(link.index), out);
            }
        }
        Ok(())
    }

    fn read_procfs(&mut self, out: &mut Sink) -> Result {
        let Self { arp, filter, .. } = self;
        arp.count(out.scrape(), &mut |device, n| {
            if filter.keeps(device) {
                put_entries(device.as_bytes(), 2, n, out);
            }
        })
    }

    fn put_states(&self, out: &mut Sink) -> Result {
        let [ipv4, ipv6] = &self.dumps;
        let tallies = [ipv4.get(out.scrape())?, ipv6.get(out.scrape())?];
        let links = self.links.get(out.scrape())?;
        for link in kept(&links, &self.filter) {
            for (tally, number) in tallies.iter().zip(FAMILIES) {
                let Some(states) = tally.states(link.index) else { continue };
                for (state, &n) in STATES.iter().zip(states) {
                    out.put(&BY_STATE, [&link.name, &family(number.into()), state], n);
                }
            }
        }
        Ok(())
    }
}

/// The links that the filter keeps.
fn kept<'a>(links: &'a Links, filter: &'a Filter) -> impl Iterator<Item = &'a Link> {
    links.iter().filter(|link| filter.keeps(&String::from_utf8_lossy(&link.name)))
}

/// A number of entries above zero; `None` for zero, and for a negative number, which is wrong: the
/// programs saw more entries leave than come.
fn positive(n: i64) -> Option<u64> {
    u64::try_from(n).ok().filter(|&n| n > 0)
}

/// Puts the entries, and the events once one has happened: most interfaces never have any.
fn put_counts(device: &[u8], number: u32, counts: &Counts, out: &mut Sink) {
    put_entries(device, number, positive(counts.entries).unwrap_or_default(), out);
    let events = [
        (&CREATED, counts.created),
        (&REMOVED, counts.removed),
        (&FAILURES, counts.failures),
        (&CHANGES, counts.address_changes),
        (&OVERFLOWS, counts.overflows),
    ];
    if events.iter().any(|&(_, n)| n > 0) {
        for (metric, n) in events {
            out.put(metric, [&device, &family(number)], n);
        }
    }
}

fn put_entries(device: &[u8], number: u32, n: u64, out: &mut Sink) {
    if n > 0 {
        out.put(&ENTRIES, [&device, &family(number)], n);
        if family(number) == "ipv6" {
            out.put(&NDISC, [&device], n);
        }
    }
}

/// Adds to the entries of a namespace.
fn sum(sums: &mut Vec<(u32, u32, i64)>, key: Key, n: i64) {
    match sums.binary_search_by_key(&(key.netns, key.family), |&(netns, of, _)| (netns, of)) {
        Ok(i) => {
            if let Some((_, _, sum)) = sums.get_mut(i) {
                *sum += n;
            }
        }
        Err(i) => sums.insert(i, (key.netns, key.family, n)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{expect, samples};

    #[test]
    fn events_are_exposed_after_the_first() {
        let put = |counts: &Counts| samples(|out| put_counts(b"eth0", 10, counts, out));
        let none = bytemuck::Zeroable::zeroed();
        assert_eq!(put(&none), "");
        assert_eq!(put(&Counts { entries: -1, noarp: 7, ..none }), "");
        expect![[r#"
            node_ndisc_entries{device="eth0"} 2
            node_neighbour_entries{device="eth0",family="ipv6"} 2
        "#]]
        .assert_eq(&put(&Counts { entries: 2, ..none }));
        expect![[r#"
            node_neighbour_address_changes_total{device="eth0",family="ipv6"} 0
            node_neighbour_created_total{device="eth0",family="ipv6"} 0
            node_neighbour_removed_total{device="eth0",family="ipv6"} 0
            node_neighbour_resolution_failures_total{device="eth0",family="ipv6"} 3
            node_neighbour_table_overflows_total{device="eth0",family="ipv6"} 0
        "#]]
        .assert_eq(&put(&Counts { failures: 3, ..none }));
    }
}
