//! HTTP as node_exporter speaks it, over a real socket.

use std::io::{Read as _, Write as _};
use tests::{Hung, Server};

fn two() -> Server {
    Server::start(&[
        "--collector.disable-defaults",
        "--collector.loadavg",
        "--collector.uname",
        "--no-bpf",
    ])
}

#[test]
fn collectors_are_filtered() {
    let server = two();
    let (status, all) = server.get("/metrics");
    assert_eq!(status, "200");
    assert!(all.contains("\nnode_load1 ") && all.contains("\nnode_uname_info{"));
    let (_, only) = server.get("/metrics?collect%5B%5D=loadavg&collect[]=loadavg");
    assert!(only.contains("\nnode_load1 ") && !only.contains("node_uname_info"));
    let (_, without) = server.get("/metrics?exclude[]=loadavg");
    assert!(!without.contains("node_load1") && without.contains("\nnode_uname_info{"));
    let (_, named) = server.get("/metrics?name[]=node_load1");
    assert_eq!(named.lines().count(), 3, "{named}");
}

#[test]
fn refusals_have_node_exporters_words() {
    let server = two();
    let prefix = "Couldn't create filtered metrics handler: couldn't create collector: ";
    for (query, text) in [
        ("collect[]=x", format!("{prefix}missing collector: x")),
        ("collect[]=arp", format!("{prefix}disabled collector: arp")),
        ("collect[]=perf", format!("{prefix}disabled collector: perf")),
        ("collect[]=", format!("{prefix}missing collector: ")),
        (
            "collect[]=loadavg&exclude[]=x",
            "Combined collect and exclude queries are not allowed.".into(),
        ),
    ] {
        assert_eq!(server.get(&format!("/metrics?{query}")), ("400".into(), text));
    }
    assert_eq!(server.get("/x"), ("404".into(), "404 page not found\n".into()));
    assert_eq!(server.get("/metrics/").0, "404");
    assert_eq!(server.get("/metrics?%zz&collect[]=%zz").0, "200");
}

#[test]
fn heads_are_those_of_node_exporter() {
    let server = two();
    let (head, _) = server.request("GET", "/metrics", "Accept-Encoding: gzip\r\n");
    assert!(head.contains("content-encoding: gzip"), "{head}");
    assert!(
        head.contains(
            "content-type: text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
        ),
        "{head}"
    );
    let (head, _) = server.request("GET", "/metrics", "Accept-Encoding: gzip;q=0\r\n");
    assert!(!head.contains("content-encoding"), "{head}");
    let (head, body) = server.request("HEAD", "/metrics", "");
    assert!(head.starts_with("http/1.1 200") && body.is_empty(), "{head}");
    let (head, body) = server.request("POST", "/metrics", "Content-Length: 0\r\n");
    assert!(head.starts_with("http/1.1 200") && !body.is_empty(), "{head}");
    let (head, _) = server.request("GET", "/", "");
    assert!(head.contains("content-type: text/html"), "{head}");
}

#[test]
fn paths_are_cleaned_by_a_redirect() {
    let server = two();
    let (status, text) = server.get("/%6Detrics");
    assert!(status == "200" && text.contains("node_load1"));
    for (asked, to) in [
        ("//metrics", "/metrics"),
        ("/./metrics?collect[]=loadavg&x=%20", "/metrics?collect[]=loadavg&x=%20"),
        ("/x/../metrics?", "/metrics"),
    ] {
        let (head, body) = server.request("GET", asked, "");
        assert!(head.starts_with("http/1.1 301") && head.contains(&format!("location: {to}\r\n")));
        let page = format!("<a href=\"{}\">Moved Permanently</a>.\n\n", to.replace('&', "&amp;"));
        assert_eq!(String::from_utf8(body).unwrap(), page);
        let (head, body) = server.request("POST", asked, "Content-Length: 0\r\n");
        assert!(head.starts_with("http/1.1 301") && body.is_empty() && !head.contains("text/html"));
    }
    let (head, _) = server.request("CONNECT", "//metrics", "");
    assert!(head.starts_with("http/1.1 404"), "{head}");
    let (head, body) = server.request("OPTIONS", "*", "");
    assert!(head.starts_with("http/1.1 200") && body.is_empty(), "{head}");
    assert!(server.request("GET", "*", "").0.starts_with("http/1.1 400"));
    assert_eq!(server.get("/%zz"), ("400".into(), "400 Bad Request".into()));
    let folder = Server::start(&["--web.telemetry-path=/metrics/", "--no-bpf"]);
    let (head, _) = folder.request("GET", "/metrics?a=b", "");
    assert!(head.starts_with("http/1.1 301") && head.contains("location: /metrics/?a=b\r\n"));
    assert_eq!(folder.get("/metrics/x").0, "200");
}

#[test]
fn a_request_names_its_host_once() {
    let server = two();
    let ask = |request: &str| {
        let mut stream = server.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    for (head, text) in [
        ("GET /metrics HTTP/1.1\r\n", "400 Bad Request: missing required Host header"),
        ("GET http://x/metrics HTTP/1.1\r\n", "400 Bad Request: missing required Host header"),
        ("GET /metrics HTTP/1.1\r\nHost: a\r\nHost: a\r\n", "400 Bad Request"),
        ("GET /metrics HTTP/1.1\r\nHost: a b\r\n", "400 Bad Request: malformed Host header"),
    ] {
        let answer = ask(&format!("{head}\r\n"));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400") && head.contains("connection: close"), "{head}");
        assert_eq!(body, text);
    }
    assert!(ask("GET /metrics HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 200"));
}

#[test]
fn what_a_request_asks_beyond_http_is_refused_as_by_go() {
    let server = two();
    for (target, headers, status, text) in [
        ("/x", "Expect: 100-continue\r\n", "404", "404 page not found\n"),
        ("/x", "Expect: y\r\n", "417", ""),
        ("http://a:80/x", "", "404", "404 page not found\n"),
        ("http://a:b/metrics", "", "400", "400 Bad Request"),
    ] {
        let (head, body) = server.request("GET", target, headers);
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{target} {headers}: {head}");
        assert_eq!(String::from_utf8(body).unwrap(), text, "{target} {headers}");
    }
    let chunked =
        "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n";
    let mut stream = server.connect();
    stream.write_all(chunked.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 501 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\nUnsupported transfer encoding"), "{answer}");
}

#[test]
fn an_answer_is_packed_where_gzip_has_more_weight() {
    let server = two();
    for (headers, packed) in [
        ("Accept-Encoding: gzip;q=0.5, identity;q=1\r\n", false),
        ("Accept-Encoding: identity;q=0.5, gzip\r\n", true),
        ("Accept-Encoding: deflate\r\nAccept-Encoding: gzip\r\n", true),
        ("Accept-Encoding: gzip\r\nAccept-Encoding: identity\r\n", false),
    ] {
        let (head, _) = server.request("GET", "/metrics", headers);
        assert_eq!(head.contains("content-encoding: gzip"), packed, "{headers}");
    }
}

#[test]
fn requests_past_the_limit_are_refused_and_counted() {
    let hung = Hung::new();
    let server = hung.server(&["--web.max-requests=2"]);
    let (sender, answers) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..5 {
            let (server, sender) = (&server, sender.clone());
            scope.spawn(move || sender.send(server.get("/metrics")).unwrap());
        }
        // Two wait for the collector that hangs.
        for _ in 0..3 {
            let refused = "Limit of concurrent requests reached (2), try again later.\n";
            assert_eq!(answers.recv().unwrap(), ("503".into(), refused.into()));
        }
        hung.answer();
        for _ in 0..2 {
            let (status, text) = answers.recv().unwrap();
            assert!(status == "200" && text.contains("\nnode_uname_info{"), "{status} {text}");
        }
    });
    let (_, text) = server.get("/metrics?collect[]=uname");
    for counted in ["{code=\"200\"} 2\n", "{code=\"503\"} 3\n"] {
        let line = format!("\npromhttp_metric_handler_requests_total{counted}");
        assert!(text.contains(&line), "{text}");
    }
}

#[test]
fn clients_that_misbehave_cost_only_their_connection() {
    let server = two();
    let mut silent = server.connect();
    let mut partial = server.connect();
    partial.write_all(b"GET /metrics HT").unwrap();
    let mut endless = server.connect();
    let line = format!("X-Long: {}\r\n", "x".repeat(1000));
    endless.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
    for _ in 0..1000 {
        if endless.write_all(line.as_bytes()).is_err() {
            break; // refused already
        }
    }
    let mut answer = Vec::new();
    let _ = endless.read_to_end(&mut answer); // a reset is an answer too
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    let mut nonsense = server.connect();
    nonsense.write_all(b"\0\xff\r\n\r\n").unwrap();
    let _ = nonsense.read_to_end(&mut answer);
    assert_eq!(server.get("/metrics").0, "200");
    silent.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    silent.read_to_string(&mut text).unwrap();
    assert!(text.contains("node_load1"), "a client may take its time");
    partial.write_all(b"TP/1.0\r\n\r\n").unwrap();
    partial.read_to_string(&mut text).unwrap();
}

#[test]
fn sigterm_ends_with_0() {
    assert_eq!(two().stop(), Some(0));
}
