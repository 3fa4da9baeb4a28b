//! Statistics of mounted bcachefs, from `/sys/fs/bcachefs/<uuid>`.
//!
//! The files are tables and pairs made for people to read: most amounts are rounded to three digits
//! and a unit of 1024 (`62.5k`). Files differ from release to release; an absent file is left out.
//! Each file of `counters` gives its name to a metric.

use crate::{
    exposition::Kind,
    parse::{decimal, rows},
    prelude::*,
};
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
        let mut faults = Faults::default();
        let mut any = false;
        for entry in entries {
            let Some(dir) = faults.read(entry.dir()) else { continue };
            any = true;
            let mut system = System { uuid: &entry.name(), faults: &mut faults, out };
            system.put(&dir, names, counters);
        }
        faults.end()?;
        if any { Ok(()) } else { Err(Error::NoData) }
    }
}

/// One file system while it is read. A file, line or column that is malformed hides no other.
struct System<'a> {
    uuid: &'a str,
    faults: &'a mut Faults,
    out: &'a mut Sink,
}

impl System<'_> {
    fn put(&mut self, dir: &Dir<'_>, names: &mut Names, counters: &mut HashMap<String, Metric<1>>) {
        let uuid = self.uuid;
        self.out.put(&INFO, [&uuid], 1);
        if let Some(size) = self.faults.read_or(0.0, amount_in(dir, "btree_cache_size")) {
            self.out.put(&BTREE_CACHE, [&uuid], size);
        }
        self.put_table(dir, "compression_stats", [&COMPRESSED, &UNCOMPRESSED], [amount, amount]);
        self.put_errors(dir);
        let writes: fn(&str) -> _ = |text| decimal("number of writes", text);
        self.put_table(
            dir,
            "btree_write_stats",
            [&BTREE_WRITES, &BTREE_WRITE_SIZE],
            [writes, amount],
        );
        if let Some(folder) = self.faults.read(dir.dir("counters"))
            && let Some(entries) = self.faults.read(folder.list(names).map(Some))
        {
            for entry in entries {
                self.put_counter(&folder, &entry.name(), counters);
            }
        }
        let Some(entries) = self.faults.read(dir.list(names).map(Some)) else { return };
        for entry in entries {
            let name = entry.name();
            let Some(name) = name.strip_prefix("dev-") else { continue };
            let Some(device) = self.faults.read(entry.dir()) else { continue };
            self.put_device(&device, name);
            self.put_io_done(&device, name);
            self.put_io_errors(&device, name);
        }
    }

    /// Gives `row` each line of a file.
    fn rows(
        &mut self,
        dir: &Dir<'_>,
        file: &str,
        mut row: impl FnMut(&str, &mut Sink) -> Result<(), Malformed>,
    ) {
        let out = &mut *self.out;
        self.faults.read(dir.parse(file, |text| rows(text, |line| row(line, out))));
    }

    /// Exposes a table: below its head, each line has a name and one word for each of `metrics`.
    fn put_table(
        &mut self,
        dir: &Dir<'_>,
        file: &str,
        metrics: [&Metric<2>; 2],
        parsers: [fn(&str) -> Result<f64, Malformed>; 2],
    ) {
        let uuid = self.uuid;
        let mut is_first = true;
        self.rows(dir, file, |line, out| {
            let mut words = line.split_ascii_whitespace();
            let Some(kind) = words.next() else { return Ok(()) };
            if words.clone().count() < metrics.len() {
                return Ok(());
            }
            // The head is the first line that has no number.
            let is_number = |word: &str| word.contains(|c: char| c.is_ascii_digit());
            if std::mem::take(&mut is_first) && !words.clone().any(is_number) {
                return Ok(());
            }
            let kind = kind.trim_end_matches(':');
            let mut faults = Faults::default();
            for ((metric, parse), word) in metrics.into_iter().zip(parsers).zip(words) {
                if let Some(value) = faults.keep(parse(word)) {
                    out.put(metric, [&kind, &uuid], value);
                }
            }
            faults.end()
        });
    }

    fn put_errors(&mut self, dir: &Dir<'_>) {
        let uuid = self.uuid;
        self.rows(dir, "errors", |line, out| {
            let mut words = line.split_ascii_whitespace();
            if let (Some(kind), Some(count)) = (words.next(), words.next()) {
                out.put(&ERRORS, [&kind, &uuid], decimal("number of errors", count)?);
            }
            Ok(())
        });
    }

    fn put_counter(
        &mut self,
        dir: &Dir<'_>,
        name: &str,
        counters: &mut HashMap<String, Metric<1>>,
    ) {
        let Some(value) = self.faults.read(dir.parse(name, parse_counter)) else { return };
        let metric = counters.entry_ref(name).or_insert_with(|| {
            let valid = name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '_', "_");
            Metric::named(
                Kind::Counter,
                format!("node_bcachefs_{valid}_total"),
                format!("Bcachefs counter {name} since filesystem creation."),
                ["uuid"],
            )
        });
        self.out.put(metric, [&self.uuid], value);
    }

    fn put_device(&mut self, dir: &Dir<'_>, device: &str) {
        let Self { uuid, faults, out } = self;
        let [label, state] = ["label", "state"].map(|file| faults.read(dir.text(file)));
        let (label, state) =
            (label.as_deref().unwrap_or_default(), state.as_deref().unwrap_or_default());
        out.put(&DEVICE, [&device, &label, &state, uuid], 1);
        for (metric, value) in [
            (&BUCKET_SIZE, amount_in(dir, "bucket_size")),
            (&BUCKETS, dir.decimal("nbuckets")),
            (&DURABILITY, dir.decimal("durability")),
        ] {
            if let Some(value) = faults.read_or(0.0, value) {
                out.put(metric, [&device, uuid], value);
            }
        }
    }

    fn put_io_done(&mut self, dir: &Dir<'_>, device: &str) {
        let uuid = self.uuid;
        let mut operation = None;
        self.rows(dir, "io_done", |line, out| {
            operation = match line.trim() {
                "read:" => Some("read"),
                "write:" => Some("write"),
                _ => operation,
            };
            if let Some(operation) = operation
                && let Some((kind, bytes)) = pair(line)
            {
                let bytes = decimal("number of bytes", bytes)?;
                out.put(&IO_DONE, [&kind, &device, &operation, &uuid], bytes);
            }
            Ok(())
        });
    }

    fn put_io_errors(&mut self, dir: &Dir<'_>, device: &str) {
        let uuid = self.uuid;
        let mut is_wanted = false;
        self.rows(dir, "io_errors", |line, out| {
            if let Some(since) = line.strip_prefix("IO errors since ") {
                is_wanted = since.starts_with("filesystem creation");
            } else if is_wanted && let Some((kind, count)) = pair(line) {
                let count = decimal("number of errors", count)?;
                out.put(&IO_ERRORS, [&device, &kind, &uuid], count);
            }
            Ok(())
        });
    }
}

/// The texts before and after a colon; `None` where no text comes after it.
fn pair(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    Some((name.trim(), value.trim())).filter(|(_, value)| !value.is_empty())
}

fn amount_in(dir: &Dir<'_>, name: &str) -> Result<Option<f64>> {
    let Some(text) = dir.text(name)?.filter(|text| !text.is_empty()) else { return Ok(None) };
    amount(&text).map(Some).map_err(|source| Error::Parse { path: dir.path(name), source })
}

/// A number with a unit of 1024 or none, in whole bytes.
fn amount(text: &str) -> Result<f64, Malformed> {
    let units = ["k", "m", "g", "t", "p", "e"];
    let unit = text.chars().next_back().map(|unit| unit.to_ascii_lowercase());
    let power = units.iter().position(|name| unit.is_some_and(|unit| name.starts_with(unit)));
    let digits = text.strip_suffix(|_| power.is_some()).unwrap_or(text);
    let power = power.and_then(|power| i32::try_from(power + 1).ok()).unwrap_or(0);
    let value = decimal("amount", digits.trim())?;
    Ok((value * 1024_f64.powi(power)).trunc())
}

/// A counter's value since the file system was made; 0 where the file has only the value since
/// the mount.
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
        for wrong in ["", "k", "x", "--1", "inf", "1kk", "1 x"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn counters_are_written_in_two_forms() {
        let text = "since mount:  3\nsince filesystem creation:  7\n";
        assert_eq!(parse_counter(text).unwrap().to_string(), "7");
        assert_eq!(parse_counter("since mount: 3").unwrap().to_string(), "0");
        assert_eq!(malformed(parse_counter("7")), "bad counter: \"7\"");
    }

    #[test]
    fn an_unreadable_file_hides_no_other() {
        let machine = Machine::new()
            .with("sys/fs/bcachefs/a/errors", "one 1\ntwo x\nthree 3 4\n")
            .with(
                "sys/fs/bcachefs/a/btree_write_stats",
                "nr size\ninitial: 4\njournal: 2 1k\nother: y -1\n",
            )
            .with("sys/fs/bcachefs/a/dev-0/nbuckets", "x\n")
            .with("sys/fs/bcachefs/a/dev-0/io_done", "user: 9\nread:\nuser : 7\nwrite:\nuser:\n")
            .with("sys/fs/bcachefs/a/dev-0/io_errors", "IO errors since 8 y ago\n  read: 4\n")
            .with("sys/fs/bcachefs/version", "1\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("bcachefs/a/errors:2: bad number of errors: \"x\""), "{error}");
        let lines: String =
            (text.split_inclusive('\n')).filter(|line| !line.starts_with('#')).collect();
        expect![[r#"
            node_bcachefs_btree_cache_size_bytes{uuid="a"} 0
            node_bcachefs_btree_write_average_size_bytes{type="journal",uuid="a"} 1024
            node_bcachefs_btree_write_average_size_bytes{type="other",uuid="a"} -1
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
