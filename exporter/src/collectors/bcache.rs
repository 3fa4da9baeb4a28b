//! Statistics of bcache, from `/sys/fs/bcache/<uuid>`.
//!
//! Large amounts are given with a unit of 1024 and a digit after the point (`bch_hprint()` in
//! `drivers/md/bcache/util.c`), which is of 1024 parts in older kernels: `1.1M` is read as
//! `node_exporter` reads it. `priority_stats` costs a walk over all buckets.

use crate::{parse::number, prelude::*};

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
        entries
            .filter(|entry| entry.bytes().contains(&b'-'))
            .map(|entry| put_set(&entry, names, *priority_stats, out))
            .fold(Ok(()), Result::and)
    }
}

fn put_set(entry: &Entry<'_>, names: &mut Names, priority_stats: bool, out: &mut Sink) -> Result {
    let Some(dir) = entry.dir()? else { return Ok(()) };
    let uuid = entry.name();
    for (file, metric) in &SET {
        out.put(metric, [&uuid], value(&dir, file)?);
    }
    // Called microseconds, but nanoseconds.
    let duration = value(&dir, "internal/btree_read_average_duration_us")? * 1e-9;
    out.put(&READ_DURATION, [&uuid], duration);
    let mut result = Ok(());
    for entry in dir.list(names)? {
        let name = entry.name();
        let is = |kind| name.strip_prefix(kind).is_some_and(|n: &str| n.starts_with(digit));
        let put = if is("bdev") {
            put_backing(&entry, &uuid, out)
        } else if is("cache") {
            put_cache(&entry, &uuid, priority_stats, out)
        } else {
            Ok(())
        };
        result = result.and(put);
    }
    result
}

const fn digit(c: char) -> bool {
    c.is_ascii_digit()
}

fn put_backing(entry: &Entry<'_>, uuid: &str, out: &mut Sink) -> Result {
    let Some(dir) = entry.dir()? else { return Ok(()) };
    let device = entry.name();
    for (file, metric) in &BACKING {
        out.put(metric, [&device, &uuid], value(&dir, file)?);
    }
    let readaheads = value(&dir, "stats_total/cache_readaheads")?;
    if readaheads > 0.0 {
        out.put(&READAHEADS, [&device, &uuid], readaheads);
    }
    put_lines(&dir, "writeback_rate_debug", &WRITEBACK, [&device, uuid], out)
}

fn put_cache(entry: &Entry<'_>, uuid: &str, priority_stats: bool, out: &mut Sink) -> Result {
    let Some(dir) = entry.dir()? else { return Ok(()) };
    let device = entry.name();
    for (file, metric) in &CACHE {
        out.put(metric, [&device, &uuid], value(&dir, file)?);
    }
    if priority_stats {
        put_lines(&dir, "priority_stats", &PRIORITY, [&device, uuid], out)?;
    }
    Ok(())
}

/// Exposes lines of a keyword and an amount.
fn put_lines(
    dir: &Dir<'_>,
    file: &str,
    rows: &[(&str, Metric<2>)],
    [device, uuid]: [&str; 2],
    out: &mut Sink,
) -> Result {
    let Some(text) = dir.text(file)? else { return Ok(()) };
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(key), Some(last)) = (words.next(), words.next_back()) else { continue };
        let Some((_, metric)) = rows.iter().find(|(name, _)| *name == key) else { continue };
        let last = last.trim_end_matches("/sec").trim_end_matches('%');
        let value = amount(last).map_err(|source| Error::Parse { path: dir.path(file), source })?;
        out.put(metric, [&device, &uuid], value);
    }
    Ok(())
}

/// The amount in a file; 0 where it is not there.
fn value(dir: &Dir<'_>, file: &str) -> Result<f64> {
    let Some(text) = dir.text(file)? else { return Ok(0.0) };
    amount(&text).map_err(|source| Error::Parse { path: dir.path(file), source })
}

/// An amount with a unit or none, in whole numbers. The digits after the point count as of 1024,
/// in tenths: `.9` of an older kernel is less than its `.10`.
fn amount(text: &str) -> Result<f64, Malformed> {
    let (negative, digits) = match text.strip_prefix('-') {
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
            let (whole, parts): (u64, u64) = (number("amount", whole)?, number("amount", parts)?);
            (whole as f64 + parts as f64 / 10.24) * 1024_f64.powi(power)
        }
        None => number("amount", digits)?,
    };
    if !value.is_finite() {
        return Err(Malformed::new("amount", text));
    }
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
        for wrong in ["", "k", "-", "1.k", "1.x", "1.5.5k", "1x", "inf", "NaN"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_device_that_cannot_be_read_hides_no_other() {
        let machine = Machine::new()
            .with("sys/fs/bcache/register", "")
            .with("sys/fs/bcache/a-b/tree_depth", "1\n")
            .with("sys/fs/bcache/a-b/bdev0/dirty_data", "x\n")
            .with("sys/fs/bcache/a-b/bdev1/dirty_data", "2k\n")
            .with("sys/fs/bcache/a-b/cache0/priority_stats", "Unused:\t99%\nQuantiles:\t[0 0]\n")
            .with("sys/fs/bcache/a-b/cache_available_percent", "7\n");
        let (text, result) = machine.collect(&SPEC, &["--collector.bcache.priorityStats"]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("a-b/bdev0/dirty_data: bad amount: \"x\""), "{error}");
        for line in [
            "node_bcache_dirty_data_bytes{backing_device=\"bdev1\",uuid=\"a-b\"} 2048",
            "node_bcache_priority_stats_unused_percent{cache_device=\"cache0\",uuid=\"a-b\"} 99",
            "node_bcache_cache_available_percent{uuid=\"a-b\"} 7",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}: {text}");
        }
        assert!(!machine.collect(&SPEC, &[]).0.contains("priority"));
        assert!(Machine::new().collect(&SPEC, &[]).1.is_ok());
    }
}
