//! Interrupts by processor, from `/proc/interrupts`.
//!
//! The table is written by `show_interrupts()` in `kernel/irq/proc.c` and by the architecture: the
//! first line names the processors that are online, the others are `name: count… description`. The
//! description of a numbered interrupt is its chip (label `info`), then the rest (label `devices`);
//! the whole description of a named interrupt is its `info`. Lines without a description (`ERR`,
//! `MIS`) are not counted by processor and are skipped.

use crate::{
    exposition::{Label as _, Spaced},
    parse::{decimal, number, rows_after},
    prelude::*,
};
use std::ops::Range;

pub const SPEC: Spec = Spec {
    name: "interrupts",
    enabled: false,
    capabilities: NONE,
    flags: &[&INCLUDE, &EXCLUDE, &ZEROS],
    new: |host, flags| {
        let gives = flags.gives(&INCLUDE) || flags.gives(&EXCLUDE);
        let filter = FilterFlags::new(&INCLUDE, &EXCLUDE).read(flags)?;
        Ok(Box::new(Interrupts {
            file: host.proc.file("interrupts"),
            filter: gives.then_some(filter),
            zeros: flags.get(&ZEROS),
            cpus: Vec::new(),
            table: Table::default(),
        }))
    },
};

static INCLUDE: Flag<Option<Pattern>> = pattern(
    "collector.interrupts.name-include",
    "Regexp of interrupts name to include (mutually exclusive to --collector.interrupts.name-exclude).",
);
static EXCLUDE: Flag<Option<Pattern>> = pattern(
    "collector.interrupts.name-exclude",
    "Regexp of interrupts name to exclude (mutually exclusive to --collector.interrupts.name-include).",
);
static ZEROS: Flag<bool> =
    switch("collector.interrupts.include-zeros", true, "Include interrupts that have a zero value");

static INTERRUPTS: Metric<4> =
    counter("node_interrupts_total", "Interrupt details.").by(["cpu", "devices", "info", "type"]);

struct Interrupts {
    file: File,
    filter: Option<Filter>,
    zeros: bool,
    /// The processors of the first line.
    cpus: Vec<Option<u32>>,
    table: Table,
}

/// The table, turned round: samples are put in the order of their labels, the processor first. To
/// put all that a large machine has in order afterwards would take a third of the scrape.
#[derive(Default)]
struct Table {
    /// The labels of all rows. The filter looks at a name, `info` and `devices` with `;` between.
    text: String,
    rows: Vec<Row>,
    /// The counts of all rows; not a number where a count is malformed or its processor unknown.
    counts: Vec<f64>,
    /// The columns, by the text of their processors' numbers.
    columns: Vec<usize>,
}

/// The labels of a row, by their places in the text, and the place of its first count.
struct Row {
    name: Range<usize>,
    info: Range<usize>,
    devices: Range<usize>,
    counts: usize,
}

impl Table {
    fn clear(&mut self) {
        self.text.clear();
        self.rows.clear();
        self.counts.clear();
    }

    /// Adds the labels of a row, unless the filter drops it; says whether it has.
    fn add(&mut self, interrupt: &Interrupt<'_>, filter: Option<&mut Filter>) -> bool {
        let text = &mut self.text;
        let begin = text.len();
        text.push_str(interrupt.name);
        let name = begin..text.len();
        text.push(';');
        let begin = text.len();
        Spaced(interrupt.info).append(text);
        let info = begin..text.len();
        text.push(';');
        let begin = text.len();
        Spaced(interrupt.devices).append(text);
        let devices = begin..text.len();
        let all = text.get(name.start..).unwrap_or_default();
        if filter.is_some_and(|filter| !filter.keeps(all)) {
            text.truncate(name.start);
            return false;
        }
        self.rows.push(Row { name, info, devices, counts: self.counts.len() });
        true
    }

    fn put(&mut self, cpus: &[Option<u32>], zeros: bool, out: &mut Sink) {
        let Self { text, rows, counts, columns } = self;
        let label = |range: &Range<usize>| text.get(range.clone()).unwrap_or_default();
        let labels = |row: &Row| (label(&row.devices), label(&row.info), label(&row.name));
        rows.sort_unstable_by(|a, b| labels(a).cmp(&labels(b)));
        columns.clear();
        columns.extend(0..cpus.len());
        columns.sort_unstable_by(|&a, &b| {
            let number = |column| cpus.get(column).copied().flatten().unwrap_or_default();
            let (mut one, mut other) = (itoa::Buffer::new(), itoa::Buffer::new());
            one.format(number(a)).cmp(other.format(number(b)))
        });
        for &column in &*columns {
            let Some(Some(cpu)) = cpus.get(column) else { continue };
            for row in &*rows {
                let count = counts.get(row.counts + column).copied().unwrap_or(f64::NAN);
                if !count.is_nan() && (zeros || count != 0.0) {
                    let (devices, info, name) = labels(row);
                    out.put(&INTERRUPTS, [cpu, &devices, &info, &name], count);
                }
            }
        }
    }
}

/// One line, its counts unread.
#[derive(Debug, PartialEq, Eq)]
struct Interrupt<'a> {
    name: &'a str,
    counts: &'a str,
    info: &'a str,
    devices: &'a str,
}

impl Collector for Interrupts {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { file, filter, zeros, cpus, table } = self;
        file.parse(|text| {
            table.clear();
            let mut faults = Faults::default();
            faults.keep(processors(text.lines().next().unwrap_or_default(), cpus));
            faults.keep(rows_after(1, text, |line| {
                let Some(interrupt) = parse(line, cpus.len()) else { return Ok(()) };
                if !table.add(&interrupt, filter.as_mut()) {
                    return Ok(());
                }
                let mut faults = Faults::default();
                let words = interrupt.counts.split_ascii_whitespace();
                table.counts.extend(cpus.iter().zip(words).map(|(cpu, word)| {
                    let count = cpu.and_then(|_| faults.keep(decimal("count", word)));
                    count.unwrap_or(f64::NAN)
                }));
                faults.end()
            }));
            table.put(cpus, *zeros, out);
            faults.end()
        })
    }
}

/// The processors of the columns; `None` for a column whose head is malformed.
fn processors(line: &str, cpus: &mut Vec<Option<u32>>) -> Result<(), Malformed> {
    cpus.clear();
    let mut faults = Faults::default();
    for word in line.split_ascii_whitespace() {
        let cpu = number("processor", word.strip_prefix("CPU").unwrap_or(word));
        cpus.push(faults.keep(cpu.map_err(|error| error.in_line(1))));
    }
    if cpus.is_empty() {
        return Err(Malformed::new("list of processors", line).in_line(1));
    }
    faults.end()
}

/// `None` where the line lacks a description or a count for one of `cpus` processors.
fn parse(line: &str, cpus: usize) -> Option<Interrupt<'_>> {
    let (name, counts) = line.split_once(':')?;
    let name = name.trim_start();
    let mut rest = counts;
    for _ in 0..cpus {
        rest = word(rest)?.1;
    }
    let (first, devices) = word(rest)?;
    let numbered = name.parse::<u64>().is_ok();
    let (info, devices) = if numbered { (first, devices) } else { (rest, "") };
    Some(Interrupt { name, counts, info, devices })
}

/// The first word, and the text after it.
fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_ascii_start();
    let end = text.find(|c: char| c.is_ascii_whitespace()).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, sample_lines};

    const TABLE: &str = "      CPU0 CPU3\n\
        \x20 9:   0  7 IO-APIC   9-fasteoi   acpi, thermal\n\
        IPI0:1  2       Rescheduling interrupts\n\
        ERR:   5\n\
        MIS:   0  1\n\
        \n";

    fn lines(args: &[&str]) -> Vec<String> {
        let machine = Machine::new().with("proc/interrupts", TABLE);
        let (text, result) = machine.collect(&SPEC, args);
        result.unwrap();
        text.lines()
            .filter_map(|line| line.strip_prefix("node_interrupts_total"))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn names_may_touch_counts_and_processors_may_be_offline() {
        assert_eq!(
            lines(&[]),
            [
                r#"{cpu="0",devices="",info="Rescheduling interrupts",type="IPI0"} 1"#,
                r#"{cpu="0",devices="9-fasteoi acpi, thermal",info="IO-APIC",type="9"} 0"#,
                r#"{cpu="3",devices="",info="Rescheduling interrupts",type="IPI0"} 2"#,
                r#"{cpu="3",devices="9-fasteoi acpi, thermal",info="IO-APIC",type="9"} 7"#,
            ]
        );
    }

    #[test]
    fn filters_see_name_info_and_devices() {
        assert_eq!(
            lines(&["--collector.interrupts.name-include=^9;IO-APIC;9-fasteoi acpi"]).len(),
            2
        );
        assert_eq!(lines(&["--collector.interrupts.name-exclude=;Resch"]).len(), 2);
        assert_eq!(lines(&["--no-collector.interrupts.include-zeros"]).len(), 3);
    }

    #[test]
    fn a_text_that_is_no_table_is_refused() {
        let error = |text: &str| {
            Machine::new()
                .with("proc/interrupts", text)
                .collect(&SPEC, &[])
                .1
                .unwrap_err()
                .to_string()
        };
        assert!(error("CPU0\n 1: x IO-APIC\n").ends_with("/interrupts:2: bad count: \"x\""));
        assert!(error("CPU0 x\n").ends_with("/interrupts:1: bad processor: \"x\""));
        assert!(error("  \n").ends_with("/interrupts:1: bad list of processors: \"  \""));
    }

    #[test]
    fn a_count_or_column_that_is_malformed_hides_no_other() {
        let table = "CPU0 CPUx CPU2\n 1: 1 2 3 IO-APIC a\n 2: x 5 -6 IO-APIC b\n 3: 1\n\
                     LOC: 99999999999999999999999 7 9 Local\n";
        let (text, result) = Machine::new().with("proc/interrupts", table).collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("proc/interrupts:1: bad processor: \"x\""), "{error}");
        let values: Vec<_> =
            sample_lines(&text).filter_map(|line| Some(line.rsplit_once(' ')?.1)).collect();
        assert_eq!(values, ["1e+23", "1", "9", "3", "-6"], "{text}");
    }

    #[test]
    fn interrupts_may_be_named_after_interfaces_that_are_not_utf8() {
        let machine = Machine::new().with("proc/interrupts", b"CPU0\n 1: 5 PCI-MSI \xffth0-tx\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        result.unwrap();
        assert!(text.contains("devices=\"\u{fffd}th0-tx\"") && text.ends_with(" 5\n"), "{text}");
    }

    #[test]
    fn lines_of_another_form_are_skipped() {
        for line in ["", "x", "ERR: 5", "MIS: 1 2", "NMI: 1 "] {
            assert_eq!(parse(line, 2), None, "{line}");
        }
        assert!(parse("NMI:1 2 x", 2).is_some());
    }
}
