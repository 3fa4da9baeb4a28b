//! Sensors: the names of their files, and the metrics that show them.

use super::name::clean;
use crate::{
    error::Malformed,
    exposition::{Kind, Metric, Sink, gauge},
    flag::Filter,
    host::tree::{Bytes, Entry, Names},
    parse::decimal,
};
use std::{fmt::Write as _, sync::Arc};

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
#[derive(Default)]
pub(super) struct Readings {
    /// The names in the chip's directory and its device's that were last taken apart.
    listed: [Option<Arc<Names>>; 2],
    /// For each of these names the place in `files`, if it is a sensor's.
    places: Vec<Option<usize>>,
    /// In the order of their series, the files of each sensor together.
    files: Vec<SensorFile>,
    content: Vec<u8>,
    /// Room for the content of one file.
    room: Bytes,
}

/// One file.
struct SensorFile {
    kind: &'static str,
    number: u64,
    property: Box<str>,
    /// Whether it is read once in some scrapes.
    is_setting: bool,
    /// Its content is a range of [`Readings::content`]; `None` where it could not be read.
    content: Option<(usize, usize)>,
    /// Whether this is the content of the file in the directory of the chip's device.
    of_device: bool,
}

/// Room for the texts of a sample.
#[derive(Default)]
pub(super) struct Words {
    sensor: String,
    key: String,
    name: String,
    help: String,
    label: String,
}

impl Readings {
    /// Reads the files of all sensors in the chip's directory and its device's, once their names are
    /// learned and the last content is forgotten; a file that cannot be read is left out. Where both
    /// directories have a file of one name, the device's is exposed.
    pub(super) fn read<'a>(
        &mut self,
        chip: impl Iterator<Item = Entry<'a>> + Clone,
        device: impl Iterator<Item = Entry<'a>> + Clone,
    ) {
        let entries = chip.map(|file| (file, false)).chain(device.map(|file| (file, true)));
        let Self { places, files, content, room, .. } = self;
        for ((entry, of_device), place) in entries.zip(places) {
            let Some(file) = place.and_then(|place| files.get_mut(place)) else { continue };
            let read = if file.is_setting { entry.setting(room) } else { entry.content(room) };
            let Ok(Some(mut bare)) = read else { continue };
            while let Some(rest) = bare.strip_suffix(b"\n").or_else(|| bare.strip_prefix(b"\n")) {
                bare = rest;
            }
            let begin = content.len();
            content.extend_from_slice(bare);
            file.content = Some((begin, content.len()));
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
        let Self { places, files, .. } = self;
        let names = || listed.into_iter().flatten().flat_map(|names| names.iter());
        let mut found: Vec<_> = names().filter_map(name_parts).collect();
        // Labels are ordered as texts: 10 before 9.
        found.sort_by_cached_key(|&(kind, number, property)| (kind, number.to_string(), property));
        found.dedup();
        let place = |name| found.iter().position(|file| name_parts(name) == Some(*file));
        *places = names().map(place).collect();
        *files = found
            .iter()
            .map(|&(kind, number, property)| SensorFile {
                kind,
                number,
                property: property.into(),
                is_setting: TEXTS.contains(&property) || SETTINGS.contains(&property),
                content: None,
                of_device: false,
            })
            .collect();
        self.listed = listed.map(Option::<&_>::cloned);
    }

    fn bytes(&self, file: &SensorFile) -> Option<&[u8]> {
        let (begin, end) = file.content?;
        self.content.get(begin..end)
    }

    /// Puts all sensors of the chip that the filter keeps as `chip;sensor`. Gives `malformed` each
    /// file that lacks the number it should have: its name, and whether it is the device's.
    pub(super) fn put(
        &self,
        chip: &str,
        filter: &Filter,
        words: &mut Words,
        out: &mut Sink,
        mut malformed: impl FnMut(&str, bool, Malformed),
    ) {
        for files in self.files.chunk_by(|a, b| (a.kind, a.number) == (b.kind, b.number)) {
            let Some(&SensorFile { kind, number, .. }) = files.first() else { continue };
            let Words { sensor, key, .. } = words;
            sensor.clear();
            key.clear();
            let _ = write!(sensor, "{kind}{number}"); // a String takes all
            let _ = write!(key, "{chip};{sensor}");
            if !filter.keeps(key) {
                continue;
            }
            let sensor = Sensor { readings: self, chip, kind, files };
            sensor.put(words, out, &mut |file, error| {
                let property = &*file.property;
                let name = match (kind, property) {
                    ("beep_enable" | "vrm" | "update_interval", _) => kind.to_owned(),
                    (_, "") => format!("{kind}{number}"),
                    _ => format!("{kind}{number}_{property}"),
                };
                malformed(&name, file.of_device, error);
            });
        }
    }
}

/// The files of one sensor.
struct Sensor<'a> {
    readings: &'a Readings,
    chip: &'a str,
    kind: &'static str,
    files: &'a [SensorFile],
}

impl Sensor<'_> {
    /// The files that could be read.
    fn files(&self) -> impl Iterator<Item = &SensorFile> {
        self.files.iter().filter(|file| file.content.is_some())
    }

    fn file(&self, property: &str) -> Option<&SensorFile> {
        self.files().find(|file| *file.property == *property)
    }

    fn content(&self, property: &str) -> Option<&[u8]> {
        self.file(property).and_then(|file| self.readings.bytes(file))
    }

    /// The number in a file; `None` where the file is empty or malformed. A malformed file is given
    /// to `malformed`.
    fn number(
        &self,
        file: &SensorFile,
        malformed: &mut dyn FnMut(&SensorFile, Malformed),
    ) -> Option<f64> {
        let content = self.readings.bytes(file).unwrap_or_default().trim_ascii();
        let number = match std::str::from_utf8(content) {
            Ok("") => return None,
            Ok(text) => decimal("number", text),
            Err(_) => Err(Malformed::new("number", &String::from_utf8_lossy(content))),
        };
        number.map_err(|error| malformed(file, error)).ok()
    }

    fn put(
        &self,
        words: &mut Words,
        out: &mut Sink,
        malformed: &mut dyn FnMut(&SensorFile, Malformed),
    ) {
        let Self { chip, kind, .. } = self;
        if let Some(label) = self.content("label") {
            out.put(&LABEL, [chip, &label, &words.sensor], true);
        }
        let (metric, unit) = match *kind {
            "beep_enable" => {
                let bare = self.content("");
                return out.put(&BEEP, [chip, &words.sensor], bare == Some(b"1"));
            }
            "vrm" => (&VRM, PLAIN),
            "update_interval" => (&INTERVAL, MILLI),
            _ => {
                for file in self.files() {
                    self.put_property(file, words, out, malformed);
                }
                return;
            }
        };
        if let Some(number) = self.file("").and_then(|file| self.number(file, malformed)) {
            out.put(metric, [chip, &words.sensor], unit(number));
        }
    }

    fn put_property(
        &self,
        file: &SensorFile,
        words: &mut Words,
        out: &mut Sink,
        malformed: &mut dyn FnMut(&SensorFile, Malformed),
    ) {
        let property = &*file.property;
        if TEXTS.contains(&property) {
            return;
        }
        let Words { sensor, name, help, label, .. } = words;
        let sensor = if (self.kind, property) == ("freq", "input") {
            // The series is named after the sensor's label; without a label it is left out.
            let Some(text) = self.content("label") else { return };
            label.clear();
            clean(&String::from_utf8_lossy(text), label);
            &*label
        } else {
            &*sensor
        };
        let Some(value) = self.number(file, malformed) else { return };
        let bare = self.file("").is_some();
        let (metric, unit) = describe(self.kind, property, bare, name, help);
        let labels = [("chip", self.chip), ("sensor", sensor)];
        out.family(name, help, metric).sample(&labels, unit(value));
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

type Unit = fn(f64) -> f64;
const PLAIN: Unit = |value| value;
const MILLI: Unit = |value| value * 0.001;
const MICRO: Unit = |value| value / 1e6;

/// Writes the name and the help of the metric that shows a property; `bare` where the sensor also
/// has a file without a property.
fn describe(
    kind: &str,
    property: &str,
    bare: bool,
    name: &mut String,
    help: &mut String,
) -> (Kind, Unit) {
    name.clear();
    help.clear();
    let _ = write!(name, "node_hwmon_{kind}");
    if property != "input" && !property.is_empty() {
        name.push('_');
        clean(property, name);
    } else if property == "input" && bare {
        name.push_str("_input");
    }
    let (suffix, text, unit) = form(kind, property);
    name.push_str(suffix);
    let shown = if (kind, property) == ("temp", "") { "input" } else { property };
    let _ = match text {
        Help::Of(text) => write!(help, "Hardware monitor {text} ({shown})"),
        Help::Whole(text) => write!(help, "{text}"),
        Help::Status => write!(help, "Hardware sensor {property} status ({kind})"),
        Help::Element => write!(help, "Hardware monitor {kind} element {property}"),
    };
    (if kind == "energy" && suffix == "_joule_total" { Kind::Counter } else { Kind::Gauge }, unit)
}

/// The help of a metric.
enum Help {
    /// `Hardware monitor …`, then the property.
    Of(&'static str),
    /// The whole help text.
    Whole(&'static str),
    /// The help of a property that is 1 while there is trouble.
    Status,
    /// The help of a property without a unit.
    Element,
}

/// The end of the metric's name, its help and its unit.
fn form(kind: &str, property: &str) -> (&'static str, Help, Unit) {
    use Help::{Element, Of, Status, Whole};
    match (kind, property) {
        (_, "fault" | "alarm") => ("", Status, PLAIN),
        (_, "beep") => ("_enabled", Whole("Hardware monitor sensor has beeping enabled"), PLAIN),
        ("in" | "cpu", _) => ("_volts", Of("for voltage"), MILLI),
        ("temp", "type") => ("", Element, PLAIN),
        ("temp", _) => ("_celsius", Of("for temperature"), MILLI),
        ("curr", _) => ("_amps", Of("for current"), MILLI),
        ("energy", _) => ("_joule_total", Of("for joules used so far"), MICRO),
        ("power", "accuracy") => {
            ("", Whole("Hardware monitor power meter accuracy, as a ratio"), MICRO)
        }
        ("power", "average_interval" | "average_interval_min" | "average_interval_max") => {
            ("_seconds", Of("power usage update interval"), MILLI)
        }
        ("power", _) => ("_watt", Of("for power usage in watts"), MICRO),
        ("humidity", _) => {
            let text = "for humidity, as a ratio \
                (multiply with 100.0 to get the humidity as a percentage)";
            ("", Of(text), MICRO)
        }
        ("fan", "input" | "min" | "max" | "target") => {
            ("_rpm", Of("for fan revolutions per minute"), PLAIN)
        }
        ("freq", "input") => {
            ("_freq_mhz", Whole("Hardware monitor for GPU frequency in MHz"), MICRO)
        }
        _ => ("", Element, PLAIN),
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

    #[test]
    fn metrics_are_named_after_type_property_and_unit() {
        let (mut name, mut help) = (String::new(), String::new());
        for (kind, property, bare, want, value) in [
            ("in", "input", false, "node_hwmon_in_volts", 1.0),
            ("cpu", "vid", false, "node_hwmon_cpu_vid_volts", 1.0),
            ("temp", "input", true, "node_hwmon_temp_input_celsius", 1.0),
            ("temp", "", true, "node_hwmon_temp_celsius", 1.0),
            ("temp", "type", false, "node_hwmon_temp_type", 1000.0),
            ("temp", "max_hyst", false, "node_hwmon_temp_max_hyst_celsius", 1.0),
            ("temp", "fault", false, "node_hwmon_temp_fault", 1000.0),
            ("temp", "max_alarm", false, "node_hwmon_temp_max_alarm_celsius", 1.0),
            ("fan", "beep", false, "node_hwmon_fan_beep_enabled", 1000.0),
            ("fan", "target", false, "node_hwmon_fan_target_rpm", 1000.0),
            ("fan", "div", false, "node_hwmon_fan_div", 1000.0),
            ("curr", "crit", false, "node_hwmon_curr_crit_amps", 1.0),
            ("energy", "input", false, "node_hwmon_energy_joule_total", 0.001),
            ("power", "accuracy", false, "node_hwmon_power_accuracy", 0.001),
            ("power", "average_interval", false, "node_hwmon_power_average_interval_seconds", 1.0),
            ("power", "cap_max", false, "node_hwmon_power_cap_max_watt", 0.001),
            ("humidity", "input", false, "node_hwmon_humidity", 0.001),
            ("freq", "input", false, "node_hwmon_freq_freq_mhz", 0.001),
            ("pwm", "", true, "node_hwmon_pwm", 1000.0),
            ("pwm", "auto_Point1", true, "node_hwmon_pwm_auto_point1", 1000.0),
        ] {
            let (_, unit) = describe(kind, property, bare, &mut name, &mut help);
            assert_eq!((&*name, unit(1000.0)), (want, value), "{kind} {property}");
        }
    }
}
