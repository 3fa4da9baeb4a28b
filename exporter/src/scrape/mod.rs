//! A scrape: the engine that runs the collectors, and the metrics of the exporter itself.
//!
//! Imports the wings below it: `collector`, `host`, `exposition`. Knows tokio's channels and
//! clocks, but nothing of HTTP.

mod engine;
pub mod own;

pub use engine::{Engine, FLAGS, Failed, Request, THREADS};
