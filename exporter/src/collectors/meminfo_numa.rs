//! Memory of each NUMA node, from `/sys/devices/system/node/node<N>`.
//!
//! `meminfo` has a field a line, as `Node 0 MemFree: 16806644 kB`, `numastat` one as
//! `numa_hit 143365546` (`drivers/base/node.c`). All fields are exposed, in bytes where the kernel
//! says kB; each is named when it is first seen.

use super::meminfo::bytes;
use crate::{
    exposition::Kind,
    parse::{decimal, is_digits, rows},
    prelude::*,
};
use hashbrown::HashMap;

pub const SPEC: Spec = Spec {
    name: "meminfo_numa",
    enabled: false,
    capabilities: NONE,
    flags: &[],
    new: |host, _| {
        Ok(Box::new(MemInfoNuma {
            nodes: host.sys.folder("devices/system/node"),
            memory: Metrics::new(Kind::Gauge, ""),
            counts: Metrics::new(Kind::Counter, "_total"),
        }))
    },
};

struct MemInfoNuma {
    nodes: Folder,
    memory: Metrics,
    counts: Metrics,
}

impl Collector for MemInfoNuma {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { nodes, memory, counts } = self;
        let Some(nodes) = nodes.list().unless_absent()? else { return Ok(()) };
        let mut faults = Faults::default();
        for entry in nodes {
            let name = entry.name();
            let Some(node) = name.strip_prefix("node").filter(|node| is_digits(node)) else {
                continue;
            };
            faults.keep(put_node(&entry, node, memory, counts, out));
        }
        faults.end()
    }
}

fn put_node(
    entry: &Entry<'_>,
    node: &str,
    memory: &mut Metrics,
    counts: &mut Metrics,
    out: &mut Sink,
) -> Result {
    let mut faults = Faults::default();
    let Some(dir) = faults.read(entry.dir()) else { return faults.end() };
    faults.read(dir.parse("meminfo", |text| {
        each_line(text, |line| {
            let (node, field, value) = meminfo(line)?;
            out.put(memory.get(field), [&node], value);
            Ok(())
        })
    }));
    faults.read(dir.parse("numastat", |text| {
        each_line(text, |line| {
            let (field, value) = numastat(line)?;
            out.put(counts.get(field), [&node], value);
            Ok(())
        })
    }));
    faults.end()
}

/// Gives `each` the lines that are not blank.
fn each_line(
    text: &str,
    mut each: impl FnMut(&str) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    rows(text, |line| if line.trim_ascii().is_empty() { Ok(()) } else { each(line) })
}

/// The metrics of the fields seen so far.
struct Metrics {
    kind: Kind,
    suffix: &'static str,
    known: HashMap<String, Metric<1>>,
}

impl Metrics {
    fn new(kind: Kind, suffix: &'static str) -> Self {
        Self { kind, suffix, known: HashMap::new() }
    }

    fn get(&mut self, field: &str) -> &Metric<1> {
        let Self { kind, suffix, known } = self;
        known.entry_ref(field).or_insert_with(|| {
            let name = format!("{}{suffix}", as_metric(field));
            let help = format!("Memory information field {name}.");
            Metric::named(*kind, format!("node_memory_numa_{name}"), help, ["node"])
        })
    }
}

/// `Active(anon)` becomes `Active_anon`.
fn as_metric(field: &str) -> String {
    match (field.split_once('('), field.rsplit_once(')')) {
        (Some((before, _)), Some((inner, after))) if before.len() < inner.len() => {
            let inner = inner.get(before.len() + 1..).unwrap_or_default();
            format!("{before}_{inner}{after}")
        }
        _ => field.to_owned(),
    }
}

/// Node, field and value.
fn meminfo(line: &str) -> Result<(&str, &str, f64), Malformed> {
    let (head, value) = line.split_once(':').ok_or_else(|| Malformed::new("meminfo line", line))?;
    let mut words = head.split_ascii_whitespace();
    let (_, node, field) = (words.word("node")?, words.word("node")?, words.word("field")?);
    Ok((node, field, bytes(value)?))
}

/// Field and value.
fn numastat(line: &str) -> Result<(&str, f64), Malformed> {
    let mut words = line.split_ascii_whitespace();
    let (Some(field), Some(value), None) = (words.next(), words.next(), words.next()) else {
        return Err(Malformed::new("numastat line", line));
    };
    Ok((field, decimal("numastat value", value)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, malformed, sample_lines};

    #[test]
    fn folders_that_are_no_node_and_files_that_are_gone_are_skipped() {
        let machine = Machine::new()
            .with("sys/devices/system/node/node3/numastat", "numa_hit 7\n\n")
            .with("sys/devices/system/node/node4/cpulist", "0\n")
            .with("sys/devices/system/node/nodes/numastat", "x\n")
            .with("sys/devices/system/node/node5", "");
        let (text, result) = machine.collect(&SPEC, &[]);
        result.unwrap();
        assert!(text.ends_with("\nnode_memory_numa_numa_hit_total{node=\"3\"} 7\n"), "{text}");
        let (text, result) = Machine::new().collect(&SPEC, &[]);
        assert!(text.is_empty() && result.is_ok());
        let machine =
            machine.with("sys/devices/system/node/node3/meminfo", "Node 3 MemFree: x kB\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        assert!(text.ends_with("\nnode_memory_numa_numa_hit_total{node=\"3\"} 7\n"), "{text}");
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("/node/node3/meminfo:1: bad meminfo value: \"x\""), "{error}");
    }

    #[test]
    fn fields_become_metrics_names() {
        assert_eq!(as_metric("MemFree"), "MemFree");
        assert_eq!(as_metric("Inactive(anon)"), "Inactive_anon");
        assert_eq!(as_metric("a(b(c)d)e"), "a_b(c)de");
        assert_eq!(as_metric(")a("), ")a(");
    }

    #[test]
    fn a_line_that_is_no_field_is_refused() {
        assert_eq!(meminfo("Node 1 HugePages_Free: 3"), Ok(("1", "HugePages_Free", 3.0)));
        assert_eq!(meminfo("Node 1 Slab: 3 kB"), Ok(("1", "Slab", 3072.0)));
        assert_eq!(malformed(meminfo("Node 1 Slab:")), "bad meminfo value: \"\"");
        assert_eq!(malformed(meminfo("Node 1 Slab: 3 MB")), "bad meminfo unit: \"3 MB\"");
        assert_eq!(malformed(meminfo("Node 1:")), "bad field: \"\"");
        assert_eq!(malformed(meminfo("Node")), "bad meminfo line: \"Node\"");
        assert_eq!(malformed(numastat("numa_hit")), "bad numastat line: \"numa_hit\"");
        assert_eq!(malformed(numastat("numa_hit x")), "bad numastat value: \"x\"");
        assert_eq!(numastat("numa_hit -1"), Ok(("numa_hit", -1.0)));
    }

    #[test]
    fn a_line_that_is_odd_costs_itself_alone() {
        let machine = Machine::new()
            .with(
                "sys/devices/system/node/node0/meminfo",
                "Node 0 MemFree: x kB\nNode 0 MemUsed: 18446744073709551615 kB\n",
            )
            .with("sys/devices/system/node/node0/numastat", "numa_hit\nnuma_miss -5\n")
            .with("sys/devices/system/node/node1/meminfo/is_a_directory", "")
            .with("sys/devices/system/node/node1/numastat", "numa_miss 6\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("node0/meminfo:1: bad meminfo value: \"x\""), "{error}");
        assert_eq!(
            sample_lines(&text).collect::<Vec<_>>(),
            [
                "node_memory_numa_MemUsed{node=\"0\"} 1.888946593147858e+22",
                "node_memory_numa_numa_miss_total{node=\"0\"} -5",
                "node_memory_numa_numa_miss_total{node=\"1\"} 6",
            ]
        );
    }
}
