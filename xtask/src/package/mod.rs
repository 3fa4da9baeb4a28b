//! `cargo xtask package`: the archives, packages and images of a release.
//!
//! Everything is made of one static program for each processor, in one step from a clean tree, and
//! has the same bytes each time: times are that of the commit, the order is fixed, and nothing of
//! the machine that builds is told (`program.rs`).

#![expect(clippy::disallowed_methods, reason = "runs cargo, reads the project")]
#![expect(clippy::print_stdout, reason = "the task's output")]

mod contents;
mod deb;
mod dependencies;
mod image;
mod licences;
mod program;
mod rpm;
mod sbom;
mod tar;

use crate::{ended::output, sources};
use anyhow::{Context as _, Result, bail, ensure};
use contents::Contents;
use jiff::{Timestamp, Zoned, tz::TimeZone};
use program::Manual;
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

const USAGE: &str = "\
usage: cargo xtask package [--out FOLDER] [x86_64 | aarch64]…
  makes archives, packages, images, lists of parts and checksums in FOLDER (target/package), for this
  machine's processor where none is named. Times in them are SOURCE_DATE_EPOCH, or the commit's.
  Another processor takes its C compiler, and its standard library or the component rust-src.";

/// The name of the packages; Debian's have no underscores.
const NAME: &str = "bpf-node-exporter";
const SUMMARY: &str = "Prometheus exporter for machine metrics, with eBPF";
const DESCRIPTION: &str = "\
Drop-in replacement for Prometheus node_exporter on Linux: the same flags,
metrics and HTTP. Neighbours, tasks and processor times are counted by eBPF
programs in the kernel where that is allowed, and else read over netlink and
from /proc.";

/// A processor that is released for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Processor {
    X86,
    Arm,
}

impl Processor {
    const ALL: [Self; 2] = [Self::X86, Self::Arm];

    /// The name that the kernel, Rust and RPM have for it.
    const fn name(self) -> &'static str {
        match self {
            Self::X86 => "x86_64",
            Self::Arm => "aarch64",
        }
    }

    /// The name that Debian, Go and OCI have for it.
    const fn short(self) -> &'static str {
        match self {
            Self::X86 => "amd64",
            Self::Arm => "arm64",
        }
    }

    fn own() -> Result<Self> {
        let own = std::env::consts::ARCH;
        Self::named(own).with_context(|| format!("{own}: nothing is released for it\n{USAGE}"))
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|processor| processor.name() == name)
    }
}

/// The project at one commit.
struct Release {
    root: PathBuf,
    version: &'static str,
    /// A name and an address: `authors` of Cargo.toml, or the commit's author.
    maintainer: String,
    /// Seconds since 1970: the time of everything in the packages.
    epoch: u64,
}

pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no project")?.to_owned();
    let (mut out, mut processors) = (root.join("target/package"), Vec::new());
    let mut rest = arguments.iter();
    while let Some(&argument) = rest.next() {
        match (argument, Processor::named(argument)) {
            ("--out", _) => out = rest.next().context(USAGE)?.into(),
            (_, Some(processor)) => processors.push(processor),
            (_, None) => bail!("{USAGE}"),
        }
    }
    let own = Processor::own()?;
    if processors.is_empty() {
        processors.push(own);
    }
    let release = Release {
        epoch: epoch(&root)?,
        maintainer: maintainer(&root, env!("CARGO_PKG_AUTHORS"))?,
        version: env!("CARGO_PKG_VERSION"),
        root,
    };
    let began = Instant::now();
    // The program tells its flags itself, and can do so on this machine's processor alone.
    let manual = Manual::of(&program::build(&release, own)?)?;
    let mut files = Vec::new();
    for &processor in &processors {
        files.extend(release.files(processor, manual.clone())?);
    }
    files.sort();
    if out.exists() {
        fs::remove_dir_all(&out).with_context(|| out.display().to_string())?;
    }
    fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
    let mut sums = String::new();
    for (name, content) in &files {
        fs::write(out.join(name), content).with_context(|| name.clone())?;
        let _ = writeln!(sums, "{}  {name}", sources::hash_bytes(content));
    }
    fs::write(out.join("sha256sums.txt"), &sums)?;
    print!("{sums}");
    println!("{} files in {}, {} s", files.len(), out.display(), began.elapsed().as_secs());
    for missing in Processor::ALL.into_iter().filter(|processor| !processors.contains(processor)) {
        println!("nothing for {}: it was not asked for", missing.name());
    }
    Ok(())
}

impl Release {
    /// The files for a processor, by name.
    fn files(&self, processor: Processor, manual: Manual) -> Result<Vec<(String, Vec<u8>)>> {
        let program = fs::read(program::build(self, processor)?)?;
        let parts = dependencies::of(self, processor)?;
        let sbom = sbom::json(self, processor, &parts)?;
        let contents = Contents::new(self, program, manual, licences::text(&parts)?, sbom)?;
        let (version, name, short) = (self.version, processor.name(), processor.short());
        let base = format!("bpf_node_exporter-{version}.linux-{short}");
        Ok(vec![
            (format!("{NAME}_{version}_{short}.deb"), deb::package(self, processor, &contents)?),
            (format!("{NAME}-{version}-1.{name}.rpm"), rpm::package(self, processor, &contents)?),
            (format!("{base}.tar.gz"), tar::release(self, &base, &contents)?),
            (format!("{base}.oci.tar"), image::layout(self, processor, &contents)?),
            (format!("{base}.cdx.json"), contents.sbom),
        ])
    }

    /// The time of everything in the packages.
    fn time(&self) -> Result<Zoned> {
        Ok(Timestamp::from_second(i64::try_from(self.epoch)?)?.to_zoned(TimeZone::UTC))
    }
}

/// `SOURCE_DATE_EPOCH`, or the time of the commit.
fn epoch(root: &Path) -> Result<u64> {
    if let Ok(given) = std::env::var("SOURCE_DATE_EPOCH") {
        return given.parse().with_context(|| format!("SOURCE_DATE_EPOCH={given}"));
    }
    commit(root, "%ct")
        .and_then(|time| Ok(time.trim().parse()?))
        .context("neither SOURCE_DATE_EPOCH nor a commit tells the time of the packages")
}

/// The name and address of the packages: the first of the authors, or that of the commit. All
/// clones have the same.
fn maintainer(root: &Path, authors: &str) -> Result<String> {
    let text = match authors.split(':').next() {
        None | Some("") => commit(root, "%an <%ae>")
            .context("neither authors in Cargo.toml nor a commit names a maintainer")?,
        Some(first) => first.to_owned(),
    };
    let text = text.trim();
    let address = text.strip_suffix('>').and_then(|text| text.split_once(" <"));
    let is_whole = address.is_some_and(|(name, address)| {
        !name.is_empty()
            && !name.contains(['<', '\n'])
            && address.contains('@')
            && !address.contains([' ', '>'])
    });
    ensure!(
        is_whole,
        "{text}: no maintainer of the form NAME <USER@HOST>: see authors in Cargo.toml"
    );
    Ok(text.to_owned())
}

/// A property of the commit that is packaged.
fn commit(root: &Path, format: &str) -> Result<String> {
    let format = format!("--format={format}");
    output(Command::new("git").current_dir(root).args(["log", "-1", &format]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_maintainer_is_the_first_author_or_the_commits() {
        let of = |authors| maintainer(Path::new(env!("CARGO_MANIFEST_DIR")), authors);
        assert_eq!(of("A B <a@b.org>:C <c@d.org>").unwrap(), "A B <a@b.org>");
        for wrong in ["A B", "<a@b.org>", "A <a>", "A <a@b.org> <c@d.org>"] {
            let error = of(wrong).unwrap_err().to_string();
            assert!(error.starts_with(wrong) && error.contains("authors"), "{error}");
        }
        let repository = tempfile::tempdir().unwrap();
        let git = |arguments: &[&str]| {
            let mut git = Command::new("git");
            git.current_dir(&repository).env("HOME", repository.path()).args(arguments);
            output(git.args(["--quiet"])).unwrap();
        };
        git(&["init"]);
        let commit = ["commit", "--allow-empty", "--message=x", "--no-gpg-sign"];
        git(&[&["-c", "user.name=D E", "-c", "user.email=d@e.org"], &commit[..]].concat());
        assert_eq!(maintainer(repository.path(), "").unwrap(), "D E <d@e.org>");
    }
}
