//! What each processor did with packets that came in, from `/proc/net/softnet_stat`.
//!
//! One line for each processor that is online, hexadecimal (`softnet_seq_show()` in
//! net/core/net-procfs.c). It has grown: RPS since Linux 2.6.39, flow limit since 3.11, backlog
//! and the processor's number since 5.14. Before that, lines are counted, which is wrong
//! where a processor is offline.

use crate::prelude::*;

pub const SPEC: Spec = Spec {
    name: "softnet",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| Ok(Box::new(SoftNet(host.proc.file("net/softnet_stat")))),
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

struct SoftNet(File);

impl Collector for SoftNet {
    fn collect(&mut self, out: &mut Sink) -> Result {
        self.0.parse(|text| {
            for (i, line) in text.lines().enumerate() {
                let stat = parse(line)?;
                let cpu = stat.cpu.unwrap_or(i as u64);
                out.put(&PROCESSED, [&cpu], stat.processed);
                out.put(&DROPPED, [&cpu], stat.dropped);
                out.put(&SQUEEZED, [&cpu], stat.squeezed);
                out.put(&COLLISION, [&cpu], stat.collision);
                out.put(&RPS, [&cpu], stat.rps);
                out.put(&FLOW_LIMIT, [&cpu], stat.flow_limit);
                out.put(&BACKLOG, [&cpu], stat.backlog);
            }
            Ok(())
        })
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Stat {
    processed: u64,
    dropped: u64,
    squeezed: u64,
    collision: u64,
    /// 0 where the kernel does not have it, as the two that follow.
    rps: u64,
    flow_limit: u64,
    backlog: u64,
    cpu: Option<u64>,
}

fn parse(line: &str) -> Result<Stat, Malformed> {
    /// Those that every kernel has.
    const LEAST: usize = 9;
    let mut columns = [None; 13];
    let mut count = 0;
    for (word, column) in line.split_ascii_whitespace().zip(&mut columns) {
        *column = Some(crate::parse::hex("column", word)?);
        count += 1;
    }
    if count < LEAST {
        return Err(Malformed::new("line", line));
    }
    let [processed, dropped, squeezed, _, _, _, _, _, collision, rps, flow_limit, backlog, cpu] =
        columns;
    // Both came at once.
    let backlog = if cpu.is_some() { backlog } else { None };
    let zero = Option::unwrap_or_default;
    Ok(Stat {
        processed: zero(processed),
        dropped: zero(dropped),
        squeezed: zero(squeezed),
        collision: zero(collision),
        rps: zero(rps),
        flow_limit: zero(flow_limit),
        backlog: zero(backlog),
        cpu,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, malformed};

    #[test]
    fn older_kernels_have_fewer_columns() {
        let stat =
            Stat { processed: 0xa1, dropped: 2, squeezed: 3, collision: 9, ..Stat::default() };
        assert_eq!(parse("a1 2 3 0 0 0 0 0 9"), Ok(stat));
        let stat = parse("1 2 3 0 0 0 0 0 9 a b c").unwrap();
        assert_eq!((stat.rps, stat.flow_limit, stat.backlog, stat.cpu), (10, 11, 0, None));
        let stat = parse("1 2 3 0 0 0 0 0 9 a b c d").unwrap();
        assert_eq!((stat.backlog, stat.cpu), (12, Some(13)));
        assert_eq!(parse("1 2 3 0 0 0 0 0 9 a b c d new fields").unwrap(), stat);
    }

    #[test]
    fn lines_are_counted_where_they_have_no_number() {
        let line = "1 0 0 0 0 0 0 0 0\n";
        let machine = Machine::new().with("proc/net/softnet_stat", [line, line].concat());
        let (text, result) = machine.collect(&SPEC, &[]);
        result.unwrap();
        assert!(text.contains("node_softnet_processed_total{cpu=\"1\"} 1\n"), "{text}");
    }

    #[test]
    fn refuses_what_is_cut_short_or_no_number() {
        assert_eq!(malformed(parse("1 2 3 4 5 6 7 8")), "bad line: \"1 2 3 4 5 6 7 8\"");
        assert_eq!(malformed(parse("1 2 g 4 5 6 7 8 9")), "bad column: \"g\"");
    }
}
