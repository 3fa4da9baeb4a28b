//! Speed and duplex of links: `ETHTOOL_MSG_LINKMODES_GET`, generic netlink, since Linux 5.6.

use bytemuck::{Pod, Zeroable};
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP};

use super::{
    Error, Protocol, Request, Socket, Step,
    wire::{self, Attributes, BadMessage},
};

/// `GENL_ID_CTRL` of include/uapi/linux/genetlink.h, as those below.
const CONTROL: u16 = 0x10;
const GETFAMILY: u8 = 3;
const A_FAMILY_ID: u16 = 1;
const A_FAMILY_NAME: u16 = 2;

/// `ETHTOOL_MSG_LINKMODES_GET` of `include/uapi/linux/ethtool_netlink.h`, as those below.
const LINKMODES_GET: u8 = 4;
const A_LINKMODES_HEADER: u16 = 1;
const A_LINKMODES_SPEED: u16 = 5;
const A_LINKMODES_DUPLEX: u16 = 6;
const A_HEADER_DEV_INDEX: u16 = 1;
const A_HEADER_FLAGS: u16 = 3;
/// `ETHTOOL_FLAG_COMPACT_BITSETS`: the modes as bits, not as a list of names.
const COMPACT_BITSETS: u32 = 1;
const NLA_F_NESTED: u16 = 0x8000;

/// `struct genlmsghdr` of include/uapi/linux/genetlink.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct Head {
    command: u8,
    version: u8,
    reserved: u16,
}

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
    head: Head { command: LINKMODES_GET, version: 1, reserved: 0 },
    length: 12,
    kind: A_LINKMODES_HEADER | NLA_F_NESTED,
    flags_length: 8,
    flags_kind: A_HEADER_FLAGS,
    flags: COMPACT_BITSETS,
};

/// The rest of a request for the number of the family `ethtool`, after the netlink header.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct GetFamily {
    head: Head,
    length: u16,
    kind: u16,
    name: [u8; 8],
}

const GET_FAMILY: GetFamily = GetFamily {
    head: Head { command: GETFAMILY, version: 1, reserved: 0 },
    length: 12,
    kind: A_FAMILY_NAME,
    name: *b"ethtool\0",
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
        let (_, attributes) = wire::split::<Head>(payload, SHORT)?;
        let (mut index, mut speed, mut duplex) = (None, None, None);
        for attribute in Attributes(attributes) {
            match attribute? {
                (A_LINKMODES_HEADER, head) => {
                    for attribute in Attributes(head) {
                        if let (A_HEADER_DEV_INDEX, value) = attribute? {
                            index = Some(wire::number(value, SHORT)?);
                        }
                    }
                }
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

/// The number that the kernel gave the family `ethtool`.
#[derive(Clone, Copy, Debug, Default)]
enum Family {
    #[default]
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
        Self {
            socket: Socket::new(Protocol::Generic),
            family: Family::default(),
            modes: Vec::new(),
            complete: false,
        }
    }
}

impl Ethtool {
    /// Asks for all links' modes.
    ///
    /// # Errors
    /// The kernel has no such family, or a driver's error ended the dump: the modes told before it
    /// stay, see [`Ethtool::is_complete`].
    pub fn refresh(&mut self) -> Result<(), Error> {
        let Self { socket, family, modes, complete } = self;
        modes.clear();
        *complete = false;
        let number = match family {
            Family::Number(number) => *number,
            Family::Absent => return Err(absent()),
            Family::Unasked => match socket.ethtool() {
                Ok(number) => {
                    *family = Family::Number(number);
                    number
                }
                Err(error) => {
                    if matches!(&error, Error::Refused { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
                    {
                        *family = Family::Absent;
                    }
                    return Err(error);
                }
            },
        };
        let request = Request {
            name: "ETHTOOL_MSG_LINKMODES_GET",
            kind: number,
            flags: NLM_F_DUMP,
            answer: number,
            body: bytemuck::bytes_of(&GET_MODES),
        };
        let dumped = socket.try_dump(&request, 1, |step| {
            if let Step::Item(payload) = step {
                modes.extend(Mode::parse(payload)?);
            }
            Ok(())
        });
        modes.sort_unstable_by_key(|mode| mode.index);
        *complete = dumped?;
        Ok(())
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

impl Socket {
    /// The number of the family `ethtool`.
    fn ethtool(&mut self) -> Result<u16, Error> {
        let request = Request {
            name: "CTRL_CMD_GETFAMILY",
            kind: CONTROL,
            flags: NLM_F_ACK,
            answer: CONTROL,
            body: bytemuck::bytes_of(&GET_FAMILY),
        };
        let mut number = None;
        self.dump(&request, |step| {
            if let Step::Item(payload) = step {
                let (_, attributes) = wire::split::<Head>(payload, "a family is cut short")?;
                for attribute in Attributes(attributes) {
                    if let (A_FAMILY_ID, value) = attribute? {
                        number = Some(wire::number(value, "a family's number is cut short")?);
                    }
                }
            }
            Ok(())
        })?;
        number.ok_or_else(absent)
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
