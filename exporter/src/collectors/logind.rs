//! Sessions that systemd-logind knows, by seat, type, class and whether they are remote.
//!
//! All combinations are exposed, also those without a session, and the seat `""` for sessions that
//! have none. A type or class that is none of those below counts as `other`. A logind that is not
//! running is not started by the question, and a session that ends meanwhile is left out.

use crate::{
    host::bus::{Bus, Object, Path, Property, Session},
    prelude::*,
};
use std::{collections::BTreeSet, time::Duration};

pub const SPEC: Spec = Spec {
    name: "logind",
    enabled: false,
    capabilities: NONE,
    flags: &[],
    new: |host, _| Ok(Box::new(Logind(host.bus.clone()))),
};

static SESSIONS: Metric<4> =
    gauge("node_logind_sessions", "Number of sessions registered in logind.")
        .by(["class", "remote", "seat", "type"]);

const CLASSES: [&str; 5] = ["background", "greeter", "lock-screen", OTHER, "user"];
const TYPES: [&str; 7] = ["mir", OTHER, "tty", "unspecified", "wayland", "web", "x11"];
const OTHER: &str = "other";

/// How long logind may take to answer all questions of a scrape.
const PATIENCE: Duration = Duration::from_secs(5);

const MANAGER: Object<'static> = Object {
    service: "org.freedesktop.login1",
    path: "/org/freedesktop/login1",
    interface: "org.freedesktop.login1.Manager",
};
/// A session, which has a path of its own.
const SESSION: Object<'static> = Object { interface: "org.freedesktop.login1.Session", ..MANAGER };

struct Logind(Bus);

/// A session. logind refuses the properties of one that has ended meanwhile.
#[derive(Default)]
struct Listed {
    seat: String,
    path: String,
    is_remote: Option<bool>,
    /// One of [`TYPES`].
    type_: Option<&'static str>,
    /// One of [`CLASSES`].
    class: Option<&'static str>,
}

impl Collector for Logind {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let mut session = self.0.open(out.scrape(), out.patience(PATIENCE))?;
        let seats = seats(&mut session)?;
        let sessions = sessions(&mut session)?;
        put(&seats, &sessions, out);
        session.end()
    }
}

/// The names of the seats, that of no seat among them.
fn seats(session: &mut Session<'_>) -> Result<BTreeSet<String>> {
    let list = session.list(&MANAGER, "ListSeats")?;
    let rows: Vec<(&str, Path<'_>)> = list.rows()?;
    let names = rows.into_iter().map(|(name, _)| name);
    Ok(names.chain([""]).map(str::to_owned).collect())
}

fn sessions(session: &mut Session<'_>) -> Result<Vec<Listed>> {
    let list = session.list(&MANAGER, "ListSessions")?;
    // The session's number, the user's number and name, the seat and the session's object.
    let rows: Vec<(&str, u32, &str, &str, Path<'_>)> = list.rows()?;
    let listed = |(.., seat, path): &(_, _, _, &str, Path<'_>)| Listed {
        seat: (*seat).to_owned(),
        path: path.to_string(),
        ..Listed::default()
    };
    let mut sessions: Vec<Listed> = rows.iter().map(listed).collect();
    session.get_all(
        sessions.iter_mut().map(|one| (of(&one.path, "Remote"), &mut one.is_remote)),
        |is_remote, answer| *is_remote = answer,
    )?;
    session.get_all(
        sessions.iter_mut().map(|one| (of(&one.path, "Type"), &mut one.type_)),
        |type_, answer| *type_ = answer.map(|text: String| known(&TYPES, &text)),
    )?;
    session.get_all(
        sessions.iter_mut().map(|one| (of(&one.path, "Class"), &mut one.class)),
        |class, answer| *class = answer.map(|text: String| known(&CLASSES, &text)),
    )?;
    Ok(sessions)
}

const fn of<'a>(path: &'a str, name: &'static str) -> Property<'a> {
    Property { object: Object { path, ..SESSION }, name }
}

fn known(all: &[&'static str], text: &str) -> &'static str {
    all.iter().copied().find(|known| *known == text).unwrap_or(OTHER)
}

fn put(seats: &BTreeSet<String>, sessions: &[Listed], out: &mut Sink) {
    for class in CLASSES {
        for (remote, is_remote) in [("false", false), ("true", true)] {
            for seat in seats {
                for type_ in TYPES {
                    let kind = (Some(is_remote), Some(type_), Some(class));
                    let is_counted = |one: &&Listed| {
                        (one.is_remote, one.type_, one.class) == kind && one.seat == *seat
                    };
                    let n = sessions.iter().filter(is_counted).count();
                    out.put(&SESSIONS, [&class, &remote, seat, &type_], n as u64);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bus, collect, fixture, sample_lines};

    #[test]
    fn sessions_are_counted_by_their_kind() {
        let address = format!("--dbus.address={}", bus::serve(&fixture("baseline/bus/recording")));
        let (text, result) = collect(&SPEC, &fixture("baseline"), &[&address]);
        result.unwrap();
        let samples: Vec<&str> = sample_lines(&text).collect();
        assert_eq!(samples.len(), 5 * 2 * 2 * 7, "all combinations with and without a seat");
        let counted: Vec<_> = samples.into_iter().filter(|line| !line.ends_with(" 0")).collect();
        let line = |class, seat, kind, n| {
            format!(
                "node_logind_sessions{{class=\"{class}\",remote=\"false\",seat=\"{seat}\",type=\"{kind}\"}} {n}"
            )
        };
        assert_eq!(
            counted,
            [
                line("greeter", "", "tty", 1),
                line("other", "", "unspecified", 2),
                line("user", "", "tty", 1),
                line("user", "seat0", "x11", 1),
            ]
        );
    }

    #[test]
    fn a_session_that_has_ended_is_left_out_and_a_logind_that_is_not_there_fails() {
        let recording = tempfile::NamedTempFile::new().unwrap();
        let address = format!("--dbus.address={}", bus::serve(recording.path()));
        let of = |member: &str, kind: &str, data: &str| {
            format!(
                r#"{{"path":"{}","interface":"{}","member":"{member}","arguments":[],"type":"{kind}","data":[{data}]}}{}"#,
                MANAGER.path, MANAGER.interface, '\n'
            )
        };
        let seats = of("ListSeats", "a(so)", r#"[["seat1","/s1"],["seat1","/s1"]]"#);
        let sessions = of("ListSessions", "a(susso)", r#"[["1",0,"root","","/gone"]]"#);
        std::fs::write(recording.path(), [seats.as_str(), &sessions].concat()).unwrap();
        let (text, result) = collect(&SPEC, &fixture("baseline"), &[&address]);
        result.unwrap();
        assert_eq!(sample_lines(&text).count(), 5 * 2 * 2 * 7, "a seat once");
        assert!(sample_lines(&text).all(|line| line.ends_with(" 0")), "{text}");
        std::fs::write(recording.path(), seats).unwrap();
        let (text, result) = collect(&SPEC, &fixture("baseline"), &[&address]);
        assert!(result.unwrap_err().to_string().contains("ListSessions"));
        assert_eq!(text, "");
    }
}
