//! Allocation, commits and devices of mounted btrfs, from `/sys/fs/btrfs/<uuid>` and ioctl(2).
//!
//! Only ioctl(2), called on a directory of the file system, tells errors and unused space of its
//! devices; the directories are the mount points that mountinfo lists. Where no mount point can be
//! opened (another mount namespace, no permission), sizes come from sysfs, and series have no
//! `btrfs_dev_uuid`.

mod ioctl;
mod mounted;

use crate::{parse::rows, prelude::*};
use ioctl::{device_info, device_stats};
use mounted::{Mounted, Open};
use rustix::io::Errno;
use std::fmt::Write as _;

pub const SPEC: Spec = Spec {
    name: "btrfs",
    enabled: true,
    capabilities: CapabilitySet::DAC_READ_SEARCH,
    flags: &[],
    new: |host, _| {
        Ok(Box::new(Btrfs {
            folder: host.sys.folder("fs/btrfs"),
            mounted: Mounted::new(host),
            names: Names::default(),
            id: String::new(),
        }))
    },
};

static INFO: Metric<2> = gauge("node_btrfs_info", "Filesystem information").by(["label", "uuid"]);
static GLOBAL_RESERVE: Metric<1> =
    gauge("node_btrfs_global_rsv_size_bytes", "Size of global reserve.").by(["uuid"]);
static COMMITS: Metric<1> =
    counter("node_btrfs_commits_total", "The total number of commits that have occurred.")
        .by(["uuid"]);
static LAST_COMMIT: Metric<1> =
    gauge("node_btrfs_last_commit_seconds", "Duration of the most recent commit, in seconds.")
        .by(["uuid"]);
static MAX_COMMIT: Metric<1> =
    gauge("node_btrfs_max_commit_seconds", "Duration of the slowest commit, in seconds.")
        .by(["uuid"]);
static ALL_COMMITS: Metric<1> =
    counter("node_btrfs_commit_seconds_total", "Sum of the duration of all commits, in seconds.")
        .by(["uuid"]);
static RESERVED: Metric<2> =
    gauge("node_btrfs_reserved_bytes", "Amount of space reserved for a data type")
        .by(["block_group_type", "uuid"]);
static USED: Metric<3> =
    gauge("node_btrfs_used_bytes", "Amount of used space by a layout/data type").by([
        "block_group_type",
        "mode",
        "uuid",
    ]);
static SIZE: Metric<3> =
    gauge("node_btrfs_size_bytes", "Amount of space allocated for a layout/data type").by([
        "block_group_type",
        "mode",
        "uuid",
    ]);
static RATIO: Metric<3> =
    gauge("node_btrfs_allocation_ratio", "Data allocation ratio for a layout/data type").by([
        "block_group_type",
        "mode",
        "uuid",
    ]);
static SYSFS_DEVICE_SIZE: Metric<2> =
    gauge("node_btrfs_device_size_bytes", "Size of a device that is part of the filesystem.")
        .by(["device", "uuid"]);
static DEVICE_SIZE: Metric<3> =
    gauge("node_btrfs_device_size_bytes", "Size of a device that is part of the filesystem.").by([
        "btrfs_dev_uuid",
        "device",
        "uuid",
    ]);
static DEVICE_UNUSED: Metric<3> = gauge(
    "node_btrfs_device_unused_bytes",
    "Unused bytes unused on a device that is part of the filesystem.",
)
.by(["btrfs_dev_uuid", "device", "uuid"]);
static DEVICE_ERRORS: Metric<4> =
    counter("node_btrfs_device_errors_total", "Errors reported for the device").by([
        "btrfs_dev_uuid",
        "device",
        "type",
        "uuid",
    ]);

/// The kinds of errors, in the kernel's order.
const ERRORS: [&str; 5] = ["write", "read", "flush", "corruption", "generation"];

/// The highest device number that is tried: each device added to a file system gets the next
/// number.
const MOST_IDS: u64 = 1 << 16;

struct Btrfs {
    folder: Folder,
    mounted: Mounted,
    /// Room for the names in a directory.
    names: Names,
    /// Room for a UUID.
    id: String,
}

impl Collector for Btrfs {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { folder, mounted, names, id } = self;
        let Some(entries) = folder.list().unless_absent()? else { return Ok(()) };
        // A file system's directory is named by its UUID, which has dashes; `features` has none.
        let mut systems = entries.filter(|entry| entry.bytes().contains(&b'-')).peekable();
        if systems.peek().is_none() {
            return Ok(());
        }
        let open = mounted.open(out.scrape()).unwrap_or_else(|error| {
            tracing::debug!("btrfs: {error}");
            &[]
        });
        let mut faults = Faults::default();
        for entry in systems {
            let ioctl = open.iter().find(|open| {
                write_uuid(&open.info.fsid, id);
                entry.bytes() == id.as_bytes()
            });
            put(&entry, ioctl, (&mut *names, &mut *id), (&mut faults, out));
        }
        mounted.close();
        faults.end()
    }
}

/// Writes a UUID in the usual form, with dashes.
fn write_uuid(uuid: &[u8; 16], text: &mut String) {
    text.clear();
    if *uuid == [0; 16] {
        text.push_str("<zero>");
        return;
    }
    for (i, byte) in uuid.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
}

fn put(
    entry: &Entry<'_>,
    ioctl: Option<&Open>,
    (names, id): (&mut Names, &mut String),
    (faults, out): (&mut Faults, &mut Sink),
) {
    let Some(dir) = faults.read(entry.dir()) else { return };
    let devices = faults.read(dir.dir("devices"));
    let count = devices.as_ref().and_then(|devices| faults.read(devices.list(names).map(Some)));
    let count = count.map_or(0, Iterator::count);
    let uuid = faults.read(dir.text("metadata_uuid"));
    let name = entry.name();
    let uuid = uuid.as_deref().filter(|uuid| !uuid.is_empty()).unwrap_or(&name);
    let label = faults.read(dir.bytes("label")); // any bytes
    out.put(&INFO, [&label.as_deref().unwrap_or_default().trim_ascii(), &uuid], 1);
    if let Some(bytes) = number(&dir, "allocation/global_rsv_size", faults) {
        out.put(&GLOBAL_RESERVE, [&uuid], bytes);
    }
    faults.keep(put_commits(&dir, uuid, out));
    if let Some(allocation) = faults.read(dir.dir("allocation")) {
        // `mixed` where data and metadata share their block groups (`mkfs.btrfs --mixed`).
        for kind in ["data", "metadata", "mixed", "system"] {
            if let Some(allocation) = faults.read(allocation.dir(kind)) {
                put_allocation(&allocation, (uuid, kind, count), names, (faults, out));
            }
        }
    }
    if let Some(open) = ioctl {
        put_devices(open, uuid, id, out);
    } else if let Some(devices) = devices
        && let Some(entries) = faults.read(devices.list(names).map(Some))
    {
        for entry in entries {
            let Some(device) = faults.read(entry.dir()) else { continue };
            if let Some(sectors) = number(&device, "size", faults) {
                out.put(&SYSFS_DEVICE_SIZE, [&entry.name(), &uuid], sectors * 512.0);
            }
        }
    }
}

/// A number; 0 where the kernel does not have its file.
fn number(dir: &Dir<'_>, name: &str, faults: &mut Faults) -> Option<f64> {
    faults.read_or(0.0, dir.decimal(name))
}

fn put_allocation(
    dir: &Dir<'_>,
    (uuid, kind, devices): (&str, &str, usize),
    names: &mut Names,
    (faults, out): (&mut Faults, &mut Sink),
) {
    if let Some(bytes) = number(dir, "bytes_reserved", faults) {
        out.put(&RESERVED, [&kind, &uuid], bytes);
    }
    let Some(entries) = faults.read(dir.list(names).map(Some)) else { return };
    for entry in entries {
        // Numbers are the many files of the directory; profiles are its directories.
        if is_number(entry.bytes()) {
            continue;
        }
        let Some(profile) = faults.read(entry.dir()) else { continue };
        let mode = entry.name();
        for (metric, file) in [(&USED, "used_bytes"), (&SIZE, "total_bytes")] {
            if let Some(bytes) = number(&profile, file, faults) {
                out.put(metric, [&kind, &mode, &uuid], bytes);
            }
        }
        out.put(&RATIO, [&kind, &mode, &uuid], ratio(&mode, devices));
    }
}

/// Whether the name is that of a number in an allocation's directory.
fn is_number(name: &[u8]) -> bool {
    name.contains(&b'_') || name == b"flags"
}

/// The number of bytes on disk that store one byte. With parity, it depends on the number of
/// devices.
fn ratio(mode: &str, devices: usize) -> f64 {
    let devices = devices as f64;
    match mode {
        "single" | "raid0" => 1.0,
        "dup" | "raid1" | "raid10" => 2.0,
        "raid1c3" => 3.0,
        "raid1c4" => 4.0,
        "raid5" => devices / (devices - 1.0),
        "raid6" => devices / (devices - 2.0),
        _ => 0.0,
    }
}

/// The kernel tells commits since Linux 6.0; before, they are exposed as zeros.
fn put_commits(dir: &Dir<'_>, uuid: &str, out: &mut Sink) -> Result {
    let mut values = [Some(0.0); COMMIT_STATS.len()];
    let parsed = dir.parse("commit_stats", |text| parse_commits(text, &mut values));
    for (value, (_, metric, unit)) in values.into_iter().zip(&COMMIT_STATS) {
        if let Some(value) = value {
            out.put(metric, [&uuid], value / unit);
        }
    }
    parsed.unless_unreadable().map(drop)
}

/// The lines of `commit_stats`, each with its metric and the number of kernel units in one unit of
/// the metric.
const COMMIT_STATS: [(&str, &Metric<1>, f64); 4] = [
    ("commits", &COMMITS, 1.0),
    ("last_commit_ms", &LAST_COMMIT, 1000.0),
    ("max_commit_ms", &MAX_COMMIT, 1000.0),
    ("total_commit_ms", &ALL_COMMITS, 1000.0),
];

/// Sets the values of the lines that the file has: `None` where a value is malformed.
fn parse_commits(
    text: &str,
    values: &mut [Option<f64>; COMMIT_STATS.len()],
) -> Result<(), Malformed> {
    rows(text, |line| {
        let mut words = line.split_ascii_whitespace();
        let Some(name) = words.next() else { return Ok(()) };
        let known = COMMIT_STATS.iter().position(|(known, ..)| *known == name);
        let Some(value) = known.and_then(|known| values.get_mut(known)) else { return Ok(()) };
        *value = None;
        *value = Some(words.decimal("commit_stats")?);
        Ok(())
    })
}

/// Exposes the devices that ioctl(2) lists for the file system; a device that fails is left out.
fn put_devices(open: &Open, uuid: &str, id: &mut String, out: &mut Sink) {
    let mut left = open.info.devices;
    for number in 0..=open.info.max_id.min(MOST_IDS) {
        if left == 0 {
            return;
        }
        let device = match device_info(&open.fd, number) {
            Ok(device) => device,
            Err(Errno::NODEV) => continue,
            Err(error) => {
                tracing::debug!("btrfs: device {number}: {error}");
                continue;
            }
        };
        left -= 1;
        let name = device.name();
        write_uuid(&device.uuid, id);
        out.put(&DEVICE_SIZE, [id, &name, &uuid], device.total);
        out.put(&DEVICE_UNUSED, [id, &name, &uuid], unused(device.total, device.used));
        match device_stats(&open.fd, number) {
            Ok(stats) => {
                for (kind, errors) in ERRORS.iter().zip(stats.errors) {
                    out.put(&DEVICE_ERRORS, [id, &name, kind, &uuid], errors);
                }
            }
            Err(error) => tracing::debug!("btrfs: errors of device {number}: {error}"),
        }
    }
}

/// Unused bytes; negative while a device is being made smaller than its used space.
const fn unused(total: u64, used: u64) -> f64 {
    (total as i128 - used as i128) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;

    #[test]
    fn commit_stats_may_be_missing_novel_or_malformed() {
        let parse = |text| {
            let mut values = [Some(0.0); 4];
            (parse_commits(text, &mut values).map_err(|error| error.to_string()), values)
        };
        let zero = Some(0.0);
        assert_eq!(parse(""), (Ok(()), [zero; 4]));
        let text = "novel x\n\nmax_commit_ms -3\ncommits 2\n";
        assert_eq!(parse(text), (Ok(()), [Some(2.0), zero, Some(-3.0), zero]));
        let wrong = |text: &str| Err(format!("bad commit_stats: \"{text}\""));
        assert_eq!(parse("commits\n"), (wrong(""), [None, zero, zero, zero]));
        let text = "commits x\nlast_commit_ms 1\n";
        assert_eq!(parse(text), (wrong("x"), [None, Some(1.0), zero, zero]));
    }

    #[test]
    fn unused_space_may_be_negative() {
        assert_eq!([unused(5, 3), unused(3, 5)].map(|bytes| bytes.to_string()), ["2", "-2"]);
    }

    #[test]
    fn parity_costs_by_the_number_of_devices() {
        let ratios = ["raid0", "dup", "raid1c3", "raid1c4", "raid5", "raid6", "novel"]
            .map(|mode| ratio(mode, 5).to_string());
        assert_eq!(ratios, ["1", "2", "3", "4", "1.25", "1.6666666666666667", "0"]);
    }

    #[test]
    fn uuids_have_dashes() {
        let mut text = String::new();
        write_uuid(&std::array::from_fn(|i| u8::try_from(i).unwrap()), &mut text);
        assert_eq!(text, "00010203-0405-0607-0809-0a0b0c0d0e0f");
        write_uuid(&[0; 16], &mut text);
        assert_eq!(text, "<zero>");
    }

    #[test]
    fn a_file_system_that_cannot_be_read_hides_no_other() {
        let machine = Machine::new()
            .with("sys/fs/btrfs/features/raid56", "0\n")
            .with("sys/fs/btrfs/a-1/commit_stats", "commits x\n")
            .with("sys/fs/btrfs/b-2/devices/sda/size", "2\n")
            .with("sys/fs/btrfs/b-2/metadata_uuid", "c-3\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("btrfs/a-1/commit_stats:1: bad commit_stats: \"x\""), "{error}");
        let size = "\nnode_btrfs_device_size_bytes{device=\"sda\",uuid=\"c-3\"} 1024\n";
        assert!(text.contains(size), "{text}");
        assert!(!text.contains("features"), "{text}");
        let (text, result) = Machine::new().collect(&SPEC, &[]);
        assert!(text.is_empty() && result.is_ok());
    }

    #[test]
    fn mixed_block_groups_are_exposed_and_a_malformed_number_hides_no_other() {
        let at = |file: &str| format!("sys/fs/btrfs/a-1/allocation/{file}");
        let machine = Machine::new()
            .with(&at("global_rsv_size"), "x\n")
            .with(&at("mixed/bytes_reserved"), "y\n")
            .with(&at("mixed/single/used_bytes"), "-1\n")
            .with(&at("mixed/single/total_bytes"), "99999999999999999999999\n")
            .with(&at("system/single/used_bytes"), "5\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("/global_rsv_size: bad number: \"x\""), "{error}");
        for line in [
            "node_btrfs_used_bytes{block_group_type=\"mixed\",mode=\"single\",uuid=\"a-1\"} -1\n",
            "node_btrfs_size_bytes{block_group_type=\"mixed\",mode=\"single\",uuid=\"a-1\"} 1e+23\n",
            "node_btrfs_used_bytes{block_group_type=\"system\",mode=\"single\",uuid=\"a-1\"} 5\n",
            "node_btrfs_commits_total{uuid=\"a-1\"} 0\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        assert!(!text.contains("block_group_type=\"data\"") && !text.contains("global_rsv"));
    }

    #[test]
    fn labels_need_not_be_utf8() {
        let machine = Machine::new().with("sys/fs/btrfs/a-1/label", b"d\xe4ta\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        result.unwrap();
        assert!(text.contains("info{label=\"d\u{fffd}ta\",uuid=\"a-1\"} 1\n"), "{text}");
        assert!(text.contains("node_btrfs_commits_total"), "{text}");
    }
}
