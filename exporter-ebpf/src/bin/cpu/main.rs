//! Copies the kernel's own accounting of each processor's time into a map.
//!
//! Both programs are attached to nothing and run when the daemon asks: `locate` once, `fetch` at
//! each scrape. One run on one processor reads the accounting of all: it lies in per-CPU variables,
//! which are as far from each other as any two elements of a per-CPU map are. The daemon interprets
//! the copies, so that the rules of `get_idle_time()` (fs/proc/stat.c) can be tested there.
//!
//! Loops go through `bpf_for_each_map_elem`: the verifier then looks at one processor, however many
//! there are.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "helpers take raw pointers")]
#![expect(clippy::inline_always, reason = "the verifier follows a pointer's type into no call")]

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::{
        bpf_get_current_task, bpf_get_smp_processor_id, bpf_ktime_get_ns,
        bpf_map_lookup_percpu_elem, bpf_probe_read_kernel,
    },
    macros::{map, raw_tracepoint},
    maps::{Array, PerCpuArray},
    programs::RawTracePointContext,
};
use exporter_common::cpu::{EVENTS, IDLE, Layout, Reading, SEQUENCE, TICK, TRACKING};
use exporter_ebpf::{Copied, Pointer, for_each, set_by_daemon};

/// `BPF_F_MMAPABLE`: the daemon reads the copies without a system call.
const MAPPED: u32 = 1 << 10;

/// Set by the daemon before the programs are loaded.
#[unsafe(no_mangle)]
pub static LAYOUT: Layout = Layout {
    cpustat: 0,
    tick: 0,
    active: 0,
    sequence: 0,
    tracking: 0,
    softirqs: 0,
    task_cfs_rq: 0,
    cfs_rq_rq: 0,
    rq_cpu: 0,
    rq_online: 0,
    rq_nr_iowait: 0,
    rq_nr_switches: 0,
    cpustat_size: 0,
    tick_size: 0,
    parts: 0,
    padding: 0,
};

/// A member of [`LAYOUT`].
macro_rules! layout {
    ($member:ident) => {
        set_by_daemon(&LAYOUT.$member)
    };
}

/// One element for each processor that there can be, by its number.
#[map]
static READINGS: Array<Reading> = Array::with_max_entries(1, MAPPED);

/// Holds nothing; the addresses of its elements tell how far apart the processors' variables are.
#[map]
static PROBE: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The addresses that `locate` hands to its loop.
struct Here {
    /// Of this processor's `struct rq`.
    rq: u64,
    /// Of this processor's element of [`PROBE`].
    probe: u64,
}

/// The address of a processor's element of [`PROBE`]; 0 for a processor that there cannot be.
#[inline(always)]
fn probe(cpu: u32) -> u64 {
    let first = 0_u32;
    // SAFETY: the map and the key are there; the helper checks the processor's number.
    let element = unsafe {
        bpf_map_lookup_percpu_elem(
            (&raw const PROBE).cast_mut().cast(),
            (&raw const first).cast(),
            cpu,
        )
    };
    if element.is_null() { 0 } else { Pointer::<Copied>::new(element).address() }
}

/// Finds the `struct rq` of each processor, and notes only those that bear its number.
#[raw_tracepoint]
fn locate(_ctx: RawTracePointContext) -> i32 {
    // SAFETY: takes nothing.
    let (task, cpu) = unsafe { (bpf_get_current_task(), bpf_get_smp_processor_id()) };
    let task = Pointer::<Copied>::new(task as *const c_void);
    let rq = task.follow(layout!(task_cfs_rq)).member::<u64>(layout!(cfs_rq_rq));
    let mut here = Here { rq, probe: probe(cpu) };
    if here.probe == 0 || number(rq) != cpu {
        return 0;
    }
    for_each!(READINGS, locate_one, (&raw mut here).cast());
    0
}

extern "C" fn locate_one(
    _: *const c_void,
    cpu: *const u32,
    reading: *mut Reading,
    here: *const Here,
) -> u64 {
    // SAFETY: the helper gives the element, its key and `here`.
    unsafe {
        let cpu = *cpu;
        let there = probe(cpu);
        let rq = (*here).rq.wrapping_add(there).wrapping_sub((*here).probe);
        let is_found = there != 0 && number(rq) == cpu;
        (*reading).cpu = cpu;
        (*reading).rq = if is_found { rq } else { 0 };
    }
    0
}

/// The number of the processor that a `struct rq` belongs to.
#[inline(always)]
fn number(rq: u64) -> u32 {
    Pointer::<Copied>::new(rq as *const c_void).member(layout!(rq_cpu))
}

/// Copies the accounting of every processor that was found.
#[raw_tracepoint]
fn fetch(_ctx: RawTracePointContext) -> i32 {
    for_each!(READINGS, fetch_one, core::ptr::null_mut());
    0
}

extern "C" fn fetch_one(
    _: *const c_void,
    _: *const u32,
    reading: *mut Reading,
    _: *const c_void,
) -> u64 {
    // SAFETY: the helper gives the element.
    unsafe {
        let rq = (*reading).rq;
        if rq == 0 {
            return 0;
        }
        let parts = layout!(parts);
        copy(&raw mut (*reading).online, 4, rq, layout!(rq_online).into());
        copy(&raw mut (*reading).waiting, 4, rq, layout!(rq_nr_iowait).into());
        copy(&raw mut (*reading).cpustat, layout!(cpustat_size), rq, layout!(cpustat));
        if parts & TICK != 0 {
            copy(&raw mut (*reading).tick, layout!(tick_size), rq, layout!(tick));
        }
        if parts & IDLE != 0 {
            (*reading).now = bpf_ktime_get_ns();
            copy(&raw mut (*reading).active, 1, rq, layout!(active));
        }
        if parts & SEQUENCE != 0 {
            copy(&raw mut (*reading).sequence, 4, rq, layout!(sequence));
        }
        if parts & TRACKING != 0 {
            copy(&raw mut (*reading).tracking, 1, rq, layout!(tracking));
        }
        if parts & EVENTS != 0 {
            copy(&raw mut (*reading).softirqs, 40, rq, layout!(softirqs));
            copy(&raw mut (*reading).switches, 8, rq, layout!(rq_nr_switches).into());
        }
    }
    0
}

/// Copies so many bytes that lie `offset` bytes from an address of the kernel.
///
/// # Safety
/// `to` must have room for them; the verifier checks that.
#[inline(always)]
unsafe fn copy<T>(to: *mut T, size: u32, from: u64, offset: i64) {
    let from = from.wrapping_add_signed(offset) as *const c_void;
    // SAFETY: the helper copies from anywhere, and fills with zeros where it fails.
    unsafe { bpf_probe_read_kernel(to.cast(), size, from) };
}
