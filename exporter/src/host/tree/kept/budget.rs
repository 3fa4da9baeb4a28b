//! The descriptors that may stay open.

use rustix::fd::{AsRawFd as _, OwnedFd};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

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
    pub(super) fn take(&self, fd: &OwnedFd) -> Option<Share> {
        let number = usize::try_from(fd.as_raw_fd()).unwrap_or(usize::MAX);
        let less = |left: usize| left.checked_sub(1).filter(|_| number <= self.highest);
        let taken = self.left.fetch_update(Relaxed, Relaxed, less);
        taken.is_ok().then(|| Share(Arc::clone(&self.left)))
    }
}

/// The budget of one descriptor, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share(Arc<AtomicUsize>);

impl Drop for Share {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}
