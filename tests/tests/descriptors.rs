//! Attributes that stay open leave descriptors to others. The only test of this process: it counts
//! its descriptors, and limits them.
#![expect(clippy::disallowed_methods, reason = "changes directories, and opens files to keep them")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs::{File, read_dir};

use exporter::{
    collector::Collector,
    collectors::ALL,
    host::Host,
    testing::{Machine, flags, paths, samples, settle},
};
use rustix::process::{Resource, Rlimit, setrlimit};

const CHIPS: usize = 4;
const SENSORS: usize = 8;

/// A machine with chips and processors that have not changed for long.
fn machine() -> Machine {
    let mut machine = Machine::new().with("proc/cpuinfo", "");
    for n in 0..CHIPS {
        for sensor in 1..=SENSORS {
            let file = format!("sys/class/hwmon/hwmon{n}/temp{sensor}_input");
            machine = machine.with(&file, format!("{}000\n", 10 * n + sensor));
        }
        let file = format!("sys/devices/system/cpu/cpu{n}/cpufreq/scaling_cur_freq");
        machine = machine.with(&file, "1000\n");
    }
    settle(machine.path());
    machine
}

fn open() -> usize {
    read_dir("/proc/self/fd").unwrap().count()
}

/// The collectors `hwmon` and `cpufreq`.
fn collectors(machine: &Machine) -> Vec<Box<dyn Collector>> {
    let flags = flags(&paths(machine.path()));
    let host = Host::new(&flags);
    let wanted = ALL.iter().filter(|spec| ["hwmon", "cpufreq"].contains(&spec.name));
    wanted.map(|spec| (spec.new)(&host, &flags).unwrap()).collect()
}

/// The number of samples of one scrape, in which no collector fails.
fn scrape(collectors: &mut [Box<dyn Collector>]) -> usize {
    let scraped = samples(|sink| {
        for collector in collectors {
            collector.collect(sink).unwrap();
        }
    });
    scraped.lines().count()
}

#[test]
fn attributes_stay_open_while_there_are_descriptors() {
    let machine = machine();
    let attributes = CHIPS * (SENSORS + 1);
    let all = scrape(&mut collectors(&machine));
    assert!(all >= attributes);

    let mut kept = collectors(&machine);
    let before = open();
    for _ in 0..10 {
        assert_eq!(scrape(&mut kept), all);
    }
    let after = open();
    assert!(after >= before + attributes, "{after} after {before}");
    for _ in 10..10_000 {
        assert_eq!(scrape(&mut kept), all);
    }
    assert_eq!(open(), after);
    drop(kept);
    assert!(open() < before + attributes);

    // The budget is a quarter of the descriptors beyond the first 64.
    let limit = 120;
    let lower = Rlimit { current: Some(limit as u64), maximum: Some(limit as u64) };
    setrlimit(Resource::Nofile, lower).unwrap();
    let mut short = collectors(&machine);
    assert_eq!(scrape(&mut short), all);
    assert!(open() - before < attributes, "{} of {attributes}", open() - before);
    drop(short);

    // Others have taken nearly all.
    let mut others = Vec::new();
    while open() < limit - 30 {
        others.push(File::open("/proc/self/stat").unwrap());
    }
    let mut short = collectors(&machine);
    for _ in 0..3 {
        assert_eq!(scrape(&mut short), all);
        assert!(open() < limit - 10);
    }
}
