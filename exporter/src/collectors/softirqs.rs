//! Software interrupts by processor and kind, from `/proc/softirqs`.
//!
//! A table of `show_softirqs()` in `fs/proc/softirqs.c`: the first line names the possible
//! processors. The sums over processors are in `/proc/stat`, for the collector `stat`.

use crate::{parse::number, prelude::*};

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
fn parse(text: &str, mut count: impl FnMut(&str, &str, u64)) -> Result<(), Malformed> {
    let mut lines = text.lines();
    let header = lines.next().ok_or_else(|| Malformed::new("list of processors", text))?;
    for line in lines {
        let mut words = line.split_ascii_whitespace();
        let kind = words.next().and_then(|word| word.strip_suffix(':'));
        let Some(kind) = kind.filter(|kind| TYPES.contains(kind)) else { continue };
        for (cpu, word) in header.split_ascii_whitespace().zip(words) {
            let cpu = cpu.strip_prefix("CPU").ok_or_else(|| Malformed::new("processor", cpu))?;
            count(cpu, kind, number("count", word)?);
        }
    }
    Ok(())
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
    fn refuses_what_is_no_table() {
        let parse = |text| parse(text, |_, _, _| ());
        assert_eq!(malformed(parse("")), "bad list of processors: \"\"");
        assert_eq!(malformed(parse("x\nHI: 1\n")), "bad processor: \"x\"");
        assert_eq!(malformed(parse("CPU0\nHI: -1\n")), "bad count: \"-1\"");
    }
}
