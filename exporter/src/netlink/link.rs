//! Links: `RTM_GETLINK`, `struct ifinfomsg`.

use bytemuck::{Pod, Zeroable};
use libc::{IFLA_IFALIAS, IFLA_IFNAME, IFLA_STATS, IFLA_STATS64, RTM_GETLINK, RTM_NEWLINK};

use super::{
    Error, Request, Socket, Step,
    wire::{self, Attributes, Malformed},
};

/// `struct ifinfomsg` of include/uapi/linux/rtnetlink.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct IfInfo {
    family: u8,
    padding: u8,
    kind: u16,
    index: i32,
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
    /// `IFLA_STATS64`. An older kernel's is shorter: the rest stays 0. A newer one's is
    /// longer: the rest is not ours.
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

/// A network interface.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// Its number, unique within its network namespace, reused after a wrap.
    pub index: u32,
    /// `IFF_…` of include/uapi/linux/if.h.
    pub flags: u32,
    /// Counters; all 0 where the kernel sent none.
    pub stats: Stats,
    /// Its name; not always UTF-8.
    pub name: Vec<u8>,
    /// What the administrator calls it; empty if nothing.
    pub alias: Vec<u8>,
}

impl Link {
    /// Becomes what a `RTM_NEWLINK` message says.
    fn read(&mut self, payload: &[u8]) -> Result<(), Malformed> {
        let (head, attributes) = wire::split::<IfInfo>(payload, "a link is cut short")?;
        self.index =
            u32::try_from(head.index).map_err(|_| Malformed("a link's index is negative"))?;
        self.flags = head.flags;
        self.name.clear();
        self.alias.clear();
        let mut wide = None;
        let mut narrow = None;
        for attribute in Attributes(attributes) {
            match attribute? {
                (IFLA_IFNAME, value) => self.name.extend(wire::text(value)),
                (IFLA_IFALIAS, value) => self.alias.extend(wire::text(value)),
                (IFLA_STATS64, value) => wide = Some(Stats::wide(value)),
                (IFLA_STATS, value) => narrow = Some(value),
                _ => {}
            }
        }
        self.stats = wide.or_else(|| narrow.map(Stats::narrow)).unwrap_or_default();
        if self.name.is_empty() { Err(Malformed("a link has no name")) } else { Ok(()) }
    }
}

/// The links of a network namespace, in the kernel's order; a table to be reused.
#[derive(Clone, Debug, Default)]
pub struct Links {
    /// The first `used` are of the last dump, the others keep their buffers for the next.
    slots: Vec<Link>,
    used: usize,
    /// Index and place of each link, sorted.
    places: Vec<(u32, usize)>,
}

impl Links {
    /// An empty table.
    #[must_use]
    pub const fn new() -> Self {
        Self { slots: Vec::new(), used: 0, places: Vec::new() }
    }

    /// All links.
    pub fn iter(&self) -> impl Iterator<Item = &Link> {
        self.slots.iter().take(self.used)
    }

    /// The link with this index.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&Link> {
        let place = self.places.binary_search_by_key(&index, |&(index, _)| index).ok()?;
        self.places.get(place).and_then(|&(_, place)| self.slots.get(place))
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.used
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.used == 0
    }

    fn clear(&mut self) {
        self.used = 0;
        self.places.clear();
    }

    fn push(&mut self, payload: &[u8]) -> Result<(), Malformed> {
        if self.used == self.slots.len() {
            self.slots.push(Link::default());
        }
        if let Some(link) = self.slots.get_mut(self.used) {
            link.read(payload)?;
            self.places.push((link.index, self.used));
            self.used += 1;
        }
        Ok(())
    }
}

impl<'a> IntoIterator for &'a Links {
    type Item = &'a Link;
    type IntoIter = std::iter::Take<std::slice::Iter<'a, Link>>;

    fn into_iter(self) -> Self::IntoIter {
        self.slots.iter().take(self.used)
    }
}

impl Socket {
    /// Fills `links` with the links of the namespace and their counters.
    ///
    /// # Errors
    ///
    /// After [`Error::Interrupted`] the table holds what the last dump gave; after any
    /// other error it is empty.
    pub fn links(&mut self, links: &mut Links) -> Result<(), Error> {
        let body = IfInfo::zeroed();
        let request = Request {
            name: "RTM_GETLINK",
            kind: RTM_GETLINK,
            answer: RTM_NEWLINK,
            body: bytemuck::bytes_of(&body),
        };
        let result = self.dump(&request, |step| match step {
            Step::Start => {
                links.clear();
                Ok(())
            }
            Step::Item(payload) => links.push(payload),
        });
        if !matches!(result, Ok(()) | Err(Error::Interrupted { .. })) {
            links.clear();
        }
        links.places.sort_unstable();
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::wire::tests::attribute;

    fn message(index: i32, attributes: &[(u16, &[u8])]) -> Vec<u8> {
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
        assert_eq!(link.stats, bytemuck::cast(stats));
        assert_eq!((link.stats.rx_packets, link.stats.rx_otherhost_dropped), (1, 25));
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

    #[test]
    fn the_table_is_reused_and_searched() {
        let mut links = Links::new();
        for round in 0..2 {
            links.clear();
            for index in [9, 3, 5] {
                links.push(&message(index, &[(IFLA_IFNAME, b"x")])).unwrap();
            }
            links.places.sort_unstable();
            assert_eq!(links.len(), 3, "{round}");
            assert_eq!(links.get(3).map(|link| link.index), Some(3));
            assert!(links.get(4).is_none());
        }
        links.clear();
        assert!(links.is_empty() && links.get(3).is_none() && links.iter().next().is_none());
    }

    #[test]
    fn this_machine_has_a_loopback() {
        let mut links = Links::new();
        Socket::open().unwrap().links(&mut links).unwrap();
        assert!(links.iter().any(|link| link.name == b"lo"));
    }
}
