//! Tasks by state, added up in the kernel.
//!
//! The program of `exporter-ebpf/src/bin/tasks` sits in an iterator of the kernel over the tasks of
//! the pid namespace of whoever reads it. A reading has a descriptor of its own, which takes no
//! capability since Linux 5.19.

use std::{collections::HashMap, io};

use bytemuck::Zeroable as _;
use exporter_common::tasks::{LETTERS, Offsets, Tasks as Sums};

use super::{
    Error, Health,
    btf::Btf,
    loader::{Loader, Question},
    object::{Fit, Hook, Plan, Set},
};

/// The program.
pub(super) const PROGRAM: &str = "count_tasks";

/// The function of the kernel that stands for the iterator.
pub(super) const FUNCTION: &str = "bpf_iter_task";

/// The program, as `cargo xtask ebpf` has built it.
pub(super) static PLAN: Plan = Plan {
    name: "tasks",
    object: aya::include_bytes_aligned!("../../../../exporter-ebpf/prebuilt/tasks.o"),
    hooks: &[Hook::Iterator(PROGRAM)],
    maps: &["TASKS"],
    since: "5.13",
};

/// Facts of the running kernel that the program must know.
pub(super) struct Facts(Offsets);

impl Facts {
    /// All names that [`Facts::of`] asks for.
    pub(super) const NAMES: [&str; 13] = [
        FUNCTION,
        "task_struct",
        "__state",
        "state",
        "exit_state",
        "pid",
        "tgid",
        "signal",
        "signal_struct",
        "nr_threads",
        "bpf_iter_meta",
        "seq",
        "session_id",
    ];

    /// The facts, from the kernel's types.
    pub(super) fn of(types: &mut Btf<'_>) -> Result<Self, Error> {
        let mut of = |structure, member: &str| {
            let member = member.to_owned();
            types.offset(structure, &[&member]).ok_or(Error::NoMember { structure, member })
        };
        Ok(Self(Offsets {
            state: of("task_struct", "__state").or_else(|_| of("task_struct", "state"))?,
            exit_state: of("task_struct", "exit_state")?,
            pid: of("task_struct", "pid")?,
            tgid: of("task_struct", "tgid")?,
            signal: of("task_struct", "signal")?,
            threads: of("signal_struct", "nr_threads")?,
            seq: of("bpf_iter_meta", "seq")?,
            session: of("bpf_iter_meta", "session_id")?,
        }))
    }

    /// Loads the program and makes the iterator.
    pub(super) fn load(&self, targets: &HashMap<&'static str, u32>) -> Result<Set, Error> {
        let fit = Fit {
            globals: &[("OFFSETS", bytemuck::bytes_of(&self.0))],
            elements: &[],
            targets,
            told: &[],
        };
        Set::load(&PLAN, &fit)
    }
}

/// The iterator, and the sums of its last reading.
#[derive(Debug)]
pub struct Tasks {
    set: Set,
    sums: Sums,
}

impl Tasks {
    pub(super) fn start(loader: &Loader) -> Result<Self, Error> {
        let mut tasks = Self { set: loader.load(Question::Tasks)?, sums: Sums::zeroed() };
        tasks.read()?;
        Ok(tasks)
    }

    /// Counts the tasks of this process's pid namespace.
    ///
    /// # Errors
    /// The kernel does not make a descriptor, or the answer is not whole.
    pub fn read(&mut self) -> Result<&Sums, Error> {
        let wrong = |source| Error::Program { program: PROGRAM, source };
        let descriptor = self.set.iterate(PROGRAM)?;
        let mut sums = Sums::zeroed();
        let bytes = bytemuck::bytes_of_mut(&mut sums);
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match rustix::io::read(&descriptor, rest) {
                Ok(0) => return Err(wrong(io::ErrorKind::UnexpectedEof.into())),
                Ok(n) => filled += n,
                // The kernel looks at a million tasks at a time.
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(wrong(errno.into())),
            }
        }
        self.sums = sums;
        Ok(&self.sums)
    }

    /// The cost of the program, and by how much the number of threads that the processes told of
    /// exceeded that of the threads that were found, at the last reading.
    pub(super) fn health(&self, health: &mut impl Health) -> Result<(), Error> {
        health.program(PROGRAM, true, self.set.runs(PROGRAM)?);
        let found: u64 = self.sums.threads.iter().sum();
        health.audit("tasks", self.sums.allocated.cast_signed() - found.cast_signed());
        Ok(())
    }

    /// Whether it all works as the calling thread is, without any capability.
    pub(super) fn needs_no_capability(&mut self) -> bool {
        self.read().is_ok() && self.set.runs(PROGRAM).is_ok()
    }
}

/// The letter that `/proc/<pid>/stat` shows for a state, which is the place of its number in the
/// sums; `None` where no kernel has such a state.
#[must_use]
pub fn letter(state: usize) -> Option<u8> {
    LETTERS.get(state).copied()
}
