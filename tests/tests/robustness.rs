//! No collector may panic, whatever the files contain; an error names the file.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use exporter::{
    collectors::ALL,
    error::Error,
    testing::{collect, fixture, golden_flags},
};
use std::{fs, path::Path};

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

/// Runs every collector on a machine like the baseline, each of whose files `spoil` has changed.
fn run(name: &str, spoil: &dyn Fn(Vec<u8>) -> Vec<u8>) {
    let machine = tempfile::tempdir().unwrap();
    copy(&fixture("baseline"), machine.path(), spoil);
    let flags = golden_flags(machine.path());
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    for spec in ALL {
        let (text, result) = collect(spec, machine.path(), &flags);
        assert!(text.is_empty() || text.ends_with('\n'), "{name}: {}", spec.name);
        if let Err(error @ (Error::Read { .. } | Error::Parse { .. })) = result {
            let said = error.to_string();
            let place = machine.path().display().to_string();
            assert!(said.contains(&place), "{name}: {}: {said} names no file", spec.name);
        }
    }
}

#[test]
fn spoiled_files_are_errors_and_never_panics() {
    for (name, spoil) in SPOILED {
        run(name, spoil);
    }
}

#[test]
fn files_may_end_after_any_line_and_within_it() {
    for n in 0..32 {
        run(&format!("{n} lines"), &|text| {
            text.split_inclusive(|&b| b == b'\n').take(n).flatten().copied().collect()
        });
        run(&format!("{n} lines and a half"), &|text| {
            let mut lines = text.split_inclusive(|&b| b == b'\n');
            let mut cut = lines.by_ref().take(n).collect::<Vec<_>>().concat();
            let next = lines.next().unwrap_or_default();
            cut.extend_from_slice(next.split_at(next.len() / 2).0);
            cut
        });
    }
}

#[test]
fn a_machine_without_files_is_no_panic() {
    let machine = tempfile::tempdir().unwrap();
    for spec in ALL {
        let _ = collect(spec, machine.path(), &[]);
    }
}

fn copy(from: &Path, to: &Path, spoil: &dyn Fn(Vec<u8>) -> Vec<u8>) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(from).unwrap(), to).unwrap();
        } else if from.is_dir() {
            copy(&from, &to, spoil);
        } else {
            let mut text = Vec::new();
            let mut file = fs::OpenOptions::new().read(true).open(from).unwrap();
            std::io::Read::read_to_end(&mut file, &mut text).unwrap();
            fs::write(to, spoil(text)).unwrap();
        }
    }
}
