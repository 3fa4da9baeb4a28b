//! `docs/troubleshooting.md` quotes the log: each quoted text stands in the source, and each
//! warning and error of the source is quoted.

#![expect(clippy::string_slice, clippy::unwrap_used, reason = "reads the project")]

use tests::source::{code, files, literals, read};

const PAGE: &str = "docs/troubleshooting.md";

/// A text with `…` for each placeholder and for neighbours of it.
fn template(text: &str) -> String {
    let mut plain = String::new();
    let mut depth = 0;
    for c in text.replace("{{", "").replace("}}", "").chars() {
        match c {
            '{' => {
                depth += 1;
                plain.push('…');
            }
            '}' => depth -= 1,
            _ if depth == 0 => plain.push(c),
            _ => {}
        }
    }
    while plain.contains("……") {
        plain = plain.replace("……", "…");
    }
    plain
}

/// Whether a text says something beside its placeholders.
fn has_words(template: &str) -> bool {
    template.chars().any(char::is_alphabetic)
}

/// The quotations of the first column of the page's tables.
fn quoted(page: &str) -> Vec<&str> {
    let cells = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    cells.map(|(cell, _)| cell).collect()
}

/// The texts of the lines of the log that `call` writes: the first literal of each call that is no
/// value of a field.
fn logged(code: &str, call: &str) -> Vec<String> {
    let literals = literals(code);
    let mut texts = Vec::new();
    for (at, _) in code.match_indices(call) {
        let mut inside = literals.iter().skip_while(|(end, _)| *end < at + call.len());
        let mut from = at + call.len();
        let text = inside.find(|(end, _)| {
            let before = code[from..*end].trim_start();
            from = *end;
            before.starts_with('"') || !before.split('"').next().unwrap().ends_with("= ")
        });
        texts.extend(text.map(|(_, text)| template(text)));
    }
    texts
}

#[test]
fn every_warning_and_error_has_a_remedy() {
    let page = read(PAGE);
    let mut missing = Vec::new();
    let mut found = 0;
    for (path, text) in files("exporter/src") {
        for call in [" error!(", "tracing::error!(", "tracing::warn!("] {
            for text in logged(code(&text), call).iter().filter(|text| has_words(text)) {
                found += 1;
                if !quoted(&page).iter().any(|cell| cell == text) {
                    missing.push(format!("{path}: {text}"));
                }
            }
        }
    }
    assert!(found > 30, "{found} lines of the log");
    assert!(missing.is_empty(), "not in {PAGE}: {missing:#?}");
}

#[test]
fn every_reason_why_ebpf_is_refused_has_a_remedy() {
    let page = read(PAGE);
    let source = read("exporter/src/host/bpf/error.rs");
    let mut missing = logged(&source, "#[error(\"");
    missing.retain(|text| has_words(text) && !quoted(&page).iter().any(|cell| fits(cell, text)));
    assert!(missing.is_empty(), "not in {PAGE}: {missing:#?}");
}

/// Whether a quotation is of this text: it may say more in place of the last placeholder, and less
/// at an end where the source goes on.
fn fits(cell: &str, text: &str) -> bool {
    let start = text.trim_end_matches('…');
    cell == text || cell.starts_with(start) || start.starts_with(cell.trim_end_matches('…'))
}

#[test]
fn every_quoted_text_is_in_the_source() {
    let texts: Vec<String> = files("exporter/src")
        .iter()
        .flat_map(|(_, text)| literals(code(text)))
        .map(|(_, text)| template(&text))
        .collect();
    let page = read(PAGE);
    for cell in quoted(&page) {
        // A quotation of several texts has each of them between semicolons.
        let parts: Vec<&str> = cell.split("; ").collect();
        let is_in = |part: &str| {
            texts.iter().any(|text| text == part || (part.len() > 8 && text.contains(part)))
        };
        assert!(is_in(cell) || parts.iter().all(|part| is_in(part)), "{cell}");
    }
}

#[test]
fn placeholders_of_any_form_are_one_sign() {
    assert_eq!(template("map {map}: {source}{}"), "map …: …");
    assert_eq!(template("{0:?} {{x}}"), "… x");
    let code = r#"f(tracing::warn!(name = "x", "a {b}")); tracing::warn!("c \"d\"", "e")"#;
    assert_eq!(logged(code, "tracing::warn!("), ["a …", "c \"d\""]);
}
