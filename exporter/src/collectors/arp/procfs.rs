//! `/proc/net/arp`: a line for each entry, the device last.

use std::collections::BTreeMap;

use super::Source;
use crate::prelude::*;

pub(in crate::collectors) struct Procfs {
    arp: File,
    /// Kept between scrapes, so that names are allocated once.
    counts: BTreeMap<Box<str>, u64>,
}

impl Procfs {
    pub(in crate::collectors) fn new(host: &Host) -> Self {
        Self { arp: host.proc.file("net/arp"), counts: BTreeMap::new() }
    }
}

impl Source for Procfs {
    fn count(&mut self, _scrape: u64, each: &mut dyn FnMut(&str, u64)) -> Result {
        let counts = &mut self.counts;
        for n in counts.values_mut() {
            *n = 0;
        }
        self.arp.parse_lossy(|text| parse(text, counts))?;
        // Devices that are gone are forgotten, lest the names of short-lived ones pile up.
        counts.retain(|_, n| *n > 0);
        for (device, &n) in counts.iter() {
            each(device, n);
        }
        Ok(())
    }
}

fn parse(text: &str, counts: &mut BTreeMap<Box<str>, u64>) -> Result<(), Malformed> {
    /// Columns of the head line, whose titles are of two words.
    const HEAD: usize = 9;
    /// Address, type, flags, link-layer address, mask, device.
    const ENTRY: usize = 6;
    for line in text.lines() {
        match line.split_ascii_whitespace().count() {
            0 | HEAD => {}
            ENTRY => {
                let device = line.split_ascii_whitespace().skip(ENTRY - 1).word("device")?;
                match counts.get_mut(device) {
                    Some(n) => *n += 1,
                    None => drop(counts.insert(device.into(), 1)),
                }
            }
            _ => return Err(Malformed::new("entry", line)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::malformed;

    #[test]
    fn what_is_no_entry_is_refused() {
        let parse = |text| parse(text, &mut BTreeMap::new());
        assert_eq!(parse(""), Ok(()));
        assert_eq!(
            malformed(parse("10.0.0.1 0x1 0x2 aa:bb *")),
            "bad entry: \"10.0.0.1 0x1 0x2 aa:bb *\""
        );
        assert_eq!(malformed(parse("1 2 3 4 5 6 7")), "bad entry: \"1 2 3 4 5 6 7\"");
    }
}
