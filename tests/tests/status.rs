//! The status, as a page and as JSON, over a real socket.
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on panics")]

use serde_json::Value;
use std::fs;
use tests::{HASH_OF_RIGHT, Hung, Server, folder, unprivileged};

const JSON: &str = "Accept: application/json\r\n";

/// The status as JSON.
fn status(server: &Server) -> Value {
    let (head, body) = server.request("GET", "/status", JSON);
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("content-type: application/json\r\n"), "{head}");
    serde_json::from_slice(&body).unwrap()
}

/// The page, which is well-formed and refers to nothing elsewhere.
fn page(server: &Server) -> String {
    let (status, page) = server.get("/status");
    assert_eq!(status, "200");
    check(&page);
    page
}

/// Each element ends in the one that it began in, and nothing is loaded from anywhere.
fn check(page: &str) {
    const VOID: [&str; 2] = ["meta", "link"];
    let rest = page.strip_prefix("<!DOCTYPE html><html lang=\"en\">").expect("a language");
    let mut open = vec!["html"];
    for tag in rest.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').expect("the end of a tag");
        let name = tag.split(' ').next().unwrap();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "{tag}"),
            None if VOID.contains(&name) => {}
            None => open.push(name),
        }
        assert!(!text.contains('>') || open.last() == Some(&"style"), "{text}");
    }
    assert!(open.is_empty(), "{open:?}");
    for word in
        ["http:", "https:", "//", "src=", "<script", "url(", "@import", "onclick", "http-equiv"]
    {
        assert!(!page.contains(word), "{word} in {page}");
    }
    for link in page.split("href=\"").skip(1).map(|link| link.split('"').next().unwrap()) {
        assert!(["/", "/status", "/metrics", "data:,"].contains(&link), "{link}");
    }
    assert!(page.contains("<title>") && page.contains("name=\"viewport\""));
    assert!(page.contains("prefers-color-scheme: dark"));
    for table in page.split("<table").skip(1) {
        assert!(table.contains("<th scope=\"col\">") && table.contains("<th scope=\"row\">"));
    }
}

/// The collector of that name.
fn collector<'a>(status: &'a Value, name: &str) -> &'a Value {
    let all = status["collectors"].as_array().unwrap();
    all.iter().find(|collector| collector["name"] == name).unwrap()
}

fn two(args: &[&str]) -> Server {
    let own = ["--collector.disable-defaults", "--collector.loadavg", "--collector.uname"];
    Server::start(&[&own[..], &["--no-bpf"], args].concat())
}

#[test]
fn nothing_has_run_before_the_first_scrape() {
    let server = two(&[]);
    let text = page(&server);
    assert!(text.contains("No collector has run yet"), "{text}");
    assert!(text.contains("– not yet") && text.contains("none yet"), "{text}");
    let before = status(&server);
    assert_eq!(before["version"], env!("CARGO_PKG_VERSION"));
    for name in ["loadavg", "uname"] {
        assert!(collector(&before, name)["last"].is_null(), "{before}");
        assert!(collector(&before, name)["running"].is_null(), "{before}");
    }
    assert!(before["disabled_collectors"].as_array().unwrap().iter().any(|name| name == "arp"));
    let none = serde_json::json!({"under_way": 0, "served": 0, "failed": 0, "refused": 0});
    assert_eq!(before["scrapes"], none, "the page is no scrape");
    assert_eq!(before["connections"]["busy"], 1, "this one");
    assert_eq!(before["max_scrapes"], 40);
    server.get("/metrics");
    let after = status(&server);
    for name in ["loadavg", "uname"] {
        let last = &collector(&after, name)["last"];
        assert_eq!(last["outcome"], "succeeded", "{after}");
        assert!(last["duration_seconds"].as_f64().unwrap() > 0.0, "{after}");
        assert!(last["ended"].as_str().unwrap() <= after["time"].as_str().unwrap(), "{after}");
        assert!(last["since"].as_str().unwrap() >= after["started"].as_str().unwrap(), "{after}");
    }
    assert_eq!(after["scrapes"]["served"], 1);
    assert_eq!(status(&server)["collectors"], after["collectors"], "nothing was run for it");
    assert!(page(&server).contains("✓ success"));
}

#[test]
fn heads_and_methods_are_those_of_a_page() {
    let server = two(&[]);
    let (head, _) = server.request("GET", "/status", "Accept: text/html\r\n");
    for line in [
        "http/1.1 200 ok",
        "content-type: text/html; charset=utf-8",
        "vary: accept",
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        "content-security-policy: default-src 'none';",
    ] {
        assert!(head.contains(line), "{line}: {head}");
    }
    let (head, body) = server.request("HEAD", "/status", "");
    assert!(head.starts_with("http/1.1 200") && body.is_empty(), "{head}");
    // As at the other paths, the method does not matter.
    let (head, body) = server.request("POST", "/status", "Content-Length: 0\r\n");
    assert!(head.starts_with("http/1.1 200") && !body.is_empty(), "{head}");
    let both = "Accept: application/json;q=0.5, text/html;q=0.4\r\n";
    assert!(server.request("GET", "/status", both).0.contains("application/json"));
    let both = "Accept: application/json;q=0.5, text/html;q=0.6\r\n";
    assert!(server.request("GET", "/status", both).0.contains("text/html"));
    assert_eq!(server.get("/status/").0, "404");
}

#[test]
fn a_fault_is_shown_since_it_is_there() {
    let machine = folder();
    let file = machine.path().join("loadavg");
    let server = two(&[&format!("--path.procfs={}", machine.path().display())]);
    let scraped = |text: &str| {
        fs::write(&file, text).unwrap();
        server.get("/metrics");
        collector(&status(&server), "loadavg")["last"].clone()
    };
    let good = "0.1 0.2 0.3 1/2 3\n";
    assert_eq!(scraped(good)["outcome"], "succeeded");
    let first = scraped("<b>x 0.2 0.3 1/2 3\n");
    assert_eq!(first["outcome"], "failed");
    let error = format!("{}: bad 1m: \"<b>x\"", file.display());
    assert_eq!(first["error"], error.as_str());
    let second = scraped("<b>x 0.2 0.3 1/2 3\n");
    assert_eq!(second["since"], first["since"], "the same fault");
    let text = page(&server);
    assert!(text.contains("loadavg fails") && text.contains("✕ failed"), "{text}");
    assert!(text.contains("bad 1m: &quot;&lt;b&gt;x&quot;"), "{text}");
    assert_eq!(scraped("y 0.2 0.3 1/2 3\n")["error"], error.replace("<b>x", "y").as_str());
    let last = scraped(good);
    assert_eq!(last["outcome"], "succeeded");
    assert!(last.get("error").is_none(), "{last}");
    assert!(!page(&server).contains("loadavg fails"));
}

#[test]
fn a_source_that_is_not_taken_has_a_reason_and_a_remedy() {
    let own = ["--no-bpf", "--collector.disable-defaults", "--collector.arp", "--collector.cpu"];
    let server = Server::start(&own);
    server.get("/metrics");
    let status = status(&server);
    let programs = status["programs"].as_array().unwrap();
    let states: Vec<_> = programs.iter().map(|of| (&of["subject"], &of["state"])).collect();
    for (subject, state, collectors) in [
        ("neighbour", "refused", &["arp"][..]),
        ("cpu", "refused", &["cpu"]),
        ("interrupts", "unused", &["cpu"]),
        ("tasks", "unused", &[]),
    ] {
        let of = programs.iter().find(|of| of["subject"] == subject).unwrap();
        assert_eq!(of["state"], state, "{states:?}");
        assert_eq!(of["collectors"], serde_json::json!(collectors));
        if state == "refused" {
            assert_eq!(of["reason"], "--no-bpf");
            assert_eq!(of["remedy"], "start it without --no-bpf");
        }
    }
    assert_ne!(collector(&status, "arp")["last"]["source"], "ebpf", "{status}");
    assert_eq!(collector(&status, "cpu")["last"]["source"], "procfs", "{status}");
    let text = page(&server);
    for part in ["eBPF does not serve arp, cpu<", "start it without --no-bpf"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// As in a container for nobody: the page tells a user how to give the exporter its programs.
#[test]
fn a_user_without_capabilities_reads_which_to_grant() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = unprivileged(folder.path());
    let own = ["--collector.arp", "--collector.cpu", "--collector.processes"];
    let server = Server::from(command.arg("--collector.disable-defaults").args(own));
    server.get("/metrics");
    let status = status(&server);
    let remedy = "AmbientCapabilities=CAP_BPF CAP_PERFMON in a unit of systemd, --cap-add=BPF \
                  --cap-add=PERFMON for a container, or setcap cap_bpf,cap_perfmon+ep on the \
                  program's file";
    for (subject, collector) in [("neighbour", "arp"), ("cpu", "cpu"), ("tasks", "processes")] {
        let programs = status["programs"].as_array().unwrap();
        let of = programs.iter().find(|of| of["subject"] == subject).unwrap();
        assert_eq!(of["state"], "refused", "{of}");
        assert_eq!(of["collectors"], serde_json::json!([collector]));
        let reason = "not permitted to load programs: grant CAP_BPF and CAP_PERFMON";
        assert_eq!(of["reason"], reason);
        assert_eq!(of["remedy"], remedy);
    }
    for (name, source) in [("arp", "netlink"), ("cpu", "procfs"), ("processes", "procfs")] {
        let last = &collector(&status, name)["last"];
        assert_eq!((&last["outcome"], &last["source"]), (&"succeeded".into(), &source.into()));
    }
    let text = page(&server);
    for part in ["eBPF does not serve arp, cpu, processes<", remedy] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn it_is_there_while_a_collector_hangs() {
    let hung = Hung::new();
    let server = hung.server(&[]);
    let timeout = "X-Prometheus-Scrape-Timeout-Seconds: 1\r\n";
    server.request("GET", "/metrics", timeout);
    server.get("/metrics?collect[]=uname");
    let now = status(&server);
    let hangs = collector(&now, "loadavg");
    assert!(hangs["last"].is_null() && hangs["running"]["late"] == true, "{now}");
    assert!(hangs["running"]["seconds"].as_f64().unwrap() > 0.0, "{now}");
    assert_eq!(collector(&now, "uname")["last"]["outcome"], "succeeded", "{now}");
    assert!(page(&server).contains("loadavg does not answer"));
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| server.get("/metrics"));
        server.until("/status", |_, text| text.contains("1 scrape<"));
        hung.answer();
        waits.join().unwrap();
    });
    let now = status(&server);
    assert_eq!((&now["scrapes"]["under_way"], &now["scrapes"]["served"]), (&0.into(), &3.into()));
    assert_eq!(collector(&now, "loadavg")["last"]["outcome"], "failed", "a pipe has no offset");
}

#[test]
fn it_is_behind_the_same_guard() {
    let folder = folder();
    let file = folder.path().join("web.yml");
    let header = "http_server_config: {headers: {X-Frame-Options: deny}}\n";
    fs::write(&file, format!("{header}basic_auth_users: {{bob: '{HASH_OF_RIGHT}'}}\n")).unwrap();
    let server = two(&[&format!("--web.config.file={}", file.display())]);
    for headers in ["", JSON, "Authorization: Basic Ym9iOndyb25n\r\n"] {
        let (head, body) = server.request("GET", "/status", headers);
        assert!(head.starts_with("http/1.1 401"), "{head}");
        assert!(!String::from_utf8_lossy(&body).contains("loadavg"), "{headers}");
    }
    let bob = "Authorization: Basic Ym9iOnJpZ2h0\r\n";
    for headers in [bob.to_owned(), format!("{bob}{JSON}")] {
        let (head, body) = server.request("GET", "/status", &headers);
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(head.contains("\r\nx-frame-options: deny\r\n"), "{head}");
        let text = String::from_utf8(body).unwrap();
        assert!(
            text.contains("loadavg") && !text.contains("bob") && !text.contains("$2b$"),
            "{text}"
        );
    }
}

#[test]
fn metrics_at_its_path_take_its_place() {
    for (path, status, landing) in
        [("/status", "200", "200"), ("/status/", "301", "200"), ("/", "200", "200")]
    {
        let server = two(&[&format!("--web.telemetry-path={path}")]);
        let (found, text) = server.get("/status");
        assert_eq!(found, status, "{path}");
        assert_eq!(text.contains("node_load1"), status == "200", "{path}");
        let (found, text) = server.get("/");
        assert_eq!(found, landing, "{path}");
        assert!(!text.contains(">Status<"), "{path}: {text}");
    }
    let (_, landing) = two(&[]).get("/");
    check(&landing);
    assert!(landing.contains("<li><a href=\"/metrics\">Metrics</a></li>"), "{landing}");
    assert!(landing.contains("<a href=\"/status\">Status</a>"), "{landing}");
}
