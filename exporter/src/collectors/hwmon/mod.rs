//! Temperatures, voltages, fans and the like, from `/sys/class/hwmon`.
//!
//! Each chip is a directory whose files are named `<type><number>_<property>`
//! (`Documentation/hwmon/sysfs-interface.rst`); drivers in the style of before Linux 3.13 put them
//! into the directory `device` below it. The kernel numbers chips in the order in which their
//! modules were loaded, which may change: the label `chip` is made from the chip's device, with an
//! addition where chips share a device.
//!
//! Labels, limits and the like and the names of a chip's files are read once in
//! [`SETTINGS_EVERY`](crate::host::tree::SETTINGS_EVERY) scrapes: a limit that somebody changes shows
//! so much later, as does a sensor that the driver adds to a chip, or a label or limit that it takes
//! away. A reading that has gone is left out at once, and so is a chip.
//!
//! Drivers answer with `EAGAIN`, `EIO` or `ENODATA` where a sensor is asleep or broken: that sensor
//! is left out, and the others stay. Some chips are slow and some never answer, so the threads of a
//! [`Crew`] read them. A chip that has not answered within five seconds, or within half of the time
//! left to a scrape that must be answered earlier, is left out until it answers.

mod chip;
mod metric;
mod name;
mod sensor;

use crate::{host::crew::Crew, prelude::*};
use chip::{Chip, Name};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

pub const SPEC: Spec = Spec {
    name: "hwmon",
    enabled: true,
    capabilities: NONE,
    flags: &[&CHIP_INCLUDE, &CHIP_EXCLUDE, &SENSOR_INCLUDE, &SENSOR_EXCLUDE],
    new: |host, flags| {
        Ok(Box::new(HwMon {
            tree: host.sys.clone(),
            class: host.sys.folder(CLASS),
            chips: FilterFlags::new(&CHIP_INCLUDE, &CHIP_EXCLUDE).read(flags)?,
            sensors: FilterFlags::new(&SENSOR_INCLUDE, &SENSOR_EXCLUDE).read(flags)?,
            seen: Seen::default(),
            known: Vec::new(),
            crew: Crew::new("hwmon", 1, |chip: &Mutex<Chip>| {
                chip.lock().unwrap_or_else(PoisonError::into_inner).read();
            }),
        }))
    },
};

static CHIP_INCLUDE: Flag<Option<Pattern>> = pattern(
    "collector.hwmon.chip-include",
    "Regexp of hwmon chip to include (mutually exclusive to device-exclude).",
);
static CHIP_EXCLUDE: Flag<Option<Pattern>> = pattern(
    "collector.hwmon.chip-exclude",
    "Regexp of hwmon chip to exclude (mutually exclusive to device-include).",
);
static SENSOR_INCLUDE: Flag<Option<Pattern>> = pattern(
    "collector.hwmon.sensor-include",
    "Regexp of hwmon sensor to include (mutually exclusive to sensor-exclude).",
);
static SENSOR_EXCLUDE: Flag<Option<Pattern>> = pattern(
    "collector.hwmon.sensor-exclude",
    "Regexp of hwmon sensor to exclude (mutually exclusive to sensor-include).",
);

static CHIP_NAMES: Metric<2> =
    gauge("node_hwmon_chip_names", "Annotation metric for human-readable chip names")
        .by(["chip", "chip_name"]);

const CLASS: &str = "class/hwmon";
/// The longest time that chips may take: half of Prometheus' default scrape timeout.
const PATIENCE: Duration = Duration::from_secs(5);

struct HwMon {
    tree: Tree,
    class: Folder,
    chips: Filter,
    sensors: Filter,
    seen: Seen,
    known: Vec<Name>,
    crew: Crew<Mutex<Chip>, ()>,
}

impl HwMon {
    /// Finds the names of all chips anew if a chip came or went.
    fn find(&mut self) -> Result {
        let entries = self.class.list().or_no_data()?;
        if !self.seen.changed(entries.clone()) {
            return Ok(());
        }
        let before = std::mem::take(&mut self.known);
        for mut name in chip::find(&self.tree, CLASS, entries, &self.sensors) {
            if !self.chips.keeps(&name.label) {
                continue;
            }
            // While a thread hangs at a chip, no second thread may read that chip.
            let is_open = |old: &&Name| old.inode == name.inode && old.question.answer().is_none();
            if let Some(old) = before.iter().find(is_open) {
                name.question = Arc::clone(&old.question);
            }
            self.known.push(name);
        }
        // In the order of their series, so that the exposition need not sort them.
        self.known.sort_by(|a, b| a.label.cmp(&b.label));
        Ok(())
    }
}

impl Collector for HwMon {
    fn collect(&mut self, out: &mut Sink) -> Result {
        self.find()?;
        let questions = self.known.iter().map(|name| &name.question);
        let mut faults = Faults::default();
        faults.keep(self.crew.ask(questions, out.patience(PATIENCE)));
        for Name { label, driver, question, .. } in &self.known {
            let answer = question.answer();
            if question.note(answer.is_none()) {
                if answer.is_some() {
                    tracing::info!(collector = "hwmon", chip = label, "hwmon chip answers again");
                } else {
                    tracing::warn!(
                        collector = "hwmon",
                        chip = label,
                        "hwmon chip is left out until it answers"
                    );
                }
            }
            match answer {
                None => continue,
                Some(Err(panicked)) => {
                    faults.keep::<()>(Err(panicked.of("hwmon")));
                    continue;
                }
                Some(Ok(())) => {}
            }
            // The question is answered, so no thread reads the chip.
            let mut chip = question.subject().lock().unwrap_or_else(PoisonError::into_inner);
            match std::mem::replace(&mut chip.result, Ok(())) {
                Err(error) if error.is_absent() => continue,
                read => faults.keep(read),
            };
            if let Some(driver) = driver {
                out.put(&CHIP_NAMES, [label, driver], true);
            }
            let Chip { readings, directories, .. } = &mut *chip;
            readings.put(out, |file, of_device, source| {
                let path = directories.path(file, of_device);
                faults.keep::<()>(Err(Error::Parse { path, source }));
            });
        }
        faults.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        host::tree::SETTINGS_EVERY,
        testing::{Machine, exposed, sample_lines, settle},
    };
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::time::Instant;

    #[test]
    fn no_class_is_no_data() {
        assert!(matches!(Machine::new().collect(&SPEC, &[]).1, Err(Error::NoData)));
    }

    #[test]
    fn chips_and_sensors_can_be_chosen() {
        let machine = Machine::new()
            .with("sys/class/hwmon/hwmon0/name", "acpitz\n")
            .with("sys/class/hwmon/hwmon0/temp1_input", "20000\n")
            .with("sys/class/hwmon/hwmon0/temp2_input", "30000\n")
            .with("sys/class/hwmon/hwmon1/name", "nvme\n")
            .with("sys/class/hwmon/hwmon1/temp1_input", "40000\n");
        let chosen = |args: &[&str]| {
            let (text, result) = machine.collect(&SPEC, args);
            assert!(result.is_ok());
            let labels =
                |line: &str| line.strip_prefix("node_hwmon_temp_celsius{").map(str::to_owned);
            sample_lines(&text).filter_map(labels).collect::<Vec<_>>()
        };
        let acpitz1 = "chip=\"acpitz\",sensor=\"temp1\"} 20";
        let acpitz2 = "chip=\"acpitz\",sensor=\"temp2\"} 30";
        let nvme = "chip=\"nvme\",sensor=\"temp1\"} 40";
        assert_eq!(chosen(&[]), [acpitz1, acpitz2, nvme]);
        assert_eq!(chosen(&["--collector.hwmon.chip-include=^n"]), [nvme]);
        assert_eq!(chosen(&["--collector.hwmon.chip-exclude=^n"]), [acpitz1, acpitz2]);
        let sensor = "--collector.hwmon.sensor-exclude=^acpitz;temp1$";
        assert_eq!(chosen(&[sensor]), [acpitz2, nvme]);
    }

    #[test]
    fn a_vanished_or_broken_chip_or_sensor_hides_no_other() {
        let machine = Machine::new()
            .with("sys/class/hwmon/hwmon2/name", "nvme\n")
            .with("sys/class/hwmon/hwmon2/temp1_input/is_a_directory", "")
            .with("sys/class/hwmon/hwmon2/temp2_input", "41850\n")
            .with("sys/class/hwmon/hwmon2/temp3_input", "not a number\n")
            .with("sys/class/hwmon/hwmon2/device/in0_input", "none\n")
            .with("sys/class/hwmon/hwmon2/in1_input", "\n")
            .with("sys/class/hwmon/hwmon2/power1_oem_info", "ACME\n");
        let class = machine.path().join("sys/class/hwmon");
        for (link, target) in [("hwmon0", "gone"), ("hwmon2/temp4_input", "gone")] {
            std::os::unix::fs::symlink(target, class.join(link)).unwrap();
        }
        let error = |args: &[&str]| {
            let (text, result) = machine.collect(&SPEC, args);
            let samples: Vec<_> = sample_lines(&text).collect();
            assert_eq!(samples.len(), 2, "{text}");
            assert!(samples[0].starts_with("node_hwmon_chip_names{") && samples[0].ends_with(" 1"));
            assert!(samples[1].ends_with(",sensor=\"temp2\"} 41.85"), "{text}");
            result.map_err(|error| error.to_string()).err()
        };
        let all = error(&[]).unwrap();
        assert!(all.ends_with("/hwmon2/device/in0_input: bad number: \"none\""), "{all}");
        let temperatures = error(&["--collector.hwmon.sensor-exclude=;in"]).unwrap();
        assert!(temperatures.ends_with("/hwmon2/temp3_input: bad number: \"not a number\""));
        let second = "--collector.hwmon.sensor-include=;temp2$";
        assert_eq!(error(&[second]), None, "an excluded sensor is not parsed");
    }

    #[test]
    fn empty_lines_are_no_part_of_a_label() {
        let machine = Machine::new()
            .with("sys/class/hwmon/hwmon0/name", "x\n")
            .with("sys/class/hwmon/hwmon0/temp1_input", "1000\n")
            .with("sys/class/hwmon/hwmon0/temp1_label", "\nPackage id 0\n\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        result.unwrap();
        assert!(text.contains(",label=\"Package id 0\",sensor=\"temp1\"} 1\n"), "{text}");
    }

    #[test]
    fn sensors_come_and_go_and_chips_are_replaced() {
        let file = |name: &str| format!("sys/class/hwmon/hwmon0/{name}");
        let machine = Machine::new().with(&file("temp1_input"), "1000\n");
        let settled = |machine: Machine| {
            settle(&machine.path().join("sys"));
            machine
        };
        let machine = settled(machine.with(&file("temp1_max"), "9000\n"));
        let mut collector = machine.collector(&SPEC);
        let mut inputs = || {
            let text = exposed(|out| collector.collect(out).unwrap());
            let lines = sample_lines(&text).filter(|line| line.contains("_temp_celsius{"));
            let values = lines.filter_map(|line| line.rsplit(',').next());
            values.map(str::to_owned).collect::<Vec<_>>()
        };
        let [one, two, three] = [1, 2, 3].map(|n| format!("sensor=\"temp{n}\"}} {n}"));
        for _ in 0..3 {
            assert_eq!(inputs(), [&*one]);
        }
        let machine = machine.with(&file("temp2_input"), "2000\n");
        assert_eq!(inputs(), [&*one, &two], "the directory's time tells");
        let machine = settled(settled(machine).with(&file("temp3_input"), "3000\n"));
        let scrapes = (1..=SETTINGS_EVERY).find(|_| inputs().len() == 3);
        assert!(scrapes.is_some(), "nothing tells, as in sysfs");
        std::fs::remove_file(machine.path().join(file("temp2_input"))).unwrap();
        assert_eq!(inputs(), [&*one, &three], "a sensor that has gone is left out at once");
        let chip = machine.path().join(file(""));
        std::fs::rename(&chip, machine.path().join("elsewhere")).unwrap();
        let _machine = settled(machine.with(&file("temp3_input"), "4000\n"));
        assert_eq!(inputs(), ["sensor=\"temp3\"} 4"], "the chip is another one");
        std::fs::remove_dir_all(&chip).unwrap();
        assert!(inputs().is_empty(), "there is no chip");
    }

    #[test]
    fn limits_that_were_malformed_at_first_are_read_again() {
        let limits = (0..SETTINGS_EVERY).map(|n| format!("sys/class/hwmon/hwmon0/temp{n}_max"));
        let limits: Vec<_> = limits.collect();
        let with = |machine, content| {
            limits.iter().fold(machine, |machine: Machine, limit| machine.with(limit, content))
        };
        let machine = with(Machine::new(), "none\n");
        settle(&machine.path().join("sys"));
        let mut collector = machine.collector(&SPEC);
        let mut result = || {
            let mut result = Ok(());
            let _ = exposed(|out| result = collector.collect(out));
            result
        };
        assert!(result().is_err());
        let _machine = with(machine, "2000\n");
        result().unwrap();
    }

    #[test]
    fn a_chip_whose_name_or_device_is_another_shows_it() {
        let machine = Machine::new()
            .with("sys/devices/0/temp1_input", "1000\n")
            .with("sys/devices/1/temp1_input", "2000\n")
            .with("sys/class/hwmon/hwmon0/name", "first\n");
        let chip = machine.path().join("sys/class/hwmon/hwmon0");
        let link = |device: &str| {
            let _ = std::fs::remove_file(chip.join("device"));
            std::os::unix::fs::symlink(format!("../../../devices/{device}"), chip.join("device"))
                .unwrap();
        };
        let mut collector = machine.collector(&SPEC);
        let mut chips = || {
            let text = exposed(|out| collector.collect(out).unwrap());
            sample_lines(&text).map(str::to_owned).collect::<Vec<_>>()
        };
        let named = |label: &str, name: &str| {
            format!("node_hwmon_chip_names{{chip=\"{label}\",chip_name=\"{name}\"}} 1")
        };
        let temperature = |label: &str, value: u8| {
            format!("node_hwmon_temp_celsius{{chip=\"{label}\",sensor=\"temp1\"}} {value}")
        };
        for (device, value) in [("0", 1), ("1", 2)] {
            link(device);
            let label = format!("devices_{device}");
            assert_eq!(chips(), [named(&label, "first"), temperature(&label, value)]);
        }
        std::fs::write(chip.join("new"), "second\n").unwrap();
        std::fs::rename(chip.join("new"), chip.join("name")).unwrap();
        assert_eq!(chips()[0], named("devices_1", "second"));
        std::fs::remove_file(chip.join("device")).unwrap();
        assert_eq!(chips(), [named("second", "second")]);
    }

    /// A FIFO without a writer: opening it to read never returns.
    #[test]
    fn a_chip_that_hangs_is_left_out_until_it_answers() {
        let machine = Machine::new()
            .with("sys/class/hwmon/hwmon0/name", "ipmi\n")
            .with("sys/class/hwmon/hwmon1/name", "nvme\n")
            .with("sys/class/hwmon/hwmon1/temp1_input", "40000\n");
        let sensor = machine.path().join("sys/class/hwmon/hwmon0/temp1_input");
        mknodat(CWD, &sensor, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let mut collector = machine.collector(&SPEC);
        let mut temperatures = |due: Option<Duration>| {
            let text = exposed(|out| {
                out.due(due.map(|after| Instant::now() + after));
                collector.collect(out).unwrap();
            });
            let lines = sample_lines(&text).filter(|line| line.contains("_temp_celsius{"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let nvme = "node_hwmon_temp_celsius{chip=\"nvme\",sensor=\"temp1\"} 40";
        assert_eq!(temperatures(Some(Duration::from_secs(2))), [nvme]);
        let begin = Instant::now();
        assert_eq!(temperatures(None), [nvme]);
        assert!(begin.elapsed() < PATIENCE, "it is not waited for again");

        let writer = std::fs::File::options().read(true).write(true).open(&sensor).unwrap();
        std::fs::remove_file(&sensor).unwrap();
        std::fs::write(&sensor, "20000\n").unwrap();
        drop(writer);
        let ipmi = "node_hwmon_temp_celsius{chip=\"ipmi\",sensor=\"temp1\"} 20";
        while temperatures(None) != [ipmi, nvme] {
            std::thread::yield_now();
        }
    }
}
