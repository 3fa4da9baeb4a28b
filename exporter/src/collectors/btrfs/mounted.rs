//! Directories of the mounted file systems, on which ioctl(2) is called.

use super::ioctl::{FsInfo, fs_info};
use crate::{
    error::Result,
    host::{
        Host, Shared,
        mounts::{self, Mounts, join, strip, unescape},
    },
};
use rustix::{
    fd::OwnedFd,
    fs::{Mode, OFlags},
};
use std::path::PathBuf;

/// The mount points of btrfs.
pub struct Mounted {
    mounts: Shared<Mounts>,
    root: PathBuf,
    /// Mountinfo as it was last read.
    text: Vec<u8>,
    /// Device and mount point.
    points: Vec<(Vec<u8>, Vec<u8>)>,
    open: Vec<Open>,
}

/// A directory of one file system, open.
pub struct Open {
    pub fd: OwnedFd,
    pub info: FsInfo,
}

impl Mounted {
    pub fn new(host: &Host) -> Self {
        host.mounts.open();
        Self {
            mounts: host.mounts.clone(),
            root: host.root.root().into(),
            text: Vec::new(),
            points: Vec::new(),
            open: Vec::new(),
        }
    }

    /// Opens every file system once, at the first of its mount points that can be opened. A file
    /// system without such a mount point is left out.
    pub fn open(&mut self, scrape: u64) -> Result<&[Open]> {
        let Self { mounts, root, text, points, open } = self;
        mounts.read(scrape, |new, _| {
            if new != text {
                text.clear();
                text.extend_from_slice(new);
                points.clear();
                for line in mounts::lines(new).flatten().filter(|line| line.kind == b"btrfs") {
                    let point = join(root, strip(&unescape(line.point), root));
                    points.push((line.source.into(), point));
                }
            }
            Ok(())
        })?;
        open.clear();
        let mut done: Option<&[u8]> = None;
        for (device, point) in &*points {
            if done == Some(device) {
                continue;
            }
            match Open::new(point) {
                Ok(found) => {
                    done = Some(device);
                    if open.iter().all(|other| other.info.fsid != found.info.fsid) {
                        open.push(found);
                    }
                }
                Err(error) => tracing::debug!("btrfs: {}: {error}", String::from_utf8_lossy(point)),
            }
        }
        Ok(open)
    }

    /// Closes the file systems.
    pub fn close(&mut self) {
        self.open.clear();
    }
}

impl Open {
    fn new(point: &[u8]) -> Result<Self, rustix::io::Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::open(point, flags, Mode::empty())?;
        let info = fs_info(&fd)?;
        Ok(Self { fd, info })
    }
}
