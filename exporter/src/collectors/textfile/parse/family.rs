//! The samples of one name in a file.

use crate::exposition::Kind;
use hashbrown::HashMap;

/// A label's name and value.
pub(super) type Pair = (String, String);

/// A name's type, help text and samples. Their labels share a few long buffers: a file may have
/// millions of short lines.
#[derive(Debug, Default)]
pub struct Family {
    pub name: String,
    pub help: Option<String>,
    pub(super) given: Option<Kind>,
    /// Label names, by the order in which they came.
    names: Vec<String>,
    numbers: HashMap<String, usize>,
    /// The values of all labels of all samples, in a row.
    values: String,
    /// For each label of each sample, the place of its name in `names` and the end of its value in
    /// `values`.
    pairs: Vec<(usize, usize)>,
    samples: Vec<Sample>,
    /// The place in `samples` of the histogram or summary with these labels.
    index: HashMap<Vec<Pair>, usize>,
}

/// One line, or the lines of one histogram or summary.
#[derive(Debug, Default)]
pub struct Sample {
    /// The end of its labels in [`Family::pairs`].
    end: usize,
    pub value: f64,
    /// `Some` for histograms and summaries alone.
    pub parts: Option<Box<Parts>>,
}

/// The lines of one histogram or summary.
#[derive(Debug, Default)]
pub struct Parts {
    /// Values by bound or quantile, in the order of the file.
    pub points: Vec<(f64, f64)>,
    pub sum: f64,
    pub count: f64,
}

impl Family {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// The type; untyped where no line of the file gives one.
    pub fn kind(&self) -> Kind {
        self.given.unwrap_or(Kind::Untyped)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The names of all its labels, sorted.
    pub fn label_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// The number of labels of all samples, and their number if each sample had all names.
    pub const fn labels(&self) -> (usize, usize) {
        (self.pairs.len(), self.samples.len().saturating_mul(self.names.len()))
    }

    /// Each sample's labels, sorted by name and without `le` and `quantile`, and the sample.
    pub fn samples(&self) -> impl Iterator<Item = (impl Iterator<Item = (&str, &str)>, &Sample)> {
        let (mut pairs, mut values) = (0, 0);
        self.samples.iter().map(move |sample| {
            let own = self.pairs.get(pairs..sample.end).unwrap_or_default();
            pairs = sample.end;
            let mut begin = values;
            values = own.last().map_or(values, |&(_, end)| end);
            let own = own.iter().map(move |&(name, end)| {
                let value = self.values.get(begin..end).unwrap_or_default();
                begin = end;
                (self.names.get(name).map_or("", String::as_str), value)
            });
            (own, sample)
        })
    }

    /// Appends a sample.
    pub(super) fn push(&mut self, labels: &[Pair], value: f64) {
        for (name, value) in labels {
            let next = self.names.len();
            let number = *self.numbers.entry_ref(name.as_str()).or_insert(next);
            if number == next {
                self.names.push(name.clone());
            }
            self.values.push_str(value);
            self.pairs.push((number, self.values.len()));
        }
        self.samples.push(Sample { end: self.pairs.len(), value, parts: None });
    }

    /// The histogram or summary with these labels; a new one where the family has none.
    pub(super) fn parts(&mut self, labels: Vec<Pair>) -> Option<&mut Parts> {
        let next = self.samples.len();
        let at = self.index.get(&labels).copied().unwrap_or(next);
        if at == next {
            self.push(&labels, 0.0);
            self.index.insert(labels, at);
        }
        self.samples.get_mut(at).map(|sample| &mut **sample.parts.get_or_insert_default())
    }
}
