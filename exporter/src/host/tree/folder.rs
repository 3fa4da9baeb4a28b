//! Directories that are listed again and again, and the files in them.

use super::{
    attribute::{Attribute, Bytes, PAGE},
    kept::{Budget, Handle, Pool},
    lossy,
    names::Names,
    open, open_again, text,
};
use crate::{
    error::{Error, Malformed, Refusal, Result},
    parse::{decimal, number},
};
use rustix::{
    fd::{AsFd, BorrowedFd},
    fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, SeekFrom},
    io::Errno,
};
use std::{
    borrow::Cow,
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    str::FromStr,
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
        open_dir(CWD, path, None, Place::Folder(&self.path), b"")
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
        open_dir(CWD, path.as_os_str().as_bytes(), pool.as_deref(), Place::Folder(path), b"")
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

/// The directory that a name is in; needed only for the path in an error.
#[derive(Clone, Copy, Debug)]
enum Place<'a> {
    Folder(&'a Path),
    Dir(&'a Dir<'a>),
}

impl Place<'_> {
    fn join(self, name: &[u8]) -> PathBuf {
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
    place: Place<'a>,
    at: &'a Handle,
    name: &'a [u8],
    pool: Option<&'a Pool>,
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
        open_dir(self.at.as_fd(), self.name, self.pool, self.place, self.name)
    }

    /// The inode of the directory of that name; `None` where there is no such directory. A
    /// directory that sysfs makes anew has another inode, even under the same name.
    #[must_use]
    pub fn inode(&self) -> Option<u64> {
        let stat = rustix::fs::statat(self.at, self.name, AtFlags::empty()).ok()?;
        FileType::from_raw_mode(stat.st_mode).is_dir().then_some(stat.st_ino)
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
        link(self.at, self.place, self.name)
    }

    /// The text of the file of that name, as [`Dir::text`].
    ///
    /// # Errors
    /// As [`Dir::text`].
    pub fn text(&self) -> Result<Option<Attribute>> {
        attribute(self.at, self.place, self.name)
    }

    /// The file of that name as `parse` reads it, as [`Dir::parse`].
    ///
    /// # Errors
    /// As [`Dir::parse`].
    pub fn parse<T>(&self, parse: impl FnOnce(&str) -> Result<T, Malformed>) -> Result<Option<T>> {
        attribute_as(self.at, self.place, self.name, parse)
    }

    /// The content of the file of that name, as [`Dir::bytes`].
    ///
    /// # Errors
    /// As [`Dir::bytes`].
    pub fn content(&self) -> Result<Option<Bytes>> {
        content(self.at, self.place, self.name)
    }

    /// The content of the setting of that name, perhaps as it was some scrapes ago, as
    /// [`Dir::setting`].
    ///
    /// # Errors
    /// As [`Dir::bytes`].
    pub fn setting(&self) -> Result<Option<Bytes>> {
        given(self.at.setting(self.name), self.place, self.name)
    }
}

/// A directory whose name is only known at run time, such as one device in sysfs.
#[derive(Debug)]
pub struct Dir<'a> {
    place: Place<'a>,
    name: &'a [u8],
    at: Handle,
    pool: Option<&'a Pool>,
}

fn open_dir<'a>(
    at: BorrowedFd<'_>,
    path: &[u8],
    pool: Option<&'a Pool>,
    place: Place<'a>,
    name: &'a [u8],
) -> Result<Option<Dir<'a>>> {
    let opened = match pool {
        Some(pool) => pool.dir(at, path),
        None => open(at, path, OFlags::PATH | OFlags::DIRECTORY).map(Handle::Own),
    };
    match opened {
        Ok(at) => Ok(Some(Dir { place, name, at, pool })),
        // ESRCH: the folder of a process that is gone.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::SRCH) => Ok(None),
        Err(error) => Err(Error::Read { path: place.join(name), source: error.into() }),
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
        attribute(&self.at, Place::Dir(self), file.as_bytes())
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
        room.clear();
        match read_whole(&self.at, file, room) {
            Ok(()) => Ok(Some(room)),
            Err(error) if Refusal::of(error.raw_os_error()).is_no_attribute() => Ok(None),
            Err(error) => Err(Error::Read { path: self.path(file), source: error.into() }),
        }
    }

    /// The content of one attribute, which need not be UTF-8; `None` as for [`Dir::text`].
    ///
    /// # Errors
    /// It cannot be read.
    pub fn bytes(&self, file: &str) -> Result<Option<Bytes>> {
        content(&self.at, Place::Dir(self), file.as_bytes())
    }

    /// The text of an attribute that hardly ever changes: a label, a limit, a place in the topology.
    /// Below [`Tree::devices`](super::Tree::devices) it is read at the first scrape, again after
    /// [`SETTINGS_EVERY`](super::SETTINGS_EVERY) scrapes, and when this directory is another or has
    /// changed. `file` may be a path that leads into directories below. `None` as for [`Dir::text`].
    ///
    /// # Errors
    /// As [`Dir::text`].
    pub fn setting(&self, file: &str) -> Result<Option<Attribute>> {
        let (place, name) = (Place::Dir(self), file.as_bytes());
        utf8(given(self.at.setting(name), place, name)?, place, name)
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
        parsed(self.setting(file)?, Place::Dir(self), file.as_bytes(), parse)
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
        attribute_as(&self.at, Place::Dir(self), file.as_bytes(), parse)
    }

    /// The entry of that name, which need not be UTF-8. Nothing is opened yet.
    #[must_use]
    pub const fn entry<'a>(&'a self, name: &'a [u8]) -> Entry<'a> {
        Entry { place: Place::Dir(self), at: &self.at, name, pool: self.pool }
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
        open_dir(self.at.as_fd(), name.as_bytes(), self.pool, Place::Dir(self), name.as_bytes())
    }

    /// The entries as they are now, in alphabetical order; `names` is room for them.
    ///
    /// # Errors
    /// It cannot be listed.
    pub fn list<'a>(&'a self, names: &'a mut Names) -> Result<impl Iterator<Item = Entry<'a>>> {
        open(&self.at, c".", OFlags::DIRECTORY)
            .and_then(|fd| names.fill(fd))
            .map_err(|source| Error::Read { path: self.path(""), source: source.into() })?;
        Ok(names.iter().map(|name| self.entry(name)))
    }

    /// The target of the symbolic link of that name, as it is written; `None` where there is no
    /// link.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn link(&self, name: &str) -> Result<Option<PathBuf>> {
        link(&self.at, Place::Dir(self), name.as_bytes())
    }

    /// The path that a name in the directory leads to once all symbolic links are followed; `None`
    /// where it leads nowhere. This takes a system call for each part of the path, and so is for
    /// questions asked once.
    #[must_use]
    pub fn resolve(&self, name: &str) -> Option<PathBuf> {
        std::fs::canonicalize(self.path(name)).ok()
    }
}

fn link(at: &Handle, place: Place<'_>, name: &[u8]) -> Result<Option<PathBuf>> {
    match rustix::fs::readlinkat(at, name, Vec::new()) {
        Ok(target) => Ok(Some(OsStr::from_bytes(target.as_bytes()).into())),
        Err(Errno::NOENT | Errno::INVAL | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(Error::Read { path: place.join(name), source: error.into() }),
    }
}

/// Reads a file of at most a page that must be UTF-8; `None` as for [`Dir::text`].
fn attribute(at: &Handle, place: Place<'_>, name: &[u8]) -> Result<Option<Attribute>> {
    utf8(content(at, place, name)?, place, name)
}

/// The text of a file, if it is UTF-8.
fn utf8(content: Option<Bytes>, place: Place<'_>, name: &[u8]) -> Result<Option<Attribute>> {
    let Some(bytes) = content else { return Ok(None) };
    match std::str::from_utf8(&bytes) {
        Ok(_) => Ok(Some(Attribute::new(bytes))),
        Err(_) => text(&bytes, &place.join(name)).map(|_| None),
    }
}

/// Reads and parses such a file; every error names it.
fn attribute_as<T>(
    at: &Handle,
    place: Place<'_>,
    name: &[u8],
    parse: impl FnOnce(&str) -> Result<T, Malformed>,
) -> Result<Option<T>> {
    parsed(attribute(at, place, name)?, place, name, parse)
}

fn parsed<T>(
    text: Option<Attribute>,
    place: Place<'_>,
    name: &[u8],
    parse: impl FnOnce(&str) -> Result<T, Malformed>,
) -> Result<Option<T>> {
    let Some(text) = text else { return Ok(None) };
    parse(&text).map(Some).map_err(|source| Error::Parse { path: place.join(name), source })
}

/// Reads a file of at most a page; `None` as for [`Dir::text`].
fn content(at: &Handle, place: Place<'_>, name: &[u8]) -> Result<Option<Bytes>> {
    given(at.read(name), place, name)
}

/// The content, or `None` as for [`Dir::text`].
fn given(content: Result<Bytes, Errno>, place: Place<'_>, name: &[u8]) -> Result<Option<Bytes>> {
    match content {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if Refusal::of(error.raw_os_error()).is_no_attribute() => Ok(None),
        Err(error) => Err(Error::Read { path: place.join(name), source: error.into() }),
    }
}

/// Appends the file to `room`.
fn read_whole(at: &Handle, name: &str, room: &mut Vec<u8>) -> Result<(), Errno> {
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
