//! The engine that runs the collectors of a scrape, and the exporter's own metrics.
//!
//! Imports the wings below it: `collector`, `host`, `exposition`. Knows tokio's channels and
//! clocks, but nothing of HTTP.

mod engine;
pub mod own;
pub mod status;

pub use engine::{Engine, FLAGS, Failed, Request, THREADS};
