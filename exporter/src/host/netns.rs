//! The network namespace that collectors see.
//!
//! A thread sees the network of its own namespace: through netlink and every other socket, in
//! `/proc/thread-self/net` and in `/proc/sys/net`. It hands the namespace on to the threads that it
//! starts. With `--path.netns` one thread enters that namespace while the process may do so, and
//! then does nothing but run tasks: it makes the collectors, gives up its capabilities, and starts
//! the threads of collectors for as long as the exporter runs. The threads that serve HTTP stay in
//! the namespace of the process.
//!
//! | the thread | event | goes on to |
//! |---|---|---|
//! | enters | setns(2) succeeds | waits |
//! | enters | setns(2) fails | waits, until the start ends with the error |
//! | waits | a task is sent | runs |
//! | runs | the task returns or panics: its sender has the outcome | waits |
//! | waits | the last [`Namespace`] is dropped | gone |

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    sync::mpsc::{Sender, channel},
    thread,
};

use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::{CWD, Mode, OFlags, openat},
    io::Errno,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use super::tree::Tree;
use crate::flag::{Flag, Flags};

/// `--path.netns`.
pub(super) const PATH: Flag<PathBuf> = Flag::value(
    "path.netns",
    &[],
    "Network namespace that collectors see, such as /host/proc/1/ns/net; empty for the exporter's own.",
);

/// The files about the network in `proc`.
///
/// `net` there is a link to the network of the process's first thread, which stays in its own
/// namespace. A folder of files (`is_running` is false) has the network of another machine.
pub(super) fn files(proc: &Tree, flags: &Flags, is_running: bool) -> Tree {
    let is_another = is_running && !flags.get(&PATH).as_os_str().is_empty();
    Tree::new(proc.path(if is_another { "thread-self/net" } else { "net" }))
}

/// Why a namespace cannot be entered.
#[derive(Debug, thiserror::Error)]
enum Fault {
    /// Its file cannot be opened.
    #[error("{0}")]
    Open(io::Error),
    /// It is of a process that this one may not look into.
    #[error(
        "this process may not see it: it takes CAP_SYS_PTRACE, and neither AppArmor nor SELinux may forbid it"
    )]
    Hidden,
    /// The file is no namespace, or one of another kind.
    #[error("it is no network namespace")]
    OtherKind,
    /// A capability is missing.
    #[error(
        "entering it takes CAP_SYS_ADMIN, in this process's user namespace and in the one that owns it"
    )]
    NotPermitted,
    /// Another answer of setns(2).
    #[error("setns: {0}")]
    Enter(io::Error),
    /// The kernel refuses a thread.
    #[error("no thread for it: {0}")]
    Thread(io::Error),
}

/// The network namespace that collectors see: that of the process, or another, in which a thread
/// waits for tasks.
#[derive(Clone, Debug)]
pub struct Namespace(Option<Sender<Task>>);

type Task = Box<dyn FnOnce() + Send>;

impl Namespace {
    /// That of the process, in which every thread is from the start.
    #[must_use]
    pub const fn own() -> Self {
        Self(None)
    }

    /// The one that the flags name.
    ///
    /// # Errors
    /// The flag with its fault.
    pub fn of(flags: &Flags) -> Result<Self, String> {
        let path = flags.get(&PATH);
        if path.as_os_str().is_empty() {
            return Ok(Self::own());
        }
        Self::enter(&path).map_err(|fault| format!("--path.netns={}: {fault}", path.display()))
    }

    /// Starts a thread that enters the namespace.
    fn enter(path: &Path) -> Result<Self, Fault> {
        let file = open(path)?;
        let (sender, tasks) = channel::<Task>();
        thread::Builder::new()
            .name("netns".into())
            .spawn(move || tasks.into_iter().for_each(|task| task()))
            .map_err(Fault::Thread)?;
        let namespace = Self(Some(sender));
        let entered = namespace
            .run(move || move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)));
        match entered.map_err(Fault::Thread)? {
            Ok(()) => Ok(namespace),
            Err(Errno::INVAL) => Err(Fault::OtherKind),
            Err(Errno::PERM) => Err(Fault::NotPermitted),
            Err(errno) => Err(Fault::Enter(errno.into())),
        }
    }

    /// Runs a task in the namespace and returns its result; a panic of the task goes on in the
    /// calling thread. Threads that the task starts are in the namespace, too. No task may run
    /// another.
    ///
    /// # Errors
    /// The thread in the namespace is gone.
    pub fn run<T: Send + 'static>(
        &self,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let Some(thread) = &self.0 else { return Ok(task()) };
        let gone = || io::Error::other("the thread in the network namespace is gone");
        let (sender, outcome) = channel();
        let task = move || {
            // Nobody waits for the outcome where the caller is gone.
            let _ = sender.send(catch_unwind(AssertUnwindSafe(task)));
        };
        thread.send(Box::new(task)).map_err(|_| gone())?;
        match outcome.recv().map_err(|_| gone())? {
            Ok(result) => Ok(result),
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Runs a task in the thread in the namespace, if there is one, and in the calling thread, whose
    /// result it returns.
    ///
    /// # Errors
    /// As [`Namespace::run`].
    pub fn run_in_both<T: Send + 'static>(
        &self,
        task: impl Fn() -> T + Clone + Send + 'static,
    ) -> io::Result<T> {
        if self.0.is_some() {
            self.run(task.clone())?;
        }
        Ok(task())
    }
}

/// Opens a namespace's file. A pipe without a writer must not keep the start waiting.
fn open(path: &Path) -> Result<OwnedFd, Fault> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    openat(CWD, path, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::ACCESS | Errno::PERM => Fault::Hidden,
        errno => Fault::Open(errno.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::flags;

    fn given(path: &str) -> Flags {
        flags(&[format!("--path.netns={path}")])
    }

    #[test]
    fn without_the_flag_tasks_run_where_they_are_sent() {
        let namespace = Namespace::of(&flags(&[])).unwrap();
        let here = thread::current().id();
        assert_eq!(namespace.run(|| thread::current().id()).unwrap(), here);
    }

    #[test]
    fn one_thread_runs_all_tasks_and_outlives_their_panics() {
        let (sender, tasks) = channel::<Task>();
        let thread = thread::spawn(move || tasks.into_iter().for_each(|task| task()));
        let namespace = Namespace(Some(sender));
        let run = || namespace.run(|| thread::current().id()).unwrap();
        assert_eq!(run(), thread.thread().id());
        let panic = AssertUnwindSafe(|| namespace.run(|| panic!("a task's panic")));
        let panic = catch_unwind(panic).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"a task's panic"));
        assert_eq!(run(), thread.thread().id());
        let (tell, told) = channel();
        let task = move || tell.send(thread::current().id());
        namespace.run_in_both(task.clone()).unwrap().unwrap();
        Namespace::own().run_in_both(task).unwrap().unwrap();
        let here = thread::current().id();
        assert_eq!(told.iter().collect::<Vec<_>>(), [thread.thread().id(), here, here]);
        drop(namespace);
        thread.join().unwrap();
    }

    #[test]
    fn a_namespace_that_cannot_be_entered_is_named_with_its_fault() {
        let fault = |path: &str| Namespace::of(&given(path)).err();
        for (path, fault_of_it) in [
            ("/nowhere", "No such file or directory (os error 2)"),
            ("/dev/null", "it is no network namespace"),
            ("/proc", "it is no network namespace"),
            ("/proc/self/ns/uts", "it is no network namespace"),
        ] {
            let want = format!("--path.netns={path}: {fault_of_it}");
            assert_eq!(fault(path), Some(want));
        }
    }

    #[test]
    fn files_are_those_of_the_thread_in_a_namespace_of_its_own() {
        let proc = Tree::new("/p");
        let root = |flags: &Flags, is_running| files(&proc, flags, is_running).root().to_owned();
        assert_eq!(root(&flags(&[]), true), Path::new("/p/net"));
        assert_eq!(root(&given("/n"), true), Path::new("/p/thread-self/net"));
        assert_eq!(root(&given("/n"), false), Path::new("/p/net"));
    }
}
