//! Replicated block devices, from `/proc/drbd` of DRBD 8 (`drbd_seq_show()` in
//! `drivers/block/drbd/drbd_proc.c`).
//!
//! A number with a colon begins a device, and the pairs up to the next (`cs:Connected`) belong to
//! it. Amounts are in kB, but the amount received is exposed without conversion, as in
//! `node_exporter`. DRBD 9 writes its version there and nothing else.

use crate::{
    parse::{decimal, is_digits, rows},
    prelude::*,
};

pub const SPEC: Spec = Spec {
    name: "drbd",
    enabled: false,
    capabilities: NONE,
    flags: &[],
    new: |host, _| Ok(Box::new(Drbd { file: host.proc.file("drbd"), device: String::new() })),
};

/// The device to which pairs before the first device belong.
const UNKNOWN: &str = "unknown";
const KILOBYTES: f64 = 1024.0;

macro_rules! numbers {
    ($($key:literal => $kind:ident $name:literal $unit:expr, $help:literal;)*) => {
        [$(($key, $kind(concat!("node_drbd_", $name), $help).by(["device"]), $unit)),*]
    };
}

/// Key, metric and the factor from the kernel's unit to ours.
static NUMBERS: [(&str, Metric<1>, f64); 12] = numbers! {
    "ns" => counter "network_sent_bytes_total" KILOBYTES,
        "Total number of bytes sent via the network.";
    "nr" => counter "network_received_bytes_total" 1.0,
        "Total number of bytes received via the network.";
    "dw" => counter "disk_written_bytes_total" KILOBYTES,
        "Net data written on local hard disk; in bytes.";
    "dr" => counter "disk_read_bytes_total" KILOBYTES,
        "Net data read from local hard disk; in bytes.";
    "al" => counter "activitylog_writes_total" 1.0,
        "Number of updates of the activity log area of the meta data.";
    "bm" => counter "bitmap_writes_total" 1.0,
        "Number of updates of the bitmap area of the meta data.";
    "lo" => gauge "local_pending" 1.0, "Number of open requests to the local I/O sub-system.";
    "pe" => gauge "remote_pending" 1.0,
        "Number of requests sent to the peer, but that have not yet been answered by the latter.";
    "ua" => gauge "remote_unacknowledged" 1.0,
        "Number of requests received by the peer via the network connection, but that have not yet been answered.";
    "ap" => gauge "application_pending" 1.0,
        "Number of block I/O requests forwarded to DRBD, but not yet answered by DRBD.";
    "ep" => gauge "epochs" 1.0, "Number of Epochs currently on the fly.";
    "oos" => gauge "out_of_sync_bytes" KILOBYTES,
        "Amount of data known to be out of sync; in bytes.";
};

static PRIMARY: Metric<2> = gauge(
    "node_drbd_node_role_is_primary",
    "Whether the role of the node is in the primary state.",
)
.by(["device", "node"]);
static UP_TO_DATE: Metric<2> =
    gauge("node_drbd_disk_state_is_up_to_date", "Whether the disk of the node is up to date.")
        .by(["device", "node"]);
static CONNECTED: Metric<1> =
    gauge("node_drbd_connected", "Whether DRBD is connected to the peer.").by(["device"]);

struct Drbd {
    file: File,
    /// Room for the device's name.
    device: String,
}

impl Collector for Drbd {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { file, device } = self;
        device.clear();
        device.push_str(UNKNOWN);
        let parsed = file.parse(|text| {
            rows(text, |line| {
                let mut faults = Faults::default();
                // A device's first line tells its connection's state, whatever else it tells.
                let begins = line.split_ascii_whitespace().any(|word| word.starts_with("cs:"));
                for (place, word) in line.split_ascii_whitespace().enumerate() {
                    let Some((key, value)) = pair(word) else { continue };
                    if value.is_empty() && (is_digits(key) || (place == 0 && begins)) {
                        // A number begins a device; another first word before a connection's state
                        // begins one whose number is not known.
                        device.clear();
                        let known = is_digits(key);
                        device.push_str(if known { "drbd" } else { UNKNOWN });
                        device.push_str(if known { key } else { "" });
                    } else {
                        faults.keep(put(key, value, device, out));
                    }
                }
                faults.end()
            })
        });
        parsed.or_no_data()
    }
}

/// The two sides of a word's only colon.
fn pair(word: &str) -> Option<(&str, &str)> {
    word.split_once(':').filter(|(_, value)| !value.contains(':'))
}

fn put(key: &str, value: &str, device: &str, out: &mut Sink) -> Result<(), Malformed> {
    if let Some((_, metric, unit)) = NUMBERS.iter().find(|(name, ..)| *name == key) {
        out.put(metric, [&device], decimal("drbd value", value)? * unit);
        return Ok(());
    }
    let (metric, good) = match key {
        "cs" => {
            out.put(&CONNECTED, [&device], value == "Connected");
            return Ok(());
        }
        "ro" => (&PRIMARY, "Primary"),
        "ds" => (&UP_TO_DATE, "UpToDate"),
        _ => return Ok(()),
    };
    for (node, state) in ["local", "remote"].iter().zip(value.split('/')) {
        out.put(metric, [&device, node], state == good);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, expect, sample_lines};

    fn collect(text: &str) -> (String, Result) {
        let (text, result) = Machine::new().with("proc/drbd", text).collect(&SPEC, &[]);
        let lines = sample_lines(&text);
        (lines.map(|line| line.to_owned() + "\n").collect(), result)
    }

    #[test]
    fn pairs_belong_to_the_last_device_above_them() {
        let (text, result) =
            collect("cs:WFConnection a:b:c x 7 7:\n 12: cs:Connected ro:Secondary ds:/ oos:1.5\n");
        result.unwrap();
        expect![[r#"
            node_drbd_connected{device="drbd12"} 1
            node_drbd_connected{device="unknown"} 0
            node_drbd_disk_state_is_up_to_date{device="drbd12",node="local"} 0
            node_drbd_disk_state_is_up_to_date{device="drbd12",node="remote"} 0
            node_drbd_node_role_is_primary{device="drbd12",node="local"} 0
            node_drbd_out_of_sync_bytes{device="drbd12"} 1536
        "#]]
        .assert_eq(&text);
    }

    #[test]
    fn a_value_that_is_no_number_hides_no_other() {
        let odd = "version: 8\n 0: ns:x nr:-7 dw:y\nnovel: 7 kB\n ap:4\n x: cs:_ lo:5\n 1: ns:1\n";
        let (text, result) = collect(odd);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("proc/drbd:2: bad drbd value: \"x\""), "{error}");
        expect![[r#"
            node_drbd_application_pending{device="drbd0"} 4
            node_drbd_connected{device="unknown"} 0
            node_drbd_local_pending{device="unknown"} 5
            node_drbd_network_received_bytes_total{device="drbd0"} -7
            node_drbd_network_sent_bytes_total{device="drbd1"} 1024
        "#]]
        .assert_eq(&text);
        assert!(matches!(Machine::new().collect(&SPEC, &[]).1, Err(Error::NoData)));
    }
}
