//! The kernel's accounting of each processor's time, as the programs copy it.

crate::shared! {
    /// Where the running kernel keeps the accounting: from the kernel's BTF.
    ///
    /// Members are bytes from the start of their structure. Per-CPU variables are bytes from the
    /// `runqueues` of the same processor: only differences are known, since the base of the section
    /// is another on each kernel.
    pub struct Layout {
        /// Per-CPU variable `kernel_cpustat`.
        pub cpustat: i64,
        /// Per-CPU variable `tick_cpu_sched`.
        pub tick: i64,
        /// The byte that tells whether the processor is idle at this moment.
        pub active: i64,
        /// The sequence count that guards the idle times.
        pub sequence: i64,
        /// `context_tracking.active`.
        pub tracking: i64,
        /// `kstat.softirqs`.
        pub softirqs: i64,
        /// `task_struct.se.cfs_rq`
        pub task_cfs_rq: u32,
        /// `cfs_rq.rq`
        pub cfs_rq_rq: u32,
        /// `rq.cpu`
        pub rq_cpu: u32,
        /// `rq.online`
        pub rq_online: u32,
        /// `rq.nr_iowait`
        pub rq_nr_iowait: u32,
        /// `rq.nr_switches`
        pub rq_nr_switches: u32,
        /// Bytes of `kernel_cpustat`, at most those of [`Reading::cpustat`].
        pub cpustat_size: u32,
        /// Bytes of `tick_cpu_sched`, at most those of [`Reading::tick`].
        pub tick_size: u32,
        /// The parts that are copied: [`TICK`] and the other bits.
        pub parts: u32,
        /// Zero.
        pub padding: u32,
    }

    /// The accounting of one processor, copied byte by byte; the daemon interprets the copy.
    pub struct Reading {
        /// Address of the processor's `struct rq`; 0 where it has not been found.
        pub rq: u64,
        /// `CLOCK_MONOTONIC` in nanoseconds, read between the two readings of the sequence count.
        pub now: u64,
        /// The whole `kernel_cpustat`.
        pub cpustat: [u64; 16],
        /// The whole `tick_cpu_sched`.
        pub tick: [u64; 32],
        /// Softirqs since the machine started, by vector (`NR_SOFTIRQS` is 10).
        pub softirqs: [u32; 10],
        /// The processor's number, for which `rq` was found.
        pub cpu: u32,
        /// Whether the processor is online: 0 or 1.
        pub online: u32,
        /// Context switches since the machine started.
        pub switches: u64,
        /// Tasks that wait for input or output and ran on this processor last.
        pub waiting: u32,
        /// The byte at [`Layout::active`].
        pub active: u32,
        /// The sequence count, read last.
        pub sequence: u32,
        /// Whether the kernel tracks the contexts of this processor (`nohz_full`): not 0 where it
        /// does.
        pub tracking: u32,
    }

    /// Interrupts of one processor since the programs were attached. Times are in nanoseconds.
    pub struct Interrupts {
        /// When the handler under way began (`CLOCK_MONOTONIC`); 0 where none is.
        pub hard_since: u64,
        /// Handlers of hard interrupts that have ended.
        pub hard: u64,
        /// Time spent in them.
        pub hard_time: u64,
        /// When the softirq under way began; 0 where none is.
        pub soft_since: u64,
        /// `hard_time` at that moment.
        pub soft_hard_time: u64,
        /// Time spent in softirqs, without the hard interrupts that came in between, by vector.
        pub soft_time: [u64; 16],
        /// Fills the third cache line: no two processors write to the same.
        pub padding: [u64; 3],
    }
}

/// Copy `tick_cpu_sched`.
pub const TICK: u32 = 1;
/// Copy the clock and the byte that tells whether the processor is idle.
pub const IDLE: u32 = 2;
/// Copy the sequence count.
pub const SEQUENCE: u32 = 4;
/// Copy whether contexts are tracked.
pub const TRACKING: u32 = 8;
/// Copy softirqs and context switches.
pub const EVENTS: u32 = 16;
