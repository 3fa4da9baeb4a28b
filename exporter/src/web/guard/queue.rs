//! Passwords that wait to be checked, one after the other, on a thread of their own.
//!
//! A check may take seconds, and anyone can ask for one. So whoever asks for many is not to hold up
//! others, of whom three things are known: the user whose password it is to be, the address that it
//! comes from, and its time. Next is, by the first of these rules that tells two apart, a password
//!
//! 1. of the user who was served longest ago or never; names that there are not are one user,
//! 2. from the address that was served longest ago or never for that user,
//! 3. that came last: in a flood the older ones have waited for longer than their clients do.
//!
//! So a password waits for the check under way and for one of each other user, however many come
//! for other users, or from other addresses that have been served before. When there are too many,
//! the oldest is given up of the address with the most, and among such addresses of the user with
//! the most.
//!
//! | state     | becomes   | when                                                       |
//! |-----------|-----------|------------------------------------------------------------|
//! | (none)    | waiting   | a password comes that is not known                         |
//! | (none)    | joined    | it is equal to one under way                               |
//! | waiting   | waiting   | an equal one comes: both get the answer                    |
//! | waiting   | under way | it is next, and the thread has nothing else                |
//! | waiting   | (none)    | all who asked are gone, or too many wait: it is given up   |
//! | under way | known     | the thread is done; all who asked or joined are told       |
//! | joined    | known     | the same                                                   |
//! | joined    | (none)    | too many have joined: it is given up                       |
//!
//! A user and an address are remembered as served until many others have been.

use std::{cmp::Reverse, collections::HashSet, net::IpAddr};
use tokio::sync::oneshot;

/// Passwords that may wait at the same time.
const MOST: usize = 64;
/// Users and addresses that are remembered as served.
const REMEMBERED: usize = 256;

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

/// The party that a password counts for; no user is a name that there is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Party {
    pub user: Option<String>,
    pub origin: Origin,
}

/// A check of a `T`; `K` is equal for equal checks.
#[derive(Debug)]
pub(super) struct Job<K, T> {
    pub key: K,
    pub what: T,
    asked: Vec<oneshot::Sender<bool>>,
    party: Party,
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
    served: Served,
    next: u64,
}

impl<K, T> Default for Queue<K, T> {
    fn default() -> Self {
        Self {
            jobs: vec![],
            joined: vec![],
            under_way: HashSet::new(),
            served: Served::default(),
            next: 0,
        }
    }
}

/// The parties that were served, the last one at the end.
#[derive(Debug, Default)]
struct Served(Vec<Party>);

impl Served {
    fn note(&mut self, party: &Party) {
        self.0.retain(|served| served != party);
        if self.0.len() >= REMEMBERED {
            self.0.remove(0);
        }
        self.0.push(party.clone());
    }

    /// When the party's user was served last, and when the party itself was: lower is longer ago,
    /// 0 never.
    fn last(&self, party: &Party) -> (usize, usize) {
        let last = |is: &dyn Fn(&Party) -> bool| self.0.iter().rposition(is).map_or(0, |at| at + 1);
        (last(&|served| served.user == party.user), last(&|served| served == party))
    }
}

impl<K: Copy + Eq + std::hash::Hash, T> Queue<K, T> {
    /// Puts a check into the queue; the receiver ends without an answer where it is given up.
    pub(super) fn put(&mut self, key: K, what: T, party: Party) -> oneshot::Receiver<bool> {
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
        let number = self.next;
        self.next += 1;
        self.jobs.push(Job { key, what, asked: vec![ask], party, number });
        if self.jobs.len() > MOST
            && let Some(at) = self.of_the_most()
        {
            self.jobs.swap_remove(at);
        }
        asked
    }

    /// The check that is given up where too many wait.
    fn of_the_most(&self) -> Option<usize> {
        let count =
            |is: &dyn Fn(&Party) -> bool| self.jobs.iter().filter(|other| is(&other.party)).count();
        let rank = |job: &Job<K, T>| {
            let Party { user, origin } = &job.party;
            let of_address = count(&|other| other.origin == *origin);
            (of_address, count(&|other| other.user == *user), Reverse(job.number))
        };
        (0..self.jobs.len()).max_by_key(|&at| self.jobs.get(at).map(rank))
    }

    /// The check that is next; it is under way from then on.
    pub(super) fn begin(&mut self) -> Option<Job<K, T>> {
        self.forget_the_gone();
        let rank = |job: &Job<K, T>| (self.served.last(&job.party), Reverse(job.number));
        let next = (0..self.jobs.len()).min_by_key(|&at| self.jobs.get(at).map(rank));
        let job = self.jobs.swap_remove(next?);
        self.served.note(&job.party);
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
    use oneshot::error::TryRecvError::{Closed, Empty};

    /// `b1` is user `b` at address 1; the name `?` is nobody's.
    fn party(text: &str) -> Party {
        let (user, last) = text.split_at(1);
        let last: u8 = last.parse().unwrap();
        let user = Some(user.to_owned()).filter(|user| user != "?");
        Party { user, origin: Origin::of(Some([127, 0, 0, last].into())) }
    }

    /// Puts a check for each word, numbered from 0 on, and begins one for each `>`; returns those
    /// that were begun.
    fn order(script: &str) -> Vec<usize> {
        let (mut queue, mut asked, mut begun) = (Queue::default(), Vec::new(), Vec::new());
        for word in script.split(' ') {
            if word == ">" {
                begun.extend(queue.begin().map(|job| job.key));
            } else {
                asked.push(queue.put(asked.len(), (), party(word)));
            }
        }
        begun
    }

    #[test]
    fn the_next_one_is_chosen_by_user_then_address_then_time() {
        for (script, want) in [
            // One user at one address: the last is next.
            ("b1 b1 b1 > > >", &[2, 1, 0][..]),
            ("b1 > b1 b1 > b1 > >", &[0, 2, 3, 1]),
            // Another address of the user is next, whichever came last.
            ("b1 b1 > b2 b1 > > >", &[1, 2, 3, 0]),
            ("b1 b1 > b1 b2 > > >", &[1, 3, 2, 0]),
            ("b1 b2 b3 > > >", &[2, 1, 0]),
            ("b1 b2 > > b2 b1 b3 > > >", &[1, 0, 4, 2, 3]),
            // Another user is next, whatever the address.
            ("b1 b1 > a1 b1 > >", &[1, 2, 3]),
            ("b1 b1 > a1 b2 > >", &[1, 2, 3]),
            ("a1 b1 > > b1 a1 > >", &[1, 0, 2, 3]),
            // Names of nobody are one user.
            ("?1 ?1 > ?2 b1 ?3 > > >", &[1, 3, 4, 2]),
            ("b1 b1 > ?2 ?3 a2 > > > >", &[1, 4, 3, 0, 2]),
            // Nothing waits.
            ("b1 > >", &[0]),
        ] {
            assert_eq!(order(script), want, "{script}");
        }
    }

    #[test]
    fn a_newcomer_waits_for_one_check_of_each_other_user() {
        let flood = ["?1", "?2", "?3", "a1", "a2", "b1", "b2", "b3"];
        for (newcomer, most) in [("b9", 2), ("a9", 2), ("?9", 2), ("c9", 0), ("c1", 0)] {
            let (mut queue, mut key, mut asked) = (Queue::default(), 0, Vec::new());
            let mut round = |queue: &mut Queue<usize, ()>| {
                for sender in flood.iter().cycle().take(20) {
                    key += 1;
                    asked.push(queue.put(key, (), party(sender)));
                }
                queue.begin().unwrap().party
            };
            for _ in 0..40 {
                round(&mut queue);
            }
            let mut first = queue.put(0, (), party(newcomer));
            let others =
                (0..).take_while(|_| round(&mut queue) != party(newcomer)).take(100).count();
            assert!(others <= most, "{newcomer}: {others}");
            assert_eq!(first.try_recv(), Err(Closed), "its job was begun, and dropped here");
        }
    }

    #[test]
    fn the_oldest_of_the_crowd_is_given_up() {
        let many = |sender: &str, n: usize| format!("{sender} ").repeat(n);
        let each = |user: &str, n: usize| -> String {
            (1..=n).flat_map(|n| [user.to_owned(), n.to_string(), " ".to_owned()]).collect()
        };
        for (before, then, lost) in [
            (many("b1", MOST), "b1", 0),
            (many("b1", MOST), "b2", 0),
            ("b2 ".to_owned() + &many("b1", MOST - 1), "b1", 1),
            ("b2 ".to_owned() + &many("b1", MOST - 1), "b2", 1),
            // As many of one address as of the other: the user with more.
            (many("a1", 2) + &many("b1", 30) + &many("b2", 32), "a3", 2),
            (many("a2", 30) + &many("b1", 32) + "b2 b2", "b1", 30),
            // One of each address: the oldest of the user with the most.
            ("a250 ".to_owned() + &each("?", MOST - 1), "?99", 1),
            (each("b", MOST), "b99", 0),
        ] {
            let (mut queue, mut asked) = (Queue::default(), Vec::new());
            for sender in before.split_whitespace().chain([then]) {
                asked.push(queue.put(asked.len(), (), party(sender)));
            }
            assert_eq!((asked.len(), queue.jobs.len()), (MOST + 1, MOST));
            let closed = asked.iter_mut().map(|asked| asked.try_recv() == Err(Closed));
            let closed: Vec<usize> =
                closed.enumerate().filter_map(|(key, is_lost)| is_lost.then_some(key)).collect();
            assert_eq!(closed, [lost], "{before}{then}");
        }
    }

    #[test]
    fn states_are_those_of_the_table() {
        #[derive(Debug, PartialEq)]
        enum State {
            None,
            Waiting,
            UnderWay,
            Joined,
        }
        let state = |queue: &Queue<usize, ()>| {
            let waits = queue.jobs.iter().any(|job| job.key == 1);
            let joined = queue.joined.iter().any(|(key, _)| *key == 1);
            match (waits, queue.under_way.contains(&1), joined) {
                (false, false, false) => State::None,
                (true, false, false) => State::Waiting,
                (false, true, false) => State::UnderWay,
                (false, true, true) => State::Joined,
                other => panic!("{other:?}"),
            }
        };
        let mut queue = Queue::default();
        assert_eq!(state(&queue), State::None);
        // All who asked are gone.
        drop(queue.put(1, (), party("b1")));
        assert_eq!(state(&queue), State::Waiting);
        assert!(queue.begin().is_none());
        assert_eq!(state(&queue), State::None);
        // Given up.
        let mut first = queue.put(1, (), party("b1"));
        let many: Vec<_> = (2..MOST + 2).map(|key| queue.put(key, (), party("b1"))).collect();
        assert_eq!((state(&queue), first.try_recv()), (State::None, Err(Closed)));
        drop(many);
        // Equal ones wait together, and others join them under way.
        let mut asked = vec![queue.put(1, (), party("b1")), queue.put(1, (), party("b2"))];
        assert_eq!(
            (state(&queue), queue.jobs.iter().filter(|job| job.key == 1).count()),
            (State::Waiting, 1)
        );
        let mut job = queue.begin().unwrap();
        assert_eq!((job.key, state(&queue)), (1, State::UnderWay));
        asked.extend((0..MOST).map(|_| queue.put(1, (), party("b3"))));
        assert_eq!(state(&queue), State::Joined);
        assert_eq!(queue.put(1, (), party("b3")).try_recv(), Err(Closed), "too many have joined");
        assert!(queue.begin().is_none());
        assert!(asked.iter_mut().all(|asked| asked.try_recv() == Err(Empty)));
        // Known.
        queue.end(&mut job);
        assert_eq!(state(&queue), State::None);
        job.answer(true);
        assert!(asked.iter_mut().all(|asked| asked.try_recv() == Ok(true)));
        let _again = queue.put(1, (), party("b1"));
        assert_eq!(state(&queue), State::Waiting);
    }

    #[test]
    fn parties_are_forgotten_after_many_others() {
        let mut served = Served::default();
        let parties: Vec<Party> = (0..=REMEMBERED)
            .map(|n| Party { user: Some(n.to_string()), origin: Origin(None) })
            .collect();
        for party in &parties {
            served.note(party);
        }
        assert_eq!(served.0.len(), REMEMBERED);
        assert_eq!(served.last(&parties[0]), (0, 0));
        assert_eq!(served.last(&parties[1]), (1, 1));
        served.note(&parties[1]);
        assert_eq!(served.last(&parties[1]), (REMEMBERED, REMEMBERED));
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
