//! `docs/collectors.md` is generated: from the registry, the heads of the collectors' files and
//! their golden files. `UPDATE_EXPECT=1` writes it anew.

#![expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "reads the project")]

use exporter::{
    collector::Spec,
    collectors::ALL,
    flag::{AnyFlag, Form},
    testing::fixture,
};
use std::{fmt::Write as _, path::Path};

const HEAD: &str = "\
# Collectors

Each is switched by `--collector.<name>` and `--no-collector.<name>`, and chosen for one scrape by
`collect[]=<name>` or `exclude[]=<name>`. The metrics listed are those of the machine in
`fixtures/baseline`; where the kernel chooses names, others have others. This file is generated
(see CONTRIBUTING.md).
";

#[test]
fn the_manual_of_the_collectors_is_up_to_date() {
    let mut text = HEAD.to_owned();
    for spec in ALL {
        collector(spec, &mut text);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/collectors.md");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap();
    let differs = text.lines().zip(there.lines()).find(|(want, is)| want != is);
    assert_eq!(differs, None, "docs/collectors.md: run UPDATE_EXPECT=1 cargo test");
    assert_eq!(text.len(), there.len(), "docs/collectors.md: run UPDATE_EXPECT=1 cargo test");
}

fn collector(spec: &Spec, text: &mut String) {
    let state = if spec.enabled { "Enabled" } else { "Disabled" };
    write!(text, "\n## {}\n\n{state} by default. {}\n", spec.name, about(spec.name)).unwrap();
    let mut flags = spec.flags.iter().filter(|flag| !flag.is_hidden()).peekable();
    if flags.peek().is_some() {
        text.push_str("\n| flag | default | meaning |\n|---|---|---|\n");
    }
    for flag in flags {
        let (name, default) = given(*flag);
        writeln!(text, "| `{name}` | {default} | {} |", cell(flag.help())).unwrap();
    }
    let golden = std::fs::read_to_string(fixture(&format!("golden/{}.prom", spec.name))).unwrap();
    let mut families = families(&golden).peekable();
    if families.peek().is_some() {
        text.push_str("\n| metric | type | labels | meaning |\n|---|---|---|---|\n");
    }
    for [name, kind, labels, help] in families {
        writeln!(text, "| `{name}` | {kind} | {labels} | {} |", cell(&help)).unwrap();
    }
}

/// A flag as it is written on the command line, and its default.
fn given(flag: &dyn AnyFlag) -> (String, String) {
    let default = flag.default().join(", ");
    match flag.form() {
        Form::Switch => (format!("--[no-]{}", flag.name()), default),
        Form::Once | Form::Repeated if default.is_empty() => {
            (format!("--{}=…", flag.name()), String::new())
        }
        Form::Once | Form::Repeated => {
            (format!("--{}=…", flag.name()), format!("`{}`", cell(&default)))
        }
    }
}

/// A table's cell ends at a bar, even in code.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// The first paragraph of the collector's own documentation.
fn about(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../exporter/src/collectors");
    let source = std::fs::read_to_string(folder.join(format!("{name}.rs")))
        .or_else(|_| std::fs::read_to_string(folder.join(name).join("mod.rs")))
        .unwrap();
    let lines: Vec<&str> =
        (source.lines()).map_while(|line| line.strip_prefix("//! ")).map(str::trim).collect();
    assert!(!lines.is_empty(), "{name} has no documentation");
    lines.join(" ")
}

/// Name, type, label names and help of each family.
fn families(golden: &str) -> impl Iterator<Item = [String; 4]> {
    golden.split("# HELP ").skip(1).filter_map(|family| {
        let mut lines = family.lines();
        let (name, help) = lines.next()?.split_once(' ')?;
        if name.starts_with("node_scrape_") {
            return None;
        }
        let kind = lines.next()?.rsplit(' ').next()?;
        let labels = lines.next().map(labels).unwrap_or_default();
        Some([name, kind, &labels, help].map(str::to_owned))
    })
}

/// The label names of a sample line.
fn labels(line: &str) -> String {
    let Some((_, rest)) = line.split_once('{') else { return String::new() };
    let mut names = Vec::new();
    let mut rest = rest;
    while let Some((name, value)) = rest.split_once("=\"") {
        names.push(name.trim_start_matches(','));
        let mut escaped = false;
        let end = value.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let Some(end) = end else { break };
        rest = value.split_at(end + 1).1;
    }
    names.join(", ")
}
