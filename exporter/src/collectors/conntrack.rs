//! Connection tracking: how full its table is, from `/proc/sys/net/netfilter`, and what became
//! of lookups, from `/proc/net/stat/nf_conntrack` or over netlink.
//!
//! The file has a line of hexadecimal numbers for each processor (`ct_cpu_seq_show()` in
//! `net/netfilter/nf_conntrack_standalone.c`). Kernels without `CONFIG_NF_CONNTRACK_PROCFS` do
//! not have it: those are asked over netlink (ctnetlink), which takes `CAP_NET_ADMIN`. Nothing
//! at all is there where the module is not loaded.

use crate::{
    host::netlink::{Protocol, Socket, Step},
    parse::{hex, number},
    prelude::*,
};

pub const SPEC: Spec = Spec {
    name: "conntrack",
    enabled: true,
    capabilities: CapabilitySet::NET_ADMIN,
    flags: &[],
    new: |host, _| {
        Ok(Box::new(Conntrack {
            count: host.proc.single_file("sys/net/netfilter/nf_conntrack_count"),
            max: host.proc.single_file("sys/net/netfilter/nf_conntrack_max"),
            stat: host.proc.file("net/stat/nf_conntrack"),
            running: host.is_running(),
            socket: Socket::new(Protocol::Netfilter),
        }))
    },
};

static ENTRIES: Metric = gauge(
    "node_nf_conntrack_entries",
    "Number of currently allocated flow entries for connection tracking.",
);
static LIMIT: Metric =
    gauge("node_nf_conntrack_entries_limit", "Maximum size of connection tracking table.");
static FOUND: Metric =
    gauge("node_nf_conntrack_stat_found", "Number of searched entries which were successful.");
static INVALID: Metric =
    gauge("node_nf_conntrack_stat_invalid", "Number of packets seen which can not be tracked.");
static IGNORE: Metric = gauge(
    "node_nf_conntrack_stat_ignore",
    "Number of packets seen which are already connected to a conntrack entry.",
);
static INSERT: Metric =
    gauge("node_nf_conntrack_stat_insert", "Number of entries inserted into the list.");
static INSERT_FAILED: Metric = gauge(
    "node_nf_conntrack_stat_insert_failed",
    "Number of entries for which list insertion was attempted but failed.",
);
static DROP: Metric =
    gauge("node_nf_conntrack_stat_drop", "Number of packets dropped due to conntrack failure.");
static EARLY_DROP: Metric = gauge(
    "node_nf_conntrack_stat_early_drop",
    "Number of dropped conntrack entries to make room for new ones, if maximum table size was reached.",
);
static SEARCH_RESTART: Metric = gauge(
    "node_nf_conntrack_stat_search_restart",
    "Number of conntrack table lookups which had to be restarted due to hashtable resizes.",
);

/// What is exposed of the counters.
const COUNTERS: [&Metric; 8] =
    [&FOUND, &INVALID, &IGNORE, &INSERT, &INSERT_FAILED, &DROP, &EARLY_DROP, &SEARCH_RESTART];

/// Their columns in the file. The titles above them were changed, the columns never moved.
const COLUMNS: [usize; COUNTERS.len()] = [2, 4, 5, 8, 9, 10, 11, 16];

type Counters = [u64; COUNTERS.len()];

struct Conntrack {
    count: SingleFile,
    max: SingleFile,
    stat: File,
    /// Whether netlink answers for the machine that is looked at.
    running: bool,
    /// Asked where the file is not there.
    socket: Socket,
}

impl Collector for Conntrack {
    fn collect(&mut self, out: &mut Sink) -> Result {
        // Without the module, there is nothing to tell.
        out.put(&ENTRIES, [], self.count.parse(parse).or_no_data()?);
        out.put(&LIMIT, [], self.max.parse(parse).or_no_data()?);
        let (source, counters) = match self.stat.parse(sum) {
            Err(error) if error.is_absent() && self.running => {
                let counters = self.ask().map_err(|error| {
                    tracing::debug!("conntrack: neither a file nor netlink: {error}");
                    Error::NoData
                });
                ("netlink", counters?)
            }
            sum => ("procfs", sum.or_no_data()?),
        };
        out.served_by(source);
        for (metric, value) in COUNTERS.into_iter().zip(counters) {
            out.put(metric, [], value);
        }
        Ok(())
    }
}

fn parse(text: &str) -> Result<u64, Malformed> {
    number("number", text.trim())
}

/// Adds up the processors.
fn sum(text: &str) -> Result<Counters, Malformed> {
    /// Linux before 2.6.35 had no restarted lookups.
    const LEAST: usize = 16;
    let mut counters = Counters::default();
    for line in text.lines().skip(1) {
        let mut columns = [0; LEAST + 1];
        let mut count = 0;
        for (word, column) in line.split_ascii_whitespace().zip(&mut columns) {
            *column = hex("counter", word)?;
            count += 1;
        }
        if count < LEAST {
            return Err(Malformed::new("line", line));
        }
        for (counter, place) in counters.iter_mut().zip(COLUMNS) {
            *counter = counter.wrapping_add(columns.get(place).copied().unwrap_or_default());
        }
    }
    Ok(counters)
}

impl Conntrack {
    /// Adds up the processors, as the kernel tells of them over netlink.
    fn ask(&mut self) -> Result<Counters> {
        let mut counters = Counters::default();
        self.socket.conntrack_stats(|step| match step {
            Step::Start => counters = Counters::default(),
            Step::Item(stats) => {
                let values = [
                    stats.found,
                    stats.invalid,
                    stats.ignore,
                    stats.insert,
                    stats.insert_failed,
                    stats.drop,
                    stats.early_drop,
                    stats.search_restart,
                ];
                for (counter, value) in counters.iter_mut().zip(values) {
                    *counter += u64::from(value);
                }
            }
        })?;
        Ok(counters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, malformed};

    #[test]
    fn columns_are_known_by_their_place() {
        let line = "0 1 2 3 4 5 6 7 8 9 a b c d e f";
        assert_eq!(sum(&format!("head\n{line}\n")), Ok([2, 4, 5, 8, 9, 10, 11, 0]));
        let newer = format!("head\n{line} 10\n{line} 11 99 new\n");
        assert_eq!(sum(&newer), Ok([4, 8, 10, 16, 18, 20, 22, 0x21]));
        assert_eq!(malformed(sum("head\n1 2 3\n")), "bad line: \"1 2 3\"");
        assert_eq!(malformed(sum("head\n1 x 3\n")), "bad counter: \"x\"");
    }

    #[test]
    fn without_the_module_there_is_no_data() {
        let (text, result) = Machine::new().collect(&SPEC, &[]);
        assert!(text.is_empty() && matches!(result, Err(Error::NoData)));
        let machine = Machine::new()
            .with("proc/sys/net/netfilter/nf_conntrack_count", "3\n")
            .with("proc/sys/net/netfilter/nf_conntrack_max", "10\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        assert!(text.contains("node_nf_conntrack_entries_limit 10\n"), "{text}");
        assert!(matches!(result, Err(Error::NoData)), "a folder is not asked over netlink");
    }

    #[test]
    fn names_the_file() {
        let machine = Machine::new().with("proc/sys/net/netfilter/nf_conntrack_count", "x\n");
        let (_, result) = machine.collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("netfilter/nf_conntrack_count: bad number: \"x\""), "{error}");
    }
}
