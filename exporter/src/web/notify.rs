//! Messages to systemd: the exporter serves, it stops, it lives.
//!
//! The last is proved each time: an empty scrape goes through the engine as any other. Where
//! it does not come back, nothing is told, and systemd restarts the unit.

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
    let lives = move || lives(Arc::clone(&engine), interval);
    tokio::spawn(feed(interval, lives, || notify("WATCHDOG=1")));
}

/// Whether a scrape of nothing comes back in time.
async fn lives(engine: Arc<Engine>, within: Duration) -> bool {
    let request =
        Request { collectors: Some(Vec::new()), deadline: Some(within), ..Request::default() };
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
    use std::cell::Cell;

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
