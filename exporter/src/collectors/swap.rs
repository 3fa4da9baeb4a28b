//! Swap areas one by one, from `/proc/swaps`.
//!
//! Below a head, each area has a line (`swap_show()` in mm/swapfile.c), with sizes in kB; names
//! keep the kernel's escapes (`\040` for a space).

use crate::{exposition::Label, parse::rows_after, prelude::*};

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
        self.0.parse(|text| {
            rows_after(1, text, |line| {
                let mut words = line.split_ascii_whitespace();
                let (device, kind) = (words.word("swap device")?, words.word("swap type")?);
                let labels: [&dyn Label; 2] = [&device, &kind];
                let mut faults = Faults::default();
                for (metric, what, unit) in [
                    (&SIZE, "swap size", 1024.0),
                    (&USED, "swap used", 1024.0),
                    (&PRIORITY, "swap priority", 1.0),
                ] {
                    if let Some(value) = faults.keep(words.decimal(what)) {
                        out.put(metric, labels, value * unit);
                    }
                }
                faults.end()
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, sample_lines};

    #[test]
    fn no_areas_are_no_error() {
        for text in ["", "Filename Type Size Used Priority\n"] {
            let (text, result) = Machine::new().with("proc/swaps", text).collect(&SPEC, &[]);
            assert!(text.is_empty() && result.is_ok());
        }
    }

    #[test]
    fn a_value_that_is_odd_costs_itself_alone() {
        let table = "\n/a file x 18446744073709551616 -2\n/b\n/c partition -4 5\n/d file 1 2 3\n";
        let (text, result) = Machine::new().with("proc/swaps", table).collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("proc/swaps:2: bad swap size: \"x\""), "{error}");
        assert_eq!(
            sample_lines(&text).collect::<Vec<_>>(),
            [
                "node_swap_priority{device=\"/a\",swap_type=\"file\"} -2",
                "node_swap_priority{device=\"/d\",swap_type=\"file\"} 3",
                "node_swap_size_bytes{device=\"/c\",swap_type=\"partition\"} -4096",
                "node_swap_size_bytes{device=\"/d\",swap_type=\"file\"} 1024",
                "node_swap_used_bytes{device=\"/a\",swap_type=\"file\"} 1.888946593147858e+22",
                "node_swap_used_bytes{device=\"/c\",swap_type=\"partition\"} 5120",
                "node_swap_used_bytes{device=\"/d\",swap_type=\"file\"} 2048",
            ]
        );
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
