//! A memory cgroup for a program that is measured: it counts the same memory as a limit does, that
//! is the process's pages, those of its children, and the memory that the kernel uses for them,
//! eBPF maps included.

#![expect(clippy::disallowed_methods, reason = "starts the programs it measures")]

use anyhow::{Context as _, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A cgroup, removed when dropped: all of its processes must have ended by then.
pub(crate) struct Cgroup {
    folder: PathBuf,
    charged: &'static str,
}

impl Cgroup {
    /// A cgroup of version 1 or 2 with a name of its own; `None` where none can be made.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let name = format!("bpf_node_exporter-{name}-{}", std::process::id());
        for (root, charged) in [
            ("/sys/fs/cgroup/memory", "memory.usage_in_bytes"),
            ("/sys/fs/cgroup", "memory.current"),
        ] {
            let folder = Path::new(root).join(&name);
            if fs::create_dir(&folder).is_ok() {
                let made = Self { folder, charged };
                if made.charged().is_ok() {
                    return Some(made);
                }
            }
        }
        None
    }

    /// A command that runs `program` in the cgroup, or outside where there is no cgroup.
    pub(crate) fn command(cgroup: Option<&Self>, program: &Path) -> Command {
        let Some(Self { folder, .. }) = cgroup else { return Command::new(program) };
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "echo $$ > \"$0\" && exec \"$@\""])
            .arg(folder.join("cgroup.procs"))
            .arg(program);
        shell
    }

    /// The memory charged to the cgroup, in MiB.
    pub(crate) fn charged(&self) -> Result<f64> {
        let path = self.folder.join(self.charged);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(text.trim().parse::<f64>()? / f64::from(1 << 20))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel lets go of the last process a moment after its end.
        for _ in 0..50 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
