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
    host::bus::{Address, Bus, Object, Property, Session, Wrong},
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
            triggers: false,
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

/// A series of a unit whose value is one of its properties.
struct Series {
    metric: &'static Metric<1>,
    interface: Object<'static>,
    property: &'static str,
    /// The source of the value.
    source: fn(&Unit, &Known, Wants) -> Source,
    /// The value of the metric; `None` where the property says that there is none.
    value: fn(u64) -> Option<f64>,
}

/// The source of a value.
enum Source {
    /// There is no value.
    Nothing,
    /// It is 0, as is known without a question.
    Zero,
    /// systemd has it.
    Property,
}

static SERIES: [Series; 8] = [
    Series {
        metric: &START_TIME,
        interface: UNIT,
        property: "ActiveEnterTimestamp",
        source: |unit, _, wants| match wants.start_times {
            false => Source::Nothing,
            true if unit.is_active() => Source::Property,
            true => Source::Zero,
        },
        value: seconds,
    },
    Series {
        metric: &RESTART,
        interface: SERVICE,
        property: "NRestarts",
        source: |unit, _, wants| Source::of(unit.kind == Kind::Service && wants.restarts),
        value: count,
    },
    Series {
        metric: &TASKS_CURRENT,
        interface: SERVICE,
        property: "TasksCurrent",
        source: |unit, _, wants| Source::of(unit.kind == Kind::Service && wants.tasks),
        value: limit,
    },
    Series {
        metric: &TASKS_MAX,
        interface: SERVICE,
        property: "TasksMax",
        source: |unit, _, wants| Source::of(unit.kind == Kind::Service && wants.tasks),
        value: limit,
    },
    Series {
        metric: &ACCEPTED,
        interface: SOCKET,
        property: "NAccepted",
        source: connections,
        value: count,
    },
    Series {
        metric: &CURRENT,
        interface: SOCKET,
        property: "NConnections",
        source: connections,
        value: count,
    },
    Series {
        metric: &REFUSED,
        interface: SOCKET,
        property: "NRefused",
        source: connections,
        value: count,
    },
    Series {
        metric: &LAST_TRIGGER,
        interface: TIMER,
        property: "LastTriggerUSec",
        source: |unit, _, wants| Source::of(unit.kind == Kind::Timer && wants.triggers),
        value: seconds,
    },
];

impl Source {
    const fn of(is_there: bool) -> Self {
        if is_there { Self::Property } else { Self::Nothing }
    }
}

const fn connections(unit: &Unit, known: &Known, _: Wants) -> Source {
    match unit.kind {
        Kind::Socket if known.accepts => Source::Property,
        Kind::Socket => Source::Zero,
        _ => Source::Nothing,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "one of several kinds of value")]
const fn count(number: u64) -> Option<f64> {
    Some(number as f64)
}

#[expect(clippy::unnecessary_wraps, reason = "one of several kinds of value")]
fn seconds(microseconds: u64) -> Option<f64> {
    Some(microseconds as f64 / 1e6)
}

/// The greatest number says that there is none.
fn limit(number: u64) -> Option<f64> {
    (number < u64::MAX).then_some(number as f64)
}

struct Systemd {
    /// The system bus, and systemd itself where this process may ask it: the second is asked where
    /// nobody listens at the first.
    buses: Vec<Bus>,
    units: Units,
    wants: Wants,
}

/// The series that are not always there.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "series are wanted apart from each other")]
struct Wants {
    tasks: bool,
    restarts: bool,
    start_times: bool,
    /// The times at which timers elapsed last, which this systemd may be too old to tell.
    triggers: bool,
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
    let has_state = manager::put_version(asked, out)? >= manager::WITH_STATE;
    if has_state {
        manager::put_state(asked, out)?;
    }
    let wants = Wants { triggers: has_state, ..wants };
    let loaded_at = manager::loaded_at(asked)?;
    units.refresh(loaded_at, asked)?;
    units.put_summary(out);
    let mut questions = Vec::new();
    for (name, unit, known) in units.wanted() {
        for state in STATES {
            out.put(&STATE, [&name, &state, &known.type_], unit.is(state));
        }
        for series in &SERIES {
            match (series.source)(unit, known, wants) {
                Source::Nothing => {}
                Source::Zero => out.put(series.metric, [&name], 0),
                Source::Property => {
                    let object = Object { path: &unit.path, ..series.interface };
                    let property = Property { object, name: series.property };
                    questions.push((property, (name, series)));
                }
            }
        }
    }
    asked.get_all(questions, |(name, series), number: Option<u64>| {
        if let Some(value) = number.and_then(series.value) {
            out.put(series.metric, [&name], value);
        }
    })?;
    session.end()
}
