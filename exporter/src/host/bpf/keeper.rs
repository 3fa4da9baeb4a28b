//! A process that keeps the capabilities for loading programs.
//!
//! The exporter drops all its capabilities before it serves. A second process, the keeper, is
//! forked at the start, before there are threads, so that programs with larger maps can be loaded
//! later. It has `CAP_BPF` and `CAP_PERFMON` and no other capability, no files but a socket and the
//! log, and does one thing: asked for the programs of a subject it loads the exporter's own, hands
//! their descriptors over and closes its own. It ends with the exporter.
//!
//! One question and one answer at a time, each a message:
//!
//! | state | event | action | next state |
//! |---|---|---|---|
//! | idle | programs are wanted, or more room | the question is sent | asked |
//! | idle | … and nobody is there | the keeper is given up | gone |
//! | asked | no answer yet | the old programs go on counting | asked |
//! | asked | descriptors | they are a new set of programs | idle |
//! | asked | the reason of a refusal | the reason is told | idle |
//! | asked | another message, or the end | the keeper is given up | gone |
//! | gone | any | the room stays as it is | gone |
//!
//! The counts do not depend on the keeper: the exporter alone holds the programs.
#![expect(unsafe_code, reason = "the process is forked")]

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    },
    process::{Pid, Signal, WaitOptions, getpid, getppid, kill_process, waitpid},
    thread::CapabilitySet,
};

use super::{
    Error,
    loader::{Question, Words},
    loading,
    object::{Plan, Set},
};
use crate::memory;

/// The most descriptors that go with a message: the kernel's `SCM_MAX_FD` is 253.
const MOST: usize = 64;

/// The most bytes of a message; a longer reason is cut.
const LONGEST: usize = 1024;

/// The first byte of an answer.
const LOADED: u8 = 1;
const REFUSED: u8 = 0;

/// The exporter's end.
#[derive(Debug)]
pub(super) struct Keeper {
    state: State,
    /// The object file of the programs that a question is about.
    plan: fn(Question) -> &'static Plan,
}

#[derive(Debug)]
enum State {
    Idle(Process),
    Asked(Process, &'static Plan),
    Gone,
}

/// The process, and the socket to it.
#[derive(Debug)]
struct Process {
    socket: OwnedFd,
    /// `None` in tests, where a thread plays the process.
    pid: Option<Pid>,
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(pid) = self.pid {
            // The process may be loading, and would see the end of the socket only afterwards.
            let _ = kill_process(pid, Signal::KILL);
            let _ = waitpid(Some(pid), WaitOptions::empty());
        }
    }
}

impl Keeper {
    /// Forks the process. To be called while the exporter has a single thread: the forked process
    /// has only a copy of the thread that forks, and would wait for ever for a lock that another
    /// thread held.
    ///
    /// `confine` takes all capabilities but the given ones from the process, which ends at once
    /// where that fails; the process calls `load` for each question.
    pub(super) fn fork(
        confine: fn(CapabilitySet) -> rustix::io::Result<()>,
        load: impl FnMut(Question) -> Result<Set, Error>,
    ) -> io::Result<Self> {
        let (near, far) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let parent = getpid();
        // SAFETY: there is one thread, so no other thread can hold a lock that the child needs.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                drop(near);
                // A panic must not unwind into the code of the caller, which is the parent's.
                let run = std::panic::AssertUnwindSafe(|| {
                    if isolate(parent, far.as_fd(), confine).is_ok() {
                        serve(far.as_fd(), load);
                    }
                });
                let ended = std::panic::catch_unwind(run);
                // SAFETY: ends the process without the exit handlers, which are the parent's.
                unsafe { libc::_exit(ended.is_err().into()) }
            }
            pid => {
                drop(far);
                let process = Process { socket: near, pid: Pid::from_raw(pid) };
                Ok(Self { state: State::Idle(process), plan: Question::plan })
            }
        }
    }

    /// Whether the process runs.
    pub(super) fn is_there(&self) -> bool {
        match &self.state {
            State::Idle(process) | State::Asked(process, _) => {
                let mut end = [PollFd::new(&process.socket, PollFlags::empty())];
                let now = Timespec { tv_sec: 0, tv_nsec: 0 };
                poll(&mut end, Some(&now)).is_ok_and(|ended| ended == 0)
            }
            State::Gone => false,
        }
    }

    /// Asks for programs. Nothing while a question is open.
    pub(super) fn ask(&mut self, question: Question) -> Result<(), Error> {
        let process = match std::mem::replace(&mut self.state, State::Gone) {
            State::Idle(process) => process,
            asked @ State::Asked(..) => {
                self.state = asked;
                return Ok(());
            }
            State::Gone => return Err(Error::NoKeeper),
        };
        send(process.socket.as_fd(), bytemuck::bytes_of(&question.words()), &[])
            .map_err(|_| Error::NoKeeper)?;
        self.state = State::Asked(process, (self.plan)(question));
        Ok(())
    }

    /// The answer, if it comes within `patience`; `None` where it does not, or no question is open.
    pub(super) fn answer(&mut self, patience: Duration) -> Option<Result<Set, Error>> {
        let (process, plan) = match std::mem::replace(&mut self.state, State::Gone) {
            State::Asked(process, plan) => (process, plan),
            State::Idle(process) => {
                self.state = State::Idle(process);
                return None;
            }
            State::Gone => return Some(Err(Error::NoKeeper)),
        };
        if !is_ready(process.socket.as_fd(), patience) {
            self.state = State::Asked(process, plan);
            return None;
        }
        let mut text = [0; LONGEST];
        let received = receive(process.socket.as_fd(), &mut text);
        let Ok((length, descriptors)) = received else { return Some(Err(Error::NoKeeper)) };
        match text.get(..length) {
            Some([LOADED, told @ ..]) => Some(match Set::received(plan, descriptors, told) {
                Some(set) => {
                    self.state = State::Idle(process);
                    Ok(set)
                }
                None => Err(Error::NoKeeper),
            }),
            Some([REFUSED, reason @ ..]) => {
                self.state = State::Idle(process);
                Some(Err(Error::Refused(String::from_utf8_lossy(reason).into_owned())))
            }
            _ => Some(Err(Error::NoKeeper)),
        }
    }
}

/// Separates the forked process from its parent: its name, signals, descriptors and capabilities.
fn isolate(
    parent: Pid,
    socket: BorrowedFd<'_>,
    confine: fn(CapabilitySet) -> rustix::io::Result<()>,
) -> io::Result<()> {
    rustix::thread::set_name(c"bpf_keeper")?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid() != Some(parent) {
        return Err(io::Error::other("the parent has ended"));
    }
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        // The process ends with the exporter, which may answer some more scrapes after such a
        // signal.
        // SAFETY: installs no function.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    #[expect(clippy::cast_sign_loss, reason = "a descriptor is not negative")]
    let socket = socket.as_raw_fd() as u32;
    for (first, last) in [(3, socket.saturating_sub(1)), (socket + 1, u32::MAX)] {
        if first <= last {
            // SAFETY: nothing in this process uses a descriptor but 0 to 2 and the socket.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    }
    confine(loading())?;
    Ok(())
}

/// Answers questions until there is nobody left to ask them.
fn serve(socket: BorrowedFd<'_>, mut load: impl FnMut(Question) -> Result<Set, Error>) {
    loop {
        let mut words = Words::default();
        let asked = receive(socket, bytemuck::bytes_of_mut(&mut words));
        if !matches!(asked, Ok((length, _)) if length == size_of::<Words>()) {
            return;
        }
        let Some(question) = Question::from_words(words) else { return };
        let sent = match load(question) {
            Ok(set) => {
                let text = [&[LOADED], set.told()].concat();
                send(socket, &text, &set.descriptors().collect::<Vec<_>>())
            }
            Err(error) => {
                let mut text = error.to_string().into_bytes();
                text.insert(0, REFUSED);
                text.truncate(LONGEST);
                send(socket, &text, &[])
            }
        };
        memory::trim();
        if sent.is_err() {
            return;
        }
    }
}

fn send(socket: BorrowedFd<'_>, text: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    rustix::io::retry_on_intr(|| {
        sendmsg(socket, &[IoSlice::new(text)], &mut control, SendFlags::NOSIGNAL)
    })?;
    Ok(())
}

/// The length of the next message and the descriptors that come with it; an error at the end.
fn receive(socket: BorrowedFd<'_>, text: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = rustix::io::retry_on_intr(|| {
        let mut text = [IoSliceMut::new(text)];
        recvmsg(socket, &mut text, &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    if message.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut descriptors = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            descriptors.extend(rights);
        }
    }
    Ok((message.bytes, descriptors))
}

/// Whether a message or the end of the socket comes within `patience`.
fn is_ready(socket: BorrowedFd<'_>, patience: Duration) -> bool {
    let patience = Timespec::try_from(patience).unwrap_or(Timespec { tv_sec: 0, tv_nsec: 0 });
    let mut wanted = [PollFd::from_borrowed_fd(socket, PollFlags::IN)];
    poll(&mut wanted, Some(&patience)).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, thread};

    use super::{super::neighbour::Room, *};

    /// Three descriptors and no programs.
    static PLAN: Plan =
        Plan { name: "a", object: &[], hooks: &[], maps: &["a", "b", "c"], since: "" };
    /// One descriptor.
    static OTHER: Plan = Plan { name: "b", object: &[], hooks: &[], maps: &["a"], since: "" };

    const PATIENT: Duration = Duration::from_secs(60);

    fn plan(question: Question) -> &'static Plan {
        if question == Question::Tasks { &OTHER } else { &PLAN }
    }

    fn room(entries: u32) -> Question {
        Question::Neighbour(Room { entries, interfaces: 0 })
    }

    fn entries(question: Question) -> u32 {
        let Question::Neighbour(Room { entries, .. }) = question else { panic!("{question:?}") };
        entries
    }

    fn set(descriptors: usize) -> Set {
        #[expect(clippy::disallowed_methods, reason = "any descriptor will do")]
        let files = (0..descriptors).map(|_| File::open("/dev/null").unwrap().into());
        let plan = if descriptors == 3 { &PLAN } else { &OTHER };
        Set::received(plan, files.collect(), b"told").unwrap()
    }

    /// A keeper whose process is a thread; `load` as [`Keeper::fork`] wants it.
    fn keeper(load: impl FnMut(Question) -> Result<Set, Error> + Send + 'static) -> Keeper {
        let (near, far) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .unwrap();
        thread::spawn(move || serve(far.as_fd(), load));
        Keeper { state: State::Idle(Process { socket: near, pid: None }), plan }
    }

    #[test]
    fn a_question_has_one_answer() {
        let mut keeper =
            keeper(
                |room| {
                    if entries(room) < 10 { Ok(set(3)) } else { Err(Error::BadBtf("too much")) }
                },
            );
        assert!(keeper.answer(Duration::ZERO).is_none(), "idle: nothing was asked");
        keeper.ask(room(1)).unwrap();
        assert_eq!(keeper.answer(PATIENT).unwrap().unwrap().descriptors().count(), 3);
        assert!(keeper.answer(Duration::ZERO).is_none(), "idle again");
        keeper.ask(room(10)).unwrap();
        let error = keeper.answer(PATIENT).unwrap().unwrap_err();
        assert_eq!(error.to_string(), "the kernel's type information: too much");
        assert!(keeper.is_there(), "a refusal is an answer");
        keeper.ask(room(2)).unwrap();
        assert!(keeper.answer(PATIENT).unwrap().is_ok());
    }

    #[test]
    fn each_subject_has_an_object_of_its_own() {
        let mut keeper =
            keeper(|question| Ok(set(if question == Question::Tasks { 1 } else { 3 })));
        for (question, descriptors) in [(Question::Tasks, 1), (room(1), 3), (Question::Tasks, 1)] {
            keeper.ask(question).unwrap();
            let set = keeper.answer(PATIENT).unwrap().unwrap();
            assert_eq!((set.descriptors().count(), set.told()), (descriptors, &b"told"[..]));
        }
    }

    #[test]
    fn asked_it_is_not_asked_again() {
        let (tell, told) = std::sync::mpsc::channel::<()>();
        let mut keeper = keeper(move |room| {
            told.recv().map_err(|_| Error::NoKeeper)?;
            Err(Error::Refused(entries(room).to_string()))
        });
        keeper.ask(room(1)).unwrap();
        keeper.ask(room(2)).unwrap();
        assert!(keeper.answer(Duration::ZERO).is_none(), "no answer yet");
        tell.send(()).unwrap();
        assert_eq!(keeper.answer(PATIENT).unwrap().unwrap_err().to_string(), "1");
        assert!(keeper.answer(Duration::ZERO).is_none(), "the second question was not sent");
    }

    #[test]
    fn gone_it_stays_gone() {
        type Load = fn(Question) -> Result<Set, Error>;
        let ends: Load = |_| panic!("the thread ends, and with it the socket");
        // Descriptors that are not those of the plan.
        let lies: Load = |_| Ok(set(1));
        for load in [ends, lies] {
            let mut keeper = keeper(load);
            keeper.ask(room(1)).unwrap();
            assert!(matches!(keeper.answer(PATIENT), Some(Err(Error::NoKeeper))));
            assert!(!keeper.is_there());
            assert!(matches!(keeper.ask(room(1)), Err(Error::NoKeeper)));
            assert!(matches!(keeper.answer(PATIENT), Some(Err(Error::NoKeeper))));
        }
    }

    #[test]
    fn a_process_that_has_ended_cannot_be_asked() {
        let (near, far) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .unwrap();
        drop(far);
        let process = Process { socket: near, pid: None };
        let mut keeper = Keeper { state: State::Idle(process), plan };
        assert!(!keeper.is_there(), "seen before it is asked");
        assert!(matches!(keeper.ask(room(1)), Err(Error::NoKeeper)));
        assert!(!keeper.is_there());
    }
}
