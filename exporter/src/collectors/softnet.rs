//! Handling of incoming packets by each processor, from `/proc/net/softnet_stat`.
//!
//! One line for each processor that is online, hexadecimal (`softnet_seq_show()` in
//! net/core/net-procfs.c). Kernels have added columns: RPS since Linux 2.6.39, flow limit since
//! 3.11, backlog and the processor's number since 5.14. Without that number, the place of the line
//! stands for it, which is wrong where a processor is offline.

use crate::{
    exposition::Label as _,
    parse::{RowOrder, hex, hexadecimal},
    prelude::*,
};

pub const SPEC: Spec = Spec {
    name: "softnet",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| {
        let file = host.net.file("softnet_stat");
        Ok(Box::new(SoftNet { file, order: RowOrder::default() }))
    },
};

static PROCESSED: Metric<1> =
    counter("node_softnet_processed_total", "Number of processed packets").by(["cpu"]);
static DROPPED: Metric<1> =
    counter("node_softnet_dropped_total", "Number of dropped packets").by(["cpu"]);
static SQUEEZED: Metric<1> = counter(
    "node_softnet_times_squeezed_total",
    "Number of times processing packets ran out of quota",
)
.by(["cpu"]);
static COLLISION: Metric<1> = counter(
    "node_softnet_cpu_collision_total",
    "Number of collision occur while obtaining device lock while transmitting",
)
.by(["cpu"]);
static RPS: Metric<1> =
    counter("node_softnet_received_rps_total", "Number of times cpu woken up received_rps")
        .by(["cpu"]);
static FLOW_LIMIT: Metric<1> =
    counter("node_softnet_flow_limit_count_total", "Number of times flow limit has been reached")
        .by(["cpu"]);
static BACKLOG: Metric<1> = gauge("node_softnet_backlog_len", "Softnet backlog status").by(["cpu"]);

/// Each counter with its column.
static COLUMNS: [(usize, &Metric<1>); 7] = [
    (0, &PROCESSED),
    (1, &DROPPED),
    (2, &SQUEEZED),
    (8, &COLLISION),
    (9, &RPS),
    (10, &FLOW_LIMIT),
    (BACKLOG_COLUMN, &BACKLOG),
];
/// The columns that every kernel has.
const LEAST: usize = 9;
const BACKLOG_COLUMN: usize = 11;
/// The column with the processor's number.
const CPU: usize = 12;

struct SoftNet {
    file: File,
    order: RowOrder,
}

impl Collector for SoftNet {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { file, order } = self;
        file.parse(|text| {
            let label = |place, line, label: &mut String| {
                let cpu = Columns::of(line).processor(place);
                cpu.unwrap_or_default().append(label);
            };
            order.rows(text, label, |place, line| put(line, place, out))
        })
    }
}

/// The columns of a line, and how many it has.
struct Columns<'a>([&'a str; CPU + 1], usize);

impl<'a> Columns<'a> {
    fn of(line: &'a str) -> Self {
        let mut columns = [""; CPU + 1];
        let mut count = 0;
        for (column, word) in columns.iter_mut().zip(line.split_ascii_whitespace()) {
            *column = word;
            count += 1;
        }
        Self(columns, count)
    }

    /// The number of the processor whose line is at that `place` of the file.
    fn processor(&self, place: usize) -> Result<u64, Malformed> {
        let Self([.., cpu], count) = self;
        if *count > CPU { hex("processor", cpu) } else { Ok(place as u64) }
    }
}

/// Exposes the line at that `place` of the file, counted from 0. Columns that the kernel does not
/// have are 0.
fn put(line: &str, place: usize, out: &mut Sink) -> Result<(), Malformed> {
    let all = Columns::of(line);
    let Columns(columns, count) = all;
    if count < LEAST {
        return Err(Malformed::new("line", line));
    }
    let cpu = all.processor(place)?;
    let mut faults = Faults::default();
    for (column, metric) in COLUMNS {
        // The backlog came with the processor's number.
        let is_there = column < count && (column < BACKLOG_COLUMN || count > CPU);
        let word = columns.get(column).filter(|_| is_there).unwrap_or(&"0");
        if let Some(value) = faults.keep(hexadecimal("column", word)) {
            out.put(metric, [&cpu], value);
        }
    }
    faults.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, sample_lines};

    /// The samples of the file without `node_softnet_` and without zeros; and the error.
    fn collect(text: &str) -> (Vec<String>, String) {
        let machine = Machine::new().with("proc/net/softnet_stat", text);
        let (text, result) = machine.collect(&SPEC, &[]);
        let lines = sample_lines(&text).filter(|line| !line.ends_with(" 0"));
        let lines = lines.map(|line| line.trim_start_matches("node_softnet_").to_owned());
        (lines.collect(), result.map_or_else(|error| error.to_string(), |()| String::new()))
    }

    #[test]
    fn older_kernels_have_fewer_columns_and_lines_are_counted() {
        let old = "a1 0 0 0 0 0 0 0 9\n0 2 3 0 0 0 0 0 0 a b c\n";
        let (lines, error) = collect(old);
        assert_eq!(
            lines,
            [
                "cpu_collision_total{cpu=\"0\"} 9",
                "dropped_total{cpu=\"1\"} 2",
                "flow_limit_count_total{cpu=\"1\"} 11",
                "processed_total{cpu=\"0\"} 161",
                "received_rps_total{cpu=\"1\"} 10",
                "times_squeezed_total{cpu=\"1\"} 3",
            ]
        );
        assert_eq!(error, "");
        let (lines, error) = collect("1 0 0 0 0 0 0 0 0 0 0 c d new fields\n");
        assert_eq!(lines, ["backlog_len{cpu=\"13\"} 12", "processed_total{cpu=\"13\"} 1"]);
        assert_eq!(error, "");
    }

    #[test]
    fn a_malformed_line_or_column_costs_itself_alone() {
        let (lines, error) = collect(
            "1 2 3 4 5 6 7 8\n1 g 3 0 0 0 0 0 0\n1 0 0 0 0 0 0 0 0 0 0 0 x\n\
             10000000000000000 0 0 0 0 0 0 0 0\n",
        );
        assert_eq!(
            lines,
            [
                "processed_total{cpu=\"1\"} 1",
                "processed_total{cpu=\"3\"} 1.8446744073709552e+19",
                "times_squeezed_total{cpu=\"1\"} 3",
            ]
        );
        assert!(error.ends_with("softnet_stat:1: bad line: \"1 2 3 4 5 6 7 8\""), "{error}");
    }
}
