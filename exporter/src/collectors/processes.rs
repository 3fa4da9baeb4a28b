//! Processes and threads by state, from `/proc/<pid>/stat`, and the limits of their numbers.
//!
//! The state is the word after the name. The name is in parentheses and may contain any byte: it
//! ends at the last `)` (`do_task_stat()` in `fs/proc/array.c`). A process or thread that exits
//! during the scrape is not counted. A process with one thread costs three calls, since the thread
//! has the state of the process; more threads are read one by one.

use crate::{
    parse::{decimal, is_digits},
    prelude::*,
};

pub const SPEC: Spec = Spec {
    name: "processes",
    enabled: false,
    capabilities: CapabilitySet::SYS_PTRACE,
    flags: &[],
    new: |host, _| {
        Ok(Box::new(Processes {
            folder: host.proc.folder(""),
            max_threads: host.proc.single_file("sys/kernel/threads-max"),
            max_pids: host.proc.single_file("sys/kernel/pid_max"),
            is_procfs: host.is_running(),
            names: Names::default(),
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
    folder: Folder,
    max_threads: SingleFile,
    max_pids: SingleFile,
    /// Whether the folder is a procfs. In a copied tree, the thread folders may be absent, and are
    /// always looked for.
    is_procfs: bool,
    names: Names,
}

/// The used part of one file `stat`.
#[derive(Debug, PartialEq)]
struct Stat {
    state: u8,
    threads: Result<f64, Malformed>,
}

/// Numbers by state, a letter.
struct States([u64; 128]);

impl Collector for Processes {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let mut faults = Faults::default();
        let mut threads = 0.0;
        let (mut states, mut thread_states) = (States([0; 128]), States([0; 128]));
        for process in self.folder.list()?.filter(is_number) {
            let Some(Stat { state, threads: own }) = faults.read(read(&process)) else { continue };
            states.count(state);
            let own = own.map_err(|source| Error::Parse { path: process.path("stat"), source });
            let own = faults.keep(own).unwrap_or_default();
            threads += own;
            #[expect(clippy::float_cmp, reason = "small whole numbers are exact")]
            if self.is_procfs && own == 1.0 {
                thread_states.count(state);
            } else {
                let counted = count_threads(&process, state, &mut self.names, &mut thread_states);
                faults.keep(counted);
            }
        }
        out.put(&THREADS, [], threads);
        states.put(&STATE, out);
        thread_states.put(&THREADS_STATE, out);
        out.put(&PIDS, [], states.0.iter().sum::<u64>());
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

impl States {
    fn count(&mut self, state: u8) {
        if let Some(n) = self.0.get_mut(usize::from(state)) {
            *n += 1;
        }
    }

    fn put(&self, metric: &Metric<1>, out: &mut Sink) {
        for (state, n) in (0_u8..).zip(self.0).filter(|&(_, n)| n > 0) {
            out.put(metric, [&[state].as_slice()], n);
        }
    }
}

fn count_threads(process: &Entry<'_>, state: u8, names: &mut Names, states: &mut States) -> Result {
    let Some(dir) = process.dir().unless_unreadable()? else { return Ok(()) };
    let Some(task) = dir.dir("task").unless_unreadable()? else { return Ok(()) };
    let listed = task.list(names).map(Some).unless_unreadable()?;
    let mut faults = Faults::default();
    for thread in listed.into_iter().flatten().filter(is_number) {
        if thread.bytes() == process.bytes() {
            states.count(state);
        } else if let Some(stat) = faults.read(read(&thread)) {
            states.count(stat.state);
        }
    }
    faults.end()
}

fn is_number(entry: &Entry<'_>) -> bool {
    is_digits(entry.bytes())
}

fn read(entry: &Entry<'_>) -> Result<Option<Stat>> {
    let mut room = [0; 512]; // more than the numbers up to the threads can take
    let Some(bytes) = entry.read_in("stat", &mut room)? else { return Ok(None) };
    match parse(bytes) {
        Ok(stat) => Ok(Some(stat)),
        Err(source) => Err(Error::Parse { path: entry.path("stat"), source }),
    }
}

fn parse(line: &[u8]) -> Result<Stat, Malformed> {
    let malformed = || Malformed::new("stat", &String::from_utf8_lossy(line));
    let end = memchr::memrchr(b')', line).ok_or_else(malformed)?;
    let rest = line.get(end + 1..).and_then(|rest| std::str::from_utf8(rest).ok());
    let mut words = rest.ok_or_else(malformed)?.split_ascii_whitespace();
    let &[state] = words.word("state")?.as_bytes() else { return Err(malformed()) };
    let threads = words.nth(16).ok_or_else(malformed)?;
    Ok(Stat { state, threads: decimal("threads", threads) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, malformed, sample_lines};

    fn stat(name: &str, state: char, threads: u32) -> String {
        format!("7 ({name}) {state} 1 7 7 0 -1 64 0 0 0 0 0 0 0 0 20 0 {threads} 0 5 0 0\n")
    }

    #[test]
    fn names_may_look_like_the_rest_of_the_line() {
        let told = |state, threads| Ok(Stat { state, threads: Ok(threads) });
        assert_eq!(parse(stat("a) Z 1", 'S', 3).as_bytes()), told(b'S', 3.0));
        let line = [b"7 (\xff) D 1 7 7 0 -1 64 0 0 0 0 0 0 0 0 20 0 2 0".as_slice()].concat();
        assert_eq!(parse(&line), told(b'D', 2.0));
    }

    #[test]
    fn a_line_that_describes_no_process_is_refused() {
        assert_eq!(malformed(parse(b"7 (a S")), "bad stat: \"7 (a S\"");
        assert_eq!(malformed(parse(b"7 (a)")), "bad state: \"\"");
        assert_eq!(malformed(parse(b"7 (a) SS 1")), "bad stat: \"7 (a) SS 1\"");
        assert_eq!(malformed(parse(b"7 (a) S 1 7 7 0")), "bad stat: \"7 (a) S 1 7 7 0\"");
        assert_eq!(
            parse(stat("a", 'S', 1).replace(" 1 0 5", " x 0 5").as_bytes()),
            Ok(Stat { state: b'S', threads: Err(Malformed::new("threads", "x")) })
        );
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
