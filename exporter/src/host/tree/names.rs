//! The names in a directory.

use rustix::{
    fd::AsFd,
    fs::{FileType, RawDir},
    io::Errno,
};
use std::mem::MaybeUninit;

/// Room for the names in a directory, kept between scrapes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Names {
    /// All names in a row, in the order the kernel gave them.
    bytes: Vec<u8>,
    /// In alphabetical order.
    names: Vec<Name>,
}

/// One name: its start and end in [`Names::bytes`].
#[derive(Clone, Debug, PartialEq)]
struct Name {
    begin: u32,
    end: u32,
    /// The inode of a directory. A link may lead to another directory at any time.
    inode: Option<u64>,
}

impl Names {
    /// Lists the directory that is open.
    pub(super) fn fill(&mut self, fd: impl AsFd) -> Result<(), Errno> {
        let Self { bytes, names } = self;
        bytes.clear();
        names.clear();
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
            let inode = (entry.file_type() == FileType::Directory).then(|| entry.ino());
            names.push(Name { begin, end: begin + len, inode });
        }
        names.sort_unstable_by(|a, b| a.of(bytes).cmp(b.of(bytes)));
        Ok(())
    }

    /// Whether there is no name.
    pub(super) const fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Each name, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.names.iter().map(|name| name.of(&self.bytes))
    }

    /// Each name, with its inode where it is a directory.
    pub(super) fn with_inodes(&self) -> impl Iterator<Item = (&[u8], Option<u64>)> + Clone {
        self.names.iter().map(|name| (name.of(&self.bytes), name.inode))
    }
}

impl Name {
    fn of<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.begin as usize..self.end as usize).unwrap_or_default()
    }
}
