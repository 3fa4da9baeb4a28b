//! A log that is not read.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{io::Read as _, time::Duration};
use tests::Server;

const ARGS: [&str; 5] = [
    "--no-bpf",
    "--log.level=debug",
    "--collector.disable-defaults",
    "--collector.loadavg",
    "--collector.uname",
];

fn lost(server: &Server) -> u64 {
    let (status, text) = server.get("/metrics");
    assert!(status == "200" && text.contains("\nnode_load1 "), "{status} {text}");
    let lost = text.split("\nprocess_log_lines_dropped_total ").nth(1).unwrap();
    lost.lines().next().unwrap().parse().unwrap()
}

#[test]
fn scrapes_go_on_and_lost_lines_are_counted() {
    let mut server = Server::start_unread("", &ARGS);
    let mut scrapes = 0;
    while lost(&server) == 0 {
        scrapes += 1;
        assert!(scrapes < 5000, "the pipe never fills");
    }
    let mut log = server.log();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        log.read_to_string(&mut text).unwrap();
        text
    });
    // Once there is room again, no more lines are lost.
    let mut before = lost(&server);
    loop {
        let now = lost(&server);
        if now == before {
            break;
        }
        before = now;
    }
    assert_eq!(server.stop(), Some(0));
    let text = reader.join().unwrap();
    let said: u64 = text
        .lines()
        .filter(|line| line.contains("msg=\"Log lines lost"))
        .map(|line| line.rsplit_once(" lines=").unwrap().1.parse::<u64>().unwrap())
        .sum();
    assert!(said >= before && before > 0, "{said} of {before}");
    assert!(text.lines().all(|line| line.starts_with("time=")), "whole lines");
    assert!(text.contains("msg=Stopping"), "{text}");
}

#[test]
fn a_textfile_that_is_left_out_is_said_with_its_collector() {
    let folder = tests::folder();
    std::fs::write(folder.path().join("bad.prom"), "a{ 1\n").unwrap();
    let directory = format!("--collector.textfile.directory={}", folder.path().display());
    let mut server = Server::start_unread("", &["--no-bpf", &directory]);
    let (_, text) = server.get("/metrics?collect[]=textfile");
    assert!(text.contains("\nnode_textfile_scrape_error 1\n"), "{text}");
    let mut log = server.log();
    assert_eq!(server.stop(), Some(0));
    let mut said = String::new();
    log.read_to_string(&mut said).unwrap();
    let lines: Vec<_> = said.lines().filter(|line| line.contains("bad.prom")).collect();
    assert_eq!(lines.len(), 1, "{said}");
    assert!(
        lines[0].contains(" level=ERROR ") && lines[0].contains(" collector=textfile "),
        "{said}"
    );
}

#[test]
fn a_full_pipe_does_not_keep_the_exporter_from_ending() {
    let server = Server::start_unread("", &ARGS);
    while lost(&server) == 0 {}
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_closed_pipe_ends_nothing() {
    let mut server = Server::start_unread("", &ARGS);
    drop(server.log());
    while lost(&server) == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(server.stop(), Some(0));
}
