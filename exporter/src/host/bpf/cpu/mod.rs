//! Each processor's time, out of the kernel's own accounting.
//!
//! The programs of `exporter-ebpf/src/bin/cpu` run when they are asked: `locate` once, `fetch` at
//! each scrape. They copy bytes; `layout` says which, `interpret` makes times of them. Nothing
//! is believed that has not been held against `/proc/stat`:
//!
//! | the copies are | event | action | next |
//! |---|---|---|---|
//! | doubted | a scrape | the file is read, the accounting copied, the file read: each time must lie between the two | trusted, or refused |
//! | trusted | a scrape | the accounting is copied | trusted |
//! | trusted | the accounting cannot be copied | another source serves | refused |
//! | trusted | the collector `stat` has read the file and the times do not lie where that and the reading before say | | doubted |
//! | refused | a pause has passed, from a second to a minute | | doubted |
//!
//! The programs count nothing by themselves: a doubt is about how the copies are read.

mod interpret;
mod interrupts;
mod layout;
mod ticks;

use std::{
    collections::HashMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use exporter_common::cpu::{EVENTS, Layout, Reading};

use self::interpret::{Form, Meaning};
use super::{
    Error, Health, Runs,
    btf::Btf,
    loader::{Loader, Question},
    mapped::Mapped,
    object::{Fit, Hook, Plan, Set},
    pause::Pause,
};
use crate::host::tree::{SingleFile, Tree};

pub(super) use self::interrupts::{PLAN as INTERRUPTS, load as load_interrupts};
pub use self::{interpret::Times, interrupts::Interrupts};

const LOCATE: &str = "locate";
const FETCH: &str = "fetch";
const READINGS: &str = "READINGS";

const HOOKS: [Hook; 2] = [Hook::OnDemand(LOCATE), Hook::OnDemand(FETCH)];

/// The programs, as `cargo xtask ebpf` has built them. `bpf_map_lookup_percpu_elem` is of that
/// version.
pub(super) static PLAN: Plan = Plan {
    name: "cpu",
    object: aya::include_bytes_aligned!("../../../../../exporter-ebpf/prebuilt/cpu.o"),
    hooks: &HOOKS,
    maps: &[READINGS],
    since: "5.19",
};

/// Facts of the running kernel for the programs, and for the interpretation of their copies.
pub(super) struct Facts(Layout, Form);

impl Facts {
    /// All names that [`Facts::of`] asks for.
    pub(super) const NAMES: [&str; layout::NAMES.len()] = layout::NAMES;

    /// The facts, from the kernel's types.
    pub(super) fn of(types: &mut Btf<'_>) -> Result<Self, Error> {
        layout::layout(types).map(|(layout, form)| Self(layout, form))
    }

    /// Loads the programs.
    pub(super) fn load(
        &self,
        targets: &HashMap<&'static str, u32>,
        processors: u32,
        events: bool,
    ) -> Result<Set, Error> {
        let Self(layout, form) = self;
        let parts = if events { layout.parts } else { layout.parts & !EVENTS };
        let (layout, form) = (Layout { parts, ..*layout }, form.words());
        let fit = Fit {
            globals: &[("LAYOUT", bytemuck::bytes_of(&layout))],
            elements: &[(READINGS, processors)],
            targets,
            told: bytemuck::bytes_of(&form),
        };
        Set::load(&PLAN, &fit)
    }
}

/// A processor's number and its times.
pub type OfCpu = (u32, Times);

/// Why the times were held against `/proc/stat`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reason {
    Start,
    Audit,
    Failure,
}

impl Reason {
    const ALL: [Self; 3] = [Self::Start, Self::Audit, Self::Failure];

    const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Audit => "audit",
            Self::Failure => "failure",
        }
    }
}

/// The programs, their last copies and whether these are trusted.
pub struct CpuTimes {
    copies: Copies,
    proc: Tree,
    doubt: Option<Reason>,
    /// The last failure, while it lasts.
    failure: Option<Arc<Error>>,
    pause: Pause,
    resyncs: [u64; Reason::ALL.len()],
    audit: Audit,
}

/// The times of the last copies against the file that the collector `stat` reads.
#[derive(Default)]
struct Audit {
    /// How often times were given to a scrape.
    given: u64,
    /// The same, when they were compared last.
    compared: u64,
    /// The ticks that were read last, and how often times had been given by then.
    before: Option<(u64, Vec<OfCpu>)>,
    /// By how many ticks they differed last.
    difference: u64,
    /// Room for the ticks that are read.
    fresh: Vec<OfCpu>,
}

impl std::fmt::Debug for CpuTimes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CpuTimes").field("doubt", &self.doubt).finish_non_exhaustive()
    }
}

impl CpuTimes {
    /// Loads the programs, finds the accounting of all `possible` processors, and holds it against
    /// `/proc/stat`. `events` is for softirqs and context switches.
    pub(super) fn start(
        loader: &Loader,
        possible: &[u32],
        events: bool,
        proc: &Tree,
    ) -> Result<Self, Error> {
        let mut times = Self {
            copies: Copies::start(loader, possible, events)?,
            proc: proc.clone(),
            doubt: Some(Reason::Start),
            failure: None,
            pause: Pause::default(),
            resyncs: [0; Reason::ALL.len()],
            audit: Audit::default(),
        };
        times.settle(Reason::Start)?;
        Ok(times)
    }

    /// The times of each processor that is online at this moment, in the order of their numbers.
    ///
    /// # Errors
    /// They are not to be trusted: the kernel accounts by context, changed the accounting during
    /// each of the copies, or tells other times in `/proc/stat`. After a failure that is found out
    /// again after a pause.
    pub fn read(&mut self, now: Instant) -> Result<&[OfCpu], Error> {
        if let (Some(failure), false) = (&self.failure, self.pause.is_over(now)) {
            return Err(Error::Before(Arc::clone(failure)));
        }
        let read = match self.doubt {
            Some(reason) => self.settle(reason),
            None => self.copies.fetch(),
        };
        if let Err(error) = read {
            let error = Arc::new(error);
            self.doubt = Some(Reason::Failure);
            self.failure = Some(Arc::clone(&error));
            self.pause.lengthen(now);
            return Err(Error::Before(error));
        }
        self.failure = None;
        self.pause.end();
        self.audit.given += 1;
        Ok(&self.copies.times)
    }

    /// Softirqs and context switches of a processor as of the last [`CpuTimes::read`].
    #[must_use]
    pub fn reading(&self, cpu: u32) -> Option<Reading> {
        self.copies.readings.get(cpu as usize).filter(|reading| reading.rq != 0)
    }

    /// How often times were given to a scrape: for [`CpuTimes::audit`].
    #[must_use]
    pub const fn given(&self) -> u64 {
        self.audit.given
    }

    /// Holds the times that were given last against `text`, the content of `/proc/stat`, and doubts
    /// them where they differ. The file was read after the times had been `given` so often.
    pub fn audit(&mut self, given: u64, text: &str) {
        let times = self.doubt.is_none().then_some(&self.copies.times);
        if !self.audit.agrees(given, times.map(Vec::as_slice), text) {
            self.doubt = Some(Reason::Audit);
        }
    }

    /// Holds the times against two readings of `/proc/stat`, one before and one after.
    fn settle(&mut self, reason: Reason) -> Result<(), Error> {
        /// The kernel computes idle and iowait without a lock, and both may go back a little.
        const TIMES: u32 = 3;
        // Neither the file nor its content is kept: this is done once, or in doubt.
        let mut file = self.proc.single_file("stat");
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let mut last = Ok(());
        for _ in 0..TIMES {
            read_ticks(&mut file, &mut before)?;
            self.copies.fetch()?;
            read_ticks(&mut file, &mut after)?;
            let Some((cpu, mode)) = ticks::outside(&before, &self.copies.times, &after) else {
                self.doubt = None;
                self.audit.before = None;
                self.audit.difference = 0;
                if let Some(n) = self.resyncs.get_mut(reason as usize) {
                    *n += 1;
                }
                return Ok(());
            };
            last = Err(Error::Differ { cpu, mode: MODES.get(mode).copied().unwrap_or_default() });
        }
        last
    }

    /// The cost of the programs, and whether their copies are right.
    pub(super) fn health(&self, health: &mut impl Health) -> Result<(), Error> {
        let Copies { set, located, possible, room, .. } = &self.copies;
        health.program(LOCATE, false, *located);
        health.program(FETCH, false, set.runs(FETCH)?);
        health.map("cpu_readings", u64::from(*possible), u64::from(*room));
        for (reason, n) in Reason::ALL.iter().zip(self.resyncs) {
            health.resyncs("cpu", reason.name(), n);
        }
        health.audit("cpu", self.audit.difference.cast_signed());
        Ok(())
    }

    /// Whether it all works as the calling thread is, without any capability.
    pub(super) fn needs_no_capability(&mut self) -> bool {
        self.copies.set.runs(FETCH).is_ok() && self.copies.set.run(FETCH, &[]).is_ok()
    }
}

fn read_ticks(stat: &mut SingleFile, into: &mut Vec<OfCpu>) -> Result<(), Error> {
    let text = stat.read().map_err(|error| Error::File(Box::new(error)))?;
    ticks::parse(text, into);
    Ok(())
}

impl Audit {
    /// Whether the `times` that were given last, if they are trusted, lie between the ticks of the
    /// last reading before and those of `text`.
    fn agrees(&mut self, given: u64, times: Option<&[OfCpu]>, text: &str) -> bool {
        ticks::parse(text, &mut self.fresh);
        let mut agrees = true;
        // Times that were given after the file was read, or compared already, are not compared.
        if let Some(times) = times.filter(|_| given == self.given && given > self.compared) {
            let before = self.before.as_ref().filter(|(since, _)| *since < given);
            let before = before.map(|(_, ticks)| ticks.as_slice());
            self.difference = ticks::difference(before, times, &self.fresh);
            self.compared = given;
            agrees = self.difference == 0;
        }
        let (since, before) = self.before.get_or_insert_default();
        *since = self.given;
        std::mem::swap(before, &mut self.fresh);
        agrees
    }
}

/// The modes in the order of [`Times`].
const MODES: [&str; 10] =
    ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice"];

/// The programs and their last copies.
struct Copies {
    set: Set,
    readings: Mapped<Reading>,
    form: Form,
    /// Processors that there can be.
    possible: u32,
    /// Elements of the array: one more than the highest number of a processor.
    room: u32,
    /// Of the program that ran once.
    located: Runs,
    times: Vec<OfCpu>,
}

impl Copies {
    fn start(loader: &Loader, possible: &[u32], events: bool) -> Result<Self, Error> {
        let room = possible.iter().max().map_or(0, |cpu| cpu.saturating_add(1));
        let set = loader.load(Question::Cpu { processors: room, events })?;
        let readings: Mapped<Reading> = set.mapped(READINGS, room)?;
        let words = bytemuck::try_pod_read_unaligned(set.told()).ok();
        let form = words.and_then(Form::from_words);
        let form = form.ok_or_else(|| Error::Object("no form of idle time".to_owned()))?;
        set.run(LOCATE, &[])?;
        let is_found =
            |cpu: &&u32| readings.get(**cpu as usize).is_some_and(|reading| reading.rq != 0);
        let found = possible.iter().filter(is_found).count();
        if found < possible.len() || found == 0 {
            return Err(Error::Unlocated { found, possible: possible.len() });
        }
        let located = set.runs(LOCATE)?;
        let possible = u32::try_from(found).unwrap_or(u32::MAX);
        Ok(Self { set, readings, form, possible, room, located, times: Vec::new() })
    }

    /// Copies the accounting, until no copy was taken while the kernel changed it.
    fn fetch(&mut self) -> Result<(), Error> {
        /// A processor of a virtual machine may stand still in the middle of a change.
        const TIMES: u32 = 200;
        const AT_ONCE: u32 = 8;
        const PAUSE: Duration = Duration::from_micros(100);
        for n in 0..TIMES {
            if n >= AT_ONCE {
                thread::sleep(PAUSE);
            }
            self.set.run(FETCH, &[])?;
            if self.interpret()? {
                return Ok(());
            }
        }
        Err(Error::Torn)
    }

    /// Whether the copies are whole.
    fn interpret(&mut self) -> Result<bool, Error> {
        let Self { readings, form, room, times, .. } = self;
        times.clear();
        for reading in (0..*room as usize).filter_map(|cpu| readings.get(cpu)) {
            if reading.rq == 0 {
                continue;
            }
            match form.interpret(&reading) {
                Meaning::Times(of_cpu) => times.push((reading.cpu, of_cpu)),
                Meaning::Offline => {}
                Meaning::Unsettled => return Ok(false),
                Meaning::Tracked => return Err(Error::Tracked(reading.cpu)),
                Meaning::Outside => return Err(Error::Unlike("accounting of idle time")),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `/proc/stat` of one processor that was in user mode for so many ticks.
    fn text(ticks: u64) -> String {
        format!("cpu  {ticks} 0 0 0 0 0 0 0 0 0\ncpu0 {ticks} 0 0 0 0 0 0 0 0 0\nintr 1\n")
    }

    fn times(ticks: u64) -> Vec<OfCpu> {
        vec![(0, [ticks * 10_000_000 + 5, 0, 0, 0, 0, 0, 0, 0, 0, 0])]
    }

    #[test]
    fn times_lie_between_the_readings_before_and_after() {
        let mut audit = Audit { given: 1, ..Audit::default() };
        assert!(audit.agrees(1, Some(&times(10)), &text(10)), "nothing was read before");
        audit.given = 2;
        assert!(!audit.agrees(2, Some(&times(9)), &text(12)), "earlier than the reading before");
        assert_eq!(audit.difference, 1);
        audit.given = 3;
        assert!(!audit.agrees(3, Some(&times(15)), &text(13)), "later than the reading after");
        assert_eq!(audit.difference, 2);
        audit.given = 4;
        assert!(audit.agrees(4, Some(&times(13)), &text(14)));
        assert_eq!(audit.difference, 0);
    }

    #[test]
    fn what_cannot_be_compared_is_not() {
        let mut audit = Audit { given: 1, ..Audit::default() };
        assert!(audit.agrees(0, Some(&times(20)), &text(10)), "given after the file was read");
        assert!(audit.agrees(1, Some(&times(20)), &text(30)), "the last reading is before them");
        assert!(audit.agrees(1, Some(&times(99)), &text(31)), "compared already");
        audit.given = 2;
        assert!(audit.agrees(2, None, &text(32)), "not trusted");
        audit.given = 3;
        assert!(audit.agrees(2, Some(&times(34)), &text(33)), "given after the file was read");
        assert!(audit.agrees(3, Some(&times(32)), &text(34)), "nor is that reading before them");
        audit.given = 4;
        assert!(!audit.agrees(4, Some(&times(33)), &text(35)), "but this one is");
    }
}
