//! Free blocks of the page allocator by size, from `/proc/buddyinfo`.
//!
//! A zone a line, as `Node 0, zone Normal 2833 5790 …` (`mm/vmstat.c`): the column `size` counts
//! blocks of 2^`size` pages. All lines have as many.

use crate::prelude::*;

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
fn parse(text: &str, mut block: impl FnMut(&str, usize, &str, u64)) -> Result<(), Malformed> {
    let mut sizes = None;
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (_, node) = (words.word("buddyinfo line")?, words.word("node")?);
        let (_, zone) = (words.word("buddyinfo line")?, words.word("zone")?);
        let (node, zone) = (node.trim_end_matches(','), zone.trim_end_matches(','));
        let mut size = 0;
        for count in words {
            block(node, size, zone, crate::parse::number("blocks", count)?);
            size += 1;
        }
        if *sizes.get_or_insert(size) != size {
            return Err(Malformed::new("number of sizes", line));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::malformed;

    #[test]
    fn refuses_what_is_no_table() {
        let parse = |text| parse(text, |_, _, _, _| ());
        assert_eq!(parse("Node 0, zone DMA\n"), Ok(()));
        assert_eq!(malformed(parse("Node 0, zone")), "bad zone: \"\"");
        assert_eq!(malformed(parse("\n")), "bad buddyinfo line: \"\"");
        assert_eq!(malformed(parse("Node 0, zone DMA 1 -1")), "bad blocks: \"-1\"");
        assert_eq!(
            malformed(parse("Node 0, zone DMA 1 2\nNode 0, zone Normal 1")),
            "bad number of sizes: \"Node 0, zone Normal 1\""
        );
    }
}
