//! Wireless interfaces, the networks that they are in and the stations that they know, over nl80211.
//!
//! Asking loads no module: where no radio is, there is nothing to tell. An interface that goes away
//! meanwhile is left out.

mod recording;

use crate::{
    error::Refusal,
    exposition::Label,
    host::netlink::{self, HardwareAddress, Nl80211, Station, Status, Step},
    prelude::*,
};

pub const SPEC: Spec = Spec {
    name: "wifi",
    enabled: false,
    capabilities: NONE,
    flags: &[&FIXTURES],
    new: |_, flags| {
        let folder = flags.get(&FIXTURES);
        if !folder.is_empty() {
            return Ok(Box::new(recording::Recording::new(Tree::new(folder))));
        }
        Ok(Box::<Wifi>::default())
    },
};

static FIXTURES: Flag<String> =
    text("collector.wifi.fixtures", "test fixtures to use for wifi collector metrics");

static FREQUENCY: Metric<1> = gauge(
    "node_wifi_interface_frequency_hertz",
    "The current frequency a WiFi interface is operating at, in hertz.",
)
.by(["device"]);
static INFO: Metric<4> = gauge(
    "node_wifi_station_info",
    "Labeled WiFi interface station information as provided by the operating system.",
)
.by(["bssid", "device", "mode", "ssid"]);

macro_rules! of_stations {
    ($($name:ident: $kind:ident $metric:literal, $help:literal;)*) => {$(
        static $name: Metric<2> = $kind($metric, $help).by(["device", "mac_address"]);
    )*};
}
of_stations! {
    CONNECTED: counter "node_wifi_station_connected_seconds_total",
        "The total number of seconds a station has been connected to an access point.";
    INACTIVE: gauge "node_wifi_station_inactive_seconds",
        "The number of seconds since any wireless activity has occurred on a station.";
    RECEIVE_RATE: gauge "node_wifi_station_receive_bits_per_second",
        "The current WiFi receive bitrate of a station, in bits per second.";
    TRANSMIT_RATE: gauge "node_wifi_station_transmit_bits_per_second",
        "The current WiFi transmit bitrate of a station, in bits per second.";
    RECEIVED_BYTES: counter "node_wifi_station_receive_bytes_total",
        "The total number of bytes received by a WiFi station.";
    TRANSMITTED_BYTES: counter "node_wifi_station_transmit_bytes_total",
        "The total number of bytes transmitted by a WiFi station.";
    SIGNAL: gauge "node_wifi_station_signal_dbm",
        "The current WiFi signal strength, in decibel-milliwatts (dBm).";
    RETRIES: counter "node_wifi_station_transmit_retries_total",
        "The total number of times a station has had to retry while sending a packet.";
    FAILED: counter "node_wifi_station_transmit_failed_total",
        "The total number of times a station has failed to send a packet.";
    BEACON_LOSS: counter "node_wifi_station_beacon_loss_total",
        "The total number of times a station has detected a beacon loss.";
    TRANSMITTED_PACKETS: counter "node_wifi_station_transmitted_packets_total",
        "The total number of packets transmitted by a station.";
    RECEIVED_PACKETS: counter "node_wifi_station_received_packets_total",
        "The total number of packets received by a station.";
}

/// Buffers are kept between scrapes; of `interfaces`, the first `used` are of this one.
#[derive(Default)]
struct Wifi {
    nl80211: Nl80211,
    interfaces: Vec<Interface>,
    used: usize,
    network: Network,
    stations: Vec<Station>,
}

#[derive(Default)]
struct Interface {
    index: u32,
    name: Vec<u8>,
    /// In MHz.
    frequency: u32,
}

/// The network that an interface is in.
#[derive(Default)]
struct Network {
    bssid: HardwareAddress,
    ssid: Vec<u8>,
    /// None where it is in none.
    status: Option<Status>,
}

impl Collector for Wifi {
    fn collect(&mut self, out: &mut Sink) -> Result {
        if !self.list()? {
            return Err(Error::NoData);
        }
        let Self { nl80211, interfaces, used, network, stations } = self;
        let mut faults = Faults::default();
        for Interface { index, name, frequency } in interfaces.iter().take(*used) {
            put_frequency(name, (*frequency).into(), out);
            let asked = nl80211.bss(*index, |step| match step {
                Step::Start => network.status = None,
                Step::Item(bss) if network.status.is_none() => {
                    network.bssid = bss.bssid;
                    network.ssid.clear();
                    network.ssid.extend(bss.ssid);
                    network.status = Some(bss.status);
                }
                Step::Item(_) => {}
            });
            if faults.keep(unless_untold(asked)).is_some()
                && let Network { bssid, ssid, status: Some(status) } = network
            {
                put_network(name, bssid, ssid, *status, out);
            }
            let asked = nl80211.stations(*index, |step| match step {
                Step::Start => stations.clear(),
                Step::Item(station) => stations.push(station),
            });
            if faults.keep(unless_untold(asked)).is_some() {
                for station in stations.iter() {
                    put_station(name, station, out);
                }
            }
        }
        faults.end()
    }
}

impl Wifi {
    /// Lists the interfaces that have names; says whether the kernel has anything wireless.
    fn list(&mut self) -> Result<bool> {
        let Self { nl80211, interfaces, used, .. } = self;
        *used = 0;
        let has_any = nl80211.interfaces(|step| match step {
            Step::Start => *used = 0,
            Step::Item(interface) if !interface.name.is_empty() => {
                if *used == interfaces.len() {
                    interfaces.push(Interface::default());
                }
                if let Some(slot) = interfaces.get_mut(*used) {
                    slot.index = interface.index;
                    slot.frequency = interface.frequency;
                    slot.name.clear();
                    slot.name.extend(interface.name);
                    *used += 1;
                }
            }
            Step::Item(_) => {}
        })?;
        Ok(has_any)
    }
}

/// Nothing is wrong where an interface is gone, or its driver does not tell.
fn unless_untold(asked: Result<(), netlink::Error>) -> Result {
    match asked {
        Err(error) if error.refusal().is_some_and(Refusal::is_no_attribute) => Ok(()),
        asked => Ok(asked?),
    }
}

/// `megahertz` is 0 where it is on no channel.
fn put_frequency(device: &dyn Label, megahertz: u64, out: &mut Sink) {
    out.put(&FREQUENCY, [device], megahertz as f64 * 1e6);
}

fn put_network(
    device: &dyn Label,
    bssid: &HardwareAddress,
    ssid: &dyn Label,
    status: Status,
    out: &mut Sink,
) {
    let mode = match status {
        Status::Client => "client",
        Status::AdHoc => "ad-hoc",
        Status::Other => "unknown",
    };
    out.put(&INFO, [bssid, device, &mode, ssid], 1);
}

fn put_station(device: &dyn Label, station: &Station, out: &mut Sink) {
    let labels: [&dyn Label; 2] = [device, &station.address];
    out.put(&CONNECTED, labels, station.connected.as_secs_f64());
    out.put(&INACTIVE, labels, station.inactive.as_secs_f64());
    out.put(&RECEIVE_RATE, labels, station.receive_rate);
    out.put(&TRANSMIT_RATE, labels, station.transmit_rate);
    out.put(&RECEIVED_BYTES, labels, station.received_bytes);
    out.put(&TRANSMITTED_BYTES, labels, station.transmitted_bytes);
    out.put(&SIGNAL, labels, station.signal);
    out.put(&RETRIES, labels, station.retries);
    out.put(&FAILED, labels, station.failed);
    out.put(&BEACON_LOSS, labels, station.beacon_loss);
    out.put(&TRANSMITTED_PACKETS, labels, station.transmitted_packets);
    out.put(&RECEIVED_PACKETS, labels, station.received_packets);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, samples};

    #[test]
    fn a_name_of_a_network_may_be_any_bytes() {
        let bssid = HardwareAddress::new(&[2, 0, 0, 0, 0, 1]);
        let text =
            samples(|out| put_network(&"wlan0", &bssid, &b"a\"\xff".to_vec(), Status::AdHoc, out));
        let want = "node_wifi_station_info{bssid=\"02:00:00:00:00:01\",device=\"wlan0\",mode=\"ad-hoc\",ssid=\"a\\\"\u{fffd}\"} 1\n";
        assert_eq!(text, want);
    }

    #[test]
    fn this_machine_is_asked() {
        let (text, result) = Machine::new().collect(&SPEC, &[]);
        match result {
            Err(Error::NoData) => assert_eq!(text, "", "no radio"),
            result => result.unwrap(),
        }
    }
}
