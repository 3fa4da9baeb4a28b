//! Number of control groups by controller, from `/proc/cgroups`.
//!
//! A controller a line: name, hierarchy, groups and whether it is enabled
//! (`kernel/cgroup/cgroup-v1.c`). Controllers that only version 2 has are not in it.

use crate::prelude::*;

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
            for line in text.lines().filter(|line| !line.starts_with('#')) {
                let (name, cgroups, enabled) = parse(line)?;
                out.put(&CGROUPS, [&name], cgroups);
                out.put(&ENABLED, [&name], enabled);
            }
            Ok(())
        })
    }
}

fn parse(line: &str) -> Result<(&str, i64, i64), Malformed> {
    let mut words = line.split_ascii_whitespace();
    let name = words.word("controller")?;
    let _hierarchy: i64 = words.number("hierarchy")?;
    Ok((name, words.number("number of cgroups")?, words.number("enabled")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::malformed;

    #[test]
    fn refuses_what_is_no_controller() {
        assert_eq!(parse("cpu 1 2 0 x"), Ok(("cpu", 2, 0)));
        assert_eq!(malformed(parse("")), "bad controller: \"\"");
        assert_eq!(malformed(parse("cpu x 2 0")), "bad hierarchy: \"x\"");
        assert_eq!(malformed(parse("cpu 1 2")), "bad enabled: \"\"");
    }
}
