use super::*;
use crate::{
    error::Result,
    host::{Shared, tree::Tree},
};
use std::sync::{
    atomic::{AtomicUsize, Ordering},
    mpsc,
};

static VALUE: Metric = gauge("value", "A value.");

struct Steady;
impl Collector for Steady {
    fn collect(&mut self, out: &mut Sink) -> Result {
        out.put(&VALUE, [], 1);
        Ok(())
    }
}

struct Panics;
impl Collector for Panics {
    fn collect(&mut self, _: &mut Sink) -> Result {
        panic!("on purpose")
    }
}

/// Answers once it is told to.
struct Hangs(mpsc::Receiver<()>, Arc<AtomicUsize>);
impl Collector for Hangs {
    fn collect(&mut self, _: &mut Sink) -> Result {
        self.1.fetch_add(1, Ordering::SeqCst);
        let _ = self.0.recv();
        Ok(())
    }
}

fn scrape(engine: &Arc<Engine>, request: Request) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    String::from_utf8(runtime.block_on(engine.scrape(request))).unwrap()
}

#[test]
fn a_panic_is_one_collectors_failure() {
    let engine = Engine::start(
        vec![("panics", Box::new(Panics)), ("steady", Box::new(Steady))],
        1,
        Own::new(
            false,
            crate::host::bpf::Bpf::off(),
            Shared::new(Tree::new("/proc").single_file("net/netstat")),
        ),
    );
    for _ in 0..3 {
        let text = scrape(&engine, Request::default());
        assert!(text.contains("node_scrape_collector_success{collector=\"panics\"} 0\n"));
        assert!(text.contains("node_scrape_collector_success{collector=\"steady\"} 1\n"));
        assert!(text.contains("\nvalue 1\n"));
    }
}

#[test]
fn a_collector_that_hangs_is_late_until_it_comes_back() {
    let (release, hold) = mpsc::channel();
    let runs = Arc::new(AtomicUsize::new(0));
    let engine = Engine::start(
        vec![("hangs", Box::new(Hangs(hold, Arc::clone(&runs)))), ("steady", Box::new(Steady))],
        1,
        Own::new(
            false,
            crate::host::bpf::Bpf::off(),
            Shared::new(Tree::new("/proc").single_file("net/netstat")),
        ),
    );
    let deadline = Some(Duration::from_millis(200));
    for _ in 0..3 {
        let text = scrape(&engine, Request { deadline, ..Request::default() });
        assert!(text.contains("node_scrape_collector_timeout{collector=\"hangs\"} 1\n"), "{text}");
        assert!(text.contains("node_scrape_collector_success{collector=\"hangs\"} 0\n"));
    }
    // The thread that it holds has been replaced, so all else is served, deadline or not.
    let text = scrape(&engine, Request::default());
    assert!(text.contains("node_scrape_collector_success{collector=\"steady\"} 1\n"), "{text}");
    assert!(text.contains("\nvalue 1\n"));
    assert_eq!(runs.load(Ordering::SeqCst), 1, "it is not started again while it hangs");
    release.send(()).unwrap();
    release.send(()).unwrap();
    while lock(&engine.state).slots[0].collector.is_none() {
        thread::yield_now();
    }
    let text = scrape(&engine, Request { deadline, ..Request::default() });
    assert!(text.contains("node_scrape_collector_success{collector=\"hangs\"} 1\n"), "{text}");
    assert!(!text.contains("node_scrape_collector_timeout"));
}
