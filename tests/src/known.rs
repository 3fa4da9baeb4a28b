//! Collectors that know a machine made of files from earlier scrapes, and such machines.

use exporter::{
    collector::{Collector, Spec},
    collectors::ALL,
    error::Error,
    exposition::Sink,
    host::Host,
    testing::flags,
};
use std::{fs, path::Path};

/// A collector, and the sink that it has from one scrape to the next.
pub struct Known {
    /// Its name, and the way to make it.
    pub spec: &'static Spec,
    collector: Box<dyn Collector>,
    /// The samples of the last scrape.
    pub sink: Sink,
}

impl Known {
    /// The collectors that read files, of a machine that the arguments name; the others ask servers or
    /// the kernel.
    ///
    /// # Panics
    /// The arguments are wrong.
    #[must_use]
    pub fn all(args: &[String]) -> Vec<Self> {
        let flags = flags(args);
        let host = Host::new(&flags);
        let new = |spec: &'static Spec| Self {
            spec,
            collector: (spec.new)(&host, &flags).expect("a collector that can be made"),
            sink: Sink::default(),
        };
        ALL.iter()
            .copied()
            .filter(|spec| !["ntp", "perf", "supervisord"].contains(&spec.name))
            .map(new)
            .collect()
    }

    /// A new scrape, for which nothing was read yet.
    ///
    /// # Errors
    /// The collector's.
    pub fn scrape(&mut self) -> Result<(), Error> {
        self.sink.begin(self.sink.scrape() + 1);
        self.collector.collect(&mut self.sink)
    }
}

/// Copies a machine's files as `spoil` changes them; links that are there already stay.
///
/// # Panics
/// A file cannot be read or written.
pub fn copy(from: &Path, to: &Path, spoil: &dyn Fn(Vec<u8>) -> Vec<u8>) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let from = entry.expect("an entry").path();
        let to = to.join(from.file_name().expect("a name"));
        if to.is_symlink() {
            continue;
        }
        if from.is_symlink() {
            let target = fs::read_link(from).expect("a link");
            std::os::unix::fs::symlink(target, to).expect("a new link");
        } else if from.is_dir() {
            copy(&from, &to, spoil);
        } else {
            fs::write(to, spoil(fs::read(from).expect("a file"))).expect("a new file");
        }
    }
}
