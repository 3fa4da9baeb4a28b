//! Time that tasks ran on each processor and waited for it, from `/proc/schedstat`.
//!
//! The numbers are the last three of the nine in a line `cpu<N>` (`kernel/sched/stats.c`, the same
//! since version 15 of the file), times in nanoseconds. All other lines are skipped: they differ
//! from version to version. The file exists with `CONFIG_SCHEDSTATS`.

use crate::{
    parse::{RowOrder, is_digits},
    prelude::*,
};

pub const SPEC: Spec = Spec {
    name: "schedstat",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| {
        let file = host.proc.file("schedstat");
        Ok(Box::new(SchedStat { file, order: RowOrder::default() }))
    },
};

static RUNNING: Metric<1> = counter(
    "node_schedstat_running_seconds_total",
    "Number of seconds CPU spent running a process.",
)
.by(["cpu"]);
static WAITING: Metric<1> = counter(
    "node_schedstat_waiting_seconds_total",
    "Number of seconds spent by processing waiting for this CPU.",
)
.by(["cpu"]);
static TIMESLICES: Metric<1> =
    counter("node_schedstat_timeslices_total", "Number of timeslices executed by CPU.").by(["cpu"]);

struct SchedStat {
    file: File,
    order: RowOrder,
}

impl Collector for SchedStat {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { file, order } = self;
        let read = file.parse(|text| {
            let label = |_, line, label: &mut String| label.push_str(cpu(line).unwrap_or_default());
            order.rows(text, label, |_, line| {
                let Some(cpu) = cpu(line) else { return Ok(()) };
                let mut words = line.split_ascii_whitespace().skip(7);
                let mut faults = Faults::default();
                for (metric, unit) in [(&RUNNING, 1e9), (&WAITING, 1e9), (&TIMESLICES, 1.0)] {
                    if let Some(value) = faults.keep(words.decimal("schedstat value")) {
                        out.put(metric, [&cpu], value / unit);
                    }
                }
                faults.end()
            })
        });
        read.or_no_data()
    }
}

/// The number of the processor whose line this is.
fn cpu(line: &str) -> Option<&str> {
    let word = line.split_ascii_whitespace().next()?;
    word.strip_prefix("cpu").filter(|cpu| is_digits(cpu))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, sample_lines};

    #[test]
    fn a_value_that_is_odd_costs_itself_alone() {
        let machine = Machine::new().with(
            "proc/schedstat",
            "version 17\ncpu\ncpux 1 2 3 4 5 6 7 8 9\n\ncpu0 1 2 3 4 5 x 7 8 y\n\
             cpu1 1 2 3 4 5 6 -1000000000 18446744073709551616\ncpu12 1 2 3 4 5 6 7 8 9 10\n",
        );
        let (text, result) = machine.collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("proc/schedstat:5: bad schedstat value: \"y\""), "{error}");
        assert_eq!(
            sample_lines(&text).collect::<Vec<_>>(),
            [
                "node_schedstat_running_seconds_total{cpu=\"0\"} 7e-09",
                "node_schedstat_running_seconds_total{cpu=\"1\"} -1",
                "node_schedstat_running_seconds_total{cpu=\"12\"} 7e-09",
                "node_schedstat_timeslices_total{cpu=\"12\"} 9",
                "node_schedstat_waiting_seconds_total{cpu=\"0\"} 8e-09",
                "node_schedstat_waiting_seconds_total{cpu=\"1\"} 1.8446744073709553e+10",
                "node_schedstat_waiting_seconds_total{cpu=\"12\"} 8e-09",
            ]
        );
    }

    #[test]
    fn a_kernel_without_the_file_has_no_data() {
        assert!(matches!(Machine::new().collect(&SPEC, &[]).1, Err(Error::NoData)));
    }
}
