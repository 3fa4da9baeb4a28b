//! Names, versions and serial numbers of firmware, board and chassis, from `/sys/class/dmi/id`
//! (`drivers/firmware/dmi-id.c`).
//!
//! The files do not change while the machine runs, so they are read once, at the start. Only root
//! may read serial numbers and the UUID; a label whose file cannot be read is left out.

use crate::{
    exposition::{Kind, Label as _},
    prelude::*,
};

pub const SPEC: Spec = Spec {
    name: "dmi",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| Ok(Box::new(Dmi(read(&host.sys)))),
};

const HELP: &str = "A metric with a constant '1' value labeled by bios_date, bios_release, \
    bios_vendor, bios_version, board_asset_tag, board_name, board_serial, board_vendor, \
    board_version, chassis_asset_tag, chassis_serial, chassis_vendor, chassis_version, \
    product_family, product_name, product_serial, product_sku, product_uuid, product_version, \
    system_vendor if provided by DMI.";

/// Labels in alphabetical order; all but one are also the names of files.
const LABELS: [&str; 20] = [
    "bios_date",
    "bios_release",
    "bios_vendor",
    "bios_version",
    "board_asset_tag",
    "board_name",
    "board_serial",
    "board_vendor",
    "board_version",
    "chassis_asset_tag",
    "chassis_serial",
    "chassis_vendor",
    "chassis_version",
    "product_family",
    "product_name",
    "product_serial",
    "product_sku",
    "product_uuid",
    "product_version",
    SYSTEM_VENDOR,
];
const SYSTEM_VENDOR: &str = "system_vendor";

/// The labels that this machine has.
struct Dmi(Vec<(&'static str, String)>);

impl Collector for Dmi {
    fn collect(&mut self, out: &mut Sink) -> Result {
        if self.0.is_empty() {
            return Err(Error::NoData);
        }
        let mut labels = [("", ""); LABELS.len()];
        for (label, (name, value)) in labels.iter_mut().zip(&self.0) {
            *label = (name, value);
        }
        let labels = labels.get(..self.0.len()).unwrap_or_default();
        out.family("node_dmi_info", HELP, Kind::Gauge).sample(labels, 1.0);
        Ok(())
    }
}

fn read(sys: &Tree) -> Vec<(&'static str, String)> {
    let folder = sys.folder("class/dmi/id");
    let dir = match folder.dir() {
        Ok(Some(dir)) => dir,
        Ok(None) => return Vec::new(),
        Err(error) => {
            tracing::warn!(collector = "dmi", "node_dmi_info is left out: {error}");
            return Vec::new();
        }
    };
    let value = |label| {
        let file = if label == SYSTEM_VENDOR { "sys_vendor" } else { label };
        let bytes = dir.bytes(file).unless_unreadable().ok().flatten()?;
        let mut text = String::new();
        bytes.trim_ascii().append(&mut text);
        Some((label, text))
    };
    LABELS.into_iter().filter_map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;

    #[test]
    fn a_file_that_cannot_be_read_is_left_out_and_an_empty_one_is_not() {
        let machine = Machine::new()
            .with("sys/class/dmi/id/bios_vendor", b"A\xffcme \n")
            .with("sys/class/dmi/id/board_name", "\n")
            .with("sys/class/dmi/id/product_uuid/is_a_directory", "");
        let (text, result) = machine.collect(&SPEC, &[]);
        assert!(result.is_ok());
        assert!(
            text.ends_with("\nnode_dmi_info{bios_vendor=\"A\u{fffd}cme\",board_name=\"\"} 1\n")
        );
    }

    #[test]
    fn no_firmware_is_no_data() {
        assert!(matches!(Machine::new().collect(&SPEC, &[]).1, Err(Error::NoData)));
    }
}
