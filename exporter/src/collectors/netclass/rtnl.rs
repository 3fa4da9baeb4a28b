//! The source for `--collector.netclass.netlink`: attributes as in netlink messages, some of which
//! differ from the files in sysfs; alternative names; on demand the counters.
//!
//! Carrier and speed are exposed even while the interface is down, the flags have bits for states,
//! and `dormant` is the link mode.

use super::{
    Source, Wanted,
    kept::Kept,
    metrics::{Numbers, OPERSTATES, properties},
};
use crate::{
    exposition::Label,
    host::{
        Shared,
        netlink::{Ethtool, Link, LinkDump, Mode, Stats},
    },
    prelude::*,
};

static INFO: Metric<6> =
    gauge("node_network_info", "Non-numeric data of <iface>, value is always 1.").by([
        "address",
        "broadcast",
        "device",
        "duplex",
        "ifalias",
        "operstate",
    ]);
static ALTNAMES: Metric<2> =
    gauge("node_network_altnames_info", "Non-numeric data of <iface> altname, value is always 1.")
        .by(["altname", "device"]);

properties! {
    COLLISIONS gauge "node_network_collisions_total" "collisions_total"
    MULTICAST gauge "node_network_multicast_total" "multicast_total"
    RX_BYTES gauge "node_network_receive_bytes_total" "receive_bytes_total"
    RX_COMPRESSED gauge "node_network_receive_compressed_total" "receive_compressed_total"
    RX_CRC_ERRORS gauge "node_network_receive_crc_errors_total" "receive_crc_errors_total"
    RX_DROPPED gauge "node_network_receive_dropped_total" "receive_dropped_total"
    RX_ERRORS gauge "node_network_receive_errors_total" "receive_errors_total"
    RX_FIFO_ERRORS gauge "node_network_receive_fifo_errors_total" "receive_fifo_errors_total"
    RX_FRAME_ERRORS gauge "node_network_receive_frame_errors_total" "receive_frame_errors_total"
    RX_LENGTH_ERRORS gauge "node_network_receive_length_errors_total" "receive_length_errors_total"
    RX_MISSED_ERRORS gauge "node_network_receive_missed_errors_total" "receive_missed_errors_total"
    RX_NOHANDLER gauge "node_network_receive_nohandler_total" "receive_nohandler_total"
    RX_OVER_ERRORS gauge "node_network_receive_over_errors_total" "receive_over_errors_total"
    RX_PACKETS gauge "node_network_receive_packets_total" "receive_packets_total"
    TX_ABORTED_ERRORS gauge "node_network_transmit_aborted_errors_total" "transmit_aborted_errors_total"
    TX_BYTES gauge "node_network_transmit_bytes_total" "transmit_bytes_total"
    TX_CARRIER_ERRORS gauge "node_network_transmit_carrier_errors_total" "transmit_carrier_errors_total"
    TX_COMPRESSED gauge "node_network_transmit_compressed_total" "transmit_compressed_total"
    TX_DROPPED gauge "node_network_transmit_dropped_total" "transmit_dropped_total"
    TX_ERRORS gauge "node_network_transmit_errors_total" "transmit_errors_total"
    TX_FIFO_ERRORS gauge "node_network_transmit_fifo_errors_total" "transmit_fifo_errors_total"
    TX_HEARTBEAT_ERRORS gauge "node_network_transmit_heartbeat_errors_total" "transmit_heartbeat_errors_total"
    TX_PACKETS gauge "node_network_transmit_packets_total" "transmit_packets_total"
    TX_WINDOW_ERRORS gauge "node_network_transmit_window_errors_total" "transmit_window_errors_total"
}

pub(super) struct Rtnl {
    links: Shared<LinkDump>,
    ethtool: Ethtool,
    kept: Kept,
    /// Whether `/sys/class/net` shows this network namespace, so that an interface without files is
    /// gone.
    has_files: bool,
    with_stats: bool,
}

impl Rtnl {
    pub(super) fn new(host: &Host, with_stats: bool) -> Self {
        let (links, kept) = (host.links.clone(), Kept::new(host));
        let has_files = host.has_own_sysfs();
        Self { links, ethtool: Ethtool::default(), kept, has_files, with_stats }
    }
}

impl Source for Rtnl {
    fn collect(&mut self, wanted: &Wanted, out: &mut Sink) -> Result {
        let Self { links, ethtool, kept, has_files, with_stats } = self;
        let links = links.get(out.scrape())?;
        kept.refresh(&links, wanted);
        if let Err(error) = ethtool.refresh() {
            tracing::debug!(%error, "not all speeds over netlink");
        }
        for link in links.iter().filter(|link| wanted.keeps(&link.name)) {
            let files = match kept.get(link.index) {
                None if *has_files => continue,
                files => files.unwrap_or_default(),
            };
            let mode = ethtool.get(link.index);
            let numbers = Numbers {
                address_assign_type: files.address_assign_type,
                device_id: files.device_id,
                name_assign_type: files.name_assign_type,
                ..numbers(link, mode)
            };
            numbers.put(&link.name, out);
            put_info(link, mode, out);
            if let (true, Some(stats)) = (*with_stats, &link.stats) {
                put_stats(stats, &link.name, out);
            }
        }
        Ok(())
    }
}

fn numbers(link: &Link, mode: Option<Mode>) -> Numbers {
    let number = |number: Option<u32>| number.map(f64::from);
    Numbers {
        up: operstate(link) == "up",
        carrier: link.carrier.map(f64::from),
        carrier_changes: number(link.carrier_changes),
        carrier_downs: number(link.carrier_downs),
        carrier_ups: number(link.carrier_ups),
        dormant: link.mode.map(f64::from),
        flags: Some(link.flags.into()),
        group: number(link.group),
        index: Some(link.index.into()),
        kind: Some(link.kind.into()),
        link: number(Some(link.link.filter(|&index| index > 0).unwrap_or(link.index))),
        link_mode: link.mode.map(f64::from),
        mtu: number(link.mtu),
        queue_length: number(link.queue_length),
        speed: mode.map(|mode| mode.speed.into()).filter(|&speed| speed >= 0.0),
        ..Numbers::default()
    }
}

fn put_info(link: &Link, mode: Option<Mode>, out: &mut Sink) {
    let duplex = match mode.map(|mode| mode.duplex) {
        None => "",
        Some(0) => "Half",
        Some(1) => "Full",
        Some(_) => "Unknown",
    };
    let (operstate, alias) = (operstate(link), link.alias.as_slice());
    let labels: [&dyn Label; 6] =
        [&link.address, &link.broadcast, &link.name, &duplex, &alias, &operstate];
    out.put(&INFO, labels, 1);
    for name in link.other_names() {
        out.put(&ALTNAMES, [&name, &link.name], 1);
    }
}

fn operstate(link: &Link) -> &'static str {
    let state = usize::from(link.operstate.unwrap_or_default());
    OPERSTATES.get(state).copied().unwrap_or("unknown")
}

fn put_stats(stats: &Stats, device: &[u8], out: &mut Sink) {
    for (metric, value) in [
        (&COLLISIONS, stats.collisions),
        (&MULTICAST, stats.multicast),
        (&RX_BYTES, stats.rx_bytes),
        (&RX_COMPRESSED, stats.rx_compressed),
        (&RX_CRC_ERRORS, stats.rx_crc_errors),
        (&RX_DROPPED, stats.rx_dropped),
        (&RX_ERRORS, stats.rx_errors),
        (&RX_FIFO_ERRORS, stats.rx_fifo_errors),
        (&RX_FRAME_ERRORS, stats.rx_frame_errors),
        (&RX_LENGTH_ERRORS, stats.rx_length_errors),
        (&RX_MISSED_ERRORS, stats.rx_missed_errors),
        (&RX_NOHANDLER, stats.rx_nohandler),
        (&RX_OVER_ERRORS, stats.rx_over_errors),
        (&RX_PACKETS, stats.rx_packets),
        (&TX_ABORTED_ERRORS, stats.tx_aborted_errors),
        (&TX_BYTES, stats.tx_bytes),
        (&TX_CARRIER_ERRORS, stats.tx_carrier_errors),
        (&TX_COMPRESSED, stats.tx_compressed),
        (&TX_DROPPED, stats.tx_dropped),
        (&TX_ERRORS, stats.tx_errors),
        (&TX_FIFO_ERRORS, stats.tx_fifo_errors),
        (&TX_HEARTBEAT_ERRORS, stats.tx_heartbeat_errors),
        (&TX_PACKETS, stats.tx_packets),
        (&TX_WINDOW_ERRORS, stats.tx_window_errors),
    ] {
        out.put(metric, [&device], value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{expect, samples};

    #[test]
    fn numbers_are_those_of_netlink() {
        let link = Link {
            index: 7,
            flags: 0x1_1043,
            link: Some(0),
            mode: Some(1),
            operstate: Some(6),
            ..Link::default()
        };
        let mode = |speed| Some(Mode { index: 7, speed, duplex: 255 });
        let told = numbers(&link, mode(-1));
        assert_eq!((told.speed, told.link, told.dormant), (None, Some(7.0), Some(1.0)));
        assert!(told.up);
        assert_eq!(numbers(&link, mode(10_000)).speed, Some(10_000.0));
        expect![[r#"
            node_network_info{address="",broadcast="",device="",duplex="Unknown",ifalias="",operstate="up"} 1
        "#]]
        .assert_eq(&samples(|out| put_info(&link, mode(-1), out)));
    }

    #[test]
    fn counters_are_exposed_under_their_own_names() {
        let words: [u64; 25] = std::array::from_fn(|i| i as u64);
        expect![[r#"
            node_network_collisions_total{device="x"} 9
            node_network_multicast_total{device="x"} 8
            node_network_receive_bytes_total{device="x"} 2
            node_network_receive_compressed_total{device="x"} 21
            node_network_receive_crc_errors_total{device="x"} 12
            node_network_receive_dropped_total{device="x"} 6
            node_network_receive_errors_total{device="x"} 4
            node_network_receive_fifo_errors_total{device="x"} 14
            node_network_receive_frame_errors_total{device="x"} 13
            node_network_receive_length_errors_total{device="x"} 10
            node_network_receive_missed_errors_total{device="x"} 15
            node_network_receive_nohandler_total{device="x"} 23
            node_network_receive_over_errors_total{device="x"} 11
            node_network_receive_packets_total{device="x"} 0
            node_network_transmit_aborted_errors_total{device="x"} 16
            node_network_transmit_bytes_total{device="x"} 3
            node_network_transmit_carrier_errors_total{device="x"} 17
            node_network_transmit_compressed_total{device="x"} 22
            node_network_transmit_dropped_total{device="x"} 7
            node_network_transmit_errors_total{device="x"} 5
            node_network_transmit_fifo_errors_total{device="x"} 18
            node_network_transmit_heartbeat_errors_total{device="x"} 19
            node_network_transmit_packets_total{device="x"} 1
            node_network_transmit_window_errors_total{device="x"} 20
        "#]]
        .assert_eq(&samples(|out| put_stats(&bytemuck::cast(words), b"x", out)));
    }
}
