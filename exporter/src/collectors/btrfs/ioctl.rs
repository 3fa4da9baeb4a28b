//! The devices of a mounted btrfs, asked for by ioctl(2) (`include/uapi/linux/btrfs.h`).
#![expect(unsafe_code, reason = "an ioctl(2) takes the address of a structure")]

use rustix::{
    fd::AsFd,
    io::Errno,
    ioctl::{Opcode, Updater, ioctl, opcode},
};

const MAGIC: u8 = 0x94;
const DEV_INFO: Opcode = opcode::read_write::<DeviceInfo>(MAGIC, 30);
const FS_INFO: Opcode = opcode::read::<FsInfo>(MAGIC, 31);
const GET_DEV_STATS: Opcode = opcode::read_write::<DeviceStats>(MAGIC, 52);

/// `struct btrfs_ioctl_fs_info_args`.
#[repr(C)]
pub struct FsInfo {
    /// The highest number of a device.
    pub max_id: u64,
    pub devices: u64,
    pub fsid: [u8; 16],
    rest: [u64; 124],
}

/// `struct btrfs_ioctl_dev_info_args`.
#[repr(C)]
pub struct DeviceInfo {
    id: u64,
    pub uuid: [u8; 16],
    pub used: u64,
    pub total: u64,
    unused: [u64; 379],
    /// Ended by a NUL; empty where the device is missing.
    path: [u8; 1024],
}

/// `struct btrfs_ioctl_get_dev_stats`.
#[repr(C)]
pub struct DeviceStats {
    id: u64,
    items: u64,
    flags: u64,
    /// Errors: write, read, flush, corruption, generation.
    pub errors: [u64; 5],
    unused: [u64; 121],
}

impl DeviceInfo {
    /// The last component of the path.
    pub fn name(&self) -> &[u8] {
        let path = self.path.split(|&byte| byte == 0).next().unwrap_or_default();
        path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
    }
}

/// The file system in which the file or directory `fd` is.
pub fn fs_info(fd: impl AsFd) -> Result<FsInfo, Errno> {
    let mut info = FsInfo { max_id: 0, devices: 0, fsid: [0; 16], rest: [0; 124] };
    // SAFETY: the kernel writes one `FsInfo`, all of whose bit patterns are values.
    unsafe { ioctl(fd, Updater::<FS_INFO, _>::new(&mut info))? };
    Ok(info)
}

/// The device of that number; `ENODEV` where no device has it.
pub fn device_info(fd: impl AsFd, id: u64) -> Result<DeviceInfo, Errno> {
    let mut info =
        DeviceInfo { id, uuid: [0; 16], used: 0, total: 0, unused: [0; 379], path: [0; 1024] };
    // SAFETY: the kernel reads and writes one `DeviceInfo`, all of whose bit patterns are values.
    unsafe { ioctl(fd, Updater::<DEV_INFO, _>::new(&mut info))? };
    Ok(info)
}

/// The errors of the device of that number.
pub fn device_stats(fd: impl AsFd, id: u64) -> Result<DeviceStats, Errno> {
    let mut stats = DeviceStats { id, items: 5, flags: 0, errors: [0; 5], unused: [0; 121] };
    // SAFETY: the kernel reads and writes one `DeviceStats`, all of whose bit patterns are values.
    unsafe { ioctl(fd, Updater::<GET_DEV_STATS, _>::new(&mut stats))? };
    Ok(stats)
}

const _: () = assert!(
    size_of::<FsInfo>() == 1024
        && size_of::<DeviceInfo>() == 4096
        && size_of::<DeviceStats>() == 1032
);
