//! Samples and the format in which they are exposed.
//!
//! Imports nothing but the standard library and the crates of its trade: every other wing may
//! use it.

pub mod conflicts;
mod metric;
pub mod packing;
mod sink;
pub mod text;

pub use metric::{Kind, Metric, counter, gauge, sanitized, untyped};
pub use sink::{Body, Family, Label, Sink, Spaced, append_float};
