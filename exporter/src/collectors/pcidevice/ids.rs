//! Names of PCI devices, from the file `pci.ids` (<https://pci-ids.ucw.cz>).
//!
//! Its lines nest by tabs: a vendor, its devices, their subsystems; after them, each begun with
//! `C `, a class, its subclasses, their programming interfaces. An identifier and two spaces
//! come before each name.

use memchr::memmem;

/// The identifiers of a device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) class: u32,
    pub(super) vendor: u32,
    pub(super) device: u32,
    pub(super) subsystem_vendor: u32,
    pub(super) subsystem_device: u32,
}

/// The names of a device; an identifier stands for its own unknown name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) class: String,
    pub(super) vendor: String,
    pub(super) device: String,
    pub(super) subsystem_vendor: String,
    pub(super) subsystem_device: String,
}

/// Looks a device up in the text of the file.
pub(super) fn names(text: &str, numbers: Numbers) -> Names {
    let [vendor, device, subsystem_vendor, subsystem_device] =
        [numbers.vendor, numbers.device, numbers.subsystem_vendor, numbers.subsystem_device]
            .map(|number| format!("{number:04x}"));
    let vendor_entry = top(text, &vendor);
    let device_entry = vendor_entry.and_then(|(_, block)| nested(block, 1, &device));
    let subsystem = format!("{subsystem_vendor} {subsystem_device}");
    let subsystem_entry = device_entry.and_then(|(_, block)| nested(block, 2, &subsystem));
    let name = |entry: Option<(&str, &str)>, id| entry.map_or(id, |(name, _)| name.to_owned());
    Names {
        class: class(text, numbers.class),
        vendor: name(vendor_entry, vendor),
        device: name(device_entry, device),
        subsystem_vendor: name(top(text, &subsystem_vendor), subsystem_vendor),
        subsystem_device: name(subsystem_entry, subsystem_device),
    }
}

/// The name of a class: its programming interface's name, else its subclass's, else its own.
fn class(text: &str, class: u32) -> String {
    let [base, sub, interface] = [class >> 16, class >> 8 & 0xff, class & 0xff];
    let Some((name, block)) = top(text, &format!("C {base:02x}")) else {
        return format!("Unknown class ({class:06x})");
    };
    let Some((name, block)) = nested(block, 1, &format!("{sub:02x}")) else {
        return name.to_owned();
    };
    nested(block, 2, &format!("{interface:02x}")).map_or(name, |(name, _)| name).to_owned()
}

/// The name of an identifier at the beginning of a line, and the text after that line.
fn top<'a>(text: &'a str, id: &str) -> Option<(&'a str, &'a str)> {
    let line = format!("\n{id}  ");
    let at = memmem::find(text.as_bytes(), line.as_bytes())?;
    let rest = text.get(at + line.len()..)?;
    let (name, rest) = rest.split_once('\n').unwrap_or((rest, ""));
    Some((name.trim(), rest))
}

/// As [`top`], for an identifier behind that number of tabs, in the block at the beginning of
/// `text`.
fn nested<'a>(text: &'a str, tabs: usize, id: &str) -> Option<(&'a str, &'a str)> {
    let mut rest = text;
    while !rest.is_empty() {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        rest = after;
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let content = line.trim_start_matches('\t');
        let depth = line.len() - content.len();
        if !content.contains("  ") {
            continue; // no entry
        }
        if depth < tabs {
            return None;
        }
        if depth == tabs
            && let Some(name) = content.strip_prefix(id).and_then(|name| name.strip_prefix("  "))
        {
            return Some((name.trim(), rest));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: &str = "# a comment\n\
        001c  Vendor A\n\
        \t0001  Device A1\n\
        \n\
        # another\n\
        \t\t001d 0004  Subsystem of A1\n\
        \t0002  Device A2\n\
        \t\t001d 0005  Subsystem of A2\n\
        001d  Vendor B\n\
        \t0003  Device B3\n\
        C 01  Storage\n\
        \t08  Memory\n\
        \t\t02  Express\n\
        C 02  Network\n\
        \t00  Ethernet";

    fn of(class: u32, ids: [u32; 4]) -> [String; 5] {
        let [vendor, device, subsystem_vendor, subsystem_device] = ids;
        let names =
            names(IDS, Numbers { class, vendor, device, subsystem_vendor, subsystem_device });
        [names.class, names.vendor, names.device, names.subsystem_vendor, names.subsystem_device]
    }

    #[test]
    fn names_are_looked_up_in_their_block_only() {
        assert_eq!(
            of(0x01_0802, [0x1c, 1, 0x1d, 4]),
            ["Express", "Vendor A", "Device A1", "Vendor B", "Subsystem of A1"]
        );
        assert_eq!(
            of(0x01_0801, [0x1c, 1, 0x1d, 5]),
            ["Memory", "Vendor A", "Device A1", "Vendor B", "0005"],
            "the subsystem is another device's"
        );
        assert_eq!(
            of(0x02_0000, [0x1c, 3, 0, 0]),
            ["Ethernet", "Vendor A", "0003", "0000", "0000"],
            "the device is another vendor's"
        );
        assert_eq!(
            of(0x02_0802, [0x1e, 1, 0, 0]),
            ["Network", "001e", "0001", "0000", "0000"],
            "the subclass is another class'"
        );
        assert_eq!(of(0x0c_0330, [0; 4])[0], "Unknown class (0c0330)");
    }
}
