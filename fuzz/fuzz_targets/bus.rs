//! The system bus: however an answer is spoiled, the question ends, and the next one is answered.
#![no_main]

use exporter::{
    host::bus::{Address, Bus, Object, Path},
    testing::{
        bus::{Mood, Server},
        fixture,
    },
};
use libfuzzer_sys::fuzz_target;
use std::{
    sync::{LazyLock, Mutex},
    time::Duration,
};

const SYSTEMD: Object<'static> = Object {
    service: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};
const LOGIND: Object<'static> = Object {
    service: "org.freedesktop.login1",
    path: "/org/freedesktop/login1",
    interface: "org.freedesktop.login1.Manager",
};

const PATIENCE: Duration = Duration::from_secs(20);

type Unit<'a> = (
    &'a str,
    &'a str,
    &'a str,
    &'a str,
    &'a str,
    &'a str,
    Path<'a>,
    u32,
    &'a str,
    Path<'a>,
);

static SERVER: LazyLock<Server> =
    LazyLock::new(|| Server::start(&fixture("baseline/bus/recording")));
static BUS: LazyLock<Bus> = LazyLock::new(|| Bus::new(Address::Bus(SERVER.address())));

/// How the next answer is spoiled: see [`fuzz::edit`].
static EDITS: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn spoil(answer: Vec<u8>, _: usize) -> Vec<u8> {
    fuzz::edit(&answer, &EDITS.lock().expect("the edits"))
}

fn version() -> Option<String> {
    BUS.open(0, PATIENCE).expect("a session").get(&SYSTEMD, "Version").expect("an answer")
}

fuzz_target!(|data: &[u8]| {
    let Some((&question, edits)) = data.split_first() else { return };
    *EDITS.lock().expect("the edits") = edits.to_vec();
    SERVER.set(Mood::Spoils(spoil, 0));
    let mut session = BUS.open(0, PATIENCE).expect("a session");
    let _ = match question % 3 {
        0 => session.list(&SYSTEMD, "ListUnits").map(|list| drop(list.rows::<Unit<'_>>())),
        1 => session
            .list(&LOGIND, "ListSessions")
            .map(|list| drop(list.rows::<(&str, u32, &str, &str, Path<'_>)>())),
        _ => session.get::<String>(&SYSTEMD, "Version").map(drop),
    };
    drop(session);
    SERVER.set(Mood::Answers);
    // The server ends a connection after the spoiled answer: before the next question, not during it.
    SERVER.disconnect();
    assert!(version().is_some());
});
