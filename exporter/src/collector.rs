//! What a collector is.

use crate::{
    error::Result,
    flag::{AnyFlag, Flags},
    host::Host,
    sink::Sink,
};

/// A source of samples. Owns its buffers, file descriptors and sockets.
pub trait Collector: Send {
    /// Puts one scrape's samples into `out`.
    ///
    /// Called from one thread at a time, not always the same one. What was put before an
    /// error is still exposed; a panic is this collector's failure and no other's.
    fn collect(&mut self, out: &mut Sink) -> Result;
}

/// One line of the registry: how a collector is named, configured and made.
pub struct Spec {
    /// The name in `--collector.<name>`, `collect[]` and the label `collector`.
    pub name: &'static str,
    /// Whether it runs unless told otherwise; node_exporter's default.
    pub enabled: bool,
    /// Its own flags, each named `collector.<name>.…`.
    pub flags: &'static [&'static dyn AnyFlag],
    /// Makes the collector. An error ends the start: it is a flag that cannot be honored,
    /// never a file that is not there (that is for `collect` to say, at each scrape).
    pub new: fn(&Host, &Flags) -> Result<Box<dyn Collector>>,
}
