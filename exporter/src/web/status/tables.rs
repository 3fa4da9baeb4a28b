//! The tables of the status.

use super::{
    Privileges,
    words::{grouped, moment, seconds},
};
use crate::scrape::status::{Collector, Figures, Outcome, Program, Programs, Run, State};
use maud::{Markup, html};

pub(super) fn table_of_collectors(collectors: &[Collector]) -> Markup {
    html! {
        div.card.scroll {
            table aria-labelledby="collectors" {
                thead {
                    tr {
                        th scope="col" { "Collector" }
                        th scope="col" { "Last run" }
                        th.wide scope="col" { "Source" }
                        th.number scope="col" { "Duration" }
                    }
                }
                tbody { @for collector in collectors { (row_of_collector(collector)) } }
            }
        }
    }
}

fn row_of_collector(collector: &Collector) -> Markup {
    let last = collector.last.as_ref();
    let source = last.and_then(|run| run.source).unwrap_or_default();
    html! {
        tr {
            th scope="row" {
                (collector.name)
                @if let Some(Run { outcome: Outcome::Failed(error), since, .. }) = last {
                    small { (error) " (since " (moment(*since)) ")" }
                }
            }
            td {
                @if let Some(running) = collector.running.filter(|running| running.is_late) {
                    span.pill.bad { "✕ late, " (seconds(running.seconds)) }
                } @else {
                    @match last.map(|run| &run.outcome) {
                        None => span.pill { "– not yet" },
                        Some(Outcome::Succeeded) => span.pill.good { "✓ success" },
                        Some(Outcome::NoData) => span.pill { "∅ no data" },
                        Some(Outcome::Failed(_)) => span.pill.bad { "✕ failed" },
                    }
                }
                small.narrow { (source) }
            }
            td.wide { (source) }
            td.number { @if let Some(run) = last { (seconds(run.duration_seconds)) } }
        }
    }
}

pub(super) fn subject_of_programs(Programs { report, collectors }: &Programs) -> Markup {
    let Figures { programs, maps, resyncs, audit_difference, keeper } = &report.figures;
    html! {
        div.card.subject {
            div {
                h3 { (report.subject) }
                @match report.state {
                    State::Loaded => span.pill.good { "✓ loaded" },
                    State::Refused { .. } => span.pill.warn { "✕ refused" },
                    State::Unused => span.pill { "– not asked for" },
                }
                span.soft {
                    @if collectors.is_empty() { "no enabled collector reads it" }
                    @else { "for " (collectors.join(", ")) }
                }
            }
            @if let State::Refused { reason, .. } = &report.state { p { (reason) } }
            @if report.state == State::Loaded && programs.is_empty() {
                p.soft { "The last scrape has left no figures." }
            }
            @if !resyncs.is_empty() || audit_difference.is_some() || keeper.is_some() {
                p.soft {
                    @if let Some(difference) = audit_difference {
                        "Difference to the kernel's own count: " (difference) ". "
                    }
                    @if !resyncs.is_empty() {
                        "Resyncs: "
                        @for (i, resync) in resyncs.iter().enumerate() {
                            @if i > 0 { ", " }
                            (resync.reason) " " (grouped(resync.total))
                        }
                        ". "
                    }
                    @if let Some(is_there) = keeper {
                        "The process for more room (bpf_keeper) "
                        @if *is_there { "runs." } @else { "is gone: the maps keep their size." }
                    }
                }
            }
            @if !maps.is_empty() {
                div.scroll {
                    table {
                        thead {
                            tr {
                                th scope="col" { "Map" }
                                th.number scope="col" { "Entries" }
                                th.number scope="col" { "Room" }
                            }
                        }
                        tbody {
                            @for map in maps {
                                tr {
                                    th scope="row" { code { (map.name) } }
                                    td.number { (grouped(map.entries)) }
                                    td.number { (grouped(map.max_entries)) }
                                }
                            }
                        }
                    }
                }
            }
            @if !programs.is_empty() { (table_of_programs(programs)) }
        }
    }
}

/// Runs are counted only where the kernel was told to count them.
fn table_of_programs(programs: &[Program]) -> Markup {
    let are_counted = programs.iter().any(|program| program.runs > 0);
    html! {
        div.scroll {
            table {
                thead {
                    tr {
                        th scope="col" { "Program" }
                        th scope="col" { "Runs" }
                        @if are_counted {
                            th.number scope="col" { "Number" }
                            th.number scope="col" { "Mean" }
                        }
                        th.number scope="col" { "Missed" }
                    }
                }
                tbody {
                    @for program in programs {
                        tr {
                            th scope="row" { code { (program.name) } }
                            td { @if program.attached { "at its event" } @else { "on demand" } }
                            @if are_counted {
                                td.number { (grouped(program.runs)) }
                                td.number {
                                    @if program.runs > 0 {
                                        (seconds(program.run_seconds / program.runs as f64))
                                    }
                                }
                            }
                            td.number { (grouped(program.missed_runs)) }
                        }
                    }
                }
            }
        }
    }
}

pub(super) fn table_of_privileges(privileges: &Privileges) -> Markup {
    let kept = privileges.capabilities.iter().filter(|each| each.is_kept).count();
    html! {
        p.soft {
            "User " (privileges.user) ", "
            @match kept { 0 => "no capability", 1 => "one capability", _ => { (kept) " capabilities" } }
            " kept."
        }
        @if !privileges.capabilities.is_empty() {
            div.card.scroll {
                table aria-labelledby="privileges" {
                    thead {
                        tr {
                            th scope="col" { "Capability" }
                            th scope="col" { "State" }
                            th scope="col" { "Used by" }
                        }
                    }
                    tbody {
                        @for capability in &privileges.capabilities {
                            tr {
                                th scope="row" { code { (capability.name) } }
                                td {
                                    @if capability.is_kept { span.pill.good { "✓ kept" } }
                                    @else { span.pill { "– not granted" } }
                                }
                                td { (capability.users.join(", ")) }
                            }
                        }
                    }
                }
            }
        }
    }
}
