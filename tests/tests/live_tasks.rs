//! Tasks on the running kernel: the program's count is held against tasks of known states.
//!
//! Needs root and a kernel that takes the program; does nothing elsewhere, unless `BPF_REQUIRED` is
//! set: then it fails.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock},
    thread,
    time::{Duration, Instant},
};

use exporter::host::{
    bpf::{
        Bpf, Sizes,
        tasks::{Tasks, letter},
    },
    tree::Tree,
};
use tests::{asleep::Asleep, namespace::in_a_thread};

const REQUIRED: &str = "BPF_REQUIRED";

/// Processes by state, and threads of all states.
type Counts = (BTreeMap<char, u64>, u64);

fn count(tasks: &mut Tasks) -> Counts {
    let sums = tasks.read().unwrap();
    let states = sums.processes.iter().enumerate().filter(|(_, n)| **n > 0);
    let states = states.map(|(state, n)| (letter(state).unwrap().into(), *n)).collect();
    (states, sums.threads.iter().sum())
}

/// Counts until the count is as `wanted`: the kernel starts and stops tasks in its own time.
#[track_caller]
fn wait(tasks: &mut Tasks, when: &str, wanted: impl Fn(&Counts) -> bool) {
    let start = Instant::now();
    loop {
        let counts = count(tasks);
        if wanted(&counts) {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{when}: {counts:?}");
        thread::yield_now();
    }
}

#[test]
fn tasks_are_counted_in_their_states() {
    in_a_thread(REQUIRED, || {
        let bpf = Bpf::new(
            &Tree::new("/proc"),
            &Tree::new("/proc/net"),
            &Tree::new("/sys"),
            Sizes::default(),
        );
        let tasks = bpf.tasks(|_| Ok(())).map_err(ToString::to_string)?;
        let mut tasks = tasks.lock().unwrap();
        let states = |counts: &Counts, state| counts.0.get(&state).copied().unwrap_or_default();
        // Few other tasks are stopped, or not waited for, and they may go meanwhile.
        let before = count(&mut tasks);
        let stopped: Vec<_> = (0..70).map(|_| Asleep::stopped()).collect();
        let dead: Vec<_> = (0..50).map(|_| Asleep::dead()).collect();
        let about = |counts: &Counts, state, n: u64| {
            states(counts, state).abs_diff(states(&before, state) + n) <= 5
        };
        wait(&mut tasks, "stopped and dead", |now| about(now, 'T', 70) && about(now, 'Z', 50));
        drop((stopped, dead));
        wait(&mut tasks, "gone", |now| about(now, 'T', 0) && about(now, 'Z', 0));

        let before = count(&mut tasks).1;
        let (gate, mut threads) = (Arc::new(RwLock::new(())), Vec::new());
        let closed = gate.write().unwrap();
        for _ in 0..200 {
            let gate = Arc::clone(&gate);
            threads.push(thread::spawn(move || drop(gate.read())));
        }
        wait(&mut tasks, "200 threads", |now| now.1.abs_diff(before + 200) <= 20);
        drop(closed);
        for thread in threads {
            thread.join().unwrap();
        }
        Ok(())
    });
}
