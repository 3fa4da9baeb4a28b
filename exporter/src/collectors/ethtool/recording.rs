//! `--collector.ethtool.fixtures`: a recording that stands in for the kernel.

use super::{modes, put_info, statistics::Statistics};
use crate::{
    host::{ethtool::Driver, netlink::Modes},
    prelude::*,
};
use serde_json::Value;

pub(super) struct Recording {
    filter: Filter,
    statistics: Statistics,
    file: File,
    /// None before the file has been read.
    devices: Vec<Device>,
}

struct Device {
    name: String,
    driver: Driver,
    modes: Option<Modes>,
    statistics: Vec<(String, u64)>,
}

impl Recording {
    pub(super) const fn new(filter: Filter, statistics: Statistics, file: File) -> Self {
        Self { filter, statistics, file, devices: Vec::new() }
    }
}

impl Collector for Recording {
    fn collect(&mut self, out: &mut Sink) -> Result {
        if self.devices.is_empty() {
            self.devices = self.file.parse(recorded)?;
        }
        for device in self.devices.iter().filter(|device| self.filter.keeps(&device.name)) {
            if let Some(modes) = &device.modes {
                modes::put(&device.name, modes, out);
            }
            put_info(&device.name, &device.driver, out);
            self.statistics.begin();
            for (name, value) in &device.statistics {
                self.statistics.add(name.as_bytes(), *value);
            }
            self.statistics.put(&device.name, out);
        }
        Ok(())
    }
}

/// The devices of a recording: a JSON array of objects. `supported` and `advertised` are sets of
/// bits in hexadecimal; a member that is absent is 0 or empty.
fn recorded(text: &str) -> Result<Vec<Device>, Malformed> {
    let malformed = || Malformed::new("recording", text);
    let recording: Value = serde_json::from_str(text).map_err(|_| malformed())?;
    Ok(recording.as_array().ok_or_else(malformed)?.iter().map(device).collect())
}

fn device(device: &Value) -> Device {
    let word = |member| device.get(member).and_then(Value::as_str).unwrap_or_default();
    let bits = |member| u128::from_str_radix(word(member), 16).unwrap_or_default();
    let autonegotiation = device.get("autonegotiation").and_then(Value::as_u64);
    let statistics = device.get("statistics").and_then(Value::as_object);
    Device {
        name: word("device").into(),
        driver: Driver::new(["driver", "version", "firmware", "bus", "rom"].map(word)),
        modes: autonegotiation.map(|number| Modes {
            index: 0,
            autonegotiation: u8::try_from(number).unwrap_or_default(),
            supported: bits("supported"),
            advertised: bits("advertised"),
        }),
        statistics: (statistics.into_iter().flatten())
            .map(|(name, value)| (name.clone(), value.as_u64().unwrap_or_default()))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::SPEC;
    use super::*;
    use crate::testing::{Machine, malformed};

    #[test]
    fn a_recording_stands_in_for_the_kernel() {
        let machine = Machine::new().with(
            "ethtool/ethtool.json",
            r#"[{"device": "eth0", "driver": "e1000e", "bus": "0000:00:19.0",
                 "autonegotiation": 1, "supported": "20", "statistics": {"tx_packets": 7}},
                {"device": "v0", "driver": "veth", "statistics": {"peer_ifindex": 5}}]"#,
        );
        let folder = machine.path().join("ethtool");
        let fixtures = format!("--collector.ethtool.fixtures={}", folder.display());
        let (text, result) = machine.collect(&SPEC, &[&fixtures]);
        result.unwrap();
        for line in [
            r#"node_ethtool_info{bus_info="0000:00:19.0",device="eth0",driver="e1000e",expansion_rom_version="",firmware_version="",version=""} 1"#,
            r#"node_ethtool_transmitted_packets_total{device="eth0"} 7"#,
            r#"node_network_supported_speed_bytes{device="eth0",duplex="full",mode="1000baseT"} 1.25e+08"#,
            r#"node_ethtool_peer_ifindex{device="v0"} 5"#,
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
        let exclude = "--collector.ethtool.device-exclude=^eth";
        let (text, _) = machine.collect(&SPEC, &[&fixtures, exclude]);
        assert!(!text.contains("eth0") && text.contains("v0"), "{text}");
        assert_eq!(malformed(recorded("{}").map(|_| ())), "bad recording: \"{}\"");
    }

    #[test]
    fn this_machine_is_asked() {
        let (_, result) = Machine::new().collect(&SPEC, &[]);
        result.unwrap();
    }
}
