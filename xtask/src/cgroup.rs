//! A memory cgroup for a program that is measured: it counts the same memory as a limit does, that
//! is the process's pages, those of its children, and the memory that the kernel uses for them,
//! eBPF maps included.

#![expect(clippy::disallowed_methods, reason = "starts the programs it measures")]

use anyhow::{Context as _, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

/// A cgroup, removed when dropped: all of its processes must have ended by then.
pub(crate) struct Cgroup {
    folder: PathBuf,
    /// The file with the memory that is charged.
    charged: &'static str,
    /// The file that asks the kernel to take back all memory it can, and the text for the file.
    reclaim: (&'static str, &'static str),
}

impl Cgroup {
    /// A cgroup of version 1 or 2 with a name of its own; `None` where none can be made.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let name = format!("bpf_node_exporter-{name}-{}", std::process::id());
        for (root, charged, reclaim) in [
            ("/sys/fs/cgroup/memory", "memory.usage_in_bytes", ("memory.force_empty", "0")),
            ("/sys/fs/cgroup", "memory.current", ("memory.reclaim", "1G")),
        ] {
            let folder = Path::new(root).join(&name);
            if fs::create_dir(&folder).is_ok() {
                let made = Self { folder, charged, reclaim };
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

    /// The memory that stays charged to the cgroup once the kernel has taken back as much as it can,
    /// in MiB. The kernel can take back pages of files, and the names and inodes that were looked up
    /// below /proc and /sys, which it otherwise keeps until memory is short, also after their
    /// interfaces and processes are gone.
    pub(crate) fn held(&self) -> Result<f64> {
        self.reclaim();
        self.reclaim();
        self.charged()
    }

    /// Has the kernel take back as much as it can.
    pub(crate) fn reclaim(&self) {
        let (file, text) = self.reclaim;
        // Fails where there is less to take back.
        let _ = fs::write(self.folder.join(file), text);
        // Inodes are freed once all processors have passed a quiet state.
        thread::sleep(Duration::from_millis(100));
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
            thread::sleep(Duration::from_millis(20));
        }
    }
}
