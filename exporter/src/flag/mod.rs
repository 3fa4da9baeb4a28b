//! Command line flags, declared next to the code that reads them.

use crate::error::{Error, Result};
use regex::bytes::{Regex, RegexBuilder};
use std::{collections::HashMap, marker::PhantomData, path::PathBuf, time::Duration};

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

/// The last text given, or nothing.
fn last<'a>(given: &[&'a str]) -> &'a str {
    given.last().copied().unwrap_or_default()
}

impl Value for bool {
    const FORM: Form = Form::Switch;
    fn parse(given: &[&str]) -> Result<Self, String> {
        last(given).parse().map_err(|_| format!("{:?} is neither true nor false", last(given)))
    }
}

impl Value for u64 {
    const FORM: Form = Form::Once;
    fn parse(given: &[&str]) -> Result<Self, String> {
        last(given).parse().map_err(|_| format!("{:?} is no whole number", last(given)))
    }
}

impl Value for String {
    const FORM: Form = Form::Once;
    fn parse(given: &[&str]) -> Result<Self, String> {
        Ok(last(given).to_owned())
    }
}

impl Value for PathBuf {
    const FORM: Form = Form::Once;
    fn parse(given: &[&str]) -> Result<Self, String> {
        Ok(last(given).into())
    }
}

impl Value for Vec<String> {
    const FORM: Form = Form::Repeated;
    fn parse(given: &[&str]) -> Result<Self, String> {
        Ok(given.iter().map(|&text| text.to_owned()).collect())
    }
}

/// Go's notation: `1.5s`, `300ms`, `1m30s`.
impl Value for Duration {
    const FORM: Form = Form::Once;
    fn parse(given: &[&str]) -> Result<Self, String> {
        let whole = last(given);
        let wrong = || format!("{whole:?} is no duration such as 1.5s, 300ms or 1m30s");
        if whole == "0" {
            return Ok(Self::ZERO);
        }
        let (mut rest, mut sum) = (whole, Self::ZERO);
        while !rest.is_empty() {
            let end = rest.find(|c: char| c.is_alphabetic() || c == 'µ').ok_or_else(wrong)?;
            let (number, tail) = rest.split_at(end);
            let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(end);
            let unit = match unit {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(wrong()),
            };
            let number: f64 = number.parse().map_err(|_| wrong())?;
            let part = Self::try_from_secs_f64(number * unit).map_err(|_| wrong())?;
            sum = sum.checked_add(part).ok_or_else(wrong)?;
            rest = tail;
        }
        if whole.is_empty() { Err(wrong()) } else { Ok(sum) }
    }
}

/// A regular expression; it matches anywhere unless it is anchored, as in node_exporter.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Whether `text` matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text.as_bytes())
    }

    fn new(text: &str) -> Result<Self, String> {
        // As in Go, `\d` and its like are of ASCII; what cannot be said so is of all characters.
        (RegexBuilder::new(text).unicode(false).build())
            .or_else(|_| Regex::new(text))
            .map(Self)
            .map_err(|e| e.to_string())
    }
}

impl Value for Pattern {
    const FORM: Form = Form::Once;
    fn parse(given: &[&str]) -> Result<Self, String> {
        Self::new(last(given))
    }
}

/// None where the flag is not given or empty.
impl Value for Option<Pattern> {
    const FORM: Form = Form::Once;
    fn parse(given: &[&str]) -> Result<Self, String> {
        Some(last(given)).filter(|text| !text.is_empty()).map(Pattern::new).transpose()
    }
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

/// The include/exclude pair that many collectors take.
#[derive(Clone, Debug)]
pub struct Filter {
    include: Option<Pattern>,
    exclude: Option<Pattern>,
}

impl Filter {
    /// Reads the pair.
    ///
    /// # Errors
    /// Both are given.
    pub fn new(
        flags: &Flags,
        include: &Flag<Option<Pattern>>,
        exclude: &Flag<Option<Pattern>>,
    ) -> Result<Self> {
        let filter = Self { include: flags.get(include), exclude: flags.get(exclude) };
        if filter.include.is_some() && filter.exclude.is_some() {
            return Err(Error::Flag(format!(
                "--{} and --{} are mutually exclusive",
                include.name, exclude.name
            )));
        }
        Ok(filter)
    }

    /// Reads a pair, each a flag and its older name.
    ///
    /// # Errors
    /// Include and exclude, or both names of one of them, are given.
    pub fn renamed<'a>(
        flags: &Flags,
        include: [&'a Flag<Option<Pattern>>; 2],
        exclude: [&'a Flag<Option<Pattern>>; 2],
    ) -> Result<Self> {
        let given = |[flag, old]: [&'a Flag<Option<Pattern>>; 2]| -> Result<_> {
            let is_given = flags.get(flag).is_some();
            Ok(if is_old(flags, flag, is_given, old)? { old } else { flag })
        };
        Self::new(flags, given(include)?, given(exclude)?)
    }

    /// Reads a pair of which the exclude has a default, which gives way to an include, and an
    /// older name.
    ///
    /// # Errors
    /// Include and exclude, or both names of the exclude, are given.
    pub fn with_default(
        flags: &Flags,
        include: &Flag<Option<Pattern>>,
        exclude: &Flag<Option<Pattern>>,
        old_exclude: &Flag<Option<Pattern>>,
    ) -> Result<Self> {
        let is_given = flags.gives(exclude);
        let is_old = is_old(flags, exclude, is_given, old_exclude)?;
        if is_given {
            return Self::new(flags, include, exclude);
        }
        let include = flags.get(include);
        let exclude = if is_old { old_exclude } else { exclude };
        let exclude = if include.is_some() { None } else { flags.get(exclude) };
        Ok(Self { include, exclude })
    }

    /// Reads a pair whose include pattern is given by default, and which therefore may both be
    /// given: wanted is what one matches and the other does not.
    #[must_use]
    pub fn both(
        flags: &Flags,
        include: &Flag<Option<Pattern>>,
        exclude: &Flag<Option<Pattern>>,
    ) -> Self {
        Self { include: flags.get(include), exclude: flags.get(exclude) }
    }

    /// Whether what has this name is wanted.
    #[must_use]
    pub fn keeps(&self, name: &str) -> bool {
        self.include.as_ref().is_none_or(|pattern| pattern.matches(name))
            && !self.exclude.as_ref().is_some_and(|pattern| pattern.matches(name))
    }
}

/// Whether a flag is given by its old name, which is deprecated.
fn is_old(
    flags: &Flags,
    flag: &Flag<Option<Pattern>>,
    is_given: bool,
    old: &Flag<Option<Pattern>>,
) -> Result<bool> {
    let (name, old_name) = (flag.name, old.name);
    if flags.get(old).is_none() {
        return Ok(false);
    }
    if is_given {
        return Err(Error::Flag(format!("--{old_name} and --{name} are mutually exclusive")));
    }
    tracing::warn!("--{old_name} is DEPRECATED and will be removed in 2.0.0, use --{name}");
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let parse = |text| <Duration as Value>::parse(&[text]);
        assert_eq!(parse("0.5s"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(parse("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(parse("0"), Ok(Duration::ZERO));
        for wrong in ["", "5", "s", "-1s", "1x", "1s5", "1e400s", "NaNs"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn patterns_match_anywhere_and_show_what_is_wrong() {
        let pattern = <Option<Pattern> as Value>::parse(&["th0|lo"]).unwrap().unwrap();
        assert!(pattern.matches("eth0") && pattern.matches("lo") && !pattern.matches("eth1"));
        assert!(<Option<Pattern> as Value>::parse(&[""]).unwrap().is_none());
        assert!(<Option<Pattern> as Value>::parse(&["a(b"]).unwrap_err().contains("a(b"));
    }

    #[test]
    fn include_and_exclude_are_exclusive() {
        const INCLUDE: Flag<Option<Pattern>> = pattern("a.include", "");
        const EXCLUDE: Flag<Option<Pattern>> = pattern("a.exclude", "");
        let mut flags = Flags::default();
        flags.give(&INCLUDE, vec!["x".into()]).unwrap();
        assert!(Filter::new(&flags, &INCLUDE, &EXCLUDE).unwrap().keeps("x"));
        flags.give(&EXCLUDE, vec!["y".into()]).unwrap();
        let error = Filter::new(&flags, &INCLUDE, &EXCLUDE).unwrap_err().to_string();
        assert_eq!(error, "--a.include and --a.exclude are mutually exclusive");
        let both = Filter::both(&flags, &INCLUDE, &EXCLUDE);
        assert!(both.keeps("x") && !both.keeps("xy") && !both.keeps("z"));
    }

    #[test]
    fn patterns_are_gos() {
        let matches = |pattern, text| Pattern::new(pattern).unwrap().matches(text);
        assert!(matches(r"^sd[a-z]\d+$", "sda1") && !matches(r"\d", "\u{665}"));
        assert!(matches("é", "café") && matches(r"^\p{Greek}+$", "αβγ") && matches("^[é]$", "é"));
        assert!(Pattern::new("a(").unwrap_err().contains("a("));
    }

    #[test]
    fn a_default_exclude_gives_way() {
        const INCLUDE: Flag<Option<Pattern>> = pattern("a.include", "");
        const EXCLUDE: Flag<Option<Pattern>> = Flag::value("a.exclude", &["x"], "");
        const OLD: Flag<Option<Pattern>> = pattern("a.ignored", "");
        let kept = |given: &[(&Flag<Option<Pattern>>, &str)]| {
            let mut flags = Flags::default();
            for (flag, value) in given {
                flags.give(*flag, vec![(*value).into()]).unwrap();
            }
            let filter = Filter::with_default(&flags, &INCLUDE, &EXCLUDE, &OLD);
            filter
                .map(|filter| ["x", "y"].map(|name| filter.keeps(name)))
                .map_err(|e| e.to_string())
        };
        assert_eq!(kept(&[]), Ok([false, true]));
        assert_eq!(kept(&[(&INCLUDE, "x")]), Ok([true, false]));
        assert_eq!(kept(&[(&EXCLUDE, "")]), Ok([true, true]));
        assert_eq!(kept(&[(&EXCLUDE, ""), (&INCLUDE, "y")]), Ok([false, true]));
        assert_eq!(kept(&[(&OLD, "y")]), Ok([true, false]));
        assert_eq!(kept(&[(&OLD, "y"), (&INCLUDE, "y")]), Ok([false, true]));
        assert!(kept(&[(&EXCLUDE, "x"), (&INCLUDE, "y")]).is_err());
        let error = kept(&[(&OLD, "x"), (&EXCLUDE, "y")]).unwrap_err();
        assert_eq!(error, "--a.ignored and --a.exclude are mutually exclusive");
    }
}
