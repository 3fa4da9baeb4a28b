//! Interrupts, context switches, forks and boot time, from `/proc/stat`.
//!
//! Each line has a keyword and its numbers (`fs/proc/stat.c`); the processors' lines are for the
//! collector `cpu`. An absent line counts as 0; a malformed line is left out.

use crate::{
    host::{SOFTIRQ_VECTORS, Shared, bpf::Bpf},
    parse::{decimal, rows},
    prelude::*,
};
use std::sync::PoisonError;

pub const SPEC: Spec = Spec {
    name: "stat",
    enabled: true,
    capabilities: NONE,
    flags: &[&SOFTIRQ],
    new: |host, flags| {
        let (file, bpf) = (host.stat.clone(), host.bpf.clone());
        Ok(Box::new(Stat { file, bpf, softirq: flags.get(&SOFTIRQ) }))
    },
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

struct Stat {
    file: Shared<SingleFile>,
    /// Programs that copy the processors' times, which the file is held against while it is at hand.
    bpf: Bpf,
    softirq: bool,
}

/// The keywords of the exposed lines that have one number.
static KEYWORDS: [(&str, &Metric); 6] = [
    ("intr", &INTR),
    ("ctxt", &CONTEXT_SWITCHES),
    ("btime", &BOOT_TIME),
    ("processes", &FORKS),
    ("procs_running", &RUNNING),
    ("procs_blocked", &BLOCKED),
];

/// The numbers of the file; `None` for a number that is malformed or missing from its line.
#[derive(Debug, PartialEq)]
struct Numbers {
    /// In the order of [`KEYWORDS`].
    single: [Option<f64>; KEYWORDS.len()],
    /// In the order of [`SOFTIRQ_VECTORS`].
    softirq: [Option<f64>; SOFTIRQ_VECTORS.len()],
}

impl Default for Numbers {
    fn default() -> Self {
        Self { single: [Some(0.0); KEYWORDS.len()], softirq: [Some(0.0); SOFTIRQ_VECTORS.len()] }
    }
}

impl Collector for Stat {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { file, bpf, softirq } = self;
        let mut numbers = Numbers::default();
        let times = || Some(bpf.loaded_cpu()?.lock().unwrap_or_else(PoisonError::into_inner));
        let given = times().map(|times| times.given());
        let parsed = file.parse(out.scrape(), |text| {
            if let (Some(mut times), Some(given)) = (times(), given) {
                times.audit(given, text);
            }
            numbers.parse(text, *softirq)
        });
        if parsed.as_ref().is_err_and(|error| error.refusal().is_some()) {
            return parsed;
        }
        for ((_, metric), value) in KEYWORDS.iter().zip(numbers.single) {
            if let Some(value) = value {
                out.put(metric, [], value);
            }
        }
        for (vector, calls) in SOFTIRQ_VECTORS.iter().zip(numbers.softirq).filter(|_| *softirq) {
            if let Some(calls) = calls {
                out.put(&SOFTIRQS, [vector], calls);
            }
        }
        parsed
    }
}

impl Numbers {
    fn parse(&mut self, text: &str, with_softirq: bool) -> Result<(), Malformed> {
        let Self { single, softirq } = self;
        rows(text, |line| {
            let mut words = line.split_ascii_whitespace();
            let Some(keyword) = words.next() else { return Ok(()) };
            let mut faults = Faults::default();
            if keyword == "softirq" && with_softirq {
                let _all = words.next();
                for calls in &mut *softirq {
                    *calls = faults.keep(words.decimal("softirq"));
                }
            } else if let Some((value, (known, _))) =
                single.iter_mut().zip(&KEYWORDS).find(|(_, (known, _))| *known == keyword)
            {
                *value = words.next().and_then(|word| faults.keep(decimal(known, word)));
            }
            faults.end()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, sample_lines};

    #[test]
    fn softirqs_are_off_by_default() {
        let machine =
            Machine::new().with("proc/stat", "ctxt 1\nsoftirq 55 1 2 3 4 5 6 7 8 9 10 11\n");
        assert!(!machine.collect(&SPEC, &[]).0.contains("softirqs"));
        assert!(machine.collect(&SPEC, &["--collector.stat.softirq"]).0.contains("\"rcu\"} 10\n"));
    }

    fn collect(text: &str, args: &[&str]) -> (Vec<String>, String) {
        let (text, result) = Machine::new().with("proc/stat", text).collect(&SPEC, args);
        let lines = sample_lines(&text).filter(|line| !line.ends_with(" 0"));
        let error = result.map_or_else(|error| error.to_string(), |()| String::new());
        (lines.map(|line| line.trim_start_matches("node_").to_owned()).collect(), error)
    }

    #[test]
    fn absent_lines_are_zero_and_new_lines_are_skipped() {
        let (lines, error) = collect("\nnovel x\nctxt 5\nintr 3 y\n", &[]);
        assert_eq!(lines, ["context_switches_total 5", "intr_total 3"]);
        assert_eq!(error, "");
        let (text, result) = Machine::new().with("proc/stat", "").collect(&SPEC, &[]);
        result.unwrap();
        assert_eq!(sample_lines(&text).filter(|line| line.ends_with(" 0")).count(), 6);
        let (text, result) = Machine::new().with("proc/stat", "processes\n").collect(&SPEC, &[]);
        assert!(!text.contains("forks") && result.is_ok(), "{text}");
        let (text, result) = Machine::new().collect(&SPEC, &[]);
        assert!(text.is_empty() && result.unwrap_err().is_absent());
    }

    #[test]
    fn every_number_that_a_kernel_can_print_is_exposed() {
        let (lines, error) = collect(
            "intr 18446744073709551616 9\nprocesses -2045677862\nsoftirq 6 1 2 3 4 5\n",
            &[],
        );
        assert_eq!(lines, ["forks_total -2.045677862e+09", "intr_total 1.8446744073709552e+19"]);
        assert_eq!(error, "");
    }

    #[test]
    fn a_number_that_is_malformed_costs_itself_alone() {
        let (lines, error) = collect(
            "intr x\nctxt 2\nprocesses 3\nsoftirq 6 1 y 3\nprocs_blocked 7\n",
            &["--collector.stat.softirq"],
        );
        let want = [
            "context_switches_total 2",
            "forks_total 3",
            "procs_blocked 7",
            "softirqs_total{vector=\"hi\"} 1",
            "softirqs_total{vector=\"net_tx\"} 3",
        ];
        assert_eq!(lines, want);
        assert!(error.ends_with("proc/stat:1: bad intr: \"x\""), "{error}");
    }
}
