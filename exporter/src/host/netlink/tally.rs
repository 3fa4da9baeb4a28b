//! How many neighbours there are on each interface in each state, from one dump.

use std::sync::Arc;

use super::{Error, NUD_NOARP, Neighbour, Socket, Step};
use crate::host::shared::Shared;

/// `NUD_…` of include/uapi/linux/neighbour.h in the order of their bits; the last is no bit.
pub const STATES: [&str; 9] =
    ["incomplete", "reachable", "stale", "delay", "probe", "failed", "noarp", "permanent", "none"];

/// Entries for each of [`STATES`].
pub type States = [u64; STATES.len()];

/// The neighbours of one family, counted.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// By index of the interface, sorted.
    interfaces: Vec<(u32, States)>,
}

impl Tally {
    /// The entries of an interface in each state.
    #[must_use]
    pub fn states(&self, ifindex: u32) -> Option<&States> {
        let i = self.interfaces.binary_search_by_key(&ifindex, |&(ifindex, _)| ifindex).ok()?;
        self.interfaces.get(i).map(|(_, states)| states)
    }

    /// The entries of an interface; `NUD_NOARP` left out.
    #[must_use]
    pub fn entries(&self, ifindex: u32) -> u64 {
        let noarp = NUD_NOARP.trailing_zeros() as usize;
        let states = self.states(ifindex).into_iter().flatten().enumerate();
        states.filter(|(i, _)| *i != noarp).map(|(_, n)| n).sum()
    }
}

/// A dump of the neighbours of one family in this thread's network namespace, and the socket for
/// it.
#[derive(Debug)]
pub struct NeighbourDump {
    family: u8,
    socket: Socket,
    tally: Arc<Tally>,
}

impl NeighbourDump {
    /// A dump of `AF_INET` or `AF_INET6`; nothing is asked yet.
    #[must_use]
    pub fn new(family: u8) -> Self {
        Self { family, socket: Socket::default(), tally: Arc::default() }
    }

    fn refresh(&mut self) -> Result<(), Error> {
        // Where a collector that is late still reads the last one, another takes its place.
        let interfaces = &mut Arc::make_mut(&mut self.tally).interfaces;
        self.socket.neighbours(self.family, |step| match step {
            Step::Start => interfaces.clear(),
            Step::Item(neighbour) => add(interfaces, neighbour),
        })
    }
}

impl Shared<NeighbourDump> {
    /// The neighbours as they were dumped in this scrape; to be dropped at its end.
    ///
    /// # Errors
    /// As [`Socket::neighbours`].
    pub fn get(&self, scrape: u64) -> crate::error::Result<Arc<Tally>> {
        self.with(scrape, |dump| Ok(dump.refresh()?), |dump| Ok(Arc::clone(&dump.tally)))
    }
}

fn add(interfaces: &mut Vec<(u32, States)>, neighbour: Neighbour) {
    let i = match interfaces.binary_search_by_key(&neighbour.ifindex, |&(ifindex, _)| ifindex) {
        Ok(i) => i,
        Err(i) => {
            interfaces.insert(i, (neighbour.ifindex, [0; STATES.len()]));
            i
        }
    };
    let state = (neighbour.state.trailing_zeros() as usize).min(STATES.len() - 1);
    if let Some(n) = interfaces.get_mut(i).and_then(|(_, states)| states.get_mut(state)) {
        *n += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_counted_by_interface_and_state() {
        let mut tally = Tally::default();
        for (ifindex, state) in [(7, 1), (3, 0x80), (7, 1), (7, 0x40), (9, 0x40), (7, 0), (7, 256)]
        {
            let neighbour = Neighbour { family: 2, ifindex, state, flags: 0 };
            add(&mut tally.interfaces, neighbour);
        }
        assert_eq!(tally.states(3), Some(&[0, 0, 0, 0, 0, 0, 0, 1, 0]));
        assert_eq!(tally.states(7), Some(&[2, 0, 0, 0, 0, 0, 1, 0, 2]));
        assert_eq!([3, 7, 9, 4].map(|ifindex| tally.entries(ifindex)), [1, 4, 0, 0]);
        assert_eq!(STATES[NUD_NOARP.trailing_zeros() as usize], "noarp");
    }
}
