//! The licences of everything that a program is made of, as one text.

use super::dependencies::Part;
use anyhow::{Context as _, Result, ensure};
use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

const HEAD: &str = "\
bpf_node_exporter is under the Apache License 2.0, its programs for the kernel are under MIT or GPL-2.0.
It contains the packages below. Their sources, and those of bpf_node_exporter, are free: the program
can be built again with another version of any of them, the GNU C Library included.

";

/// The beginnings of the names of files that a package must be given on with.
const FILES: [&str; 6] = ["LICEN", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE", "AUTHORS"];

/// The parts with their licences, and each text once.
pub(super) fn text(parts: &[Part]) -> Result<String> {
    let (mut all, mut texts) = (HEAD.to_owned(), BTreeMap::<String, Vec<String>>::new());
    for part in parts {
        let name = format!("{} {}", part.name, part.version);
        let _ = writeln!(all, "{name}: {}", part.license);
        let mut own = part.folder.as_deref().map_or_else(|| Ok(Vec::new()), files)?;
        if own.is_empty() {
            own = standard(&part.license).with_context(|| name.clone())?;
        }
        for text in own {
            texts.entry(text).or_default().push(name.clone());
        }
    }
    for (text, names) in texts {
        let _ = write!(all, "\n{:=<80}\n{}\n\n{}\n", "", names.join(", "), text.trim_end());
    }
    Ok(all)
}

/// The texts of a package's own files.
fn files(folder: &Path) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        if FILES.iter().any(|file| name.starts_with(file)) && entry.file_type()?.is_file() {
            texts.push(String::from_utf8_lossy(&fs::read(entry.path())?).into_owned());
        }
    }
    texts.sort();
    Ok(texts)
}

/// The standard texts of the licences of an expression.
fn standard(expression: &str) -> Result<Vec<String>> {
    let expression =
        spdx::Expression::parse(expression).map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut texts = Vec::new();
    for part in expression.requirements() {
        let license = part.req.license.id().context("a licence that SPDX does not know")?;
        texts.push(license.text().to_owned());
    }
    ensure!(!texts.is_empty(), "no licence");
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, license: &str) -> Part {
        Part {
            name: name.into(),
            version: "1.0".into(),
            license: license.into(),
            url: String::new(),
            folder: None,
            checksum: None,
            uses: Vec::new(),
        }
    }

    #[test]
    fn a_text_of_several_packages_is_given_once() {
        let text = text(&[part("a", "MIT"), part("b", "MIT OR Apache-2.0")]).unwrap();
        assert!(text.contains("\na 1.0: MIT\nb 1.0: MIT OR Apache-2.0\n"));
        assert!(text.contains("=\na 1.0, b 1.0\n") && text.contains("=\nb 1.0\n"));
        assert_eq!(text.matches("Permission is hereby granted, free of charge").count(), 1);
    }

    #[test]
    fn a_package_without_a_known_licence_is_refused() {
        assert!(text(&[part("a", "LicenseRef-mine")]).is_err());
        assert!(text(&[part("a", "free")]).is_err());
    }
}
