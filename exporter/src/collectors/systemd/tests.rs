use super::*;
use crate::testing::{bus::Server, flags, samples};
use std::{fmt::Write as _, io::Write as _};
use tempfile::NamedTempFile;

/// A systemd that is a recording, which each test writes.
struct Recorded {
    server: Server,
    file: NamedTempFile,
    collector: Box<dyn Collector>,
    scrape: u64,
}

/// Units by name and active state, and properties by unit, interface and name, with their types
/// and values.
struct Said<'a> {
    units: &'a [(&'a str, &'a str)],
    properties: &'a [(&'a str, &'a str, &'a str, &'a str, &'a str)],
}

impl Recorded {
    fn new(args: &[&str]) -> Self {
        let file = NamedTempFile::new().unwrap();
        let server = Server::start(file.path());
        let mut all = vec![format!("--dbus.address={}", server.address())];
        all.extend(args.iter().map(|arg| format!("--collector.systemd.{arg}")));
        let flags = flags(&all);
        let collector = (SPEC.new)(&Host::new(&flags), &flags).unwrap();
        Self { server, file, collector, scrape: 0 }
    }

    fn says(&self, said: &Said<'_>) {
        let mut text = String::new();
        let units: Vec<String> = (said.units.iter())
            .map(|(name, state)| {
                let path = format!("{}/unit/{}", MANAGER.path, name.replace('.', "_2e"));
                format!(r#"["{name}","","loaded","{state}","","","{path}",0,"","/"]"#)
            })
            .collect();
        let _ = writeln!(
            text,
            r#"{{"path":"{}","interface":"{}","member":"ListUnits","arguments":[],"type":"a(ssssssouso)","data":[[{}]]}}"#,
            MANAGER.path,
            MANAGER.interface,
            units.join(",")
        );
        for (unit, interface, name, kind, value) in said.properties {
            let path = match *unit {
                "" => MANAGER.path.to_owned(),
                unit => format!("{}/unit/{}", MANAGER.path, unit.replace('.', "_2e")),
            };
            let _ = writeln!(
                text,
                r#"{{"path":"{path}","interface":"org.freedesktop.DBus.Properties","member":"Get","arguments":["org.freedesktop.systemd1.{interface}","{name}"],"type":"v","data":[{{"type":"{kind}","data":{value}}}]}}"#
            );
        }
        let mut file = self.file.reopen().unwrap();
        file.set_len(0).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// The samples, the result, and how many calls were made.
    fn scrape(&mut self) -> (String, Result, usize) {
        self.scrape += 1;
        let (before, mut result) = (self.server.counts().1, Ok(()));
        let (scrape, collector) = (self.scrape, &mut self.collector);
        let samples = samples(|out| {
            out.begin(scrape);
            result = collector.collect(out);
        });
        (samples, result, self.server.counts().1 - before)
    }
}

fn state(name: &str, state: &str, kind: &str, value: u8) -> String {
    format!(
        "node_systemd_unit_state{{name=\"{name}\",state=\"{state}\",type=\"{kind}\"}} {value}\n"
    )
}

const LOADED: (&str, &str, &str, &str, &str) =
    ("", "Manager", "UnitsLoadTimestampMonotonic", "t", "7");

/// Version, Virtualization, `UnitsLoadTimestampMonotonic` and `ListUnits`.
const ALWAYS: usize = 4;

#[test]
fn types_are_kept_until_systemd_loads_its_units_again() {
    let mut systemd = Recorded::new(&[]);
    let units = [("a.service", "active"), ("b.service", "inactive"), ("c.target", "active")];
    let types = |a, loaded| [("a.service", "Service", "Type", "s", a), loaded];
    systemd.says(&Said { units: &units, properties: &types("\"simple\"", LOADED) });
    let (text, result, calls) = systemd.scrape();
    result.unwrap();
    assert_eq!(calls, ALWAYS + 2, "the types of two services");
    assert!(text.contains(&state("a.service", "active", "simple", 1)), "{text}");
    assert!(text.contains(&state("a.service", "failed", "simple", 0)), "{text}");
    assert!(text.contains(&state("b.service", "inactive", "", 1)), "refused: {text}");
    let (again, _, calls) = systemd.scrape();
    assert_eq!((again, calls), (text, ALWAYS));

    systemd.says(&Said { units: &units, properties: &types("\"notify\"", LOADED) });
    assert!(systemd.scrape().0.contains("\"simple\""), "kept");
    let later = ("", "Manager", "UnitsLoadTimestampMonotonic", "t", "8");
    systemd.says(&Said { units: &units, properties: &types("\"notify\"", later) });
    let (text, _, calls) = systemd.scrape();
    assert!(text.contains(&state("a.service", "active", "notify", 1)), "{text}");
    assert_eq!(calls, ALWAYS + 2);
    assert_eq!(systemd.scrape().2, ALWAYS);

    // Stopped, unloaded, edited and started, once seen away and once seen in another state.
    let others = [("b.service", "inactive"), ("c.target", "active")];
    systemd.says(&Said { units: &others, properties: &types("\"exec\"", later) });
    assert!(!systemd.scrape().0.contains("a.service"));
    systemd.says(&Said { units: &units, properties: &types("\"exec\"", later) });
    assert!(systemd.scrape().0.contains(&state("a.service", "active", "exec", 1)));
    let starting = [("a.service", "activating"), ("c.target", "active")];
    systemd.says(&Said { units: &starting, properties: &types("\"idle\"", later) });
    assert!(systemd.scrape().0.contains(&state("a.service", "activating", "idle", 1)));
    // And once not seen at all.
    systemd.says(&Said { units: &starting, properties: &types("\"forking\"", later) });
    let is_new = (0..units::ROUND).any(|_| systemd.scrape().0.contains("forking"));
    assert!(is_new, "within a round");
}

#[test]
fn a_systemd_that_does_not_tell_when_it_loaded_is_asked_each_time() {
    let mut systemd = Recorded::new(&[]);
    let units = [("a.service", "active"), ("b.timer", "active")];
    for kind in ["\"simple\"", "\"notify\""] {
        let properties = [
            ("a.service", "Service", "Type", "s", kind),
            ("b.timer", "Timer", "LastTriggerUSec", "t", "1500000"),
            ("", "Manager", "Version", "s", "\"systemd 208\""),
            ("", "Manager", "SystemState", "s", "\"running\""),
        ];
        systemd.says(&Said { units: &units, properties: &properties });
        let (text, result, _) = systemd.scrape();
        result.unwrap();
        let kind = kind.trim_matches('"');
        assert!(text.contains(&state("a.service", "active", kind, 1)), "{text}");
        assert!(text.contains("node_systemd_version{version=\"systemd 208\"} 208\n"), "{text}");
        assert!(text.contains("virtualization_info{virtualization_type=\"unknown\"} 1\n"));
        assert!(!text.contains("last_trigger") && !text.contains("running"), "212 has them");
    }
}

#[test]
fn sockets_count_only_what_systemd_accepts() {
    let mut systemd = Recorded::new(&[]);
    let units = [("a.socket", "active"), ("b.socket", "active"), ("c.socket", "active")];
    let properties = [
        LOADED,
        ("a.socket", "Socket", "Accept", "b", "true"),
        ("a.socket", "Socket", "NAccepted", "u", "7"),
        ("a.socket", "Socket", "NConnections", "u", "2"),
        ("b.socket", "Socket", "Accept", "b", "false"),
        ("c.socket", "Socket", "NAccepted", "u", "9"),
    ];
    systemd.says(&Said { units: &units, properties: &properties });
    let (text, result, calls) = systemd.scrape();
    result.unwrap();
    assert_eq!(calls, ALWAYS + 3 + 3 + 3, "Accept of each, and the counters of two");
    for (name, socket, value) in [
        ("accepted_connections_total", "a", "7"),
        ("current_connections", "a", "2"),
        ("accepted_connections_total", "b", "0"),
        ("refused_connections_total", "b", "0"),
        ("accepted_connections_total", "c", "9"),
    ] {
        let line = format!("node_systemd_socket_{name}{{name=\"{socket}.socket\"}} {value}\n");
        assert!(text.contains(&line), "{line}{text}");
    }
    assert!(!text.contains("refused_connections_total{name=\"a.socket\"}"), "before 239: {text}");
}

#[test]
fn units_in_reload_are_active() {
    let all = ["enable-start-time-metrics"];
    let mut systemd = Recorded::new(&all);
    let units =
        [("a.target", "reloading"), ("b.target", "refreshing"), ("c.target", "maintenance")];
    let properties =
        [LOADED, ("a.target", "Unit", "ActiveEnterTimestamp", "t", "1700000000500000")];
    systemd.says(&Said { units: &units, properties: &properties });
    let (text, result, _) = systemd.scrape();
    result.unwrap();
    assert!(text.contains(&state("a.target", "active", "", 1)), "{text}");
    assert!(text.contains(&state("b.target", "active", "", 1)), "{text}");
    assert!(text.contains(&state("c.target", "active", "", 0)), "{text}");
    assert!(text.contains("unit_start_time_seconds{name=\"a.target\"} 1.7000000005e+09\n"));
    assert!(!text.contains("unit_start_time_seconds{name=\"b.target\"}"), "refused: {text}");
    assert!(text.contains("unit_start_time_seconds{name=\"c.target\"} 0\n"), "{text}");
    for (state, n) in [("active", 0), ("reloading", 1), ("maintenance", 1)] {
        assert!(text.contains(&format!("node_systemd_units{{state=\"{state}\"}} {n}\n")), "{text}");
    }
    systemd.says(&Said { units: &[("a.target", "active")], properties: &[LOADED] });
    let (text, ..) = systemd.scrape();
    assert!(text.contains("node_systemd_units{state=\"active\"} 1\n"), "{text}");
    assert!(!text.contains("reloading"), "no unit is: {text}");
}

#[test]
fn a_property_of_another_type_costs_itself_alone() {
    let mut systemd = Recorded::new(&["enable-task-metrics", "enable-restarts-metrics"]);
    let properties = [
        LOADED,
        ("a.service", "Service", "Type", "u", "7"),
        ("a.service", "Service", "NRestarts", "u", "3"),
        ("a.service", "Service", "TasksCurrent", "t", "4"),
        ("a.service", "Service", "TasksMax", "t", "18446744073709551615"),
    ];
    systemd.says(&Said { units: &[("a.service", "active")], properties: &properties });
    let (text, result, _) = systemd.scrape();
    assert_eq!(result.unwrap_err().to_string(), "dbus: Type is not a text");
    assert!(text.contains(&state("a.service", "active", "", 1)), "{text}");
    assert!(text.contains("node_systemd_service_restart_total{name=\"a.service\"} 3\n"), "{text}");
    assert!(text.contains("node_systemd_unit_tasks_current{name=\"a.service\"} 4\n"), "{text}");
    assert!(!text.contains("unit_tasks_max"), "no limit: {text}");
}

#[test]
fn without_a_list_of_units_the_collector_fails() {
    let mut systemd = Recorded::new(&[]);
    let (text, result, _) = systemd.scrape();
    let error = result.unwrap_err().to_string();
    assert_eq!(error, "dbus: ListUnits: org.freedesktop.DBus.Error.UnknownObject");
    assert!(text.contains("node_systemd_version{version=\"\"} 0\n"), "{text}");
}
