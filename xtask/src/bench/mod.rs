//! `cargo xtask bench`: this exporter beside node_exporter, scraped in turn over loopback.

#![expect(clippy::disallowed_methods, reason = "builds the exporter, and writes the documentation")]
#![expect(clippy::print_stdout, reason = "prints its tables")]

mod case;
pub(crate) mod load;
pub(crate) mod neighbours;
mod replay;
mod subject;
mod table;
mod trace;

use crate::ended::built;
use anyhow::{Context as _, Result, bail, ensure};
use case::Case;
use procfs::Current as _;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};
use subject::{Subject, version};
use testbed::namespace::Turn;

const USAGE: &str = "\
usage: cargo xtask bench --peer NODE_EXPORTER [--exporter PATH] [--scrapes N] [--interval SECONDS]
                         [--tree DIR] [--flag FLAG]… [--own-flag FLAG]… [--peer-flag FLAG]…
       cargo xtask bench --write --peer NODE_EXPORTER [--exporter PATH] [--scrapes N] [--tree DIR]
       cargo xtask bench --case CASE… [--write] --peer NODE_EXPORTER [--exporter PATH] [--scrapes N]
  --interval is the time from one scrape of an exporter to the next, 0 unless told; nothing is run
             meanwhile.
  --tree     reads DIR/proc and DIR/sys, and runs twice: the default collectors without filesystem,
             and five more collectors.
  --case     makes a load in namespaces of its own, as root: neighbours, sockets, mounts, links,
             processes, or all of them.
  --flag     is given to both, --own-flag and --peer-flag to one of them.
  --write    runs all that docs/performance.md has, and replaces its tables (those of the tree with
             --tree alone, those of cases with --case alone).
  strace, where it is there, traces a scrape for the kernel's own share.";

/// Scrapes of each exporter before the measurement begins, at most.
const WARM_UP: u32 = 20;

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
    cases: Vec<&'static Case>,
    writes: bool,
}

/// One measurement, with tables of its own.
struct Run {
    /// As in the markers of the documentation.
    name: &'static str,
    /// Flags of both exporters.
    flags: Vec<String>,
    /// Flags of this exporter alone.
    own_flags: Vec<String>,
    scrapes: u32,
    interval: Duration,
    /// Whether the kernel's own share is taken.
    has_share: bool,
    /// Whether the system calls have a table.
    has_calls: bool,
    /// The load that the answers have to show.
    case: Option<&'static Case>,
}

impl Run {
    const fn new(name: &'static str, scrapes: u32) -> Self {
        Self {
            name,
            flags: Vec::new(),
            own_flags: Vec::new(),
            scrapes,
            interval: Duration::ZERO,
            has_share: true,
            has_calls: false,
            case: None,
        }
    }
}

/// Measures, and prints or writes tables.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let options = options(arguments)?;
    let text = fs::read_to_string(document()).context(DOCUMENT)?;
    let runs = runs(&options);
    let cases: Vec<_> =
        options.cases.iter().map(|case| (case, case_runs(case, &options))).collect();
    if options.writes {
        // A marker that is missing is told before it is too late.
        let all = runs.iter().chain(cases.iter().flat_map(|(_, runs)| runs));
        all.map(|run| run.name).try_for_each(|name| table::replace(&text, name, "").map(drop))?;
    }
    let exporter = match &options.exporter {
        Some(path) => path.clone(),
        None => build()?,
    };
    for run in &runs {
        report(run, &exporter, &options)?;
    }
    let _turn = (!cases.is_empty()).then(Turn::take);
    for (case, runs) in &cases {
        let _load = case.begin()?;
        runs.iter().try_for_each(|run| report(run, &exporter, &options))?;
    }
    Ok(())
}

/// Measures, and prints or writes the tables.
fn report(run: &Run, exporter: &Path, options: &Options) -> Result<()> {
    let tables = measure(run, exporter, options)?;
    println!("## {}\n\n{tables}", run.name);
    if options.writes {
        let text = fs::read_to_string(document()).context(DOCUMENT)?;
        fs::write(document(), table::replace(&text, run.name, &tables)?).context(DOCUMENT)?;
    }
    Ok(())
}

fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(DOCUMENT)
}

fn options(arguments: &[&str]) -> Result<Options> {
    let (mut options, mut peer, mut cases) = (Options::default(), None, Vec::new());
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
            "--case" => cases.push(value),
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
    options.cases = Case::named(&cases)
        .with_context(|| format!("--case {}\n{USAGE}", cases.join(" --case ")))?;
    ensure!(options.cases.is_empty() || options.tree.is_none(), "--case has no tree\n{USAGE}");
    let Some(peer) = peer else { bail!("{USAGE}") };
    Ok(Options { peer, ..options })
}

/// The measurements of a case.
fn case_runs(case: &'static Case, options: &Options) -> Vec<Run> {
    case.runs()
        .map(|run| Run {
            flags: [run.flags, options.flags.clone()].concat(),
            scrapes: options.scrapes.unwrap_or(run.scrapes),
            interval: options.interval,
            ..run
        })
        .collect()
}

/// The measurements without a load that the options ask for.
fn runs(options: &Options) -> Vec<Run> {
    let run = |name, flags, scrapes| Run {
        flags,
        interval: options.interval,
        has_calls: true,
        ..Run::new(name, options.scrapes.unwrap_or(scrapes))
    };
    let mut runs = Vec::new();
    if !options.cases.is_empty() {
        return runs;
    }
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
    let start = |name, program, own: &[&[String]]| {
        let mut subject = Subject::start(name, program, &[&[&*run.flags], own].concat().concat())?;
        run.case.map_or(Ok(()), |case| case.check(&mut subject))?;
        Ok::<_, anyhow::Error>(subject)
    };
    let mut ours = start("bpf_node_exporter", exporter, &[&run.own_flags, &options.own_flags])?;
    let mut peer = start("node_exporter", &options.peer, &[&options.peer_flags])?;
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
    let scrapes = run.scrapes as usize;
    let share = if run.has_share {
        replay::share(&mut ours, &mut peer, scrapes, run.interval, run.has_calls)
            .map_err(|error| format!("not known, {error:#}"))
    } else {
        Err("not known, as bpf(2) is not made again".to_owned())
    };
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
        let options = options(&arguments).unwrap();
        let cases = options.cases.iter().flat_map(|case| case_runs(case, &options));
        (runs(&options).into_iter().chain(cases))
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
        let processes = [("processes", 9, 0), ("processes, by /proc", 9, 0)];
        assert_eq!(named(&["--case", "processes", "--scrapes", "9"]), processes);
    }

    #[test]
    fn all_tables_have_their_place_in_the_documentation() {
        let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(DOCUMENT);
        let text = fs::read_to_string(document).unwrap();
        let cases = named(&["--write", "--case", "all"]);
        for (name, ..) in named(&["--write", "--tree", "d"]).into_iter().chain(cases) {
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
            &["--case", "none"],
            &["--case", "links", "--tree", "d"],
        ] {
            assert!(options(&[&["--peer", "p"], arguments].concat()).is_err(), "{arguments:?}");
        }
        assert!(options(&["--write"]).is_err());
    }
}
