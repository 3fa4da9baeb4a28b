//! Files that are read again and again.

use super::{open, open_again, text};
use crate::{
    error::{Error, Malformed, Result},
    parse::number,
};
use rustix::{fd::OwnedFd, fs::OFlags, io::Errno};
use std::{
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
    str::FromStr,
};

/// How much is read at a time, at least: the smallest page.
const ROOM: usize = 4096;

/// A file that is read whole, again and again.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    fd: Option<OwnedFd>,
    was_absent: bool,
    /// Whether a short read is the end.
    in_one_piece: bool,
    pub(super) bytes: Vec<u8>,
    len: usize,
}

/// A file whose content the kernel makes in one piece, at one read: a sysctl, or a file that
/// `single_open()` of `fs/seq_file.c` opens. A read that leaves room has read all of it, so that
/// the read which would find the end is saved.
#[derive(Debug)]
pub struct SingleFile(pub(super) File);

impl Deref for SingleFile {
    type Target = File;
    fn deref(&self) -> &File {
        &self.0
    }
}

impl DerefMut for SingleFile {
    fn deref_mut(&mut self) -> &mut File {
        &mut self.0
    }
}

impl File {
    pub(super) const fn new(path: PathBuf, in_one_piece: bool) -> Self {
        Self { path, fd: None, was_absent: false, in_one_piece, bytes: Vec::new(), len: 0 }
    }

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

    /// As [`File::parse`], with U+FFFD for what is not UTF-8: for files with names that anyone may
    /// give, such as those of interfaces.
    ///
    /// # Errors
    /// As [`File::bytes`], or what `parse` says.
    pub fn parse_lossy<T>(
        &mut self,
        parse: impl FnOnce(&str) -> Result<T, Malformed>,
    ) -> Result<T> {
        let parsed = parse(&String::from_utf8_lossy(self.bytes()?));
        parsed.map_err(|source| Error::Parse { path: self.path.clone(), source })
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
    /// `longest` is how long a line can be. The kernel fills a page at least while there is a next
    /// line, so what leaves room for one was the last; to be told so would cost as much again where
    /// a whole table is searched for each piece.
    ///
    /// # Errors
    /// As [`File::parse`]; what was given before stays given.
    pub fn lines(
        &mut self,
        longest: usize,
        mut each: impl FnMut(&str) -> Result<(), Malformed>,
    ) -> Result {
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
            let is_last = read + longest <= ROOM;
            let whole =
                if is_last { filled } else { memchr::memrchr(b'\n', bytes).map_or(0, |i| i + 1) };
            let bytes = bytes.get(..whole).unwrap_or_default();
            for line in text(bytes, &self.path)?.lines() {
                each(line).map_err(|source| Error::Parse { path: self.path.clone(), source })?;
            }
            if is_last {
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
        if self.bytes.len() - kept < ROOM {
            self.bytes.resize(kept + 2 * ROOM, 0);
        }
        let fd = match &mut self.fd {
            Some(fd) => fd,
            none => none.insert(open_again(&self.path, &mut self.was_absent, OFlags::empty())?),
        };
        let room = self.bytes.get_mut(kept..).unwrap_or_default();
        rustix::io::retry_on_intr(|| rustix::io::pread(&*fd, &mut *room, offset))
    }

    /// Reads until the kernel says 0: a short read is not the end of a sequence file, unless it is
    /// made in one piece. The kernel takes memory for all the room that a sysctl is given.
    fn fill(&mut self) -> Result<(), Errno> {
        let (first, least) = if self.in_one_piece { (1024, 1) } else { (ROOM, 1024) };
        let fd = match &mut self.fd {
            Some(fd) => fd,
            none => none.insert(open_again(&self.path, &mut self.was_absent, OFlags::empty())?),
        };
        let mut len = 0;
        loop {
            if self.bytes.len() - len < least {
                self.bytes.resize((self.bytes.len() * 2).max(first), 0);
            }
            let Some(room) = self.bytes.get_mut(len..) else { break };
            let most = room.len();
            match rustix::io::pread(&*fd, room, len as u64) {
                Ok(0) => break,
                Ok(n) => {
                    len += n;
                    if self.in_one_piece && n < most {
                        break;
                    }
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        self.len = len;
        Ok(())
    }
}
