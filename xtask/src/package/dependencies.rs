//! The packages of others that a program is made of.

use super::{Processor, Release, output};
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A package of others.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) version: String,
    /// An expression of SPDX.
    pub(super) license: String,
    /// A name for programs, of the scheme "purl".
    pub(super) url: String,
    /// Its sources, where they are unpacked on this machine.
    pub(super) folder: Option<PathBuf>,
    /// The SHA-256 of its archive in the registry.
    pub(super) checksum: Option<String>,
    /// The parts that it uses, by their URLs.
    pub(super) uses: Vec<String>,
}

/// The parts of the program for a processor and of the programs for the kernel in it, by name.
pub(super) fn of(release: &Release, processor: Processor) -> Result<Vec<Part>> {
    let root = &release.root;
    let mut used = BTreeSet::new();
    let target = format!("{}-unknown-linux-gnu", processor.name());
    for (package, target) in
        [("bpf_node_exporter", &*target), ("exporter-ebpf", "bpfel-unknown-none")]
    {
        let tree = output(
            cargo(root).args(["tree", "--locked", "--prefix=none", "--format={p}"]).args([
                "--edges=normal,no-proc-macro",
                "--package",
                package,
                "--target",
                target,
            ]),
        )?;
        used.extend(tree.lines().filter_map(|line| {
            let (name, rest) = line.split_once(" v")?;
            Some(format!("{name}@{}", rest.split(' ').next()?))
        }));
    }
    let metadata = metadata(root)?;
    let checksums = checksums(&fs::read_to_string(root.join("Cargo.lock"))?);
    let mut graph = graph(&metadata);
    let mut parts = Vec::new();
    for package in list(&metadata, "packages") {
        let text = |key: &str| package.get(key).and_then(Value::as_str);
        let (Some(name), Some(version), Some(_), Some(id)) =
            (text("name"), text("version"), text("source"), text("id"))
        else {
            continue; // the project's own have no source
        };
        let key = format!("{name}@{version}");
        if !used.contains(&key) {
            continue;
        }
        let license = text("license").with_context(|| format!("{key} names no licence"))?;
        parts.push(Part {
            url: format!("pkg:cargo/{key}"),
            license: license.replace('/', " OR "),
            folder: text("manifest_path").and_then(|path| Path::new(path).parent()).map(Into::into),
            checksum: checksums.get(&key).cloned(),
            uses: (graph.remove(id).unwrap_or_default().into_iter())
                .filter(|key| used.contains(key))
                .map(|key| format!("pkg:cargo/{key}"))
                .collect(),
            name: name.to_owned(),
            version: version.to_owned(),
        });
    }
    parts.extend(toolchain(processor)?);
    parts.sort_by(|a, b| a.url.cmp(&b.url));
    let there: BTreeSet<String> = parts.iter().map(|part| part.url.clone()).collect();
    for part in &mut parts {
        part.uses.retain(|url| there.contains(url));
        part.uses.sort();
    }
    Ok(parts)
}

/// The parts that come with the compilers.
fn toolchain(processor: Processor) -> Result<[Part; 3]> {
    let part = |name: &str, version: &str, license: &str| Part {
        name: name.into(),
        version: version.into(),
        license: license.into(),
        url: format!("pkg:generic/{name}@{version}"),
        folder: None,
        checksum: None,
        uses: Vec::new(),
    };
    let rust = output(Command::new("rustc").arg("-vV"))?;
    let rust = rust.lines().find_map(|line| line.strip_prefix("release: ")).unwrap_or_default();
    let gcc = if processor == Processor::own()? {
        "gcc".into()
    } else {
        format!("{}-linux-gnu-gcc", processor.name())
    };
    let defined = output(Command::new(&gcc).args([
        "-E",
        "-dM",
        "-include",
        "features.h",
        "-xc",
        "/dev/null",
    ]))?;
    let number = |name: &str| {
        let line =
            defined.lines().find_map(|line| line.strip_prefix("#define ")?.strip_prefix(name));
        line.map(str::trim).with_context(|| format!("{gcc} does not define {name}"))
    };
    let glibc = format!("{}.{}", number("__GLIBC__ ")?, number("__GLIBC_MINOR__ ")?);
    Ok([
        part("rust-std", rust, "MIT OR Apache-2.0"),
        part("glibc", &glibc, "LGPL-2.1-or-later"),
        part("libgcc", number("__GNUC__ ")?, "GPL-3.0-or-later WITH GCC-exception-3.1"),
    ])
}

/// The folders into which the registries' packages are unpacked on this machine, and the folder of
/// built files.
pub(super) fn folders(root: &Path) -> Result<(BTreeSet<PathBuf>, PathBuf)> {
    let metadata = metadata(root)?;
    let registries = (list(&metadata, "packages"))
        .filter(|package| package.get("source").is_some_and(Value::is_string))
        .filter_map(|package| Path::new(package.get("manifest_path")?.as_str()?).ancestors().nth(2))
        .map(Into::into)
        .collect();
    let target = metadata.get("target_directory").and_then(Value::as_str);
    Ok((registries, target.context("cargo names no target_directory")?.into()))
}

fn metadata(root: &Path) -> Result<Value> {
    let text = output(cargo(root).args(["metadata", "--locked", "--format-version=1"]))?;
    Ok(serde_json::from_str(&text)?)
}

fn cargo(root: &Path) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root);
    cargo
}

/// The packages that a package uses, by its number.
fn graph(metadata: &Value) -> BTreeMap<&str, Vec<String>> {
    let names: BTreeMap<&str, String> = list(metadata, "packages")
        .filter_map(|package| {
            let text = |key: &str| package.get(key)?.as_str();
            Some((text("id")?, format!("{}@{}", text("name")?, text("version")?)))
        })
        .collect();
    (list(metadata.get("resolve").unwrap_or(&Value::Null), "nodes"))
        .filter_map(|node| {
            let uses = list(node, "dependencies").filter_map(|id| names.get(id.as_str()?).cloned());
            Some((node.get("id")?.as_str()?, uses.collect()))
        })
        .collect()
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// The checksums in `Cargo.lock`, by name and version.
fn checksums(lock: &str) -> BTreeMap<String, String> {
    lock.split("\n\n")
        .filter_map(|package| {
            let value = |key: &str| {
                package
                    .lines()
                    .find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "))
                    .map(|text| text.trim_matches('"'))
            };
            Some((
                format!("{}@{}", value("name")?, value("version")?),
                value("checksum")?.to_owned(),
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_found_by_name_and_version() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.2.3\"\nchecksum = \"ff\"\n\n\
                    [[package]]\nname = \"ours\"\nversion = \"0.1.0\"\n";
        let all: Vec<_> = checksums(lock).into_iter().collect();
        assert_eq!(all, [("a@1.2.3".to_owned(), "ff".to_owned())]);
    }
}
