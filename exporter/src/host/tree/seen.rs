//! Whether a directory's entries are still the same.

use super::{Entry, identity::is_settled};

/// The directories that are a directory's entries: where each is as before, with the same entries,
/// the files in them are the same.
#[derive(Default)]
pub struct Seen {
    stamps: Vec<Stamp>,
    /// Whether a change after the last call would have changed a stamp.
    is_settled: bool,
}

/// A directory's inode, and when its entries last came or went, in nanoseconds since 1970.
pub(super) type Stamp = (u64, i128);

impl Seen {
    /// Whether `entries` differ from those of the last call.
    pub fn changed<'a>(&mut self, entries: impl Iterator<Item = Entry<'a>> + Clone) -> bool {
        let stamps = entries.filter_map(|entry| entry.stamp());
        if self.is_settled && stamps.clone().eq(self.stamps.iter().copied()) {
            return false;
        }
        self.stamps.clear();
        self.stamps.extend(stamps);
        self.is_settled = self.stamps.iter().all(|&(_, changed)| is_settled(changed));
        true
    }

    /// Makes the next call of [`Seen::changed`] say that the entries differ.
    pub const fn forget(&mut self) {
        self.is_settled = false;
    }
}
