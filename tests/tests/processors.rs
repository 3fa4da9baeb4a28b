//! `docs/processors.md` is generated: from the registry, and from the code that decides whether eBPF
//! programs are for a processor. `UPDATE_EXPECT=1` writes it anew.

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "asks the compiler"
)]

use expect_test::expect_file;
use exporter::{
    collectors::ALL,
    host::bpf::{Offer, Processor},
    scrape::status::users,
};
use std::{env::consts::ARCH, fmt::Write as _, process::Command};
use tests::source::read;

/// The targets that the exporter is kept fit for.
const TARGETS: [&str; 6] = [
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "riscv64gc-unknown-linux-gnu",
    "powerpc64le-unknown-linux-gnu",
    "s390x-unknown-linux-gnu",
    "armv7-unknown-linux-gnueabihf",
];

/// The compiler's knowledge of a target.
fn processor(target: &str) -> Processor {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "cfg", "--target", target]).output().unwrap();
    assert!(output.status.success(), "{target}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.expect(key).trim_matches('"').to_owned()
    };
    Processor {
        arch: value("target_arch").leak(),
        is_little_endian: value("target_endian") == "little",
        bits: value("target_pointer_width").parse().unwrap(),
    }
}

/// The row of a target: the objects that it has, and the reasons where it has none.
fn row(target: &str, offers: &[Offer]) -> String {
    let mut row = format!("| `{target}` | {} |", ALL.len());
    let mut reasons = Vec::new();
    for Offer { object, refused, .. } in offers {
        match refused {
            None => write!(row, " `{object}.o` |").unwrap(),
            Some(error) => {
                row.push_str(" – |");
                reasons.push(error.to_string());
            }
        }
    }
    reasons.dedup();
    format!("{row} {} |", reasons.join("; "))
}

#[test]
fn the_page_about_processors_is_up_to_date() {
    let own = Processor::OWN.offers();
    let heads = own
        .iter()
        .map(|offer| format!(" {}: {} |", offer.subject, users(offer.subject).join(", ")));
    let mut text = format!(
        "# Processors

`cargo xtask targets` type-checks the exporter for each of these targets. Each has all
collectors, with all their sources but eBPF: netlink, the system bus, perf events, /proc and /sys.
The objects with eBPF programs are for little-endian processors of 64 bits, and `cpu.o` is for x86-64
alone. Where a target has none, the exporter asks the kernel for none, and the collector's next
source serves ([ebpf.md](ebpf.md)). This file is generated (see CONTRIBUTING.md).

| target | collectors |{} why not |
|---|---:|{}---|
",
        heads.collect::<String>(),
        "---|".repeat(own.len()),
    );
    for target in TARGETS {
        writeln!(text, "{}", row(target, &processor(target).offers())).unwrap();
    }
    expect_file!["../../docs/processors.md"].assert_eq(&text);
}

/// The page has the number of collectors of this machine's build for all targets.
#[test]
fn the_registry_is_the_same_for_every_processor() {
    let registry = read("exporter/src/collectors/mod.rs");
    assert!(!registry.contains("cfg"), "a collector of some targets alone");
}

#[test]
fn the_own_processor_is_the_one_that_the_compiler_knows() {
    let Some(target) = TARGETS.into_iter().find(|target| target.starts_with(ARCH)) else { return };
    assert_eq!(format!("{:?}", processor(target)), format!("{:?}", Processor::OWN));
}
