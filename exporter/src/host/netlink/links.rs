//! The links of a network namespace, dumped whole, once a scrape for all collectors.

use std::{cmp::Reverse, sync::Arc};

use bytemuck::Zeroable as _;
use libc::{RTM_GETLINK, RTM_NEWLINK};

use netlink_packet_core::NLM_F_DUMP;

use super::{Error, Link, Request, Socket, Step, link::IfInfo, wire::BadMessage};
use crate::host::shared::Shared;

/// The most dumps that are taken where links come and go meanwhile.
const TRIES: u32 = 3;

/// The links of a network namespace; a table to be reused.
#[derive(Clone, Debug, Default)]
pub struct Links {
    /// The first `used` are of the last dumps, the others keep their buffers for the next.
    slots: Vec<Link>,
    used: usize,
    /// The first slot of the last dump.
    begin: usize,
    /// Index and slot of each link, in that order.
    by_index: Vec<(u32, Reverse<usize>)>,
    /// The slots in the order of the links' names.
    by_name: Vec<usize>,
}

impl Links {
    /// An empty table.
    #[must_use]
    pub const fn new() -> Self {
        Self { slots: Vec::new(), used: 0, begin: 0, by_index: Vec::new(), by_name: Vec::new() }
    }

    /// All links, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Link> {
        self.by_name.iter().filter_map(|&slot| self.slots.get(slot))
    }

    /// The link that [`Links::iter`] gives after `n` others.
    #[must_use]
    pub fn nth(&self, n: usize) -> Option<&Link> {
        self.slots.get(*self.by_name.get(n)?)
    }

    /// The link with this index.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&Link> {
        let place = self.by_index.binary_search_by_key(&index, |&(index, _)| index).ok()?;
        self.by_index.get(place).and_then(|&(_, Reverse(slot))| self.slots.get(slot))
    }

    /// The number of links.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there are no links.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    fn clear(&mut self) {
        self.used = 0;
        self.begin = 0;
        self.by_index.clear();
        self.by_name.clear();
    }

    fn push(&mut self, payload: &[u8]) -> Result<(), BadMessage> {
        if self.used == self.slots.len() {
            self.slots.push(Link::default());
        }
        if let Some(link) = self.slots.get_mut(self.used) {
            link.read(payload)?;
            self.used += 1;
        }
        Ok(())
    }

    /// Puts the links in order: those of the last dump, where it is `consistent`; else those of all
    /// dumps, each as it was seen last. A link missed by one dump is found in another.
    fn finish(&mut self, consistent: bool) {
        let Self { slots, used, begin, by_index, by_name } = self;
        let begin = if consistent { *begin } else { 0 };
        by_index.clear();
        let links = slots.iter().enumerate().take(*used).skip(begin);
        by_index.extend(links.map(|(slot, link)| (link.index, Reverse(slot))));
        by_index.sort_unstable();
        by_index.dedup_by_key(|&mut (index, _)| index);

        // Mostly no link has come or gone, and the order of the last time is right again.
        let same = begin == 0
            && by_index.len() == *used
            && by_name.len() == *used
            && by_name.iter().all(|slot| slot < used);
        if !same {
            by_name.clear();
            by_name.extend(by_index.iter().map(|&(_, Reverse(slot))| slot));
        }
        let key = |&slot: &usize| (slots.get(slot).map(|link| &link.name), Reverse(slot));
        by_name.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
        // A name may have passed from one link to another between two dumps.
        by_name.dedup_by(|b, a| key(a).0 == key(b).0);
    }
}

impl Socket {
    /// Fills `links` with the links of the namespace and their counters.
    ///
    /// Where links come and go during each of a few dumps, the table has the links of all of them:
    /// those that were there all the time, and perhaps some that have just gone.
    ///
    /// # Errors
    ///
    /// After an error the table is empty.
    pub fn links(&mut self, links: &mut Links) -> Result<(), Error> {
        let body = IfInfo::zeroed();
        let request = Request {
            name: "RTM_GETLINK",
            kind: RTM_GETLINK,
            flags: NLM_F_DUMP,
            answer: RTM_NEWLINK,
            body: bytemuck::bytes_of(&body),
        };
        links.used = 0;
        let result = self.try_dump(&request, TRIES, |step| match step {
            Step::Start => {
                links.begin = links.used;
                Ok(())
            }
            Step::Item(payload) => links.push(payload),
        });
        match &result {
            Ok(consistent) => links.finish(*consistent),
            Err(_) => links.clear(),
        }
        result.map(drop)
    }
}

/// A dump of the links, and the socket for it.
#[derive(Debug, Default)]
pub struct LinkDump {
    socket: Socket,
    links: Arc<Links>,
}

impl LinkDump {
    fn refresh(&mut self) -> Result<(), Error> {
        // A collector that is late may still read the last one.
        let links = match Arc::get_mut(&mut self.links) {
            Some(links) => links,
            None => {
                self.links = Arc::default();
                Arc::make_mut(&mut self.links)
            }
        };
        self.socket.links(links)
    }
}

impl Shared<LinkDump> {
    /// The links as they were dumped in this scrape; to be dropped at its end.
    ///
    /// # Errors
    /// As [`Socket::links`].
    pub fn get(&self, scrape: u64) -> crate::error::Result<Arc<Links>> {
        self.with(scrape, |dump| Ok(dump.refresh()?), |dump| Ok(Arc::clone(&dump.links)))
    }

    /// The links as they are at this call.
    ///
    /// # Errors
    /// As [`Socket::links`].
    pub fn get_anew(&self) -> crate::error::Result<Arc<Links>> {
        self.anew(|dump| Ok(dump.refresh()?), |dump| Ok(Arc::clone(&dump.links)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::netlink::link::tests::message;
    use libc::IFLA_IFNAME;

    fn push(links: &mut Links, dump: &[(i32, &str)]) {
        links.begin = links.used;
        for (index, name) in dump {
            links.push(&message(*index, &[(IFLA_IFNAME, name.as_bytes())])).unwrap();
        }
    }

    fn names(links: &Links) -> Vec<(u32, &str)> {
        links.iter().map(|link| (link.index, std::str::from_utf8(&link.name).unwrap())).collect()
    }

    #[test]
    fn the_table_is_reused_searched_and_in_order() {
        let mut links = Links::new();
        for dump in [
            &[(9, "b"), (3, "c"), (5, "a")][..],
            &[(9, "b"), (3, "c"), (5, "a")],
            &[(9, "b"), (3, "a"), (5, "c")],
            &[(4, "x"), (1, "y")],
            &[(1, "d"), (2, "c"), (3, "b"), (4, "a")],
            &[],
            &[(1, "lo")],
        ] {
            links.used = 0;
            push(&mut links, dump);
            links.finish(true);
            let mut want: Vec<_> =
                dump.iter().map(|&(index, name)| (index.cast_unsigned(), name)).collect();
            want.sort_by_key(|&(_, name)| name);
            assert_eq!(names(&links), want);
            for (index, name) in want {
                assert_eq!(links.get(index).map(|link| &*link.name), Some(name.as_bytes()));
            }
            assert!(links.get(99).is_none());
        }
        links.clear();
        assert!(links.is_empty() && links.get(1).is_none() && links.iter().next().is_none());
    }

    #[test]
    fn a_consistent_dump_stands_alone_and_others_add_up() {
        let interrupted = |links: &mut Links| {
            links.used = 0;
            push(links, &[(1, "lo"), (2, "a"), (3, "gone"), (5, "was")]);
            push(links, &[(1, "lo"), (4, "new"), (5, "is"), (6, "gone")]);
        };
        let mut links = Links::new();
        interrupted(&mut links);
        push(&mut links, &[(1, "lo"), (2, "a")]);
        links.finish(true);
        assert_eq!(names(&links), [(2, "a"), (1, "lo")]);
        assert!(links.get(4).is_none());
        interrupted(&mut links);
        links.finish(false);
        assert_eq!(names(&links), [(2, "a"), (6, "gone"), (5, "is"), (1, "lo"), (4, "new")]);
    }

    #[test]
    fn this_machine_has_a_loopback_and_is_asked_once_a_scrape() {
        let shared = Shared::new(LinkDump::default());
        let first = shared.get(1).unwrap();
        assert!(first.iter().any(|link| link.name == b"lo"));
        assert!(Arc::ptr_eq(&first, &shared.get(1).unwrap()));
        assert!(!Arc::ptr_eq(&first, &shared.get(2).unwrap()), "the first table is still read");
        drop(first);
        let second = Arc::as_ptr(&shared.get(2).unwrap());
        assert_eq!(second, Arc::as_ptr(&shared.get(3).unwrap()), "the buffers are reused");
    }
}
