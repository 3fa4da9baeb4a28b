//! The dashboard of the exporter itself: its cost, its sources, its programs in the kernel.

use super::model::{Dashboard, LINES, NAME, Panel, Row, STACK, STAT, TABLE, Unit, query};

pub(super) static EXPORTER: Dashboard = Dashboard {
    name: "exporter",
    title: "bpf_node_exporter itself",
    about: "The exporter's own cost, the sources of its collectors, and the health of its eBPF \
            programs.",
    shown_by: "node_scrape_collector_source",
    variables: &[],
    rows: &[
        Row { title: "At a glance", panels: GLANCE },
        Row { title: "Collectors", panels: COLLECTORS },
        Row { title: "Programs in the kernel", panels: PROGRAMS },
        Row { title: "Process", panels: PROCESS },
    ],
};

const GLANCE: &[Panel] = &[
    Panel {
        title: "Version",
        about: "",
        queries: &[query("count by (version) (node_exporter_build_info{HOST})", "{{version}}")],
        ..NAME
    },
    Panel {
        title: "Uptime",
        about: "Of the exporter that started last.",
        unit: Unit::Seconds,
        queries: &[query("min(time() - process_start_time_seconds{HOST})", "uptime")],
        ..STAT
    },
    Panel {
        title: "Processor time",
        about: "Share of one processor, of the busiest exporter.",
        unit: Unit::Share,
        queries: &[query(
            "max(rate(process_cpu_seconds_total{HOST}[$__rate_interval]))",
            "processor time",
        )],
        thresholds: &[(0.05, "yellow"), (0.5, "red")],
        ..STAT
    },
    Panel {
        title: "Resident memory",
        about: "Of the largest exporter; maps of eBPF are not part of it.",
        unit: Unit::Bytes,
        queries: &[query("max(process_resident_memory_bytes{HOST})", "resident")],
        ..STAT
    },
    Panel {
        title: "Collectors without success",
        about: "Collectors that failed, or found nothing to expose on this machine, in the last \
                scrape.",
        queries: &[query("sum(1 - node_scrape_collector_success{HOST})", "without success")],
        ..STAT
    },
    Panel {
        title: "Collectors out of time",
        about: "Collectors that did not answer before the deadline of the last scrape.",
        queries: &[query("sum(node_scrape_collector_timeout{HOST}) or vector(0)", "out of time")],
        thresholds: &[(1.0, "red")],
        ..STAT
    },
];

const COLLECTORS: &[Panel] = &[
    Panel {
        title: "Sources",
        about: "The source that serves each collector that has several. Where a better source was \
                refused, the log has the reason.",
        queries: &[query(
            "count by (collector, source) (node_scrape_collector_source{HOST} == 1)",
            "hosts",
        )],
        size: (8, 9),
        ..TABLE
    },
    Panel {
        title: "Duration of the slowest collectors",
        about: "Of the last run of each collector; the maximum over the chosen hosts.",
        unit: Unit::Seconds,
        queries: &[query(
            "topk(10, max by (collector) (node_scrape_collector_duration_seconds{HOST}))",
            "{{collector}}",
        )],
        size: (16, 9),
        ..LINES
    },
    Panel {
        title: "Duration of scrapes as Prometheus sees it",
        about: "With connection, transfer and parsing.",
        unit: Unit::Seconds,
        queries: &[query("scrape_duration_seconds{HOST}", "{{instance}}")],
        ..LINES
    },
    Panel {
        title: "Samples in a scrape",
        about: "",
        queries: &[query("scrape_samples_scraped{HOST}", "{{instance}}")],
        ..LINES
    },
];

const PROGRAMS: &[Panel] = &[
    Panel {
        title: "Programs",
        about: "1 is attached. 0: a collector has asked for the program in vain, and another \
                source serves.",
        queries: &[
            query("min by (program) (node_bpf_program_attached{HOST})", "attached"),
            query("sum by (program) (node_bpf_program_missed_runs_total{HOST})", "missed runs"),
        ],
        size: (8, 9),
        ..TABLE
    },
    Panel {
        title: "Time of the programs",
        about: "1 is the whole time of one processor. Only where kernel.bpf_stats_enabled is set.",
        unit: Unit::Share,
        queries: &[query(
            "sum by (program) (rate(node_bpf_program_run_seconds_total{HOST}[$__rate_interval])) \
             > 0",
            "{{program}}",
        )],
        size: (8, 9),
        ..STACK
    },
    Panel {
        title: "Mean duration of a run",
        about: "Only where kernel.bpf_stats_enabled is set, whose gathering is part of it.",
        unit: Unit::Seconds,
        queries: &[query(
            "sum by (program) (rate(node_bpf_program_run_seconds_total{HOST}[$__rate_interval])) \
             / (sum by (program) (rate(node_bpf_program_runs_total{HOST}[$__rate_interval])) > 0)",
            "{{program}}",
        )],
        size: (8, 9),
        ..LINES
    },
    Panel {
        title: "Elements of maps against their room",
        about: "A map that is three quarters full is replaced by a larger one, up to the bounds of \
                --bpf.neighbour-map-entries and --bpf.interface-map-entries.",
        queries: &[
            query("max by (map) (node_bpf_map_entries{HOST})", "{{map}}"),
            query("max by (map) (node_bpf_map_max_entries{HOST})", "{{map}} room").limit("red"),
        ],
        size: (8, 8),
        ..LINES
    },
    Panel {
        title: "Times that stock was taken",
        about: "How often counts were compared with the kernel's own tables anew, by reason.",
        queries: &[query(
            "sum by (subject, reason) (increase(node_bpf_resyncs_total{HOST}[$__range])) > 0 \
             or sum by (subject, reason) (node_bpf_resyncs_total{HOST, reason=\"start\"})",
            "{{subject}} {{reason}}",
        )],
        size: (8, 8),
        ..LINES
    },
    Panel {
        title: "Difference from the kernel's own count",
        about: "Neighbours and tasks in numbers, times of the processors in hundredths of a second.",
        queries: &[query("max by (subject) (node_bpf_audit_difference{HOST})", "{{subject}}")],
        size: (8, 8),
        ..LINES
    },
];

const PROCESS: &[Panel] = &[
    Panel {
        title: "Processor time",
        about: "Share of one processor.",
        unit: Unit::Share,
        queries: &[query(
            "rate(process_cpu_seconds_total{HOST}[$__rate_interval])",
            "{{instance}}",
        )],
        size: (8, 8),
        ..LINES
    },
    Panel {
        title: "Resident memory",
        about: "",
        unit: Unit::Bytes,
        queries: &[query("process_resident_memory_bytes{HOST}", "{{instance}}")],
        size: (8, 8),
        ..LINES
    },
    Panel {
        title: "Open descriptors",
        about: "",
        queries: &[
            query("process_open_fds{HOST}", "{{instance}}"),
            query("min(process_max_fds{HOST})", "limit").limit("red"),
        ],
        size: (8, 8),
        ..LINES
    },
    Panel {
        title: "Answers by status",
        about: "500: the answer could not be rendered. 503: too many requests were under way.",
        unit: Unit::PerSecond,
        queries: &[query(
            "sum by (code) (rate(promhttp_metric_handler_requests_total{HOST}[$__rate_interval]))",
            "{{code}}",
        )],
        size: (8, 8),
        ..LINES
    },
    Panel {
        title: "Errors and lost lines of the log",
        about: "Answers with errors (encoding, gathering), and lines that standard error did not \
                take.",
        unit: Unit::PerSecond,
        queries: &[
            query(
                "sum by (cause) (rate(promhttp_metric_handler_errors_total{HOST}\
                 [$__rate_interval]))",
                "{{cause}}",
            ),
            query(
                "sum(rate(process_log_lines_dropped_total{HOST}[$__rate_interval]))",
                "lost lines",
            ),
        ],
        size: (8, 8),
        ..LINES
    },
    Panel {
        title: "Keeper",
        about: "Whether the process runs that loads larger maps; without it the maps keep their \
                size.",
        queries: &[query("min by (instance) (node_bpf_keeper_up{HOST})", "{{instance}}")],
        size: (8, 8),
        ..LINES
    },
];
