//! Memory of each NUMA node, from `/sys/devices/system/node/node<N>`.
//!
//! `meminfo` has a field a line, as `Node 0 MemFree: 16806644 kB`, `numastat` one as
//! `numa_hit 143365546` (`drivers/base/node.c`). All fields are exposed, in bytes where the kernel
//! says kB; each is named when it is first seen.

use crate::{
    exposition::Kind,
    host::tree::Entry,
    parse::{is_digits, number},
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
        let mut result = Ok(());
        for entry in nodes {
            let name = entry.name();
            let Some(node) = name.strip_prefix("node").filter(|node| is_digits(node)) else {
                continue;
            };
            result = result.and(put_node(&entry, node, memory, counts, out));
        }
        result
    }
}

fn put_node(
    entry: &Entry<'_>,
    node: &str,
    memory: &mut Metrics,
    counts: &mut Metrics,
    out: &mut Sink,
) -> Result {
    let Some(dir) = entry.dir()? else { return Ok(()) };
    let memory = dir.parse("meminfo", |text| {
        for line in lines(text) {
            let (node, field, value) = meminfo(line)?;
            out.put(memory.get(field), [&node], value);
        }
        Ok(())
    });
    let counts = dir.parse("numastat", |text| {
        for line in lines(text) {
            let (field, value) = numastat(line)?;
            out.put(counts.get(field), [&node], value);
        }
        Ok(())
    });
    memory.and(counts).map(drop)
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim().is_empty())
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
fn meminfo(line: &str) -> Result<(&str, &str, u64), Malformed> {
    let malformed = || Malformed::new("meminfo line", line);
    let mut words = line.split_ascii_whitespace();
    let (_, node, field) = (words.word("node")?, words.word("node")?, words.word("field")?);
    let value: u64 = words.number("meminfo value")?;
    let unit = match (words.next(), words.next()) {
        (None, _) => 1,
        (Some("kB"), None) => 1024,
        _ => return Err(malformed()),
    };
    Ok((node, field.trim_end_matches(':'), value.checked_mul(unit).ok_or_else(malformed)?))
}

/// Field and value.
fn numastat(line: &str) -> Result<(&str, u64), Malformed> {
    let mut words = line.split_ascii_whitespace();
    let (Some(field), Some(value), None) = (words.next(), words.next(), words.next()) else {
        return Err(Malformed::new("numastat line", line));
    };
    Ok((field, number("numastat value", value)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, malformed};

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
        assert!(error.ends_with("/node/node3/meminfo: bad meminfo value: \"x\""), "{error}");
    }

    #[test]
    fn fields_become_metrics_names() {
        assert_eq!(as_metric("MemFree"), "MemFree");
        assert_eq!(as_metric("Inactive(anon)"), "Inactive_anon");
        assert_eq!(as_metric("a(b(c)d)e"), "a_b(c)de");
        assert_eq!(as_metric(")a("), ")a(");
    }

    #[test]
    fn refuses_what_is_no_field() {
        assert_eq!(meminfo("Node 1 HugePages_Free: 3"), Ok(("1", "HugePages_Free", 3)));
        assert_eq!(meminfo("Node 1 Slab: 3 kB"), Ok(("1", "Slab", 3072)));
        assert_eq!(malformed(meminfo("Node 1 Slab:")), "bad meminfo value: \"\"");
        assert_eq!(
            malformed(meminfo("Node 1 Slab: 3 MB")),
            "bad meminfo line: \"Node 1 Slab: 3 MB\""
        );
        assert_eq!(malformed(meminfo("Node")), "bad node: \"\"");
        assert_eq!(malformed(numastat("numa_hit")), "bad numastat line: \"numa_hit\"");
        assert_eq!(malformed(numastat("numa_hit -1")), "bad numastat value: \"-1\"");
    }
}
