//! The turn of a task that changes or measures the tables of neighbours, which are one for all
//! namespaces: no test that does so runs meanwhile on this machine.

use anyhow::{Context as _, Result};
use std::fs::File;

/// Waits for the turn, which ends with the file: the lock of `tests::namespace::Turn`.
pub(crate) fn take() -> Result<File> {
    let path = std::env::temp_dir().join("bpf_node_exporter-live-tests");
    let file = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| path.display().to_string())?;
    file.lock().with_context(|| path.display().to_string())?;
    Ok(file)
}
