//! Servers: whatever supervisord or an NTP server answers, the collector that asked goes on.
#![no_main]

use exporter::{
    collector::{Collector, Spec},
    collectors::ALL,
    host::Host,
    testing::{fixture, flags},
};
use libfuzzer_sys::fuzz_target;
use std::{
    cell::RefCell,
    io::{Read as _, Write as _},
    net::UdpSocket,
    os::unix::net::{UnixListener, UnixStream},
    sync::{Arc, Mutex},
    thread,
};

/// How the next answer is spoiled: see [`fuzz::edit`].
type Edits = Arc<Mutex<Vec<u8>>>;

/// A collector, and how the server that it asks spoils its answer.
struct Asker {
    spec: &'static Spec,
    collector: Box<dyn Collector>,
    edits: Edits,
}

impl Asker {
    fn new(name: &str, edits: Edits, flag: &[String]) -> Self {
        let spec = ALL.iter().find(|spec| spec.name == name).expect("a collector");
        let flags = flags(flag);
        let collector = (spec.new)(&Host::new(&flags), &flags).expect("a collector");
        Self { spec, collector, edits }
    }

    fn supervisord() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("socket");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let answer = fixture("baseline/supervisord/answer.xml");
        let mut good = b"HTTP/1.0 200 OK\r\n\r\n".to_vec();
        good.extend(std::fs::read(answer).expect("an answer"));
        let edits = Edits::default();
        let spoiled = Arc::clone(&edits);
        thread::spawn(move || {
            let _folder = folder;
            for client in listener.incoming().flatten() {
                let answer = fuzz::edit(&good, &spoiled.lock().expect("the edits"));
                // The collector may leave before the end.
                let _ = serve(client, &answer);
            }
        });
        let url = format!("--collector.supervisord.url=unix://{}", socket.display());
        Self::new("supervisord", edits, &[url])
    }

    fn ntp() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let port = socket.local_addr().expect("an address").port();
        let edits = Edits::default();
        let spoiled = Arc::clone(&edits);
        thread::spawn(move || {
            let mut question = [0; 48];
            while let Ok((_, client)) = socket.recv_from(&mut question) {
                let asked = &question[40..];
                // A server of stratum 2, whose clock was set when it was asked.
                let head = [0x24, 2, 6, 0xec, 0, 0, 1, 0, 0, 0, 1, 0, 127, 0, 0, 1];
                let good = [&head[..], asked, asked, asked, asked].concat();
                let mut answer = fuzz::edit(&good, &spoiled.lock().expect("the edits"));
                // Answers to other questions are waited past.
                if let Some(origin) = answer.get_mut(24..32) {
                    origin.copy_from_slice(asked);
                }
                socket.send_to(&answer, client).expect("an answer");
            }
        });
        let flag = format!("--collector.ntp.server-port={port}");
        Self::new("ntp", edits, &["--collector.ntp.server=127.0.0.1".into(), flag])
    }

    fn feed(&mut self, data: &[u8]) {
        let edits = &self.edits;
        fuzz::spoil(self.spec, &mut *self.collector, |is_spoiled| {
            let data = if is_spoiled { data } else { &[] };
            *edits.lock().expect("the edits") = data.to_vec();
        });
    }
}

fn serve(mut client: UnixStream, answer: &[u8]) -> std::io::Result<()> {
    let mut question = Vec::new();
    while !question.ends_with(b"</methodCall>") {
        let mut some = [0; 1024];
        let read = client.read(&mut some)?;
        question.extend(&some[..read]);
    }
    client.write_all(answer)
}

thread_local! {
    static ASKERS: RefCell<[Asker; 2]> = RefCell::new([Asker::supervisord(), Asker::ntp()]);
}

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else { return };
    ASKERS.with_borrow_mut(|askers| askers[usize::from(choice) % askers.len()].feed(data));
});
