//! Time that tasks waited for a resource, from `/proc/pressure`.
//!
//! A file has the lines `some` (at least one task waited) and `full` (none could run), each
//! with `total` in microseconds (`psi_show()` in `kernel/sched/psi.c`); `irq`, since Linux 6.1,
//! has `full` alone, and `full` says nothing for `cpu`. A kernel that was started without `psi=1`
//! has the files and refuses to read them with `EOPNOTSUPP`.

use crate::{parse::number, prelude::*};
use rustix::io::Errno;

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

/// Each file, and what its lines `some` and `full` are exposed as.
const RESOURCES: [(&str, Option<&Metric>, Option<&Metric>); 4] = [
    ("cpu", Some(&CPU_WAITING), None),
    ("io", Some(&IO_WAITING), Some(&IO_STALLED)),
    ("memory", Some(&MEMORY_WAITING), Some(&MEMORY_STALLED)),
    ("irq", None, Some(&IRQ_STALLED)),
];

struct Pressure([SingleFile; RESOURCES.len()]);

/// Microseconds of the lines that are there.
#[derive(Debug, Default, PartialEq, Eq)]
struct Totals {
    some: Option<u64>,
    full: Option<u64>,
}

impl Collector for Pressure {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let mut found = false;
        for (file, (_, some, full)) in self.0.iter_mut().zip(RESOURCES) {
            let totals = match file.parse(parse) {
                Err(error) if error.is_absent() => continue,
                Err(error) if is_disabled(&error) => return Err(Error::NoData),
                totals => totals?,
            };
            for (metric, microseconds) in [(some, totals.some), (full, totals.full)] {
                let Some(metric) = metric else { continue };
                // Two divisions, which round as node_exporter does.
                out.put(metric, [], microseconds.ok_or(Error::NoData)? as f64 / 1e3 / 1e3);
            }
            found = true;
        }
        if found { Ok(()) } else { Err(Error::NoData) }
    }
}

fn is_disabled(error: &Error) -> bool {
    matches!(error, Error::Read { source, .. }
        if source.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()))
}

fn parse(text: &str) -> Result<Totals, Malformed> {
    let mut totals = Totals::default();
    for line in text.lines() {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        let total = match kind {
            "some" => &mut totals.some,
            "full" => &mut totals.full,
            _ => continue,
        };
        let microseconds =
            rest.split_once("total=").ok_or_else(|| Malformed::new("pressure", line))?.1;
        *total = Some(number("total", microseconds.trim())?);
    }
    Ok(totals)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, malformed};

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
    fn a_line_that_should_be_there_is_no_data() {
        let machine = Machine::new().with("proc/pressure/io", format!("some {LINE}7\n"));
        assert!(matches!(machine.collect(&SPEC, &[]).1, Err(Error::NoData)));
    }

    #[test]
    fn a_kernel_without_psi_has_no_data() {
        let error = |errno: Errno| Error::Read { path: "".into(), source: errno.into() };
        assert!(is_disabled(&error(Errno::OPNOTSUPP)) && !is_disabled(&error(Errno::IO)));
    }

    #[test]
    fn new_lines_are_skipped_and_wrong_ones_refused() {
        let totals = parse(&format!("most {LINE}1\nfull {LINE}3\n"));
        assert_eq!(totals, Ok(Totals { some: None, full: Some(3) }));
        assert_eq!(malformed(parse("some avg10=0.00")), "bad pressure: \"some avg10=0.00\"");
        assert_eq!(malformed(parse("full total=-1")), "bad total: \"-1\"");
    }
}
