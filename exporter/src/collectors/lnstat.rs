//! Counters of the network's caches and tables, from the files in `/proc/net/stat`.
//!
//! Each file has a line of names, then a line of hexadecimal numbers for each processor that may
//! exist (for example `neigh_stat_seq_show()` in net/core/neighbour.c). All columns are exposed as
//! counters, even gauges with the same value on each line, such as `entries`.

use crate::{
    exposition::Kind,
    parse::{hexadecimal, rows_after},
    prelude::*,
};

pub const SPEC: Spec = Spec {
    name: "lnstat",
    enabled: false,
    capabilities: NONE,
    flags: &[],
    new: |host, _| {
        Ok(Box::new(LnStat {
            folder: host.net.folder("stat"),
            net: host.net.clone(),
            tables: Vec::new(),
        }))
    },
};

struct LnStat {
    folder: Folder,
    net: Tree,
    /// A table for each file, in the order of their names.
    tables: Vec<Table>,
}

struct Table {
    name: Box<str>,
    file: File,
    /// The line of names as it was last seen …
    head: Box<str>,
    /// … and the metric of each name.
    metrics: Vec<Metric<2>>,
}

impl Collector for LnStat {
    fn collect(&mut self, out: &mut Sink) -> Result {
        self.refresh()?;
        let mut faults = Faults::default();
        for table in &mut self.tables {
            faults.read(table.put(out).map(Some));
        }
        faults.end()
    }
}

impl LnStat {
    /// Adds tables for new files, and drops the tables of files that are gone.
    fn refresh(&mut self) -> Result {
        let Self { folder, net, tables } = self;
        let Some(entries) = folder.list().unless_absent()? else {
            tables.clear();
            return Ok(());
        };
        let mut place = 0;
        for entry in entries {
            let name = entry.name();
            while tables.get(place).is_some_and(|table| *table.name < *name) {
                tables.remove(place);
            }
            if tables.get(place).is_none_or(|table| *table.name != *name) {
                tables.insert(place, Table::new(net, &name));
            }
            place += 1;
        }
        tables.truncate(place);
        Ok(())
    }
}

impl Table {
    fn new(net: &Tree, name: &str) -> Self {
        let file = net.file(&format!("stat/{name}"));
        Self { name: name.into(), file, head: Box::default(), metrics: Vec::new() }
    }

    fn put(&mut self, out: &mut Sink) -> Result {
        let Self { name, file, head, metrics } = self;
        file.parse(|text| {
            let names = text.lines().next().unwrap_or_default();
            if **head != *names {
                *metrics = names.split_ascii_whitespace().map(metric).collect();
                *head = names.into();
            }
            let mut cpu = 0_u32;
            rows_after(1, text, |line| {
                let words = line.split_ascii_whitespace();
                let count = words.clone().count();
                if let Some(first) = words.clone().next()
                    && count < metrics.len()
                {
                    hexadecimal("line", first)?; // a malformed line takes no processor's number
                }
                let this = cpu;
                cpu += 1;
                if count > metrics.len() {
                    return Err(Malformed::new("number of values", line));
                }
                let mut faults = Faults::default();
                for (metric, word) in metrics.iter().zip(words) {
                    if let Some(value) = faults.keep(hexadecimal("value", word)) {
                        out.put(metric, [&this, name], value);
                    }
                }
                faults.end()
            })
        })
    }
}

fn metric(name: &str) -> Metric<2> {
    Metric::named(
        Kind::Counter,
        format!("node_lnstat_{name}_total"),
        "linux network cache stats".into(),
        ["cpu", "subsystem"],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        host::Host,
        testing::{Machine, flags, paths, sample_lines},
    };

    #[test]
    fn a_malformed_file_line_or_value_hides_no_other() {
        let machine = Machine::new()
            .with("proc/net/stat/a", "hits\n1\nx\n-3\n")
            .with("proc/net/stat/b", "hits\n1 2\n")
            .with("proc/net/stat/c", b"\xff\n")
            .with("proc/net/stat/d/e", "")
            .with("proc/net/stat/f", "")
            .with("proc/net/stat/g", "hits misses\nff\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("net/stat/a:3: bad value: \"x\""), "{error}");
        let samples: Vec<_> = sample_lines(&text).collect();
        assert_eq!(
            samples,
            [
                "node_lnstat_hits_total{cpu=\"0\",subsystem=\"a\"} 1",
                "node_lnstat_hits_total{cpu=\"0\",subsystem=\"g\"} 255",
                "node_lnstat_hits_total{cpu=\"2\",subsystem=\"a\"} -3",
            ]
        );
    }

    #[test]
    fn without_the_folder_there_is_nothing() {
        let (text, result) = Machine::new().collect(&SPEC, &[]);
        assert!(text.is_empty() && result.is_ok());
    }

    #[test]
    fn files_come_and_go() {
        let machine = Machine::new().with("proc/net/stat/b", "");
        let host = Host::new(&flags(&paths(machine.path())));
        let folder = host.net.folder("stat");
        let mut lnstat = LnStat { folder, net: host.net.clone(), tables: Vec::new() };
        let mut names = || {
            lnstat.refresh().unwrap();
            lnstat.tables.iter().map(|table| table.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(), ["b"]);
        let machine = machine.with("proc/net/stat/a", "").with("proc/net/stat/c", "");
        assert_eq!(names(), ["a", "b", "c"]);
        for name in ["a", "b"] {
            std::fs::remove_file(machine.path().join("proc/net/stat").join(name)).unwrap();
        }
        assert_eq!(names(), ["c"]);
    }
}
