//! Processes that supervisord looks after, asked of it by XML-RPC at each scrape, over HTTP or by a
//! Unix socket.
//!
//! A process is up while it is starting, running or stopping. The collector is deprecated upstream.

mod answer;

use crate::{host::xmlrpc::Endpoint, prelude::*};
use answer::Process;
use std::time::Duration;

pub const SPEC: Spec = Spec {
    name: "supervisord",
    enabled: false,
    capabilities: NONE,
    flags: &[&URL],
    new: |_, flags| {
        let endpoint = Endpoint::parse(&flags.get(&URL))
            .map_err(|reason| Error::Flag(format!("--collector.supervisord.url: {reason}")))?;
        tracing::warn!(
            collector = SPEC.name,
            "This collector is deprecated and will be removed in the next major version release."
        );
        Ok(Box::new(Supervisord { endpoint, buffer: Vec::new() }))
    },
};

static URL: Flag<String> =
    Flag::value("collector.supervisord.url", &["http://localhost:9001/RPC2"], "XML RPC endpoint.")
        .variable("SUPERVISORD_URL");

static UP: Metric<2> = gauge("node_supervisord_up", "Process Up").by(["group", "name"]);
static STATE: Metric<2> = gauge("node_supervisord_state", "Process State").by(["group", "name"]);
static EXIT_STATUS: Metric<2> =
    gauge("node_supervisord_exit_status", "Process Exit Status").by(["group", "name"]);
static START: Metric<2> =
    counter("node_supervisord_start_time_seconds", "Process start time").by(["group", "name"]);

const QUESTION: &str = "<?xml version=\"1.0\"?><methodCall><methodName>supervisor.getAllProcessInfo</methodName><params/></methodCall>";

/// How long the server may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// `STARTING`, `RUNNING` and `STOPPING`.
const UP_STATES: [f64; 3] = [10.0, 20.0, 40.0];

struct Supervisord {
    endpoint: Endpoint,
    /// For answers, kept.
    buffer: Vec<u8>,
}

impl Collector for Supervisord {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { endpoint, buffer } = self;
        let body = endpoint.ask(QUESTION, out.patience(PATIENCE), buffer)?;
        let xml = std::str::from_utf8(body)
            .map_err(|_| Malformed::new("XML", &String::from_utf8_lossy(body)));
        let (processes, faults) = xml.and_then(answer::parse).map_err(odd)?;
        for process in &processes {
            put(process, out);
        }
        faults.end().map_err(odd)
    }
}

fn put(process: &Process, out: &mut Sink) {
    let Process { name, group, state, exit_status, start } = process;
    if let Some(exit_status) = exit_status {
        out.put(&EXIT_STATUS, [group, name], *exit_status);
    }
    let Some(state) = state else { return };
    let is_up = UP_STATES.contains(state);
    out.put(&STATE, [group, name], *state);
    out.put(&UP, [group, name], is_up);
    if let (true, Some(start)) = (is_up, start) {
        out.put(&START, [group, name], *start);
    }
}

fn odd(malformed: Malformed) -> Error {
    Error::Source { source_name: "supervisord", error: Box::new(malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, flags, samples};

    #[test]
    fn a_process_that_is_not_up_has_no_start() {
        let process = |state| Process {
            name: "a".into(),
            group: "g".into(),
            state: Some(state),
            exit_status: Some(3.0),
            start: Some(5.0),
        };
        for (state, is_up) in [
            (0.0, false),
            (10.0, true),
            (20.0, true),
            (30.0, false),
            (40.0, true),
            (100.0, false),
            (200.0, false),
            (1000.0, false),
        ] {
            let text = samples(|out| put(&process(state), out));
            assert_eq!(text.contains("node_supervisord_start_time_seconds{"), is_up, "{state}");
            let up = format!("node_supervisord_up{{group=\"g\",name=\"a\"}} {}\n", u8::from(is_up));
            assert!(text.contains(&up), "{text}");
            assert!(text.contains("node_supervisord_exit_status{group=\"g\",name=\"a\"} 3\n"));
        }
    }

    #[test]
    fn a_url_that_cannot_be_asked_ends_the_start() {
        let flags = flags(&["--collector.supervisord.url=https://me:secret@h/".to_owned()]);
        let machine = Machine::new();
        let host = Host::new(&crate::testing::flags(&crate::testing::paths(machine.path())));
        let error = (SPEC.new)(&host, &flags).err().unwrap().to_string();
        assert_eq!(error, "--collector.supervisord.url: https is not supported");
    }
}
