//! The manual page of `--help-man`.

use super::list::entries;
use std::fmt::Write as _;

/// The page, in the language of man(7).
pub(super) fn man(program: &str) -> String {
    let program = &quoted(program);
    let mut page = format!(
        ".TH {program} 1 \"\" \"bpf_node_exporter {version}\"\n.ad l\n.nh\n\
         .SH NAME\n{program} \\- metrics of this machine for Prometheus\n\
         .SH SYNOPSIS\n.B {program}\n[\\fIflags\\fR]\n\
         .SH DESCRIPTION\nServes the metrics of node_exporter over HTTP, under the same names and\n\
         with the same flags, and counts with eBPF programs in the kernel where that is allowed.\n\
         .SH OPTIONS\n",
        version = env!("CARGO_PKG_VERSION"),
    );
    for entry in entries() {
        let short = if entry.name == "help" { "\\-h, " } else { "" };
        let title = quoted(&entry.title());
        let _ = write!(page, ".TP\n\\fB{short}{title}\\fR\n{}\n", quoted(&entry.help));
    }
    page
}

/// The text with all characters escaped that have a meaning in the language of pages: a pattern can
/// be copied out of the page, and is broken behind its alternatives.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    if text.starts_with(['.', '\'']) {
        quoted.push_str("\\&");
    }
    for c in text.chars() {
        match c {
            '\\' => quoted.push_str("\\e"),
            '-' => quoted.push_str("\\-"),
            '^' => quoted.push_str("\\(ha"),
            '~' => quoted.push_str("\\(ti"),
            '\'' => quoted.push_str("\\(aq"),
            '`' => quoted.push_str("\\(ga"),
            '|' | ',' => quoted.extend([c, '\\', ':']),
            c => quoted.push(c),
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_the_texts_of_help() {
        let page = man("bpf_node_exporter");
        assert_eq!(page.matches(".TP\n").count(), entries().len());
        assert!(page.contains("\n\\fB\\-\\-[no\\-]collector.loadavg\\fR\nEnable the loadavg"));
        assert!(page.lines().all(|line| !line.starts_with('\'')));
    }

    #[test]
    fn text_is_quoted() {
        assert_eq!(quoted(r".a\d-"), r"\&.a\ed\-");
        assert_eq!(quoted("^a|b~'`"), r"\(haa|\:b\(ti\(aq\(ga");
        assert_eq!(quoted("'"), r"\&\(aq");
    }
}
