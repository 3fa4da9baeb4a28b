//! Messages to systemd: the exporter serves, it stops, it lives.
//!
//! The last is proved each time: a scrape without collectors goes through the engine as any other:
//! from the thread that serves, which waits for its answer, to a thread that runs collectors, which
//! renders it. Where no answer comes back, nothing is told, and systemd restarts the unit. A
//! collector that hangs is no reason, as scrapes are answered without it.

use crate::scrape::{Engine, Request};
use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    sync::Arc,
    time::Duration,
};

/// Sends `state` (`READY=1`) to whoever started this, if that is systemd or alike.
pub fn notify(state: &str) {
    let Some(socket) = env::var_os("NOTIFY_SOCKET") else { return };
    let send = || -> io::Result<usize> {
        let address = match socket.as_encoded_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(&socket)?,
        };
        UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)
    };
    if let Err(error) = send() {
        tracing::debug!(%error, state, "NOTIFY_SOCKET");
    }
}

/// Half of the time after which systemd takes this process for dead, where it watches it.
fn interval(microseconds: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    let watched = pid.is_none_or(|pid| pid.parse() == Ok(own));
    let time: u64 = microseconds?.parse().ok()?;
    (watched && time > 1).then_some(Duration::from_micros(time / 2))
}

/// Feeds systemd's watchdog for as long as the engine answers.
pub fn feed_watchdog(engine: &Arc<Engine>) {
    let [time, pid] = ["WATCHDOG_USEC", "WATCHDOG_PID"].map(|name| env::var(name).ok());
    let Some(interval) = interval(time.as_deref(), pid.as_deref(), std::process::id()) else {
        return;
    };
    let engine = Arc::clone(engine);
    // So two feedings are at most one and a half intervals apart: three quarters of systemd's time.
    let lives = move || lives(Arc::clone(&engine), interval / 2);
    tokio::spawn(feed(interval, lives, || notify("WATCHDOG=1")));
}

/// Whether a scrape of nothing comes back in time. Half of that is for the exporter's own metrics,
/// which are part of it: without those that hang it is answered, as any other.
async fn lives(engine: Arc<Engine>, within: Duration) -> bool {
    let request =
        Request { collectors: Some(Vec::new()), deadline: Some(within / 2), ..Request::default() };
    let answer = tokio::time::timeout(within, engine.scrape(request)).await;
    answer.is_ok_and(|answer| answer.is_ok())
}

async fn feed<L: Future<Output = bool>>(
    interval: Duration,
    mut lives: impl FnMut() -> L,
    mut feed: impl FnMut(),
) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if lives().await {
            feed();
        } else {
            tracing::warn!("the engine does not answer: the watchdog is not fed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        collector::Collector,
        error::Result,
        exposition::Sink,
        host::{Namespace, Shared, bpf::Bpf, tree::Tree},
        scrape::own::Own,
    };
    use std::{cell::Cell, sync::mpsc};

    #[test]
    fn the_watchdog_is_fed_twice_in_its_time() {
        for (time, pid, seconds) in [
            (Some("30000000"), None, Some(15)),
            (Some("30000000"), Some("7"), Some(15)),
            (Some("30000000"), Some("8"), None),
            (Some("30000000"), Some(""), None),
            (Some("0"), None, None),
            (Some("x"), None, None),
            (None, None, None),
        ] {
            let seconds = seconds.map(Duration::from_secs);
            assert_eq!(interval(time, pid, 7), seconds, "{time:?} {pid:?}");
        }
    }

    /// Hangs until the test is over.
    struct Hangs(mpsc::Receiver<()>);

    impl Collector for Hangs {
        fn collect(&mut self, _: &mut Sink) -> Result {
            let _ = self.0.recv();
            Ok(())
        }
    }

    #[test]
    fn an_engine_lives_while_its_own_metrics_hang() {
        let netstat = Shared::new(Tree::new("/proc").single_file("net/netstat"));
        let mut own = Own::new(false, Bpf::off(), netstat);
        let (end, ended) = mpsc::channel();
        own.collectors.push(("hangs", Box::new(Hangs(ended))));
        let engine = Engine::start(Vec::new(), 1, own, Namespace::own());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        for _ in 0..2 {
            let lives = lives(Arc::clone(&engine), Duration::from_secs(4));
            assert!(runtime.block_on(lives));
        }
        drop(end);
    }

    #[test]
    fn a_hung_engine_is_not_fed_for() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (asked, fed) = (Cell::new(0), Cell::new(0));
            let short = Duration::from_millis(1);
            // Answers three times, then hangs.
            let lives = || {
                asked.set(asked.get() + 1);
                let hangs = asked.get() > 3;
                async move {
                    !hangs
                        || tokio::time::timeout(short, std::future::pending::<()>()).await.is_ok()
                }
            };
            let feeding = feed(short, lives, || fed.set(fed.get() + 1));
            let asked_often = async {
                while asked.get() < 8 {
                    tokio::time::sleep(short).await;
                }
            };
            tokio::select! {
                () = feeding => {}
                () = asked_often => {}
            }
            assert_eq!(fed.get(), 3);
        });
    }
}
