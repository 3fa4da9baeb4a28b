//! The sink, into which a collector puts its samples.
//!
//! A sink keeps each family's name, type and help apart from its sample lines, which are
//! written once, as text, when they are put. All buffers are kept between scrapes: a collector
//! with a steady set of series allocates nothing here from its second scrape on.

mod attempt;
mod float;
mod label;
mod merged;

pub use float::append_float;
pub use label::{Label, Spaced};
pub(in crate::exposition) use merged::Merged;

use crate::{
    error::Error,
    exposition::{Kind, Metric},
};
use float::Number;
use hashbrown::HashMap;
use label::{append_escaped, append_key, read_key};
use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

/// Scrapes for which a family without samples keeps its buffers.
const KEPT_WHILE_EMPTY: u8 = 8;
/// Scrapes for which a family with few samples keeps the buffers of many.
const KEPT_WHILE_SMALL: u8 = 8;
/// Buffers up to this many bytes are kept in any case.
const SMALL: usize = 1 << 16;
/// The least time that a collector waits, even if the scrape's answer is due earlier: a late answer
/// is better than a wrong one.
const LEAST: Duration = Duration::from_millis(250);

/// A destination of text.
pub trait Body {
    /// Takes the next pieces.
    fn append(&mut self, pieces: &[&str]);

    /// Takes bytes that are no text.
    fn append_bytes(&mut self, bytes: &[u8]);
}

impl Body for Vec<u8> {
    fn append(&mut self, pieces: &[&str]) {
        for piece in pieces {
            self.extend_from_slice(piece.as_bytes());
        }
    }

    fn append_bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// The samples of one collector in one scrape.
#[derive(Default)]
pub struct Sink {
    scrape: u64,
    deadline: Option<Instant>,
    source: Option<&'static str>,
    passed_over: Option<(&'static str, Error)>,
    index: HashMap<Cow<'static, str>, usize>,
    families: Vec<Family>,
    /// The family of the last sample, which mostly is that of the next sample.
    last: usize,
    /// Whether families were added since `families` was last sorted by name.
    has_new: bool,
    /// The buffer of [`Sink::attempt`], kept for the next attempt.
    marks: Vec<attempt::Mark>,
}

/// The samples of one name.
pub struct Family {
    name: Cow<'static, str>,
    help: Cow<'static, str>,
    kind: Kind,
    /// The family whose samples came after those of this one last time, and mostly do so again.
    next: usize,
    /// The sample lines, each without the family's name at its beginning.
    text: String,
    samples: Vec<Sample>,
    /// The label values of the sample that is being put, each with its end: series are sorted by
    /// them.
    key: String,
    /// Those of the sample before it.
    key_before: String,
    in_order: bool,
    empty_for: u8,
    small_for: u8,
}

/// The end of a sample's lines, which begin at the end of the sample before, and the number of its
/// labels. No family has 4 GiB of text.
#[derive(Clone, Copy, Default)]
struct Sample {
    text_end: u32,
    labels: u32,
}

impl Sink {
    /// Empties the sink for the scrape of that number; a family keeps its buffers until it has been
    /// empty for some scrapes.
    pub fn begin(&mut self, scrape: u64) {
        self.scrape = scrape;
        self.deadline = None;
        self.source = None;
        self.passed_over = None;
        let mut disordered = std::mem::take(&mut self.has_new);
        for family in &mut self.families {
            family.empty_for =
                if family.samples.is_empty() { family.empty_for.saturating_add(1) } else { 0 };
            disordered |= family.empty_for > KEPT_WHILE_EMPTY;
            family.clear();
        }
        if disordered {
            self.families.retain(|family| family.empty_for <= KEPT_WHILE_EMPTY);
            // Sorted families are merged faster with those of other collectors.
            self.families.sort_by(|a, b| a.name.cmp(&b.name));
            self.index = (self.families.iter().enumerate())
                .map(|(i, family)| (family.name.clone(), i))
                .collect();
        }
    }

    /// The number of the scrape that the samples are for. A source that several collectors share
    /// ([`crate::host::Shared`]) is read anew when the number rises.
    #[must_use]
    pub const fn scrape(&self) -> u64 {
        self.scrape
    }

    /// Sets the time at which the samples are due: the last deadline of the scrapes that they are
    /// for.
    pub const fn due(&mut self, at: Option<Instant>) {
        self.deadline = at;
    }

    /// The time that a collector may wait for an answer that may never come: `most`, or half of the
    /// rest of the scrape's time, but not less than a quarter of a second.
    #[must_use]
    pub fn patience(&self, most: Duration) -> Duration {
        let left = self.deadline.map(|at| at.saturating_duration_since(Instant::now()));
        left.map_or(most, |left| most.min((left / 2).max(LEAST)))
    }

    /// Notes the source that served, for `node_scrape_collector_source`.
    pub const fn served_by(&mut self, source: &'static str) {
        self.source = Some(source);
    }

    /// The source that [`Sink::served_by`] noted.
    #[must_use]
    pub const fn source(&self) -> Option<&'static str> {
        self.source
    }

    /// Notes a source that failed, in whose place the next one is asked. The first one is kept: it is
    /// the best.
    pub fn pass_over(&mut self, source: &'static str, error: Error) {
        self.passed_over.get_or_insert((source, error));
    }

    /// Takes out the source that [`Sink::pass_over`] noted.
    pub const fn take_passed_over(&mut self) -> Option<(&'static str, Error)> {
        self.passed_over.take()
    }

    /// The families that have samples, in no order.
    pub fn families(&self) -> impl Iterator<Item = &Family> {
        self.families.iter().filter(|family| !family.samples.is_empty())
    }

    /// Puts one sample.
    #[inline]
    pub fn put<const N: usize>(
        &mut self,
        metric: &Metric<N>,
        labels: [&dyn Label; N],
        value: impl Number,
    ) {
        let Metric { name, help, kind, .. } = metric;
        let family = self.find(name, help, *kind, || (name.clone(), help.clone()));
        let mut open = '{';
        for (name, value) in metric.labels.iter().zip(labels) {
            family.label(open, name, value);
            open = ',';
        }
        if N > 0 {
            family.text.push('}');
        }
        family.text.push(' ');
        value.append(&mut family.text);
        family.text.push('\n');
        family.end_sample(N);
    }

    /// The family of that name, for samples whose names and labels are not known at compile time.
    /// Its type and help are those given with its first sample in this scrape.
    pub fn family(&mut self, name: &str, help: &str, kind: Kind) -> &mut Family {
        self.find(name, help, kind, || (name.to_owned().into(), help.to_owned().into()))
    }

    /// The family of that name; `texts` makes name and help that can be kept.
    #[inline]
    fn find(
        &mut self,
        name: &str,
        help: &str,
        kind: Kind,
        texts: impl Fn() -> (Cow<'static, str>, Cow<'static, str>),
    ) -> &mut Family {
        let is_it = |i: &usize| self.families.get(*i).is_some_and(|it| is_same(&it.name, name));
        let next = self.families.get(self.last).map(|last| last.next).filter(is_it);
        let known = Some(self.last).filter(is_it).or(next);
        let i = match known.or_else(|| self.index.get(name).copied()) {
            Some(i) => i,
            None => {
                self.has_new = true;
                let (name, help) = texts();
                self.index.insert(name.clone(), self.families.len());
                self.families.push(Family::new(name, help, kind));
                self.families.len() - 1
            }
        };
        if known.is_none()
            && let Some(last) = self.families.get_mut(self.last)
        {
            last.next = i;
        }
        self.last = i;
        #[expect(clippy::indexing_slicing, reason = "the index holds positions of `families`")]
        let family = &mut self.families[i];
        if family.samples.is_empty() && (family.kind != kind || !is_same(&family.help, help)) {
            family.kind = kind;
            family.help = texts().1;
        }
        family
    }
}

/// Whether two texts are the same. Most are of a static, and so even at the same place.
fn is_same(a: &str, b: &str) -> bool {
    std::ptr::eq(a, b) || a == b
}

impl Family {
    const fn new(name: Cow<'static, str>, help: Cow<'static, str>, kind: Kind) -> Self {
        Self {
            name,
            help,
            kind,
            next: 0,
            text: String::new(),
            samples: Vec::new(),
            key: String::new(),
            key_before: String::new(),
            in_order: true,
            empty_for: 0,
            small_for: 0,
        }
    }

    /// Forgets the samples. Buffers stay as they are, unless one scrape has made them large and
    /// those after it were small.
    fn clear(&mut self) {
        let is_small = |len: usize, capacity| capacity > SMALL && len < capacity / 4;
        if is_small(self.text.len(), self.text.capacity()) {
            self.small_for += 1;
        } else {
            self.small_for = 0;
        }
        if self.small_for > KEPT_WHILE_SMALL {
            self.small_for = 0;
            self.text.shrink_to(2 * self.text.len());
            self.samples.shrink_to(2 * self.samples.len());
        }
        self.text.clear();
        self.samples.clear();
        self.key.clear();
        self.key_before.clear();
        self.in_order = true;
    }

    /// The family's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text after `# HELP`, unescaped.
    #[must_use]
    pub fn help(&self) -> &str {
        &self.help
    }

    /// The type.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Puts a sample of a counter, gauge or untyped family; the labels are sorted by name.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        self.line("", labels, None, value, true);
        self.end_sample(labels.len());
    }

    /// Puts a histogram: cumulative counts by upper bound, in rising order.
    pub fn histogram(
        &mut self,
        labels: &[(&str, &str)],
        buckets: &[(f64, f64)],
        sum: f64,
        count: f64,
    ) {
        let mut first = true;
        for &(bound, n) in buckets {
            self.line("_bucket", labels, Some(("le", bound)), n, first);
            first = false;
        }
        if buckets.last().is_none_or(|&(bound, _)| bound != f64::INFINITY) {
            self.line("_bucket", labels, Some(("le", f64::INFINITY)), count, first);
        }
        self.line("_sum", labels, None, sum, false);
        self.line("_count", labels, None, count, false);
        self.end_sample(labels.len());
    }

    /// Puts a summary: values by quantile, in rising order.
    pub fn summary(
        &mut self,
        labels: &[(&str, &str)],
        quantiles: &[(f64, f64)],
        sum: f64,
        count: f64,
    ) {
        let mut first = true;
        for &(quantile, value) in quantiles {
            self.line("", labels, Some(("quantile", quantile)), value, first);
            first = false;
        }
        self.line("_sum", labels, None, sum, first);
        self.line("_count", labels, None, count, false);
        self.end_sample(labels.len());
    }

    /// Appends a line. The first line of a sample is `keyed`: its labels become the key by which
    /// the sample is sorted.
    fn line(
        &mut self,
        suffix: &str,
        labels: &[(&str, &str)],
        extra: Option<(&str, f64)>,
        value: f64,
        keyed: bool,
    ) {
        self.text.push_str(suffix);
        let mut open = '{';
        for (name, value) in labels {
            if keyed {
                self.label(open, name, value);
            } else {
                self.open_label(open, name);
                append_escaped(&mut self.text, value);
                self.text.push('"');
            }
            open = ',';
        }
        if let Some((name, bound)) = extra {
            self.open_label(open, name);
            append_float(&mut self.text, bound);
            self.text.push('"');
            open = ',';
        }
        if open == ',' {
            self.text.push('}');
        }
        self.text.push(' ');
        append_float(&mut self.text, value);
        self.text.push('\n');
    }

    fn open_label(&mut self, open: char, name: &str) {
        self.text.push(open);
        self.text.push_str(name);
        self.text.push_str("=\"");
    }

    fn label(&mut self, open: char, name: &str, value: &dyn Label) {
        self.open_label(open, name);
        append_key(&mut self.key, &mut self.text, value);
        self.text.push('"');
    }

    fn end_sample(&mut self, labels: usize) {
        let short = |n| u32::try_from(n).unwrap_or(u32::MAX);
        let sample = Sample { text_end: short(self.text.len()), labels: short(labels) };
        if let Some(before) = self.samples.last() {
            self.in_order &= (before.labels, &self.key_before) < (sample.labels, &self.key);
        }
        self.samples.push(sample);
        std::mem::swap(&mut self.key, &mut self.key_before);
        self.key.clear();
    }

    /// Takes back the samples but for the first so many.
    fn truncate(&mut self, samples: usize, in_order: bool) {
        self.samples.truncate(samples);
        let end = self.samples.last().map_or(0, |last| last.text_end as usize);
        self.text.truncate(end);
        self.in_order = in_order;
        let mut key = std::mem::take(&mut self.key_before);
        key.clear();
        if let Some(last) = samples.checked_sub(1) {
            self.read_key(last, &mut key);
        }
        self.key_before = key;
        self.key.clear();
    }

    /// Appends the label values by which a sample is sorted, as they stand in its first line.
    fn read_key(&self, sample: usize, key: &mut String) {
        let labels = self.samples.get(sample).map_or(0, |sample| sample.labels);
        read_key(self.lines(sample), labels, key);
    }

    /// The lines of a sample, without the name before each.
    fn lines(&self, sample: usize) -> &str {
        let end = |n: Option<usize>| n.and_then(|n| self.samples.get(n));
        let [begin, end] = [sample.checked_sub(1), Some(sample)]
            .map(|n| end(n).map_or(0, |sample| sample.text_end as usize));
        self.text.get(begin..end).unwrap_or_default()
    }

    /// Appends these lines with the family's name before each. A line break within a label's value
    /// is escaped, so every `\n` ends a line.
    fn append_lines(&self, lines: &str, body: &mut impl Body) {
        let mut rest = lines;
        while let Some(end) = memchr::memchr(b'\n', rest.as_bytes())
            && let Some((line, others)) = rest.split_at_checked(end + 1)
        {
            body.append(&[&self.name, line]);
            rest = others;
        }
    }

    /// Appends the sample lines of families of one name, in the order of their label values.
    /// Returns the number of samples that were left out because another sample has the same labels.
    pub fn append_samples(same_name: &[&Self], body: &mut impl Body) -> usize {
        if let [family] = same_name
            && family.in_order
        {
            family.append_lines(&family.text, body);
            return 0;
        }
        let merged = Merged::of(same_name);
        for (family, lines) in merged.samples() {
            family.append_lines(lines, body);
        }
        merged.repeated
    }
}

#[cfg(test)]
mod tests;
