//! Load averages, from `/proc/loadavg`.
//!
//! The first three words of the file (`fs/proc/loadavg.c`) are the number of runnable and
//! uninterruptible tasks, averaged over 1, 5 and 15 minutes.

use crate::prelude::*;

pub const SPEC: Spec = Spec {
    name: "loadavg",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| Ok(Box::new(LoadAvg(host.proc.single_file("loadavg")))),
};

static LOAD1: Metric = gauge("node_load1", "1m load average.");
static LOAD5: Metric = gauge("node_load5", "5m load average.");
static LOAD15: Metric = gauge("node_load15", "15m load average.");

struct LoadAvg(SingleFile);

impl Collector for LoadAvg {
    fn collect(&mut self, out: &mut Sink) -> Result {
        self.0.parse(|text| parse(text, |metric, load| out.put(metric, [], load)))
    }
}

fn parse(text: &str, mut put: impl FnMut(&'static Metric, f64)) -> Result<(), Malformed> {
    let mut faults = Faults::default();
    let mut words = text.split_ascii_whitespace();
    for (metric, column) in [(&LOAD1, "1m"), (&LOAD5, "5m"), (&LOAD15, "15m")] {
        if let Some(load) = faults.keep(words.decimal(column)) {
            put(metric, load);
        }
    }
    faults.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_number_hides_no_other() {
        let parse = |text| {
            let mut loads = Vec::new();
            let result = parse(text, |_, load| loads.push(load));
            (loads, result.map_err(|error| error.to_string()))
        };
        let wrong = |text: &str| Err(text.to_owned());
        assert_eq!(parse("0.1 0.2 0.3 1/719 5"), (vec![0.1, 0.2, 0.3], Ok(())));
        assert_eq!(parse("0.1 x 0.3"), (vec![0.1, 0.3], wrong("bad 5m: \"x\"")));
        assert_eq!(parse(""), (vec![], wrong("bad 1m: \"\"")));
    }
}
