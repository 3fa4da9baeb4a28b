//! Panels as HTML and SVG, in the manner of Grafana's dark theme.

use super::{
    model::{Kind, Look, Panel, Query, Unit},
    prometheus::Series,
};
use std::{collections::BTreeSet, fmt::Write as _};

/// The colours of series, in turn.
const COLORS: [&str; 10] = [
    "#73bf69", "#5794f2", "#f2cc0c", "#ff9830", "#b877d9", "#5edfe0", "#f2495c", "#ff8fd2",
    "#c8f2c2", "#8ab8ff",
];

/// The most entries of a legend.
const LEGEND: usize = 10;

/// Widths around a drawing, in pixels.
const LEFT: f64 = 54.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 20.0;

/// The time that is drawn.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    /// The first and the last second.
    pub times: (f64, f64),
    /// Seconds between two points.
    pub step: f64,
}

/// A colour of Grafana by its name.
fn color(name: &str) -> &'static str {
    match name {
        "red" => "#f2495c",
        "orange" => "#ff9830",
        "yellow" => "#fade2a",
        "blue" => "#5794f2",
        _ => "#73bf69",
    }
}

/// A series with its name and looks.
struct Line<'a> {
    name: String,
    color: &'static str,
    look: Look,
    points: &'a [(f64, f64)],
}

/// The name of a series: the legend with the labels filled in.
fn name(legend: &str, series: &Series) -> String {
    series.labels.iter().fold(legend.to_owned(), |text, (label, value)| {
        text.replace(&format!("{{{{{label}}}}}"), value)
    })
}

fn lines(results: &[(Query, Vec<Series>)]) -> Vec<Line<'_>> {
    let mut colors = COLORS.iter().cycle();
    let mut lines = Vec::new();
    for (query, all) in results {
        for series in all {
            let color = match query.look {
                Look::Limit(name) => color(name),
                Look::Plain | Look::Below => colors.next().unwrap_or(&"#ffffff"),
            };
            let name = name(query.legend, series);
            lines.push(Line { name, color, look: query.look, points: &series.points });
        }
    }
    lines
}

/// Text within HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A number with its unit, as short as a person wants it.
fn number(value: f64, unit: Unit) -> String {
    let (scaled, suffix) = match unit {
        Unit::Share => (value * 100.0, "%"),
        Unit::Bytes => scale(value, 1024.0, &["", " KiB", " MiB", " GiB"]),
        Unit::Number => scale(value, 1000.0, &["", " K", " Mil"]),
        Unit::PerSecond => scale(value, 1000.0, &["/s", " K/s", " M/s"]),
        Unit::Seconds => match value.abs() {
            seconds if seconds >= 60.0 => (value / 60.0, " min"),
            seconds if seconds >= 1.0 || seconds == 0.0 => (value, " s"),
            seconds if seconds >= 1e-3 => (value * 1e3, " ms"),
            seconds if seconds >= 1e-6 => (value * 1e6, " µs"),
            _ => (value * 1e9, " ns"),
        },
    };
    let digits = match scaled.abs() {
        size if size >= 100.0 || size.fract() == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.1 => 2,
        _ => 3,
    };
    let text = format!("{scaled:.digits$}");
    let text = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{suffix}")
}

fn scale(value: f64, step: f64, suffixes: &[&'static str]) -> (f64, &'static str) {
    let (mut value, mut rest) = (value, suffixes.iter().copied());
    let mut suffix = rest.next().unwrap_or_default();
    for next in rest {
        if value.abs() < step {
            break;
        }
        (value, suffix) = (value / step, next);
    }
    (value, suffix)
}

/// The inside of a panel of this size in pixels.
pub(super) fn panel(
    panel: &Panel,
    results: &[(Query, Vec<Series>)],
    frame: Frame,
    (width, height): (f64, f64),
) -> String {
    match panel.kind {
        Kind::Stat => stat(panel, results, frame, (width, height)),
        Kind::Name => names(results),
        Kind::Lines | Kind::Stack => graph(panel, results, frame, (width, height)),
        Kind::Table => table(panel, results),
    }
}

fn names(results: &[(Query, Vec<Series>)]) -> String {
    let mut html = "<div class=stats>".to_owned();
    for line in lines(results) {
        let _ = write!(html, "<div class=name>{}</div>", escaped(&line.name));
    }
    html + "</div>"
}

fn stat(
    panel: &Panel,
    results: &[(Query, Vec<Series>)],
    frame: Frame,
    (width, height): (f64, f64),
) -> String {
    let lines = lines(results);
    let mut html = "<div class=stats>".to_owned();
    let share = width / lines.len().max(1) as f64;
    for line in &lines {
        let Some((_, value)) = line.points.last() else { continue };
        let reached = panel.thresholds.iter().rfind(|(from, _)| value >= from);
        let color = color(reached.map_or("green", |(_, color)| color));
        let label = if lines.len() > 1 { escaped(&line.name) } else { String::new() };
        let spark = spark(line.points, frame.times, (share, height * 0.45), color);
        let number = number(*value, panel.unit);
        let _ = write!(
            html,
            "<div class=stat style='color:{color}'>{spark}<small>{label}</small>{number}</div>"
        );
    }
    html + "</div>"
}

/// A small area below a number.
fn spark(
    points: &[(f64, f64)],
    (start, end): (f64, f64),
    (width, height): (f64, f64),
    color: &str,
) -> String {
    let largest = points.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let place = |&(time, value): &(f64, f64)| {
        let (x, y) = ((time - start) / (end - start) * width, height * (1.0 - value / largest));
        format!("{x:.1},{y:.1} ")
    };
    let path: String = points.iter().map(place).collect();
    let at = |point: Option<&(f64, f64)>| {
        point.map_or(0.0, |(t, _)| (t - start) / (end - start) * width)
    };
    let (first, last) = (at(points.first()), at(points.last()));
    format!(
        "<svg width={width:.0} height={height:.0}><polygon points='{first:.1},{height:.1} {path}\
         {last:.1},{height:.1}' fill='{color}' fill-opacity=.15 />\
         <polyline points='{path}' fill=none stroke='{color}' stroke-opacity=.6 /></svg>"
    )
}

/// Round numbers of a unit between two others.
fn marks(low: f64, high: f64, unit: Unit) -> Vec<f64> {
    // Bytes are told in units that are powers of two.
    let one = if unit == Unit::Bytes { 1_048_576.0 } else { 1.0 };
    ticks(low / one, high / one).into_iter().map(|tick| tick * one).collect()
}

/// Round numbers between two others, about five of them.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * power);
    let step = step.into_iter().find(|step| *step >= rough).unwrap_or(rough);
    let mut all = Vec::new();
    let mut tick = (low / step).ceil() * step;
    while tick <= high + step * 1e-6 {
        all.push(if tick.abs() < step * 1e-6 { 0.0 } else { tick });
        tick += step;
    }
    all
}

/// The points of a line: below zero, or on top of the lines before.
fn placed(lines: &[Line<'_>], is_stack: bool) -> Vec<Vec<(f64, f64, f64)>> {
    let mut below: Vec<(f64, f64)> = Vec::new();
    let mut all = Vec::new();
    for line in lines {
        let sign = if line.look == Look::Below { -1.0 } else { 1.0 };
        let mut points = Vec::new();
        for &(time, value) in line.points {
            let under = below.iter_mut().find(|(at, _)| is_stack && (*at - time).abs() < 0.5);
            let base = under.as_ref().map_or(0.0, |(_, sum)| *sum);
            match under {
                Some((_, sum)) => *sum += value,
                None if is_stack => below.push((time, value)),
                None => {}
            }
            points.push((time, base, base + sign * value));
        }
        all.push(points);
    }
    all
}

fn graph(
    panel: &Panel,
    results: &[(Query, Vec<Series>)],
    Frame { times: (start, end), step }: Frame,
    (width, height): (f64, f64),
) -> String {
    let is_stack = panel.kind == Kind::Stack;
    let mut lines = lines(results);
    lines.sort_by(|one, other| weight(other).total_cmp(&weight(one)));
    let points = placed(&lines, is_stack);
    let values = || points.iter().flatten().map(|(_, _, value)| *value);
    let high = values().fold(0.0, f64::max);
    let low = values().fold(0.0, f64::min);
    let (low, high) = if high > low { (low * 1.05, high * 1.05) } else { (0.0, 1.0) };
    let legend = legend(&lines, panel.unit, width);
    let legend_height = 17.0 * lines.len().min(LEGEND).div_ceil(2) as f64;
    let height = (height - legend_height).max(60.0);
    let x = |time: f64| LEFT + (time - start) / (end - start) * (width - LEFT - RIGHT);
    let y = |value: f64| TOP + (high - value) / (high - low) * (height - TOP - BOTTOM);
    let mut svg = format!("<svg width={width:.0} height={height:.0}>");
    for tick in marks(low, high, panel.unit) {
        let (at, right, text) = (y(tick), width - RIGHT, number(tick, panel.unit));
        let _ = write!(
            svg,
            "<line x1={LEFT} x2={right:.0} y1={at:.1} y2={at:.1} class=grid />\
             <text x={} y={:.1} text-anchor=end>{text}</text>",
            LEFT - 6.0,
            at + 4.0
        );
    }
    for tick in ticks(0.0, (end - start) / 60.0) {
        let (at, bottom) = (x(start + tick * 60.0), height - BOTTOM);
        let anchor = match at {
            at if at < LEFT + 20.0 => "start",
            at if at > width - RIGHT - 20.0 => "end",
            _ => "middle",
        };
        let tick = format!("{tick:.1}");
        let tick = tick.trim_end_matches(".0");
        let _ = write!(
            svg,
            "<line x1={at:.1} x2={at:.1} y1={TOP} y2={bottom:.0} class=grid />\
             <text x={at:.1} y={:.0} text-anchor={anchor}>{tick} min</text>",
            height - 5.0
        );
    }
    for (line, points) in lines.iter().zip(&points).rev() {
        let color = line.color;
        // A line ends where scrapes have no value.
        for points in points.chunk_by(|one, next| next.0 - one.0 < 1.5 * step) {
            let path: String = points.iter().fold(String::new(), |text, (time, _, value)| {
                format!("{text}{:.1},{:.1} ", x(*time), y(*value))
            });
            if matches!(line.look, Look::Limit(_)) {
                let _ = write!(
                    svg,
                    "<polyline points='{path}' fill=none stroke='{color}' stroke-width=1.5 \
                     stroke-dasharray='8 6' />"
                );
                continue;
            }
            let base: String = points.iter().rev().fold(String::new(), |text, (time, base, _)| {
                format!("{text}{:.1},{:.1} ", x(*time), y(*base))
            });
            let opacity = if is_stack { 0.45 } else { 0.1 };
            let _ = write!(
                svg,
                "<polygon points='{path}{base}' fill='{color}' fill-opacity={opacity} />\
                 <polyline points='{path}' fill=none stroke='{color}' stroke-width=1.4 />"
            );
        }
    }
    format!("{svg}</svg>{legend}")
}

/// The mean of a line, by which the lines are sorted; limits come first.
fn weight(line: &Line<'_>) -> f64 {
    let sum: f64 = line.points.iter().map(|(_, value)| value).sum();
    let mean = sum / line.points.len().max(1) as f64;
    if matches!(line.look, Look::Limit(_)) { mean + 1e12 } else { mean }
}

fn legend(lines: &[Line<'_>], unit: Unit, width: f64) -> String {
    let is_narrow = width < 500.0;
    let mut html = "<div class=legend>".to_owned();
    for line in lines.iter().take(LEGEND) {
        let last = line.points.last().map_or(0.0, |(_, value)| *value);
        let largest = line.points.iter().map(|(_, value)| *value).fold(f64::MIN, f64::max);
        let (last, largest) = (number(last, unit), number(largest, unit));
        let values = match line.look {
            Look::Plain | Look::Below if !is_narrow => format!("{last}, max {largest}"),
            _ => last,
        };
        let _ = write!(
            html,
            "<div><i style='background:{}'></i><span>{}</span><b>{values}</b></div>",
            line.color,
            escaped(&line.name)
        );
    }
    html + "</div>"
}

fn table(panel: &Panel, results: &[(Query, Vec<Series>)]) -> String {
    let all = || results.iter().flat_map(|(_, series)| series);
    let labels: BTreeSet<&String> = all().flat_map(|series| series.labels.keys()).collect();
    let rows: BTreeSet<_> = all().map(|series| &series.labels).collect();
    let mut html = "<table><tr>".to_owned();
    for label in &labels {
        let _ = write!(html, "<th>{}</th>", escaped(label));
    }
    for (query, _) in results {
        let _ = write!(html, "<th class=number>{}</th>", escaped(query.legend));
    }
    for row in rows {
        html += "</tr><tr>";
        for label in &labels {
            let _ = write!(html, "<td>{}</td>", escaped(row.get(*label).map_or("", |it| it)));
        }
        for (_, series) in results {
            let found = series.iter().find(|series| &series.labels == row);
            let value = found.and_then(|series| series.points.last());
            let text = value.map_or(String::new(), |(_, value)| number(*value, panel.unit));
            let _ = write!(html, "<td class=number>{text}</td>");
        }
    }
    html + "</tr></table>"
}
