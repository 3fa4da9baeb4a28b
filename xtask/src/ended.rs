//! Programs that a task starts: those that it waits for, and those that end with it.

use anyhow::{Context as _, Result, ensure};
use nix::sys::{prctl::set_pdeathsig, signal::Signal};
use std::{
    net::TcpListener,
    ops::{Deref, DerefMut},
    os::unix::process::CommandExt as _,
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

/// Has the kernel end a command's program where this thread ends without doing so, killed perhaps.
#[expect(unsafe_code, reason = "the program's process asks for it before the program begins")]
pub(crate) fn ends_along(command: &mut Command) -> &mut Command {
    // SAFETY: one system call, which takes no lock.
    unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) }
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
