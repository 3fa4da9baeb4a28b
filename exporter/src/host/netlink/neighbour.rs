//! Neighbours: `RTM_GETNEIGH`, `struct ndmsg`.
//!
//! Between two parts of a dump, `neigh_dump_table()` of net/core/neighbour.c remembers a bucket of
//! the hash table and the number of its entries that were told. An entry that comes meanwhile is
//! put at the bucket's head, so that an entry is told a second time for each that came: repeated
//! entries are left out here. Whether the hash table has grown meanwhile is for
//! [`super::NeighbourDump`] to find out.

use std::{mem, net::IpAddr};

use bytemuck::{Pod, Zeroable};
use libc::{NDA_DST, NDA_IFINDEX, RTM_GETNEIGH, RTM_NEWNEIGH};

use netlink_packet_core::NLM_F_DUMP;

use super::{
    Error, Raw, Request, Socket, Step, TRIES,
    address::ip,
    wire::{self, Attributes, BadMessage, Messages},
};

pub use libc::{NUD_FAILED, NUD_NOARP};

/// `struct ndmsg` of include/uapi/linux/neighbour.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct NdMsg {
    family: u8,
    padding: [u8; 3],
    index: i32,
    state: u16,
    flags: u8,
    kind: u8,
}

/// The attribute that limits a dump to an interface.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct Filter {
    length: u16,
    kind: u16,
    ifindex: u32,
}

/// An entry of the ARP table or of its counterpart for IPv6.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Neighbour<'a> {
    /// `AF_INET` or `AF_INET6`.
    pub family: u8,
    /// Index of the interface.
    pub ifindex: u32,
    /// `NUD_…` of include/uapi/linux/neighbour.h, one bit; 0 is `NUD_NONE`.
    pub state: u16,
    /// `NTF_…` of the same header.
    pub flags: u8,
    /// `NDA_…` of the same header, not looked at unless asked for.
    pub(super) attributes: &'a [u8],
}

impl<'a> Neighbour<'a> {
    /// The neighbour in a `RTM_NEWNEIGH` message.
    fn parse(payload: &'a [u8]) -> Result<Self, BadMessage> {
        let (head, attributes) = wire::split::<NdMsg>(payload, "a neighbour is cut short")?;
        let ifindex = u32::try_from(head.index)
            .map_err(|_| BadMessage("a neighbour's interface is negative"))?;
        Ok(Self { family: head.family, ifindex, state: head.state, flags: head.flags, attributes })
    }

    /// Its address, which is unique on its interface.
    #[must_use]
    pub fn address(self) -> Option<IpAddr> {
        let mut attributes = Attributes(self.attributes).map_while(Result::ok);
        attributes.find(|(kind, _)| *kind == NDA_DST).and_then(|(_, value)| ip(value))
    }

    fn key(self) -> Option<(u32, IpAddr)> {
        Some((self.ifindex, self.address()?))
    }

    /// Whether the kernel resolves no address for it (loopback, multicast, broadcast):
    /// such entries are not counted as neighbours.
    #[must_use]
    pub const fn is_noarp(self) -> bool {
        self.state & NUD_NOARP != 0
    }
}

/// The entries around the place where two parts of a dump meet, by which a repetition is
/// recognised.
#[derive(Debug, Default)]
struct Seam {
    /// The last entries of the part before.
    before: [Option<(u32, IpAddr)>; Self::LENGTH],
    /// The last entries of this part.
    last: [Option<(u32, IpAddr)>; Self::LENGTH],
    /// Whether all entries of this part so far were in the part before.
    repeats: bool,
    /// Whether the dump has had a part.
    has_begun: bool,
}

impl Seam {
    /// The most entries that may come into one bucket between two parts. A bucket has one on
    /// average.
    const LENGTH: usize = 8;

    /// A part begins: the messages in `bytes`.
    fn part(&mut self, bytes: &[u8]) {
        let mut payloads: [&[u8]; Self::LENGTH] = [&[]; Self::LENGTH];
        let messages = Messages(bytes).flatten().filter(|(header, _)| header.kind == RTM_NEWNEIGH);
        for (place, (_, payload)) in (0..Self::LENGTH).cycle().zip(messages) {
            if let Some(kept) = payloads.get_mut(place) {
                *kept = payload;
            }
        }
        let key = |payload| Neighbour::parse(payload).ok().and_then(Neighbour::key);
        self.before = mem::replace(&mut self.last, payloads.map(key));
        self.repeats = mem::replace(&mut self.has_begun, true);
    }

    /// Whether the part before had this entry.
    fn repeats(&mut self, neighbour: Neighbour<'_>) -> bool {
        self.repeats =
            self.repeats && neighbour.key().is_some_and(|key| self.before.contains(&Some(key)));
        self.repeats
    }
}

impl Socket {
    /// Gives `each` the neighbours of `family` (`AF_INET` or `AF_INET6`), those that need no
    /// resolution included, proxies left out. If the hash table has grown meanwhile
    /// ([`Socket::neighbour_table`]), some entries were told twice and others not.
    pub fn neighbours(
        &mut self,
        family: u8,
        each: impl FnMut(Step<Neighbour<'_>>),
    ) -> Result<(), Error> {
        self.neighbours_of(family, None, each)
    }

    /// As [`Socket::neighbours`], of one interface only where `ifindex` is given: the kernel walks
    /// all neighbours, but tells of few.
    pub fn neighbours_of(
        &mut self,
        family: u8,
        ifindex: Option<u32>,
        mut each: impl FnMut(Step<Neighbour<'_>>),
    ) -> Result<(), Error> {
        let head = NdMsg { family, ..NdMsg::zeroed() };
        let filter = Filter { length: 8, kind: NDA_IFINDEX, ifindex: ifindex.unwrap_or_default() };
        let (head, filter) = (bytemuck::bytes_of(&head), bytemuck::bytes_of(&filter));
        let body = if ifindex.is_some() { &[head, filter].concat() } else { head };
        let request = Request {
            name: "RTM_GETNEIGH",
            kind: RTM_GETNEIGH,
            flags: NLM_F_DUMP,
            answer: RTM_NEWNEIGH,
            body,
        };
        let mut seam = Seam::default();
        let consistent = self.try_parts(&request, TRIES, |raw| {
            match raw {
                Raw::Start => {
                    seam = Seam::default();
                    each(Step::Start);
                }
                Raw::Part(bytes) => seam.part(bytes),
                Raw::Item(payload) => {
                    let neighbour = Neighbour::parse(payload)?;
                    // The kernel has filtered already, save that older kernels know no filter.
                    if neighbour.family == family
                        && ifindex.is_none_or(|ifindex| ifindex == neighbour.ifindex)
                        && !seam.repeats(neighbour)
                    {
                        each(Step::Item(neighbour));
                    }
                }
            }
            Ok(())
        })?;
        if consistent { Ok(()) } else { Err(Error::Interrupted { request: request.name }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::netlink::wire::tests::attribute;

    /// A neighbour with the address 10.0.0.`last`.
    fn payload(last: u8) -> Vec<u8> {
        let head = NdMsg { family: 2, index: 1, ..NdMsg::zeroed() };
        [bytemuck::bytes_of(&head), &attribute(NDA_DST, &[10, 0, 0, last])].concat()
    }

    #[test]
    fn entries_repeated_from_the_part_before_are_left_out() {
        let told = |parts: &[&[u8]]| {
            let mut seam = Seam::default();
            let mut told = Vec::new();
            for part in parts {
                let mut bytes = Vec::new();
                for &last in *part {
                    let mut message = Vec::new();
                    wire::request(RTM_NEWNEIGH, 0, 0, &payload(last), &mut message);
                    bytes.extend(message);
                }
                seam.part(&bytes);
                for &last in *part {
                    let payload = payload(last);
                    let neighbour = Neighbour::parse(&payload).unwrap();
                    if !seam.repeats(neighbour) {
                        told.push(last);
                    }
                }
            }
            told
        };
        assert_eq!(told(&[&[1, 2, 3], &[4, 5]]), [1, 2, 3, 4, 5]);
        assert_eq!(told(&[&[1, 2, 3], &[3, 4]]), [1, 2, 3, 4]);
        assert_eq!(told(&[&[1, 2, 3], &[2, 3, 4], &[4, 5]]), [1, 2, 3, 4, 5]);
        // Only a part's beginning is a repetition: the rest is another bucket's.
        assert_eq!(told(&[&[1, 2], &[3, 2]]), [1, 2, 3, 2]);
        let many: Vec<u8> = (0..20).collect();
        assert_eq!(told(&[&many, &many[12..]]), many);
    }

    #[test]
    fn a_neighbour_is_read() {
        let head =
            NdMsg { family: 2, padding: [0; 3], index: 5, state: NUD_NOARP, flags: 0x80, kind: 3 };
        let mut bytes = bytemuck::bytes_of(&head).to_vec();
        bytes.extend(attribute(NDA_DST, &[10, 0, 0, 1]));
        let neighbour = Neighbour::parse(&bytes).unwrap();
        let Neighbour { family, ifindex, state, flags, .. } = neighbour;
        assert_eq!((family, ifindex, state, flags), (2, 5, NUD_NOARP, 0x80));
        assert_eq!(neighbour.address(), Some([10, 0, 0, 1].into()));
        assert!(neighbour.is_noarp());
        for length in 0..bytes.len() {
            let parsed = Neighbour::parse(&bytes[..length]);
            assert_eq!(parsed.is_err(), length < size_of::<NdMsg>(), "{length}");
            assert_eq!(parsed.ok().and_then(Neighbour::address), None, "{length}");
        }
        bytes[7] = 0x80;
        assert_eq!(
            Neighbour::parse(&bytes),
            Err(BadMessage("a neighbour's interface is negative"))
        );
    }

    #[test]
    fn a_dump_begins_with_a_start() {
        let mut starts = Vec::new();
        let mut socket = Socket::open().unwrap();
        socket.neighbours(2, |step| starts.push(step == Step::Start)).unwrap();
        assert_eq!(starts.first(), Some(&true));
    }
}
