//! The pages of HTML: that of the status, and that at `/`.

use super::{
    Capability, Privileges, Site, Status,
    tables::{subject_of_programs, table_of_collectors, table_of_privileges},
    words::{age, grouped, moment, seconds},
};
use crate::{
    scrape::status::{Collector, Outcome, Programs, State},
    web::target::{STATUS, has_status},
};
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("style.css");

/// A page with the links to the other pages; `path` is that of the metrics.
fn page(title: &str, path: &str, here: &str, content: Markup) -> String {
    let link = |to: &str, name: &str| {
        html! { a href=(to) aria-current=[(to == here).then_some("page")] { (name) } }
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="UTF-8";
                meta name="viewport" content="width=device-width, initial-scale=1.0";
                title { (title) }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    div {
                        h1 { "Node Exporter" }
                        nav aria-label="Pages" {
                            (link("/", "Home"))
                            @if has_status(path) { (link(STATUS, "Status")) }
                            (link(path, "Metrics"))
                        }
                    }
                }
                (content)
            }
        }
    };
    page.into_string()
}

/// The page at `/`.
pub(in crate::web) fn landing(site: &Site) -> String {
    let content = html! {
        main {
            h2 { "Prometheus Node Exporter" }
            p { "Version: bpf_node_exporter " (env!("CARGO_PKG_VERSION")) }
            ul {
                li { a href=(site.path) { "Metrics" } }
                @if has_status(&site.path) {
                    li {
                        a href=(STATUS) { "Status" }
                        " of the collectors, of eBPF and of the exporter itself"
                    }
                }
            }
            h2 { "Collectors" }
            p.soft { (site.engine.names().join(" · ")) }
        }
    };
    page("Node Exporter", &site.path, "/", content)
}

/// The page of the status.
pub(super) fn status(status: &Status<'_>, path: &str) -> String {
    let Status { collectors, programs, privileges, .. } = status;
    let notes = notes(status);
    let content = html! {
        main {
            (tiles(status))
            @if !notes.is_empty() {
                section aria-labelledby="notes" {
                    h2 id="notes" { "Worth a look" }
                    ul.notes { @for note in &notes { (note) } }
                }
            }
            section aria-labelledby="collectors" {
                h2 id="collectors" { "Collectors" }
                @if collectors.iter().all(|collector| collector.last.is_none()) {
                    p.soft { "No collector has run yet: each runs when " code { (path) } " is asked for." }
                }
                (table_of_collectors(collectors))
                @if !status.disabled_collectors.is_empty() {
                    details.card {
                        summary { (status.disabled_collectors.len()) " more are not enabled" }
                        p.soft { (status.disabled_collectors.join(" · ")) }
                    }
                }
            }
            section aria-labelledby="ebpf" {
                h2 id="ebpf" { "Programs in the kernel (eBPF)" }
                div.subjects { @for subject in programs { (subject_of_programs(subject)) } }
            }
            section aria-labelledby="privileges" {
                h2 id="privileges" { "Privileges" }
                (table_of_privileges(privileges))
            }
        }
        footer {
            "bpf_node_exporter " (status.version) ", " (moment(status.time))
            ". Figures are those of the last scrape; this page runs no collector. The same as JSON: "
            code { "curl -H 'Accept: application/json'" } " with this address."
        }
    };
    page("Status · Node Exporter", path, STATUS, content)
}

/// The summary.
fn tiles(status: &Status<'_>) -> Markup {
    let Status { collectors, programs, scrapes, connections, .. } = status;
    let number_of = |is: fn(&Collector) -> bool| collectors.iter().filter(|each| is(each)).count();
    let failed =
        number_of(|each| matches!(outcome(each), Some(Outcome::Failed(_))) || is_late(each));
    let empty = number_of(|each| outcome(each) == Some(&Outcome::NoData));
    let good = number_of(|each| outcome(each) == Some(&Outcome::Succeeded) && !is_late(each));
    let last = collectors.iter().filter_map(|each| Some(each.last.as_ref()?.ended)).max();
    let in_state =
        |is: fn(&State) -> bool| programs.iter().filter(|each| is(&each.report.state)).count();
    let loaded = in_state(|state| *state == State::Loaded);
    let unused = in_state(|state| *state == State::Unused);
    html! {
        dl.tiles {
            (tile(
                "Collectors",
                &html! { (good) " of " (collectors.len()) },
                &html! { "succeed, " (failed) " failed, " (empty) " without data" },
            ))
            (tile(
                "Last run",
                &html! {
                    @match last {
                        Some(last) => { (age(last, status.time)) " ago" }
                        None => "none yet",
                    }
                },
                &html! {
                    (grouped(scrapes.served)) " served, " (grouped(scrapes.failed)) " failed, "
                    (grouped(scrapes.refused)) " refused"
                },
            ))
            (tile(
                "Under way",
                &html! { (scrapes.under_way) @if scrapes.under_way == 1 { " scrape" } @else { " scrapes" } },
                &html! {
                    @if status.max_scrapes > 0 { "of " (status.max_scrapes) " at most" }
                    @else { "without a limit" }
                },
            ))
            (tile(
                "Connections",
                &html! { (connections.open) },
                &html! { (connections.busy) " with a request, " (grouped(connections.limit as u64)) " at most" },
            ))
            (tile(
                "eBPF",
                &html! { (loaded) " of " (programs.len() - unused) },
                &html! { "subjects loaded, " (unused) " not asked for" },
            ))
            (tile(
                "Up for",
                &html! { (age(status.started, status.time)) },
                &html! { "since " (moment(status.started)) },
            ))
        }
    }
}

fn tile(name: &str, main: &Markup, more: &Markup) -> Markup {
    html! { div.card { dt { (name) } dd { (main) } dd { (more) } } }
}

fn outcome(collector: &Collector) -> Option<&Outcome> {
    collector.last.as_ref().map(|run| &run.outcome)
}

fn is_late(collector: &Collector) -> bool {
    collector.running.is_some_and(|running| running.is_late)
}

/// Faults and sources that do not serve, each with its reason, and its remedy where one is known.
fn notes(status: &Status<'_>) -> Vec<Markup> {
    let Status { collectors, programs, privileges, .. } = status;
    let late = collectors.iter().filter_map(|collector| {
        let running = collector.running.filter(|running| running.is_late)?;
        Some(html! {
            li.card.bad {
                h3 { (collector.name) " does not answer" }
                p { "Its run has taken " (seconds(running.seconds)) " so far." }
            }
        })
    });
    let failed = collectors.iter().filter_map(|collector| {
        let run = collector.last.as_ref()?;
        let Outcome::Failed(error) = &run.outcome else { return None };
        Some(html! {
            li.card.bad {
                h3 { (collector.name) " fails" }
                p { (error) }
                @for capability in lacking(privileges, collector.name) {
                    p { "It uses " (capability) ", which was not granted." }
                }
                p.soft { "Since " (moment(run.since)) }
            }
        })
    });
    let refused = refusals(programs).into_iter().map(|(reason, remedy, collectors)| {
        html! {
            li.card {
                h3 { "eBPF does not serve " (collectors.join(", ")) }
                p { (reason) }
                @if let Some(remedy) = remedy { p { strong { "Remedy: " } (remedy) } }
            }
        }
    });
    let passed_over = collectors.iter().filter_map(|collector| {
        let run = collector.last.as_ref()?;
        let passed = run.passed_over.as_ref()?;
        let source = run.source.unwrap_or("another source");
        Some(html! {
            li.card {
                h3 { (collector.name) ": " (source) " serves in place of " (passed.source) }
                p { (passed.error) }
            }
        })
    });
    late.chain(failed).chain(refused).chain(passed_over).collect()
}

/// The capabilities that a collector uses and the exporter does not have.
fn lacking<'a>(privileges: &'a Privileges, collector: &str) -> impl Iterator<Item = &'a str> {
    let is_used = move |of: &&Capability| !of.is_kept && of.users.contains(&collector);
    privileges.capabilities.iter().filter(is_used).map(|of| of.name.as_str())
}

/// The reasons why programs are refused, each once, with the remedy and the collectors.
fn refusals(programs: &[Programs]) -> Vec<(&str, Option<&str>, Vec<&'static str>)> {
    let mut refusals: Vec<(&str, Option<&str>, Vec<&'static str>)> = Vec::new();
    for Programs { report, collectors } in programs {
        let State::Refused { reason, remedy } = &report.state else { continue };
        match refusals.iter_mut().find(|(known, ..)| known == reason) {
            Some((.., known)) => known.extend(collectors),
            None => refusals.push((reason, remedy.as_deref(), collectors.clone())),
        }
    }
    for (.., collectors) in &mut refusals {
        collectors.sort_unstable();
        collectors.dedup();
    }
    refusals
}
