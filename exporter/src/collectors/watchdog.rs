//! State of watchdog timers, from `/sys/class/watchdog` (`drivers/watchdog/watchdog_dev.c`).
//!
//! A driver has some of the attributes only, and none where the kernel is built without
//! `CONFIG_WATCHDOG_SYSFS`: then only the timer's info series is exposed.

use crate::{parse::any_base, prelude::*};

pub const SPEC: Spec = Spec {
    name: "watchdog",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| Ok(Box::new(Watchdog(host.sys.folder("class/watchdog")))),
};

macro_rules! numbers {
    ($($file:literal as $name:literal,)*) => {
        [$((
            $file,
            gauge(
                $name,
                concat!("Value of /sys/class/watchdog/<watchdog>/", $file),
            )
            .by(["name"]),
        ),)*]
    };
}

static NUMBERS: [(&str, Metric<1>); 7] = numbers! {
    "access_cs0" as "node_watchdog_access_cs0",
    "bootstatus" as "node_watchdog_bootstatus",
    "fw_version" as "node_watchdog_fw_version",
    "nowayout" as "node_watchdog_nowayout",
    "pretimeout" as "node_watchdog_pretimeout_seconds",
    "timeleft" as "node_watchdog_timeleft_seconds",
    "timeout" as "node_watchdog_timeout_seconds",
};
static INFO: Metric<6> = gauge("node_watchdog_info", "Info of /sys/class/watchdog/<watchdog>")
    .by(["identity", "name", "options", "pretimeout_governor", "state", "status"]);

struct Watchdog(Folder);

impl Collector for Watchdog {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let entries = match self.0.list() {
            Err(error) if error.is_hidden() => return Err(Error::NoData),
            entries => entries?,
        };
        let mut faults = Faults::default();
        for entry in entries {
            let Some(dir) = faults.read(entry.dir()) else { continue };
            let name = entry.name();
            for (file, metric) in &NUMBERS {
                if let Some(value) = faults.read(dir.parse(file, any_base)) {
                    out.put(metric, [&name], value);
                }
            }
            let [identity, options, governor, state, status] =
                dir.texts(["identity", "options", "pretimeout_governor", "state", "status"]);
            out.put(&INFO, [&identity, &name, &options, &governor, &state, &status], true);
        }
        faults.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, sample_lines};

    #[test]
    fn a_timer_without_attributes_is_named_and_a_vanished_timer_is_not() {
        let machine = Machine::new()
            .with("sys/class/watchdog/watchdog0/timeout", "soon\n")
            .with("sys/class/watchdog/watchdog0/fw_version", "18446744073709551616\n")
            .with("sys/class/watchdog/watchdog1/timeleft/is_a_directory", "")
            .with("sys/class/watchdog/watchdog1/bootstatus", "0x20\n");
        let link = machine.path().join("sys/class/watchdog/watchdog2");
        std::os::unix::fs::symlink("gone", link).unwrap();
        let (text, result) = machine.collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("/watchdog0/timeout: bad number: \"soon\""), "{error}");
        let samples: Vec<_> = sample_lines(&text).collect();
        let info = |name| {
            format!(
                "node_watchdog_info{{identity=\"\",name=\"{name}\",options=\"\",\
                 pretimeout_governor=\"\",state=\"\",status=\"\"}} 1"
            )
        };
        assert_eq!(
            samples,
            [
                "node_watchdog_bootstatus{name=\"watchdog1\"} 32",
                "node_watchdog_fw_version{name=\"watchdog0\"} 1.8446744073709552e+19",
                &info("watchdog0"),
                &info("watchdog1")
            ]
        );
    }

    #[test]
    fn no_class_is_no_data() {
        assert!(matches!(Machine::new().collect(&SPEC, &[]).1, Err(Error::NoData)));
    }
}
