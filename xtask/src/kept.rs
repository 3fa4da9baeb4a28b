//! Settings of the kernel that a task changes, and puts back at its end.

#![expect(clippy::disallowed_methods, reason = "reads and writes the running kernel's files")]
#![expect(clippy::print_stdout, reason = "tells of a setting that is not put back")]

use anyhow::{Context as _, Result};
use std::fs;

/// The switch of the kernel's statistics of programs.
pub(crate) const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Settings of the kernel, put back when dropped.
pub(crate) struct Kept(Vec<(String, String)>);

impl Kept {
    /// Sets the thresholds 1 to 3 of both tables of neighbours.
    pub(crate) fn thresholds(values: [u32; 3]) -> Result<Self> {
        let mut kept = Self(Vec::new());
        for version in ["ipv4", "ipv6"] {
            // The highest threshold comes first, so that no table is over a threshold in between.
            for (level, value) in [3, 2, 1].into_iter().zip(values.into_iter().rev()) {
                let path = format!("/proc/sys/net/{version}/neigh/default/gc_thresh{level}");
                kept.set(&path, &value.to_string())?;
            }
        }
        Ok(kept)
    }

    pub(crate) fn set(&mut self, path: &str, value: &str) -> Result<()> {
        let before = fs::read_to_string(path).with_context(|| path.to_owned())?;
        fs::write(path, value).with_context(|| path.to_owned())?;
        self.0.push((path.to_owned(), before));
        Ok(())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        for (path, before) in &self.0 {
            if let Err(error) = fs::write(path, before) {
                println!("{path} is not put back to {before}: {error}");
            }
        }
    }
}
