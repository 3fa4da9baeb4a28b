//! Number of control groups by controller, from `/proc/cgroups`.
//!
//! Each line describes one controller: its name, its hierarchy, its number of groups and whether it
//! is enabled (`kernel/cgroup/cgroup-v1.c`). The file leaves out controllers that exist in cgroup
//! version 2 alone.

use crate::{parse::rows, prelude::*};

pub const SPEC: Spec = Spec {
    name: "cgroups",
    enabled: false,
    capabilities: NONE,
    flags: &[],
    new: |host, _| Ok(Box::new(Cgroups(host.proc.file("cgroups")))),
};

static CGROUPS: Metric<1> =
    gauge("node_cgroups_cgroups", "Current cgroup number of the subsystem.").by(["subsys_name"]);
static ENABLED: Metric<1> =
    gauge("node_cgroups_enabled", "Current cgroup number of the subsystem.").by(["subsys_name"]);

struct Cgroups(File);

impl Collector for Cgroups {
    fn collect(&mut self, out: &mut Sink) -> Result {
        self.0.parse(|text| {
            rows(text, |line| parse(line, |metric, name, n| out.put(metric, [&name], n)))
        })
    }
}

fn parse(line: &str, mut put: impl FnMut(&Metric<1>, &str, f64)) -> Result<(), Malformed> {
    let mut words = line.split_ascii_whitespace();
    let Some(name) = words.next().filter(|name| !name.starts_with('#')) else { return Ok(()) };
    words.word("hierarchy")?;
    let mut faults = Faults::default();
    for (metric, what) in [(&CGROUPS, "number of cgroups"), (&ENABLED, "enabled")] {
        if let Some(number) = faults.keep(words.decimal(what)) {
            put(metric, name, number);
        }
    }
    faults.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, sample_lines};

    #[test]
    fn a_controller_or_column_that_is_malformed_hides_no_other() {
        let table = "#subsys_name\thierarchy\tnum_cgroups\tenabled\n\n\
            cpuset x 2 1\ncpu 1 y 1\nio 1\nmemory -1 99999999999999999999999 1 x\n";
        let (text, result) = Machine::new().with("proc/cgroups", table).collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("proc/cgroups:4: bad number of cgroups: \"y\""), "{error}");
        assert_eq!(
            sample_lines(&text).collect::<Vec<_>>(),
            [
                "node_cgroups_cgroups{subsys_name=\"cpuset\"} 2",
                "node_cgroups_cgroups{subsys_name=\"memory\"} 1e+23",
                "node_cgroups_enabled{subsys_name=\"cpu\"} 1",
                "node_cgroups_enabled{subsys_name=\"cpuset\"} 1",
                "node_cgroups_enabled{subsys_name=\"memory\"} 1",
            ]
        );
    }
}
