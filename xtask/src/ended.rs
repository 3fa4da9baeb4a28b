//! Programs that a task starts: those that it waits for, and those that end with it.

use anyhow::{Context as _, Result, ensure};
use std::{
    net::TcpListener,
    ops::{Deref, DerefMut},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

/// The output of a program that succeeds.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().display().to_string();
    let output = command.output().context(name.clone())?;
    ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    String::from_utf8(output.stdout).context(name)
}

/// The program that a `cargo build` makes.
pub(crate) fn built(cargo: &mut Command) -> Result<PathBuf> {
    let output = cargo
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .context("cargo")?;
    ensure!(output.status.success(), "cargo: {}", output.status);
    (serde_json::Deserializer::from_slice(&output.stdout).into_iter::<serde_json::Value>())
        .filter_map(|message| Some(message.ok()?.get("executable")?.as_str()?.into()))
        .last()
        .context("cargo names no executable")
}

/// A program that is ended when dropped.
pub(crate) struct Ended(pub(crate) Child);

impl Deref for Ended {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Ended {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that nobody listens on at this moment.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
