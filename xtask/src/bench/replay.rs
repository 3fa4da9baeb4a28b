//! The kernel's own share of a scrape: the reads of the exporter, made by a loop that does nothing
//! else. No exporter that makes these reads takes less CPU.

#![expect(clippy::disallowed_methods, reason = "starts strace, and reads the trace")]

use super::{
    subject::Subject,
    trace::{Action, Base, Kept, Number, Trace},
};
use anyhow::{Context as _, Result, ensure};
use netlink_sys::SocketAddr;
use nix::{
    sys::signal::{Signal, kill},
    time::{ClockId, clock_gettime},
    unistd::Pid,
};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{self, CWD, Mode, OFlags, RawDir, SeekFrom, StatxFlags},
    io,
    net::{self, RecvFlags, SendFlags},
};
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The time in which an exporter that has answered gives memory back and puts its files in order.
const QUIET: Duration = Duration::from_secs(3);

/// The cost of the reads of one scrape.
pub(super) struct Share {
    /// CPU of all calls, in milliseconds: each round of the loop.
    pub(super) rounds: Vec<f64>,
    /// By the names of the calls: their number in a scrape, and their CPU together in microseconds;
    /// empty unless wanted.
    pub(super) calls: BTreeMap<String, (usize, f64)>,
    /// The number of calls that are not made by the loop, by name.
    pub(super) others: BTreeMap<String, usize>,
    /// Calls that did not succeed or fail in the loop as in the exporter.
    pub(super) differ: usize,
}

/// Traces one scrape of a warm exporter, and makes its reads `rounds` times; as often again for the
/// CPU by the names of the calls. As with the exporter itself, half of the interval lies between a
/// scrape of the peer, which leaves its own data in the processors' caches, and the reads.
pub(super) fn share(
    subject: &mut Subject,
    peer: &mut Subject,
    rounds: usize,
    interval: Duration,
    by_name: bool,
) -> Result<Share> {
    let trace = trace(subject)?;
    let half = interval / 2;
    let mut wait = || {
        thread::sleep(half);
        peer.scrape()?;
        thread::sleep(half);
        anyhow::Ok(())
    };
    let mut replay = Replay::new(&trace);
    replay.round()?; // fills the kernel's caches
    let mut costs = Vec::new();
    for _ in 0..rounds {
        wait()?;
        replay.restore();
        let before = cpu()?;
        replay.round()?;
        costs.push(cpu()?.saturating_sub(before).as_secs_f64() * 1e3);
    }
    replay.restore();
    let differ = replay.round()?;
    let calls = if by_name { replay.by_name(rounds, wait)? } else { BTreeMap::new() };
    Ok(Share { rounds: costs, calls, others: trace.others, differ })
}

/// The calls of one scrape.
fn trace(subject: &mut Subject) -> Result<Trace> {
    let file = tempfile::NamedTempFile::new()?;
    let mut strace = Command::new("strace")
        .args(["-f", "-yy", "-s", "0", "-ttt", "-e", "write=all"])
        .args(["-p", &subject.id().to_string(), "-o"])
        .arg(file.path())
        .stderr(Stdio::piped())
        .spawn()
        .context("strace")?;
    let mut messages = BufReader::new(strace.stderr.take().context("strace has no stderr")?);
    let mut message = String::new();
    messages.read_line(&mut message)?;
    ensure!(message.contains("attached"), "strace: {}", message.trim());
    thread::sleep(QUIET);
    let begin = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    let scraped = subject.scrape();
    let end = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    kill(Pid::from_raw(i32::try_from(strace.id())?), Signal::SIGINT)?;
    message.clear();
    while messages.read_line(&mut message)? > 0 {}
    strace.wait()?;
    scraped?;
    let text = std::fs::read_to_string(file.path()).context("the output of strace")?;
    let trace = Trace::parse(&text, &(begin..=end));
    ensure!(!trace.calls.is_empty(), "strace shows no reads");
    Ok(trace)
}

/// The CPU of this thread.
fn cpu() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

struct Replay<'a> {
    trace: &'a Trace,
    /// The open files and sockets, by their descriptors' numbers in the exporter.
    files: Vec<Option<OwnedFd>>,
    buffer: Vec<u8>,
}

impl<'a> Replay<'a> {
    fn new(trace: &'a Trace) -> Self {
        let (mut numbers, mut size) = (trace.kept.keys().copied().max().unwrap_or_default(), 4096);
        for call in &trace.calls {
            match call.action {
                Action::Open(.., Some(number)) => numbers = numbers.max(number),
                Action::Read(_, wanted)
                | Action::ReadAt(_, wanted, _)
                | Action::List(_, wanted)
                | Action::Answer(_, wanted) => size = size.max(wanted),
                _ => {}
            }
        }
        let files = (0..=numbers).map(|_| None).collect();
        let mut replay = Self { trace, files, buffer: vec![0; size] };
        replay.restore();
        replay
    }

    /// Opens the kept files that are closed, and closes all others. Sockets are emptied: an answer
    /// may have got longer.
    fn restore(&mut self) {
        for (number, file) in self.files.iter_mut().enumerate() {
            match (self.trace.kept.get(&number), &file) {
                (None, _) => *file = None,
                (Some(Kept::File(path)), None) => {
                    let open = |flags| fs::open(path, flags | OFlags::CLOEXEC, Mode::empty());
                    *file = open(OFlags::RDONLY | OFlags::NONBLOCK)
                        .or_else(|_| open(OFlags::PATH))
                        .ok();
                }
                (Some(Kept::Netlink(protocol)), None) => *file = socket(*protocol).ok(),
                (Some(Kept::Netlink(_)), Some(socket)) => {
                    while receive(socket, &mut self.buffer).is_ok() {}
                }
                (Some(Kept::File(_)), Some(_)) => {}
            }
        }
    }

    /// Makes all calls once; returns the number of those that do not end as in the exporter.
    fn round(&mut self) -> Result<usize> {
        let mut differ = 0;
        for call in &self.trace.calls {
            let succeeds = make(&call.action, &mut self.files, &mut self.buffer).is_ok();
            differ += usize::from(succeeds != call.succeeds);
        }
        ensure!(differ < self.trace.calls.len(), "no call of the trace can be made again");
        Ok(differ)
    }

    /// By the names of the calls: their number, and their CPU in microseconds, as the mean of
    /// rounds. The clock is read before each call, and its own cost taken off.
    fn by_name(
        &mut self,
        rounds: usize,
        mut wait: impl FnMut() -> Result<()>,
    ) -> Result<BTreeMap<String, (usize, f64)>> {
        const READINGS: u32 = 10_000;
        let before = cpu()?;
        for _ in 0..READINGS {
            cpu()?;
        }
        let clock = cpu()?.saturating_sub(before) / READINGS;
        let mut sums: BTreeMap<&str, (usize, Duration)> = BTreeMap::new();
        for _ in 0..rounds {
            wait()?;
            self.restore();
            for call in &self.trace.calls {
                let before = cpu()?;
                let _ = make(&call.action, &mut self.files, &mut self.buffer);
                let took = cpu()?.saturating_sub(before).saturating_sub(clock);
                let (number, sum) = sums.entry(&call.name).or_default();
                *number += 1;
                *sum += took;
            }
        }
        let mean = |sum: Duration| sum.as_secs_f64() * 1e6 / rounds as f64;
        Ok(sums
            .into_iter()
            .map(|(name, (n, sum))| (name.into(), (n / rounds, mean(sum))))
            .collect())
    }
}

/// Makes one call.
fn make(action: &Action, files: &mut [Option<OwnedFd>], buffer: &mut [u8]) -> io::Result<()> {
    match action {
        Action::Open(base, path, flags, number) => {
            let file = fs::openat(folder(files, *base)?, path, *flags, Mode::empty())?;
            if let Some(slot) = number.and_then(|number| files.get_mut(number)) {
                *slot = Some(file);
            }
        }
        Action::Close(number) => {
            files.get_mut(*number).and_then(Option::take).ok_or(io::Errno::BADF)?;
        }
        Action::Read(number, size) => {
            io::read(file(files, *number)?, part(buffer, *size))?;
        }
        Action::ReadAt(number, size, offset) => {
            io::pread(file(files, *number)?, part(buffer, *size), *offset)?;
        }
        Action::List(number, size) => {
            let mut names = Vec::with_capacity(*size);
            // One call fills the room; the names in it are not read.
            if let Some(entry) =
                RawDir::new(file(files, *number)?, names.spare_capacity_mut()).next()
            {
                entry?;
            }
            let _: &Vec<u8> = &names;
        }
        Action::Rewind(number) => {
            fs::seek(file(files, *number)?, SeekFrom::Start(0))?;
        }
        Action::Examine(number) => {
            fs::fstat(file(files, *number)?)?;
        }
        Action::ExamineAt(base, path, flags) => {
            fs::statat(folder(files, *base)?, path, *flags)?;
        }
        Action::ExamineMore(base, path, flags) => {
            fs::statx(folder(files, *base)?, path, *flags, StatxFlags::ALL)?;
        }
        Action::ExamineFilesystem(path) => {
            fs::statfs(path)?;
        }
        Action::Access(path) => fs::access(path, fs::Access::EXISTS)?,
        Action::ReadLink(base, path) => {
            fs::readlinkat_raw(folder(files, *base)?, path, buffer)?;
        }
        Action::Ask(number, request) => {
            net::send(file(files, *number)?, request, SendFlags::empty())?;
        }
        Action::Answer(number, size) => {
            receive(file(files, *number)?, part(buffer, *size))?;
        }
    }
    Ok(())
}

/// A socket to the kernel as the exporter opens it.
fn socket(protocol: isize) -> std::io::Result<OwnedFd> {
    let mut socket = netlink_sys::Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.set_netlink_get_strict_chk(true)?;
    socket.as_fd().try_clone_to_owned()
}

/// Receives a part that is ready. The kernel has one ready when the one before is taken:
/// to wait for more would be to wait for ever.
fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<()> {
    net::recv(socket, buffer, RecvFlags::DONTWAIT | RecvFlags::TRUNC)?;
    Ok(())
}

fn file(files: &[Option<OwnedFd>], number: Number) -> io::Result<BorrowedFd<'_>> {
    files.get(number).and_then(Option::as_ref).map(AsFd::as_fd).ok_or(io::Errno::BADF)
}

fn folder(files: &[Option<OwnedFd>], base: Base) -> io::Result<BorrowedFd<'_>> {
    base.map_or(Ok(CWD), |number| file(files, number))
}

fn part(buffer: &mut [u8], size: usize) -> &mut [u8] {
    buffer.get_mut(..size).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trace in a folder that has the file `kept` with four bytes.
    fn traced(text: &str) -> (tempfile::TempDir, Trace) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("kept"), "four").unwrap();
        let text = text.replace("DIR", folder.path().to_str().unwrap());
        let trace = Trace::parse(&text, &(0.0..=9.0));
        (folder, trace)
    }

    const SCRAPE: &str = "7 1.0 pread64(4<DIR/kept>, \"\"..., 64, 0) = 4\n\
                          7 1.1 openat(AT_FDCWD</>, \"DIR\", O_RDONLY|O_DIRECTORY) = 5<DIR>\n\
                          7 1.2 getdents64(5<DIR>, 0x1 /* 3 entries */, 8192) = 80\n\
                          7 1.3 getdents64(5<DIR>, 0x1 /* 0 entries */, 8192) = 0\n\
                          7 1.4 newfstatat(5<DIR>, \"none\", 0x1, 0) = -1 ENOENT (No such file)\n\
                          7 1.5 close(5<DIR>) = 0\n";

    #[test]
    fn each_round_ends_as_the_exporter_did() {
        let (folder, trace) = traced(SCRAPE);
        let mut replay = Replay::new(&trace);
        assert_eq!(replay.round().unwrap(), 0);
        assert_eq!(replay.buffer[..5], *b"four\0");
        assert_eq!(replay.round().unwrap(), 0);
        std::fs::write(folder.path().join("none"), "").unwrap();
        assert_eq!(replay.round().unwrap(), 1);
    }

    #[test]
    fn calls_are_counted_by_name_for_one_round() {
        let (_folder, trace) = traced(SCRAPE);
        let calls = Replay::new(&trace).by_name(3, || Ok(())).unwrap();
        let counts: Vec<_> = calls.iter().map(|(name, (n, _))| (name.as_str(), *n)).collect();
        let want =
            [("close", 1), ("getdents64", 2), ("newfstatat", 1), ("openat", 1), ("pread64", 1)];
        assert_eq!(counts, want);
    }

    #[test]
    fn kept_files_are_opened_again_and_others_closed() {
        let (_folder, trace) = traced(
            "7 1.0 close(4<DIR/kept>) = 0\n\
             7 1.1 openat(AT_FDCWD</>, \"DIR/kept\", O_RDONLY) = 6<DIR/kept>\n",
        );
        let mut replay = Replay::new(&trace);
        assert_eq!(replay.round().unwrap(), 0);
        assert_eq!(replay.round().unwrap(), 1); // nothing is left to close
        replay.restore();
        assert!(replay.files[6].is_none());
        assert_eq!(replay.round().unwrap(), 0);
    }

    /// A dump of the interfaces, as the exporter asks for it, and its end.
    const INTERFACES: &str = "\
        7 1.0 sendto(27<NETLINK:[ROUTE:7]>, ..., 32, 0, NULL, 0) = 32\n \
        | 00000  20 00 00 00 12 00 01 03  08 00 00 00 00 00 00 00   ............... |\n \
        | 00010  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  ................ |\n\
        7 1.1 recvfrom(27<NETLINK:[ROUTE:7]>, ..., 32768, MSG_TRUNC, NULL, NULL) = 900\n";

    #[test]
    fn the_kernel_is_asked_over_netlink() {
        let (_folder, trace) = traced(INTERFACES);
        let mut replay = Replay::new(&trace);
        // The end of the dump is left: the next dump begins only after it is taken.
        for _ in 0..3 {
            assert_eq!(replay.round().unwrap(), 0);
            let mut left = [0; 64];
            let number = net::recv(replay.files[27].as_ref().unwrap(), &mut left, RecvFlags::PEEK);
            assert!(number.is_ok_and(|(number, _)| number > 0));
            replay.restore();
        }
    }

    #[test]
    fn an_answer_that_does_not_come_is_not_waited_for() {
        let (_folder, trace) = traced(INTERFACES.split_once("7 1.1").unwrap().0);
        let asked = Replay::new(&trace).round().unwrap();
        let (_folder, trace) = traced(&format!(
            "{SCRAPE}7 1.9 recvfrom(27<NETLINK:[ROUTE:7]>, ..., 64, 0, NULL, NULL) = 20\n"
        ));
        assert_eq!((asked, Replay::new(&trace).round().unwrap()), (0, 1));
    }

    #[test]
    fn a_trace_whose_files_are_gone_is_an_error() {
        let (folder, trace) = traced("7 1.0 pread64(4<DIR/kept>, \"\"..., 64, 0) = 4\n");
        drop(folder);
        assert!(Replay::new(&trace).round().is_err());
    }
}
