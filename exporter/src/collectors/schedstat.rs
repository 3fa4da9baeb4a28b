//! What each processor ran and what waited for it, from `/proc/schedstat`.
//!
//! The last three of the nine numbers of a line `cpu<N>` (`kernel/sched/stats.c`, the same since
//! version 15 of the file), times in nanoseconds. Lines of another form are skipped: the other
//! lines differ from version to version. The file is there with `CONFIG_SCHEDSTATS`.

use crate::{parse::is_digits, prelude::*};

pub const SPEC: Spec = Spec {
    name: "schedstat",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| Ok(Box::new(SchedStat(host.proc.file("schedstat")))),
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

struct SchedStat(File);

impl Collector for SchedStat {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let read = self.0.parse(|text| {
            for (cpu, running, waiting, timeslices) in text.lines().filter_map(parse) {
                out.put(&RUNNING, [&cpu], running as f64 / 1e9);
                out.put(&WAITING, [&cpu], waiting as f64 / 1e9);
                out.put(&TIMESLICES, [&cpu], timeslices);
            }
            Ok(())
        });
        read.or_no_data()
    }
}

/// Processor, nanoseconds running and waiting, and timeslices.
fn parse(line: &str) -> Option<(&str, u64, u64, u64)> {
    let mut words = line.strip_prefix("cpu")?.split_ascii_whitespace();
    let cpu = words.next().filter(|cpu| is_digits(cpu))?;
    let mut number = || words.next()?.parse::<u64>().ok();
    for _ in 0..6 {
        number()?;
    }
    Some((cpu, number()?, number()?, number()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;

    #[test]
    fn lines_of_another_form_are_skipped() {
        assert_eq!(parse("cpu12 1 2 3 4 5 6 7 8 9 10"), Some(("12", 7, 8, 9)));
        for line in
            ["", "cpu", "cpux 1 2 3 4 5 6 7 8 9", "cpu0 1 2 3 4 5 6 7 8", "cpu0 1 2 3 4 5 6 7 8 x"]
        {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn a_kernel_without_the_file_has_no_data() {
        assert!(matches!(Machine::new().collect(&SPEC, &[]).1, Err(Error::NoData)));
    }
}
