//! The families, and the counters that each is made of.

use super::file::Columns;
use crate::{host::netlink::Stats, prelude::*};

/// A counter, with and without the label `ifalias`.
struct Counter {
    plain: Metric<1>,
    aliased: Metric<2>,
}

macro_rules! counters {
    ($($name:ident $key:literal)*) => {$(
        static $name: Counter = Counter {
            plain: counter(
                concat!("node_network_", $key, "_total"),
                concat!("Network device statistic ", $key, "."),
            )
            .by(["device"]),
            aliased: counter(
                concat!("node_network_", $key, "_total"),
                concat!("Network device statistic ", $key, "."),
            )
            .by(["device", "ifalias"]),
        };
    )*};
}

counters! {
    COLLISIONS "collisions"
    MULTICAST "multicast"
    RX_BYTES "receive_bytes"
    RX_COMPRESSED "receive_compressed"
    RX_CRC_ERRORS "receive_crc_errors"
    RX_DROP "receive_drop"
    RX_DROPPED "receive_dropped"
    RX_ERRORS "receive_errors"
    RX_ERRS "receive_errs"
    RX_FIFO "receive_fifo"
    RX_FIFO_ERRORS "receive_fifo_errors"
    RX_FRAME "receive_frame"
    RX_FRAME_ERRORS "receive_frame_errors"
    RX_LENGTH_ERRORS "receive_length_errors"
    RX_MISSED_ERRORS "receive_missed_errors"
    RX_MULTICAST "receive_multicast"
    RX_NOHANDLER "receive_nohandler"
    RX_OVER_ERRORS "receive_over_errors"
    RX_PACKETS "receive_packets"
    TX_ABORTED_ERRORS "transmit_aborted_errors"
    TX_BYTES "transmit_bytes"
    TX_CARRIER "transmit_carrier"
    TX_CARRIER_ERRORS "transmit_carrier_errors"
    TX_COLLS "transmit_colls"
    TX_COMPRESSED "transmit_compressed"
    TX_DROP "transmit_drop"
    TX_DROPPED "transmit_dropped"
    TX_ERRORS "transmit_errors"
    TX_ERRS "transmit_errs"
    TX_FIFO "transmit_fifo"
    TX_FIFO_ERRORS "transmit_fifo_errors"
    TX_HEARTBEAT_ERRORS "transmit_heartbeat_errors"
    TX_PACKETS "transmit_packets"
    TX_WINDOW_ERRORS "transmit_window_errors"
}

/// The counters of one interface.
pub(super) enum Counters<'a> {
    Link(&'a Stats),
    File(&'a Columns),
}

/// The labels of one interface's counters, and the sink.
pub(super) struct Device<'a> {
    pub(super) name: &'a [u8],
    pub(super) alias: Option<&'a str>,
    pub(super) out: &'a mut Sink,
}

impl Device<'_> {
    fn put(&mut self, counter: &Counter, value: u64) {
        self.put_number(counter, value as f64);
    }

    fn put_number(&mut self, counter: &Counter, value: f64) {
        match &self.alias {
            Some(alias) => self.out.put(&counter.aliased, [&self.name, alias], value),
            None => self.out.put(&counter.plain, [&self.name], value),
        }
    }
}

impl Counters<'_> {
    pub(super) fn put(&self, detailed: bool, device: &mut Device<'_>) {
        match self {
            Self::Link(stats) => {
                device.put(&RX_BYTES, stats.rx_bytes);
                device.put(&RX_COMPRESSED, stats.rx_compressed);
                device.put(&RX_NOHANDLER, stats.rx_nohandler);
                device.put(&RX_PACKETS, stats.rx_packets);
                device.put(&TX_BYTES, stats.tx_bytes);
                device.put(&TX_COMPRESSED, stats.tx_compressed);
                device.put(&TX_PACKETS, stats.tx_packets);
                if detailed { put_detailed(stats, device) } else { put_legacy(stats, device) }
            }
            Self::File(words) => put_columns(words, detailed, device),
        }
    }
}

fn put_detailed(stats: &Stats, device: &mut Device<'_>) {
    device.put(&COLLISIONS, stats.collisions);
    device.put(&MULTICAST, stats.multicast);
    device.put(&RX_CRC_ERRORS, stats.rx_crc_errors);
    device.put(&RX_DROPPED, stats.rx_dropped);
    device.put(&RX_ERRORS, stats.rx_errors);
    device.put(&RX_FIFO_ERRORS, stats.rx_fifo_errors);
    device.put(&RX_FRAME_ERRORS, stats.rx_frame_errors);
    device.put(&RX_LENGTH_ERRORS, stats.rx_length_errors);
    device.put(&RX_MISSED_ERRORS, stats.rx_missed_errors);
    device.put(&RX_OVER_ERRORS, stats.rx_over_errors);
    device.put(&TX_ABORTED_ERRORS, stats.tx_aborted_errors);
    device.put(&TX_CARRIER_ERRORS, stats.tx_carrier_errors);
    device.put(&TX_DROPPED, stats.tx_dropped);
    device.put(&TX_ERRORS, stats.tx_errors);
    device.put(&TX_FIFO_ERRORS, stats.tx_fifo_errors);
    device.put(&TX_HEARTBEAT_ERRORS, stats.tx_heartbeat_errors);
    device.put(&TX_WINDOW_ERRORS, stats.tx_window_errors);
}

/// Puts the sums that `dev_seq_printf_stats()` writes into `/proc/net/dev`.
fn put_legacy(stats: &Stats, device: &mut Device<'_>) {
    let sum = |counters: &[u64]| counters.iter().fold(0, |a: u64, &b| a.wrapping_add(b));
    device.put(&RX_DROP, sum(&[stats.rx_dropped, stats.rx_missed_errors]));
    device.put(&RX_ERRS, stats.rx_errors);
    device.put(&RX_FIFO, stats.rx_fifo_errors);
    let frame =
        [stats.rx_frame_errors, stats.rx_length_errors, stats.rx_over_errors, stats.rx_crc_errors];
    device.put(&RX_FRAME, sum(&frame));
    device.put(&RX_MULTICAST, stats.multicast);
    let carrier = [
        stats.tx_carrier_errors,
        stats.tx_aborted_errors,
        stats.tx_heartbeat_errors,
        stats.tx_window_errors,
    ];
    device.put(&TX_CARRIER, sum(&carrier));
    device.put(&TX_COLLS, stats.collisions);
    device.put(&TX_DROP, stats.tx_dropped);
    device.put(&TX_ERRS, stats.tx_errors);
    device.put(&TX_FIFO, stats.tx_fifo_errors);
}

fn put_columns(words: &Columns, detailed: bool, device: &mut Device<'_>) {
    let [rx_errors, rx_dropped, tx_errors, tx_dropped] = if detailed {
        [&RX_ERRORS, &RX_DROPPED, &TX_ERRORS, &TX_DROPPED]
    } else {
        [&RX_ERRS, &RX_DROP, &TX_ERRS, &TX_DROP]
    };
    let columns = [
        &RX_BYTES,
        &RX_PACKETS,
        rx_errors,
        rx_dropped,
        &RX_FIFO,
        &RX_FRAME,
        &RX_COMPRESSED,
        &RX_MULTICAST,
        &TX_BYTES,
        &TX_PACKETS,
        tx_errors,
        tx_dropped,
        &TX_FIFO,
        &TX_COLLS,
        &TX_CARRIER,
        &TX_COMPRESSED,
    ];
    for (counter, word) in columns.into_iter().zip(words) {
        if let Some(value) = *word {
            device.put_number(counter, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{expect, samples};

    fn link(detailed: bool) -> String {
        let words: [u64; 25] = std::array::from_fn(|i| 1 << i);
        let stats: Stats = bytemuck::cast(words);
        samples(|out| {
            Counters::Link(&stats).put(detailed, &mut Device { name: b"x", alias: None, out });
        })
    }

    #[test]
    fn netlink_adds_up_as_the_file_does() {
        expect![[r#"
            node_network_receive_bytes_total{device="x"} 4
            node_network_receive_compressed_total{device="x"} 2.097152e+06
            node_network_receive_drop_total{device="x"} 32832
            node_network_receive_errs_total{device="x"} 16
            node_network_receive_fifo_total{device="x"} 16384
            node_network_receive_frame_total{device="x"} 15360
            node_network_receive_multicast_total{device="x"} 256
            node_network_receive_nohandler_total{device="x"} 8.388608e+06
            node_network_receive_packets_total{device="x"} 1
            node_network_transmit_bytes_total{device="x"} 8
            node_network_transmit_carrier_total{device="x"} 1.769472e+06
            node_network_transmit_colls_total{device="x"} 512
            node_network_transmit_compressed_total{device="x"} 4.194304e+06
            node_network_transmit_drop_total{device="x"} 128
            node_network_transmit_errs_total{device="x"} 32
            node_network_transmit_fifo_total{device="x"} 262144
            node_network_transmit_packets_total{device="x"} 2
        "#]]
        .assert_eq(&link(false));
    }

    #[test]
    fn netlink_in_detail() {
        expect![[r#"
            node_network_collisions_total{device="x"} 512
            node_network_multicast_total{device="x"} 256
            node_network_receive_bytes_total{device="x"} 4
            node_network_receive_compressed_total{device="x"} 2.097152e+06
            node_network_receive_crc_errors_total{device="x"} 4096
            node_network_receive_dropped_total{device="x"} 64
            node_network_receive_errors_total{device="x"} 16
            node_network_receive_fifo_errors_total{device="x"} 16384
            node_network_receive_frame_errors_total{device="x"} 8192
            node_network_receive_length_errors_total{device="x"} 1024
            node_network_receive_missed_errors_total{device="x"} 32768
            node_network_receive_nohandler_total{device="x"} 8.388608e+06
            node_network_receive_over_errors_total{device="x"} 2048
            node_network_receive_packets_total{device="x"} 1
            node_network_transmit_aborted_errors_total{device="x"} 65536
            node_network_transmit_bytes_total{device="x"} 8
            node_network_transmit_carrier_errors_total{device="x"} 131072
            node_network_transmit_compressed_total{device="x"} 4.194304e+06
            node_network_transmit_dropped_total{device="x"} 128
            node_network_transmit_errors_total{device="x"} 32
            node_network_transmit_fifo_errors_total{device="x"} 262144
            node_network_transmit_heartbeat_errors_total{device="x"} 524288
            node_network_transmit_packets_total{device="x"} 2
            node_network_transmit_window_errors_total{device="x"} 1.048576e+06
        "#]]
        .assert_eq(&link(true));
    }
}
