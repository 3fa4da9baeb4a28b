//! PCI devices: identifiers, links, power states and virtual functions, from
//! `/sys/bus/pci/devices` (`drivers/pci/pci-sysfs.c`).
//!
//! Each entry is a link; the last two parts of its target are the bridge or host above the device
//! and the device itself. The identifiers of a device do not change: they are read once, when the
//! device is first seen, and so are their names from `pci.ids`. A device that lacks the file of an
//! attribute is exposed with 0 or -1 for it.

mod attributes;
mod ids;

use crate::{exposition::Kind, parse::unsigned, prelude::*};
use attributes::{ATTRIBUTES, Attribute};

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

static POWER_STATE: Metric<5> = gauge(
    "node_pcidevice_power_state",
    "PCIe device power state, one of: D0, D1, D2, D3hot, D3cold, unknown or error.",
)
.by(["bus", "device", "function", "segment", "state"]);

const BUS: &str = "bus/pci/devices";
const POWER_STATES: [&str; 7] = ["D0", "D1", "D2", "D3cold", "D3hot", "error", "unknown"];
/// The places in which distributions put the file of names.
const IDS_FILES: [&str; 2] = ["/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids"];

struct PciDevice {
    tree: Tree,
    bus: Folder,
    /// The file of names; `None` where no names are wanted, empty for [`IDS_FILES`].
    names: Option<String>,
    seen: Seen,
    known: Vec<Device>,
}

struct Device {
    location: Location,
    /// The labels of the info metric; empty where an identifier cannot be read.
    info: Vec<(&'static str, String)>,
    folder: Folder,
}

/// Segment, bus, device and function.
type Location = [String; 4];

impl PciDevice {
    /// Reads the identifiers of all devices anew if a device came or went.
    fn find(&mut self) -> Result {
        let entries = self.bus.list().or_no_data()?;
        if !self.seen.changed(entries.clone()) {
            return Ok(());
        }
        self.known.clear();
        let ids = self.names.as_deref().map(read_ids);
        let mut faults = Faults::default();
        for entry in entries {
            if let Some((location, info)) = identify(&entry, ids.as_deref(), &mut faults) {
                let folder = self.tree.folder(&format!("{BUS}/{}", entry.name()));
                self.known.push(Device { location, info, folder });
            }
        }
        let result = faults.end();
        if result.is_err() {
            self.seen.forget();
        }
        result
    }
}

impl Collector for PciDevice {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let found = self.find();
        if matches!(found, Err(Error::NoData)) {
            return found;
        }
        let mut faults = Faults::default();
        faults.keep(found);
        for device in &self.known {
            faults.keep(device.put(out));
        }
        faults.end()
    }
}

impl Device {
    fn put(&self, out: &mut Sink) -> Result {
        let mut faults = Faults::default();
        let Some(dir) = faults.read(self.folder.dir()) else { return faults.end() };
        if !self.info.is_empty() {
            let mut labels = [("", ""); 19];
            for (label, (name, value)) in labels.iter_mut().zip(&self.info) {
                *label = (name, value);
            }
            let help = "Non-numeric data from /sys/bus/pci/devices/<location>, value is always 1.";
            out.family("node_pcidevice_info", help, Kind::Gauge)
                .sample(labels.get(..self.info.len()).unwrap_or_default(), 1.0);
        }
        let [segment, bus, device, function] = &self.location;
        for Attribute { file, metric, parse, otherwise } in &ATTRIBUTES {
            let Some(value) = faults.keep(dir.parse(file, parse).unless_unreadable()) else {
                continue;
            };
            if let Some(value) = value.flatten().or(*otherwise) {
                out.put(metric, [bus, device, function, segment], value);
            }
        }
        let state = dir.text("power_state").ok().flatten();
        if let Some(state) = state.as_deref().filter(|state| !state.is_empty()) {
            for one in POWER_STATES {
                out.put(&POWER_STATE, [bus, device, function, segment, &one], one == state);
            }
        }
        faults.end()
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
    tracing::warn!(
        collector = "pcidevice",
        ?paths,
        "PCI devices have no names: none of these files can be read"
    );
    String::new()
}

/// The location of a device and the labels of its info metric, an empty list where an identifier
/// cannot be read; `None` where the device is gone.
fn identify(
    entry: &Entry<'_>,
    ids: Option<&str>,
    faults: &mut Faults,
) -> Option<(Location, Vec<(&'static str, String)>)> {
    let link = faults.read(entry.link())?;
    let dir = faults.read(entry.dir())?;
    let mut parts = link.iter().rev().map(|part| part.to_string_lossy());
    let location = parts.next().as_deref().and_then(location)?;
    let parent = parts.next().as_deref().and_then(self::location);
    let parent = parent.unwrap_or_else(|| ["*"; 4].map(str::to_owned));
    let info = faults.read(numbers(&dir)).map(|numbers| info(&location, parent, numbers, ids));
    Some((location, info.unwrap_or_default()))
}

/// The labels of the info metric, in alphabetical order.
fn info(
    location: &Location,
    parent: Location,
    (numbers, revision): (ids::Numbers, u32),
    ids: Option<&str>,
) -> Vec<(&'static str, String)> {
    let [segment, bus, device, function] = location.clone();
    let [parent_segment, parent_bus, parent_device, parent_function] = parent;
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
    info
}

/// The identifiers of a device, and its revision; `None` where one of them cannot be read.
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
fn location(text: &str) -> Option<Location> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;

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
        assert!(text.contains("sriov_vf_total_msix{"), "{text}");
        assert!(!text.contains("max_link_width{bus=\"00\",device=\"01\""), "{text}");
        assert!(text.contains("numa_node{bus=\"00\",device=\"02\",function=\"0\""), "{text}");
    }

    const BUS_OF_MACHINE: &str = "sys/bus/pci/devices";

    #[test]
    fn no_bus_is_no_data() {
        assert!(matches!(Machine::new().collect(&SPEC, &[]).1, Err(Error::NoData)));
    }
}
