//! Patterns in Go's syntax: none panics, an accepted pattern compiles, and Go's verdict on a
//! pattern holds for others with the same meaning.
#![no_main]

use exporter::flag::Pattern;
use libfuzzer_sys::fuzz_target;

/// The table that Go wrote: pattern, verdict, text or error.
const TABLE: &str = include_str!("../../exporter/src/flag/pattern/go.tsv");

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    if kind % 2 == 0 {
        any(&String::from_utf8_lossy(data));
    } else {
        known(data);
    }
});

fn any(text: &str) {
    match Pattern::new(text) {
        Ok(pattern) => {
            let _ = pattern.matches(text);
            let _ = pattern.matches("");
        }
        Err(error) => {
            assert!(!error.contains("is not understood"), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
    if !text.contains(r"\E") && !text.ends_with('\\') && text.len() < 1000 {
        let literal = Pattern::new(&format!(r"\A\Q{text}\E\z")).expect("a text");
        assert!(literal.matches(text), "{text}");
        assert!(!literal.matches(&format!("{text}x")), "{text}");
    }
}

/// A row of the table, its pattern wrapped in syntax that does not change its meaning.
fn known(data: &[u8]) {
    let [high, low, wraps @ ..] = data else { return };
    let rows: Vec<&str> = TABLE.lines().filter(|line| !line.starts_with("## ")).collect();
    let row = rows[usize::from(u16::from_be_bytes([*high, *low])) % rows.len()];
    let cells: Vec<String> =
        row.split('\t').map(|cell| cell.replace('␊', "\n").replace('␉', "\t")).collect();
    let [pattern, verdict, text] = &cells[..] else { panic!("{row}") };
    // Text behind such patterns would be quoted, or would close a group.
    if verdict == "refused" || (pattern.contains(r"\Q") && !pattern.contains(r"\E")) {
        assert_eq!(Pattern::new(pattern).is_err(), verdict == "refused", "{row}");
        return;
    }
    let mut wrapped = pattern.clone();
    for wrap in wraps.iter().take(6) {
        wrapped = match wrap % 9 {
            0 => format!("(?:{wrapped})"),
            1 => format!("({wrapped})"),
            2 => format!("(?P<n>{wrapped})"),
            3 => format!("(?:{wrapped}){{1}}"),
            4 => format!("(?:{wrapped})|(?:{wrapped})"),
            5 => format!("(?U:{wrapped})"),
            6 => format!(r"\Q\E(?:{wrapped})\Q"),
            7 => format!("(?:{wrapped})(?i)"),
            _ => format!("(?:[^\\x00-\\x{{10FFFF}}]|{wrapped})+"),
        };
        if wrap % 9 == 6 {
            break; // the rest would be quoted
        }
    }
    match Pattern::new(&wrapped) {
        Ok(pattern) => assert_eq!(pattern.matches(text), verdict == "matches", "{wrapped}: {row}"),
        Err(error) => {
            let limit = ["expression too large", "nests too deeply", "invalid repeat count"];
            assert!(limit.iter().any(|limit| error.contains(limit)), "{wrapped}: {error}");
        }
    }
}
