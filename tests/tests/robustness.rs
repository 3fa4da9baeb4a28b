//! No collector may panic, whatever the files contain.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use exporter::{
    collectors::ALL,
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
    ("huge numbers", |text| {
        (text.into_iter())
            .flat_map(|b| if b.is_ascii_digit() { vec![b'9'; 30] } else { vec![b] })
            .collect()
    }),
    ("negative numbers", |text| {
        (text.into_iter())
            .flat_map(|b| if b.is_ascii_digit() { vec![b'-', b] } else { vec![b] })
            .collect()
    }),
    ("no spaces", |text| text.into_iter().filter(|b| *b != b' ').collect()),
    ("not text", |text| text.into_iter().map(|b| b | 0x80).collect()),
];

#[test]
fn spoiled_files_are_errors_and_never_panics() {
    for (name, spoil) in SPOILED {
        let machine = tempfile::tempdir().unwrap();
        copy(&fixture("baseline"), machine.path(), *spoil);
        let flags = golden_flags(machine.path());
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        for spec in ALL {
            let (text, result) = collect(spec, machine.path(), &flags);
            if let Err(error) = result {
                assert!(!error.to_string().is_empty(), "{name}");
            }
            assert!(text.is_empty() || text.ends_with('\n'), "{name}: {}", spec.name);
        }
    }
}

#[test]
fn a_machine_without_files_is_no_panic() {
    let machine = tempfile::tempdir().unwrap();
    for spec in ALL {
        let _ = collect(spec, machine.path(), &[]);
    }
}

fn copy(from: &Path, to: &Path, spoil: Spoil) {
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
