//! The tables' sizes, forced collections and thresholds: `/proc/net/stat/arp_cache`, `ndisc_cache`,
//! and the files `gc_thresh1` to `gc_thresh3`.

use crate::{
    parse::{hexadecimal, rows_after},
    prelude::*,
};

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
    /// The names of the columns, then a line for each processor.
    stat: File,
    thresholds: [SingleFile; 3],
}

/// The exposed numbers of the file. A sum is `None` where one of its parts is malformed.
#[derive(Debug, Default, PartialEq)]
struct Stat {
    entries: Option<f64>,
    forced_gc_runs: Option<f64>,
}

impl Tables {
    pub(super) fn new(host: &Host) -> Self {
        let table = |family, stat, version| Table {
            family,
            stat: host.net.file(stat),
            thresholds: LEVELS.map(|level| {
                host.proc.single_file(&format!("sys/net/{version}/neigh/default/gc_thresh{level}"))
            }),
        };
        Self([table("ipv4", "stat/arp_cache", "ipv4"), table("ipv6", "stat/ndisc_cache", "ipv6")])
    }

    /// Puts the tables; `sizes` stand in for the file where the file does not exist.
    pub(super) fn collect(&mut self, sizes: Option<[u64; 2]>, out: &mut Sink) -> Result {
        let mut faults = Faults::default();
        for (i, table) in self.0.iter_mut().enumerate() {
            let mut stat = Stat::default();
            let parsed = table.stat.parse(|text| parse(text, &mut stat));
            if faults.keep(present(parsed)) == Some(None) {
                let size = sizes.as_ref().and_then(|sizes| sizes.get(i));
                stat.entries = size.map(|&size| size as f64);
            }
            for (metric, value) in [(&ENTRIES, stat.entries), (&FORCED, stat.forced_gc_runs)] {
                if let Some(value) = value {
                    out.put(metric, [&table.family], value);
                }
            }
            for (level, file) in LEVELS.iter().zip(&mut table.thresholds) {
                let threshold = |text: &str| text.split_ascii_whitespace().decimal("threshold");
                if let Some(threshold) = faults.keep(present(file.parse(threshold))).flatten() {
                    out.put(&THRESHOLD, [&table.family, level], threshold);
                }
            }
        }
        faults.end()
    }
}

/// `None` where the file does not exist: only the initial network namespace has it.
fn present<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_absent() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Each line has the number of entries in the whole table, and the forced collections of one
/// processor.
fn parse(text: &str, stat: &mut Stat) -> Result<(), Malformed> {
    let head = text.lines().next().unwrap_or_default();
    let titles = head.split_ascii_whitespace().count();
    let mut faults = Faults::default();
    let mut column = |name| {
        let place = head.split_ascii_whitespace().position(|title| title == name);
        faults.keep(place.ok_or_else(|| Malformed::new(name, head)))
    };
    let (entries, forced) = (column("entries"), column("forced_gc_runs"));
    stat.forced_gc_runs = forced.map(|_| 0.0);
    faults.keep(rows_after(1, text, |line| {
        let mut words = line.split_ascii_whitespace();
        let is_number = |word| hexadecimal("counter", word).is_ok();
        // A line that is no processor's row is a fault, but takes no part away from a sum.
        if !words.next().is_some_and(is_number) && words.count() + 1 < titles {
            return Err(Malformed::new("row", line));
        }
        let mut faults = Faults::default();
        let mut number = |place: Option<usize>| {
            let word = line.split_ascii_whitespace().nth(place?).unwrap_or_default();
            faults.keep(hexadecimal("counter", word))
        };
        stat.entries = number(entries).or(stat.entries);
        let runs = number(forced);
        stat.forced_gc_runs = stat.forced_gc_runs.zip(runs).map(|(sum, runs)| sum + runs);
        faults.end()
    }));
    faults.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<f64>, Option<f64>, String) {
        let mut stat = Stat::default();
        let error = parse(text, &mut stat).err().map_or_else(String::new, |e| e.to_string());
        (stat.entries, stat.forced_gc_runs, error)
    }

    #[test]
    fn columns_are_found_by_their_names() {
        let text = "entries  new forced_gc_runs\n000000ff 1 0000000a\n000000ff 1 00000001\n";
        assert_eq!(read(text), (Some(255.0), Some(11.0), String::new()));
        assert_eq!(read("forced_gc_runs entries\n"), (None, Some(0.0), String::new()));
    }

    #[test]
    fn an_odd_column_costs_itself_alone() {
        assert_eq!(read(""), (None, None, "bad entries: \"\"".into()));
        let said = "bad forced_gc_runs: \"entries\"".into();
        assert_eq!(read("entries\n1\n"), (Some(1.0), None, said));
        let (entries, forced, said) = read("entries forced_gc_runs\n5 1\nx 2\n");
        assert_eq!((entries, forced), (Some(5.0), Some(3.0)));
        assert_eq!(said, "bad counter: \"x\"");
        let (entries, forced, said) = read("entries forced_gc_runs\n5 1\nnew\n5 2\n");
        assert_eq!((entries, forced, &*said), (Some(5.0), Some(3.0), "bad row: \"new\""));
        let (entries, forced, said) = read("entries forced_gc_runs\n5 x\n5 2\n");
        assert_eq!((entries, forced), (Some(5.0), None), "a sum without a part would be wrong");
        assert_eq!(said, "bad counter: \"x\"");
    }
}
