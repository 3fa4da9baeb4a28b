//! Sockets by protocol, from `/proc/net/sockstat` and `/proc/net/sockstat6`.
//!
//! A line has a protocol and pairs of a word and a number (`net/ipv4/proc.c`, `net/ipv6/proc.c`).
//! Which pairs there are depends on the protocol; `mem` is in pages, `memory` in bytes. Only the
//! first file has the line `sockets`, which counts those of all families.

use crate::{exposition::Kind, parse::number, prelude::*};
use hashbrown::HashMap;

pub const SPEC: Spec = Spec {
    name: "sockstat",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| {
        Ok(Box::new(SockStat {
            files: [host.proc.single_file("net/sockstat"), host.proc.single_file("net/sockstat6")],
            page_size: i64::try_from(rustix::param::page_size()).unwrap_or_default(),
            known: HashMap::new(),
        }))
    },
};

static USED: Metric = gauge("node_sockstat_sockets_used", "Number of IPv4 sockets in use.");

/// The words that are exposed; `mem` again in bytes.
const STATES: [&str; 7] = ["inuse", "orphan", "tw", "alloc", "mem", "memory", "mem_bytes"];

struct SockStat {
    files: [SingleFile; 2],
    page_size: i64,
    /// One for each of [`STATES`], by protocol.
    known: HashMap<String, [Metric; STATES.len()]>,
}

impl Collector for SockStat {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { files, page_size, known } = self;
        let mut result = Ok(());
        for (i, file) in files.iter_mut().enumerate() {
            let read = file.parse(|text| {
                each(text, |protocol, values| {
                    if protocol == "sockets" {
                        if i == 0 {
                            out.put(&USED, [], values.used);
                        }
                    } else {
                        let metrics =
                            known.entry_ref(protocol).or_insert_with(|| metrics(protocol));
                        for (metric, value) in metrics.iter().zip(values.states(*page_size)) {
                            if let Some(value) = value {
                                out.put(metric, [], value);
                            }
                        }
                    }
                })
            });
            // A kernel may be without IPv4, or without IPv6.
            result = result.and(read.unless_absent().map(drop));
        }
        result
    }
}

fn metrics(protocol: &str) -> [Metric; STATES.len()] {
    STATES.map(|state| {
        Metric::named(
            Kind::Gauge,
            format!("node_sockstat_{protocol}_{state}"),
            format!("Number of {protocol} sockets in state {state}."),
            [],
        )
    })
}

/// The numbers of one line.
#[derive(Default)]
struct Values {
    used: i64,
    inuse: i64,
    orphan: Option<i64>,
    tw: Option<i64>,
    alloc: Option<i64>,
    mem: Option<i64>,
    memory: Option<i64>,
}

impl Values {
    /// In the order of [`STATES`].
    fn states(&self, page_size: i64) -> [Option<i64>; STATES.len()] {
        let bytes = self.mem.map(|pages| pages.saturating_mul(page_size));
        [Some(self.inuse), self.orphan, self.tw, self.alloc, self.mem, self.memory, bytes]
    }
}

fn each(text: &str, mut line: impl FnMut(&str, Values)) -> Result<(), Malformed> {
    for text in text.lines() {
        let malformed = || Malformed::new("line", text);
        let mut words = text.split_ascii_whitespace();
        let protocol = words.next().ok_or_else(malformed)?;
        let mut values = Values::default();
        let mut pairs = 0;
        while let Some(word) = words.next() {
            let value = number("value", words.next().ok_or_else(malformed)?)?;
            match word {
                "used" => values.used = value,
                "inuse" => values.inuse = value,
                "orphan" => values.orphan = Some(value),
                "tw" => values.tw = Some(value),
                "alloc" => values.alloc = Some(value),
                "mem" => values.mem = Some(value),
                "memory" => values.memory = Some(value),
                _ => {}
            }
            pairs += 1;
        }
        if pairs == 0 {
            return Err(malformed());
        }
        line(protocol.strip_suffix(':').unwrap_or(protocol), values);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, malformed};

    #[test]
    fn lines_are_pairs() {
        let parse = |text| each(text, |_, _| ());
        assert_eq!(parse("TCP: inuse 1 new 2\n"), Ok(()));
        assert_eq!(malformed(parse("TCP: inuse 1\n\n")), "bad line: \"\"");
        assert_eq!(malformed(parse("TCP:")), "bad line: \"TCP:\"");
        assert_eq!(malformed(parse("TCP: inuse")), "bad line: \"TCP: inuse\"");
        assert_eq!(malformed(parse("TCP: inuse x")), "bad value: \"x\"");
    }

    #[test]
    fn a_family_may_be_missing() {
        let (text, result) = Machine::new().collect(&SPEC, &[]);
        assert!(text.is_empty() && result.is_ok());
        let machine = Machine::new().with("proc/net/sockstat6", "TCP6: inuse -1\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        result.unwrap();
        assert!(text.ends_with("\nnode_sockstat_TCP6_inuse -1\n"), "{text}");
    }

    #[test]
    fn a_broken_file_does_not_hide_the_other() {
        let machine = Machine::new()
            .with("proc/net/sockstat", "sockets: used x\n")
            .with("proc/net/sockstat6", "UDP6: inuse 3\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        assert!(text.contains("node_sockstat_UDP6_inuse 3\n"), "{text}");
        assert!(result.unwrap_err().to_string().ends_with("net/sockstat: bad value: \"x\""));
    }
}
