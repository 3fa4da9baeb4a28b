//! Times of the processors on the running kernel: the programs' copies of its accounting are held
//! against `/proc/stat`, the counts that are copied along against `/proc/softirqs`.
//!
//! Needs root and a kernel that takes the programs; does nothing elsewhere, unless `BPF_REQUIRED`
//! is set: then it fails.
#![expect(clippy::disallowed_methods, reason = "reads the running kernel's files")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{
    fs,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use exporter::host::{
    bpf::{Bpf, Sizes, cpu::CpuTimes, cpu::Times},
    tree::Tree,
};
use tests::namespace::skip;

const REQUIRED: &str = "BPF_REQUIRED";

/// A processor's number and its ticks or nanoseconds.
type OfCpu = (u32, Times);

const TICK: u64 = 10_000_000;

fn programs() -> Bpf {
    Bpf::new(&Tree::new("/proc"), &Tree::new("/proc/net"), &Tree::new("/sys"), Sizes::default())
}

fn loaded(bpf: &Bpf) -> Option<MutexGuard<'_, CpuTimes>> {
    let loaded: Result<&Mutex<CpuTimes>, _> = bpf.cpu(true);
    loaded.map_err(|reason| skip(REQUIRED, &reason.to_string())).ok().map(|it| it.lock().unwrap())
}

/// The processors' lines of `/proc/stat`.
fn ticks() -> Vec<OfCpu> {
    let text = fs::read_to_string("/proc/stat").unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix("cpu").filter(|rest| !rest.starts_with(' ')))
        .map(|line| {
            let mut words = line.split(' ').map(|word| word.parse::<u64>().unwrap());
            let cpu = u32::try_from(words.next().unwrap()).unwrap();
            (cpu, std::array::from_fn(|_| words.next().unwrap()))
        })
        .collect()
}

/// Ends the load also where a test fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Runs `test` while other threads work, sleep and wait for a file to be written.
fn under_load(test: impl FnOnce()) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for n in 1..4_u64 {
            let done = &done;
            scope.spawn(move || {
                while !done.load(Relaxed) {
                    let begin = Instant::now();
                    while begin.elapsed() < Duration::from_millis(3 * n) {
                        fs::metadata("/proc/self/stat").unwrap();
                    }
                    thread::sleep(Duration::from_millis(5 * n));
                }
            });
        }
        let _done = Done(&done);
        test();
    });
}

/// How often to look; the project claims 2,000.
fn times() -> u32 {
    std::env::var("CPU_SCRAPES").map_or(200, |times| times.parse().unwrap())
}

#[test]
fn every_time_lies_between_two_readings_of_the_file() {
    let bpf = programs();
    let Some(mut loaded) = loaded(&bpf) else { return };
    let (mut outside, mut all) = (Vec::new(), 0_usize);
    under_load(|| {
        for _ in 0..times() {
            let before = ticks();
            let times = loaded.read(Instant::now()).unwrap().to_vec();
            let after = ticks();
            assert_eq!(before.len(), times.len());
            for ((cpu, times), (before, after)) in times.iter().zip(before.iter().zip(&after)) {
                assert_eq!((*cpu, *cpu), (before.0, after.0));
                for (mode, (time, (before, after))) in
                    times.iter().zip(before.1.iter().zip(after.1)).enumerate()
                {
                    all += 1;
                    if time / TICK < *before || time / TICK > after {
                        outside.push((*cpu, mode, *before, *time, after));
                    }
                }
            }
            thread::sleep(Duration::from_millis(1));
        }
    });
    report(&format!("{} of {all} values outside: {outside:?}", outside.len()));
    // One reading in thousands may see iowait go back by some microseconds, over the edge of a tick.
    assert!(outside.len() * 2000 <= all, "{outside:?}");
}

#[expect(clippy::print_stdout, reason = "for those who run the test")]
fn report(what: &str) {
    println!("{what}");
}

#[test]
fn softirqs_and_switches_are_the_kernels_own() {
    let bpf = programs();
    let Some(mut loaded) = loaded(&bpf) else { return };
    let before = (softirqs(), switches());
    let cpus: Vec<u32> = loaded.read(Instant::now()).unwrap().iter().map(|(cpu, _)| *cpu).collect();
    let after = (softirqs(), switches());
    let mut sum = 0;
    for cpu in cpus {
        let reading = loaded.reading(cpu).unwrap();
        sum += reading.switches;
        for (vector, n) in reading.softirqs.iter().enumerate() {
            let at = |of: &[Vec<u64>]| of[vector][cpu as usize];
            let (before, after) = (at(&before.0), at(&after.0));
            assert!((before..=after).contains(&u64::from(*n)), "{cpu} {vector}");
        }
    }
    // The file counts processors that are offline, too.
    assert!(sum <= after.1, "{sum} {}", after.1);
    let all_are_online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap()
        == fs::read_to_string("/sys/devices/system/cpu/possible").unwrap();
    assert!(!all_are_online || sum >= before.1, "{sum} {}", before.1);
}

/// `/proc/softirqs`: by vector, by processor.
fn softirqs() -> Vec<Vec<u64>> {
    let text = fs::read_to_string("/proc/softirqs").unwrap();
    let numbers =
        |line: &str| line.split_whitespace().skip(1).map(|n| n.parse().unwrap()).collect();
    text.lines().skip(1).map(numbers).collect()
}

/// Context switches in `/proc/stat`.
fn switches() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap();
    text.lines().find_map(|line| line.strip_prefix("ctxt ")).unwrap().parse().unwrap()
}

#[test]
fn interrupts_take_no_longer_than_the_time_that_passes() {
    let bpf = programs();
    let interrupts = match bpf.interrupts() {
        Ok(interrupts) => interrupts.lock().unwrap(),
        Err(reason) => return skip(REQUIRED, &reason.to_string()),
    };
    let start = Instant::now();
    let sums = || {
        let all = (0..).map_while(|cpu| interrupts.of(cpu));
        all.map(|it| (it.hard, it.hard_time, it.soft_time.iter().sum::<u64>())).collect::<Vec<_>>()
    };
    let before = (sums(), softirqs());
    // Timers and wakeups make softirqs.
    while sums().iter().map(|(_, _, soft)| soft).sum::<u64>() == 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "no softirq has been timed");
        thread::sleep(Duration::from_millis(1));
    }
    let (after, passed) = (sums(), start.elapsed());
    for ((_, hard, soft), (_, hard_before, soft_before)) in after.iter().zip(&before.0) {
        let taken = hard - hard_before + (soft - soft_before);
        assert!(u128::from(taken) <= passed.as_nanos(), "{taken} of {passed:?}");
    }
}
