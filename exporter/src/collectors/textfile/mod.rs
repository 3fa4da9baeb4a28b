//! Metrics that other programs write into files: `*.prom` in the folders of
//! `--collector.textfile.directory`, in the text format.
//!
//! The paths of the folders are taken as given, not below `--path.rootfs`.

mod complaints;
mod files;
mod parse;

use crate::{exposition::Kind, memory::trim, prelude::*};
use complaints::Complaints;
use files::{expand, join, read, text_files};
use hashbrown::HashMap;
use parse::{Family, Parts};
use std::{cmp::Ordering, collections::BTreeMap, path::Path};

static DIRECTORY: Flag<Vec<String>> = texts(
    "collector.textfile.directory",
    "Directory to read text files with metrics from, supports glob matching. (repeatable)",
)
.variable("NODE_EXPORTER_TEXTFILE_DIRECTORY"); // a package's default, which ARGS replace
static MAX_SIZE: Flag<u64> = Flag::value(
    "collector.textfile.max-size",
    &["67108864"],
    "Size in bytes up to which text files are read. Use 0 to disable.",
);

pub const SPEC: Spec = Spec {
    name: "textfile",
    enabled: true,
    capabilities: CapabilitySet::DAC_READ_SEARCH,
    flags: &[&DIRECTORY, &MAX_SIZE],
    new: |_, flags| {
        Ok(Box::new(TextFile {
            folders: flags.get(&DIRECTORY),
            max_size: flags.get(&MAX_SIZE),
            complaints: Complaints::default(),
        }))
    },
};

static MTIME: Metric<1> =
    gauge("node_textfile_mtime_seconds", "Unixtime mtime of textfiles successfully read.")
        .by(["file"]);
static SCRAPE_ERROR: Metric = gauge(
    "node_textfile_scrape_error",
    "1 if there was an error opening or reading a file, 0 otherwise",
);

/// After a scrape of more bytes than this, the freed memory is given back to the kernel.
const LARGE: u64 = 4 << 20;
/// Every sample of a family gets the label names of all its samples. This is the most labels that a
/// family may gain so.
const ADDED_LABELS: usize = 1_000_000;

struct TextFile {
    folders: Vec<String>,
    max_size: u64,
    complaints: Complaints,
}

impl Collector for TextFile {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let mut gathered = Gathered::new(&mut self.complaints, self.max_size);
        for path in self.folders.iter().flat_map(|pattern| expand(pattern)) {
            gathered.folder(&path);
        }
        let bytes = gathered.bytes;
        gathered.put(out);
        self.complaints.end();
        if bytes > LARGE {
            trim();
        }
        Ok(())
    }
}

/// A family's name, as the files read so far use it.
#[derive(Default)]
struct Name {
    help: Option<String>,
    /// Files had different help texts: no more families of this name are taken.
    disputed: bool,
    files: Vec<String>,
}

/// The content of the files of one scrape.
struct Gathered<'a> {
    complaints: &'a mut Complaints,
    max_size: u64,
    failed: bool,
    bytes: u64,
    mtimes: BTreeMap<String, i64>,
    names: HashMap<String, Name>,
    families: Vec<Family>,
}

impl<'a> Gathered<'a> {
    fn new(complaints: &'a mut Complaints, max_size: u64) -> Self {
        let (mtimes, names) = (BTreeMap::new(), HashMap::new());
        Self { complaints, max_size, failed: false, bytes: 0, mtimes, names, families: Vec::new() }
    }

    fn fail(&mut self, what: &str, err: &str) {
        self.failed = true;
        self.complaints.say(what, err);
    }

    fn folder(&mut self, path: &Path) {
        if path.as_os_str().is_empty() {
            return;
        }
        let files = match text_files(path) {
            Ok(files) => files,
            Err(e) => return self.fail("folder left out", &format!("{}: {e}", path.display())),
        };
        for name in files {
            let path = join(path, &name);
            match read(&path, self.max_size) {
                Ok(content) => {
                    let path = path.display().to_string();
                    self.bytes += content.bytes;
                    for family in content.families {
                        self.family(&path, family);
                    }
                    self.mtimes.insert(path, content.mtime);
                }
                Err(e) => self.fail("textfile left out", &e),
            }
        }
    }

    /// Takes a family, unless its help text differs from that of the files before.
    fn family(&mut self, path: &str, family: Family) {
        let (own, all) = family.labels();
        if all > own.saturating_add(ADDED_LABELS) {
            let name = &family.name;
            let err = format!("{path}: {name}: its samples differ too much in their labels");
            return self.fail("family left out", &err);
        }
        let name = self.names.entry_ref(&family.name).or_default();
        let differs = match (&name.help, &family.help) {
            (Some(first), Some(this)) => first != this,
            _ => false,
        };
        if differs || name.disputed {
            // As upstream, an empty help text does not shut out the families that follow.
            name.disputed = family.help.as_ref().is_none_or(|help| !help.is_empty());
            let err = format!(
                "{path}: {}: help text {:?}, but {:?} in {}",
                family.name,
                family.help.as_deref().unwrap_or_default(),
                name.help.as_deref().unwrap_or_default(),
                name.files.first().map_or("a file before", String::as_str),
            );
            self.fail("family left out", &err);
            return;
        }
        if family.help.is_some() {
            name.help.clone_from(&family.help);
        }
        name.files.push(path.to_owned());
        self.families.push(family);
    }

    fn put(self, out: &mut Sink) {
        for (path, mtime) in &self.mtimes {
            out.put(&MTIME, [path], *mtime);
        }
        out.put(&SCRAPE_ERROR, [], u64::from(self.failed));
        let no_help: HashMap<&str, String> = (self.families.iter())
            .filter(|family| family.help.is_none())
            .filter_map(|family| Some((family.name.as_str(), self.names.get(&family.name)?)))
            .map(|(name, known)| (name, format!("Metric read from {}", known.files.join(", "))))
            .collect();
        // The kind and help text of each family put so far, with which families of that name must
        // agree.
        let mut done: HashMap<&str, (Kind, &str)> = HashMap::new();
        done.insert(&MTIME.name, (MTIME.kind, &MTIME.help));
        done.insert(&SCRAPE_ERROR.name, (SCRAPE_ERROR.kind, &SCRAPE_ERROR.help));
        for family in &self.families {
            let no_help = no_help.get(family.name.as_str()).map(String::as_str);
            let help = family.help.as_deref().or(no_help).unwrap_or_default();
            let kind = family.kind();
            let collides = collides(&done, &family.name, kind);
            let (first_kind, first_help) = *done.entry(&family.name).or_insert((kind, help));
            if collides || (first_kind, first_help) != (kind, help) {
                if collides {
                    done.remove(family.name.as_str());
                }
                let err = format!(
                    "{}: another family has its samples' names, or its name with another type or help text",
                    family.name
                );
                self.complaints.say("family left out", &err);
                continue;
            }
            put(out, family, help);
        }
    }
}

/// Whether samples of this family would have the names of another family's samples.
fn collides(done: &HashMap<&str, (Kind, &str)>, name: &str, kind: Kind) -> bool {
    let suffixes = |kind| -> &[&str] {
        match kind {
            Kind::Histogram => &["_count", "_sum", "_bucket"],
            Kind::Summary => &["_count", "_sum"],
            _ => &[],
        }
    };
    let among = ["_count", "_sum", "_bucket"].iter().any(|suffix| {
        let base = name.strip_suffix(suffix).and_then(|base| done.get(base));
        base.is_some_and(|&(kind, _)| suffixes(kind).contains(suffix))
    });
    among
        || suffixes(kind).iter().any(|suffix| done.contains_key(format!("{name}{suffix}").as_str()))
}

/// Puts a family, each sample with the label names of all samples.
fn put(out: &mut Sink, family: &Family, help: &str) {
    let names = family.label_names();
    let kind = family.kind();
    let out = out.family(&family.name, help, kind);
    let mut labels: Vec<(&str, &str)> = Vec::with_capacity(names.len());
    let none = Parts::default();
    for (own, sample) in family.samples() {
        labels.clear();
        let mut own = own.peekable(); // sorted by name, as `names` is
        labels.extend(names.iter().map(|&name| {
            let value = own.next_if(|(own, _)| *own == name).map_or("", |(_, value)| value);
            (name, value)
        }));
        let parts = sample.parts.as_deref().unwrap_or(&none);
        let points = || points(&parts.points);
        match kind {
            Kind::Histogram => out.histogram(&labels, &points(), parts.sum, parts.count),
            Kind::Summary => out.summary(&labels, &points(), parts.sum, parts.count),
            Kind::Counter | Kind::Gauge | Kind::Untyped => out.sample(&labels, sample.value),
        }
    }
}

/// The points in rising order of their bounds; of several points with one bound, the last.
fn points(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = points.iter().rev().copied().collect();
    // The sort is stable; no bound is NaN, and 0 equals -0.
    points.sort_by(|(a, _), (b, _)| a.partial_cmp(b).unwrap_or(Ordering::Equal));
    #[expect(clippy::float_cmp, reason = "bounds are the same only where they are equal")]
    points.dedup_by(|(a, _), (b, _)| a == b);
    points
}

#[cfg(test)]
mod tests;
