//! The pair of flags by which many collectors include and exclude devices.

use super::{Flag, Flags, Pattern};
use crate::error::{Error, Result};

/// A pair of flags, declared by the collector that takes them.
#[derive(Clone, Copy)]
pub struct FilterFlags {
    /// Only names that match are wanted.
    pub include: &'static Flag<Option<Pattern>>,
    /// Names that match are not wanted.
    pub exclude: &'static Flag<Option<Pattern>>,
    /// The deprecated name of `include`, where it has one.
    pub old_include: Option<&'static Flag<Option<Pattern>>>,
    /// The deprecated name of `exclude`, where it has one.
    pub old_exclude: Option<&'static Flag<Option<Pattern>>>,
    /// The rule for the two flags together.
    pub rule: Rule,
}

/// The rule for an include and an exclude together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rule {
    /// At most one of the two may be given. Where the exclude has a default, an include replaces
    /// that default, and the exclude's old name with it.
    Exclusive,
    /// Both may be given: a wanted name matches the include and not the exclude.
    Both,
}

impl FilterFlags {
    /// A pair without older names, under [`Rule::Exclusive`].
    #[must_use]
    pub const fn new(
        include: &'static Flag<Option<Pattern>>,
        exclude: &'static Flag<Option<Pattern>>,
    ) -> Self {
        Self { include, exclude, old_include: None, old_exclude: None, rule: Rule::Exclusive }
    }

    /// Reads the pair.
    ///
    /// # Errors
    /// Both flags are given and their rule forbids it, or a flag is given under both of its names.
    pub fn read(&self, flags: &Flags) -> Result<Filter> {
        let include = current(flags, self.include, self.old_include)?;
        let exclude = current(flags, self.exclude, self.old_exclude)?;
        if self.rule == Rule::Both {
            return Ok(Filter { include: flags.get(include), exclude: flags.get(exclude) });
        }
        let replaceable = !self.exclude.default.is_empty() && !flags.gives(self.exclude);
        let filter = Filter { include: flags.get(include), exclude: flags.get(exclude) };
        match filter {
            Filter { include: Some(_), exclude: Some(_) } if replaceable => {
                Ok(Filter { exclude: None, ..filter })
            }
            Filter { include: Some(_), exclude: Some(_) } => Err(exclusive(include, exclude)),
            _ => Ok(filter),
        }
    }
}

/// The flag to read: under its old name where only that name is given.
fn current(
    flags: &Flags,
    flag: &'static Flag<Option<Pattern>>,
    old: Option<&'static Flag<Option<Pattern>>>,
) -> Result<&'static Flag<Option<Pattern>>> {
    let Some(old) = old.filter(|old| flags.get(old).is_some()) else { return Ok(flag) };
    // An empty pattern counts as given where it replaces a default.
    if flags.gives(flag) && (!flag.default.is_empty() || flags.get(flag).is_some()) {
        return Err(exclusive(old, flag));
    }
    tracing::warn!(
        "--{} is DEPRECATED and will be removed in 2.0.0, use --{}",
        old.name,
        flag.name
    );
    Ok(old)
}

fn exclusive(a: &Flag<Option<Pattern>>, b: &Flag<Option<Pattern>>) -> Error {
    Error::Flag(format!("--{} and --{} are mutually exclusive", a.name, b.name))
}

/// The names that are wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    include: Option<Pattern>,
    exclude: Option<Pattern>,
}

impl Filter {
    /// Whether the device with this name is wanted.
    #[must_use]
    pub fn keeps(&self, name: &str) -> bool {
        self.include.as_ref().is_none_or(|pattern| pattern.matches(name))
            && !self.exclude.as_ref().is_some_and(|pattern| pattern.matches(name))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::pattern, *};

    const INCLUDE: Flag<Option<Pattern>> = pattern("a.include", "");
    const EXCLUDE: Flag<Option<Pattern>> = pattern("a.exclude", "");
    const DEFAULT: Flag<Option<Pattern>> = Flag::value("a.exclude", &["x"], "");
    const OLD: Flag<Option<Pattern>> = pattern("a.ignored", "");

    /// The names among x, y and xy that a pair keeps.
    fn kept(pair: FilterFlags, given: &[(&Flag<Option<Pattern>>, &str)]) -> Result<String, String> {
        let mut flags = Flags::default();
        for (flag, value) in given {
            flags.give(*flag, vec![(*value).into()]).unwrap();
        }
        let filter = pair.read(&flags).map_err(|error| error.to_string())?;
        let kept: Vec<&str> = ["x", "y", "xy"].into_iter().filter(|n| filter.keeps(n)).collect();
        Ok(kept.join(" "))
    }

    #[test]
    fn include_and_exclude_are_exclusive_unless_the_rule_says_both() {
        const PAIR: FilterFlags = FilterFlags::new(&INCLUDE, &EXCLUDE);
        const BOTH: FilterFlags = FilterFlags { rule: Rule::Both, ..PAIR };
        assert_eq!(kept(PAIR, &[]), Ok("x y xy".into()));
        assert_eq!(kept(PAIR, &[(&INCLUDE, "x")]), Ok("x xy".into()));
        let both: [(&Flag<_>, &str); 2] = [(&INCLUDE, "x"), (&EXCLUDE, "y")];
        let error = "--a.include and --a.exclude are mutually exclusive";
        assert_eq!(kept(PAIR, &both), Err(error.into()));
        assert_eq!(kept(BOTH, &both), Ok("x".into()));
    }

    #[test]
    fn a_default_exclude_gives_way() {
        const PAIR: FilterFlags =
            FilterFlags { old_exclude: Some(&OLD), ..FilterFlags::new(&INCLUDE, &DEFAULT) };
        for (given, want) in [
            (&[][..], "y"),
            (&[(&INCLUDE, "x")], "x xy"),
            (&[(&DEFAULT, "")], "x y xy"),
            (&[(&DEFAULT, ""), (&INCLUDE, "y")], "y xy"),
            (&[(&OLD, "y")], "x"),
            (&[(&OLD, "y"), (&INCLUDE, "y")], "y xy"),
        ] {
            assert_eq!(kept(PAIR, given), Ok(want.into()));
        }
        assert!(kept(PAIR, &[(&DEFAULT, "x"), (&INCLUDE, "y")]).is_err());
        let error = "--a.ignored and --a.exclude are mutually exclusive";
        assert_eq!(kept(PAIR, &[(&OLD, "x"), (&DEFAULT, "y")]), Err(error.into()));
    }
}
