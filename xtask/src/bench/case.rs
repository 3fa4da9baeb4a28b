//! The cases of `cargo xtask bench --case`: machines that have much of one thing.
//!
//! Each case makes its load in namespaces of its own for the network and for mounts, which end with
//! it.

use super::{
    Run,
    load::{self, Held, Holder},
    subject::Subject,
};
use anyhow::{Context as _, Result, ensure};
use nix::sched::{CloneFlags, setns};
use std::{env, fs::File, path::PathBuf};
use testbed::namespace::enter;

/// A machine that has much of one thing.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// The number of the things.
    size: u32,
    /// Makes that many.
    load: fn(u32) -> Result<Held>,
    /// Whether the thresholds of the neighbour tables have to let them in.
    are_neighbours: bool,
    /// The part of their number that a line of an answer shows.
    shown: fn(&str) -> f64,
    scrapes: u32,
    flags: &'static [&'static str],
    /// The names of the tables, and the flags of this exporter alone.
    runs: &'static [(&'static str, &'static [&'static str])],
}

/// All cases. Links come after neighbours: the kernel takes a minute to remove them, and the programs
/// that count neighbours see the interfaces of all namespaces. Processes come last, as their ends
/// raise the load average.
pub(super) const ALL: [Case; 5] = [
    Case {
        name: "neighbours",
        size: 500_000,
        load: load::neighbours,
        are_neighbours: true,
        shown: |line| value(line, "node_arp_entries{device=\"n0\"} "),
        scrapes: 15,
        flags: &["--collector.disable-defaults", "--collector.arp"],
        // The room that the exporter would choose by itself if the namespace showed the thresholds.
        runs: &[("neighbours", &["--bpf.required", "--bpf.neighbour-map-entries=540000"])],
    },
    Case {
        name: "sockets",
        size: 119_000,
        load: load::sockets,
        are_neighbours: false,
        shown: |line| value(line, "node_tcp_connection_states{state=\"established\"} "),
        scrapes: 20,
        flags: &["--collector.disable-defaults", "--collector.tcpstat"],
        runs: &[("sockets", &[])],
    },
    Case {
        name: "mounts",
        size: 1000,
        load: load::mounts,
        are_neighbours: false,
        shown: |line| line.starts_with("node_filesystem_size_bytes{").into(),
        scrapes: 50,
        flags: &[
            "--collector.disable-defaults",
            "--collector.filesystem",
            "--collector.filesystem.fs-types-exclude=^none$",
        ],
        runs: &[("mounts", &[])],
    },
    Case {
        name: "links",
        size: 2000,
        load: load::links,
        are_neighbours: false,
        shown: |line| line.starts_with("node_network_up{").into(),
        scrapes: 15,
        flags: &[],
        runs: &[("links", &[])],
    },
    Case {
        name: "processes",
        size: 10_000,
        load: load::processes,
        are_neighbours: false,
        // As many more threads are there.
        shown: |line| value(line, "node_processes_threads ") / 2.0,
        scrapes: 20,
        flags: &["--collector.disable-defaults", "--collector.processes"],
        runs: &[("processes", &["--bpf.required"]), ("processes, by /proc", &["--no-bpf"])],
    },
];

/// The value of a sample.
fn value(line: &str, sample: &str) -> f64 {
    line.strip_prefix(sample).and_then(|value| value.parse().ok()).unwrap_or_default()
}

impl Case {
    /// The cases of some names; `all` is the name of all. None where a name is of no case.
    pub(super) fn named(names: &[&str]) -> Option<Vec<&'static Self>> {
        let is_wanted = |case: &&Self| names.contains(&"all") || names.contains(&case.name);
        let is_known = |name: &&str| *name == "all" || ALL.iter().any(|case| case.name == *name);
        names.iter().all(is_known).then(|| ALL.iter().filter(is_wanted).collect())
    }

    pub(super) fn runs(&'static self) -> impl Iterator<Item = Run> {
        let texts = |flags: &[&str]| flags.iter().map(|flag| (*flag).to_owned()).collect();
        self.runs.iter().map(move |(name, own_flags)| Run {
            flags: texts(self.flags),
            own_flags: texts(own_flags),
            // The loop does not make the calls by which eBPF answers.
            has_share: !own_flags.contains(&"--bpf.required"),
            case: Some(self),
            ..Run::new(name, self.scrapes)
        })
    }

    /// Makes the load, which ends when dropped.
    pub(super) fn begin(&self) -> Result<Load> {
        let room = self.size + 10_000;
        // Only the first namespace has them.
        let thresholds =
            self.are_neighbours.then(|| Holder::start("thresholds", room)).transpose()?;
        let inside = Inside::enter()?;
        let held = (self.load)(self.size).with_context(|| format!("the load of {}", self.name))?;
        Ok(Load { _held: held, _inside: inside, _thresholds: thresholds })
    }

    /// Holds an exporter to the number of things that are there.
    pub(super) fn check(&self, subject: &mut Subject) -> Result<()> {
        let mut shown = 0.0;
        subject.lines(|line| shown += (self.shown)(line))?;
        let (name, size) = (self.name, self.size);
        ensure!(shown >= f64::from(size), "{}: {shown} {name}, not {size}", subject.name());
        Ok(())
    }
}

/// A load and its surroundings, which end in this order.
pub(super) struct Load {
    _held: Held,
    _inside: Inside,
    _thresholds: Option<Holder>,
}

/// New namespaces of this thread; the former ones are entered again when dropped.
///
/// The thread is the first of the process: `/proc/net` and `/proc/self` show the first thread's.
struct Inside {
    before: [(File, CloneFlags); 2],
    /// Entering a namespace of mounts leads to its root.
    folder: PathBuf,
}

impl Inside {
    fn enter() -> Result<Self> {
        let kinds = [("net", CloneFlags::CLONE_NEWNET), ("mnt", CloneFlags::CLONE_NEWNS)];
        let [network, mounts] = kinds.map(|(name, kind)| {
            let path = format!("/proc/self/ns/{name}");
            File::open(&path).context(path).map(|file| (file, kind))
        });
        let inside = Self { before: [network?, mounts?], folder: env::current_dir()? };
        let kinds = kinds.into_iter().map(|(_, kind)| kind).collect();
        enter(kinds).map_err(anyhow::Error::msg)?;
        Ok(inside)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        for (file, kind) in &self.before {
            if let Err(error) = setns(file, *kind) {
                println!("{kind:?} cannot be left: {error}");
            }
        }
        let _ = env::set_current_dir(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_found_by_their_names() {
        let names = |names: &[&str]| -> Vec<_> {
            Case::named(names).into_iter().flatten().map(|case| case.name).collect()
        };
        assert_eq!(names(&["links", "mounts"]), ["mounts", "links"]);
        assert_eq!(names(&["all"]), ["neighbours", "sockets", "mounts", "links", "processes"]);
        assert!(Case::named(&["links", "none"]).is_none());
    }

    #[test]
    fn answers_show_the_number_of_things() {
        let text = "# TYPE node_network_up gauge\n\
                    node_network_up{device=\"a\"} 0\n\
                    node_network_up{device=\"b\"} 1\n\
                    node_arp_entries{device=\"n0\"} 7\n\
                    node_processes_threads 12\n\
                    node_tcp_connection_states{state=\"established\"} 1.2e+03\n\
                    node_filesystem_size_bytes{device=\"a\"} 4096\n";
        let shown = ALL.map(|case| text.lines().map(case.shown).sum::<f64>().to_string());
        assert_eq!(shown, ["7", "1200", "1", "2", "6"]);
    }
}
