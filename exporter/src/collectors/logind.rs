//! Sessions that systemd-logind knows, by seat, type, class and whether they are remote.
//!
//! All combinations are exposed, also those without a session, and the seat `""` for sessions that
//! have none. A type or class that is none of those below counts as `other`. A logind that is not
//! running is not started by the question, and a session that ends meanwhile is left out.

use crate::{
    host::bus::{Bus, Object, Session},
    prelude::*,
};
use std::time::Duration;

pub const SPEC: Spec = Spec {
    name: "logind",
    enabled: false,
    capabilities: NONE,
    flags: &[],
    new: |host, _| Ok(Box::new(Logind { bus: host.bus.clone(), known: Known::default() })),
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

struct Logind {
    bus: Bus,
    known: Known,
}

/// The last answers.
#[derive(Default)]
struct Known {
    /// The names of the seats in order, without repetition, that of no seat among them.
    seats: Vec<String>,
    sessions: Vec<Kept>,
    /// How many of `sessions` the last list had; those after them keep their buffers.
    listed: usize,
}

/// A session.
#[derive(Default)]
struct Kept {
    seat: String,
    path: String,
    kind: Option<Kind>,
}

/// A kind of session.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Kind {
    is_remote: bool,
    /// One of [`TYPES`].
    type_: &'static str,
    /// One of [`CLASSES`].
    class: &'static str,
}

impl Collector for Logind {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let mut session = self.bus.open(out.scrape(), out.patience(PATIENCE))?;
        self.known.ask(&mut session)?;
        self.known.put(out);
        session.end()
    }
}

impl Known {
    fn ask(&mut self, session: &mut Session<'_>) -> Result {
        let (mut seats, mut listed) = (0, 0);
        set(reuse(&mut self.seats, &mut seats), ""); // of sessions that have none
        session.list(&MANAGER, "ListSeats", "a(so)", |row| {
            let [name, _path] = row.texts()?;
            set(reuse(&mut self.seats, &mut seats), name);
            Ok(())
        })?;
        self.seats.truncate(seats);
        self.seats.sort_unstable();
        self.seats.dedup();
        session.list(&MANAGER, "ListSessions", "a(susso)", |row| {
            row.text()?; // its number
            row.number()?; // of the user
            let [_user, seat, path] = row.texts()?;
            let kept = reuse(&mut self.sessions, &mut listed);
            set(&mut kept.seat, seat);
            set(&mut kept.path, path);
            Ok(())
        })?;
        self.listed = listed;
        for kept in self.sessions.iter_mut().take(listed) {
            kept.kind = kind(&Object { path: &kept.path, ..SESSION }, session)?;
        }
        Ok(())
    }

    fn put(&self, out: &mut Sink) {
        for class in CLASSES {
            for (remote, is_remote) in [("false", false), ("true", true)] {
                for seat in &self.seats {
                    for type_ in TYPES {
                        let kind = Kind { is_remote, type_, class };
                        let is_counted =
                            |kept: &&Kept| kept.kind == Some(kind) && kept.seat == *seat;
                        let n = self.sessions.iter().take(self.listed).filter(is_counted).count();
                        out.put(&SESSIONS, [&class, &remote, seat, &type_], n as u64);
                    }
                }
            }
        }
    }
}

/// `None` where the session has ended.
fn kind(object: &Object<'_>, session: &mut Session<'_>) -> Result<Option<Kind>> {
    let known = |all: &[&'static str], text: &str| {
        all.iter().copied().find(|known| *known == text).unwrap_or(OTHER)
    };
    let Some(is_remote) = session.flag(object, "Remote")? else { return Ok(None) };
    let Some(type_) = session.text(object, "Type")?.map(|text| known(&TYPES, text)) else {
        return Ok(None);
    };
    let class = session.text(object, "Class")?.map(|text| known(&CLASSES, text));
    Ok(class.map(|class| Kind { is_remote, type_, class }))
}

/// The next of the values, which keep their buffers.
fn reuse<'a, T: Default>(kept: &'a mut Vec<T>, used: &mut usize) -> &'a mut T {
    if *used == kept.len() {
        kept.push(T::default());
    }
    let next = *used;
    *used += 1;
    #[expect(clippy::indexing_slicing, reason = "there is one, just pushed if need be")]
    &mut kept[next]
}

fn set(text: &mut String, to: &str) {
    text.clear();
    text.push_str(to);
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
