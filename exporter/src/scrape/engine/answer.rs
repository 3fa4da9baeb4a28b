//! Rendering: from the collectors' samples to the bytes of an answer.

use super::{
    Asked, Engine,
    machine::{Part, Scrape, Share},
};
use crate::exposition::{
    Body, Format, Metric, Sink, gauge,
    packing::Packer,
    protobuf,
    text::{self, Conflict, Order},
};
use std::{sync::Arc, time::Duration};

static DURATION: Metric<1> = gauge(
    "node_scrape_collector_duration_seconds",
    "node_exporter: Duration of a collector scrape.",
)
.by(["collector"]);
static SUCCESS: Metric<1> =
    gauge("node_scrape_collector_success", "node_exporter: Whether a collector succeeded.")
        .by(["collector"]);
static SOURCE: Metric<2> =
    gauge("node_scrape_collector_source", "Which source served a collector that has several.")
        .by(["collector", "source"]);
static TIMEOUT: Metric<1> = gauge(
    "node_scrape_collector_timeout",
    "1 where a collector did not answer before the scrape's deadline.",
)
.by(["collector"]);

/// The most unused readings that are kept for a slot: one for its next run and, where scrapes
/// overlap, one from an answer that was being rendered.
const KEPT: usize = 2;

/// After so many runs in a row that have not needed the second reading it is given back.
const SPARED: u8 = 8;

/// The samples of one run of a collector; shared by the scrapes that the run serves.
#[derive(Default)]
pub(super) struct Reading {
    pub sink: Sink,
    pub duration: Duration,
    pub success: bool,
}

/// Buffers between their uses, so that a steady scrape allocates none.
pub(super) struct Kept {
    readings: Vec<Unused>,
    pub renderer: Option<Box<Renderer>>,
}

/// The unused readings of a slot; nothing else refers to them.
#[derive(Default)]
struct Unused {
    readings: Vec<Arc<Reading>>,
    /// The number of runs in a row for which there were [`KEPT`].
    spared: u8,
}

impl Unused {
    fn take(&mut self) -> Arc<Reading> {
        if self.readings.len() < KEPT {
            self.spared = 0;
        } else if self.spared < SPARED {
            self.spared += 1;
        } else {
            self.spared = 0;
            self.readings.truncate(1);
        }
        self.readings.pop().unwrap_or_default()
    }
}

impl Kept {
    pub(super) fn new(slots: usize) -> Self {
        let readings = std::iter::repeat_with(Unused::default).take(slots).collect();
        Self { readings, renderer: None }
    }

    /// A buffer for a run of this slot.
    pub(super) fn reading(&mut self, slot: usize) -> Arc<Reading> {
        self.readings.get_mut(slot).map(Unused::take).unwrap_or_default()
    }

    /// Keeps the buffer, unless another scrape still reads it or [`KEPT`] are kept already.
    pub(super) fn put_back(&mut self, slot: usize, mut reading: Arc<Reading>) {
        if let Some(Unused { readings, .. }) = self.readings.get_mut(slot)
            && readings.len() < KEPT
            && Arc::get_mut(&mut reading).is_some()
        {
            readings.push(reading);
        }
    }

    /// Puts back all readings of a scrape.
    pub(super) fn take_back(&mut self, parts: Vec<Part<Arc<Reading>>>) {
        for part in parts {
            if let Share::Read(reading) = part.state {
                self.put_back(part.slot, reading);
            }
        }
    }

    /// The number of buffers that are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.readings.iter().map(|kept| kept.readings.len()).sum()
    }
}

/// An answer.
pub(super) struct Rendered {
    pub body: Vec<u8>,
    pub conflicts: Vec<Conflict>,
}

/// The buffers that rendering keeps from one answer to the next.
#[derive(Default)]
pub(super) struct Renderer {
    /// Samples about the scrape itself.
    about: Sink,
    packer: Option<Packer>,
    order: Order,
    /// The length of the last answer that was not packed.
    len: usize,
}

fn append(
    format: Format,
    sinks: &[&Sink],
    only: Option<&[String]>,
    order: &mut Order,
    body: &mut impl Body,
) -> Vec<Conflict> {
    match format {
        Format::Text => text::append(sinks, only, order, body),
        Format::Protobuf(encoding) => protobuf::append(encoding, sinks, only, order, body),
    }
}

impl Renderer {
    /// The answer, or the reason why it cannot be rendered.
    pub(super) fn render(
        &mut self,
        engine: &Engine,
        scrape: &Scrape<Asked, Arc<Reading>>,
    ) -> Result<Rendered, String> {
        self.describe(engine, scrape);
        let mut sinks = Vec::with_capacity(scrape.parts.len() + 1);
        sinks.push(&self.about);
        sinks.extend(scrape.parts.iter().filter_map(|part| match &part.state {
            Share::Read(reading) => Some(&reading.sink),
            Share::Missing | Share::Late(_) => None,
        }));
        let request = &scrape.request.request;
        let names = request.names.as_deref();
        if request.gzip {
            // Put back only after it has finished: an answer that failed midway must not run into
            // another.
            let mut packer = self.packer.take().unwrap_or_default();
            let conflicts = append(request.format, &sinks, names, &mut self.order, &mut packer);
            let body = packer.finish().map_err(|error| format!("gzip: {error}"))?;
            self.packer = Some(packer);
            Ok(Rendered { body, conflicts })
        } else {
            let mut body = Vec::with_capacity(self.len + self.len / 8);
            let conflicts = append(request.format, &sinks, names, &mut self.order, &mut body);
            self.len = body.len();
            Ok(Rendered { body, conflicts })
        }
    }

    /// Puts the samples about the scrape itself and the counters of all scrapes.
    fn describe(&mut self, engine: &Engine, scrape: &Scrape<Asked, Arc<Reading>>) {
        let about = &mut self.about;
        about.begin(scrape.number);
        for part in scrape.parts.iter().filter(|part| part.slot < engine.collectors) {
            let name = engine.name(part.slot);
            let (duration, success) = match &part.state {
                Share::Read(reading) => (reading.duration, reading.success),
                Share::Late(waited) => (*waited, false),
                Share::Missing => (Duration::ZERO, false),
            };
            about.put(&DURATION, [&name], duration.as_secs_f64());
            about.put(&SUCCESS, [&name], success);
            match &part.state {
                Share::Read(reading) => {
                    if let Some(source) = reading.sink.source() {
                        about.put(&SOURCE, [&name, &source], 1);
                    }
                }
                Share::Late(_) | Share::Missing => about.put(&TIMEOUT, [&name], 1),
            }
        }
        engine.counts.put(about);
    }
}
