//! Generic netlink: the numbers of its families, and the head of its messages
//! (`include/uapi/linux/genetlink.h`).

use bytemuck::{Pod, Zeroable};
use netlink_packet_core::NLM_F_DUMP;

use super::{
    Error, Request, Socket, Step,
    wire::{self, Attributes, BadMessage},
};

/// `GENL_ID_CTRL`.
const CONTROL: u16 = 0x10;
/// `CTRL_CMD_GETFAMILY`.
const GETFAMILY: u8 = 3;
const A_FAMILY_ID: u16 = 1;
const A_FAMILY_NAME: u16 = 2;

/// Says of an attribute that others are in it; the kernel wants it said.
pub(super) const NLA_F_NESTED: u16 = 0x8000;

/// `struct genlmsghdr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(super) struct Head {
    command: u8,
    version: u8,
    reserved: u16,
}

impl Head {
    /// The head of a request for this command.
    pub(super) const fn new(command: u8) -> Self {
        Self { command, version: 1, reserved: 0 }
    }
}

/// The attributes of a message.
pub(super) fn attributes<'a>(
    payload: &'a [u8],
    what: &'static str,
) -> Result<Attributes<'a>, BadMessage> {
    Ok(Attributes(wire::split::<Head>(payload, what)?.1))
}

impl Socket {
    /// The number that the kernel gave the family of that name; `None` where it has no such family.
    ///
    /// All families are listed: to ask for one by its name would make the kernel load its module.
    pub(super) fn family(&mut self, name: &[u8]) -> Result<Option<u16>, Error> {
        let head = Head::new(GETFAMILY);
        let request = Request {
            name: "CTRL_CMD_GETFAMILY",
            kind: CONTROL,
            flags: NLM_F_DUMP,
            answer: CONTROL,
            body: bytemuck::bytes_of(&head),
        };
        let mut found = None;
        self.dump(&request, |step| {
            match step {
                Step::Start => found = None,
                Step::Item(payload) => found = number_of(name, payload)?.or(found),
            }
            Ok(())
        })?;
        Ok(found)
    }
}

/// The number of the family that the message describes, where that is its name.
fn number_of(name: &[u8], payload: &[u8]) -> Result<Option<u16>, BadMessage> {
    let (mut number, mut is_named) = (None, false);
    for attribute in attributes(payload, "a family is cut short")? {
        match attribute? {
            (A_FAMILY_ID, value) => {
                number = Some(wire::number(value, "a family's number is cut short")?);
            }
            (A_FAMILY_NAME, value) => is_named = wire::text(value) == name,
            _ => {}
        }
    }
    Ok(number.filter(|_| is_named))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::netlink::{Protocol, wire::tests::attribute};

    #[test]
    fn a_family_is_known_by_its_name() {
        let mut bytes = bytemuck::bytes_of(&Head::new(1)).to_vec();
        bytes.extend(attribute(A_FAMILY_NAME, b"nl80211\0"));
        bytes.extend(attribute(A_FAMILY_ID, &[7, 0]));
        assert_eq!(number_of(b"nl80211", &bytes), Ok(Some(u16::from_ne_bytes([7, 0]))));
        assert_eq!(number_of(b"nl802", &bytes), Ok(None));
        for length in 0..bytes.len() - 2 {
            assert_ne!(number_of(b"nl80211", &bytes[..length]), Ok(Some(7)), "{length}");
        }
    }

    #[test]
    fn the_kernel_lists_its_families() {
        let mut socket = Socket::new(Protocol::Generic);
        assert_eq!(socket.family(b"nlctrl").unwrap(), Some(CONTROL));
        assert_eq!(socket.family(b"no such family").unwrap(), None);
    }
}
