//! Counters of the queueing disciplines at the root of each interface, over rtnetlink
//! (`RTM_GETQDISC`).
//!
//! Disciplines below the root and disciplines for incoming packets are left out, as upstream does:
//! the root also counts the packets of the disciplines below it. An interface that vanishes between
//! the dump of disciplines and the dump of names is left out.

use crate::{
    exposition::Label,
    host::{
        Shared,
        netlink::{LinkDump, Qdisc, Socket, Step},
    },
    prelude::*,
};
use serde_json::Value;

pub const SPEC: Spec = Spec {
    name: "qdisc",
    enabled: false,
    capabilities: NONE,
    flags: &[&FIXTURES, &INCLUDE, &OLD_INCLUDE, &EXCLUDE, &OLD_EXCLUDE],
    new: |host, flags| {
        let folder = flags.get(&FIXTURES);
        let filter = PAIR.read(flags)?;
        if !folder.is_empty() {
            let file = Tree::new(folder).file("results.json");
            return Ok(Box::new(Recording { filter, file, qdiscs: Vec::new() }));
        }
        Ok(Box::new(Qdiscs {
            filter,
            socket: Socket::default(),
            links: host.links.clone(),
            counted: Vec::new(),
        }))
    },
};

static FIXTURES: Flag<String> =
    text("collector.qdisc.fixtures", "test fixtures to use for qdisc collector end-to-end testing");
static PAIR: FilterFlags = FilterFlags {
    old_include: Some(&OLD_INCLUDE),
    old_exclude: Some(&OLD_EXCLUDE),
    ..FilterFlags::new(&INCLUDE, &EXCLUDE)
};
static INCLUDE: Flag<Option<Pattern>> = pattern(
    "collector.qdisc.device-include",
    "Regexp of qdisc devices to include (mutually exclusive to device-exclude).",
);
static OLD_INCLUDE: Flag<Option<Pattern>> =
    pattern("collector.qdisk.device-include", "DEPRECATED: Use collector.qdisc.device-include")
        .hidden();
static EXCLUDE: Flag<Option<Pattern>> = pattern(
    "collector.qdisc.device-exclude",
    "Regexp of qdisc devices to exclude (mutually exclusive to device-include).",
);
static OLD_EXCLUDE: Flag<Option<Pattern>> =
    pattern("collector.qdisk.device-exclude", "DEPRECATED: Use collector.qdisc.device-exclude")
        .hidden();

static BYTES: Metric<2> =
    counter("node_qdisc_bytes_total", "Number of bytes sent.").by(["device", "kind"]);
static PACKETS: Metric<2> =
    counter("node_qdisc_packets_total", "Number of packets sent.").by(["device", "kind"]);
static DROPS: Metric<2> =
    counter("node_qdisc_drops_total", "Number of packets dropped.").by(["device", "kind"]);
static REQUEUES: Metric<2> = counter(
    "node_qdisc_requeues_total",
    "Number of packets dequeued, not transmitted, and requeued.",
)
.by(["device", "kind"]);
static OVERLIMITS: Metric<2> =
    counter("node_qdisc_overlimits_total", "Number of overlimit packets.").by(["device", "kind"]);
static LENGTH: Metric<2> =
    gauge("node_qdisc_current_queue_length", "Number of packets currently in queue to be sent.")
        .by(["device", "kind"]);
static BACKLOG: Metric<2> =
    gauge("node_qdisc_backlog", "Number of bytes currently in queue to be sent.")
        .by(["device", "kind"]);

struct Qdiscs {
    filter: Filter,
    socket: Socket,
    links: Shared<LinkDump>,
    /// The disciplines at the roots; their buffers are kept.
    counted: Vec<Counted>,
}

/// A discipline out of a dump.
#[derive(Default)]
struct Counted {
    ifindex: u32,
    kind: Vec<u8>,
    /// In the order of [`put`].
    values: [u64; 7],
}

impl Collector for Qdiscs {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let (counted, mut used) = (&mut self.counted, 0);
        self.socket.qdiscs(|step| match step {
            Step::Start => used = 0,
            Step::Item(qdisc) if qdisc.is_root => {
                if used == counted.len() {
                    counted.push(Counted::default());
                }
                if let Some(slot) = counted.get_mut(used) {
                    slot.set(&qdisc);
                    used += 1;
                }
            }
            Step::Item(_) => {}
        })?;
        counted.truncate(used);
        let links = self.links.get(out.scrape())?;
        for qdisc in &*counted {
            let Some(link) = links.get(qdisc.ifindex) else { continue };
            if self.filter.keeps(&String::from_utf8_lossy(&link.name)) {
                put(&link.name, &qdisc.kind, &qdisc.values, out);
            }
        }
        Ok(())
    }
}

impl Counted {
    fn set(&mut self, qdisc: &Qdisc<'_>) {
        self.ifindex = qdisc.ifindex;
        self.kind.clear();
        self.kind.extend(qdisc.kind);
        self.values = [
            qdisc.bytes,
            qdisc.packets,
            qdisc.drops.into(),
            qdisc.requeues.into(),
            qdisc.overlimits.into(),
            qdisc.length.into(),
            qdisc.backlog.into(),
        ];
    }
}

fn put(device: &dyn Label, kind: &dyn Label, values: &[u64; 7], out: &mut Sink) {
    let metrics = [&BYTES, &PACKETS, &DROPS, &REQUEUES, &OVERLIMITS, &LENGTH, &BACKLOG];
    for (metric, &value) in metrics.into_iter().zip(values) {
        out.put(metric, [device, kind], value);
    }
}

/// `--collector.qdisc.fixtures`: a recording that stands in for the kernel.
struct Recording {
    filter: Filter,
    file: File,
    /// Device, kind and values of each discipline; none before the file has been read.
    qdiscs: Vec<(String, String, [u64; 7])>,
}

impl Collector for Recording {
    fn collect(&mut self, out: &mut Sink) -> Result {
        if self.qdiscs.is_empty() {
            self.qdiscs = self.file.parse(recorded)?;
        }
        for (device, kind, values) in &self.qdiscs {
            if self.filter.keeps(device) {
                put(device, kind, values, out);
            }
        }
        Ok(())
    }
}

/// The disciplines at the roots of a recording, a JSON array of objects whose members are the
/// fields of `QdiscInfo` in upstream's package; a member that is absent is 0 or empty.
fn recorded(text: &str) -> Result<Vec<(String, String, [u64; 7])>, Malformed> {
    let malformed = || Malformed::new("recording", text);
    let recording: Value = serde_json::from_str(text).map_err(|_| malformed())?;
    let members = ["Bytes", "Packets", "Drops", "Requeues", "Overlimits", "Qlen", "Backlog"];
    let qdiscs = recording.as_array().ok_or_else(malformed)?.iter().filter_map(|qdisc| {
        let word = |member| qdisc.get(member).and_then(Value::as_str).unwrap_or_default();
        let number = |member: &str| qdisc.get(member).and_then(Value::as_u64).unwrap_or_default();
        let is_root = number("Parent") == 0;
        is_root.then(|| (word("IfaceName").into(), word("Kind").into(), members.map(number)))
    });
    Ok(qdiscs.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, malformed};

    #[test]
    fn a_recording_stands_in_for_the_kernel() {
        let machine = Machine::new().with(
            "qdisc/results.json",
            r#"[{"IfaceName":"eth0","Kind":"fq","Bytes":7,"Drops":2,"Backlog":9},
                {"IfaceName":"eth0","Kind":"child","Parent":65536},{"IfaceName":"lo","Kind":"x"}]"#,
        );
        let fixtures =
            format!("--collector.qdisc.fixtures={}", machine.path().join("qdisc").display());
        let args = [fixtures.as_str(), "--collector.qdisc.device-exclude=^lo$"];
        let (text, result) = machine.collect(&SPEC, &args);
        result.unwrap();
        assert!(text.contains("node_qdisc_bytes_total{device=\"eth0\",kind=\"fq\"} 7\n"), "{text}");
        assert!(text.contains("node_qdisc_backlog{device=\"eth0\",kind=\"fq\"} 9\n"), "{text}");
        assert!(!text.contains("child") && !text.contains("\"lo\""), "{text}");
        assert_eq!(malformed(recorded("{}")), "bad recording: \"{}\"");
        assert_eq!(malformed(recorded("x")), "bad recording: \"x\"");
    }

    #[test]
    fn this_machine_is_asked_over_netlink() {
        let (_, result) = Machine::new().collect(&SPEC, &[]);
        result.unwrap();
    }
}
