//! Time that tasks waited for a resource, from `/proc/pressure`.
//!
//! A file has the lines `some` (at least one task waited) and `full` (none could run), each with
//! `total` in microseconds (`psi_show()` in `kernel/sched/psi.c`); `irq`, since Linux 6.1, has
//! `full` alone, and `full` of `cpu` has no meaning. A kernel that was started without `psi=1` has
//! the files and refuses to read them with `EOPNOTSUPP`; some kernels refuse `irq` alone.

use crate::{
    parse::{decimal, rows},
    prelude::*,
};

pub const SPEC: Spec = Spec {
    name: "pressure",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| {
        Ok(Box::new(Pressure(
            RESOURCES.map(|(name, ..)| host.proc.single_file(&format!("pressure/{name}"))),
        )))
    },
};

static CPU_WAITING: Metric = counter(
    "node_pressure_cpu_waiting_seconds_total",
    "Total time in seconds that processes have waited for CPU time",
);
static IO_WAITING: Metric = counter(
    "node_pressure_io_waiting_seconds_total",
    "Total time in seconds that processes have waited due to IO congestion",
);
static IO_STALLED: Metric = counter(
    "node_pressure_io_stalled_seconds_total",
    "Total time in seconds no process could make progress due to IO congestion",
);
static MEMORY_WAITING: Metric = counter(
    "node_pressure_memory_waiting_seconds_total",
    "Total time in seconds that processes have waited for memory",
);
static MEMORY_STALLED: Metric = counter(
    "node_pressure_memory_stalled_seconds_total",
    "Total time in seconds no process could make progress due to memory congestion",
);
static IRQ_STALLED: Metric = counter(
    "node_pressure_irq_stalled_seconds_total",
    "Total time in seconds no process could make progress due to IRQ congestion",
);

/// Each file with the metrics of its lines `some` and `full`.
const RESOURCES: [(&str, Option<&Metric>, Option<&Metric>); 4] = [
    ("cpu", Some(&CPU_WAITING), None),
    ("io", Some(&IO_WAITING), Some(&IO_STALLED)),
    ("memory", Some(&MEMORY_WAITING), Some(&MEMORY_STALLED)),
    ("irq", None, Some(&IRQ_STALLED)),
];

struct Pressure([SingleFile; RESOURCES.len()]);

/// Microseconds by line; `None` where the file lacks the line.
#[derive(Debug, Default, PartialEq)]
struct Totals {
    some: Option<f64>,
    full: Option<f64>,
}

impl Collector for Pressure {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let mut faults = Faults::default();
        let mut found = false;
        for (file, (_, some, full)) in self.0.iter_mut().zip(RESOURCES) {
            let mut totals = Totals::default();
            let read = file.parse(|text| totals.parse(text, [some.is_some(), full.is_some()]));
            found |= read.is_ok();
            faults.read(read.map(Some));
            for (metric, microseconds) in [(some, totals.some), (full, totals.full)] {
                if let (Some(metric), Some(microseconds)) = (metric, microseconds) {
                    // Two divisions, which round as node_exporter does.
                    out.put(metric, [], microseconds / 1e3 / 1e3);
                    found = true;
                }
            }
        }
        faults.end()?;
        if found { Ok(()) } else { Err(Error::NoData) }
    }
}

impl Totals {
    /// Takes the wanted ones of the lines `some` and `full`.
    fn parse(&mut self, text: &str, [some, full]: [bool; 2]) -> Result<(), Malformed> {
        rows(text, |line| {
            let mut words = line.split_ascii_whitespace();
            let total = match words.next() {
                Some("some") if some => &mut self.some,
                Some("full") if full => &mut self.full,
                _ => return Ok(()),
            };
            let microseconds = (words.find_map(|word| word.strip_prefix("total=")))
                .ok_or_else(|| Malformed::new("pressure", line))?;
            *total = Some(decimal("total", microseconds)?);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, sample_lines};

    const LINE: &str = "avg10=0.00 avg60=0.00 avg300=0.00 total=";

    #[test]
    fn resources_that_the_kernel_lacks_are_left_out() {
        let machine = Machine::new().with("proc/pressure/irq", format!("full {LINE}1500000\n"));
        let (text, result) = machine.collect(&SPEC, &[]);
        result.unwrap();
        assert!(text.ends_with("\nnode_pressure_irq_stalled_seconds_total 1.5\n"));
        assert_eq!(text.lines().count(), 3);
        let (text, result) = Machine::new().collect(&SPEC, &[]);
        assert!(text.is_empty() && matches!(result, Err(Error::NoData)));
    }

    #[test]
    fn an_odd_or_refused_file_costs_itself_alone() {
        let machine = Machine::new()
            .with("proc/pressure/cpu", format!("some {LINE}x\nfull {LINE}y\n"))
            .with(
                "proc/pressure/io",
                format!("some {LINE}-2000000 new=1\nmost {LINE}z\nfull avg10=0\n"),
            )
            .with("proc/pressure/irq/is_a_directory", "")
            .with("proc/pressure/memory", format!("full {LINE}18446744073709551616\n"));
        let (text, result) = machine.collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("pressure/cpu:1: bad total: \"x\""), "{error}");
        let samples = [
            "node_pressure_io_waiting_seconds_total -2",
            "node_pressure_memory_stalled_seconds_total 1.844674407370955e+13",
        ];
        assert_eq!(sample_lines(&text).collect::<Vec<_>>(), samples);
        let machine = machine
            .with("proc/pressure/cpu", "full x\n")
            .with("proc/pressure/io", format!("some {LINE}-2000000\n"));
        let (text, result) = machine.collect(&SPEC, &[]);
        result.unwrap();
        assert_eq!(sample_lines(&text).collect::<Vec<_>>(), samples);
    }

    #[test]
    fn a_kernel_that_refuses_every_file_has_no_data() {
        let machine = Machine::new()
            .with("proc/pressure/cpu/is_a_directory", "")
            .with("proc/pressure/io/is_a_directory", "");
        let (text, result) = machine.collect(&SPEC, &[]);
        assert!(text.is_empty() && matches!(result, Err(Error::NoData)));
    }
}
