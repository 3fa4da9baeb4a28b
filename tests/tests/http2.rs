//! HTTP/2, by a client of the crate `h2`, and by one that writes frames as no client does.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use rustls::pki_types::ServerName;
use std::{
    io::{self, Read as _, Write as _},
    time::{Duration, Instant},
};
use tests::{
    HASH_OF_RIGHT, Hung, Server,
    tls::{Site, Stream, ask, connect},
};
use tokio::net::TcpStream;

const BOTH: &[&str] = &["h2", "http/1.1"];
const METRICS: &str = "/metrics?collect[]=uname";
/// A request of HTTP/1.1.
const LAST: &[u8] =
    b"GET /metrics?collect[]=uname HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

// Frames: their types, and their flags.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

const NO_ERROR: u32 = 0;
const ENHANCE_YOUR_CALM: u32 = 11;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The frame of a GET.
fn get(stream: u32, target: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &head(target))
}

/// The head of a GET in HPACK: two fields of the static table, then `:path` and `:authority`.
fn head(target: &str) -> Vec<u8> {
    let len = u8::try_from(target.len()).unwrap();
    [&[0x82, 0x87, 0x04, len], target.as_bytes(), &[0x01, 1, b'x']].concat()
}

/// A client that writes and reads frames.
struct Raw(Stream);

impl Raw {
    /// A connection with the client's settings sent.
    fn new(server: &Server, site: &Site, settings: &[u8]) -> Self {
        let mut raw = Self(connect(server, &site.client_of(BOTH)));
        raw.0.sock.set_nodelay(true).unwrap(); // each frame is sent at once
        raw.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        raw.0.write_all(&frame(SETTINGS, 0, 0, settings)).unwrap();
        raw
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)?;
        self.0.flush()
    }

    /// Fills `bytes`. Unlike the stream's own way it sends nothing meanwhile: the last frames of a
    /// server that takes nothing more can be read.
    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            match self.0.conn.reader().read(&mut bytes[done..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.0.conn.read_tls(&mut self.0.sock)?;
                    self.0.conn.process_new_packets().map_err(io::Error::other)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The type, the flags, the stream and the payload of the next frame.
    fn next(&mut self) -> io::Result<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.fill(&mut head)?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.fill(&mut payload)?;
        Ok((kind, flags, u32::from_be_bytes(stream), payload))
    }

    /// Reads up to a frame of that type, and returns its flags and payload.
    fn until(&mut self, wanted: u8) -> io::Result<(u8, Vec<u8>)> {
        loop {
            let (kind, flags, _, payload) = self.next()?;
            if kind == wanted {
                return Ok((flags, payload));
            }
        }
    }

    /// Waits until the server has read all that was sent.
    fn ping(&mut self) -> io::Result<()> {
        self.send(&frame(PING, 0, 0, &[0; 8]))?;
        while self.until(PING)?.0 & ACK == 0 {}
        Ok(())
    }

    /// The error that the server ends the connection with.
    fn goodbye(&mut self) -> u32 {
        let (_, payload) = self.until(GOAWAY).unwrap();
        u32::from_be_bytes(payload[4..8].try_into().unwrap())
    }
}

/// Runs a test in which clients do several things at once.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), test).await.unwrap() })
}

/// A client of HTTP/2.
async fn client(server: &Server, site: &Site) -> h2::client::SendRequest<Bytes> {
    let connector = tokio_rustls::TlsConnector::from(site.client_of(BOTH));
    let stream = TcpStream::connect(&server.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = connector.connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let client = client.ready().await.unwrap();
    // The server's settings come before its first answer.
    answer(&client, "GET", "/", &[], b"").await.unwrap();
    client
}

type Answer = (StatusCode, HeaderMap, Vec<u8>);

/// The answer to a request.
async fn answer(
    client: &h2::client::SendRequest<Bytes>,
    method: &str,
    target: &str,
    headers: &[(&'static str, &str)],
    body: &'static [u8],
) -> Result<Answer, h2::Error> {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = Request::builder().method(method).uri(format!("https://x{target}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut client = client.clone().ready().await?;
    let (answer, mut sent) = client.send_request(request.body(()).unwrap(), body.is_empty())?;
    if !body.is_empty() {
        sent.send_data(Bytes::from_static(body), true)?;
    }
    let (head, mut body) = answer.await?.into_parts();
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        bytes.extend_from_slice(&piece);
    }
    Ok((head.status, head.headers, bytes))
}

/// The same in HTTP/1.1.
fn answer1(
    server: &Server,
    site: &Site,
    method: &str,
    target: &str,
    headers: &[(&'static str, &str)],
    body: &[u8],
) -> Answer {
    let lines: String =
        headers.iter().flat_map(|(name, value)| [*name, ": ", *value, "\r\n"]).collect();
    let mut stream = connect(server, &site.client_of(&["http/1.1"]));
    let len = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len}\r\n{lines}\r\n"
    );
    stream.write_all(&[request.as_bytes(), body].concat()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let text = String::from_utf8(answer[..end].to_vec()).unwrap();
    let (status, lines) = text.split_once("\r\n").unwrap();
    let mut headers = HeaderMap::new();
    for line in lines.lines() {
        let (name, value) = line.split_once(": ").unwrap();
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, value.parse().unwrap());
    }
    (status.get(9..12).unwrap().parse().unwrap(), headers, answer.split_off(end + 4))
}

#[test]
fn the_protocol_is_agreed_on_as_the_file_said_at_the_start() {
    for (lines, agreed) in [
        ("", ["h2", "http/1.1", "", "h2"]),
        ("http_server_config: {http2: true}\n", ["h2", "http/1.1", "", "h2"]),
        ("http_server_config: {http2: false}\n", ["", "", "", ""]),
    ] {
        let site = Site::new(lines);
        let server = site.server();
        for changed in [lines, "", "http_server_config: {http2: false}\n"] {
            site.configure(changed);
            let offers = [BOTH, &["http/1.1"], &[], &["h2"]];
            for (offered, agreed) in offers.into_iter().zip(agreed) {
                let mut stream = connect(&server, &site.client_of(offered));
                stream.conn.complete_io(&mut stream.sock).unwrap();
                let protocol = stream.conn.alpn_protocol().unwrap_or_default();
                assert_eq!(
                    String::from_utf8_lossy(protocol),
                    agreed,
                    "{lines}{changed}{offered:?}"
                );
            }
        }
    }
}

#[test]
fn answers_are_those_of_http1() {
    let more = format!(
        "http_server_config:\n  headers: {{X-Frame-Options: deny, Strict-Transport-Security: max-age=9}}\nbasic_auth_users: {{bob: '{HASH_OF_RIGHT}'}}\n"
    );
    let site = Site::new(&more);
    let server = site.server();
    let uname = "/metrics?collect[]=uname&name[]=node_uname_info";
    let right = ("authorization", "Basic Ym9iOnJpZ2h0");
    let protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
    run(async {
        let client = client(&server, &site).await;
        let mut statuses = Vec::new();
        for (method, target, headers, body) in [
            ("GET", uname, &[right][..], &b""[..]),
            ("GET", uname, &[right, ("accept-encoding", "gzip")], b""),
            ("GET", uname, &[right, ("accept", protobuf)], b""),
            ("HEAD", uname, &[right], b""),
            ("HEAD", "/nowhere", &[right], b""),
            ("POST", uname, &[right], b"a body that nobody reads"),
            ("GET", "/", &[right], b""),
            ("GET", "//metrics?x", &[right], b""),
            ("POST", "//metrics", &[right], b""),
            ("GET", "/nowhere", &[right], b""),
            ("GET", "/%zz", &[right], b""),
            ("GET", "/metrics?collect[]=none", &[right], b""),
            ("OPTIONS", uname, &[right], b""),
            ("GET", uname, &[right, ("expect", "100-continue")], b""),
            ("GET", uname, &[("authorization", "Basic Ym9iOndyb25n")], b""),
            ("GET", "/", &[], b""),
        ] {
            let mut one = answer1(&server, &site, method, target, headers, body);
            let mut two = answer(&client, method, target, headers, body).await.unwrap();
            assert!(two.1.contains_key("date"), "{method} {target}");
            one.1.remove("connection");
            for headers in [&mut one.1, &mut two.1] {
                headers.remove("date");
            }
            assert_eq!(one, two, "{method} {target} {headers:?}");
            statuses.push(two.0.as_u16());
        }
        let wanted =
            [200, 200, 200, 200, 404, 200, 200, 301, 301, 404, 400, 400, 200, 200, 401, 401];
        assert_eq!(statuses, wanted);
    });
}

#[test]
fn a_slow_collector_keeps_no_other_stream_waiting() {
    let hung = Hung::new();
    let site = Site::new("");
    let server = hung.server(&[&site.flag()]);
    run(async {
        let client = client(&server, &site).await;
        let slow: Vec<_> = (0..40)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { answer(&client, "GET", "/metrics", &[], b"").await })
            })
            .collect();
        // Of the 16 streams that there are at once, some others come first.
        let other = self::client(&server, &site).await;
        let start = Instant::now();
        loop {
            let (status, _, text) = answer(&other, "GET", METRICS, &[], b"").await.unwrap();
            assert_eq!(status, 200);
            if String::from_utf8(text).unwrap().contains("_in_flight 17\n") {
                break;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "no 16 requests are under way");
        }
        hung.answer();
        for answer in slow {
            assert_eq!(answer.await.unwrap().unwrap().0, 200);
        }
    });
}

#[test]
fn a_client_that_resets_what_it_asks_for_is_sent_away() {
    let hung = Hung::new();
    let site = Site::new("");
    let server = hung.server(&[&site.flag()]);
    let served = || ask(connect(&server, &site.client(None)), LAST).unwrap();
    let cancelled = |stream| frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
    // In one piece: the server sees requests and resets at once.
    let mut burst = Raw::new(&server, &site, &[]);
    let frames = (0..200).flat_map(|i| [get(2 * i + 1, "/metrics"), cancelled(2 * i + 1)].concat());
    burst.send(&frames.collect::<Vec<u8>>()).unwrap();
    assert_eq!(burst.goodbye(), ENHANCE_YOUR_CALM);
    // Each request has come to the handler before it is reset.
    let mut steady = Raw::new(&server, &site, &[]);
    let mut resets = 0;
    let goodbye = loop {
        assert!(resets < 10_000, "the client may go on");
        let stream = 2 * resets + 1;
        // These fail once the server has sent the client away and closed the connection.
        let _ = steady.send(&get(stream, "/metrics"));
        let _ = steady.send(&frame(PING, 0, 0, &[0; 8]));
        match steady.next().unwrap() {
            (GOAWAY, _, _, error) => break error,
            _ => drop(steady.send(&cancelled(stream))),
        }
        resets += 1;
    };
    assert_eq!(goodbye[4..8], NO_ERROR.to_be_bytes());
    assert!((1_000..3_000).contains(&resets), "{resets}");
    // No request was left behind.
    let start = Instant::now();
    while !served().contains("_in_flight 1\n") {
        assert!(start.elapsed() < Duration::from_secs(30), "requests of nobody are under way");
    }
    hung.answer();
}

#[test]
fn floods_take_no_memory_and_nobodys_place() {
    let site = Site::new("");
    let server = site.server();
    let first = frame(HEADERS, END_STREAM, 1, &[0x82]);
    let rest = |i: u32| frame(CONTINUATION, 0, 1, &vec![0x82; (i % 2 * 16_000) as usize]);
    // Each field refers to one that the table has: a byte stands for forty.
    let bomb = [&head("/")[..], &[0x40, 1, b'a', 60], &[b'b'; 60], &[0xbe; 16_000]].concat();
    let mut sizes = Vec::new();
    for _ in 0..4 {
        let floods: [Vec<u8>; 8] = [
            (0..50_000).flat_map(|_| frame(PING, 0, 0, &[0; 8])).collect(),
            (0..50_000).flat_map(|_| frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9])).collect(),
            (0..1_000).flat_map(|i| if i == 0 { first.clone() } else { rest(i) }).collect(),
            (0..10_000)
                .flat_map(|i| {
                    [get(2 * i + 1, "/"), frame(RST_STREAM, 0, 2 * i + 1, &[0, 0, 0, 8])].concat()
                })
                .collect(),
            (0..10_000).flat_map(|i| get(2 * i + 1, METRICS)).collect(),
            (0..20_000)
                .flat_map(|i| match i {
                    0 => frame(HEADERS, END_HEADERS, 1, &head("/")),
                    _ => frame(DATA, 0, 1, b""),
                })
                .collect(),
            (0..200)
                .flat_map(|i| frame(HEADERS, END_HEADERS | END_STREAM, 2 * i + 1, &bomb))
                .collect(),
            frame(DATA, 0, 1, &[0; 16 << 10]),
        ];
        for flood in floods {
            // A client that takes nothing: no window for answers, and nothing is read.
            let mut raw = Raw::new(&server, &site, &[0, 4, 0, 0, 0, 0]);
            raw.0.sock.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
            let _ = raw.send(&flood); // the server reads no more, or ends the connection
            let text = ask(connect(&server, &site.client(None)), LAST).unwrap();
            assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        }
        sizes.push(server.resident());
    }
    let (first, last) = (sizes[1], sizes[3]);
    assert!(last < first + 1_024, "resident memory: {sizes:?} KiB");
}

#[test]
fn heads_are_bounded() {
    let site = Site::new("");
    let server = site.server();
    let long = "x".repeat(20_000);
    run(async {
        let client = client(&server, &site).await;
        let headers = &[("x-long", long.as_str())];
        let (status, ..) = answer(&client, "GET", METRICS, headers, b"").await.unwrap();
        assert_eq!(status, 431);
        let headers = &[("x-long", long.get(..10_000).unwrap())];
        let (status, ..) = answer(&client, "GET", METRICS, headers, b"").await.unwrap();
        assert_eq!(status, 200);
    });
}

#[test]
fn idle_connections_give_way_to_others() {
    let site = Site::new("");
    // 64 descriptors are those of the exporter itself and of four connections.
    let args = ["--no-bpf", "--collector.disable-defaults", "--collector.uname", &site.flag()];
    let server = Server::start_with_limits("-n 64", &args);
    let mut kept = Vec::new();
    for _ in 0..10 {
        let mut idle = Raw::new(&server, &site, &[]);
        idle.send(&get(1, METRICS)).unwrap();
        while idle.until(DATA).unwrap().0 & END_STREAM == 0 {}
        let mut half = Raw::new(&server, &site, &[]);
        half.send(&frame(HEADERS, END_STREAM, 1, &[0x82])).unwrap();
        let mut part = Raw::new(&server, &site, &[]);
        part.send(&get(1, METRICS)[..12]).unwrap();
        kept.extend([idle, half, part, Raw::new(&server, &site, &[])]);
    }
    let text = ask(connect(&server, &site.client(None)), LAST).unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert_eq!(kept[0].goodbye(), NO_ERROR, "the first idle connection was told to go");
}

#[test]
fn sigterm_lets_streams_end() {
    let hung = Hung::new();
    let site = Site::new("");
    let server = hung.server(&[&site.flag()]);
    let mut idle = Raw::new(&server, &site, &[]);
    idle.ping().unwrap();
    let mut asking = Raw::new(&server, &site, &[]);
    asking.send(&get(1, "/metrics")).unwrap();
    let start = Instant::now();
    while !ask(connect(&server, &site.client(None)), LAST).unwrap().contains("_in_flight 2\n") {
        assert!(start.elapsed() < Duration::from_secs(30), "no request is under way");
    }
    server.signal("TERM");
    assert_eq!(idle.goodbye(), NO_ERROR);
    assert_eq!(asking.goodbye(), NO_ERROR);
    hung.answer();
    while asking.until(DATA).unwrap().0 & END_STREAM == 0 {}
    assert_eq!(server.end(), Some(0));
}
