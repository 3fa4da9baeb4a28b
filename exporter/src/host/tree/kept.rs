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
//! - A directory is kept with its descriptor, so that its inode cannot become another's, and the
//!   path's inode is asked for at every scrape.
//! - An attribute that sysfs has removed refuses to be read (`ENODEV`), and is opened anew.
//! - Elsewhere (a folder of files) a removed file can still be read, but its directory's time of
//!   modification tells that an entry came or went. That time is coarse, so that nothing is kept
//!   of a directory that has changed in the last second.
//!
//! Of a setting (a label, a limit, a place in the topology) the value is kept in place of the
//! descriptor, for [`SETTINGS_EVERY`] scrapes at most and while its directory is the same. Nothing
//! of it remains in the kernel, and it is not in the budget. That a device lacks an attribute is
//! kept in the same way.

mod row;

use super::{
    attribute::{Bytes, read_page},
    open,
};
use hashbrown::HashMap;
use row::{Named, Row};
use rustix::{
    fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    fs::{AtFlags, FileType, OFlags, Stat},
    io::Errno,
};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// A setting is read again after that many scrapes: two minutes at an interval of 15 seconds.
pub const SETTINGS_EVERY: u64 = 8;

/// A setting that is longer is read at each scrape.
const LONGEST_SETTING: usize = 256;

/// The descriptors that kept attributes and their directories may still take.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    left: Arc<AtomicUsize>,
    /// The kernel gives the lowest number that is free, so that a higher one than this tells that
    /// descriptors are short, whoever has them.
    highest: usize,
}

impl Budget {
    /// Room for `most` descriptors, with numbers up to `highest`.
    #[must_use]
    pub fn new(most: usize, highest: usize) -> Self {
        Self { left: Arc::new(AtomicUsize::new(most)), highest }
    }

    /// The number of descriptors for which there is room.
    #[must_use]
    pub fn left(&self) -> usize {
        self.left.load(Relaxed)
    }

    /// Room for this descriptor; `None` where there is none.
    fn take(&self, fd: &OwnedFd) -> Option<Share> {
        let number = usize::try_from(fd.as_raw_fd()).unwrap_or(usize::MAX);
        let less = |left: usize| left.checked_sub(1).filter(|_| number <= self.highest);
        let taken = self.left.fetch_update(Relaxed, Relaxed, less);
        taken.is_ok().then(|| Share(Arc::clone(&self.left)))
    }
}

/// The budget of one descriptor, given back when it is dropped.
#[derive(Debug)]
struct Share(Arc<AtomicUsize>);

impl Drop for Share {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// The directories and attributes below one folder that are kept.
#[derive(Debug)]
pub(super) struct Pool {
    budget: Budget,
    /// The number of the scrape, or rather of the folder's listing.
    scrape: u64,
    /// By device and inode.
    dirs: Mutex<HashMap<(u64, u64), Arc<Kept>>>,
}

/// A directory that is open, and kept where it is in a [`Pool`].
#[derive(Debug)]
pub(super) enum Handle {
    Own(OwnedFd),
    Kept(Arc<Kept>),
}

/// A directory that is kept, with the attributes in it that are.
#[derive(Debug)]
pub(super) struct Kept {
    fd: OwnedFd,
    budget: Budget,
    files: Mutex<Files>,
    _share: Option<Share>,
}

#[derive(Debug, Default)]
struct Files {
    kept: Row<KeptFile>,
    settings: Row<Setting>,
    /// The last scrape in which the directory was used.
    scrape: u64,
    /// The directory's time of modification, in nanoseconds.
    changed: i128,
    /// Whether that time is long enough ago.
    is_settled: bool,
}

#[derive(Debug)]
struct KeptFile {
    name: Box<[u8]>,
    fd: OwnedFd,
    scrape: u64,
    _share: Share,
}

#[derive(Debug)]
struct Setting {
    name: Box<[u8]>,
    /// `None` where there is no such file.
    value: Option<Box<[u8]>>,
    /// The last scrape that asked for it.
    scrape: u64,
    /// The scrape that reads it again.
    due: u64,
}

impl Named for KeptFile {
    fn name(&self) -> &[u8] {
        &self.name
    }
}

impl Named for Setting {
    fn name(&self) -> &[u8] {
        &self.name
    }
}

impl Pool {
    pub(super) fn new(budget: Budget) -> Self {
        Self { budget, scrape: 0, dirs: Mutex::default() }
    }

    /// Begins a scrape: closes directories and attributes that the last one has not used.
    pub(super) fn begin(&mut self) {
        let last = self.scrape;
        self.scrape += 1;
        let dirs = self.dirs.get_mut().unwrap_or_else(PoisonError::into_inner);
        dirs.retain(|_, dir| dir.close_unused(last));
    }

    /// The folder itself, which has just been opened.
    pub(super) fn folder(&self, fd: OwnedFd) -> Result<Handle, Errno> {
        let folder = Handle::Kept(Arc::new(Kept::new(fd, self.budget.clone(), None)));
        self.check(&folder)?;
        Ok(folder)
    }

    /// Uses the folder itself in a scrape.
    pub(super) fn check(&self, folder: &Handle) -> Result<(), Errno> {
        let Handle::Kept(folder) = folder else { return Ok(()) };
        folder.close_unused(self.scrape - 1);
        folder.begin(&rustix::fs::fstat(&folder.fd)?, self.scrape);
        Ok(())
    }

    /// Opens the directory of that name, or finds it open.
    pub(super) fn dir(&self, at: BorrowedFd<'_>, name: &[u8]) -> Result<Handle, Errno> {
        let stat = rustix::fs::statat(at, name, AtFlags::empty())?;
        if !FileType::from_raw_mode(stat.st_mode).is_dir() {
            return Err(Errno::NOTDIR);
        }
        let mut dirs = lock(&self.dirs);
        if let Some(dir) = dirs.get(&(stat.st_dev, stat.st_ino)) {
            dir.begin(&stat, self.scrape);
            return Ok(Handle::Kept(Arc::clone(dir)));
        }
        let fd = open(at, name, OFlags::PATH | OFlags::DIRECTORY)?;
        let Some(share) = self.budget.take(&fd) else { return Ok(Handle::Own(fd)) };
        let stat = rustix::fs::fstat(&fd)?; // perhaps of another directory by now
        let dir = Arc::new(Kept::new(fd, self.budget.clone(), Some(share)));
        dir.begin(&stat, self.scrape);
        dirs.insert((stat.st_dev, stat.st_ino), Arc::clone(&dir));
        Ok(Handle::Kept(dir))
    }
}

impl Handle {
    /// The content of the attribute of that name.
    pub(super) fn read(&self, name: &[u8]) -> Result<Bytes, Errno> {
        match self {
            Self::Own(fd) => read_page(&open(fd, name, OFlags::empty())?),
            Self::Kept(dir) => dir.read(name),
        }
    }

    /// The content of the setting of that name, as it is or was within the last
    /// [`SETTINGS_EVERY`] scrapes.
    pub(super) fn setting(&self, name: &[u8]) -> Result<Bytes, Errno> {
        match self {
            Self::Own(_) => self.read(name),
            Self::Kept(dir) => dir.setting(name),
        }
    }
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Own(fd) => fd.as_fd(),
            Self::Kept(dir) => dir.fd.as_fd(),
        }
    }
}

impl Kept {
    fn new(fd: OwnedFd, budget: Budget, share: Option<Share>) -> Self {
        Self { fd, budget, files: Mutex::default(), _share: share }
    }

    /// Closes the files that were not read in that scrape or later; says whether the directory itself
    /// was used.
    fn close_unused(&self, scrape: u64) -> bool {
        let mut files = lock(&self.files);
        files.kept.retain(|file| file.scrape >= scrape);
        files.settings.retain(|setting| setting.scrape >= scrape);
        files.scrape >= scrape
    }

    /// Uses the directory in a scrape. Closes its files where an entry of it came or went, or may
    /// have.
    fn begin(&self, stat: &Stat, scrape: u64) {
        let mut files = lock(&self.files);
        let changed = i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec);
        if files.changed != changed {
            files.kept.clear();
            files.settings.clear();
            files.is_settled = false;
        }
        if !files.is_settled {
            files.is_settled = is_settled(stat.st_mtime);
        }
        (files.changed, files.scrape) = (changed, scrape);
    }

    fn read(&self, name: &[u8]) -> Result<Bytes, Errno> {
        let mut files = lock(&self.files);
        let scrape = files.scrape;
        if let Some(file) = files.kept.find(name) {
            if let Ok(bytes) = read_page(&file.fd) {
                file.scrape = scrape;
                return Ok(bytes);
            }
            files.kept.remove_found(); // perhaps removed, and another put in its place
        }
        let was_absent = match files.known(name) {
            Known::Value(None) => return Err(Errno::NOENT),
            Known::Value(Some(_)) | Known::Nothing => false,
            Known::Old => true,
        };
        let fd = match open(&self.fd, name, OFlags::empty()) {
            Err(Errno::NOENT) => {
                files.learn(name, None, was_absent);
                return Err(Errno::NOENT);
            }
            opened => opened?,
        };
        let bytes = read_page(&fd)?;
        // The time of a directory does not tell of changes in the directories below it.
        if files.is_settled
            && !name.contains(&b'/')
            && let Some(share) = self.budget.take(&fd)
        {
            files.kept.insert(KeptFile { name: name.into(), fd, scrape, _share: share });
        }
        Ok(bytes)
    }

    fn setting(&self, name: &[u8]) -> Result<Bytes, Errno> {
        let mut files = lock(&self.files);
        let was_known = match files.known(name) {
            Known::Value(value) => return value.ok_or(Errno::NOENT),
            Known::Old => true,
            Known::Nothing => false,
        };
        let read = open(&self.fd, name, OFlags::empty()).and_then(|fd| read_page(&fd));
        match &read {
            Ok(bytes) => files.learn(name, Some(bytes), was_known),
            Err(Errno::NOENT) => files.learn(name, None, was_known),
            Err(_) => {}
        }
        read
    }
}

/// A setting as it is known.
enum Known {
    /// Its value; `None` where there is no such file.
    Value(Option<Bytes>),
    /// A value that is to be read again.
    Old,
    Nothing,
}

impl Files {
    fn known(&mut self, name: &[u8]) -> Known {
        let scrape = self.scrape;
        let Some(setting) = self.settings.find(name) else { return Known::Nothing };
        if scrape < setting.due {
            setting.scrape = scrape;
            return Known::Value(setting.value.as_deref().map(Bytes::from));
        }
        Known::Old
    }

    /// Keeps a value, unless the directory's time does not yet tell of changes. [`Files::known`] has
    /// just said whether there is an old one.
    fn learn(&mut self, name: &[u8], value: Option<&[u8]>, was_known: bool) {
        let is_kept = self.is_settled && value.is_none_or(|value| value.len() <= LONGEST_SETTING);
        let scrape = self.scrape;
        match self.settings.found().filter(|_| was_known) {
            Some(setting) if is_kept => {
                if setting.value.as_deref() != value {
                    setting.value = value.map(Into::into);
                }
                (setting.scrape, setting.due) = (scrape, scrape + SETTINGS_EVERY);
            }
            Some(_) => self.settings.remove_found(),
            None if is_kept => {
                // At first the settings of a directory become due one after the other, so that each
                // scrape reads a share of them.
                let due = scrape + 1 + self.settings.len() % SETTINGS_EVERY;
                let (name, value) = (name.into(), value.map(Into::into));
                self.settings.insert(Setting { name, value, scrape, due });
            }
            None => {}
        }
    }
}

/// Whether a directory that changed at this second cannot have changed in the same tick as a file
/// in it is opened now.
fn is_settled(changed: i64) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).is_ok_and(|now| changed < now - 1)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
