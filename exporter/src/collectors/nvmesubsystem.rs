//! `NVMe` subsystems and the controllers that lead to them, from `/sys/class/nvme-subsystem`.

use crate::prelude::*;

pub const SPEC: Spec = Spec {
    name: "nvmesubsystem",
    enabled: false,
    capabilities: NONE,
    flags: &[],
    new: |host, _| {
        Ok(Box::new(NvmeSubsystem {
            folder: host.sys.folder("class/nvme-subsystem"),
            names: Names::default(),
        }))
    },
};

static INFO: Metric<5> =
    gauge("node_nvmesubsystem_info", "Non-numeric information about an NVMe subsystem.").by([
        "iopolicy",
        "model",
        "nqn",
        "serial",
        "subsystem",
    ]);
static NAMESPACE: Metric<2> = gauge(
    "node_nvmesubsystem_namespace_info",
    "Maps an NVMe namespace block device to its subsystem.",
)
.by(["device", "subsystem"]);
static PATHS: Metric<1> =
    gauge("node_nvmesubsystem_paths", "Number of controller paths for an NVMe subsystem.")
        .by(["subsystem"]);
static LIVE: Metric<1> = gauge(
    "node_nvmesubsystem_paths_live",
    "Number of controller paths in live state for an NVMe subsystem.",
)
.by(["subsystem"]);
static STATE: Metric<4> = gauge(
    "node_nvmesubsystem_path_state",
    "Current NVMe controller path state (1 for the current state, 0 for all others).",
)
.by(["controller", "state", "subsystem", "transport"]);

/// The states of a controller (`nvme_sysfs_show_state()` in `drivers/nvme/host/sysfs.c`).
const STATES: [&str; 7] = ["connecting", "dead", "deleting", "live", "new", "resetting", UNKNOWN];
const UNKNOWN: &str = "unknown";

struct NvmeSubsystem {
    folder: Folder,
    /// Room for the names in a subsystem's directory.
    names: Names,
}

impl Collector for NvmeSubsystem {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { folder, names } = self;
        let entries = match folder.list() {
            Err(error) if error.is_hidden() => return Err(Error::NoData),
            entries => entries?,
        };
        let mut faults = Faults::default();
        for entry in entries.filter(|entry| entry.bytes().starts_with(b"nvme-subsys")) {
            faults.keep(put(&entry, names, out));
        }
        faults.end()
    }
}

fn put(entry: &Entry<'_>, names: &mut Names, out: &mut Sink) -> Result {
    let mut faults = Faults::default();
    let Some(dir) = faults.read(entry.dir()) else { return faults.end() };
    let subsystem = entry.name();
    let [policy, model, nqn, serial] = dir.texts(["iopolicy", "model", "subsysnqn", "serial"]);
    out.put(&INFO, [&policy, &model, &nqn, &serial, &subsystem], 1);
    let (mut paths, mut live) = (0_u64, 0_u64);
    for entry in dir.list(names)? {
        match kind(entry.bytes()) {
            Some(Device::Controller) => {
                if let Some(is_live) = faults.read(put_controller(&entry, &subsystem, out)) {
                    paths += 1;
                    live += u64::from(is_live);
                }
            }
            Some(Device::Namespace) => out.put(&NAMESPACE, [&entry.name(), &subsystem], 1),
            None => {}
        }
    }
    out.put(&PATHS, [&subsystem], paths);
    out.put(&LIVE, [&subsystem], live);
    faults.end()
}

/// Exposes a controller and returns whether it is live; `None` where the controller is gone.
fn put_controller(entry: &Entry<'_>, subsystem: &str, out: &mut Sink) -> Result<Option<bool>> {
    let Some(dir) = entry.dir()? else { return Ok(None) };
    let Some(state) = dir.text("state")? else { return Ok(None) };
    // The kernel may add a remark: `deleting (no IO)`.
    let word = state.split(' ').next().unwrap_or_default();
    let now = STATES.into_iter().find(|state| *state == word).unwrap_or(UNKNOWN);
    let [transport] = dir.texts(["transport"]);
    let controller = entry.name();
    for state in STATES {
        out.put(&STATE, [&controller, &state, &subsystem, &transport], state == now);
    }
    Ok(Some(now == "live"))
}

#[derive(Debug, PartialEq)]
enum Device {
    Controller,
    Namespace,
}

/// The kind of `nvme0` and of `nvme0n1`; `None` for paths (`nvme0c1n1`) and other devices.
fn kind(name: &[u8]) -> Option<Device> {
    let is_number = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let mut numbers = name.strip_prefix(b"nvme")?.split(|&byte| byte == b'n');
    match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(controller), None, None) if is_number(controller) => Some(Device::Controller),
        (Some(controller), Some(namespace), None)
            if is_number(controller) && is_number(namespace) =>
        {
            Some(Device::Namespace)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, expect};

    #[test]
    fn controllers_and_namespaces_are_recognized_by_their_names() {
        assert_eq!(kind(b"nvme12"), Some(Device::Controller));
        assert_eq!(kind(b"nvme12n3"), Some(Device::Namespace));
        for name in ["nvme", "nvmen1", "nvme0n", "nvme0c1n1", "nvme0n1p1", "nvme0n1n1", "ng0n1"] {
            assert_eq!(kind(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn states_are_few() {
        let machine = ["live", "deleting (no IO)", "novel"].iter().enumerate().fold(
            Machine::new(),
            |machine, (i, state)| {
                machine.with(&format!("sys/class/nvme-subsystem/nvme-subsys0/nvme{i}/state"), state)
            },
        );
        let machine = machine.with("sys/class/nvme-subsystem/nvme-subsys0/nvme9/transport", "tcp");
        let (text, result) = machine.collect(&SPEC, &[]);
        result.unwrap();
        let lines: String = (text.split_inclusive('\n'))
            .filter(|line| !line.starts_with('#') && !line.ends_with(" 0\n"))
            .collect();
        expect![[r#"
            node_nvmesubsystem_info{iopolicy="",model="",nqn="",serial="",subsystem="nvme-subsys0"} 1
            node_nvmesubsystem_path_state{controller="nvme0",state="live",subsystem="nvme-subsys0",transport=""} 1
            node_nvmesubsystem_path_state{controller="nvme1",state="deleting",subsystem="nvme-subsys0",transport=""} 1
            node_nvmesubsystem_path_state{controller="nvme2",state="unknown",subsystem="nvme-subsys0",transport=""} 1
            node_nvmesubsystem_paths{subsystem="nvme-subsys0"} 3
            node_nvmesubsystem_paths_live{subsystem="nvme-subsys0"} 1
        "#]]
        .assert_eq(&lines);
        assert!(matches!(Machine::new().collect(&SPEC, &[]).1, Err(Error::NoData)));
    }
}
