//! `docs/collectors.md` is generated: from the registry, the heads of the collectors' files, their
//! golden files and the metrics that the source declares. `UPDATE_EXPECT=1` writes it anew.

#![expect(
    clippy::disallowed_methods,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "reads the project"
)]

use exporter::{
    collector::Spec,
    collectors::ALL,
    flag::{AnyFlag, Form},
    testing::fixture,
};
use std::{fmt::Write as _, path::Path};
use tests::source::{code, files, literals, read};

const HEAD: &str = "\
# Collectors

Each is switched by `--collector.<name>` and `--no-collector.<name>`, and chosen for one scrape by
`collect[]=<name>` or `exclude[]=<name>`. The metrics listed are those of the machine in
`fixtures/baseline` and all others whose names are in the source; where the kernel chooses names,
others have others. The last section has the metrics of the exporter itself. This file is generated
(see CONTRIBUTING.md).
";

/// The files that declare the metrics of the exporter itself.
const OWN: [&str; 3] = ["scrape/engine/answer.rs", "host/bpf/health.rs", "scrape/own.rs"];

/// Name, type, label names and help.
type Family = [String; 4];

#[test]
fn the_manual_of_the_collectors_is_up_to_date() {
    let mut text = HEAD.to_owned();
    let sources = files("exporter/src/collectors");
    for spec in ALL {
        collector(spec, &sources, &mut text);
    }
    text.push_str(
        "\n## The exporter itself\n\nEach scrape has these, whichever collectors it asks; with \
         `--web.disable-exporter-metrics` neither `process_*` nor `promhttp_*`.\n",
    );
    let mut own = OWN.map(|path| declared(&read(&format!("exporter/src/{path}")))).concat();
    own.sort();
    table(own, &mut text);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/collectors.md");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap();
    let differs = text.lines().zip(there.lines()).find(|(want, is)| want != is);
    assert_eq!(differs, None, "docs/collectors.md: run UPDATE_EXPECT=1 cargo test");
    assert_eq!(text.len(), there.len(), "docs/collectors.md: run UPDATE_EXPECT=1 cargo test");
}

fn collector(spec: &Spec, sources: &[(String, String)], text: &mut String) {
    let state = if spec.enabled { "Enabled" } else { "Disabled" };
    write!(text, "\n## {}\n\n{state} by default. {}\n", spec.name, about(spec.name, sources))
        .unwrap();
    let mut flags = spec.flags.iter().filter(|flag| !flag.is_hidden()).peekable();
    if flags.peek().is_some() {
        text.push_str("\n| flag | default | meaning |\n|---|---|---|\n");
    }
    for flag in flags {
        let (name, default) = given(*flag);
        writeln!(text, "| `{name}` | {default} | {} |", cell(flag.help())).unwrap();
    }
    let golden = std::fs::read_to_string(fixture(&format!("golden/{}.prom", spec.name))).unwrap();
    let mut all: Vec<Family> = families(&golden).collect();
    for (_, source) in of_collector(spec.name, sources) {
        for family in declared(source) {
            if !all.iter().any(|[name, ..]| *name == family[0]) {
                all.push(family);
            }
        }
    }
    all.sort();
    table(all, text);
}

fn table(families: Vec<Family>, text: &mut String) {
    if !families.is_empty() {
        text.push_str("\n| metric | type | labels | meaning |\n|---|---|---|---|\n");
    }
    for [name, kind, labels, help] in families {
        writeln!(text, "| `{name}` | {kind} | {labels} | {} |", cell(&help)).unwrap();
    }
}

/// The metrics that code declares with whole names.
fn declared(text: &str) -> Vec<Family> {
    let code = code(text);
    let literals = literals(code);
    let mut found = Vec::new();
    for kind in ["gauge", "counter", "untyped"] {
        for (at, call) in code.match_indices(&format!("{kind}(")) {
            let mut inside = literals.iter().skip_while(|(end, _)| *end < at + call.len());
            let (Some((name_end, name)), Some((end, help))) = (inside.next(), inside.next()) else {
                continue;
            };
            // Between the parenthesis and the name there are only spaces.
            let is_first = code[at + call.len()..*name_end].trim_start().starts_with('"');
            let is_name = name.contains('_') && !name.contains(|c: char| !c.is_ascii_graphic());
            if !is_first || !is_name || help.is_empty() {
                continue;
            }
            let rest = code[*end..].trim_start().trim_start_matches(',').trim_start();
            let rest = rest.strip_prefix(')').unwrap_or_default().trim_start();
            let labels = rest.strip_prefix(".by([").and_then(|rest| rest.split_once(']'));
            let labels = labels.map_or(String::new(), |(labels, _)| labels.replace('"', ""));
            let labels: Vec<&str> = labels.split(',').map(str::trim).collect();
            let labels = labels.join(", ").trim_end_matches(", ").to_owned();
            found.push([name.clone(), kind.to_owned(), labels, help.clone()]);
        }
    }
    found.sort();
    found
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

/// The files of a collector without their tests, `mod.rs` among them if there are several.
fn of_collector<'a>(
    name: &str,
    sources: &'a [(String, String)],
) -> impl Iterator<Item = &'a (String, String)> {
    let (file, folder) = (format!("/collectors/{name}.rs"), format!("/collectors/{name}/"));
    sources.iter().filter(move |(path, _)| {
        path.ends_with(&file) || (path.contains(&folder) && !path.ends_with("/tests.rs"))
    })
}

/// The first paragraph of the collector's own documentation.
fn about(name: &str, sources: &[(String, String)]) -> String {
    let head = |(path, _): &&(String, String)| {
        !path.contains(&format!("/{name}/")) || path.ends_with(&format!("/{name}/mod.rs"))
    };
    let (_, source) = of_collector(name, sources).find(head).unwrap();
    let lines: Vec<&str> =
        (source.lines()).map_while(|line| line.strip_prefix("//! ")).map(str::trim).collect();
    assert!(!lines.is_empty(), "{name} has no documentation");
    lines.join(" ")
}

/// Name, type, label names and help of each family.
fn families(golden: &str) -> impl Iterator<Item = Family> {
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
