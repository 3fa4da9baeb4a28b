use super::*;
use axum::{body::Body, extract::Request};

fn request(authorization: &[u8]) -> HeaderMap {
    let value = HeaderValue::from_bytes(authorization).unwrap();
    HeaderMap::from_iter([(header::AUTHORIZATION, value)])
}

#[test]
fn credentials_are_read_as_by_go() {
    for (given, want) in [
        (&b"Basic Ym9iOnJpZ2h0"[..], Some(("bob", &b"right"[..]))),
        (b"basic Ym9iOnJpZ2h0", Some(("bob", b"right"))),
        (b"Basic Ym9iOg==", Some(("bob", b""))),
        (b"Basic Og==", Some(("", b""))),
        (b"Basic YTpiOmM=", Some(("a", b"b:c"))),
        (b"Basic Ym9i", None),
        (b"Basic Ym9iOg", None),
        (b"Basic !", None),
        (b"Basic", None),
        (b"Bearer Ym9iOg==", None),
        (b"Basic  Ym9iOg==", None),
        (b"", None),
        (b"\xffasic Ym9iOg==", None),
    ] {
        let found = credentials(&request(given));
        let found = found.as_ref().map(|(user, password)| (user.as_str(), password.as_slice()));
        assert_eq!(found, want, "{:?}", String::from_utf8_lossy(given));
    }
    assert_eq!(credentials(&HeaderMap::new()), None);
}

/// A file that guards, and the requests before it.
struct Site {
    folder: tempfile::TempDir,
    guard: Guard,
    runtime: tokio::runtime::Runtime,
}

impl Site {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.yml");
        std::fs::write(&path, text).unwrap();
        let guard = Guard::open(path.to_str().unwrap()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Self { folder, guard, runtime }
    }

    fn write(&self, text: &str) {
        std::fs::write(self.folder.path().join("web.yml"), text).unwrap();
    }

    /// The status and the headers of the answer to a request, 200 where it may pass.
    fn ask(&self, authorization: &str) -> (u16, HeaderMap) {
        let request =
            Request::builder().header(header::AUTHORIZATION, authorization).body(Body::empty());
        let (request, _) = request.unwrap().into_parts();
        let answer = match self.runtime.block_on(self.guard.admit(&request)) {
            Ok(config) => {
                let mut response = StatusCode::OK.into_response();
                add_headers(&config, &mut response);
                response
            }
            Err(response) => response,
        };
        (answer.status().as_u16(), answer.headers().clone())
    }
}

/// A hash of no password that is known.
const BOB: &str =
    "basic_auth_users: {bob: $2y$04$aYTvaUTvaUTvaUTvaUTvaOtcpMYpIoHq5mDTxMhlTHmtdRlHtvBZ6}\n";

#[test]
fn the_file_counts_as_it_is_at_the_time() {
    let made = bcrypt::hash_with_salt(b"right", 4, *b"sixteen bytes ok").unwrap();
    let bob = format!("basic_auth_users: {{bob: '{made}'}}\n");
    let frames = "http_server_config: {headers: {X-Frame-Options: deny}}\n";
    let site = Site::new(&(bob.clone() + frames));
    let (status, headers) = site.ask("");
    assert_eq!(status, 401);
    assert_eq!(headers.get("www-authenticate").unwrap(), "Basic");
    assert_eq!(headers.get("x-frame-options").unwrap(), "deny");
    assert_eq!(headers.get("x-content-type-options").unwrap(), "nosniff");
    let (status, headers) = site.ask("Basic Ym9iOnJpZ2h0");
    assert_eq!((status, headers.get("x-frame-options").unwrap().to_str().unwrap()), (200, "deny"));
    assert_eq!(site.ask("Basic Ym9iOndyb25n").0, 401);
    site.write(frames);
    assert_eq!(site.ask("").0, 200, "no users any more");
    site.write("junk");
    let (status, headers) = site.ask("");
    assert_eq!((status, headers.get("x-frame-options")), (500, None));
    site.write(&bob.replace("bob", "eve"));
    assert_eq!(site.ask("Basic Ym9iOnJpZ2h0").0, 401);
    assert_eq!(site.ask("Basic ZXZlOnJpZ2h0").0, 200);
}

#[test]
fn the_limit_comes_before_names_and_headers_and_stays_as_it_was() {
    let limited = "rate_limit: {interval: 1h, burst: 2}\n";
    let site = Site::new(&(BOB.to_owned() + limited));
    assert_eq!(site.ask("").0, 401);
    assert_eq!(site.ask("").0, 401);
    site.write("http_server_config: {headers: {X-Frame-Options: deny}}\n");
    let (status, headers) = site.ask("");
    assert_eq!((status, headers.get("x-frame-options")), (429, None));
}

#[test]
fn a_fault_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let open = |text: &str| {
        let path = folder.path().join("web.yml");
        std::fs::write(&path, text).unwrap();
        Guard::open(path.to_str().unwrap())
    };
    let short = "crypto/bcrypt: hashedSecret too short to be a bcrypted password";
    assert_eq!(open("basic_auth_users: {a: b}").unwrap_err(), short);
    assert!(open("a: [").unwrap_err().starts_with("yaml: "));
    assert!(!open("").unwrap().has_tls() && !open(BOB).unwrap().has_tls());
    let absent = folder.path().join("absent");
    let said = Guard::open(absent.to_str().unwrap()).unwrap_err();
    assert_eq!(said, format!("open {}: no such file or directory", absent.display()));
    assert!(open("\u{1}").is_err());
}
