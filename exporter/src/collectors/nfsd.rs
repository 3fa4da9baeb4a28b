//! What the NFS server of this machine was asked, from `/proc/net/rpc/nfsd`.
//!
//! A line begins with a word (`nfsd_show()` in fs/nfsd/stats.c and `svc_seq_show()` in
//! net/sunrpc/stats.c). What a kernel does not have is 0, what it no longer counts too (the
//! read-ahead cache since Linux 5.4). The file is absent where the module is not loaded.

use super::nfs::{V2, V3, names, procedures};
use crate::prelude::*;

pub const SPEC: Spec = Spec {
    name: "nfsd",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| Ok(Box::new(Nfsd(host.proc.file("net/rpc/nfsd")))),
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

/// Operations of version 4 (`enum nfs_opnum4` of include/linux/nfs4.h), by number. Those without
/// a name are not exposed, nor are those of later minor versions.
const V4: [&str; 40] = names! {
    _ _ _ Access Close Commit Create DelegPurge DelegReturn GetAttr GetFH Link Lock Lockt
    Locku Lookup LookupRoot Nverify Open OpenAttr OpenConfirm OpenDgrd PutFH _ _ Read
    ReadDir ReadLink Remove Rename Renew RestoreFH SaveFH SecInfo SetAttr SetClientID
    SetClientIDConfirm Verify Write RelLockOwner
};

/// Of which older kernels lack the last.
const V4_LEAST: usize = V4.len() - 1;

struct Nfsd(File);

impl Collector for Nfsd {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let stats = self.0.parse(parse).or_no_data()?;
        let [hits, misses, nocache] = stats.reply_cache;
        out.put(&CACHE_HITS, [], hits);
        out.put(&CACHE_MISSES, [], misses);
        out.put(&CACHE_NOCACHE, [], nocache);
        let [stale] = stats.file_handles;
        out.put(&STALE, [], stale);
        let [read, written] = stats.bytes;
        out.put(&READ, [], read);
        out.put(&WRITTEN, [], written);
        let [threads] = stats.threads;
        out.put(&THREADS, [], threads);
        let [size, .., not_found] = stats.read_ahead;
        out.put(&READ_AHEAD_SIZE, [], size);
        out.put(&READ_AHEAD_NOT_FOUND, [], not_found);
        let [_, udp, tcp, connections] = stats.network;
        out.put(&PACKETS, [&"tcp"], tcp);
        out.put(&PACKETS, [&"udp"], udp);
        out.put(&CONNECTIONS, [], connections);
        let [rpcs, _, format, authentication, client] = stats.rpc;
        out.put(&RPC_ERRORS, [&"auth"], authentication);
        out.put(&RPC_ERRORS, [&"cInt"], client);
        out.put(&RPC_ERRORS, [&"fmt"], format);
        out.put(&RPCS, [], rpcs);
        for (version, names, values) in
            [("2", &V2[..], &stats.v2[..]), ("3", &V3, &stats.v3), ("4", &V4, &stats.v4)]
        {
            put(version, names, values, out);
        }
        let [requests] = stats.delegated_getattr;
        out.put(&REQUESTS, [&"WdelegGetattr", &"4"], requests);
        Ok(())
    }
}

fn put(version: &'static str, names: &[&str], values: &[u64], out: &mut Sink) {
    for (name, &value) in names.iter().zip(values) {
        if !matches!(*name, "_" | "Null") {
            out.put(&REQUESTS, [name, &version], value);
        }
    }
}

struct Stats {
    reply_cache: [u64; 3],
    file_handles: [u64; 1],
    bytes: [u64; 2],
    threads: [u64; 1],
    read_ahead: [u64; 12],
    network: [u64; 4],
    rpc: [u64; 5],
    v2: [u64; V2.len()],
    v3: [u64; V3.len()],
    v4: [u64; V4.len()],
    delegated_getattr: [u64; 1],
}

fn parse(text: &str) -> Result<Stats, Malformed> {
    let mut stats = Stats {
        reply_cache: Default::default(),
        file_handles: Default::default(),
        bytes: Default::default(),
        threads: Default::default(),
        read_ahead: Default::default(),
        network: Default::default(),
        rpc: Default::default(),
        v2: Default::default(),
        v3: Default::default(),
        v4: [0; V4.len()],
        delegated_getattr: Default::default(),
    };
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("rc") => stats.reply_cache = words.numbers("value")?,
            Some("fh") => stats.file_handles = words.numbers("value")?,
            Some("io") => stats.bytes = words.numbers("value")?,
            Some("th") => stats.threads = words.numbers("value")?,
            Some("ra") => stats.read_ahead = words.numbers("value")?,
            Some("net") => stats.network = words.numbers("value")?,
            Some("rpc") => stats.rpc = words.numbers("value")?,
            Some("proc2") => stats.v2 = procedures(line, V2.len())?,
            Some("proc3") => stats.v3 = procedures(line, V3.len())?,
            Some("proc4ops") => stats.v4 = procedures(line, V4_LEAST)?,
            Some("wdeleg_getattr") => stats.delegated_getattr = words.numbers("value")?,
            _ => {}
        }
    }
    Ok(stats)
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
        assert_eq!(parse(&line(39)).unwrap().v4[38..], [1, 0]);
        assert_eq!(parse(&line(77)).unwrap().v4[38..], [1, 1]);
        assert!(malformed(parse(&line(38))).starts_with("bad number of values: \"proc4ops 38"));
    }

    #[test]
    fn without_the_file_there_is_no_data() {
        assert!(matches!(Machine::new().collect(&SPEC, &[]).1, Err(Error::NoData)));
        let (_, result) = Machine::new().with("proc/net/rpc/nfsd", "rc 1 2").collect(&SPEC, &[]);
        assert!(result.unwrap_err().to_string().ends_with("rpc/nfsd: bad value: \"\""));
    }
}
