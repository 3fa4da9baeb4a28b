//! Tasks of the machine, added up by an iterator in the kernel.

crate::shared! {
    /// Where the running kernel keeps the members that the iterator reads: bytes from the start of
    /// each structure, from the kernel's BTF.
    pub struct Offsets {
        /// `task_struct.__state`, `state` before Linux 5.14.
        pub state: u32,
        /// `task_struct.exit_state`
        pub exit_state: u32,
        /// `task_struct.pid`
        pub pid: u32,
        /// `task_struct.tgid`
        pub tgid: u32,
        /// `task_struct.signal`
        pub signal: u32,
        /// `signal_struct.nr_threads`
        pub threads: u32,
        /// `bpf_iter_meta.seq`
        pub seq: u32,
        /// `bpf_iter_meta.session_id`
        pub session: u32,
    }

    /// The sums of one reading.
    pub struct Tasks {
        /// The reading that the sums belong to.
        pub session: u64,
        /// Processes by `task_state_index()` of include/linux/sched.h.
        pub processes: [u64; 16],
        /// Threads by the same.
        pub threads: [u64; 16],
        /// `nr_threads` of all processes.
        pub allocated: u64,
    }
}

/// The letters of `task_state_array` in fs/proc/array.c, by `task_state_index()`.
pub const LETTERS: [u8; 9] = *b"RSDTtXZPI";
