//! Files that are read again and again.

use super::{identity::Identity, lossy, open, open_again, text};
use crate::{
    error::{Error, Faults, Malformed, Result},
    parse::{decimal, lines, number},
};
use rustix::{fd::OwnedFd, fs::OFlags, io::Errno};
use std::{
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
    str::FromStr,
};

/// The least room for one read, in bytes: the smallest page.
const ROOM: usize = 4096;

/// A file that is read whole, again and again.
#[derive(Debug)]
pub struct File {
    location: Location,
    /// Whether a short read is the end.
    in_one_piece: bool,
    pub(super) bytes: Vec<u8>,
    len: usize,
}

/// The path of a file, and the file that was found there.
#[derive(Debug)]
struct Location {
    path: PathBuf,
    open: Option<(OwnedFd, Identity)>,
    was_absent: bool,
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

impl Location {
    /// The file to read from that offset: the one that is open or, where the path leads to another by
    /// now, that one. A reading that has begun goes on in the same file.
    fn fd(&mut self, offset: u64) -> Result<&OwnedFd, Errno> {
        let leads = |identity: &Identity| identity.ends || identity.is_at(&self.path);
        let open = self.open.take().filter(|(_, identity)| offset > 0 || leads(identity));
        let open = match open {
            Some(open) => open,
            None => {
                let fd = open_again(&self.path, &mut self.was_absent, OFlags::empty())?;
                let identity = Identity::of(&fd, &rustix::fs::fstat(&fd)?)?;
                (fd, identity)
            }
        };
        Ok(&self.open.insert(open).0)
    }
}

impl File {
    pub(super) const fn new(path: PathBuf, in_one_piece: bool) -> Self {
        let location = Location { path, open: None, was_absent: false };
        Self { location, in_one_piece, bytes: Vec::new(), len: 0 }
    }

    /// The same, opened at once: for a file of procfs that this process may not open later. Where it
    /// cannot be opened, the first read tells.
    #[must_use]
    pub fn opened(mut self) -> Self {
        let _ = self.location.fd(0);
        self
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.location.path
    }

    /// Whether there is such a file.
    #[must_use]
    pub fn exists(&self) -> bool {
        rustix::fs::access(&self.location.path, rustix::fs::Access::EXISTS).is_ok()
    }

    /// Opens the file and closes it again, for the sake of the kernel's actions when a file is
    /// opened. An absent file is no error.
    pub fn touch(&self) {
        drop(open(rustix::fs::CWD, self.location.path.as_path(), OFlags::empty()));
    }

    /// The whole file as it is now.
    ///
    /// # Errors
    /// It cannot be opened or read. It is opened anew next time.
    pub fn bytes(&mut self) -> Result<&[u8]> {
        let was_open = self.location.open.is_some();
        let mut filled = self.fill();
        if filled.is_err() && was_open {
            self.location.open = None; // perhaps removed, and another put in its place
            filled = self.fill();
        }
        if let Err(source) = filled {
            self.location.open = None;
            self.len = 0;
            return Err(Error::Read { path: self.location.path.clone(), source: source.into() });
        }
        Ok(self.last())
    }

    /// The whole file as it is now, which must be UTF-8.
    ///
    /// # Errors
    /// As [`File::bytes`], or it is not UTF-8.
    pub fn read(&mut self) -> Result<&str> {
        self.bytes()?;
        text(self.last(), &self.location.path)
    }

    /// Reads and parses the file, and names it in errors. Bytes that are not UTF-8 become U+FFFD:
    /// anyone may name an interface, and a name must not hide the rows of others.
    ///
    /// # Errors
    /// As [`File::bytes`], or `parse` returns an error.
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

    /// The whole file as one number of any length, with or without white space around it; see
    /// [`decimal`].
    ///
    /// # Errors
    /// As [`File::parse`], or it is no number.
    pub fn decimal(&mut self) -> Result<f64> {
        self.parse(|text| decimal("number", text.trim()))
    }

    /// Parses the content that was read last, without reading again; see [`File::parse`].
    ///
    /// # Errors
    /// `parse` returns an error.
    pub fn parse_last<T>(&self, parse: impl FnOnce(&str) -> Result<T, Malformed>) -> Result<T> {
        parse(&lossy(self.last()))
            .map_err(|source| Error::Parse { path: self.location.path.clone(), source })
    }

    /// Gives `each` the lines as they are now, reading piece by piece: for files that have a
    /// line for each of very many things, and are not worth keeping in memory.
    ///
    /// `longest` is the length of the longest possible line, in bytes. The kernel fills at least a
    /// page while there is a next line, so that a piece which leaves room for a line is the last
    /// one. Asking the kernel for the end would cost as much again where it searches a whole table
    /// for each piece.
    ///
    /// A malformed line does not keep the others from being given.
    ///
    /// # Errors
    /// As [`File::parse`], the first where several lines are malformed; lines given before it stay
    /// given.
    pub fn lines(
        &mut self,
        longest: usize,
        mut each: impl FnMut(&str) -> Result<(), Malformed>,
    ) -> Result {
        self.len = 0;
        let (mut offset, mut kept) = (0, 0);
        let (mut faults, mut number) = (Faults::default(), 0);
        loop {
            let read = match self.fill_from(offset, kept) {
                Err(_) if offset == 0 && self.location.open.take().is_some() => {
                    self.fill_from(0, 0)
                }
                read => read,
            };
            let read = match read {
                Ok(read) => read,
                Err(source) => {
                    self.location.open = None;
                    return Err(Error::Read {
                        path: self.location.path.clone(),
                        source: source.into(),
                    });
                }
            };
            let filled = kept + read;
            let bytes = self.bytes.get(..filled).unwrap_or_default();
            let is_last = read + longest <= ROOM;
            let whole =
                if is_last { filled } else { memchr::memrchr(b'\n', bytes).map_or(0, |i| i + 1) };
            let bytes = bytes.get(..whole).unwrap_or_default();
            for line in lines(&lossy(bytes)) {
                number += 1;
                faults.keep(each(line).map_err(|malformed| malformed.in_line(number)));
            }
            if is_last {
                return faults
                    .end()
                    .map_err(|source| Error::Parse { path: self.location.path.clone(), source });
            }
            self.bytes.copy_within(whole..filled, 0);
            (offset, kept) = (offset + read as u64, filled - whole);
        }
    }

    /// The content that was read last, without reading again.
    #[must_use]
    pub fn last(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Reads once from `offset` of the file, behind the first `kept` bytes of the buffer.
    fn fill_from(&mut self, offset: u64, kept: usize) -> Result<usize, Errno> {
        if self.bytes.len() - kept < ROOM {
            self.bytes.resize(kept + 2 * ROOM, 0);
        }
        let fd = self.location.fd(offset)?;
        let room = self.bytes.get_mut(kept..).unwrap_or_default();
        rustix::io::retry_on_intr(|| rustix::io::pread(fd, &mut *room, offset))
    }

    /// Reads until the kernel says 0: a short read is not the end of a sequence file, unless the
    /// file is made in one piece. For a sysctl the kernel allocates as much memory as a read has
    /// room for.
    fn fill(&mut self) -> Result<(), Errno> {
        let (first, least) = if self.in_one_piece { (1024, 1) } else { (ROOM, 1024) };
        let fd = self.location.fd(0)?;
        let mut len = 0;
        loop {
            if self.bytes.len() - len < least {
                self.bytes.resize((self.bytes.len() * 2).max(first), 0);
            }
            let Some(room) = self.bytes.get_mut(len..) else { break };
            let most = room.len();
            match rustix::io::pread(fd, room, len as u64) {
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
