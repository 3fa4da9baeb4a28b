//! Rooted, read-only views of the kernel's file trees.
//!
//! Files read at every scrape stay open and are read again in place; directories are listed
//! again in place; attributes are opened relative to their directory. None of it allocates in
//! a steady scrape.

mod attribute;
mod dir;
mod entry;
mod file;
mod folder;
mod identity;
mod kept;
mod names;
mod seen;
#[cfg(test)]
mod tests;

pub use attribute::{Attribute, Bytes};
pub use dir::Dir;
pub use entry::Entry;
pub use file::{File, SingleFile};
pub use folder::Folder;
pub use kept::{Budget, SETTINGS_EVERY};
pub use names::Names;
pub use seen::Seen;

use crate::error::{Error, Malformed, Result};
use identity::{PROC_SUPER_MAGIC, SYSFS_MAGIC};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{FsWord, Mode, OFlags},
    io::Errno,
};
use std::{
    borrow::Cow,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The path at which a tree is mounted: `--path.procfs` and its like.
#[derive(Clone, Debug)]
pub struct Tree {
    root: Arc<Path>,
    budget: Budget,
}

impl Tree {
    /// The tree below `root`. Nothing is opened yet.
    pub fn new(root: impl AsRef<Path>) -> Self {
        Self { root: root.as_ref().into(), budget: Budget::default() }
    }

    /// The same tree, in whose [`Tree::devices`] attributes stay open within this budget.
    #[must_use]
    pub fn keeping(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// The root of the tree.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the root is that of a procfs.
    #[must_use]
    pub fn is_procfs(&self) -> bool {
        self.is_of(PROC_SUPER_MAGIC)
    }

    /// Whether the root is that of a sysfs.
    #[must_use]
    pub fn is_sysfs(&self) -> bool {
        self.is_of(SYSFS_MAGIC)
    }

    fn is_of(&self, magic: FsWord) -> bool {
        rustix::fs::statfs(self.root()).is_ok_and(|root| root.f_type == magic)
    }

    /// The full path of `path`, which is below the root.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// A file that is read at every scrape: opened at first use, then read again in place.
    #[must_use]
    pub fn file(&self, path: &str) -> File {
        File::new(self.path(path), false)
    }

    /// Such a file whose content the kernel makes in one piece.
    #[must_use]
    pub fn single_file(&self, path: &str) -> SingleFile {
        SingleFile(File::new(self.path(path), true))
    }

    /// A directory that is listed at every scrape.
    #[must_use]
    pub fn folder(&self, path: &str) -> Folder {
        Folder::new(self.path(path), None)
    }

    /// A directory that is listed at every scrape, as are the attributes in it and in the
    /// directories below it, which stay open. Settings among them ([`Dir::setting`]) are read less
    /// often.
    #[must_use]
    pub fn devices(&self, path: &str) -> Folder {
        Folder::new(self.path(path), Some(self.budget.clone()))
    }
}

fn open(at: impl AsFd, path: impl rustix::path::Arg, more: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(at, path, OFlags::RDONLY | OFlags::CLOEXEC | more, Mode::empty())
}

/// Opens a file or directory. One that was absent last time is mostly absent again, and asking
/// whether it exists takes half as long as trying to open it.
fn open_again(path: &Path, was_absent: &mut bool, more: OFlags) -> Result<OwnedFd, Errno> {
    if *was_absent {
        rustix::fs::stat(path)?;
    }
    let opened = open(rustix::fs::CWD, path, more);
    *was_absent = opened.as_ref().is_err_and(|errno| *errno == Errno::NOENT);
    opened
}

/// The text, with U+FFFD for bytes that are not UTF-8. The check of a text that is all UTF-8, as
/// nearly all are, is much faster than the search for such bytes.
fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

fn text<'a>(bytes: &'a [u8], path: &Path) -> Result<&'a str> {
    std::str::from_utf8(bytes).map_err(|error| Error::Parse {
        path: path.into(),
        source: Malformed::new(
            "text",
            &String::from_utf8_lossy(bytes.get(error.valid_up_to()..).unwrap_or_default()),
        ),
    })
}
