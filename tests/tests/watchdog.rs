//! systemd's watchdog is fed while scrapes can be served, and only then.
//!
//! A thread is stopped as by a debugger, ptrace(2). Where that is forbidden nothing is tested,
//! unless `PTRACE_REQUIRED` is set: then the test fails.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]

use nix::{
    errno::Errno,
    sys::{
        ptrace,
        wait::{WaitPidFlag, waitpid},
    },
    unistd::Pid,
};
use std::{
    io::{BufRead as _, ErrorKind, Write as _},
    os::unix::net::UnixDatagram,
    process::Command,
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tests::{Hung, Server, namespace::skip, program};

/// The time in which systemd wants to be told, in microseconds.
const TIME: &str = "WATCHDOG_USEC=400000";
const PATIENCE: Duration = Duration::from_secs(60);

/// An exporter that feeds a watchdog.
struct Watched {
    server: Server,
    socket: UnixDatagram,
    log: Receiver<String>,
    _folder: TempDir,
}

impl Watched {
    fn start(hung: &Hung) -> Self {
        let folder = tests::folder();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut command = Command::new("env");
        command.arg(format!("NOTIFY_SOCKET={}", path.display())).arg(TIME);
        let mut server = Server::unread_from(command.arg(program()).args(hung.args()));
        let (lines, log) = channel();
        let mut unread = server.log();
        thread::spawn(move || {
            let mut line = String::new();
            while unread.read_line(&mut line).is_ok_and(|length| length > 0) {
                let _ = lines.send(std::mem::take(&mut line));
            }
        });
        Self { server, socket, log, _folder: folder }
    }

    /// Takes the messages that have come, and waits for three more of the watchdog.
    fn is_fed(&self) {
        self.take_all();
        let mut fed = 0;
        while fed < 3 {
            let mut state = [0; 100];
            let length = self.socket.recv(&mut state).unwrap();
            fed += usize::from(state.starts_with(b"WATCHDOG=1") && length == 10);
        }
    }

    /// Waits until the log says again and again that the engine does not answer, and looks whether
    /// the watchdog was fed in between, by threads that all were stopped before.
    fn starves(&self, stopped: &mut Stopped) {
        loop {
            self.wait_for_refusal(stopped);
            self.take_all();
            let threads = stopped.0.len();
            for _ in 0..3 {
                self.wait_for_refusal(stopped);
            }
            let fed = self.take_all();
            stopped.add(&self.server.thread_ids("collectors")).unwrap();
            if stopped.0.len() == threads {
                return assert_eq!(fed, 0, "nothing is told while no scrape can be served");
            }
        }
    }

    /// Waits for the line in the log. Threads that the engine starts in place of those that were
    /// stopped at work are stopped, too.
    fn wait_for_refusal(&self, stopped: &mut Stopped) {
        let said = "the engine does not answer: the watchdog is not fed";
        let start = Instant::now();
        loop {
            match self.log.recv_timeout(Duration::from_millis(100)) {
                Ok(line) if line.contains(said) => return,
                Ok(_) => {}
                Err(error) => assert_eq!(error, RecvTimeoutError::Timeout, "the exporter ended"),
            }
            assert!(start.elapsed() < PATIENCE, "the watchdog is fed");
            stopped.add(&self.server.thread_ids("collectors")).unwrap();
        }
    }

    /// The number of messages that wait, which are taken.
    fn take_all(&self) -> usize {
        self.socket.set_nonblocking(true).unwrap();
        let (mut taken, mut state) = (0, [0; 100]);
        loop {
            match self.socket.recv(&mut state) {
                Ok(_) => taken += 1,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
                    self.socket.set_nonblocking(false).unwrap();
                    return taken;
                }
            }
        }
    }
}

/// Threads that are stopped; they go on when this is dropped.
struct Stopped(Vec<Pid>);

impl Stopped {
    fn new(threads: &[i32]) -> Result<Self, Errno> {
        let mut stopped = Self(Vec::new());
        stopped.add(threads)?;
        Ok(stopped)
    }

    /// Stops those that are not stopped yet.
    fn add(&mut self, threads: &[i32]) -> Result<(), Errno> {
        for thread in threads.iter().map(|thread| Pid::from_raw(*thread)) {
            if !self.0.contains(&thread) {
                match ptrace::seize(thread, ptrace::Options::empty()) {
                    Err(Errno::ESRCH) => continue, // a thread that was dismissed
                    seized => seized?,
                }
                self.0.push(thread);
                ptrace::interrupt(thread)?;
                waitpid(thread, Some(WaitPidFlag::__WALL))?;
            }
        }
        Ok(())
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for thread in &self.0 {
            let _ = ptrace::detach(*thread, None);
        }
    }
}

#[test]
fn the_watchdog_starves_while_no_scrape_can_be_served() {
    let hung = Hung::new();
    let watched = Watched::start(&hung);
    let server = &watched.server;
    watched.is_fed();

    let stop = || Stopped::new(&server.thread_ids("collectors"));
    let mut stopped = match stop() {
        Ok(stopped) => stopped,
        Err(errno) => return skip("PTRACE_REQUIRED", &format!("ptrace: {errno}")),
    };
    watched.starves(&mut stopped);
    drop(stopped);
    watched.is_fed();

    // A collector that hangs takes a thread with it, and another one takes that thread's place.
    let mut hangs = server.connect();
    hangs.write_all(b"GET /metrics?collect[]=loadavg HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let start = Instant::now();
    while server.threads("collectors") < 2 {
        assert!(start.elapsed() < PATIENCE, "the thread that hangs is not replaced");
        thread::sleep(Duration::from_millis(10));
    }
    watched.is_fed();
    assert!(server.get("/metrics?collect[]=uname").1.contains("\nnode_uname_info{"));

    // Both are stopped: the one that hangs and the one that works.
    let mut stopped = stop().unwrap();
    watched.starves(&mut stopped);
    drop(stopped);
    watched.is_fed();
    hung.answer();
    watched.is_fed();
    assert!(server.get("/metrics?collect[]=uname").1.contains("\nnode_uname_info{"));
}
