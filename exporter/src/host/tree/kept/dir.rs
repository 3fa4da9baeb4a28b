//! One directory that is kept, with the attributes and settings in it and the list of its names.

use super::{
    budget::{Budget, Share},
    lock,
    row::{Named, Row},
};
use crate::host::tree::{
    attribute::{Bytes, read_page},
    identity::{self, Identity, is_settled},
    names::Names,
    open,
};
use rustix::{
    fd::{AsFd as _, BorrowedFd, OwnedFd},
    fs::{OFlags, Stat},
    io::Errno,
};
use std::sync::{Arc, Mutex};

/// A setting is read again after that many scrapes: two minutes at an interval of 15 seconds.
pub const SETTINGS_EVERY: u64 = 8;

/// A setting that is longer is read at each scrape.
const LONGEST_SETTING: usize = 256;

/// A directory that is kept, with the attributes in it that are.
#[derive(Debug)]
pub(in crate::host::tree) struct Kept {
    fd: OwnedFd,
    identity: Identity,
    budget: Budget,
    files: Mutex<Files>,
    _share: Option<Share>,
}

#[derive(Debug, Default)]
struct Files {
    kept: Row<KeptFile>,
    settings: Row<Setting>,
    names: Arc<Names>,
    /// The scrape that lists the names again.
    names_due: u64,
    /// The last scrape in which the directory was used.
    scrape: u64,
    /// Which of [`SETTINGS_EVERY`] scrapes asks for things of this directory again: directories that
    /// came in the same scrape have different turns.
    turn: u64,
    /// The scrape that asks the path again whether it leads here, whatever a listing says.
    path_due: u64,
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
    /// The directory that is open, used in that scrape.
    pub(super) fn new(
        fd: OwnedFd,
        budget: Budget,
        share: Option<Share>,
        scrape: u64,
    ) -> Result<Self, Errno> {
        let stat = rustix::fs::fstat(&fd)?;
        let identity = Identity::of(&fd, &stat)?;
        let turn = turn(stat.st_ino);
        let path_due = scrape + 1 + turn;
        let files = Files { turn, path_due, is_settled: identity.is_sysfs, ..Files::default() };
        let files = Mutex::new(files);
        let dir = Self { fd, identity, budget, files, _share: share };
        dir.begin(&stat, scrape);
        Ok(dir)
    }

    /// The directory's descriptor.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The directory's inode.
    pub(in crate::host::tree) const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Closes the files that were not read in that scrape or later; says whether the directory itself
    /// was used.
    pub(super) fn close_unused(&self, scrape: u64) -> bool {
        let mut files = lock(&self.files);
        files.kept.retain(|file| file.scrape >= scrape);
        files.settings.retain(|setting| setting.scrape >= scrape);
        files.scrape >= scrape
    }

    /// Uses the directory in a scrape; the path has just told that it leads here.
    pub(super) fn found(&self, stat: &Stat, scrape: u64) {
        lock(&self.files).path_due = scrape + SETTINGS_EVERY;
        self.begin(stat, scrape);
    }

    /// Uses the directory in a scrape, whose listing of the directory above tells that it is still
    /// there; says whether that is enough.
    pub(super) fn is_listed(&self, scrape: u64) -> Result<bool, Errno> {
        if lock(&self.files).path_due <= scrape {
            return Ok(false);
        }
        self.again(scrape)?;
        Ok(true)
    }

    /// Uses the directory in a scrape, which has it open.
    pub(super) fn again(&self, scrape: u64) -> Result<(), Errno> {
        if self.identity.is_sysfs {
            lock(&self.files).scrape = scrape;
        } else {
            self.begin(&rustix::fs::fstat(&self.fd)?, scrape);
        }
        Ok(())
    }

    /// Uses the directory in a scrape. Closes its files where an entry of it came or went, or may
    /// have. The times of sysfs do not tell.
    fn begin(&self, stat: &Stat, scrape: u64) {
        let mut files = lock(&self.files);
        files.scrape = scrape;
        if self.identity.is_sysfs {
            return;
        }
        let changed = identity::changed(stat);
        if files.changed != changed {
            files.changed = changed;
            files.kept.clear();
            files.forget();
            files.is_settled = false;
        }
        if !files.is_settled {
            files.is_settled = is_settled(changed);
        }
    }

    /// Puts the directory's names into `names`, as they are or were within the last
    /// [`SETTINGS_EVERY`] scrapes; `room` is for a listing. While the names are the same, so is the
    /// [`Arc`].
    pub(super) fn names(&self, names: &mut Arc<Names>, room: &mut Names) -> Result<(), Errno> {
        let mut files = lock(&self.files);
        if files.scrape >= files.names_due {
            room.fill(open(&self.fd, c".", OFlags::DIRECTORY)?)?;
            let is_first = files.names_due == 0;
            if *room != *files.names {
                files.names = Arc::new(room.clone());
            }
            let wait = if is_first { 1 + files.turn } else { SETTINGS_EVERY };
            files.names_due = if files.is_settled { files.scrape + wait } else { 0 };
        }
        if !Arc::ptr_eq(names, &files.names) {
            *names = Arc::clone(&files.names);
        }
        Ok(())
    }

    pub(super) fn read(&self, name: &[u8], room: &mut Bytes) -> Result<(), Errno> {
        let mut files = lock(&self.files);
        let scrape = files.scrape;
        if let Some(file) = files.kept.find(name) {
            match read_page(&file.fd, room) {
                Ok(()) => {
                    file.scrape = scrape;
                    return Ok(());
                }
                // Removed, perhaps with others, and perhaps others were put in their places.
                Err(Errno::NODEV) => files.forget(),
                Err(_) => {}
            }
            files.kept.remove_found();
        }
        let known = files.known(name);
        if known == Known::Fresh && !files.has_found() {
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
            Err(Errno::NOENT) if known == Known::Old && files.has_found() => files.forget(),
            Err(Errno::NOENT) => files.learn(name, None, known),
            Err(_) => {}
        }
        read
    }

    /// Has the setting of that name read anew next time.
    pub(super) fn forget_setting(&self, name: &[u8]) {
        let mut files = lock(&self.files);
        if files.settings.find(name).is_some() {
            files.settings.remove_found();
        }
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
    /// Whether there was a file for the setting that was just found.
    fn has_found(&mut self) -> bool {
        self.settings.found().is_some_and(|setting| setting.value.is_some())
    }

    /// Has all settings read and the names listed again.
    fn forget(&mut self) {
        self.settings.clear();
        self.names_due = 0;
    }

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
                let due = scrape + 1 + (self.turn + self.settings.len()) % SETTINGS_EVERY;
                let (name, value) = (name.into(), value.map(Into::into));
                self.settings.insert(Setting { name, value, scrape, due });
            }
            None => {}
        }
    }
}

/// The turn of the directory of that inode. Inodes of devices of one kind are mostly equally far
/// apart, and a remainder would be the same for all.
const fn turn(inode: u64) -> u64 {
    const GOLDEN_RATIO: u64 = 0x9e37_79b9_7f4a_7c15; // of 2⁶⁴
    (inode.wrapping_mul(GOLDEN_RATIO) >> 32) * SETTINGS_EVERY / (1 << 32)
}
