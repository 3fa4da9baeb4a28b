//! Time of each processor, from `/proc/stat`; what it is, from `/proc/cpuinfo`; throttling,
//! isolation and whether it is online, from `/sys/devices/system/cpu`.
//!
//! A processor's ten numbers (`fs/proc/stat.c`) are in ticks of 1/100 s, whatever the kernel's
//! own tick. They can fall a little (idle and iowait are computed without a lock), which a
//! counter may not: the highest value seen is kept. Where idle time falls by three seconds or
//! more, the processor was taken away and came back, and begins anew.

mod cpuinfo;

use crate::{
    exposition::Label,
    host::Shared,
    parse::{number, ranges},
    prelude::*,
};
use cpuinfo::Arch;
use std::cmp::Ordering;

pub const SPEC: Spec = Spec {
    name: "cpu",
    enabled: true,
    capabilities: NONE,
    flags: &[&GUEST, &INFO, &FLAGS_INCLUDE, &BUGS_INCLUDE],
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

/// `USER_HZ`, the same on all architectures of Linux that matter here.
const TICKS_PER_SECOND: f64 = 100.0;
/// Three seconds.
const JUMP_BACK: u64 = 300;

/// A processor's number and its ticks: user, nice, system, idle, iowait, irq, softirq, steal,
/// guest and guest nice.
type Times = (u32, [u64; 10]);

struct Cpu {
    stat: Shared<SingleFile>,
    /// What is exposed, ordered as labels are.
    times: Vec<Times>,
    /// What the kernel says now; between scrapes, room for it.
    fresh: Vec<Times>,
    guest: bool,
    cpuinfo: Option<File>,
    flags: Option<Pattern>,
    bugs: Option<Pattern>,
    /// Whether `/proc/cpuinfo` gives frequencies: not where cpufreq is not wanted.
    frequency: bool,
    isolated: Vec<u16>,
    folder: Folder,
    packages: Vec<u64>,
    cores: Vec<(u64, u64)>,
}

impl Cpu {
    fn new(host: &Host, flags: &Flags) -> Self {
        let isolated = match host.sys.file("devices/system/cpu/isolated").parse(list) {
            Ok(isolated) => isolated,
            Err(error) => {
                if !error.is_absent() {
                    tracing::warn!("node_cpu_isolated is left out: {error}");
                }
                Vec::new()
            }
        };
        let (cpu_flags, bugs) = (flags.get(&FLAGS_INCLUDE), flags.get(&BUGS_INCLUDE));
        let info = flags.get(&INFO) || cpu_flags.is_some() || bugs.is_some();
        Self {
            stat: host.stat.clone(),
            times: Vec::new(),
            fresh: Vec::new(),
            guest: flags.get(&GUEST),
            cpuinfo: info.then(|| host.proc.file("cpuinfo")),
            flags: cpu_flags,
            bugs,
            frequency: flags.runs("cpufreq"),
            isolated,
            folder: host.sys.folder("devices/system/cpu"),
            packages: Vec::new(),
            cores: Vec::new(),
        }
    }

    fn info(&mut self, out: &mut Sink) -> Result {
        let Self { cpuinfo: Some(file), flags, bugs, frequency, .. } = self else { return Ok(()) };
        file.parse(|text| {
            let infos = cpuinfo::parse(Arch::HERE, text)?;
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
                if *frequency {
                    let labels: [&dyn Label; 3] = [&info.core, &info.processor, &info.package];
                    out.put(&FREQUENCY, labels, info.mhz * 1e6);
                }
            }
            if let Some(first) = infos.first() {
                words(out, &FLAG_INFO, flags.as_ref(), first.flags);
                words(out, &BUG_INFO, bugs.as_ref(), first.bugs);
            }
            Ok(())
        })
    }

    fn seconds(&mut self, out: &mut Sink) -> Result {
        let Self { stat, times, fresh, .. } = self;
        stat.parse(out.scrape(), |text| parse(text, fresh))?;
        update(times, fresh);
        out.served_by("procfs");
        for (cpu, ticks) in &*times {
            let [user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice] =
                ticks.map(|ticks| ticks as f64 / TICKS_PER_SECOND);
            out.put(&SECONDS, [cpu, &"idle"], idle);
            out.put(&SECONDS, [cpu, &"iowait"], iowait);
            out.put(&SECONDS, [cpu, &"irq"], irq);
            out.put(&SECONDS, [cpu, &"nice"], nice);
            out.put(&SECONDS, [cpu, &"softirq"], softirq);
            out.put(&SECONDS, [cpu, &"steal"], steal);
            out.put(&SECONDS, [cpu, &"system"], system);
            out.put(&SECONDS, [cpu, &"user"], user);
            if self.guest {
                out.put(&GUEST_SECONDS, [cpu, &"nice"], guest_nice);
                out.put(&GUEST_SECONDS, [cpu, &"user"], guest);
            }
        }
        Ok(())
    }

    /// Throttling is counted by core and package, and told by each of their processors; the
    /// first that tells it is heard. No processor has `online` where the first has not.
    fn folders(&mut self, out: &mut Sink) -> Result {
        let Self { folder, packages, cores, .. } = self;
        packages.clear();
        cores.clear();
        let Some(entries) = folder.list().unless_absent()? else { return Ok(()) };
        let mut told = None;
        for entry in entries {
            let name = entry.name();
            let Some(cpu) = name.strip_prefix("cpu") else { continue };
            if !cpu.starts_with(|c: char| c.is_ascii_digit()) {
                continue;
            }
            let Some(dir) = entry.dir()? else { continue };
            let online = dir.text("online");
            if *told.get_or_insert(!matches!(online, Ok(None))) {
                out.put(&ONLINE, [&cpu], online.is_ok_and(|text| text.as_deref() == Some("1")));
            }
            // What is not there or no number is left out.
            let number = |file| dir.number::<u64>(file).ok().flatten();
            let core_count = number("thermal_throttle/core_throttle_count");
            let package_count = number("thermal_throttle/package_throttle_count");
            if core_count.or(package_count).is_none() {
                continue;
            }
            let (Some(package), Some(core)) =
                (number("topology/physical_package_id"), number("topology/core_id"))
            else {
                continue;
            };
            if let Some(count) = core_count.filter(|_| !cores.contains(&(package, core))) {
                cores.push((package, core));
                out.put(&CORE_THROTTLES, [&core, &package], count);
            }
            if let Some(count) = package_count.filter(|_| !packages.contains(&package)) {
                packages.push(package);
                out.put(&PACKAGE_THROTTLES, [&package], count);
            }
        }
        Ok(())
    }
}

impl Collector for Cpu {
    fn collect(&mut self, out: &mut Sink) -> Result {
        self.info(out)?;
        self.seconds(out)?;
        for cpu in &self.isolated {
            out.put(&ISOLATED, [cpu], true);
        }
        self.folders(out)
    }
}

fn words(out: &mut Sink, metric: &Metric<1>, wanted: Option<&Pattern>, words: &str) {
    let Some(wanted) = wanted else { return };
    for word in words.split_ascii_whitespace().filter(|word| wanted.matches(word)) {
        out.put(metric, [&word], true);
    }
}

/// Puts the processors' lines of `/proc/stat` into `times`. Old kernels have fewer columns.
fn parse(text: &str, times: &mut Vec<Times>) -> Result<(), Malformed> {
    times.clear();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace().peekable();
        let (Some(keyword), Some(_)) = (words.next(), words.peek()) else { continue };
        let Some(cpu) = keyword.strip_prefix("cpu").filter(|cpu| !cpu.is_empty()) else { continue };
        let mut ticks = [0; 10];
        for (ticks, word) in ticks.iter_mut().zip(words) {
            *ticks = number("ticks", word)?;
        }
        times.push((number("processor", cpu)?, ticks));
    }
    Ok(())
}

/// Replaces `times` by `fresh`, whose numbers do not fall save at a jump.
fn update(times: &mut Vec<Times>, fresh: &mut Vec<Times>) {
    for (cpu, ticks) in &mut *fresh {
        let Ok(i) = times.binary_search_by(|(old, _)| as_labels(*old, *cpu)) else { continue };
        let Some((_, old)) = times.get(i) else { continue };
        let ([_, _, _, idle, ..], [_, _, _, old_idle, ..]) = (&*ticks, old);
        if old_idle.saturating_sub(*idle) >= JUMP_BACK {
            continue;
        }
        for (ticks, old) in ticks.iter_mut().zip(old) {
            *ticks = (*ticks).max(*old);
        }
    }
    fresh.sort_unstable_by(|(a, _), (b, _)| as_labels(*a, *b));
    std::mem::swap(times, fresh);
}

/// `10` comes before `9`.
fn as_labels(a: u32, b: u32) -> Ordering {
    itoa::Buffer::new().format(a).cmp(itoa::Buffer::new().format(b))
}

/// The kernel's lists of processors, such as `1,4-6`.
fn list(text: &str) -> Result<Vec<u16>, Malformed> {
    let mut cpus = Vec::new();
    for range in ranges::<u16>("list of processors", text) {
        cpus.extend(range?);
    }
    Ok(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, malformed};

    #[test]
    fn guests_can_be_left_out_and_info_is_by_default() {
        let machine = Machine::new().with("proc/stat", "cpu  1 2 3\ncpu3 100 2 3 4\n");
        let (text, result) = machine.collect(&SPEC, &["--no-collector.cpu.guest"]);
        assert!(result.is_ok(), "neither cpuinfo nor sysfs is needed: {result:?}");
        assert!(text.contains("node_cpu_seconds_total{cpu=\"3\",mode=\"user\"} 1\n"));
        assert!(!text.contains("guest") && !text.contains("info"));
    }

    #[test]
    fn frequencies_are_for_those_that_want_cpufreq() {
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
    fn times_do_not_fall_save_at_a_jump() {
        let mut times = Vec::new();
        let mut see = |fresh: &[(u32, u64, u64)]| {
            let mut fresh = fresh
                .iter()
                .map(|&(cpu, user, idle)| (cpu, [user, 0, 0, idle, 0, 0, 0, 0, 0, 0]))
                .collect();
            update(&mut times, &mut fresh);
            times.iter().map(|(cpu, ticks)| (*cpu, ticks[0], ticks[3])).collect::<Vec<_>>()
        };
        assert_eq!(see(&[(9, 5, 1000), (10, 6, 1000)]), [(10, 6, 1000), (9, 5, 1000)]);
        assert_eq!(see(&[(9, 4, 701), (10, 7, 700)]), [(10, 7, 700), (9, 5, 1000)]);
        assert_eq!(
            see(&[(9, 6, 1001), (10, 1, 1)]),
            [(10, 1, 1), (9, 6, 1001)],
            "a jump resets all"
        );
        assert_eq!(see(&[(10, 1, 1)]), [(10, 1, 1)], "offline");
        assert_eq!(see(&[(9, 0, 5), (10, 1, 1)]), [(10, 1, 1), (9, 0, 5)], "and back");
    }

    #[test]
    fn refuses_what_is_no_processor() {
        let parse = |text| {
            let mut times = Vec::new();
            parse(text, &mut times).map(|()| times)
        };
        assert_eq!(
            parse("cpu 1\ncpu0\ncpu1 7\nintr x"),
            Ok(vec![(1, [7, 0, 0, 0, 0, 0, 0, 0, 0, 0])])
        );
        assert_eq!(malformed(parse("cpux 1")), "bad processor: \"x\"");
        assert_eq!(malformed(parse("cpu0 1 x")), "bad ticks: \"x\"");
        assert_eq!(
            malformed(parse("cpu0 18446744073709551616")),
            "bad ticks: \"18446744073709551616\""
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
