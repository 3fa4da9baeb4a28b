//! Speed, duplex and modes of links: `ETHTOOL_MSG_LINKMODES_GET`, generic netlink, since Linux 5.6.

use bytemuck::{Pod, Zeroable};
use netlink_packet_core::NLM_F_DUMP;

use super::{
    Error, Protocol, Request, Socket, Step,
    genl::{Head, NLA_F_NESTED, attributes},
    wire::{self, Attributes, BadMessage},
};

/// `ETHTOOL_MSG_LINKMODES_GET` of `include/uapi/linux/ethtool_netlink.h`, as those below.
const LINKMODES_GET: u8 = 4;
const A_LINKMODES_HEADER: u16 = 1;
const A_LINKMODES_AUTONEG: u16 = 2;
const A_LINKMODES_OURS: u16 = 3;
const A_LINKMODES_SPEED: u16 = 5;
const A_LINKMODES_DUPLEX: u16 = 6;
const A_HEADER_DEV_INDEX: u16 = 1;
const A_HEADER_FLAGS: u16 = 3;
const A_BITSET_VALUE: u16 = 4;
const A_BITSET_MASK: u16 = 5;
/// `ETHTOOL_FLAG_COMPACT_BITSETS`: the modes as bits, not as a list of names.
const COMPACT_BITSETS: u32 = 1;

/// The rest of a request for the modes, after the netlink header: `ETHTOOL_A_LINKMODES_HEADER` with
/// `ETHTOOL_A_HEADER_FLAGS` in it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct GetModes {
    head: Head,
    length: u16,
    kind: u16,
    flags_length: u16,
    flags_kind: u16,
    flags: u32,
}

const GET_MODES: GetModes = GetModes {
    head: Head::new(LINKMODES_GET),
    length: 12,
    kind: A_LINKMODES_HEADER | NLA_F_NESTED,
    flags_length: 8,
    flags_kind: A_HEADER_FLAGS,
    flags: COMPACT_BITSETS,
};

/// The speed and duplex of a link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mode {
    /// Index of the link.
    pub index: u32,
    /// In Mb/s; -1 where the driver does not know.
    pub speed: i32,
    /// 0 for half, 1 for full; else the driver does not know.
    pub duplex: u8,
}

impl Mode {
    /// The mode in a `ETHTOOL_MSG_LINKMODES_GET_REPLY`; `None` where a part is missing.
    fn parse(payload: &[u8]) -> Result<Option<Self>, BadMessage> {
        const SHORT: &str = "a link's mode is cut short";
        let (mut index, mut speed, mut duplex) = (None, None, None);
        for attribute in attributes(payload, SHORT)? {
            match attribute? {
                (A_LINKMODES_HEADER, head) => index = index_in(head)?,
                (A_LINKMODES_SPEED, value) => speed = Some(wire::number(value, SHORT)?),
                (A_LINKMODES_DUPLEX, value) => duplex = Some(wire::number(value, SHORT)?),
                _ => {}
            }
        }
        Ok(index.zip(speed).zip(duplex).map(|((index, speed), duplex)| Self {
            index,
            speed,
            duplex,
        }))
    }
}

/// The modes of a link: `struct ethtool_link_ksettings`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Modes {
    /// Index of the link.
    pub index: u32,
    /// 1 where it agrees with its peer on a mode, 0 where it does not.
    pub autonegotiation: u8,
    /// The modes that it supports: `ETHTOOL_LINK_MODE_…` of `include/uapi/linux/ethtool.h`, as bits.
    pub supported: u128,
    /// The modes that it offers to its peer.
    pub advertised: u128,
}

impl Modes {
    /// The modes in a `ETHTOOL_MSG_LINKMODES_GET_REPLY`; `None` where it names no link.
    fn parse(payload: &[u8]) -> Result<Option<Self>, BadMessage> {
        const SHORT: &str = "a link's modes are cut short";
        let (mut modes, mut index) = (Self::default(), None);
        for attribute in attributes(payload, SHORT)? {
            match attribute? {
                (A_LINKMODES_HEADER, head) => index = index_in(head)?,
                (A_LINKMODES_AUTONEG, value) => {
                    modes.autonegotiation = wire::number(value, SHORT)?;
                }
                (A_LINKMODES_OURS, bitset) => {
                    for attribute in Attributes(bitset) {
                        match attribute? {
                            (A_BITSET_VALUE, value) => modes.advertised = bits(value),
                            (A_BITSET_MASK, value) => modes.supported = bits(value),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(index.map(|index| Self { index, ..modes }))
    }
}

/// The first 128 bits of a bitset, which the kernel sends in words of 32.
pub fn bits(value: &[u8]) -> u128 {
    let words = value.as_chunks().0.iter().take(4).zip([0, 32, 64, 96]);
    words.fold(0, |bits, (&word, at)| bits | u128::from(u32::from_ne_bytes(word)) << at)
}

/// The index of the link that the header of a message names.
fn index_in(header: &[u8]) -> Result<Option<u32>, BadMessage> {
    let mut index = None;
    for attribute in Attributes(header) {
        if let (A_HEADER_DEV_INDEX, value) = attribute? {
            index = Some(wire::number(value, "a link's index is cut short")?);
        }
    }
    Ok(index)
}

/// The number that the kernel gave the family `ethtool`.
#[derive(Clone, Copy, Debug)]
enum Family {
    Unasked,
    Absent,
    Number(u16),
}

/// The speed and duplex of all links that have them, and the socket to ask for them.
#[derive(Debug)]
pub struct Ethtool {
    socket: Socket,
    family: Family,
    modes: Vec<Mode>,
    complete: bool,
}

impl Default for Ethtool {
    fn default() -> Self {
        Self::new(Socket::new(Protocol::Generic))
    }
}

impl Ethtool {
    /// Asks through `socket`; nothing is asked yet.
    #[must_use]
    pub const fn new(socket: Socket) -> Self {
        Self { socket, family: Family::Unasked, modes: Vec::new(), complete: false }
    }

    /// Asks for all links' speed and duplex.
    ///
    /// # Errors
    /// The kernel has no such family, or a driver's error ended the dump: the modes told before it
    /// stay, see [`Ethtool::is_complete`].
    pub fn refresh(&mut self) -> Result<(), Error> {
        self.modes.clear();
        self.complete = false;
        let mut modes = std::mem::take(&mut self.modes);
        let dumped = self.dump(|payload| {
            modes.extend(Mode::parse(payload)?);
            Ok(())
        });
        modes.sort_unstable_by_key(|mode| mode.index);
        self.modes = modes;
        self.complete = dumped?;
        Ok(())
    }

    /// Gives `each` the modes of every link that has them. Says whether none came or went meanwhile.
    ///
    /// # Errors
    /// The kernel has no such family, or a driver's error ended the dump.
    pub fn all_modes(&mut self, mut each: impl FnMut(Modes)) -> Result<bool, Error> {
        self.dump(|payload| {
            Modes::parse(payload)?.into_iter().for_each(&mut each);
            Ok(())
        })
    }

    /// Gives `each` the payload of every message. Says whether no link came or went meanwhile.
    fn dump(
        &mut self,
        mut each: impl FnMut(&[u8]) -> Result<(), BadMessage>,
    ) -> Result<bool, Error> {
        let Self { socket, family, .. } = self;
        if let Family::Unasked = family {
            *family = socket.family(b"ethtool")?.map_or(Family::Absent, Family::Number);
        }
        let Family::Number(number) = *family else { return Err(absent()) };
        let request = Request {
            name: "ETHTOOL_MSG_LINKMODES_GET",
            kind: number,
            flags: NLM_F_DUMP,
            answer: number,
            body: bytemuck::bytes_of(&GET_MODES),
        };
        socket.try_dump(&request, 1, |step| match step {
            Step::Start => Ok(()),
            Step::Item(payload) => each(payload),
        })
    }

    /// Whether the modes are those of all links, so that a missing link has no speed: the last dump
    /// came to its end, and no link came or went meanwhile.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    /// The link's mode.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<Mode> {
        let place = self.modes.binary_search_by_key(&index, |mode| mode.index).ok()?;
        self.modes.get(place).copied()
    }
}

fn absent() -> Error {
    Error::Refused {
        request: "CTRL_CMD_GETFAMILY",
        source: std::io::Error::from_raw_os_error(libc::ENOENT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::netlink::wire::tests::attribute;

    fn message(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = bytemuck::bytes_of(&GET_MODES.head).to_vec();
        for (kind, value) in attributes {
            bytes.extend(attribute(*kind, value));
        }
        bytes
    }

    #[test]
    fn a_mode_is_read() {
        let head = [attribute(2, b"eth0\0"), attribute(1, &7_u32.to_ne_bytes())].concat();
        let head = (A_LINKMODES_HEADER | NLA_F_NESTED, head.as_slice());
        let unknown = (A_LINKMODES_SPEED, &u32::MAX.to_ne_bytes()[..]);
        let bytes = message(&[head, (2, &[1]), unknown, (A_LINKMODES_DUPLEX, &[255])]);
        let mode = Mode { index: 7, speed: -1, duplex: 255 };
        assert_eq!(Mode::parse(&bytes), Ok(Some(mode)));
        assert_eq!(Mode::parse(&message(&[head, unknown])), Ok(None));
        for length in 0..bytes.len() - 3 {
            assert_ne!(Mode::parse(&bytes[..length]), Ok(Some(mode)), "{length}");
        }
    }

    #[test]
    fn all_bits_of_the_modes_are_read() {
        let value: Vec<u8> = [1 << 31, 1, 0, 1 << 31].map(u32::to_ne_bytes).concat();
        let bitset =
            [attribute(A_BITSET_VALUE, &value), attribute(A_BITSET_MASK, &[255; 20])].concat();
        let index = attribute(A_HEADER_DEV_INDEX, &7_u32.to_ne_bytes());
        let head = (A_LINKMODES_HEADER | NLA_F_NESTED, index.as_slice());
        let ours = (A_LINKMODES_OURS | NLA_F_NESTED, bitset.as_slice());
        let bytes = message(&[head, (A_LINKMODES_AUTONEG, &[1]), ours]);
        let advertised = 1 << 31 | 1 << 32 | 1 << 127;
        let modes = Modes { index: 7, autonegotiation: 1, supported: u128::MAX, advertised };
        assert_eq!(Modes::parse(&bytes), Ok(Some(modes)));
        assert_eq!(Modes::parse(&message(&[ours])), Ok(None), "of no link");
        for length in 0..bytes.len() {
            assert_ne!(Modes::parse(&bytes[..length]), Ok(Some(modes)), "{length}");
        }
        assert_eq!(bits(&[1, 2, 3]), 0, "not a whole word");
    }

    #[test]
    fn the_kernel_understands_the_questions() {
        let mut ethtool = Ethtool::default();
        match ethtool.refresh() {
            Ok(()) => assert!(ethtool.is_complete() && ethtool.get(1).is_none(), "lo has no speed"),
            Err(Error::Refused { source, .. }) => {
                assert_ne!(
                    source.raw_os_error(),
                    Some(libc::EINVAL),
                    "a kernel before 5.6, or a driver's error"
                );
                assert!(!ethtool.is_complete());
            }
            Err(error) => panic!("{error}"),
        }
    }
}
