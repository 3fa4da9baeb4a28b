//! The numeric attributes of a PCI device.

use crate::{parse::decimal, prelude::*};

/// An attribute: a file with a number.
pub(super) struct Attribute {
    pub(super) file: &'static str,
    pub(super) metric: Metric<4>,
    /// Reads the text of the file; `None` where the text says that the value is unknown.
    pub(super) parse: fn(&str) -> Result<Option<f64>, Malformed>,
    /// The value of a device that does not have the file.
    pub(super) otherwise: Option<f64>,
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

pub(super) static ATTRIBUTES: [Attribute; 10] = [
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
/// Transfers in a second from `8.0 GT/s PCIe`, with older kernels `8 GT/s`.
fn speed(text: &str) -> Result<Option<f64>, Malformed> {
    if is_unknown(text) {
        return Ok(None);
    }
    match text.split_once(' ') {
        Some((gigatransfers, "GT/s PCIe" | "GT/s")) => {
            Ok(Some(decimal("link speed", gigatransfers)? * 1e9))
        }
        _ => Err(Malformed::new("link speed", text)),
    }
}

fn width(text: &str) -> Result<Option<f64>, Malformed> {
    if is_unknown(text) { Ok(None) } else { Ok(Some(decimal("link width", text)?)) }
}

fn is_unknown(text: &str) -> bool {
    text.is_empty() || text.starts_with("Unknown")
}

fn switched(text: &str) -> Result<Option<f64>, Malformed> {
    Ok(count(text)?.map(|value| f64::from(value != 0.0)))
}

fn count(text: &str) -> Result<Option<f64>, Malformed> {
    if text.is_empty() { Ok(None) } else { decimal("number", text).map(Some) }
}

/// A NUMA node; `None` where the machine names none.
fn node(text: &str) -> Result<Option<f64>, Malformed> {
    Ok(count(text)?.filter(|node| node.total_cmp(&-1.0).is_ne()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::malformed;

    #[test]
    fn speeds_and_widths() {
        assert_eq!(speed("2.5 GT/s PCIe"), Ok(Some(2.5e9)));
        assert_eq!(speed("8 GT/s"), Ok(Some(8e9)));
        assert_eq!(speed("Unknown speed"), Ok(None));
        assert_eq!(malformed(speed("8")), "bad link speed: \"8\"");
        assert_eq!(malformed(speed("8.0 MT/s")), "bad link speed: \"8.0 MT/s\"");
        assert_eq!((width("16"), width("Unknown")), (Ok(Some(16.0)), Ok(None)));
        assert_eq!((node("1"), node("-1")), (Ok(Some(1.0)), Ok(None)));
        assert_eq!((switched("2"), switched("")), (Ok(Some(1.0)), Ok(None)));
        assert_eq!(count("18446744073709551616"), Ok(Some(1.844_674_407_370_955_2e19)));
        assert_eq!(count("-7"), Ok(Some(-7.0)));
    }
}
