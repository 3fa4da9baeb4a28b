//! Requests to this machine's NFS server, from `/proc/net/rpc/nfsd`.
//!
//! A line begins with a word (`nfsd_show()` in fs/nfsd/stats.c and `svc_seq_show()` in
//! net/sunrpc/stats.c). A line that a kernel does not have counts as 0; the kernel itself writes
//! zeros for counters that it no longer keeps (the read-ahead cache since Linux 5.4). The file is
//! absent where the module is not loaded.

use super::nfs::{NONE_YET, V2, V3, Value, names, numbers, procedures, put};
use crate::{parse::rows, prelude::*};

pub const SPEC: Spec = Spec {
    name: "nfsd",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| Ok(Box::new(Nfsd(host.net.file("rpc/nfsd")))),
};

static CACHE_HITS: Metric = counter(
    "node_nfsd_reply_cache_hits_total",
    "Total number of NFSd Reply Cache hits (client lost server response).",
);
static CACHE_MISSES: Metric = counter(
    "node_nfsd_reply_cache_misses_total",
    "Total number of NFSd Reply Cache an operation that requires caching (idempotent).",
);
static CACHE_NOCACHE: Metric = counter(
    "node_nfsd_reply_cache_nocache_total",
    "Total number of NFSd Reply Cache non-idempotent operations (rename/delete/…).",
);
static STALE: Metric =
    counter("node_nfsd_file_handles_stale_total", "Total number of NFSd stale file handles");
static READ: Metric = counter("node_nfsd_disk_bytes_read_total", "Total NFSd bytes read.");
static WRITTEN: Metric = counter("node_nfsd_disk_bytes_written_total", "Total NFSd bytes written.");
static THREADS: Metric =
    gauge("node_nfsd_server_threads", "Total number of NFSd kernel threads that are running.");
static READ_AHEAD_SIZE: Metric =
    gauge("node_nfsd_read_ahead_cache_size_blocks", "How large the read ahead cache is in blocks.");
static READ_AHEAD_NOT_FOUND: Metric = counter(
    "node_nfsd_read_ahead_cache_not_found_total",
    "Total number of NFSd read ahead cache not found.",
);
static PACKETS: Metric<1> = counter(
    "node_nfsd_packets_total",
    "Total NFSd network packets (sent+received) by protocol type.",
)
.by(["proto"]);
static CONNECTIONS: Metric =
    counter("node_nfsd_connections_total", "Total number of NFSd TCP connections.");
static RPC_ERRORS: Metric<1> =
    counter("node_nfsd_rpc_errors_total", "Total number of NFSd RPC errors by error type.")
        .by(["error"]);
static RPCS: Metric = counter("node_nfsd_server_rpcs_total", "Total number of NFSd RPCs.");
static REQUESTS: Metric<2> =
    counter("node_nfsd_requests_total", "Total number NFSd Requests by method and protocol.")
        .by(["method", "proto"]);

/// Operations of version 4 (`enum nfs_opnum4` of include/linux/nfs4.h), by number. Operations
/// without a name here and those of later minor versions are not exposed.
const V4: [&str; 40] = names! {
    _ _ _ Access Close Commit Create DelegPurge DelegReturn GetAttr GetFH Link Lock Lockt
    Locku Lookup LookupRoot Nverify Open OpenAttr OpenConfirm OpenDgrd PutFH _ _ Read
    ReadDir ReadLink Remove Rename Renew RestoreFH SaveFH SecInfo SetAttr SetClientID
    SetClientIDConfirm Verify Write RelLockOwner
};

/// The number of operations that every kernel has: older kernels lack the last operation.
const V4_LEAST: usize = V4.len() - 1;

struct Nfsd(File);

impl Collector for Nfsd {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let mut stats = Stats::default();
        let parsed = self.0.parse(|text| stats.parse(text));
        if parsed.as_ref().is_err_and(|error| error.refusal().is_some()) {
            return parsed.or_no_data();
        }
        let [hits, misses, nocache] = stats.reply_cache;
        put(&CACHE_HITS, [], hits, out);
        put(&CACHE_MISSES, [], misses, out);
        put(&CACHE_NOCACHE, [], nocache, out);
        let [stale] = stats.file_handles;
        put(&STALE, [], stale, out);
        let [read, written] = stats.bytes;
        put(&READ, [], read, out);
        put(&WRITTEN, [], written, out);
        let [threads] = stats.threads;
        put(&THREADS, [], threads, out);
        let [size, .., not_found] = stats.read_ahead;
        put(&READ_AHEAD_SIZE, [], size, out);
        put(&READ_AHEAD_NOT_FOUND, [], not_found, out);
        let [_, udp, tcp, connections] = stats.network;
        put(&PACKETS, [&"tcp"], tcp, out);
        put(&PACKETS, [&"udp"], udp, out);
        put(&CONNECTIONS, [], connections, out);
        let [rpcs, _, format, authentication, client] = stats.rpc;
        put(&RPC_ERRORS, [&"auth"], authentication, out);
        put(&RPC_ERRORS, [&"cInt"], client, out);
        put(&RPC_ERRORS, [&"fmt"], format, out);
        put(&RPCS, [], rpcs, out);
        for (version, names, values) in
            [("2", &V2[..], &stats.v2[..]), ("3", &V3, &stats.v3), ("4", &V4, &stats.v4)]
        {
            for (name, &value) in names.iter().zip(values) {
                if !matches!(*name, "_" | "Null") {
                    put(&REQUESTS, [name, &version], value, out);
                }
            }
        }
        let [requests] = stats.delegated_getattr;
        put(&REQUESTS, [&"WdelegGetattr", &"4"], requests, out);
        parsed
    }
}

struct Stats {
    reply_cache: [Value; 3],
    file_handles: [Value; 1],
    bytes: [Value; 2],
    threads: [Value; 1],
    read_ahead: [Value; 12],
    network: [Value; 4],
    rpc: [Value; 5],
    v2: [Value; V2.len()],
    v3: [Value; V3.len()],
    v4: [Value; V4.len()],
    delegated_getattr: [Value; 1],
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            reply_cache: [NONE_YET; 3],
            file_handles: [NONE_YET; 1],
            bytes: [NONE_YET; 2],
            threads: [NONE_YET; 1],
            read_ahead: [NONE_YET; 12],
            network: [NONE_YET; 4],
            rpc: [NONE_YET; 5],
            v2: [NONE_YET; V2.len()],
            v3: [NONE_YET; V3.len()],
            v4: [NONE_YET; V4.len()],
            delegated_getattr: [NONE_YET; 1],
        }
    }
}

impl Stats {
    fn parse(&mut self, text: &str) -> Result<(), Malformed> {
        rows(text, |line| {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("rc") => numbers(words, &mut self.reply_cache),
                Some("fh") => numbers(words, &mut self.file_handles),
                Some("io") => numbers(words, &mut self.bytes),
                Some("th") => numbers(words, &mut self.threads),
                Some("ra") => numbers(words, &mut self.read_ahead),
                Some("net") => numbers(words, &mut self.network),
                Some("rpc") => numbers(words, &mut self.rpc),
                Some("proc2") => procedures(line, V2.len(), &mut self.v2),
                Some("proc3") => procedures(line, V3.len(), &mut self.v3),
                Some("proc4ops") => procedures(line, V4_LEAST, &mut self.v4),
                Some("wdeleg_getattr") => numbers(words, &mut self.delegated_getattr),
                _ => Ok(()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, malformed};

    #[test]
    fn lines_that_are_absent_are_zero_and_new_ones_are_skipped() {
        let machine = Machine::new().with("proc/net/rpc/nfsd", "new 1\n\nth 8 0 0.000\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        result.unwrap();
        assert!(text.contains("node_nfsd_server_threads 8\n"), "{text}");
        assert!(text.contains("node_nfsd_requests_total{method=\"Write\",proto=\"4\"} 0\n"));
    }

    #[test]
    fn older_kernels_know_no_owner_of_locks() {
        let line = |n: usize| format!("proc4ops {n}{}\n", " 1".repeat(n));
        let v4 = |n| {
            let mut stats = Stats::default();
            (stats.parse(&line(n)), stats.v4)
        };
        assert_eq!(v4(39).1[38..], [Some(1.0), Some(0.0)]);
        assert_eq!(v4(77).1[38..], [Some(1.0), Some(1.0)]);
        assert!(malformed(v4(38).0).starts_with("bad number of values: \"proc4ops 38"));
    }

    #[test]
    fn without_the_file_there_is_no_data() {
        assert!(matches!(Machine::new().collect(&SPEC, &[]).1, Err(Error::NoData)));
        let machine = Machine::new().with("proc/net/rpc/nfsd", "rc 1 x\nio -1 2\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        assert!(result.unwrap_err().to_string().ends_with("rpc/nfsd:1: bad value: \"x\""));
        assert!(text.contains("node_nfsd_reply_cache_hits_total 1\n") && !text.contains("misses"));
        assert!(text.contains("node_nfsd_disk_bytes_read_total -1\n"), "{text}");
    }
}
