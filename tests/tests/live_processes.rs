//! The collector `processes` in a pid namespace in which nothing else runs: an exporter that has
//! the tasks counted in the kernel, and one that reads `/proc`, must tell the same, with and without
//! `hidepid`.
//!
//! Needs root and a kernel that takes the program; does nothing elsewhere, unless `BPF_REQUIRED` is
//! set: then it fails.
#![expect(clippy::disallowed_methods, reason = "runs mount, reads the running kernel's files")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use exporter::host::{
    bpf::{Bpf, Sizes},
    tree::Tree,
};
use nix::sched::CloneFlags;
use tests::{
    Server,
    asleep::Asleep,
    namespace::{enter, in_a_thread},
    program,
};

const REQUIRED: &str = "BPF_REQUIRED";

#[test]
fn both_sources_tell_the_same() {
    program();
    in_a_thread(REQUIRED, || {
        let bpf = Bpf::new(
            &Tree::new("/proc"),
            &Tree::new("/proc/net"),
            &Tree::new("/sys"),
            Sizes::default(),
        );
        bpf.tasks(|_| Ok(())).map(drop).map_err(ToString::to_string)?;
        enter(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID)?;
        // The next process is the first of the namespace, and ends it.
        let first = Asleep::new();
        for options in ["hidepid=0", "hidepid=2"] {
            let folder = tempfile::tempdir().unwrap();
            // By a process of the namespace: this thread itself has stayed outside.
            let mount = ["-t", "proc", "-o", options, "proc"];
            let mounted = Command::new("mount").args(mount).arg(folder.path()).status();
            if !mounted.is_ok_and(|status| status.success()) {
                return Err(format!("no procfs with {options}"));
            }
            let stopped: Vec<_> = (0..7).map(|_| Asleep::stopped()).collect();
            let procfs = format!("--path.procfs={}", folder.path().display());
            let flags = ["--collector.disable-defaults", "--collector.processes", &procfs];
            let start = |more| Server::start_unread("", &[&flags[..], &[more]].concat());
            let (programs, files) = (start("--bpf.required"), start("--no-bpf"));
            let begin = Instant::now();
            loop {
                // An exporter runs while it counts, and the other sleeps.
                let told = [(&programs, "ebpf"), (&files, "procfs")].map(told);
                let tells = |line: &str| told.iter().all(|lines| lines.iter().any(|l| l == line));
                if told[0] == told[1]
                    && tells("node_processes_state{state=\"T\"} 7")
                    && tells("node_processes_pids 10")
                {
                    break;
                }
                assert!(begin.elapsed() < Duration::from_secs(30), "{options}: {told:#?}");
                thread::yield_now();
            }
            assert!(!has_ptrace(&programs) && has_ptrace(&files), "{options}");
            drop((programs, files, stopped));
            nix::mount::umount(folder.path()).unwrap();
        }
        drop(first);
        Ok(())
    });
}

/// The numbers of processes and threads, from that source.
fn told((server, source): (&Server, &str)) -> Vec<String> {
    let (_, text) = server.get("/metrics");
    let line =
        format!("node_scrape_collector_source{{collector=\"processes\",source=\"{source}\"}} 1\n");
    assert!(text.contains(&line), "{text}");
    let lines = text.lines().filter(|line| line.starts_with("node_processes_"));
    lines.map(str::to_owned).collect()
}

/// Whether the exporter has kept `CAP_SYS_PTRACE`.
fn has_ptrace(server: &Server) -> bool {
    const SYS_PTRACE: u32 = 19;
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapPrm:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap() >> SYS_PTRACE & 1 != 0
}
