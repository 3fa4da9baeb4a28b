//! Rooted, read-only views of the kernel's file trees.
//!
//! Files read at every scrape stay open and are read again in place; directories are listed
//! again in place; attributes are opened relative to their directory. None of it allocates in
//! a steady scrape.

use crate::{
    error::{Error, Malformed, Result},
    parse::number,
};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{AtFlags, FileType, Mode, OFlags, RawDir, SeekFrom},
    io::Errno,
};
use std::{
    borrow::Cow,
    ffi::OsStr,
    mem::MaybeUninit,
    ops::Deref,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

/// Where a tree is mounted: `--path.procfs` and its like.
#[derive(Clone, Debug)]
pub struct Tree {
    root: Arc<Path>,
}

impl Tree {
    /// The tree below `root`. Nothing is opened yet.
    pub fn new(root: impl AsRef<Path>) -> Self {
        Self { root: root.as_ref().into() }
    }

    /// Where the tree begins.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where `path` is, below the root.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// A file that is read at every scrape: opened at first use, then read again in place.
    #[must_use]
    pub fn file(&self, path: &str) -> File {
        File { path: self.path(path), fd: None, bytes: Vec::new(), len: 0 }
    }

    /// A directory that is listed at every scrape.
    #[must_use]
    pub fn folder(&self, path: &str) -> Folder {
        Folder { path: self.path(path), fd: None, names: Names::default() }
    }
}

/// A file that is read whole, again and again.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    fd: Option<OwnedFd>,
    bytes: Vec<u8>,
    len: usize,
}

impl File {
    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is such a file.
    #[must_use]
    pub fn exists(&self) -> bool {
        rustix::fs::access(&self.path, rustix::fs::Access::EXISTS).is_ok()
    }

    /// Opens the file and closes it again, for what the kernel does at that; nothing where it
    /// is not there.
    pub fn touch(&self) {
        drop(open(rustix::fs::CWD, self.path.as_path(), OFlags::empty()));
    }

    /// The whole file as it is now.
    ///
    /// # Errors
    /// It cannot be opened or read. It is opened anew next time.
    pub fn bytes(&mut self) -> Result<&[u8]> {
        let was_open = self.fd.is_some();
        let mut filled = self.fill();
        if filled.is_err() && was_open {
            self.fd = None; // perhaps removed, and another put in its place
            filled = self.fill();
        }
        if let Err(source) = filled {
            self.fd = None;
            self.len = 0;
            return Err(Error::Read { path: self.path.clone(), source: source.into() });
        }
        Ok(self.last())
    }

    /// The whole file as it is now, which must be UTF-8.
    ///
    /// # Errors
    /// As [`File::bytes`], or it is not UTF-8.
    pub fn read(&mut self) -> Result<&str> {
        self.bytes()?;
        text(self.last(), &self.path)
    }

    /// Reads and parses, naming this file in whatever goes wrong.
    ///
    /// # Errors
    /// As [`File::read`], or what `parse` says.
    pub fn parse<T>(&mut self, parse: impl FnOnce(&str) -> Result<T, Malformed>) -> Result<T> {
        self.bytes()?;
        self.parse_last(parse)
    }

    /// The whole file as one number, with or without white space around it.
    ///
    /// # Errors
    /// As [`File::read`], or it is no number of that type.
    pub fn number<T: FromStr>(&mut self) -> Result<T> {
        self.parse(|text| number("number", text.trim()))
    }

    /// Closes it: for a file on disk, which an update replaces by another of the same name.
    pub fn close(&mut self) {
        self.fd = None;
    }

    /// Parses what was read last, without reading again.
    ///
    /// # Errors
    /// It is not UTF-8, or what `parse` says.
    pub fn parse_last<T>(&self, parse: impl FnOnce(&str) -> Result<T, Malformed>) -> Result<T> {
        parse(text(self.last(), &self.path)?)
            .map_err(|source| Error::Parse { path: self.path.clone(), source })
    }

    /// Gives `each` the lines as they are now, reading piece by piece: for files that have a
    /// line for each of very many things, and are not worth keeping in memory.
    ///
    /// # Errors
    /// As [`File::parse`]; what was given before stays given.
    pub fn lines(&mut self, mut each: impl FnMut(&str) -> Result<(), Malformed>) -> Result {
        self.len = 0;
        let (mut offset, mut kept) = (0, 0);
        loop {
            let read = match self.fill_from(offset, kept) {
                Err(_) if offset == 0 && self.fd.take().is_some() => self.fill_from(0, 0),
                read => read,
            };
            let read = match read {
                Ok(read) => read,
                Err(source) => {
                    self.fd = None;
                    return Err(Error::Read { path: self.path.clone(), source: source.into() });
                }
            };
            let filled = kept + read;
            let bytes = self.bytes.get(..filled).unwrap_or_default();
            let whole =
                if read == 0 { filled } else { memchr::memrchr(b'\n', bytes).map_or(0, |i| i + 1) };
            let bytes = bytes.get(..whole).unwrap_or_default();
            for line in text(bytes, &self.path)?.lines() {
                each(line).map_err(|source| Error::Parse { path: self.path.clone(), source })?;
            }
            if read == 0 {
                return Ok(());
            }
            self.bytes.copy_within(whole..filled, 0);
            (offset, kept) = (offset + read as u64, filled - whole);
        }
    }

    /// What was read last, without reading again.
    #[must_use]
    pub fn last(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Reads once, from `offset` of the file to place `kept` of the buffer.
    fn fill_from(&mut self, offset: u64, kept: usize) -> Result<usize, Errno> {
        const ROOM: usize = 4096;
        if self.bytes.len() - kept < ROOM {
            self.bytes.resize(kept + 2 * ROOM, 0);
        }
        let fd = match &mut self.fd {
            Some(fd) => fd,
            none => none.insert(open(rustix::fs::CWD, self.path.as_path(), OFlags::empty())?),
        };
        let room = self.bytes.get_mut(kept..).unwrap_or_default();
        rustix::io::retry_on_intr(|| rustix::io::pread(&*fd, &mut *room, offset))
    }

    /// Reads until the kernel says 0: a short read is not the end of a sequence file.
    fn fill(&mut self) -> Result<(), Errno> {
        const ROOM: usize = 1024;
        let fd = match &mut self.fd {
            Some(fd) => fd,
            none => none.insert(open(rustix::fs::CWD, self.path.as_path(), OFlags::empty())?),
        };
        let mut len = 0;
        loop {
            if self.bytes.len() - len < ROOM {
                self.bytes.resize((self.bytes.len() * 2).max(4 * ROOM), 0);
            }
            let Some(room) = self.bytes.get_mut(len..) else { break };
            match rustix::io::pread(&*fd, room, len as u64) {
                Ok(0) => break,
                Ok(n) => len += n,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        self.len = len;
        Ok(())
    }
}

fn open(at: impl AsFd, path: impl rustix::path::Arg, more: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(at, path, OFlags::RDONLY | OFlags::CLOEXEC | more, Mode::empty())
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

/// A directory that is listed again and again.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    fd: Option<OwnedFd>,
    names: Names,
}

impl Folder {
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
            self.fd = None;
            return Err(Error::Read { path: self.path.clone(), source: source.into() });
        }
        let Self { path, fd, names } = &*self;
        let place = Place::Folder(path);
        Ok(fd.iter().flat_map(move |at| names.iter().map(move |name| Entry { place, at, name })))
    }

    /// The directory itself, to read attributes in it; `None` where it is not there.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn dir(&self) -> Result<Option<Dir<'_>>> {
        open_dir(rustix::fs::CWD, self.path.as_path(), Place::Folder(&self.path), b"")
    }

    /// Lists. What stays open may have been removed, and another put in its place (a module
    /// loaded again): such a directory is empty, or says that it is no more.
    fn fill(&mut self) -> Result<(), Errno> {
        if let Some(fd) = &self.fd {
            rustix::fs::seek(fd, SeekFrom::Start(0))?;
            if self.names.fill(fd) == Ok(()) && !self.names.ends.is_empty() {
                return Ok(());
            }
            self.fd = None;
        }
        let fd = open(rustix::fs::CWD, self.path.as_path(), OFlags::DIRECTORY)?;
        self.names.fill(&fd)?;
        self.fd = Some(fd);
        Ok(())
    }
}

/// Room for the names in a directory, kept between scrapes.
#[derive(Debug, Default)]
pub struct Names {
    /// All names in a row, in the order the kernel gave them …
    bytes: Vec<u8>,
    /// … and where each begins and ends, in alphabetical order.
    ends: Vec<(u32, u32)>,
}

impl Names {
    fn fill(&mut self, fd: impl AsFd) -> Result<(), Errno> {
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

    fn iter(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.ends.iter().filter_map(|&(begin, end)| self.bytes.get(begin as usize..end as usize))
    }
}

/// What a name is in; only needed to say where an error was.
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
    at: &'a OwnedFd,
    name: &'a [u8],
}

impl<'a> Entry<'a> {
    /// The name, which need not be UTF-8.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.name
    }

    /// The name, with U+FFFD for what is not UTF-8.
    #[must_use]
    pub fn name(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.name)
    }

    /// Where a file in the directory of that name is.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.place.join(self.name).join(file)
    }

    /// The directory of that name; `None` where it is none, or gone.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn dir(&self) -> Result<Option<Dir<'a>>> {
        open_dir(self.at, self.name, self.place, self.name)
    }

    /// The inode of the directory of that name; `None` where it is none, or gone. What sysfs
    /// makes anew has another, even where the name is the same.
    #[must_use]
    pub fn inode(&self) -> Option<u64> {
        let stat = rustix::fs::statat(self.at, self.name, AtFlags::empty()).ok()?;
        FileType::from_raw_mode(stat.st_mode).is_dir().then_some(stat.st_ino)
    }

    /// What one call reads of `file` in the directory of that name, in `room`; `None` where the
    /// file is not there or its process is gone. For directories that are many, such as the
    /// processes: two calls fewer than [`Entry::dir`] needs.
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

    /// Where the symbolic link of that name points, as [`Dir::link`].
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

    /// What the file of that name contains, as [`Dir::bytes`].
    ///
    /// # Errors
    /// As [`Dir::bytes`].
    pub fn content(&self) -> Result<Option<Bytes>> {
        content(self.at, self.place, self.name)
    }
}

/// A directory whose name is only known at run time, such as one device in sysfs.
#[derive(Debug)]
pub struct Dir<'a> {
    place: Place<'a>,
    name: &'a [u8],
    fd: OwnedFd,
}

fn open_dir<'a>(
    at: impl AsFd,
    path: impl rustix::path::Arg,
    place: Place<'a>,
    name: &'a [u8],
) -> Result<Option<Dir<'a>>> {
    match open(at, path, OFlags::PATH | OFlags::DIRECTORY) {
        Ok(fd) => Ok(Some(Dir { place, name, fd })),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(Error::Read { path: place.join(name), source: error.into() }),
    }
}

impl Dir<'_> {
    /// Where a file in it is.
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
        attribute(&self.fd, Place::Dir(self), file.as_bytes())
    }

    /// The whole file of that name, which may be longer than an attribute, read into `room`;
    /// `None` as for [`Dir::text`].
    ///
    /// # Errors
    /// It cannot be read, or is longer than 16 MiB.
    pub fn whole<'a>(&self, file: &str, room: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>> {
        room.clear();
        match read_whole(&self.fd, file, room) {
            Ok(()) => Ok(Some(room)),
            Err(error) if is_missing(error) => Ok(None),
            Err(error) => Err(Error::Read { path: self.path(file), source: error.into() }),
        }
    }

    /// What one attribute contains, which need not be UTF-8; `None` as for [`Dir::text`].
    ///
    /// # Errors
    /// It cannot be read.
    pub fn bytes(&self, file: &str) -> Result<Option<Bytes>> {
        content(&self.fd, Place::Dir(self), file.as_bytes())
    }

    /// One attribute as a number; `None` as for [`Dir::text`].
    ///
    /// # Errors
    /// It cannot be read, or is no number of that type.
    pub fn number<T: FromStr>(&self, file: &str) -> Result<Option<T>> {
        self.parse(file, |text| number("number", text))
    }

    /// One attribute as `parse` reads it; `None` as for [`Dir::text`].
    ///
    /// # Errors
    /// It cannot be read, or what `parse` says.
    pub fn parse<T>(
        &self,
        file: &str,
        parse: impl FnOnce(&str) -> Result<T, Malformed>,
    ) -> Result<Option<T>> {
        attribute_as(&self.fd, Place::Dir(self), file.as_bytes(), parse)
    }

    /// What has that name in it, where that need not be UTF-8. Nothing is opened yet.
    #[must_use]
    pub const fn entry<'a>(&'a self, name: &'a [u8]) -> Entry<'a> {
        Entry { place: Place::Dir(self), at: &self.fd, name }
    }

    /// The directory of that name in it; `None` where it is none, or gone.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn dir<'a>(&'a self, name: &'a str) -> Result<Option<Dir<'a>>> {
        open_dir(&self.fd, name, Place::Dir(self), name.as_bytes())
    }

    /// The entries as they are now, in alphabetical order; `names` is room for them.
    ///
    /// # Errors
    /// It cannot be listed.
    pub fn list<'a>(&'a self, names: &'a mut Names) -> Result<impl Iterator<Item = Entry<'a>>> {
        open(&self.fd, c".", OFlags::DIRECTORY)
            .and_then(|fd| names.fill(fd))
            .map_err(|source| Error::Read { path: self.path(""), source: source.into() })?;
        let place = Place::Dir(self);
        Ok(names.iter().map(move |name| Entry { place, at: &self.fd, name }))
    }

    /// Where the symbolic link of that name points, as it is written; `None` where there is none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn link(&self, name: &str) -> Result<Option<PathBuf>> {
        link(&self.fd, Place::Dir(self), name.as_bytes())
    }

    /// Where a name in it leads once all symbolic links are followed; `None` where nowhere.
    /// One system call for each part of the path: for what is asked once.
    #[must_use]
    pub fn resolve(&self, name: &str) -> Option<PathBuf> {
        std::fs::canonicalize(self.path(name)).ok()
    }
}

fn link(at: &OwnedFd, place: Place<'_>, name: &[u8]) -> Result<Option<PathBuf>> {
    match rustix::fs::readlinkat(at, name, Vec::new()) {
        Ok(target) => Ok(Some(OsStr::from_bytes(target.as_bytes()).into())),
        Err(Errno::NOENT | Errno::INVAL | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(Error::Read { path: place.join(name), source: error.into() }),
    }
}

/// Reads a file of at most a page that must be UTF-8; `None` as for [`Dir::text`].
fn attribute(at: &OwnedFd, place: Place<'_>, name: &[u8]) -> Result<Option<Attribute>> {
    let Some(bytes) = content(at, place, name)? else { return Ok(None) };
    match std::str::from_utf8(&bytes) {
        Ok(_) => Ok(Some(Attribute(bytes))),
        Err(_) => text(&bytes, &place.join(name)).map(|_| None),
    }
}

/// Reads and parses such a file, naming it in whatever goes wrong.
fn attribute_as<T>(
    at: &OwnedFd,
    place: Place<'_>,
    name: &[u8],
    parse: impl FnOnce(&str) -> Result<T, Malformed>,
) -> Result<Option<T>> {
    let Some(text) = attribute(at, place, name)? else { return Ok(None) };
    parse(&text).map(Some).map_err(|source| Error::Parse { path: place.join(name), source })
}

/// Reads a file of at most a page; `None` as for [`Dir::text`].
fn content(at: &OwnedFd, place: Place<'_>, name: &[u8]) -> Result<Option<Bytes>> {
    match read_page(at, name) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if is_missing(error) => Ok(None),
        Err(error) => Err(Error::Read { path: place.join(name), source: error.into() }),
    }
}

/// Whether the kernel says that a device does not have an attribute.
const fn is_missing(error: Errno) -> bool {
    matches!(
        error,
        Errno::NOENT
            | Errno::NOTDIR
            | Errno::NODEV
            | Errno::NXIO
            | Errno::INVAL
            | Errno::NODATA
            | Errno::OPNOTSUPP
    )
}

/// Appends the file to `room`.
fn read_whole(at: &OwnedFd, name: &str, room: &mut Vec<u8>) -> Result<(), Errno> {
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

/// One read is enough for what does not fill the room: sysfs gives an attribute whole
/// (`kernfs_fop_read_iter()`), and so do a process's files.
fn read_page(at: &OwnedFd, name: &[u8]) -> Result<Bytes, Errno> {
    let fd = open(at, name, OFlags::empty())?;
    let mut page = Bytes { bytes: [0; PAGE], len: 0 };
    loop {
        match rustix::io::read(&fd, &mut page.bytes) {
            Ok(n) => {
                page.len = n;
                return Ok(page);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// The largest value of an attribute: sysfs gives one page.
const PAGE: usize = 4096;

/// What an attribute contains, on the stack.
pub struct Bytes {
    bytes: [u8; PAGE],
    len: usize,
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// An attribute's text without white space around it, on the stack.
pub struct Attribute(Bytes);

impl Deref for Attribute {
    type Target = str;
    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default().trim_ascii() // checked when it was read
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn files_are_read_again_in_place_and_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::new(dir.path());
        let mut file = tree.file("a");
        assert!(!file.exists() && file.read().unwrap_err().is_absent());
        fs::write(dir.path().join("a"), "x".repeat(10_000)).unwrap();
        assert!(file.exists());
        assert_eq!(file.read().unwrap().len(), 10_000);
        fs::write(dir.path().join("a"), "short").unwrap();
        assert_eq!(file.read().unwrap(), "short");
        fs::write(dir.path().join("a"), b"not \xff text").unwrap();
        assert!(file.read().unwrap_err().to_string().ends_with("/a: bad text: \"\u{fffd} text\""));
    }

    #[test]
    fn lines_are_read_piece_by_piece() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = Tree::new(dir.path()).file("a");
        assert!(file.lines(|_| Ok(())).unwrap_err().is_absent());
        let lines: Vec<String> = (0..2_000).map(|n| "x".repeat(n % 23) + "y").collect();
        for content in [lines.join("\n"), lines.join("\n") + "\n"] {
            fs::write(dir.path().join("a"), content).unwrap();
            let mut seen = Vec::new();
            file.lines(|line| {
                seen.push(line.to_owned());
                Ok(())
            })
            .unwrap();
            assert!(seen == lines);
            assert!(file.bytes.len() < 10_000, "not the whole file");
        }
        fs::write(dir.path().join("a"), "x".repeat(20_000)).unwrap();
        let mut seen = 0;
        file.lines(|line| {
            seen = line.len();
            Err(Malformed::new("line", "x"))
        })
        .unwrap_err();
        assert_eq!(seen, 20_000);
        fs::write(dir.path().join("a"), b"\xff\n").unwrap();
        assert!(file.lines(|_| Ok(())).unwrap_err().to_string().contains("/a: bad text: "));
    }

    #[test]
    fn numbers_have_white_space_around_them_and_closed_files_are_opened_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let mut file = Tree::new(dir.path()).file("a");
        fs::write(&path, " 12\n").unwrap();
        assert_eq!(file.number::<u64>().unwrap(), 12);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "x\n").unwrap();
        assert_eq!(file.number::<u64>().unwrap(), 12, "the removed file is still open");
        file.close();
        let error = file.number::<u64>().unwrap_err().to_string();
        assert!(error.ends_with("/a: bad number: \"x\""), "{error}");
    }

    #[test]
    fn a_file_in_an_entry_is_read_without_opening_the_entry() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("proc/12/map")).unwrap();
        fs::write(dir.path().join("proc/12/stat"), b"12 (\xff) S").unwrap();
        let mut folder = Tree::new(dir.path()).folder("proc");
        let entry = folder.list().unwrap().next().unwrap();
        let mut room = [0; 7];
        assert_eq!(entry.read_in("stat", &mut room).unwrap(), Some(&b"12 (\xff) "[..]));
        assert_eq!(entry.read_in("absent", &mut room).unwrap(), None);
        let error = entry.read_in("map", &mut room).unwrap_err().to_string();
        assert!(error.contains("/proc/12/map: "), "{error}");
        let error = entry.read_in(&"x".repeat(400), &mut room).unwrap_err().to_string();
        assert!(error.contains("/proc/12/xxx"), "{error}");
        assert_eq!(entry.read_in(&"x".repeat(600), &mut room).unwrap(), None);
    }

    #[test]
    fn folders_list_in_order_and_attributes_are_optional() {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::new(dir.path());
        let mut folder = tree.folder("class");
        assert!(folder.list().err().unwrap().is_absent());
        for name in ["b", "a", "c"] {
            fs::create_dir_all(dir.path().join("class").join(name)).unwrap();
            fs::write(dir.path().join("class").join(name).join("value"), " 12\n").unwrap();
        }
        fs::write(dir.path().join("class/file"), "").unwrap();
        fs::write(dir.path().join("class/b/value"), "twelve").unwrap();
        let mut seen = Vec::new();
        for entry in folder.list().unwrap() {
            let Some(dir) = entry.dir().unwrap() else { continue };
            assert!(dir.text("absent").unwrap().is_none());
            seen.push((
                entry.name().into_owned(),
                dir.number::<u64>("value").map_err(|e| e.to_string()),
            ));
        }
        assert_eq!(seen[0], ("a".into(), Ok(Some(12))));
        assert!(
            seen[1].1.as_ref().unwrap_err().ends_with("/class/b/value: bad number: \"twelve\"")
        );
        assert_eq!(seen[2].0, "c");
        fs::remove_dir_all(dir.path().join("class/a")).unwrap();
        assert_eq!(folder.list().unwrap().count(), 3);
    }

    #[test]
    fn links_are_followed_and_what_is_made_anew_has_another_inode() {
        let root = tempfile::tempdir().unwrap();
        let device = root.path().join("devices/b.0");
        fs::create_dir_all(device.join("net/eth0")).unwrap();
        fs::create_dir_all(root.path().join("class")).unwrap();
        let link = |to: &str, at: &str| {
            std::os::unix::fs::symlink(to, root.path().join(at)).unwrap();
        };
        link("../devices/b.0/net/eth0", "class/eth0");
        link("gone", "class/eth1");
        link("../..", "devices/b.0/net/eth0/device");
        fs::write(device.join("net/eth0/name"), b" not \xff text\n").unwrap();
        let mut folder = Tree::new(root.path()).folder("class");
        let entries: Vec<_> = folder.list().unwrap().collect();
        assert!(entries[1].inode().is_none() && entries[1].dir().unwrap().is_none());
        let dir = entries[0].dir().unwrap().unwrap();
        assert_eq!(dir.resolve("device"), fs::canonicalize(&device).ok());
        assert_eq!(dir.resolve("gone"), None);
        assert_eq!(entries[0].link().unwrap().unwrap().to_str(), Some("../devices/b.0/net/eth0"));
        assert_eq!(&*dir.bytes("name").unwrap().unwrap(), b" not \xff text\n");
        assert!(dir.text("name").is_err());
        let before = entries[0].inode();
        fs::rename(device.join("net/eth0"), device.join("net/old")).unwrap();
        fs::create_dir(device.join("net/eth0")).unwrap();
        assert_ne!(entries[0].inode(), before);
    }

    #[test]
    fn directories_nest_and_errors_give_the_whole_path() {
        let root = tempfile::tempdir().unwrap();
        let ports = root.path().join("class/mlx0/ports");
        for port in ["2", "1"] {
            fs::create_dir_all(ports.join(port)).unwrap();
            fs::write(ports.join(port).join("state"), format!("{port}: up\n")).unwrap();
        }
        std::os::unix::fs::symlink("../../driver/mlx", ports.join("driver")).unwrap();
        let mut folder = Tree::new(root.path()).folder("class");
        let mut names = Names::default();
        let mut seen = Vec::new();
        for device in folder.list().unwrap() {
            let device = device.dir().unwrap().unwrap();
            assert!(device.dir("absent").unwrap().is_none());
            assert!(device.entry(b"ports").dir().unwrap().is_some());
            let ports = device.dir("ports").unwrap().unwrap();
            let driver = ports.link("driver").unwrap().unwrap();
            assert_eq!(driver.file_name().unwrap(), "mlx");
            assert!(ports.link("1").unwrap().is_none());
            for port in ports.list(&mut names).unwrap() {
                let Some(port) = port.dir().unwrap() else { continue };
                seen.push(port.text("state").unwrap().unwrap().to_owned());
                let error = port.number::<u8>("state").unwrap_err().to_string();
                assert!(error.contains("/class/mlx0/ports/"), "{error}");
            }
        }
        assert_eq!(seen, ["1: up", "2: up"]);
    }

    #[test]
    fn files_longer_than_an_attribute_are_read_whole() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("long"), "x".repeat(3 * PAGE)).unwrap();
        fs::write(root.path().join("short"), "y").unwrap();
        let folder = Tree::new(root.path()).folder("");
        let dir = folder.dir().unwrap().unwrap();
        let mut room = Vec::new();
        assert_eq!(dir.whole("long", &mut room).unwrap().unwrap().len(), 3 * PAGE);
        assert_eq!(dir.whole("short", &mut room).unwrap().unwrap(), b"y");
        assert!(dir.whole("absent", &mut room).unwrap().is_none());
    }

    #[test]
    fn what_was_replaced_while_it_was_open_is_opened_anew() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("class");
        let mut folder = Tree::new(root.path()).folder("class");
        for name in ["a", "b"] {
            fs::create_dir_all(path.join(name)).unwrap();
            let names: Vec<_> = folder.list().unwrap().map(|entry| entry.name()).collect();
            assert_eq!(names, [name]);
            fs::remove_dir_all(&path).unwrap();
        }
    }
}
