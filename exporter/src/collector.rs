//! The trait of collectors, and their description in the registry.

use crate::{
    error::{Error, Result},
    exposition::Sink,
    flag::{AnyFlag, Flags},
    host::Host,
};

pub use rustix::thread::CapabilitySet;

/// The capabilities of a collector that needs none.
pub const NONE: CapabilitySet = CapabilitySet::empty();

/// A source of samples. Owns its buffers, file descriptors and sockets.
pub trait Collector: Send {
    /// Puts one scrape's samples into `out`.
    ///
    /// Called from one thread at a time, not always the same one. Samples that were put before an
    /// error are still exposed; a panic is this collector's failure and no other's.
    fn collect(&mut self, out: &mut Sink) -> Result;
}

/// Sources of the same samples, the best first: a source serves only while all before it fail, and
/// the samples of a source that fails are taken back. The last source keeps the samples that it put
/// before an error. `S` is a trait that the collector declares.
pub struct Sources<S: ?Sized> {
    collector: &'static str,
    sources: Vec<(&'static str, Box<S>)>,
}

impl<S: ?Sized> Sources<S> {
    /// A collector's sources, with their names in `node_scrape_collector_source`.
    #[must_use]
    pub const fn new(collector: &'static str, sources: Vec<(&'static str, Box<S>)>) -> Self {
        Self { collector, sources }
    }

    /// Asks one source after the other until one serves.
    ///
    /// # Errors
    /// The error of the last source.
    pub fn ask(&mut self, out: &mut Sink, ask: impl FnMut(&mut S, &mut Sink) -> Result) -> Result {
        let sources = self.sources.iter_mut().map(|(name, source)| (*name, &mut **source));
        ask_in_turn(self.collector, sources, out, ask)
    }
}

/// As [`Sources::ask`], for sources that share the collector's state.
///
/// # Errors
/// The error of the last source.
pub fn ask_in_turn<S>(
    collector: &str,
    sources: impl ExactSizeIterator<Item = (&'static str, S)>,
    out: &mut Sink,
    mut ask: impl FnMut(S, &mut Sink) -> Result,
) -> Result {
    let last = sources.len().saturating_sub(1);
    for (i, (name, source)) in sources.enumerate() {
        let is_last = i == last;
        let asked = if is_last { ask(source, out) } else { out.attempt(|out| ask(source, out)) };
        match asked {
            Ok(()) => {
                out.served_by(name);
                return Ok(());
            }
            Err(error) => {
                tracing::debug!("{collector}: {name}: {error}");
                if is_last {
                    return Err(error);
                }
                out.pass_over(name, error);
            }
        }
    }
    Err(Error::NoData)
}

/// A collector's entry in the registry: its name, configuration and constructor.
pub struct Spec {
    /// The name in `--collector.<name>`, `collect[]` and the label `collector`.
    pub name: &'static str,
    /// Whether the collector runs by default, as in node_exporter.
    pub enabled: bool,
    /// Capabilities that the collector uses at each scrape: only these are kept after the start.
    pub capabilities: CapabilitySet,
    /// The collector's flags, each named `collector.<name>.…`.
    pub flags: &'static [&'static dyn AnyFlag],
    /// Makes the collector. An error ends the start: a flag cannot be honored. An absent file is no
    /// error here; `collect` reports it at each scrape.
    pub new: fn(&Host, &Flags) -> Result<Box<dyn Collector>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::{Metric, gauge};

    #[test]
    fn the_first_source_that_does_not_fail_serves() {
        static NUMBER: Metric<1> = gauge("node_number", "A number.").by(["number"]);
        let mut out = Sink::default();
        let mut ask = |numbers: &[u32]| {
            out.begin(1);
            let sources = numbers.iter().map(|&number| ("source", Box::new(number))).collect();
            let mut asked = Vec::new();
            let result = Sources::new("test", sources).ask(&mut out, |number, out| {
                asked.push(*number);
                out.put(&NUMBER, [&u64::from(*number)], 1);
                if *number > 1 { Ok(()) } else { Err(Error::Flag(number.to_string())) }
            });
            let served = out.families().count();
            let passed = out.take_passed_over().map(|(_, error)| error.to_string());
            (asked, served, passed, result.map_err(|error| error.to_string()))
        };
        let first = || Some("0".to_owned());
        assert_eq!(ask(&[2, 3]), (vec![2], 1, None, Ok(())));
        assert_eq!(ask(&[0, 1, 2]), (vec![0, 1, 2], 1, first(), Ok(())), "the first reason stays");
        assert_eq!(ask(&[0, 1]), (vec![0, 1], 1, first(), Err("1".into())), "the last one's stay");
        assert_eq!(ask(&[]), (vec![], 0, None, Err(Error::NoData.to_string())));
    }
}
