//! Dashboards in Grafana's classic model, which Grafana 10 to 13 import.

use super::model::{Dashboard, Item, Kind, Look, Panel, Place, Query, Unit};
use serde_json::{Value, json};

const SCHEMA: u32 = 41;

/// The file of a dashboard.
pub(super) fn file(dashboard: &Dashboard) -> String {
    format!("{:#}\n", model(dashboard))
}

/// The query that offers the values of a label.
pub(super) fn values(metric: &str, label: &str) -> String {
    match label {
        "job" => format!("label_values({metric}, job)"),
        "instance" => format!(r#"label_values({metric}{{job=~"$job"}}, instance)"#),
        _ => format!(r#"label_values({metric}{{job=~"$job", instance=~"$instance"}}, {label})"#),
    }
}

fn model(dashboard: &Dashboard) -> Value {
    let mut variables = vec![json!({
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
    })];
    let choices = [("job", "Job"), ("instance", "Instance")].map(|it| (it, dashboard.shown_by));
    let own = dashboard.variables.iter().map(|own| ((own.label, own.title), own.metric));
    for ((label, title), metric) in choices.into_iter().chain(own) {
        variables.push(variable(label, title, metric));
    }
    let panels: Vec<Value> = (dashboard.items().into_iter().zip(1..))
        .map(|((place, item), id)| match item {
            Item::Heading(title) => json!({
                "id": id, "type": "row", "title": title, "collapsed": false, "panels": [],
                "gridPos": position(place),
            }),
            Item::Panel(panel) => self::panel(id, place, panel),
        })
        .collect();
    json!({
        "uid": format!("bpf-node-exporter-{}", dashboard.name),
        "title": dashboard.title,
        "description": dashboard.about,
        "tags": ["bpf_node_exporter"],
        "schemaVersion": SCHEMA,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": { "from": "now-3h", "to": "now" },
        "timezone": "browser",
        "annotations": { "list": [] },
        "links": [{
            "type": "dashboards", "title": "bpf_node_exporter", "tags": ["bpf_node_exporter"],
            "asDropdown": true, "includeVars": true, "keepTime": true, "targetBlank": false,
            "icon": "external link", "tooltip": "", "url": "",
        }],
        "templating": { "list": variables },
        "panels": panels,
    })
}

fn source() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

fn variable(label: &str, title: &str, metric: &str) -> Value {
    let query = values(metric, label);
    json!({
        "name": label,
        "label": title,
        "type": "query",
        "datasource": source(),
        "definition": query,
        "query": { "qryType": 1, "query": query, "refId": "values" },
        "refresh": 2,
        "sort": 1,
        "multi": true,
        "includeAll": true,
        "allValue": ".*",
        "current": { "text": ["All"], "value": ["$__all"], "selected": true },
    })
}

fn position(Place { x, y, w, h }: Place) -> Value {
    json!({ "x": x, "y": y, "w": w, "h": h })
}

fn panel(id: u32, place: Place, panel: &Panel) -> Value {
    let kind = match panel.kind {
        Kind::Stat | Kind::Name => "stat",
        Kind::Lines | Kind::Stack => "timeseries",
        Kind::Table => "table",
    };
    let mut it = json!({
        "id": id,
        "type": kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": source(),
        "gridPos": position(place),
        "targets": targets(panel),
        "fieldConfig": { "defaults": defaults(panel), "overrides": overrides(panel) },
        "options": options(panel.kind),
    });
    if panel.kind == Kind::Table
        && let Some(fields) = it.as_object_mut()
    {
        fields.insert("transformations".to_owned(), transformations(panel));
    }
    it
}

/// The letter of a query within its panel.
fn letter(place: usize) -> String {
    ('A'..='Z').nth(place).map(String::from).unwrap_or_default()
}

fn targets(panel: &Panel) -> Vec<Value> {
    let is_table = panel.kind == Kind::Table;
    let targets = panel.queries.iter().enumerate().map(|(place, query)| {
        json!({
            "refId": letter(place),
            "datasource": source(),
            "editorMode": "code",
            "expr": query.expression(),
            "legendFormat": if is_table { "__auto" } else { query.legend },
            "format": if is_table { "table" } else { "time_series" },
            "instant": is_table,
            "range": !is_table,
        })
    });
    targets.collect()
}

const fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Number => "short",
        Unit::PerSecond => "cps",
        Unit::Share => "percentunit",
        Unit::Seconds => "s",
        Unit::Bytes => "bytes",
    }
}

fn defaults(panel: &Panel) -> Value {
    let first = json!({ "color": "green", "value": null });
    let others =
        panel.thresholds.iter().map(|(from, color)| json!({ "color": color, "value": from }));
    let steps: Vec<Value> = std::iter::once(first).chain(others).collect();
    let color = match panel.kind {
        Kind::Lines | Kind::Stack => json!({ "mode": "palette-classic" }),
        Kind::Name => json!({ "mode": "fixed", "fixedColor": "blue" }),
        Kind::Stat | Kind::Table => json!({ "mode": "thresholds" }),
    };
    let is_below_zero = panel.queries.iter().any(|query| query.look == Look::Below);
    let mut defaults = json!({
        "unit": unit(panel.unit),
        "color": color,
        "thresholds": { "mode": "absolute", "steps": steps },
    });
    let Some(fields) = defaults.as_object_mut() else { return defaults };
    if matches!(panel.kind, Kind::Lines | Kind::Stack) {
        let is_stack = panel.kind == Kind::Stack;
        fields.insert(
            "custom".to_owned(),
            json!({
                "drawStyle": "line",
                "lineWidth": 1,
                "fillOpacity": if is_stack { 40 } else { 10 },
                "showPoints": "never",
                "stacking": { "mode": if is_stack { "normal" } else { "none" }, "group": "A" },
            }),
        );
        if !is_below_zero {
            fields.insert("min".to_owned(), json!(0));
        }
    }
    defaults
}

/// The looks of the queries that are not drawn like all others.
fn overrides(panel: &Panel) -> Vec<Value> {
    let one = |(place, query): (usize, &Query)| {
        let properties = match query.look {
            Look::Plain => return None,
            Look::Limit(color) => json!([
                { "id": "color", "value": { "mode": "fixed", "fixedColor": color } },
                { "id": "custom.lineStyle", "value": { "fill": "dash", "dash": [10, 10] } },
                { "id": "custom.fillOpacity", "value": 0 },
            ]),
            Look::Below => json!([{ "id": "custom.transform", "value": "negative-Y" }]),
        };
        let matcher = json!({ "id": "byFrameRefID", "options": letter(place) });
        Some(json!({ "matcher": matcher, "properties": properties }))
    };
    panel.queries.iter().enumerate().filter_map(one).collect()
}

fn options(kind: Kind) -> Value {
    match kind {
        Kind::Stat | Kind::Name => json!({
            "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
            "colorMode": "value",
            "graphMode": if kind == Kind::Name { "none" } else { "area" },
            "textMode": if kind == Kind::Name { "name" } else { "auto" },
            "justifyMode": "auto",
            "orientation": "auto",
        }),
        Kind::Lines | Kind::Stack => json!({
            "legend": {
                "displayMode": "table", "placement": "bottom", "showLegend": true,
                "calcs": ["lastNotNull", "max"],
            },
            "tooltip": { "mode": "multi", "sort": "desc" },
        }),
        Kind::Table => json!({ "cellHeight": "sm", "showHeader": true }),
    }
}

/// One row for each set of labels, one column for each query.
fn transformations(panel: &Panel) -> Value {
    let names = panel.queries.iter().enumerate().map(|(place, query)| {
        // A table of one query has a column without the query's letter.
        let column = match panel.queries.len() {
            1 => "Value".to_owned(),
            _ => format!("Value #{}", letter(place)),
        };
        (column, Value::from(query.legend))
    });
    let names: serde_json::Map<String, Value> = names.collect();
    json!([
        { "id": "merge", "options": {} },
        { "id": "organize", "options": { "excludeByName": { "Time": true }, "renameByName": names } },
    ])
}
