//! The layout of netlink messages and attributes in memory; no sockets here.
//!
//! The structures are those of include/uapi/linux/netlink.h and rtnetlink.h, in the
//! byte order of the machine.

use bytemuck::{Pod, Zeroable};

/// The fault of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct BadMessage(pub(super) &'static str);

/// `struct nlmsghdr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(super) struct Header {
    length: u32,
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    port: u32,
}

/// `struct nlattr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct AttributeHeader {
    length: u16,
    kind: u16,
}

/// Bits of an attribute's type that are not its number: `NLA_F_NESTED`,
/// `NLA_F_NET_BYTEORDER`.
const FLAGS: u16 = 0xc000;

/// Writes a request into `message`.
pub(super) fn request(kind: u16, flags: u16, sequence: u32, body: &[u8], message: &mut Vec<u8>) {
    let length = size_of::<Header>() + body.len();
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    message.clear();
    message.extend(bytemuck::bytes_of(&Header { length, kind, flags, sequence, port: 0 }));
    message.extend(body);
}

/// The structure at the start of `bytes`, and the bytes after it.
pub(super) fn split<'a, T: Pod>(
    bytes: &'a [u8],
    what: &'static str,
) -> Result<(T, &'a [u8]), BadMessage> {
    let (head, rest) = bytes.split_at_checked(size_of::<T>()).ok_or(BadMessage(what))?;
    let head = bytemuck::try_pod_read_unaligned(head).map_err(|_| BadMessage(what))?;
    Ok((head, rest))
}

/// The number in an attribute; longer values are cut, as the kernel does.
pub(super) fn number<T: Pod>(value: &[u8], what: &'static str) -> Result<T, BadMessage> {
    Ok(split(value, what)?.0)
}

/// A text without its closing NUL.
pub(super) fn text(value: &[u8]) -> &[u8] {
    value.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// The error number at the start of `NLMSG_ERROR` and `NLMSG_DONE`; 0 means none.
pub(super) fn errno(payload: &[u8]) -> Result<i32, BadMessage> {
    Ok(number::<i32>(payload, "the error message is cut short")?.saturating_neg())
}

/// The messages in one datagram.
#[derive(Clone)]
pub(super) struct Messages<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Result<(Header, &'a [u8]), BadMessage>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = std::mem::take(&mut self.0);
        if bytes.is_empty() {
            return None;
        }
        let header = match split::<Header>(bytes, "a message's header is cut short") {
            Ok((header, _)) => header,
            Err(error) => return Some(Err(error)),
        };
        let length = usize::try_from(header.length).unwrap_or(usize::MAX);
        let Some(payload) = bytes.get(size_of::<Header>()..length) else {
            return Some(Err(BadMessage("a message is cut short")));
        };
        self.0 = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Ok((header, payload)))
    }
}

/// Attributes, numbered as in the kernel's headers; stops at the first that is broken.
#[derive(Clone)]
pub(super) struct Attributes<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<(u16, &'a [u8]), BadMessage>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = std::mem::take(&mut self.0);
        if bytes.is_empty() {
            return None;
        }
        let header = match split::<AttributeHeader>(bytes, "an attribute's header is cut short") {
            Ok((header, _)) => header,
            Err(error) => return Some(Err(error)),
        };
        let length = usize::from(header.length);
        let Some(value) = bytes.get(size_of::<AttributeHeader>()..length) else {
            return Some(Err(BadMessage("an attribute is cut short")));
        };
        self.0 = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Ok((header.kind & !FLAGS, value)))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An attribute as the kernel writes it, padding included.
    pub(crate) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(size_of::<AttributeHeader>() + value.len()).unwrap();
        let mut bytes = bytemuck::bytes_of(&AttributeHeader { length, kind }).to_vec();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn messages_follow_each_other() {
        let (mut bytes, mut second) = (Vec::new(), Vec::new());
        request(1, 2, 3, b"abcde", &mut bytes);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        request(4, 5, 6, b"", &mut second);
        bytes.extend(second);
        let seen: Vec<_> = Messages(&bytes)
            .map(|message| {
                let (header, payload) = message.unwrap();
                (header.kind, header.flags, header.sequence, payload.to_vec())
            })
            .collect();
        assert_eq!(seen, [(1, 2, 3, b"abcde".to_vec()), (4, 5, 6, vec![])]);
    }

    #[test]
    fn a_message_cut_anywhere_is_an_error() {
        let mut bytes = Vec::new();
        request(1, 2, 3, b"abcdefgh", &mut bytes);
        for length in 1..bytes.len() {
            let seen: Vec<_> = Messages(&bytes[..length]).collect();
            assert_eq!(seen.len(), 1, "{length}");
            assert!(seen[0].is_err(), "{length}");
        }
    }

    #[test]
    fn lengths_below_the_header_end_the_walk() {
        for length in 0..16_u32 {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(Messages(&bytes).filter(Result::is_err).count(), 1);
            assert_eq!(Messages(&bytes).count(), 1);
        }
        for length in 0..4_u16 {
            let mut bytes = [0; 8];
            bytes[..2].copy_from_slice(&length.to_ne_bytes());
            assert!(Attributes(&bytes).all(|attribute| attribute.is_err()));
            assert_eq!(Attributes(&bytes).count(), 1);
        }
    }

    #[test]
    fn attributes_lose_their_flags_and_padding() {
        let mut bytes = attribute(0x8003, b"lo\0");
        bytes.extend(attribute(7, b""));
        let seen: Vec<_> = Attributes(&bytes).collect();
        assert_eq!(seen, [Ok((3, &b"lo\0"[..])), Ok((7, &b""[..]))]);
    }

    #[test]
    fn texts_end_at_the_first_nul() {
        assert_eq!(text(b"eth0\0\0"), b"eth0");
        assert_eq!(text(b"eth0"), b"eth0");
        assert_eq!(text(b""), b"");
    }

    #[test]
    fn the_kernel_writes_errors_negative() {
        assert_eq!(errno(&(-1_i32).to_ne_bytes()), Ok(1));
        assert_eq!(errno(&0_i32.to_ne_bytes()), Ok(0));
        assert_eq!(errno(&i32::MIN.to_ne_bytes()), Ok(i32::MAX));
        assert!(errno(b"abc").is_err());
    }
}
