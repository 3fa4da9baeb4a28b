//! Threads that ask what may never be answered.
//!
//! A crew starts with one thread, takes more (up to its size) while there is more to ask than
//! is answered at once, and keeps them. A thread whose question stays open is parked: it no
//! longer counts, another may take its place, and when the answer comes after all it goes on or,
//! where it has been replaced, ends. A question that is open is not asked a second time.

use crate::error::{Error, Result};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

/// For so long one thread asks alone: enough for what is answered from memory.
const ALONE: Duration = Duration::from_millis(1);
/// A thread that is seen with the same question at two ticks is parked.
const TICK: Duration = Duration::from_millis(50);

/// The threads.
pub struct Crew<S, T> {
    name: &'static str,
    shared: Arc<Shared<S, T>>,
}

/// One question; the same one as long as there is someone who asks it.
pub struct Question<S, T> {
    subject: S,
    phase: Mutex<Phase<T>>,
    silent: AtomicBool,
}

enum Phase<T> {
    Idle,
    Queued,
    /// `seen`: at a tick; `parked`: the thread is.
    Open {
        round: u64,
        seen: bool,
        parked: bool,
    },
    Answered(T),
}

struct Shared<S, T> {
    ask: Box<dyn Fn(&S) -> T + Send + Sync>,
    size: usize,
    state: Mutex<State<S, T>>,
    /// There is something to do for a thread.
    work: Condvar,
    /// All of a round is answered.
    done: Condvar,
}

struct State<S, T> {
    queue: VecDeque<Arc<Question<S, T>>>,
    round: u64,
    /// Questions of this round that are not answered.
    open: usize,
    threads: usize,
    parked: usize,
    closed: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S, T> Question<S, T> {
    /// The question, not asked yet.
    pub const fn new(subject: S) -> Self {
        Self { subject, phase: Mutex::new(Phase::Idle), silent: AtomicBool::new(false) }
    }

    /// What it is about.
    pub const fn subject(&self) -> &S {
        &self.subject
    }

    /// Keeps whether it has no answer, and says whether that is news.
    pub fn note(&self, silent: bool) -> bool {
        self.silent.swap(silent, Relaxed) != silent
    }

    /// The last answer; `None` while it is open, and where no thread had the time for it.
    pub fn answer(&self) -> Option<T>
    where
        T: Copy,
    {
        match &*lock(&self.phase) {
            Phase::Answered(answer) => Some(*answer),
            Phase::Idle | Phase::Queued | Phase::Open { .. } => None,
        }
    }
}

impl<S: Send + Sync + 'static, T: Send + 'static> Crew<S, T> {
    /// A crew of at most `size` threads (at least one) besides those that are parked. All are
    /// called `name`.
    pub fn new(
        name: &'static str,
        size: usize,
        ask: impl Fn(&S) -> T + Send + Sync + 'static,
    ) -> Self {
        let state = State {
            queue: VecDeque::new(),
            round: 0,
            open: 0,
            threads: 0,
            parked: 0,
            closed: false,
        };
        Self {
            name,
            shared: Arc::new(Shared {
                ask: Box::new(ask),
                size: size.max(1),
                state: Mutex::new(state),
                work: Condvar::new(),
                done: Condvar::new(),
            }),
        }
    }

    /// Asks all that is not open from before; returns once all is answered, or after `patience`.
    ///
    /// # Errors
    /// There is no thread that could ask, and none can be started.
    pub fn ask<'a>(
        &self,
        questions: impl IntoIterator<Item = &'a Arc<Question<S, T>>> + Clone,
        patience: Duration,
    ) -> Result {
        let deadline = Instant::now().checked_add(patience);
        let mut state = lock(&self.shared.state);
        for question in questions.clone() {
            let mut phase = lock(&question.phase);
            if !matches!(*phase, Phase::Open { .. }) {
                *phase = Phase::Queued;
                state.queue.push_back(Arc::clone(question));
            }
        }
        state.open = state.queue.len();
        let (mut wanted, mut wait, mut staffed) = (1, ALONE, Ok(()));
        while state.open > 0 {
            let wake = match self.staff(&mut state, wanted) {
                Ok(wake) => wake,
                Err(error) => {
                    staffed = Err(error);
                    break;
                }
            };
            drop(state);
            match wake {
                0 => {}
                1 => self.shared.work.notify_one(),
                _ => self.shared.work.notify_all(),
            }
            state = lock(&self.shared.state);
            if state.open == 0 {
                break;
            }
            let left = deadline.map_or(wait, |at| at.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            let (woken, timeout) = (self.shared.done.wait_timeout(state, wait.min(left)))
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            if timeout.timed_out() {
                if wait == TICK {
                    state.tick(questions.clone());
                }
                (wanted, wait) = (self.shared.size, TICK);
            }
        }
        state.end(questions);
        staffed
    }

    /// Sees to it that there are `wanted` threads, or as many as there are questions; returns how
    /// many are to be woken. Fewer will do where no more can be started.
    fn staff(&self, state: &mut State<S, T>, wanted: usize) -> Result<usize> {
        let wanted = wanted.min(state.queue.len());
        while state.working() < wanted {
            let shared = Arc::clone(&self.shared);
            let started = thread::Builder::new()
                .name(self.name.into())
                .stack_size(256 << 10)
                .spawn(move || shared.work());
            match started {
                Ok(_) => state.threads += 1,
                Err(source) if state.working() == 0 => {
                    return Err(Error::Call { call: "clone", source });
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot start another thread {}", self.name);
                    break;
                }
            }
        }
        Ok(wanted)
    }

    /// How many threads there are, and how many of them are parked.
    #[cfg(test)]
    pub fn threads(&self) -> (usize, usize) {
        let state = lock(&self.shared.state);
        (state.threads, state.parked)
    }
}

impl<S, T> State<S, T> {
    /// Threads that are counted on.
    const fn working(&self) -> usize {
        self.threads.saturating_sub(self.parked)
    }

    /// Parks the threads whose question was open at the last tick too.
    fn tick<'a>(&mut self, questions: impl IntoIterator<Item = &'a Arc<Question<S, T>>>)
    where
        S: 'a,
        T: 'a,
    {
        for question in questions {
            if let Phase::Open { seen, parked, .. } = &mut *lock(&question.phase) {
                self.parked += usize::from(*seen && !*parked);
                *parked |= *seen;
                *seen = true;
            }
        }
    }

    /// Ends the round: what is open now may stay so, and what has not been asked will not be.
    fn end<'a>(&mut self, questions: impl IntoIterator<Item = &'a Arc<Question<S, T>>>)
    where
        S: 'a,
        T: 'a,
    {
        self.queue.clear();
        self.open = 0;
        self.round += 1;
        for question in questions {
            match &mut *lock(&question.phase) {
                Phase::Open { parked, .. } => {
                    self.parked += usize::from(!*parked);
                    *parked = true;
                }
                phase @ Phase::Queued => *phase = Phase::Idle,
                Phase::Idle | Phase::Answered(_) => {}
            }
        }
    }
}

impl<S, T> Shared<S, T> {
    /// A thread's life.
    fn work(&self) {
        let mut state = lock(&self.state);
        while !state.closed && state.working() <= self.size {
            let Some(question) = state.queue.pop_front() else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let open = Phase::Open { round: state.round, seen: false, parked: false };
            *lock(&question.phase) = open;
            drop(state);
            let answer = (self.ask)(&question.subject);
            state = lock(&self.state);
            let before = std::mem::replace(&mut *lock(&question.phase), Phase::Answered(answer));
            if let Phase::Open { round, parked, .. } = before {
                state.parked -= usize::from(parked);
                if round == state.round {
                    state.open -= 1;
                    if state.open == 0 {
                        self.done.notify_one();
                    }
                }
            }
        }
        state.threads -= 1;
    }
}

impl<S, T> Drop for Crew<S, T> {
    /// Threads that wait end now, the others once they are answered.
    fn drop(&mut self) {
        lock(&self.shared.state).closed = true;
        self.shared.work.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc::{Sender, channel},
    };

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(20);

    type Length = Question<&'static str, usize>;

    fn questions<const N: usize>(subjects: [&'static str; N]) -> [Arc<Length>; N] {
        subjects.map(|subject| Arc::new(Question::new(subject)))
    }

    fn answers(questions: &[Arc<Length>]) -> Vec<Option<usize>> {
        questions.iter().map(|question| question.answer()).collect()
    }

    /// A crew whose questions about `hung…` wait for a word from the sender each, and how often
    /// they were asked. The answer is the length of the subject.
    fn crew(size: usize) -> (Crew<&'static str, usize>, Sender<()>, Arc<AtomicUsize>) {
        let (sender, receiver) = channel();
        let (receiver, asked) = (Mutex::new(receiver), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&asked);
        let crew = Crew::new("test", size, move |subject: &&str| {
            if subject.starts_with("hung") {
                count.fetch_add(1, SeqCst);
                let _ = lock(&receiver).recv();
            }
            subject.len()
        });
        (crew, sender, asked)
    }

    #[test]
    fn what_is_answered_at_once_needs_one_thread() {
        let (crew, ..) = crew(4);
        let all = questions(["a", "bb", "ccc"]);
        for _ in 0..3 {
            crew.ask(&all, LONG).unwrap();
            assert_eq!(answers(&all), [Some(1), Some(2), Some(3)]);
        }
        assert!(crew.threads().0 <= 4);
    }

    #[test]
    fn nothing_to_ask_needs_no_thread() {
        let (crew, ..) = crew(4);
        crew.ask(&[], LONG).unwrap();
        assert_eq!(crew.threads(), (0, 0));
    }

    #[test]
    fn silence_and_its_end_are_news_once() {
        let question = Length::new("a");
        let news = [false, true, true, false, false].map(|silent| question.note(silent));
        assert_eq!(news, [false, true, false, true, false]);
    }

    #[test]
    fn an_open_question_costs_one_parked_thread_and_hides_no_other() {
        let (crew, release, asked) = crew(1);
        let all = questions(["hung", "a", "bb"]);
        while asked.load(SeqCst) == 0 {
            crew.ask(&all[..1], SHORT).unwrap();
        }
        for round in 0..3 {
            crew.ask(&all, LONG).unwrap();
            assert_eq!(answers(&all), [None, Some(1), Some(2)], "{round}");
            assert_eq!(asked.load(SeqCst), 1, "not asked again");
            assert_eq!(crew.threads(), (2, 1));
        }
        drop(release);
        while all[0].answer().is_none() {
            thread::yield_now();
        }
        crew.ask(&all, LONG).unwrap();
        assert_eq!(answers(&all), [Some(4), Some(1), Some(2)]);
        while crew.threads() != (1, 0) {
            thread::yield_now(); // the one that was replaced ends
        }
        assert_eq!(asked.load(SeqCst), 2, "asked anew once it was answered");
    }

    #[test]
    fn more_open_questions_than_threads_do_not_hold_up_the_rest() {
        for size in [1, 2] {
            all_is_answered_in_one_round(size);
        }
    }

    fn all_is_answered_in_one_round(size: usize) {
        let (crew, release, _) = crew(size);
        let all = questions(["hung1", "hung2", "hung3", "a"]);
        let waiter = thread::scope(|scope| {
            let waiter = scope.spawn(|| crew.ask(&all, LONG));
            while all[3].answer().is_none() {
                thread::yield_now();
            }
            assert_eq!(all[0].answer(), None);
            drop(release); // within the same round
            waiter.join()
        });
        waiter.unwrap().unwrap();
        assert_eq!(answers(&all), [Some(5), Some(5), Some(5), Some(1)]);
    }

    #[test]
    fn no_more_is_asked_after_the_round() {
        let (crew, release, asked) = crew(1);
        let all = questions(["hung1", "hung2"]);
        while asked.load(SeqCst) == 0 {
            crew.ask(&all, SHORT).unwrap();
        }
        assert_eq!((answers(&all), crew.threads()), (vec![None, None], (1, 1)));
        drop(release);
        while crew.threads() != (1, 0) {
            thread::yield_now();
        }
        assert_eq!((answers(&all), asked.load(SeqCst)), (vec![Some(5), None], 1));
    }
}
