//! The threads, each of which takes one job after the other from the machine.
//!
//! Guards hold everything that a thread takes, and give it back even if the thread unwinds: the
//! guard of a run holds the collector and its samples, the guard of an answer the buffers that the
//! answer is made of, and the guard of the thread its place among those that are counted on.

use super::{
    Asked, Engine, Failed, Rendered, Seat,
    answer::{Reading, Renderer},
    lock,
    machine::{self, Id, Job, Scrape},
    news::cause,
    record::{End, Record},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
    thread,
    time::Instant,
};

impl Engine {
    /// Starts threads until enough are counted on.
    pub(super) fn staff(self: &Arc<Self>) {
        while let Some(id) = self.hire() {
            let place = Place { engine: Arc::clone(self), id };
            let thread = thread::Builder::new().name("collectors".into()).stack_size(512 << 10);
            let started = self.namespace.run(move || thread.spawn(move || place.work()).map(drop));
            let started = started.flatten();
            let lacks = started.is_err();
            let before = self.lacks_threads.swap(lacks, Relaxed);
            if let Err(error) = started {
                if !before {
                    tracing::error!(%error, "cannot start a thread for collectors");
                }
                return;
            }
        }
    }

    fn hire(&self) -> Option<Id> {
        lock(&self.state).machine.hire()
    }

    /// Waits for a job; `None` where the thread is to end.
    fn job(&self, thread: Id) -> Option<Task<'_>> {
        let mut state = lock(&self.state);
        loop {
            let now = Instant::now();
            match state.machine.next(thread, now) {
                Job::Run(run) => {
                    return Some(Task::Collect(Collecting {
                        engine: self,
                        run,
                        since: now,
                        seat: state.seats.get_mut(run.slot).and_then(Option::take),
                        reading: Some(state.kept.reading(run.slot)),
                        end: None,
                    }));
                }
                Job::Render(scrape) => {
                    return Some(Task::Render(Rendering {
                        engine: self,
                        scrape: Some(scrape),
                        renderer: state.kept.renderer.take(),
                    }));
                }
                Job::Wait => {
                    state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                Job::Leave => {
                    let wake = state.machine.to_wake(0);
                    drop(state);
                    self.wake(wake);
                    return None;
                }
            }
        }
    }
}

/// A thread's place among those that are counted on.
struct Place {
    engine: Arc<Engine>,
    id: Id,
}

impl Place {
    /// A thread's life.
    fn work(self) {
        while let Some(task) = self.engine.job(self.id) {
            match task {
                Task::Collect(collecting) => collecting.collect(),
                Task::Render(rendering) => rendering.answer(),
            }
        }
    }
}

impl Drop for Place {
    /// Gives the place back, also for a thread that could not be started, or that unwinds: another
    /// thread takes it.
    fn drop(&mut self) {
        let mut state = lock(&self.engine.state);
        state.machine.dismiss(self.id);
        let wake = state.machine.to_wake(0); // for the jobs that this thread was counted on to take
        drop(state);
        self.engine.wake(wake);
        if thread::panicking() {
            self.engine.staff();
        }
    }
}

enum Task<'a> {
    Collect(Collecting<'a>),
    Render(Rendering<'a>),
}

/// A run of a collector.
struct Collecting<'a> {
    engine: &'a Engine,
    run: machine::Run,
    since: Instant,
    seat: Option<Seat>,
    reading: Option<Arc<Reading>>,
    /// `None` until the run is over.
    end: Option<End>,
}

impl Collecting<'_> {
    fn collect(mut self) {
        let Self { engine, run, since, seat, reading, end } = &mut self;
        let reading = reading.as_mut().and_then(Arc::get_mut);
        let (Some(seat), Some(reading)) = (seat.as_mut(), reading) else { return };
        reading.success = false;
        let sink = &mut reading.sink;
        let result = catch_unwind(AssertUnwindSafe(|| {
            sink.begin(run.number);
            sink.due(run.due);
            seat.collector.collect(sink)
        }));
        reading.duration = since.elapsed();
        // If the log blocked, this run would hang, and its thread would be relieved like any other.
        let outcome = seat.said.hear(engine.name(run.slot), reading.duration, result);
        reading.success = outcome.is_success();
        *end = Some(End {
            outcome,
            began: *since,
            duration: reading.duration,
            source: reading.sink.source(),
            passed_over: reading.sink.take_passed_over(),
        });
    }
}

impl Drop for Collecting<'_> {
    fn drop(&mut self) {
        let (slot, mut news) = (self.run.slot, Vec::new());
        let Some(reading) = self.reading.take() else { return };
        let mut state = lock(&self.engine.state);
        if let Some(seat) = state.seats.get_mut(slot) {
            *seat = self.seat.take();
        }
        if let Some((record, end)) = state.records.get_mut(slot).zip(self.end.take()) {
            Record::note(record, end);
        }
        let before = state.machine.end(slot, &reading, self.since + reading.duration, &mut news);
        for reading in before.into_iter().chain([reading]) {
            state.kept.put_back(slot, reading);
        }
        let wake = state.machine.to_wake(1); // this thread takes one job itself
        drop(state);
        self.engine.wake(wake);
        self.engine.tell(&news);
    }
}

/// An answer in the making.
struct Rendering<'a> {
    engine: &'a Engine,
    scrape: Option<Scrape<Asked, Arc<Reading>>>,
    renderer: Option<Box<Renderer>>,
}

impl Rendering<'_> {
    fn answer(mut self) {
        let Some(scrape) = &self.scrape else { return };
        // After a panic the renderer is dropped, so that the answer that it has begun does not run
        // into another.
        let mut renderer = self.renderer.take().unwrap_or_default();
        let rendered = catch_unwind(AssertUnwindSafe(|| {
            (self.engine.render)(&mut renderer, self.engine, scrape)
        }));
        let rendered = match rendered {
            Ok(rendered) => {
                self.renderer = Some(renderer);
                rendered
            }
            Err(panic) => Err(format!("panic: {}", cause(&*panic))),
        };
        self.send(rendered);
    }

    /// Sends the answer, and gives back the buffers that it was made of.
    fn send(mut self, rendered: Result<Rendered, String>) {
        let Some(scrape) = self.scrape.take() else { return };
        let Asked { answer, .. } = scrape.request;
        let (body, outcome) = match rendered {
            Ok(Rendered { body, conflicts }) => (Ok(body), Ok(conflicts)),
            Err(error) => (Err(Failed), Err(error)),
        };
        match &outcome {
            Ok(conflicts) if conflicts.is_empty() => {}
            Ok(_) => self.engine.counts.gathering_failed(),
            Err(_) => self.engine.counts.encoding_failed(),
        }
        let _ = answer.send(body); // the client may have gone
        let mut state = lock(&self.engine.state);
        state.kept.take_back(scrape.parts);
        let news = state.known.learn(outcome);
        drop(state);
        news.say();
    }
}

impl Drop for Rendering<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.engine.state);
        if let Some(scrape) = self.scrape.take() {
            state.kept.take_back(scrape.parts);
        }
        state.kept.renderer = self.renderer.take().or(state.kept.renderer.take());
    }
}
