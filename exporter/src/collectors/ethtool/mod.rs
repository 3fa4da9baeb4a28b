//! Statistics, names and versions of drivers of network interfaces, and the modes of links, by
//! ioctl(2) (`SIOCETHTOOL`) and generic netlink.
//!
//! Each driver has statistics of its own: the metrics' names are made of theirs. An interface that
//! goes away meanwhile is left out, and so is a part that its driver does not tell.

mod modes;
mod recording;
mod statistics;

use crate::{
    exposition::Label,
    host::{
        Shared,
        ethtool::{self, Driver, text},
        netlink::{self, LinkDump, Modes},
    },
    prelude::*,
};
use recording::Recording;
use statistics::Statistics;

pub const SPEC: Spec = Spec {
    name: "ethtool",
    enabled: false,
    capabilities: NONE,
    flags: &[&FIXTURES, &INCLUDE, &EXCLUDE, &METRICS],
    new: |host, flags| {
        let filter = FilterFlags::new(&INCLUDE, &EXCLUDE).read(flags)?;
        let statistics = Statistics::new(flags.get(&METRICS));
        let folder = flags.get(&FIXTURES);
        if !folder.is_empty() {
            let file = Tree::new(folder).file("ethtool.json");
            return Ok(Box::new(Recording::new(filter, statistics, file)));
        }
        Ok(Box::new(Ethtool {
            filter,
            statistics,
            links: host.links.clone(),
            netlink: netlink::Ethtool::default(),
            modes: Vec::new(),
            drivers: ethtool::Ethtool::default(),
        }))
    },
};

static FIXTURES: Flag<String> = crate::flag::text(
    "collector.ethtool.fixtures",
    "test fixtures to use for ethtool collector end-to-end testing",
)
.hidden();
static INCLUDE: Flag<Option<Pattern>> = pattern(
    "collector.ethtool.device-include",
    "Regexp of ethtool devices to include (mutually exclusive to device-exclude).",
);
static EXCLUDE: Flag<Option<Pattern>> = pattern(
    "collector.ethtool.device-exclude",
    "Regexp of ethtool devices to exclude (mutually exclusive to device-include).",
);
static METRICS: Flag<Pattern> = Flag::value(
    "collector.ethtool.metrics-include",
    &[".*"],
    "Regexp of ethtool stats to include.",
);

static INFO: Metric<6> = gauge(
    "node_ethtool_info",
    "A metric with a constant '1' value labeled by bus_info, device, driver, expansion_rom_version, firmware_version, version.",
)
.by([
    "bus_info",
    "device",
    "driver",
    "expansion_rom_version",
    "firmware_version",
    "version",
]);

struct Ethtool {
    filter: Filter,
    statistics: Statistics,
    links: Shared<LinkDump>,
    netlink: netlink::Ethtool,
    /// In the order of the links' indices.
    modes: Vec<Modes>,
    drivers: ethtool::Ethtool,
}

impl Collector for Ethtool {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let links = self.links.get(out.scrape())?;
        let has_all = self.list_modes();
        for link in links.iter() {
            let device = link.name.as_slice();
            if !self.filter.keeps(&String::from_utf8_lossy(device)) {
                continue;
            }
            let at = self.modes.binary_search_by_key(&link.index, |modes| modes.index).ok();
            let modes = match at.and_then(|at| self.modes.get(at)) {
                Some(modes) => Some(*modes),
                None if has_all => None,
                None => told(device, self.drivers.modes(device)),
            };
            if let Some(modes) = modes {
                modes::put(&device, &modes, out);
            }
            let Some(driver) = told(device, self.drivers.driver(device)) else { continue };
            put_info(&device, &driver, out);
            let statistics = &mut self.statistics;
            statistics.begin();
            told(
                device,
                self.drivers.statistics(device, &driver, |name, n| statistics.add(name, n)),
            );
            statistics.put(&device, out);
        }
        Ok(())
    }
}

impl Ethtool {
    /// Asks for all links' modes at once. Says whether a link that is not among them has none: one
    /// driver's error ends the kernel's answer for all that follow.
    fn list_modes(&mut self) -> bool {
        let Self { netlink, modes, .. } = self;
        modes.clear();
        let listed = netlink.all_modes(|of_one| modes.push(of_one));
        modes.sort_unstable_by_key(|modes| modes.index);
        listed.unwrap_or_else(|error| {
            tracing::debug!(collector = SPEC.name, %error, "not all modes over netlink");
            false
        })
    }
}

/// The driver's answer, if it gave one.
fn told<T>(device: &[u8], result: Result<T, ethtool::Error>) -> Option<T> {
    result
        .inspect_err(|error| {
            if !error.is_absent() {
                tracing::debug!(collector = SPEC.name, device = %device.escape_ascii(), %error, "left out");
            }
        })
        .ok()
}

fn put_info(device: &dyn Label, driver: &Driver, out: &mut Sink) {
    let Driver { name, version, firmware, bus, rom, .. } = driver;
    let [name, version, firmware, bus, rom] = [name, version, firmware, bus, rom].map(|t| text(t));
    out.put(&INFO, [&bus, device, &name, &rom, &firmware, &version], 1);
}
