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
