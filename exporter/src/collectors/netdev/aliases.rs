//! `/sys/class/net/<name>/ifalias`.

use crate::{exposition::Label as _, prelude::*};

/// The names that administrators give interfaces, from `/sys/class/net/<name>/ifalias`.
pub(super) struct Files {
    folder: Folder,
    names: Vec<u8>,
    texts: String,
    /// The ends of each name and of its text, in the order of the names.
    ends: Vec<(usize, usize)>,
}

impl Files {
    pub(super) fn new(host: &Host) -> Self {
        let folder = host.sys.folder("class/net");
        Self { folder, names: Vec::new(), texts: String::new(), ends: Vec::new() }
    }

    pub(super) fn refresh(&mut self) -> Result {
        let Self { folder, names, texts, ends } = self;
        names.clear();
        texts.clear();
        ends.clear();
        for entry in folder.list()? {
            let Some(dir) = entry.dir().unless_unreadable()? else { continue }; // bonding_masters
            names.extend_from_slice(entry.bytes());
            match dir.bytes("ifalias") {
                // An alias may have any bytes.
                Ok(alias) => alias.as_deref().unwrap_or_default().trim_ascii().append(texts),
                // An unreadable alias must not cost the counters.
                Err(error) => tracing::debug!(%error, "no ifalias"),
            }
            ends.push((names.len(), texts.len()));
        }
        Ok(())
    }

    /// The alias of the interface, empty where it has no alias; `None` where sysfs does not have
    /// the interface.
    pub(super) fn get(&self, name: &[u8]) -> Option<&str> {
        let begin =
            |i: usize| i.checked_sub(1).and_then(|i| self.ends.get(i)).copied().unwrap_or_default();
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = low.midpoint(high);
            let ((name_begin, text_begin), &(name_end, text_end)) =
                (begin(middle), self.ends.get(middle)?);
            match self.names.get(name_begin..name_end)?.cmp(name) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return self.texts.get(text_begin..text_end),
            }
        }
        None
    }
}

/// An alias in the form in which its file is read: without space around it, empty where it is not
/// UTF-8.
pub(super) fn text(alias: &[u8]) -> &str {
    std::str::from_utf8(alias.trim_ascii()).unwrap_or_default()
}
