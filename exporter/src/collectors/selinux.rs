//! Whether `SELinux` is enabled and enforcing, from `/sys/fs/selinux` and `/etc/selinux/config`.
//!
//! It is enabled where selinuxfs is mounted writable (a container sees it mounted read-only, which
//! means disabled) and a policy is loaded: without a policy, all tasks are labeled `kernel`. Modes
//! are 1 for enforcing, 0 for permissive, -1 for disabled or where the file cannot be read.

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
    /// Whether the tree is the running kernel's; in a copied tree, the file `enforce` stands for a
    /// mounted selinuxfs.
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
            let current = match self.enforce.decimal() {
                Err(error @ Error::Parse { .. }) => return Err(error),
                read => read.unwrap_or(DISABLED),
            };
            out.put(&CURRENT_MODE, [], current);
        }
        Ok(())
    }
}

/// The mode where `SELinux` is disabled or its mode cannot be read.
const DISABLED: f64 = -1.0;

impl SeLinux {
    fn is_enabled(&mut self) -> bool {
        if !self.is_running {
            return self.enforce.bytes().is_ok();
        }
        is_writable_selinuxfs(&self.mount)
            && !self.label.read().is_ok_and(|label| label.trim_end_matches('\0') == "kernel")
    }

    fn configured(&mut self) -> f64 {
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

/// The mode that `/etc/selinux/config` sets; of two settings, the first counts.
fn configured(text: &str) -> f64 {
    let mode = text.lines().find_map(|line| line.trim().strip_prefix("SELINUX="));
    match mode.map(|mode| mode.trim_matches('"')) {
        Some("enforcing") => 1.0,
        Some("permissive") => 0.0,
        _ => DISABLED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;

    #[test]
    fn a_machine_without_selinux_has_one_series() {
        let (text, result) = Machine::new().collect(&SPEC, &[]);
        assert!(text.ends_with("\nnode_selinux_enabled 0\n") && result.is_ok());
        assert_eq!(text.lines().count(), 3);
        assert!(!is_writable_selinuxfs(Path::new("/proc")));
    }

    #[test]
    fn a_mode_that_is_malformed_is_left_out() {
        let machine = Machine::new().with("sys/fs/selinux/enforce", "x");
        let (text, result) = machine.collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("selinux/enforce: bad number: \"x\""), "{error}");
        for line in ["config_mode -1", "enabled 1"] {
            assert!(text.contains(&format!("\nnode_selinux_{line}\n")), "{text}");
        }
        assert!(!text.contains("current_mode"), "{text}");
    }

    #[test]
    fn configurations() {
        let is = |text: &str, mode: f64| configured(text).total_cmp(&mode).is_eq();
        assert!(is("# SELINUX=enforcing\nSELINUXTYPE=mls\nSELINUX=\"permissive\"\n", 0.0));
        assert!(is(" SELINUX=enforcing \nSELINUX=permissive\n", 1.0));
        assert!(is("SELINUX=disabled", -1.0));
        assert!(is("SELINUX = enforcing", -1.0));
        assert!(is("", -1.0));
    }
}
