//! Counters of block devices, from `/proc/diskstats`, and their properties, from udev's database.
//!
//! Each line describes one device (`diskstats_show()` in block/genhd.c): its numbers and name, then
//! 11 counters, 15 since Linux 4.18 (discards), 17 since 5.5 (flushes); partitions of Linux 2.6
//! have fewer and are left out. Sectors are of 512 bytes whatever the device's own sector is.
//! udev's database may be absent (containers, machines without udev).

use crate::{
    parse::{RowOrder, decimal, is_digits},
    prelude::*,
};
use std::{fmt::Write as _, str::SplitAsciiWhitespace};

pub const SPEC: Spec = Spec {
    name: "diskstats",
    enabled: true,
    capabilities: NONE,
    flags: &[&EXCLUDE, &OLD_EXCLUDE, &INCLUDE],
    new: |host, flags| {
        Ok(Box::new(DiskStats {
            file: host.proc.file("diskstats"),
            order: RowOrder::default(),
            filter: PAIR.read(flags)?,
            block: host.sys.devices("block"),
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
/// The number of counters that every kernel since 2.6 gives for a disk.
const ALWAYS: usize = 11;

const SECTORS: f64 = 512.0;
const MILLISECONDS: f64 = 0.001;

macro_rules! columns {
    ($($kind:ident $name:literal $unit:expr, $help:literal;)*) => {
        [$(($kind(concat!("node_disk_", $name), $help).by(["device"]), $unit)),*]
    };
}

/// The counters in the order of the file, each with the factor from the kernel's unit to ours.
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
    order: RowOrder,
    filter: Filter,
    block: Folder,
    udev: Folder,
    /// Room for a file's name.
    name: String,
    /// Room for udev's file about a device.
    database: Vec<u8>,
}

impl Collector for DiskStats {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { file, order, filter, block, udev, name, database } = self;
        let block = block.kept_dir().ok().flatten();
        let udev = udev.dir().ok().flatten();
        file.parse(|text| {
            let device = |_, line: &str, label: &mut String| {
                label.push_str(line.split_ascii_whitespace().nth(2).unwrap_or_default());
            };
            order.rows(text, device, |_, line| {
                let Some(disk) = Disk::parse(line, filter)? else { return Ok(()) };
                let counted = put_counters(&disk, out);
                disk.check_numbers()?;
                name.clear();
                // In sysfs, `etherd/e0.0` is `etherd!e0.0`.
                name.extend(disk.name.chars().map(|c| if c == '/' { '!' } else { c }));
                name.push_str("/queue/rotational");
                // Partitions have no queue, and are exposed as devices that do not rotate.
                let rotational = block
                    .as_ref()
                    .and_then(|block| block.setting(name).ok().flatten())
                    .is_some_and(|rotational| *rotational == *"1");
                name.clear();
                let _ = write!(name, "b{}:{}", disk.major, disk.minor);
                let known = udev.as_ref().and_then(|udev| {
                    udev.whole(name, database)
                        .inspect_err(|error| tracing::debug!("udev's properties: {error}"))
                        .ok()
                        .flatten()
                });
                let known = Properties::parse(known.unwrap_or_default());
                put_info(&disk, rotational, &known, out);
                put_properties(disk.name, &known, out);
                counted
            })
        })
    }
}

fn put_info(disk: &Disk<'_>, rotational: bool, known: &Properties<'_>, out: &mut Sink) {
    // The serial number of the hardware's label, or else `ID_SERIAL`, which udev composes; virtio
    // disks have `ID_SERIAL` alone.
    let serial = [known.scsi_serial, known.serial_short, known.serial]
        .into_iter()
        .find(|serial| !serial.is_empty())
        .unwrap_or_default();
    out.put(
        &INFO,
        [
            &disk.name,
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
}

/// Exposes the counters that the line has; a malformed counter hides no other.
fn put_counters(disk: &Disk<'_>, out: &mut Sink) -> Result<(), Malformed> {
    let mut faults = Faults::default();
    for ((metric, unit), word) in COLUMNS.iter().zip(disk.counters.clone()) {
        if let Some(n) = faults.keep(decimal("disk counter", word)) {
            out.put(metric, [&disk.name], n * unit);
        }
    }
    faults.end()
}

fn put_properties(device: &str, known: &Properties<'_>, out: &mut Sink) {
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

/// A line of the file, its counters unread.
struct Disk<'a> {
    major: &'a str,
    minor: &'a str,
    name: &'a str,
    counters: SplitAsciiWhitespace<'a>,
}

impl<'a> Disk<'a> {
    /// `None` for a line that is empty, excluded, or of a partition of Linux 2.6.
    fn parse(line: &'a str, filter: &Filter) -> Result<Option<Self>, Malformed> {
        let mut words = line.split_ascii_whitespace();
        let Some(major) = words.next() else { return Ok(None) };
        let minor = words.word("minor number")?;
        let name = words.word("device")?;
        if !filter.keeps(name) {
            return Ok(None);
        }
        let is_disk = words.clone().nth(ALWAYS - 1).is_some();
        Ok(is_disk.then_some(Self { major, minor, name, counters: words }))
    }

    /// udev's file and the info metric need the device's numbers; the counters do not.
    fn check_numbers(&self) -> Result<(), Malformed> {
        for (what, number) in [("major number", self.major), ("minor number", self.minor)] {
            if !is_digits(number) {
                return Err(Malformed::new(what, number));
            }
        }
        Ok(())
    }
}

/// The properties of a device in udev's database; a property that udev does not know is empty.
macro_rules! properties {
    ($($field:ident $name:literal,)*) => {
        #[derive(Debug, Default, PartialEq)]
        struct Properties<'a> {
            $($field: &'a [u8],)*
        }

        impl<'a> Properties<'a> {
            /// Properties are lines such as `E:ID_MODEL=x`; lines with other letters are udev's own
            /// notes.
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
    use crate::testing::{Machine, expect, sample_lines};

    #[test]
    fn older_kernels_give_fewer_counters_and_newer_ones_more() {
        let machine = Machine::new().with(
            "proc/diskstats",
            "8 1 sdx 1 2 3 4\n\n\
             8 0 sda 1 2 3 4 5 6 7 8 9 10 11\n\
             8 16 sdb 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15\n\
             8 32 sdc 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 nineteen\n",
        );
        let (text, result) = machine.collect(&SPEC, &[]);
        result.unwrap();
        for (device, series) in [("sdx", 0), ("sda", 1 + 11), ("sdb", 1 + 15), ("sdc", 1 + 17)] {
            let device = format!("{{device=\"{device}\"");
            assert_eq!(sample_lines(&text).filter(|l| l.contains(&device)).count(), series);
        }
    }

    #[test]
    fn an_odd_counter_or_line_costs_itself_alone() {
        let machine = Machine::new().with(
            "proc/diskstats",
            "7 x loop0 1 excluded\n\
             8 x sda 1 2 3 4 5 6 7 8 9 10 11\n\
             8 0\n\
             8 16 sdb 1 y -3 4 5 6 7 8 99999999999999999999999 10 11\n",
        );
        let (text, result) = machine.collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("proc/diskstats:2: bad minor number: \"x\""), "{error}");
        assert_eq!(sample_lines(&text).count(), 11 + 1 + 10, "{text}");
        assert!(text.contains("node_disk_read_bytes_total{device=\"sdb\"} -1536\n"), "{text}");
        assert!(text.contains("node_disk_io_now{device=\"sdb\"} 1e+23\n"), "{text}");
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
