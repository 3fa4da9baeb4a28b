//! Command line flags, declared next to the code that reads them.

mod filter;
mod pattern;
mod value;

pub use filter::{Filter, FilterFlags, Rule};
pub use pattern::Pattern;

use std::{collections::HashMap, marker::PhantomData};

/// A flag whose value has type `T`.
pub struct Flag<T> {
    name: &'static str,
    default: &'static [&'static str],
    help: &'static str,
    hidden: bool,
    variable: Option<&'static str>,
    value: PhantomData<fn() -> T>,
}

/// How a flag is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `--name` or `--no-name`.
    Switch,
    /// `--name value`, at most once.
    Once,
    /// `--name value`, any number of times.
    Repeated,
}

/// What a flag's text can be read as.
pub trait Value: Sized {
    /// How such a flag is given.
    const FORM: Form;

    /// Reads the value from what was given, or from the default.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    fn parse(given: &[&str]) -> Result<Self, String>;
}

impl<T> Flag<T> {
    const fn new(name: &'static str, default: &'static [&'static str], help: &'static str) -> Self {
        Self { name, default, help, hidden: false, variable: None, value: PhantomData }
    }

    /// The same flag, left out of `--help`.
    #[must_use]
    pub const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// The same flag, read from this environment variable where it is not given.
    #[must_use]
    pub const fn variable(mut self, name: &'static str) -> Self {
        self.variable = Some(name);
        self
    }

    /// A flag of any type with one default, as it would be given.
    #[must_use]
    pub const fn value(
        name: &'static str,
        default: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self::new(name, default, help)
    }
}

/// `--name` / `--no-name`.
#[must_use]
pub const fn switch(name: &'static str, default: bool, help: &'static str) -> Flag<bool> {
    Flag::new(name, if default { &["true"] } else { &["false"] }, help)
}

/// A regular expression, none by default.
#[must_use]
pub const fn pattern(name: &'static str, help: &'static str) -> Flag<Option<Pattern>> {
    Flag::new(name, &[], help)
}

/// One text, empty by default.
#[must_use]
pub const fn text(name: &'static str, help: &'static str) -> Flag<String> {
    Flag::new(name, &[], help)
}

/// Any number of texts, none by default.
#[must_use]
pub const fn texts(name: &'static str, help: &'static str) -> Flag<Vec<String>> {
    Flag::new(name, &[], help)
}

/// A flag whose type has been forgotten: enough for the command line and the manual.
pub trait AnyFlag: Sync {
    /// Without the two dashes.
    fn name(&self) -> &'static str;
    /// What it is for.
    fn help(&self) -> &'static str;
    /// What it is when not given.
    fn default(&self) -> &'static [&'static str];
    /// How it is given.
    fn form(&self) -> Form;
    /// Whether `--help` leaves it out.
    fn is_hidden(&self) -> bool;
    /// The environment variable that stands in for it.
    fn environment(&self) -> Option<&'static str>;
    /// Whether `given` can be its value.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    fn check(&self, given: &[&str]) -> Result<(), String>;
}

impl<T: Value> AnyFlag for Flag<T> {
    fn name(&self) -> &'static str {
        self.name
    }
    fn help(&self) -> &'static str {
        self.help
    }
    fn default(&self) -> &'static [&'static str] {
        self.default
    }
    fn form(&self) -> Form {
        T::FORM
    }
    fn is_hidden(&self) -> bool {
        self.hidden
    }
    fn environment(&self) -> Option<&'static str> {
        self.variable
    }
    fn check(&self, given: &[&str]) -> Result<(), String> {
        T::parse(given).map(drop)
    }
}

/// What the command line gave, each value checked against its flag's type.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    given: HashMap<&'static str, Vec<String>>,
    off: Vec<&'static str>,
}

impl Flags {
    /// Records that `flag` was given, replacing what was recorded for it.
    ///
    /// # Errors
    /// The flag's type cannot be read from `given`.
    pub fn give(&mut self, flag: &dyn AnyFlag, given: Vec<String>) -> Result<(), String> {
        flag.check(&given.iter().map(String::as_str).collect::<Vec<_>>())?;
        self.given.insert(flag.name(), given);
        Ok(())
    }

    /// Records that this collector does not run.
    pub fn turn_off(&mut self, collector: &'static str) {
        self.off.push(collector);
    }

    /// Whether this collector runs, for another one that exposes less with it or without it.
    #[must_use]
    pub fn runs(&self, collector: &str) -> bool {
        !self.off.contains(&collector)
    }

    /// Whether the command line (or the environment) gave this flag.
    #[must_use]
    pub fn gives(&self, flag: &dyn AnyFlag) -> bool {
        self.given.contains_key(flag.name())
    }

    /// The flag's value, or its default.
    ///
    /// # Panics
    /// Never: [`Flags::give`] checked what was given, and a test checks every default.
    #[must_use]
    #[expect(clippy::expect_used, reason = "checked when it was given")]
    pub fn get<T: Value>(&self, flag: &Flag<T>) -> T {
        match self.given.get(flag.name) {
            Some(given) => T::parse(&given.iter().map(String::as_str).collect::<Vec<_>>()),
            None => T::parse(flag.default),
        }
        .expect("a value that was checked")
    }
}
