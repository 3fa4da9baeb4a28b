//! Counters of block devices, from `/proc/diskstats`, and what udev knows about them.
//!
//! One device a line (`diskstats_show()` in block/genhd.c): its numbers and name, then 11
//! counters, 15 since Linux 4.18 (discards), 17 since 5.5 (flushes); partitions of Linux 2.6 have
//! fewer and are left out. Sectors are of 512 bytes whatever the device says. The properties are
//! those of udev's database, which need not be there (containers, machines without udev).

use crate::prelude::*;
use std::fmt::Write as _;

pub const SPEC: Spec = Spec {
    name: "diskstats",
    enabled: true,
    capabilities: NONE,
    flags: &[&EXCLUDE, &OLD_EXCLUDE, &INCLUDE],
    new: |host, flags| {
        Ok(Box::new(DiskStats {
            file: host.proc.file("diskstats"),
            filter: PAIR.read(flags)?,
            block: host.sys.folder("block"),
            udev: host.udev.folder(""),
            name: String::new(),
            database: Vec::new(),
        }))
    },
};

static PAIR: FilterFlags =
    FilterFlags { old_exclude: Some(&OLD_EXCLUDE), ..FilterFlags::new(&INCLUDE, &EXCLUDE) };
const EXCLUDE: Flag<Option<Pattern>> = Flag::value(
    "collector.diskstats.device-exclude",
    &[r"^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$"],
    "Regexp of diskstats devices to exclude (mutually exclusive to device-include).",
);
const OLD_EXCLUDE: Flag<Option<Pattern>> = pattern(
    "collector.diskstats.ignored-devices",
    "DEPRECATED: Use collector.diskstats.device-exclude",
)
.hidden();
const INCLUDE: Flag<Option<Pattern>> = pattern(
    "collector.diskstats.device-include",
    "Regexp of diskstats devices to include (mutually exclusive to device-exclude).",
);

static INFO: Metric<9> = gauge("node_disk_info", "Info of /sys/block/<block_device>.").by([
    "device",
    "major",
    "minor",
    "model",
    "path",
    "revision",
    "rotational",
    "serial",
    "wwn",
]);
static FILESYSTEM: Metric<5> = gauge("node_disk_filesystem_info", "Info about disk filesystem.")
    .by(["device", "type", "usage", "uuid", "version"]);
static DEVICE_MAPPER: Metric<6> =
    gauge("node_disk_device_mapper_info", "Info about disk device mapper.")
        .by(["device", "lv_layer", "lv_name", "name", "uuid", "vg_name"]);
static ATA_WRITE_CACHE: Metric<1> =
    gauge("node_disk_ata_write_cache", "ATA disk has a write cache.").by(["device"]);
static ATA_WRITE_CACHE_ENABLED: Metric<1> =
    gauge("node_disk_ata_write_cache_enabled", "ATA disk has its write cache enabled.")
        .by(["device"]);
static ATA_ROTATION_RATE: Metric<1> =
    gauge("node_disk_ata_rotation_rate_rpm", "ATA disk rotation rate in RPMs (0 for SSDs).")
        .by(["device"]);

const COUNTERS: usize = 17;
/// Those that every kernel since 2.6 gives for a disk.
const ALWAYS: usize = 11;

const SECTORS: f64 = 512.0;
const MILLISECONDS: f64 = 0.001;

macro_rules! columns {
    ($($kind:ident $name:literal $unit:expr, $help:literal;)*) => {
        [$(($kind(concat!("node_disk_", $name), $help).by(["device"]), $unit)),*]
    };
}

/// The counters in the order of the file, each with what one unit of it is.
static COLUMNS: [(Metric<1>, f64); COUNTERS] = columns! {
    counter "reads_completed_total" 1.0, "The total number of reads completed successfully.";
    counter "reads_merged_total" 1.0, "The total number of reads merged.";
    counter "read_bytes_total" SECTORS, "The total number of bytes read successfully.";
    counter "read_time_seconds_total" MILLISECONDS,
        "The total number of seconds spent by all reads.";
    counter "writes_completed_total" 1.0, "The total number of writes completed successfully.";
    counter "writes_merged_total" 1.0, "The number of writes merged.";
    counter "written_bytes_total" SECTORS, "The total number of bytes written successfully.";
    counter "write_time_seconds_total" MILLISECONDS,
        "This is the total number of seconds spent by all writes.";
    gauge "io_now" 1.0, "The number of I/Os currently in progress.";
    counter "io_time_seconds_total" MILLISECONDS, "Total seconds spent doing I/Os.";
    counter "io_time_weighted_seconds_total" MILLISECONDS,
        "The weighted # of seconds spent doing I/Os.";
    counter "discards_completed_total" 1.0,
        "The total number of discards completed successfully.";
    counter "discards_merged_total" 1.0, "The total number of discards merged.";
    counter "discarded_sectors_total" 1.0,
        "The total number of sectors discarded successfully.";
    counter "discard_time_seconds_total" MILLISECONDS,
        "This is the total number of seconds spent by all discards.";
    counter "flush_requests_total" 1.0,
        "The total number of flush requests completed successfully";
    counter "flush_requests_time_seconds_total" MILLISECONDS,
        "This is the total number of seconds spent by all flush requests.";
};

struct DiskStats {
    file: File,
    filter: Filter,
    block: Folder,
    udev: Folder,
    /// Room for a file's name.
    name: String,
    /// Room for what udev knows about a device.
    database: Vec<u8>,
}

impl Collector for DiskStats {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { file, filter, block, udev, name, database } = self;
        let block = block.dir().ok().flatten();
        let udev = udev.dir().ok().flatten();
        file.parse(|text| {
            each(text, |disk| {
                if !filter.keeps(disk.name) {
                    return;
                }
                name.clear();
                // In sysfs, `etherd/e0.0` is `etherd!e0.0`.
                name.extend(disk.name.chars().map(|c| if c == '/' { '!' } else { c }));
                name.push_str("/queue/rotational");
                // Partitions have no queue, and count as what does not rotate.
                let rotational = block
                    .as_ref()
                    .and_then(|block| block.number::<u64>(name).ok().flatten())
                    .is_some_and(|rotational| rotational == 1);
                name.clear();
                let _ = write!(name, "b{}:{}", disk.major, disk.minor);
                let known = udev.as_ref().and_then(|udev| {
                    udev.whole(name, database)
                        .inspect_err(|error| tracing::debug!("udev's properties: {error}"))
                        .ok()
                        .flatten()
                });
                put(disk, rotational, &Properties::parse(known.unwrap_or_default()), out);
            })
        })
    }
}

fn put(disk: &Disk<'_>, rotational: bool, known: &Properties<'_>, out: &mut Sink) {
    let device = disk.name;
    // The serial number on the label, or what udev made up; virtio has only the last.
    let serial = [known.scsi_serial, known.serial_short, known.serial]
        .into_iter()
        .find(|serial| !serial.is_empty())
        .unwrap_or_default();
    out.put(
        &INFO,
        [
            &device,
            &disk.major,
            &disk.minor,
            &known.model,
            &known.path,
            &known.revision,
            &u8::from(rotational),
            &serial,
            &known.wwn,
        ],
        1,
    );
    for ((metric, unit), &n) in COLUMNS.iter().zip(disk.counters()) {
        out.put(metric, [&device], n as f64 * unit);
    }
    if !known.fs_type.is_empty() {
        out.put(
            &FILESYSTEM,
            [&device, &known.fs_type, &known.fs_usage, &known.fs_uuid, &known.fs_version],
            1,
        );
    }
    if !known.dm_name.is_empty() {
        out.put(
            &DEVICE_MAPPER,
            [
                &device,
                &known.dm_lv_layer,
                &known.dm_lv_name,
                &known.dm_name,
                &known.dm_uuid,
                &known.dm_vg_name,
            ],
            1,
        );
    }
    if !known.ata.is_empty() {
        for (metric, text) in [
            (&ATA_WRITE_CACHE, known.ata_write_cache),
            (&ATA_WRITE_CACHE_ENABLED, known.ata_write_cache_enabled),
            (&ATA_ROTATION_RATE, known.ata_rotation_rate),
        ] {
            let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
            if let Some(value) = number {
                out.put(metric, [&device], value);
            }
        }
    }
}

/// A line of the file.
#[derive(Debug, PartialEq)]
struct Disk<'a> {
    major: u32,
    minor: u32,
    name: &'a str,
    columns: [u64; COUNTERS],
    /// How many columns there are.
    count: usize,
}

impl Disk<'_> {
    fn counters(&self) -> &[u64] {
        self.columns.get(..self.count).unwrap_or_default()
    }
}

fn each(text: &str, mut disk: impl FnMut(&Disk<'_>)) -> Result<(), Malformed> {
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace().peekable();
        if words.peek().is_none() {
            continue;
        }
        let mut found = Disk {
            major: words.number("major number")?,
            minor: words.number("minor number")?,
            name: words.word("device")?,
            columns: [0; COUNTERS],
            count: 0,
        };
        for (column, word) in found.columns.iter_mut().zip(words) {
            *column = crate::parse::number("disk counter", word)?;
            found.count += 1;
        }
        if found.count >= ALWAYS {
            disk(&found);
        }
    }
    Ok(())
}

/// What udev knows about a device; what it does not know is empty.
macro_rules! properties {
    ($($field:ident $name:literal,)*) => {
        #[derive(Debug, Default, PartialEq)]
        struct Properties<'a> {
            $($field: &'a [u8],)*
        }

        impl<'a> Properties<'a> {
            /// Lines such as `E:ID_MODEL=x`; the other letters are for udev itself.
            fn parse(database: &'a [u8]) -> Self {
                let mut known = Self::default();
                for line in database.split(|&byte| byte == b'\n') {
                    let Some(property) = line.strip_prefix(b"E:") else { continue };
                    let Some(equals) = memchr::memchr(b'=', property) else { continue };
                    let (name, value) = property.split_at(equals);
                    let field = match std::str::from_utf8(name) {
                        $(Ok($name) => &mut known.$field,)*
                        _ => continue,
                    };
                    *field = value.strip_prefix(b"=").unwrap_or_default();
                }
                known
            }
        }
    };
}

properties! {
    ata "ID_ATA",
    ata_rotation_rate "ID_ATA_ROTATION_RATE_RPM",
    ata_write_cache "ID_ATA_WRITE_CACHE",
    ata_write_cache_enabled "ID_ATA_WRITE_CACHE_ENABLED",
    dm_lv_layer "DM_LV_LAYER",
    dm_lv_name "DM_LV_NAME",
    dm_name "DM_NAME",
    dm_uuid "DM_UUID",
    dm_vg_name "DM_VG_NAME",
    fs_type "ID_FS_TYPE",
    fs_usage "ID_FS_USAGE",
    fs_uuid "ID_FS_UUID",
    fs_version "ID_FS_VERSION",
    model "ID_MODEL",
    path "ID_PATH",
    revision "ID_REVISION",
    scsi_serial "SCSI_IDENT_SERIAL",
    serial "ID_SERIAL",
    serial_short "ID_SERIAL_SHORT",
    wwn "ID_WWN",
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, expect, malformed};

    fn parse(text: &str) -> Result<Vec<(String, usize)>, Malformed> {
        let mut disks = Vec::new();
        each(text, |disk| disks.push((disk.name.to_owned(), disk.count)))?;
        Ok(disks)
    }

    #[test]
    fn older_kernels_give_fewer_counters_and_newer_ones_more() {
        let disks = parse(
            "8 1 sda1 1 2 3 4\n\n\
             8 0 sda 1 2 3 4 5 6 7 8 9 10 11\n\
             8 16 sdb 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15\n\
             8 32 sdc 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 nineteen\n",
        );
        let want = [("sda", 11), ("sdb", 15), ("sdc", 17)];
        assert_eq!(disks.unwrap(), want.map(|(name, count)| (name.to_owned(), count)));
    }

    #[test]
    fn refuses_what_is_no_number() {
        assert_eq!(malformed(parse("8 x sda 1")), "bad minor number: \"x\"");
        assert_eq!(malformed(parse("8 0")), "bad device: \"\"");
        assert_eq!(malformed(parse("8 0 sda 1 -2")), "bad disk counter: \"-2\"");
        let (text, result) = Machine::new().collect(&SPEC, &[]);
        assert_eq!(text, "");
        assert!(result.unwrap_err().is_absent());
    }

    #[test]
    fn properties_may_be_odd() {
        let known = Properties::parse(
            b"S:disk/by-id/x\nE:ID_MODEL=a=b\nE:ID_PATH\nE:ID_WWN=1\nE:ID_WWN=\nID_ATA=1\nE:=\nE:",
        );
        assert_eq!(known, Properties { model: b"a=b", ..Properties::default() });
        let line = "8 0 sda 0 0 0 0 0 0 0 0 0 0 0\n";
        let machine = Machine::new().with("proc/diskstats", line).with(
            "udev/b8:0",
            b"E:ID_ATA=1\nE:ID_ATA_WRITE_CACHE=yes\nE:ID_SERIAL=long\nE:ID_SERIAL_SHORT=\nE:ID_MODEL=\xff\n",
        );
        let (text, result) = machine.collect(&SPEC, &[]);
        result.unwrap();
        assert!(text.contains("model=\"\u{fffd}\"") && text.contains("serial=\"long\""), "{text}");
        assert!(!text.contains("ata_write_cache"), "{text}");
    }

    #[test]
    fn names_have_slashes_in_the_file_only() {
        let machine = Machine::new()
            .with("proc/diskstats", "152 0 etherd/e0.0 0 0 0 0 0 0 0 0 0 0 0\n")
            .with("sys/block/etherd!e0.0/queue/rotational", "1\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        result.unwrap();
        let info = text.lines().find(|line| line.starts_with("node_disk_info")).unwrap();
        assert!(info.contains("device=\"etherd/e0.0\"") && info.contains("rotational=\"1\""));
    }

    #[test]
    fn an_include_replaces_the_default_exclude() {
        let counters = "0 0 0 0 0 0 0 0 0 0 0";
        let machine = Machine::new().with(
            "proc/diskstats",
            format!("8 0 sda {counters}\n8 1 sda1 {counters}\n7 0 loop0 {counters}\n"),
        );
        let disks = |args: &[&str]| {
            let (text, result) = machine.collect(&SPEC, args);
            result.unwrap();
            text.lines()
                .filter(|line| line.starts_with("node_disk_io_now"))
                .fold(String::new(), |all, line| all + line + "\n")
        };
        expect![[r#"
            node_disk_io_now{device="sda"} 0
        "#]]
        .assert_eq(&disks(&[]));
        expect![[r#"
            node_disk_io_now{device="sda"} 0
            node_disk_io_now{device="sda1"} 0
        "#]]
        .assert_eq(&disks(&["--collector.diskstats.device-include=sda"]));
        expect![[r#"
            node_disk_io_now{device="loop0"} 0
        "#]]
        .assert_eq(&disks(&["--collector.diskstats.ignored-devices=sd"]));
    }
}
