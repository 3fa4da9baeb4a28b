//! The static program of a processor.
//!
//! `+crt-static` links glibc into the program for a target that Rust's toolchain has anyway. The
//! names of this machine's folders are replaced, so that another folder, another `CARGO_HOME` or
//! the component rust-src make no other bytes; another compiler, linker or glibc may.

use super::{Processor, Release, dependencies, output};
use crate::ended::built;
use anyhow::{Context as _, Result, ensure};
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

const PACKAGE: &str = "bpf_node_exporter";

/// Builds the program and returns its path.
pub(super) fn build(release: &Release, processor: Processor) -> Result<PathBuf> {
    let root = &release.root;
    let target = format!("{}-unknown-linux-gnu", processor.name());
    let compiler = Compiler::new()?;
    let is_own = processor == Processor::own()?;
    let linker = if is_own { "cc".into() } else { format!("{}-linux-gnu-gcc", processor.name()) };
    Command::new(&linker).arg("--version").output().with_context(|| {
        format!("{linker} is missing: apt-get install gcc-{}-linux-gnu", processor.name())
    })?;
    let [mut rust_flags, c_flags] = flags(root, &compiler)?;
    rust_flags.extend(movable(processor, &linker)?);
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(root)
        .args(["build", "--profile=dist", "--locked"])
        .args(["--package", PACKAGE, "--target", &target])
        .env("SOURCE_DATE_EPOCH", release.epoch.to_string())
        .env("CARGO_ENCODED_RUSTFLAGS", rust_flags.join("\u{1f}"))
        .env(format!("CFLAGS_{}", target.replace('-', "_")), c_flags.join(" "));
    if !is_own {
        let name = target.replace('-', "_").to_uppercase();
        cargo.env(format!("CARGO_TARGET_{name}_LINKER"), linker);
    }
    if !compiler.has_library_of(&target) {
        ensure!(
            compiler.has_sources(),
            "no standard library of {target}, and no sources of it: rustup target add {target}, \
             or rustup component add rust-src"
        );
        cargo.env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=std,panic_unwind");
    }
    built(&mut cargo).with_context(|| format!("the program for {target}"))
}

/// The flags for Rust and for C: static, and without the names of this machine's folders.
fn flags(root: &Path, compiler: &Compiler) -> Result<[Vec<String>; 2]> {
    let (registries, built) = dependencies::folders(root)?;
    let mut folders = vec![(root.to_owned(), "/build".to_owned())];
    if !built.starts_with(root) {
        folders.push((built, "/build/target".into()));
    }
    folders.extend(registries.into_iter().map(|registry| (registry, "/crates".into())));
    let map = |flag, folders: &[(PathBuf, String)]| -> Vec<String> {
        folders.iter().map(|(from, to)| format!("{flag}={}={to}", from.display())).collect()
    };
    let c = map("-ffile-prefix-map", &folders);
    folders.push(compiler.sources());
    let mut rust = vec!["-C".to_owned(), "target-feature=+crt-static".to_owned()];
    rust.extend(map("--remap-path-prefix", &folders));
    Ok([rust, c])
}

/// The flags for a program that the kernel loads at other addresses each time. Rust links a static
/// program so for `x86_64` alone; for `aarch64` gcc is told, with the files that such a program
/// begins and ends with.
fn movable(processor: Processor, linker: &str) -> Result<Vec<String>> {
    if processor == Processor::X86 {
        return Ok(Vec::new());
    }
    let mut arguments = vec!["-static-pie".to_owned(), "-nostartfiles".to_owned()];
    for file in ["rcrt1.o", "crti.o", "crtbeginS.o", "crtendS.o", "crtn.o"] {
        let path = output(Command::new(linker).arg(format!("-print-file-name={file}")))?;
        arguments.push(path.trim().to_owned());
    }
    Ok(arguments.into_iter().map(|argument| format!("-Clink-arg={argument}")).collect())
}

/// The Rust compiler of this machine.
struct Compiler {
    library: PathBuf,
    commit: String,
}

impl Compiler {
    fn new() -> Result<Self> {
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let root = output(Command::new(&rustc).args(["--print", "sysroot"]))?;
        let version = output(Command::new(&rustc).arg("-vV"))?;
        let commit = version.lines().find_map(|line| line.strip_prefix("commit-hash: "));
        Ok(Self {
            library: Path::new(root.trim()).join("lib/rustlib"),
            commit: commit.unwrap_or("unknown").to_owned(),
        })
    }

    fn has_library_of(&self, target: &str) -> bool {
        self.library.join(target).join("lib").is_dir()
    }

    fn has_sources(&self) -> bool {
        self.library.join("src/rust/library").is_dir()
    }

    /// The folder of the standard library's sources, where they are installed, and its name in
    /// programs built without them.
    fn sources(&self) -> (PathBuf, String) {
        (self.library.join("src/rust"), format!("/rustc/{}", self.commit))
    }
}

/// The texts that the program prints about itself.
#[derive(Clone)]
pub(super) struct Manual {
    /// The page in the language of man(7).
    pub(super) page: String,
    /// The completion script for bash.
    pub(super) bash: String,
    /// The completion script for zsh.
    pub(super) zsh: String,
}

impl Manual {
    /// Asks a program of this machine's own processor.
    pub(super) fn of(program: &Path) -> Result<Self> {
        let printed = |flag| output(Command::new(program).arg(flag));
        Ok(Self {
            page: printed("--help-man")?,
            bash: printed("--completion-script-bash")?,
            zsh: printed("--completion-script-zsh")?,
        })
    }
}
