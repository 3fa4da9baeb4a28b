//! The sources of the prebuilt programs, as one number.
//!
//! Shared with `tests/tests/prebuilt.rs`, which must run without the toolchain for the kernel side.
#![expect(clippy::disallowed_methods, reason = "reads the project, not the machine")]

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

/// The folders of the kernel side, relative to the root of the project.
const FOLDERS: [&str; 2] = ["exporter-common", "exporter-ebpf"];

/// The folder of the built programs, relative to the root of the project.
pub(crate) const PREBUILT: &str = "exporter-ebpf/prebuilt";

/// The file in that folder that names the sources and the tools of the build.
pub(crate) const MANIFEST: &str = "manifest.toml";

/// Packages of others that end up in the programs: the beginnings of their names.
const PACKAGES: [&str; 2] = ["aya-ebpf", "bytemuck"];

/// The hash of everything the programs are built from.
pub(crate) fn hash(root: &Path) -> io::Result<String> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        files.push(root.join(folder).join("Cargo.toml"));
        list(&root.join(folder).join("src"), &mut files)?;
    }
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let text = fs::read(&file)?;
        // The length keeps the end of one file from being the start of the next.
        let name = file.strip_prefix(root).unwrap_or(&file).display();
        hash.update(format!("{name}\n{}\n", text.len()));
        hash.update(text);
    }
    let lock = fs::read_to_string(root.join("Cargo.lock"))?;
    lock.split("\n\n").filter(|package| is_ours(package)).for_each(|package| hash.update(package));
    Ok(hexadecimal(&hash.finalize()))
}

/// Whether a part of `Cargo.lock` is about a package that ends up in the programs.
fn is_ours(package: &str) -> bool {
    let name = package.trim_start().strip_prefix("[[package]]\nname = \"").unwrap_or_default();
    PACKAGES.iter().any(|ours| name.starts_with(ours))
}

/// The hash of a file.
pub(crate) fn hash_file(file: &Path) -> io::Result<String> {
    fs::read(file).map(|bytes| hash_bytes(&bytes))
}

/// The hash of bytes.
pub(crate) fn hash_bytes(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// The built programs in a folder, sorted.
pub(crate) fn objects(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    list(folder, &mut files)?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "o"));
    files.sort();
    Ok(files)
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { list(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
