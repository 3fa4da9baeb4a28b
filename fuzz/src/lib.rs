//! A machine like `fixtures/baseline`, one file of which is spoiled by the fuzzer.

pub mod http;

use exporter::{collector::{Collector, Spec}, collectors::ALL, exposition::Sink, host::Host, testing::{fixture, flags, golden_flags}};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The machine, and which collectors read each of its files.
pub struct Machine {
    root: tempfile::TempDir,
    files: Vec<Target>,
}

struct Target {
    path: PathBuf,
    good: Vec<u8>,
    readers: Vec<&'static Spec>,
}

impl Machine {
    /// Copies the baseline, and finds the readers of each file below `folders`: the collectors
    /// whose output changes where the file is spoiled.
    pub fn new(folders: &[&str]) -> Self {
        let root =
            tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" })
                .expect("a temporary folder");
        let mut paths = Vec::new();
        copy(&fixture("baseline"), root.path(), &mut paths);
        let mut machine = Self { root, files: Vec::new() };
        let normal: Vec<_> = ALL.iter().map(|spec| machine.collect(spec)).collect();
        for path in paths {
            if !folders.iter().any(|folder| path.starts_with(machine.root.path().join(folder))) {
                continue;
            }
            let good = fs::read(&path).expect("a copied file");
            let mut readers = Vec::new();
            for spoiled in [&b"\xff"[..], b"7 x\n"] {
                fs::write(&path, spoiled).expect("a writable file");
                for (spec, normal) in ALL.iter().zip(&normal) {
                    if machine.collect(spec) != *normal
                        && !readers.iter().any(|reader: &&Spec| reader.name == spec.name)
                    {
                        readers.push(*spec);
                    }
                }
            }
            fs::write(&path, &good).expect("a writable file");
            // Output that differs at every scrape, such as a clock's, does not show a reader.
            readers.retain(|spec| machine.collect(spec) == machine.collect(spec));
            if !readers.is_empty() {
                machine.files.push(Target { path, good, readers });
            }
        }
        assert!(!machine.files.is_empty(), "no collector reads any file of {folders:?}");
        machine
    }

    fn make(&self, spec: &Spec) -> Box<dyn Collector> {
        let flags = flags(&golden_flags(self.root.path()));
        (spec.new)(&Host::new(&flags), &flags).expect("a collector")
    }

    fn collect(&self, spec: &Spec) -> (String, bool) {
        let mut sink = Sink::default();
        sink.begin(1);
        let good = self.make(spec).collect(&mut sink).is_ok();
        let mut body = Vec::new();
        exporter::exposition::text::append(&[&sink], None, &mut Default::default(), &mut body);
        (String::from_utf8(body).expect("the text is UTF-8"), good)
    }

    /// The first byte chooses the file, the rest says how its text is spoiled (see [`edit`]).
    pub fn feed(&self, data: &[u8]) {
        let Some((&choice, edits)) = data.split_first() else { return };
        let target = &self.files[usize::from(choice) % self.files.len()];
        let text = &edit(&target.good, edits);
        for spec in &target.readers {
            spoil(spec, &mut *self.make(spec), |is_spoiled| {
                let text = if is_spoiled { text } else { &target.good };
                fs::write(&target.path, text).expect("a writable file");
            });
        }
    }
}

/// Runs a collector on a machine that `set` makes, spoiled (`true`) and then good. The collector must
/// expose whole lines of UTF-8, and read the good machine as if it had never read the other.
pub fn spoil(spec: &Spec, collector: &mut dyn Collector, mut set: impl FnMut(bool)) {
    let mut sink = Sink::default();
    for (scrape, is_spoiled) in [(1, true), (2, false)] {
        set(is_spoiled);
        sink.begin(scrape);
        let result = collector.collect(&mut sink);
        let mut body = Vec::new();
        exporter::exposition::text::append(&[&sink], None, &mut Default::default(), &mut body);
        let body = String::from_utf8(body).expect("the text is UTF-8");
        assert!(body.is_empty() || body.ends_with('\n'));
        assert!(is_spoiled || result.is_ok(), "{}: {:?} stays", spec.name, result.err());
    }
}

/// Edits `good`. Each edit has a position (two bytes), the number of bytes that are cut there, the
/// number of bytes that are put in their place, and these bytes. An edit that begins past the end
/// replaces the whole text.
pub fn edit(good: &[u8], mut edits: &[u8]) -> Vec<u8> {
    let mut text = good.to_vec();
    while let [high, low, cut, put, rest @ ..] = edits {
        let at = usize::from(u16::from_be_bytes([*high, *low]));
        let (put, rest) = rest.split_at(usize::from(*put).min(rest.len()));
        let range = if at > text.len() {
            0..text.len()
        } else {
            at..(at + usize::from(*cut)).min(text.len())
        };
        text.splice(range, put.iter().copied());
        edits = rest;
    }
    text
}

fn copy(from: &Path, to: &Path, files: &mut Vec<PathBuf>) {
    fs::create_dir_all(to).expect("a folder");
    let mut entries: Vec<_> =
        fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if let Ok(target) = fs::read_link(&from) {
            std::os::unix::fs::symlink(target, to).expect("a link");
        } else if from.is_dir() {
            copy(&from, &to, files);
        } else {
            fs::copy(&from, &to).expect("a copy");
            files.push(to);
        }
    }
}
