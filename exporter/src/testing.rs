//! Helpers of tests: machines to run collectors on, and comparison of the exposed text.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a test that cannot go on panics"
)]

use crate::{
    collector::{Collector, Spec},
    collectors::ALL,
    error::{Malformed, Result},
    exposition::{Sink, text},
    flag::{AnyFlag, Flags, Form},
    host::{self, Host},
};
pub mod bus;

pub use expect_test::{Expect, expect};
use std::path::{Path, PathBuf};

/// The folder of a fixture machine: `fixtures/<name>`.
#[must_use]
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(name)
}

/// The flags that make the folder `root` the machine, with its `proc`, `sys`, `root` and `udev`.
#[must_use]
pub fn paths(root: &Path) -> Vec<String> {
    ["procfs=proc", "sysfs=sys", "rootfs=root", "udev.data=udev"]
        .iter()
        .filter_map(|pair| pair.split_once('='))
        .map(|(flag, folder)| format!("--path.{flag}={}", root.join(folder).display()))
        .collect()
}

/// The flags of `fixtures/golden/flags`, with which every collector exposes all its families, and
/// those that make the folder `root` the machine.
///
/// # Panics
/// The file cannot be read.
#[must_use]
pub fn golden_flags(root: &Path) -> Vec<String> {
    #[expect(clippy::disallowed_methods, reason = "not a file of the machine")]
    let text = std::fs::read_to_string(fixture("golden/flags")).expect("the file of flags");
    let given = text.lines().map(|flag| flag.replace("MACHINE", &root.display().to_string()));
    let bus = format!("--dbus.address={}", bus::serve(&root.join("bus/recording")));
    given.chain(paths(root)).chain([bus]).collect()
}

/// Reads `--name`, `--no-name` and `--name=value` for any flag that exists, collectors included.
///
/// # Panics
/// A flag does not exist or its value is wrong.
#[must_use]
pub fn flags(args: &[String]) -> Flags {
    let all = || host::FLAGS.iter().chain(ALL.iter().flat_map(|spec| spec.flags)).copied();
    let mut flags = Flags::default();
    for arg in args {
        let arg = arg.strip_prefix("--").expect("a flag begins with two dashes");
        let (name, value) = match (arg.split_once('='), arg.strip_prefix("no-")) {
            (Some((name, value)), _) => (name, value),
            (None, Some(name)) => (name, "false"),
            (None, None) => (arg, "true"),
        };
        if let Some(spec) =
            ALL.iter().find(|spec| name.strip_prefix("collector.") == Some(spec.name))
        {
            if value == "false" {
                flags.turn_off(spec.name);
            }
            continue;
        }
        let flag: &dyn AnyFlag =
            all().find(|flag| flag.name() == name).unwrap_or_else(|| panic!("no flag --{name}"));
        let mut given = vec![value.to_owned()];
        if flag.form() == Form::Repeated {
            given.extend(args.iter().filter_map(|other| {
                let (other_name, other_value) = other.strip_prefix("--")?.split_once('=')?;
                (other_name == name && other_value != value).then(|| other_value.to_owned())
            }));
        }
        flags.give(flag, given).unwrap_or_else(|e| panic!("--{name}: {e}"));
    }
    flags
}

/// Makes a folder and those below it look as if nothing in them had changed for long.
///
/// # Panics
/// The kernel refuses.
#[expect(clippy::disallowed_methods, reason = "folders that a test has made")]
pub fn settle(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.is_symlink() {
            settle(&path);
        }
    }
    let opened = std::fs::File::open(folder).expect("a folder");
    opened.set_modified(std::time::UNIX_EPOCH).expect("a time");
}

/// A machine made of files in a temporary folder.
#[derive(Debug)]
pub struct Machine(tempfile::TempDir);

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine {
    /// An empty machine.
    ///
    /// # Panics
    /// No temporary folder can be made.
    #[must_use]
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    /// The same machine with this file, for example `proc/loadavg`.
    ///
    /// # Panics
    /// The file cannot be written.
    #[must_use]
    pub fn with(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a path below the folder"))
            .and_then(|()| std::fs::write(&path, content))
            .expect("a file in a temporary folder");
        self
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A collector of this machine, for several scrapes.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn collector(&self, spec: &Spec) -> Box<dyn Collector> {
        collector(spec, &flags(&paths(self.path())))
    }

    /// The text that one collector exposes on this machine, and its result.
    ///
    /// # Panics
    /// The flags are wrong.
    #[must_use]
    pub fn collect(&self, spec: &Spec, args: &[&str]) -> (String, Result) {
        collect(spec, self.path(), args)
    }
}

/// The text that one collector exposes on the machine in `root`, and its result.
///
/// # Panics
/// The flags are wrong.
#[must_use]
pub fn collect(spec: &Spec, root: &Path, args: &[&str]) -> (String, Result) {
    let mut all = paths(root);
    all.extend(args.iter().map(|&arg| arg.to_owned()));
    let flags = flags(&all);
    let mut collector = collector(spec, &flags);
    let mut result = Ok(());
    let text = exposed(|sink| result = collector.collect(sink));
    (text, result)
}

fn collector(spec: &Spec, flags: &Flags) -> Box<dyn Collector> {
    (spec.new)(&Host::new(flags), flags).expect("a collector that can be made")
}

/// The exposed text of the samples that `put` puts.
///
/// # Panics
/// The text is not UTF-8.
#[must_use]
pub fn exposed(put: impl FnOnce(&mut Sink)) -> String {
    let mut sink = Sink::default();
    sink.begin(1);
    put(&mut sink);
    let mut body = Vec::new();
    text::append(&[&sink], None, &mut text::Order::default(), &mut body);
    String::from_utf8(body).expect("UTF-8")
}

/// The lines of `text` that are samples, without their ends.
pub fn sample_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with('#'))
}

/// The sample lines of the samples that `put` puts.
///
/// # Panics
/// They are not UTF-8.
#[must_use]
pub fn samples(put: impl FnOnce(&mut Sink)) -> String {
    sample_lines(&exposed(put)).flat_map(|line| [line, "\n"]).collect()
}

/// Runs one collector on the machine `baseline` and compares the exposed text.
///
/// # Panics
/// The collector fails, or exposes another text.
#[track_caller]
pub fn check(spec: &Spec, args: &[&str], want: Expect) {
    let (text, result) = collect(spec, &fixture("baseline"), args);
    result.expect("no error");
    want.assert_eq(&text);
}

/// The text of the error that a parser returned.
///
/// # Panics
/// The parser returned no error.
#[must_use]
#[track_caller]
pub fn malformed<T>(result: Result<T, Malformed>) -> String {
    result.err().expect("an error").to_string()
}

#[cfg(test)]
mod registry {
    use super::*;

    #[test]
    fn names_are_sorted_and_unique() {
        assert!(ALL.is_sorted_by(|a, b| a.name < b.name));
    }

    /// Flags that bear another collector's name in node_exporter.
    const NAMED_OTHERWISE: &[&str] = &[
        "collector.netclass_rtnl.with-stats",
        "collector.powersupply.ignored-supplies",
        "collector.qdisk.device-exclude",
        "collector.qdisk.device-include",
    ];

    #[test]
    fn flags_carry_their_collectors_name() {
        for spec in ALL {
            for flag in spec.flags.iter().filter(|flag| !NAMED_OTHERWISE.contains(&flag.name())) {
                let own = format!("collector.{}.", spec.name);
                assert!(flag.name().starts_with(&own), "{}", flag.name());
            }
        }
    }

    #[test]
    fn every_default_is_a_value() {
        for flag in ALL
            .iter()
            .flat_map(|spec| spec.flags)
            .chain(crate::cli::GLOBAL.iter().copied().flatten())
        {
            assert_eq!(flag.check(flag.default()), Ok(()), "--{}", flag.name());
        }
    }

    #[test]
    fn every_file_is_registered() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/src/collectors");
        let mut files: Vec<String> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .map(|name| name.trim_end_matches(".rs").to_owned())
            .filter(|name| name != "mod")
            .collect();
        files.sort();
        assert_eq!(files, ALL.iter().map(|spec| spec.name).collect::<Vec<_>>());
    }
}
