//! Arrays of the kernel, read from memory that the kernel shares.
//!
//! A scrape reads some hundred elements of an array of thousands: from shared memory that takes no
//! system call, and no capability.
#![expect(unsafe_code, reason = "shared memory is an address")]

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr::{self, NonNull},
    slice,
    sync::atomic::{AtomicU64, Ordering},
};

use bytemuck::Pod;

/// The elements of an array map made with `BPF_F_MMAPABLE`, which programs change at any time.
pub(super) struct Mapped<T> {
    start: NonNull<AtomicU64>,
    words: usize,
    of: PhantomData<T>,
}

// SAFETY: the memory belongs to the process, and each of its threads may read it.
unsafe impl<T> Send for Mapped<T> {}

impl<T: Pod> Mapped<T> {
    /// Eight-byte words in an element; the kernel rounds elements up to whole words.
    const WORDS: usize = {
        assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() == 8);
        size_of::<T>() / 8
    };

    /// Maps an array that has `elements` elements.
    pub(super) fn new(map: BorrowedFd<'_>, elements: u32) -> io::Result<Self> {
        let words = (elements as usize)
            .checked_mul(Self::WORDS)
            .ok_or(io::Error::from(io::ErrorKind::InvalidInput))?;
        // SAFETY: the kernel chooses the address.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                words * size_of::<u64>(),
                libc::PROT_READ,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        match NonNull::new(start) {
            Some(there) if start != libc::MAP_FAILED => {
                Ok(Self { start: there.cast(), words, of: PhantomData })
            }
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// All elements, as words.
    pub(super) const fn words(&self) -> &[AtomicU64] {
        // SAFETY: as many words were mapped, at the start of a page, and stay until `self` is
        // dropped.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }

    /// The element of that number. Programs may change it between the reads of two words.
    pub(super) fn get(&self, number: usize) -> Option<T> {
        let begin = number.checked_mul(Self::WORDS)?;
        let words = self.words().get(begin..begin.checked_add(Self::WORDS)?)?;
        let mut value = T::zeroed();
        let into: &mut [u64] = bytemuck::cast_slice_mut(slice::from_mut(&mut value));
        for (to, word) in into.iter_mut().zip(words) {
            *to = word.load(Ordering::Relaxed);
        }
        Some(value)
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: no borrow of the words outlives `self`.
        unsafe {
            libc::munmap(self.start.as_ptr().cast(), self.words * size_of::<u64>());
        }
    }
}
