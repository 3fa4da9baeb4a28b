//! Attributes that stay open between scrapes.
//!
//! Opening an attribute of sysfs, reading and closing it takes five times as long as reading it
//! again at offset 0, where the kernel makes its value anew. But a kept attribute holds a
//! descriptor and a buffer of a page in the kernel (`seq_read_iter()`), so that their number is
//! limited by a [`Budget`]. Those that come first stay: where every scrape reads more than fits, a
//! cache of the last ones would never have the next one. An attribute or directory that was not
//! read between two listings is closed at the second.
//!
//! A kept attribute is never one of a device that is gone:
//!
//! - A directory is kept with its descriptor, so that its inode cannot become another's. At every
//!   scrape the inode is compared with that in the listing of the directory above or, where that is
//!   not listed or has a link, with the path's inode, which is asked for. A listing does not tell
//!   that another file system is mounted upon a directory: the path is asked once in
//!   [`SETTINGS_EVERY`] scrapes all the same.
//! - An attribute that sysfs has removed refuses to be read (`ENODEV`), and is opened anew.
//! - Elsewhere (a folder of files) a removed file can still be read, but its directory's time of
//!   modification tells that an entry came or went. That time is coarse, so that nothing is kept
//!   of a directory that has changed in the last second. The times of sysfs do not tell anything
//!   (`kernfs_add_one()` changes them only where somebody has set one), and are not asked for.
//!
//! Of a setting (a label, a limit, a place in the topology) the value is kept in place of the
//! descriptor, for [`SETTINGS_EVERY`] scrapes at most and while its directory is the same. Nothing
//! of it remains in the kernel, and it is not in the budget. That a device lacks an attribute and
//! the list of a directory's names are kept in the same way. Where an attribute has gone, all of
//! these are asked for again in the next scrape, and so is a setting that is malformed.

mod budget;
mod dir;
mod row;

pub use budget::Budget;
pub use dir::SETTINGS_EVERY;

use super::{
    attribute::{Bytes, read_page},
    identity,
    names::Names,
    open,
};
use dir::Kept;
use hashbrown::HashMap;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, FileType, OFlags},
    io::Errno,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The directories and attributes below one folder that are kept.
#[derive(Debug)]
pub(super) struct Pool {
    budget: Budget,
    /// The number of the scrape, or rather of the folder's listing.
    scrape: u64,
    /// By device and inode.
    dirs: Mutex<HashMap<(u64, u64), Arc<Kept>>>,
    /// Room for a listing.
    room: Mutex<Names>,
}

/// A directory that is open, and kept where it is in a [`Pool`].
#[derive(Debug)]
pub(super) enum Handle {
    Own(OwnedFd),
    Kept(Arc<Kept>),
}

impl Pool {
    pub(super) fn new(budget: Budget) -> Self {
        Self { budget, scrape: 0, dirs: Mutex::default(), room: Mutex::default() }
    }

    /// Begins a scrape: closes directories and attributes that the last one has not used.
    pub(super) fn begin(&mut self) {
        let last = self.scrape;
        self.scrape += 1;
        let dirs = self.dirs.get_mut().unwrap_or_else(PoisonError::into_inner);
        dirs.retain(|_, dir| dir.close_unused(last));
    }

    /// The folder itself, which has just been opened.
    pub(super) fn folder(&self, fd: OwnedFd) -> Result<Arc<Kept>, Errno> {
        Kept::new(fd, self.budget.clone(), None, self.scrape).map(Arc::new)
    }

    /// Uses the folder itself in a scrape.
    pub(super) fn check(&self, folder: &Handle) -> Result<(), Errno> {
        let Handle::Kept(folder) = folder else { return Ok(()) };
        folder.close_unused(self.scrape - 1);
        folder.again(self.scrape)
    }

    /// Opens the directory of that name in `at`, or finds it open. `listed` is the inode of the
    /// directory in a listing of this scrape.
    pub(super) fn dir(
        &self,
        at: &Handle,
        name: &[u8],
        listed: Option<u64>,
    ) -> Result<Handle, Errno> {
        if let (Some(inode), Handle::Kept(above)) = (listed, at)
            && let Some(dir) = lock(&self.dirs).get(&(above.identity().key.0, inode))
            && dir.is_listed(self.scrape)?
        {
            return Ok(Handle::Kept(Arc::clone(dir)));
        }
        self.dir_at(at.as_fd(), name)
    }

    /// Opens the directory at that path below `at`, or finds it open.
    pub(super) fn dir_at(&self, at: BorrowedFd<'_>, path: &[u8]) -> Result<Handle, Errno> {
        let stat = rustix::fs::statat(at, path, AtFlags::empty())?;
        if !FileType::from_raw_mode(stat.st_mode).is_dir() {
            return Err(Errno::NOTDIR);
        }
        let mut dirs = lock(&self.dirs);
        if let Some(dir) = dirs.get(&identity::key(&stat)) {
            dir.found(&stat, self.scrape);
            return Ok(Handle::Kept(Arc::clone(dir)));
        }
        let fd = open(at, path, OFlags::PATH | OFlags::DIRECTORY)?;
        let Some(share) = self.budget.take(&fd) else { return Ok(Handle::Own(fd)) };
        // Perhaps it is another directory by now.
        let dir = Arc::new(Kept::new(fd, self.budget.clone(), Some(share), self.scrape)?);
        dirs.insert(dir.identity().key, Arc::clone(&dir));
        Ok(Handle::Kept(dir))
    }

    /// Puts the names in the directory into `names`, as they are or were within the last
    /// [`SETTINGS_EVERY`] scrapes. While the names are the same, so is the [`Arc`].
    pub(super) fn names(&self, dir: &Kept, names: &mut Arc<Names>) -> Result<(), Errno> {
        dir.names(names, &mut lock(&self.room))
    }
}

impl Handle {
    /// Reads the attribute of that name into `room`.
    pub(super) fn read(&self, name: &[u8], room: &mut Bytes) -> Result<(), Errno> {
        match self {
            Self::Own(fd) => read_page(&open(fd, name, OFlags::empty())?, room),
            Self::Kept(dir) => dir.read(name, room),
        }
    }

    /// Puts the setting of that name into `room`, as it is or was within the last
    /// [`SETTINGS_EVERY`] scrapes.
    pub(super) fn setting(&self, name: &[u8], room: &mut Bytes) -> Result<(), Errno> {
        match self {
            Self::Own(_) => self.read(name, room),
            Self::Kept(dir) => dir.setting(name, room),
        }
    }

    /// Has the setting of that name read anew next time.
    pub(super) fn forget_setting(&self, name: &[u8]) {
        if let Self::Kept(dir) = self {
            dir.forget_setting(name);
        }
    }
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Own(fd) => fd.as_fd(),
            Self::Kept(dir) => dir.fd(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
