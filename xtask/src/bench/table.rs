//! The tables of docs/performance.md.

use super::{
    replay::Share,
    subject::{Figures, Spread, TICKS},
};
use anyhow::{Context as _, Result};
use std::fmt::Write as _;

/// The line before a table that `cargo xtask bench --write` writes.
fn begin(name: &str) -> String {
    format!("<!-- bench: {name} -->\n")
}

/// The line after the table.
const END: &str = "<!-- end -->\n";

/// Puts tables in place of those between the markers of `name`.
pub(super) fn replace(document: &str, name: &str, tables: &str) -> Result<String> {
    let begin = begin(name);
    let (before, rest) =
        document.split_once(&begin).with_context(|| format!("no line {}", begin.trim()))?;
    let (there, after) = rest
        .split_once(END)
        .with_context(|| format!("no {} after {}", END.trim(), begin.trim()))?;
    // Else an end is lacking, and the text up to the next table's would be lost.
    anyhow::ensure!(
        !there.contains("<!-- bench"),
        "no {} between {} and the next",
        END.trim(),
        begin.trim()
    );
    Ok(format!("{before}{begin}{}\n\n{END}{after}", tables.trim()))
}

/// The figures of both exporters, ours first, side by side, and the spread of their samples.
pub(super) fn both(ours: &Figures, peer: &Figures, share: Result<&Share, &str>) -> String {
    let mut text =
        "| | bpf_node_exporter | node_exporter | ratio |\n|---|---:|---:|---:|\n".to_owned();
    let mut row = |head: &str, get: &dyn Fn(&Figures) -> Option<f64>| {
        let (a, b) = (get(ours), get(peer));
        let ratio = a.zip(b).map(|(a, b)| a / b);
        let _ = writeln!(text, "| {head} | {} | {} | {} |", cell(a), cell(b), cell(ratio));
    };
    row("CPU per scrape, mean, ms", &|f| Some(f.cpu.mean()));
    row("… in user mode, ms", &|f| f.modes.map(|[user, _]| user));
    row("… in the kernel, ms", &|f| f.modes.map(|[_, kernel]| kernel));
    row("CPU per scrape, median, ms", &|f| Some(f.cpu.quantile(50)));
    row("time per scrape, median, ms", &|f| Some(f.time.quantile(50)));
    row("time per scrape, 99th percentile, ms", &|f| Some(f.time.quantile(99)));
    row("resident memory, MiB", &|f| Some(f.resident));
    row("resident memory at its peak, MiB", &|f| Some(f.peak));
    row("charged to the control group, MiB", &|f| f.charged);
    let _ = match share {
        Ok(share) => {
            let kernel = Spread::new(share.rounds.clone()).mean();
            let ratio = cell(Some(ours.cpu.mean() / kernel));
            writeln!(
                text,
                "| the kernel's own share of the CPU, ms | {} | | |\n\
                 | … CPU per scrape, divided by it | {ratio} | | |",
                cell(Some(kernel)),
            )
        }
        Err(reason) => writeln!(text, "| the kernel's own share of the CPU: {reason} | | | |"),
    };
    let _ = writeln!(text, "| samples in an answer | {} | {} | |", ours.samples, peer.samples);
    text.push_str(&reasons([ours, peer]));
    text.push_str(
        "\n| ms | scrapes | least | median | 99th percentile | most |\n|---|---:|---:|---:|---:|---:|\n",
    );
    let mut row = |head: &str, spread: &Spread| {
        let [least, median, high, most] =
            [0, 50, 99, 100].map(|percent| cell(Some(spread.quantile(percent))));
        let _ = writeln!(
            text,
            "| {head} | {} | {least} | {median} | {high} | {most} |",
            spread.number()
        );
    };
    row("bpf_node_exporter: CPU", &ours.cpu);
    row("node_exporter: CPU", &peer.cpu);
    row("bpf_node_exporter: time", &ours.time);
    row("node_exporter: time", &peer.time);
    if let Ok(share) = share {
        row("the same reads alone: CPU", &Spread::new(share.rounds.clone()));
    }
    text
}

/// The system calls of a scrape.
pub(super) fn calls(share: &Share) -> String {
    let mut text =
        "\n| system call | per scrape | CPU in the replay, µs |\n|---|---:|---:|\n".to_owned();
    let mut calls: Vec<_> = share.calls.iter().collect();
    calls.sort_by(|(_, (_, a)), (_, (_, b))| b.total_cmp(a));
    for (name, (number, cpu)) in calls {
        let _ = writeln!(text, "| {name} | {number} | {cpu:.1} |");
    }
    let others: Vec<_> =
        share.others.iter().map(|(name, number)| format!("{name} {number}")).collect();
    if !others.is_empty() {
        let _ = writeln!(text, "\nNot replayed: {}.", others.join(", "));
    }
    if share.differ > 0 {
        let _ = writeln!(
            text,
            "\n{} calls did not succeed or fail in the replay as in the exporter.",
            share.differ
        );
    }
    text
}

fn cell(value: Option<f64>) -> String {
    value.map_or_else(
        || "–".to_owned(),
        |value| {
            if 0.0 < value && value < 0.01 { format!("{value:.4}") } else { format!("{value:.2}") }
        },
    )
}

/// The reasons why cells have a dash.
fn reasons(subjects: [&Figures; 2]) -> String {
    let mut text = String::new();
    if subjects.iter().any(|figures| figures.modes.is_none()) {
        let _ = writeln!(
            text,
            "\n–: the kernel tells the CPU of each mode in ticks, of which there were fewer than {TICKS}."
        );
    }
    if subjects.iter().any(|figures| figures.charged.is_none()) {
        text.push_str("\n–: no control group of memory could be made.\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const DOCUMENT: &str = "# Title\n\n<!-- bench: a -->\nold\n<!-- end -->\n\ntext\n\n\
                            <!-- bench: b -->\nolder\n<!-- end -->\n\nthe end\n";

    #[test]
    fn only_the_named_table_is_replaced() {
        let text = replace(DOCUMENT, "b", "| new |\n").unwrap();
        assert_eq!(text, DOCUMENT.replace("older\n", "| new |\n\n"));
        let again = replace(&text, "b", "| new |\n").unwrap();
        assert_eq!(again, text);
    }

    #[test]
    fn a_marker_that_is_missing_is_named() {
        let missing = |text: &str, name| replace(text, name, "").unwrap_err().to_string();
        assert_eq!(missing(DOCUMENT, "c"), "no line <!-- bench: c -->");
        let open = "<!-- bench: a -->\n";
        assert_eq!(missing(open, "a"), "no <!-- end --> after <!-- bench: a -->");
        let lost = DOCUMENT.replacen(END, "", 1);
        assert_eq!(missing(&lost, "a"), "no <!-- end --> between <!-- bench: a --> and the next");
    }

    fn figures(factor: f64, charged: Option<f64>) -> Figures {
        let spread = |values: [f64; 4]| Spread::new(values.map(|value| value * factor).into());
        Figures {
            samples: 100,
            cpu: spread([1.0, 2.0, 3.0, 6.0]),
            modes: charged.map(|_| [factor, 2.0 * factor]),
            time: spread([4.0, 5.0, 6.0, 9.0]),
            resident: 8.0 * factor,
            peak: 9.0 * factor,
            charged,
        }
    }

    fn share() -> Share {
        Share {
            rounds: vec![1.0, 2.0],
            calls: BTreeMap::from([("close".into(), (7, 1.25)), ("read".into(), (4, 9.0))]),
            others: BTreeMap::from([("bpf".into(), 3), ("futex".into(), 2)]),
            differ: 0,
        }
    }

    #[test]
    fn both_exporters_stand_side_by_side() {
        let text = both(&figures(1.0, Some(3.0)), &figures(4.0, Some(6.0)), Ok(&share()));
        let want = "\
| | bpf_node_exporter | node_exporter | ratio |
|---|---:|---:|---:|
| CPU per scrape, mean, ms | 3.00 | 12.00 | 0.25 |
| … in user mode, ms | 1.00 | 4.00 | 0.25 |
| … in the kernel, ms | 2.00 | 8.00 | 0.25 |
| CPU per scrape, median, ms | 3.00 | 12.00 | 0.25 |
| time per scrape, median, ms | 6.00 | 24.00 | 0.25 |
| time per scrape, 99th percentile, ms | 9.00 | 36.00 | 0.25 |
| resident memory, MiB | 8.00 | 32.00 | 0.25 |
| resident memory at its peak, MiB | 9.00 | 36.00 | 0.25 |
| charged to the control group, MiB | 3.00 | 6.00 | 0.50 |
| the kernel's own share of the CPU, ms | 1.50 | | |
| … CPU per scrape, divided by it | 2.00 | | |
| samples in an answer | 100 | 100 | |

| ms | scrapes | least | median | 99th percentile | most |
|---|---:|---:|---:|---:|---:|
| bpf_node_exporter: CPU | 4 | 1.00 | 3.00 | 6.00 | 6.00 |
| node_exporter: CPU | 4 | 4.00 | 12.00 | 24.00 | 24.00 |
| bpf_node_exporter: time | 4 | 4.00 | 6.00 | 9.00 | 9.00 |
| node_exporter: time | 4 | 16.00 | 24.00 | 36.00 | 36.00 |
| the same reads alone: CPU | 2 | 1.00 | 2.00 | 2.00 | 2.00 |
";
        assert_eq!(text, want);
    }

    #[test]
    fn figures_that_cannot_be_taken_say_why() {
        let text = both(&figures(1.0, None), &figures(1.0, Some(3.0)), Err("strace is not there"));
        assert!(text.contains("| … in user mode, ms | – | 1.00 | – |\n"), "{text}");
        assert!(text.contains("| charged to the control group, MiB | – | 3.00 | – |\n"), "{text}");
        assert!(text.contains("\n–: the kernel tells"), "{text}");
        assert!(text.contains("\n–: no control group"), "{text}");
        let row = "| the kernel's own share of the CPU: strace is not there | | | |\n";
        assert!(text.contains(row), "{text}");
        assert!(!text.contains("the same reads alone"), "{text}");
    }

    #[test]
    fn the_most_expensive_system_call_is_first() {
        let want = "
| system call | per scrape | CPU in the replay, µs |
|---|---:|---:|
| read | 4 | 9.0 |
| close | 7 | 1.2 |

Not replayed: bpf 3, futex 2.
";
        assert_eq!(calls(&share()), want);
        let text = calls(&Share { differ: 2, ..share() });
        let line = "\n2 calls did not succeed or fail in the replay as in the exporter.\n";
        assert!(text.ends_with(line), "{text}");
    }
}
