//! Interrupts of each processor, counted and timed as they happen.

use std::collections::HashMap;

use exporter_common::cpu::Interrupts as OfCpu;

use crate::host::bpf::{
    Error, Health,
    loader::{Loader, Question},
    mapped::Mapped,
    object::{Fit, Hook, Plan, Set},
};

/// In this order an exit is seen only after its entry can be.
const HOOKS: [Hook; 4] = [
    Hook::Tracepoint("irq_handler_exit"),
    Hook::Tracepoint("irq_handler_entry"),
    Hook::Tracepoint("softirq_exit"),
    Hook::Tracepoint("softirq_entry"),
];

const INTERRUPTS: &str = "INTERRUPTS";

/// The programs, as `cargo xtask ebpf` has built them.
pub(in crate::host::bpf) static PLAN: Plan = Plan {
    name: "cpu_events",
    object: aya::include_bytes_aligned!("../../../../../exporter-ebpf/prebuilt/cpu_events.o"),
    hooks: &HOOKS,
    maps: &[INTERRUPTS],
    since: "5.13",
};

/// Loads and attaches the programs.
pub(in crate::host::bpf) fn load(
    targets: &HashMap<&'static str, u32>,
    processors: u32,
) -> Result<Set, Error> {
    let fit = Fit { globals: &[], elements: &[(INTERRUPTS, processors)], targets, told: &[] };
    Set::load(&PLAN, &fit)
}

/// The programs, attached, and their counts.
pub struct Interrupts {
    set: Set,
    counts: Mapped<OfCpu>,
    processors: u32,
}

impl std::fmt::Debug for Interrupts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interrupts").field("processors", &self.processors).finish_non_exhaustive()
    }
}

impl Interrupts {
    pub(in crate::host::bpf) fn start(loader: &Loader, processors: u32) -> Result<Self, Error> {
        let set = loader.load(Question::Interrupts { processors })?;
        let counts = set.mapped(INTERRUPTS, processors)?;
        Ok(Self { set, counts, processors })
    }

    /// The counts of a processor since the start.
    #[must_use]
    pub fn of(&self, cpu: u32) -> Option<OfCpu> {
        self.counts.get(cpu as usize)
    }

    /// The cost of the programs.
    pub(in crate::host::bpf) fn health(&self, health: &mut impl Health) -> Result<(), Error> {
        for hook in HOOKS {
            health.program(hook.name(), true, self.set.runs(hook.name())?);
        }
        let n = self.processors.into();
        health.map("cpu_interrupts", n, n);
        Ok(())
    }

    pub(in crate::host::bpf) fn programs() -> impl Iterator<Item = &'static str> {
        HOOKS.iter().map(|hook| hook.name())
    }

    /// Whether it all works as the calling thread is, without any capability.
    pub(in crate::host::bpf) fn needs_no_capability(&mut self) -> bool {
        HOOKS.iter().all(|hook| self.set.runs(hook.name()).is_ok())
    }
}
