//! Interrupts and context switches of each processor, which programs in the kernel count.
//!
//! Softirqs and context switches are the kernel's own numbers (`kstat`, `runqueues`), copied along
//! with the times. Each run of a handler is timed: of a device's interrupt, and of a softirq without
//! the hard interrupts that came in between. Interrupts that a processor sends
//! to itself or to another (timer, messages) have no such handler and are left out.

use super::times::Times;
use crate::{
    host::{SOFTIRQ_VECTORS, bpf::Bpf},
    prelude::*,
};
use std::sync::PoisonError;

static HARD: Metric<1> = counter(
    "node_cpu_hardirq_total",
    "Runs of handlers of devices' interrupts since the exporter started.",
)
.by(["cpu"]);
static HARD_SECONDS: Metric<1> = counter(
    "node_cpu_hardirq_seconds_total",
    "Seconds spent in handlers of devices' interrupts since the exporter started.",
)
.by(["cpu"]);
static SOFT: Metric<2> =
    counter("node_cpu_softirq_total", "Softirqs by CPU and vector.").by(["cpu", "vector"]);
static SOFT_SECONDS: Metric<2> = counter(
    "node_cpu_softirq_seconds_total",
    "Seconds spent in softirqs, hard interrupts left out, since the exporter started.",
)
.by(["cpu", "vector"]);
static SWITCHES: Metric<1> =
    counter("node_cpu_context_switches_total", "Context switches by CPU.").by(["cpu"]);

pub(super) struct Events(Option<Bpf>);

impl Events {
    pub(super) fn new(host: &Host) -> Self {
        if !host.is_running() {
            tracing::warn!("--collector.cpu.bpf-events: --path.procfs is no procfs");
            return Self(None);
        }
        if let Err(error) = host.bpf.interrupts() {
            tracing::warn!("--collector.cpu.bpf-events: {error}");
        }
        Self(Some(host.bpf.clone()))
    }

    /// Puts the events of the processors that have times: those that are online.
    pub(super) fn put(&self, times: &Times, out: &mut Sink) {
        let Some(bpf) = &self.0 else { return };
        if let Ok(loaded) = bpf.interrupts() {
            let interrupts = loaded.lock().unwrap_or_else(PoisonError::into_inner);
            for (cpu, _) in times.iter() {
                let Some(of) = interrupts.of(*cpu) else { continue };
                out.put(&HARD, [cpu], of.hard);
                out.put(&HARD_SECONDS, [cpu], of.hard_time as f64 / 1e9);
                for (vector, time) in SOFTIRQ_VECTORS.iter().zip(of.soft_time) {
                    out.put(&SOFT_SECONDS, [cpu, vector], time as f64 / 1e9);
                }
            }
        }
        if let Some(loaded) = bpf.loaded_cpu()
            && times.are_copied()
        {
            let copies = loaded.lock().unwrap_or_else(PoisonError::into_inner);
            for (cpu, _) in times.iter() {
                let Some(copy) = copies.reading(*cpu) else { continue };
                out.put(&SWITCHES, [cpu], copy.switches);
                for (vector, n) in SOFTIRQ_VECTORS.iter().zip(copy.softirqs) {
                    out.put(&SOFT, [cpu, vector], n);
                }
            }
        }
    }
}
