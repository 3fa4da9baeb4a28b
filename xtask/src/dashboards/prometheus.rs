//! A Prometheus that scrapes one exporter, both started for the task and ended with it.

use crate::ended::{Ended, free_port};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime},
};
use tempfile::TempDir;

/// How long the exporter and Prometheus may take to start.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Prometheus {
    url: String,
    client: ureq::Agent,
    start: f64,
    /// The end of the time that is looked at; the moment itself until [`Prometheus::stop`].
    end: Option<f64>,
    interval: u64,
    _programs: [Ended; 2],
    /// Dropped after the programs have ended.
    folder: TempDir,
}

/// A series over time, or at one time.
pub(super) struct Series {
    pub labels: BTreeMap<String, String>,
    /// Seconds since 1970, and values.
    pub points: Vec<(f64, f64)>,
}

impl Prometheus {
    /// Starts both; the exporter is scraped once every `interval` seconds.
    pub(super) fn start(
        exporter: &Path,
        flags: &[&str],
        prometheus: &Path,
        rules: &Path,
        interval: u64,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let [target, own] = [free_port()?, free_port()?];
        let exporter = Command::new(exporter)
            .args(flags)
            .arg(format!("--web.listen-address=127.0.0.1:{target}"))
            .stderr(fs::File::create(folder.path().join("exporter.log"))?)
            .spawn()
            .map(Ended)
            .with_context(|| exporter.display().to_string())?;
        let config = folder.path().join("prometheus.yml");
        let rules = fs::canonicalize(rules).with_context(|| rules.display().to_string())?;
        fs::write(
            &config,
            format!(
                "global: {{scrape_interval: {interval}s, evaluation_interval: {interval}s, \
                 scrape_timeout: {interval}s}}\n\
                 rule_files: ['{}']\n\
                 scrape_configs:\n\
                 - job_name: node\n  \
                   static_configs:\n  \
                   - targets: ['127.0.0.1:{target}']\n    \
                     labels: {{instance: 'router.example:9100'}}\n",
                rules.display(),
            ),
        )?;
        let server = Command::new(prometheus)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{own}"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("prometheus.log"))?)
            .spawn()
            .map(Ended)
            .with_context(|| prometheus.display().to_string())?;
        let mut this = Self {
            url: format!("http://127.0.0.1:{own}/api/v1/"),
            client: ureq::Agent::config_builder()
                .timeout_global(Some(PATIENCE))
                .http_status_as_error(false)
                .build()
                .new_agent(),
            start: now(),
            end: None,
            interval,
            _programs: [exporter, server],
            folder,
        };
        this.wait()?;
        this.start = now();
        Ok(this)
    }

    /// Waits for the first scrape that succeeds.
    fn wait(&self) -> Result<()> {
        let began = Instant::now();
        loop {
            match self.at_once("up == 1") {
                Ok(series) if !series.is_empty() => return Ok(()),
                _ if began.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(100)),
                _ => bail!("nothing was scraped in {PATIENCE:?}:\n{}", self.logs()),
            }
        }
    }

    /// The ends of both logs.
    fn logs(&self) -> String {
        let end = |name| {
            let text = fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            lines.get(lines.len().saturating_sub(5)..).unwrap_or_default().join("\n")
        };
        format!("{}\n{}", end("exporter.log"), end("prometheus.log"))
    }

    /// The number of seconds between two scrapes.
    pub(super) const fn interval(&self) -> u64 {
        self.interval
    }

    /// Looks at nothing that comes later.
    pub(super) fn stop(&mut self) {
        self.end = Some(now());
    }

    /// When the first scrape succeeded, and the end of the time that is looked at, in seconds since
    /// 1970.
    pub(super) fn times(&self) -> (f64, f64) {
        (self.start, self.end.unwrap_or_else(now))
    }

    fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let url = format!("{}{path}", self.url);
        let mut answer = if parameters.is_empty() {
            self.client.get(&url).call()?
        } else {
            self.client.post(&url).send_form(parameters.iter().copied())?
        };
        let text = answer.body_mut().with_config().limit(u64::MAX).read_to_string()?;
        let mut answer: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        let status = answer.get("status").and_then(Value::as_str);
        let words = parameters.first().map_or("", |(_, value)| *value);
        ensure!(status == Some("success"), "{path} {words}: {text}");
        Ok(answer.get_mut("data").map(Value::take).unwrap_or_default())
    }

    /// The results of a query from the start until now.
    pub(super) fn over_time(&self, query: &str) -> Result<Vec<Series>> {
        let (start, end) = self.times();
        let (start, end) = (start.to_string(), end.to_string());
        let step = self.interval.to_string();
        let data = self.ask(
            "query_range",
            &[("query", query), ("start", &start), ("end", &end), ("step", &step)],
        )?;
        series(&data, query)
    }

    /// The results of a query at the end of the time.
    pub(super) fn at_once(&self, query: &str) -> Result<Vec<Series>> {
        let time = self.times().1.to_string();
        series(&self.ask("query", &[("query", query), ("time", &time)])?, query)
    }

    /// The selectors of series in a query, without offsets and ranges.
    pub(super) fn selectors(&self, query: &str) -> Result<Vec<String>> {
        let mut found = Vec::new();
        find_selectors(&self.ask("parse_query", &[("query", query)])?, &mut found);
        ensure!(!found.is_empty(), "{query}: no selector");
        Ok(found)
    }

    /// The names and queries of all rules, each of which was evaluated without an error.
    pub(super) fn rules(&self) -> Result<Vec<(String, String)>> {
        let began = Instant::now();
        loop {
            let data = self.ask("rules", &[])?;
            let rules: Vec<&Value> =
                list(&data, "groups").flat_map(|it| list(it, "rules")).collect();
            ensure!(!rules.is_empty(), "no rules");
            let is_unknown = |rule: &&Value| text(rule, "health") == "unknown";
            if rules.iter().any(is_unknown) && began.elapsed() < PATIENCE {
                thread::sleep(Duration::from_millis(200));
                continue;
            }
            for rule in &rules {
                let (name, health) = (text(rule, "name"), text(rule, "health"));
                ensure!(health == "ok", "rule {name}: {health}: {}", text(rule, "lastError"));
            }
            return Ok(rules.iter().map(|it| (text(it, "name"), text(it, "query"))).collect());
        }
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64()
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The series of an answer, without values that are no numbers.
fn series(data: &Value, query: &str) -> Result<Vec<Series>> {
    let mut all = Vec::new();
    for result in list(data, "result") {
        let labels = result.get("metric").and_then(Value::as_object).into_iter().flatten();
        let labels = labels
            .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()));
        let points = result.get("value").into_iter().chain(list(result, "values"));
        let points = points.map(|point| {
            let time = point.get(0).and_then(Value::as_f64).context("no time")?;
            let value = point.get(1).and_then(Value::as_str).context("no value")?;
            Ok((time, value.parse()?))
        });
        let points: Result<Vec<(f64, f64)>> = points.collect();
        let mut points = points.with_context(|| format!("{query}: {result}"))?;
        points.retain(|(_, value)| value.is_finite());
        if !points.is_empty() {
            all.push(Series { labels: labels.collect(), points });
        }
    }
    Ok(all)
}

/// Adds the selectors below a node of a parsed query.
fn find_selectors(node: &Value, found: &mut Vec<String>) {
    if text(node, "type") == "vectorSelector" || text(node, "type") == "matrixSelector" {
        let matchers: Vec<String> = list(node, "matchers")
            .filter(|matcher| text(matcher, "name") != "__name__")
            .map(|matcher| {
                let value = Value::from(text(matcher, "value"));
                format!("{}{}{value}", text(matcher, "name"), text(matcher, "type"))
            })
            .collect();
        found.push(format!("{}{{{}}}", text(node, "name"), matchers.join(",")));
        return;
    }
    match node {
        Value::Object(fields) => fields.values().for_each(|value| find_selectors(value, found)),
        Value::Array(values) => values.iter().for_each(|value| find_selectors(value, found)),
        _ => {}
    }
}
