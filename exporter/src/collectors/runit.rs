//! Services under runit, from the 20 bytes of each one's `supervise/status`.
//!
//! `runsv` replaces that file whenever something changes (`update_status()` in `runsv.c` of runit):
//! the time of the last change as a TAI64N label, the process, whether the process is paused, the
//! wanted state (`u` or `d`), whether the process was told to end, and its state. A folder without
//! a whole status has no running service. The collector is deprecated upstream.

use crate::prelude::*;

pub const SPEC: Spec = Spec {
    name: "runit",
    enabled: false,
    capabilities: CapabilitySet::DAC_READ_SEARCH,
    flags: &[&FOLDER],
    new: |_, flags| {
        tracing::warn!(
            collector = SPEC.name,
            "This collector is deprecated and will be removed in the next major version release."
        );
        Ok(Box::new(Runit(Tree::new(flags.get(&FOLDER)).folder(""))))
    },
};

static FOLDER: Flag<String> = Flag::value(
    "collector.runit.servicedir",
    &["/etc/service"],
    "Path to runit service directory.",
);

static STATE: Metric<2> =
    gauge("node_service_state", "State of runit service.").by(["service", "supervisor"]);
static DESIRED: Metric<2> = gauge("node_service_desired_state", "Desired state of runit service.")
    .by(["service", "supervisor"]);
static NORMAL: Metric<2> = gauge("node_service_normal_state", "Normal state of runit service.")
    .by(["service", "supervisor"]);
static CHANGED: Metric<2> = gauge(
    "node_service_state_last_change_timestamp_seconds",
    "Unix timestamp of the last runit service state change.",
)
.by(["service", "supervisor"]);

/// The TAI64 label of the second at which Unix time begins, as runit reckons it (`taia_now()` of
/// its `taia_now.c`): 2⁶² and ten seconds.
const EPOCH: u64 = (1 << 62) + 10;

struct Runit(Folder);

impl Collector for Runit {
    fn collect(&mut self, out: &mut Sink) -> Result {
        for entry in self.0.list()? {
            // `runsvdir` ignores names that begin with a dot.
            if entry.bytes().starts_with(b".") {
                continue;
            }
            let Some(service) = entry.dir().unless_unreadable()? else { continue };
            let Some(status) = service.bytes("supervise/status").unless_unreadable()? else {
                continue;
            };
            let Some(status) = parse(&status) else { continue };
            // A status without a reader of `ok` was left behind by a `runsv` that has ended.
            if service.has_reader("supervise/ok") == Some(false) {
                continue;
            }
            let is_normally_up = !service.has("down");
            let name = entry.bytes();
            out.put(&STATE, [&name, &"runit"], status.state);
            out.put(&DESIRED, [&name, &"runit"], status.wants_up);
            out.put(&CHANGED, [&name, &"runit"], status.changed);
            out.put(&NORMAL, [&name, &"runit"], is_normally_up);
        }
        Ok(())
    }
}

/// A service's status as `runsv` writes it.
#[derive(Debug, PartialEq, Eq)]
struct Status {
    /// 0 down, 1 run, 2 finish.
    state: u8,
    wants_up: bool,
    /// Seconds since 1970.
    changed: i64,
}

/// `None` where the file is not whole.
fn parse(status: &[u8]) -> Option<Status> {
    let status: &[u8; 20] = status.try_into().ok()?;
    let (seconds, rest) = status.split_first_chunk::<8>()?;
    // Nanoseconds (4), process (4), paused, wanted, told to end, state.
    let [.., want, _, state] = rest else { return None };
    let changed = u64::from_be_bytes(*seconds).wrapping_sub(EPOCH).cast_signed();
    Some(Status { state: *state, wants_up: *want == b'u', changed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;
    use rustix::fs::{CWD, FileType, Mode};

    /// A status file: the state and the state wanted, changed at second 100.
    fn status(state: u8, want: u8) -> Vec<u8> {
        let mut bytes = (EPOCH + 100).to_be_bytes().to_vec();
        bytes.extend([0, 0, 0, 5, 7, 0, 0, 0, 0, want, 0, state]);
        bytes
    }

    #[test]
    fn a_status_has_twenty_bytes() {
        let up = Status { state: 1, wants_up: true, changed: 100 };
        assert_eq!(parse(&status(1, b'u')), Some(up));
        let down = Status { state: 0, wants_up: false, changed: 100 };
        assert_eq!(parse(&status(0, b'd')), Some(down));
        for length in 0..20 {
            assert_eq!(parse(&status(1, b'u')[..length]), None);
        }
        assert_eq!(parse(&[0; 21]), None);
    }

    #[test]
    fn services_without_a_whole_status_are_left_out() {
        let machine = Machine::new()
            .with("s/up/supervise/status", status(1, b'u'))
            .with("s/off/supervise/status", status(0, b'd'))
            .with("s/off/down", "")
            .with("s/dead/supervise/status", status(1, b'u'))
            .with("s/short/supervise/status", "short")
            .with("s/none/run", "")
            .with("s/.hidden/supervise/status", status(1, b'u'))
            .with("s/a-file", "");
        let folder = machine.path().join("s");
        let fifo = folder.join("dead/supervise/ok");
        rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let folder = format!("--collector.runit.servicedir={}", folder.display());
        let (text, result) = machine.collect(&SPEC, &[&folder]);
        result.unwrap();
        let series = |name: &str, service: &str, value: &str| {
            let line = format!("{name}{{service=\"{service}\",supervisor=\"runit\"}} {value}\n");
            assert!(text.contains(&line), "{line}{text}");
        };
        series("node_service_state", "up", "1");
        series("node_service_desired_state", "off", "0");
        series("node_service_normal_state", "off", "0");
        series("node_service_normal_state", "up", "1");
        series("node_service_state_last_change_timestamp_seconds", "up", "100");
        for absent in ["dead", "short", "none", "hidden", "a-file"] {
            assert!(!text.contains(absent), "{text}");
        }
    }

    #[test]
    fn without_its_folder_the_collector_fails() {
        let machine = Machine::new();
        let folder = format!("--collector.runit.servicedir={}", machine.path().join("s").display());
        let error = machine.collect(&SPEC, &[&folder]).1.unwrap_err();
        assert!(error.to_string().contains("/s"), "{error}");
    }
}
