//! Statistics of mounted XFS file systems, from `/sys/fs/xfs/<device>/stats/stats`.
//!
//! Each line has a keyword and its counters (`xfs_stats_format()` in `fs/xfs/xfs_stats.c`), which
//! have 32 bits and wrap. A line that a kernel does not write counts as 0.

use crate::{parse::rows, prelude::*};

pub const SPEC: Spec = Spec {
    name: "xfs",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| Ok(Box::new(Xfs { folder: host.sys.folder("fs/xfs"), room: Vec::new() })),
};

macro_rules! lines {
    ($($keyword:literal { $($name:literal $help:literal,)* })*) => {
        [$((
            $keyword,
            &[$(counter(concat!("node_xfs_", $name, "_total"), $help).by(["device"])),*],
        )),*]
    };
}

const COUNT: usize = 8;
/// The most counters that a line has.
const WIDTH: usize = 7;

/// The lines that are exposed, each with the metrics of its counters.
static LINES: [(&str, &[Metric<1>]); COUNT] = lines! {
    "extent_alloc" {
        "extent_allocation_extents_allocated" "Number of extents allocated for a filesystem.",
        "extent_allocation_blocks_allocated" "Number of blocks allocated for a filesystem.",
        "extent_allocation_extents_freed" "Number of extents freed for a filesystem.",
        "extent_allocation_blocks_freed" "Number of blocks freed for a filesystem.",
    }
    "abt" {
        "allocation_btree_lookups" "Number of allocation B-tree lookups for a filesystem.",
        "allocation_btree_compares" "Number of allocation B-tree compares for a filesystem.",
        "allocation_btree_records_inserted"
            "Number of allocation B-tree records inserted for a filesystem.",
        "allocation_btree_records_deleted"
            "Number of allocation B-tree records deleted for a filesystem.",
    }
    "blk_map" {
        "block_mapping_reads" "Number of block map for read operations for a filesystem.",
        "block_mapping_writes" "Number of block map for write operations for a filesystem.",
        "block_mapping_unmaps" "Number of block unmaps (deletes) for a filesystem.",
        "block_mapping_extent_list_insertions"
            "Number of extent list insertions for a filesystem.",
        "block_mapping_extent_list_deletions" "Number of extent list deletions for a filesystem.",
        "block_mapping_extent_list_lookups" "Number of extent list lookups for a filesystem.",
        "block_mapping_extent_list_compares" "Number of extent list compares for a filesystem.",
    }
    "bmbt" {
        "block_map_btree_lookups" "Number of block map B-tree lookups for a filesystem.",
        "block_map_btree_compares" "Number of block map B-tree compares for a filesystem.",
        "block_map_btree_records_inserted"
            "Number of block map B-tree records inserted for a filesystem.",
        "block_map_btree_records_deleted"
            "Number of block map B-tree records deleted for a filesystem.",
    }
    "dir" {
        "directory_operation_lookup"
            "Number of file name directory lookups which miss the operating systems directory name lookup cache.",
        "directory_operation_create"
            "Number of times a new directory entry was created for a filesystem.",
        "directory_operation_remove"
            "Number of times an existing directory entry was created for a filesystem.",
        "directory_operation_getdents"
            "Number of times the directory getdents operation was performed for a filesystem.",
    }
    "ig" {
        "inode_operation_attempts"
            "Number of times the OS looked for an XFS inode in the inode cache.",
        "inode_operation_found"
            "Number of times the OS looked for and found an XFS inode in the inode cache.",
        "inode_operation_recycled"
            "Number of times the OS found an XFS inode in the cache, but could not use it as it was being recycled.",
        "inode_operation_missed"
            "Number of times the OS looked for an XFS inode in the cache, but did not find it.",
        "inode_operation_duplicates"
            "Number of times the OS tried to add a missing XFS inode to the inode cache, but found it had already been added by another process.",
        "inode_operation_reclaims"
            "Number of times the OS reclaimed an XFS inode from the inode cache to free memory for another purpose.",
        "inode_operation_attribute_changes"
            "Number of times the OS explicitly changed the attributes of an XFS inode.",
    }
    "rw" {
        "write_calls" "Number of write(2) system calls made to files in a filesystem.",
        "read_calls" "Number of read(2) system calls made to files in a filesystem.",
    }
    "vnodes" {
        "vnode_active" "Number of vnodes not on free lists for a filesystem.",
        "vnode_allocate" "Number of times vn_alloc called for a filesystem.",
        "vnode_get" "Number of times vn_get called for a filesystem.",
        "vnode_hold" "Number of times vn_hold called for a filesystem.",
        "vnode_release" "Number of times vn_rele called for a filesystem.",
        "vnode_reclaim" "Number of times vn_reclaim called for a filesystem.",
        "vnode_remove" "Number of times vn_remove called for a filesystem.",
    }
};

struct Xfs {
    folder: Folder,
    /// Room for a file.
    room: Vec<u8>,
}

impl Collector for Xfs {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { folder, room } = self;
        let Some(entries) = folder.list().unless_absent()? else { return Ok(()) };
        let mut faults = Faults::default();
        for entry in entries {
            faults.keep(put(&entry, room, out));
        }
        faults.end()
    }
}

fn put(entry: &Entry<'_>, room: &mut Vec<u8>, out: &mut Sink) -> Result {
    const STATS: &str = "stats/stats";
    let Some(dir) = entry.dir().unless_unreadable()? else { return Ok(()) };
    let Some(bytes) = dir.whole(STATS, room).unless_unreadable()? else { return Ok(()) };
    let mut values = [[Some(0.0); WIDTH]; COUNT];
    let parsed = parse(&String::from_utf8_lossy(bytes), &mut values);
    for ((_, metrics), values) in LINES.iter().zip(values) {
        for (metric, value) in metrics.iter().zip(values) {
            if let Some(value) = value {
                out.put(metric, [&entry.name()], value);
            }
        }
    }
    parsed.map_err(|source| Error::Parse { path: dir.path(STATS), source })
}

/// The counters of each of [`LINES`].
type Values = [[Option<f64>; WIDTH]; COUNT];

/// Puts the counters of the file into `values`; `None` for a malformed counter.
fn parse(text: &str, values: &mut Values) -> Result<(), Malformed> {
    rows(text, |line| {
        let mut words = line.split_ascii_whitespace();
        let keyword = words.next();
        let known = LINES.iter().zip(&mut *values).find(|((name, _), _)| Some(*name) == keyword);
        let Some(((name, metrics), values)) = known else { return Ok(()) };
        let mut faults = Faults::default();
        for (value, _) in values.iter_mut().zip(*metrics) {
            *value = faults.keep(words.decimal(name));
        }
        faults.end()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, malformed};

    #[test]
    fn lines_may_be_missing_unknown_or_longer() {
        let mut values = [[Some(0.0); WIDTH]; COUNT];
        parse("novel x\nrw 1 2 3\n\nxpc\n", &mut values).unwrap();
        assert_eq!(values[6], [1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0].map(Some));
        assert_eq!(values[0], [Some(0.0); WIDTH]);
        assert!(LINES.iter().all(|(_, metrics)| metrics.len() <= WIDTH));
    }

    #[test]
    fn a_counter_that_is_odd_costs_itself_alone() {
        let mut values = [[Some(0.0); WIDTH]; COUNT];
        let text = "rw 1\nabt -1 18446744073709551616 x 4\n";
        assert_eq!(malformed(parse(text, &mut values)), "bad rw: \"\"");
        assert_eq!(values[6][..2], [Some(1.0), None]);
        assert_eq!(values[1][..4], [Some(-1.0), Some(1.844_674_407_370_955_2e19), None, Some(4.0)]);
    }

    #[test]
    fn a_file_system_that_cannot_be_read_hides_no_other() {
        let machine = Machine::new()
            .with("sys/fs/xfs/sda1/stats/stats", "rw x 1\n")
            .with("sys/fs/xfs/sdb1/stats/stats", "rw 1 2\n")
            .with("sys/fs/xfs/stats/stats", "rw 8 9\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        assert!(text.contains("\nnode_xfs_read_calls_total{device=\"sdb1\"} 2\n"), "{text}");
        assert!(text.contains("\nnode_xfs_read_calls_total{device=\"sda1\"} 1\n"), "{text}");
        assert!(
            !text.contains("write_calls_total{device=\"sda1") && !text.contains("\"stats\""),
            "{text}"
        );
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("/sys/fs/xfs/sda1/stats/stats:1: bad rw: \"x\""), "{error}");
        assert!(Machine::new().collect(&SPEC, &[]).1.is_ok());
    }
}
