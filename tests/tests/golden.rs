//! The exposition of every collector on the machine `baseline`, over HTTP, against
//! `fixtures/golden/<collector>.prom`. `UPDATE_EXPECT=1` writes them anew.
//!
//! All collectors are enabled, with the flags in `fixtures/golden/flags`, where `MACHINE` is the
//! machine's folder.

use expect_test::expect_file;
use exporter::{
    collectors::ALL,
    testing::{fixture, golden_flags},
};
use std::collections::{BTreeMap, BTreeSet};
use tests::Server;

/// Families whose samples come from the running machine: only their heads are compared.
const LIVE: &[&str] = &[
    "node_tcp_connection_states",
    "node_filesystem_avail_bytes",
    "node_filesystem_files",
    "node_filesystem_files_free",
    "node_filesystem_free_bytes",
    "node_filesystem_size_bytes",
    "node_textfile_mtime_seconds", // of the checkout
    "node_time_seconds",
    "node_time_zone_offset_seconds",
    "node_time_seconds",
    "node_time_zone_offset_seconds",
    "node_timex_estimated_error_seconds",
    "node_timex_frequency_adjustment_ratio",
    "node_timex_loop_time_constant",
    "node_timex_maxerror_seconds",
    "node_timex_offset_seconds",
    "node_timex_pps_calibration_total",
    "node_timex_pps_error_total",
    "node_timex_pps_frequency_hertz",
    "node_timex_pps_jitter_seconds",
    "node_timex_pps_jitter_total",
    "node_timex_pps_shift_seconds",
    "node_timex_pps_stability_exceeded_total",
    "node_timex_pps_stability_hertz",
    "node_timex_status",
    "node_timex_sync_status",
    "node_timex_tai_offset_seconds",
    "node_timex_tick_seconds",
    "node_uname_info",
];

/// Families that say nothing of the machine, or that the running machine need not have.
const OWN: &[&str] = &[
    "node_exporter_build_info",
    "node_network_route_info",
    "node_network_routes",
    "node_scrape_collector_duration_seconds",
];

fn server() -> Server {
    let machine = fixture("baseline");
    let mut args = golden_flags(&machine);
    args.extend(ALL.iter().map(|spec| format!("--collector.{}", spec.name)));
    args.push("--web.disable-exporter-metrics".into());
    args.push(format!("--collector.supervisord.url={}", tests::supervisord::start()));
    Server::start(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Whether a line stays the same from scrape to scrape.
fn is_steady(line: &str) -> bool {
    let name = |text: &str| text.split(['{', ' ']).next().unwrap_or_default().to_owned();
    match line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE ")) {
        Some(head) => !OWN.contains(&&*name(head)),
        None => !OWN.contains(&&*name(line)) && !LIVE.contains(&&*name(line)),
    }
}

/// The lines that stay the same, wherever the machine's folder is.
fn steady(text: &str) -> String {
    let text: String = text.split_inclusive('\n').filter(|line| is_steady(line)).collect();
    text.replace(&fixture("baseline").display().to_string(), "MACHINE")
}

/// The lines of each family.
fn families(text: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut families = BTreeMap::<_, BTreeSet<_>>::new();
    let mut family = "";
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            family = help.split(' ').next().unwrap_or_default();
        }
        families.entry(family).or_default().insert(line);
    }
    families
}

#[test]
fn each_collector_exposes_its_golden_file() {
    let server = server();
    let mut one_by_one = String::new();
    for spec in ALL {
        let (status, text) = server.get(&format!("/metrics?collect[]={}", spec.name));
        assert_eq!(status, "200", "{}", spec.name);
        let steady = steady(&text);
        expect_file![fixture(&format!("golden/{}.prom", spec.name))].assert_eq(&steady);
        one_by_one.push_str(&steady);
    }
    let (_, all) = server.get("/metrics");
    let all = steady(&all);
    assert_eq!(
        families(&all),
        families(&one_by_one),
        "together they expose the same as one by one"
    );
    let order: Vec<&str> =
        (all.lines()).filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
    assert!(order.is_sorted_by(|a, b| a < b), "each family once, in order: {order:?}");
}

#[test]
fn every_golden_file_belongs_to_a_collector() {
    for entry in std::fs::read_dir(fixture("golden")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(collector) = name.strip_suffix(".prom") else { continue };
        assert!(ALL.iter().any(|spec| spec.name == collector), "{name}");
    }
}
