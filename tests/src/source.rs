//! The project's source as text, for tests that hold the documentation against it.
#![expect(
    clippy::disallowed_methods,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "reads the project"
)]

use std::path::{Path, PathBuf};

/// The folder of the project.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The text of a file of the project.
#[must_use]
pub fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Rust file below `folder`, with its text.
#[must_use]
pub fn files(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path.display().to_string(), text));
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has sources");
    found.sort();
    found
}

/// A file without its tests.
#[must_use]
pub fn code(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or_default()
}

/// The string literals of Rust code, each with the place behind it. Comments have none.
#[must_use]
pub fn literals(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find(['"', '/', '\'']) {
        let (before, from) = rest.split_at(at);
        let at_end = if from.starts_with("//") {
            from.find('\n').unwrap_or(from.len())
        } else if let Some(text) = from.strip_prefix('"') {
            let is_raw = before.ends_with('r') || before.ends_with('#');
            let hashes = before.len() - before.trim_end_matches('#').len();
            let end = format!("\"{}", "#".repeat(hashes));
            let length = if is_raw { text.find(&end).unwrap_or(text.len()) } else { length(text) };
            let (text, behind) = text.split_at(length);
            found.push((code.len() - behind.len() + 1, unescaped(text, is_raw)));
            1 + length + end.len()
        } else if from.starts_with("'\"'") || from.starts_with("'/'") {
            3
        } else {
            1
        };
        rest = from.get(at_end..).unwrap_or_default();
    }
    found
}

/// The length of a literal's text, up to the quote that ends it.
fn length(text: &str) -> usize {
    let mut escaped = false;
    let end = text.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    end.unwrap_or(text.len())
}

/// The text that a literal stands for: a backslash at the end of a line joins the lines.
fn unescaped(text: &str, is_raw: bool) -> String {
    if is_raw {
        return text.to_owned();
    }
    let mut lines = text.split("\\\n");
    let first = lines.next().unwrap_or_default().to_owned();
    let joined = lines.fold(first, |text, line| text + line.trim_start());
    joined.replace("\\\"", "\"").replace("\\n", "\n").replace("\\\\", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_found_and_comments_are_not() {
        let code =
            "f('\"', \"a\\\"b\"); // \"no\"\nlet x: &'a str = r#\"c\"d\"#;\n\"one \\\n   two\"";
        let texts: Vec<String> = literals(code).into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["a\"b", "c\"d", "one two"]);
        let ends_with_a_quote =
            |(end, _): &(usize, String)| code.get(..*end).is_some_and(|text| text.ends_with('"'));
        assert!(literals(code).iter().all(ends_with_a_quote));
    }
}
