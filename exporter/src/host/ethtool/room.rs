//! Room that the kernel fills without being told how much there is.
//!
//! `ETHTOOL_GSTRINGS` and `ETHTOOL_GSTATS` write as many entries as the driver has at that moment,
//! whatever number the caller gives. A page that nobody may write ends the room, so that the kernel
//! refuses (`EFAULT`) entries that would not fit.
#![expect(unsafe_code, reason = "the kernel is given an address")]

use std::{
    io,
    ptr::{self, NonNull},
    slice,
};

use rustix::param::page_size;

/// Memory that is the kernel's to fill. Pages that were never filled take none.
pub(super) struct Room {
    start: NonNull<u8>,
    /// Bytes that may be written; as many as a page has follow that may not.
    length: usize,
}

// SAFETY: the memory is the process's, whichever thread reads it.
unsafe impl Send for Room {}

impl Room {
    /// Room for so many bytes, zeroed.
    pub(super) fn new(bytes: usize) -> io::Result<Self> {
        let length = bytes.next_multiple_of(page_size());
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: the kernel chooses the address.
        let start = unsafe {
            libc::mmap(ptr::null_mut(), length + page_size(), libc::PROT_NONE, flags, -1, 0)
        };
        let room = match NonNull::new(start) {
            Some(there) if start != libc::MAP_FAILED => Self { start: there.cast(), length },
            _ => return Err(io::Error::last_os_error()),
        };
        // SAFETY: the pages are this mapping's, and nothing refers to them yet.
        let result = unsafe { libc::mprotect(start, length, libc::PROT_READ | libc::PROT_WRITE) };
        if result == 0 { Ok(room) } else { Err(io::Error::last_os_error()) }
    }

    /// The address for the kernel.
    pub(super) const fn address(&mut self) -> *mut libc::c_void {
        self.start.as_ptr().cast()
    }

    /// All of it.
    pub(super) const fn bytes(&self) -> &[u8] {
        // SAFETY: as many bytes are mapped until `self` is dropped, and the kernel writes only
        // during calls that borrow `self` mutably.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    /// All of it, to be written.
    pub(super) const fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `bytes`, and `self` is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // SAFETY: nothing that borrows the bytes outlives `self`.
        unsafe {
            libc::munmap(self.start.as_ptr().cast(), self.length + page_size());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Mode, OFlags, open};
    use std::os::fd::AsRawFd as _;

    #[test]
    fn the_kernel_cannot_write_past_the_end() {
        let mut room = Room::new(10).unwrap();
        let length = room.bytes().len();
        assert_eq!(length, page_size());
        let zeros = open("/dev/zero", OFlags::RDONLY, Mode::empty()).unwrap();
        room.bytes_mut().fill(1);
        // SAFETY: reads past the room into the page that ends it, which the kernel refuses.
        let read = unsafe { libc::read(zeros.as_raw_fd(), room.address(), length + page_size()) };
        assert_eq!(usize::try_from(read), Ok(length), "as much as fits");
        assert!(room.bytes().iter().all(|&byte| byte == 0));
    }
}
