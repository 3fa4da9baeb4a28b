//! The exporter as a library; the binary only reads the command line and calls [`daemon::run`].
//!
//! Each group of modules below is a wing of the house. A wing imports only wings above it in this
//! file; ARCHITECTURE.md draws them, and a test (`tests/tests/tidy.rs`) reads the imports.

pub mod error;
pub mod flag;
pub mod memory;
pub mod parse;

pub mod exposition;

pub mod host;

pub mod collector;
pub mod prelude;

pub mod collectors;

pub mod scrape;

pub mod web;

pub mod cli;
pub mod daemon;
pub mod log;
pub mod privileges;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
