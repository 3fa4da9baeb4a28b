//! Programs and their maps in the kernel: loaded from an object file, or received as descriptors.
//!
//! aya reads the object file, and binds maps and functions together. The rest of its loader is not
//! used: it reads all types of the kernel, tries a dozen features out, and needs 20 MB for both.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    io,
    num::NonZero,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::{
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc::{Sender, channel},
    },
    thread,
    time::Duration,
};

use aya::maps::{Map, MapData, MapError};
use aya_obj::{EbpfSectionKind, Object, btf::BtfFeatures};
use bytemuck::Pod;
use rustix::process::{Resource, Rlimit, setrlimit};

use super::{Error, Runs, mapped::Mapped, sys};

/// The cause of a program's runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hook {
    /// At a tracepoint of that name, with typed arguments.
    Tracepoint(&'static str),
    /// When the daemon asks for it.
    OnDemand(&'static str),
    /// For each thing that an iterator of the kernel finds, when the daemon reads it.
    Iterator(&'static str),
}

impl Hook {
    /// The program's name in the object.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Tracepoint(name) | Self::OnDemand(name) | Self::Iterator(name) => name,
        }
    }

    /// Whether it is attached to something, and not only loaded.
    pub(super) const fn is_attached(self) -> bool {
        matches!(self, Self::Tracepoint(_) | Self::Iterator(_))
    }
}

/// An object file, and the parts of it that are used.
#[derive(Debug)]
pub(super) struct Plan {
    /// The name of the file in `exporter-ebpf/prebuilt`.
    pub(super) name: &'static str,
    pub(super) object: &'static [u8],
    /// The programs. They are attached in this order.
    pub(super) hooks: &'static [Hook],
    /// The maps that the daemon reads or writes.
    pub(super) maps: &'static [&'static str],
    /// The first version of Linux whose helpers are enough.
    pub(super) since: &'static str,
}

/// The values that depend on the running kernel and on the load.
pub(super) struct Fit<'a> {
    /// Read-only globals, by name.
    pub(super) globals: &'a [(&'static str, &'a [u8])],
    /// Elements of maps, by name; others have as many as the object says.
    pub(super) elements: &'a [(&'static str, u32)],
    /// The kernel's numbers for the types of the tracepoints and for the functions of the
    /// iterators, by the programs' names.
    pub(super) targets: &'a HashMap<&'static str, u32>,
    /// Facts of this kernel for the daemon, as bytes of a type of the subject's own.
    pub(super) told: &'a [u8],
}

/// Programs that are loaded and attached, and maps: as long as the descriptors are open.
#[derive(Debug)]
pub(super) struct Set {
    plan: &'static Plan,
    /// Those of the plan's maps, then of its programs, then of the links that hold these at
    /// tracepoints.
    descriptors: Vec<OwnedFd>,
    /// See [`Fit::told`].
    told: Vec<u8>,
}

impl Plan {
    /// The number of descriptors of a set.
    fn count(&self) -> usize {
        let attached = self.hooks.iter().filter(|hook| hook.is_attached()).count();
        self.maps.len() + self.hooks.len() + attached
    }
}

impl Set {
    /// Loads and attaches.
    pub(super) fn load(plan: &'static Plan, fit: &Fit<'_>) -> Result<Self, Error> {
        // Before Linux 5.11 maps count as locked memory: an error would name the limit on that, and
        // not the kernel's age, which is the cause. Where the limit may not be raised, the limit is
        // the cause.
        let unlimited = Rlimit { current: None, maximum: None };
        let _ = setrlimit(Resource::Memlock, unlimited);
        let mut object = Object::parse(plan.object).map_err(broken)?;
        let globals = fit.globals.iter().map(|&(name, value)| (name, (value, true)));
        object.patch_map_data(globals.collect()).map_err(broken)?;
        let types = load_types(&mut object)?;
        let mut maps = HashMap::new();
        for (name, mut map) in std::mem::take(&mut object.maps) {
            let fd = create_map(&name, &mut map, fit)?;
            maps.insert(name, (map, fd));
        }
        let text = object.functions.keys().map(|&(section, _)| section).collect();
        let bound = maps
            .iter()
            .map(|(name, (map, fd))| (name.as_str(), std::os::fd::AsRawFd::as_raw_fd(fd), map));
        object.relocate_maps(bound, &text).map_err(broken)?;
        object.relocate_calls(&text).map_err(broken)?;

        let mut descriptors = Vec::with_capacity(plan.count());
        for name in plan.maps {
            let (_, fd) = maps.remove(*name).ok_or_else(|| broken(format!("no map {name}")))?;
            descriptors.push(fd);
        }
        let size = |hook: Hook| {
            let program = object.programs.get(hook.name());
            let function = program.and_then(|it| object.functions.get(&it.function_key()));
            function.map_or(0, |function| function.instructions.len())
        };
        let load = |hook| load(plan, hook, &object, types.as_fd(), fit);
        let mut links = Vec::new();
        each_loaded(plan.hooks, size, load, |hook, fd: OwnedFd| {
            let link = match hook {
                Hook::Tracepoint(_) => Some(sys::attach(fd.as_fd())),
                Hook::Iterator(_) => Some(sys::link_iterator(fd.as_fd())),
                Hook::OnDemand(_) => None,
            };
            if let Some(link) = link {
                let program = hook.name();
                links.push(link.map_err(|source| Error::Load { program, source })?);
            }
            descriptors.push(fd);
            Ok(())
        })?;
        descriptors.append(&mut links);
        Ok(Self { plan, descriptors, told: fit.told.to_vec() })
    }

    /// A set that was loaded elsewhere; nothing where these are not as many descriptors as it has.
    pub(super) fn received(
        plan: &'static Plan,
        descriptors: Vec<OwnedFd>,
        told: &[u8],
    ) -> Option<Self> {
        let told = told.to_vec();
        (descriptors.len() == plan.count()).then_some(Self { plan, descriptors, told })
    }

    /// Facts of this kernel for the daemon: see [`Fit::told`].
    pub(super) fn told(&self) -> &[u8] {
        &self.told
    }

    /// All descriptors, for [`Set::received`].
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.descriptors.iter().map(OwnedFd::as_fd)
    }

    /// The map of that name, as one of aya's.
    pub(super) fn map(&self, name: &'static str) -> Result<Map, Error> {
        let wrong = |source| Error::Map { map: name, source };
        let fd = self.descriptor(name).and_then(|fd| fd.try_clone_to_owned()).map_err(wrong)?;
        let map = MapData::from_fd(fd).and_then(Map::from_map_data);
        map.map_err(|error: MapError| wrong(io::Error::other(error)))
    }

    /// An array of so many elements, where it lies.
    pub(super) fn mapped<T: Pod>(
        &self,
        name: &'static str,
        elements: u32,
    ) -> Result<Mapped<T>, Error> {
        let wrong = |source| Error::Map { map: name, source };
        let fd = self.descriptor(name).map_err(wrong)?;
        Mapped::new(fd, elements).map_err(wrong)
    }

    /// Runs a program that is attached to nothing, with so many arguments.
    pub(super) fn run(&self, program: &'static str, arguments: &[u64]) -> Result<(), Error> {
        let wrong = |source| Error::Program { program, source };
        let fd = self.program(program).map_err(wrong)?;
        sys::run(fd, arguments).map_err(wrong)
    }

    /// A descriptor that reads the plan's only iterator from its start.
    pub(super) fn iterate(&self, program: &'static str) -> Result<OwnedFd, Error> {
        let wrong = |source| Error::Program { program, source };
        let place = self.plan.maps.len() + self.plan.hooks.len();
        let link = self.descriptors.get(place).ok_or_else(|| io::ErrorKind::NotFound.into());
        sys::iterate(link.map_err(wrong)?.as_fd()).map_err(wrong)
    }

    /// The kernel's statistics of a program.
    pub(super) fn runs(&self, program: &'static str) -> Result<Runs, Error> {
        let runs = self.program(program).and_then(sys::runs);
        runs.map_err(|source| Error::Program { program, source })
    }

    fn descriptor(&self, map: &str) -> io::Result<BorrowedFd<'_>> {
        let place = self.plan.maps.iter().position(|name| *name == map);
        let fd = place.and_then(|place| self.descriptors.get(place));
        fd.map(OwnedFd::as_fd).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn program(&self, name: &str) -> io::Result<BorrowedFd<'_>> {
        let place = self.plan.hooks.iter().position(|hook| hook.name() == name);
        let fd = place.and_then(|place| self.descriptors.get(self.plan.maps.len() + place));
        fd.map(OwnedFd::as_fd).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// The object file contradicts the plan, or aya cannot read it.
fn broken(error: impl ToString) -> Error {
    Error::Object(error.to_string())
}

/// Gives the object's own types to the kernel, which wants to know them for global functions.
fn load_types(object: &mut Object) -> Result<OwnedFd, Error> {
    /// The features of Linux 5.13; no later one is needed.
    const FEATURES: BtfFeatures =
        BtfFeatures::new(true, true, true, true, true, false, false, false);
    let types = object.fixup_and_sanitize_btf(&FEATURES).map_err(broken)?;
    let types = types.ok_or_else(|| broken("no types"))?.to_bytes();
    sys::load_types(&types).map_err(|source| Error::Types { source })
}

fn create_map(name: &str, map: &mut aya_obj::Map, fit: &Fit<'_>) -> Result<OwnedFd, Error> {
    let wrong = |source| Error::Create { map: name.to_owned(), source };
    if let Some((_, n)) = fit.elements.iter().find(|(of, _)| *of == name) {
        map.set_max_entries(*n);
    }
    let fd = sys::create_map(name, map).map_err(wrong)?;
    if map.section_kind() == EbpfSectionKind::Rodata {
        sys::fix(fd.as_fd(), map.data()).map_err(wrong)?;
    }
    Ok(fd)
}

/// Calls `load` with each hook, on a thread for each processor, and `take` on this thread with each
/// result, in the order of the hooks. The first error in that order ends it.
///
/// Most of the time is the verifier's, which works on the processor of the thread that loads. The
/// largest program by `size` is loaded first, so that no thread is left with it at the end. A thread
/// that attaches waits now and then until all processors have passed a quiet state.
fn each_loaded<T: Send>(
    hooks: &[Hook],
    size: impl Fn(Hook) -> usize,
    load: impl Fn(Hook) -> Result<T, Error> + Sync,
    mut take: impl FnMut(Hook, T) -> Result<(), Error>,
) -> Result<(), Error> {
    /// Each verification takes up to a megabyte of the kernel's memory.
    const MOST: usize = 4;
    const STACK: usize = 1 << 18;
    let mut queue: Vec<_> = hooks.iter().copied().enumerate().collect();
    queue.sort_by_key(|(_, hook)| Reverse(size(*hook)));
    let next = AtomicUsize::new(0);
    let work = |loaded: Sender<_>| {
        while let Some((place, hook)) = queue.get(next.fetch_add(1, Relaxed))
            && loaded.send((*place, load(*hook))).is_ok()
        {}
    };
    thread::scope(|scope| {
        let (tell, loaded) = channel();
        let spawn = || {
            let (tell, work) = (tell.clone(), &work);
            let thread = thread::Builder::new().stack_size(STACK);
            thread.spawn_scoped(scope, move || work(tell))
        };
        let threads = thread::available_parallelism().map_or(1, NonZero::get).min(MOST);
        if (0..threads).filter(|_| spawn().is_ok()).count() == 0 {
            work(tell.clone());
        }
        drop(tell);
        let (mut early, mut rest) = (BTreeMap::new(), hooks.iter().enumerate().peekable());
        for (place, result) in loaded {
            early.insert(place, result);
            while let Some((place, hook)) = rest.peek()
                && let Some(result) = early.remove(place)
            {
                take(**hook, result?)?;
                rest.next();
            }
        }
        Ok(())
    })
}

/// Has the kernel verify a program.
fn load(
    plan: &Plan,
    hook: Hook,
    object: &Object,
    types: BorrowedFd<'_>,
    fit: &Fit<'_>,
) -> Result<OwnedFd, Error> {
    /// Milliseconds before each further try where the verifier gives up because a signal came. A
    /// burst of signals outlasts tries without a pause.
    const PAUSES: [u64; 8] = [0, 1, 2, 4, 8, 16, 32, 64];
    const REASONS: usize = 1 << 18;
    let program = hook.name();
    let found = object.programs.get(program);
    let function = found.and_then(|program| object.functions.get(&program.function_key()));
    let (Some(found), Some(function)) = (found, function) else {
        return Err(broken(format!("no program {program}")));
    };
    let target = || fit.targets.get(program).copied();
    let kind = match hook {
        Hook::OnDemand(_) => sys::Kind::OnDemand,
        Hook::Tracepoint(_) => sys::Kind::Tracepoint(target().ok_or(Error::NoTracepoint(program))?),
        Hook::Iterator(_) => sys::Kind::Iterator(target().ok_or(Error::NoIterator(program))?),
    };
    let code = sys::Code {
        name: program,
        license: &found.license,
        instructions: &function.instructions,
        types,
        functions: &function.func_info.func_info,
        kind,
    };
    let mut result = sys::load(&code, &mut []);
    for pause in PAUSES {
        let interrupted = |error: &io::Error| error.raw_os_error() == Some(libc::EAGAIN);
        if !result.as_ref().is_err_and(interrupted) {
            break;
        }
        thread::sleep(Duration::from_millis(pause));
        result = sys::load(&code, &mut []);
    }
    result.map_err(|source| {
        let mut reasons = vec![0; REASONS];
        let _ = sys::load(&code, &mut reasons);
        let reasons = reasons.split(|byte| *byte == 0).next().unwrap_or_default();
        let reasons = String::from_utf8_lossy(reasons);
        tracing::debug!("program {program}: {reasons}");
        if is_too_old(&reasons) {
            Error::TooOld { program, since: plan.since, source }
        } else {
            Error::Load { program, source }
        }
    })
}

/// Whether the verifier's reasons are those of a kernel that does not know a helper, an atomic
/// instruction or a pointer to a function (kernel/bpf/verifier.c of Linux 5.10 to 5.12).
fn is_too_old(reasons: &str) -> bool {
    const SAYINGS: [&str; 4] = [
        "invalid func unknown#",
        "uses reserved fields",
        "uses invalid atomic",
        "number of funcs in func_info doesn't match number of subprogs",
    ];
    SAYINGS.iter().any(|saying| reasons.contains(saying))
}

#[cfg(test)]
mod tests {
    use super::{Error, Hook, each_loaded, is_too_old};

    #[test]
    fn the_verifier_says_whether_the_kernel_is_too_old() {
        assert!(is_too_old("0: (bf) r6 = r1\ninvalid func unknown#164\n"));
        assert!(is_too_old("number of funcs in func_info doesn't match number of subprogs\n"));
        assert!(!is_too_old("trace type programs can only use preallocated hash map\n"));
        assert!(!is_too_old(""));
    }

    #[test]
    fn programs_are_taken_in_order_up_to_the_first_that_is_refused() {
        const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
        let hooks = NAMES.map(Hook::OnDemand);
        let place = |hook: Hook| NAMES.iter().position(|name| *name == hook.name());
        // Sizes in another order than the hooks.
        let size = |hook| place(hook).map_or(0, |place| place * 5 % NAMES.len());
        for refused in 0..=NAMES.len() {
            // The later ones are refused as well, and may be so before it is.
            let load = |hook: Hook| match place(hook) {
                Some(place) if place < refused => Ok(hook.name()),
                _ => Err(Error::NoTracepoint(hook.name())),
            };
            let mut taken = Vec::new();
            let ended = each_loaded(&hooks, size, load, |hook, loaded| {
                assert_eq!(loaded, hook.name());
                taken.push(loaded);
                Ok(())
            });
            assert_eq!(taken, NAMES[..refused]);
            match (ended, NAMES.get(refused)) {
                (Ok(()), None) => {}
                (Err(Error::NoTracepoint(name)), Some(first)) => assert_eq!(name, *first),
                (ended, _) => panic!("{refused}: {ended:?}"),
            }
        }
    }

    #[test]
    fn what_cannot_be_attached_ends_it() {
        let hooks = ["a", "b", "c"].map(Hook::Tracepoint);
        let mut taken = 0;
        let ended = each_loaded(
            &hooks,
            |_| 0,
            Ok,
            |hook, _| {
                taken += 1;
                if hook.name() == "b" { Err(Error::NoTracepoint("b")) } else { Ok(()) }
            },
        );
        assert!(matches!(ended, Err(Error::NoTracepoint("b"))));
        assert_eq!(taken, 2);
    }
}
