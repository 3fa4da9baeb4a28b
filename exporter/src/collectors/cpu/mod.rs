//! Time of each processor, copied by programs in the kernel or from `/proc/stat`; its model and
//! frequency, from `/proc/cpuinfo`; throttling, isolation and whether it is online, from
//! `/sys/devices/system/cpu`.
//!
//! A processor's ten numbers are those of `fs/proc/stat.c`: the file has them in ticks of 1/100 s,
//! whatever the kernel's own tick, the programs in nanoseconds. They can fall a little (idle and
//! iowait are computed without a lock), which a counter may not: the highest value seen is kept.
//! Where idle time falls by three seconds or more, the processor was switched off and on again, and
//! its numbers begin anew.

mod cpuinfo;
mod events;
mod times;

use crate::{
    exposition::Label,
    parse::{decimal, ranges},
    prelude::*,
};
use cpuinfo::Arch;
use events::Events;
use times::Times;

pub const SPEC: Spec = Spec {
    name: "cpu",
    enabled: true,
    capabilities: NONE,
    flags: &[&GUEST, &INFO, &FLAGS_INCLUDE, &BUGS_INCLUDE, &EVENTS],
    new: |host, flags| Ok(Box::new(Cpu::new(host, flags))),
};

static GUEST: Flag<bool> =
    switch("collector.cpu.guest", true, "Enables metric node_cpu_guest_seconds_total");
static INFO: Flag<bool> = switch("collector.cpu.info", false, "Enables metric cpu_info");
static FLAGS_INCLUDE: Flag<Option<Pattern>> = pattern(
    "collector.cpu.info.flags-include",
    "Filter the `flags` field in cpuInfo with a value that must be a regular expression",
);
static BUGS_INCLUDE: Flag<Option<Pattern>> = pattern(
    "collector.cpu.info.bugs-include",
    "Filter the `bugs` field in cpuInfo with a value that must be a regular expression",
);
static EVENTS: Flag<bool> = switch(
    "collector.cpu.bpf-events",
    false,
    "Count and time interrupts, and count context switches, with eBPF programs.",
);

static SECONDS: Metric<2> =
    counter("node_cpu_seconds_total", "Seconds the CPUs spent in each mode.").by(["cpu", "mode"]);
static GUEST_SECONDS: Metric<2> = counter(
    "node_cpu_guest_seconds_total",
    "Seconds the CPUs spent in guests (VMs) for each mode.",
)
.by(["cpu", "mode"]);
static CPU_INFO: Metric<10> = gauge("node_cpu_info", "CPU information from /proc/cpuinfo.").by([
    "cachesize",
    "core",
    "cpu",
    "family",
    "microcode",
    "model",
    "model_name",
    "package",
    "stepping",
    "vendor",
]);
static FREQUENCY: Metric<3> =
    gauge("node_cpu_frequency_hertz", "CPU frequency in hertz from /proc/cpuinfo.")
        .by(["core", "cpu", "package"]);
static FLAG_INFO: Metric<1> = gauge(
    "node_cpu_flag_info",
    "The `flags` field of CPU information from /proc/cpuinfo taken from the first core.",
)
.by(["flag"]);
static BUG_INFO: Metric<1> = gauge(
    "node_cpu_bug_info",
    "The `bugs` field of CPU information from /proc/cpuinfo taken from the first core.",
)
.by(["bug"]);
static CORE_THROTTLES: Metric<2> =
    counter("node_cpu_core_throttles_total", "Number of times this CPU core has been throttled.")
        .by(["core", "package"]);
static PACKAGE_THROTTLES: Metric<1> = counter(
    "node_cpu_package_throttles_total",
    "Number of times this CPU package has been throttled.",
)
.by(["package"]);
static ISOLATED: Metric<1> = gauge(
    "node_cpu_isolated",
    "Whether each core is isolated, information from /sys/devices/system/cpu/isolated.",
)
.by(["cpu"]);
static ONLINE: Metric<1> =
    gauge("node_cpu_online", "CPUs that are online and being scheduled.").by(["cpu"]);

struct Cpu {
    times: Times,
    events: Option<Events>,
    guest: bool,
    cpuinfo: Option<File>,
    flags: Option<Pattern>,
    bugs: Option<Pattern>,
    /// Whether frequencies of `/proc/cpuinfo` are exposed: only while the collector `cpufreq` is
    /// enabled, as in `node_exporter`.
    frequency: bool,
    isolated: Vec<u16>,
    folder: Folder,
    packages: Vec<u64>,
    cores: Vec<(u64, u64)>,
}

impl Cpu {
    fn new(host: &Host, flags: &Flags) -> Self {
        let mut isolated = Vec::new();
        let mut file = host.sys.file("devices/system/cpu/isolated");
        if let Err(error) = file.parse(|text| list(text, &mut isolated))
            && !error.is_absent()
        {
            tracing::warn!(collector = "cpu", "node_cpu_isolated lacks processors: {error}");
        }
        let (cpu_flags, bugs) = (flags.get(&FLAGS_INCLUDE), flags.get(&BUGS_INCLUDE));
        let info = flags.get(&INFO) || cpu_flags.is_some() || bugs.is_some();
        Self {
            times: Times::new(host, flags.get(&EVENTS)),
            events: flags.get(&EVENTS).then(|| Events::new(host)),
            guest: flags.get(&GUEST),
            cpuinfo: info.then(|| host.proc.file("cpuinfo")),
            flags: cpu_flags,
            bugs,
            frequency: flags.runs("cpufreq"),
            isolated,
            folder: host.sys.devices("devices/system/cpu"),
            packages: Vec::new(),
            cores: Vec::new(),
        }
    }

    fn info(&mut self, out: &mut Sink) -> Result {
        let Self { cpuinfo: Some(file), flags, bugs, frequency, .. } = self else { return Ok(()) };
        file.parse(|text| {
            let (infos, result) = cpuinfo::parse(Arch::HERE, text);
            for info in &infos {
                out.put(
                    &CPU_INFO,
                    [
                        &info.cache_size,
                        &info.core,
                        &info.processor,
                        &info.family,
                        &info.microcode,
                        &info.model,
                        &info.model_name,
                        &info.package,
                        &info.stepping,
                        &info.vendor,
                    ],
                    true,
                );
                if let Some(mhz) = info.mhz.filter(|_| *frequency) {
                    let labels: [&dyn Label; 3] = [&info.core, &info.processor, &info.package];
                    out.put(&FREQUENCY, labels, mhz * 1e6);
                }
            }
            // Flags and bugs are exposed for the first processor that has them.
            let mut all = infos.iter().map(|info| info.flags);
            words(out, &FLAG_INFO, flags.as_ref(), all.find(|flags| !flags.is_empty()));
            let mut all = infos.iter().map(|info| info.bugs);
            words(out, &BUG_INFO, bugs.as_ref(), all.find(|bugs| !bugs.is_empty()));
            result
        })
    }

    fn seconds(&mut self, out: &mut Sink) -> Result {
        let read = self.times.read(out);
        if let Err(error @ Error::Read { .. }) = read {
            return Err(error);
        }
        for (cpu, seconds) in self.times.iter() {
            let [user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice] =
                *seconds;
            let mut put = |metric, mode: &str, seconds: f64| {
                if !seconds.is_nan() {
                    out.put(metric, [cpu, &mode], seconds);
                }
            };
            put(&SECONDS, "idle", idle);
            put(&SECONDS, "iowait", iowait);
            put(&SECONDS, "irq", irq);
            put(&SECONDS, "nice", nice);
            put(&SECONDS, "softirq", softirq);
            put(&SECONDS, "steal", steal);
            put(&SECONDS, "system", system);
            put(&SECONDS, "user", user);
            if self.guest {
                put(&GUEST_SECONDS, "nice", guest_nice);
                put(&GUEST_SECONDS, "user", guest);
            }
        }
        if let Some(events) = &self.events {
            events.put(&self.times, out);
        }
        read
    }

    /// Every processor of a core or package has the throttling counters of that core or package;
    /// the series come from the first processor with the file, and the files of the others are not
    /// read. Where the first processor has no `online`, no processor has one.
    fn folders(&mut self, out: &mut Sink) -> Result {
        let Self { folder, packages, cores, .. } = self;
        packages.clear();
        cores.clear();
        let Some(entries) = folder.list().unless_absent()? else { return Ok(()) };
        let mut faults = Faults::default();
        let mut told = None;
        for entry in entries {
            let name = entry.name();
            let Some(cpu) = name.strip_prefix("cpu") else { continue };
            if !cpu.starts_with(|c: char| c.is_ascii_digit()) {
                continue;
            }
            let Some(dir) = faults.read(entry.dir()) else { continue };
            let online = dir.parse("online", |text| Ok(text == "1"));
            if *told.get_or_insert(!matches!(online, Ok(None))) {
                out.put(&ONLINE, [&cpu], online.is_ok_and(|online| online == Some(true)));
            }
            // Most virtual machines have no counters: their places are not asked for.
            let has_counters = !cores.is_empty() || !packages.is_empty();
            let known = if has_counters { place(&dir, &mut faults) } else { None };
            let has_core = known.is_some_and(|known| cores.contains(&known));
            let has_package = known.is_some_and(|(package, _)| packages.contains(&package));
            if has_core && has_package {
                continue;
            }
            let Some(throttle) = faults.read(dir.dir("thermal_throttle")) else { continue };
            let mut count = |file, is_known| {
                if is_known { None } else { faults.read(throttle.decimal(file)) }
            };
            let core_count = count("core_throttle_count", has_core);
            let package_count = count("package_throttle_count", has_package);
            if core_count.or(package_count).is_none() {
                continue;
            }
            let Some((package, core)) = known.or_else(|| place(&dir, &mut faults)) else {
                continue;
            };
            if let Some(count) = core_count {
                cores.push((package, core));
                out.put(&CORE_THROTTLES, [&core, &package], count);
            }
            if let Some(count) = package_count {
                packages.push(package);
                out.put(&PACKAGE_THROTTLES, [&package], count);
            }
        }
        faults.end()
    }
}

impl Collector for Cpu {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let mut faults = Faults::default();
        faults.keep(self.info(out));
        faults.keep(self.seconds(out));
        for cpu in &self.isolated {
            out.put(&ISOLATED, [cpu], true);
        }
        faults.keep(self.folders(out));
        faults.end()
    }
}

/// The numbers of a processor's package and core.
fn place(dir: &Dir<'_>, faults: &mut Faults) -> Option<(u64, u64)> {
    let mut id = |file| faults.read(dir.parse_setting(file, id)).flatten();
    Some((id("topology/physical_package_id")?, id("topology/core_id")?))
}

/// The number of a core or package; `None` where it is negative, for example -1 where the firmware
/// gives none.
fn id(text: &str) -> Result<Option<u64>, Malformed> {
    decimal("number", text).map(|_| text.parse().ok())
}

fn words(out: &mut Sink, metric: &Metric<1>, wanted: Option<&Pattern>, words: Option<&str>) {
    let (Some(wanted), Some(words)) = (wanted, words) else { return };
    for word in words.split_ascii_whitespace().filter(|word| wanted.matches(word)) {
        out.put(metric, [&word], true);
    }
}

/// The kernel's lists of processors, such as `1,4-6`.
fn list(text: &str, cpus: &mut Vec<u16>) -> Result<(), Malformed> {
    let mut faults = Faults::default();
    for range in ranges::<u16>("list of processors", text) {
        cpus.extend(faults.keep(range).into_iter().flatten());
    }
    faults.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, sample_lines};

    #[test]
    fn guests_can_be_left_out_and_info_is_by_default() {
        let machine = Machine::new().with("proc/stat", "cpu  1 2 3\ncpu3 100 2 3 4\n");
        let (text, result) = machine.collect(&SPEC, &["--no-collector.cpu.guest"]);
        assert!(result.is_ok(), "neither cpuinfo nor sysfs is needed: {result:?}");
        assert!(text.contains("node_cpu_seconds_total{cpu=\"3\",mode=\"user\"} 1\n"));
        assert!(!text.contains("guest") && !text.contains("info"));
    }

    #[test]
    fn frequencies_are_exposed_only_with_cpufreq() {
        let info = "processor\t: 0\nvendor_id\t: X\ncpu MHz\t\t: 2400.5\n\n";
        let machine = Machine::new().with("proc/stat", "").with("proc/cpuinfo", info);
        let has_frequency = |args: &[&str]| {
            let (text, result) = machine.collect(&SPEC, args);
            assert!(result.is_ok() && text.contains("node_cpu_info{"), "{text} {result:?}");
            text.contains("node_cpu_frequency_hertz{")
        };
        assert!(has_frequency(&["--collector.cpu.info"]));
        assert!(!has_frequency(&["--collector.cpu.info", "--no-collector.cpufreq"]));
    }

    #[test]
    fn odd_ticks_cost_themselves_alone() {
        let text = "cpu 1\ncpu0\ncpu1 7 -5 99999999999999999999 x 3\ncpux 1\ncpu2 1\nintr x\n";
        let machine = Machine::new().with("proc/stat", text);
        let (text, result) = machine.collect(&SPEC, &["--no-collector.cpu.guest"]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("proc/stat:3: bad ticks: \"x\""), "{error}");
        let seconds = |cpu, mode, value| {
            let line = format!("node_cpu_seconds_total{{cpu=\"{cpu}\",mode=\"{mode}\"}} {value}\n");
            assert!(text.contains(&line), "{line}{text}");
        };
        seconds(1, "user", "0.07");
        seconds(1, "nice", "-0.05");
        seconds(1, "system", "1e+18");
        seconds(1, "iowait", "0.03");
        seconds(2, "user", "0.01");
        assert_eq!(sample_lines(&text).count(), 7 + 8, "{text}");

        let machine = Machine::new().with("proc/stat", "cpu0 1 -2 3\n");
        assert!(machine.collect(&SPEC, &[]).1.is_ok(), "a kernel can print a negative number");
    }

    #[test]
    fn an_odd_part_of_a_list_hides_no_other() {
        let machine = Machine::new()
            .with("proc/stat", "")
            .with("sys/devices/system/cpu/isolated", "1,x,4-5,70000\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        result.unwrap();
        let cpus: Vec<_> = sample_lines(&text).filter_map(|line| line.split('"').nth(1)).collect();
        assert_eq!(cpus, ["1", "4", "5"]);
    }

    #[test]
    fn an_odd_cpuinfo_hides_neither_times_nor_folders() {
        let machine = Machine::new()
            .with("proc/stat", "cpu0 1 2 3 4\n")
            .with("proc/cpuinfo", "processor\t: 0\ncpu MHz\t\t: Unknown\nflags\t\t: fpu\n")
            .with("sys/devices/system/cpu/cpu0/online", "1\n");
        let args = ["--collector.cpu.info", "--collector.cpu.info.flags-include=fpu"];
        let (text, result) = machine.collect(&SPEC, &args);
        result.unwrap();
        assert!(text.contains("node_cpu_info{") && text.contains("node_cpu_seconds_total{"));
        assert!(text.contains("node_cpu_flag_info{flag=\"fpu\"}") && !text.contains("hertz"));
        let machine = machine.with("proc/cpuinfo", "odd\n");
        let (text, result) = machine.collect(&SPEC, &args);
        assert!(text.contains("seconds_total{") && text.contains("node_cpu_online{"), "{text}");
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("proc/cpuinfo: bad list of processors: \"odd\""), "{error}");
    }

    #[test]
    fn counters_of_a_core_are_those_of_its_first_processor_that_has_them() {
        let cpu = |n, file: &str| format!("sys/devices/system/cpu/cpu{n}/{file}");
        let mut machine = Machine::new().with("proc/stat", "");
        for (n, package, core) in [(0, 0, 0), (1, 0, 0), (2, 0, 1), (3, 0, 0), (4, 1, 0)] {
            let number = |n: u8| format!("{n}\n");
            machine = machine
                .with(&cpu(n, "topology/physical_package_id"), number(package))
                .with(&cpu(n, "topology/core_id"), number(core));
        }
        let machine = machine
            .with(&cpu(0, "thermal_throttle/package_throttle_count"), "1\n")
            .with(&cpu(1, "thermal_throttle/core_throttle_count"), "2\n")
            .with(&cpu(1, "thermal_throttle/package_throttle_count"), "not read\n")
            .with(&cpu(2, "thermal_throttle/core_throttle_count"), "3\n")
            .with(&cpu(3, "thermal_throttle/core_throttle_count"), "not read\n")
            .with(&cpu(4, "thermal_throttle/core_throttle_count"), "4\n")
            .with(&cpu(4, "thermal_throttle/package_throttle_count"), "5\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        result.unwrap();
        let lines: Vec<_> = sample_lines(&text).collect();
        assert_eq!(
            lines,
            [
                r#"node_cpu_core_throttles_total{core="0",package="0"} 2"#,
                r#"node_cpu_core_throttles_total{core="0",package="1"} 4"#,
                r#"node_cpu_core_throttles_total{core="1",package="0"} 3"#,
                r#"node_cpu_package_throttles_total{package="0"} 1"#,
                r#"node_cpu_package_throttles_total{package="1"} 5"#,
            ]
        );
    }

    #[test]
    fn folders_without_a_counter_are_left_out() {
        let cpu = |n, file: &str| format!("sys/devices/system/cpu/cpu{n}/{file}");
        let machine = Machine::new()
            .with("proc/stat", "")
            .with("sys/devices/system/cpu/cpufreq/online", "1\n")
            .with(&cpu(0, "topology/physical_package_id"), "0\n")
            .with(&cpu(0, "topology/core_id"), "0\n")
            .with(&cpu(1, "online"), "1\n")
            .with(&cpu(1, "topology/physical_package_id"), "0\n")
            .with(&cpu(1, "topology/core_id"), "0\n")
            .with(&cpu(1, "thermal_throttle/core_throttle_count"), "4\n")
            .with(&cpu(2, "topology/physical_package_id"), "-1\n")
            .with(&cpu(2, "topology/core_id"), "0\n")
            .with(&cpu(2, "thermal_throttle/package_throttle_count"), "5\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        assert!(result.is_ok());
        assert!(
            text.ends_with("\nnode_cpu_core_throttles_total{core=\"0\",package=\"0\"} 4\n"),
            "{text}"
        );
        assert!(!text.contains("node_cpu_online") && !text.contains("package_throttles"));
    }
}
