//! Interrupts, context switches, forks and boot time, from `/proc/stat`.
//!
//! A keyword and its numbers a line (`fs/proc/stat.c`); the processors' lines are for the
//! collector `cpu`. A line that is not there counts as 0.

use crate::{host::Shared, prelude::*};

pub const SPEC: Spec = Spec {
    name: "stat",
    enabled: true,
    capabilities: NONE,
    flags: &[&SOFTIRQ],
    new: |host, flags| Ok(Box::new(Stat { file: host.stat.clone(), softirq: flags.get(&SOFTIRQ) })),
};

static SOFTIRQ: Flag<bool> =
    switch("collector.stat.softirq", false, "Export softirq calls per vector");

static INTR: Metric = counter("node_intr_total", "Total number of interrupts serviced.");
static CONTEXT_SWITCHES: Metric =
    counter("node_context_switches_total", "Total number of context switches.");
static FORKS: Metric = counter("node_forks_total", "Total number of forks.");
static BOOT_TIME: Metric = gauge("node_boot_time_seconds", "Node boot time, in unixtime.");
static RUNNING: Metric = gauge("node_procs_running", "Number of processes in runnable state.");
static BLOCKED: Metric =
    gauge("node_procs_blocked", "Number of processes blocked waiting for I/O to complete.");
static SOFTIRQS: Metric<1> =
    counter("node_softirqs_total", "Number of softirq calls.").by(["vector"]);

/// The kernel's order (`include/linux/interrupt.h`).
const VECTORS: [&str; 10] = [
    "hi",
    "timer",
    "net_tx",
    "net_rx",
    "block",
    "block_iopoll",
    "tasklet",
    "sched",
    "hrtimer",
    "rcu",
];

struct Stat {
    file: Shared<SingleFile>,
    softirq: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Numbers {
    intr: u64,
    ctxt: u64,
    btime: u64,
    processes: u64,
    running: u64,
    blocked: u64,
    softirq: [u64; VECTORS.len()],
}

impl Collector for Stat {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let numbers = self.file.parse(out.scrape(), parse)?;
        out.put(&INTR, [], numbers.intr);
        out.put(&CONTEXT_SWITCHES, [], numbers.ctxt);
        out.put(&FORKS, [], numbers.processes);
        out.put(&BOOT_TIME, [], numbers.btime);
        out.put(&RUNNING, [], numbers.running);
        out.put(&BLOCKED, [], numbers.blocked);
        if self.softirq {
            for (vector, calls) in VECTORS.iter().zip(numbers.softirq) {
                out.put(&SOFTIRQS, [vector], calls);
            }
        }
        Ok(())
    }
}

fn parse(text: &str) -> Result<Numbers, Malformed> {
    let mut numbers = Numbers::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace().peekable();
        let (Some(keyword), Some(_)) = (words.next(), words.peek()) else { continue };
        match keyword {
            "intr" => numbers.intr = words.number("intr")?,
            "ctxt" => numbers.ctxt = words.number("ctxt")?,
            "btime" => numbers.btime = words.number("btime")?,
            "processes" => numbers.processes = words.number("processes")?,
            "procs_running" => numbers.running = words.number("procs_running")?,
            "procs_blocked" => numbers.blocked = words.number("procs_blocked")?,
            "softirq" => {
                let _all: u64 = words.number("softirq")?;
                for calls in &mut numbers.softirq {
                    *calls = words.number("softirq")?;
                }
            }
            _ => {}
        }
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, malformed};

    #[test]
    fn softirqs_are_off_by_default() {
        let machine =
            Machine::new().with("proc/stat", "ctxt 1\nsoftirq 55 1 2 3 4 5 6 7 8 9 10 11\n");
        assert!(!machine.collect(&SPEC, &[]).0.contains("softirqs"));
        assert!(machine.collect(&SPEC, &["--collector.stat.softirq"]).0.contains("\"rcu\"} 10\n"));
    }

    #[test]
    fn what_is_missing_is_zero_and_what_is_new_is_skipped() {
        assert_eq!(parse(""), Ok(Numbers::default()));
        let numbers = parse("intr\nnovel x\nctxt 5\nintr 3 y\n").unwrap();
        assert_eq!(numbers, Numbers { ctxt: 5, intr: 3, ..Numbers::default() });
    }

    #[test]
    fn refuses_what_is_no_number() {
        assert_eq!(malformed(parse("ctxt x")), "bad ctxt: \"x\"");
        assert_eq!(malformed(parse("btime -1")), "bad btime: \"-1\"");
        assert_eq!(malformed(parse("softirq 3 1 2")), "bad softirq: \"\"");
        assert_eq!(
            malformed(parse("intr 18446744073709551616")),
            "bad intr: \"18446744073709551616\""
        );
    }
}
