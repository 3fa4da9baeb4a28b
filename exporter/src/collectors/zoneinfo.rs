//! Zones of memory, from `/proc/zoneinfo`.
//!
//! Each zone has a paragraph that begins with `Node 0, zone Normal`; the numbers of a node stand in
//! the paragraph of its first zone (`mm/vmstat.c`). Each line has a name and a number; names that
//! are not in the table below are skipped. `protection` is a list with a family for each place.

use crate::{
    exposition::Kind,
    parse::{decimal, rows},
    prelude::*,
};

pub const SPEC: Spec = Spec {
    name: "zoneinfo",
    enabled: false,
    capabilities: NONE,
    flags: &[],
    new: |host, _| {
        Ok(Box::new(ZoneInfo { file: host.proc.file("zoneinfo"), protection: Vec::new() }))
    },
};

/// Each field under the kernel's name, with its metric.
macro_rules! fields {
    ($($field:literal $kind:ident $name:literal $help:literal;)*) => {
        [$(($field, $kind(concat!("node_zoneinfo_", $name), $help).by(["node", "zone"]))),*]
    };
}

static FIELDS: [(&str, Metric<2>); 34] = fields! {
    "nr_free_pages" gauge "nr_free_pages" "Total number of free pages in the zone";
    "min" gauge "min_pages" "Zone watermark pages_min";
    "low" gauge "low_pages" "Zone watermark pages_low";
    "high" gauge "high_pages" "Zone watermark pages_high";
    "scanned" gauge "scanned_pages" "Pages scanned since last reclaim";
    "spanned" gauge "spanned_pages" "Total pages spanned by the zone, including holes";
    "present" gauge "present_pages" "Physical pages existing within the zone";
    "managed" gauge "managed_pages" "Present pages managed by the buddy system";
    "nr_active_anon" gauge "nr_active_anon_pages" "Number of anonymous pages recently more used";
    "nr_inactive_anon" gauge "nr_inactive_anon_pages" "Number of anonymous pages recently less used";
    "nr_isolated_anon" gauge "nr_isolated_anon_pages" "Temporary isolated pages from anon lru";
    "nr_anon_pages" gauge "nr_anon_pages" "Number of anonymous pages currently used by the system";
    "nr_anon_transparent_hugepages" gauge "nr_anon_transparent_hugepages" "Number of anonymous transparent huge pages currently used by the system";
    "nr_active_file" gauge "nr_active_file_pages" "Number of active pages with file-backing";
    "nr_inactive_file" gauge "nr_inactive_file_pages" "Number of inactive pages with file-backing";
    "nr_isolated_file" gauge "nr_isolated_file_pages" "Temporary isolated pages from file lru";
    "nr_file_pages" gauge "nr_file_pages" "Number of file pages";
    "nr_slab_reclaimable" gauge "nr_slab_reclaimable_pages" "Number of reclaimable slab pages";
    "nr_slab_unreclaimable" gauge "nr_slab_unreclaimable_pages" "Number of unreclaimable slab pages";
    "nr_mlock_stack" gauge "nr_mlock_stack_pages" "mlock()ed pages found and moved off LRU";
    "nr_kernel_stack" gauge "nr_kernel_stacks" "Number of kernel stacks";
    "nr_mapped" gauge "nr_mapped_pages" "Number of mapped pages";
    "nr_dirty" gauge "nr_dirty_pages" "Number of dirty pages";
    "nr_writeback" gauge "nr_writeback_pages" "Number of writeback pages";
    "nr_unevictable" gauge "nr_unevictable_pages" "Number of unevictable pages";
    "nr_shmem" gauge "nr_shmem_pages" "Number of shmem pages (included tmpfs/GEM pages)";
    "nr_dirtied" counter "nr_dirtied_total" "Page dirtyings since bootup";
    "nr_written" counter "nr_written_total" "Page writings since bootup";
    "numa_hit" counter "numa_hit_total" "Allocated in intended node";
    "numa_miss" counter "numa_miss_total" "Allocated in non intended node";
    "numa_foreign" counter "numa_foreign_total" "Was intended here, hit elsewhere";
    "numa_interleave" counter "numa_interleave_total" "Interleaver preferred this zone";
    "numa_local" counter "numa_local_total" "Allocation from local node";
    "numa_other" counter "numa_other_total" "Allocation from other node";
};

struct ZoneInfo {
    file: File,
    /// The families of `protection` seen so far.
    protection: Vec<Metric<2>>,
}

impl Collector for ZoneInfo {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { file, protection } = self;
        file.parse(|text| {
            let (mut node, mut zone) = ("", "");
            rows(text, |line| {
                if let Some(heading) = line.strip_prefix("Node ") {
                    // Lines below a malformed heading belong to no known zone.
                    (node, zone) = ("", "");
                    (node, zone) = parse_heading(heading)?;
                    return Ok(());
                }
                let line = line.trim_ascii_start();
                let (field, value) =
                    line.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((line, ""));
                if zone.is_empty() {
                    return Ok(());
                }
                if field == "protection:" {
                    return put_protection([node, zone], value, protection, out);
                }
                if let Some((_, metric)) = FIELDS.iter().find(|(name, _)| *name == field) {
                    out.put(metric, [&node, &zone], decimal("zoneinfo value", first(value))?);
                }
                Ok(())
            })
        })
    }
}

fn first(text: &str) -> &str {
    text.split_ascii_whitespace().next().unwrap_or_default()
}

/// Node and zone of `0, zone   Normal`.
fn parse_heading(text: &str) -> Result<(&str, &str), Malformed> {
    let parts = text.split_once(',').and_then(|(node, rest)| {
        Some((node, rest.trim_ascii().strip_prefix("zone")?.trim_ascii()))
    });
    parts.ok_or_else(|| Malformed::new("node and zone", text))
}

/// Exposes `(0, 3019, 20427)`.
fn put_protection(
    [node, zone]: [&str; 2],
    text: &str,
    metrics: &mut Vec<Metric<2>>,
    out: &mut Sink,
) -> Result<(), Malformed> {
    let list = text.trim_ascii().trim_start_matches('(').trim_end_matches(')');
    let mut faults = Faults::default();
    for (i, number) in list.split(',').enumerate() {
        if metrics.len() == i {
            metrics.push(Metric::named(
                Kind::Gauge,
                format!("node_zoneinfo_protection_{i}"),
                format!("Protection array {i}. field"),
                ["node", "zone"],
            ));
        }
        if let Some(metric) = metrics.get(i)
            && let Some(number) = faults.keep(decimal("protection", number.trim_ascii()))
        {
            out.put(metric, [&node, &zone], number);
        }
    }
    faults.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, malformed, sample_lines};

    #[test]
    fn a_line_that_is_odd_costs_itself_alone() {
        let machine = Machine::new().with(
            "proc/zoneinfo",
            "Node 1, zone   Normal\n  pages free  5\n   min x\n   low\t-7 3\n   high: 8\n\
             \x20  protection: (0, x, 3)\n  per-node stats\n\nNode 1 zone DMA\n   low 5\n\
             Node 2, zone   DMA\n   low 18446744073709551616\n",
        );
        let (text, result) = machine.collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("proc/zoneinfo:3: bad zoneinfo value: \"x\""), "{error}");
        assert_eq!(
            sample_lines(&text).collect::<Vec<_>>(),
            [
                "node_zoneinfo_low_pages{node=\"1\",zone=\"Normal\"} -7",
                "node_zoneinfo_low_pages{node=\"2\",zone=\"DMA\"} 1.8446744073709552e+19",
                "node_zoneinfo_protection_0{node=\"1\",zone=\"Normal\"} 0",
                "node_zoneinfo_protection_2{node=\"1\",zone=\"Normal\"} 3",
            ]
        );
    }

    #[test]
    fn a_malformed_heading_is_refused() {
        assert_eq!(parse_heading("12, zone  DMA32"), Ok(("12", "DMA32")));
        assert_eq!(malformed(parse_heading("0 zone DMA")), "bad node and zone: \"0 zone DMA\"");
        assert_eq!(malformed(parse_heading("0, DMA")), "bad node and zone: \"0, DMA\"");
    }
}
