//! `cargo xtask bench`: this exporter beside node_exporter, scraped in turn over loopback.

#![expect(clippy::disallowed_methods, reason = "builds the exporter, and writes the documentation")]
#![expect(clippy::print_stdout, reason = "prints its tables")]

pub(crate) mod neighbours;
mod replay;
mod subject;
mod table;
mod trace;

use crate::ended::built;
use anyhow::{Context as _, Result, bail, ensure};
use procfs::Current as _;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};
use subject::{Subject, version};

const USAGE: &str = "\
usage: cargo xtask bench --peer NODE_EXPORTER [--exporter PATH] [--scrapes N] [--interval SECONDS]
                         [--tree DIR] [--flag FLAG]… [--own-flag FLAG]… [--peer-flag FLAG]…
       cargo xtask bench --write --peer NODE_EXPORTER [--exporter PATH] [--scrapes N] [--tree DIR]
  --interval is the time from one scrape of an exporter to the next, 0 unless told; nothing is run
             meanwhile.
  --tree     reads DIR/proc and DIR/sys, and runs twice: the default collectors without filesystem,
             and five more collectors.
  --flag     is given to both, --own-flag and --peer-flag to one of them.
  --write    runs all that docs/performance.md has, and replaces its tables (those of the tree with
             --tree alone).
  strace, where it is there, traces a scrape for the kernel's own share.";

/// Scrapes of each exporter before the measurement begins, at most.
const WARM_UP: u32 = 20;

/// Rounds of the kernel's own share, at least, where they need not wait.
const ROUNDS: usize = 50;

/// The documentation that is written, relative to the root of the project.
const DOCUMENT: &str = "docs/performance.md";

/// The collectors that are more expensive on large machines, and disabled by default.
const FIVE: [&str; 5] = ["interrupts", "softirqs", "processes", "meminfo_numa", "cpu.info"];

/// Those that most machines have a use for.
const ELEVEN: [&str; 11] = [
    "arp", "cpu", "filefd", "loadavg", "meminfo", "netdev", "stat", "textfile", "time", "uname",
    "vmstat",
];

#[derive(Default)]
struct Options {
    peer: PathBuf,
    exporter: Option<PathBuf>,
    scrapes: Option<u32>,
    interval: Duration,
    tree: Option<String>,
    flags: Vec<String>,
    own_flags: Vec<String>,
    peer_flags: Vec<String>,
    writes: bool,
}

/// One measurement, with tables of its own.
struct Run {
    /// As in the markers of the documentation.
    name: &'static str,
    /// Flags of both exporters.
    flags: Vec<String>,
    scrapes: u32,
    interval: Duration,
    /// Whether the system calls have a table.
    has_calls: bool,
}

/// Measures, and prints or writes tables.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let options = options(arguments)?;
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(DOCUMENT);
    let runs = runs(&options);
    if options.writes {
        // A marker that is missing is told before it is too late.
        let text = fs::read_to_string(&document).context(DOCUMENT)?;
        runs.iter().try_for_each(|run| table::replace(&text, run.name, "").map(drop))?;
    }
    let exporter = match &options.exporter {
        Some(path) => path.clone(),
        None => build()?,
    };
    for run in &runs {
        let tables = measure(run, &exporter, &options)?;
        println!("## {}\n\n{tables}", run.name);
        if options.writes {
            let text = fs::read_to_string(&document).context(DOCUMENT)?;
            fs::write(&document, table::replace(&text, run.name, &tables)?).context(DOCUMENT)?;
        }
    }
    Ok(())
}

fn options(arguments: &[&str]) -> Result<Options> {
    let (mut options, mut peer) = (Options::default(), None);
    let mut rest = arguments.iter();
    while let Some(&name) = rest.next() {
        if name == "--write" {
            options.writes = true;
            continue;
        }
        let Some(&value) = rest.next() else { bail!("{name}: no value\n{USAGE}") };
        let number = || value.parse::<u32>().with_context(|| format!("{name} {value}"));
        match name {
            "--peer" => peer = Some(value.into()),
            "--exporter" => options.exporter = Some(value.into()),
            "--scrapes" => options.scrapes = Some(number()?),
            "--interval" => options.interval = Duration::from_secs(number()?.into()),
            "--tree" => options.tree = Some(value.into()),
            "--flag" => options.flags.push(value.into()),
            "--own-flag" => options.own_flags.push(value.into()),
            "--peer-flag" => options.peer_flags.push(value.into()),
            _ => bail!("{name}: no such option\n{USAGE}"),
        }
    }
    ensure!(options.scrapes != Some(0), "--scrapes 0 measures nothing");
    let has_own = [&options.flags, &options.own_flags, &options.peer_flags];
    ensure!(
        !options.writes || options.interval.is_zero() && has_own.iter().all(|own| own.is_empty()),
        "--write has its own intervals and flags\n{USAGE}"
    );
    let Some(peer) = peer else { bail!("{USAGE}") };
    Ok(Options { peer, ..options })
}

/// The measurements that the options ask for.
fn runs(options: &Options) -> Vec<Run> {
    let run = |name, flags, scrapes| Run {
        name,
        flags,
        scrapes: options.scrapes.unwrap_or(scrapes),
        interval: options.interval,
        has_calls: true,
    };
    let mut runs = Vec::new();
    if options.writes {
        let eleven = std::iter::once("--collector.disable-defaults".to_owned())
            .chain(ELEVEN.map(|name| format!("--collector.{name}")))
            .collect();
        runs.push(run("default", Vec::new(), 300));
        let interval = Duration::from_secs(15);
        runs.push(Run { interval, has_calls: false, ..run("interval", Vec::new(), 20) });
        runs.push(Run { has_calls: false, ..run("eleven", eleven, 300) });
    } else if options.tree.is_none() {
        runs.push(run("default", options.flags.clone(), 300));
    }
    if let Some(tree) = &options.tree {
        let mut flags = options.flags.clone();
        flags.push(format!("--path.procfs={tree}/proc"));
        flags.push(format!("--path.sysfs={tree}/sys"));
        flags.push("--no-collector.filesystem".into());
        runs.push(run("tree", flags.clone(), 25));
        flags.extend(FIVE.map(|name| format!("--collector.{name}")));
        runs.push(Run { has_calls: false, ..run("tree, five more", flags, 5) });
    }
    runs
}

/// Measures both exporters in turn; the way it was done and the tables.
fn measure(run: &Run, exporter: &Path, options: &Options) -> Result<String> {
    let load = procfs::LoadAverage::current()?.one;
    let start = |name, program, own: &[String]| {
        Subject::start(name, program, &[run.flags.as_slice(), own].concat())
    };
    let mut ours = start("bpf_node_exporter", exporter, &options.own_flags)?;
    let mut peer = start("node_exporter", &options.peer, &options.peer_flags)?;
    for _ in 0..run.scrapes.min(WARM_UP) {
        ours.scrape()?;
        peer.scrape()?;
    }
    // Each is scraped in the middle of the other's interval, so that neither warms the other's caches.
    let (mut next, half) = (Instant::now(), run.interval / 2);
    for _ in 0..run.scrapes {
        for subject in [&mut ours, &mut peer] {
            next += half;
            thread::sleep(next.saturating_duration_since(Instant::now()));
            subject.measure()?;
        }
    }
    let figures = Subject::all_figures([&ours, &peer])?;
    drop(peer);
    let scrapes = run.scrapes as usize;
    let rounds = if run.interval.is_zero() { scrapes.max(ROUNDS) } else { scrapes };
    let share = replay::share(&mut ours, rounds, run.interval)
        .map_err(|error| format!("not known, {error:#}"));
    let share = share.as_ref().map_err(String::as_str);
    let [ours, peer] = &figures;
    let mut text = format!(
        "{}\n\n{}",
        method(run, load, &version(exporter)?, &version(&options.peer)?),
        table::both(ours, peer, share)
    );
    if let (true, Ok(share)) = (run.has_calls, share) {
        text.push_str(&table::calls(share));
    }
    Ok(text)
}

/// The sentence that says how the tables were measured.
fn method(run: &Run, load: f32, ours: &str, peer: &str) -> String {
    let kernel = procfs::sys::kernel::Version::current()
        .map_or_else(|_| "unknown".into(), |v| format!("{}.{}", v.major, v.minor));
    let processors = thread::available_parallelism().map_or(0, usize::from);
    let interval = match run.interval.as_secs() {
        0 => "without a pause".to_owned(),
        seconds => format!("every {seconds} s"),
    };
    format!(
        "{} scrapes of each in turn, {interval}; bpf_node_exporter {ours}, node_exporter {peer}; \
         Linux {kernel},\n{processors} processors, load {load:.2} at the start.",
        run.scrapes
    )
}

/// Builds the exporter as it is shipped and returns its path.
fn build() -> Result<PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    let release = ["build", "--release", "--package", "bpf_node_exporter"];
    built(cargo.args(release)).context("the exporter")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(arguments: &[&str]) -> Vec<(&'static str, u32, u64)> {
        let arguments = [&["--peer", "node_exporter"], arguments].concat();
        (runs(&options(&arguments).unwrap()).iter())
            .map(|run| (run.name, run.scrapes, run.interval.as_secs()))
            .collect()
    }

    #[test]
    fn runs_are_those_that_options_ask_for() {
        assert_eq!(named(&["--interval", "7"]), [("default", 300, 7)]);
        assert_eq!(named(&["--tree", "d"]), [("tree", 25, 0), ("tree, five more", 5, 0)]);
        let written = [("default", 9, 0), ("interval", 9, 15), ("eleven", 9, 0)];
        assert_eq!(named(&["--write", "--scrapes", "9"]), written);
        assert_eq!(named(&["--write", "--tree", "d"]).len(), 5);
    }

    #[test]
    fn all_tables_have_their_place_in_the_documentation() {
        let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(DOCUMENT);
        let text = fs::read_to_string(document).unwrap();
        for (name, ..) in named(&["--write", "--tree", "d"]) {
            table::replace(&text, name, "").unwrap();
        }
    }

    #[test]
    fn options_that_do_not_go_together_are_refused() {
        for arguments in [
            ["--write", "--flag", "--no-bpf"].as_slice(),
            &["--write", "--interval", "3"],
            &["--scrapes", "0"],
            &["--scrapes"],
            &["--ours", "x"],
        ] {
            assert!(options(&[&["--peer", "p"], arguments].concat()).is_err(), "{arguments:?}");
        }
        assert!(options(&["--write"]).is_err());
    }
}
