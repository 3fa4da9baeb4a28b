//! Processes and threads by state, from `/proc/<pid>/stat`, and how many there may be.
//!
//! The state is the word after the name, which is in parentheses and may contain any byte: its
//! end is the last `)` (`do_task_stat()` in `fs/proc/array.c`). What exits during the scrape is
//! not counted. A process costs three calls: its only thread has its state; the threads of others
//! are read one by one.

use crate::{
    host::tree::{Entry, Names},
    parse::{is_digits, number},
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
    /// A copied tree may lack the folders of threads: there they are always looked for.
    is_procfs: bool,
    names: Names,
}

/// What one file says.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: u8,
    threads: u64,
}

/// Numbers by state, a letter.
struct States([u64; 128]);

impl Collector for Processes {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let mut threads = 0_u64;
        let (mut states, mut thread_states) = (States([0; 128]), States([0; 128]));
        for process in self.folder.list()?.filter(is_number) {
            let Some(stat) = read(&process)? else { continue };
            states.count(stat.state);
            threads = threads.saturating_add(stat.threads);
            if self.is_procfs && stat.threads == 1 {
                thread_states.count(stat.state);
            } else {
                count_threads(&process, &stat, &mut self.names, &mut thread_states)?;
            }
        }
        out.put(&THREADS, [], threads);
        states.put(&STATE, out);
        thread_states.put(&THREADS_STATE, out);
        out.put(&PIDS, [], states.0.iter().sum::<u64>());
        out.put(&MAX_THREADS, [], self.max_threads.number::<u64>()?);
        out.put(&MAX_PIDS, [], self.max_pids.number::<u64>()?);
        Ok(())
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

fn count_threads(
    process: &Entry<'_>,
    stat: &Stat,
    names: &mut Names,
    states: &mut States,
) -> Result {
    let Some(dir) = process.dir()? else { return Ok(()) };
    let Some(task) = dir.dir("task")? else { return Ok(()) };
    let Some(threads) = task.list(names).unless_absent()? else { return Ok(()) };
    for thread in threads.filter(is_number) {
        if thread.bytes() == process.bytes() {
            states.count(stat.state);
        } else if let Some(stat) = read(&thread)? {
            states.count(stat.state);
        }
    }
    Ok(())
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
    Ok(Stat { state, threads: number("threads", threads)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, malformed};

    fn stat(name: &str, state: char, threads: u32) -> String {
        format!("7 ({name}) {state} 1 7 7 0 -1 64 0 0 0 0 0 0 0 0 20 0 {threads} 0 5 0 0\n")
    }

    #[test]
    fn names_may_look_like_the_rest_of_the_line() {
        assert_eq!(parse(stat("a) Z 1", 'S', 3).as_bytes()), Ok(Stat { state: b'S', threads: 3 }));
        let line = [b"7 (\xff) D 1 7 7 0 -1 64 0 0 0 0 0 0 0 0 20 0 2 0".as_slice()].concat();
        assert_eq!(parse(&line), Ok(Stat { state: b'D', threads: 2 }));
    }

    #[test]
    fn refuses_what_is_no_process() {
        assert_eq!(malformed(parse(b"7 (a S")), "bad stat: \"7 (a S\"");
        assert_eq!(malformed(parse(b"7 (a)")), "bad state: \"\"");
        assert_eq!(malformed(parse(b"7 (a) SS 1")), "bad stat: \"7 (a) SS 1\"");
        assert_eq!(malformed(parse(b"7 (a) S 1 7 7 0")), "bad stat: \"7 (a) S 1 7 7 0\"");
        assert_eq!(
            malformed(parse(stat("a", 'S', 1).replace(" 1 0 5", " x 0 5").as_bytes())),
            "bad threads: \"x\""
        );
    }

    #[test]
    fn what_is_gone_is_not_counted() {
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
        let machine = machine.with("proc/7/stat", "x");
        let error = machine.collect(&SPEC, &[]).1.unwrap_err().to_string();
        assert!(error.ends_with("/proc/7/stat: bad stat: \"x\""), "{error}");
    }
}
