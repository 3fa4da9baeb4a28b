//! The metrics that show the properties of sensors: names, help and units.

use super::name::clean;
use crate::exposition::Kind;
use std::fmt::Write as _;

pub(super) type Unit = fn(f64) -> f64;
pub(super) const PLAIN: Unit = |value| value;
pub(super) const MILLI: Unit = |value| value * 0.001;
const MICRO: Unit = |value| value / 1e6;

/// The metric that shows a property of one kind of sensors.
pub(super) struct Shown {
    name: String,
    /// The name where the sensor also has a file without a property.
    name_beside_bare: String,
    pub(super) help: String,
    pub(super) kind: Kind,
    pub(super) unit: Unit,
}

impl Shown {
    pub(super) fn new(kind: &str, property: &str) -> Self {
        let [mut name, mut name_beside_bare, mut help] = [const { String::new() }; 3];
        describe(kind, property, true, &mut name_beside_bare, &mut help);
        let (kind, unit) = describe(kind, property, false, &mut name, &mut help);
        Self { name, name_beside_bare, help, kind, unit }
    }

    /// The metric's name; `bare` where the sensor also has a file without a property.
    pub(super) fn name(&self, bare: bool) -> &str {
        if bare { &self.name_beside_bare } else { &self.name }
    }
}

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
