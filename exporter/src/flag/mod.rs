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

/// The form in which a flag is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `--name` or `--no-name`.
    Switch,
    /// `--name value`, at most once.
    Once,
    /// `--name value`, any number of times.
    Repeated,
}

/// A type that a flag's text can be read as.
pub trait Value: Sized {
    /// The form in which a flag of this type is given.
    const FORM: Form;

    /// Reads the value from the given texts, or from the default.
    ///
    /// # Errors
    /// A sentence that names the mistake.
    fn parse(given: &[&str]) -> Result<Self, String>;
}

impl<T> Flag<T> {
    const fn new(name: &'static str, default: &'static [&'static str], help: &'static str) -> Self {
        Self { name, default, help, hidden: false, variable: None, value: PhantomData }
    }

    /// The same flag, left out of docs/collectors.md: upstream hides it from its own `--help`.
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

    /// A flag of any type; the default is written as on the command line.
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

/// A flag of any type, as the command line and the manual see it.
pub trait AnyFlag: Sync {
    /// The name without the two dashes.
    fn name(&self) -> &'static str;
    /// The text for `--help`.
    fn help(&self) -> &'static str;
    /// The default, as texts of the command line.
    fn default(&self) -> &'static [&'static str];
    /// The form in which the flag is given.
    fn form(&self) -> Form;
    /// Whether docs/collectors.md leaves it out; `--help` names every flag.
    fn is_hidden(&self) -> bool;
    /// The environment variable that stands in for the flag.
    fn environment(&self) -> Option<&'static str>;
    /// Whether `given` can be its value.
    ///
    /// # Errors
    /// A sentence that names the mistake.
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

/// The flags that the command line gave, each value checked against its flag's type.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    given: HashMap<&'static str, Vec<String>>,
    off: Vec<&'static str>,
}

impl Flags {
    /// Records that `flag` was given, replacing an earlier record of it.
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

    /// Whether this collector runs; asked by another collector whose samples depend on it.
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
    /// Never: [`Flags::give`] checked the given texts, and a test checks every default.
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
