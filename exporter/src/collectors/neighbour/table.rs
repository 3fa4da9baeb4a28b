//! How full the tables are, and when they refuse more: `/proc/net/stat/arp_cache` and its like.

use crate::prelude::*;

static ENTRIES: Metric<1> = gauge(
    "node_neighbour_table_entries",
    "Entries of a table, in all network namespaces and of all states.",
)
.by(["family"]);
static THRESHOLD: Metric<2> = gauge(
    "node_neighbour_table_threshold",
    "Entries from which on a table is cleaned at times (1), soon (2), or refuses more (3).",
)
.by(["family", "level"]);
static FORCED: Metric<1> = counter(
    "node_neighbour_table_forced_gc_runs_total",
    "How often a table was cleaned to make room for an entry.",
)
.by(["family"]);

const LEVELS: [&str; 3] = ["1", "2", "3"];

pub(super) struct Tables([Table; 2]);

struct Table {
    family: &'static str,
    /// A line for each processor below the names of the columns.
    stat: File,
    thresholds: [SingleFile; 3],
}

/// The content of the file, as far as it is exposed.
#[derive(Debug, Default, PartialEq)]
struct Stat {
    entries: u64,
    forced_gc_runs: u64,
}

impl Tables {
    pub(super) fn new(host: &Host) -> Self {
        let table = |family, stat, version| Table {
            family,
            stat: host.proc.file(stat),
            thresholds: LEVELS.map(|level| {
                host.proc.single_file(&format!("sys/net/{version}/neigh/default/gc_thresh{level}"))
            }),
        };
        Self([
            table("ipv4", "net/stat/arp_cache", "ipv4"),
            table("ipv6", "net/stat/ndisc_cache", "ipv6"),
        ])
    }

    /// Puts the tables; `sizes` are told where the file is not there.
    pub(super) fn collect(&mut self, sizes: Option<[u64; 2]>, out: &mut Sink) -> Result {
        for (i, table) in self.0.iter_mut().enumerate() {
            match present(table.stat.parse(parse))? {
                Some(stat) => {
                    out.put(&ENTRIES, [&table.family], stat.entries);
                    out.put(&FORCED, [&table.family], stat.forced_gc_runs);
                }
                None => {
                    if let Some(&size) = sizes.as_ref().and_then(|sizes| sizes.get(i)) {
                        out.put(&ENTRIES, [&table.family], size);
                    }
                }
            }
            for (level, file) in LEVELS.iter().zip(&mut table.thresholds) {
                let threshold = |text: &str| text.split_ascii_whitespace().number("threshold");
                if let Some(threshold) = present::<u64>(file.parse(threshold))? {
                    out.put(&THRESHOLD, [&table.family, level], threshold);
                }
            }
        }
        Ok(())
    }
}

/// A file that only the initial network namespace has.
fn present<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_absent() => Ok(None),
        Err(error) => Err(error),
    }
}

fn parse(text: &str) -> Result<Stat, Malformed> {
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let column = |name| {
        let place = head.split_ascii_whitespace().position(|title| title == name);
        place.ok_or_else(|| Malformed::new(name, head))
    };
    let (entries, forced) = (column("entries")?, column("forced_gc_runs")?);
    let mut stat = Stat::default();
    for line in lines {
        let number = |place| {
            let word = line.split_ascii_whitespace().nth(place).unwrap_or_default();
            u64::from_str_radix(word, 16).map_err(|_| Malformed::new("counter", line))
        };
        // Each line has the entries of the whole table, and the runs of one processor.
        stat.entries = number(entries)?;
        stat.forced_gc_runs = stat.forced_gc_runs.wrapping_add(number(forced)?);
    }
    Ok(stat)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::malformed;

    #[test]
    fn columns_are_found_by_their_names() {
        let text = "entries  new forced_gc_runs\n000000ff 1 0000000a\n000000ff 1 00000001\n";
        assert_eq!(parse(text), Ok(Stat { entries: 255, forced_gc_runs: 11 }));
        assert_eq!(parse("forced_gc_runs entries\n"), Ok(Stat::default()));
    }

    #[test]
    fn what_is_no_table_is_refused() {
        assert_eq!(malformed(parse("")), "bad entries: \"\"");
        assert_eq!(malformed(parse("entries\n1\n")), "bad forced_gc_runs: \"entries\"");
        assert_eq!(malformed(parse("entries forced_gc_runs\n1\n")), "bad counter: \"1\"");
        assert_eq!(malformed(parse("entries forced_gc_runs\n1 -1\n")), "bad counter: \"1 -1\"");
    }
}
