//! Links: `RTM_GETLINK`, `struct ifinfomsg`.

use bytemuck::{Pod, Zeroable};
use libc::{
    IFLA_ADDRESS, IFLA_ALLMULTI, IFLA_ALT_IFNAME, IFLA_BROADCAST, IFLA_CARRIER,
    IFLA_CARRIER_CHANGES, IFLA_CARRIER_DOWN_COUNT, IFLA_CARRIER_UP_COUNT, IFLA_GROUP, IFLA_IFALIAS,
    IFLA_IFNAME, IFLA_LINK, IFLA_LINKMODE, IFLA_MTU, IFLA_OPERSTATE, IFLA_PROMISCUITY,
    IFLA_PROP_LIST, IFLA_STATS, IFLA_STATS64, IFLA_TXQLEN,
};

use super::wire::{self, Attributes, BadMessage};
use crate::exposition::Label;

/// `struct ifinfomsg` of include/uapi/linux/rtnetlink.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(super) struct IfInfo {
    family: u8,
    padding: u8,
    kind: u16,
    pub(super) index: i32,
    flags: u32,
    change: u32,
}

/// Counters of a link: `struct rtnl_link_stats64` of `include/uapi/linux/if_link.h`,
/// whose words and order these are. Packets, save where the name says bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Pod, Zeroable)]
#[expect(missing_docs, reason = "the kernel's names, described in its header")]
pub struct Stats {
    pub rx_packets: u64,
    pub tx_packets: u64,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub rx_errors: u64,
    pub tx_errors: u64,
    pub rx_dropped: u64,
    pub tx_dropped: u64,
    pub multicast: u64,
    pub collisions: u64,
    pub rx_length_errors: u64,
    pub rx_over_errors: u64,
    pub rx_crc_errors: u64,
    pub rx_frame_errors: u64,
    pub rx_fifo_errors: u64,
    pub rx_missed_errors: u64,
    pub tx_aborted_errors: u64,
    pub tx_carrier_errors: u64,
    pub tx_fifo_errors: u64,
    pub tx_heartbeat_errors: u64,
    pub tx_window_errors: u64,
    pub rx_compressed: u64,
    pub tx_compressed: u64,
    pub rx_nohandler: u64,
    /// Since Linux 5.19; 0 before.
    pub rx_otherhost_dropped: u64,
}

impl Stats {
    /// `IFLA_STATS64`. That of an older kernel is shorter: the rest stays 0. That of a newer one is
    /// longer: the rest has no field here.
    fn wide(value: &[u8]) -> Self {
        let mut stats = Self::zeroed();
        let words = bytemuck::bytes_of_mut(&mut stats).iter_mut();
        for (to, &from) in words.zip(value) {
            *to = from;
        }
        stats
    }

    /// `IFLA_STATS`, the same in 32 bits each.
    fn narrow(value: &[u8]) -> Self {
        let mut words = [0; size_of::<Self>() / 8];
        for (to, from) in words.iter_mut().zip(value.as_chunks().0) {
            *to = u64::from(u32::from_ne_bytes(*from));
        }
        bytemuck::cast(words)
    }
}

/// A link-layer address. Its length is 0, 6, that of an IP address in a tunnel, 20 (`InfiniBand`)
/// or any other up to `MAX_ADDR_LEN` bytes. As a label it is in sysfs's notation.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash)]
pub struct HardwareAddress {
    len: u8,
    bytes: [u8; 32],
}

impl HardwareAddress {
    /// The address in an attribute, cut where it is longer than the kernel's longest.
    #[must_use]
    pub fn new(value: &[u8]) -> Self {
        let mut address = Self::default();
        for (to, &from) in address.bytes.iter_mut().zip(value) {
            *to = from;
            address.len += 1;
        }
        address
    }

    /// The address, empty where there is none.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl Label for HardwareAddress {
    fn append(&self, text: &mut String) {
        for (i, &byte) in self.bytes().iter().enumerate() {
            if i > 0 {
                text.push(':');
            }
            for digit in [byte >> 4, byte & 15] {
                text.extend(char::from_digit(digit.into(), 16));
            }
        }
    }
}

/// A network interface. An attribute that an older kernel does not send is `None`.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// Its number, unique within its network namespace, reused after a wrap.
    pub index: u32,
    /// `ARPHRD_…` of `include/uapi/linux/if_arp.h`.
    pub kind: u16,
    /// `IFF_…` of include/uapi/linux/if.h.
    pub flags: u32,
    /// Counters.
    pub stats: Option<Stats>,
    /// Its name; not always UTF-8.
    pub name: Vec<u8>,
    /// The administrator's description; empty where there is none.
    pub alias: Vec<u8>,
    /// Other names, each ended by a NUL.
    pub(crate) other_names: Vec<u8>,
    /// Its own address.
    pub address: HardwareAddress,
    /// The address by which all stations of the link are reached.
    pub broadcast: HardwareAddress,
    /// Largest packet, in bytes.
    pub mtu: Option<u32>,
    /// Length of the transmit queue, in packets.
    pub queue_length: Option<u32>,
    /// Number of the group that it is in.
    pub group: Option<u32>,
    /// Index of the link below this one, or of its peer, perhaps in another namespace; `None` where
    /// the kernel gives the link's own index.
    pub link: Option<u32>,
    /// `IF_OPER_…` of include/uapi/linux/if.h.
    pub operstate: Option<u8>,
    /// `IF_LINK_MODE_…` of include/uapi/linux/if.h.
    pub mode: Option<u8>,
    /// Whether there is a carrier, also while the link is down.
    pub carrier: Option<u8>,
    /// How often the carrier came or went.
    pub carrier_changes: Option<u32>,
    /// How often the carrier came.
    pub carrier_ups: Option<u32>,
    /// How often the carrier went.
    pub carrier_downs: Option<u32>,
    /// How many users want all packets, the kernel's own included; the flag tells of the
    /// administrator only.
    pub promiscuity: Option<u32>,
    /// How many users want all multicast packets, the kernel's own included.
    pub all_multicast: Option<u32>,
}

impl Link {
    /// Its alternative names.
    pub fn other_names(&self) -> impl Iterator<Item = &[u8]> {
        self.other_names.split(|&byte| byte == 0).filter(|name| !name.is_empty())
    }

    /// Takes over everything from a `RTM_NEWLINK` message.
    pub(super) fn read(&mut self, payload: &[u8]) -> Result<(), BadMessage> {
        let (head, attributes) = wire::split::<IfInfo>(payload, "a link is cut short")?;
        let index =
            u32::try_from(head.index).map_err(|_| BadMessage("a link's index is negative"))?;
        let [mut name, mut alias, mut other_names] =
            [&mut self.name, &mut self.alias, &mut self.other_names].map(std::mem::take);
        name.clear();
        alias.clear();
        other_names.clear();
        *self = Self {
            index,
            kind: head.kind,
            flags: head.flags,
            name,
            alias,
            other_names,
            ..Self::default()
        };
        let mut narrow = None;
        for attribute in Attributes(attributes) {
            let (kind, value) = attribute?;
            let word = || wire::number::<u32>(value, "a link's number is cut short").map(Some);
            let byte = || wire::number::<u8>(value, "a link's number is cut short").map(Some);
            match kind {
                IFLA_IFNAME => self.name.extend(wire::text(value)),
                IFLA_IFALIAS => self.alias.extend(wire::text(value)),
                IFLA_PROP_LIST => self.read_properties(value)?,
                IFLA_STATS64 => self.stats = Some(Stats::wide(value)),
                IFLA_STATS => narrow = Some(value),
                IFLA_ADDRESS => self.address = HardwareAddress::new(value),
                IFLA_BROADCAST => self.broadcast = HardwareAddress::new(value),
                IFLA_MTU => self.mtu = word()?,
                IFLA_TXQLEN => self.queue_length = word()?,
                IFLA_GROUP => self.group = word()?,
                IFLA_LINK => self.link = word()?,
                IFLA_OPERSTATE => self.operstate = byte()?,
                IFLA_LINKMODE => self.mode = byte()?,
                IFLA_CARRIER => self.carrier = byte()?,
                IFLA_CARRIER_CHANGES => self.carrier_changes = word()?,
                IFLA_CARRIER_UP_COUNT => self.carrier_ups = word()?,
                IFLA_CARRIER_DOWN_COUNT => self.carrier_downs = word()?,
                IFLA_PROMISCUITY => self.promiscuity = word()?,
                IFLA_ALLMULTI => self.all_multicast = word()?,
                _ => {}
            }
        }
        self.stats = self.stats.or_else(|| narrow.map(Stats::narrow));
        if self.name.is_empty() { Err(BadMessage("a link has no name")) } else { Ok(()) }
    }

    fn read_properties(&mut self, value: &[u8]) -> Result<(), BadMessage> {
        for property in Attributes(value) {
            if let (IFLA_ALT_IFNAME, name) = property? {
                self.other_names.extend(wire::text(name));
                self.other_names.push(0);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::host::netlink::wire::tests::attribute;

    pub(crate) fn message(index: i32, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes =
            bytemuck::bytes_of(&IfInfo { index, flags: 0x1043, ..IfInfo::zeroed() }).to_vec();
        for (kind, value) in attributes {
            bytes.extend(attribute(*kind, value));
        }
        bytes
    }

    fn words<const N: usize>() -> [u64; N] {
        std::array::from_fn(|n| n as u64 + 1)
    }

    #[test]
    fn a_link_is_read() {
        let stats = words::<25>();
        let bytes = message(
            7,
            &[
                (IFLA_IFNAME, b"eth\xff\0"),
                (IFLA_STATS, &[0; 96]),
                (IFLA_STATS64, bytemuck::bytes_of(&stats)),
                (IFLA_IFALIAS, b"up\0"),
            ],
        );
        let mut link = Link::default();
        link.read(&bytes).unwrap();
        assert_eq!((link.index, link.flags), (7, 0x1043));
        assert_eq!(link.name, b"eth\xff");
        assert_eq!(link.alias, b"up");
        assert_eq!(link.stats, Some(bytemuck::cast(stats)));
        let stats = link.stats.unwrap();
        assert_eq!((stats.rx_packets, stats.rx_otherhost_dropped), (1, 25));
        link.read(&message(8, &[(IFLA_IFNAME, b"lo\0"), (IFLA_STATS, &[0; 96])])).unwrap();
        assert_eq!((link.stats, &*link.alias), (Some(Stats::default()), &b""[..]));
        link.read(&message(8, &[(IFLA_IFNAME, b"lo\0")])).unwrap();
        assert_eq!(link.stats, None);
    }

    #[test]
    fn names_and_addresses_of_a_link_are_read() {
        let shown = |label: &dyn Label| {
            let mut text = String::new();
            label.append(&mut text);
            text
        };
        let others = [
            attribute(IFLA_ALT_IFNAME, b"uplink\0"),
            attribute(1, b"x\0"),
            attribute(IFLA_ALT_IFNAME, b"b\0"),
        ]
        .concat();
        let mut link = Link::default();
        let name: (u16, &[u8]) = (IFLA_IFNAME, b"eth0\0");
        link.read(&message(
            7,
            &[
                name,
                (IFLA_PROP_LIST, &others),
                (IFLA_ADDRESS, &[2, 0, 0xff, 0, 0, 10]),
                (IFLA_BROADCAST, &[0xff; 40]),
                (IFLA_LINK, &9_u32.to_ne_bytes()),
                (IFLA_CARRIER, &[1]),
            ],
        ))
        .unwrap();
        assert_eq!(link.other_names().collect::<Vec<_>>(), [&b"uplink"[..], b"b"]);
        assert_eq!(shown(&link.address), "02:00:ff:00:00:0a");
        assert_eq!(link.broadcast.bytes(), [0xff; 32], "no kernel has longer ones");
        assert_eq!((link.link, link.carrier, link.mtu), (Some(9), Some(1), None));
        link.read(&message(8, &[name])).unwrap();
        assert_eq!((link.other_names().count(), link.link), (0, None), "stale values are gone");
        assert_eq!(shown(&link.address), "");
        let error = link.read(&message(8, &[name, (IFLA_MTU, &[1, 2])])).unwrap_err();
        assert_eq!(error.to_string(), "a link's number is cut short");
    }

    #[test]
    fn older_and_newer_kernels_counters_are_read() {
        assert_eq!(Stats::wide(bytemuck::bytes_of(&words::<24>())).rx_nohandler, 24);
        assert_eq!(Stats::wide(bytemuck::bytes_of(&words::<24>())).rx_otherhost_dropped, 0);
        assert_eq!(Stats::wide(bytemuck::bytes_of(&words::<30>())).rx_otherhost_dropped, 25);
        let mut narrow = [u32::MAX; 24];
        narrow[23] -= 23;
        let stats = Stats::narrow(bytemuck::bytes_of(&narrow));
        assert_eq!(stats.rx_packets, u64::from(u32::MAX));
        assert_eq!(stats.rx_nohandler, u64::from(u32::MAX) - 23);
        assert_eq!(Stats::narrow(b""), Stats::default());
    }

    #[test]
    fn a_link_cut_anywhere_does_not_panic() {
        let bytes = message(7, &[(IFLA_STATS64, &[1; 200]), (IFLA_IFNAME, b"eth0\0")]);
        let mut link = Link::default();
        for length in 0..bytes.len() - 3 {
            assert!(link.read(&bytes[..length]).is_err(), "{length}");
        }
        link.read(&bytes).unwrap();
    }

    #[test]
    fn impossible_links_are_refused() {
        let mut link = Link::default();
        let read = |link: &mut Link, bytes: Vec<u8>| link.read(&bytes).unwrap_err().to_string();
        let negative = message(-1, &[(IFLA_IFNAME, b"eth0\0")]);
        assert_eq!(read(&mut link, negative), "a link's index is negative");
        assert_eq!(read(&mut link, message(1, &[])), "a link has no name");
    }
}
