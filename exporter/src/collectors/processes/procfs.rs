//! Processes and threads in the files of `/proc/<pid>`.
//!
//! The state is the word after the name. The name is in parentheses and may contain any byte: it
//! ends at the last `)` (`do_task_stat()` in `fs/proc/array.c`). A process or thread that exits
//! during the scrape is not counted. A process with one thread costs three calls, since the thread
//! has the state of the process; more threads are read one by one.

use super::{Counts, States};
use crate::{
    parse::{decimal, is_digits},
    prelude::*,
};

pub(super) struct Procfs {
    folder: Folder,
    /// Whether the folder is a procfs. In a copied tree, the thread folders may be absent, and are
    /// always looked for.
    is_running: bool,
    names: Names,
}

impl Procfs {
    pub(super) fn new(host: &Host) -> Self {
        let folder = host.proc.folder("");
        Self { folder, is_running: host.is_running(), names: Names::default() }
    }

    /// The first `most` processes, without their threads' states.
    ///
    /// # Errors
    /// The folder cannot be listed, or a file is malformed.
    pub(super) fn some(&mut self, most: usize) -> Result<Counts> {
        let mut counts = Counts::default();
        for process in self.folder.list()?.filter(is_number).take(most) {
            let Some(Stat { state, threads }) = read(&process)? else { continue };
            counts.processes.count(state);
            counts.allocated += threads.unwrap_or_default();
        }
        Ok(counts)
    }
}

impl super::Source for Procfs {
    fn count(&mut self, faults: &mut Faults<Error>) -> Result<Counts> {
        let mut counts = Counts::default();
        for process in self.folder.list()?.filter(is_number) {
            let Some(Stat { state, threads: own }) = faults.read(read(&process)) else { continue };
            counts.processes.count(state);
            let own = own.map_err(|source| Error::Parse { path: process.path("stat"), source });
            let own = faults.keep(own).unwrap_or_default();
            counts.allocated += own;
            #[expect(clippy::float_cmp, reason = "small whole numbers are exact")]
            if self.is_running && own == 1.0 {
                counts.threads.count(state);
            } else {
                let threads = &mut counts.threads;
                faults.keep(count_threads(&process, state, &mut self.names, threads));
            }
        }
        Ok(counts)
    }
}

/// The used part of one file `stat`.
#[derive(Debug, PartialEq)]
struct Stat {
    state: u8,
    threads: Result<f64, Malformed>,
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
    use crate::testing::malformed;

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
}
