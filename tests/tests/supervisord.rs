//! A supervisord that is silent, gone or back costs the collector that asks it, and nobody else.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{
    fs,
    io::Write as _,
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};
use tests::Server;

const ANSWER: &[u8] = b"HTTP/1.0 200 OK\r\n\r\n<methodResponse><params><param><value><array><data><value><struct><member><name>name</name><value>a</value></member><member><name>group</name><value>g</value></member><member><name>state</name><value><int>20</int></value></member></struct></value></data></array></value></param></params></methodResponse>";

/// The ways in which a server treats a client.
#[derive(Clone, Copy)]
enum Mood {
    Silent,
    Rude,
    Well,
}

/// A server in the mood that is set; it keeps the connections that it does not answer.
fn start() -> (String, Arc<Mutex<Mood>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/RPC2", listener.local_addr().unwrap());
    let mood = Arc::new(Mutex::new(Mood::Well));
    let set = Arc::clone(&mood);
    thread::spawn(move || {
        let mut kept: Vec<TcpStream> = Vec::new();
        for mut client in listener.incoming().flatten() {
            let mood = *mood.lock().unwrap();
            match mood {
                Mood::Silent => kept.push(client),
                Mood::Rude => drop(client),
                Mood::Well => {
                    let answer = [ANSWER].concat();
                    thread::spawn(move || {
                        let _ = client.write_all(&answer);
                        // Until the other side has read it, lest a reset overtake the answer.
                        let _ = client.shutdown(std::net::Shutdown::Write);
                        let _ = std::io::copy(&mut client, &mut std::io::sink());
                    });
                }
            }
        }
    });
    (url, set)
}

#[test]
fn a_server_that_is_silent_or_gone_costs_nobody_else_anything() {
    let (url, mood) = start();
    let server = Server::start(&[
        "--no-bpf",
        "--collector.disable-defaults",
        "--collector.loadavg",
        "--collector.supervisord",
        "--collector.uname",
        &format!("--collector.supervisord.url={url}"),
    ]);
    let scrape = |success: u8| {
        let (_, body) =
            server.request("GET", "/metrics", "X-Prometheus-Scrape-Timeout-Seconds: 2\r\n");
        let text = String::from_utf8(body).unwrap();
        for (collector, want) in [("loadavg", 1), ("uname", 1), ("supervisord", success)] {
            let line =
                format!("node_scrape_collector_success{{collector=\"{collector}\"}} {want}\n");
            assert!(text.contains(&line), "{line}{text}");
        }
        assert!(text.contains("node_load1 ") && text.contains("node_uname_info{"), "{text}");
        let up = "node_supervisord_up{group=\"g\",name=\"a\"} 1\n";
        assert_eq!(text.contains(up), success == 1, "{text}");
    };
    let open = || fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap().count();
    scrape(1);
    scrape(1);
    let before = open();
    for bad in [Mood::Silent, Mood::Rude, Mood::Silent] {
        *mood.lock().unwrap() = bad;
        (0..3).for_each(|_| scrape(0));
        *mood.lock().unwrap() = Mood::Well;
        scrape(1);
    }
    // The connections of the scrapes are closed in the server's own time.
    let is_flat = |_| {
        scrape(1);
        open() <= before
    };
    assert!((0..100).any(is_flat), "descriptors are lost");
}
