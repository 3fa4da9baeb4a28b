//! Samples that are taken back when their source fails.

use super::Sink;

/// A family at the beginning of an attempt.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    /// The number of its samples.
    samples: usize,
    in_order: bool,
}

impl Sink {
    /// Calls `put`. If `put` fails, its samples are taken back, so that another source may put the
    /// same series.
    ///
    /// # Errors
    /// The error of `put`.
    pub fn attempt<E>(&mut self, put: impl FnOnce(&mut Self) -> Result<(), E>) -> Result<(), E> {
        let mut marks = std::mem::take(&mut self.marks);
        marks.clear();
        marks.extend(
            self.families
                .iter()
                .map(|family| Mark { samples: family.samples.len(), in_order: family.in_order }),
        );
        let result = put(self);
        if result.is_err() {
            let none = Mark { samples: 0, in_order: true };
            // New families come after those with marks.
            let marks = marks.iter().copied().chain(std::iter::repeat(none));
            for (family, mark) in self.families.iter_mut().zip(marks) {
                family.truncate(mark.samples, mark.in_order);
            }
        }
        self.marks = marks;
        result
    }
}
