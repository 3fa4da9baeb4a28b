//! What holds for every source file and is not the compiler's to say.

#![expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "reads the project")]

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Rust file below `folder`, with its text.
fn sources(folder: &str) -> Vec<(String, String)> {
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
    found
}

/// What a file says outside its tests.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or_default()
}

#[test]
fn collectors_know_neither_http_nor_the_text_format() {
    for (path, text) in sources("exporter/src/collectors") {
        for word in ["crate::web", "crate::scrape", "crate::exposition", "tokio", "axum", "hyper"] {
            assert!(!code(&text).contains(word), "{path}: {word}");
        }
    }
}

#[test]
fn collectors_see_the_machine_only_through_host() {
    for (path, text) in sources("exporter/src/collectors") {
        // The files of the one are named by a flag of its own; the other calls ioctl(2) on
        // mount points.
        if path.contains("/textfile/") || path.ends_with("/btrfs/mounted.rs") {
            continue;
        }
        for word in ["std::fs", "std::env", "std::process", "rustix::fs::open"] {
            assert!(!code(&text).contains(word), "{path}: {word}");
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for folder in ["exporter/src", "exporter-common/src", "exporter-ebpf/src", "tests", "xtask/src"]
    {
        for (path, text) in sources(folder) {
            let is_part = path.ends_with("/tests.rs") && folder == "exporter/src";
            assert!(is_part || text.starts_with("//! "), "{path} begins without `//!`");
        }
    }
}

#[test]
fn no_file_is_longer_than_one_wants_to_read() {
    for folder in ["exporter/src", "exporter-ebpf/src", "tests", "xtask/src"] {
        for (path, text) in sources(folder) {
            assert!(text.lines().count() <= 500, "{path} has more than 500 lines");
        }
    }
}
