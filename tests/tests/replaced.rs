//! A collector that has known a machine for long shows the same as one that sees the machine for the
//! first time, however the files have changed in between. Where a folder of files stands in for
//! `/proc` and `/sys`, they may be replaced and removed in ways that the kernel's own may not.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![expect(clippy::disallowed_methods, reason = "the test makes the machine's files")]

use exporter::{
    exposition::text::{self, Order},
    host::tree::SETTINGS_EVERY,
    testing::{fixture, golden_flags, settle},
};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tests::known::{Known, copy};

/// Families that do not come from the files as they are: read once, at the start, as by node_exporter;
/// counters of time, which do not fall; space on the disk of the test.
const OTHERS: [&str; 6] = [
    "node_cpu_isolated",
    "node_cpu_seconds_total",
    "node_cpu_guest_seconds_total",
    "node_filesystem_avail_bytes",
    "node_filesystem_files_free",
    "node_filesystem_free_bytes",
];

/// The collectors that read files at each scrape.
fn collectors(machine: &Path) -> Vec<Known> {
    let mut all = Known::all(&golden_flags(machine));
    all.retain(|known| !["dmi", "time"].contains(&known.spec.name));
    all
}

/// The collector's result and its text.
fn shown(known: &mut Known) -> String {
    let mut shown = format!("{}: {:?}\n", known.spec.name, known.scrape()).into_bytes();
    text::append(&[&known.sink], None, &mut Order::default(), &mut shown);
    let shown = String::from_utf8(shown).unwrap();
    let lines = shown.lines().filter(|line| !OTHERS.iter().any(|name| line.contains(name)));
    lines.flat_map(|line| [line, "\n"]).collect()
}

fn put_baseline(machine: &Path) {
    copy(&fixture("baseline"), machine, &|text| text);
}

/// A copy of the baseline whose collectors have known it for some scrapes.
struct Machine {
    root: tempfile::TempDir,
    known: Vec<Known>,
}

impl Machine {
    fn new() -> Self {
        let root = tests::folder();
        put_baseline(root.path());
        settle(root.path());
        let known = collectors(root.path());
        let mut machine = Self { root, known };
        for _ in 0..3 {
            machine.compare("as it is");
        }
        machine
    }

    /// Settings below a device's directory may be some scrapes old.
    fn compare(&mut self, change: &str) {
        for (known, mut fresh) in self.known.iter_mut().zip(collectors(self.root.path())) {
            let wanted = shown(&mut fresh);
            let scrapes = (0..=SETTINGS_EVERY).map(|_| shown(known));
            let others: Vec<_> = scrapes.take_while(|shown| *shown != wanted).collect();
            let found = others.len() as u64 <= SETTINGS_EVERY;
            assert!(found, "{change}: {}\ninstead of\n{wanted}", others.concat());
        }
    }

    /// Puts new trees in the place of those that are there, the digits of their files turned.
    fn replace_all(&self, turn: u8) {
        for tree in ["proc", "sys"] {
            let tree = self.root.path().join(tree);
            fs::remove_dir_all(&tree).unwrap();
        }
        put_baseline(self.root.path());
        self.replace_files(turn);
    }

    /// Puts a new file in the place of each file.
    fn replace_files(&self, turn: u8) {
        for file in self.files() {
            let content = fs::read(&file).unwrap();
            let new = file.with_extension("new");
            fs::write(&new, turned(content, turn)).unwrap();
            fs::rename(new, file).unwrap();
        }
    }

    /// The files, in the order of their paths.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.root.path().join("proc"), self.root.path().join("sys")];
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_symlink() {
                    continue;
                }
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files.sort();
        files
    }
}

/// The content with other digits.
fn turned(content: Vec<u8>, turn: u8) -> Vec<u8> {
    let turned = |byte: u8| b'0' + (byte - b'0' + turn) % 10;
    content
        .into_iter()
        .map(|byte| if byte.is_ascii_digit() { turned(byte) } else { byte })
        .collect()
}

#[test]
fn files_that_are_replaced() {
    let mut machine = Machine::new();
    for turn in [1, 2] {
        machine.replace_files(turn);
        machine.compare("other files");
    }
}

#[test]
fn files_that_are_removed_and_come_back() {
    const NTH: usize = 5;
    let mut machine = Machine::new();
    for first in 0..NTH {
        for file in machine.files().into_iter().skip(first).step_by(NTH) {
            fs::remove_file(file).unwrap();
        }
        machine.compare("fewer files");
        put_baseline(machine.root.path());
        machine.compare("the files are back");
    }
}

#[test]
fn folders_that_are_replaced() {
    let mut machine = Machine::new();
    for turn in [0, 1, 0] {
        machine.replace_all(turn);
        machine.compare("other folders");
    }
    for tree in ["proc", "sys"] {
        let tree = machine.root.path().join(tree);
        fs::rename(&tree, tree.with_extension("away")).unwrap();
    }
    machine.compare("nothing is there");
    put_baseline(machine.root.path());
    machine.compare("all is back");
}
