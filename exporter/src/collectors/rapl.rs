//! Energy used by processors and memory, from `/sys/class/powercap`
//! (`drivers/powercap/powercap_sys.c`, `Documentation/power/powercap/powercap.rst`).
//!
//! Zones of several packages share a name (`dram`) or end in a number (`package-1`). The number
//! becomes the label `index`; zones of one name without a number are counted instead. Since Linux
//! 5.10 only root may read `energy_uj`: without the right to do so there is no data. A counter
//! wraps at the zone's `max_energy_range_uj`, which is a reset like any other.

use crate::{
    exposition::{Kind, sanitized},
    parse::decimal,
    prelude::*,
};
use std::collections::HashMap;

pub const SPEC: Spec = Spec {
    name: "rapl",
    enabled: true,
    capabilities: CapabilitySet::DAC_READ_SEARCH,
    flags: &[&ZONE_LABEL],
    new: |host, flags| {
        Ok(Box::new(Rapl {
            tree: host.sys.clone(),
            class: host.sys.folder(CLASS),
            with_label: flags.get(&ZONE_LABEL),
            seen: Seen::default(),
            zones: Vec::new(),
        }))
    },
};

static ZONE_LABEL: Flag<bool> = switch(
    "collector.rapl.enable-zone-label",
    false,
    "Enables service unit metric unit_start_time_seconds",
);

static JOULES: Metric<3> = counter("node_rapl_joules_total", "Current RAPL value in joules").by([
    "index",
    "path",
    "rapl_zone",
]);

const CLASS: &str = "class/powercap";

struct Rapl {
    tree: Tree,
    class: Folder,
    with_label: bool,
    seen: Seen,
    zones: Vec<Zone>,
}

struct Zone {
    name: String,
    index: i64,
    path: String,
    energy: File,
    /// The metric that is named after the zone, used unless the name is a label.
    metric: Metric<2>,
}

impl Rapl {
    /// Names all zones anew if a zone came or went.
    fn find(&mut self) -> Result {
        let entries = match self.class.list() {
            Err(error) if error.is_hidden() => return Err(Error::NoData),
            entries => entries?,
        };
        if !self.seen.changed(entries.clone()) {
            return Ok(());
        }
        self.zones.clear();
        let mut used = HashMap::new();
        for entry in entries {
            let Ok(Some(dir)) = entry.dir() else { continue };
            let Ok(Some(text)) = dir.text("name") else { continue };
            let (name, index) = split(&text, |name| used.get(name).copied().unwrap_or(0));
            used.insert(name.to_owned(), index.saturating_add(1));
            self.zones.push(Zone {
                name: name.to_owned(),
                index,
                path: dir.path("").display().to_string(),
                energy: self.tree.file(&format!("{CLASS}/{}/energy_uj", entry.name())),
                metric: Metric::named(
                    Kind::Counter,
                    format!("node_rapl_{}_joules_total", sanitized(name)),
                    format!("Current RAPL {name} value in joules"),
                    ["index", "path"],
                ),
            });
        }
        Ok(())
    }
}

impl Collector for Rapl {
    fn collect(&mut self, out: &mut Sink) -> Result {
        self.find()?;
        let (mut faults, mut forbidden) = (Faults::default(), 0);
        for zone in &mut self.zones {
            let Zone { name, index, path, energy, metric } = zone;
            let microjoules = match energy.parse(|text| decimal("energy", text.trim_ascii())) {
                Err(error) if error.is_forbidden() => {
                    forbidden += 1;
                    continue;
                }
                read => faults.read(read.map(Some)),
            };
            let Some(microjoules) = microjoules else { continue };
            let joules = microjoules / 1e6;
            if self.with_label {
                out.put(&JOULES, [index, path, name], joules);
            } else {
                out.put(metric, [index, path], joules);
            }
        }
        if forbidden > 0 && forbidden == self.zones.len() {
            Err(Error::NoData)
        } else {
            faults.end()
        }
    }
}

/// A zone's name without the number at its end, and the number; `next` gives the number for a name
/// without one.
fn split(text: &str, next: impl Fn(&str) -> i64) -> (&str, i64) {
    match text.split_once('-').map(|(name, index)| (name, index.parse())) {
        Some((name, Ok(index))) => (name, index),
        _ => (text, next(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;

    #[test]
    fn a_number_at_the_end_of_a_name_is_an_index() {
        assert_eq!(split("package-1", |_| 7), ("package", 1));
        assert_eq!(split("dram", |_| 7), ("dram", 7));
        assert_eq!(split("package-1-die-0", |_| 7), ("package-1-die-0", 7));
        assert_eq!(split("psys-io", |_| 7), ("psys-io", 7));
    }

    #[test]
    fn vanished_zones_and_zones_without_a_counter_are_left_out() {
        let machine = Machine::new()
            .with("sys/class/powercap/intel-rapl/enabled", "1\n")
            .with("sys/class/powercap/intel-rapl:0/name", "dram\n")
            .with("sys/class/powercap/intel-rapl:1/name", "dram\n")
            .with("sys/class/powercap/intel-rapl:1/energy_uj", "2500000\n")
            .with("sys/class/powercap/intel-rapl:2/name", "dram\n")
            .with("sys/class/powercap/intel-rapl:2/energy_uj", "x\n");
        let link = machine.path().join("sys/class/powercap/intel-rapl:3");
        std::os::unix::fs::symlink("gone", link).unwrap();
        let (text, result) = machine.collect(&SPEC, &["--collector.rapl.enable-zone-label"]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("/intel-rapl:2/energy_uj: bad energy: \"x\""), "{error}");
        let path = machine.path().join("sys/class/powercap/intel-rapl:1");
        let sample = format!("{{index=\"1\",path=\"{}\",rapl_zone=\"dram\"}} 2.5", path.display());
        assert!(text.ends_with(&format!("counter\nnode_rapl_joules_total{sample}\n")), "{text}");
    }

    #[test]
    fn no_class_is_no_data() {
        assert!(matches!(Machine::new().collect(&SPEC, &[]).1, Err(Error::NoData)));
    }
}
