//! The system bus (D-Bus): questions to services, over one kept connection.
//!
//! ```text
//!     none ───session begins───▶ connected ──answer, refusal──▶ connected
//!      ▲  ▲                          │
//!      │  └─ closed by the bus: seen when the next session begins, which connects again
//!      └──── no answer in time, no message, closed during a call
//! ```
//!
//! A [`Session`] has the connection to itself, and one deadline for all its calls. A bus that lets
//! nobody in costs the first collector of a scrape its time; the others of that scrape fail at
//! once. After a call without an answer either the bus or the service may be silent: the next
//! collector of that scrape waits only for a moment to be let in, and then asks its own service.

mod address;
mod connection;
mod socket;
#[cfg(test)]
mod tests;

pub use address::Address;
pub use zbus::ObjectPath as Path;

use crate::error::{Error, Faults, Result};
use connection::{Connection, call};
use serde::Deserialize;
use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use zbus::{Message, Type, Variant, message};

/// Whom a question is for.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a> {
    /// The name of the service, for example `org.freedesktop.systemd1`.
    pub service: &'a str,
    /// The path of the object.
    pub path: &'a str,
    /// The interface that has the method or the property.
    pub interface: &'a str,
}

/// The reason why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// Nobody listens there.
    #[error("{address}: {source}")]
    Unreachable {
        /// The bus.
        address: Address,
        /// The kernel's error.
        source: io::Error,
    },
    /// The address is of a kind that is not known.
    #[error("{0:?} has no address of the form unix:path=… or unix:abstract=…")]
    Address(String),
    /// The bus does not let this process in.
    #[error("{0} refuses this process")]
    Denied(Address),
    /// The connection ended.
    #[error("the connection ended: {0}")]
    Closed(Arc<io::Error>),
    /// Nothing came in time.
    #[error("no answer in time")]
    Silent,
    /// Something came that is no message, or not the one that was asked for.
    #[error("not D-Bus: {0}")]
    Malformed(zbus::Error),
    /// The answer is of another type.
    #[error("{name} is not {wanted}")]
    Type {
        /// The property or method.
        name: &'static str,
        /// The type that it should have.
        wanted: String,
    },
    /// The service, or the bus in its place, answered with an error.
    #[error("{method}: {error}")]
    Refused {
        /// The method.
        method: &'static str,
        /// The error's name.
        error: String,
    },
}

impl From<zbus::Error> for Wrong {
    fn from(error: zbus::Error) -> Self {
        match error {
            zbus::Error::InputOutput(error) => Self::Closed(error),
            error => Self::Malformed(error),
        }
    }
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Self {
        Self::Closed(Arc::new(error))
    }
}

impl From<Wrong> for Error {
    fn from(wrong: Wrong) -> Self {
        Self::Source { source_name: "dbus", error: Box::new(wrong) }
    }
}

/// How long a bus may take to let a session in after a call without an answer in the same scrape.
const MOMENT: Duration = Duration::from_millis(500);

/// A bus, and the connection to it once there is one. Clones share it.
#[derive(Clone, Debug)]
pub struct Bus(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    address: Address,
    connection: Option<Connection>,
    /// The last scrape in which the bus let nobody in.
    silent_in: Option<u64>,
    /// The last scrape in which a call had no answer.
    unanswered_in: Option<u64>,
}

impl Bus {
    /// The bus at this address.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self(Arc::new(Mutex::new(State {
            address,
            connection: None,
            silent_in: None,
            unanswered_in: None,
        })))
    }

    /// Begins a session for this scrape, in which all calls together may take so long.
    ///
    /// # Errors
    /// There is no connection.
    pub fn open(&self, scrape: u64, patience: Duration) -> Result<Session<'_>, Wrong> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.silent_in >= Some(scrape) {
            return Err(Wrong::Silent);
        }
        let deadline = Instant::now() + patience;
        if state.connection.as_ref().is_none_or(Connection::is_closed) {
            state.connection = None; // its descriptor first
            let is_doubted = state.unanswered_in >= Some(scrape);
            let patience = if is_doubted { patience.min(MOMENT) } else { patience };
            let opened = Connection::open(&state.address, Instant::now() + patience);
            state.silent_in = matches!(opened, Err(Wrong::Silent)).then_some(scrape);
            state.connection = Some(opened?);
        }
        Ok(Session { state, scrape, deadline, faults: Faults::default() })
    }

    /// Gives up the connection, if there is one.
    pub fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).connection = None;
    }
}

/// So many questions are on their way at once, at most: buses bound the calls that wait for their
/// answers, dbus-daemon's default is 128.
const TOGETHER: usize = 64;

/// Questions to the services of a bus.
///
/// A refusal by the service, such as that of a property that it does not have or of an object that is
/// gone, is `None`. So is an answer of another type, which [`Session::end`] reports. After any other
/// error the session is of no use.
pub struct Session<'a> {
    state: MutexGuard<'a, State>,
    scrape: u64,
    deadline: Instant,
    faults: Faults,
}

/// A property that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Property<'a> {
    /// The object that has it.
    pub object: Object<'a>,
    /// Its name.
    pub name: &'static str,
}

/// A type that properties have.
pub trait Value: Sized {
    /// Its name in errors.
    const NAME: &'static str;

    /// The value; `None` where it is of another type.
    fn read(value: Variant<'_>) -> Option<Self>;
}

impl Value for String {
    const NAME: &'static str = "a text";

    fn read(value: Variant<'_>) -> Option<Self> {
        Self::try_from(value).ok()
    }
}

impl Value for u64 {
    const NAME: &'static str = "a number";

    fn read(value: Variant<'_>) -> Option<Self> {
        match value {
            Variant::U32(number) => Some(number.into()),
            Variant::U64(number) => Some(number),
            _ => None,
        }
    }
}

impl Value for bool {
    const NAME: &'static str = "a boolean";

    fn read(value: Variant<'_>) -> Option<Self> {
        Self::try_from(value).ok()
    }
}

impl Session<'_> {
    /// A property.
    ///
    /// # Errors
    /// The connection fails.
    pub fn get<V: Value>(&mut self, object: &Object<'_>, name: &'static str) -> Result<Option<V>> {
        let mut value = None;
        let question = (Property { object: *object, name }, ());
        self.get_all([question], |(), answer| value = answer)?;
        Ok(value)
    }

    /// Properties, many of which are asked for at once. Each answer is given to `each` together with
    /// the value that came with its question, in any order.
    ///
    /// # Errors
    /// The connection fails.
    pub fn get_all<'q, V: Value, T>(
        &mut self,
        questions: impl IntoIterator<Item = (Property<'q>, T)>,
        mut each: impl FnMut(T, Option<V>),
    ) -> Result {
        let mut questions = questions.into_iter();
        loop {
            let (mut calls, mut asked) = (Vec::new(), Vec::new());
            for (Property { object, name }, with) in questions.by_ref().take(TOGETHER) {
                let of = Object { interface: "org.freedesktop.DBus.Properties", ..object };
                calls.push(call(&of, "Get", &(object.interface, name))?);
                asked.push(Some((name, with)));
            }
            if calls.is_empty() {
                return Ok(());
            }
            let faults = &mut self.faults;
            ask(&mut self.state, &calls, self.deadline, |place, answer| {
                if let Some((name, with)) = asked.get_mut(place).and_then(Option::take) {
                    each(with, faults.keep(read(answer, name).map_err(Into::into)).flatten());
                }
            })?;
        }
    }

    /// Calls a method without arguments whose answer is an array of structures.
    ///
    /// # Errors
    /// The connection fails, or the service refuses.
    pub fn list(&mut self, object: &Object<'_>, method: &'static str) -> Result<List> {
        let mut list = None;
        ask(&mut self.state, &[call(object, method, &())?], self.deadline, |_, answer| {
            list = Some(match answer.message_type() {
                message::Type::Error => Err(Wrong::Refused { method, error: error(answer) }),
                _ => Ok(List { method, body: answer.body() }),
            });
        })?;
        Ok(list.unwrap_or(Err(Wrong::Silent))?)
    }

    /// The result of all questions.
    ///
    /// # Errors
    /// The first answer that was of another type than it should be.
    pub fn end(mut self) -> Result {
        std::mem::take(&mut self.faults).end()
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if self.state.connection.as_ref().is_some_and(Connection::is_broken) {
            self.state.connection = None;
            if self.deadline <= Instant::now() {
                self.state.unanswered_in = Some(self.scrape);
            }
        }
    }
}

/// The answer of a method, an array of structures.
pub struct List {
    method: &'static str,
    body: message::Body,
}

impl List {
    /// The structures, of which `R` is one.
    ///
    /// # Errors
    /// They are of another type.
    pub fn rows<'s, R: Deserialize<'s> + Type>(&'s self) -> Result<Vec<R>> {
        self.body.deserialize().map_err(|error| {
            let wrong = match error {
                zbus::Error::SignatureMismatch(..) => {
                    let wanted = Vec::<R>::SIGNATURE.to_string();
                    Wrong::Type { name: self.method, wanted }
                }
                error => error.into(),
            };
            wrong.into()
        })
    }
}

/// The value of a property; `None` where the service refuses it.
fn read<V: Value>(answer: &Message, name: &'static str) -> Result<Option<V>, Wrong> {
    if answer.message_type() == message::Type::Error {
        return Ok(None);
    }
    let body = answer.body();
    let wrong = || Wrong::Type { name, wanted: V::NAME.into() };
    match body.deserialize() {
        Ok(value) => V::read(value).map(Some).ok_or_else(wrong),
        Err(zbus::Error::SignatureMismatch(..)) => Err(wrong()),
        Err(error) => Err(error.into()),
    }
}

/// The name of the error that is the answer.
fn error(answer: &Message) -> String {
    answer.header().error_name().map(ToString::to_string).unwrap_or_default()
}

fn ask(
    state: &mut State,
    calls: &[Message],
    deadline: Instant,
    each: impl FnMut(usize, &Message),
) -> Result<(), Wrong> {
    match &mut state.connection {
        Some(connection) => connection.ask(calls, deadline, each),
        None => Err(io::Error::from(io::ErrorKind::NotConnected).into()),
    }
}
