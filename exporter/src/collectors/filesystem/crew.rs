//! Threads that ask what may never be answered.
//!
//! A crew starts with one thread, takes more (up to its size) while there is more to ask than
//! is answered at once, and keeps them. A thread whose question stays open is parked: it no
//! longer counts, another may take its place, and when the answer comes after all it goes on or,
//! where it has been replaced, ends. A question that is open is not asked a second time.

use std::{
    collections::VecDeque,
    ffi::{CStr, CString},
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
pub struct Crew<T> {
    shared: Arc<Shared<T>>,
}

/// One question; the same one as long as there is someone who asks it.
pub struct Question<T> {
    path: CString,
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

struct Shared<T> {
    ask: Box<dyn Fn(&CStr) -> T + Send + Sync>,
    size: usize,
    state: Mutex<State<T>>,
    /// There is something to do for a thread.
    work: Condvar,
    /// All of a round is answered.
    done: Condvar,
}

struct State<T> {
    queue: VecDeque<Arc<Question<T>>>,
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

impl<T> Question<T> {
    /// The question, not asked yet.
    pub const fn new(path: CString) -> Self {
        Self { path, phase: Mutex::new(Phase::Idle), silent: AtomicBool::new(false) }
    }

    /// What it is about.
    pub fn path(&self) -> &CStr {
        &self.path
    }

    /// Keeps whether it has no answer, and says whether that is news.
    pub fn note(&self, silent: bool) -> bool {
        self.silent.swap(silent, Relaxed) != silent
    }

    /// The last answer; `None` while it is open.
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

impl<T: Send + 'static> Crew<T> {
    /// A crew of at most `size` threads (at least one) besides those that are parked.
    pub fn new(size: usize, ask: impl Fn(&CStr) -> T + Send + Sync + 'static) -> Self {
        let state = State {
            queue: VecDeque::new(),
            round: 0,
            open: 0,
            threads: 0,
            parked: 0,
            closed: false,
        };
        Self {
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
    pub fn ask(&self, questions: &[Arc<Question<T>>], patience: Duration) {
        let deadline = Instant::now().checked_add(patience);
        let mut state = lock(&self.shared.state);
        for question in questions {
            let mut phase = lock(&question.phase);
            if !matches!(*phase, Phase::Open { .. }) {
                *phase = Phase::Queued;
                state.queue.push_back(Arc::clone(question));
            }
        }
        state.open = state.queue.len();
        let (mut wanted, mut wait) = (1, ALONE);
        while state.open > 0 {
            let wake = self.staff(&mut state, wanted);
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
                    state.tick(questions);
                }
                (wanted, wait) = (self.shared.size, TICK);
            }
        }
        state.end(questions);
    }

    /// Sees to it that there are `wanted` threads, or as many as there are questions; returns how
    /// many are to be woken.
    fn staff(&self, state: &mut State<T>, wanted: usize) -> usize {
        let wanted = wanted.min(state.queue.len());
        while state.working() < wanted {
            let shared = Arc::clone(&self.shared);
            let started = thread::Builder::new()
                .name("statfs".into())
                .stack_size(64 << 10)
                .spawn(move || shared.work());
            if let Err(error) = started {
                tracing::error!(%error, "cannot start a thread for mounts");
                break;
            }
            state.threads += 1;
        }
        wanted
    }

    /// How many threads there are, and how many of them are parked.
    #[cfg(test)]
    pub fn threads(&self) -> (usize, usize) {
        let state = lock(&self.shared.state);
        (state.threads, state.parked)
    }
}

impl<T> State<T> {
    /// Threads that are counted on.
    const fn working(&self) -> usize {
        self.threads.saturating_sub(self.parked)
    }

    /// Parks the threads whose question was open at the last tick too.
    fn tick(&mut self, questions: &[Arc<Question<T>>]) {
        for question in questions {
            if let Phase::Open { seen, parked, .. } = &mut *lock(&question.phase) {
                self.parked += usize::from(*seen && !*parked);
                *parked |= *seen;
                *seen = true;
            }
        }
    }

    /// Ends the round: what is open now may stay so, and what has not been asked will not be.
    fn end(&mut self, questions: &[Arc<Question<T>>]) {
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

impl<T> Shared<T> {
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
            let answer = (self.ask)(&question.path);
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

impl<T> Drop for Crew<T> {
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

    fn questions(paths: &[&str]) -> Vec<Arc<Question<usize>>> {
        let question = |path: &&str| Arc::new(Question::new(CString::new(*path).unwrap()));
        paths.iter().map(question).collect()
    }

    fn answers(questions: &[Arc<Question<usize>>]) -> Vec<Option<usize>> {
        questions.iter().map(|question| question.answer()).collect()
    }

    /// A crew whose questions about `/hung…` wait for a word from the sender each, and how often
    /// they were asked. The answer is the length of the path.
    fn crew(size: usize) -> (Crew<usize>, Sender<()>, Arc<AtomicUsize>) {
        let (sender, receiver) = channel();
        let (receiver, asked) = (Mutex::new(receiver), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&asked);
        let crew = Crew::new(size, move |path| {
            if path.to_bytes().starts_with(b"/hung") {
                count.fetch_add(1, SeqCst);
                let _ = lock(&receiver).recv();
            }
            path.count_bytes()
        });
        (crew, sender, asked)
    }

    #[test]
    fn what_is_answered_at_once_needs_one_thread() {
        let (crew, ..) = crew(4);
        let all = questions(&["/a", "/bb", "/ccc"]);
        for _ in 0..3 {
            crew.ask(&all, LONG);
            assert_eq!(answers(&all), [Some(2), Some(3), Some(4)]);
        }
        assert!(crew.threads().0 <= 4);
        crew.ask(&[], LONG);
    }

    #[test]
    fn an_open_question_costs_one_parked_thread_and_hides_no_other() {
        let (crew, release, asked) = crew(1);
        let all = questions(&["/hung", "/a", "/bb"]);
        while asked.load(SeqCst) == 0 {
            crew.ask(&all[..1], SHORT);
        }
        for round in 0..3 {
            crew.ask(&all, LONG);
            assert_eq!(answers(&all), [None, Some(2), Some(3)], "{round}");
            assert_eq!(asked.load(SeqCst), 1, "not asked again");
            assert_eq!(crew.threads(), (2, 1));
        }
        drop(release);
        while all[0].answer().is_none() {
            thread::yield_now();
        }
        crew.ask(&all, LONG);
        assert_eq!(answers(&all), [Some(5), Some(2), Some(3)]);
        while crew.threads() != (1, 0) {
            thread::yield_now(); // the one that was replaced ends
        }
        assert_eq!(asked.load(SeqCst), 2, "asked anew once it was answered");
    }

    #[test]
    fn more_open_questions_than_threads_do_not_hold_up_the_rest() {
        let (crew, release, _) = crew(2);
        let all = questions(&["/hung1", "/hung2", "/hung3", "/a"]);
        let waiter = thread::scope(|scope| {
            let waiter = scope.spawn(|| crew.ask(&all, LONG));
            while all[3].answer().is_none() {
                thread::yield_now();
            }
            assert_eq!(all[0].answer(), None);
            drop(release); // within the same round
            waiter.join()
        });
        waiter.unwrap();
        assert_eq!(answers(&all), [Some(6), Some(6), Some(6), Some(2)]);
    }

    #[test]
    fn no_more_is_asked_after_the_round() {
        let (crew, release, asked) = crew(1);
        let all = questions(&["/hung1", "/hung2"]);
        while asked.load(SeqCst) == 0 {
            crew.ask(&all, SHORT);
        }
        assert_eq!((answers(&all), crew.threads()), (vec![None, None], (1, 1)));
        drop(release);
        while crew.threads() != (1, 0) {
            thread::yield_now();
        }
        assert_eq!((answers(&all), asked.load(SeqCst)), (vec![Some(6), None], 1));
    }
}
