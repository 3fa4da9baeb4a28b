//! Sockets by protocol, from `/proc/net/sockstat` and `/proc/net/sockstat6`.
//!
//! A line has a protocol and pairs of a word and a number (`net/ipv4/proc.c`, `net/ipv6/proc.c`).
//! The pairs depend on the protocol; `mem` is in pages, `memory` in bytes. Only the first file has
//! the line `sockets`, which counts the sockets of all families.

use crate::{
    exposition::Kind,
    parse::{decimal, rows},
    prelude::*,
};
use hashbrown::HashMap;

pub const SPEC: Spec = Spec {
    name: "sockstat",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| {
        Ok(Box::new(SockStat {
            files: [host.net.single_file("sockstat"), host.net.single_file("sockstat6")],
            page_size: rustix::param::page_size() as f64,
            known: HashMap::new(),
        }))
    },
};

static USED: Metric = gauge("node_sockstat_sockets_used", "Number of IPv4 sockets in use.");

/// The words that are exposed; the last is `mem` converted to bytes.
const STATES: [&str; 7] = ["inuse", "orphan", "tw", "alloc", "memory", "mem", "mem_bytes"];

struct SockStat {
    files: [SingleFile; 2],
    page_size: f64,
    /// The metrics of each protocol, in the order of [`STATES`].
    known: HashMap<String, [Metric; STATES.len()]>,
}

impl Collector for SockStat {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { files, page_size, known } = self;
        let mut faults = Faults::default();
        for (i, file) in files.iter_mut().enumerate() {
            let read = file.parse(|text| {
                rows(text, |line| {
                    let mut values = Values::default();
                    let (protocol, parsed) = values.parse(line);
                    if protocol == "sockets" {
                        if let (0, Some(used)) = (i, values.used) {
                            out.put(&USED, [], used);
                        }
                    } else if !protocol.is_empty() {
                        let metrics =
                            known.entry_ref(protocol).or_insert_with(|| metrics(protocol));
                        for (metric, value) in metrics.iter().zip(values.all(*page_size)) {
                            if let Some(value) = value {
                                out.put(metric, [], value);
                            }
                        }
                    }
                    parsed
                })
            });
            // A kernel may have been built without IPv4, or without IPv6.
            faults.keep(read.unless_absent());
        }
        faults.end()
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
struct Values {
    used: Option<f64>,
    /// In the order of [`STATES`], of which the kernel has all but the last.
    states: [Option<f64>; STATES.len() - 1],
}

impl Default for Values {
    /// A line without these words counts as 0.
    fn default() -> Self {
        Self { used: Some(0.0), states: [Some(0.0), None, None, None, None, None] }
    }
}

impl Values {
    /// In the order of [`STATES`].
    fn all(&self, page_size: f64) -> [Option<f64>; STATES.len()] {
        let [inuse, orphan, tw, alloc, memory, mem] = self.states;
        [inuse, orphan, tw, alloc, memory, mem, mem.map(|pages| pages * page_size)]
    }

    /// Takes the numbers of a line and returns its protocol; empty for a line without one.
    fn parse<'a>(&mut self, line: &'a str) -> (&'a str, Result<(), Malformed>) {
        let malformed = || Malformed::new("line", line);
        let mut words = line.split_ascii_whitespace().peekable();
        let Some(protocol) = words.next() else { return ("", Ok(())) };
        if words.peek().is_none() {
            return ("", Err(malformed()));
        }
        let mut faults = Faults::default();
        while let Some(word) = words.next() {
            let Self { used, states } = &mut *self;
            let mut known = STATES.iter().zip(states).filter(|(state, _)| **state == word);
            let slot = if word == "used" { Some(used) } else { known.next().map(|(_, slot)| slot) };
            match (slot, words.next()) {
                (Some(slot), Some(number)) => *slot = faults.keep(decimal("value", number)),
                (Some(slot), None) => *slot = faults.keep(Err(malformed())),
                (None, _) => {}
            }
        }
        (protocol.strip_suffix(':').unwrap_or(protocol), faults.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, malformed, sample_lines};

    #[test]
    fn lines_are_pairs() {
        let parse = |line| Values::default().parse(line);
        assert_eq!(parse("TCP: inuse 1 new x").1, Ok(()));
        assert_eq!(parse(""), ("", Ok(())));
        assert_eq!(malformed(parse("TCP:").1), "bad line: \"TCP:\"");
        assert_eq!(malformed(parse("TCP: inuse").1), "bad line: \"TCP: inuse\"");
        assert_eq!(malformed(parse("TCP: inuse x").1), "bad value: \"x\"");
    }

    #[test]
    fn a_value_that_is_odd_costs_itself_alone() {
        let machine = Machine::new().with(
            "proc/net/sockstat",
            "sockets: used 5\nTCP: inuse x orphan -1 tw 18446744073709551616 mem 1 alloc\n\
             UDP: inuse 2 mem -1\n",
        );
        let (text, result) = machine.collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.contains("net/sockstat:2: bad value: \"x\""), "{error}");
        let page = rustix::param::page_size();
        let (tcp_bytes, udp_bytes) =
            (format!("TCP_mem_bytes {page}"), format!("UDP_mem_bytes -{page}"));
        assert_eq!(
            sample_lines(&text)
                .map(|line| line.trim_start_matches("node_sockstat_"))
                .collect::<Vec<_>>(),
            [
                "TCP_mem 1",
                &tcp_bytes,
                "TCP_orphan -1",
                "TCP_tw 1.8446744073709552e+19",
                "UDP_inuse 2",
                "UDP_mem -1",
                &udp_bytes,
                "sockets_used 5",
            ]
        );
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
        assert!(result.unwrap_err().to_string().ends_with("net/sockstat:1: bad value: \"x\""));
    }
}
