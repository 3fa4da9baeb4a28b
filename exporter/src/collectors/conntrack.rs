//! Connection tracking: size and limit of its table, from `/proc/sys/net/netfilter`, and counts of
//! lookups by outcome, from `/proc/net/stat/nf_conntrack` or over netlink.
//!
//! The file has a line of hexadecimal numbers for each processor (`ct_cpu_seq_show()` in
//! `net/netfilter/nf_conntrack_standalone.c`). Kernels without `CONFIG_NF_CONNTRACK_PROCFS` do not
//! have the file: their counts are dumped over netlink (ctnetlink), which takes `CAP_NET_ADMIN`.
//! While the module is not loaded, none of the files exists.

use crate::{
    host::netlink::{Protocol, Socket, Step},
    parse::{hexadecimal, rows_after},
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
            stat: host.net.file("stat/nf_conntrack"),
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

/// The counters that are exposed.
const COUNTERS: [&Metric; 8] =
    [&FOUND, &INVALID, &IGNORE, &INSERT, &INSERT_FAILED, &DROP, &EARLY_DROP, &SEARCH_RESTART];

/// The columns of [`COUNTERS`] in the file. Kernels changed the titles of columns, but never their
/// places.
const COLUMNS: [usize; COUNTERS.len()] = [2, 4, 5, 8, 9, 10, 11, 16];

/// Sums over the processors; `None` where one processor's value is malformed: a sum without it
/// would be wrong.
type Counters = [Option<f64>; COUNTERS.len()];

const ZERO: Counters = [Some(0.0); COUNTERS.len()];

struct Conntrack {
    count: SingleFile,
    max: SingleFile,
    stat: File,
    /// Whether `--path.procfs` is of the running kernel, for which netlink answers.
    running: bool,
    /// Asked where the file does not exist.
    socket: Socket,
}

impl Collector for Conntrack {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let mut faults = Faults::default();
        let mut absent = 0;
        for (metric, file) in [(&ENTRIES, &mut self.count), (&LIMIT, &mut self.max)] {
            match faults.keep(file.decimal().unless_absent()) {
                Some(Some(number)) => out.put(metric, [], number),
                Some(None) => absent += 1,
                None => {}
            }
        }
        if absent == 2 {
            return Err(Error::NoData); // the module is not loaded
        }
        let mut counters = ZERO;
        let source = match self.stat.parse(|text| sum(text, &mut counters)) {
            Err(error) if error.is_absent() && self.running => {
                self.ask(&mut counters).map_err(|error| {
                    tracing::debug!("conntrack: neither a file nor netlink: {error}");
                    Error::NoData
                })?;
                "netlink"
            }
            Err(error) if error.is_absent() => return faults.end().and(Err(Error::NoData)),
            Err(error @ Error::Read { .. }) => return faults.end().and(Err(error)),
            sum => {
                faults.keep(sum);
                "procfs"
            }
        };
        out.served_by(source);
        for (metric, sum) in COUNTERS.into_iter().zip(counters) {
            if let Some(sum) = sum {
                out.put(metric, [], sum);
            }
        }
        faults.end()
    }
}

/// Adds up the processors' lines of the file.
fn sum(text: &str, sums: &mut Counters) -> Result<(), Malformed> {
    /// The columns of Linux before 2.6.35, which had no restarted lookups.
    const LEAST: usize = 16;
    rows_after(1, text, |line| {
        if line.is_empty() {
            return Ok(());
        }
        let mut faults = Faults::default();
        let mut values = [Some(0.0); LEAST + 1];
        let mut count = 0;
        for (word, value) in line.split_ascii_whitespace().zip(&mut values) {
            *value = faults.keep(hexadecimal("counter", word));
            count += 1;
        }
        if count < LEAST {
            return Err(Malformed::new("line", line));
        }
        for (sum, place) in sums.iter_mut().zip(COLUMNS) {
            *sum = sum.zip(values.get(place).copied().flatten()).map(|(sum, value)| sum + value);
        }
        faults.end()
    })
}

impl Conntrack {
    /// Adds up the processors' counters from a netlink dump.
    fn ask(&mut self, counters: &mut Counters) -> Result {
        self.socket.conntrack_stats(|step| match step {
            Step::Start => *counters = ZERO,
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
                    *counter = counter.map(|sum| sum + f64::from(value));
                }
            }
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;

    #[test]
    fn columns_are_known_by_their_place() {
        let line = "0 1 2 3 4 5 6 7 8 9 a b c d e f";
        let sums = |text: &str| {
            let mut sums = ZERO;
            (sum(text, &mut sums).map_err(|error| error.to_string()), sums)
        };
        let all = |sums: [u32; 8]| sums.map(|sum| Some(f64::from(sum)));
        let old = format!("head\n{line}\n");
        assert_eq!(sums(&old), (Ok(()), all([2, 4, 5, 8, 9, 10, 11, 0])));
        let newer = format!("head\n{line} 10\n\n{line} 11 99 new\n");
        assert_eq!(sums(&newer), (Ok(()), all([4, 8, 10, 16, 18, 20, 22, 0x21])));

        let mut without_found = all([0, 8, 10, 16, 18, 20, 22, 0]);
        without_found[0] = None;
        let odd = format!("head\n{line}\nnovel 7\n{}\n", line.replace('2', "x"));
        assert_eq!(sums(&odd), (Err("bad line: \"novel 7\"".into()), without_found));
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
        let machine = machine.with("proc/sys/net/netfilter/nf_conntrack_max", "-1\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("netfilter/nf_conntrack_count: bad number: \"x\""), "{error}");
        assert!(text.ends_with("\nnode_nf_conntrack_entries_limit -1\n"), "{text}");
    }
}
