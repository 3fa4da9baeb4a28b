//! Goes through every order of events for a few scrapes, slots and threads, and checks the
//! machine's invariants after each event.

use super::*;
use std::{
    collections::HashSet,
    hash::{BuildHasher as _, RandomState},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

/// A client's request: slots, and its time in seconds.
type Wish = (&'static [usize], Option<u64>);

/// The events.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// This client asks.
    Ask(usize),
    /// This client leaves.
    Leave(usize),
    /// A second passes.
    Second,
    /// A waiting client looks at the time.
    Tick,
    /// This thread asks for its next job.
    Next(usize),
    /// The run or the answer of this thread is done.
    Done(usize),
    /// This thread unwinds at the end of its job.
    Die(usize),
}

/// A machine with its clients, threads and clock. A run reads the set of clients that had asked
/// when it began, a bit for each client.
#[derive(Clone)]
struct World {
    machine: Machine<usize, u8>,
    clients: Vec<Client>,
    workers: Vec<Worker>,
    /// The set of clients that have asked.
    asked: u8,
    now: Instant,
    seconds: u64,
    /// Whether a client has looked at the time since the last second passed.
    ticked: bool,
    deaths: usize,
    /// Whether each slot was last reported as late.
    late: Vec<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Client {
    Fresh,
    Waits(u64),
    Answered,
    Left,
}

#[derive(Clone)]
struct Worker {
    id: Id,
    at: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum At {
    Asleep,
    /// Between two jobs, or just woken.
    Awake,
    Run {
        slot: usize,
        asked: u8,
    },
    Render(usize),
}

impl World {
    fn new(wishes: &[Wish], threads: usize) -> Self {
        let mut world = Self {
            machine: Machine::new(2, threads),
            clients: vec![Client::Fresh; wishes.len()],
            workers: Vec::new(),
            asked: 0,
            now: Instant::now(),
            seconds: 0,
            ticked: true,
            deaths: 0,
            late: vec![false; 2],
        };
        world.staff();
        world
    }

    /// A hash that tells the state from other states, regardless of the numbers of its threads.
    fn fingerprint(&self, hasher: &RandomState) -> u64 {
        let known = self.machine.threads.all();
        let mut threads: Vec<_> = (self.workers.iter().zip(known))
            .map(|(worker, (_, since, relieved))| (worker.at, since, relieved))
            .collect();
        threads.sort_unstable();
        let Machine { slots, queue, scrapes, ready, last: _, threads: _, rendered } = &self.machine;
        let around = (&self.clients, self.asked, self.seconds, self.ticked, self.deaths);
        hasher.hash_one((slots, queue, scrapes, ready, rendered, threads, around, &self.late))
    }

    /// All events that may come next.
    fn events(&self, limits: &Limits) -> Vec<Event> {
        let mut events = Vec::new();
        for (i, client) in self.clients.iter().enumerate() {
            match client {
                Client::Fresh => events.push(Event::Ask(i)),
                Client::Waits(_) => {
                    events.push(Event::Leave(i));
                    if !self.ticked {
                        events.push(Event::Tick);
                    }
                }
                Client::Answered | Client::Left => {}
            }
        }
        if self.seconds < limits.seconds {
            events.push(Event::Second);
        }
        for (i, worker) in self.workers.iter().enumerate() {
            match worker.at {
                At::Asleep => {}
                At::Awake => events.push(Event::Next(i)),
                At::Run { .. } | At::Render(_) => {
                    events.push(Event::Done(i));
                    if self.deaths < limits.deaths {
                        events.push(Event::Die(i));
                    }
                }
            }
        }
        events
    }

    fn happen(&mut self, event: Event, wishes: &[Wish]) {
        let mut news = Vec::new();
        match event {
            Event::Ask(client) => self.ask(client, wishes[client], &mut news),
            Event::Leave(client) => {
                let Client::Waits(number) = self.clients[client] else { panic!("it waits") };
                self.machine.leave(number);
                self.clients[client] = Client::Left;
            }
            Event::Second => {
                self.seconds += 1;
                self.ticked = false;
                self.now += Duration::from_secs(1);
            }
            Event::Tick => self.tick(&mut news),
            Event::Next(worker) => self.next(worker, wishes),
            Event::Done(worker) => self.done(worker, &mut news),
            Event::Die(worker) => {
                self.done(worker, &mut news);
                self.machine.dismiss(self.workers.remove(worker).id);
                self.wake(0);
                self.staff();
                self.deaths += 1;
            }
        }
        for news in news {
            let (slot, late) = match news {
                News::Late(slot) => (slot, true),
                News::Back(slot) => (slot, false),
            };
            assert_ne!(self.late[slot], late, "news that is none: {news:?}");
            self.late[slot] = late;
        }
    }

    fn ask(&mut self, client: usize, (slots, time): Wish, news: &mut Vec<News>) {
        let deadline = time.map(|time| self.now + Duration::from_secs(time));
        let slots = slots.iter().copied();
        let number = self.machine.ask(slots, deadline, client, self.now, news);
        self.clients[client] = Client::Waits(number);
        self.asked |= 1 << client;
        for part in &self.machine.scrapes.last().unwrap().parts {
            let run = self.machine.slots[part.slot].running.as_ref();
            let age = run.map(|run| self.now - run.since);
            let hangs = age.zip(time).is_some_and(|(age, time)| age >= Duration::from_secs(time));
            assert_eq!(matches!(part.state, Share::Late(_)), hangs, "skipped where it hangs");
        }
        self.wake(0);
    }

    fn tick(&mut self, news: &mut Vec<News>) {
        let due: Vec<u64> = (self.machine.scrapes.iter())
            .filter(|scrape| scrape.deadline.is_some_and(|at| at <= self.now))
            .map(|scrape| scrape.number)
            .collect();
        let before = self.machine.ready.len();
        self.machine.tick(self.now, news);
        for number in self.machine.ready.iter().skip(before) {
            assert!(due.contains(number), "late before its deadline");
        }
        for scrape in self.machine.scrapes.iter().filter(|scrape| due.contains(&scrape.number)) {
            assert_eq!(scrape.missing, 0, "waits past its deadline");
        }
        self.ticked = true;
        self.wake(0);
        self.staff();
    }

    fn next(&mut self, worker: usize, wishes: &[Wish]) {
        let at = match self.machine.next(self.workers[worker].id, self.now) {
            Job::Wait => At::Asleep,
            Job::Run(run) => At::Run { slot: run.slot, asked: self.asked },
            Job::Render(scrape) => {
                let client = scrape.request;
                assert_eq!(self.clients[client], Client::Waits(scrape.number), "answered once");
                let slots: Vec<usize> = scrape.parts.iter().map(|part| part.slot).collect();
                assert_eq!(slots, wishes[client].0, "a part for each slot");
                for part in &scrape.parts {
                    match part.state {
                        Share::Missing => panic!("a part is missing"),
                        Share::Late(_) => assert!(wishes[client].1.is_some()),
                        Share::Read(asked) => {
                            assert_ne!(asked & 1 << client, 0, "read before it asked");
                        }
                    }
                }
                At::Render(client)
            }
            Job::Leave => {
                self.workers.remove(worker);
                return self.wake(0);
            }
        };
        self.workers[worker].at = at;
    }

    fn done(&mut self, worker: usize, news: &mut Vec<News>) {
        match std::mem::replace(&mut self.workers[worker].at, At::Awake) {
            At::Run { slot, asked } => {
                let had: Vec<u8> = self.readings(slot).collect();
                let before = self.machine.end(slot, &asked, self.now, news);
                assert!(before.is_none_or(|before| had.contains(&before)), "made up");
                self.wake(1);
            }
            At::Render(client) => {
                if matches!(self.clients[client], Client::Waits(_)) {
                    self.clients[client] = Client::Answered;
                }
            }
            At::Asleep | At::Awake => panic!("it has a job"),
        }
    }

    /// The readings of this slot that scrapes hold.
    fn readings(&self, slot: usize) -> impl Iterator<Item = u8> {
        let parts = self.machine.scrapes.iter().flat_map(|scrape| &scrape.parts);
        parts.filter(move |part| part.slot == slot).filter_map(|part| match part.state {
            Share::Read(asked) => Some(asked),
            Share::Missing | Share::Late(_) => None,
        })
    }

    /// Starts the threads that are lacking.
    fn staff(&mut self) {
        while let Some(id) = self.machine.hire() {
            self.workers.push(Worker { id, at: At::Awake });
        }
    }

    fn wake(&mut self, taken: usize) {
        let threads = match self.machine.to_wake(taken) {
            many @ 2.. => many.max(self.workers.len()),
            few => few,
        };
        let asleep = self.workers.iter_mut().filter(|worker| worker.at == At::Asleep);
        for worker in asleep.take(threads) {
            worker.at = At::Awake;
        }
    }

    /// Checks the invariants of every state.
    fn check(&self) {
        for slot in 0..self.machine.slots.len() {
            self.check_slot(slot);
            let mut readings = self.readings(slot);
            let one = readings.next();
            assert!(readings.all(|other| Some(other) == one), "scrapes share one reading");
        }
        for &slot in &self.machine.queue {
            assert!(self.machine.slots[slot].waiting.is_some(), "nothing waits in the queue");
        }
        self.check_scrapes();
        self.check_threads();
    }

    fn check_slot(&self, i: usize) {
        let slot = &self.machine.slots[i];
        let runs = |worker: &&Worker| matches!(worker.at, At::Run { slot, .. } if slot == i);
        let runs = self.workers.iter().filter(runs).count();
        assert_eq!(runs, usize::from(slot.running.is_some()), "one run at a time");
        let queued = self.machine.queue.iter().filter(|&&queued| queued == i).count();
        let startable = slot.waiting.is_some() && slot.running.is_none();
        assert_eq!(queued, usize::from(startable), "queued where it may start");
        let served = slot.running.as_ref().map_or(0, |run| run.number);
        let wait = self.machine.scrapes.iter().filter(|scrape| {
            let missing = |part: &Part<u8>| part.slot == i && matches!(part.state, Share::Missing);
            scrape.number > served && scrape.parts.iter().any(missing)
        });
        let counted = slot.waiting.as_ref().map_or(0, |waiting| waiting.scrapes);
        assert_eq!(counted, wait.count(), "the waiting run counts the scrapes that wait for it");
    }

    fn check_scrapes(&self) {
        let Machine { scrapes, ready, .. } = &self.machine;
        assert!(scrapes.is_sorted_by(|a, b| a.number < b.number));
        for scrape in scrapes {
            let missing = |part: &&Part<u8>| matches!(part.state, Share::Missing);
            assert_eq!(scrape.missing, scrape.parts.iter().filter(missing).count());
            let listed = ready.iter().filter(|&&number| number == scrape.number).count();
            assert_eq!(listed, usize::from(scrape.missing == 0), "ready where nothing is missing");
            assert_eq!(self.clients[scrape.request], Client::Waits(scrape.number), "left behind");
        }
        assert!(ready.len() <= scrapes.len(), "ready, but gone");
        for (i, client) in self.clients.iter().enumerate() {
            let known = scrapes.iter().filter(|scrape| scrape.request == i).count();
            let rendered = self.workers.iter().filter(|worker| worker.at == At::Render(i)).count();
            match client {
                Client::Waits(_) => assert_eq!(known + rendered, 1, "somebody sees to it"),
                Client::Fresh | Client::Answered => assert_eq!((known, rendered), (0, 0)),
                Client::Left => assert_eq!(known, 0),
            }
        }
    }

    fn check_threads(&self) {
        let known = || self.machine.threads.all();
        let ids = known().map(|(id, ..)| id);
        assert!(ids.eq(self.workers.iter().map(|worker| worker.id)), "a thread is lost or made up");
        for (worker, (_, since, _)) in self.workers.iter().zip(known()) {
            match worker.at {
                At::Asleep => assert_eq!(since, None),
                At::Run { .. } | At::Render(_) => assert!(since.is_some()),
                At::Awake => {} // the machine does not know yet that its job is over
            }
        }
        let jobs = self.machine.queue.len() + self.machine.ready.len();
        let has = |at: At| self.workers.iter().any(|worker| worker.at == at);
        assert!(jobs == 0 || !has(At::Asleep) || has(At::Awake), "a job, and all are asleep");
    }

    /// Whether every client is served or gone, and every thread asleep.
    fn is_over(&self) -> bool {
        let done = |client: &Client| matches!(client, Client::Answered | Client::Left);
        self.clients.iter().all(done) && self.workers.iter().all(|worker| worker.at == At::Asleep)
    }

    fn check_end(&self) {
        let Machine { slots, queue, scrapes, ready, threads, .. } = &self.machine;
        assert!(queue.is_empty() && scrapes.is_empty() && ready.is_empty());
        assert!(slots.iter().all(|slot| slot.running.is_none() && slot.waiting.is_none()));
        assert!(threads.are_counted_on(), "a thread that is idle is counted on");
    }
}

/// The limits of the exploration.
struct Limits {
    seconds: u64,
    deaths: usize,
}

/// Goes through all events in every order; returns the number of states, and the number of those in
/// which all is over.
fn explore(wishes: &[Wish], threads: usize, limits: &Limits) -> (usize, usize) {
    let hasher = RandomState::new();
    let start = World::new(wishes, threads);
    let mut seen = HashSet::from([start.fingerprint(&hasher)]);
    // The events that led to each state, to be printed where an invariant fails.
    let mut ways: Vec<(usize, Option<Event>)> = vec![(0, None)];
    let (mut open, mut ends) = (vec![(start, 0)], 0);
    while let Some((world, way)) = open.pop() {
        if world.is_over() {
            world.check_end();
            ends += 1;
        }
        for event in world.events(limits) {
            let mut next = world.clone();
            let step = AssertUnwindSafe(|| {
                next.happen(event, wishes);
                next.check();
            });
            if let Err(panic) = catch_unwind(step) {
                println!("{:?}", path(&ways, way, event));
                resume_unwind(panic);
            }
            if seen.insert(next.fingerprint(&hasher)) {
                ways.push((way, Some(event)));
                open.push((next, ways.len() - 1));
            }
        }
    }
    (seen.len(), ends)
}

fn path(ways: &[(usize, Option<Event>)], mut way: usize, last: Event) -> Vec<Event> {
    let mut events = vec![last];
    while let (before, Some(event)) = ways[way] {
        events.push(event);
        way = before;
    }
    events.reverse();
    events
}

/// Explores, and checks that there were many states to explore.
fn holds(wishes: &[Wish], threads: usize, seconds: u64, deaths: usize) {
    let (states, ends) = explore(wishes, threads, &Limits { seconds, deaths });
    assert!(states > 1000 && ends > 1, "{states} states, {ends} ends");
}

const BOTH: &[usize] = &[0, 1];
const ONE: &[usize] = &[1];

#[test]
fn scrapes_with_different_times_share_one_thread() {
    holds(&[(BOTH, Some(1)), (BOTH, None), (ONE, Some(2))], 1, 1, 0);
}

#[test]
fn scrapes_share_two_threads() {
    holds(&[(BOTH, None), (BOTH, None), (BOTH, None)], 2, 0, 0);
}

#[test]
fn threads_that_unwind_are_replaced() {
    holds(&[(BOTH, Some(1)), (BOTH, None)], 2, 1, 1);
}

#[test]
fn a_slot_that_hangs_is_skipped_and_comes_back() {
    holds(&[(ONE, Some(1)), (ONE, Some(2))], 1, 3, 1);
}
