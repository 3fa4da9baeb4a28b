//! Events counted by processors and the kernel, by `perf_event_open(2)`: `node_perf_<event>_total` and
//! `node_perf_<system>_<tracepoint>`, each by `cpu`.
//!
//! Counters are opened at the start, while all capabilities are there, and again where a processor
//! comes back. Events that take turns on a processor are scaled to the time between scrapes. An
//! event that the machine does not have, or that may not be counted, costs itself alone.

mod count;
mod events;
mod options;

use crate::{
    exposition::{Kind, sanitized},
    host::perf::{self, Counter, Event, Type},
    parse::ranges,
    prelude::*,
};
use count::Count;
use options::{Tracepoint, cpus};
use rustix::io::Errno;
use std::borrow::Cow;

pub const SPEC: Spec = Spec {
    name: "perf",
    enabled: false,
    capabilities: CapabilitySet::PERFMON,
    flags: &[
        &CPUS,
        &TRACEPOINT,
        &NO_HARDWARE,
        &HARDWARE,
        &NO_SOFTWARE,
        &SOFTWARE,
        &NO_CACHE,
        &CACHE,
    ],
    new: |host, flags| Ok(Box::new(Perf::new(host, flags)?)),
};

static CPUS: Flag<String> =
    text("collector.perf.cpus", "List of CPUs from which perf metrics should be collected");
static TRACEPOINT: Flag<Vec<String>> =
    texts("collector.perf.tracepoint", "perf tracepoint that should be collected");
static NO_HARDWARE: Flag<bool> =
    switch("collector.perf.disable-hardware-profilers", false, "disable perf hardware profilers");
static HARDWARE: Flag<Vec<String>> =
    texts("collector.perf.hardware-profilers", "perf hardware profilers that should be collected");
static NO_SOFTWARE: Flag<bool> =
    switch("collector.perf.disable-software-profilers", false, "disable perf software profilers");
static SOFTWARE: Flag<Vec<String>> =
    texts("collector.perf.software-profilers", "perf software profilers that should be collected");
static NO_CACHE: Flag<bool> =
    switch("collector.perf.disable-cache-profilers", false, "disable perf cache profilers");
static CACHE: Flag<Vec<String>> =
    texts("collector.perf.cache-profilers", "perf cache profilers that should be collected");

struct Perf {
    /// The list of processors that are online.
    online: File,
    /// The processors of `--collector.perf.cpus`; all that are online where there is none.
    wanted: Option<Vec<u32>>,
    events: Vec<Counted>,
    /// In the order of their numbers.
    processors: Vec<Processor>,
}

/// An event that is counted.
struct Counted {
    metric: Cow<'static, Metric<1>>,
    event: What,
}

enum What {
    Known(Event),
    /// A tracepoint whose number has not been found yet, and the places of the file with the number.
    Sought([File; 2]),
}

struct Processor {
    number: u32,
    is_online: bool,
    /// As many as there are events.
    counts: Vec<Count<Counter>>,
}

/// The fault of one event.
#[derive(Debug, thiserror::Error)]
#[error("{metric} of cpu {processor}: {errno}")]
struct Fault {
    metric: String,
    processor: u32,
    errno: Errno,
}

impl Perf {
    fn new(host: &Host, flags: &Flags) -> Result<Self> {
        let text = flags.get(&CPUS);
        let wanted = if text.is_empty() { None } else { Some(cpus(&text)?) };
        let mut counted = Vec::new();
        for tracepoint in flags.get(&TRACEPOINT) {
            counted.push(Counted::tracepoint(host, &tracepoint.parse()?));
        }
        for (disabled, chosen, all, kind) in [
            (&NO_HARDWARE, &HARDWARE, events::HARDWARE, "hardware"),
            (&NO_SOFTWARE, &SOFTWARE, events::SOFTWARE, "software"),
            (&NO_CACHE, &CACHE, events::CACHE, "cache"),
        ] {
            if flags.get(disabled) {
                continue;
            }
            let chosen = flags.get(chosen);
            for name in &chosen {
                if all.iter().all(|profiler| profiler.name != name) {
                    tracing::error!(collector = SPEC.name, "Unknown {kind} profiler: {name}");
                }
            }
            let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|one| one == name);
            counted.extend(all.iter().filter(|profiler| is_chosen(profiler.name)).map(
                |profiler| {
                    let metric = Cow::Borrowed(&profiler.metric);
                    Counted { metric, event: What::Known(profiler.event) }
                },
            ));
        }
        let online = host.sys.file("devices/system/cpu/online");
        let mut perf = Self { online, wanted, events: counted, processors: Vec::new() };
        // The first scrape tells of faults.
        let _ = perf.count(|_, _, _| ());
        perf.say_what_is_not_counted();
        Ok(perf)
    }

    /// Names the events that processors do not have, and the wanted processors that are not there.
    fn say_what_is_not_counted(&self) {
        let is_unsupported = |event: usize| {
            let mut counts = self.processors.iter().filter_map(|one| one.counts.get(event));
            counts.any(Count::is_unsupported)
        };
        let events = (0..).zip(&self.events).filter(|(event, _)| is_unsupported(*event));
        let events: Vec<&str> = events.map(|(_, counted)| &*counted.metric.name).collect();
        if !events.is_empty() {
            let events = events.join(",");
            tracing::warn!(collector = SPEC.name, events, "Not counted by processors of this kind");
        }
        let is_there = |cpu: &&u32| self.processors.iter().any(|one| one.number == **cpu);
        let cpus = self.wanted.iter().flatten().filter(|cpu| !is_there(cpu));
        let cpus: Vec<String> = cpus.map(u32::to_string).collect();
        if !cpus.is_empty() {
            let cpus = cpus.join(",");
            tracing::warn!(collector = SPEC.name, cpus, "Not online");
        }
    }

    /// Gives `each` the metric, the processor and the count of every event.
    fn count(&mut self, mut each: impl FnMut(&Metric<1>, u32, u64)) -> Result {
        if self.events.is_empty() {
            return Ok(());
        }
        let (mut faults, mut is_counted) = (Faults::default(), false);
        self.look_for_processors()?;
        for Counted { metric, event } in &mut self.events {
            faults.keep(event.seek(metric));
        }
        let is_open =
            |processor: &Processor| processor.counts.iter().filter(|c| c.is_open()).count();
        let mut open: usize = self.processors.iter().map(is_open).sum();
        let most = perf::most();
        for Processor { number, counts, .. } in self.processors.iter_mut().filter(|p| p.is_online) {
            for (Counted { metric, event }, count) in self.events.iter().zip(counts) {
                let What::Known(event) = event else { continue };
                let was_open = count.is_open();
                let result = count.get(*event, *number, was_open || open < most);
                open += usize::from(!was_open && count.is_open());
                let fault = |errno| fault(metric, *number, errno);
                let result = match result {
                    Err(Errno::NODEV) => continue, // it has just gone offline
                    result => result.map_err(fault),
                };
                if let Some(Some(value)) = faults.keep(result) {
                    is_counted = true;
                    each(metric, *number, value);
                }
            }
        }
        faults.end()?;
        if is_counted { Ok(()) } else { Err(Error::NoData) }
    }

    /// Looks which of the wanted processors are online.
    fn look_for_processors(&mut self) -> Result {
        let Self { online, wanted, events, processors } = self;
        for processor in &mut *processors {
            processor.is_online = false;
        }
        online.parse(|text| {
            for range in ranges::<u16>("list of processors", text) {
                for number in range?.map(u32::from) {
                    if wanted.as_ref().is_some_and(|wanted| wanted.binary_search(&number).is_err())
                    {
                        continue;
                    }
                    let place = processors.binary_search_by_key(&number, |known| known.number);
                    let place = place.unwrap_or_else(|place| {
                        let counts = events.iter().map(|_| Count::default()).collect();
                        processors.insert(place, Processor { number, is_online: true, counts });
                        place
                    });
                    if let Some(known) = processors.get_mut(place) {
                        known.is_online = true;
                    }
                }
            }
            Ok(())
        })
    }
}

impl Collector for Perf {
    fn collect(&mut self, out: &mut Sink) -> Result {
        self.count(|metric, processor, value| out.put(metric, [&processor], value))
    }
}

impl Counted {
    fn tracepoint(host: &Host, Tracepoint { system, event }: &Tracepoint) -> Self {
        let metric = Metric::named(
            Kind::Counter,
            format!("node_perf_{}", sanitized(&format!("{system}_{event}"))),
            format!("Perf tracepoint {system}:{event}"),
            ["cpu"],
        );
        let files = ["tracing", "debug/tracing"]
            .map(|folder| host.sys.file(&format!("kernel/{folder}/events/{system}/{event}/id")));
        Self { metric: Cow::Owned(metric), event: What::Sought(files) }
    }
}

impl What {
    /// Reads a tracepoint's number, where it is not known yet. The tracepoint may come with a module.
    fn seek(&mut self, metric: &Metric<1>) -> Result {
        let Self::Sought([tracefs, debugfs]) = self else { return Ok(()) };
        let number = tracefs.number().or_else(|error| debugfs.number().map_err(|_| error))?;
        tracing::debug!(collector = SPEC.name, "{} is tracepoint {number}", metric.name);
        *self = Self::Known(Event { kind: Type::Tracepoint, config: number });
        Ok(())
    }
}

fn fault(metric: &Metric<1>, processor: u32, errno: Errno) -> Error {
    let metric = metric.name.to_string();
    Error::Source { source_name: "perf", error: Box::new(Fault { metric, processor, errno }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, sample_lines};

    const ONLY_SOFTWARE: [&str; 2] =
        ["--collector.perf.disable-hardware-profilers", "--collector.perf.disable-cache-profilers"];

    fn may_count() -> bool {
        Counter::open(Event { kind: Type::Software, config: 3 }, 0).is_ok()
    }

    #[test]
    fn each_event_is_counted_on_each_processor() {
        let machine = Machine::new().with("sys/devices/system/cpu/online", "0\n");
        let mut args = ONLY_SOFTWARE.to_vec();
        args.push("--collector.perf.software-profilers=ContextSwitch");
        let (text, result) = machine.collect(&SPEC, &args);
        if may_count() {
            result.unwrap();
            let lines: Vec<_> = sample_lines(&text).collect();
            assert_eq!(lines.len(), 1, "{text}");
            assert!(lines[0].starts_with("node_perf_context_switches_total{cpu=\"0\"} "), "{text}");
        } else {
            let error = result.unwrap_err().to_string();
            assert!(
                error.starts_with("perf: node_perf_context_switches_total of cpu 0: "),
                "{error}"
            );
        }
    }

    #[test]
    fn a_processor_that_is_not_online_costs_itself_alone() {
        let machine = Machine::new().with("sys/devices/system/cpu/online", "0\n");
        let mut args = ONLY_SOFTWARE.to_vec();
        args.push("--collector.perf.cpus=0,7");
        let (text, result) = machine.collect(&SPEC, &args);
        assert_eq!(result.is_ok(), may_count());
        assert_eq!(sample_lines(&text).count(), if may_count() { 5 } else { 0 }, "{text}");
    }

    #[test]
    fn a_tracepoint_that_is_not_there_costs_itself_alone() {
        let machine = Machine::new().with("sys/devices/system/cpu/online", "0\n");
        let mut args = ONLY_SOFTWARE.to_vec();
        args.push("--collector.perf.tracepoint=sched:nope");
        let (text, result) = machine.collect(&SPEC, &args);
        let error = result.unwrap_err().to_string();
        assert!(error.contains("kernel/tracing/events/sched/nope/id: No such file"), "{error}");
        assert_eq!(sample_lines(&text).count(), if may_count() { 5 } else { 0 }, "{text}");
    }

    #[test]
    fn nothing_wanted_is_nothing_exposed() {
        let machine = Machine::new().with("sys/devices/system/cpu/online", "0\n");
        let mut args = ONLY_SOFTWARE.to_vec();
        args.push("--collector.perf.software-profilers=Nope");
        let (text, result) = machine.collect(&SPEC, &args);
        result.unwrap();
        assert_eq!(text, "");
    }
}
