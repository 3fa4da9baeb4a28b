//! Sensors: the names of their files, and the metrics that show them.

use super::{
    metric::{MILLI, PLAIN, Shown},
    name::clean,
};
use crate::{
    error::Malformed,
    exposition::{Metric, Sink, gauge},
    flag::Filter,
    host::tree::{Bytes, Entry, Names},
    parse::decimal,
};
use std::{cell::Cell, ops::Range, sync::Arc};

/// The types of sensors that are known.
const TYPES: [&str; 14] = [
    "vrm",
    "beep_enable",
    "update_interval",
    "in",
    "cpu",
    "fan",
    "pwm",
    "temp",
    "curr",
    "power",
    "energy",
    "humidity",
    "intrusion",
    "freq",
];

/// Properties that are texts; all but `label` are those of power meters
/// (`drivers/hwmon/acpi_power_meter.c`).
const TEXTS: [&str; 4] = ["label", "model_number", "serial_number", "oem_info"];

/// Other properties that drivers read from the device's description or take from the administrator
/// (`Documentation/hwmon/sysfs-interface.rst`).
const SETTINGS: [&str; 18] = [
    "type",
    "min",
    "max",
    "lcrit",
    "crit",
    "emergency",
    "min_hyst",
    "max_hyst",
    "lcrit_hyst",
    "crit_hyst",
    "emergency_hyst",
    "rated_min",
    "rated_max",
    "div",
    "pulses",
    "accuracy",
    "cap_min",
    "cap_max",
];

static LABEL: Metric<3> = gauge("node_hwmon_sensor_label", "Label for given chip and sensor")
    .by(["chip", "label", "sensor"]);
static BEEP: Metric<2> =
    gauge("node_hwmon_beep_enabled", "Hardware beep enabled").by(["chip", "sensor"]);
static VRM: Metric<2> = gauge("node_hwmon_voltage_regulator_version", "Hardware voltage regulator")
    .by(["chip", "sensor"]);
static INTERVAL: Metric<2> =
    gauge("node_hwmon_update_interval_seconds", "Hardware monitor update interval")
        .by(["chip", "sensor"]);

/// The files of a chip's sensors and their content, in buffers that are kept.
pub(super) struct Readings {
    /// The value of the label `chip`.
    chip: String,
    /// The sensors that are wanted, as `chip;sensor`.
    wanted: Filter,
    /// The names in the chip's directory and its device's that were last taken apart.
    listed: [Option<Arc<Names>>; 2],
    /// For each of these names the place in `files`, if it is that of a sensor that is wanted.
    places: Vec<Option<usize>>,
    /// In the order of their series.
    sensors: Vec<Sensor>,
    /// Those of all sensors, the files of each together.
    files: Vec<SensorFile>,
    content: Vec<u8>,
    /// Room for the content of one file.
    room: Bytes,
    /// Room for a label.
    label: String,
}

/// One sensor.
struct Sensor {
    kind: &'static str,
    /// The value of the label `sensor`: kind and number.
    name: String,
    files: Range<usize>,
}

/// One file.
struct SensorFile {
    property: Box<str>,
    /// The same for all sensors of a kind; `None` where the file's value is no number.
    shown: Option<Arc<Shown>>,
    /// Whether it is read once in some scrapes.
    is_setting: bool,
    /// Whether a setting is to be read anew: at first, and when it was malformed.
    reads_anew: Cell<bool>,
    /// Its content is a range of [`Readings::content`]; `None` where it could not be read.
    content: Option<Range<usize>>,
    /// Whether this is the content of the file in the directory of the chip's device.
    of_device: bool,
}

impl Readings {
    /// Those of the chip with that label, of the sensors that are wanted as `chip;sensor`.
    pub(super) fn new(chip: String, wanted: Filter) -> Self {
        Self {
            chip,
            wanted,
            listed: [None, None],
            places: Vec::new(),
            sensors: Vec::new(),
            files: Vec::new(),
            content: Vec::new(),
            room: Bytes::default(),
            label: String::new(),
        }
    }

    /// Reads the files of all sensors in the chip's directory and its device's, once their names are
    /// learned and the last content is forgotten; a file that cannot be read is left out. Where both
    /// directories have a file of one name, the device's is exposed.
    pub(super) fn read<'a>(
        &mut self,
        chip: impl Iterator<Item = Entry<'a>>,
        device: impl Iterator<Item = Entry<'a>>,
    ) {
        let entries = chip.map(|file| (file, false)).chain(device.map(|file| (file, true)));
        let Self { places, files, content, room, .. } = self;
        for ((entry, of_device), place) in entries.zip(places) {
            let Some(file) = place.and_then(|place| files.get_mut(place)) else { continue };
            if file.reads_anew.take() {
                entry.forget_setting();
            }
            let read = if file.is_setting { entry.setting(room) } else { entry.content(room) };
            let Ok(Some(mut bare)) = read else { continue };
            while let Some(rest) = bare.strip_suffix(b"\n").or_else(|| bare.strip_prefix(b"\n")) {
                bare = rest;
            }
            let begin = content.len();
            content.extend_from_slice(bare);
            file.content = Some(begin..content.len());
            file.of_device = of_device;
        }
    }

    /// Forgets the content.
    pub(super) fn clear(&mut self) {
        self.content.clear();
        for file in &mut self.files {
            file.content = None;
        }
    }

    /// Takes the names in the chip's directory and its device's apart and orders the sensors, if these
    /// are other names than last time.
    pub(super) fn learn(&mut self, listed: [Option<&Arc<Names>>; 2]) {
        let is_same = |(old, new): (&Option<Arc<Names>>, Option<&Arc<Names>>)| match (old, new) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (old, new) => old.is_none() && new.is_none(),
        };
        if self.listed.iter().zip(listed).all(is_same) {
            return;
        }
        let Self { chip, wanted, places, sensors, files, .. } = self;
        let names = || listed.into_iter().flatten().flat_map(|names| names.iter());
        let is_wanted = |kind, number| wanted.keeps(&format!("{chip};{kind}{number}"));
        let mut found: Vec<_> = names().filter_map(name_parts).collect();
        found.retain(|&(kind, number, _)| is_wanted(kind, number));
        // Labels are ordered as texts: 10 before 9.
        found.sort_by_cached_key(|&(kind, number, property)| (kind, number.to_string(), property));
        found.dedup();
        let place = |name| found.iter().position(|file| name_parts(name) == Some(*file));
        *places = names().map(place).collect();
        let mut shown: Vec<(&str, &str, Arc<Shown>)> = Vec::new();
        let mut describe = |kind, property| {
            if let Some((.., known)) = shown.iter().find(|(a, b, _)| (*a, *b) == (kind, property)) {
                return Arc::clone(known);
            }
            let new = Arc::new(Shown::new(kind, property));
            shown.push((kind, property, Arc::clone(&new)));
            new
        };
        sensors.clear();
        files.clear();
        for of_sensor in found.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            let begin = files.len();
            for &(kind, _, property) in of_sensor {
                files.push(SensorFile {
                    property: property.into(),
                    shown: (!TEXTS.contains(&property)).then(|| describe(kind, property)),
                    is_setting: TEXTS.contains(&property) || SETTINGS.contains(&property),
                    reads_anew: Cell::new(true),
                    content: None,
                    of_device: false,
                });
            }
            if let Some(&(kind, number, _)) = of_sensor.first() {
                let name = format!("{kind}{number}");
                sensors.push(Sensor { kind, name, files: begin..files.len() });
            }
        }
        self.listed = listed.map(Option::<&_>::cloned);
    }

    /// Puts all sensors of the chip that are wanted. Gives `malformed` each file that lacks the number
    /// it should have: its name, and whether it is the device's.
    pub(super) fn put(&mut self, out: &mut Sink, mut malformed: impl FnMut(&str, bool, Malformed)) {
        let Self { chip, sensors, files, content, label, .. } = self;
        for sensor in sensors {
            let files = files.get(sensor.files.clone()).unwrap_or_default();
            let read = Read { chip, sensor, files, content };
            read.put(label, out, &mut |file, error| {
                file.reads_anew.set(true);
                let name = match (sensor.kind, &*file.property) {
                    (kind @ ("beep_enable" | "vrm" | "update_interval"), _) => kind.to_owned(),
                    (_, "") => sensor.name.clone(),
                    (_, property) => format!("{}_{property}", sensor.name),
                };
                malformed(&name, file.of_device, error);
            });
        }
    }
}

/// A sensor with its files and their content.
struct Read<'a> {
    chip: &'a str,
    sensor: &'a Sensor,
    files: &'a [SensorFile],
    content: &'a [u8],
}

impl Read<'_> {
    /// The file with that property, if it could be read.
    fn file(&self, property: &str) -> Option<&SensorFile> {
        self.files.iter().find(|file| file.content.is_some() && *file.property == *property)
    }

    fn bytes(&self, file: &SensorFile) -> Option<&[u8]> {
        self.content.get(file.content.clone()?)
    }

    /// The content of the file with that property.
    fn content(&self, property: &str) -> Option<&[u8]> {
        self.file(property).and_then(|file| self.bytes(file))
    }

    /// The number in a file; `None` where the file is empty or malformed. A malformed file is given
    /// to `malformed`.
    fn number(
        &self,
        file: &SensorFile,
        malformed: &mut dyn FnMut(&SensorFile, Malformed),
    ) -> Option<f64> {
        let content = self.bytes(file)?.trim_ascii();
        let number = match std::str::from_utf8(content) {
            Ok("") => return None,
            Ok(text) => decimal("number", text),
            Err(_) => Err(Malformed::new("number", &String::from_utf8_lossy(content))),
        };
        number.map_err(|error| malformed(file, error)).ok()
    }

    fn put(
        &self,
        label: &mut String,
        out: &mut Sink,
        malformed: &mut dyn FnMut(&SensorFile, Malformed),
    ) {
        let Self { chip, sensor: Sensor { kind, name, .. }, .. } = self;
        let text = self.content("label");
        if let Some(text) = text {
            out.put(&LABEL, [chip, &text, name], true);
        }
        let (metric, unit) = match *kind {
            "beep_enable" => {
                return out.put(&BEEP, [chip, name], self.content("") == Some(b"1"));
            }
            "vrm" => (&VRM, PLAIN),
            "update_interval" => (&INTERVAL, MILLI),
            _ => {
                let bare = self.file("").is_some();
                for file in self.files {
                    let Some(shown) = &file.shown else { continue };
                    let sensor = if (*kind, &*file.property) == ("freq", "input") {
                        // The series is named after the sensor's label; without a label it is left
                        // out.
                        let Some(text) = text else { continue };
                        label.clear();
                        clean(&String::from_utf8_lossy(text), label);
                        &*label
                    } else {
                        name
                    };
                    let Some(value) = self.number(file, malformed) else { continue };
                    out.family(shown.name(bare), &shown.help, shown.kind)
                        .sample(&[("chip", chip), ("sensor", sensor)], (shown.unit)(value));
                }
                return;
            }
        };
        if let Some(number) = self.file("").and_then(|file| self.number(file, malformed)) {
            out.put(metric, [chip, name], unit(number));
        }
    }
}

/// The parts of the name of a sensor's file.
fn name_parts(name: &[u8]) -> Option<(&'static str, u64, &str)> {
    std::str::from_utf8(name).ok().and_then(parse)
}

/// The three parts of a file's name: type, number (0 where the name has none) and property.
fn parse(file: &str) -> Option<(&'static str, u64, &str)> {
    let digits = file.find(|c: char| c.is_ascii_digit()).unwrap_or(file.len());
    let (kind, rest) = file.split_at_checked(digits)?;
    let kind = *TYPES.iter().find(|known| **known == kind)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (number, rest) = rest.split_at_checked(end)?;
    let number = if number.is_empty() { 0 } else { number.parse().ok()? };
    match rest.strip_prefix('_') {
        Some("") => None,
        Some(property) => Some((kind, number, property)),
        None => rest.is_empty().then_some((kind, number, "")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_sensors_by_their_names() {
        assert_eq!(parse("temp1_crit_alarm"), Some(("temp", 1, "crit_alarm")));
        assert_eq!(parse("pwm2_auto_point1_temp"), Some(("pwm", 2, "auto_point1_temp")));
        assert_eq!(parse("pwm12"), Some(("pwm", 12, "")));
        assert_eq!(parse("beep_enable"), Some(("beep_enable", 0, "")));
        for other in
            ["", "name", "temp1x", "temp1_", "temp_input", "8temp", "temp99999999999999999999"]
        {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
