//! `NVMe` controllers and their namespaces, from `/sys/class/nvme/<device>`.
//!
//! Where the kernel does multipathing itself, namespaces belong to a subsystem and are not below
//! their controllers: they are not exposed here. `size` counts sectors of 512 bytes, but is taken
//! for logical blocks, as in `node_exporter`: sizes are 8 times too large where a block has 4096
//! bytes. `nuse`, which does count logical blocks, exists since Linux 6.8.

use crate::prelude::*;

pub const SPEC: Spec = Spec {
    name: "nvme",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| {
        Ok(Box::new(Nvme { folder: host.sys.folder("class/nvme"), names: Names::default() }))
    },
};

static INFO: Metric<6> =
    gauge("node_nvme_info", "Non-numeric data from /sys/class/nvme/<device>, value is always 1.")
        .by(["cntlid", "device", "firmware_revision", "model", "serial", "state"]);
static NAMESPACE: Metric<3> =
    gauge("node_nvme_namespace_info", "Information about NVMe namespaces. Value is always 1").by([
        "ana_state",
        "device",
        "nsid",
    ]);
static CAPACITY: Metric<2> = gauge(
    "node_nvme_namespace_capacity_bytes",
    "Capacity of the NVMe namespace in bytes. Computed as namespace_size * namespace_logical_block_size",
)
.by(["device", "nsid"]);
static SIZE: Metric<2> = gauge(
    "node_nvme_namespace_size_bytes",
    "Size of the NVMe namespace in bytes. Available in /sys/class/nvme/<device>/<namespace>/size",
)
.by(["device", "nsid"]);
static USED: Metric<2> = gauge(
    "node_nvme_namespace_used_bytes",
    "Used space of the NVMe namespace in bytes. Available in /sys/class/nvme/<device>/<namespace>/nuse",
)
.by(["device", "nsid"]);
static BLOCK_SIZE: Metric<2> = gauge(
    "node_nvme_namespace_logical_block_size_bytes",
    "Logical block size of the NVMe namespace in bytes. Usually 4Kb. Available in /sys/class/nvme/<device>/<namespace>/queue/logical_block_size",
)
.by(["device", "nsid"]);

struct Nvme {
    folder: Folder,
    /// Room for the names in a controller's directory.
    names: Names,
}

impl Collector for Nvme {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { folder, names } = self;
        let entries = match folder.list() {
            Err(error) if error.is_absent() => return Err(Error::NoData),
            entries => entries?,
        };
        let mut faults = Faults::default();
        for entry in entries {
            faults.keep(put(&entry, names, out));
        }
        faults.end()
    }
}

fn put(entry: &Entry<'_>, names: &mut Names, out: &mut Sink) -> Result {
    let mut faults = Faults::default();
    let Some(dir) = faults.read(entry.dir()) else { return faults.end() };
    let device = entry.name();
    let [cntlid, firmware, model, serial, state] =
        dir.texts(["cntlid", "firmware_rev", "model", "serial", "state"]);
    out.put(&INFO, [&cntlid, &device, &firmware, &model, &serial, &state], 1);
    for entry in dir.list(names)? {
        if let Some(nsid) = namespace(&entry.name()) {
            faults.keep(put_namespace(&entry, nsid, &device, out));
        }
    }
    faults.end()
}

/// The number of the namespace in `nvme0n1`.
fn namespace(name: &str) -> Option<&str> {
    let is_digit = |c: char| c.is_ascii_digit();
    let number = name.strip_prefix("nvme")?.strip_prefix(is_digit)?;
    let nsid = number.trim_start_matches(is_digit).strip_prefix('n')?;
    (!nsid.is_empty() && nsid.chars().all(is_digit)).then_some(nsid)
}

fn put_namespace(entry: &Entry<'_>, nsid: &str, device: &str, out: &mut Sink) -> Result {
    let mut faults = Faults::default();
    let Some(dir) = faults.read(entry.dir()) else { return faults.end() };
    let ana = faults.read(dir.text("ana_state"));
    out.put(&NAMESPACE, [&ana.as_deref().unwrap_or("unknown"), &device, &nsid], 1);
    // All sizes are in blocks.
    let Some(block) = faults.read(dir.decimal("queue/logical_block_size")) else {
        return faults.end();
    };
    out.put(&BLOCK_SIZE, [&device, &nsid], block);
    if let Some(size) = faults.read(dir.decimal("size")) {
        out.put(&CAPACITY, [&device, &nsid], size * block);
        out.put(&SIZE, [&device, &nsid], size * block);
    }
    if let Some(used) = faults.read(dir.decimal("nuse")) {
        out.put(&USED, [&device, &nsid], used * block);
    }
    faults.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, expect};

    #[test]
    fn namespaces_are_recognized_by_their_names() {
        assert_eq!(namespace("nvme10n2").zip(namespace("nvme0n12")), Some(("2", "12")));
        for name in ["nvme0", "nvme0n", "nvme0c1n1", "nvmen1", "ng0n1", "nvme0n1p1", "hwmon1"] {
            assert_eq!(namespace(name), None, "{name}");
        }
    }

    #[test]
    fn older_kernels_do_not_tell_used_bytes() {
        let machine = Machine::new()
            .with("sys/class/nvme/nvme0/model", "x  \n")
            .with("sys/class/nvme/nvme0/nvme0n1/size", "8\n")
            .with("sys/class/nvme/nvme0/nvme0n1/queue/logical_block_size", "512\n")
            .with("sys/class/nvme/nvme1/nvme1n1/queue/logical_block_size", "x\n")
            .with("sys/class/nvme/nvme1/nvme1n2/size", "x\n")
            .with("sys/class/nvme/nvme1/nvme1n2/nuse", "-1\n")
            .with("sys/class/nvme/nvme1/nvme1n2/queue/logical_block_size", "512\n")
            .with("sys/class/nvme/nvme1/cntlid/is_a_directory", "")
            .with("sys/class/nvme/nvme2/state", "live\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("nvme1n1/queue/logical_block_size: bad number: \"x\""), "{error}");
        let lines: String =
            text.split_inclusive('\n').filter(|line| !line.starts_with('#')).collect();
        expect![[r#"
            node_nvme_info{cntlid="",device="nvme0",firmware_revision="",model="x",serial="",state=""} 1
            node_nvme_info{cntlid="",device="nvme1",firmware_revision="",model="",serial="",state=""} 1
            node_nvme_info{cntlid="",device="nvme2",firmware_revision="",model="",serial="",state="live"} 1
            node_nvme_namespace_capacity_bytes{device="nvme0",nsid="1"} 4096
            node_nvme_namespace_info{ana_state="unknown",device="nvme0",nsid="1"} 1
            node_nvme_namespace_info{ana_state="unknown",device="nvme1",nsid="1"} 1
            node_nvme_namespace_info{ana_state="unknown",device="nvme1",nsid="2"} 1
            node_nvme_namespace_logical_block_size_bytes{device="nvme0",nsid="1"} 512
            node_nvme_namespace_logical_block_size_bytes{device="nvme1",nsid="2"} 512
            node_nvme_namespace_size_bytes{device="nvme0",nsid="1"} 4096
            node_nvme_namespace_used_bytes{device="nvme1",nsid="2"} -512
        "#]]
        .assert_eq(&lines);
        assert!(matches!(Machine::new().collect(&SPEC, &[]).1, Err(Error::NoData)));
    }
}
