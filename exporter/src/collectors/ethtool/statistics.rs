//! Statistics by the names that drivers give them.

use crate::{
    exposition::{Kind, Label, sanitized},
    prelude::*,
};
use std::collections::HashMap;

/// Statistics that most drivers have, by their names.
static COMMON: [(&str, Metric<1>); 7] = [
    ("rx_bytes", common("node_ethtool_received_bytes_total", "Network interface bytes received")),
    (
        "rx_dropped",
        common("node_ethtool_received_dropped_total", "Number of received frames dropped"),
    ),
    (
        "rx_errors",
        common("node_ethtool_received_errors_total", "Number of received frames with errors"),
    ),
    (
        "rx_packets",
        common("node_ethtool_received_packets_total", "Network interface packets received"),
    ),
    ("tx_bytes", common("node_ethtool_transmitted_bytes_total", "Network interface bytes sent")),
    (
        "tx_errors",
        common("node_ethtool_transmitted_errors_total", "Number of sent frames with errors"),
    ),
    (
        "tx_packets",
        common("node_ethtool_transmitted_packets_total", "Network interface packets sent"),
    ),
];

const fn common(name: &'static str, help: &'static str) -> Metric<1> {
    untyped(name, help).by(["device"])
}

/// The statistics of one device after the other, and the metrics that they become.
///
/// Names that differ may become one metric's: of a device that has several of them, none is exposed.
pub(super) struct Statistics {
    wanted: Pattern,
    known: HashMap<Box<[u8]>, usize>,
    stats: Vec<Stat>,
    /// The first place in `stats` with each metric's name.
    places: HashMap<String, usize>,
    /// Of the device that was begun last.
    told: Vec<Told>,
}

/// A name that drivers give.
struct Stat {
    /// None where it is not exposed.
    metric: Option<Metric<1>>,
    /// The first place whose metric has the same name.
    first: usize,
}

/// A statistic of a device. Of those with the same name the last counts.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
struct Told {
    first: usize,
    stat: usize,
    order: usize,
    value: u64,
}

impl Statistics {
    /// Statistics whose names, as far as they can be a metric's, match the pattern.
    pub(super) fn new(wanted: Pattern) -> Self {
        Self {
            wanted,
            known: HashMap::new(),
            stats: Vec::new(),
            places: HashMap::new(),
            told: Vec::new(),
        }
    }

    /// Begins another device.
    pub(super) fn begin(&mut self) {
        self.told.clear();
    }

    /// Takes a statistic of the device.
    pub(super) fn add(&mut self, name: &[u8], value: u64) {
        let stat = match self.known.get(name) {
            Some(&stat) => stat,
            None => self.learn(name),
        };
        if let Some(Stat { metric: Some(_), first }) = self.stats.get(stat) {
            self.told.push(Told { first: *first, stat, order: self.told.len(), value });
        }
    }

    /// Exposes the statistics of the device.
    pub(super) fn put(&mut self, device: &dyn Label, out: &mut Sink) {
        self.told.sort_unstable();
        for same in self.told.chunk_by(|a, b| a.first == b.first) {
            if let (Some(one), Some(last)) = (same.first(), same.last())
                && one.stat == last.stat
                && let Some(Stat { metric: Some(metric), .. }) = self.stats.get(last.stat)
            {
                out.put(metric, [device], last.value);
            }
        }
    }

    /// Keeps a name and the metric that it becomes; returns its place.
    fn learn(&mut self, name: &[u8]) -> usize {
        let stat = self.stats.len();
        let key = sanitized(&String::from_utf8_lossy(name));
        let own = own_name(&key);
        // `info` is the name of another metric, with other labels.
        let is_name = !own.is_empty() && own != "info";
        let metric = (is_name && self.wanted.matches(&key)).then(|| {
            let common = COMMON.iter().find(|(name, _)| *name == key);
            common.map_or_else(
                || {
                    let help = format!("Network interface {key}");
                    Metric::named(Kind::Untyped, format!("node_ethtool_{own}"), help, ["device"])
                },
                |(_, metric)| metric.clone(),
            )
        });
        let first = *self.places.entry(own).or_insert(stat);
        self.stats.push(Stat { metric, first });
        self.known.insert(name.into(), stat);
        stat
    }
}

/// The part of a metric's name after `node_ethtool_`.
fn own_name(key: &str) -> String {
    let name = key.to_ascii_lowercase();
    let name = with_word(name.trim_start_matches('_'), "rx", "received");
    with_word(&name, "tx", "transmitted")
}

/// `name` with another word for each `word` between its `_`, save for one that follows right on one
/// that was replaced: so node_exporter's regular expressions have it.
fn with_word(name: &str, word: &str, by: &str) -> String {
    let mut replaced = false;
    let words = name.split('_').map(|part| {
        replaced = part == word && !replaced;
        if replaced { by } else { part }
    });
    words.collect::<Vec<_>>().join("_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::samples;

    #[test]
    fn names_of_statistics_become_names_of_metrics() {
        for (name, want) in [
            ("rx_packets", "received_packets"),
            ("queue_0_tx_bytes", "queue_0_transmitted_bytes"),
            ("RX_Errors", "received_errors"),
            ("__tx", "transmitted"),
            ("rxq0_tx0", "rxq0_tx0"),
            ("rx_rx_rx", "received_rx_received"),
            ("rx_tx_rx", "received_transmitted_received"),
            ("__", ""),
        ] {
            assert_eq!(own_name(name), want, "{name}");
        }
    }

    fn put(wanted: &str, statistics: &[(&str, u64)]) -> String {
        let mut all = Statistics::new(Pattern::new(wanted).unwrap());
        let mut put = || {
            samples(|out| {
                all.begin();
                for (name, value) in statistics {
                    all.add(name.as_bytes(), *value);
                }
                all.put(&"eth0", out);
            })
        };
        let first = put();
        assert_eq!(put(), first, "known names are as new ones");
        first
    }

    #[test]
    fn statistics_whose_metrics_would_be_the_same_are_left_out() {
        let clash =
            [("a b", 1), ("c", 2), ("a_b", 3), ("A-b", 4), ("rx-bytes", 5), ("rx_bytes", 6)];
        assert_eq!(put("", &clash), "node_ethtool_c{device=\"eth0\"} 2\n");
        let twice = [("rx_bytes", 1), ("rx_bytes", 7)];
        assert_eq!(put("", &twice), "node_ethtool_received_bytes_total{device=\"eth0\"} 7\n");
        assert_eq!(put("", &[("", 1), ("_-_", 2), ("info", 3)]), "");
    }

    #[test]
    fn the_pattern_is_held_against_the_names_that_metrics_can_have() {
        let some = [("port.rx_dropped", 1), ("rx_dropped", 2), ("tx_dropped", 3)];
        let text = put("^port_|^tx", &some);
        assert!(text.contains("node_ethtool_port_received_dropped{"), "{text}");
        assert!(text.contains("node_ethtool_transmitted_dropped{") && text.lines().count() == 2);
    }
}
