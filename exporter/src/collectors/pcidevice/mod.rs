//! PCI devices: what they are, their links, power states and virtual functions, from
//! `/sys/bus/pci/devices` (`drivers/pci/pci-sysfs.c`).
//!
//! Each entry is a link whose last two parts are the device and the bridge or host that it is
//! behind. What a device is does not change: it is read once, when it is first seen, and so
//! are names from `pci.ids`. A device is exposed with 0 for what it has no file for.

mod ids;

use crate::{
    exposition::Kind,
    host::tree::{Dir, Entry},
    parse::{number, unsigned},
    prelude::*,
};

pub const SPEC: Spec = Spec {
    name: "pcidevice",
    enabled: false,
    capabilities: NONE,
    flags: &[&IDS_FILE, &NAMES],
    new: |host, flags| {
        Ok(Box::new(PciDevice {
            tree: host.sys.clone(),
            bus: host.sys.folder(BUS),
            names: flags.get(&NAMES).then(|| flags.get(&IDS_FILE)),
            seen: Seen::default(),
            known: Vec::new(),
        }))
    },
};

static IDS_FILE: Flag<String> = text(
    "collector.pcidevice.idsfile",
    "Path to pci.ids file to use for PCI device identification.",
);
static NAMES: Flag<bool> = switch(
    "collector.pcidevice.names",
    false,
    "Enable PCI device name resolution (requires pci.ids file).",
);

/// A file that is a number, and what is exposed where there is none.
struct Attribute {
    file: &'static str,
    metric: Metric<4>,
    parse: fn(&str) -> Result<Option<f64>, Malformed>,
    otherwise: Option<f64>,
}

const fn attribute(
    file: &'static str,
    parse: fn(&str) -> Result<Option<f64>, Malformed>,
    otherwise: Option<f64>,
    metric: Metric,
) -> Attribute {
    let metric = metric.by(["bus", "device", "function", "segment"]);
    Attribute { file, metric, parse, otherwise }
}

static ATTRIBUTES: [Attribute; 10] = [
    attribute(
        "current_link_speed",
        speed,
        Some(-1.0),
        gauge(
            "node_pcidevice_current_link_transfers_per_second",
            "Value of current link's transfers per second (T/s)",
        ),
    ),
    attribute(
        "current_link_width",
        width,
        Some(-1.0),
        gauge(
            "node_pcidevice_current_link_width",
            "Value of current link's width (number of lanes)",
        ),
    ),
    attribute(
        "d3cold_allowed",
        switched,
        Some(0.0),
        gauge(
            "node_pcidevice_d3cold_allowed",
            "Whether the PCIe device supports D3cold power state (0/1).",
        ),
    ),
    attribute(
        "max_link_speed",
        speed,
        Some(-1.0),
        gauge(
            "node_pcidevice_max_link_transfers_per_second",
            "Value of maximum link's transfers per second (T/s)",
        ),
    ),
    attribute(
        "max_link_width",
        width,
        Some(-1.0),
        gauge("node_pcidevice_max_link_width", "Value of maximum link's width (number of lanes)"),
    ),
    attribute(
        "numa_node",
        node,
        None,
        gauge(
            "node_pcidevice_numa_node",
            "NUMA node number for the PCI device. -1 indicates unknown or not available.",
        ),
    ),
    attribute(
        "sriov_drivers_autoprobe",
        switched,
        Some(0.0),
        gauge(
            "node_pcidevice_sriov_drivers_autoprobe",
            "Whether SR-IOV drivers autoprobe is enabled for the device (0/1).",
        ),
    ),
    attribute(
        "sriov_numvfs",
        count,
        Some(0.0),
        gauge(
            "node_pcidevice_sriov_numvfs",
            "Number of Virtual Functions (VFs) currently enabled for SR-IOV.",
        ),
    ),
    attribute(
        "sriov_totalvfs",
        count,
        Some(0.0),
        gauge(
            "node_pcidevice_sriov_totalvfs",
            "Total number of Virtual Functions (VFs) supported by the device.",
        ),
    ),
    attribute(
        "sriov_vf_total_msix",
        count,
        Some(0.0),
        gauge(
            "node_pcidevice_sriov_vf_total_msix",
            "Total number of MSI-X vectors for Virtual Functions.",
        ),
    ),
];
static POWER_STATE: Metric<5> = gauge(
    "node_pcidevice_power_state",
    "PCIe device power state, one of: D0, D1, D2, D3hot, D3cold, unknown or error.",
)
.by(["bus", "device", "function", "segment", "state"]);

const BUS: &str = "bus/pci/devices";
const POWER_STATES: [&str; 7] = ["D0", "D1", "D2", "D3cold", "D3hot", "error", "unknown"];
/// Where distributions put the file of names.
const IDS_FILES: [&str; 2] = ["/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids"];

struct PciDevice {
    tree: Tree,
    bus: Folder,
    /// Where names are wanted, the file that has them; the usual ones where it is empty.
    names: Option<String>,
    seen: Seen,
    known: Vec<Device>,
}

struct Device {
    location: [String; 4],
    info: Vec<(&'static str, String)>,
    folder: Folder,
}

impl PciDevice {
    /// Looks whether devices came or went; if so, reads what they all are.
    fn find(&mut self) -> Result {
        let entries = self.bus.list().or_no_data()?;
        if !self.seen.changed(entries.clone()) {
            return Ok(());
        }
        self.known.clear();
        let ids = self.names.as_deref().map(read_ids);
        let mut result = Ok(());
        for entry in entries.clone() {
            match identify(&entry, ids.as_deref()) {
                Ok(Some((location, info))) => {
                    let folder = self.tree.folder(&format!("{BUS}/{}", entry.name()));
                    self.known.push(Device { location, info, folder });
                }
                Ok(None) => {}
                Err(error) => result = result.and(Err(error)),
            }
        }
        if result.is_err() {
            self.seen.forget();
        }
        result
    }
}

impl Collector for PciDevice {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let mut result = self.find();
        if matches!(result, Err(Error::NoData)) {
            return result;
        }
        for device in &self.known {
            let put = device.put(out);
            result = result.and(put);
        }
        result
    }
}

impl Device {
    fn put(&self, out: &mut Sink) -> Result {
        let Some(dir) = self.folder.dir().unless_unreadable()? else { return Ok(()) };
        let mut labels = [("", ""); 19];
        for (label, (name, value)) in labels.iter_mut().zip(&self.info) {
            *label = (name, value);
        }
        let help = "Non-numeric data from /sys/bus/pci/devices/<location>, value is always 1.";
        out.family("node_pcidevice_info", help, Kind::Gauge)
            .sample(labels.get(..self.info.len()).unwrap_or_default(), 1.0);

        let [segment, bus, device, function] = &self.location;
        let mut result = Ok(());
        for Attribute { file, metric, parse, otherwise } in &ATTRIBUTES {
            match dir.parse(file, parse).unless_unreadable() {
                Ok(value) => {
                    if let Some(value) = value.flatten().or(*otherwise) {
                        out.put(metric, [bus, device, function, segment], value);
                    }
                }
                Err(error) => result = result.and(Err(error)),
            }
        }
        let state = dir.text("power_state").ok().flatten();
        if let Some(state) = state.as_deref().filter(|state| !state.is_empty()) {
            for one in POWER_STATES {
                out.put(&POWER_STATE, [bus, device, function, segment, &one], one == state);
            }
        }
        result
    }
}

fn read_ids(path: &str) -> String {
    let paths = if path.is_empty() { &IDS_FILES[..] } else { &[path] };
    for path in paths {
        match Tree::new("").file(path).bytes() {
            Ok(bytes) => return String::from_utf8_lossy(bytes).into_owned(),
            Err(error) => tracing::debug!("{error}"),
        }
    }
    tracing::warn!(?paths, "PCI devices have no names: none of these files can be read");
    String::new()
}

/// Where a device is and what it is, as labels; `None` where it is gone.
fn identify(
    entry: &Entry<'_>,
    ids: Option<&str>,
) -> Result<Option<([String; 4], Vec<(&'static str, String)>)>> {
    let Some(link) = entry.link().unless_unreadable()? else { return Ok(None) };
    let Some(dir) = entry.dir().unless_unreadable()? else { return Ok(None) };
    let mut parts = link.iter().rev().map(|part| part.to_string_lossy());
    let Some(location) = parts.next().as_deref().and_then(location) else { return Ok(None) };
    let parent = parts.next().as_deref().and_then(self::location);
    let [parent_segment, parent_bus, parent_device, parent_function] =
        parent.unwrap_or_else(|| ["*"; 4].map(str::to_owned));
    let Some((numbers, revision)) = numbers(&dir)? else { return Ok(None) };
    let [segment, bus, device, function] = location.clone();
    let id = |number: u32| format!("0x{number:04x}");
    let mut info = vec![
        ("bus", bus),
        ("class_id", format!("0x{:06x}", numbers.class)),
        ("device", device),
        ("device_id", id(numbers.device)),
        ("function", function),
        ("parent_bus", parent_bus),
        ("parent_device", parent_device),
        ("parent_function", parent_function),
        ("parent_segment", parent_segment),
        ("revision", format!("0x{revision:02x}")),
        ("segment", segment),
        ("subsystem_device_id", id(numbers.subsystem_device)),
        ("subsystem_vendor_id", id(numbers.subsystem_vendor)),
        ("vendor_id", id(numbers.vendor)),
    ];
    if let Some(text) = ids {
        let names = ids::names(text, numbers);
        info.extend([
            ("class_name", names.class),
            ("device_name", names.device),
            ("subsystem_device_name", names.subsystem_device),
            ("subsystem_vendor_name", names.subsystem_vendor),
            ("vendor_name", names.vendor),
        ]);
        info.sort_by_key(|(name, _)| *name);
    }
    Ok(Some((location, info)))
}

/// What a device is, and its revision; `None` where it does not say it all.
fn numbers(dir: &Dir<'_>) -> Result<Option<(ids::Numbers, u32)>> {
    let mut numbers = [0; 6];
    let files = ["class", "vendor", "device", "subsystem_vendor", "subsystem_device", "revision"];
    for (number, file) in numbers.iter_mut().zip(files) {
        let parse =
            |text: &str| u32::try_from(unsigned(text)?).map_err(|_| Malformed::new("number", text));
        let Some(read) = dir.parse(file, parse).unless_unreadable()? else { return Ok(None) };
        *number = read;
    }
    let [class, vendor, device, subsystem_vendor, subsystem_device, revision] = numbers;
    let numbers = ids::Numbers { class, vendor, device, subsystem_vendor, subsystem_device };
    Ok(Some((numbers, revision)))
}

/// Segment, bus, device and function of `0000:41:00.0`.
fn location(text: &str) -> Option<[String; 4]> {
    let (segment, rest) = text.split_once(':')?;
    let (bus, rest) = rest.split_once(':')?;
    let (device, function) = rest.split_once('.')?;
    let hex = |text| u32::from_str_radix(text, 16).ok();
    Some([
        format!("{:04x}", hex(segment)?),
        format!("{:02x}", hex(bus)?),
        format!("{:02x}", hex(device)?),
        format!("{:x}", hex(function)?),
    ])
}

/// Transfers in a second from `8.0 GT/s PCIe`, with older kernels `8 GT/s`.
fn speed(text: &str) -> Result<Option<f64>, Malformed> {
    if is_unknown(text) {
        return Ok(None);
    }
    match text.split_once(' ') {
        Some((gigatransfers, "GT/s PCIe" | "GT/s")) => {
            Ok(Some(number::<f64>("link speed", gigatransfers)? * 1e9))
        }
        _ => Err(Malformed::new("link speed", text)),
    }
}

fn width(text: &str) -> Result<Option<f64>, Malformed> {
    if is_unknown(text) { Ok(None) } else { Ok(Some(number::<f64>("link width", text)?)) }
}

fn is_unknown(text: &str) -> bool {
    text.is_empty() || text.starts_with("Unknown")
}

fn switched(text: &str) -> Result<Option<f64>, Malformed> {
    Ok(count(text)?.map(|value| f64::from(value != 0.0)))
}

fn count(text: &str) -> Result<Option<f64>, Malformed> {
    if text.is_empty() { Ok(None) } else { Ok(Some(number::<u64>("number", text)? as f64)) }
}

/// A node; none where the machine does not say.
fn node(text: &str) -> Result<Option<f64>, Malformed> {
    if text.is_empty() {
        return Ok(None);
    }
    Ok(Some(number::<i32>("node", text)?).filter(|node| *node != -1).map(f64::from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, malformed};

    #[test]
    fn locations() {
        let text = |location: Option<[String; 4]>| location.map(|parts| parts.join("/"));
        assert_eq!(text(location("0000:41:00.0")).as_deref(), Some("0000/41/00/0"));
        assert_eq!(text(location("10000:e1:1f.7")).as_deref(), Some("10000/e1/1f/7"));
        for other in ["pci0000:00", "0000:00", "0000:00:02", "x:00:02.1", ""] {
            assert_eq!(location(other), None, "{other}");
        }
    }

    #[test]
    fn speeds_and_widths() {
        assert_eq!(speed("2.5 GT/s PCIe"), Ok(Some(2.5e9)));
        assert_eq!(speed("8 GT/s"), Ok(Some(8e9)));
        assert_eq!(speed("Unknown speed"), Ok(None));
        assert_eq!(malformed(speed("8")), "bad link speed: \"8\"");
        assert_eq!(malformed(speed("8.0 MT/s")), "bad link speed: \"8.0 MT/s\"");
        assert_eq!((width("16"), width("Unknown")), (Ok(Some(16.0)), Ok(None)));
        assert_eq!((node("1"), node("-1")), (Ok(Some(1.0)), Ok(None)));
        assert_eq!(switched("2"), Ok(Some(1.0)));
    }

    #[test]
    fn a_device_that_is_gone_or_malformed_hides_no_other() {
        let device = |n, file: &str| format!("sys/devices/pci0000:00/0000:00:0{n}.0/{file}");
        let mut machine = Machine::new().with("sys/bus/pci/devices/README", "");
        for n in 1..=3 {
            for file in ["class", "vendor", "device", "subsystem_vendor", "subsystem_device"] {
                machine = machine.with(&device(n, file), "0x1\n");
            }
        }
        let machine = machine
            .with(&device(1, "revision"), "0x01\n")
            .with(&device(1, "max_link_width"), "wide\n")
            .with(&device(1, "sriov_vf_total_msix/is_a_directory"), "")
            .with(&device(2, "revision"), "new\n")
            .with(&device(2, "numa_node"), "1\n");
        for n in 1..=4 {
            let name = format!("0000:00:0{n}.0");
            let link = machine.path().join(BUS_OF_MACHINE).join(&name);
            std::os::unix::fs::symlink(format!("../../../devices/pci0000:00/{name}"), link)
                .unwrap();
        }
        let (text, result) = machine.collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("/0000:00:02.0/revision: bad number: \"new\""), "{error}");
        let devices = text.lines().filter(|line| line.starts_with("node_pcidevice_info{"));
        let devices: Vec<_> = devices.map(|line| line.contains("device=\"01\"")).collect();
        assert_eq!(devices, [true], "{text}");
        assert!(text.contains("sriov_vf_total_msix{") && !text.contains("max_link_width{"));
    }

    const BUS_OF_MACHINE: &str = "sys/bus/pci/devices";

    #[test]
    fn no_bus_is_no_data() {
        assert!(matches!(Machine::new().collect(&SPEC, &[]).1, Err(Error::NoData)));
    }
}
