//! With `--web.config.file`, other processes of the exporter's user see nothing of its memory, and
//! its collectors see as much as without.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};
use tests::{
    HASH_OF_RIGHT, Server,
    tls::{Site, ask, connect},
    unprivileged,
};

/// Collectors that read the exporter's own files, or those of all processes.
const ARGS: [&str; 5] = [
    "--no-bpf",
    "--collector.disable-defaults",
    "--collector.filesystem",
    "--collector.mountstats",
    "--collector.processes",
];

/// An exporter without privileges, its copy in this folder: root sees each process's memory.
fn exporter(folder: &Path, more: &[&str]) -> Server {
    Server::from(unprivileged(folder).args(ARGS).args(more))
}

/// Whether the kernel shows the process's memory to other processes of its user: else its files in
/// /proc are root's.
fn is_visible(server: &Server) -> bool {
    let owner = |file| fs::metadata(format!("/proc/{}{file}", server.id())).unwrap().uid();
    owner("/environ") == owner("")
}

/// Outcomes of the collectors, and names of the process's own metrics.
fn seen(answer: &str) -> Vec<String> {
    let own = |line: &&str| line.starts_with("process_");
    let own = answer.lines().filter(own).filter_map(|line| line.split(' ').next());
    let outcome = |line: &&str| line.starts_with("node_scrape_collector_success{");
    answer.lines().filter(outcome).chain(own).map(str::to_owned).collect()
}

#[test]
fn memory_with_secrets_is_seen_by_no_process_of_the_same_user() {
    let users = format!("basic_auth_users: {{bob: '{HASH_OF_RIGHT}'}}\n");
    let site = Site::new(&users);
    let path = site.path("web.yml");
    let folder = Path::new(&path).parent().unwrap();
    site.write("users.yml", &users);
    site.write("later.yml", "");
    let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let right = format!("{request}Authorization: Basic Ym9iOnJpZ2h0\r\n\r\n");

    let open = exporter(folder, &[]);
    assert!(is_visible(&open));
    let wanted = seen(&open.get("/metrics").1);
    assert!(wanted.iter().any(|name| name == "process_open_fds"), "{wanted:?}");
    let mountstats = "node_scrape_collector_success{collector=\"mountstats\"} 1";
    assert!(wanted.iter().any(|line| line == mountstats), "{wanted:?}");

    let server = exporter(folder, &[&site.flag()]);
    assert!(!is_visible(&server), "keys");
    let answer = ask(connect(&server, &site.client(None)), right.as_bytes()).unwrap();
    assert_eq!(seen(&answer), wanted);

    for (file, why) in [("users.yml", "hashes"), ("later.yml", "hashes, perhaps, later")] {
        let flag = format!("--web.config.file={}", site.path(file));
        let server = exporter(folder, &[&flag]);
        assert!(!is_visible(&server), "{why}");
        let headers = "Authorization: Basic Ym9iOnJpZ2h0\r\n";
        let (_, answer) = server.request("GET", "/metrics", headers);
        assert_eq!(seen(&String::from_utf8(answer).unwrap()), wanted, "{why}");
    }
}
