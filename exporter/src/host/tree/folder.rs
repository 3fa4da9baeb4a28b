//! Directories that are listed again and again.

use super::{
    dir::Dir,
    entry::{Entry, Place},
    identity::Identity,
    kept::{Budget, Handle, Pool},
    names::Names,
    open_again,
};
use crate::error::{Error, Result};
use rustix::{
    fs::{OFlags, SeekFrom},
    io::Errno,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// A directory that is listed again and again.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Open once it could be listed.
    at: Option<(Handle, Identity)>,
    was_absent: bool,
    names: Arc<Names>,
    /// The attributes that stay open.
    pool: Option<Box<Pool>>,
}

impl Folder {
    pub(super) fn new(path: PathBuf, kept: Option<Budget>) -> Self {
        let pool = kept.map(|budget| Box::new(Pool::new(budget)));
        Self { path, at: None, was_absent: false, names: Arc::default(), pool }
    }

    /// Where the directory is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The entries as they are now, in alphabetical order.
    ///
    /// # Errors
    /// The directory cannot be opened or listed; see [`Error::is_absent`].
    pub fn list(&mut self) -> Result<impl Iterator<Item = Entry<'_>> + Clone> {
        let filled = self.fill();
        self.listed(filled)?;
        Ok(self.entries(true))
    }

    /// The entries as they are or were within the last
    /// [`SETTINGS_EVERY`](super::SETTINGS_EVERY) scrapes, in alphabetical order, and their names,
    /// which are the same [`Arc`] while they are the same. They are listed again before that where an
    /// attribute that stays open has gone and, elsewhere than in sysfs, where an entry came or went.
    /// A folder that is not one of [`Tree::devices`](super::Tree::devices) is listed each time.
    ///
    /// # Errors
    /// As [`Folder::list`].
    pub fn kept_list(&mut self) -> Result<(&Arc<Names>, impl Iterator<Item = Entry<'_>> + Clone)> {
        let filled = self.fill_or_keep();
        self.listed(filled)?;
        Ok((&self.names, self.entries(false)))
    }

    fn listed(&mut self, listed: Result<(), Errno>) -> Result {
        listed.map_err(|source| {
            self.at = None;
            Error::Read { path: self.path.clone(), source: source.into() }
        })
    }

    /// The entries of the list, which is new or not.
    fn entries(&self, is_new: bool) -> impl Iterator<Item = Entry<'_>> + Clone {
        let Self { path, at, names, pool, .. } = self;
        let (place, pool) = (Place::Folder(path), pool.as_deref());
        at.iter().flat_map(move |(at, _)| {
            names.with_inodes().map(move |(name, inode)| {
                let listed = inode.filter(|_| is_new);
                Entry { place, at, name, listed, pool }
            })
        })
    }

    /// The directory itself, to read attributes in it; `None` where it is not there.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn dir(&self) -> Result<Option<Dir<'_>>> {
        Dir::open_at(&self.path, None)
    }

    /// The directory itself in a scrape that does not list it, as [`Folder::dir`]. Settings in it
    /// are kept.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn kept_dir(&mut self) -> Result<Option<Dir<'_>>> {
        if let Some(pool) = &mut self.pool {
            pool.begin();
        }
        let Self { path, pool, .. } = &*self;
        Dir::open_at(path, pool.as_deref())
    }

    /// Lists the names. The directory that is open may have been removed, and another put in its
    /// place (a module loaded again): a removed directory is empty, or the kernel says that it is
    /// gone. One that is empty all the time takes fewer calls so than if it were opened each time.
    fn fill(&mut self) -> Result<(), Errno> {
        if let Some(pool) = &mut self.pool {
            pool.begin();
        }
        if let Some((at, identity)) = &self.at {
            rustix::fs::seek(at, SeekFrom::Start(0))?;
            let filled = Arc::make_mut(&mut self.names).fill(at);
            if filled == Ok(()) && self.is_still(identity) {
                return self.pool.as_ref().map_or(Ok(()), |pool| pool.check(at));
            }
            self.at = None;
        }
        self.open()
    }

    /// Uses the names that are kept, or lists them.
    fn fill_or_keep(&mut self) -> Result<(), Errno> {
        let Some(pool) = &mut self.pool else { return self.fill() };
        pool.begin();
        if let Some((at @ Handle::Kept(dir), identity)) = &self.at {
            let listed = pool.check(at).and_then(|()| pool.names(dir, &mut self.names));
            if listed.is_ok() && self.is_still(identity) {
                return Ok(());
            }
            self.at = None;
        }
        self.open()
    }

    /// Whether the path leads to the directory that is open and was just listed. One that has names in
    /// it was not removed.
    fn is_still(&self, identity: &Identity) -> bool {
        (identity.ends && !self.names.is_empty()) || identity.is_at(&self.path)
    }

    /// Opens the directory and lists it.
    fn open(&mut self) -> Result<(), Errno> {
        let fd = open_again(&self.path, &mut self.was_absent, OFlags::DIRECTORY)?;
        let names = Arc::make_mut(&mut self.names);
        names.fill(&fd)?;
        self.at = Some(match &self.pool {
            Some(pool) => {
                let dir = pool.folder(fd)?;
                let identity = *dir.identity();
                (Handle::Kept(dir), identity)
            }
            None => {
                let identity = Identity::of(&fd, &rustix::fs::fstat(&fd)?)?;
                (Handle::Own(fd), identity)
            }
        });
        Ok(())
    }
}
