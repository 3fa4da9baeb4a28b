//! Statistics of bcache, from `/sys/fs/bcache/<uuid>`.
//!
//! The kernel prints large amounts with a unit of 1024 and a fraction (`bch_hprint()` in
//! `drivers/md/bcache/util.c`). Older kernels count the fraction in 1024th parts, newer ones in
//! tenths: both are read as `node_exporter` reads them. The kernel walks over all buckets to
//! write `priority_stats`.

use crate::{
    parse::{self, decimal, is_digits},
    prelude::*,
};

pub const SPEC: Spec = Spec {
    name: "bcache",
    enabled: true,
    capabilities: NONE,
    flags: &[&PRIORITY_STATS],
    new: |host, flags| {
        Ok(Box::new(Bcache {
            folder: host.sys.folder("fs/bcache"),
            names: Names::default(),
            priority_stats: flags.get(&PRIORITY_STATS),
        }))
    },
};

const PRIORITY_STATS: Flag<bool> =
    switch("collector.bcache.priorityStats", false, "Expose expensive priority stats.");

macro_rules! rows {
    ($labels:expr; $($key:literal $kind:ident $name:literal $help:literal;)*) => {
        [$(($key, $kind(concat!("node_bcache_", $name), $help).by($labels))),*]
    };
}

/// Files of a cache set.
static SET: [(&str, Metric<1>); 9] = rows! { ["uuid"];
    "average_key_size" gauge "average_key_size_sectors"
        "Average data per key in the btree (sectors).";
    "btree_cache_size" gauge "btree_cache_size_bytes"
        "Amount of memory currently used by the btree cache.";
    "cache_available_percent" gauge "cache_available_percent"
        "Percentage of cache device without dirty data, usable for writeback (may contain clean cached data).";
    "congested" gauge "congested" "Congestion.";
    "root_usage_percent" gauge "root_usage_percent"
        "Percentage of the root btree node in use (tree depth increases if too high).";
    "tree_depth" gauge "tree_depth" "Depth of the btree.";
    "internal/active_journal_entries" gauge "active_journal_entries"
        "Number of journal entries that are newer than the index.";
    "internal/btree_nodes" gauge "btree_nodes" "Total nodes in the btree.";
    "internal/cache_read_races" counter "cache_read_races_total"
        "Counts instances where while data was being read from the cache, the bucket was reused and invalidated - i.e. where the pointer was stale after the read completed.";
};
static READ_DURATION: Metric<1> =
    gauge("node_bcache_btree_read_average_duration_seconds", "Average btree read duration.")
        .by(["uuid"]);

/// Files of a backing device.
static BACKING: [(&str, Metric<2>); 7] = rows! { ["backing_device", "uuid"];
    "dirty_data" gauge "dirty_data_bytes"
        "Amount of dirty data for this backing device in the cache.";
    "stats_total/bypassed" counter "bypassed_bytes_total"
        "Amount of IO (both reads and writes) that has bypassed the cache.";
    "stats_total/cache_hits" counter "cache_hits_total"
        "Hits counted per individual IO as bcache sees them.";
    "stats_total/cache_misses" counter "cache_misses_total"
        "Misses counted per individual IO as bcache sees them.";
    "stats_total/cache_bypass_hits" counter "cache_bypass_hits_total"
        "Hits for IO intended to skip the cache.";
    "stats_total/cache_bypass_misses" counter "cache_bypass_misses_total"
        "Misses for IO intended to skip the cache.";
    "stats_total/cache_miss_collisions" counter "cache_miss_collisions_total"
        "Instances where data insertion from cache miss raced with write (data already present).";
};
static READAHEADS: Metric<2> =
    counter("node_bcache_cache_readaheads_total", "Count of times readahead occurred.")
        .by(["backing_device", "uuid"]);

/// Lines of a backing device's `writeback_rate_debug`.
static WRITEBACK: [(&str, Metric<2>); 5] = rows! { ["backing_device", "uuid"];
    "target:" gauge "dirty_target_bytes"
        "Current dirty data target threshold for this backing device in bytes.";
    "rate:" gauge "writeback_rate" "Current writeback rate for this backing device in bytes.";
    "proportional:" gauge "writeback_rate_proportional_term"
        "Current result of proportional controller, part of writeback rate";
    "integral:" gauge "writeback_rate_integral_term"
        "Current result of integral controller, part of writeback rate";
    "change:" gauge "writeback_change"
        "Last writeback rate change step for this backing device.";
};

/// Files of a cache device.
static CACHE: [(&str, Metric<2>); 3] = rows! { ["cache_device", "uuid"];
    "io_errors" gauge "io_errors"
        "Number of errors that have occurred, decayed by io_error_halflife.";
    "metadata_written" counter "metadata_written_bytes_total"
        "Sum of all non data writes (btree writes and all other metadata).";
    "written" counter "written_bytes_total"
        "Sum of all data that has been written to the cache.";
};

/// Lines of a cache device's `priority_stats`.
static PRIORITY: [(&str, Metric<2>); 2] = rows! { ["cache_device", "uuid"];
    "Unused:" gauge "priority_stats_unused_percent"
        "The percentage of the cache that doesn't contain any data.";
    "Metadata:" gauge "priority_stats_metadata_percent" "Bcache's metadata overhead.";
};

struct Bcache {
    folder: Folder,
    /// Room for the names in a cache set's directory.
    names: Names,
    priority_stats: bool,
}

impl Collector for Bcache {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { folder, names, priority_stats } = self;
        let entries = match folder.list() {
            Err(error) if error.is_absent() => return Ok(()),
            entries => entries?,
        };
        let mut faults = Faults::default();
        for entry in entries.filter(|entry| entry.bytes().contains(&b'-')) {
            put_set(&entry, names, *priority_stats, &mut faults, out);
        }
        faults.end()
    }
}

fn put_set(
    entry: &Entry<'_>,
    names: &mut Names,
    priority_stats: bool,
    faults: &mut Faults,
    out: &mut Sink,
) {
    let Some(dir) = faults.read(entry.dir()) else { return };
    let uuid = entry.name();
    for (file, metric) in &SET {
        if let Some(value) = value(&dir, file, faults) {
            out.put(metric, [&uuid], value);
        }
    }
    // The file's name says microseconds, but the kernel writes nanoseconds.
    if let Some(duration) = value(&dir, "internal/btree_read_average_duration_us", faults) {
        out.put(&READ_DURATION, [&uuid], duration * 1e-9);
    }
    let Some(entries) = faults.read(dir.list(names).map(Some)) else { return };
    for entry in entries {
        let name = entry.name();
        let is = |kind| name.strip_prefix(kind).is_some_and(|n: &str| n.starts_with(digit));
        if is("bdev") {
            put_backing(&entry, &uuid, faults, out);
        } else if is("cache") {
            put_cache(&entry, &uuid, priority_stats, faults, out);
        }
    }
}

const fn digit(c: char) -> bool {
    c.is_ascii_digit()
}

fn put_backing(entry: &Entry<'_>, uuid: &str, faults: &mut Faults, out: &mut Sink) {
    let Some(dir) = faults.read(entry.dir()) else { return };
    let device = entry.name();
    for (file, metric) in &BACKING {
        if let Some(value) = value(&dir, file, faults) {
            out.put(metric, [&device, &uuid], value);
        }
    }
    let readaheads = value(&dir, "stats_total/cache_readaheads", faults);
    if let Some(readaheads) = readaheads.filter(|readaheads| *readaheads != 0.0) {
        out.put(&READAHEADS, [&device, &uuid], readaheads);
    }
    put_lines(&dir, "writeback_rate_debug", &WRITEBACK, [&device, uuid], (faults, out));
}

fn put_cache(
    entry: &Entry<'_>,
    uuid: &str,
    priority_stats: bool,
    faults: &mut Faults,
    out: &mut Sink,
) {
    let Some(dir) = faults.read(entry.dir()) else { return };
    let device = entry.name();
    for (file, metric) in &CACHE {
        if let Some(value) = value(&dir, file, faults) {
            out.put(metric, [&device, &uuid], value);
        }
    }
    if priority_stats {
        put_lines(&dir, "priority_stats", &PRIORITY, [&device, uuid], (faults, out));
    }
}

/// Exposes the lines whose first word is a key of `rows` and whose last word is an amount.
fn put_lines(
    dir: &Dir<'_>,
    file: &str,
    rows: &[(&str, Metric<2>)],
    [device, uuid]: [&str; 2],
    (faults, out): (&mut Faults, &mut Sink),
) {
    faults.read(dir.parse(file, |text| {
        parse::rows(text, |line| {
            let mut words = line.split_ascii_whitespace();
            let (Some(key), Some(last)) = (words.next(), words.next_back()) else { return Ok(()) };
            if let Some((_, metric)) = rows.iter().find(|(name, _)| *name == key) {
                let last = last.trim_end_matches("/sec").trim_end_matches('%');
                out.put(metric, [&device, &uuid], amount(last)?);
            }
            Ok(())
        })
    }));
}

/// The amount that a file has; 0 where the device does not have the file.
fn value(dir: &Dir<'_>, file: &str, faults: &mut Faults) -> Option<f64> {
    faults.read_or(0.0, dir.parse(file, amount))
}

/// The whole part of an amount, which may have a unit. The fraction is read as a number divided by
/// 10.24, so that `.9` is less than `.10`: older kernels count it in 1024th parts.
fn amount(text: &str) -> Result<f64, Malformed> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) if digits.starts_with('-') => return Err(Malformed::new("amount", text)),
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let units = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
    let unit = units.iter().position(|unit| digits.ends_with(unit));
    let value = match unit.and_then(|power| Some((i32::try_from(power + 1).ok()?, power))) {
        Some((power, unit)) => {
            let digits = units.get(unit).and_then(|unit| digits.strip_suffix(unit));
            let digits = digits.unwrap_or_default();
            let (whole, parts) = digits.split_once('.').unwrap_or((digits, "0"));
            if !is_digits(whole) || !is_digits(parts) {
                return Err(Malformed::new("amount", text));
            }
            let (whole, parts) = (decimal("amount", whole)?, decimal("amount", parts)?);
            (whole + parts / 10.24) * 1024_f64.powi(power)
        }
        None => decimal("amount", digits)?,
    };
    let value = value.trunc();
    Ok(if negative && value > 0.0 { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;

    #[test]
    fn amounts_have_units() {
        let of = |text| amount(text).map(|bytes| bytes.to_string());
        assert_eq!(of("512").unwrap(), "512");
        assert_eq!(of("1k").unwrap(), "1024");
        assert_eq!(of("1.1M").unwrap(), "1150976");
        assert_eq!(of("-12.5k").unwrap(), "-12788");
        assert_eq!(of("-0").unwrap(), "0");
        for wrong in ["", "k", "-", "--1", "1.k", "1.x", "1.5.5k", "1x", "inf", "NaN"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_device_that_cannot_be_read_hides_no_other() {
        let machine = Machine::new()
            .with("sys/fs/bcache/register", "")
            .with("sys/fs/bcache/a-b/tree_depth", "1\n")
            .with("sys/fs/bcache/a-b/bdev0/dirty_data", "x\n")
            .with("sys/fs/bcache/a-b/bdev0/stats_total/bypassed", "-1\n")
            .with("sys/fs/bcache/a-b/bdev0/writeback_rate_debug", "rate:\tx/sec\ntarget:\t1k\n")
            .with("sys/fs/bcache/a-b/bdev1/dirty_data", "2k\n")
            .with("sys/fs/bcache/a-b/cache0/priority_stats", "Unused:\t99%\nQuantiles:\t[0 0]\n")
            .with("sys/fs/bcache/a-b/cache_available_percent", "7\n");
        let (text, result) = machine.collect(&SPEC, &["--collector.bcache.priorityStats"]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("a-b/bdev0/dirty_data: bad amount: \"x\""), "{error}");
        for line in [
            "node_bcache_dirty_data_bytes{backing_device=\"bdev1\",uuid=\"a-b\"} 2048",
            "node_bcache_bypassed_bytes_total{backing_device=\"bdev0\",uuid=\"a-b\"} -1",
            "node_bcache_dirty_target_bytes{backing_device=\"bdev0\",uuid=\"a-b\"} 1024",
            "node_bcache_priority_stats_unused_percent{cache_device=\"cache0\",uuid=\"a-b\"} 99",
            "node_bcache_cache_available_percent{uuid=\"a-b\"} 7",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}: {text}");
        }
        assert!(!machine.collect(&SPEC, &[]).0.contains("priority"));
        assert!(Machine::new().collect(&SPEC, &[]).1.is_ok());
    }
}
