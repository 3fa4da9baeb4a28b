//! Frequencies of processors and who governs them, from
//! `/sys/devices/system/cpu/cpu<n>/cpufreq` (`drivers/cpufreq/cpufreq.c`), in kHz.
//!
//! On x86 with Linux 4.15 to 5.18 `scaling_cur_freq` sleeps 10 ms for each processor that was
//! not sampled in the last second (`arch/x86/kernel/cpu/aperfmperf.c`), seconds on a large
//! machine. Opening `/proc/cpuinfo` has all of them sampled at once.
//!
//! Only root may read `cpuinfo_cur_freq`, which asks the hardware: where it is forbidden for one
//! processor, the others are not tried.

use crate::{
    host::tree::{Dir, Entry},
    parse::{number, ranges},
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
            processors: host.sys.folder("devices/system/cpu"),
            offline: host.sys.file("devices/system/cpu/offline"),
            absent: Vec::new(),
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
static GOVERNOR: Metric<2> =
    gauge("node_cpu_scaling_governor", "Current enabled CPU frequency governor.")
        .by(["cpu", "governor"]);

struct CpuFreq {
    /// Never read, only opened.
    cpuinfo: File,
    processors: Folder,
    offline: File,
    /// What is offline; between scrapes, room for it.
    absent: Vec<RangeInclusive<u32>>,
}

impl Collector for CpuFreq {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { cpuinfo, processors, offline, absent } = self;
        absent.clear();
        offline.parse(|text| {
            for range in ranges("processor", text) {
                absent.push(range?);
            }
            Ok(())
        })?;
        cpuinfo.touch();
        let mut forbidden = [false; FREQUENCIES.len()];
        let mut result = Ok(());
        for entry in processors.list()? {
            let name = entry.name();
            let Some((cpu, number)) =
                name.strip_prefix("cpu").and_then(|cpu| Some((cpu, cpu.parse().ok()?)))
            else {
                continue;
            };
            if !absent.iter().any(|range| range.contains(&number)) {
                let put = put_processor(&entry, cpu, &mut forbidden, out);
                result = result.and(put);
            }
        }
        result
    }
}

fn put_processor(entry: &Entry<'_>, cpu: &str, forbidden: &mut [bool], out: &mut Sink) -> Result {
    let Some(processor) = entry.dir().unless_unreadable()? else { return Ok(()) };
    let Some(dir) = processor.dir("cpufreq").unless_unreadable()? else { return Ok(()) };
    let mut result = Ok(());
    for ((file, metric), forbidden) in FREQUENCIES.iter().zip(forbidden) {
        if *forbidden {
            continue;
        }
        match dir.parse(file, kilohertz) {
            Ok(Some(Some(khz))) => out.put(metric, [&cpu], khz as f64 * 1000.0),
            Err(error) if error.is_forbidden() => *forbidden = true,
            Ok(_) | Err(Error::Read { .. }) => {}
            Err(error) => result = result.and(Err(error)),
        }
    }
    result.and(put_governors(&dir, cpu, out))
}

fn put_governors(dir: &Dir<'_>, cpu: &str, out: &mut Sink) -> Result {
    let Some(governor) = dir.text("scaling_governor").unless_unreadable()? else { return Ok(()) };
    if governor.is_empty() {
        return Ok(());
    }
    let Some(available) = dir.text("scaling_available_governors").unless_unreadable()? else {
        return Ok(());
    };
    for name in available.split(' ') {
        out.put(&GOVERNOR, [&cpu, &name], *name == *governor);
    }
    Ok(())
}

/// A frequency; none where the driver does not know it now.
fn kilohertz(text: &str) -> Result<Option<u64>, Malformed> {
    if text == "<unknown>" { Ok(None) } else { number("frequency", text).map(Some) }
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
                "node_cpu_scaling_frequency_max_hertz{cpu=\"10\"} 3.5e+09"
            ]
        );
    }
}
