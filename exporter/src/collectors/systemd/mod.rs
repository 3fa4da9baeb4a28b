//! Units of systemd, asked over the bus: one list of all units a scrape, and single properties of
//! those units whose kind has some that change.
//!
//! Which kind of service a unit is (`Type=`) changes only when systemd loads it anew, so it is kept
//! (see [`units`]). Sockets count connections only with `Accept=yes`; those of all others are 0 and
//! never asked for. A unit in reload, which systemd counts among the active ones, is active.

mod filter;
mod manager;
#[cfg(test)]
mod tests;
mod units;

use crate::{
    host::bus::{Address, Bus, Object, Session, Wrong},
    prelude::*,
};
use std::time::Duration;
use units::{Kind, Known, STATES, Unit, Units};

pub const SPEC: Spec = Spec {
    name: "systemd",
    enabled: false,
    capabilities: NONE,
    flags: &[
        &filter::INCLUDE,
        &filter::OLD_INCLUDE,
        &filter::EXCLUDE,
        &filter::OLD_EXCLUDE,
        &PRIVATE,
        &TASKS,
        &RESTARTS,
        &START_TIMES,
    ],
    new: |host, flags| {
        let private = Bus::new(Address::systemd());
        let buses = match flags.get(&PRIVATE) {
            true => vec![private],
            false if host.is_root() => vec![host.bus.clone(), private],
            false => vec![host.bus.clone()],
        };
        let wants = Wants {
            tasks: flags.get(&TASKS),
            restarts: flags.get(&RESTARTS),
            start_times: flags.get(&START_TIMES),
        };
        Ok(Box::new(Systemd { buses, units: Units::new(filter::read(flags)?), wants }))
    },
};

static PRIVATE: Flag<bool> = switch(
    "collector.systemd.private",
    false,
    "Establish a private, direct connection to systemd without dbus (Strongly discouraged since it requires root. For testing purposes only).",
)
.hidden();
static TASKS: Flag<bool> = switch(
    "collector.systemd.enable-task-metrics",
    false,
    "Enables service unit tasks metrics unit_tasks_current and unit_tasks_max",
);
static RESTARTS: Flag<bool> = switch(
    "collector.systemd.enable-restarts-metrics",
    false,
    "Enables service unit metric service_restart_total",
);
static START_TIMES: Flag<bool> = switch(
    "collector.systemd.enable-start-time-metrics",
    false,
    "Enables service unit metric unit_start_time_seconds",
);

static STATE: Metric<3> =
    gauge("node_systemd_unit_state", "Systemd unit").by(["name", "state", "type"]);
static START_TIME: Metric<1> = gauge(
    "node_systemd_unit_start_time_seconds",
    "Start time of the unit since unix epoch in seconds.",
)
.by(["name"]);
static TASKS_CURRENT: Metric<1> =
    gauge("node_systemd_unit_tasks_current", "Current number of tasks per Systemd unit")
        .by(["name"]);
static TASKS_MAX: Metric<1> =
    gauge("node_systemd_unit_tasks_max", "Maximum number of tasks per Systemd unit").by(["name"]);
static RESTART: Metric<1> =
    counter("node_systemd_service_restart_total", "Service unit count of Restart triggers")
        .by(["name"]);
static LAST_TRIGGER: Metric<1> =
    gauge("node_systemd_timer_last_trigger_seconds", "Seconds since epoch of last trigger.")
        .by(["name"]);
static ACCEPTED: Metric<1> = counter(
    "node_systemd_socket_accepted_connections_total",
    "Total number of accepted socket connections",
)
.by(["name"]);
static CURRENT: Metric<1> =
    gauge("node_systemd_socket_current_connections", "Current number of socket connections")
        .by(["name"]);
// Upstream's type, whatever its name says.
static REFUSED: Metric<1> = gauge(
    "node_systemd_socket_refused_connections_total",
    "Total number of refused socket connections",
)
.by(["name"]);

/// How long systemd may take to answer all questions of a scrape.
const PATIENCE: Duration = Duration::from_secs(5);

/// systemd itself, and the interfaces of its units, each of which has a path of its own.
const MANAGER: Object<'static> = Object {
    service: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};
const UNIT: Object<'static> = Object { interface: "org.freedesktop.systemd1.Unit", ..MANAGER };
const SERVICE: Object<'static> =
    Object { interface: "org.freedesktop.systemd1.Service", ..MANAGER };
const MOUNT: Object<'static> = Object { interface: "org.freedesktop.systemd1.Mount", ..MANAGER };
const SOCKET: Object<'static> = Object { interface: "org.freedesktop.systemd1.Socket", ..MANAGER };
const TIMER: Object<'static> = Object { interface: "org.freedesktop.systemd1.Timer", ..MANAGER };

struct Systemd {
    /// The system bus, and systemd itself where this process may ask it: the second is asked where
    /// nobody listens at the first.
    buses: Vec<Bus>,
    units: Units,
    wants: Wants,
}

/// The series that are off by default.
#[derive(Clone, Copy)]
struct Wants {
    tasks: bool,
    restarts: bool,
    start_times: bool,
}

impl Collector for Systemd {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let (scrape, patience) = (out.scrape(), out.patience(PATIENCE));
        let (mut buses, mut unreachable) = (self.buses.iter(), Error::NoData);
        while let Some(bus) = buses.next() {
            match bus.open(scrape, patience) {
                Ok(session) => {
                    buses.for_each(Bus::close);
                    return collect(&mut self.units, self.wants, session, out);
                }
                Err(wrong @ Wrong::Unreachable { .. }) => unreachable = wrong.into(),
                Err(wrong) => return Err(wrong.into()),
            }
        }
        Err(unreachable)
    }
}

fn collect(units: &mut Units, wants: Wants, mut session: Session<'_>, out: &mut Sink) -> Result {
    let asked = &mut session;
    let version = manager::put_version(asked, out)?;
    let has_state = version >= manager::WITH_STATE;
    if has_state {
        manager::put_state(asked, out)?;
    }
    let loaded_at = manager::loaded_at(asked)?;
    units.refresh(loaded_at, asked)?;
    units.put_summary(out);
    for (name, unit, known) in units.wanted() {
        for state in STATES {
            out.put(&STATE, [&name, &state, &known.type_], unit.is(state));
        }
        if wants.start_times {
            put_start(name, unit, asked, out)?;
        }
        match unit.kind {
            Kind::Service => put_service(name, unit, wants, asked, out)?,
            Kind::Socket => put_socket(name, unit, known, asked, out)?,
            Kind::Timer if has_state => {
                let timer = Object { path: &unit.path, ..TIMER };
                if let Some(at) = asked.number(&timer, "LastTriggerUSec")? {
                    out.put(&LAST_TRIGGER, [&name], at as f64 / 1e6);
                }
            }
            Kind::Timer | Kind::Mount | Kind::Other => {}
        }
    }
    session.end()
}

fn put_start(name: &str, unit: &Unit, session: &mut Session<'_>, out: &mut Sink) -> Result {
    let started = if unit.is_active() {
        session.number(&Object { path: &unit.path, ..UNIT }, "ActiveEnterTimestamp")?
    } else {
        Some(0)
    };
    if let Some(at) = started {
        out.put(&START_TIME, [&name], at as f64 / 1e6);
    }
    Ok(())
}

fn put_service(
    name: &str,
    unit: &Unit,
    wants: Wants,
    session: &mut Session<'_>,
    out: &mut Sink,
) -> Result {
    let service = Object { path: &unit.path, ..SERVICE };
    if wants.restarts
        && let Some(restarts) = session.number(&service, "NRestarts")?
    {
        out.put(&RESTART, [&name], restarts);
    }
    if wants.tasks {
        for (metric, property) in [(&TASKS_CURRENT, "TasksCurrent"), (&TASKS_MAX, "TasksMax")] {
            // The greatest number says that there is none.
            if let Some(tasks) = session.number(&service, property)?.filter(|&n| n < u64::MAX) {
                out.put(metric, [&name], tasks);
            }
        }
    }
    Ok(())
}

fn put_socket(
    name: &str,
    unit: &Unit,
    known: &Known,
    session: &mut Session<'_>,
    out: &mut Sink,
) -> Result {
    let socket = Object { path: &unit.path, ..SOCKET };
    let counters = [(&ACCEPTED, "NAccepted"), (&CURRENT, "NConnections"), (&REFUSED, "NRefused")];
    for (metric, property) in counters {
        let count = if known.accepts { session.number(&socket, property)? } else { Some(0) };
        if let Some(count) = count {
            out.put(metric, [&name], count);
        }
    }
    Ok(())
}
