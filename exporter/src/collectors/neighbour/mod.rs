//! Neighbours of both families: entries by device, their events, and the sizes and limits of the
//! tables.
//!
//! Entries come from programs in the kernel, else from a netlink dump, else (IPv4 only) from
//! `/proc/net/arp`; entries of state `NUD_NOARP` are left out, as in the collector arp. Only the
//! programs see events: without programs the event families are absent; with programs, all five
//! series of an interface and family appear at its first event. States always take a dump. The
//! tables' sizes are in `/proc/net/stat` (`neigh_stat_seq_show()` of net/core/neighbour.c); these
//! files and the thresholds exist in the initial network namespace only.

mod source;
mod table;

use crate::prelude::*;
use source::Source;
use table::Tables;

pub const SPEC: Spec = Spec {
    name: "neighbour",
    enabled: true,
    capabilities: NONE,
    flags: &[&INCLUDE, &EXCLUDE, &STATES, &NAMESPACES],
    new: |host, flags| {
        let filter = FilterFlags::new(&INCLUDE, &EXCLUDE).read(flags)?;
        Ok(Box::new(Neighbours {
            source: Source::new(host, filter, flags.get(&STATES), flags.get(&NAMESPACES)),
            tables: Tables::new(host),
        }))
    },
};

const INCLUDE: Flag<Option<Pattern>> = pattern(
    "collector.neighbour.device-include",
    "Regexp of neighbour devices to include (mutually exclusive to device-exclude).",
);
const EXCLUDE: Flag<Option<Pattern>> = pattern(
    "collector.neighbour.device-exclude",
    "Regexp of neighbour devices to exclude (mutually exclusive to device-include).",
);
const STATES: Flag<bool> = switch(
    "collector.neighbour.states",
    false,
    "Also count neighbours by state, which takes a walk over the tables at each scrape.",
);
const NAMESPACES: Flag<bool> = switch(
    "collector.neighbour.namespaces",
    false,
    "Also count the neighbours of other network namespaces, where eBPF does.",
);

static ENTRIES: Metric<2> = gauge(
    "node_neighbour_entries",
    "Neighbours by device and family, save those that need no resolution.",
)
.by(["device", "family"]);
static NDISC: Metric<1> = gauge("node_ndisc_entries", "NDISC entries by device").by(["device"]);
static BY_STATE: Metric<3> =
    gauge("node_neighbour_states", "Neighbours by device, family and state.")
        .by(["device", "family", "state"]);
static CREATED: Metric<2> =
    counter("node_neighbour_created_total", "Neighbours that came into the table.")
        .by(["device", "family"]);
static REMOVED: Metric<2> =
    counter("node_neighbour_removed_total", "Neighbours that left the table.")
        .by(["device", "family"]);
static FAILURES: Metric<2> = counter(
    "node_neighbour_resolution_failures_total",
    "Neighbours whose link-layer address could not be found out.",
)
.by(["device", "family"]);
static CHANGES: Metric<2> = counter(
    "node_neighbour_address_changes_total",
    "Link-layer addresses of neighbours that took the place of another.",
)
.by(["device", "family"]);
static OVERFLOWS: Metric<2> = counter(
    "node_neighbour_table_overflows_total",
    "Neighbours that were refused since the table was full.",
)
.by(["device", "family"]);
static OF_NAMESPACE: Metric<2> = gauge(
    "node_neighbour_namespace_entries",
    "Neighbours by network namespace (the number of its inode) and family, save those that need no resolution.",
)
.by(["family", "netns"]);

/// The label of a family: `AF_INET` or `AF_INET6`.
const fn family(number: u32) -> &'static str {
    if number == 2 { "ipv4" } else { "ipv6" }
}

struct Neighbours {
    source: Source,
    tables: Tables,
}

impl Collector for Neighbours {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let mut faults = Faults::default();
        faults.keep(self.source.collect(out));
        faults.keep(self.tables.collect(self.source.table_sizes(), out));
        faults.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, expect};

    const ARP: &str = "\
IP address       HW type     Flags       HW address            Mask     Device
192.168.1.1      0x1         0x2         02:00:00:00:00:01     *        eth0
192.168.1.2      0x1         0x2         02:00:00:00:00:02     *        eth0
";

    #[test]
    fn a_copied_tree_has_entries_of_ipv4() {
        let machine = Machine::new().with("proc/net/arp", ARP);
        let args = ["--collector.neighbour.states", "--collector.neighbour.namespaces"];
        let (text, result) = machine.collect(&SPEC, &args);
        result.unwrap();
        expect![[r#"
            # HELP node_neighbour_entries Neighbours by device and family, save those that need no resolution.
            # TYPE node_neighbour_entries gauge
            node_neighbour_entries{device="eth0",family="ipv4"} 2
        "#]]
        .assert_eq(&text);
    }

    #[test]
    fn devices_can_be_chosen() {
        let machine = Machine::new().with("proc/net/arp", ARP);
        for (flag, want) in [("include=^eth", 2), ("include=^lo", 0), ("exclude=0$", 0)] {
            let flag = format!("--collector.neighbour.device-{flag}");
            let (text, result) = machine.collect(&SPEC, &[&flag]);
            result.unwrap();
            let line =
                format!("node_neighbour_entries{{device=\"eth0\",family=\"ipv4\"}} {want}\n");
            assert_eq!(text.contains(&line), want > 0, "{flag}: {text}");
        }
    }

    #[test]
    fn tables_are_exposed_without_entries() {
        let machine = Machine::new().with("proc/sys/net/ipv6/neigh/default/gc_thresh3", "1024\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        assert!(result.unwrap_err().is_absent());
        assert!(
            text.contains("node_neighbour_table_threshold{family=\"ipv6\",level=\"3\"} 1024\n"),
            "{text}"
        );
    }
}
