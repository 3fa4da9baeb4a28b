//! Frequencies and governors of processors, from
//! `/sys/devices/system/cpu/cpu<n>/cpufreq` (`drivers/cpufreq/cpufreq.c`), in kHz.
//!
//! On x86 with Linux 4.15 to 5.18 `scaling_cur_freq` sleeps 10 ms for each processor that was not
//! sampled in the last second (`arch/x86/kernel/cpu/aperfmperf.c`), seconds on a large machine.
//! Opening `/proc/cpuinfo`, which is done where a processor has frequencies, makes the kernel sample
//! all of them at once.
//!
//! Only root may read `cpuinfo_cur_freq`, which asks the hardware: once the kernel has refused the
//! file of one processor, the files of the others are not tried. `offline` is absent on kernels
//! that cannot switch processors off.
//!
//! Limits and the lists of governors and of processors are read once in
//! [`SETTINGS_EVERY`](crate::host::tree::SETTINGS_EVERY) scrapes: a processor that is added to a
//! running machine shows so much later, and one that is switched on at once.

use crate::{
    host::tree::Dir,
    parse::{decimal, ranges},
    prelude::*,
};
use std::ops::RangeInclusive;

pub const SPEC: Spec = Spec {
    name: "cpufreq",
    enabled: true,
    capabilities: CapabilitySet::DAC_READ_SEARCH,
    flags: &[],
    new: |host, _| {
        Ok(Box::new(CpuFreq {
            cpuinfo: host.proc.file("cpuinfo"),
            processors: host.sys.devices("devices/system/cpu"),
            offline: host.sys.file("devices/system/cpu/offline"),
            absent: Vec::new(),
            path: Vec::new(),
        }))
    },
};

static FREQUENCIES: [(&str, Metric<1>); 7] = [
    (
        "cpuinfo_avg_freq",
        gauge("node_cpu_frequency_avg_hertz", "Average CPU thread frequency in hertz.").by(["cpu"]),
    ),
    (
        "cpuinfo_cur_freq",
        gauge("node_cpu_frequency_hertz", "Current CPU thread frequency in hertz.").by(["cpu"]),
    ),
    (
        "cpuinfo_max_freq",
        gauge("node_cpu_frequency_max_hertz", "Maximum CPU thread frequency in hertz.").by(["cpu"]),
    ),
    (
        "cpuinfo_min_freq",
        gauge("node_cpu_frequency_min_hertz", "Minimum CPU thread frequency in hertz.").by(["cpu"]),
    ),
    (
        "scaling_cur_freq",
        gauge("node_cpu_scaling_frequency_hertz", "Current scaled CPU thread frequency in hertz.")
            .by(["cpu"]),
    ),
    (
        "scaling_max_freq",
        gauge(
            "node_cpu_scaling_frequency_max_hertz",
            "Maximum scaled CPU thread frequency in hertz.",
        )
        .by(["cpu"]),
    ),
    (
        "scaling_min_freq",
        gauge(
            "node_cpu_scaling_frequency_min_hertz",
            "Minimum scaled CPU thread frequency in hertz.",
        )
        .by(["cpu"]),
    ),
];
/// Limits, which are read less often.
const LIMITS: [&str; 4] =
    ["cpuinfo_max_freq", "cpuinfo_min_freq", "scaling_max_freq", "scaling_min_freq"];
static GOVERNOR: Metric<2> =
    gauge("node_cpu_scaling_governor", "Current enabled CPU frequency governor.")
        .by(["cpu", "governor"]);

struct CpuFreq {
    /// `/proc/cpuinfo`, which is only opened, never read.
    cpuinfo: File,
    processors: Folder,
    offline: File,
    /// Room for the numbers of the processors that are offline.
    absent: Vec<RangeInclusive<u32>>,
    /// Room for a path.
    path: Vec<u8>,
}

impl Collector for CpuFreq {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { cpuinfo, processors, offline, absent, path } = self;
        absent.clear();
        let mut faults = Faults::default();
        let listed = offline.parse(|text| {
            let mut faults = Faults::default();
            absent.extend(ranges("processor", text).filter_map(|range| faults.keep(range)));
            faults.end()
        });
        faults.read(listed.map(Some));
        let (mut is_sampled, mut forbidden) = (false, [false; FREQUENCIES.len()]);
        for entry in processors.kept_list()?.1 {
            let name = entry.name();
            let Some((cpu, number)) =
                name.strip_prefix("cpu").and_then(|cpu| Some((cpu, cpu.parse().ok()?)))
            else {
                continue;
            };
            if !absent.iter().any(|range| range.contains(&number))
                && let Some(dir) = faults.read(entry.dir_below("cpufreq", path))
            {
                if !std::mem::replace(&mut is_sampled, true) {
                    cpuinfo.touch();
                }
                put_processor(&dir, cpu, &mut forbidden, &mut faults, out);
            }
        }
        faults.end()
    }
}

fn put_processor(
    dir: &Dir<'_>,
    cpu: &str,
    forbidden: &mut [bool],
    faults: &mut Faults,
    out: &mut Sink,
) {
    for ((file, metric), forbidden) in FREQUENCIES.iter().zip(forbidden) {
        if *forbidden {
            continue;
        }
        let read = if LIMITS.contains(file) {
            dir.parse_setting(file, kilohertz)
        } else {
            dir.parse(file, kilohertz)
        };
        match read {
            Err(error) if error.is_forbidden() => *forbidden = true,
            read => {
                if let Some(khz) = faults.read(read).flatten() {
                    out.put(metric, [&cpu], khz * 1000.0);
                }
            }
        }
    }
    put_governors(dir, cpu, faults, out);
}

fn put_governors(dir: &Dir<'_>, cpu: &str, faults: &mut Faults, out: &mut Sink) {
    let governor = faults.read(dir.text("scaling_governor"));
    let Some(governor) = governor.filter(|governor| !governor.is_empty()) else { return };
    let Some(available) = faults.read(dir.setting("scaling_available_governors")) else { return };
    for name in available.split_ascii_whitespace() {
        out.put(&GOVERNOR, [&cpu, &name], *name == *governor);
    }
}

/// A frequency; `None` where the driver does not know it at this moment.
fn kilohertz(text: &str) -> Result<Option<f64>, Malformed> {
    if text == "<unknown>" { Ok(None) } else { decimal("frequency", text).map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, sample_lines};

    #[test]
    fn processors_that_are_offline_unscaled_or_malformed_hide_no_other() {
        let cpu = |n, file: &str| format!("sys/devices/system/cpu/cpu{n}/{file}");
        let machine = Machine::new()
            .with("sys/devices/system/cpu/offline", "1\n")
            .with("sys/devices/system/cpu/cpufreq/boost", "1\n")
            .with(&cpu(0, "cpufreq/scaling_min_freq"), "-1\n")
            .with(&cpu(0, "cpufreq/scaling_cur_freq"), "fast\n")
            .with(&cpu(0, "cpufreq/scaling_governor"), "schedutil\n")
            .with(&cpu(1, "cpufreq/scaling_cur_freq"), "1000\n")
            .with(&cpu(2, "topology/core_id"), "2\n")
            .with(&cpu(10, "cpufreq/cpuinfo_cur_freq"), "<unknown>\n")
            .with(&cpu(10, "cpufreq/scaling_min_freq/is_a_directory"), "")
            .with(&cpu(10, "cpufreq/scaling_max_freq"), "3500000\n")
            .with(&cpu(11, "cpufreq/cpuinfo_cur_freq"), "2100000\n");
        let link = machine.path().join(cpu(3, ""));
        std::fs::create_dir_all(&link).unwrap();
        std::os::unix::fs::symlink("../cpufreq/policy3", link.join("cpufreq")).unwrap();
        let (text, result) = machine.collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("/cpu0/cpufreq/scaling_cur_freq: bad frequency: \"fast\""));
        let samples: Vec<_> = sample_lines(&text).collect();
        assert_eq!(
            samples,
            [
                "node_cpu_frequency_hertz{cpu=\"11\"} 2.1e+09",
                "node_cpu_scaling_frequency_max_hertz{cpu=\"10\"} 3.5e+09",
                "node_cpu_scaling_frequency_min_hertz{cpu=\"0\"} -1000",
            ]
        );
    }

    #[test]
    fn a_kernel_without_offline_or_with_an_odd_one_has_frequencies() {
        let cpu = |n| format!("sys/devices/system/cpu/cpu{n}/cpufreq/scaling_cur_freq");
        let machine = Machine::new().with(&cpu(0), "1000\n").with(&cpu(1), "1000\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        assert!(sample_lines(&text).count() == 2 && result.is_ok(), "{text}");
        let machine = machine.with("sys/devices/system/cpu/offline", "x,1\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        assert!(sample_lines(&text).count() == 1, "{text}");
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("/cpu/offline: bad processor: \"x\""), "{error}");
    }
}
