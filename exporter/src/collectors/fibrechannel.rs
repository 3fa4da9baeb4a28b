//! Fibre Channel hosts and their counters, from `/sys/class/fc_host`
//! (`drivers/scsi/scsi_transport_fc.c`).
//!
//! Counters are hexadecimal; a counter of all ones means that the adapter does not count. A host
//! that is disabled is in the state `Unknown` and counts nothing, which is exposed as 0.

use crate::{
    host::tree::Entry,
    parse::{any_base, unsigned},
    prelude::*,
};

pub const SPEC: Spec = Spec {
    name: "fibrechannel",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| Ok(Box::new(FibreChannel(host.sys.folder("class/fc_host")))),
};

macro_rules! counters {
    ($($file:literal as $name:literal: $help:literal,)*) => {
        [$(($file, counter($name, $help).by(["fc_host"])),)*]
    };
}

static COUNTERS: [(&str, Metric<1>); 14] = counters! {
    "dumped_frames" as "node_fibrechannel_dumped_frames_total": "Number of dumped frames",
    "error_frames" as "node_fibrechannel_error_frames_total": "Number of errors in frames",
    "fcp_packet_aborts" as "node_fibrechannel_fcp_packet_aborts_total": "Number of aborted packets",
    "invalid_crc_count" as "node_fibrechannel_invalid_crc_total":
        "Invalid Cyclic Redundancy Check count",
    "invalid_tx_word_count" as "node_fibrechannel_invalid_tx_words_total":
        "Number of invalid words transmitted by host port",
    "link_failure_count" as "node_fibrechannel_link_failure_total":
        "Number of times the host port link has failed",
    "loss_of_signal_count" as "node_fibrechannel_loss_of_signal_total":
        "Number of times signal has been lost",
    "loss_of_sync_count" as "node_fibrechannel_loss_of_sync_total":
        "Number of failures on either bit or transmission word boundaries",
    "nos_count" as "node_fibrechannel_nos_total":
        "Number Not_Operational Primitive Sequence received by host port",
    "rx_frames" as "node_fibrechannel_rx_frames_total": "Number of frames received",
    "rx_words" as "node_fibrechannel_rx_words_total": "Number of words received by host port",
    "seconds_since_last_reset" as "node_fibrechannel_seconds_since_last_reset_total":
        "Number of seconds since last host port reset",
    "tx_frames" as "node_fibrechannel_tx_frames_total": "Number of frames transmitted by host port",
    "tx_words" as "node_fibrechannel_tx_words_total": "Number of words transmitted by host port",
};
static INFO: Metric<11> = gauge(
    "node_fibrechannel_info",
    "Non-numeric data from /sys/class/fc_host/<host>, value is always 1.",
)
.by([
    "dev_loss_tmo",
    "fabric_name",
    "fc_host",
    "port_id",
    "port_name",
    "port_state",
    "port_type",
    "speed",
    "supported_classes",
    "supported_speeds",
    "symbolic_name",
]);

struct FibreChannel(Folder);

impl Collector for FibreChannel {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let entries = self.0.list().or_no_data()?;
        let mut faults = Faults::default();
        for entry in entries {
            put_host(&entry, &mut faults, out);
        }
        faults.end()
    }
}

fn put_host(entry: &Entry<'_>, faults: &mut Faults, out: &mut Sink) {
    let Some(dir) = faults.read(entry.dir()) else { return };
    let host = entry.name();
    let [tmo, fabric, id, name, state, kind, speed, classes, speeds, symbolic] = dir.texts([
        "dev_loss_tmo",
        "fabric_name",
        "port_id",
        "port_name",
        "port_state",
        "port_type",
        "speed",
        "supported_classes",
        "supported_speeds",
        "symbolic_name",
    ]);
    let [fabric, id, name] = [&*fabric, &*id, &*name].map(|number| {
        number.strip_prefix("0x").filter(|digits| !digits.is_empty()).unwrap_or(number)
    });
    out.put(
        &INFO,
        [&tmo, &fabric, &host, &id, &name, &state, &kind, &speed, &classes, &speeds, &symbolic],
        true,
    );
    if matches!(&*state, "" | "Unknown") {
        for (_, metric) in &COUNTERS {
            out.put(metric, [&host], 0);
        }
        return;
    }
    let Some(statistics) = faults.read(dir.dir("statistics")) else { return };
    for (file, metric) in &COUNTERS {
        if let Some(value) = faults.read(statistics.parse(file, counter_in)).flatten() {
            out.put(metric, [&host], value);
        }
    }
}

/// A counter; `None` where all its bits are ones: the adapter does not count.
fn counter_in(text: &str) -> Result<Option<f64>, Malformed> {
    if unsigned(text) == Ok(u64::MAX) { Ok(None) } else { any_base(text).map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;

    #[test]
    fn an_absent_or_malformed_host_or_counter_hides_no_other() {
        let host = |n, file: &str| format!("sys/class/fc_host/host{n}/{file}");
        let machine = Machine::new()
            .with(&host(0, "port_state"), "Online\n")
            .with(&host(0, "port_id"), "0x\n")
            .with(&host(0, "statistics/error_frames"), "some\n")
            .with(&host(0, "statistics/rx_frames/is_a_directory"), "")
            .with(&host(0, "statistics/tx_frames"), "0xffffffffffffffff\n")
            .with(&host(0, "statistics/tx_words"), "0xfffffffffffffffe\n")
            .with(&host(2, "port_state"), "Linkdown\n");
        let link = machine.path().join("sys/class/fc_host/host1");
        std::os::unix::fs::symlink("gone", link).unwrap();
        let (text, result) = machine.collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("/statistics/error_frames: bad number: \"some\""), "{error}");
        assert!(text.contains(",fc_host=\"host0\",port_id=\"0x\",port_name=\"\","), "{text}");
        assert!(text.contains(",fc_host=\"host2\","));
        let total = "node_fibrechannel_tx_words_total{fc_host=\"host0\"} 1.8446744073709552e+19\n";
        assert!(text.ends_with(total));
        assert_eq!(text.lines().count(), 7, "{text}");
    }

    #[test]
    fn no_class_is_no_data() {
        assert!(matches!(Machine::new().collect(&SPEC, &[]).1, Err(Error::NoData)));
    }
}
