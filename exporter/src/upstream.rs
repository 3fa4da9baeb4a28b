//! What node_exporter 1.12 has and this exporter has not yet.
//!
//! Command lines written for node_exporter start here too: these collectors and flags are
//! accepted, and a warning at the start names what is asked for and not there. A collector
//! that is built leaves this list.

use crate::flag::Form;

/// Collectors that are not built yet, in alphabetical order.
pub static COLLECTORS: &[&str] = &["ethtool", "perf", "supervisord", "wifi"];

/// Their flags, without the two dashes.
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
