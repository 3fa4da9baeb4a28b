//! No collector may panic, whatever the files contain; an error names the file.

#![expect(clippy::panic, reason = "a test that cannot go on panics")]

use exporter::{
    collectors::ALL,
    error::Error,
    testing::{collect, fixture, golden_flags},
};
use std::path::Path;
use tests::known::{Known, copy};

type Spoil = fn(Vec<u8>) -> Vec<u8>;

const SPOILED: &[(&str, Spoil)] = &[
    ("as it is", |text| text),
    ("empty", |_| Vec::new()),
    ("cut in half", |mut text| {
        text.truncate(text.len() / 2);
        text
    }),
    ("letters for digits", |text| {
        text.into_iter().map(|b| if b.is_ascii_digit() { b'x' } else { b }).collect()
    }),
    ("huge numbers", |text| digits(text, |_| vec![b'9'; 30])),
    ("numbers past 2^63", |text| digits(text, |_| b"99999999999".to_vec())),
    ("negative numbers", |text| digits(text, |digit| vec![b'-', digit])),
    ("no spaces", |text| text.into_iter().filter(|b| *b != b' ').collect()),
    ("no lines", |text| text.into_iter().map(|b| if b == b'\n' { b' ' } else { b }).collect()),
    ("not text", |text| text.into_iter().map(|b| b | 0x80).collect()),
    ("NULs", |text| text.into_iter().flat_map(|b| [b, 0]).collect()),
    ("a field more", |text| lines(&text, |line| [line, b" 7 more"].concat())),
    ("a field before", |text| lines(&text, |line| [b"more ", line].concat())),
    ("the first field gone", |text| {
        lines(&text, |line| match line.iter().position(|&b| b == b' ') {
            Some(space) => line.split_at(space + 1).1.to_vec(),
            None => Vec::new(),
        })
    }),
    ("the last field gone", |text| {
        lines(&text, |line| match line.iter().rposition(|&b| b == b' ') {
            Some(space) => line.split_at(space).0.to_vec(),
            None => Vec::new(),
        })
    }),
    ("each line twice", |text| lines(&text, |line| [line, b"\n", line].concat())),
    ("one endless line", |text| text.repeat(20).into_iter().filter(|&b| b != b'\n').collect()),
];

fn digits(text: Vec<u8>, replace: fn(u8) -> Vec<u8>) -> Vec<u8> {
    text.into_iter().flat_map(|b| if b.is_ascii_digit() { replace(b) } else { vec![b] }).collect()
}

fn lines(text: &[u8], replace: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let lines: Vec<_> = text.split(|&b| b == b'\n').map(replace).collect();
    lines.join(&b'\n')
}

/// A machine like the baseline, and collectors that know it from before its files are spoiled.
struct Trial {
    machine: tempfile::TempDir,
    flags: Vec<String>,
    known: Vec<Known>,
}

impl Trial {
    fn new() -> Self {
        let machine = tests::folder();
        copy(&fixture("baseline"), machine.path(), &|text| text);
        let flags = golden_flags(machine.path());
        let known = Known::all(&flags);
        let mut trial = Self { machine, flags, known };
        trial.recover("at first");
        trial
    }

    /// Runs every collector on the machine with files that `spoil` has changed, while the kept
    /// collectors hold their descriptors.
    fn run(&mut self, name: &str, spoil: &dyn Fn(Vec<u8>) -> Vec<u8>) {
        let machine = self.machine.path();
        copy(&fixture("baseline"), machine, spoil);
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        for known in &mut self.known {
            let spec = known.spec;
            check(name, spec.name, machine, known.scrape());
            let (text, result) = collect(spec, machine, &flags);
            assert!(text.is_empty() || text.ends_with('\n'), "{name}: {}", spec.name);
            check(name, spec.name, machine, result);
        }
    }

    /// Checks that the collectors are right again once the files are.
    fn recover(&mut self, name: &str) {
        copy(&fixture("baseline"), self.machine.path(), &|text| text);
        for known in &mut self.known {
            let collector = known.spec.name;
            known.scrape().unwrap_or_else(|error| panic!("{name}: {collector}: {error}"));
            assert!(known.sink.families().next().is_some(), "{name}: {collector} puts nothing");
        }
    }
}

/// An error about a file names it.
fn check(name: &str, collector: &str, machine: &Path, result: Result<(), Error>) {
    if let Err(error @ (Error::Read { .. } | Error::Parse { .. })) = result {
        let said = error.to_string();
        let place = machine.display().to_string();
        assert!(said.contains(&place), "{name}: {collector}: {said} names no file");
    }
}

#[test]
fn spoiled_files_are_errors_and_never_panics() {
    let mut trial = Trial::new();
    for (name, spoil) in SPOILED {
        trial.run(name, spoil);
        trial.recover(name);
    }
}

#[test]
fn files_may_end_after_any_line_and_within_it() {
    let mut trial = Trial::new();
    for n in 0..32 {
        trial.run(&format!("{n} lines"), &|text| {
            text.split_inclusive(|&b| b == b'\n').take(n).flatten().copied().collect()
        });
        trial.run(&format!("{n} lines and a half"), &|text| {
            let mut lines = text.split_inclusive(|&b| b == b'\n');
            let mut cut = lines.by_ref().take(n).collect::<Vec<_>>().concat();
            let next = lines.next().unwrap_or_default();
            cut.extend_from_slice(next.split_at(next.len() / 2).0);
            cut
        });
    }
    trial.recover("at last");
}

#[test]
fn a_machine_without_files_is_no_panic() {
    let machine = tests::folder();
    for spec in ALL {
        let _ = collect(spec, machine.path(), &[]);
    }
}
