//! Swap areas one by one, from `/proc/swaps`.
//!
//! A head and a line for each area (`swap_show()` in mm/swapfile.c), sizes in kB; names keep the
//! kernel's escapes (`\040` for a space).

use crate::prelude::*;

pub const SPEC: Spec = Spec {
    name: "swap",
    enabled: false,
    capabilities: NONE,
    flags: &[],
    new: |host, _| Ok(Box::new(Swap(host.proc.file("swaps")))),
};

static SIZE: Metric<2> =
    gauge("node_swap_size_bytes", "Swap device size in bytes.").by(["device", "swap_type"]);
static USED: Metric<2> =
    gauge("node_swap_used_bytes", "Swap device used in bytes.").by(["device", "swap_type"]);
static PRIORITY: Metric<2> =
    gauge("node_swap_priority", "Swap device priority.").by(["device", "swap_type"]);

struct Swap(File);

impl Collector for Swap {
    fn collect(&mut self, out: &mut Sink) -> Result {
        self.0.parse_lossy(|text| {
            each(text, |area| {
                let labels: [&dyn crate::exposition::Label; 2] = [&area.device, &area.kind];
                out.put(&SIZE, labels, area.size as f64 * 1024.0);
                out.put(&USED, labels, area.used as f64 * 1024.0);
                out.put(&PRIORITY, labels, area.priority);
            })
        })
    }
}

#[derive(Debug, PartialEq)]
struct Area<'a> {
    device: &'a str,
    kind: &'a str,
    size: u64,
    used: u64,
    priority: i64,
}

fn each<'a>(text: &'a str, mut area: impl FnMut(Area<'a>)) -> Result<(), Malformed> {
    for line in text.lines().skip(1) {
        let mut words = line.split_ascii_whitespace();
        area(Area {
            device: words.word("swap device")?,
            kind: words.word("swap type")?,
            size: words.number("swap size")?,
            used: words.number("swap used")?,
            priority: words.number("swap priority")?,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, malformed};

    fn parse(line: &str) -> Result<Vec<Area<'_>>, Malformed> {
        let mut areas = Vec::new();
        each(line, |area| areas.push(area))?;
        Ok(areas)
    }

    #[test]
    fn no_areas_are_no_error() {
        assert_eq!(parse(""), Ok(vec![]));
        assert_eq!(parse("Filename Type Size Used Priority\n"), Ok(vec![]));
    }

    #[test]
    fn refuses_what_is_no_area() {
        assert_eq!(malformed(parse("\n/a file")), "bad swap size: \"\"");
        assert_eq!(malformed(parse("\n/a file 1 -2 3")), "bad swap used: \"-2\"");
        assert_eq!(malformed(parse("\n/a file 1 2 x")), "bad swap priority: \"x\"");
    }

    #[test]
    fn files_may_have_any_name() {
        let machine =
            Machine::new().with("proc/swaps", b"\n/sw\xe4p file 4 2 -2\n/b file 4 1 -3\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        result.unwrap();
        assert!(text.contains("_used_bytes{device=\"/sw\u{fffd}p\",swap_type=\"file\"} 2048\n"));
        assert!(text.contains("_used_bytes{device=\"/b\",swap_type=\"file\"} 1024\n"));
    }
}
