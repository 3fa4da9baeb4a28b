//! Pictures of dashboards: a page in their layout, photographed by chromium and made small by
//! pngquant.

use super::{
    ask, draw,
    model::{Dashboard, Item, Place},
    prometheus::Prometheus,
};
use anyhow::{Context as _, Result, ensure};
use std::{fmt::Write as _, fs, path::Path, process::Command};

/// The size of a cell of the grid, and the space between panels, in pixels.
const CELL: (f64, f64) = (58.0, 36.0);
const GAP: f64 = 8.0;
/// The height of the title of the page, and of a panel.
const HEAD: f64 = 56.0;
const TITLE: f64 = 30.0;

const STYLE: &str = "
    * { box-sizing: border-box; margin: 0 }
    body { background: #111217; color: #ccccdc; font: 13px 'DejaVu Sans', sans-serif }
    h1 { font-size: 18px; font-weight: 500; padding: 18px 12px }
    h1 span { color: #8e8e9c; font-size: 13px; padding-left: 12px }
    h2 { position: absolute; font-size: 14px; font-weight: 500; padding: 10px 4px }
    .panel { position: absolute; background: #181b1f; border: 1px solid #24282e;
             border-radius: 3px; overflow: hidden }
    .panel > p { font-size: 13px; padding: 7px 10px; height: 30px; white-space: nowrap }
    svg { display: block }
    svg text { fill: #9a9aa8; font-size: 11px }
    .grid { stroke: #2a2e35 }
    .legend { display: grid; grid-template-columns: 1fr 1fr; padding: 0 10px; font-size: 11px }
    .legend div { display: flex; align-items: center; height: 17px; min-width: 0; white-space: nowrap;
                  padding-right: 14px }
    .legend i { flex: 0 0 12px; height: 3px; margin-right: 6px }
    .legend span { flex: 1; overflow: hidden; text-overflow: ellipsis }
    .legend b { font-weight: 400; color: #8e8e9c; padding-left: 8px }
    .stats { display: flex; height: calc(100% - 30px) }
    .stat, .name { flex: 1; font-size: 26px; text-align: center; position: relative; padding: 8px 0 }
    .name { color: #5794f2; font-size: 24px; padding: 18px 0 }
    .stat small { display: block; font-size: 12px; color: #ccccdc }
    .stat svg { position: absolute; bottom: 0; left: 0 }
    table { width: 100%; border-collapse: collapse; font-size: 12px }
    th { text-align: left; font-weight: 500; color: #6e9fff }
    th, td { padding: 4px 10px; border-bottom: 1px solid #24282e }
    .number { text-align: right }
";

/// Draws a dashboard into a PNG file of its name.
pub(super) fn make(dashboard: &Dashboard, prometheus: &Prometheus, folder: &Path) -> Result<()> {
    let (page, width, height) = page(dashboard, prometheus)?;
    let scratch = tempfile::tempdir()?;
    let html = scratch.path().join("page.html");
    fs::write(&html, page)?;
    fs::create_dir_all(folder)?;
    let picture = folder.join(format!("dashboard-{}.png", dashboard.name));
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--hide-scrollbars", "--force-device-scale-factor=1"])
        .arg(format!("--user-data-dir={}", scratch.path().join("profile").display()))
        .arg(format!("--window-size={width:.0},{height:.0}"))
        .arg(format!("--screenshot={}", picture.display()))
        .arg(format!("file://{}", html.display()))
        .output()
        .context("chromium")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && picture.exists(), "chromium: {said}");
    let status = Command::new("pngquant")
        .args(["--force", "--ext=.png", "--speed=1", "64"])
        .arg(&picture)
        .status()
        .context("pngquant")?;
    ensure!(status.success(), "pngquant: {status}");
    Ok(())
}

/// The page, its width and its height.
fn page(dashboard: &Dashboard, prometheus: &Prometheus) -> Result<(String, f64, f64)> {
    let frame = draw::Frame { times: prometheus.times(), step: prometheus.interval() as f64 };
    let mut html = format!(
        "<!doctype html><meta charset=utf-8><style>{STYLE}</style><h1>{}<span>router.example:9100\
         </span></h1>",
        dashboard.title
    );
    let mut height = HEAD;
    for (place, item) in dashboard.items() {
        let Place { x, y, w, h } = place;
        let (left, top) = (f64::from(x) * CELL.0 + GAP, f64::from(y) * CELL.1 + HEAD);
        let size = (f64::from(w) * CELL.0 - GAP, f64::from(h) * CELL.1 - GAP);
        height = f64::max(height, top + size.1 + GAP);
        match item {
            Item::Heading(title) => {
                let _ = write!(html, "<h2 style='left:{left}px;top:{top}px'>{title}</h2>");
            }
            Item::Panel(panel) => {
                let mut results = Vec::new();
                for query in panel.queries {
                    results.push((*query, ask(prometheus, panel.kind, query)?));
                }
                let inside = (size.0 - 2.0, size.1 - TITLE - 4.0);
                let _ = write!(
                    html,
                    "<div class=panel style='left:{left}px;top:{top}px;width:{}px;height:{}px'>\
                     <p>{}</p>{}</div>",
                    size.0,
                    size.1,
                    panel.title,
                    draw::panel(panel, &results, frame, inside)
                );
            }
        }
    }
    Ok((html, 24.0 * CELL.0 + GAP, height))
}
