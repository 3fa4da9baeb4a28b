//! The units that systemd has loaded, and the facts that are kept of each between scrapes.
//!
//! Type and `Accept=` are those of the unit's file, which systemd reads when it loads the unit:
//! at a `daemon-reload`, after which everything is asked anew, or when a unit is used that it had
//! unloaded. Only inactive units are unloaded, so a unit is asked anew, too, when it was away or its
//! state has changed. A unit may have been away between two scrapes without a trace: so each is
//! asked anew in every [`ROUND`]th scrape.

use super::{MANAGER, MOUNT, SERVICE, SOCKET, filter::Filter};
use crate::{
    host::bus::{Object, Session},
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

/// A unit as `ListUnits` tells it.
struct Listed<'a> {
    name: &'a str,
    load_state: &'a str,
    active_state: &'a str,
    path: &'a str,
}

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
    fn new(name: &str, listed: &Listed<'_>, is_wanted: bool) -> Self {
        Self {
            path: listed.path.into(),
            kind: Kind::of(name),
            state: listed.active_state.into(),
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

impl Known {
    /// Asks for the unit's facts.
    fn ask(&mut self, kind: Kind, path: &str, session: &mut Session<'_>) -> Result {
        let of = |interface| Object { path, ..interface };
        let type_ = match kind {
            Kind::Service => session.text(&of(SERVICE), "Type")?,
            Kind::Mount => session.text(&of(MOUNT), "Type")?,
            Kind::Socket => {
                // Where systemd does not tell, its counters are asked for.
                self.accepts = session.flag(&of(SOCKET), "Accept")?.unwrap_or(true);
                None
            }
            Kind::Timer | Kind::Other => None,
        };
        if *self.type_ != *type_.unwrap_or_default() {
            self.type_ = type_.unwrap_or_default().into();
        }
        self.is_asked = true;
        Ok(())
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
        session.list(&MANAGER, "ListUnits", "a(ssssssouso)", |row| {
            let [name, _description, load_state, active_state, _sub_state, _followed, path] =
                row.texts()?;
            row.number()?; // the job that is under way
            let [_kind_of_job, _path_of_job] = row.texts()?;
            self.see(&Listed { name, load_state, active_state, path });
            Ok(())
        })?;
        let list = self.lists;
        self.by_name.retain(|_, unit| unit.list == list);
        self.loaded_at = loaded_at;
        for (place, unit) in (0..).zip(self.by_name.values_mut()) {
            let Some(known) = &mut unit.known else { continue };
            if !known.is_asked || (list + place).is_multiple_of(ROUND) {
                known.ask(unit.kind, &unit.path, session)?;
            }
        }
        Ok(())
    }

    /// Takes a unit out of the list.
    fn see(&mut self, listed: &Listed<'_>) {
        match self.summary.get_mut(listed.active_state) {
            Some(n) => *n += 1,
            None => drop(self.summary.insert(listed.active_state.into(), 1)),
        }
        if listed.load_state != "loaded" {
            return;
        }
        if !self.by_name.contains_key(listed.name) {
            let unit = Unit::new(listed.name, listed, self.filter.keeps(listed.name));
            self.by_name.insert(listed.name.into(), unit);
        }
        let Some(unit) = self.by_name.get_mut(listed.name) else { return };
        unit.list = self.lists;
        if *unit.state != *listed.active_state {
            unit.state = listed.active_state.into();
            unit.forget();
        }
        if *unit.path != *listed.path {
            unit.path = listed.path.into();
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
