//! An iterator over the tasks of a pid namespace that adds up their states.
//!
//! The daemon makes a descriptor for each reading and reads it to its end: the kernel calls
//! `count_tasks` for each task, and once more without one, when the sums are written out.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "helpers take raw pointers")]
#![expect(clippy::inline_always, reason = "the verifier follows a pointer's type into no call")]

use core::ffi::c_void;

use aya_ebpf::{helpers::generated::bpf_seq_write, macros::map, maps::Array};
use exporter_common::tasks::{Offsets, Tasks};
use exporter_ebpf::{Pointer, Typed, set_by_daemon};

/// Set by the daemon before the program is loaded.
#[unsafe(no_mangle)]
pub static OFFSETS: Offsets =
    Offsets { state: 0, exit_state: 0, pid: 0, tgid: 0, signal: 0, threads: 0, seq: 0, session: 0 };

/// The offset of a member.
macro_rules! offset {
    ($member:ident) => {
        set_by_daemon(&OFFSETS.$member)
    };
}

/// The sums of the reading under way.
#[map]
static TASKS: Array<Tasks> = Array::with_max_entries(1, 0);

/// `struct bpf_iter__task` of kernel/bpf/task_iter.c.
#[repr(C)]
pub struct Context {
    /// `struct bpf_iter_meta`
    meta: *const c_void,
    /// `struct task_struct`; null at the end.
    task: *const c_void,
}

// include/linux/sched.h
const TASK_REPORT: u32 = 0x7f;
/// `TASK_UNINTERRUPTIBLE | TASK_NOLOAD`
const TASK_IDLE: u32 = 0x402;
const TASK_REPORT_IDLE: u32 = 0x80;
/// `TASK_RTLOCK_WAIT | TASK_FROZEN`: both are shown as uninterruptible.
const SHOWN_AS_UNINTERRUPTIBLE: u32 = 0x1000 | 0x8000;
const TASK_UNINTERRUPTIBLE: u32 = 2;

/// The program that the kernel calls for each task.
///
/// # Safety
/// Only the kernel calls it, with a context that the verifier knows.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub unsafe extern "C" fn count_tasks(ctx: *const Context) -> i32 {
    let Some(sums) = TASKS.get_ptr_mut(0) else { return 0 };
    // SAFETY: the verifier knows the context's type; the sums lie in the map.
    unsafe {
        let meta = Pointer::<Typed>::new((&raw const (*ctx).meta).read_volatile());
        let task = (&raw const (*ctx).task).read_volatile();
        let session: u64 = meta.member(offset!(session));
        if (*sums).session != session {
            // A reading before this one may have been given up: its sums are not taken over.
            *sums = Tasks { session, processes: [0; 16], threads: [0; 16], allocated: 0 };
        }
        if task.is_null() {
            let seq = meta.follow(offset!(seq));
            bpf_seq_write(seq.0.cast_mut().cast(), sums.cast(), size_of::<Tasks>() as u32);
            return 0;
        }
        let task = Pointer::<Typed>::new(task);
        // Before anything branches: the verifier searches all types of the kernel for each pointer
        // that is followed, on each path.
        let signal = task.follow(offset!(signal));
        let index = state_index(task.member(offset!(state)), task.member(offset!(exit_state)));
        let index = (index & 15) as usize;
        *(&raw mut (*sums).threads).cast::<u64>().add(index) += 1;
        if task.member::<u32>(offset!(pid)) == task.member(offset!(tgid)) {
            *(&raw mut (*sums).processes).cast::<u64>().add(index) += 1;
            let threads: u32 = signal.member(offset!(threads));
            (*sums).allocated += u64::from(threads);
        }
    }
    0
}

/// `task_state_index()` of include/linux/sched.h: the highest bit that is set, counted from 1.
#[inline(always)]
fn state_index(state: u32, exit_state: u32) -> u32 {
    let mut report = (state | exit_state) & TASK_REPORT;
    if state & TASK_IDLE == TASK_IDLE {
        report = TASK_REPORT_IDLE;
    }
    if state & SHOWN_AS_UNINTERRUPTIBLE != 0 {
        report = TASK_UNINTERRUPTIBLE;
    }
    // Without a loop or a table, which the verifier would go through.
    let mut index = 0;
    if report & 0xf0 != 0 {
        index += 4;
        report >>= 4;
    }
    if report & 0xc != 0 {
        index += 2;
        report >>= 2;
    }
    if report & 2 != 0 { index + 2 } else { index + report }
}
