//! The dashboards and alerts in `contrib` are about metrics that exist, and their texts point to
//! sections that exist. `cargo xtask dashboards` asks a real Prometheus for their data.

use expect_test::expect_file;
use std::collections::BTreeSet;
use tests::source::read;

const ALERTS: &str = "contrib/alerts/bpf_node_exporter.yml";
const DASHBOARDS: [&str; 3] = ["cpu-events", "exporter", "neighbours"];

/// The words of a text that may be names of the exporter's metrics.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    let prefixes = ["node_", "process_", "promhttp_"];
    let is_name = |word: &&str| {
        *word != "node_exporter" && prefixes.iter().any(|prefix| word.starts_with(prefix))
    };
    words.filter(is_name).collect()
}

#[test]
fn dashboards_and_alerts_are_about_metrics_that_exist() {
    let page = read("docs/collectors.md");
    let known: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    let mut texts = vec![(ALERTS.to_owned(), read(ALERTS))];
    for name in DASHBOARDS {
        let path = format!("contrib/grafana/{name}.json");
        texts.push((path.clone(), read(&path)));
    }
    for (path, text) in &texts {
        let names = names(text);
        assert!(names.len() > 3, "{path} asks for nothing");
        for name in names {
            assert!(known.contains(name), "{path}: {name}");
        }
    }
}

/// The values of a key in YAML, one a line.
fn values<'a>(yaml: &'a str, key: &str) -> Vec<&'a str> {
    let start = format!("{key}: ");
    yaml.lines()
        .filter_map(|line| line.trim_start().trim_start_matches("- ").strip_prefix(&start))
        .collect()
}

#[test]
fn every_alert_is_tested_and_has_a_section_about_its_remedy() {
    let (rules, tests) = (read(ALERTS), read("contrib/alerts/tests.yml"));
    let alerts = values(&rules, "alert");
    let tested = values(&tests, "alertname");
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in &alerts {
        assert!(tested.contains(alert), "{alert} has no test");
    }
    let runbooks = values(&rules, "runbook");
    assert_eq!(runbooks.len(), alerts.len());
    let page = read("docs/troubleshooting.md");
    let sections: BTreeSet<String> = (page.lines())
        .filter_map(|line| line.strip_prefix("## "))
        .map(|title| title.to_lowercase().replace(' ', "-"))
        .collect();
    for runbook in runbooks {
        let section = runbook.strip_prefix("docs/troubleshooting.md#").unwrap_or_default();
        assert!(sections.contains(section), "{runbook}");
    }
}

/// The rules as an object of the Prometheus operator are generated: `UPDATE_EXPECT=1` writes them.
#[test]
fn the_operator_has_the_same_rules() {
    const HEAD: &str = "\
# Generated from contrib/alerts/bpf_node_exporter.yml, whose head has more about the alerts.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: bpf-node-exporter
  namespace: bpf-node-exporter
  labels:
    app.kubernetes.io/name: bpf-node-exporter
spec:
";
    let rules = read(ALERTS);
    let groups = rules.lines().skip_while(|line| *line != "groups:");
    let indented =
        groups.map(|line| if line.is_empty() { "\n".into() } else { format!("  {line}\n") });
    let text = HEAD.to_owned() + &indented.collect::<String>();
    assert!(text.contains("  groups:\n    - name: "), "{text}");
    expect_file!["../../contrib/kubernetes/monitoring/prometheusrule.yaml"].assert_eq(&text);
}
