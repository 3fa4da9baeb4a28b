//! The dashboard of the neighbour tables.

use super::model::{Dashboard, LINES, NAME, Panel, Row, STACK, STAT, TABLE, Unit, Variable, query};

pub(super) static NEIGHBOURS: Dashboard = Dashboard {
    name: "neighbours",
    title: "Neighbour tables",
    about: "Entries of the kernel's neighbour tables (ARP, NDISC) against their thresholds; churn, \
            failures and overflows by interface. Counters of events need eBPF.",
    shown_by: "node_neighbour_table_entries",
    variables: &[
        Variable { label: "device", title: "Interface", metric: "node_neighbour_entries" },
        Variable { label: "family", title: "Family", metric: "node_neighbour_table_entries" },
    ],
    rows: &[
        Row { title: "At a glance", panels: GLANCE },
        Row { title: "Tables of the whole machine", panels: TABLES },
        Row { title: "Interfaces", panels: INTERFACES },
    ],
};

const GLANCE: &[Panel] = &[
    Panel {
        title: "Fullest table",
        about: "Entries against threshold 3, from which on the kernel refuses new entries.",
        unit: Unit::Share,
        queries: &[query(
            r#"max by (family) (node_neighbour_table_entries{HOST, family=~"$family"}
               / ignoring (level) node_neighbour_table_threshold{HOST, level="3"})"#,
            "{{family}}",
        )],
        thresholds: &[(0.7, "yellow"), (0.8, "orange"), (0.95, "red")],
        size: (6, 4),
        ..STAT
    },
    Panel {
        title: "Neighbours",
        about: "Entries of the chosen interfaces, save those that need no resolution.",
        queries: &[query(
            r#"sum(node_neighbour_entries{HOST, device=~"$device", family=~"$family"})"#,
            "entries",
        )],
        ..STAT
    },
    Panel {
        title: "New neighbours",
        about: "Entries made in a second.",
        unit: Unit::PerSecond,
        queries: &[query(
            r#"sum(rate(node_neighbour_created_total
               {HOST, device=~"$device", family=~"$family"}[$__rate_interval]))"#,
            "created",
        )],
        ..STAT
    },
    Panel {
        title: "Failed resolutions",
        about: "Neighbours that did not answer.",
        unit: Unit::PerSecond,
        queries: &[query(
            r#"sum(rate(node_neighbour_resolution_failures_total
               {HOST, device=~"$device", family=~"$family"}[$__rate_interval]))"#,
            "failed",
        )],
        thresholds: &[(1.0, "yellow"), (10.0, "red")],
        ..STAT
    },
    Panel {
        title: "Refused in 1 h",
        about: "Neighbours that found the table full: packets to them were dropped.",
        queries: &[query(
            r#"round(sum(increase(node_neighbour_table_overflows_total
               {HOST, device=~"$device", family=~"$family"}[1h])))"#,
            "refused",
        )],
        thresholds: &[(1.0, "red")],
        size: (3, 4),
        ..STAT
    },
    Panel {
        title: "Source",
        about: "The source that counts the neighbours. Events are counted by eBPF alone.",
        queries: &[query(
            r#"count by (source) (node_scrape_collector_source{HOST, collector="neighbour"} == 1)"#,
            "{{source}}",
        )],
        size: (3, 4),
        ..NAME
    },
];

const TABLES: &[Panel] = &[
    Panel {
        title: "Entries of IPv4 against the thresholds",
        about: "All network namespaces share the table. It is cleaned at times from threshold 1 on, \
                soon from 2 on, and refuses entries from 3 on. Permanent entries do not count \
                towards the thresholds.",
        queries: &[
            query(r#"node_neighbour_table_entries{HOST, family="ipv4"}"#, "entries"),
            query(
                r#"node_neighbour_table_threshold{HOST, family="ipv4", level="3"}"#,
                "threshold 3: refuses",
            )
            .limit("red"),
            query(
                r#"node_neighbour_table_threshold{HOST, family="ipv4", level="2"}"#,
                "threshold 2: cleaned soon",
            )
            .limit("orange"),
            query(
                r#"node_neighbour_table_threshold{HOST, family="ipv4", level="1"}"#,
                "threshold 1: cleaned at times",
            )
            .limit("blue"),
        ],
        ..LINES
    },
    Panel {
        title: "Entries of IPv6 against the thresholds",
        about: "As for IPv4.",
        queries: &[
            query(r#"node_neighbour_table_entries{HOST, family="ipv6"}"#, "entries"),
            query(
                r#"node_neighbour_table_threshold{HOST, family="ipv6", level="3"}"#,
                "threshold 3: refuses",
            )
            .limit("red"),
            query(
                r#"node_neighbour_table_threshold{HOST, family="ipv6", level="2"}"#,
                "threshold 2: cleaned soon",
            )
            .limit("orange"),
            query(
                r#"node_neighbour_table_threshold{HOST, family="ipv6", level="1"}"#,
                "threshold 1: cleaned at times",
            )
            .limit("blue"),
        ],
        ..LINES
    },
    Panel {
        title: "Refused entries",
        about: "Entries that found the table full, by the interface that wanted them.",
        unit: Unit::PerSecond,
        queries: &[query(
            r#"sum by (device, family) (rate(node_neighbour_table_overflows_total
               {HOST, device=~"$device", family=~"$family"}[$__rate_interval]))"#,
            "{{device}} {{family}}",
        )],
        ..LINES
    },
    Panel {
        title: "Forced cleanings",
        about: "The kernel walked over the table to make room for an entry. Each walk holds the \
                table's lock.",
        unit: Unit::PerSecond,
        queries: &[query(
            r#"sum by (family) (rate(node_neighbour_table_forced_gc_runs_total
               {HOST, family=~"$family"}[$__rate_interval]))"#,
            "{{family}}",
        )],
        ..LINES
    },
];

const INTERFACES: &[Panel] = &[
    Panel {
        title: "Entries by interface",
        about: "Entries of this network namespace, save those that need no resolution.",
        queries: &[query(
            r#"sum by (device, family) (node_neighbour_entries
               {HOST, device=~"$device", family=~"$family"})"#,
            "{{device}} {{family}}",
        )],
        ..STACK
    },
    Panel {
        title: "Churn by interface",
        about: "Entries that came (above zero) and went (below).",
        unit: Unit::PerSecond,
        queries: &[
            query(
                r#"sum by (device, family) (rate(node_neighbour_created_total
                   {HOST, device=~"$device", family=~"$family"}[$__rate_interval]))"#,
                "{{device}} {{family}} came",
            ),
            query(
                r#"sum by (device, family) (rate(node_neighbour_removed_total
                   {HOST, device=~"$device", family=~"$family"}[$__rate_interval]))"#,
                "{{device}} {{family}} went",
            )
            .below(),
        ],
        ..LINES
    },
    Panel {
        title: "Failed resolutions by interface",
        about: "Neighbours that did not answer: hosts that are gone, scans of address ranges, \
                wrong netmasks.",
        unit: Unit::PerSecond,
        queries: &[query(
            r#"sum by (device, family) (rate(node_neighbour_resolution_failures_total
               {HOST, device=~"$device", family=~"$family"}[$__rate_interval]))"#,
            "{{device}} {{family}}",
        )],
        ..LINES
    },
    Panel {
        title: "Changed link-layer addresses by interface",
        about: "Neighbours whose address was taken by another: fail-overs, duplicate addresses, \
                spoofing.",
        unit: Unit::PerSecond,
        queries: &[query(
            r#"sum by (device, family) (rate(node_neighbour_address_changes_total
               {HOST, device=~"$device", family=~"$family"}[$__rate_interval]))"#,
            "{{device}} {{family}}",
        )],
        ..LINES
    },
    Panel {
        title: "Interfaces",
        about: "The figures of each interface at the end of the time range.",
        queries: &[
            query(
                r#"sum by (instance, device, family) (node_neighbour_entries
                   {HOST, device=~"$device", family=~"$family"})"#,
                "entries",
            ),
            query(
                r#"sum by (instance, device, family) (node_neighbour_created_total
                   {HOST, device=~"$device", family=~"$family"})"#,
                "created",
            ),
            query(
                r#"sum by (instance, device, family) (node_neighbour_removed_total
                   {HOST, device=~"$device", family=~"$family"})"#,
                "removed",
            ),
            query(
                r#"sum by (instance, device, family) (node_neighbour_resolution_failures_total
                   {HOST, device=~"$device", family=~"$family"})"#,
                "failed",
            ),
            query(
                r#"sum by (instance, device, family) (node_neighbour_table_overflows_total
                   {HOST, device=~"$device", family=~"$family"})"#,
                "refused",
            ),
        ],
        size: (24, 7),
        ..TABLE
    },
];
