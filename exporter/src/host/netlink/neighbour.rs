//! Neighbours: `RTM_GETNEIGH`, `struct ndmsg`.

use bytemuck::{Pod, Zeroable};
use libc::{NDA_IFINDEX, RTM_GETNEIGH, RTM_NEWNEIGH};

use netlink_packet_core::NLM_F_DUMP;

use super::{
    Error, Request, Socket, Step,
    wire::{self, BadMessage},
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
pub struct Neighbour {
    /// `AF_INET` or `AF_INET6`.
    pub family: u8,
    /// Index of the interface.
    pub ifindex: u32,
    /// `NUD_…` of include/uapi/linux/neighbour.h, one bit; 0 is `NUD_NONE`.
    pub state: u16,
    /// `NTF_…` of the same header.
    pub flags: u8,
}

impl Neighbour {
    /// What a `RTM_NEWNEIGH` message says.
    fn parse(payload: &[u8]) -> Result<Self, BadMessage> {
        let (head, _) = wire::split::<NdMsg>(payload, "a neighbour is cut short")?;
        let ifindex = u32::try_from(head.index)
            .map_err(|_| BadMessage("a neighbour's interface is negative"))?;
        Ok(Self { family: head.family, ifindex, state: head.state, flags: head.flags })
    }

    /// Whether the kernel resolves no address for it (loopback, multicast, broadcast):
    /// such entries are not counted as neighbours.
    #[must_use]
    pub const fn is_noarp(self) -> bool {
        self.state & NUD_NOARP != 0
    }
}

impl Socket {
    /// Gives `each` the neighbours of `family` (`AF_INET` or `AF_INET6`), those that need
    /// no resolution included, proxies left out.
    pub fn neighbours(
        &mut self,
        family: u8,
        each: impl FnMut(Step<Neighbour>),
    ) -> Result<(), Error> {
        self.neighbours_of(family, None, each)
    }

    /// As [`Socket::neighbours`], of one interface only, where one is given: the kernel walks
    /// all of them, but tells of few.
    pub fn neighbours_of(
        &mut self,
        family: u8,
        ifindex: Option<u32>,
        mut each: impl FnMut(Step<Neighbour>),
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
        self.dump(&request, |step| {
            match step {
                Step::Start => each(Step::Start),
                Step::Item(payload) => {
                    let neighbour = Neighbour::parse(payload)?;
                    // The kernel has filtered already, save that older ones knew no filter.
                    if neighbour.family == family
                        && ifindex.is_none_or(|ifindex| ifindex == neighbour.ifindex)
                    {
                        each(Step::Item(neighbour));
                    }
                }
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_is_read() {
        let head =
            NdMsg { family: 2, padding: [0; 3], index: 5, state: NUD_NOARP, flags: 0x80, kind: 3 };
        let mut bytes = bytemuck::bytes_of(&head).to_vec();
        bytes.extend([0xff; 7]);
        let neighbour = Neighbour { family: 2, ifindex: 5, state: NUD_NOARP, flags: 0x80 };
        assert_eq!(Neighbour::parse(&bytes), Ok(neighbour));
        assert!(neighbour.is_noarp());
        for length in 0..size_of::<NdMsg>() {
            assert!(Neighbour::parse(&bytes[..length]).is_err(), "{length}");
        }
        bytes[7] = 0x80;
        assert_eq!(
            Neighbour::parse(&bytes),
            Err(BadMessage("a neighbour's interface is negative"))
        );
    }

    #[test]
    fn a_dump_begins_with_a_start() {
        let mut steps = Vec::new();
        let mut socket = Socket::open().unwrap();
        socket.neighbours(2, |step| steps.push(step)).unwrap();
        assert_eq!(steps.first(), Some(&Step::Start));
    }
}
