//! The names with which every collector's file begins.

pub use crate::{
    collector::{CapabilitySet, Collector, NONE, Spec},
    error::{Absent, Error, Faults, Malformed, Result, Unreadable},
    exposition::{Metric, Sink, counter, gauge, untyped},
    flag::{Filter, FilterFlags, Flag, Flags, Pattern, Rule, pattern, switch, text, texts},
    host::{
        Host,
        tree::{Dir, Entry, File, Folder, Names, Seen, SingleFile, Tree},
    },
    parse::Words,
};
