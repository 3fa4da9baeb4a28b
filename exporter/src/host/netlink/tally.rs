//! The number of neighbours on each interface in each state, from one dump.
//!
//! The kernel's hash table grows when the entries of all namespaces become more than its buckets,
//! and never shrinks. A dump goes on with the same number of a bucket of the larger table, in which
//! all entries lie elsewhere: it tells some twice and passes over others. While the table grows, its
//! entries are on their way to the larger one, and kernels that dump without the table's lock tell of
//! few: that is the time in which there are more entries than buckets. So a dump during which the
//! table grows or has grown is taken anew. The kernel is asked for its table only where the entries
//! are not as many as in the dump before, which was right.

use std::{mem, sync::Arc};

use super::{Error, NUD_NOARP, Neighbour, Socket, Step, Table};
use crate::host::shared::Shared;

/// How often a dump is taken where the table grows meanwhile. The table doubles each time.
const TRIES: u32 = 4;

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
    /// The dump before, whose buffer is used again.
    before: Vec<(u32, States)>,
    /// The kernel's hash table ([`super::Table::hash`]) when the last question for it was answered.
    hash: Option<(u32, u32)>,
}

impl NeighbourDump {
    /// A dump of `AF_INET` or `AF_INET6`; nothing is asked yet.
    #[must_use]
    pub fn new(family: u8) -> Self {
        Self {
            family,
            socket: Socket::default(),
            tally: Arc::default(),
            before: Vec::new(),
            hash: None,
        }
    }

    fn refresh(&mut self) -> Result<(), Error> {
        let Self { family, socket, tally, before, hash } = self;
        // Where a late collector still reads the last tally, a copy takes its place.
        let interfaces = &mut Arc::make_mut(tally).interfaces;
        mem::swap(interfaces, before);
        let dump = |interfaces: &mut Vec<(u32, States)>| {
            socket.neighbours(*family, |step| match step {
                Step::Start => interfaces.clear(),
                Step::Item(neighbour) => add(interfaces, neighbour),
            })
        };
        let mut ask = || Socket::default().neighbour_table(*family);
        let dumped = dump_whole(interfaces, before, hash, dump, &mut ask);
        if dumped.is_err() {
            interfaces.clear(); // A dump is compared with complete ones only.
        }
        dumped
    }
}

/// Calls `dump` until the hash table has not grown during the call. `ask` asks the kernel for the
/// table, and `hash` is its hash table in the answer of the last time. Where the kernel does not
/// answer, its dumps are taken as they are.
fn dump_whole(
    interfaces: &mut Vec<(u32, States)>,
    before: &[(u32, States)],
    hash: &mut Option<(u32, u32)>,
    mut dump: impl FnMut(&mut Vec<(u32, States)>) -> Result<(), Error>,
    ask: &mut impl FnMut() -> Result<Option<Table>, Error>,
) -> Result<(), Error> {
    let mut result = Ok(());
    for _ in 0..TRIES {
        if hash.is_none() {
            *hash = ask().unwrap_or_default().map(|table| table.hash);
        }
        dump(interfaces)?;
        if same(interfaces, before) {
            return Ok(());
        }
        let now = ask().unwrap_or_default();
        let is_growing = now.is_some_and(|table| table.is_growing());
        let now = now.map(|table| table.hash);
        let has_grown = mem::replace(hash, now) != now;
        if !has_grown && !is_growing {
            return Ok(());
        }
        tracing::debug!("the table of neighbours grows, or has grown since the dump before");
        // The kernel may lack the memory for a larger hash table: then the dump is whole.
        result =
            if has_grown { Err(Error::Interrupted { request: "RTM_GETNEIGH" }) } else { Ok(()) };
    }
    result
}

/// Whether two dumps have the same number of entries on each interface.
fn same(a: &[(u32, States)], b: &[(u32, States)]) -> bool {
    let sum = |(ifindex, states): &(u32, States)| (*ifindex, states.iter().sum::<u64>());
    a.iter().map(sum).eq(b.iter().map(sum))
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

fn add(interfaces: &mut Vec<(u32, States)>, neighbour: Neighbour<'_>) {
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
            let neighbour = Neighbour { family: 2, ifindex, state, flags: 0, attributes: &[] };
            add(&mut tally.interfaces, neighbour);
        }
        assert_eq!(tally.states(3), Some(&[0, 0, 0, 0, 0, 0, 0, 1, 0]));
        assert_eq!(tally.states(7), Some(&[2, 0, 0, 0, 0, 0, 1, 0, 2]));
        assert_eq!([3, 7, 9, 4].map(|ifindex| tally.entries(ifindex)), [1, 4, 0, 0]);
        assert_eq!(STATES[NUD_NOARP.trailing_zeros() as usize], "noarp");
    }

    #[test]
    fn a_dump_during_which_the_table_has_grown_is_taken_anew() {
        // Entries of the dump before, the hash table known from before; entries of each dump;
        // answers to the question for the hash table, below zero while the table grows; entries
        // served.
        type Case = (u64, Option<u32>, &'static [u64], &'static [i32], Option<u64>);
        let cases: [Case; 12] = [
            (0, None, &[5], &[8, 8], Some(5)),
            (5, Some(8), &[6], &[8], Some(6)),
            (900, Some(8), &[900], &[], Some(900)),
            (900, Some(8), &[901], &[8], Some(901)),
            (900, Some(8), &[1200, 950], &[16, 16], Some(950)),
            (900, Some(8), &[1200, 900], &[16], Some(900)),
            (0, None, &[1200, 950], &[8, 16, 16], Some(950)),
            (9, Some(1), &[10, 11, 12, 13], &[2, 3, 4, 5], None),
            // Some entries are on their way, and the dump lacks them.
            (900, Some(8), &[500, 950], &[-8, 8], Some(950)),
            (900, Some(8), &[500, 950, 951], &[-8, 16, 16], Some(951)),
            // The table cannot grow.
            (9, Some(8), &[10, 11, 12, 13], &[-8, -8, -8, -8], Some(13)),
            // The kernel does not answer.
            (0, None, &[1200], &[0, 0], Some(1200)),
        ];
        for (i, (before, hash, dumps, answers, want)) in cases.into_iter().enumerate() {
            let tally = |n| vec![(7, [n, 0, 0, 0, 0, 0, 0, 0, 0])];
            let mut hash = hash.map(|mask| (mask, 0));
            let (mut interfaces, mut dumps, mut answers) =
                (Vec::new(), dumps.iter(), answers.iter());
            let dump = |interfaces: &mut Vec<(u32, States)>| {
                *interfaces = tally(*dumps.next().unwrap());
                Ok(())
            };
            let mut ask = || {
                let answer = *answers.next().unwrap();
                let mask = answer.unsigned_abs();
                let entries = if answer < 0 { mask + 2 } else { mask };
                Ok((answer != 0).then_some(Table { entries, hash: (mask, 0) }))
            };
            let result = dump_whole(&mut interfaces, &tally(before), &mut hash, dump, &mut ask);
            assert_eq!(result.ok().map(|()| interfaces), want.map(tally), "{i}");
            assert!(answers.next().is_none() && dumps.next().is_none(), "{i}");
        }
    }
}
