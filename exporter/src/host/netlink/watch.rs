//! Changes of links, as the kernel notifies of them in `RTNLGRP_LINK`.

use std::io;

use libc::{RTM_DELLINK, RTM_NEWLINK, RTNLGRP_LINK};

use super::{
    Error, Protocol, connect,
    link::IfInfo,
    wire::{self, Header},
};

/// At most so many changes are looked at one by one.
const MANY: usize = 4096;

/// A change since the last look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// Something about the link with this index, or it is new, or gone.
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
    pub fn changes(&self, mut each: impl FnMut(Change)) {
        // The index is at the start; the rest of the message is cut off.
        let mut start = [0_u8; size_of::<Header>() + size_of::<IfInfo>()];
        for _ in 0..MANY {
            match self.0.recv(&mut start.as_mut_slice(), 0) {
                Ok(_) => {
                    if let Some(index) = index(&start) {
                        each(Change::Link(index));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // ENOBUFS: the kernel had to drop some.
                Err(_) => each(Change::Any),
            }
        }
        each(Change::Any);
    }
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

    #[test]
    fn nothing_changes_before_the_subscription() {
        let watch = Watch::open().unwrap();
        watch.changes(|change| assert_ne!(change, Change::Any));
    }
}
