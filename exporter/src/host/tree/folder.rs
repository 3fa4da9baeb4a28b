//! Directories that are listed again and again.

use super::{
    dir::Dir,
    entry::{Entry, Place},
    kept::{Budget, Handle, Pool},
    names::Names,
    open_again,
};
use crate::error::{Error, Result};
use rustix::{
    fs::{CWD, OFlags, SeekFrom},
    io::Errno,
};
use std::{
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

/// A directory that is listed again and again.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Open where the last listing had entries.
    at: Option<Handle>,
    was_absent: bool,
    names: Names,
    /// The attributes that stay open.
    pool: Option<Box<Pool>>,
}

impl Folder {
    pub(super) fn new(path: PathBuf, kept: Option<Budget>) -> Self {
        let pool = kept.map(|budget| Box::new(Pool::new(budget)));
        Self { path, at: None, was_absent: false, names: Names::default(), pool }
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
        if let Err(source) = self.fill() {
            self.at = None;
            return Err(Error::Read { path: self.path.clone(), source: source.into() });
        }
        let Self { path, at, names, pool, .. } = &*self;
        let (place, pool) = (Place::Folder(path), pool.as_deref());
        let entry = move |at, name| Entry { place, at, name, pool };
        Ok(at.iter().flat_map(move |at| names.iter().map(move |name| entry(at, name))))
    }

    /// The directory itself, to read attributes in it; `None` where it is not there.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn dir(&self) -> Result<Option<Dir<'_>>> {
        let path = self.path.as_os_str().as_bytes();
        Dir::open(CWD, path, None, Place::Folder(&self.path), b"")
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
        Dir::open(CWD, path.as_os_str().as_bytes(), pool.as_deref(), Place::Folder(path), b"")
    }

    /// Lists the names. The directory that is open may have been removed, and another put in its
    /// place (a module loaded again): a removed directory is empty, or the kernel says that it is
    /// gone.
    fn fill(&mut self) -> Result<(), Errno> {
        if let Some(pool) = &mut self.pool {
            pool.begin();
        }
        if let Some(at) = &self.at {
            rustix::fs::seek(at, SeekFrom::Start(0))?;
            if self.names.fill(at) == Ok(()) && !self.names.is_empty() {
                return self.pool.as_ref().map_or(Ok(()), |pool| pool.check(at));
            }
            self.at = None;
        }
        let fd = open_again(&self.path, &mut self.was_absent, OFlags::DIRECTORY)?;
        self.names.fill(&fd)?;
        if !self.names.is_empty() {
            self.at = Some(match &self.pool {
                Some(pool) => pool.folder(fd)?,
                None => Handle::Own(fd),
            });
        }
        Ok(())
    }
}
