//! The engine with its threads. No test in here depends on speed: each waits for a condition.

use super::*;
use crate::{
    error::{Error, Result},
    exposition::{Metric, Sink, gauge},
    host::{Namespace, Shared, bpf::Bpf, tree::Tree},
    scrape::status::{Clock, Outcome},
    testing::Machine,
};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::{
    future::Future as _,
    pin::pin,
    sync::{
        atomic::{
            AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
        mpsc,
    },
    task::{Context, Waker},
    thread,
};

static VALUE: Metric = gauge("value", "A value.");
const LONG: Option<Duration> = Some(Duration::from_secs(100));
const SHORT: Option<Duration> = Some(Duration::from_micros(500));

/// A collector that calls the test's function, and counts its runs.
struct Does<F>(Arc<AtomicUsize>, F);
impl<F: FnMut(usize, &mut Sink) -> Result + Send> Collector for Does<F> {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let run = self.0.fetch_add(1, SeqCst) + 1;
        (self.1)(run, out)
    }
}

type Named = (&'static str, Box<dyn Collector>);

fn does(
    name: &'static str,
    f: impl FnMut(usize, &mut Sink) -> Result + Send + 'static,
) -> (Named, Arc<AtomicUsize>) {
    let runs = Arc::new(AtomicUsize::new(0));
    ((name, Box::new(Does(Arc::clone(&runs), f))), runs)
}

/// A collector that puts the number of its run.
fn steady() -> (Named, Arc<AtomicUsize>) {
    does("steady", |run, out| {
        out.put(&VALUE, [], run);
        Ok(())
    })
}

/// A collector each of whose runs ends with a message of the sender, or at once when the sender is
/// dropped.
fn hangs() -> (Named, Arc<AtomicUsize>, mpsc::Sender<()>) {
    let (release, hold) = mpsc::channel();
    let (named, runs) = does("hangs", move |_, _| {
        let _ = hold.recv();
        Ok(())
    });
    (named, runs, release)
}

fn own(exposed: bool) -> Own {
    Own::new(exposed, Bpf::off(), Shared::new(Tree::new("/proc").single_file("net/netstat")))
}

fn engine<const N: usize>(collectors: [Named; N]) -> Arc<Engine> {
    Engine::start(collectors.into(), 1, own(false), Namespace::own())
}

fn within(deadline: Option<Duration>) -> Request {
    Request { deadline, ..Request::default() }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(future)
}

fn scrape(engine: &Arc<Engine>, deadline: Option<Duration>) -> String {
    String::from_utf8(block_on(engine.scrape(within(deadline))).unwrap()).unwrap()
}

/// Waits until the condition holds; fails after a minute.
fn wait_until(holds: impl Fn() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(60), "waited in vain");
        thread::yield_now();
    }
}

/// Whether no scrape, run or relieved thread is left.
fn is_at_rest(engine: &Engine) -> bool {
    let state = lock(&engine.state);
    state.machine.is_at_rest() && state.seats.iter().all(Option::is_some)
}

fn succeeded(text: &str, name: &str) -> bool {
    let success = |n| format!("node_scrape_collector_success{{collector=\"{name}\"}} {n}\n");
    assert_ne!(text.contains(&success(0)), text.contains(&success(1)), "{text}");
    text.contains(&success(1))
}

fn is_late(text: &str, name: &str) -> bool {
    text.contains(&format!("node_scrape_collector_timeout{{collector=\"{name}\"}} 1\n"))
}

#[test]
fn a_panic_is_one_collectors_failure() {
    let (panics, _) = does("panics", |_, _| panic!("on purpose"));
    let engine = engine([panics, steady().0]);
    for run in 1..4 {
        let text = scrape(&engine, LONG);
        assert!(!succeeded(&text, "panics") && succeeded(&text, "steady"));
        assert!(text.contains(&format!("\nvalue {run}\n")), "{text}");
    }
}

#[test]
fn samples_put_before_an_error_are_exposed() {
    let (fails, _) = does("fails", |run, out| {
        out.put(&VALUE, [], run);
        if run == 1 { Err(Error::NoData) } else { panic!("on purpose") }
    });
    let engine = engine([fails]);
    for run in 1..3 {
        let text = scrape(&engine, LONG);
        assert!(!succeeded(&text, "fails") && text.contains(&format!("\nvalue {run}\n")));
    }
}

#[test]
fn a_collector_that_hangs_is_late_until_it_comes_back() {
    let (hangs, runs, release) = hangs();
    let engine = engine([hangs, steady().0]);
    let others_are_served = || {
        let text = scrape(&engine, Some(Duration::from_millis(500)));
        assert!(is_late(&text, "hangs") && !succeeded(&text, "hangs"), "{text}");
        assert!(!text.contains("exporter's"), "its own collectors have no such series: {text}");
        succeeded(&text, "steady") && text.contains("\nvalue ")
    };
    wait_until(others_are_served);
    wait_until(others_are_served);
    assert_eq!(runs.load(SeqCst), 1, "it is not started again while it hangs");
    drop(release);
    wait_until(|| is_at_rest(&engine));
    let text = scrape(&engine, LONG);
    assert!(succeeded(&text, "hangs") && !is_late(&text, "hangs"), "{text}");
    assert_eq!(runs.load(SeqCst), 2);
    wait_until(|| lock(&engine.state).machine.threads() == 1);
}

#[test]
fn records_are_of_the_last_runs() {
    let (hangs, _, release) = hangs();
    let (falls_back, _) = does("falls back", |run, out| {
        if run == 1 {
            out.pass_over("best", Error::NoData);
            out.pass_over("second", Error::Flag("not noted".into()));
        }
        out.served_by("worst");
        Err(Error::Flag(format!("fault {}", run / 3)))
    });
    let engine = engine([falls_back, hangs]);
    let look = || {
        let [first, second] = engine.collectors(&Clock::start()).try_into().unwrap();
        (first, second)
    };
    let (before, never) = look();
    assert_eq!((before.last, never.last, before.running, never.running), (None, None, None, None));
    let served = |_| {
        scrape(&engine, Some(Duration::from_millis(200)));
        wait_until(|| look().0.running.is_none());
        look().0.last.unwrap()
    };
    let [first, second, third] = [1, 2, 3].map(served);
    assert_eq!(first.passed_over.unwrap().source, "best");
    assert_eq!((first.source, second.passed_over), (Some("worst"), None));
    let failed = |fault: &str| Outcome::Failed(fault.into());
    assert_eq!((first.outcome, second.outcome), (failed("fault 0"), failed("fault 0")));
    assert_eq!(third.outcome, failed("fault 1"));
    let running = look().1.running.unwrap();
    assert!(running.is_late && running.seconds > 0.0);
    drop(release);
    wait_until(|| is_at_rest(&engine));
    let (_, hung) = look();
    assert_eq!(hung.running, None);
    assert_eq!(hung.last.unwrap().outcome, Outcome::Succeeded);
}

#[test]
fn a_scrape_without_a_deadline_waits_while_others_are_served() {
    let (hangs, _, release) = hangs();
    let engine = engine([hangs, steady().0]);
    thread::scope(|scope| {
        let patient = scope.spawn(|| scrape(&engine, None));
        wait_until(|| engine.seat_is_out(0));
        wait_until(|| {
            let text = scrape(&engine, Some(Duration::from_millis(500)));
            assert!(is_late(&text, "hangs"), "{text}");
            succeeded(&text, "steady")
        });
        drop(release);
        assert!(succeeded(&patient.join().unwrap(), "hangs"));
    });
}

#[test]
fn clients_without_time_cut_short_no_other_scrape() {
    let (slow, _) = does("slow", |_, _| {
        thread::sleep(Duration::from_millis(2)); // longer than the clients have
        Ok(())
    });
    let engine = engine([slow, steady().0]);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    scrape(&engine, SHORT);
                }
            });
        }
        let whole: Vec<bool> = (0..100)
            .map(|_| scrape(&engine, LONG))
            .map(|text| succeeded(&text, "slow") && succeeded(&text, "steady"))
            .collect();
        done.store(true, Relaxed);
        assert_eq!(whole, [true; 100]);
    });
    wait_until(|| is_at_rest(&engine));
}

#[test]
fn waiting_scrapes_share_two_runs_and_get_samples_read_after_they_asked() {
    let (hangs, runs, release) = hangs();
    let (steady, counted) = steady();
    let engine = engine([steady, hangs]);
    block_on(async {
        let local = tokio::task::LocalSet::new();
        let scrapes: Vec<_> = (0..40)
            .map(|_| {
                let engine = Arc::clone(&engine);
                local.spawn_local(async move { engine.scrape(within(LONG)).await })
            })
            .collect();
        local.run_until(tokio::task::yield_now()).await;
        wait_until(|| runs.load(SeqCst) == 1);
        drop(release);
        local.await;
        for scrape in scrapes {
            let text = String::from_utf8(scrape.await.unwrap().unwrap()).unwrap();
            assert!(succeeded(&text, "hangs") && succeeded(&text, "steady"));
        }
    });
    assert!(runs.load(SeqCst) <= 3, "{runs:?}");
    assert!(counted.load(SeqCst) <= 3, "{counted:?}");
    let before = counted.load(SeqCst);
    assert!(scrape(&engine, LONG).contains(&format!("\nvalue {}\n", before + 1)));
}

#[test]
fn clients_that_leave_take_their_scrapes_with_them() {
    let (hangs, runs, release) = hangs();
    let engine = engine([hangs, steady().0]);
    let mut ticks = Context::from_waker(Waker::noop());
    block_on(async {
        for _ in 0..3000 {
            let mut scrape = pin!(engine.scrape(within(None)));
            assert!(scrape.as_mut().poll(&mut ticks).is_pending());
        }
    });
    assert!(lock(&engine.state).machine.is_empty(), "no scrape is left, and none waits");
    assert!(runs.load(SeqCst) <= 1);
    drop(release);
    wait_until(|| is_at_rest(&engine));
    assert!(lock(&engine.state).kept.len() <= 2 * 3, "two for each of three slots");
    assert!(runs.load(SeqCst) <= 1, "nobody waited for another run");
    assert!(succeeded(&scrape(&engine, LONG), "hangs"));
}

#[test]
fn own_metrics_that_hang_or_fail_cost_themselves_alone() {
    let (hangs, _, release) = hangs();
    let (panics, _) = does("exporter's panic", |_, _| panic!("on purpose"));
    let mut own = own(true);
    own.collectors.extend([hangs, panics]);
    let engine = Engine::start(vec![steady().0], 1, own, Namespace::own());
    wait_until(|| {
        let text = scrape(&engine, Some(Duration::from_millis(500)));
        assert!(!is_late(&text, "hangs"), "it is no collector: {text}");
        let others = ["\nvalue ", "\nprocess_cpu_seconds_total ", "\npromhttp_metric_handler_"];
        others.iter().all(|other| text.contains(other))
    });
    drop(release);
}

/// A FIFO without a writer: opening it to read never returns.
#[test]
fn a_network_that_does_not_answer_costs_the_process_figures_alone() {
    let machine = Machine::new().with("proc/net/x", "");
    let netstat = machine.path().join("proc/net/netstat");
    mknodat(CWD, &netstat, FileType::Fifo, Mode::RUSR, 0).unwrap();
    let netstat = Shared::new(Tree::new(machine.path().join("proc")).single_file("net/netstat"));
    let own = Own::new(true, Bpf::off(), netstat);
    let engine = Engine::start(vec![steady().0], 1, own, Namespace::own());
    wait_until(|| {
        let text = scrape(&engine, Some(Duration::from_millis(500)));
        assert!(!text.contains("\nprocess_cpu_"), "{text}");
        ["\nvalue ", "\nnode_exporter_build_info{", "\npromhttp_metric_handler_requests_total{"]
            .iter()
            .all(|other| text.contains(other))
    });
}

/// Panics at the second answer.
fn panicking(
    renderer: &mut Renderer,
    engine: &Engine,
    scrape: &Scrape<Asked, Arc<Reading>>,
) -> Result<Rendered, String> {
    assert!(scrape.number != 2, "on purpose");
    renderer.render(engine, scrape)
}

#[test]
fn an_answer_that_cannot_be_rendered_is_an_error() {
    let engine = Engine::start_with(vec![steady().0], 1, own(true), Namespace::own(), panicking);
    scrape(&engine, LONG);
    assert_eq!(block_on(engine.scrape(within(LONG))), Err(Failed));
    let text = scrape(&engine, LONG);
    assert!(text.contains("_handler_errors_total{cause=\"encoding\"} 1\n"), "{text}");
    wait_until(|| is_at_rest(&engine));
    assert_eq!(lock(&engine.state).machine.threads(), 1);
}

#[test]
fn a_thread_that_unwinds_is_replaced() {
    /// The payload of a panic that panics again when dropped, which no guard can stop.
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(thread::panicking(), "on purpose");
        }
    }
    let (bomb, _) = does("bomb", |run, _| match run {
        1 => std::panic::panic_any(Bomb),
        _ => Ok(()),
    });
    let engine = engine([bomb, steady().0]);
    let text = scrape(&engine, LONG);
    assert!(!succeeded(&text, "bomb") && succeeded(&text, "steady"), "{text}");
    assert!(succeeded(&scrape(&engine, LONG), "bomb"));
    wait_until(|| is_at_rest(&engine));
    assert_eq!(lock(&engine.state).machine.threads(), 1);
}

#[test]
fn no_more_threads_start_than_can_run() {
    let engine = Engine::start(vec![steady().0], usize::MAX, own(false), Namespace::own());
    let state = lock(&engine.state);
    assert_eq!(state.machine.threads(), state.seats.len());
}

#[test]
fn a_deadline_beyond_the_clock_counts_as_none() {
    let engine = engine([steady().0]);
    for deadline in [Duration::MAX, Duration::from_secs(u64::MAX / 2)] {
        assert!(succeeded(&scrape(&engine, Some(deadline)), "steady"));
    }
    assert!(succeeded(&scrape(&engine, LONG), "steady"));
}

impl Engine {
    /// Whether this collector is being run.
    fn seat_is_out(&self, slot: usize) -> bool {
        lock(&self.state).seats[slot].is_none()
    }
}

#[test]
fn a_second_buffer_is_given_back_once_it_has_been_spared_for_some_runs() {
    let mut kept = Kept::new(1);
    let (one, two) = (kept.reading(0), kept.reading(0));
    kept.put_back(0, one);
    kept.put_back(0, two);
    for run in 1..=8 {
        let reading = kept.reading(0);
        kept.put_back(0, reading);
        assert_eq!(kept.len(), 2, "{run}");
    }
    let reading = kept.reading(0);
    assert_eq!(kept.len(), 0, "in use, and no other");
    kept.put_back(0, reading);
    assert_eq!(kept.len(), 1);
}
