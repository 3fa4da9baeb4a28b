//! `cargo xtask targets`: type-checks the exporter for the processors of docs/processors.md.
//!
//! Nothing is linked and no C is compiled, so that no other toolchain is needed: the build script of
//! AWS-LC is replaced by the settings that it would print. The standard library is checked along,
//! from its sources, where it is not installed for a target.
#![expect(clippy::disallowed_methods, reason = "runs the compiler, reads the project")]
#![expect(clippy::print_stdout, reason = "the task's output")]

use crate::ended::output;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

/// The table of targets, which `tests/tests/processors.rs` holds to the code.
const PAGE: &str = "docs/processors.md";

/// The packages that are installed on other machines.
const PACKAGES: [&str; 2] = ["bpf_node_exporter", "exporter-common"];

/// Checks the targets that are named, or all but this machine's own, which every other task builds.
pub(crate) fn run(names: &[&str]) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no project")?;
    let page = fs::read_to_string(root.join(PAGE)).context(PAGE)?;
    let all = rows(&page);
    ensure!(!all.is_empty(), "{PAGE} has no table of targets");
    for name in names {
        ensure!(all.iter().any(|(target, _)| target == name), "{name} is no target of {PAGE}");
    }
    let checker = Checker::new(root)?;
    let own = output(Command::new("rustc").args(["--print", "host-tuple"]))?;
    let mut failed = Vec::new();
    println!("{}", page.lines().find(|line| line.starts_with("| target")).unwrap_or_default());
    for (target, row) in all {
        if !names.is_empty() && !names.contains(&target) {
            continue;
        }
        let began = Instant::now();
        if target == own.trim() {
            println!("{row} is this machine's own");
            continue;
        }
        let is_good = checker.check(target)?;
        let word = if is_good { "builds" } else { "does not build" };
        println!("{row} {word} ({} s)", began.elapsed().as_secs());
        if !is_good {
            failed.push(target);
        }
    }
    ensure!(failed.is_empty(), "{} cannot be built", failed.join(", "));
    Ok(())
}

/// The targets of the page's table, each with its row.
fn rows(page: &str) -> Vec<(&str, &str)> {
    page.lines()
        .filter_map(|row| Some((row.strip_prefix("| `")?.split_once('`')?.0, row)))
        .collect()
}

struct Checker<'a> {
    root: &'a Path,
    /// The folder of the toolchain's libraries.
    library: PathBuf,
    /// The name in `links` of the package with AWS-LC, and the folder of its bindings.
    crypto: (String, PathBuf),
}

impl<'a> Checker<'a> {
    fn new(root: &'a Path) -> Result<Self> {
        let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(root).args(["metadata", "--locked", "--format-version=1"]);
        let metadata: Value = serde_json::from_str(&output(&mut cargo)?)?;
        let packages = metadata.get("packages").and_then(Value::as_array);
        let crypto = packages.into_iter().flatten().find_map(|package| {
            let text = |key| package.get(key).and_then(Value::as_str);
            let folder = Path::new(text("manifest_path")?).parent()?.join("src");
            (text("name") == Some("aws-lc-sys")).then_some((text("links")?.to_owned(), folder))
        });
        Ok(Self {
            root,
            library: Path::new(sysroot.trim()).join("lib/rustlib"),
            crypto: crypto.context("the exporter uses no aws-lc-sys")?,
        })
    }

    /// Whether the packages are free of errors for a target; cargo says which there are.
    fn check(&self, target: &str) -> Result<bool> {
        let (links, bindings) = &self.crypto;
        let own = target.replace('-', "_");
        let has_own = bindings.join(format!("{own}_crypto.rs")).exists();
        let cfg = if has_own { &own } else { "universal" };
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .current_dir(self.root)
            .args(["check", "--locked", "--quiet", "--target", target, "--target-dir"])
            .arg(self.root.join("target/targets"))
            .args(PACKAGES.iter().flat_map(|package| ["--package", package]))
            .args(["--config", &format!("target.{target}.{links}.rustc-cfg=['{cfg}']")])
            .args(["--config", &format!("target.{target}.{links}.include=''")]);
        if !self.library.join(target).join("lib").is_dir() {
            ensure!(
                self.library.join("src/rust/library").is_dir(),
                "no standard library of {target}, and no sources of it: rustup component add rust-src"
            );
            cargo.env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=std,panic_unwind");
        }
        Ok(cargo.status().context("cargo")?.success())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_the_rows_of_the_table() {
        let page =
            "# Processors\n\n| target | arp |\n|---|---|\n| `a-b` | x |\n| `c` | – |\n\n| d |\n";
        assert_eq!(rows(page), [("a-b", "| `a-b` | x |"), ("c", "| `c` | – |")]);
    }
}
