//! Caches of the slab allocator, from `/proc/slabinfo`, which only root may read.
//!
//! A cache a line: name, objects in use, objects, size of one, objects and pages per slab, then
//! tunables (`mm/slab_common.c`, version 2.1 since Linux 2.6.10). Two lines of heading.

use crate::prelude::*;

pub const SPEC: Spec = Spec {
    name: "slabinfo",
    enabled: false,
    capabilities: CapabilitySet::DAC_READ_SEARCH,
    flags: &[&INCLUDE, &EXCLUDE],
    new: |host, flags| {
        Ok(Box::new(SlabInfo { file: host.proc.file("slabinfo"), filter: PAIR.read(flags)? }))
    },
};

static PAIR: FilterFlags = FilterFlags { rule: Rule::Both, ..FilterFlags::new(&INCLUDE, &EXCLUDE) };
static INCLUDE: Flag<Option<Pattern>> = Flag::value(
    "collector.slabinfo.slabs-include",
    &[".*"],
    "Regexp of slabs to include in slabinfo collector.",
);
static EXCLUDE: Flag<Option<Pattern>> = pattern(
    "collector.slabinfo.slabs-exclude",
    "Regexp of slabs to exclude in slabinfo collector.",
);

/// In the order of the columns.
static METRICS: [Metric<1>; 5] = [
    gauge(
        "node_slabinfo_active_objects",
        "The number of objects that are currently active (i.e., in use).",
    )
    .by(["slab"]),
    gauge(
        "node_slabinfo_objects",
        "The total number of allocated objects (i.e., objects that are both in use and not in use).",
    )
    .by(["slab"]),
    gauge("node_slabinfo_object_size_bytes", "The size of objects in this slab, in bytes.")
        .by(["slab"]),
    gauge("node_slabinfo_objects_per_slab", "The number of objects stored in each slab.")
        .by(["slab"]),
    gauge("node_slabinfo_pages_per_slab", "The number of pages allocated for each slab.")
        .by(["slab"]),
];

struct SlabInfo {
    file: File,
    filter: Filter,
}

impl Collector for SlabInfo {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { file, filter } = self;
        file.parse(|text| {
            for line in text.lines().filter(|line| !is_heading(line)) {
                let (slab, numbers) = parse(line)?;
                if filter.keeps(slab) {
                    for (metric, number) in METRICS.iter().zip(numbers) {
                        out.put(metric, [&slab], number);
                    }
                }
            }
            Ok(())
        })
    }
}

fn is_heading(line: &str) -> bool {
    line.starts_with("slabinfo - ") || line.starts_with("# name")
}

fn parse(line: &str) -> Result<(&str, [u64; METRICS.len()]), Malformed> {
    let mut words = line.split_ascii_whitespace();
    let slab = words.word("slab")?;
    let mut numbers = [0; METRICS.len()];
    for number in &mut numbers {
        *number = words.number("slabinfo value")?;
    }
    Ok((slab, numbers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, malformed};

    #[test]
    fn slabs_are_included_and_excluded_together() {
        let table = "slabinfo - version: 2.1\n# name <active_objs>\n\
                     kmalloc-8 1 2 3 4 5 : tunables\nkmalloc-16 1 2 3 4 5\ndentry 1 2 3 4 5\n";
        let machine = Machine::new().with("proc/slabinfo", table);
        let slabs = |args: &[&str]| {
            let (text, result) = machine.collect(&SPEC, args);
            result.unwrap();
            let lines =
                text.lines().filter_map(|line| line.strip_prefix("node_slabinfo_objects{slab=\""));
            lines.map(|line| line.trim_end_matches("\"} 2").to_owned()).collect::<Vec<_>>()
        };
        let (include, exclude) = (
            "--collector.slabinfo.slabs-include=^kmalloc",
            "--collector.slabinfo.slabs-exclude=16",
        );
        assert_eq!(slabs(&[]), ["dentry", "kmalloc-16", "kmalloc-8"]);
        assert_eq!(slabs(&[exclude]), ["dentry", "kmalloc-8"]);
        assert_eq!(slabs(&[include, exclude]), ["kmalloc-8"]);
    }

    #[test]
    fn refuses_what_is_no_slab() {
        assert_eq!(malformed(parse("")), "bad slab: \"\"");
        assert_eq!(malformed(parse("dentry 1 2 3 4 :")), "bad slabinfo value: \":\"");
    }
}
