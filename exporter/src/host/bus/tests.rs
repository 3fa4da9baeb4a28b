use super::*;
use crate::testing::bus::{Mood, Server};

const OBJECT: Object<'static> =
    Object { service: "org.example", path: "/org/example", interface: "org.example.Thing" };

const PATIENCE: Duration = Duration::from_secs(20);

/// So much time that a test which waited for all of it would not end.
const ENDLESS: Duration = Duration::from_secs(86_400);

/// So little time that only an answer which comes at once is received.
const NONE: Duration = Duration::from_millis(30);

const RECORDING: &str = concat!(
    r#"{"path":"/org/example","interface":"org.freedesktop.DBus.Properties","member":"Get","arguments":["org.example.Thing","Name"],"type":"v","data":[{"type":"s","data":"ü"}]}"#,
    "\n",
    r#"{"path":"/org/example","interface":"org.freedesktop.DBus.Properties","member":"Get","arguments":["org.example.Thing","Count"],"type":"v","data":[{"type":"t","data":18446744073709551615}]}"#,
    "\n",
    r#"{"path":"/org/example","interface":"org.freedesktop.DBus.Properties","member":"Get","arguments":["org.example.Thing","Off"],"type":"v","data":[{"type":"b","data":false}]}"#,
    "\n",
    r#"{"path":"/org/example","interface":"org.freedesktop.DBus.Properties","member":"Get","arguments":["org.example.Thing","List"],"type":"v","data":[{"type":"as","data":["a"]}]}"#,
    "\n",
    r#"{"path":"/org/example","interface":"org.example.Thing","member":"All","arguments":[],"type":"a(sut)","data":[[["a",1,7],["bcdefghi",2,8]]]}"#,
    "\n",
);

/// A bus that answers as above.
struct Example {
    server: Server,
    bus: Bus,
    _recording: tempfile::NamedTempFile,
}

impl Example {
    fn new() -> Self {
        let recording = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(recording.path(), RECORDING).unwrap();
        let server = Server::start(recording.path());
        let bus = Bus::new(Address::Bus(server.address()));
        Self { server, bus, _recording: recording }
    }

    /// The name of the thing, or the error.
    fn name(&self, scrape: u64, patience: Duration) -> Result<String, String> {
        let ask = || -> Result<String> {
            let mut session = self.bus.open(scrape, patience)?;
            let name = session.get(&OBJECT, "Name")?.unwrap_or("refused".to_owned());
            session.end()?;
            Ok(name)
        };
        ask().map_err(|error| error.to_string())
    }
}

#[test]
fn properties_and_lists_are_read() {
    let example = Example::new();
    let mut session = example.bus.open(1, PATIENCE).unwrap();
    assert_eq!(session.get(&OBJECT, "Name").unwrap(), Some("ü".to_owned()));
    assert_eq!(session.get(&OBJECT, "Count").unwrap(), Some(u64::MAX));
    assert_eq!(session.get(&OBJECT, "Off").unwrap(), Some(false));
    assert_eq!(session.get::<String>(&OBJECT, "Absent").unwrap(), None, "the service refuses");
    let all = session.list(&OBJECT, "All").unwrap();
    let rows: Vec<(&str, u32, u64)> = all.rows().unwrap();
    assert_eq!(rows, [("a", 1, 7), ("bcdefghi", 2, 8)]);
    session.end().unwrap();
    assert_eq!(example.server.counts().0, 1, "one connection");
}

#[test]
fn many_properties_are_asked_for_at_once() {
    let example = Example::new();
    let mut session = example.bus.open(1, PATIENCE).unwrap();
    let names = ["Name", "Absent", "Count"];
    let all = (0..=3 * TOGETHER).map(|i| {
        let property = Property { object: OBJECT, name: names[i % names.len()] };
        (property, i)
    });
    let mut answers = vec![None; 3 * TOGETHER + 1];
    let take = |i: usize, answer: Option<u64>| {
        assert_eq!(answers[i].replace(answer), None, "one answer to each question");
    };
    session.get_all(all, take).unwrap();
    for (i, answer) in answers.into_iter().enumerate() {
        let want = (i % names.len() == 2).then_some(u64::MAX);
        assert_eq!(answer, Some(want), "{i}");
    }
    assert_eq!(session.end().unwrap_err().to_string(), "dbus: Name is not a number");
}

#[test]
fn an_answer_of_another_type_hides_no_other() {
    let example = Example::new();
    let mut session = example.bus.open(1, PATIENCE).unwrap();
    assert_eq!(session.get::<u64>(&OBJECT, "Name").unwrap(), None);
    assert_eq!(session.get::<String>(&OBJECT, "List").unwrap(), None);
    assert_eq!(session.get(&OBJECT, "Name").unwrap(), Some("ü".to_owned()));
    let all = session.list(&OBJECT, "All").unwrap();
    let error = all.rows::<(&str, u32)>().unwrap_err();
    assert_eq!(error.to_string(), "dbus: All is not a(su)");
    let error = session.list(&OBJECT, "None").err().unwrap();
    assert_eq!(error.to_string(), "dbus: None: org.freedesktop.DBus.Error.UnknownObject");
    assert_eq!(session.end().unwrap_err().to_string(), "dbus: Name is not a number");
}

#[test]
fn a_connection_is_kept_until_the_bus_closes_it() {
    let example = Example::new();
    for scrape in 1..4 {
        assert_eq!(example.name(scrape, PATIENCE).as_deref(), Ok("ü"));
    }
    assert_eq!(example.server.counts(), (1, 3));
    example.server.set(Mood::Closes);
    assert!(example.name(4, PATIENCE).unwrap_err().contains("ended"));
    example.server.set(Mood::Answers);
    assert_eq!(example.name(5, PATIENCE).as_deref(), Ok("ü"), "the next scrape has another");
    assert_eq!(example.server.counts().0, 2);
    // A bus that closes the connection between two scrapes costs none of them.
    example.server.disconnect();
    assert_eq!(example.name(6, PATIENCE).as_deref(), Ok("ü"));
    assert_eq!(example.server.counts().0, 3);
}

#[test]
fn a_silent_bus_is_waited_for_once_a_scrape() {
    let example = Example::new();
    assert_eq!(example.name(1, PATIENCE).as_deref(), Ok("ü"));
    for mood in [Mood::Silent, Mood::SilentOnceAuthenticated] {
        example.server.set(mood);
        example.server.disconnect();
        let before = example.server.counts().0;
        for scrape in [10, 10, 10, 11, 11] {
            assert_eq!(example.name(scrape, NONE), Err("dbus: no answer in time".into()));
        }
        // The bus may take a connection only after the scrape has given up.
        let start = Instant::now();
        while example.server.counts().0 < before + 2 && start.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
        assert_eq!(example.server.counts().0 - before, 2, "one connection a scrape");
        example.server.set(Mood::Answers);
        assert_eq!(example.name(11, PATIENCE), Err("dbus: no answer in time".into()));
        assert_eq!(example.name(12, PATIENCE).as_deref(), Ok("ü"));
    }
    // Silent in the middle of a session: the call fails, and so does each after it.
    let mut session = example.bus.open(13, NONE).unwrap();
    example.server.set(Mood::SilentOnceAuthenticated);
    assert!(session.get::<String>(&OBJECT, "Name").is_err());
    drop(session);
    example.server.set(Mood::Answers);
    assert_eq!(example.name(13, PATIENCE).as_deref(), Ok("ü"), "another connection");
}

#[test]
fn after_a_call_without_an_answer_the_bus_is_tried_for_a_moment() {
    let example = Example::new();
    assert_eq!(example.name(1, PATIENCE).as_deref(), Ok("ü"));
    // The connection is kept, so that a call is the first to have no answer.
    example.server.set(Mood::Silent);
    let silent = Err("dbus: no answer in time".to_owned());
    assert_eq!(example.name(2, NONE), silent);
    // Without the doubt, the second would wait for all of its time. The third does not try again.
    assert_eq!(example.name(2, ENDLESS), silent);
    assert_eq!(example.name(2, ENDLESS), silent);
    // Where only a service was silent, the next collector of the same scrape has its answer.
    example.server.set(Mood::Answers);
    assert_eq!(example.name(3, PATIENCE).as_deref(), Ok("ü"));
    example.server.set(Mood::SilentOnceAuthenticated);
    assert_eq!(example.name(4, NONE), silent);
    example.server.set(Mood::Answers);
    assert_eq!(example.name(4, PATIENCE).as_deref(), Ok("ü"));
}

#[test]
fn a_bus_may_go_and_come_back() {
    let example = Example::new();
    assert_eq!(example.name(1, PATIENCE).as_deref(), Ok("ü"));
    example.server.vanish();
    assert_eq!(example.name(2, PATIENCE).as_deref(), Ok("ü"), "the connection is still there");
    example.server.disconnect();
    let error = example.name(3, PATIENCE).unwrap_err();
    assert!(error.contains("Connection refused"), "{error}");
    example.server.listen();
    assert_eq!(example.name(4, PATIENCE).as_deref(), Ok("ü"));
}

#[test]
fn a_service_without_a_bus_is_roused() {
    let mut example = Example::new();
    example.bus = Bus::new(Address::Service(example.server.address()));
    example.server.set(Mood::Drowses);
    assert_eq!(example.name(1, PATIENCE).as_deref(), Ok("ü"));
    let (connections, calls) = example.server.counts();
    assert!(connections == 1 && calls > 2, "two pings and the question, at least: {calls}");
    example.server.set(Mood::Silent);
    example.bus.close();
    assert_eq!(example.name(2, NONE), Err("dbus: no answer in time".into()));
}

#[test]
fn an_answer_that_is_cut_or_spoiled_anywhere_ends_the_call() {
    let example = Example::new();
    let cut: fn(Vec<u8>, usize) -> Vec<u8> = |mut answer, place| {
        answer.truncate(place);
        answer
    };
    let flip: fn(Vec<u8>, usize) -> Vec<u8> = |mut answer, place| {
        if let Some(byte) = answer.get_mut(place) {
            *byte ^= 0xff;
        }
        answer
    };
    let long: fn(Vec<u8>, usize) -> Vec<u8> = |mut answer, place| {
        if let Some(bytes) = answer.get_mut(place..place + 4) {
            bytes.fill(0x7f);
        }
        answer
    };
    let service = Bus::new(Address::Service(example.server.address()));
    let ask = |bus: &Bus, scrape, list| {
        let mut session = bus.open(scrape, PATIENCE)?;
        if list {
            session.list(&OBJECT, "All")?.rows::<(&str, u32, u64)>()?;
        } else {
            session.get::<String>(&OBJECT, "Name")?;
        }
        session.end()
    };
    let mut scrape = 0;
    for (name, spoil) in [("cut", cut), ("flip", flip), ("long", long)] {
        for place in 0..80 {
            example.server.set(Mood::Spoils(spoil, place));
            for (bus, list) in [(&example.bus, false), (&example.bus, true), (&service, false)] {
                scrape += 1;
                let asked = ask(bus, scrape, list);
                // Padding and some values may be anything, but nothing may be missing.
                let is_cut = name == "cut" && place < 40;
                assert!(!is_cut || asked.is_err(), "{place}");
            }
        }
    }
    example.server.set(Mood::Answers);
    example.server.disconnect();
    assert_eq!(example.name(scrape + 1, PATIENCE).as_deref(), Ok("ü"));
}

#[test]
fn a_bus_that_refuses_or_has_no_address_is_told() {
    let error = |address: &str| {
        Bus::new(Address::Bus(address.into())).open(1, PATIENCE).err().unwrap().to_string()
    };
    assert!(error("tcp:host=localhost,port=1").contains("\"tcp:host=localhost,port=1\""));
    assert!(error("").contains("unix:path"));
    assert!(error("unix:path=/nonexistent/bus").contains("/nonexistent/bus: No such file"));
}
