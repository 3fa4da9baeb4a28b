//! Statistics of mounted bcachefs, from `/sys/fs/bcachefs/<uuid>`.
//!
//! Tables and pairs meant to be read by people: most amounts have three digits and a unit of
//! 1024 (`62.5k`), so that they are not exact. Files differ from release to release; what is not
//! there is left out. A counter's name is its file's.

use crate::{exposition::Kind, parse::number, prelude::*};
use hashbrown::HashMap;

pub const SPEC: Spec = Spec {
    name: "bcachefs",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| {
        Ok(Box::new(Bcachefs {
            folder: host.sys.folder("fs/bcachefs"),
            names: Names::default(),
            counters: HashMap::new(),
        }))
    },
};

static INFO: Metric<1> = gauge("node_bcachefs_info", "Filesystem information.").by(["uuid"]);
static BTREE_CACHE: Metric<1> =
    gauge("node_bcachefs_btree_cache_size_bytes", "Btree cache memory usage in bytes.")
        .by(["uuid"]);
static COMPRESSED: Metric<2> =
    gauge("node_bcachefs_compression_compressed_bytes", "Compressed size by algorithm.")
        .by(["algorithm", "uuid"]);
static UNCOMPRESSED: Metric<2> =
    gauge("node_bcachefs_compression_uncompressed_bytes", "Uncompressed size by algorithm.")
        .by(["algorithm", "uuid"]);
static ERRORS: Metric<2> =
    counter("node_bcachefs_errors_total", "Error count by error type.").by(["error_type", "uuid"]);
static BTREE_WRITES: Metric<2> =
    counter("node_bcachefs_btree_writes_total", "Number of btree writes by type.")
        .by(["type", "uuid"]);
static BTREE_WRITE_SIZE: Metric<2> =
    gauge("node_bcachefs_btree_write_average_size_bytes", "Average btree write size by type.")
        .by(["type", "uuid"]);
static DEVICE: Metric<4> = gauge("node_bcachefs_device_info", "Device information.")
    .by(["device", "label", "state", "uuid"]);
static BUCKET_SIZE: Metric<2> =
    gauge("node_bcachefs_device_bucket_size_bytes", "Bucket size in bytes.").by(["device", "uuid"]);
static BUCKETS: Metric<2> =
    gauge("node_bcachefs_device_buckets", "Total number of buckets.").by(["device", "uuid"]);
static DURABILITY: Metric<2> =
    gauge("node_bcachefs_device_durability", "Device durability setting.").by(["device", "uuid"]);
static IO_DONE: Metric<4> = counter(
    "node_bcachefs_device_io_done_bytes_total",
    "IO bytes by operation type and data type.",
)
.by(["data_type", "device", "operation", "uuid"]);
static IO_ERRORS: Metric<3> =
    counter("node_bcachefs_device_io_errors_total", "IO errors by error type.")
        .by(["device", "type", "uuid"]);

struct Bcachefs {
    folder: Folder,
    /// Room for the names in a directory.
    names: Names,
    /// The metrics of counters that have been seen.
    counters: HashMap<String, Metric<1>>,
}

impl Collector for Bcachefs {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { folder, names, counters } = self;
        let entries = match folder.list() {
            Err(error) if error.is_absent() => return Err(Error::NoData),
            entries => entries?,
        };
        let mut result = Err(Error::NoData);
        for entry in entries {
            let Some(dir) = entry.dir()? else { continue };
            let before = if matches!(result, Err(Error::NoData)) { Ok(()) } else { result };
            result = before.and(put(&dir, &entry.name(), names, counters, out));
        }
        result
    }
}

/// Exposes one file system; a file that cannot be read is an error that hides no other.
fn put(
    dir: &Dir<'_>,
    uuid: &str,
    names: &mut Names,
    counters: &mut HashMap<String, Metric<1>>,
    out: &mut Sink,
) -> Result {
    out.put(&INFO, [&uuid], 1);
    let size = amount_in(dir, "btree_cache_size")
        .map(|size| out.put(&BTREE_CACHE, [&uuid], size.unwrap_or_default()));
    let compression = table(dir, "compression_stats", |kind, mut words| {
        let compressed = amount(words.word("compressed size")?)?;
        out.put(&COMPRESSED, [&kind, &uuid], compressed);
        out.put(&UNCOMPRESSED, [&kind, &uuid], amount(words.word("uncompressed size")?)?);
        Ok(())
    });
    let errors = lines(dir, "errors", |line| {
        let mut words = line.split_ascii_whitespace();
        if let (Some(kind), Some(count)) = (words.next(), words.next()) {
            out.put(&ERRORS, [&kind, &uuid], number::<u64>("number of errors", count)?);
        }
        Ok(())
    });
    let writes = table(dir, "btree_write_stats", |kind, mut words| {
        out.put(&BTREE_WRITES, [&kind, &uuid], words.number::<u64>("number of writes")?);
        out.put(&BTREE_WRITE_SIZE, [&kind, &uuid], amount(words.word("size of writes")?)?);
        Ok(())
    });
    let counted = match dir.dir("counters")? {
        Some(dir) => (dir.list(names)?)
            .map(|entry| put_counter(&dir, &entry.name(), uuid, counters, out))
            .fold(Ok(()), Result::and),
        None => Ok(()),
    };
    let mut devices = Ok(());
    for entry in dir.list(names)? {
        let name = entry.name();
        let Some(name) = name.strip_prefix("dev-") else { continue };
        let Some(device) = entry.dir()? else { continue };
        devices = devices.and(put_device(&device, name, uuid, out));
    }
    size.and(compression).and(errors).and(writes).and(counted).and(devices)
}

fn put_counter(
    dir: &Dir<'_>,
    name: &str,
    uuid: &str,
    counters: &mut HashMap<String, Metric<1>>,
    out: &mut Sink,
) -> Result {
    let Some(text) = dir.text(name)? else { return Ok(()) };
    let value =
        parse_counter(&text).map_err(|source| Error::Parse { path: dir.path(name), source })?;
    let metric = counters.entry_ref(name).or_insert_with(|| {
        let valid = name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '_', "_");
        Metric::named(
            Kind::Counter,
            format!("node_bcachefs_{valid}_total"),
            format!("Bcachefs counter {name} since filesystem creation."),
            ["uuid"],
        )
    });
    out.put(metric, [&uuid], value);
    Ok(())
}

fn put_device(dir: &Dir<'_>, device: &str, uuid: &str, out: &mut Sink) -> Result {
    let (label, state) = (dir.text("label")?, dir.text("state")?);
    let (label, state) =
        (label.as_deref().unwrap_or_default(), state.as_deref().unwrap_or_default());
    out.put(&DEVICE, [&device, &label, &state, &uuid], 1);
    let bucket = amount_in(dir, "bucket_size")
        .map(|size| out.put(&BUCKET_SIZE, [&device, &uuid], size.unwrap_or_default()));
    let buckets = dir
        .number::<u64>("nbuckets")
        .map(|n| out.put(&BUCKETS, [&device, &uuid], n.unwrap_or_default()));
    let durability = dir
        .number::<u64>("durability")
        .map(|n| out.put(&DURABILITY, [&device, &uuid], n.unwrap_or_default()));
    let mut operation = None;
    let done = lines(dir, "io_done", |line| {
        operation = match line.trim() {
            "read:" => Some("read"),
            "write:" => Some("write"),
            _ => operation,
        };
        if let Some(operation) = operation
            && let Some((kind, bytes)) = pair(line)
        {
            let bytes: u64 = number("number of bytes", bytes)?;
            out.put(&IO_DONE, [&kind, &device, &operation, &uuid], bytes);
        }
        Ok(())
    });
    let mut is_wanted = false;
    let errors = lines(dir, "io_errors", |line| {
        if let Some(since) = line.strip_prefix("IO errors since ") {
            is_wanted = since.starts_with("filesystem creation");
        } else if is_wanted && let Some((kind, count)) = pair(line) {
            let count: u64 = number("number of errors", count)?;
            out.put(&IO_ERRORS, [&device, &kind, &uuid], count);
        }
        Ok(())
    });
    bucket.and(buckets).and(durability).and(done).and(errors)
}

/// The sides of a colon, unless the right one is empty.
fn pair(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    Some((name.trim(), value.trim())).filter(|(_, value)| !value.is_empty())
}

/// Gives `line` each line of a file.
fn lines(dir: &Dir<'_>, name: &str, mut line: impl FnMut(&str) -> Result<(), Malformed>) -> Result {
    let Some(text) = dir.text(name)? else { return Ok(()) };
    (text.lines().map(&mut line).fold(Ok(()), Result::and))
        .map_err(|source| Error::Parse { path: dir.path(name), source })
}

/// Gives `row` the first word and the others of each line of a table but the head.
fn table(
    dir: &Dir<'_>,
    name: &str,
    mut row: impl FnMut(&str, std::str::SplitAsciiWhitespace<'_>) -> Result<(), Malformed>,
) -> Result {
    let mut head = true;
    lines(dir, name, |line| {
        let mut words = line.split_ascii_whitespace();
        match (std::mem::take(&mut head), words.next()) {
            (false, Some(name)) if words.clone().count() >= 2 => {
                row(name.trim_end_matches(':'), words)
            }
            _ => Ok(()),
        }
    })
}

fn amount_in(dir: &Dir<'_>, name: &str) -> Result<Option<f64>> {
    let Some(text) = dir.text(name)?.filter(|text| !text.is_empty()) else { return Ok(None) };
    let bytes = amount(&text).map_err(|source| Error::Parse { path: dir.path(name), source })?;
    Ok(Some(bytes))
}

/// A number with a unit of 1024 or none, in whole bytes.
fn amount(text: &str) -> Result<f64, Malformed> {
    let units = ["k", "m", "g", "t", "p", "e"];
    let unit = text.chars().next_back().map(|unit| unit.to_ascii_lowercase());
    let power = units.iter().position(|name| unit.is_some_and(|unit| name.starts_with(unit)));
    let digits = text.strip_suffix(|_| power.is_some()).unwrap_or(text);
    let power = power.and_then(|power| i32::try_from(power + 1).ok()).unwrap_or(0);
    let value: f64 = number("amount", digits.trim())?;
    if !value.is_finite() || value < 0.0 {
        return Err(Malformed::new("amount", text));
    }
    Ok((value * 1024_f64.powi(power)).trunc())
}

/// A counter's value since the file system was made; 0 where only that since the mount is told.
fn parse_counter(text: &str) -> Result<f64, Malformed> {
    let value = |prefix| text.lines().find_map(|line| line.strip_prefix(prefix));
    match (value("since filesystem creation:"), value("since mount:")) {
        (Some(since), _) => amount(since.trim()),
        (None, Some(_)) => Ok(0.0),
        (None, None) => Err(Malformed::new("counter", text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, expect, malformed};

    #[test]
    fn amounts_have_units() {
        let of = |text| amount(text).map(|bytes| bytes.to_string());
        assert_eq!(of("512").unwrap(), "512");
        assert_eq!(of("1.5k").unwrap(), "1536");
        assert_eq!(of("2.00M").unwrap(), "2097152");
        assert_eq!(of("1.01k").unwrap(), "1034");
        assert_eq!(of("1P").unwrap(), 1024_u64.pow(5).to_string());
        for wrong in ["", "k", "x", "-1", "inf", "1kk", "1 x"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn counters_are_told_in_two_ways() {
        let text = "since mount:  3\nsince filesystem creation:  7\n";
        assert_eq!(parse_counter(text).unwrap().to_string(), "7");
        assert_eq!(parse_counter("since mount: 3").unwrap().to_string(), "0");
        assert_eq!(malformed(parse_counter("7")), "bad counter: \"7\"");
    }

    #[test]
    fn what_cannot_be_read_hides_nothing_else() {
        let machine = Machine::new()
            .with("sys/fs/bcachefs/a/errors", "one 1\ntwo x\nthree 3 4\n")
            .with("sys/fs/bcachefs/a/btree_write_stats", "nr size\ninitial: 4\njournal: 2 1k\n")
            .with("sys/fs/bcachefs/a/dev-0/nbuckets", "x\n")
            .with("sys/fs/bcachefs/a/dev-0/io_done", "user: 9\nread:\nuser : 7\nwrite:\nuser:\n")
            .with("sys/fs/bcachefs/a/dev-0/io_errors", "IO errors since 8 y ago\n  read: 4\n")
            .with("sys/fs/bcachefs/version", "1\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("bcachefs/a/errors: bad number of errors: \"x\""), "{error}");
        let lines: String =
            (text.split_inclusive('\n')).filter(|line| !line.starts_with('#')).collect();
        expect![[r#"
            node_bcachefs_btree_cache_size_bytes{uuid="a"} 0
            node_bcachefs_btree_write_average_size_bytes{type="journal",uuid="a"} 1024
            node_bcachefs_btree_writes_total{type="journal",uuid="a"} 2
            node_bcachefs_device_bucket_size_bytes{device="0",uuid="a"} 0
            node_bcachefs_device_durability{device="0",uuid="a"} 0
            node_bcachefs_device_info{device="0",label="",state="",uuid="a"} 1
            node_bcachefs_device_io_done_bytes_total{data_type="user",device="0",operation="read",uuid="a"} 7
            node_bcachefs_errors_total{error_type="one",uuid="a"} 1
            node_bcachefs_errors_total{error_type="three",uuid="a"} 3
            node_bcachefs_info{uuid="a"} 1
        "#]]
        .assert_eq(&lines);
    }

    #[test]
    fn no_file_system_is_no_data() {
        assert!(matches!(Machine::new().collect(&SPEC, &[]).1, Err(Error::NoData)));
        let machine = Machine::new().with("sys/fs/bcachefs/version", "1\n");
        assert!(matches!(machine.collect(&SPEC, &[]).1, Err(Error::NoData)));
    }
}
