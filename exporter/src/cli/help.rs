//! The text of `--help`.

use super::list::entries;
use std::fmt::Write as _;

/// The column in which the explanations begin.
const INDENT: usize = 33;
/// The last column of a line.
const WIDTH: usize = 80;

/// All flags with their explanations, at most 80 columns wide.
pub(super) fn help(program: &str) -> String {
    let mut text = format!("usage: {program} [<flags>]\n\nFlags:\n");
    for entry in entries() {
        let short = if entry.name == "help" { "-h, " } else { "    " };
        let title = format!("  {short}{}", entry.title());
        text.push_str(&title);
        let width = title.chars().count();
        if width + 1 < INDENT {
            let _ = write!(text, "{:1$}", "", INDENT - width);
        } else {
            let _ = write!(text, "\n{:INDENT$}", "");
        }
        explain(&mut text, &entry.help);
    }
    text.push_str("\n@FILE stands for the lines of that file, save those that begin with #.\n");
    text
}

/// Appends the words of `help` in lines between the two columns; the first word goes where `text`
/// ends. A word longer than a line is broken at the line's end.
fn explain(text: &mut String, help: &str) {
    let mut column = INDENT;
    for word in help.split_whitespace() {
        let length = word.chars().count();
        if column > INDENT {
            if column + 1 + length <= WIDTH {
                text.push(' ');
                column += 1;
            } else {
                let _ = write!(text, "\n{:INDENT$}", "");
                column = INDENT;
            }
        }
        for c in word.chars() {
            if column == WIDTH {
                let _ = write!(text, "\n{:INDENT$}", "");
                column = INDENT;
            }
            text.push(c);
            column += 1;
        }
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_flag_and_stays_narrow() {
        let text = help("bpf_node_exporter");
        let titles: Vec<&str> = (text.lines())
            .filter(|line| line.trim_start().starts_with('-') && !line.starts_with("       "))
            .map(|line| line.trim_start().trim_start_matches("-h, "))
            .map(|line| line.split(' ').next().unwrap())
            .collect();
        for flag in super::super::accepted() {
            let name = flag.strip_prefix("no-").unwrap_or(&flag);
            let is = |title: &&str| {
                let title = title.trim_start_matches("--").trim_start_matches("[no-]");
                title.trim_end_matches("=VALUE") == name
            };
            assert!(titles.iter().any(is), "{flag}");
        }
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH && line.trim_end() == line, "{line}");
        }
    }

    #[test]
    fn words_that_are_too_long_are_broken() {
        let mut text = String::new();
        explain(&mut text, &format!("a {} b", "x".repeat(100)));
        let lengths: Vec<usize> = text.lines().map(|line| line.trim_start().len()).collect();
        assert_eq!(lengths, [1, 47, 47, 8]);
    }
}
