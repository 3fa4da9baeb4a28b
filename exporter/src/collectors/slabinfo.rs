//! Caches of the slab allocator, from `/proc/slabinfo`, which only root may read.
//!
//! Below two lines of heading, each line describes a cache: name, objects in use, objects, size of
//! an object, objects and pages per slab, then tunables (`mm/slab_common.c`, version 2.1 since
//! Linux 2.6.10).

use crate::{parse::rows, prelude::*};

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
            rows(text, |line| {
                let (slab, numbers) = split(line);
                if slab.is_empty() || is_heading(line) || !filter.keeps(slab) {
                    return Ok(());
                }
                let mut words = numbers.split_ascii_whitespace();
                let mut faults = Faults::default();
                for metric in &METRICS {
                    if let Some(number) = faults.keep(words.decimal("slabinfo value")) {
                        out.put(metric, [&slab], number);
                    }
                }
                faults.end()
            })
        })
    }
}

fn is_heading(line: &str) -> bool {
    line.starts_with("slabinfo - ") || line.starts_with("# name")
}

/// The name and the numbers. A driver may give a cache a name with spaces: the numbers are the last
/// five words before the tunables.
fn split(line: &str) -> (&str, &str) {
    let is_space = |c: char| c.is_ascii_whitespace();
    let line = line.trim_ascii();
    let mut name = line;
    if let Some((before, _tunables)) = line.split_once(" : ") {
        name = before;
        for _ in &METRICS {
            name = name.trim_ascii_end().rsplit_once(is_space).map_or("", |(before, _)| before);
        }
        name = name.trim_ascii_end();
    }
    if name.len() == line.len() || name.is_empty() {
        name = line.split(is_space).next().unwrap_or_default();
    }
    (name, line.strip_prefix(name).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, sample_lines};

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
    fn a_name_may_have_spaces() {
        let tunables = " : tunables    0    0    0 : slabdata      1      1      0";
        assert_eq!(split(&format!("a b  1 2 3 4 5{tunables}")).0, "a b");
        assert_eq!(split(&format!("a  1 2 3 4 5{tunables}")).0, "a");
        assert_eq!(split(&format!("a  1 2{tunables}")).0, "a");
        assert_eq!(split("a 1 2 3 4 5").0, "a");
        assert_eq!(split(" \n").0, "");
    }

    #[test]
    fn a_value_that_is_odd_costs_itself_alone() {
        let machine = Machine::new().with(
            "proc/slabinfo",
            "a -1 18446744073709551616 x 4 5\n\nb 1 2 3\nc y y y y y\nd 1 2 3 4 5\n",
        );
        let args = ["--collector.slabinfo.slabs-exclude=c"];
        let (text, result) = machine.collect(&SPEC, &args);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("proc/slabinfo:1: bad slabinfo value: \"x\""), "{error}");
        let of = |slab: &str| {
            let end = format!("{{slab=\"{slab}\"}} ");
            let lines = sample_lines(&text).filter_map(|line| line.split_once(&end));
            lines.map(|(_, value)| value).collect::<Vec<_>>()
        };
        assert_eq!(of("a"), ["-1", "1.8446744073709552e+19", "4", "5"]);
        assert_eq!((of("b").len(), of("d").len()), (3, 5));
        let (_, result) = Machine::new().with("proc/slabinfo", "c y\n").collect(&SPEC, &args);
        result.unwrap();
    }
}
