//! The names in a directory.

use rustix::{fd::AsFd, fs::RawDir, io::Errno};
use std::mem::MaybeUninit;

/// Room for the names in a directory, kept between scrapes.
#[derive(Debug, Default)]
pub struct Names {
    /// All names in a row, in the order the kernel gave them.
    bytes: Vec<u8>,
    /// Start and end of each name in `bytes`, in alphabetical order of the names.
    ends: Vec<(u32, u32)>,
}

impl Names {
    /// Lists the directory that is open.
    pub(super) fn fill(&mut self, fd: impl AsFd) -> Result<(), Errno> {
        let Self { bytes, ends } = self;
        bytes.clear();
        ends.clear();
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut entries = RawDir::new(fd, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let (Ok(begin), Ok(len)) = (u32::try_from(bytes.len()), u32::try_from(name.len()))
            else {
                break; // 4 GiB of names
            };
            bytes.extend_from_slice(name);
            ends.push((begin, begin + len));
        }
        let name = |&(begin, end): &(u32, u32)| bytes.get(begin as usize..end as usize);
        ends.sort_unstable_by(|a, b| name(a).cmp(&name(b)));
        Ok(())
    }

    /// Whether there is no name.
    pub(super) const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.ends.iter().filter_map(|&(begin, end)| self.bytes.get(begin as usize..end as usize))
    }
}
