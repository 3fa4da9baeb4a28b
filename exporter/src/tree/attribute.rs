//! Files of at most a page, such as a device's attributes, read onto the stack.

use super::open;
use rustix::{fd::OwnedFd, fs::OFlags, io::Errno};
use std::ops::Deref;

/// One read is enough for what does not fill the room: sysfs gives an attribute whole
/// (`kernfs_fop_read_iter()`), and so do a process's files.
pub(super) fn read_page(at: &OwnedFd, name: &[u8]) -> Result<Bytes, Errno> {
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
pub(super) const PAGE: usize = 4096;

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

impl Default for Bytes {
    fn default() -> Self {
        Self { bytes: [0; PAGE], len: 0 }
    }
}

/// An attribute's text without white space around it, on the stack.
#[derive(Default)]
pub struct Attribute(Bytes);

impl Attribute {
    /// Of bytes that are UTF-8.
    pub(super) const fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl Deref for Attribute {
    type Target = str;
    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default().trim_ascii() // checked when it was read
    }
}
