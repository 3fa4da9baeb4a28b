//! Free blocks of the page allocator by size, from `/proc/buddyinfo`.
//!
//! Each line describes one zone, such as `Node 0, zone Normal 2833 5790 …` (`mm/vmstat.c`): the
//! column `size`, counted from 0, has the number of free blocks of 2^`size` pages.

use crate::{
    parse::{decimal, rows},
    prelude::*,
};

pub const SPEC: Spec = Spec {
    name: "buddyinfo",
    enabled: false,
    capabilities: NONE,
    flags: &[],
    new: |host, _| Ok(Box::new(BuddyInfo(host.proc.file("buddyinfo")))),
};

static BLOCKS: Metric<3> =
    gauge("node_buddyinfo_blocks", "Count of free blocks according to size.")
        .by(["node", "size", "zone"]);

struct BuddyInfo(File);

impl Collector for BuddyInfo {
    fn collect(&mut self, out: &mut Sink) -> Result {
        self.0.parse(|text| {
            parse(text, |node, size, zone, count| out.put(&BLOCKS, [&node, &size, &zone], count))
        })
    }
}

/// Calls `block` with node, size, zone and count.
fn parse(text: &str, mut block: impl FnMut(&str, usize, &str, f64)) -> Result<(), Malformed> {
    rows(text, |line| {
        let mut words = line.split_ascii_whitespace();
        if words.next().is_none() {
            return Ok(());
        }
        let node = words.word("node")?;
        words.word("word `zone`")?;
        let zone = words.word("zone")?;
        let (node, zone) = (node.trim_end_matches(','), zone.trim_end_matches(','));
        let mut faults = Faults::default();
        for (size, count) in words.enumerate() {
            if let Some(count) = faults.keep(decimal("blocks", count)) {
                block(node, size, zone, count);
            }
        }
        faults.end()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_or_count_that_is_malformed_hides_no_other() {
        let mut seen = Vec::new();
        let text =
            "Node 0, zone DMA\n\nNode 0, zone\nNode 0, zone DMA32 1 x -1\nNode 1, zone Normal 7\n";
        let result =
            parse(text, |node, size, zone, n| seen.push(format!("{node} {zone} {size} {n}")));
        assert_eq!(result, Err(Malformed::new("zone", "").in_line(3)));
        assert_eq!(seen, ["0 DMA32 0 1", "0 DMA32 2 -1", "1 Normal 0 7"]);
    }
}
