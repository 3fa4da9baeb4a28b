//! Load averages, from `/proc/loadavg`.
//!
//! The first three words of the file (`fs/proc/loadavg.c`): runnable and uninterruptible tasks,
//! averaged over 1, 5 and 15 minutes.

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
        let [load1, load5, load15] = self.0.parse(parse)?;
        out.put(&LOAD1, [], load1);
        out.put(&LOAD5, [], load5);
        out.put(&LOAD15, [], load15);
        Ok(())
    }
}

fn parse(text: &str) -> Result<[f64; 3], Malformed> {
    let mut words = text.split_ascii_whitespace();
    Ok([words.number("1m")?, words.number("5m")?, words.number("15m")?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::malformed;

    #[test]
    fn refuses_what_is_not_three_numbers() {
        assert_eq!(malformed(parse("")), "bad 1m: \"\"");
        assert_eq!(malformed(parse("0.1 x 0.3")), "bad 5m: \"x\"");
    }
}
