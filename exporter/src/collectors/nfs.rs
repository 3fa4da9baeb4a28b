//! What the NFS client of this machine has asked servers, from `/proc/net/rpc/nfs`.
//!
//! A line begins with a word (`rpc_proc_show()` in net/sunrpc/stats.c); those of procedures have
//! their number next. What a kernel does not have is 0: older ones know fewer procedures, newer
//! ones may lack version 2. The file is absent where the module is not loaded.

use crate::{parse::number, prelude::*};

pub const SPEC: Spec = Spec {
    name: "nfs",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| Ok(Box::new(Nfs(host.proc.file("net/rpc/nfs")))),
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

/// A table of names, one for each number; `_` for what has none.
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

/// What the client of version 4 asks (`nfs4_procedures` in fs/nfs/nfs4xdr.c), by number. There
/// are more, which are not exposed.
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
        let stats = self.0.parse(parse).or_no_data()?;
        let [_, udp, tcp, connections] = stats.network;
        out.put(&PACKETS, [&"tcp"], tcp);
        out.put(&PACKETS, [&"udp"], udp);
        out.put(&CONNECTIONS, [], connections);
        let [rpcs, retransmissions, refreshes] = stats.rpc;
        out.put(&RPCS, [], rpcs);
        out.put(&RETRANSMISSIONS, [], retransmissions);
        out.put(&REFRESHES, [], refreshes);
        for (version, names, values) in
            [("2", &V2[..], &stats.v2[..]), ("3", &V3, &stats.v3), ("4", &V4, &stats.v4)]
        {
            for (name, &value) in names.iter().zip(values) {
                out.put(&REQUESTS, [name, &version], value);
            }
        }
        Ok(())
    }
}

struct Stats {
    network: [u64; 4],
    rpc: [u64; 3],
    v2: [u64; V2.len()],
    v3: [u64; V3.len()],
    v4: [u64; V4.len()],
}

fn parse(text: &str) -> Result<Stats, Malformed> {
    let mut stats = Stats {
        network: Default::default(),
        rpc: Default::default(),
        v2: Default::default(),
        v3: Default::default(),
        v4: [0; V4.len()],
    };
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("net") => stats.network = words.numbers("value")?,
            Some("rpc") => stats.rpc = words.numbers("value")?,
            Some("proc2") => stats.v2 = procedures(line, V2.len())?,
            Some("proc3") => stats.v3 = procedures(line, V3.len())?,
            Some("proc4") => stats.v4 = procedures(line, 0)?,
            _ => {}
        }
    }
    Ok(stats)
}

/// The numbers of a line that says how many there are, which are at least `least`.
pub(super) fn procedures<const N: usize>(line: &str, least: usize) -> Result<[u64; N], Malformed> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let said: usize = words.number("number of values")?;
    let mut values = [0; N];
    let mut count = 0;
    for word in words {
        let value = number("value", word)?;
        if let Some(place) = values.get_mut(count) {
            *place = value;
        }
        count += 1;
    }
    if count != said || count < least {
        return Err(Malformed::new("number of values", line));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, malformed};

    #[test]
    fn procedures_are_as_many_as_is_said() {
        assert_eq!(procedures("proc4 2 5 6", 0), Ok([5, 6, 0]));
        assert_eq!(procedures("proc4 4 5 6 7 8", 0), Ok([5, 6, 7]));
        assert_eq!(procedures("proc4 0", 0), Ok([0, 0, 0]));
        let bad = |line| malformed(procedures::<3>(line, 3));
        assert_eq!(bad("proc2 2 1 2"), "bad number of values: \"proc2 2 1 2\"");
        assert_eq!(bad("proc2 3 1 2"), "bad number of values: \"proc2 3 1 2\"");
        assert_eq!(bad("proc2"), "bad number of values: \"\"");
        assert_eq!(bad("proc2 3 1 x 3"), "bad value: \"x\"");
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
        let (_, result) = Machine::new().with("proc/net/rpc/nfs", "net 1 2 3").collect(&SPEC, &[]);
        assert!(result.unwrap_err().to_string().ends_with("rpc/nfs: bad value: \"\""));
    }
}
