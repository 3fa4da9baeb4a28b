//! Processes and threads by state, and the limits of their numbers.
//!
//! A program in the kernel counts the tasks of this process's pid namespace ([`ebpf`]), whatever
//! `/proc` hides; else the files of `/proc/<pid>` are read ([`procfs`]). A process that `/proc`
//! hides from others (`hidepid`) is found there with `CAP_SYS_PTRACE` only.

mod ebpf;
mod procfs;

use crate::{collector::Sources, prelude::*};
use ebpf::Ebpf;
use procfs::Procfs;

pub const SPEC: Spec = Spec {
    name: "processes",
    enabled: false,
    capabilities: CapabilitySet::SYS_PTRACE,
    flags: &[],
    new: |host, _| {
        let mut procfs = Procfs::new(host);
        let mut sources: Vec<(_, Box<dyn Source>)> = Vec::new();
        if host.is_running()
            && let Some(ebpf) = Ebpf::new(host, &mut procfs)
        {
            sources.push(("ebpf", Box::new(ebpf)));
        }
        sources.push(("procfs", Box::new(procfs)));
        Ok(Box::new(Processes {
            sources: Sources::new("processes", sources),
            max_threads: host.proc.single_file("sys/kernel/threads-max"),
            max_pids: host.proc.single_file("sys/kernel/pid_max"),
        }))
    },
};

static THREADS: Metric = gauge("node_processes_threads", "Allocated threads in system");
static MAX_THREADS: Metric = gauge("node_processes_max_threads", "Limit of threads in the system");
static THREADS_STATE: Metric<1> =
    gauge("node_processes_threads_state", "Number of threads in each state.").by(["thread_state"]);
static STATE: Metric<1> =
    gauge("node_processes_state", "Number of processes in each state.").by(["state"]);
static PIDS: Metric = gauge("node_processes_pids", "Number of PIDs");
static MAX_PIDS: Metric = gauge("node_processes_max_processes", "Number of max PIDs limit");

struct Processes {
    sources: Sources<dyn Source>,
    max_threads: SingleFile,
    max_pids: SingleFile,
}

/// A source of the numbers.
trait Source: Send {
    /// Counts all that there are; `faults` are of those that could not be counted.
    fn count(&mut self, faults: &mut Faults<Error>) -> Result<Counts>;
}

/// The numbers of one scrape.
#[derive(Default)]
struct Counts {
    processes: States,
    threads: States,
    /// Threads as the processes know their own.
    allocated: f64,
}

/// Numbers by state, a letter.
struct States([u64; 128]);

impl Collector for Processes {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let mut faults = Faults::default();
        let counted = self.sources.ask(out, |source, out| {
            let mut faults = Faults::default();
            let counts = source.count(&mut faults)?;
            out.put(&THREADS, [], counts.allocated);
            counts.processes.put(&STATE, out);
            counts.threads.put(&THREADS_STATE, out);
            out.put(&PIDS, [], counts.processes.0.iter().sum::<u64>());
            faults.end()
        });
        faults.keep(counted);
        for (metric, file) in
            [(&MAX_THREADS, &mut self.max_threads), (&MAX_PIDS, &mut self.max_pids)]
        {
            if let Some(limit) = faults.keep(file.decimal()) {
                out.put(metric, [], limit);
            }
        }
        faults.end()
    }
}

impl Default for States {
    fn default() -> Self {
        Self([0; 128])
    }
}

impl States {
    fn count(&mut self, state: u8) {
        self.add(state, 1);
    }

    fn add(&mut self, state: u8, more: u64) {
        if let Some(n) = self.0.get_mut(usize::from(state)) {
            *n += more;
        }
    }

    fn of(&self, state: u8) -> u64 {
        self.0.get(usize::from(state)).copied().unwrap_or_default()
    }

    fn put(&self, metric: &Metric<1>, out: &mut Sink) {
        for (state, n) in (0_u8..).zip(self.0).filter(|&(_, n)| n > 0) {
            out.put(metric, [&[state].as_slice()], n);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, sample_lines};

    fn stat(name: &str, state: char, threads: u32) -> String {
        format!("7 ({name}) {state} 1 7 7 0 -1 64 0 0 0 0 0 0 0 0 20 0 {threads} 0 5 0 0\n")
    }

    #[test]
    fn a_vanished_process_is_not_counted() {
        let machine = Machine::new()
            .with("proc/sys/kernel/threads-max", "100\n")
            .with("proc/sys/kernel/pid_max", "200\n")
            .with("proc/1/cmdline", "")
            .with("proc/7/stat", stat("a", 'S', 2))
            .with("proc/7/task/7/stat", "")
            .with("proc/7/task/8/comm", "")
            .with("proc/9x/stat", "");
        let (text, result) = machine.collect(&SPEC, &[]);
        result.unwrap();
        assert!(text.contains("\nnode_processes_pids 1\n"), "{text}");
        assert!(text.contains("\nnode_processes_threads 2\n"), "{text}");
        assert!(text.contains("\nnode_processes_threads_state{thread_state=\"S\"} 1\n"), "{text}");
        let huge = stat("b", 'S', 1).replace(" 1 0 5", " 18446744073709551615 0 5");
        let machine = machine.with("proc/8/stat", &huge).with("proc/7/stat", huge);
        machine.collect(&SPEC, &[]).1.unwrap();
        let machine = machine
            .with("proc/6/stat", stat("a", 'S', 1).replace(" 1 0 5", " x 0 5"))
            .with("proc/7/stat", "x")
            .with("proc/7/task/7/stat", "x")
            .with("proc/8/stat", stat("b", 'D', 3))
            .with("proc/8/task/8/stat", "")
            .with("proc/8/task/9/stat", "x")
            .with("proc/8/task/10/stat", stat("b", 'R', 3))
            .with("proc/9/stat/is_a_directory", "")
            .with("proc/sys/kernel/threads-max", "x\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("/proc/6/stat: bad threads: \"x\""), "{error}");
        assert_eq!(
            sample_lines(&text).collect::<Vec<_>>(),
            [
                "node_processes_max_processes 200",
                "node_processes_pids 2",
                "node_processes_state{state=\"D\"} 1",
                "node_processes_state{state=\"S\"} 1",
                "node_processes_threads 3",
                "node_processes_threads_state{thread_state=\"D\"} 1",
                "node_processes_threads_state{thread_state=\"R\"} 1",
            ]
        );
    }
}
