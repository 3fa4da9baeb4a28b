//! Builds the programs that run in the kernel: `exporter-ebpf/prebuilt/`.
//!
//! They are built by the stable compiler for a target that it does not ship, so `core` is built
//! along (`-Z build-std`), which stable allows where `RUSTC_BOOTSTRAP` is set. The same sources,
//! compiler and linker give the same bytes in any folder.
#![expect(clippy::disallowed_methods, reason = "runs the compiler, reads the project")]

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    ended::output,
    sources::{self, MANIFEST, PREBUILT},
};

/// The target for little-endian processors; the programs depend on no other property of the
/// processor.
const TARGET: &str = "bpfel-unknown-none";

/// The programs' own settings, lest the exporter's profile changes their bytes.
const PROFILE: [&str; 6] = [
    "profile.release.codegen-units=1",
    "profile.release.lto=\"fat\"",
    "profile.release.opt-level=3",
    "profile.release.overflow-checks=false",
    "profile.release.panic=\"abort\"",
    "profile.release.strip=\"none\"",
];

/// Builds the programs, or with `--check` compares those of a build with the committed ones.
pub(crate) fn run(options: &[&str]) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no project")?;
    let prebuilt = root.join(PREBUILT);
    match options {
        [] => {
            build(root, &prebuilt)?;
            for object in sources::objects(&prebuilt)? {
                say(&format!("{} {} bytes", object.display(), fs::metadata(&object)?.len()));
            }
            Ok(())
        }
        ["--check"] => {
            let fresh = root.join("target/ebpf/check");
            let _ = fs::remove_dir_all(&fresh);
            build(root, &fresh)?;
            compare(&fresh, &prebuilt)
        }
        _ => bail!("cargo xtask ebpf takes --check or nothing"),
    }
}

/// Builds every program into `folder`.
fn build(root: &Path, folder: &Path) -> Result<()> {
    let tools = Tools::find()?;
    let target = root.join("target/ebpf");
    let status = Command::new(env!("CARGO"))
        .current_dir(root)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", tools.flags(root)?.join("\x1f"))
        .args(["build", "--locked", "--quiet", "--release", "--package", "exporter-ebpf"])
        .args(["--bins", "--target", TARGET, "-Z", "build-std=core"])
        .arg("--target-dir")
        .arg(&target)
        .args(PROFILE.iter().flat_map(|setting| ["--config", setting]))
        .status()
        .context("cargo")?;
    ensure!(status.success(), "the programs cannot be built");

    fs::create_dir_all(folder)?;
    let built = target.join(TARGET).join("release");
    for source in fs::read_dir(root.join("exporter-ebpf/src/bin"))? {
        let name = source?.path().with_extension("");
        let name = name.file_name().context("a program without a name")?;
        let object = folder.join(name).with_extension("o");
        tools.strip(&built.join(name), &object)?;
    }
    fs::write(folder.join(MANIFEST), tools.manifest(root, folder)?)?;
    Ok(())
}

/// Compares the files of two folders; an error names the first that differs.
fn compare(fresh: &Path, prebuilt: &Path) -> Result<()> {
    let mut files = sources::objects(fresh)?;
    ensure!(
        files.len() == sources::objects(prebuilt)?.len(),
        "{}: these are not the programs of the sources",
        prebuilt.display()
    );
    files.push(fresh.join(MANIFEST));
    for file in files {
        let there = prebuilt.join(file.file_name().context("a file without a name")?);
        ensure!(
            fs::read(&file)? == fs::read(&there).with_context(|| there.display().to_string())?,
            "{} differs from a build of the sources: run `cargo xtask ebpf`",
            there.display()
        );
    }
    Ok(())
}

/// The tools that build the programs.
struct Tools {
    rustc: String,
    linker: String,
    sysroot: PathBuf,
    objcopy: PathBuf,
}

impl Tools {
    /// Finds the tools; an error names a missing tool and the command that installs it.
    fn find() -> Result<Self> {
        // A line, without its end.
        let said = |program, arguments: &[&str]| {
            output(Command::new(program).args(arguments)).map(|text| text.trim().to_owned())
        };
        let rustc = said("rustc", &["--version"])?;
        let sysroot = PathBuf::from(said("rustc", &["--print", "sysroot"])?);
        let host = said("rustc", &["--print", "host-tuple"])?;
        ensure!(
            sysroot.join("lib/rustlib/src/rust/library/core").is_dir(),
            "the sources of `core` are missing: rustup component add rust-src"
        );
        let linker = said("bpf-linker", &["--version"])
            .context("bpf-linker is missing: cargo install bpf-linker --version 0.10.3")?;
        let objcopy = sysroot.join("lib/rustlib").join(host).join("bin/rust-objcopy");
        ensure!(
            objcopy.is_file(),
            "{} is missing: rustup component add llvm-tools",
            objcopy.display()
        );
        Ok(Self { rustc, linker, sysroot, objcopy })
    }

    /// The compiler's flags: debug information for BTF, and no path of this machine in it.
    fn flags(&self, root: &Path) -> Result<Vec<String>> {
        let home = env::var_os("CARGO_HOME").map_or_else(
            || env::home_dir().context("no home folder").map(|home| home.join(".cargo")),
            |home| Ok(PathBuf::from(home)),
        )?;
        let remap = |from: &Path, to| format!("--remap-path-prefix={}={to}", from.display());
        let mut flags = vec![
            "-Cdebuginfo=2".to_owned(),
            "-Clink-arg=--btf".to_owned(),
            "--cfg=bpf_target_arch=\"x86_64\"".to_owned(),
            remap(root, "."),
            remap(&self.sysroot.join("lib/rustlib/src/rust"), "/rust"),
        ];
        // In this folder each registry has one of its own, whose name depends on its address.
        let registries = home.join("registry/src");
        for registry in fs::read_dir(&registries).into_iter().flatten() {
            flags.push(remap(&registry?.path(), "/registry"));
        }
        Ok(flags)
    }

    /// Copies a program without its DWARF; its BTF stays.
    fn strip(&self, from: &Path, to: &Path) -> Result<()> {
        let status = Command::new(&self.objcopy)
            .env("LD_LIBRARY_PATH", self.sysroot.join("lib"))
            .arg("--strip-debug")
            .args([from, to])
            .status()
            .with_context(|| self.objcopy.display().to_string())?;
        ensure!(status.success(), "{} cannot be stripped", from.display());
        Ok(())
    }

    /// Writes down the sources and the tools that the programs in `folder` were built with.
    fn manifest(&self, root: &Path, folder: &Path) -> Result<String> {
        let mut text = format!(
            "# Written by `cargo xtask ebpf`.\n\
             rustc = \"{}\"\n\
             linker = \"{}\"\n\
             sources = \"{}\"\n\n[objects]\n",
            self.rustc,
            self.linker,
            sources::hash(root)?
        );
        for object in sources::objects(folder)? {
            let name = object.file_stem().unwrap_or_default().display();
            writeln!(text, "{name} = \"{}\"", sources::hash_file(&object)?)?;
        }
        Ok(text)
    }
}

#[expect(clippy::print_stdout, reason = "the task's output")]
fn say(text: &str) {
    println!("{text}");
}
