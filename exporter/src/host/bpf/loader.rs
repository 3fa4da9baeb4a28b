//! The process that loads programs, this one or another, and the questions that it answers.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    Error,
    btf::Btf,
    cpu,
    keeper::Keeper,
    neighbour::{self, Room},
    object::{Hook, Plan, Set},
    permitted, tasks,
};

/// How long a process waits for programs at its start.
const PATIENCE: Duration = Duration::from_secs(20);

/// The programs of a subject, and how much their maps are to hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Question {
    Neighbour(Room),
    /// For so many processors, with softirqs and context switches or without.
    Cpu {
        processors: u32,
        events: bool,
    },
    /// For so many processors.
    Interrupts {
        processors: u32,
    },
    Tasks,
}

/// A question as it is sent to another process.
pub(super) type Words = [u32; 3];

impl Question {
    pub(super) fn words(self) -> Words {
        match self {
            Self::Neighbour(Room { entries, interfaces }) => [0, entries, interfaces],
            Self::Cpu { processors, events } => [1, processors, events.into()],
            Self::Interrupts { processors } => [2, processors, 0],
            Self::Tasks => [3, 0, 0],
        }
    }

    pub(super) const fn from_words(words: Words) -> Option<Self> {
        Some(match words {
            [0, entries, interfaces] => Self::Neighbour(Room { entries, interfaces }),
            [1, processors, events] => Self::Cpu { processors, events: events != 0 },
            [2, processors, _] => Self::Interrupts { processors },
            [3, ..] => Self::Tasks,
            _ => return None,
        })
    }

    /// The object file that has the programs.
    pub(super) const fn plan(self) -> &'static Plan {
        match self {
            Self::Neighbour(_) => &neighbour::PLAN,
            Self::Cpu { .. } => &cpu::PLAN,
            Self::Interrupts { .. } => &cpu::INTERRUPTS,
            Self::Tasks => &tasks::PLAN,
        }
    }
}

/// The facts that programs must know of the running kernel. Where one is missing, that is an error
/// of the subject that needs it.
pub(super) struct Kernel {
    neighbour: Result<neighbour::Facts, Arc<Error>>,
    cpu: Result<cpu::Facts, Arc<Error>>,
    tasks: Result<tasks::Facts, Arc<Error>>,
    /// The numbers of the tracepoints' types and of the iterators' functions, by the programs' names.
    targets: HashMap<&'static str, u32>,
}

impl Kernel {
    /// Reads the facts of all subjects from a file like `/sys/kernel/btf/vmlinux`.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let hooks = [&neighbour::PLAN, &cpu::INTERRUPTS].into_iter().flat_map(|plan| plan.hooks);
        let tracepoints: Vec<(&str, String)> = hooks
            .filter(|hook| matches!(hook, Hook::Tracepoint(_)))
            .map(|hook| (hook.name(), format!("btf_trace_{}", hook.name())))
            .collect();
        let mut wanted: Vec<&str> = tracepoints.iter().map(|(_, name)| name.as_str()).collect();
        neighbour::Facts::names(&mut wanted);
        wanted.extend(cpu::Facts::NAMES);
        wanted.extend(tasks::Facts::NAMES);
        wanted.sort_unstable();
        wanted.dedup();
        let mut types = Btf::read(path, &wanted)?;
        let tracepoints =
            tracepoints.iter().map(|(program, name)| (*program, types.definition(name)));
        let iterator = (tasks::PROGRAM, types.function(tasks::FUNCTION));
        let targets =
            tracepoints.chain([iterator]).filter_map(|(name, number)| Some((name, number?)));
        Ok(Self {
            targets: targets.collect(),
            neighbour: neighbour::Facts::of(&mut types).map_err(Arc::new),
            cpu: cpu::Facts::of(&mut types).map_err(Arc::new),
            tasks: tasks::Facts::of(&mut types).map_err(Arc::new),
        })
    }

    /// Loads and attaches programs.
    pub(super) fn load(&self, question: Question) -> Result<Set, Error> {
        fn known<T>(facts: &Result<T, Arc<Error>>) -> Result<&T, Error> {
            facts.as_ref().map_err(|error| Error::Before(Arc::clone(error)))
        }
        let targets = &self.targets;
        match question {
            Question::Neighbour(room) => known(&self.neighbour)?.load(targets, room),
            Question::Cpu { processors, events } => {
                known(&self.cpu)?.load(targets, processors, events)
            }
            Question::Interrupts { processors } => cpu::load_interrupts(targets, processors),
            Question::Tasks => known(&self.tasks)?.load(targets),
        }
    }
}

/// The process that loads, for all subjects.
#[derive(Clone)]
pub(super) struct Loader(Arc<Mutex<Process>>);

enum Process {
    /// This one, which must have the capabilities.
    Own { kernel: Box<Kernel>, asked: Option<Question> },
    /// Another.
    Keeper(Keeper),
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loader").finish_non_exhaustive()
    }
}

impl Loader {
    /// This process loads, for a kernel that describes its types in that file.
    ///
    /// # Errors
    /// It has not the capabilities, or the types cannot be read.
    pub(super) fn own(types: &Path) -> Result<Self, Error> {
        permitted()?;
        let kernel = Box::new(Kernel::read(types)?);
        Ok(Self(Arc::new(Mutex::new(Process::Own { kernel, asked: None }))))
    }

    /// Another process loads.
    pub(super) fn through(keeper: Keeper) -> Self {
        Self(Arc::new(Mutex::new(Process::Keeper(keeper))))
    }

    /// Asks for programs, and waits for them.
    pub(super) fn load(&self, question: Question) -> Result<Set, Error> {
        let mut process = self.process();
        process.ask(question)?;
        process.answer(PATIENCE).ok_or(Error::NoKeeper)?
    }

    /// Asks for programs. Nothing while a question is open.
    pub(super) fn ask(&self, question: Question) -> Result<(), Error> {
        self.process().ask(question)
    }

    /// The answer, once it is there; waits so long for it.
    pub(super) fn answer(&self, patience: Duration) -> Option<Result<Set, Error>> {
        self.process().answer(patience)
    }

    /// Whether the other process is there; `None` where this one loads.
    pub(super) fn keeper_is_there(&self) -> Option<bool> {
        match &*self.process() {
            Process::Own { .. } => None,
            Process::Keeper(keeper) => Some(keeper.is_there()),
        }
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    fn ask(&mut self, question: Question) -> Result<(), Error> {
        match self {
            Self::Own { asked, .. } => {
                *asked = Some(question);
                Ok(())
            }
            Self::Keeper(keeper) => keeper.ask(question),
        }
    }

    fn answer(&mut self, patience: Duration) -> Option<Result<Set, Error>> {
        match self {
            Self::Own { kernel, asked } => asked.take().map(|question| kernel.load(question)),
            Self::Keeper(keeper) => keeper.answer(patience),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_arrives_as_it_was_asked() {
        for question in [
            Question::Neighbour(Room { entries: 7, interfaces: 9 }),
            Question::Cpu { processors: 4, events: true },
            Question::Cpu { processors: 1, events: false },
            Question::Interrupts { processors: 8 },
            Question::Tasks,
        ] {
            assert_eq!(Question::from_words(question.words()), Some(question));
        }
        assert_eq!(Question::from_words([4, 0, 0]), None);
    }
}
