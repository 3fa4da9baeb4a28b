use super::*;
use std::{
    sync::{
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc::{Sender, channel},
    },
    thread,
};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(20);

type Length = Question<&'static str, usize>;

fn questions<const N: usize>(subjects: [&'static str; N]) -> [Arc<Length>; N] {
    subjects.map(|subject| Arc::new(Question::new(subject)))
}

fn answers(questions: &[Arc<Length>]) -> Vec<Option<usize>> {
    questions.iter().map(|question| question.answer().map(Result::unwrap)).collect()
}

/// A crew whose questions about `hung…` wait for a word from the sender each, and the number of
/// times they were asked. The answer is the length of the subject.
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
fn questions_answered_at_once_need_one_thread() {
    let (mut crew, ..) = crew(4);
    crew.alone = LONG; // however slow this machine is
    let all = questions(["a", "bb", "ccc"]);
    for _ in 0..3 {
        crew.ask(&all, LONG).unwrap();
        assert_eq!(answers(&all), [Some(1), Some(2), Some(3)]);
        assert_eq!(crew.threads(), (1, 0));
    }
}

#[test]
fn a_round_without_questions_needs_no_thread() {
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
        assert_eq!(asked.load(SeqCst), 1, "no open question is asked again");
        assert_eq!(crew.threads(), (2, 1));
    }
    drop(release);
    while all[0].answer().is_none() {
        thread::yield_now();
    }
    crew.ask(&all, LONG).unwrap();
    assert_eq!(answers(&all), [Some(4), Some(1), Some(2)]);
    while crew.threads() != (1, 0) {
        thread::yield_now(); // the replaced thread ends
    }
    assert_eq!(asked.load(SeqCst), 2, "an answered question is asked anew");
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
        assert!(all[0].answer().is_none());
        drop(release); // within the same round
        waiter.join()
    });
    waiter.unwrap().unwrap();
    assert_eq!(answers(&all), [Some(5), Some(5), Some(5), Some(1)]);
}

#[test]
fn no_question_is_asked_after_the_round() {
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

#[test]
fn a_panic_fails_one_question_which_is_asked_again() {
    let asked = AtomicUsize::new(0);
    let crew = Crew::new("test", 1, move |subject: &&str| {
        assert!(*subject != "bad" || asked.fetch_add(1, SeqCst) > 0, "on purpose");
        subject.len()
    });
    let all = questions(["bad", "a"]);
    crew.ask(&all, LONG).unwrap();
    assert_eq!((all[0].answer(), all[1].answer()), (Some(Err(Panicked)), Some(Ok(1))));
    assert_eq!(crew.threads(), (1, 0));
    crew.ask(&all, LONG).unwrap();
    assert_eq!(answers(&all), [Some(3), Some(1)]);
}

#[test]
fn a_thread_that_unwinds_leaves_its_place_to_another() {
    /// A cause of a panic that panics when it is dropped, which nothing can catch.
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(thread::panicking(), "on purpose");
        }
    }
    let crew = Crew::new("test", 1, move |subject: &&str| {
        if *subject == "bad" {
            std::panic::panic_any(Bomb);
        }
        subject.len()
    });
    let all = questions(["bad", "a"]);
    for _ in 0..3 {
        crew.ask(&all, LONG).unwrap();
        assert_eq!((all[0].answer(), all[1].answer()), (Some(Err(Panicked)), Some(Ok(1))));
        assert!(crew.threads().0 <= 2 && crew.threads().1 == 0, "{:?}", crew.threads());
    }
    crew.ask(&all[..1], LONG).unwrap();
    while crew.threads() != (0, 0) {
        thread::yield_now();
    }
}

#[test]
fn a_panic_in_a_question_that_is_parked_frees_its_place() {
    let (release, hold) = channel::<()>();
    let hold = Mutex::new(hold);
    let crew = Crew::new("test", 1, move |subject: &&str| {
        assert!(*subject != "hung" || lock(&hold).recv().is_ok(), "on purpose");
        subject.len()
    });
    let all = questions(["hung", "a"]);
    crew.ask(&all, LONG.min(SHORT)).unwrap();
    while all[1].answer().is_none() {
        crew.ask(&all, SHORT).unwrap();
    }
    drop(release);
    while all[0].answer().is_none() {
        thread::yield_now();
    }
    assert_eq!(all[0].answer(), Some(Err(Panicked)));
    while crew.threads() != (1, 0) {
        thread::yield_now();
    }
}
