//! Files of at most a page, such as a device's attributes.

use crate::exposition::Label;
use rustix::{fd::OwnedFd, io::Errno};
use std::ops::Deref;

/// Reads the file, at most a page of it. A read that does not fill its buffer has reached the end:
/// sysfs gives an attribute whole (`kernfs_fop_read_iter()`), and procfs the files of a process. A
/// read at the start makes the kernel ask for the value anew.
pub(super) fn read_page(fd: &OwnedFd, page: &mut Bytes) -> Result<(), Errno> {
    page.clear();
    let read = |room: &mut [u8; ROOM], offset: usize| {
        rustix::io::retry_on_intr(|| rustix::io::pread(fd, &mut *room, offset as u64))
    };
    page.len = read(&mut page.short, 0)?;
    if page.len < ROOM {
        return Ok(());
    }
    page.long.extend_from_slice(&page.short);
    while page.long.len() < PAGE {
        let more = read(&mut page.short, page.long.len())?;
        let Some(more) = page.short.get(..more).filter(|more| !more.is_empty()) else { break };
        page.long.extend_from_slice(more);
    }
    page.long.truncate(PAGE);
    Ok(())
}

/// The largest value of an attribute: sysfs gives one page.
pub(super) const PAGE: usize = 4096;

/// Nearly all attributes are shorter, and every move of a value copies this many bytes.
const ROOM: usize = 512;

/// The content of an attribute, on the stack save where it is long.
pub struct Bytes {
    short: [u8; ROOM],
    len: usize,
    /// The whole content, where it does not fit in `short`.
    long: Vec<u8>,
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        if self.long.is_empty() {
            self.short.get(..self.len).unwrap_or_default()
        } else {
            &self.long
        }
    }
}

impl Bytes {
    fn clear(&mut self) {
        self.len = 0;
        self.long.clear();
    }

    /// Takes a copy of this content.
    pub(super) fn set(&mut self, content: &[u8]) {
        self.clear();
        match self.short.get_mut(..content.len()) {
            Some(short) => {
                short.copy_from_slice(content);
                self.len = content.len();
            }
            None => self.long.extend_from_slice(content),
        }
    }
}

impl Default for Bytes {
    fn default() -> Self {
        Self { short: [0; ROOM], len: 0, long: Vec::new() }
    }
}

/// An attribute's text without white space around it.
#[derive(Default)]
pub struct Attribute(Bytes);

impl Attribute {
    /// An attribute of bytes that are UTF-8.
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

impl Label for Attribute {
    fn append(&self, text: &mut String) {
        text.push_str(self);
    }
}
