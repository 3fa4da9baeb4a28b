//! Attributes of interfaces that netlink does not carry, from `/sys/class/net/<name>`.
//!
//! Reading `addr_assign_type`, `dev_id` and `name_assign_type` takes no contended lock, but costs
//! more than the whole netlink dump. The values change only with an address or a name, and the
//! kernel notifies of such changes: the files are read again only after a notification, or where
//! the interface's name or address differs from the last scrape's.

use super::{
    Wanted,
    sysfs::{number, text},
};
use crate::{
    host::{
        netlink::{Change, HardwareAddress, Link, Links, Watch},
        tree::{Attribute, Dir},
    },
    prelude::*,
};

/// The numbers in the files.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Files {
    pub(super) address_assign_type: Option<f64>,
    pub(super) device_id: Option<f64>,
    pub(super) name_assign_type: Option<f64>,
}

impl Files {
    fn read(dir: &Dir<'_>) -> Self {
        let number = |file| number(dir, file).ok().flatten();
        Self {
            address_assign_type: number("addr_assign_type"),
            device_id: number("dev_id"),
            name_assign_type: number("name_assign_type"),
        }
    }
}

/// An interface and its files as they were last read.
struct Known {
    index: u32,
    name: Vec<u8>,
    address: HardwareAddress,
    /// `None` after a change.
    files: Option<Files>,
    /// Whether the interface was seen in this scrape.
    seen: bool,
}

pub(super) struct Kept {
    folder: Folder,
    /// Notifies of changes; without notifications, nothing is kept.
    watch: Option<Watch>,
    /// Sorted by index.
    known: Vec<Known>,
}

impl Kept {
    pub(super) fn new(host: &Host) -> Self {
        let watch = Watch::open()
            .inspect_err(|error| tracing::debug!(%error, "changes of links are not told"))
            .ok();
        Self { folder: host.sys.folder("class/net"), watch, known: Vec::new() }
    }

    /// Reads the files of the interfaces that have changed, and forgets the interfaces that are
    /// gone.
    pub(super) fn refresh(&mut self, links: &Links, wanted: &Wanted) {
        let Self { folder, watch, known } = self;
        for known in &mut *known {
            known.seen = false;
        }
        match watch {
            Some(watch) => watch.changes(|change| forget(known, change)),
            None => forget(known, Change::Any),
        }
        let mut net = None;
        let sorted = known.len();
        for link in links.iter().filter(|link| wanted.keeps(&link.name)) {
            let place = known.get(..sorted).and_then(|known| {
                known.binary_search_by_key(&link.index, |known| known.index).ok()
            });
            let slot = if let Some(slot) = place.and_then(|place| known.get_mut(place)) {
                slot
            } else {
                known.push(Known {
                    index: link.index,
                    name: Vec::new(),
                    address: HardwareAddress::default(),
                    files: None,
                    seen: false,
                });
                let Some(slot) = known.last_mut() else { continue };
                slot
            };
            if slot.files.is_none() || slot.name != link.name || slot.address != link.address {
                let net = net.get_or_insert_with(|| folder.dir().ok().flatten());
                slot.files = net.as_ref().and_then(|net| {
                    let dir = net.entry(&link.name).dir().ok().flatten()?;
                    Some(Files::read(&dir))
                });
                slot.name.clone_from(&link.name);
                slot.address = link.address;
            }
            slot.seen = slot.files.is_some();
        }
        known.retain(|known| known.seen);
        known.sort_unstable_by_key(|known| known.index);
    }

    pub(super) fn get(&self, index: u32) -> Option<Files> {
        let place = self.known.binary_search_by_key(&index, |known| known.index).ok()?;
        self.known.get(place)?.files
    }
}

fn forget(known: &mut [Known], change: Change) {
    match change {
        Change::Any => known.iter_mut().for_each(|known| known.files = None),
        Change::Link(index) => {
            if let Ok(place) = known.binary_search_by_key(&index, |known| known.index)
                && let Some(known) = known.get_mut(place)
            {
                known.files = None;
            }
        }
    }
}

/// Files that are read at every scrape, on kernels whose netlink messages lack their values.
pub(super) struct Rest<'a>(Option<Dir<'a>>);

impl Kept {
    /// The folder of all interfaces.
    pub(super) fn rest(&self) -> Rest<'_> {
        Rest(self.folder.dir().ok().flatten())
    }
}

impl Rest<'_> {
    fn read<T>(&self, link: &Link, read: impl FnOnce(&Dir<'_>) -> Option<T>) -> Option<T> {
        read(&self.0.as_ref()?.entry(&link.name).dir().ok()??)
    }

    pub(super) fn text(&self, link: &Link, file: &str) -> Option<Attribute> {
        self.read(link, |dir| text(dir, file))
    }

    pub(super) fn number(&self, link: &Link, file: &str) -> Option<f64> {
        self.read(link, |dir| number(dir, file).ok().flatten())
    }
}
