//! All flags that the command line takes, in the order in which they are shown.

use super::GLOBAL;
use crate::{
    collectors::ALL,
    flag::{AnyFlag, Form},
};
use std::fmt::Write as _;

/// A flag as `--help` shows it.
#[derive(Debug)]
pub(super) struct Entry {
    /// The name without the two dashes.
    pub(super) name: String,
    /// The form in which the flag is given.
    pub(super) form: Form,
    /// The explanation, with the default and the environment variable.
    pub(super) help: String,
}

impl Entry {
    fn new(name: &str, form: Form, help: impl Into<String>) -> Self {
        Self { name: name.to_owned(), form, help: help.into() }
    }

    fn of(flag: &dyn AnyFlag) -> Self {
        let mut help = flag.help().to_owned();
        let default = flag.default().join(" ");
        match flag.form() {
            Form::Once | Form::Repeated if default.is_empty() => {}
            Form::Switch => drop(write!(help, " (default: {default})")),
            Form::Once | Form::Repeated => drop(write!(help, " (default: \"{default}\")")),
        }
        if let Some(variable) = flag.environment() {
            let _ = write!(help, " (${variable})");
        }
        Self::new(flag.name(), flag.form(), help)
    }

    /// The flag with its dashes, as `--[no-]name` or `--name=VALUE`.
    pub(super) fn title(&self) -> String {
        match self.form {
            Form::Switch if is_single(&self.name) => format!("--{}", self.name),
            Form::Switch => format!("--[no-]{}", self.name),
            Form::Once => format!("--{}=VALUE", self.name),
            Form::Repeated => format!("--{}=VALUE ...", self.name),
        }
    }
}

/// The flags that make the program print a text and end, with their explanations. They have no
/// `--no-` form.
pub(super) const SINGLE: [(&str, &str); 8] = [
    ("help", "Show this help."),
    ("help-long", "Show this help, as --help does."),
    ("help-man", "Show a manual page, for man -l -."),
    ("version", "Show the version."),
    ("completion-bash", "Show all flags, one a line, for the completion scripts."),
    ("completion-script-bash", "Show the completion script for bash, to be sourced."),
    ("completion-script-zsh", "Show the completion script for zsh, to be sourced."),
    ("completion-zsh", "The same as --completion-script-zsh."),
];

/// Whether the flag makes the program print a text and end.
pub(super) fn is_single(name: &str) -> bool {
    SINGLE.iter().any(|(single, _)| *single == name)
}

/// Every flag that is accepted.
pub(super) fn entries() -> Vec<Entry> {
    let mut entries: Vec<Entry> =
        SINGLE.iter().map(|(name, help)| Entry::new(name, Form::Switch, *help)).collect();
    entries.extend(GLOBAL.iter().copied().flatten().map(|flag| Entry::of(*flag)));
    for spec in ALL {
        let state = if spec.enabled { "enabled" } else { "disabled" };
        let help = format!("Enable the {} collector (default: {state}).", spec.name);
        entries.push(Entry::new(&format!("collector.{}", spec.name), Form::Switch, help));
        entries.extend(spec.flags.iter().map(|flag| Entry::of(*flag)));
    }
    entries
}
