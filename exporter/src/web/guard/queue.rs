//! Passwords that wait to be checked, one after the other, on a thread of their own.
//!
//! A check may take seconds. So no address that sends many passwords holds up another's first: the
//! passwords of an address have turns, one after the other, and the lowest turn is next. The newest
//! password has its address's first turn: in a flood, the older ones have waited for longer than
//! their clients do. When there are too many, the last of the highest turn is given up.
//!
//! | state     | becomes   | when                                                       |
//! |-----------|-----------|------------------------------------------------------------|
//! | (none)    | waiting   | a password comes that is not known                         |
//! | waiting   | under way | its turn is the lowest, and the thread has nothing else    |
//! | waiting   | (none)    | all who asked are gone, or too many wait and it is last    |
//! | under way | known     | the thread is done; all who asked are told                 |

use std::{collections::HashSet, net::IpAddr};
use tokio::sync::oneshot;

/// Passwords that may wait at the same time.
const MOST: usize = 64;

/// Who sends passwords: an address, of which IPv6 gives everyone 2^64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin(Option<IpAddr>);

impl Origin {
    pub(super) fn of(peer: Option<IpAddr>) -> Self {
        Self(peer.map(|peer| match peer.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
            v4 @ IpAddr::V4(_) => v4,
        }))
    }
}

/// A check of a `T`; `K` is equal for equal checks.
#[derive(Debug)]
pub(super) struct Job<K, T> {
    pub key: K,
    pub what: T,
    asked: Vec<oneshot::Sender<bool>>,
    origin: Origin,
    turn: u64,
    number: u64,
}

impl<K, T> Job<K, T> {
    /// Tells all who asked.
    pub(super) fn answer(self, right: bool) {
        for asked in self.asked {
            let _ = asked.send(right); // gone, perhaps
        }
    }
}

/// The checks that wait, and those under way.
#[derive(Debug)]
pub(super) struct Queue<K, T> {
    jobs: Vec<Job<K, T>>,
    /// Equal checks of one that is under way wait for its end.
    joined: Vec<(K, oneshot::Sender<bool>)>,
    under_way: HashSet<K>,
    /// The turn of the job that was begun last.
    round: u64,
    next: u64,
}

impl<K, T> Default for Queue<K, T> {
    fn default() -> Self {
        Self { jobs: vec![], joined: vec![], under_way: HashSet::new(), round: 0, next: 0 }
    }
}

impl<K: Copy + Eq + std::hash::Hash, T> Queue<K, T> {
    /// Puts a check into the queue; the receiver ends without an answer where it is given up.
    pub(super) fn put(&mut self, key: K, what: T, origin: Origin) -> oneshot::Receiver<bool> {
        let (ask, asked) = oneshot::channel();
        if self.under_way.contains(&key) {
            self.joined.retain(|(_, asked)| !asked.is_closed());
            if self.joined.len() < MOST {
                self.joined.push((key, ask));
            }
            return asked;
        }
        if let Some(job) = self.jobs.iter_mut().find(|job| job.key == key) {
            job.asked.retain(|asked| !asked.is_closed());
            if job.asked.len() < MOST {
                job.asked.push(ask);
            }
            return asked;
        }
        self.forget_the_gone();
        let turn = self.of(origin).map(|job| job.turn).min().unwrap_or(self.round);
        self.of(origin).for_each(|job| job.turn += 1);
        let number = self.next;
        self.next += 1;
        self.jobs.push(Job { key, what, asked: vec![ask], origin, turn, number });
        if self.jobs.len() > MOST {
            let last = self.jobs.iter().enumerate().max_by_key(|(_, job)| (job.turn, job.number));
            if let Some((at, _)) = last {
                self.jobs.swap_remove(at);
            }
        }
        asked
    }

    /// The checks of an address that wait.
    fn of(&mut self, origin: Origin) -> impl Iterator<Item = &mut Job<K, T>> {
        self.jobs.iter_mut().filter(move |job| job.origin == origin)
    }

    /// The check whose turn it is; it is under way from then on.
    pub(super) fn begin(&mut self) -> Option<Job<K, T>> {
        self.forget_the_gone();
        let first = (self.jobs.iter().enumerate()).min_by_key(|(_, job)| (job.turn, job.number));
        let job = self.jobs.swap_remove(first?.0);
        self.round = job.turn;
        self.under_way.insert(job.key);
        Some(job)
    }

    /// Ends a check; those who joined it are to be told as well.
    pub(super) fn end(&mut self, job: &mut Job<K, T>) {
        self.under_way.remove(&job.key);
        let mut i = 0;
        while let Some((key, _)) = self.joined.get(i) {
            if *key == job.key {
                job.asked.push(self.joined.swap_remove(i).1);
            } else {
                i += 1;
            }
        }
    }

    fn forget_the_gone(&mut self) {
        self.jobs.retain(|job| !job.asked.iter().all(oneshot::Sender::is_closed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(last: u8) -> Origin {
        Origin::of(Some([127, 0, 0, last].into()))
    }

    #[test]
    fn an_address_with_many_does_not_hold_up_the_first_of_another() {
        let mut queue = Queue::default();
        let _many: Vec<_> = (0..10).map(|i| queue.put(i, (), origin(1))).collect();
        let job = queue.begin().unwrap();
        assert_eq!(job.key, 9);
        let _first = queue.put(100, (), origin(2));
        let _second = queue.put(101, (), origin(2));
        let order: Vec<_> = std::iter::from_fn(|| queue.begin()).map(|job| job.key).collect();
        assert_eq!(order, [101, 8, 100, 7, 6, 5, 4, 3, 2, 1, 0]);
    }

    #[test]
    fn the_oldest_of_the_many_gives_way() {
        let given_up = Err(oneshot::error::TryRecvError::Closed);
        let mut queue = Queue::default();
        let mut many: Vec<_> = (0..MOST + 10).map(|i| queue.put(i, (), origin(1))).collect();
        assert_eq!(queue.jobs.len(), MOST);
        let lost = many.iter_mut().map(|asked| asked.try_recv() == given_up);
        assert_eq!(lost.collect::<Vec<_>>(), [[true; 10].as_slice(), &[false; MOST]].concat());
        let mut first = queue.put(1000, (), origin(2));
        assert_eq!(queue.jobs.len(), MOST);
        assert!(many[10].try_recv() == given_up && first.try_recv() != given_up);
    }

    #[test]
    fn many_addresses_with_one_each_are_served_as_they_come() {
        let mut queue = Queue::default();
        let mut all: Vec<_> =
            (0..=MOST).map(|i| queue.put(i, (), origin(u8::try_from(i).unwrap()))).collect();
        assert_eq!(all[MOST].try_recv(), Err(oneshot::error::TryRecvError::Closed));
        let order: Vec<_> = std::iter::from_fn(|| queue.begin()).map(|job| job.key).collect();
        assert_eq!(order, (0..MOST).collect::<Vec<_>>());
    }

    #[test]
    fn equal_checks_are_one() {
        let mut queue = Queue::default();
        let mut asked = vec![queue.put(1, (), origin(1)), queue.put(1, (), origin(2))];
        let mut job = queue.begin().unwrap();
        asked.push(queue.put(1, (), origin(3)));
        asked.push(queue.put(1, (), origin(3)));
        assert!(queue.begin().is_none());
        queue.end(&mut job);
        job.answer(true);
        for mut asked in asked {
            assert_eq!(asked.try_recv(), Ok(true));
        }
        let _again = queue.put(1, (), origin(1));
        assert!(queue.begin().is_some(), "it is over");
    }

    #[test]
    fn whoever_is_gone_is_not_checked() {
        let mut queue = Queue::default();
        drop(queue.put(1, (), origin(1)));
        assert!(queue.begin().is_none());
    }

    #[test]
    fn networks_of_ipv6_are_one_origin() {
        let of = |text: &str| Origin::of(Some(text.parse().unwrap()));
        assert_eq!(of("2001:db8::1"), of("2001:db8::2:0:0:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.2"), of("192.0.2.1"));
    }
}
