//! `cargo xtask dashboards`: the dashboards in `contrib/grafana` and the alerts in
//! `contrib/alerts`, held against a real Prometheus that scrapes a real exporter.
//!
//! The dashboards are written from the tables in this folder. While a load moves the neighbour
//! tables, every query of a dashboard must have data, and so must every series that a rule selects.

#![expect(clippy::disallowed_methods, reason = "starts the programs it needs, reads the project")]
#![expect(clippy::print_stdout, reason = "prints its table")]

mod draw;
mod events;
mod exporter;
mod grafana;
mod load;
mod model;
mod neighbours;
mod picture;
mod prometheus;

use crate::kept::{Kept, STATISTICS};
use anyhow::{Context as _, Result, bail, ensure};
use load::Load;
use model::{Dashboard, Kind, Query};
use prometheus::{Prometheus, Series};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

const USAGE: &str = "\
usage: cargo xtask dashboards --write | --check
       cargo xtask dashboards --exporter PATH --prometheus FOLDER [--seconds N] [--pictures FOLDER]
  --write       writes contrib/grafana
  --check       compares contrib/grafana with its source
  --prometheus  a folder with the programs prometheus and promtool
  --seconds     how long the load goes on (30)
  --pictures    draws the dashboards into PNG files there, by chromium and pngquant
  As root, in the initial network namespace: interfaces are made, the thresholds of the neighbour
  tables are the kernel's defaults meanwhile, and the table of IPv4 is full for two seconds.";

/// The defaults of the kernel.
const THRESHOLDS: [u32; 3] = [128, 512, 1024];

const DASHBOARDS: [&Dashboard; 3] = [&neighbours::NEIGHBOURS, &events::EVENTS, &exporter::EXPORTER];

const RULES: &str = "contrib/alerts/bpf_node_exporter.yml";
const RULE_TESTS: &str = "contrib/alerts/tests.yml";

/// The flags of the exporter whose series the dashboards show.
const FLAGS: [&str; 3] = ["--bpf.required", "--collector.cpu.bpf-events", "--collector.processes"];

/// Metrics that a host has only while something happens that the task cannot bring about.
const RARE: [(&str, &str); 1] =
    [("node_scrape_collector_timeout", "exists only while a collector is late")];

struct Options {
    exporter: PathBuf,
    prometheus: PathBuf,
    seconds: u64,
    pictures: Option<PathBuf>,
}

pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    match arguments {
        ["--write"] => {
            for dashboard in DASHBOARDS {
                fs::write(path(dashboard), grafana::file(dashboard))?;
            }
            Ok(())
        }
        ["--check"] => check_files(),
        _ => live(&options(arguments)?),
    }
}

fn options(arguments: &[&str]) -> Result<Options> {
    let (mut exporter, mut prometheus, mut seconds, mut pictures) = (None, None, 30, None);
    let mut rest = arguments.iter();
    while let Some(&name) = rest.next() {
        let Some(&value) = rest.next() else { bail!("{name}: no value\n{USAGE}") };
        match name {
            "--exporter" => exporter = Some(value.into()),
            "--prometheus" => prometheus = Some(value.into()),
            "--seconds" => seconds = value.parse().context(USAGE)?,
            "--pictures" => pictures = Some(value.into()),
            _ => bail!("{name}: no such option\n{USAGE}"),
        }
    }
    let (Some(exporter), Some(prometheus)) = (exporter, prometheus) else { bail!("{USAGE}") };
    Ok(Options { exporter, prometheus, seconds, pictures })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn path(dashboard: &Dashboard) -> PathBuf {
    root().join("contrib/grafana").join(format!("{}.json", dashboard.name))
}

fn check_files() -> Result<()> {
    for dashboard in DASHBOARDS {
        let path = path(dashboard);
        let there = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        ensure!(
            there == grafana::file(dashboard),
            "{}: run cargo xtask dashboards --write",
            path.display()
        );
    }
    Ok(())
}

fn live(options: &Options) -> Result<()> {
    check_files()?;
    let promtool = options.prometheus.join("promtool");
    for words in
        [["check", "rules", "--lint=all", RULES].as_slice(), &["test", "rules", RULE_TESTS]]
    {
        let status = Command::new(&promtool).args(words).current_dir(root()).status();
        let status = status.with_context(|| promtool.display().to_string())?;
        ensure!(status.success(), "promtool {} fails", words.join(" "));
    }
    let turn = testbed::namespace::Turn::take();
    let mut kept = Kept::thresholds(THRESHOLDS)?;
    kept.set(STATISTICS, "1")?;
    let mut load = Load::new()?;
    let interval = if options.seconds < 120 { 1 } else { 2 };
    let mut prometheus = Prometheus::start(
        &options.exporter,
        &FLAGS,
        &options.prometheus.join("prometheus"),
        &root().join(RULES),
        interval,
    )?;
    load.run(Duration::from_secs(options.seconds));
    prometheus.stop();
    drop((load, kept, turn));
    let mut missing = check_dashboards(&prometheus)?;
    missing.extend(check_rules(&prometheus)?);
    ensure!(missing.is_empty(), "without data:\n  {}", missing.join("\n  "));
    if let Some(folder) = &options.pictures {
        for dashboard in DASHBOARDS {
            picture::make(dashboard, &prometheus, folder)?;
        }
    }
    Ok(())
}

/// The results of a query of a panel.
fn ask(prometheus: &Prometheus, kind: Kind, query: &Query) -> Result<Vec<Series>> {
    let text = filled(prometheus, &query.expression());
    if kind == Kind::Table { prometheus.at_once(&text) } else { prometheus.over_time(&text) }
}

/// A query with all variables filled in, as Grafana does where everything is chosen.
fn filled(prometheus: &Prometheus, query: &str) -> String {
    let (start, end) = prometheus.times();
    let range = end - start;
    let mut text = query
        .replace("$__rate_interval", &format!("{}s", 4 * prometheus.interval()))
        .replace("$__range", &format!("{range:.0}s"));
    let labels = DASHBOARDS.iter().flat_map(|it| it.variables).map(|variable| variable.label);
    for label in labels.chain(["job", "instance"]) {
        text = text.replace(&format!("${label}"), ".*");
    }
    text
}

/// Asks all queries of all dashboards; returns those without data.
fn check_dashboards(prometheus: &Prometheus) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    println!("\n| dashboard | panel | query | series | largest |\n|---|---|---|---:|---:|");
    for dashboard in DASHBOARDS {
        let own = dashboard.variables.iter().map(|own| (own.metric, own.label));
        for (metric, label) in own.chain([(dashboard.shown_by, "instance")]) {
            let series = prometheus.at_once(metric)?;
            if !series.iter().any(|series| series.labels.contains_key(label)) {
                missing.push(format!("{}: label {label} of {metric}", dashboard.name));
            }
        }
        for panel in dashboard.panels() {
            for query in panel.queries {
                let series = ask(prometheus, panel.kind, query)?;
                let points = series.iter().flat_map(|series| &series.points);
                let largest = points.map(|(_, value)| *value).fold(f64::NEG_INFINITY, f64::max);
                let (name, title, legend) = (dashboard.name, panel.title, query.legend);
                println!("| {name} | {title} | {legend} | {} | {largest:.3} |", series.len());
                if series.is_empty() {
                    missing.push(format!("{name}: {title}: {}", query.expression()));
                }
            }
        }
    }
    Ok(missing)
}

/// Asks for all series that the rules select; returns the selectors without data.
fn check_rules(prometheus: &Prometheus) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    println!("\n| rule | selector | series |\n|---|---|---:|");
    for (name, query) in prometheus.rules()? {
        for selector in prometheus.selectors(&query)? {
            let series = prometheus.over_time(&selector)?.len();
            println!("| {name} | `{selector}` | {series} |");
            let is_rare = RARE.iter().find(|(metric, _)| selector.starts_with(metric));
            match (series, is_rare) {
                (0, Some((_, reason))) => println!("| | {reason} | |"),
                (0, None) => missing.push(format!("rule {name}: {selector}")),
                _ => {}
            }
        }
    }
    Ok(missing)
}
