//! One directory that is kept, with the attributes and settings in it.

use super::{
    budget::{Budget, Share},
    lock,
    row::{Named, Row},
};
use crate::host::tree::{
    attribute::{Bytes, read_page},
    open,
};
use rustix::{
    fd::{AsFd as _, BorrowedFd, OwnedFd},
    fs::{OFlags, Stat},
    io::Errno,
};
use std::{
    sync::Mutex,
    time::{SystemTime, UNIX_EPOCH},
};

/// A setting is read again after that many scrapes: two minutes at an interval of 15 seconds.
pub const SETTINGS_EVERY: u64 = 8;

/// A setting that is longer is read at each scrape.
const LONGEST_SETTING: usize = 256;

/// A directory that is kept, with the attributes in it that are.
#[derive(Debug)]
pub(in crate::host::tree) struct Kept {
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

impl Kept {
    pub(super) fn new(fd: OwnedFd, budget: Budget, share: Option<Share>) -> Self {
        Self { fd, budget, files: Mutex::default(), _share: share }
    }

    /// The directory's descriptor.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Closes the files that were not read in that scrape or later; says whether the directory itself
    /// was used.
    pub(super) fn close_unused(&self, scrape: u64) -> bool {
        let mut files = lock(&self.files);
        files.kept.retain(|file| file.scrape >= scrape);
        files.settings.retain(|setting| setting.scrape >= scrape);
        files.scrape >= scrape
    }

    /// Uses the directory in a scrape. Closes its files where an entry of it came or went, or may
    /// have.
    pub(super) fn begin(&self, stat: &Stat, scrape: u64) {
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

    pub(super) fn read(&self, name: &[u8], room: &mut Bytes) -> Result<(), Errno> {
        let mut files = lock(&self.files);
        let scrape = files.scrape;
        if let Some(file) = files.kept.find(name) {
            if read_page(&file.fd, room).is_ok() {
                file.scrape = scrape;
                return Ok(());
            }
            files.kept.remove_found(); // perhaps removed, and another put in its place
        }
        let known = files.known(name);
        if known == Known::Fresh && files.settings.found().is_some_and(|file| file.value.is_none())
        {
            return Err(Errno::NOENT);
        }
        let fd = match open(&self.fd, name, OFlags::empty()) {
            Err(Errno::NOENT) => {
                files.learn(name, None, known);
                return Err(Errno::NOENT);
            }
            opened => opened?,
        };
        read_page(&fd, room)?;
        // The time of a directory does not tell of changes in the directories below it.
        if files.is_settled
            && !name.contains(&b'/')
            && let Some(share) = self.budget.take(&fd)
        {
            files.kept.insert(KeptFile { name: name.into(), fd, scrape, _share: share });
        }
        Ok(())
    }

    pub(super) fn setting(&self, name: &[u8], room: &mut Bytes) -> Result<(), Errno> {
        let mut files = lock(&self.files);
        let known = files.known(name);
        if known == Known::Fresh
            && let Some(setting) = files.settings.found()
        {
            return setting.value.as_deref().map(|value| room.set(value)).ok_or(Errno::NOENT);
        }
        let read = open(&self.fd, name, OFlags::empty()).and_then(|fd| read_page(&fd, room));
        match read {
            Ok(()) => files.learn(name, Some(room), known),
            Err(Errno::NOENT) => files.learn(name, None, known),
            Err(_) => {}
        }
        read
    }
}

/// Whether a setting's value is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// It need not be read.
    Fresh,
    /// It is to be read again.
    Old,
    Nothing,
}

impl Files {
    /// Finds the setting of that name, which [`Row::found`] then has.
    fn known(&mut self, name: &[u8]) -> Known {
        let scrape = self.scrape;
        let Some(setting) = self.settings.find(name) else { return Known::Nothing };
        setting.scrape = scrape;
        if scrape < setting.due { Known::Fresh } else { Known::Old }
    }

    /// Keeps a value, unless the directory's time does not yet tell of changes. [`Files::known`] has
    /// just said `known`.
    fn learn(&mut self, name: &[u8], value: Option<&[u8]>, known: Known) {
        let is_kept = self.is_settled && value.is_none_or(|value| value.len() <= LONGEST_SETTING);
        let scrape = self.scrape;
        match self.settings.found().filter(|_| known != Known::Nothing) {
            Some(setting) if is_kept => {
                if setting.value.as_deref() != value {
                    setting.value = value.map(Into::into);
                }
                setting.due = scrape + SETTINGS_EVERY;
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
