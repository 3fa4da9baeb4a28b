//! The units that systemd has loaded, and the facts that are kept of each between scrapes.
//!
//! Type and `Accept=` are those of the unit's file, which systemd reads when it loads the unit:
//! at a `daemon-reload`, after which everything is asked anew, or when a unit is used that it had
//! unloaded. Only inactive units are unloaded, so a unit is asked anew, too, when it was away or its
//! state has changed. A unit may have been away between two scrapes without a trace: so each is
//! asked anew in every [`ROUND`]th scrape.

use super::{MANAGER, MOUNT, SERVICE, SOCKET, filter::Filter};
use crate::{
    host::bus::{Object, Path, Property, Session},
    prelude::*,
};
use std::collections::BTreeMap;

static UNITS: Metric<1> =
    gauge("node_systemd_units", "Summary of systemd unit states").by(["state"]);

/// The states that are always told, in alphabetical order.
pub(super) const STATES: [&str; 5] = ["activating", "active", "deactivating", "failed", "inactive"];

/// So many scrapes may pass until a unit is asked anew.
pub(super) const ROUND: u64 = 32;

/// All units.
pub(super) struct Units {
    filter: Filter,
    by_name: BTreeMap<Box<str>, Unit>,
    /// How many are in each state. A state that units were in once stays, with 0.
    summary: BTreeMap<Box<str>, u64>,
    /// When systemd loaded the units that are known; see [`super::manager::loaded_at`].
    loaded_at: Option<u64>,
    /// The number of lists so far.
    lists: u64,
}

/// The type of a unit, from the end of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Service,
    Mount,
    Socket,
    Timer,
    Other,
}

/// A unit that systemd has loaded.
pub(super) struct Unit {
    /// Its object on the bus.
    pub(super) path: Box<str>,
    pub(super) kind: Kind,
    state: Box<str>,
    /// The last list that the unit is in.
    list: u64,
    /// `None` where the unit is not wanted.
    known: Option<Known>,
}

/// A unit as `ListUnits` tells it: its name, description, load state, active state, finer state, the
/// unit that it follows and its object; the number, type and object of the job that is under way.
type Listed<'a> =
    (&'a str, &'a str, &'a str, &'a str, &'a str, &'a str, Path<'a>, u32, &'a str, Path<'a>);

/// The facts that are kept of a unit.
#[derive(Default)]
pub(super) struct Known {
    /// The type of a service or of a mount; empty for all others, and where systemd refuses it.
    pub(super) type_: Box<str>,
    /// Whether systemd accepts the connections of a socket.
    pub(super) accepts: bool,
    is_asked: bool,
}

impl Unit {
    fn new(name: &str, is_wanted: bool) -> Self {
        Self {
            path: "".into(),
            kind: Kind::of(name),
            state: "".into(),
            list: 0,
            known: is_wanted.then(Known::default),
        }
    }

    /// Makes the next scrape ask for the unit's facts anew.
    const fn forget(&mut self) {
        if let Some(known) = &mut self.known {
            known.is_asked = false;
        }
    }

    /// Whether the unit is active: one in reload is, too.
    pub(super) fn is_active(&self) -> bool {
        matches!(&*self.state, "active" | "reloading" | "refreshing")
    }

    /// Whether the unit is in one of [`STATES`].
    pub(super) fn is(&self, state: &str) -> bool {
        if state == "active" { self.is_active() } else { *self.state == *state }
    }
}

impl Kind {
    fn of(name: &str) -> Self {
        match name.rsplit_once('.').map(|(_, suffix)| suffix) {
            Some("service") => Self::Service,
            Some("mount") => Self::Mount,
            Some("socket") => Self::Socket,
            Some("timer") => Self::Timer,
            _ => Self::Other,
        }
    }
}

impl Units {
    pub(super) const fn new(filter: Filter) -> Self {
        Self {
            filter,
            by_name: BTreeMap::new(),
            summary: BTreeMap::new(),
            loaded_at: None,
            lists: 0,
        }
    }

    /// Reads the list of all units, and asks for the missing facts of the wanted units.
    ///
    /// # Errors
    /// The connection fails, or there is no list.
    pub(super) fn refresh(&mut self, loaded_at: Option<u64>, session: &mut Session<'_>) -> Result {
        if loaded_at.is_none() || loaded_at != self.loaded_at {
            self.forget();
        }
        self.lists += 1;
        self.summary.values_mut().for_each(|n| *n = 0);
        let list = session.list(&MANAGER, "ListUnits")?;
        for unit in list.rows()? {
            self.see(&unit);
        }
        let list = self.lists;
        self.by_name.retain(|_, unit| unit.list == list);
        self.loaded_at = loaded_at;
        for (place, unit) in (0..).zip(self.by_name.values_mut()) {
            if (list + place).is_multiple_of(ROUND) {
                unit.forget();
            }
        }
        self.ask(session)
    }

    /// Asks for the missing facts.
    fn ask(&mut self, session: &mut Session<'_>) -> Result {
        let typed = [(Kind::Service, SERVICE), (Kind::Mount, MOUNT)];
        for (kind, interface) in typed {
            session.get_all(
                missing(&mut self.by_name, kind, interface, "Type"),
                |known, type_: Option<String>| {
                    let type_ = type_.unwrap_or_default();
                    if *known.type_ != *type_ {
                        known.type_ = type_.into();
                    }
                    known.is_asked = true;
                },
            )?;
        }
        session.get_all(
            missing(&mut self.by_name, Kind::Socket, SOCKET, "Accept"),
            |known, accepts| {
                // Where systemd does not tell, its counters are asked for.
                known.accepts = accepts.unwrap_or(true);
                known.is_asked = true;
            },
        )
    }

    /// Takes a unit out of the list.
    fn see(&mut self, listed: &Listed<'_>) {
        let &(name, _, load_state, active_state, _, _, ref path, ..) = listed;
        match self.summary.get_mut(active_state) {
            Some(n) => *n += 1,
            None => drop(self.summary.insert(active_state.into(), 1)),
        }
        if load_state != "loaded" {
            return;
        }
        if !self.by_name.contains_key(name) {
            let unit = Unit::new(name, self.filter.keeps(name));
            self.by_name.insert(name.into(), unit);
        }
        let Some(unit) = self.by_name.get_mut(name) else { return };
        unit.list = self.lists;
        if *unit.state != *active_state {
            unit.state = active_state.into();
            unit.forget();
        }
        if *unit.path != *path.as_str() {
            unit.path = path.as_str().into();
        }
    }

    fn forget(&mut self) {
        self.by_name.values_mut().for_each(Unit::forget);
    }

    /// The units that are wanted, in the order of their names.
    pub(super) fn wanted(&self) -> impl Iterator<Item = (&str, &Unit, &Known)> {
        self.by_name.iter().filter_map(|(name, unit)| Some((&**name, unit, unit.known.as_ref()?)))
    }

    /// Puts how many units are in each state, those included that are not wanted.
    pub(super) fn put_summary(&self, out: &mut Sink) {
        for state in STATES {
            let n = self.summary.get(state).copied().unwrap_or_default();
            out.put(&UNITS, [&state], n);
        }
        for (state, &n) in &self.summary {
            if n > 0 && !STATES.contains(&&**state) {
                out.put(&UNITS, [state], n);
            }
        }
    }
}

/// The questions for a fact of the wanted units of this kind that is not known.
fn missing<'a>(
    units: &'a mut BTreeMap<Box<str>, Unit>,
    kind: Kind,
    interface: Object<'static>,
    name: &'static str,
) -> impl Iterator<Item = (Property<'a>, &'a mut Known)> {
    units.values_mut().filter(move |unit| unit.kind == kind).filter_map(move |unit| {
        let known = unit.known.as_mut().filter(|known| !known.is_asked)?;
        Some((Property { object: Object { path: &unit.path, ..interface }, name }, known))
    })
}
