//! One name in a directory, and the file of that name.

use super::{
    attribute::{Attribute, Bytes, PAGE},
    dir::Dir,
    identity::changed,
    kept::{Handle, Pool},
    lossy, open,
    seen::Stamp,
    text,
};
use crate::error::{Error, Malformed, Refusal, Result};
use rustix::{
    fs::{AtFlags, FileType, OFlags},
    io::Errno,
};
use std::{
    borrow::Cow,
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

/// The directory that a name is in; needed only for the path in an error.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    Folder(&'a Path),
    Dir(&'a Dir<'a>),
}

impl Place<'_> {
    pub(super) fn join(self, name: &[u8]) -> PathBuf {
        let mut path = match self {
            Self::Folder(path) => path.into(),
            Self::Dir(dir) => dir.place.join(dir.name),
        };
        if !name.is_empty() {
            path.push(OsStr::from_bytes(name));
        }
        path
    }
}

/// One name in a directory.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub(super) place: Place<'a>,
    pub(super) at: &'a Handle,
    pub(super) name: &'a [u8],
    /// The inode of a directory that was listed in this scrape.
    pub(super) listed: Option<u64>,
    pub(super) pool: Option<&'a Pool>,
}

impl<'a> Entry<'a> {
    /// The name, which need not be UTF-8.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.name
    }

    /// The name, with U+FFFD for bytes that are not UTF-8.
    #[must_use]
    pub fn name(&self) -> Cow<'a, str> {
        lossy(self.name)
    }

    /// The path of a file in the directory of that name.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.place.join(self.name).join(file)
    }

    /// The directory of that name; `None` where there is no such directory.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn dir(&self) -> Result<Option<Dir<'a>>> {
        Dir::open(self)
    }

    /// The directory at `path` in the directory of that name, found by one question in place of two;
    /// `None` where there is no such directory. `room` is for the whole path.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn dir_below<'b>(&'b self, path: &str, room: &'b mut Vec<u8>) -> Result<Option<Dir<'b>>> {
        room.clear();
        for part in [self.name, b"/", path.as_bytes()] {
            room.extend_from_slice(part);
        }
        Entry { name: room, listed: None, ..*self }.dir()
    }

    /// The inode of the directory of that name; `None` where there is no such directory. A
    /// directory that sysfs makes anew has another inode, even under the same name.
    #[must_use]
    pub fn inode(&self) -> Option<u64> {
        if self.listed.is_some() {
            return self.listed;
        }
        self.stamp().map(|(inode, _)| inode)
    }

    /// The inode of the directory of that name, and its [`changed`]; `None` where there is no such
    /// directory.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        let stat = rustix::fs::statat(self.at, self.name, AtFlags::empty()).ok()?;
        let is_dir = FileType::from_raw_mode(stat.st_mode).is_dir();
        is_dir.then(|| (stat.st_ino, changed(&stat)))
    }

    /// The bytes that one call reads into `room`, of `file` in the directory of that name; `None`
    /// where there is no such file or its process is gone. It makes two calls fewer than
    /// [`Entry::dir`], for places with very many directories, such as those of the processes.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read_in<'b>(&self, file: &str, room: &'b mut [u8]) -> Result<Option<&'b [u8]>> {
        let mut path = [0; 512];
        let parts = [self.name, b"/", file.as_bytes()];
        let mut len = 0;
        for part in parts {
            let Some(to) = path.get_mut(len..len + part.len()) else { return Ok(None) };
            to.copy_from_slice(part);
            len += part.len();
        }
        let read = open(self.at, path.get(..len).unwrap_or_default(), OFlags::empty())
            .and_then(|fd| rustix::io::retry_on_intr(|| rustix::io::read(&fd, &mut *room)));
        match read {
            Ok(n) => Ok(room.get(..n)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::SRCH) => Ok(None),
            Err(source) => Err(Error::Read { path: self.path(file), source: source.into() }),
        }
    }

    /// The target of the symbolic link of that name, as [`Dir::link`].
    ///
    /// # Errors
    /// As [`Dir::link`].
    pub fn link(&self) -> Result<Option<PathBuf>> {
        match rustix::fs::readlinkat(self.at, self.name, Vec::new()) {
            Ok(target) => Ok(Some(OsStr::from_bytes(target.as_bytes()).into())),
            Err(Errno::NOENT | Errno::INVAL | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(self.refused(error)),
        }
    }

    /// The text of the file of that name, as [`Dir::text`].
    ///
    /// # Errors
    /// As [`Dir::text`].
    pub fn text(&self) -> Result<Option<Attribute>> {
        let mut room = Bytes::default();
        let Some(bytes) = self.content(&mut room)? else { return Ok(None) };
        self.utf8(bytes)?;
        Ok(Some(Attribute::new(room)))
    }

    /// The text of the setting of that name, as [`Dir::setting`].
    pub(super) fn text_of_setting(&self) -> Result<Option<Attribute>> {
        let mut room = Bytes::default();
        let Some(bytes) = self.setting(&mut room)? else { return Ok(None) };
        self.or_forget(self.utf8(bytes))?;
        Ok(Some(Attribute::new(room)))
    }

    /// The file of that name as `parse` reads it, as [`Dir::parse`].
    ///
    /// # Errors
    /// As [`Dir::parse`].
    pub fn parse<T>(&self, parse: impl FnOnce(&str) -> Result<T, Malformed>) -> Result<Option<T>> {
        let mut room = Bytes::default();
        self.content(&mut room)?.map(|bytes| self.parsed(bytes, parse)).transpose()
    }

    /// The setting of that name as `parse` reads it, as [`Dir::parse_setting`].
    pub(super) fn parse_setting<T>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, Malformed>,
    ) -> Result<Option<T>> {
        let mut room = Bytes::default();
        let Some(bytes) = self.setting(&mut room)? else { return Ok(None) };
        self.or_forget(self.parsed(bytes, parse)).map(Some)
    }

    /// Forgets a setting that turned out to be malformed: the fault must not outlast the file's.
    fn or_forget<T>(&self, read: Result<T>) -> Result<T> {
        if read.is_err() {
            self.forget_setting();
        }
        read
    }

    /// Has the setting of that name read anew next time.
    pub fn forget_setting(&self) {
        self.at.forget_setting(self.name);
    }

    /// The content of the file of that name, which need not be UTF-8, read into `room`; `None` as
    /// for [`Dir::text`].
    ///
    /// # Errors
    /// It cannot be read.
    pub fn content<'b>(&self, room: &'b mut Bytes) -> Result<Option<&'b [u8]>> {
        Ok(self.given(self.at.read(self.name, room))?.map(|()| &**room))
    }

    /// The content of the setting of that name, perhaps as it was some scrapes ago (see
    /// [`Dir::setting`]), put into `room`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn setting<'b>(&self, room: &'b mut Bytes) -> Result<Option<&'b [u8]>> {
        Ok(self.given(self.at.setting(self.name, room))?.map(|()| &**room))
    }

    /// The whole file of that name, as [`Dir::whole`].
    pub(super) fn whole<'b>(&self, room: &'b mut Vec<u8>) -> Result<Option<&'b [u8]>> {
        room.clear();
        Ok(self.given(read_whole(self.at, self.name, room))?.map(|()| &**room))
    }

    /// The result of a read; `None` as for [`Dir::text`].
    fn given<T>(&self, read: Result<T, Errno>) -> Result<Option<T>> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(error) if Refusal::of(error.raw_os_error()).is_no_attribute() => Ok(None),
            Err(error) => Err(self.refused(error)),
        }
    }

    /// The error of a call for that name.
    fn refused(&self, errno: Errno) -> Error {
        Error::Read { path: self.place.join(self.name), source: errno.into() }
    }

    fn utf8<'b>(&self, bytes: &'b [u8]) -> Result<&'b str> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text),
            Err(_) => text(bytes, &self.place.join(self.name)),
        }
    }

    /// The content as `parse` reads it; every error names the file.
    fn parsed<T>(
        &self,
        bytes: &[u8],
        parse: impl FnOnce(&str) -> Result<T, Malformed>,
    ) -> Result<T> {
        parse(self.utf8(bytes)?.trim_ascii())
            .map_err(|source| Error::Parse { path: self.place.join(self.name), source })
    }
}

/// Appends the file to `room`.
fn read_whole(at: &Handle, name: &[u8], room: &mut Vec<u8>) -> Result<(), Errno> {
    const LONGEST: usize = 16 << 20;
    let fd = open(at, name, OFlags::empty())?;
    loop {
        room.reserve(PAGE);
        match rustix::io::read(&fd, rustix::buffer::spare_capacity(room)) {
            Ok(0) => return Ok(()),
            Ok(_) if room.len() > LONGEST => return Err(Errno::FBIG),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}
