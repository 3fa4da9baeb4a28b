//! Multipath devices of the device mapper and the state of their paths, from `/sys/block/dm-*`.
//!
//! A path's state is that of its disk (`/sys/block/<path>/device/state`): `running` for SCSI,
//! `live` for `NVMe`. Only the device mapper knows whether it uses the path.

use crate::{parse::decimal, prelude::*};
use std::fmt::Write as _;

pub const SPEC: Spec = Spec {
    name: "dmmultipath",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| {
        Ok(Box::new(DmMultipath {
            folder: host.sys.folder("block"),
            block: host.sys.folder("block"),
            names: Names::default(),
            file: String::new(),
        }))
    },
};

static INFO: Metric<3> =
    gauge("node_dmmultipath_device_info", "Non-numeric information about a DM-multipath device.")
        .by(["device", "sysfs_name", "uuid"]);
static ACTIVE: Metric<2> = gauge(
    "node_dmmultipath_device_active",
    "Whether the multipath device-mapper device is active (1) or suspended (0).",
)
.by(["device", "sysfs_name"]);
static SIZE: Metric<2> = gauge(
    "node_dmmultipath_device_size_bytes",
    "Size of the multipath device in bytes, read from /sys/block/<dm>/size.",
)
.by(["device", "sysfs_name"]);
static PATHS: Metric<2> =
    gauge("node_dmmultipath_device_paths", "Number of paths for a multipath device.")
        .by(["device", "sysfs_name"]);
static PATHS_ACTIVE: Metric<2> = gauge(
    "node_dmmultipath_device_paths_active",
    "Number of paths in active state (SCSI running or NVMe live) for a multipath device.",
)
.by(["device", "sysfs_name"]);
static PATHS_FAILED: Metric<2> = gauge(
    "node_dmmultipath_device_paths_failed",
    "Number of paths not in active state for a multipath device.",
)
.by(["device", "sysfs_name"]);
static STATE: Metric<3> = gauge(
    "node_dmmultipath_path_state",
    "Reports the underlying device state for a multipath path, as read from /sys/block/<dev>/device/state.",
)
.by(["device", "path", "state"]);

struct DmMultipath {
    folder: Folder,
    /// The same folder, opened a second time: the states of the paths are read in it while `folder`
    /// is listed.
    block: Folder,
    /// Room for the names of paths, and for the name of a file.
    names: Names,
    file: String,
}

impl Collector for DmMultipath {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { folder, block, names, file } = self;
        let entries = match folder.list() {
            Err(error) if error.is_hidden() => return Err(Error::NoData),
            entries => entries?,
        };
        let Some(block) = block.dir()? else { return Err(Error::NoData) };
        let mut faults = Faults::default();
        for entry in entries.filter(|entry| entry.bytes().starts_with(b"dm-")) {
            put(&entry, &block, (names, file), (&mut faults, out));
        }
        faults.end()
    }
}

fn put(
    entry: &Entry<'_>,
    block: &Dir<'_>,
    (names, file): (&mut Names, &mut String),
    (faults, out): (&mut Faults, &mut Sink),
) {
    let Some(dir) = faults.read(entry.dir()) else { return };
    let Some(uuid) = faults.read(dir.text("dm/uuid")) else { return };
    if !uuid.starts_with("mpath-") {
        return;
    }
    let Some(device) = faults.read(dir.text("dm/name")) else { return };
    let (device, sysfs_name) = (&*device, entry.name());
    let (mut active, mut failed) = (0_u64, 0_u64);
    if let Some(paths) = faults.read(dir.dir("slaves"))
        && let Some(paths) = faults.read(paths.list(names).map(Some))
    {
        for path in paths {
            let path = path.name();
            file.clear();
            let _ = write!(file, "{path}/device/state");
            let Some(state) = faults.read(block.text(file)) else { continue };
            let is_active = matches!(&*state, "running" | "live");
            active += u64::from(is_active);
            failed += u64::from(!is_active);
            out.put(&STATE, [&device, &path, &&*state], 1);
        }
    }
    out.put(&INFO, [&device, &sysfs_name, &&*uuid], 1);
    let is_active = |text: &str| decimal("number", text).map(|_| text != "1");
    if let Some(is_active) = faults.read(dir.parse("dm/suspended", is_active)) {
        out.put(&ACTIVE, [&device, &sysfs_name], is_active);
    }
    if let Some(sectors) = faults.read(dir.decimal("size")) {
        out.put(&SIZE, [&device, &sysfs_name], sectors * 512.0);
    }
    out.put(&PATHS, [&device, &sysfs_name], active + failed);
    out.put(&PATHS_ACTIVE, [&device, &sysfs_name], active);
    out.put(&PATHS_FAILED, [&device, &sysfs_name], failed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, expect};

    #[test]
    fn only_multipath_devices_are_exposed_and_paths_that_are_gone_are_left_out() {
        let machine = Machine::new()
            .with("sys/block/dm-0/dm/uuid", "LVM-x\n")
            .with("sys/block/dm-0/dm/name", "vg0\n")
            .with("sys/block/dm-1/dm/uuid", "mpath-3600\n")
            .with("sys/block/dm-1/dm/name", "mpatha\n")
            .with("sys/block/dm-1/size", "x\n")
            .with("sys/block/dm-1/slaves/sda/size", "")
            .with("sys/block/dm-1/slaves/sdb/size", "")
            .with("sys/block/dm-2/dm/uuid", "mpath-3601\n")
            .with("sys/block/dm-2/dm/name", "mpathb\n")
            .with("sys/block/dm-2/dm/suspended", "1\n")
            .with("sys/block/sda/device/state", "transport-offline\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("/dm-1/size: bad number: \"x\""), "{error}");
        let lines: String =
            text.split_inclusive('\n').filter(|line| !line.starts_with('#')).collect();
        expect![[r#"
            node_dmmultipath_device_active{device="mpathb",sysfs_name="dm-2"} 0
            node_dmmultipath_device_info{device="mpatha",sysfs_name="dm-1",uuid="mpath-3600"} 1
            node_dmmultipath_device_info{device="mpathb",sysfs_name="dm-2",uuid="mpath-3601"} 1
            node_dmmultipath_device_paths{device="mpatha",sysfs_name="dm-1"} 1
            node_dmmultipath_device_paths{device="mpathb",sysfs_name="dm-2"} 0
            node_dmmultipath_device_paths_active{device="mpatha",sysfs_name="dm-1"} 0
            node_dmmultipath_device_paths_active{device="mpathb",sysfs_name="dm-2"} 0
            node_dmmultipath_device_paths_failed{device="mpatha",sysfs_name="dm-1"} 1
            node_dmmultipath_device_paths_failed{device="mpathb",sysfs_name="dm-2"} 0
            node_dmmultipath_path_state{device="mpatha",path="sda",state="transport-offline"} 1
        "#]]
        .assert_eq(&lines);
        assert!(matches!(Machine::new().collect(&SPEC, &[]).1, Err(Error::NoData)));
    }
}
