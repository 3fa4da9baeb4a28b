//! `--collector.wifi.fixtures`: a recording that stands in for the kernel.
//!
//! `interfaces.json` has an array of interfaces, `<name>/bss.json` the network that one is in and
//! `<name>/stationinfo.json` an array of stations. Members are named as the fields of upstream's
//! package, in any case; one that is absent is 0 or empty. Addresses are in base64, times in
//! nanoseconds.

use super::{put_frequency, put_network, put_station};
use crate::{
    host::netlink::{HardwareAddress, Station, Status},
    prelude::*,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;
use std::time::Duration;

pub(super) struct Recording {
    folder: Tree,
    /// None before the files have been read.
    interfaces: Vec<Interface>,
}

struct Interface {
    name: String,
    /// In MHz.
    frequency: u64,
    network: Option<(HardwareAddress, String, Status)>,
    stations: Vec<Station>,
}

impl Recording {
    pub(super) const fn new(folder: Tree) -> Self {
        Self { folder, interfaces: Vec::new() }
    }

    fn interface(&self, object: &Value) -> Result<Option<Interface>> {
        let name = text_in(object, "name");
        if name.is_empty() {
            return Ok(None);
        }
        let read = |file| self.read(&format!("{name}/{file}")).unless_absent();
        let network = read("bss.json")?.map(|bss| {
            let status = match number_in(&bss, "status") {
                0 | 1 => Status::Client,
                3 => Status::AdHoc, // as upstream's package numbers them
                _ => Status::Other,
            };
            (address_in(&bss, "bssid"), text_in(&bss, "ssid").to_owned(), status)
        });
        let stations = read("stationinfo.json")?;
        let stations = stations.as_ref().and_then(Value::as_array).into_iter().flatten();
        Ok(Some(Interface {
            name: name.to_owned(),
            frequency: number_in(object, "frequency"),
            network,
            stations: stations.map(station).collect(),
        }))
    }

    fn read(&self, file: &str) -> Result<Value> {
        self.folder
            .file(file)
            .parse(|text| serde_json::from_str(text).map_err(|_| Malformed::new("recording", text)))
    }
}

impl Collector for Recording {
    fn collect(&mut self, out: &mut Sink) -> Result {
        if self.interfaces.is_empty() {
            let recorded = self.read("interfaces.json").or_no_data()?;
            let mut faults = Faults::default();
            self.interfaces = (recorded.as_array().into_iter().flatten())
                .filter_map(|object| faults.keep(self.interface(object)).flatten())
                .collect();
            faults.end()?;
        }
        for Interface { name, frequency, network, stations } in &self.interfaces {
            put_frequency(name, *frequency, out);
            if let Some((bssid, ssid, status)) = network {
                put_network(name, bssid, ssid, *status, out);
            }
            for station in stations {
                put_station(name, station, out);
            }
        }
        Ok(())
    }
}

fn station(object: &Value) -> Station {
    let wide = |name| number_in(object, name);
    let number = |name| u32::try_from(wide(name)).unwrap_or_default();
    let signal = member(object, "signal").and_then(Value::as_i64).unwrap_or_default();
    Station {
        address: address_in(object, "hardwareaddr"),
        connected: Duration::from_nanos(wide("connected")),
        inactive: Duration::from_nanos(wide("inactive")),
        receive_rate: wide("receivebitrate"),
        transmit_rate: wide("transmitbitrate"),
        received_bytes: wide("receivedbytes"),
        transmitted_bytes: wide("transmittedbytes"),
        received_packets: number("receivedpackets"),
        transmitted_packets: number("transmittedpackets"),
        signal: i32::try_from(signal).unwrap_or_default(),
        retries: number("transmitretries"),
        failed: number("transmitfailed"),
        beacon_loss: number("beaconloss"),
    }
}

fn member<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object
        .as_object()?
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

fn text_in<'a>(object: &'a Value, name: &str) -> &'a str {
    member(object, name).and_then(Value::as_str).unwrap_or_default()
}

fn number_in(object: &Value, name: &str) -> u64 {
    member(object, name).and_then(Value::as_u64).unwrap_or_default()
}

fn address_in(object: &Value, name: &str) -> HardwareAddress {
    HardwareAddress::new(&BASE64_STANDARD.decode(text_in(object, name)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::SPEC;
    use crate::{
        error::Error,
        testing::{Machine, sample_lines},
    };

    #[test]
    fn a_recording_stands_in_for_the_kernel() {
        let machine = Machine::new()
            .with("wifi/interfaces.json", r#"[{"Name": "w0", "Frequency": 2437}, {"Type": 10}]"#)
            .with("wifi/w0/bss.json", r#"{"SSID": "x", "BSSID": "AgAAAAAB", "Status": 3}"#);
        let fixtures =
            format!("--collector.wifi.fixtures={}", machine.path().join("wifi").display());
        let (text, result) = machine.collect(&SPEC, &[&fixtures]);
        result.unwrap();
        let lines: Vec<_> = sample_lines(&text).collect();
        assert_eq!(
            lines,
            [
                r#"node_wifi_interface_frequency_hertz{device="w0"} 2.437e+09"#,
                r#"node_wifi_station_info{bssid="02:00:00:00:00:01",device="w0",mode="ad-hoc",ssid="x"} 1"#
            ]
        );
        let machine = machine.with("wifi/w0/stationinfo.json", "[");
        let (_, result) = machine.collect(&SPEC, &[&fixtures]);
        assert!(result.unwrap_err().to_string().contains("w0/stationinfo.json: bad recording"));
        let (_, result) =
            Machine::new().collect(&SPEC, &["--collector.wifi.fixtures=/nonexistent"]);
        assert!(matches!(result, Err(Error::NoData)));
    }
}
