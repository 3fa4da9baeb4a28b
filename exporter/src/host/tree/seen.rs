//! Whether a directory's entries are still the same.

use super::Entry;

/// The inodes of a directory's entries: where these are as before, the entries are the same.
#[derive(Default)]
pub struct Seen(Vec<u64>);

impl Seen {
    /// Whether `entries` differ from those of the last call.
    pub fn changed<'a>(&mut self, entries: impl Iterator<Item = Entry<'a>> + Clone) -> bool {
        let inodes = entries.filter_map(|entry| entry.inode());
        if inodes.clone().eq(self.0.iter().copied()) {
            return false;
        }
        self.0.clear();
        self.0.extend(inodes);
        true
    }

    /// Makes the next call of [`Seen::changed`] say that the entries differ, if there are any.
    pub fn forget(&mut self) {
        self.0.clear();
    }
}
