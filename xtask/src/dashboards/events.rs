//! The dashboard of interrupts and context switches.

use super::model::{Dashboard, LINES, Panel, Row, STACK, STAT, Unit, Variable, query};

pub(super) static EVENTS: Dashboard = Dashboard {
    name: "cpu-events",
    title: "Interrupts and context switches",
    about: "The time that processors spend in handlers of interrupts, timed one by one by eBPF \
            programs. The exporter needs the flag --collector.cpu.bpf-events.",
    shown_by: "node_cpu_softirq_seconds_total",
    variables: &[
        Variable { label: "cpu", title: "Processor", metric: "node_cpu_hardirq_total" },
        Variable { label: "vector", title: "Softirq", metric: "node_cpu_softirq_seconds_total" },
    ],
    rows: &[
        Row { title: "At a glance", panels: GLANCE },
        Row { title: "Softirqs", panels: SOFTIRQS },
        Row { title: "Devices' interrupts and context switches", panels: OTHERS },
    ],
};

const GLANCE: &[Panel] = &[
    Panel {
        title: "Time in softirqs",
        about: "Share of all processors' time.",
        unit: Unit::Share,
        queries: &[query(
            r#"sum(rate(node_cpu_softirq_seconds_total{HOST, cpu=~"$cpu", vector=~"$vector"}
               [$__rate_interval])) / count(node_cpu_hardirq_total{HOST, cpu=~"$cpu"})"#,
            "softirqs",
        )],
        thresholds: &[(0.1, "yellow"), (0.3, "red")],
        size: (6, 4),
        ..STAT
    },
    Panel {
        title: "Time in devices' interrupts",
        about: "Share of all processors' time.",
        unit: Unit::Share,
        queries: &[query(
            r#"avg(rate(node_cpu_hardirq_seconds_total{HOST, cpu=~"$cpu"}[$__rate_interval]))"#,
            "interrupts",
        )],
        thresholds: &[(0.05, "yellow"), (0.2, "red")],
        size: (6, 4),
        ..STAT
    },
    Panel {
        title: "Context switches",
        about: "",
        unit: Unit::PerSecond,
        queries: &[query(
            r#"sum(rate(node_cpu_context_switches_total{HOST, cpu=~"$cpu"}[$__rate_interval]))"#,
            "switches",
        )],
        size: (6, 4),
        ..STAT
    },
    Panel {
        title: "Unevenness of received packets",
        about: "The busiest processor's time in net_rx, as a multiple of the mean: 1 where all \
                processors take part alike.",
        queries: &[query(
            r#"max by (instance) (rate(node_cpu_softirq_seconds_total
               {HOST, cpu=~"$cpu", vector="net_rx"}[$__rate_interval]))
               / avg by (instance) (rate(node_cpu_softirq_seconds_total
               {HOST, cpu=~"$cpu", vector="net_rx"}[$__rate_interval]))"#,
            "{{instance}}",
        )],
        size: (6, 4),
        ..STAT
    },
];

const SOFTIRQS: &[Panel] = &[
    Panel {
        title: "Time in softirqs by vector",
        about: "1 is the whole time of one processor. Interrupts of devices that came in between \
                are left out.",
        unit: Unit::Share,
        queries: &[query(
            r#"sum by (vector) (rate(node_cpu_softirq_seconds_total
               {HOST, cpu=~"$cpu", vector=~"$vector"}[$__rate_interval])) > 0"#,
            "{{vector}}",
        )],
        ..STACK
    },
    Panel {
        title: "Time in softirqs by processor",
        about: "1 is the processor's whole time.",
        unit: Unit::Share,
        queries: &[query(
            r#"sum by (instance, cpu) (rate(node_cpu_softirq_seconds_total
               {HOST, cpu=~"$cpu", vector=~"$vector"}[$__rate_interval]))"#,
            "processor {{cpu}}",
        )],
        ..LINES
    },
    Panel {
        title: "Softirqs by vector",
        about: "The kernel's own counters.",
        unit: Unit::PerSecond,
        queries: &[query(
            r#"sum by (vector) (rate(node_cpu_softirq_total
               {HOST, cpu=~"$cpu", vector=~"$vector"}[$__rate_interval])) > 0"#,
            "{{vector}}",
        )],
        ..STACK
    },
    Panel {
        title: "Mean duration of a softirq by vector",
        about: "A long net_rx keeps tasks and other softirqs of the processor waiting.",
        unit: Unit::Seconds,
        queries: &[query(
            r#"sum by (vector) (rate(node_cpu_softirq_seconds_total
               {HOST, cpu=~"$cpu", vector=~"$vector"}[$__rate_interval]))
               / (sum by (vector) (rate(node_cpu_softirq_total
               {HOST, cpu=~"$cpu", vector=~"$vector"}[$__rate_interval])) > 0)"#,
            "{{vector}}",
        )],
        ..LINES
    },
];

const OTHERS: &[Panel] = &[
    Panel {
        title: "Devices' interrupts by processor",
        about: "Interrupts that processors send to themselves or to each other (timer, messages) \
                are left out.",
        unit: Unit::PerSecond,
        queries: &[query(
            r#"sum by (instance, cpu) (rate(node_cpu_hardirq_total
               {HOST, cpu=~"$cpu"}[$__rate_interval]))"#,
            "processor {{cpu}}",
        )],
        size: (8, 8),
        ..LINES
    },
    Panel {
        title: "Mean duration of a device's interrupt",
        about: "",
        unit: Unit::Seconds,
        queries: &[query(
            r#"sum by (instance, cpu) (rate(node_cpu_hardirq_seconds_total
               {HOST, cpu=~"$cpu"}[$__rate_interval]))
               / (sum by (instance, cpu) (rate(node_cpu_hardirq_total
               {HOST, cpu=~"$cpu"}[$__rate_interval])) > 0)"#,
            "processor {{cpu}}",
        )],
        size: (8, 8),
        ..LINES
    },
    Panel {
        title: "Context switches by processor",
        about: "The kernel's own counters.",
        unit: Unit::PerSecond,
        queries: &[query(
            r#"sum by (instance, cpu) (rate(node_cpu_context_switches_total
               {HOST, cpu=~"$cpu"}[$__rate_interval]))"#,
            "processor {{cpu}}",
        )],
        size: (8, 8),
        ..LINES
    },
];
