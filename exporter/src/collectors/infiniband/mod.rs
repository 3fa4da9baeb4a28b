//! State, rate and counters of InfiniBand and `RoCE` ports, from `/sys/class/infiniband`
//! (`drivers/infiniband/core/sysfs.c`, `Documentation/ABI/stable/sysfs-class-infiniband`).
//!
//! The driver decides on the counters of a port: the directories are listed, so that no absent file
//! is opened. Data is counted in units of four octets.

mod counters;

use crate::{
    host::tree::{Dir, Entry, Names},
    parse::{any_base, decimal},
    prelude::*,
};
use counters::{COUNTERS, Counter, HARDWARE, LEGACY};

pub const SPEC: Spec = Spec {
    name: "infiniband",
    enabled: true,
    capabilities: NONE,
    flags: &[&INCLUDE, &EXCLUDE],
    new: |host, flags| {
        Ok(Box::new(InfiniBand {
            class: host.sys.folder("class/infiniband"),
            filter: FilterFlags::new(&INCLUDE, &EXCLUDE).read(flags)?,
            ports: Names::default(),
            files: Names::default(),
        }))
    },
};

static INCLUDE: Flag<Option<Pattern>> = pattern(
    "collector.infiniband.device-include",
    "Regexp of infiniband devices to include (mutually exclusive to device-exclude).",
);
static EXCLUDE: Flag<Option<Pattern>> = pattern(
    "collector.infiniband.device-exclude",
    "Regexp of infiniband devices to exclude (mutually exclusive to device-include).",
);

static INFO: Metric<4> = gauge(
    "node_infiniband_info",
    "Non-numeric data from /sys/class/infiniband/<device>, value is always 1.",
)
.by(["board_id", "device", "firmware_version", "hca_type"]);
static STATE: Metric<2> = gauge(
    "node_infiniband_state_id",
    "State of the InfiniBand port \
     (0: no change, 1: down, 2: init, 3: armed, 4: active, 5: act defer)",
)
.by(["device", "port"]);
static PHYSICAL_STATE: Metric<2> = gauge(
    "node_infiniband_physical_state_id",
    "Physical state of the InfiniBand port (0: no change, 1: sleep, 2: polling, 3: disable, \
     4: shift, 5: link up, 6: link error recover, 7: phytest)",
)
.by(["device", "port"]);
static RATE: Metric<2> =
    gauge("node_infiniband_rate_bytes_per_second", "Maximum signal transfer rate")
        .by(["device", "port"]);

struct InfiniBand {
    class: Folder,
    filter: Filter,
    /// Room for the ports of a device and the files of a port.
    ports: Names,
    files: Names,
}

impl Collector for InfiniBand {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { class, filter, ports, files } = self;
        let entries = class.list().or_no_data()?;
        let mut faults = Faults::default();
        for entry in entries {
            let device = entry.name();
            if !filter.keeps(&device) {
                continue;
            }
            let Some(dir) = faults.read(entry.dir()) else { continue };
            let [board, firmware, hca] = dir.texts(["board_id", "fw_ver", "hca_type"]);
            out.put(&INFO, [&board, &device, &firmware, &hca], true);
            let Some(all) = faults.read(dir.dir("ports")) else { continue };
            let Ok(all) = all.list(ports) else { continue };
            for port in all {
                put_port(&port, &device, files, &mut faults, out);
            }
        }
        faults.end()
    }
}

fn put_port(
    entry: &Entry<'_>,
    device: &str,
    files: &mut Names,
    faults: &mut Faults,
    out: &mut Sink,
) {
    let Ok(port) = entry.name().parse::<u32>() else { return };
    let Some(dir) = faults.read(entry.dir()) else { return };
    for (file, metric, parse) in [
        ("state", &STATE, state as fn(&str) -> _),
        ("phys_state", &PHYSICAL_STATE, state),
        ("rate", &RATE, rate),
    ] {
        if let Some(value) = faults.read(dir.parse(file, parse)) {
            out.put(metric, [&device, &port], value);
        }
    }
    for (folder, table) in
        [("counters", &COUNTERS[..]), ("counters_ext", &LEGACY), ("hw_counters", &HARDWARE)]
    {
        put_counters(&dir, folder, table, (files, faults), |counter, value| {
            out.put(&counter.metric, [&device, &port], counter.unit.exposed(value));
        });
    }
}

/// Puts the counters of a directory that are in the table.
fn put_counters(
    port: &Dir<'_>,
    folder: &str,
    table: &'static [Counter],
    (files, faults): (&mut Names, &mut Faults),
    mut put: impl FnMut(&'static Counter, f64),
) {
    let Some(dir) = faults.read(port.dir(folder)) else { return };
    let Ok(entries) = dir.list(files) else { return };
    for entry in entries {
        let Ok(i) = table.binary_search_by_key(&entry.bytes(), |counter| counter.file.as_bytes())
        else {
            continue;
        };
        let Some(counter) = table.get(i) else { continue };
        if let Some(value) = faults.read(entry.parse(value)).flatten() {
            put(counter, value);
        }
    }
}

/// A counter; `None` where an older kernel writes that the port has no agent to count.
fn value(text: &str) -> Result<Option<f64>, Malformed> {
    if text.contains("N/A (no PMA)") { Ok(None) } else { any_base(text).map(Some) }
}

/// The number in `4: ACTIVE`.
fn state(text: &str) -> Result<f64, Malformed> {
    let malformed = || Malformed::new("state", text);
    let (id, _) = text.split_once(':').ok_or_else(malformed)?;
    decimal("state", id.trim_ascii()).map_err(|_| malformed())
}

/// Octets in a second from `100 Gb/sec (4X EDR)`.
fn rate(text: &str) -> Result<f64, Malformed> {
    const GIGABIT: f64 = 125_000_000.0;
    let (gigabits, _) = text.split_once(' ').ok_or_else(|| Malformed::new("rate", text))?;
    Ok((decimal("rate", gigabits)? * GIGABIT).trunc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, malformed, sample_lines};

    #[test]
    fn states_and_rates() {
        assert_eq!(state("4: ACTIVE"), Ok(4.0));
        assert_eq!(state("-1: DOWN"), Ok(-1.0));
        for wrong in ["", "4", "x: ACTIVE"] {
            assert_eq!(malformed(state(wrong)), format!("bad state: {wrong:?}"));
        }
        assert_eq!(rate("2.5 Gb/sec (1X SDR)"), Ok(312_500_000.0));
        assert_eq!(rate("400 Gb/sec (4X NDR)"), Ok(50_000_000_000.0));
        assert_eq!(rate("-1 Gb/sec"), Ok(-125_000_000.0));
        assert_eq!(malformed(rate("fast Gb/sec")), "bad rate: \"fast\"");
        assert_eq!(malformed(rate("40")), "bad rate: \"40\"");
    }

    #[test]
    fn an_absent_or_malformed_port_or_file_hides_no_other() {
        let port = |n: &str, file: &str| format!("sys/class/infiniband/mlx5_1/ports/{n}/{file}");
        let machine = Machine::new()
            .with("sys/class/infiniband/mlx5_0/fw_ver", "1.0\n")
            .with(&port("1", "state"), "down\n")
            .with(&port("1", "counters/link_downed"), "N/A (no PMA)\n")
            .with(&port("1", "counters/symbol_error"), "many\n")
            .with(&port("1", "counters/port_rcv_data"), "0x10\n")
            .with(&port("1", "hw_counters/lifespan/is_a_directory"), "")
            .with(&port("1", "hw_counters/unknown"), "1\n")
            .with(&port("x", "state"), "4: ACTIVE\n");
        let class = machine.path().join("sys/class/infiniband");
        std::os::unix::fs::symlink("gone", class.join("mlx5_2")).unwrap();
        std::os::unix::fs::symlink("gone", class.join("mlx5_1/ports/2")).unwrap();
        let args = &["--collector.infiniband.device-exclude=_0$"];
        let (text, result) = machine.collect(&SPEC, args);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("/mlx5_1/ports/1/state: bad state: \"down\""), "{error}");
        let samples: Vec<_> = sample_lines(&text).collect();
        assert_eq!(
            samples,
            [
                "node_infiniband_info{board_id=\"\",device=\"mlx5_1\",firmware_version=\"\",\
                 hca_type=\"\"} 1",
                "node_infiniband_port_data_received_bytes_total{device=\"mlx5_1\",port=\"1\"} 64",
            ]
        );
    }

    #[test]
    fn no_class_is_no_data() {
        assert!(matches!(Machine::new().collect(&SPEC, &[]).1, Err(Error::NoData)));
    }
}
