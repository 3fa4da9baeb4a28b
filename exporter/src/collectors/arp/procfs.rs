//! Number of entries by device, from `/proc/net/arp`.
//!
//! Below a line of titles, each line describes one entry (`arp_format_neigh_entry()` in
//! net/ipv4/arp.c); the device is its last word. As the last source, it gives the devices that it
//! could count even where a line is malformed.

use std::collections::BTreeMap;

use super::Source;
use crate::{parse::rows_after, prelude::*};

pub(in crate::collectors) struct Procfs {
    arp: File,
    /// Kept between scrapes, so that names are allocated once.
    counts: BTreeMap<Box<str>, u64>,
}

impl Procfs {
    pub(in crate::collectors) fn new(host: &Host) -> Self {
        Self { arp: host.net.file("arp"), counts: BTreeMap::new() }
    }
}

impl Source for Procfs {
    fn count(&mut self, _scrape: u64, each: &mut dyn FnMut(&str, u64)) -> Result {
        let counts = &mut self.counts;
        for n in counts.values_mut() {
            *n = 0;
        }
        let parsed = self.arp.parse(|text| parse(text, counts));
        // Devices that are gone are forgotten, lest the names of short-lived devices pile up.
        counts.retain(|_, n| *n > 0);
        for (device, &n) in counts.iter() {
            each(device, n);
        }
        parsed
    }
}

fn parse(text: &str, counts: &mut BTreeMap<Box<str>, u64>) -> Result<(), Malformed> {
    /// The five columns that are never empty: address, type, flags, mask, device. The link-layer
    /// address is empty for the entry of a tunnel.
    const LEAST: usize = 5;
    rows_after(1, text, |line| {
        let mut words = line.split_ascii_whitespace();
        let Some(device) = words.next_back() else { return Ok(()) };
        if words.count() < LEAST - 1 {
            return Err(Malformed::new("entry", line));
        }
        match counts.get_mut(device) {
            Some(n) => *n += 1,
            None => drop(counts.insert(device.into(), 1)),
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_be_empty_and_a_malformed_line_hides_no_other() {
        let mut counts = BTreeMap::new();
        let text = "IP address  HW type  Flags  HW address  Mask  Device\n\
                    10.0.0.1  0x300  0x2                    *  tunl0\n\
                    10.0.0.2  0x1\n\
                    \n\
                    10.0.0.3  0x1    0x2  aa:bb:cc:dd:ee:ff  *  eth0\n\
                    10.0.0.4  0x1    0x2  aa:bb:cc:dd:ee:fe  *  eth0\n";
        let result = parse(text, &mut counts);
        assert_eq!(result, Err(Malformed::new("entry", "10.0.0.2  0x1").in_line(3)));
        assert_eq!(counts, BTreeMap::from([("eth0".into(), 2), ("tunl0".into(), 1)]));
        assert_eq!(parse("", &mut counts), Ok(()));
    }
}
