//! A copy of the machine `baseline` whose files can be spoiled, and the collectors' exposition of
//! it.

use exporter::{
    collector::Spec,
    collectors::ALL,
    exposition::{Sink, text},
    flag::Flags,
    host::Host,
    testing::{fixture, flags, golden_flags, sample_lines},
};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::{
    collections::BTreeMap,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

/// Families whose values come from the running machine.
const LIVE: [&str; 4] =
    ["node_filesystem_", "node_time_", "node_textfile_mtime_seconds", "node_timex_"];

pub struct Machine {
    root: tempfile::TempDir,
    flags: Flags,
    files: Vec<String>,
    folders: Vec<String>,
}

/// The exposition of a collector.
#[derive(Clone)]
pub struct Output {
    pub series: BTreeMap<String, String>,
    pub success: bool,
    pub error: String,
    pub panicked: bool,
}

impl Machine {
    pub fn new() -> Self {
        let root = tests::folder();
        let flags = flags(&golden_flags(root.path()));
        let mut machine = Self { root, flags, files: Vec::new(), folders: Vec::new() };
        machine.copy(&fixture("baseline"), "");
        machine
    }

    fn copy(&mut self, from: &Path, to: &str) {
        fs::create_dir_all(self.root.path().join(to)).unwrap();
        self.folders.push(to.to_owned());
        let mut entries: Vec<_> = fs::read_dir(from).unwrap().map(Result::unwrap).collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let from = entry.path();
            let name = entry.file_name().into_string().unwrap();
            let name = if to.is_empty() { name } else { format!("{to}/{name}") };
            let path = self.root.path().join(&name);
            if let Ok(target) = fs::read_link(&from) {
                std::os::unix::fs::symlink(target, path).unwrap();
            } else if from.is_dir() {
                self.copy(&from, &name);
            } else {
                fs::write(path, fs::read(&from).unwrap()).unwrap();
                self.files.push(name);
            }
        }
    }

    /// The bytes of a file.
    pub fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.root.path().join(file)).unwrap()
    }

    pub fn write(&self, file: &str, content: impl AsRef<[u8]>) {
        fs::write(self.root.path().join(file), content).unwrap();
    }

    pub fn remove(&self, file: &str) {
        fs::remove_file(self.root.path().join(file)).unwrap();
    }

    /// The files that collectors open, each with the collectors that open it.
    pub fn readers(&self) -> Vec<(String, Vec<&'static Spec>)> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK).unwrap();
        let mut watched = BTreeMap::new();
        for folder in &self.folders {
            let path = self.root.path().join(folder);
            let watch = inotify.add_watch(&path, AddWatchFlags::IN_OPEN).unwrap();
            watched.insert(watch.as_raw(), folder);
        }
        let mut readers = BTreeMap::<String, Vec<&'static Spec>>::new();
        for &spec in ALL {
            self.collect(spec);
            while let Ok(events) = inotify.read_events() {
                for event in events {
                    let Some(name) = event.name.and_then(|name| name.into_string().ok()) else {
                        continue;
                    };
                    let folder = watched[&event.wd.as_raw()];
                    let file = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                    let specs = readers.entry(file).or_default();
                    if specs.iter().all(|other| other.name != spec.name) {
                        specs.push(spec);
                    }
                }
            }
        }
        readers.into_iter().filter(|(file, _)| self.files.contains(file)).collect()
    }

    /// Makes a collector and runs it once.
    pub fn collect(&self, spec: &Spec) -> Output {
        let mut sink = Sink::default();
        sink.begin(1);
        let result = catch_unwind(AssertUnwindSafe(|| {
            let host = Host::new(&self.flags);
            let mut collector = (spec.new)(&host, &self.flags).unwrap();
            collector.collect(&mut sink).map_err(|error| error.to_string())
        }));
        let panicked = result.is_err();
        let result = result.unwrap_or_else(|_| Err("panic".into()));
        let mut body = Vec::new();
        text::append(&[&sink], None, &mut text::Order::default(), &mut body);
        let body = String::from_utf8(body).unwrap();
        let series = sample_lines(&body).filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let is_live = LIVE.iter().any(|family| series.starts_with(family));
            Some((series.to_owned(), if is_live { String::new() } else { value.to_owned() }))
        });
        Output {
            series: series.collect(),
            success: result.is_ok(),
            error: result.err().unwrap_or_default(),
            panicked,
        }
    }
}
