//! Zones of memory, from `/proc/zoneinfo`.
//!
//! A paragraph for each zone, begun by `Node 0, zone Normal`; what is told of a node stands in its
//! first zone (`mm/vmstat.c`). A line is a name and a number; of those not in the table below, and
//! those that are no number, none is exposed. `protection` is a list, a family for each place.

use crate::{exposition::Kind, prelude::*};

pub const SPEC: Spec = Spec {
    name: "zoneinfo",
    enabled: false,
    capabilities: NONE,
    flags: &[],
    new: |host, _| {
        Ok(Box::new(ZoneInfo { file: host.proc.file("zoneinfo"), protection: Vec::new() }))
    },
};

/// The kernel's name of a field, and what it is exposed as.
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
            for line in text.lines() {
                if let Some(heading) = line.strip_prefix("Node ") {
                    (node, zone) = parse_heading(heading)?;
                    continue;
                }
                let Some((field, value)) = line.trim_ascii_start().split_once(' ') else {
                    continue;
                };
                if field == "protection:" {
                    put_protection([node, zone], value, protection, out);
                } else if let Some((_, metric)) = FIELDS.iter().find(|(name, _)| *name == field)
                    && let Ok(number) = value.trim_ascii().parse::<i64>()
                {
                    out.put(metric, [&node, &zone], number);
                }
            }
            Ok(())
        })
    }
}

/// Node and zone of `0, zone   Normal`.
fn parse_heading(text: &str) -> Result<(&str, &str), Malformed> {
    let parts = text.split_once(',').and_then(|(node, rest)| {
        Some((node, rest.trim_ascii().strip_prefix("zone")?.trim_ascii()))
    });
    parts.ok_or_else(|| Malformed::new("node and zone", text))
}

/// Exposes `(0, 3019, 20427)`; nothing where one of them is no number.
fn put_protection(
    [node, zone]: [&str; 2],
    text: &str,
    metrics: &mut Vec<Metric<2>>,
    out: &mut Sink,
) {
    let list = text.trim_ascii().trim_start_matches('(').trim_end_matches(')');
    let numbers = || list.split(',').map(|number| number.trim_ascii().parse::<i64>());
    if numbers().any(|number| number.is_err()) {
        return;
    }
    for (i, number) in numbers().flatten().enumerate() {
        if metrics.len() == i {
            metrics.push(Metric::named(
                Kind::Gauge,
                format!("node_zoneinfo_protection_{i}"),
                format!("Protection array {i}. field"),
                ["node", "zone"],
            ));
        }
        if let Some(metric) = metrics.get(i) {
            out.put(metric, [&node, &zone], number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, malformed};

    #[test]
    fn lines_that_are_not_known_or_no_number_are_skipped() {
        let machine = Machine::new().with(
            "proc/zoneinfo",
            "Node 1, zone   Normal\n  pages free  5\n   min x\n   low 7\n   high: 8\n   protection: (0, x)\n  per-node stats\n\n",
        );
        let (text, result) = machine.collect(&SPEC, &[]);
        result.unwrap();
        assert!(
            text.ends_with("\nnode_zoneinfo_low_pages{node=\"1\",zone=\"Normal\"} 7\n"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn refuses_what_is_no_heading() {
        assert_eq!(parse_heading("12, zone  DMA32"), Ok(("12", "DMA32")));
        assert_eq!(malformed(parse_heading("0 zone DMA")), "bad node and zone: \"0 zone DMA\"");
        assert_eq!(malformed(parse_heading("0, DMA")), "bad node and zone: \"0, DMA\"");
    }
}
