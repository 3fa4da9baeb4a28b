//! Allocation, commits and devices of mounted btrfs, from `/sys/fs/btrfs/<uuid>` and ioctl(2).
//!
//! Errors and unused space of devices are told by ioctl(2) alone, on a directory of the file
//! system: its mount points are taken from mountinfo. Where none can be opened (another mount
//! namespace, no permission), sizes come from sysfs, and series have no `btrfs_dev_uuid`.

mod ioctl;
mod mounted;

use crate::prelude::*;
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

/// In the kernel's order.
const ERRORS: [&str; 5] = ["write", "read", "flush", "corruption", "generation"];

/// Numbers of devices that are tried: they rise with each device that is ever added.
const MOST_IDS: u64 = 1 << 16;

struct Btrfs {
    folder: Folder,
    mounted: Mounted,
    /// Room for the names in a directory, and for a UUID.
    names: Names,
    id: String,
}

impl Collector for Btrfs {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { folder, mounted, names, id } = self;
        let Some(entries) = folder.list().unless_absent()? else { return Ok(()) };
        // What is no file system (`features`) has no dash in its name.
        let mut systems = entries.filter(|entry| entry.bytes().contains(&b'-')).peekable();
        if systems.peek().is_none() {
            return Ok(());
        }
        let open = mounted.open(out.scrape()).unwrap_or_else(|error| {
            tracing::debug!("btrfs: {error}");
            &[]
        });
        let mut result = Ok(());
        for entry in systems {
            let ioctl = open.iter().find(|open| {
                write_uuid(&open.info.fsid, id);
                entry.bytes() == id.as_bytes()
            });
            result = result.and(put(&entry, ioctl, (&mut *names, &mut *id), out));
        }
        mounted.close();
        result
    }
}

/// Writes a UUID as it is usually written.
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
    out: &mut Sink,
) -> Result {
    let Some(dir) = entry.dir()? else { return Ok(()) };
    let devices = match dir.dir("devices")? {
        Some(devices) => devices.list(names)?.count(),
        None => 0,
    };
    let uuid = dir.text("metadata_uuid")?;
    let name = entry.name();
    let uuid = uuid.as_deref().filter(|uuid| !uuid.is_empty()).unwrap_or(&name);
    let label = dir.bytes("label").unless_unreadable()?; // any bytes
    out.put(&INFO, [&label.as_deref().unwrap_or_default().trim_ascii(), &uuid], 1);
    out.put(&GLOBAL_RESERVE, [&uuid], number(&dir, "allocation/global_rsv_size")?);
    put_commits(&dir, uuid, out)?;
    for kind in ["data", "metadata", "system"] {
        if let Some(allocation) = dir.dir("allocation")?
            && let Some(allocation) = allocation.dir(kind)?
        {
            put_allocation(&allocation, (uuid, kind, devices), names, out)?;
        }
    }
    if let Some(open) = ioctl {
        put_devices(open, uuid, id, out);
    } else if let Some(devices) = dir.dir("devices")? {
        for entry in devices.list(names)? {
            let Some(device) = entry.dir()? else { continue };
            let sectors = number(&device, "size")?;
            out.put(&SYSFS_DEVICE_SIZE, [&entry.name(), &uuid], sectors as f64 * 512.0);
        }
    }
    Ok(())
}

/// A number that counts as 0 where there is none.
fn number(dir: &Dir<'_>, name: &str) -> Result<u64> {
    Ok(dir.number(name)?.unwrap_or_default())
}

fn put_allocation(
    dir: &Dir<'_>,
    (uuid, kind, devices): (&str, &str, usize),
    names: &mut Names,
    out: &mut Sink,
) -> Result {
    out.put(&RESERVED, [&kind, &uuid], number(dir, "bytes_reserved")?);
    for entry in dir.list(names)? {
        // Numbers are files, and there are many; a profile is a directory.
        if is_number(entry.bytes()) {
            continue;
        }
        let Some(profile) = entry.dir()? else { continue };
        let mode = entry.name();
        out.put(&USED, [&kind, &mode, &uuid], number(&profile, "used_bytes")?);
        out.put(&SIZE, [&kind, &mode, &uuid], number(&profile, "total_bytes")?);
        out.put(&RATIO, [&kind, &mode, &uuid], ratio(&mode, devices));
    }
    Ok(())
}

/// Whether an allocation's directory has a number of that name.
fn is_number(name: &[u8]) -> bool {
    name.contains(&b'_') || name == b"flags"
}

/// How much disk one byte takes; by the number of devices where there is parity.
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

/// Since Linux 6.0; zeros before.
fn put_commits(dir: &Dir<'_>, uuid: &str, out: &mut Sink) -> Result {
    let text = dir.text("commit_stats")?;
    let [commits, last, max, all] = parse_commits(text.as_deref().unwrap_or_default())
        .map_err(|source| Error::Parse { path: dir.path("commit_stats"), source })?;
    out.put(&COMMITS, [&uuid], commits);
    out.put(&LAST_COMMIT, [&uuid], last as f64 / 1000.0);
    out.put(&MAX_COMMIT, [&uuid], max as f64 / 1000.0);
    out.put(&ALL_COMMITS, [&uuid], all as f64 / 1000.0);
    Ok(())
}

fn parse_commits(text: &str) -> Result<[u64; 4], Malformed> {
    const NAMES: [&str; 4] = ["commits", "last_commit_ms", "max_commit_ms", "total_commit_ms"];
    let mut values = [0; NAMES.len()];
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let name = words.next();
        let value = words.number("commit_stats")?;
        for (known, slot) in NAMES.iter().zip(&mut values) {
            if Some(*known) == name {
                *slot = value;
            }
        }
    }
    Ok(values)
}

/// What the file system says itself; a device that fails is left out.
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
        out.put(&DEVICE_UNUSED, [id, &name, &uuid], device.total.wrapping_sub(device.used));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, malformed};

    #[test]
    fn commit_stats_may_be_missing_or_novel() {
        assert_eq!(parse_commits(""), Ok([0; 4]));
        assert_eq!(parse_commits("novel 1\nmax_commit_ms 3\ncommits 2\n"), Ok([2, 0, 3, 0]));
        assert_eq!(malformed(parse_commits("commits")), "bad commit_stats: \"\"");
        assert_eq!(malformed(parse_commits("commits x")), "bad commit_stats: \"x\"");
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
        assert!(error.ends_with("btrfs/a-1/commit_stats: bad commit_stats: \"x\""), "{error}");
        let size = "\nnode_btrfs_device_size_bytes{device=\"sda\",uuid=\"c-3\"} 1024\n";
        assert!(text.contains(size), "{text}");
        assert!(!text.contains("features"), "{text}");
        let (text, result) = Machine::new().collect(&SPEC, &[]);
        assert!(text.is_empty() && result.is_ok());
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
