//! Samples and the format in which they are exposed.
//!
//! Imports nothing but the standard library and the crates of its trade: every other wing may
//! use it.

pub mod conflicts;
mod metric;
pub mod packing;
pub mod protobuf;
mod sink;
pub mod text;

pub use metric::{Kind, Metric, counter, gauge, sanitized, untyped};
pub use sink::{Body, Family, Label, Sink, Spaced};

/// The form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The text format 0.0.4.
    #[default]
    Text,
    /// Protobuf messages of Prometheus' client model.
    Protobuf(protobuf::Encoding),
}
