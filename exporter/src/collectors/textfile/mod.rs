//! Metrics that others write into files: `*.prom` in the folders of
//! `--collector.textfile.directory`, in the text format.
//!
//! The folders are the user's, not the machine's: they are not below `--path.rootfs`.

mod files;
mod parse;

use crate::{exposition::Kind, prelude::*};
use files::{clean, expand, read, text_files};
use hashbrown::{HashMap, HashSet};
use parse::{Family, Sample};
use tracing::error;

static DIRECTORY: Flag<Vec<String>> = texts(
    "collector.textfile.directory",
    "Directory to read text files with metrics from, supports glob matching. (repeatable)",
);

pub const SPEC: Spec = Spec {
    name: "textfile",
    enabled: true,
    capabilities: CapabilitySet::DAC_READ_SEARCH,
    flags: &[&DIRECTORY],
    new: |_, flags| Ok(Box::new(TextFile(flags.get(&DIRECTORY)))),
};

static MTIME: Metric<1> =
    gauge("node_textfile_mtime_seconds", "Unixtime mtime of textfiles successfully read.")
        .by(["file"]);
static SCRAPE_ERROR: Metric = gauge(
    "node_textfile_scrape_error",
    "1 if there was an error opening or reading a file, 0 otherwise",
);

struct TextFile(Vec<String>);

impl Collector for TextFile {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let mut gathered = Gathered::default();
        for path in self.0.iter().flat_map(|pattern| expand(pattern)) {
            gathered.folder(&path);
        }
        gathered.put(out);
        Ok(())
    }
}

/// What is known of a name from the files read so far.
#[derive(Default)]
struct Name {
    help: Option<String>,
    /// Files had different help texts: no more are taken.
    disputed: bool,
    files: Vec<String>,
}

/// What the files of one scrape say.
#[derive(Default)]
struct Gathered {
    failed: bool,
    mtimes: Vec<(String, i64)>,
    names: HashMap<String, Name>,
    families: Vec<Family>,
}

impl Gathered {
    fn folder(&mut self, path: &str) {
        if path.is_empty() {
            return;
        }
        let files = match text_files(path) {
            Ok(files) => files,
            Err(e) => {
                self.failed = true;
                error!(path, "cannot list the folder: {e}");
                return;
            }
        };
        for name in files {
            let path = clean(&format!("{path}/{name}"));
            match read(&path) {
                Ok((mtime, families)) => {
                    for family in families {
                        self.family(&path, family);
                    }
                    self.mtimes.push((path, mtime));
                }
                Err(e) => {
                    self.failed = true;
                    error!(file = path, "textfile left out: {e}");
                }
            }
        }
    }

    /// Takes a family, unless its help text is not that of the files before.
    fn family(&mut self, path: &str, family: Family) {
        let name = self.names.entry_ref(&family.name).or_default();
        let differs = match (&name.help, &family.help) {
            (Some(first), Some(this)) => first != this,
            _ => false,
        };
        if differs || name.disputed {
            // As upstream, an empty text is no dispute for those that follow.
            name.disputed = family.help.as_ref().is_none_or(|help| !help.is_empty());
            self.failed = true;
            error!(
                metric = family.name,
                original_help_text = name.help,
                new_help_text = family.help,
                file = name.files.first(),
                "family left out: its help text differs from that of a file before"
            );
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
        // The kinds and help texts that have been put, which those of other files must share.
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
                error!(
                    metric = family.name,
                    "left out: another textfile metric has this name with another type or help text"
                );
                continue;
            }
            put(out, family, help);
        }
    }
}

/// Whether samples of this family would have the names of another family's.
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

/// Puts a family, each sample with the label names of all.
fn put(out: &mut Sink, family: &Family, help: &str) {
    let mut names: Vec<&str> = Vec::new();
    let mut seen: HashSet<&str> = HashSet::new();
    for (name, _) in family.samples.iter().flat_map(|sample| &sample.labels) {
        if seen.insert(name) {
            names.push(name);
        }
    }
    names.sort_unstable();
    let kind = family.kind();
    let out = out.family(&family.name, help, kind);
    let mut labels: Vec<(&str, &str)> = Vec::with_capacity(names.len());
    for sample in &family.samples {
        labels.clear();
        let mut own = sample.labels.iter().peekable(); // in the order of their names, too
        labels.extend(names.iter().map(|&name| {
            let value = own.next_if(|(own, _)| own == name).map_or("", |(_, value)| value);
            (name, value)
        }));
        match kind {
            Kind::Histogram => {
                let buckets: Vec<(f64, u64)> =
                    points(sample).into_iter().map(|(bound, n)| (bound, whole(n))).collect();
                out.histogram(&labels, &buckets, sample.sum, whole(sample.count));
            }
            Kind::Summary => out.summary(&labels, &points(sample), sample.sum, whole(sample.count)),
            Kind::Counter | Kind::Gauge | Kind::Untyped => out.sample(&labels, sample.value),
        }
    }
}

/// In rising order; of several with one bound, the last.
fn points(sample: &Sample) -> Vec<(f64, f64)> {
    let mut points = sample.points.clone();
    points.reverse();
    points.sort_by(|(a, _), (b, _)| a.total_cmp(b)); // stable; there is no NaN among them
    #[expect(clippy::float_cmp, reason = "bounds are the same only where they are equal")]
    points.dedup_by(|(a, _), (b, _)| a == b);
    points
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count that is none becomes the nearest"
)]
const fn whole(count: f64) -> u64 {
    count as u64
}

#[cfg(test)]
#[cfg(test)]
mod tests;
