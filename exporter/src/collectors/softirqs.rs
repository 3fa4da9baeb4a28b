//! Software interrupts by processor and kind, from `/proc/softirqs`.
//!
//! The table is written by `show_softirqs()` in `fs/proc/softirqs.c`: the first line names the
//! possible processors. The sums over processors are in `/proc/stat`, for the collector `stat`.

use crate::{
    parse::{decimal, rows_after},
    prelude::*,
};

pub const SPEC: Spec = Spec {
    name: "softirqs",
    enabled: false,
    capabilities: NONE,
    flags: &[],
    new: |host, _| Ok(Box::new(SoftIrqs(host.proc.file("softirqs")))),
};

static FUNCTIONS: Metric<2> =
    counter("node_softirqs_functions_total", "Softirq counts per CPU.").by(["cpu", "type"]);

/// The kinds that are exposed; kernels add and rename them rarely.
const TYPES: [&str; 10] =
    ["HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU"];

struct SoftIrqs(File);

impl Collector for SoftIrqs {
    fn collect(&mut self, out: &mut Sink) -> Result {
        self.0
            .parse(|text| parse(text, |cpu, kind, count| out.put(&FUNCTIONS, [&cpu, &kind], count)))
    }
}

/// Calls `count` with processor, kind and number.
fn parse(text: &str, mut count: impl FnMut(&str, &str, f64)) -> Result<(), Malformed> {
    let heading = text.lines().next();
    let heading = heading.ok_or_else(|| Malformed::new("list of processors", text))?;
    rows_after(1, text, |line| {
        let mut words = line.split_ascii_whitespace();
        let kind = words.next().and_then(|word| word.strip_suffix(':'));
        let Some(kind) = kind.filter(|kind| TYPES.contains(kind)) else { return Ok(()) };
        let mut faults = Faults::default();
        for (cpu, word) in heading.split_ascii_whitespace().zip(words) {
            let cpu = cpu.strip_prefix("CPU").ok_or_else(|| Malformed::new("processor", cpu));
            if let Some(cpu) = faults.keep(cpu)
                && let Some(value) = faults.keep(decimal("count", word))
            {
                count(cpu, kind, value);
            }
        }
        faults.end()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::malformed;

    #[test]
    fn processors_are_those_of_the_first_line() {
        let mut seen = Vec::new();
        let text = "CPU0 CPU2\nHI: 1 2\nNOVEL: x\nRCU: 3\n\nTIMER:\n";
        parse(text, |cpu, kind, count| seen.push(format!("{cpu} {kind} {count}"))).unwrap();
        assert_eq!(seen, ["0 HI 1", "2 HI 2", "0 RCU 3"]);
    }

    #[test]
    fn a_count_that_is_odd_costs_itself_alone() {
        let mut seen = Vec::new();
        let text = "CPU0 cpu1 CPU2 CPU3\nHI: x 1 -2 18446744073709551616\nRCU: 3 4 5\n";
        let result = parse(text, |cpu, kind, count| seen.push(format!("{cpu} {kind} {count}")));
        assert_eq!(seen, ["2 HI -2", "3 HI 18446744073709552000", "0 RCU 3", "2 RCU 5"]);
        assert_eq!(result, Err(Malformed::new("count", "x").in_line(2)));
    }

    #[test]
    fn a_text_that_is_no_table_is_refused() {
        let parse = |text| parse(text, |_, _, _| ());
        assert_eq!(malformed(parse("")), "bad list of processors: \"\"");
        assert_eq!(malformed(parse("x\nHI: 1\n")), "bad processor: \"x\"");
        assert_eq!(malformed(parse("CPU0\nHI: x\n")), "bad count: \"x\"");
    }
}
