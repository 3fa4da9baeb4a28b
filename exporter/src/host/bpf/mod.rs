//! The programs in the kernel: loading them, and reading their counts.
//!
//! Whether programs can run is found out by trying. A refusal is an [`Error`] whose one sentence
//! names the missing thing and the remedy, and never the end of the exporter: another source serves
//! then. Programs need Linux 5.13 or later with `CONFIG_DEBUG_INFO_BTF`, and the capabilities
//! `CAP_BPF` and `CAP_PERFMON`; they need no tracefs, perf, kprobes or trampolines.

mod btf;
pub mod cpu;
mod error;
mod health;
mod keeper;
mod loader;
mod mapped;
mod neighbour;
mod object;
mod pause;
mod processor;
mod report;
mod sys;
pub mod tasks;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, Once, OnceLock, PoisonError},
    thread,
};

use self::{
    cpu::{CpuTimes, Interrupts},
    keeper::Keeper,
    loader::{Kernel, Loader},
    tasks::Tasks,
};
use super::tree::Tree;
use crate::{
    flag::{AnyFlag, Flag, switch},
    parse::ranges,
};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

pub use self::{
    error::Error,
    neighbour::{Counts, FAMILIES, Key, Neighbours, Options},
    processor::{Offer, Processor},
    report::{AllFigures, Figures, Map, Program, Report, Resyncs, State},
    sys::Runs,
};

/// `--bpf`: whether programs are loaded into the kernel.
pub const ENABLED: Flag<bool> =
    switch("bpf", true, "Count with eBPF programs in the kernel where they can be loaded.");
/// `--bpf.required`.
pub const REQUIRED: Flag<bool> =
    switch("bpf.required", false, "End the start where an eBPF program cannot be loaded.");
/// `--bpf.neighbour-map-entries`.
pub const NEIGHBOUR_MAP_ENTRIES: Flag<u64> = Flag::value(
    "bpf.neighbour-map-entries",
    &["0"],
    "Neighbours of all network namespaces that eBPF has room for at most; 0 goes by the limit on memory.",
);

/// `--bpf.interface-map-entries`.
pub const INTERFACE_MAP_ENTRIES: Flag<u64> = Flag::value(
    "bpf.interface-map-entries",
    &["0"],
    "Interfaces of all network namespaces whose neighbours eBPF has room for at most, each family one; 0 is 262144.",
);

/// The flags of this module.
pub static FLAGS: &[&dyn AnyFlag] =
    &[&ENABLED, &REQUIRED, &NEIGHBOUR_MAP_ENTRIES, &INTERFACE_MAP_ENTRIES];

/// The room in the maps.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// The number of entries that the neighbour tables may soon have. The first maps have room for
    /// this many, as far as `entries` allows, and for some thousand at least.
    pub expected: u32,
    /// The most entries of the neighbour tables that maps may have room for.
    pub entries: u32,
    /// The most interfaces that maps may have room for; one with neighbours of both families counts
    /// twice.
    pub interfaces: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { expected: 0, entries: 1 << 20, interfaces: 1 << 18 }
    }
}

/// The programs, shared by all collectors that read them: a subject's programs are loaded for the
/// first collector that asks.
#[derive(Clone, Debug)]
pub struct Bpf(Arc<Shared>);

/// Programs of a subject, or why there are none; found out once.
type Subject<T> = OnceLock<Result<Mutex<T>, Error>>;

#[derive(Debug)]
struct Shared {
    /// Where the kernel describes itself; `None` where programs are not wanted.
    places: Option<Places>,
    sizes: Sizes,
    /// Who loads, until all are loaded that were asked for.
    loader: Mutex<Option<Loader>>,
    neighbours: Subject<Neighbours>,
    cpu: Subject<CpuTimes>,
    interrupts: Subject<Interrupts>,
    tasks: Subject<Tasks>,
    /// As the last scrape has read them.
    figures: Mutex<AllFigures>,
    told: [Once; 3],
}

#[derive(Debug)]
struct Places {
    processor: Processor,
    proc: Tree,
    net: Tree,
    sys: Tree,
    /// The kernel's types.
    btf: PathBuf,
    /// The network namespace of the thread that looks.
    netns: PathBuf,
}

impl Bpf {
    /// Programs for the kernel that shows itself in these folders, which must be of this process's
    /// namespaces; `net` has the files about the network that collectors see. Nothing is loaded yet.
    #[must_use]
    pub fn new(proc: &Tree, net: &Tree, sys: &Tree, sizes: Sizes) -> Self {
        Self::with(Some(Places::new(proc, net, sys)), sizes)
    }

    /// No programs: a question for them is answered with [`Error::Off`].
    #[must_use]
    pub fn off() -> Self {
        Self::with(None, Sizes::default())
    }

    fn with(places: Option<Places>, sizes: Sizes) -> Self {
        Self(Arc::new(Shared {
            places,
            sizes,
            loader: Mutex::default(),
            neighbours: OnceLock::new(),
            cpu: OnceLock::new(),
            interrupts: OnceLock::new(),
            tasks: OnceLock::new(),
            figures: Mutex::default(),
            told: [const { Once::new() }; 3],
        }))
    }

    /// Forks a process that loads the programs, and can do so again once the exporter has given up
    /// its capabilities. `confine` takes all capabilities but the given ones from the calling
    /// thread.
    ///
    /// To be called while there is a single thread. Where programs are not wanted or not permitted
    /// nothing is done.
    ///
    /// # Errors
    /// The process cannot be forked: there will be no more room later.
    pub fn keep(&self, confine: fn(CapabilitySet) -> rustix::io::Result<()>) -> io::Result<()> {
        let Some(Places { btf, processor, .. }) = &self.0.places else { return Ok(()) };
        let is_wanted = processor.offers().iter().any(|offer| offer.refused.is_none());
        if !is_wanted || permitted().is_err() || !btf.exists() {
            return Ok(());
        }
        let (btf, mut kernel) = (btf.clone(), None);
        let load = move |question| {
            if kernel.is_none() {
                kernel = Some(Kernel::read(&btf)?);
            }
            kernel.as_ref().map_or(Err(Error::NoKeeper), |kernel| kernel.load(question))
        };
        *self.loader() = Some(Loader::through(Keeper::fork(confine, load)?));
        Ok(())
    }

    /// Ends the process of [`Bpf::keep`] where nobody has asked for programs that may want more
    /// room later.
    pub fn release(&self) {
        *self.loader() = None;
    }

    fn loader(&self) -> MutexGuard<'_, Option<Loader>> {
        self.0.loader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the kernel describes itself, and who loads the programs of a subject.
    fn wanted(&self, subject: &str) -> Result<(&Places, Loader), Error> {
        let places = self.0.places.as_ref().ok_or(Error::Off)?;
        places.processor.admits(subject)?;
        let mut loader = self.loader();
        if let Some(loader) = &*loader {
            return Ok((places, loader.clone()));
        }
        let own = Loader::own(&places.btf)?;
        *loader = Some(own.clone());
        Ok((places, own))
    }

    /// The programs, if a collector has asked for them and they were loaded.
    #[must_use]
    pub fn loaded(&self) -> Option<&Mutex<Neighbours>> {
        self.0.neighbours.get()?.as_ref().ok()
    }

    /// As [`Bpf::loaded`], of the processors' times.
    #[must_use]
    pub fn loaded_cpu(&self) -> Option<&Mutex<CpuTimes>> {
        self.0.cpu.get()?.as_ref().ok()
    }

    /// As [`Bpf::loaded`], of tasks.
    #[must_use]
    pub fn loaded_tasks(&self) -> Option<&Mutex<Tasks>> {
        self.0.tasks.get()?.as_ref().ok()
    }

    /// The counts of neighbours; loads and attaches the programs at the first call, whose thread is
    /// in the network namespace of interest.
    ///
    /// # Errors
    ///
    /// The reason why they cannot be loaded; found out once.
    pub fn neighbours(&self) -> Result<&Mutex<Neighbours>, &Error> {
        let start = || {
            let (places, loader) = self.wanted("neighbour")?;
            let Places { btf, netns: path, .. } = places;
            let netns = rustix::fs::stat(path)
                .map_err(|errno| Error::NoNamespace { path: path.clone(), source: errno.into() })?;
            // The number of a namespace has 32 bits.
            let netns = u32::try_from(netns.st_ino).unwrap_or_default();
            let sizes = Sizes { expected: places.neighbours(), ..self.0.sizes };
            Neighbours::through(loader, &Options { btf, netns, sizes })
        };
        self.0.neighbours.get_or_init(|| start().map(Mutex::new)).as_ref()
    }

    /// The times of the processors; loads the programs at the first call, with softirqs and context
    /// switches where `events` are wanted.
    ///
    /// # Errors
    ///
    /// Why they cannot be had, or differ from `/proc/stat`; found out once.
    pub fn cpu(&self, events: bool) -> Result<&Mutex<CpuTimes>, &Error> {
        let start = || {
            let (places, loader) = self.wanted("cpu")?;
            CpuTimes::start(&loader, &places.processors()?, events, &places.proc)
        };
        self.0.cpu.get_or_init(|| start().map(Mutex::new)).as_ref()
    }

    /// The interrupts of the processors; loads and attaches the programs at the first call.
    ///
    /// # Errors
    ///
    /// Why they cannot be had; found out once.
    pub fn interrupts(&self) -> Result<&Mutex<Interrupts>, &Error> {
        let start = || {
            let (places, loader) = self.wanted("interrupts")?;
            let highest = places.processors()?.into_iter().max().unwrap_or_default();
            Interrupts::start(&loader, highest.saturating_add(1))
        };
        self.0.interrupts.get_or_init(|| start().map(Mutex::new)).as_ref()
    }

    /// The tasks of this process's pid namespace, which must be that of `--path.procfs`; loads the
    /// program at the first call, and has `compare` hold its first count against another.
    ///
    /// # Errors
    ///
    /// Why they cannot be had, or the error of `compare`; found out once.
    pub fn tasks(
        &self,
        compare: impl FnOnce(&mut Tasks) -> Result<(), Error>,
    ) -> Result<&Mutex<Tasks>, &Error> {
        let start = || {
            let (places, loader) = self.wanted("tasks")?;
            if !places.shows_own_pids() {
                return Err(Error::OtherPids(places.proc.root().to_owned()));
            }
            let mut tasks = Tasks::start(&loader)?;
            compare(&mut tasks)?;
            Ok(tasks)
        };
        self.0.tasks.get_or_init(|| start().map(Mutex::new)).as_ref()
    }

    /// Whether all programs that were asked for are loaded.
    ///
    /// # Errors
    ///
    /// Why one of them is not, or that programs are not wanted.
    pub fn complete(&self) -> Result<(), &Error> {
        fn asked<T>(subject: &Subject<T>) -> Result<(), &Error> {
            subject.get().map_or(Ok(()), |result| result.as_ref().map(drop))
        }
        let Shared { neighbours, cpu, interrupts, tasks, places, .. } = &*self.0;
        if places.is_none() {
            return Err(&Error::Off);
        }
        asked(neighbours)?;
        asked(cpu)?;
        asked(interrupts)?;
        asked(tasks)
    }

    /// Whether all that is loaded works without any capability, save for more room without a keeper.
    ///
    /// It does since Linux 5.19, and before where `kernel.unprivileged_bpf_disabled` is 0: then
    /// descriptors are enough. Found out by trying, in a thread that has given up its own.
    #[must_use]
    pub fn needs_no_capability(&self) -> bool {
        fn of<T>(subject: &Subject<T>, works: impl FnOnce(&mut T) -> bool) -> bool {
            let Some(Ok(loaded)) = subject.get() else { return true };
            works(&mut loaded.lock().unwrap_or_else(PoisonError::into_inner))
        }
        let Shared { neighbours, cpu, interrupts, tasks, places, .. } = &*self.0;
        if places.is_none() {
            return true;
        }
        let none = CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        };
        let attempt = || {
            set_capabilities(None, none).is_ok()
                && of(neighbours, Neighbours::needs_no_capability)
                && of(cpu, CpuTimes::needs_no_capability)
                && of(interrupts, Interrupts::needs_no_capability)
                && of(tasks, Tasks::needs_no_capability)
        };
        thread::scope(|scope| scope.spawn(attempt).join().unwrap_or_default())
    }

    /// Says once which source serves the neighbours, and why.
    pub fn tell(&self, source: &'static str) {
        self.say(0, "neighbours", source, self.neighbours().err());
    }

    /// Says once which source serves the times of the processors, and why.
    pub fn tell_cpu(&self, source: &'static str, refused: Option<&Error>) {
        self.say(1, "the processors' times", source, refused);
    }

    /// Says once which source serves the tasks, and why.
    pub fn tell_tasks(&self, source: &'static str, refused: Option<&Error>) {
        self.say(2, "tasks", source, refused);
    }

    fn say(&self, place: usize, what: &'static str, source: &'static str, refused: Option<&Error>) {
        let Some(told) = self.0.told.get(place) else { return };
        told.call_once(|| match refused {
            None => tracing::info!(source, "Programs in the kernel count {what}"),
            Some(Error::Off) => {
                tracing::info!(source, "eBPF does not count {what}, as --no-bpf says");
            }
            Some(error) => {
                tracing::warn!(
                    source,
                    "eBPF does not count {what}, another source serves: {error}"
                );
            }
        });
    }
}

impl Places {
    fn new(proc: &Tree, net: &Tree, sys: &Tree) -> Self {
        Self {
            processor: Processor::OWN,
            proc: proc.clone(),
            net: net.clone(),
            sys: sys.clone(),
            btf: sys.path("kernel/btf/vmlinux"),
            netns: proc.path("thread-self/ns/net"),
        }
    }

    /// The numbers of all processors that there can be.
    fn processors(&self) -> Result<Vec<u32>, Error> {
        /// More than Linux can be built for.
        const MOST: usize = 1 << 16;
        let mut file = self.sys.file("devices/system/cpu/possible");
        let numbers = file.parse(|text| {
            let mut all = Vec::new();
            for range in ranges::<u32>("list of processors", text.trim_end()) {
                all.extend(range?.take(MOST));
            }
            Ok(all)
        });
        numbers.map_err(|error| Error::File(Box::new(error)))
    }

    /// Twice the entries of the neighbour tables. Only the initial network namespace shows their
    /// number; elsewhere the programs find it out.
    fn neighbours(&self) -> u32 {
        let entries = |path| -> Option<u32> {
            let mut file = self.net.file(path);
            let text = file.read().ok()?;
            u32::from_str_radix(text.lines().nth(1)?.split_ascii_whitespace().next()?, 16).ok()
        };
        ["stat/arp_cache", "stat/ndisc_cache"]
            .into_iter()
            .filter_map(entries)
            .fold(0_u32, |sum, n| sum.saturating_add(n.saturating_mul(2)))
    }

    /// Whether `--path.procfs` is of this process's pid namespace: then this process has one number
    /// there.
    fn shows_own_pids(&self) -> bool {
        let mut status = self.proc.file("self/status");
        status.read().is_ok_and(|text| {
            let numbers = text.lines().find_map(|line| line.strip_prefix("NSpid:"));
            numbers.is_some_and(|numbers| numbers.split_ascii_whitespace().count() == 1)
        })
    }
}

/// The capabilities for loading programs, since Linux 5.8.
const BOTH: CapabilitySet = CapabilitySet::BPF.union(CapabilitySet::PERFMON);

/// The capabilities for loading that the process keeps: both, or `CAP_SYS_ADMIN`, which stood for
/// them before Linux 5.8.
fn loading() -> CapabilitySet {
    let has = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.permitted);
    if has.contains(BOTH) { BOTH } else { CapabilitySet::SYS_ADMIN }
}

/// Whether the process has the capabilities for loading programs.
fn permitted() -> Result<(), Error> {
    let has = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    if has.contains(CapabilitySet::SYS_ADMIN) || has.contains(BOTH) {
        Ok(())
    } else if has.contains(CapabilitySet::BPF) {
        Err(Error::Capability("CAP_PERFMON"))
    } else if has.contains(CapabilitySet::PERFMON) {
        Err(Error::Capability("CAP_BPF"))
    } else {
        Err(Error::Capability("CAP_BPF and CAP_PERFMON"))
    }
}

/// Receives figures on the programs: their cost, and whether their counts are right.
pub trait Health {
    /// A program that is loaded.
    fn program(&mut self, name: &'static str, attached: bool, runs: Runs);
    /// A map: its elements, and how many it has room for.
    fn map(&mut self, name: &'static str, elements: u64, room: u64);
    /// How often a subject's counts were brought up to date.
    fn resyncs(&mut self, subject: &'static str, reason: &'static str, n: u64);
    /// The difference between the kernel's own count of a subject and that of the programs.
    fn audit(&mut self, subject: &'static str, difference: i64);
    /// Whether the process that loads programs with more room runs.
    fn keeper(&mut self, is_there: bool);
}
