//! Memory errors, from `/sys/devices/system/edac/mc`.
//!
//! A folder for each memory controller, in it one for each csrow, with counts for each channel
//! and the label of its module (`drivers/edac/edac_mc_sysfs.c`). Errors of a controller that no
//! csrow can be told for are those of csrow `unknown`. What a driver lacks is left out.

use crate::{
    exposition::Label,
    host::tree::{Dir, Names},
    parse::is_digits,
    prelude::*,
};

pub const SPEC: Spec = Spec {
    name: "edac",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| {
        Ok(Box::new(Edac {
            controllers: host.sys.folder("devices/system/edac/mc"),
            csrows: Names::default(),
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
    csrows: Names,
    room: Room,
}

/// Kept between scrapes.
#[derive(Default)]
struct Room {
    files: Names,
    /// A file's name.
    file: String,
    /// What a module is called.
    label: String,
}

impl Collector for Edac {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { controllers, csrows, room } = self;
        let Some(controllers) = controllers.list().unless_absent()? else { return Ok(()) };
        let mut result = Ok(());
        for entry in controllers {
            let name = entry.name();
            let Some(controller) = numbered(&name, "mc", "") else { continue };
            let Some(dir) = entry.dir().unless_unreadable()? else { continue };
            let put = put_controller(controller, &dir, csrows, room, out);
            result = result.and(put);
        }
        result
    }
}

fn put_controller(
    controller: &str,
    dir: &Dir<'_>,
    csrows: &mut Names,
    room: &mut Room,
    out: &mut Sink,
) -> Result {
    let ce = read(dir, "ce_count", |n| out.put(&CORRECTABLE, [&controller], n));
    let ue = read(dir, "ue_count", |n| out.put(&UNCORRECTABLE, [&controller], n));
    let labels: [&dyn Label; 2] = [&controller, &"unknown"];
    let ce_noinfo = read(dir, "ce_noinfo_count", |n| out.put(&CSROW_CORRECTABLE, labels, n));
    let ue_noinfo = read(dir, "ue_noinfo_count", |n| out.put(&CSROW_UNCORRECTABLE, labels, n));
    let mut result = ce.and(ue).and(ce_noinfo).and(ue_noinfo);
    for entry in dir.list(csrows)? {
        let name = entry.name();
        let Some(csrow) = numbered(&name, "csrow", "") else { continue };
        let Some(dir) = entry.dir().unless_unreadable()? else { continue };
        let put = put_csrow(controller, csrow, &dir, room, out);
        result = result.and(put);
    }
    result
}

/// Puts the number in a file; what cannot be read is left out.
fn read(dir: &Dir<'_>, file: &str, put: impl FnOnce(u64)) -> Result {
    dir.number(file).unless_unreadable().map(|number| number.map_or((), put))
}

fn put_csrow(
    controller: &str,
    csrow: &str,
    dir: &Dir<'_>,
    room: &mut Room,
    out: &mut Sink,
) -> Result {
    let labels: [&dyn Label; 2] = [&controller, &csrow];
    let ce = read(dir, "ce_count", |n| out.put(&CSROW_CORRECTABLE, labels, n));
    let ue = read(dir, "ue_count", |n| out.put(&CSROW_UNCORRECTABLE, labels, n));
    let mut result = ce.and(ue);
    let Room { files, file, label } = room;
    for entry in dir.list(files)? {
        let name = entry.name();
        let Some(channel) = numbered(&name, "ch", "_ce_count") else { continue };
        match dir.text(of_channel(channel, "_dimm_label", file)) {
            Ok(Some(text)) => clean(&text, label),
            _ => "unknown".clone_into(label),
        }
        let labels: [&dyn Label; 4] = [&channel, &controller, &csrow, label];
        let put = read(dir, &name, |n| out.put(&CHANNEL_CORRECTABLE, labels, n));
        result = result.and(put);
        if let Ok(Some(n)) = dir.number::<u64>(of_channel(channel, "_ue_count", file)) {
            out.put(&CHANNEL_UNCORRECTABLE, labels, n);
        }
    }
    result
}

fn of_channel<'a>(channel: &str, what: &str, file: &'a mut String) -> &'a str {
    file.clear();
    file.push_str("ch");
    file.push_str(channel);
    file.push_str(what);
    file
}

/// The number between the two.
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
    fn what_a_driver_lacks_is_left_out() {
        let (text, result) = Machine::new().collect(&SPEC, &[]);
        assert!(text.is_empty() && result.is_ok());
        let machine = Machine::new()
            .with("sys/devices/system/edac/mc/power", "")
            .with("sys/devices/system/edac/mc/mc0/ce_count", "1\n")
            .with("sys/devices/system/edac/mc/mc0/csrow2/ch1_ce_count", "2\n")
            .with("sys/devices/system/edac/mc/mc0/csrow2/chx_ce_count", "x\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        result.unwrap();
        let lines: Vec<&str> = sample_lines(&text).collect();
        assert_eq!(
            lines,
            [
                r#"node_edac_channel_correctable_errors_total{channel="1",controller="0",csrow="2",dimm_label="unknown"} 2"#,
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
