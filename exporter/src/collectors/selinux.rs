//! Whether `SELinux` is enabled and enforcing, from `/sys/fs/selinux` and `/etc/selinux/config`.
//!
//! It is enabled where selinuxfs is mounted, writable (containers get it read-only to be told that
//! it is off), and a policy is loaded: without one all tasks are labeled `kernel`. Modes are 1
//! enforcing, 0 permissive, -1 disabled or not known.

use crate::prelude::*;
use std::path::{Path, PathBuf};

pub const SPEC: Spec = Spec {
    name: "selinux",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| {
        Ok(Box::new(SeLinux {
            mount: host.sys.path("fs/selinux"),
            is_running: host.is_running(),
            label: host.proc.file("thread-self/attr/current"),
            enforce: host.sys.file("fs/selinux/enforce"),
            config: host.root.file("etc/selinux/config"),
        }))
    },
};

static CONFIG_MODE: Metric =
    gauge("node_selinux_config_mode", "Configured SELinux enforcement mode");
static CURRENT_MODE: Metric =
    gauge("node_selinux_current_mode", "Current SELinux enforcement mode");
static ENABLED: Metric = gauge("node_selinux_enabled", "SELinux is enabled, 1 is true, 0 is false");

struct SeLinux {
    mount: PathBuf,
    /// A copied tree is no selinuxfs: there the file `enforce` stands for it.
    is_running: bool,
    label: File,
    enforce: File,
    config: File,
}

impl Collector for SeLinux {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let enabled = self.is_enabled();
        out.put(&ENABLED, [], enabled);
        if enabled {
            out.put(&CONFIG_MODE, [], self.configured());
            out.put(&CURRENT_MODE, [], self.enforce.number().unwrap_or(DISABLED));
        }
        Ok(())
    }
}

/// The mode where it is not known, too.
const DISABLED: i64 = -1;

impl SeLinux {
    fn is_enabled(&mut self) -> bool {
        if !self.is_running {
            return self.enforce.bytes().is_ok();
        }
        is_writable_selinuxfs(&self.mount)
            && !self.label.read().is_ok_and(|label| label.trim_end_matches('\0') == "kernel")
    }

    fn configured(&mut self) -> i64 {
        self.config.close();
        self.config.parse(|text| Ok(configured(text))).unwrap_or(DISABLED)
    }
}

fn is_writable_selinuxfs(mount: &Path) -> bool {
    /// `SELINUX_MAGIC` of `include/uapi/linux/magic.h`.
    const SELINUX_MAGIC: u64 = 0xf97c_ff8c;
    const ST_RDONLY: u64 = 1;
    rustix::fs::statfs(mount).is_ok_and(|at| {
        u64::try_from(at.f_type) == Ok(SELINUX_MAGIC)
            && u64::try_from(at.f_flags).is_ok_and(|flags| flags & ST_RDONLY == 0)
    })
}

/// The mode that `/etc/selinux/config` asks for; of two, the first counts.
fn configured(text: &str) -> i64 {
    let mode = text.lines().find_map(|line| line.trim().strip_prefix("SELINUX="));
    match mode.map(|mode| mode.trim_matches('"')) {
        Some("enforcing") => 1,
        Some("permissive") => 0,
        _ => DISABLED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;

    #[test]
    fn a_machine_without_selinux_says_only_that() {
        let (text, result) = Machine::new().collect(&SPEC, &[]);
        assert!(text.ends_with("\nnode_selinux_enabled 0\n") && result.is_ok());
        assert_eq!(text.lines().count(), 3);
        assert!(!is_writable_selinuxfs(Path::new("/proc")));
    }

    #[test]
    fn what_is_not_known_is_minus_one() {
        let machine = Machine::new().with("sys/fs/selinux/enforce", "x");
        let (text, result) = machine.collect(&SPEC, &[]);
        result.unwrap();
        for line in ["config_mode -1", "current_mode -1", "enabled 1"] {
            assert!(text.contains(&format!("\nnode_selinux_{line}\n")), "{text}");
        }
    }

    #[test]
    fn configurations() {
        assert_eq!(configured("# SELINUX=enforcing\nSELINUXTYPE=mls\nSELINUX=\"permissive\"\n"), 0);
        assert_eq!(configured(" SELINUX=enforcing \nSELINUX=permissive\n"), 1);
        assert_eq!(configured("SELINUX=disabled"), -1);
        assert_eq!(configured("SELINUX = enforcing"), -1);
        assert_eq!(configured(""), -1);
    }
}
