//! Metric descriptors: names and label names written out in full, checked at compile time.

#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "evaluated at compile time: a wrong name does not compile"
)]

use std::borrow::Cow;

/// The type that a family's `# TYPE` line gives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Never falls, save at a restart.
    Counter,
    /// Any value.
    Gauge,
    /// Cumulative buckets, sum and count.
    Histogram,
    /// Quantiles, sum and count.
    Summary,
    /// No type is given.
    Untyped,
}

impl Kind {
    /// The word of the text format.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Untyped => "untyped",
        }
    }
}

/// A family of samples that have the same `LABELS` label names.
///
/// Nearly all are statics. Where the kernel chooses the name (meminfo, vmstat), the collector
/// makes the descriptor at first sight and keeps it.
#[derive(Clone, Debug)]
pub struct Metric<const LABELS: usize = 0> {
    /// The whole name, for example `node_load1`.
    pub name: Cow<'static, str>,
    /// The text after `# HELP`, unescaped.
    pub help: Cow<'static, str>,
    /// The type.
    pub kind: Kind,
    /// Label names in alphabetical order, as they are printed.
    pub labels: [&'static str; LABELS],
}

/// A gauge without labels; add them with [`Metric::by`].
#[must_use]
pub const fn gauge(name: &'static str, help: &'static str) -> Metric {
    fixed(Kind::Gauge, name, help)
}

/// A counter without labels; add them with [`Metric::by`].
#[must_use]
pub const fn counter(name: &'static str, help: &'static str) -> Metric {
    fixed(Kind::Counter, name, help)
}

/// A metric of no type without labels; add them with [`Metric::by`].
#[must_use]
pub const fn untyped(name: &'static str, help: &'static str) -> Metric {
    fixed(Kind::Untyped, name, help)
}

const fn fixed(kind: Kind, name: &'static str, help: &'static str) -> Metric {
    Metric { name: Cow::Borrowed(name), help: Cow::Borrowed(help), kind, labels: [] }
}

impl<const N: usize> Metric<N> {
    /// A metric with a name that is only known at run time.
    #[must_use]
    pub const fn named(kind: Kind, name: String, help: String, labels: [&'static str; N]) -> Self {
        Self { name: Cow::Owned(name), help: Cow::Owned(help), kind, labels }
    }
}

impl Metric {
    /// The same metric with these label names, which must be in alphabetical order.
    ///
    /// # Panics
    /// At compile time, where they are not in order.
    #[must_use]
    pub const fn by<const N: usize>(self, labels: [&'static str; N]) -> Metric<N> {
        let (Cow::Borrowed(name), Cow::Borrowed(help)) = (&self.name, &self.help) else {
            panic!("a metric named at run time takes its labels there")
        };
        let metric = Metric {
            name: Cow::Borrowed(*name),
            help: Cow::Borrowed(*help),
            kind: self.kind,
            labels,
        };
        std::mem::forget(self); // holds nothing owned; a const function may not drop it
        let mut i = 1;
        while i < N {
            assert!(ordered(labels[i - 1].as_bytes(), labels[i].as_bytes()), "labels out of order");
            i += 1;
        }
        metric
    }
}

/// Whether `a` comes before `b`; `<` is not const.
const fn ordered(a: &[u8], b: &[u8]) -> bool {
    let mut i = 0;
    while i < a.len() && i < b.len() {
        if a[i] != b[i] {
            return a[i] < b[i];
        }
        i += 1;
    }
    a.len() < b.len()
}

/// `text` as a part of a metric's name: each run of characters that the name may not have becomes
/// one `_`, which replaces a `_` beside the run, too.
#[must_use]
pub fn sanitized(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut name = String::new();
    for run in chars.chunk_by(|a, b| a.is_ascii_alphanumeric() == b.is_ascii_alphanumeric()) {
        let is_plain = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
        if run.iter().all(is_plain) {
            name.extend(run);
        } else {
            let runs = run.split(|c| *c == '_').filter(|part| !part.is_empty());
            name.extend(runs.map(|_| '_'));
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_parts_of_metrics_names() {
        assert_eq!(sanitized("package-1-die-0"), "package_1_die_0");
        assert_eq!(sanitized("a_-_b__c.-d"), "a_b__c_d");
    }
}
