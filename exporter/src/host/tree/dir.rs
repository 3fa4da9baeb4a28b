//! Directories whose names are known at run time, and the files in them.

use super::{
    attribute::{Attribute, Bytes},
    entry::{Entry, Place},
    kept::{Handle, Pool},
    names::Names,
    open,
};
use crate::{
    error::{Error, Malformed, Result},
    parse::{decimal, number},
};
use rustix::{
    fs::{Access, AtFlags, CWD, Mode, OFlags},
    io::Errno,
};
use std::{
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

/// A directory whose name is only known at run time, such as one device in sysfs.
#[derive(Debug)]
pub struct Dir<'a> {
    pub(super) place: Place<'a>,
    pub(super) name: &'a [u8],
    at: Handle,
    pool: Option<&'a Pool>,
}

impl<'a> Dir<'a> {
    /// Opens the directory of that name, or finds it open.
    pub(super) fn open(entry: &Entry<'a>) -> Result<Option<Self>> {
        let Entry { place, at, name, listed, pool } = *entry;
        let opened = match pool {
            Some(pool) => pool.dir(at, name, listed),
            None => open(at, name, OFlags::PATH | OFlags::DIRECTORY).map(Handle::Own),
        };
        Self::opened(opened, pool, place, name)
    }

    /// Opens the directory at that path, or finds it open.
    pub(super) fn open_at(path: &'a Path, pool: Option<&'a Pool>) -> Result<Option<Self>> {
        let bytes = path.as_os_str().as_bytes();
        let opened = match pool {
            Some(pool) => pool.dir_at(CWD, bytes),
            None => open(CWD, bytes, OFlags::PATH | OFlags::DIRECTORY).map(Handle::Own),
        };
        Self::opened(opened, pool, Place::Folder(path), b"")
    }

    fn opened(
        opened: Result<Handle, Errno>,
        pool: Option<&'a Pool>,
        place: Place<'a>,
        name: &'a [u8],
    ) -> Result<Option<Self>> {
        match opened {
            Ok(at) => Ok(Some(Self { place, name, at, pool })),
            // ESRCH: the folder of a process that is gone.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::SRCH) => Ok(None),
            Err(error) => Err(Error::Read { path: place.join(name), source: error.into() }),
        }
    }
}

impl Dir<'_> {
    /// The path of a file in this directory.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        Place::Dir(self).join(file.as_bytes())
    }

    /// The text of one attribute without white space around it; `None` where this device does
    /// not have it (`ENOENT`, `ENOTDIR`, `ENODEV`, `ENXIO`, `EINVAL`, `ENODATA`, `EOPNOTSUPP`).
    ///
    /// # Errors
    /// It cannot be read, or is not UTF-8.
    pub fn text(&self, file: &str) -> Result<Option<Attribute>> {
        self.entry(file.as_bytes()).text()
    }

    /// The texts of several attributes; an empty one where one cannot be read.
    pub fn texts<const N: usize>(&self, files: [&str; N]) -> [Attribute; N] {
        files.map(|file| self.text(file).ok().flatten().unwrap_or_default())
    }

    /// The whole file of that name, which may be longer than an attribute, read into `room`;
    /// `None` as for [`Dir::text`].
    ///
    /// # Errors
    /// It cannot be read, or is longer than 16 MiB.
    pub fn whole<'a>(&self, file: &str, room: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>> {
        self.entry(file.as_bytes()).whole(room)
    }

    /// The content of one attribute, which need not be UTF-8; `None` as for [`Dir::text`].
    ///
    /// # Errors
    /// It cannot be read.
    pub fn bytes(&self, file: &str) -> Result<Option<Bytes>> {
        let mut room = Bytes::default();
        let is_there = self.entry(file.as_bytes()).content(&mut room)?.is_some();
        Ok(is_there.then_some(room))
    }

    /// The text of an attribute that hardly ever changes: a label, a limit, a place in the topology.
    /// Below [`Tree::devices`](super::Tree::devices) it is read at the first scrape, again after
    /// [`SETTINGS_EVERY`](super::SETTINGS_EVERY) scrapes, and when this directory is another or has
    /// changed. `file` may be a path that leads into directories below. `None` as for [`Dir::text`].
    ///
    /// # Errors
    /// As [`Dir::text`].
    pub fn setting(&self, file: &str) -> Result<Option<Attribute>> {
        self.entry(file.as_bytes()).text_of_setting()
    }

    /// A setting as `parse` reads it, as [`Dir::setting`].
    ///
    /// # Errors
    /// As [`Dir::parse`].
    pub fn parse_setting<T>(
        &self,
        file: &str,
        parse: impl FnOnce(&str) -> Result<T, Malformed>,
    ) -> Result<Option<T>> {
        self.entry(file.as_bytes()).parse_setting(parse)
    }

    /// One attribute as a number; `None` as for [`Dir::text`].
    ///
    /// # Errors
    /// It cannot be read, or is no number of that type.
    pub fn number<T: FromStr>(&self, file: &str) -> Result<Option<T>> {
        self.parse(file, |text| number("number", text))
    }

    /// One attribute as [`decimal`] reads it, a number of any length; `None` as for
    /// [`Dir::text`].
    ///
    /// # Errors
    /// It cannot be read, or is no number.
    pub fn decimal(&self, file: &str) -> Result<Option<f64>> {
        self.parse(file, |text| decimal("number", text))
    }

    /// One attribute as `parse` reads it; `None` as for [`Dir::text`].
    ///
    /// # Errors
    /// It cannot be read, or `parse` returns an error.
    pub fn parse<T>(
        &self,
        file: &str,
        parse: impl FnOnce(&str) -> Result<T, Malformed>,
    ) -> Result<Option<T>> {
        self.entry(file.as_bytes()).parse(parse)
    }

    /// The entry of that name, which need not be UTF-8. Nothing is opened yet.
    #[must_use]
    pub const fn entry<'a>(&'a self, name: &'a [u8]) -> Entry<'a> {
        Entry { place: Place::Dir(self), at: &self.at, name, listed: None, pool: self.pool }
    }

    /// Whether the directory has an entry of that name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        rustix::fs::accessat(&self.at, name, Access::EXISTS, AtFlags::empty()).is_ok()
    }

    /// Whether a process reads from the FIFO of that name, which shows that a daemon lives; `None`
    /// where there is no such FIFO. Nothing is written.
    #[must_use]
    pub fn has_reader(&self, fifo: &str) -> Option<bool> {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.at, fifo, flags, Mode::empty()) {
            Ok(_) => Some(true),
            Err(Errno::NXIO) => Some(false),
            Err(_) => None,
        }
    }

    /// The directory of that name in it; `None` where there is no such directory.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn dir<'a>(&'a self, name: &'a str) -> Result<Option<Dir<'a>>> {
        self.entry(name.as_bytes()).dir()
    }

    /// The entries as they are now, in alphabetical order; `names` is room for them.
    ///
    /// # Errors
    /// It cannot be listed.
    pub fn list<'a>(&'a self, names: &'a mut Names) -> Result<impl Iterator<Item = Entry<'a>>> {
        self.fill(names)?;
        Ok(names.with_inodes().map(|(name, listed)| Entry { listed, ..self.entry(name) }))
    }

    /// The entries as they are or were some scrapes ago, as
    /// [`Folder::kept_list`](super::Folder::kept_list); `names` is room for them.
    ///
    /// # Errors
    /// It cannot be listed.
    pub fn kept_list<'a>(
        &'a self,
        names: &'a mut Arc<Names>,
    ) -> Result<impl Iterator<Item = Entry<'a>>> {
        match (&self.at, self.pool) {
            (Handle::Kept(dir), Some(pool)) => {
                pool.names(dir, names).map_err(|errno| self.refused(errno))?;
            }
            _ => self.fill(Arc::make_mut(names))?,
        }
        Ok(names.iter().map(|name| self.entry(name)))
    }

    fn fill(&self, names: &mut Names) -> Result {
        open(&self.at, c".", OFlags::DIRECTORY)
            .and_then(|fd| names.fill(fd))
            .map_err(|errno| self.refused(errno))
    }

    /// The error of a call for the directory itself.
    fn refused(&self, errno: Errno) -> Error {
        Error::Read { path: self.path(""), source: errno.into() }
    }

    /// The target of the symbolic link of that name, as it is written; `None` where there is no
    /// link.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn link(&self, name: &str) -> Result<Option<PathBuf>> {
        self.entry(name.as_bytes()).link()
    }

    /// The path that a name in the directory leads to once all symbolic links are followed; `None`
    /// where it leads nowhere. This takes a system call for each part of the path, and so is for
    /// questions asked once.
    #[must_use]
    pub fn resolve(&self, name: &str) -> Option<PathBuf> {
        std::fs::canonicalize(self.path(name)).ok()
    }
}
