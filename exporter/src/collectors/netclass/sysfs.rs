//! The files of `/sys/class/net/<name>`, each opened and read; a copied tree serves as well.

use super::{
    Wanted,
    metrics::{INFO, Numbers, admin_state},
};
use crate::{exposition::Label, host::tree::Attribute, parse::any_base, prelude::*};

pub(super) struct Sysfs(Folder);

impl Sysfs {
    pub(super) fn new(host: &Host) -> Self {
        Self(host.sys.folder("class/net"))
    }
}

impl super::Source for Sysfs {
    fn collect(&mut self, wanted: &Wanted, out: &mut Sink) -> Result {
        let interfaces = self.0.list().map_err(|error| {
            if !error.is_hidden() {
                return error;
            }
            tracing::debug!(%error, "no interfaces");
            Error::NoData
        })?;
        let mut faults = Faults::default();
        for entry in interfaces {
            // A file such as bonding_masters is no interface.
            if wanted.keeps(entry.bytes())
                && let Ok(Some(dir)) = entry.dir()
            {
                faults.keep(put(&entry, &dir, wanted, out));
            }
        }
        faults.end()
    }
}

fn put(entry: &Entry<'_>, dir: &Dir<'_>, wanted: &Wanted, out: &mut Sink) -> Result {
    let operstate = text(dir, "operstate");
    let operstate = operstate.as_deref().unwrap_or_default();
    let mut faults = Faults::default();
    let mut number = |dir, file| faults.keep(number(dir, file)).flatten();
    let numbers = Numbers {
        up: operstate == "up",
        address_assign_type: number(dir, "addr_assign_type"),
        carrier: number(dir, "carrier"),
        carrier_changes: number(dir, "carrier_changes"),
        carrier_downs: number(dir, "carrier_down_count"),
        carrier_ups: number(dir, "carrier_up_count"),
        device_id: number(dir, "dev_id"),
        dormant: number(dir, "dormant"),
        flags: number(dir, "flags"),
        group: number(dir, "netdev_group"),
        index: number(dir, "ifindex"),
        kind: number(dir, "type"),
        link: number(dir, "iflink"),
        link_mode: number(dir, "link_mode"),
        mtu: number(dir, "mtu"),
        name_assign_type: number(dir, "name_assign_type"),
        queue_length: number(dir, "tx_queue_len"),
        speed: wanted.speed(number(dir, "speed")),
    };
    let device = entry.bytes();
    numbers.put(device, out);
    let [address, broadcast, duplex] =
        ["address", "broadcast", "duplex"].map(|file| text(dir, file));
    let alias = dir.bytes("ifalias").ok().flatten(); // any bytes
    let alias = alias.as_deref().unwrap_or_default().trim_ascii();
    let admin = admin_state(numbers.flags);
    let [address, broadcast, duplex] =
        [&address, &broadcast, &duplex].map(|text| text.as_deref().unwrap_or_default());
    let labels: [&dyn Label; 7] =
        [&address, &admin, &broadcast, &device, &duplex, &alias, &operstate];
    out.put(&INFO, labels, 1);
    faults.end()
}

/// The text of a file; `None` where it cannot be read.
pub(super) fn text(dir: &Dir<'_>, file: &str) -> Option<Attribute> {
    dir.text(file).unwrap_or_else(|error| {
        tracing::debug!(%error, "left out");
        None
    })
}

/// The number in a file, decimal or hexadecimal; `None` where the file cannot be read.
pub(super) fn number(dir: &Dir<'_>, file: &str) -> Result<Option<f64>> {
    dir.parse(file, any_base).unless_unreadable()
}
