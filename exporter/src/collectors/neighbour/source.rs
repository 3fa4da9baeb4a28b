//! Where the entries come from, and what is known of them there.

use std::sync::{MutexGuard, PoisonError};

use super::{
    super::arp::{self, Source as _, procfs::Procfs},
    BY_STATE, CHANGES, CREATED, ENTRIES, FAILURES, NDISC, OF_NAMESPACE, OVERFLOWS, REMOVED, family,
};
use crate::{
    host::{
        Shared,
        bpf::{Bpf, Counts, FAMILIES, Key},
        netlink::{LinkDump, NeighbourDump, STATES},
    },
    prelude::*,
};

pub(super) struct Source {
    ways: &'static [arp::Via],
    states: bool,
    namespaces: bool,
    bpf: Bpf,
    dumps: [Shared<NeighbourDump>; 2],
    arp: Procfs,
    links: Shared<LinkDump>,
    /// By index of the interface and family, sorted.
    counts: Vec<((u32, u32), Counts)>,
    /// Network namespace, family and entries, sorted.
    of_namespaces: Vec<(u32, u32, i64)>,
}

impl Source {
    pub(super) fn new(host: &Host, states: bool, namespaces: bool) -> Self {
        Self {
            ways: arp::ways(host, None),
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

    /// What the programs say of the sizes of the tables.
    pub(super) fn table_sizes(&self) -> Option<[u64; 2]> {
        self.neighbours()?.table_sizes().ok()
    }

    fn neighbours(&self) -> Option<MutexGuard<'_, crate::host::bpf::Neighbours>> {
        Some(self.bpf.loaded()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn collect(&mut self, out: &mut Sink) -> Result {
        let mut result = Err(Error::NoData);
        for kind in self.ways {
            result = match kind {
                arp::Via::Ebpf => self.ask_programs(out),
                arp::Via::Netlink => self.ask_netlink(out),
                arp::Via::Procfs => self.read_procfs(out),
            };
            match &result {
                Ok(()) => {
                    out.served_by(kind.name());
                    break;
                }
                Err(error) => tracing::debug!("neighbour: {}: {error}", kind.name()),
            }
        }
        result
    }

    fn ask_programs(&mut self, out: &mut Sink) -> Result {
        let (mut counts, mut sums) =
            (std::mem::take(&mut self.counts), std::mem::take(&mut self.of_namespaces));
        counts.clear();
        sums.clear();
        let namespaces = self.namespaces;
        // Without programs this source would not have been chosen.
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
        for link in self.links.get(out.scrape())?.iter() {
            let name = link.name.as_slice();
            for number in FAMILIES.map(u32::from) {
                let key = (link.index, number);
                let Ok(i) = self.counts.binary_search_by_key(&key, |&(key, _)| key) else {
                    continue;
                };
                let Some((_, counts)) = self.counts.get(i) else { continue };
                put_entries(name, number, counts.entries.unsigned_abs(), out);
                for (metric, n) in [
                    (&CREATED, counts.created),
                    (&REMOVED, counts.removed),
                    (&FAILURES, counts.failures),
                    (&CHANGES, counts.address_changes),
                    (&OVERFLOWS, counts.overflows),
                ] {
                    out.put(metric, [&name, &family(number)], n);
                }
            }
        }
        for &(netns, number, n) in &self.of_namespaces {
            if n > 0 {
                out.put(&OF_NAMESPACE, [&family(number), &netns], n.unsigned_abs());
            }
        }
        if self.states { self.put_states(out) } else { Ok(()) }
    }

    fn ask_netlink(&mut self, out: &mut Sink) -> Result {
        let [ipv4, ipv6] = &self.dumps;
        let tallies = [ipv4.get(out.scrape())?, ipv6.get(out.scrape())?];
        for link in self.links.get(out.scrape())?.iter() {
            for (tally, number) in tallies.iter().zip(FAMILIES) {
                put_entries(&link.name, number.into(), tally.entries(link.index), out);
            }
        }
        drop(tallies);
        if self.states { self.put_states(out) } else { Ok(()) }
    }

    fn read_procfs(&mut self, out: &mut Sink) -> Result {
        self.arp.count(out.scrape(), &mut |device, n| put_entries(device.as_bytes(), 2, n, out))
    }

    fn put_states(&self, out: &mut Sink) -> Result {
        let [ipv4, ipv6] = &self.dumps;
        let tallies = [ipv4.get(out.scrape())?, ipv6.get(out.scrape())?];
        for link in self.links.get(out.scrape())?.iter() {
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
