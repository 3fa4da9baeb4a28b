//! The parts of node_exporter 1.12 that this exporter does not have yet.
//!
//! Command lines written for node_exporter start this exporter, too: these collectors and flags are
//! accepted, and a warning at the start names the missing collectors among those asked for. A
//! collector that is built leaves this list.

use crate::flag::Form;

/// Collectors that are not built yet, in alphabetical order.
pub static COLLECTORS: &[&str] = &["logind", "systemd"];

/// The flags of these collectors, without the two dashes.
pub static FLAGS: &[(&str, Form)] = &[
    ("collector.systemd.enable-restarts-metrics", Form::Switch),
    ("collector.systemd.enable-start-time-metrics", Form::Switch),
    ("collector.systemd.enable-task-metrics", Form::Switch),
    ("collector.systemd.private", Form::Switch),
    ("collector.systemd.unit-blacklist", Form::Once),
    ("collector.systemd.unit-exclude", Form::Once),
    ("collector.systemd.unit-include", Form::Once),
    ("collector.systemd.unit-whitelist", Form::Once),
];

/// The collector whose flag this is.
#[must_use]
pub fn collector(flag: &str) -> &str {
    match flag.split('.').nth(1).unwrap_or_default() {
        "qdisk" => "qdisc", // as node_exporter once spelled it
        name => name,
    }
}
