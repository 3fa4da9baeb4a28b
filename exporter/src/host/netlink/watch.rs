//! Changes of links, as the kernel notifies of them in `RTNLGRP_LINK`.

use std::io;

use libc::{RTM_DELLINK, RTM_NEWLINK, RTNLGRP_LINK};

use super::{
    Error, Protocol, connect,
    link::IfInfo,
    wire::{self, Header},
};

/// The most changes that are looked at one by one.
const MANY: usize = 4096;

/// A change since the last look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// The link with this index has changed, is new, or is gone.
    Link(u32),
    /// More changes than the kernel or [`Watch::changes`] keeps count of: any link may have changed.
    Any,
}

/// A subscription to changes of links, in the network namespace of the thread that made it.
#[derive(Debug)]
pub struct Watch(netlink_sys::Socket);

impl Watch {
    /// Subscribes.
    pub fn open() -> Result<Self, Error> {
        let call = |call| move |source| Error::Call { call, source };
        let socket = connect(Protocol::Route)?;
        socket.add_membership(RTNLGRP_LINK).map_err(call("setsockopt NETLINK_ADD_MEMBERSHIP"))?;
        socket.set_non_blocking(true).map_err(call("ioctl FIONBIO"))?;
        Ok(Self(socket))
    }

    /// Gives `each` the changes since the last call, some of them more than once.
    pub fn changes(&self, each: impl FnMut(Change)) {
        drain(|mut start| self.0.recv(&mut start, 0), each);
    }
}

/// Gives `each` the changes in the messages that `receive` writes, until there is no more.
fn drain(mut receive: impl FnMut(&mut [u8]) -> io::Result<usize>, mut each: impl FnMut(Change)) {
    // The index is at the start of a message, whose rest is cut off.
    let mut start = [0_u8; size_of::<Header>() + size_of::<IfInfo>()];
    for _ in 0..MANY {
        match receive(&mut start) {
            Ok(len) => {
                if let Some(index) = start.get(..len).and_then(index) {
                    each(Change::Link(index));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // ENOBUFS: the kernel had to drop some changes.
            Err(_) => each(Change::Any),
        }
    }
    each(Change::Any);
}

fn index(message: &[u8]) -> Option<u32> {
    let (header, rest) = wire::split::<Header>(message, "").ok()?;
    let (link, _) = wire::split::<IfInfo>(rest, "").ok()?;
    let told = matches!(header.kind, RTM_NEWLINK | RTM_DELLINK);
    told.then_some(link.index.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::netlink::link::tests::message;

    #[test]
    fn the_link_is_at_the_start_of_a_message() {
        let told = |kind| {
            let mut bytes = Vec::new();
            wire::request(kind, 0, 0, &message(7, &[]), &mut bytes);
            index(&bytes)
        };
        assert_eq!(told(RTM_NEWLINK), Some(7));
        assert_eq!(told(RTM_DELLINK), Some(7));
        assert_eq!(told(libc::RTM_NEWADDR), None);
        assert_eq!(index(&[0; 31]), None);
    }

    /// The changes that are told where these messages and errors come one after the other.
    fn told(mut coming: Vec<Result<Vec<u8>, i32>>) -> Vec<Change> {
        coming.reverse();
        let mut changes = Vec::new();
        let receive = |start: &mut [u8]| {
            let bytes = coming.pop().unwrap_or(Err(libc::EAGAIN));
            let bytes = bytes.map_err(io::Error::from_raw_os_error)?;
            let len = bytes.len().min(start.len()); // as recv(2) cuts off
            start[..len].copy_from_slice(&bytes[..len]);
            Ok(len)
        };
        drain(receive, |change| changes.push(change));
        changes
    }

    fn link(kind: u16, index: i32) -> Vec<u8> {
        let mut bytes = Vec::new();
        wire::request(kind, 0, 0, &message(index, &[]), &mut bytes);
        bytes
    }

    #[test]
    fn changes_are_told_until_no_message_is_left() {
        use Change::{Any, Link};
        let coming = vec![
            Ok(link(RTM_NEWLINK, 3)),
            Err(libc::EINTR),
            Ok(link(libc::RTM_NEWADDR, 4)),
            Ok(link(RTM_DELLINK, 5)),
            Ok(link(RTM_NEWLINK, 6)[..20].to_vec()), // too short for an index
            Err(libc::ENOBUFS),
            Ok(link(RTM_NEWLINK, 7)),
            Err(libc::EAGAIN),
            Ok(link(RTM_NEWLINK, 8)),
        ];
        assert_eq!(told(coming), [Link(3), Link(5), Any, Link(7)]);
        assert_eq!(told(Vec::new()), []);
    }

    #[test]
    fn too_many_changes_become_any() {
        let told = told(vec![Ok(link(RTM_NEWLINK, 3)); MANY + 1]);
        assert_eq!((told.len(), told.last()), (MANY + 1, Some(&Change::Any)));
    }

    #[test]
    fn the_kernel_lets_a_subscription_wait() {
        let mut told = Vec::new();
        Watch::open().unwrap().changes(|change| told.push(change));
        assert!(!told.contains(&Change::Any), "{told:?}"); // links may change while tests run
    }
}
