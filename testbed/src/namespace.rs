//! Namespaces that tests and benchmarks make on the running kernel.
#![expect(clippy::expect_used, reason = "a test that cannot go on panics")]

use std::{fs::File, panic::resume_unwind, thread};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

/// The turn of a test that changes the tables of neighbours, which are one for all namespaces: no
/// other such test runs meanwhile on this machine, in this process or another.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "is unlocked when closed")] File);

impl Turn {
    /// Waits for the turn.
    ///
    /// # Panics
    /// The file that is locked meanwhile cannot be made.
    #[must_use]
    pub fn take() -> Self {
        let path = std::env::temp_dir().join("bpf_node_exporter-live-tests");
        let file = File::options().create(true).append(true).open(path).expect("a file to lock");
        file.lock().expect("a lock");
        Self(file)
    }
}

/// Runs `test` in a thread of its own, whose namespaces end with it. An error of `test` is a reason
/// why this machine cannot be tested on: the reason is printed, or fails the test where the
/// environment has the variable `required`.
///
/// # Panics
/// The test panics, or it is required and the machine cannot be tested on.
pub fn in_a_thread(
    required: &'static str,
    test: impl FnOnce() -> Result<(), String> + Send + 'static,
) {
    let _turn = Turn::take();
    let tested = thread::spawn(move || {
        if let Err(reason) = test() {
            skip(required, &reason);
        }
    });
    if let Err(panic) = tested.join() {
        resume_unwind(panic);
    }
}

/// Prints the reason why nothing is tested.
///
/// # Panics
/// The test is required.
#[expect(clippy::print_stdout, reason = "output for people who run the test")]
pub fn skip(required: &str, reason: &str) {
    assert!(std::env::var_os(required).is_none(), "{reason}");
    println!("nothing tested: {reason}");
}

/// Gives this thread new namespaces of these kinds; mounts in a new mount namespace are not seen
/// outside it.
///
/// # Errors
/// The kernel refuses: not root, perhaps.
pub fn enter(namespaces: CloneFlags) -> Result<(), String> {
    unshare(namespaces).map_err(|errno| format!("no namespace: {errno}"))?;
    if namespaces.contains(CloneFlags::CLONE_NEWNS) {
        let (none, private) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
        mount(none, "/", none, private, none)
            .map_err(|errno| format!("no private mounts: {errno}"))?;
    }
    Ok(())
}
