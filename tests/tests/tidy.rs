//! Rules for every source file that the compiler does not check.

#![expect(clippy::string_slice, reason = "reads the project")]

use tests::source::{code, files as sources, root};

#[test]
fn collectors_know_neither_http_nor_the_text_format() {
    for (path, text) in sources("exporter/src/collectors") {
        for word in ["exposition::{text", "exposition::text", "packing", "tokio", "axum", "hyper"] {
            assert!(!code(&text).contains(word), "{path}: {word}");
        }
    }
}

/// The modules of the exporter's crate, each built only on those before it: the wings that
/// ARCHITECTURE.md draws, and within the first and the last of them the order of their files.
const ORDER: [&str; 17] = [
    "error",
    "memory",
    "parse",
    "flag",
    "exposition",
    "host",
    "collector",
    "prelude",
    "collectors",
    "scrape",
    "web",
    "log",
    "privileges",
    "cli",
    "daemon",
    "lib",
    "main",
];

/// The modules that `code` names after `crate::`: in imports, in groups of imports, in paths.
fn imported(code: &str) -> Vec<&str> {
    fn head(path: &str) -> &str {
        let path = path.trim_start();
        path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
    }
    let mut modules = Vec::new();
    for (at, root) in code.match_indices("crate::") {
        let path = &code[at + root.len()..];
        let Some(group) = path.strip_prefix('{') else {
            modules.push(head(path));
            continue;
        };
        modules.push(head(group));
        let mut depth = 0;
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => modules.push(head(&group[i + 1..])),
                _ => {}
            }
        }
    }
    modules.retain(|module| !module.is_empty()); // after the last comma
    modules
}

#[test]
fn imports_go_down_the_order_of_the_wings() {
    let place = |module: &str| ORDER.iter().position(|known| *known == module);
    let src = root().join("exporter/src").display().to_string();
    let mut against = Vec::new();
    for (path, text) in sources("exporter/src") {
        let module = path.trim_start_matches(&src).trim_matches('/').trim_end_matches(".rs");
        let parts: Vec<&str> = module.split('/').filter(|part| *part != "mod").collect();
        if parts[0] == "testing" || parts.last() == Some(&"tests") {
            continue;
        }
        let own = place(parts[0]).unwrap_or_else(|| panic!("{path} is in no wing"));
        let code: String = (code(&text).lines())
            .filter(|line| !line.trim_start().starts_with("//"))
            .flat_map(|line| [line, "\n"])
            .collect();
        for module in imported(&code) {
            // Items of the crate's root itself, such as a macro, are in no wing.
            if place(module).is_some_and(|other| other > own) {
                against.push(format!("{path} imports {module}"));
            }
        }
        let out = "super::".repeat(parts.len());
        assert!(!code.contains(&out), "{path} leaves its wing by `{out}`: say `crate::`");
    }
    assert!(against.is_empty(), "against the order of the wings: {against:#?}");
}

#[test]
fn imports_are_found_in_groups_and_in_paths() {
    let code = "use crate::{host::{Host, tree::{Dir}}, parse::number, web,\n};\nuse crate::flag::{Flag};\nlet x = crate::log::start();";
    assert_eq!(imported(code), ["host", "parse", "web", "flag", "log"]);
}

#[test]
fn collectors_see_the_machine_only_through_host() {
    for (path, text) in sources("exporter/src/collectors") {
        // The files of `textfile` are named by its own flag; `btrfs` calls ioctl(2) on mount
        // points.
        if path.contains("/textfile/") || path.ends_with("/btrfs/mounted.rs") {
            continue;
        }
        for word in ["std::fs", "std::env", "std::process", "rustix::fs::open"] {
            assert!(!code(&text).contains(word), "{path}: {word}");
        }
    }
}

#[test]
fn every_file_begins_with_its_purpose() {
    for folder in [
        "exporter/src",
        "exporter-common/src",
        "exporter-ebpf/src",
        "testbed/src",
        "tests",
        "xtask/src",
    ] {
        for (path, text) in sources(folder) {
            let is_part = path.ends_with("/tests.rs") && folder == "exporter/src";
            assert!(is_part || text.starts_with("//! "), "{path} begins without `//!`");
        }
    }
}

#[test]
fn no_file_has_more_than_500_lines() {
    for folder in ["exporter/src", "exporter-ebpf/src", "testbed/src", "tests", "xtask/src"] {
        for (path, text) in sources(folder) {
            assert!(text.lines().count() <= 500, "{path} has more than 500 lines");
        }
    }
}

/// Words that stand in place of a noun, of which the reader must think.
const RIDDLES: [&str; 7] =
    [" what ", ": who ", "; who ", " by who ", " of who ", " to who ", " from who "];

/// The comment in a line, after code or alone.
fn comment(line: &str) -> Option<&str> {
    let (_, comment) = line.split_once("// ").or_else(|| line.split_once("//! "))?;
    Some(comment)
}

#[test]
fn comments_name_things_by_nouns() {
    let mut found = Vec::new();
    for folder in [
        "exporter",
        "exporter-common",
        "exporter-ebpf",
        "testbed",
        "tests",
        "xtask/src",
        "fuzz/src",
    ] {
        for (path, text) in sources(folder) {
            for (line, number) in text.lines().zip(1..) {
                let Some(comment) = comment(line) else { continue };
                let words = format!(" {} ", comment.to_lowercase());
                if RIDDLES.iter().any(|riddle| words.contains(riddle)) {
                    found.push(format!("{path}:{number}: {comment}"));
                }
            }
        }
    }
    assert!(found.is_empty(), "a noun should stand there: {found:#?}");
}
