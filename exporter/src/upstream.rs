//! The parts of node_exporter 1.12 that this exporter does not have yet.
//!
//! Command lines written for node_exporter start this exporter, too: these collectors and flags are
//! accepted, and a warning at the start names the missing collectors among those asked for. A
//! collector that is built leaves this list.

use crate::flag::Form;

/// Collectors that are not built yet, in alphabetical order.
pub static COLLECTORS: &[&str] = &["ethtool", "logind", "perf", "supervisord", "systemd", "wifi"];

/// The flags of these collectors, without the two dashes.
pub static FLAGS: &[(&str, Form)] = &[
    ("collector.ethtool.device-exclude", Form::Once),
    ("collector.ethtool.device-include", Form::Once),
    ("collector.ethtool.metrics-include", Form::Once),
    ("collector.perf.cache-profilers", Form::Repeated),
    ("collector.perf.cpus", Form::Once),
    ("collector.perf.disable-cache-profilers", Form::Switch),
    ("collector.perf.disable-hardware-profilers", Form::Switch),
    ("collector.perf.disable-software-profilers", Form::Switch),
    ("collector.perf.hardware-profilers", Form::Repeated),
    ("collector.perf.software-profilers", Form::Repeated),
    ("collector.perf.tracepoint", Form::Repeated),
    ("collector.supervisord.url", Form::Once),
    ("collector.systemd.enable-restarts-metrics", Form::Switch),
    ("collector.systemd.enable-start-time-metrics", Form::Switch),
    ("collector.systemd.enable-task-metrics", Form::Switch),
    ("collector.systemd.private", Form::Switch),
    ("collector.systemd.unit-blacklist", Form::Once),
    ("collector.systemd.unit-exclude", Form::Once),
    ("collector.systemd.unit-include", Form::Once),
    ("collector.systemd.unit-whitelist", Form::Once),
    ("collector.wifi.fixtures", Form::Once),
];

/// The collector whose flag this is.
#[must_use]
pub fn collector(flag: &str) -> &str {
    match flag.split('.').nth(1).unwrap_or_default() {
        "qdisk" => "qdisc", // as node_exporter once spelled it
        name => name,
    }
}
