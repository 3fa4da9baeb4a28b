//! The families, and the numbers of one interface.

use crate::prelude::*;

pub(super) static UP: Metric<1> =
    gauge("node_network_up", "Value is 1 if operstate is 'up', 0 otherwise.").by(["device"]);
pub(super) static INFO: Metric<7> =
    gauge("node_network_info", "Non-numeric data from /sys/class/net/<iface>, value is always 1.")
        .by(["address", "adminstate", "broadcast", "device", "duplex", "ifalias", "operstate"]);

macro_rules! properties {
    ($($metric:ident $kind:ident $name:literal $key:literal)*) => {$(
        static $metric: Metric<1> =
            $kind($name, concat!("Network device property: ", $key)).by(["device"]);
    )*};
}
pub(super) use properties;

properties! {
    ADDRESS_ASSIGN_TYPE gauge "node_network_address_assign_type" "address_assign_type"
    CARRIER gauge "node_network_carrier" "carrier"
    CARRIER_CHANGES counter "node_network_carrier_changes_total" "carrier_changes_total"
    CARRIER_DOWNS counter "node_network_carrier_down_changes_total" "carrier_down_changes_total"
    CARRIER_UPS counter "node_network_carrier_up_changes_total" "carrier_up_changes_total"
    DEVICE_ID gauge "node_network_device_id" "device_id"
    DORMANT gauge "node_network_dormant" "dormant"
    FLAGS gauge "node_network_flags" "flags"
    GROUP gauge "node_network_net_dev_group" "net_dev_group"
    INDEX gauge "node_network_iface_id" "iface_id"
    KIND gauge "node_network_protocol_type" "protocol_type"
    LINK gauge "node_network_iface_link" "iface_link"
    LINK_MODE gauge "node_network_iface_link_mode" "iface_link_mode"
    MTU gauge "node_network_mtu_bytes" "mtu_bytes"
    NAME_ASSIGN_TYPE gauge "node_network_name_assign_type" "name_assign_type"
    QUEUE_LENGTH gauge "node_network_transmit_queue_length" "transmit_queue_length"
    SPEED gauge "node_network_speed_bytes" "speed_bytes"
}

/// The texts of `operstate`, by the kernel's number (`IF_OPER_…`).
pub(super) const OPERSTATES: [&str; 7] =
    ["unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up"];

/// `IFF_UP` of include/uapi/linux/if.h, as those below.
pub(super) const IFF_UP: u32 = 1;
pub(super) const IFF_RUNNING: u32 = 1 << 6;
pub(super) const IFF_PROMISC: u32 = 1 << 8;
pub(super) const IFF_ALLMULTI: u32 = 1 << 9;
pub(super) const IFF_LOWER_UP: u32 = 1 << 16;
pub(super) const IFF_DORMANT: u32 = 1 << 17;

/// The numeric attributes, each as the file of the same name in `/sys/class/net/<name>` shows it;
/// `None` where the interface has no such attribute, or not in its present state.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Numbers {
    pub(super) up: bool,
    pub(super) address_assign_type: Option<f64>,
    pub(super) carrier: Option<f64>,
    pub(super) carrier_changes: Option<f64>,
    pub(super) carrier_downs: Option<f64>,
    pub(super) carrier_ups: Option<f64>,
    pub(super) device_id: Option<f64>,
    pub(super) dormant: Option<f64>,
    pub(super) flags: Option<f64>,
    pub(super) group: Option<f64>,
    pub(super) index: Option<f64>,
    pub(super) kind: Option<f64>,
    pub(super) link: Option<f64>,
    pub(super) link_mode: Option<f64>,
    pub(super) mtu: Option<f64>,
    pub(super) name_assign_type: Option<f64>,
    pub(super) queue_length: Option<f64>,
    /// In Mb/s, -1 where the driver does not know the speed.
    pub(super) speed: Option<f64>,
}

impl Numbers {
    pub(super) fn put(&self, device: &[u8], out: &mut Sink) {
        out.put(&UP, [&device], self.up);
        // Whole bytes, as upstream counts them.
        let speed = self.speed.map(|speed| (speed * 1e6 / 8.0).trunc());
        for (metric, value) in [
            (&ADDRESS_ASSIGN_TYPE, self.address_assign_type),
            (&CARRIER, self.carrier),
            (&CARRIER_CHANGES, self.carrier_changes),
            (&CARRIER_DOWNS, self.carrier_downs),
            (&CARRIER_UPS, self.carrier_ups),
            (&DEVICE_ID, self.device_id),
            (&DORMANT, self.dormant),
            (&FLAGS, self.flags),
            (&GROUP, self.group),
            (&INDEX, self.index),
            (&KIND, self.kind),
            (&LINK, self.link),
            (&LINK_MODE, self.link_mode),
            (&MTU, self.mtu),
            (&NAME_ASSIGN_TYPE, self.name_assign_type),
            (&QUEUE_LENGTH, self.queue_length),
            (&SPEED, speed),
        ] {
            if let Some(value) = value {
                out.put(metric, [&device], value);
            }
        }
    }
}

/// The state that the administrator has set, from the flags.
pub(super) fn admin_state(flags: Option<f64>) -> &'static str {
    match flags {
        None => "unknown",
        // `IFF_UP` is the lowest bit.
        Some(flags) if flags.rem_euclid(2.0) >= 1.0 => "up",
        Some(_) => "down",
    }
}
