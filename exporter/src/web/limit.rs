//! The number of connections that leave enough descriptors for the files of collectors.

use super::connection::{Limits, Places};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::Arc;

/// The most connections: more than any number of Prometheus servers opens.
const MOST: u64 = 1024;
/// Enough for one server, and for an administrator who looks into a failure.
const LEAST: u64 = 4;
/// The descriptors that a default scrape takes on a small machine without eBPF (60 are open after
/// it). With fewer, the exporter could fail anywhere, so it refuses to start.
pub const FEWEST_DESCRIPTORS: u64 = 64;

/// Raises the soft limit of descriptors to the hard limit, as Go's runtime does, and returns it. An
/// unused descriptor costs no memory.
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

/// Places for connections: a quarter of the descriptors beyond the first 64, from 4 to 1,024. The
/// other descriptors are for collectors, which keep their files open.
#[must_use]
pub fn places(descriptors: u64) -> Arc<Places> {
    Places::new(connections(descriptors), Limits::DEFAULT)
}

fn connections(descriptors: u64) -> usize {
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
