//! Batteries, chargers and power adapters, from `/sys/class/power_supply`
//! (`drivers/power/supply/power_supply_sysfs.c`).
//!
//! Each supply has the attributes that its driver knows: the files in its directory are listed, so
//! that no absent file is opened. The kernel gives µV, µA, µW, µAh, µWh and tenths of degrees. A
//! model name that comes from a battery's firmware may be no text.

use crate::{
    exposition::{Kind, Label as _},
    host::tree::Bytes,
    parse::any_base,
    prelude::*,
};

pub const SPEC: Spec = Spec {
    name: "powersupplyclass",
    enabled: true,
    capabilities: NONE,
    flags: &[&IGNORED],
    new: |host, flags| {
        Ok(Box::new(PowerSupplyClass {
            class: host.sys.folder("class/power_supply"),
            ignored: flags.get(&IGNORED),
            names: Names::default(),
            info: INFO_LABELS.map(|name| (name, String::new())),
        }))
    },
};

static IGNORED: Flag<Pattern> = Flag::value(
    "collector.powersupply.ignored-supplies",
    &["^$"],
    "Regexp of power supplies to ignore for powersupplyclass collector.",
);

/// A numeric attribute.
struct Number {
    file: &'static str,
    metric: Metric<1>,
    /// The number of kernel units in one unit of the metric.
    divisor: f64,
}

macro_rules! numbers {
    ($($file:literal / $divisor:literal: $name:literal, $subject:literal;)*) => {
        [$(Number {
            file: $file,
            metric: gauge(
                $name,
                concat!($subject, " value of /sys/class/power_supply/<power_supply>."),
            )
            .by(["power_supply"]),
            divisor: $divisor,
        },)*]
    };
}

static NUMBERS: [Number; 49] = numbers! {
    "authentic" / 1.0: "node_power_supply_authentic", "authentic";
    "calibrate" / 1.0: "node_power_supply_calibrate", "calibrate";
    "capacity" / 1.0: "node_power_supply_capacity", "capacity";
    "capacity_alert_max" / 1.0: "node_power_supply_capacity_alert_max", "capacity_alert_max";
    "capacity_alert_min" / 1.0: "node_power_supply_capacity_alert_min", "capacity_alert_min";
    "charge_control_limit" / 1e6: "node_power_supply_charge_control_limit", "charge_control_limit";
    "charge_control_limit_max" / 1e6:
        "node_power_supply_charge_control_limit_max", "charge_control_limit_max";
    "charge_counter" / 1e6: "node_power_supply_charge_counter", "charge_counter";
    "charge_empty" / 1e6: "node_power_supply_charge_empty", "charge_empty";
    "charge_empty_design" / 1e6: "node_power_supply_charge_empty_design", "charge_empty_design";
    "charge_full" / 1e6: "node_power_supply_charge_full", "charge_full";
    "charge_full_design" / 1e6: "node_power_supply_charge_full_design", "charge_full_design";
    "charge_now" / 1e6: "node_power_supply_charge_ampere", "charge_ampere";
    "charge_term_current" / 1e6: "node_power_supply_charge_term_current", "charge_term_current";
    "constant_charge_current" / 1e6:
        "node_power_supply_constant_charge_current", "constant_charge_current";
    "constant_charge_current_max" / 1e6:
        "node_power_supply_constant_charge_current_max", "constant_charge_current_max";
    "constant_charge_voltage" / 1e6:
        "node_power_supply_constant_charge_voltage", "constant_charge_voltage";
    "constant_charge_voltage_max" / 1e6:
        "node_power_supply_constant_charge_voltage_max", "constant_charge_voltage_max";
    "current_boot" / 1e6: "node_power_supply_current_boot", "current_boot";
    "current_max" / 1e6: "node_power_supply_current_max", "current_max";
    "current_now" / 1e6: "node_power_supply_current_ampere", "current_ampere";
    "cycle_count" / 1.0: "node_power_supply_cyclecount", "cyclecount";
    "energy_empty" / 1e6: "node_power_supply_energy_empty", "energy_empty";
    "energy_empty_design" / 1e6: "node_power_supply_energy_empty_design", "energy_empty_design";
    "energy_full" / 1e6: "node_power_supply_energy_full", "energy_full";
    "energy_full_design" / 1e6: "node_power_supply_energy_full_design", "energy_full_design";
    "energy_now" / 1e6: "node_power_supply_energy_watthour", "energy_watthour";
    "input_current_limit" / 1e6: "node_power_supply_input_current_limit", "input_current_limit";
    "online" / 1.0: "node_power_supply_online", "online";
    "power_now" / 1e6: "node_power_supply_power_watt", "power_watt";
    "precharge_current" / 1e6: "node_power_supply_precharge_current", "precharge_current";
    "present" / 1.0: "node_power_supply_present", "present";
    "temp" / 10.0: "node_power_supply_temp_celsius", "temp_celsius";
    "temp_alert_max" / 10.0: "node_power_supply_temp_alert_max_celsius", "temp_alert_max_celsius";
    "temp_alert_min" / 10.0: "node_power_supply_temp_alert_min_celsius", "temp_alert_min_celsius";
    "temp_ambient" / 10.0: "node_power_supply_temp_ambient_celsius", "temp_ambient_celsius";
    "temp_ambient_max" / 10.0:
        "node_power_supply_temp_ambient_max_celsius", "temp_ambient_max_celsius";
    "temp_ambient_min" / 10.0:
        "node_power_supply_temp_ambient_min_celsius", "temp_ambient_min_celsius";
    "temp_max" / 10.0: "node_power_supply_temp_max_celsius", "temp_max_celsius";
    "temp_min" / 10.0: "node_power_supply_temp_min_celsius", "temp_min_celsius";
    "time_to_empty_now" / 1.0: "node_power_supply_time_to_empty_seconds", "time_to_empty_seconds";
    "time_to_full_now" / 1.0: "node_power_supply_time_to_full_seconds", "time_to_full_seconds";
    "voltage_boot" / 1e6: "node_power_supply_voltage_boot", "voltage_boot";
    "voltage_max" / 1e6: "node_power_supply_voltage_max", "voltage_max";
    "voltage_max_design" / 1e6: "node_power_supply_voltage_max_design", "voltage_max_design";
    "voltage_min" / 1e6: "node_power_supply_voltage_min", "voltage_min";
    "voltage_min_design" / 1e6: "node_power_supply_voltage_min_design", "voltage_min_design";
    "voltage_now" / 1e6: "node_power_supply_voltage_volt", "voltage_volt";
    "voltage_ocv" / 1e6: "node_power_supply_voltage_ocv", "voltage_ocv";
};

/// Labels of the info metric in alphabetical order, each also the name of a file.
const INFO_LABELS: [&str; 12] = [
    "capacity_level",
    "charge_type",
    "health",
    "manufacturer",
    "model_name",
    POWER_SUPPLY,
    "scope",
    "serial_number",
    "status",
    "technology",
    "type",
    "usb_type",
];
/// The label that is the supply's own name.
const POWER_SUPPLY: &str = "power_supply";

struct PowerSupplyClass {
    class: Folder,
    ignored: Pattern,
    names: Names,
    /// One supply's labels; an empty label is left out.
    info: [(&'static str, String); 12],
}

impl Collector for PowerSupplyClass {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { class, ignored, names, info } = self;
        let entries = class.list().or_no_data()?;
        let mut faults = Faults::default();
        for entry in entries {
            let supply = entry.name();
            if ignored.matches(&supply) {
                continue;
            }
            let Some(dir) = faults.read(entry.dir()) else { continue };
            let Ok(files) = dir.list(names) else { continue };
            for (label, value) in &mut *info {
                value.clear();
                if *label == POWER_SUPPLY {
                    value.push_str(&supply);
                }
            }
            for file in files {
                faults.keep(put_attribute(&file, &supply, info, out));
            }
            let mut labels = [("", ""); INFO_LABELS.len()];
            let known = info.iter().filter(|(_, value)| !value.is_empty());
            let n = (labels.iter_mut().zip(known))
                .map(|(label, (name, value))| *label = (name, value))
                .count();
            out.family(
                "node_power_supply_info",
                "info of /sys/class/power_supply/<power_supply>.",
                Kind::Gauge,
            )
            .sample(labels.get(..n).unwrap_or_default(), 1.0);
        }
        faults.end()
    }
}

fn put_attribute(
    file: &Entry<'_>,
    supply: &str,
    info: &mut [(&'static str, String)],
    out: &mut Sink,
) -> Result {
    let Ok(name) = std::str::from_utf8(file.bytes()) else { return Ok(()) };
    if let Ok(i) = NUMBERS.binary_search_by_key(&name, |number| number.file)
        && let Some(number) = NUMBERS.get(i)
    {
        // A driver that does not know the value may print an empty line.
        let value = |text: &str| if text.is_empty() { Ok(None) } else { any_base(text).map(Some) };
        if let Some(value) = file.parse(value).unless_unreadable()?.flatten() {
            out.put(&number.metric, [&supply], value / number.divisor);
        }
    } else if let Ok(i) = info.binary_search_by_key(&name, |(label, _)| label)
        && let Some((_, text)) = info.get_mut(i)
        && name != POWER_SUPPLY
        && let Ok(Some(bytes)) = file.content(&mut Bytes::default())
    {
        bytes.trim_ascii().append(text);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, sample_lines};

    #[test]
    fn tables_are_sorted() {
        assert!(NUMBERS.is_sorted_by(|a, b| a.file < b.file));
        assert!(INFO_LABELS.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn supplies_can_be_ignored_and_vanished_supplies_are_left_out() {
        let machine = Machine::new()
            .with("sys/class/power_supply/AC/online", "1\n")
            .with("sys/class/power_supply/BAT0/online", "1\n")
            .with("sys/class/power_supply/BAT0/health/is_a_directory", "")
            .with("sys/class/power_supply/BAT0/capacity/is_a_directory", "");
        let link = machine.path().join("sys/class/power_supply/BAT1");
        std::os::unix::fs::symlink("gone", link).unwrap();
        let args = &["--collector.powersupply.ignored-supplies=^A"];
        let (text, result) = machine.collect(&SPEC, args);
        assert!(result.is_ok());
        let samples: Vec<_> = sample_lines(&text).collect();
        assert_eq!(
            samples,
            [
                "node_power_supply_info{power_supply=\"BAT0\"} 1",
                "node_power_supply_online{power_supply=\"BAT0\"} 1"
            ]
        );
    }

    #[test]
    fn a_malformed_file_fails_the_collector_after_all_others() {
        let machine = Machine::new()
            .with("sys/class/power_supply/AC/online", "yes\n")
            .with("sys/class/power_supply/AC/temp", "-5\n")
            .with("sys/class/power_supply/AC/capacity", "\n")
            .with("sys/class/power_supply/AC/present", "18446744073709551616\n")
            .with("sys/class/power_supply/BAT0/model_name", b" A\xff\xffB\xfe\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("/class/power_supply/AC/online: bad number: \"yes\""), "{error}");
        assert!(text.contains("info{model_name=\"A\u{fffd}B\u{fffd}\",power_supply=\"BAT0\"} 1\n"));
        assert!(text.contains("present{power_supply=\"AC\"} 1.8446744073709552e+19\n"), "{text}");
        assert!(text.ends_with("temp_celsius{power_supply=\"AC\"} -0.5\n"), "{text}");
    }
}
