//! The system bus (D-Bus): single questions to services, over one kept connection.
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
#[cfg(test)]
mod tests;
mod wire;

pub use address::Address;
pub use wire::{Malformed, Row};

use crate::error::{Error, Faults, Result};
use connection::Connection;
use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use wire::{Kind, Message, Value};

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
    Closed(#[from] io::Error),
    /// Nothing came in time.
    #[error("no answer in time")]
    Silent,
    /// Something came that is no message.
    #[error("not D-Bus: {0}")]
    Malformed(#[from] Malformed),
    /// The answer is of another type.
    #[error("{name} is not {wanted}")]
    Type {
        /// The property or method.
        name: &'static str,
        /// The type that it should have.
        wanted: &'static str,
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

/// Questions to the services of a bus, one after the other.
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

impl Session<'_> {
    /// A property that is a text.
    ///
    /// # Errors
    /// The connection fails.
    pub fn text(&mut self, object: &Object<'_>, property: &'static str) -> Result<Option<&str>> {
        self.get(object, property, "a text", |value| match value {
            Value::Text(text) => Some(text),
            _ => None,
        })
    }

    /// A property that is a number.
    ///
    /// # Errors
    /// The connection fails.
    pub fn number(&mut self, object: &Object<'_>, property: &'static str) -> Result<Option<u64>> {
        self.get(object, property, "a number", |value| match value {
            Value::Number(number) => Some(number),
            _ => None,
        })
    }

    /// A property that is true or false.
    ///
    /// # Errors
    /// The connection fails.
    pub fn flag(&mut self, object: &Object<'_>, property: &'static str) -> Result<Option<bool>> {
        self.get(object, property, "a boolean", |value| match value {
            Value::Flag(flag) => Some(flag),
            _ => None,
        })
    }

    fn get<'s, T>(
        &'s mut self,
        object: &Object<'_>,
        property: &'static str,
        wanted: &'static str,
        read: impl FnOnce(Value<'s>) -> Option<T>,
    ) -> Result<Option<T>> {
        let properties = Object { interface: "org.freedesktop.DBus.Properties", ..*object };
        let arguments = [object.interface, property];
        let answer = call(&mut self.state, &properties, "Get", &arguments, self.deadline)?;
        if answer.kind == Kind::Refusal {
            return Ok(None);
        }
        let value = match answer.signature {
            "v" => read(answer.body.clone().value().map_err(Wrong::from)?),
            _ => None,
        };
        let wrong = || Wrong::Type { name: property, wanted }.into();
        Ok(self.faults.keep(value.ok_or_else(wrong)))
    }

    /// Calls a method without arguments whose answer is an array of structures, and gives each of
    /// them to `each`, which reads all that the structure has.
    ///
    /// # Errors
    /// The connection fails, the service refuses, or the answer does not have this signature.
    pub fn list(
        &mut self,
        object: &Object<'_>,
        method: &'static str,
        signature: &'static str,
        mut each: impl FnMut(&mut Row<'_>) -> Result<(), Malformed>,
    ) -> Result {
        let mut answer = call(&mut self.state, object, method, &[], self.deadline)?;
        if answer.kind == Kind::Refusal {
            return Err(Wrong::Refused { method, error: answer.error.to_owned() }.into());
        }
        if answer.signature != signature {
            return Err(Wrong::Type { name: method, wanted: signature }.into());
        }
        answer.body.structures(|row| each(row)).map_err(|malformed| Wrong::from(malformed).into())
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

fn call<'s>(
    state: &'s mut State,
    object: &Object<'_>,
    method: &str,
    arguments: &[&str],
    deadline: Instant,
) -> Result<Message<'s>, Wrong> {
    match &mut state.connection {
        Some(connection) => connection.call(object, method, arguments, deadline),
        None => Err(io::Error::from(io::ErrorKind::NotConnected).into()),
    }
}

/// Reads all of these bytes that is a message, for the fuzzer.
#[cfg(any(test, feature = "testing"))]
pub fn decode(bytes: &[u8]) {
    let _ = bytes.first_chunk().map(wire::length);
    if let Ok(mut message) = Message::read(bytes) {
        let _ = message.body.clone().value();
        let _ = message.body.structures(|row| {
            row.texts::<2>()?;
            row.number()?;
            row.long().map(drop)
        });
    }
}
