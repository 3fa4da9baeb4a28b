//! Scrapes that could disturb each other, over a real socket: a collector that hangs, clients
//! without time, malformed timeouts.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use exporter::testing::Machine;
use nix::{sys::stat::Mode, unistd::mkfifo};
use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};
use tests::Server;

/// An exporter with a collector that hangs: opening a FIFO without a writer hangs.
fn with_a_hung_collector(flags: &[&str]) -> (Server, Machine) {
    let machine = Machine::new().with("proc/net/x", "");
    mkfifo(&machine.path().join("proc/loadavg"), Mode::S_IRUSR).unwrap();
    let proc = format!("--path.procfs={}", machine.path().join("proc").display());
    let collectors = ["loadavg", "time", "uname"].map(|name| format!("--collector.{name}"));
    let mut all = vec!["--no-bpf", "--collector.disable-defaults", &proc];
    all.extend(collectors.iter().map(String::as_str));
    all.extend(flags);
    (Server::start(&all), machine)
}

fn scrape(server: &Server, timeout: &str) -> String {
    let header = format!("X-Prometheus-Scrape-Timeout-Seconds: {timeout}\r\n");
    let (head, body) = server.request("GET", "/metrics", &header);
    assert!(head.starts_with("http/1.1 200"), "{timeout}: {head}");
    String::from_utf8(body).unwrap()
}

fn is_late(text: &str, name: &str) -> bool {
    let success = format!("node_scrape_collector_success{{collector=\"{name}\"}} 0\n");
    let timeout = format!("node_scrape_collector_timeout{{collector=\"{name}\"}} 1\n");
    assert_eq!(text.contains(&success), text.contains(&timeout), "{text}");
    text.contains(&timeout)
}

#[test]
fn a_collector_that_hangs_does_not_delay_others() {
    let (server, _machine) = with_a_hung_collector(&[]);
    for _ in 0..3 {
        let text = scrape(&server, "4");
        assert!(is_late(&text, "loadavg") && !is_late(&text, "time"), "{text}");
        assert!(text.contains("\nnode_time_seconds ") && text.contains("\nnode_uname_info{"));
        assert!(text.contains("\nprocess_cpu_seconds_total "), "{text}");
    }
    assert!(server.threads("collectors") <= 2, "the hung collector holds one thread");
}

/// 38 scrapes of half a MiB each, which would be 19 MiB if each had a text of its own.
#[test]
fn scrapes_that_wait_share_what_was_read() {
    let folder = tests::folder();
    let rows = (0..10_000).fold(String::new(), |mut rows, i| {
        writeln!(rows, "x{{row=\"number {i:030}\"}} 1").unwrap();
        rows
    });
    fs::write(folder.path().join("x.prom"), rows).unwrap();
    let textfile = format!("--collector.textfile.directory={}", folder.path().display());
    let for_ever = "--web.scrape-timeout=0";
    let (server, _machine) = with_a_hung_collector(&["--collector.textfile", &textfile, for_ever]);
    assert!(is_late(&scrape(&server, "1"), "loadavg"));
    let before = server.resident();
    let clients: Vec<TcpStream> = (1..=38)
        .map(|clients| {
            let mut client = server.connect();
            client.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let in_flight =
                format!("\npromhttp_metric_handler_requests_in_flight {}\n", clients + 1);
            server.until("/metrics?collect[]=time", |_, text| text.contains(&in_flight));
            server.get("/metrics?collect[]=textfile&name[]=none"); // reads the file once more
            client
        })
        .collect();
    let after = server.resident();
    assert!(after < before + (8 << 10), "{before} KiB, {after} KiB");
    drop(clients);
}

#[test]
fn without_a_header_a_scrape_has_the_time_of_the_flag() {
    let (server, _machine) = with_a_hung_collector(&["--web.scrape-timeout=2s"]);
    for _ in 0..2 {
        let (status, text) = server.get("/metrics");
        assert_eq!(status, "200");
        assert!(is_late(&text, "loadavg") && !is_late(&text, "uname"), "{text}");
    }
}

#[test]
fn a_malformed_timeout_changes_nothing() {
    let server = Server::start(&["--no-bpf", "--collector.disable-defaults", "--collector.time"]);
    for timeout in ["1e19", "1e300", "-1", "NaN", "inf", "0", "", "x", "18446744073709551616"] {
        let text = scrape(&server, timeout);
        assert!(!is_late(&text, "time") && text.contains("\nnode_time_seconds "), "{timeout}");
    }
}

#[test]
fn clients_without_time_take_nothing_from_others() {
    let server = Server::start(&["--no-bpf"]);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    scrape(&server, "0.0005");
                }
            });
        }
        let late: Vec<bool> = (0..20)
            .map(|_| scrape(&server, "60").contains("node_scrape_collector_timeout"))
            .collect();
        done.store(true, Relaxed);
        assert_eq!(late, [false; 20]);
    });
}
