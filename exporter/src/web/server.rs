//! Accepts connections, each of which has a task of its own.

use super::{
    connection::{Places, converse},
    handler::Site,
    sockets::Listener,
};
use rustix::net::{SocketFlags, accept_with};
use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::TcpStream,
    sync::watch,
};

/// The longest time for running scrapes to end after the exporter was asked to stop.
const LAST: Duration = Duration::from_secs(10);
/// The first and the longest pause after a connection could not be accepted.
const PAUSES: [Duration; 2] = [Duration::from_millis(5), Duration::from_secs(1)];

/// Serves all `listeners` until `stop` changes. Then scrapes under way are finished, ten seconds at
/// most.
pub async fn serve(listeners: Vec<Listener>, site: Arc<Site>, mut stop: watch::Receiver<bool>) {
    for listener in listeners {
        tokio::spawn(listen(listener, Arc::clone(&site), stop.clone()));
    }
    let _ = stop.changed().await;
    let _ = tokio::time::timeout(LAST, site.places.empty()).await;
}

/// Accepts until `stop` changes.
async fn listen(listener: Listener, site: Arc<Site>, mut stop: watch::Receiver<bool>) {
    let places = &site.places;
    let listener = match listener.watched() {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "cannot listen"),
    };
    let mut trouble = Trouble::default();
    let stops = stop.clone(); // the connections' own receiver: each must see the change
    loop {
        let accepted = async {
            match accept(&listener).await {
                Ok(stream) => {
                    trouble.over();
                    let _ = stream.set_nodelay(true); // TCP alone has it
                    let place = places.admit(stream).await;
                    tokio::spawn(converse(place, Arc::clone(&site), stops.clone()));
                }
                Err(error) => trouble.wait(&error, places).await,
            }
        };
        tokio::select! {
            _ = stop.changed() => return,
            () = accepted => {}
        }
    }
}

/// The next connection. tokio's stream of TCP stands for streams of all families: no call on it is
/// about TCP alone.
async fn accept(listener: &AsyncFd<Listener>) -> io::Result<TcpStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let accept = |listener: &Listener| accept_with(listener, flags).map_err(io::Error::from);
    let socket = listener.async_io(Interest::READABLE, accept).await?;
    TcpStream::from_std(socket.into())
}

/// The errors that keep a listener from accepting.
#[derive(Debug, Default)]
struct Trouble {
    pause: Option<Duration>,
    said: Option<Instant>,
}

impl Trouble {
    /// Waits before another try. Where descriptors are short, the connection that gives way first
    /// is closed.
    async fn wait(&mut self, error: &io::Error, places: &Places) {
        if error.kind() == io::ErrorKind::ConnectionAborted {
            return; // the client has closed it already
        }
        if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
            places.shrink();
        }
        if self.said.is_none_or(|said| said.elapsed() > Duration::from_secs(60)) {
            tracing::warn!(%error, "cannot accept connections");
            self.said = Some(Instant::now());
        }
        let [first, longest] = PAUSES;
        let pause = self.pause.map_or(first, |last| longest.min(last * 2));
        self.pause = Some(pause);
        tokio::time::sleep(pause).await;
    }

    const fn over(&mut self) {
        self.pause = None;
    }
}
