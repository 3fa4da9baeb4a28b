//! How many connections there may be beside the files that collectors keep open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More connections than any number of Prometheus servers has.
const MOST: u64 = 1024;
/// Enough for one server, and for those who look why it fails.
const LEAST: u64 = 4;
/// Descriptors that a default scrape takes on a small machine without eBPF (60 are open after it).
/// A start with fewer could fail anywhere, so it is refused.
pub const FEWEST_DESCRIPTORS: u64 = 64;

/// Raises the limit of descriptors to what this process may have, as Go's runtime does, and
/// returns it. The kernel sets nothing aside for a descriptor that is not used.
#[must_use]
pub fn raise_descriptors() -> u64 {
    let before = getrlimit(Resource::Nofile);
    if before.current != before.maximum {
        let raised = Rlimit { current: before.maximum, maximum: before.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::debug!(%error, "the limit of descriptors stays as it is");
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many connections there may be at the same time: a quarter of the descriptors beyond the
/// first 64, from 4 to 1,024. The rest is for collectors, which keep the files open that they read.
#[must_use]
pub fn connections(descriptors: u64) -> usize {
    let some = descriptors.saturating_sub(FEWEST_DESCRIPTORS) / 4;
    usize::try_from(some.clamp(LEAST, MOST)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_descriptors_are_for_collectors() {
        let at = |descriptors| connections(descriptors);
        assert_eq!([64, 100, 1024, 4160, u64::MAX].map(at), [4, 9, 240, 1024, 1024]);
    }
}
