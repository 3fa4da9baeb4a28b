//! Whether a path still leads to the file or directory that is open.

use rustix::{
    fd::AsFd,
    fs::{FsWord, Stat},
    io::Errno,
};
use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

/// The types that procfs and sysfs say of themselves (`include/uapi/linux/magic.h`).
pub(super) const PROC_SUPER_MAGIC: FsWord = 0x9fa0;
pub(super) const SYSFS_MAGIC: FsWord = 0x6265_6572;

/// Tells an open file or directory from another one of the same path. While it is open, no other one
/// gets its inode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    /// As [`key`] has it.
    pub key: (u64, u64),
    pub is_sysfs: bool,
    /// Whether the kernel takes the file away from those who have it open once there is another one
    /// in its place. In other file systems it stays readable, as it was.
    pub ends: bool,
}

impl Identity {
    /// That of an open file, about which `stat` tells.
    pub(super) fn of(fd: impl AsFd, stat: &Stat) -> Result<Self, Errno> {
        let file_system = rustix::fs::fstatfs(fd)?.f_type;
        let is_sysfs = file_system == SYSFS_MAGIC;
        let ends = is_sysfs || file_system == PROC_SUPER_MAGIC;
        Ok(Self { key: key(stat), is_sysfs, ends })
    }

    /// Whether the path leads here.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        rustix::fs::stat(path).is_ok_and(|stat| key(&stat) == self.key)
    }
}

/// The device number of the file system, and the inode.
pub(super) const fn key(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// When a directory's entries last came or went, in nanoseconds since 1970. In sysfs it is when the
/// kernel last made the inode in memory.
pub(super) fn changed(stat: &Stat) -> i128 {
    i128::from(stat.st_mtime) * SECOND + i128::from(stat.st_mtime_nsec)
}

/// Whether a directory that changed at this time cannot have changed in the same tick as a file in it
/// is opened now.
pub(super) fn is_settled(changed: i128) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    changed < (i128::from(now.as_secs()) - 1) * SECOND
}

/// In nanoseconds.
const SECOND: i128 = 1_000_000_000;
