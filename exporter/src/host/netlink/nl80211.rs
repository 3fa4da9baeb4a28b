//! Wireless interfaces, the networks that they are in and the stations that they know: nl80211,
//! generic netlink (`include/uapi/linux/nl80211.h`).

use std::time::Duration;

use bytemuck::{Pod, Zeroable};
use netlink_packet_core::NLM_F_DUMP;

use super::{
    Error, HardwareAddress, Protocol, Request, Socket, Step, TRIES,
    genl::{Head, attributes},
    wire::{self, Attributes, BadMessage},
};

/// `NL80211_CMD_GET_…`.
const GET_INTERFACE: u8 = 5;
const GET_STATION: u8 = 17;
const GET_SCAN: u8 = 32;
/// `NL80211_ATTR_…`.
const A_IFINDEX: u16 = 3;
const A_IFNAME: u16 = 4;
const A_MAC: u16 = 6;
const A_STA_INFO: u16 = 21;
const A_WIPHY_FREQ: u16 = 38;
const A_BSS: u16 = 47;
/// `NL80211_BSS_…`.
const BSS_BSSID: u16 = 1;
const BSS_INFORMATION_ELEMENTS: u16 = 6;
const BSS_STATUS: u16 = 9;
/// `NL80211_STA_INFO_…`.
const STA_INACTIVE_TIME: u16 = 1;
const STA_RX_BYTES: u16 = 2;
const STA_TX_BYTES: u16 = 3;
const STA_SIGNAL: u16 = 7;
const STA_TX_BITRATE: u16 = 8;
const STA_RX_PACKETS: u16 = 9;
const STA_TX_PACKETS: u16 = 10;
const STA_TX_RETRIES: u16 = 11;
const STA_TX_FAILED: u16 = 12;
const STA_RX_BITRATE: u16 = 14;
const STA_CONNECTED_TIME: u16 = 16;
const STA_BEACON_LOSS: u16 = 18;
const STA_RX_BYTES64: u16 = 23;
const STA_TX_BYTES64: u16 = 24;
/// `NL80211_RATE_INFO_…`.
const RATE_BITRATE: u16 = 1;
const RATE_BITRATE32: u16 = 5;

/// The rest of a request about one interface, after the netlink header.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct OfInterface {
    head: Head,
    length: u16,
    kind: u16,
    index: u32,
}

/// A wireless interface.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Interface<'a> {
    /// Its number.
    pub index: u32,
    /// Its name; not always UTF-8. Empty for a device that is no network interface (P2P).
    pub name: &'a [u8],
    /// In MHz; 0 where it is on no channel.
    pub frequency: u32,
}

impl<'a> Interface<'a> {
    /// Reads an `NL80211_CMD_NEW_INTERFACE` message.
    fn read(payload: &'a [u8]) -> Result<Self, BadMessage> {
        const SHORT: &str = "a wireless interface is cut short";
        let mut interface = Self::default();
        for attribute in attributes(payload, SHORT)? {
            match attribute? {
                (A_IFINDEX, value) => interface.index = wire::number(value, SHORT)?,
                (A_IFNAME, value) => interface.name = wire::text(value),
                (A_WIPHY_FREQ, value) => interface.frequency = wire::number(value, SHORT)?,
                _ => {}
            }
        }
        Ok(interface)
    }
}

/// The relation of an interface to a network: `NL80211_BSS_STATUS_…`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    /// It is a client, authenticated or associated.
    Client,
    /// It is in an ad hoc network (IBSS).
    AdHoc,
    /// Another one, which newer kernels know.
    Other,
}

/// The network that an interface is in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bss<'a> {
    /// The address of its access point.
    pub bssid: HardwareAddress,
    /// Its name: any bytes.
    pub ssid: &'a [u8],
    /// The relation of the interface to it.
    pub status: Status,
}

impl<'a> Bss<'a> {
    /// The network in an `NL80211_CMD_NEW_SCAN_RESULTS` message; `None` where the interface has only
    /// heard of it.
    fn read(payload: &'a [u8]) -> Result<Option<Self>, BadMessage> {
        const SHORT: &str = "a wireless network is cut short";
        let (mut bssid, mut ssid, mut status) = (HardwareAddress::default(), &[][..], None);
        for attribute in attributes(payload, SHORT)? {
            let (A_BSS, nest) = attribute? else { continue };
            for attribute in Attributes(nest) {
                match attribute? {
                    (BSS_BSSID, value) => bssid = HardwareAddress::new(value),
                    (BSS_INFORMATION_ELEMENTS, value) => ssid = name_in(value),
                    (BSS_STATUS, value) => {
                        status = Some(match wire::number::<u32>(value, SHORT)? {
                            0 | 1 => Status::Client,
                            2 => Status::AdHoc,
                            _ => Status::Other,
                        });
                    }
                    _ => {}
                }
            }
        }
        Ok(status.map(|status| Self { bssid, ssid, status }))
    }
}

/// The network's name among the information elements of 802.11, each of which has a number, a
/// length and as many bytes. Empty where there is none.
fn name_in(mut elements: &[u8]) -> &[u8] {
    const SSID: u8 = 0;
    while let &[number, length, ref rest @ ..] = elements
        && let Some((value, rest)) = rest.split_at_checked(length.into())
    {
        if number == SSID {
            return value;
        }
        elements = rest;
    }
    &[]
}

/// A station that an interface exchanges frames with. A number that its driver does not tell is 0.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Station {
    /// Its address.
    pub address: HardwareAddress,
    /// Since it connected; whole seconds.
    pub connected: Duration,
    /// Since it was last active.
    pub inactive: Duration,
    /// Bits a second that it sends at.
    pub receive_rate: u64,
    /// Bits a second that are sent to it at.
    pub transmit_rate: u64,
    /// Bytes from it. In 32 bits before Linux 3.19.
    pub received_bytes: u64,
    /// Bytes to it. In 32 bits before Linux 3.19.
    pub transmitted_bytes: u64,
    /// Packets from it.
    pub received_packets: u32,
    /// Packets to it.
    pub transmitted_packets: u32,
    /// How strong it is heard, in dBm.
    pub signal: i32,
    /// Frames that were sent to it again.
    pub retries: u32,
    /// Frames that could not be sent to it.
    pub failed: u32,
    /// Times that its beacons failed to come.
    pub beacon_loss: u32,
}

impl Station {
    /// Reads an `NL80211_CMD_NEW_STATION` message.
    fn read(payload: &[u8]) -> Result<Self, BadMessage> {
        let mut station = Self::default();
        for attribute in attributes(payload, SHORT)? {
            match attribute? {
                (A_MAC, value) => station.address = HardwareAddress::new(value),
                (A_STA_INFO, nest) => station.read_counters(nest)?,
                _ => {}
            }
        }
        Ok(station)
    }

    fn read_counters(&mut self, nest: &[u8]) -> Result<(), BadMessage> {
        let (mut received, mut transmitted) = (None, None);
        for attribute in Attributes(nest) {
            let (kind, value) = attribute?;
            let number = || wire::number::<u32>(value, SHORT);
            let wide = || wire::number::<u64>(value, SHORT);
            match kind {
                STA_CONNECTED_TIME => self.connected = Duration::from_secs(number()?.into()),
                STA_INACTIVE_TIME => self.inactive = Duration::from_millis(number()?.into()),
                STA_RX_BITRATE => self.receive_rate = rate(value)?,
                STA_TX_BITRATE => self.transmit_rate = rate(value)?,
                STA_RX_BYTES => self.received_bytes = number()?.into(),
                STA_TX_BYTES => self.transmitted_bytes = number()?.into(),
                STA_RX_BYTES64 => received = Some(wide()?),
                STA_TX_BYTES64 => transmitted = Some(wide()?),
                STA_RX_PACKETS => self.received_packets = number()?,
                STA_TX_PACKETS => self.transmitted_packets = number()?,
                STA_SIGNAL => self.signal = wire::number::<i8>(value, SHORT)?.into(),
                STA_TX_RETRIES => self.retries = number()?,
                STA_TX_FAILED => self.failed = number()?,
                STA_BEACON_LOSS => self.beacon_loss = number()?,
                _ => {}
            }
        }
        self.received_bytes = received.unwrap_or(self.received_bytes);
        self.transmitted_bytes = transmitted.unwrap_or(self.transmitted_bytes);
        Ok(())
    }
}

const SHORT: &str = "a station is cut short";

/// Bits a second; the kernel counts in units of 100 kb/s, in 16 bits and in 32.
fn rate(nest: &[u8]) -> Result<u64, BadMessage> {
    let (mut narrow, mut wide) = (0, None);
    for attribute in Attributes(nest) {
        match attribute? {
            (RATE_BITRATE, value) => narrow = wire::number::<u16>(value, SHORT)?.into(),
            (RATE_BITRATE32, value) => wide = Some(wire::number::<u32>(value, SHORT)?.into()),
            _ => {}
        }
    }
    Ok(wide.unwrap_or(narrow) * 100_000)
}

/// A socket to ask about wireless interfaces.
pub struct Nl80211 {
    socket: Socket,
    /// The number that the kernel gave the family, where its module is loaded.
    family: Option<u16>,
}

impl Default for Nl80211 {
    fn default() -> Self {
        Self::new(Socket::new(Protocol::Generic))
    }
}

impl Nl80211 {
    /// Asks through `socket`; nothing is asked yet.
    #[must_use]
    pub const fn new(socket: Socket) -> Self {
        Self { socket, family: None }
    }

    /// Gives `each` the interfaces. Says whether the kernel has anything wireless: its module
    /// `cfg80211` comes with the first radio, and may go.
    ///
    /// # Errors
    /// The kernel refuses, or its answer is broken.
    pub fn interfaces(&mut self, mut each: impl FnMut(Step<Interface<'_>>)) -> Result<bool, Error> {
        self.family = self.socket.family(b"nl80211")?;
        let Some(family) = self.family else { return Ok(false) };
        let head = Head::new(GET_INTERFACE);
        let request = request("NL80211_CMD_GET_INTERFACE", family, bytemuck::bytes_of(&head));
        let dumped = self.socket.try_dump(&request, TRIES, |step| {
            match step {
                Step::Start => each(Step::Start),
                Step::Item(payload) => each(Step::Item(Interface::read(payload)?)),
            }
            Ok(())
        });
        match dumped {
            Err(error) if error.is_unknown() => Ok(false), // its module has just gone
            dumped => dumped.map(|_| true),
        }
    }

    /// Gives `each` the network that an interface is in.
    ///
    /// # Errors
    /// As [`Nl80211::interfaces`]; the interface is gone.
    pub fn bss(&mut self, index: u32, mut each: impl FnMut(Step<Bss<'_>>)) -> Result<(), Error> {
        self.of_interface("NL80211_CMD_GET_SCAN", GET_SCAN, index, |step| {
            match step {
                Step::Start => each(Step::Start),
                Step::Item(payload) => {
                    Bss::read(payload)?.into_iter().map(Step::Item).for_each(&mut each);
                }
            }
            Ok(())
        })
    }

    /// Gives `each` the stations that an interface knows.
    ///
    /// # Errors
    /// As [`Nl80211::bss`]; its driver cannot list them.
    pub fn stations(
        &mut self,
        index: u32,
        mut each: impl FnMut(Step<Station>),
    ) -> Result<(), Error> {
        self.of_interface("NL80211_CMD_GET_STATION", GET_STATION, index, |step| {
            match step {
                Step::Start => each(Step::Start),
                Step::Item(payload) => each(Step::Item(Station::read(payload)?)),
            }
            Ok(())
        })
    }

    /// A list that changes meanwhile is asked for anew a few times, and then taken as it is.
    fn of_interface(
        &mut self,
        name: &'static str,
        command: u8,
        index: u32,
        each: impl FnMut(Step<&[u8]>) -> Result<(), BadMessage>,
    ) -> Result<(), Error> {
        let Some(family) = self.family else { return Ok(()) };
        let body = OfInterface { head: Head::new(command), length: 8, kind: A_IFINDEX, index };
        let request = request(name, family, bytemuck::bytes_of(&body));
        self.socket.try_dump(&request, TRIES, each).map(drop)
    }
}

const fn request<'a>(name: &'static str, family: u16, body: &'a [u8]) -> Request<'a> {
    Request { name, kind: family, flags: NLM_F_DUMP, answer: family, body }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::netlink::wire::tests::attribute;

    fn message(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = bytemuck::bytes_of(&Head::new(0)).to_vec();
        bytes.extend(nest(attributes));
        bytes
    }

    fn nest(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        attributes.iter().flat_map(|(kind, value)| attribute(*kind, value)).collect()
    }

    const ADDRESS: [u8; 6] = [2, 0, 0, 0, 1, 0];

    #[test]
    fn an_interface_is_read_and_may_be_cut_anywhere() {
        let frequency = 2437_u32.to_ne_bytes();
        let bytes = message(&[
            (A_IFINDEX, &7_u32.to_ne_bytes()),
            (A_IFNAME, b"wlan0\0"),
            (A_WIPHY_FREQ, &frequency),
        ]);
        let want = Interface { index: 7, name: b"wlan0", frequency: 2437 };
        assert_eq!(Interface::read(&bytes), Ok(want));
        for length in 0..bytes.len() {
            assert_ne!(Interface::read(&bytes[..length]), Ok(want), "{length}");
        }
        let nameless = Interface { frequency: 2437, ..Interface::default() };
        assert_eq!(Interface::read(&message(&[(A_WIPHY_FREQ, &frequency)])), Ok(nameless));
    }

    #[test]
    fn a_network_is_read_and_may_be_cut_anywhere() {
        let elements = [&[1, 2, 12, 24][..], &[0, 4, b'h', b'o', 0xff, b'e'], &[3, 1, 6]].concat();
        let bss = |status: Option<u32>| {
            let status = status.map(u32::to_ne_bytes);
            let mut nest = nest(&[(BSS_BSSID, &ADDRESS), (BSS_INFORMATION_ELEMENTS, &elements)]);
            nest.extend(status.iter().flat_map(|status| attribute(BSS_STATUS, status)));
            message(&[(A_IFINDEX, &[7, 0, 0, 0]), (A_BSS, &nest)])
        };
        let bssid = HardwareAddress::new(&ADDRESS);
        for (status, want) in
            [(0, Status::Client), (1, Status::Client), (2, Status::AdHoc), (3, Status::Other)]
        {
            let bytes = bss(Some(status));
            let want = Bss { bssid, ssid: b"ho\xffe", status: want };
            assert_eq!(Bss::read(&bytes), Ok(Some(want)));
            for length in 0..bytes.len() {
                assert_ne!(Bss::read(&bytes[..length]), Ok(Some(want)), "{length}");
            }
        }
        assert_eq!(Bss::read(&bss(None)), Ok(None), "only heard of");
        for length in 0..elements.len() {
            let _ = name_in(&elements[..length]);
        }
        assert_eq!(name_in(&[0, 5, b'x']), b"", "longer than there is");
    }

    #[test]
    fn a_station_is_read_and_may_be_cut_anywhere() {
        let number = u32::to_ne_bytes;
        let narrow = attribute(RATE_BITRATE, &540_u16.to_ne_bytes());
        let both = [narrow.clone(), attribute(RATE_BITRATE32, &number(866_000))].concat();
        let wide = 1_u64 << 40;
        let info = nest(&[
            (STA_INACTIVE_TIME, &number(400)),
            (STA_CONNECTED_TIME, &number(30)),
            (STA_RX_BYTES64, &wide.to_ne_bytes()),
            (STA_RX_BYTES, &number(1)),
            (STA_TX_BYTES, &number(2)),
            (STA_SIGNAL, &[0xcc]),
            (STA_RX_BITRATE, &narrow),
            (STA_TX_BITRATE, &both),
            (STA_RX_PACKETS, &number(3)),
            (STA_TX_PACKETS, &number(4)),
            (STA_TX_RETRIES, &number(5)),
            (STA_TX_FAILED, &number(6)),
            (STA_BEACON_LOSS, &number(7)),
        ]);
        let bytes = message(&[(A_STA_INFO, &info), (A_MAC, &ADDRESS)]);
        let want = Station {
            address: HardwareAddress::new(&ADDRESS),
            connected: Duration::from_secs(30),
            inactive: Duration::from_millis(400),
            receive_rate: 54_000_000,
            transmit_rate: 86_600_000_000,
            received_bytes: wide,
            transmitted_bytes: 2,
            received_packets: 3,
            transmitted_packets: 4,
            signal: -52,
            retries: 5,
            failed: 6,
            beacon_loss: 7,
        };
        assert_eq!(Station::read(&bytes), Ok(want));
        for length in 0..bytes.len() - 2 {
            assert_ne!(Station::read(&bytes[..length]), Ok(want), "{length}");
        }
        assert_eq!(Station::read(&message(&[])), Ok(Station::default()));
    }

    #[test]
    fn this_kernel_is_asked() {
        let mut wireless = Nl80211::default();
        let mut indices = Vec::new();
        let has_any = wireless.interfaces(|step| match step {
            Step::Start => indices.clear(),
            Step::Item(interface) => indices.push(interface.index),
        });
        assert!(has_any.unwrap() || indices.is_empty());
    }
}
