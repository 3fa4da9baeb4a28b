//! Requests of this machine's NFS client to its servers, from `/proc/net/rpc/nfs`.
//!
//! A line begins with a word (`rpc_proc_show()` in net/sunrpc/stats.c); in a line of procedures,
//! the number of procedures comes second. A line that a kernel does not have counts as 0: older
//! kernels know fewer procedures, newer ones may lack version 2. The file is absent where the
//! module is not loaded.

use crate::{
    exposition::Label,
    parse::{decimal, rows},
    prelude::*,
};

pub const SPEC: Spec = Spec {
    name: "nfs",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| Ok(Box::new(Nfs(host.net.file("rpc/nfs")))),
};

static PACKETS: Metric<1> = counter(
    "node_nfs_packets_total",
    "Total NFSd network packets (sent+received) by protocol type.",
)
.by(["protocol"]);
static CONNECTIONS: Metric =
    counter("node_nfs_connections_total", "Total number of NFSd TCP connections.");
static RPCS: Metric = counter("node_nfs_rpcs_total", "Total number of RPCs performed.");
static RETRANSMISSIONS: Metric =
    counter("node_nfs_rpc_retransmissions_total", "Number of RPC transmissions performed.");
static REFRESHES: Metric = counter(
    "node_nfs_rpc_authentication_refreshes_total",
    "Number of RPC authentication refreshes performed.",
);
static REQUESTS: Metric<2> =
    counter("node_nfs_requests_total", "Number of NFS procedures invoked.").by(["method", "proto"]);

/// A table of names, one for each number; `_` for a number without a name.
macro_rules! names {
    ($($name:tt)*) => { [$(stringify!($name)),*] };
}
pub(super) use names;

/// Procedures of version 2, by number.
pub(super) const V2: [&str; 18] = names! {
    Null GetAttr SetAttr Root Lookup ReadLink Read WrCache Write Create Remove Rename Link
    SymLink MkDir RmDir ReadDir FsStat
};

/// Procedures of version 3, by number.
pub(super) const V3: [&str; 22] = names! {
    Null GetAttr SetAttr Lookup Access ReadLink Read Write Create MkDir SymLink MkNod Remove
    RmDir Rename Link ReadDir ReadDirPlus FsStat FsInfo PathConf Commit
};

/// Procedures of the client of version 4 (`nfs4_procedures` in fs/nfs/nfs4xdr.c), by number.
/// Procedures with higher numbers are not exposed.
const V4: [&str; 59] = names! {
    Null Read Write Commit Open OpenConfirm OpenNoattr OpenDowngrade Close Setattr FsInfo
    Renew SetClientID SetClientIDConfirm Lock Lockt Locku Access Getattr Lookup LookupRoot
    Remove Rename Link Symlink Create Pathconf StatFs ReadLink ReadDir ServerCaps
    DelegReturn GetACL SetACL FsLocations ReleaseLockowner Secinfo FsidPresent ExchangeID
    CreateSession DestroySession Sequence GetLeaseTime ReclaimComplete GetDeviceInfo
    LayoutGet LayoutCommit LayoutReturn SecinfoNoName TestStateID FreeStateID GetDeviceList
    BindConnToSession DestroyClientID Seek Allocate DeAllocate LayoutStats Clone
};

struct Nfs(File);

impl Collector for Nfs {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let mut stats = Stats::default();
        let parsed = self.0.parse(|text| stats.parse(text));
        if parsed.as_ref().is_err_and(|error| error.refusal().is_some()) {
            return parsed.or_no_data();
        }
        let [_, udp, tcp, connections] = stats.network;
        put(&PACKETS, [&"tcp"], tcp, out);
        put(&PACKETS, [&"udp"], udp, out);
        put(&CONNECTIONS, [], connections, out);
        let [rpcs, retransmissions, refreshes] = stats.rpc;
        put(&RPCS, [], rpcs, out);
        put(&RETRANSMISSIONS, [], retransmissions, out);
        put(&REFRESHES, [], refreshes, out);
        for (version, names, values) in
            [("2", &V2[..], &stats.v2[..]), ("3", &V3, &stats.v3), ("4", &V4, &stats.v4)]
        {
            for (name, &value) in names.iter().zip(values) {
                put(&REQUESTS, [name, &version], value, out);
            }
        }
        parsed
    }
}

/// Exposes a number that is not malformed.
pub(super) fn put<const N: usize>(
    metric: &Metric<N>,
    labels: [&dyn Label; N],
    value: Value,
    out: &mut Sink,
) {
    if let Some(value) = value {
        out.put(metric, labels, value);
    }
}

/// A number of the file; `None` where it is malformed.
pub(super) type Value = Option<f64>;

/// The number of a line that the kernel does not have.
pub(super) const NONE_YET: Value = Some(0.0);

struct Stats {
    network: [Value; 4],
    rpc: [Value; 3],
    v2: [Value; V2.len()],
    v3: [Value; V3.len()],
    v4: [Value; V4.len()],
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            network: [NONE_YET; 4],
            rpc: [NONE_YET; 3],
            v2: [NONE_YET; V2.len()],
            v3: [NONE_YET; V3.len()],
            v4: [NONE_YET; V4.len()],
        }
    }
}

impl Stats {
    fn parse(&mut self, text: &str) -> Result<(), Malformed> {
        rows(text, |line| {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("net") => numbers(words, &mut self.network),
                Some("rpc") => numbers(words, &mut self.rpc),
                Some("proc2") => procedures(line, V2.len(), &mut self.v2),
                Some("proc3") => procedures(line, V3.len(), &mut self.v3),
                Some("proc4") => procedures(line, 0, &mut self.v4),
                _ => Ok(()),
            }
        })
    }
}

/// Reads the numbers of a line into `values`.
pub(super) fn numbers<'a>(
    mut words: impl Iterator<Item = &'a str>,
    values: &mut [Value],
) -> Result<(), Malformed> {
    let mut faults = Faults::default();
    for value in values {
        *value = faults.keep(words.decimal("value"));
    }
    faults.end()
}

/// Reads the numbers of a line that begins with their count, which is at least `least`, into
/// `values`.
pub(super) fn procedures(line: &str, least: usize, values: &mut [Value]) -> Result<(), Malformed> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let said: Option<usize> = words.next().and_then(|said| said.parse().ok());
    let count = words.clone().count();
    if said != Some(count) || count < least {
        values.fill(None);
        return Err(Malformed::new("number of values", line));
    }
    let mut faults = Faults::default();
    for (value, word) in values.iter_mut().zip(words) {
        *value = faults.keep(decimal("value", word));
    }
    faults.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, malformed};

    #[test]
    fn a_line_has_the_number_of_procedures_that_it_states() {
        let read = |line, least| {
            let mut values = [NONE_YET; 3];
            (procedures(line, least, &mut values), values)
        };
        let some = |values: [f64; 3]| values.map(Some);
        assert_eq!(read("proc4 2 5 6", 0), (Ok(()), some([5.0, 6.0, 0.0])));
        assert_eq!(read("proc4 4 5 6 7 x", 0), (Ok(()), some([5.0, 6.0, 7.0])));
        assert_eq!(read("proc4 0", 0), (Ok(()), some([0.0; 3])));
        for line in ["proc2 2 1 2", "proc2 3 1 2", "proc2", "proc2 x 1 2 3"] {
            let (result, values) = read(line, 3);
            assert_eq!(malformed(result), format!("bad number of values: {line:?}"));
            assert_eq!(values, [None; 3]);
        }
        let (result, values) = read("proc2 3 -1 x 18446744073709551616", 3);
        assert_eq!(malformed(result), "bad value: \"x\"");
        assert_eq!(values, [Some(-1.0), None, Some(1.844_674_407_370_955_2e19)]);
    }

    #[test]
    fn a_line_that_is_malformed_costs_itself_alone() {
        let machine =
            Machine::new().with("proc/net/rpc/nfs", "net 1 x 3\nproc2 18 1\nrpc 5 6 7\nnew x\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("rpc/nfs:1: bad value: \"x\""), "{error}");
        assert!(text.contains("node_nfs_packets_total{protocol=\"tcp\"} 3\n"), "{text}");
        assert!(text.contains("node_nfs_rpcs_total 5\n") && !text.contains("connections"));
        assert!(!text.contains("proto=\"2\"") && text.contains("proto=\"3\""), "{text}");
    }

    #[test]
    fn lines_that_are_absent_are_zero_and_new_ones_are_skipped() {
        let machine = Machine::new().with("proc/net/rpc/nfs", "new 1 2\n\nrpc 5 6 7 8\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        result.unwrap();
        assert!(text.contains("node_nfs_rpcs_total 5\n"), "{text}");
        assert!(text.contains("node_nfs_requests_total{method=\"Null\",proto=\"2\"} 0\n"));
    }

    #[test]
    fn without_the_file_there_is_no_data() {
        assert!(matches!(Machine::new().collect(&SPEC, &[]).1, Err(Error::NoData)));
    }
}
