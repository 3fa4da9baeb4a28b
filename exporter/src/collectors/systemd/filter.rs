//! The flags that say which units are wanted; their patterns match whole names.

use crate::{flag::AnyFlag as _, prelude::*};

pub(super) static INCLUDE: Flag<String> = Flag::value(
    "collector.systemd.unit-include",
    &[".+"],
    "Regexp of systemd units to include. Units must both match include and not match exclude to be included.",
);
pub(super) static OLD_INCLUDE: Flag<String> =
    text("collector.systemd.unit-whitelist", "DEPRECATED: Use --collector.systemd.unit-include")
        .hidden();
pub(super) static EXCLUDE: Flag<String> = Flag::value(
    "collector.systemd.unit-exclude",
    &[r".+\.(automount|device|mount|scope|slice)"],
    "Regexp of systemd units to exclude. Units must both match include and not match exclude to be included.",
);
pub(super) static OLD_EXCLUDE: Flag<String> =
    text("collector.systemd.unit-blacklist", "DEPRECATED: Use collector.systemd.unit-exclude")
        .hidden();

/// The units that are wanted.
pub(super) struct Filter {
    include: Pattern,
    exclude: Pattern,
}

impl Filter {
    /// Whether the unit of this name is wanted.
    pub(super) fn keeps(&self, name: &str) -> bool {
        self.include.matches(name) && !self.exclude.matches(name)
    }
}

/// Reads the flags.
///
/// # Errors
/// A flag is given by both of its names, or is no pattern.
pub(super) fn read(flags: &Flags) -> Result<Filter> {
    Ok(Filter {
        include: whole(flags, &INCLUDE, &OLD_INCLUDE)?,
        exclude: whole(flags, &EXCLUDE, &OLD_EXCLUDE)?,
    })
}

/// The pattern of a flag, or of its old name where only that is given.
fn whole(flags: &Flags, flag: &Flag<String>, old: &Flag<String>) -> Result<Pattern> {
    let given = flags.get(old);
    let (name, pattern) = if given.is_empty() {
        (flag.name(), flags.get(flag))
    } else if flags.gives(flag) {
        let (old, flag) = (old.name(), flag.name());
        return Err(Error::Flag(format!("--{old} and --{flag} are mutually exclusive")));
    } else {
        let (old, flag) = (old.name(), flag.name());
        tracing::warn!("--{old} is DEPRECATED and will be removed in 2.0.0, use --{flag}");
        (old, given)
    };
    // The pattern alone first, so that an error names a place in the user's own text.
    Pattern::new(&pattern)
        .and_then(|_| Pattern::new(&format!("^(?:{pattern})$")))
        .map_err(|error| Error::Flag(format!("--{name}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::flags;

    fn filter(args: &[&str]) -> Result<Filter, String> {
        let args: Vec<String> =
            args.iter().map(|arg| format!("--collector.systemd.unit-{arg}")).collect();
        read(&flags(&args)).map_err(|error| error.to_string())
    }

    #[test]
    fn patterns_match_whole_names() {
        let kept = |args: &[&str], name| filter(args).unwrap().keeps(name);
        assert!(kept(&[], "cron.service") && kept(&[], "a.target"));
        assert!(!kept(&[], "a.mount") && !kept(&[], "dev-a.device") && !kept(&[], ""));
        assert!(kept(&[], "a.mount.service"));
        assert!(kept(&["exclude="], "a.mount"), "an empty pattern excludes nothing");
        assert!(!kept(&["include="], "a.service"), "and includes nothing");
        assert!(kept(&["include=a|b"], "b") && !kept(&["include=a|b"], "ab"));
    }

    #[test]
    fn each_flag_has_one_name_at_a_time() {
        assert!(!filter(&["whitelist=a"]).unwrap().keeps("b"));
        assert!(!filter(&["blacklist=a"]).unwrap().keeps("a"));
        assert!(filter(&["blacklist=a"]).unwrap().keeps("b.mount"));
        assert!(filter(&["whitelist=", "include=b"]).unwrap().keeps("b"));
        for old in ["whitelist=a", "blacklist=a"] {
            let new = old.replace("white", "in").replace("black", "ex").replace("list", "clude");
            let error = filter(&[old, &new]).err().unwrap();
            assert!(error.ends_with("are mutually exclusive"), "{error}");
        }
        let error = filter(&["include=a("]).err().unwrap();
        assert!(error.starts_with("--collector.systemd.unit-include: "), "{error}");
        assert!(error.contains("`a(`"), "{error}");
    }
}
