//! Memory errors, from `/sys/devices/system/edac/mc`.
//!
//! Each memory controller has a folder, and in it each csrow has a folder with counts for each
//! channel and the label of its module (`drivers/edac/edac_mc_sysfs.c`). Errors that the controller
//! cannot attribute to a csrow are exposed with `csrow="unknown"`. A file that a driver does not
//! have is left out. The csrows of a controller and the channels of a csrow are listed once in
//! [`SETTINGS_EVERY`](crate::host::tree::SETTINGS_EVERY) scrapes: drivers make them with the
//! controller.

use crate::{
    exposition::Label,
    host::tree::{Dir, Names},
    parse::is_digits,
    prelude::*,
};
use std::sync::Arc;

pub const SPEC: Spec = Spec {
    name: "edac",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| {
        Ok(Box::new(Edac {
            controllers: host.sys.devices("devices/system/edac/mc"),
            csrows: Arc::default(),
            room: Room::default(),
        }))
    },
};

static CORRECTABLE: Metric<1> =
    counter("node_edac_correctable_errors_total", "Total correctable memory errors.")
        .by(["controller"]);
static UNCORRECTABLE: Metric<1> =
    counter("node_edac_uncorrectable_errors_total", "Total uncorrectable memory errors.")
        .by(["controller"]);
static CSROW_CORRECTABLE: Metric<2> = counter(
    "node_edac_csrow_correctable_errors_total",
    "Total correctable memory errors for this csrow.",
)
.by(["controller", "csrow"]);
static CSROW_UNCORRECTABLE: Metric<2> = counter(
    "node_edac_csrow_uncorrectable_errors_total",
    "Total uncorrectable memory errors for this csrow.",
)
.by(["controller", "csrow"]);
static CHANNEL_CORRECTABLE: Metric<4> = counter(
    "node_edac_channel_correctable_errors_total",
    "Total correctable memory errors for this channel.",
)
.by(["channel", "controller", "csrow", "dimm_label"]);
static CHANNEL_UNCORRECTABLE: Metric<4> = counter(
    "node_edac_channel_uncorrectable_errors_total",
    "Total uncorrectable memory errors for this channel.",
)
.by(["channel", "controller", "csrow", "dimm_label"]);

struct Edac {
    controllers: Folder,
    csrows: Arc<Names>,
    room: Room,
}

/// Buffers that are kept between scrapes.
#[derive(Default)]
struct Room {
    files: Arc<Names>,
    /// A file's name.
    file: String,
    /// The label of a channel's module …
    label: String,
    /// … and the number of that channel.
    labeled: String,
}

impl Collector for Edac {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { controllers, csrows, room } = self;
        let Some(controllers) = controllers.list().unless_absent()? else { return Ok(()) };
        let mut faults = Faults::default();
        for entry in controllers {
            let name = entry.name();
            let Some(controller) = numbered(&name, "mc", "") else { continue };
            let Some(dir) = faults.read(entry.dir()) else { continue };
            put_controller(controller, &dir, csrows, room, (&mut faults, out));
        }
        faults.end()
    }
}

fn put_controller(
    controller: &str,
    dir: &Dir<'_>,
    csrows: &mut Arc<Names>,
    room: &mut Room,
    (faults, out): (&mut Faults, &mut Sink),
) {
    for (file, metric) in [("ce_count", &CORRECTABLE), ("ue_count", &UNCORRECTABLE)] {
        if let Some(n) = faults.read(dir.decimal(file)) {
            out.put(metric, [&controller], n);
        }
    }
    put_csrows(controller, dir, csrows, room, (faults, out));
    // After the numbers, in the order of the series.
    let unknown: [&dyn Label; 2] = [&controller, &"unknown"];
    put_counts(dir, ["ce_noinfo_count", "ue_noinfo_count"], unknown, (faults, out));
}

fn put_csrows(
    controller: &str,
    dir: &Dir<'_>,
    csrows: &mut Arc<Names>,
    room: &mut Room,
    (faults, out): (&mut Faults, &mut Sink),
) {
    let Some(entries) = faults.read(dir.kept_list(csrows).map(Some)) else { return };
    for entry in entries {
        let name = entry.name();
        let Some(csrow) = numbered(&name, "csrow", "") else { continue };
        let Some(dir) = faults.read(entry.dir()) else { continue };
        put_counts(&dir, ["ce_count", "ue_count"], [&controller, &csrow], (faults, out));
        put_channels(&dir, [controller, csrow], room, (faults, out));
    }
}

/// Exposes a csrow's correctable and uncorrectable errors from the two files.
fn put_counts(
    dir: &Dir<'_>,
    files: [&str; 2],
    labels: [&dyn Label; 2],
    (faults, out): (&mut Faults, &mut Sink),
) {
    for (file, metric) in files.into_iter().zip([&CSROW_CORRECTABLE, &CSROW_UNCORRECTABLE]) {
        if let Some(n) = faults.read(dir.decimal(file)) {
            out.put(metric, labels, n);
        }
    }
}

fn put_channels(
    dir: &Dir<'_>,
    [controller, csrow]: [&str; 2],
    room: &mut Room,
    (faults, out): (&mut Faults, &mut Sink),
) {
    let Room { files, file, label, labeled } = room;
    labeled.clear();
    let Some(entries) = faults.read(dir.kept_list(files).map(Some)) else { return };
    for entry in entries {
        let name = entry.name();
        let (metric, channel) = match numbered(&name, "ch", "_ce_count") {
            Some(channel) => (&CHANNEL_CORRECTABLE, channel),
            None => match numbered(&name, "ch", "_ue_count") {
                Some(channel) => (&CHANNEL_UNCORRECTABLE, channel),
                None => continue,
            },
        };
        if labeled != channel {
            match dir.setting(of_channel(channel, "_dimm_label", file)) {
                Ok(Some(text)) => clean(&text, label),
                _ => "unknown".clone_into(label),
            }
            channel.clone_into(labeled);
        }
        if let Some(n) = faults.read(dir.decimal(&name)) {
            out.put(metric, [&channel, &controller, &csrow, label], n);
        }
    }
}

fn of_channel<'a>(channel: &str, what: &str, file: &'a mut String) -> &'a str {
    file.clear();
    file.push_str("ch");
    file.push_str(channel);
    file.push_str(what);
    file
}

/// The number between `before` and `after`, if `name` consists of these three.
fn numbered<'a>(name: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let number = name.strip_prefix(before)?.strip_suffix(after)?;
    is_digits(number).then_some(number)
}

/// The label with `#` left out and an underscore before each part: `mc0_csrow0_channel1`.
fn clean(text: &str, label: &mut String) {
    label.clear();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("csrow") || rest.starts_with("channel") {
            label.push('_');
        }
        if c != '#' {
            label.push(c);
        }
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, sample_lines};

    #[test]
    fn labels_are_cleaned() {
        let mut label = String::new();
        for (text, want) in [
            ("mc#0csrow#1channel#0", "mc0_csrow1_channel0"),
            ("CPU_SrcID#0_Ha#1_DIMM#2", "CPU_SrcID0_Ha1_DIMM2"),
            ("é#", "é"),
            ("", ""),
        ] {
            clean(text, &mut label);
            assert_eq!(label, want);
        }
    }

    #[test]
    fn a_file_that_a_driver_does_not_have_is_left_out() {
        let (text, result) = Machine::new().collect(&SPEC, &[]);
        assert!(text.is_empty() && result.is_ok());
        let machine = Machine::new()
            .with("sys/devices/system/edac/mc/power", "")
            .with("sys/devices/system/edac/mc/mc0/ce_count", "1\n")
            .with("sys/devices/system/edac/mc/mc0/csrow2/ch1_ce_count", "2\n")
            .with("sys/devices/system/edac/mc/mc0/csrow2/ch2_ue_count", "-3\n")
            .with("sys/devices/system/edac/mc/mc0/csrow2/ch2_dimm_label", "A#2\n")
            .with("sys/devices/system/edac/mc/mc0/csrow2/chx_ce_count", "x\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        result.unwrap();
        let lines: Vec<&str> = sample_lines(&text).collect();
        assert_eq!(
            lines,
            [
                r#"node_edac_channel_correctable_errors_total{channel="1",controller="0",csrow="2",dimm_label="unknown"} 2"#,
                r#"node_edac_channel_uncorrectable_errors_total{channel="2",controller="0",csrow="2",dimm_label="A2"} -3"#,
                r#"node_edac_correctable_errors_total{controller="0"} 1"#,
            ]
        );
    }

    #[test]
    fn a_malformed_count_hides_no_other() {
        let machine = Machine::new()
            .with("sys/devices/system/edac/mc/mc0/ce_count", "x\n")
            .with("sys/devices/system/edac/mc/mc0/ue_count/a", "no file\n")
            .with("sys/devices/system/edac/mc/mc0/ue_noinfo_count", "1\n")
            .with("sys/devices/system/edac/mc/mc0/csrow0/ce_count", "2\n")
            .with("sys/devices/system/edac/mc/mc1/ce_count", "3\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("/mc0/ce_count: bad number: \"x\""), "{error}");
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                r#"node_edac_correctable_errors_total{controller="1"} 3"#,
                r#"node_edac_csrow_correctable_errors_total{controller="0",csrow="0"} 2"#,
                r#"node_edac_csrow_uncorrectable_errors_total{controller="0",csrow="unknown"} 1"#,
            ]
        );
    }
}
