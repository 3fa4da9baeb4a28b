//! Counts and times interrupts on each processor, at the tracepoints around their handlers.
//!
//! Interrupts that a processor sends to itself or to another (timer, messages) pass no tracepoint of
//! these and are not counted.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "values of a map are reached by raw pointers")]
#![expect(clippy::inline_always, reason = "the verifier follows a pointer's type into no call")]

use aya_ebpf::{
    helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_ns},
    macros::{btf_tracepoint, map},
    maps::Array,
    programs::BtfTracePointContext,
};
use exporter_common::cpu::Interrupts;
use exporter_ebpf as _; // the panic handler and the license

/// `BPF_F_MMAPABLE`: the daemon reads the numbers without a system call.
const MAPPED: u32 = 1 << 10;

/// One element for each processor that there can be, by its number.
///
/// Only its own processor writes to an element, and one handler of a kind at a time: handlers of
/// hard interrupts do not nest, and softirqs do not. A hard interrupt may come while a program
/// about a softirq runs.
#[map]
static INTERRUPTS: Array<Interrupts> = Array::with_max_entries(1, MAPPED);

/// This processor's element.
#[inline(always)]
fn here() -> Option<*mut Interrupts> {
    // SAFETY: takes nothing.
    INTERRUPTS.get_ptr_mut(unsafe { bpf_get_smp_processor_id() })
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: takes nothing.
    unsafe { bpf_ktime_get_ns() }
}

/// The clock and the time spent in hard interrupts at one moment: the time is read again after the
/// clock, and both anew where an interrupt came in between.
///
/// # Safety
/// `of` must lie in the map.
#[inline(always)]
unsafe fn moment(of: *mut Interrupts) -> (u64, u64) {
    // SAFETY: the caller's promise; volatile, since an interrupt changes the number meanwhile.
    let hard_time = || unsafe { (&raw const (*of).hard_time).read_volatile() };
    let (before, clock) = (hard_time(), now());
    let after = hard_time();
    if before == after { (clock, after) } else { (now(), hard_time()) }
}

#[btf_tracepoint(function = "irq_handler_entry")]
fn irq_handler_entry(_ctx: BtfTracePointContext) -> Option<()> {
    let interrupts = here()?;
    // SAFETY: it lies in the map.
    unsafe { (*interrupts).hard_since = now() };
    Some(())
}

#[btf_tracepoint(function = "irq_handler_exit")]
fn irq_handler_exit(_ctx: BtfTracePointContext) -> Option<()> {
    let interrupts = here()?;
    // SAFETY: it lies in the map.
    unsafe {
        // The beginning of a handler that was under way when the programs were attached is not known.
        if (*interrupts).hard_since != 0 {
            (*interrupts).hard += 1;
            (*interrupts).hard_time += now() - (*interrupts).hard_since;
            (*interrupts).hard_since = 0;
        }
    }
    Some(())
}

#[btf_tracepoint(function = "softirq_entry")]
fn softirq_entry(_ctx: BtfTracePointContext) -> Option<()> {
    let interrupts = here()?;
    // SAFETY: it lies in the map.
    unsafe {
        let (clock, hard_time) = moment(interrupts);
        (*interrupts).soft_since = clock;
        (*interrupts).soft_hard_time = hard_time;
    }
    Some(())
}

#[btf_tracepoint(function = "softirq_exit")]
fn softirq_exit(ctx: BtfTracePointContext) -> Option<()> {
    let interrupts = here()?;
    let vector = (ctx.arg::<u32>(0) & 15) as usize;
    // SAFETY: it lies in the map, and there are sixteen places.
    unsafe {
        if (*interrupts).soft_since != 0 {
            let (clock, hard_time) = moment(interrupts);
            let interrupted = hard_time - (*interrupts).soft_hard_time;
            let time = (&raw mut (*interrupts).soft_time).cast::<u64>().add(vector);
            *time += clock - (*interrupts).soft_since - interrupted;
            (*interrupts).soft_since = 0;
        }
    }
    Some(())
}
