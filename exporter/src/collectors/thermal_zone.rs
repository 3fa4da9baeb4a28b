//! Temperatures of thermal zones and states of cooling devices, from `/sys/class/thermal`
//! (`drivers/thermal/thermal_sysfs.c`).
//!
//! A zone whose sensor is asleep answers with `EAGAIN`, `EINVAL` or `ENODATA`. A cooling
//! device that is off may be in state -1 (`intel_powerclamp`).

use crate::prelude::*;

pub const SPEC: Spec = Spec {
    name: "thermal_zone",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| Ok(Box::new(ThermalZone(host.sys.devices("class/thermal")))),
};

static TEMPERATURE: Metric<2> =
    gauge("node_thermal_zone_temp", "Zone temperature in Celsius").by(["type", "zone"]);
static STATE: Metric<2> =
    gauge("node_cooling_device_cur_state", "Current throttle state of the cooling device")
        .by(["name", "type"]);
static MAX_STATE: Metric<2> =
    gauge("node_cooling_device_max_state", "Maximum throttle state of the cooling device")
        .by(["name", "type"]);

struct ThermalZone(Folder);

impl Collector for ThermalZone {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Some(entries) = self.0.list().unless_absent()? else { return Ok(()) };
        let mut faults = Faults::default();
        for entry in entries {
            let name = entry.name();
            let Some(first_digit) = name.find(|c: char| c.is_ascii_digit()) else { continue };
            faults.keep(match name.split_at_checked(first_digit) {
                Some(("thermal_zone", zone)) => put_zone(&entry, zone, out),
                Some(("cooling_device", name)) => put_cooling_device(&entry, name, out),
                _ => continue,
            });
        }
        faults.end()
    }
}

fn put_zone(entry: &Entry<'_>, zone: &str, out: &mut Sink) -> Result {
    let mut faults = Faults::default();
    let Some(dir) = faults.read(entry.dir()) else { return faults.end() };
    if let Some(millidegrees) = faults.read(dir.decimal("temp")) {
        let kind = dir.setting("type").ok().flatten().unwrap_or_default();
        out.put(&TEMPERATURE, [&kind, &zone], millidegrees / 1000.0);
    }
    faults.end()
}

fn put_cooling_device(entry: &Entry<'_>, name: &str, out: &mut Sink) -> Result {
    let mut faults = Faults::default();
    let Some(dir) = faults.read(entry.dir()) else { return faults.end() };
    let kind = dir.setting("type").ok().flatten().unwrap_or_default();
    for (metric, file) in [(&STATE, "cur_state"), (&MAX_STATE, "max_state")] {
        if let Some(state) = faults.read(dir.decimal(file)) {
            out.put(metric, [&name, &kind], state);
        }
    }
    faults.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, sample_lines};

    #[test]
    fn vanished_and_sleeping_zones_are_left_out_and_a_malformed_file_fails_at_the_end() {
        let machine = Machine::new()
            .with("sys/class/thermal/cooling_device0/type", "Fan\n")
            .with("sys/class/thermal/cooling_device0/max_state", "1\n")
            .with("sys/class/thermal/cooling_device1/cur_state", "-1\n")
            .with("sys/class/thermal/cooling_device1/max_state", "x\n")
            .with("sys/class/thermal/thermal_zone0/type", "acpitz\n")
            .with("sys/class/thermal/thermal_zone0/temp/is_a_directory", "")
            .with("sys/class/thermal/thermal_zone1/temp", "-5000\n");
        let link = machine.path().join("sys/class/thermal/thermal_zone2");
        std::os::unix::fs::symlink("gone", link).unwrap();
        let (text, result) = machine.collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("/cooling_device1/max_state: bad number: \"x\""), "{error}");
        assert_eq!(
            sample_lines(&text).collect::<Vec<_>>(),
            [
                "node_cooling_device_cur_state{name=\"1\",type=\"\"} -1",
                "node_cooling_device_max_state{name=\"0\",type=\"Fan\"} 1",
                "node_thermal_zone_temp{type=\"\",zone=\"1\"} -5",
            ]
        );
    }

    #[test]
    fn no_class_is_no_error() {
        assert!(Machine::new().collect(&SPEC, &[]).1.is_ok());
    }
}
