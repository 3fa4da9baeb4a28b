use super::{
    Phase::{Answering, Closing, Flushing, Head, Leaving, Quiet, Writing},
    converse::is_for_hyper,
    *,
};
use crate::web::connection::{streams::Streams, wire::Wire};
use std::{
    future::poll_fn,
    io::{Read as _, Write as _},
    pin::Pin,
    sync::Arc,
};
use tokio::io::AsyncWrite as _;

const PHASES: [Phase; 7] = [Quiet, Head, Answering, Writing, Flushing, Closing, Leaving];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Came,
    Requested,
    Answered,
    Buffered,
    Wrote,
    Flushed,
    Greeted,
    /// The streams of HTTP/2 have this phase.
    Follows(Phase),
    /// The client has taken all that was written.
    Took,
    Closes,
    Leave,
    /// Nothing happens for four seconds.
    Time,
}

const EVENTS: [Event; 15] = [
    Event::Came,
    Event::Requested,
    Event::Answered,
    Event::Buffered,
    Event::Wrote,
    Event::Flushed,
    Event::Greeted,
    Event::Follows(Quiet),
    Event::Follows(Head),
    Event::Follows(Answering),
    Event::Follows(Writing),
    Event::Took,
    Event::Closes,
    Event::Leave,
    Event::Time,
];

/// The table in the head of the module.
const fn next(phase: Phase, event: Event) -> Phase {
    match (event, phase) {
        (_, Leaving) | (Event::Leave, _) => Leaving,
        (Event::Closes, _) | (Event::Follows(_), Closing) => Closing,
        (Event::Follows(to), _) => to,
        (Event::Came, Quiet) => Head,
        (Event::Requested, Quiet | Head) => Answering,
        (Event::Answered, Answering) => Writing,
        (Event::Buffered, Answering | Writing) => Flushing,
        (Event::Flushed, Flushing) | (Event::Greeted, Head) => Quiet,
        _ => phase,
    }
}

/// A state with its surroundings: the time, and the number of bytes that the kernel holds.
#[derive(Clone, Copy)]
struct World {
    state: State,
    now: Instant,
    unsent: u64,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        Self { state: State::new(now), now, unsent: 0 }
    }

    fn after(mut self, event: Event) -> Self {
        let (state, now) = (&mut self.state, self.now);
        match event {
            Event::Came => state.came(now),
            Event::Requested => state.requested(now),
            Event::Answered => state.answered(now),
            Event::Buffered => state.buffered(now),
            Event::Wrote => {
                state.wrote(100_000, now);
                self.unsent += 100_000;
            }
            Event::Flushed => state.flushed(now),
            Event::Greeted => state.greeted(now),
            Event::Follows(phase) => state.follows((phase, None), now),
            Event::Took => {
                self.unsent = 0;
                state.settle(0);
            }
            Event::Closes => state.closes(now),
            Event::Leave => state.leave(),
            Event::Time => self.now += Duration::from_secs(4),
        }
        self
    }

    fn turn(&self, half_closed: bool) -> Option<Turn> {
        self.state.turn(self.unsent, half_closed, &Limits::DEFAULT, self.now)
    }

    /// Checks the invariants of every state that can be reached.
    fn check(&self, path: &[Event]) {
        let phase = self.state.phase;
        let debt = self.state.debt.is_some();
        assert!(debt || !matches!(phase, Writing), "{path:?}: an answer is not counted");
        assert!(debt || self.unsent == 0, "{path:?}: written bytes are not counted");
        match (self.turn(false), phase) {
            (None, Quiet | Head | Closing) => assert!(debt, "{path:?}: an idle connection stays"),
            (None, _) => {}
            (Some(turn), Quiet | Head | Closing) => {
                assert_eq!(matches!(turn, Turn::Idle(_)), !debt, "{path:?}");
            }
            (Some(turn), Writing | Flushing) => {
                assert!(matches!(turn, Turn::Slow(_)), "{path:?}: {turn:?}");
                assert!(self.state.is_behind(
                    self.unsent,
                    Limits::DEFAULT.patience,
                    65_536.0,
                    self.now
                ));
            }
            (Some(_), Answering | Leaving) => panic!("{path:?}: a request under way gives way"),
        }
        assert_eq!(
            matches!(self.turn(true), Some(Turn::HalfClosed(_))),
            phase == Answering,
            "{path:?}"
        );
        // Without further events, a connection ends, unless the handler is at work.
        let later = self.now + Duration::from_secs(400);
        let ends = self.state.overdue(self.unsent, &Limits::DEFAULT, later).is_some();
        assert!(ends || phase == Answering || (phase == Flushing && !debt), "{path:?} never ends");
        // A client that takes no byte is cut off within a minute of its debt.
        if self.unsent > 0 && phase != Leaving {
            let late = self.now + Duration::from_secs(60);
            assert!(self.state.overdue(self.unsent, &Limits::DEFAULT, late).is_some(), "{path:?}");
        }
    }
}

#[test]
fn phases_follow_the_table() {
    for phase in PHASES {
        for event in EVENTS {
            let mut world = World::new();
            world.state.phase = phase;
            let (before, after) = (world.state.since, world.after(event).state);
            assert_eq!(after.phase, next(phase, event), "{phase:?} {event:?}");
            assert_eq!(after.since, before); // no time has passed
        }
    }
}

#[test]
fn every_sequence_of_events_keeps_the_rules() {
    fn go(world: World, path: &mut Vec<Event>, phases: &mut Vec<Phase>) {
        world.check(path);
        if !phases.contains(&world.state.phase) {
            phases.push(world.state.phase);
        }
        if path.len() == 5 {
            return;
        }
        for event in EVENTS {
            path.push(event);
            let after = world.after(event);
            let kept = after.state.phase == world.state.phase || event == Event::Leave;
            assert!(kept || after.state.since == after.now, "{path:?}: the clock of a phase");
            go(after, path, phases);
            path.pop();
        }
    }
    let mut phases = Vec::new();
    go(World::new(), &mut Vec::new(), &mut phases);
    assert_eq!(phases.len(), PHASES.len(), "{phases:?}");
}

#[test]
fn each_phase_has_its_time() {
    let limits = Limits::DEFAULT;
    for (events, seconds) in [
        (&[][..], 330),
        (&[Event::Came], 10),
        (&[Event::Closes], 1),
        (&[Event::Requested, Event::Answered, Event::Wrote], 31),
        (&[Event::Requested, Event::Answered, Event::Wrote, Event::Buffered], 31),
        (&[Event::Requested, Event::Answered, Event::Wrote, Event::Buffered, Event::Flushed], 31),
    ] {
        let world = events.iter().fold(World::new(), |world, event| world.after(*event));
        let at = |seconds| {
            let at = world.now + Duration::from_secs(seconds);
            world.state.overdue(world.unsent, &limits, at).is_some()
        };
        assert!(at(seconds) && !at(seconds - 1), "{events:?}");
    }
}

#[test]
fn a_client_has_thirty_seconds_and_one_for_each_64_kib() {
    let world = [Event::Requested, Event::Answered, Event::Wrote, Event::Wrote]
        .into_iter()
        .fold(World::new(), World::after);
    let over = |taken: u64, seconds: f64| {
        let at = world.now + Duration::from_secs_f64(seconds);
        world.state.overdue(200_000 - taken, &Limits::DEFAULT, at).is_some()
    };
    assert!(!over(0, 30.0) && over(0, 30.1));
    assert!(!over(65_536, 31.0) && over(65_535, 31.0));
    assert!(!over(131_072, 32.0) && over(131_071, 32.0));
}

#[test]
fn hyper_gets_whole_heads_and_bytes_that_are_no_head() {
    for (text, wanted) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], true),
        (b"GET / HTTP/1.1\n\n", true),
        (b"GET / HTTP/1.0\r\nHost: x\r\n\r\nGET", true),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", false),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r", false),
        (b"GET / HTTP/1.1\r\n", false),
        (b"GET / HT", false),
        (b"G", false),
        (b"\x16\x03\x01", true), // TLS
        (b"GET /\xff", true),
        (b"hello\r\n", true),
        (b"PRI * HTTP/2.0\r\n", true),
    ] {
        assert_eq!(is_for_hyper(text), wanted, "{:?}", String::from_utf8_lossy(text));
    }
    assert!(is_for_hyper(&vec![b'x'; 64 << 10]) && !is_for_hyper(&[b'x'; 1 << 10]));
}

/// Each connection has one such task, idle or not.
#[test]
fn the_task_of_a_connection_is_small() {
    fn size<A, B, C, F>(_: impl FnOnce(A, B, C) -> F) -> usize {
        size_of::<F>()
    }
    let size = size(converse);
    assert!(size <= 700, "{size}");
}

/// A place and the other side of its connection.
async fn pair(places: &Arc<Places>) -> (Place, std::net::TcpStream) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    (places.admit(stream).await, client)
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), test).await.unwrap() });
}

/// Waits until the place is to be given up.
async fn leaves(place: Place) -> Place {
    assert_eq!(place.overdue(false).await, "another client needs the place");
    place
}

#[test]
fn the_connection_idle_longest_gives_way() {
    run(async {
        let places = Places::new(3, Limits::DEFAULT);
        let (busy, _busy) = pair(&places).await;
        busy.note(State::requested);
        let (silent, _silent) = pair(&places).await;
        let (used, _used) = pair(&places).await;
        // The last answer of this connection is older than the beginning of the others.
        used.note(|state, now| state.since = now.checked_sub(Duration::from_secs(60)).unwrap());
        let (first, ()) = tokio::join!(pair(&places), async { drop(leaves(used).await) });
        silent.note(State::came); // part of a head is no request
        first.0.note(State::requested);
        let (second, ()) = tokio::join!(pair(&places), async { drop(leaves(silent).await) });
        second.0.note(State::requested);
        assert_eq!(places.phases(), [Answering; 3]);
    });
}

#[test]
fn a_connection_is_busy_from_its_request_to_the_end_of_the_answer() {
    run(async {
        let places = Places::new(2, Limits::DEFAULT);
        let numbers = || {
            let Connections { open, busy, limit } = places.connections();
            (open, busy, limit)
        };
        assert_eq!(numbers(), (0, 0, 2));
        let (place, _client) = pair(&places).await;
        assert_eq!(numbers(), (1, 0, 2));
        let events: [(fn(&mut State, Instant), usize); 6] = [
            (State::came, 0),
            (State::requested, 1),
            (State::answered, 1),
            (State::buffered, 1),
            (State::flushed, 0),
            (State::closes, 0),
        ];
        for (event, busy) in events {
            place.note(event);
            assert_eq!(numbers(), (1, busy, 2));
        }
        drop(place);
        assert_eq!(numbers(), (0, 0, 2));
    });
}

#[test]
fn a_new_connection_waits_where_all_are_busy() {
    run(async {
        let places = Places::new(1, Limits::DEFAULT);
        let (busy, _client) = pair(&places).await;
        busy.note(State::requested);
        let mut next = Box::pin(pair(&places));
        let waited = tokio::time::timeout(Duration::from_millis(50), &mut next).await;
        assert!(waited.is_err(), "a request under way gave way");
        busy.note(State::answered);
        busy.note(State::buffered);
        busy.note(State::flushed);
        let (next, ()) = tokio::join!(next, async { drop(leaves(busy).await) });
        drop(next);
        places.empty().await;
    });
}

#[test]
fn clients_that_closed_their_side_give_way_to_requests() {
    run(async {
        let places = Places::new(10, Limits::DEFAULT);
        let (open, _open) = pair(&places).await;
        let (closed, client) = pair(&places).await;
        let (new, _new) = pair(&places).await;
        for place in [&open, &closed, &new] {
            place.note(State::requested);
        }
        client.shutdown(std::net::Shutdown::Write).unwrap();
        new.spare(3).await; // no more than three requests
        new.spare(0).await; // no limit
        assert_eq!(places.phases(), [Answering; 3]);
        tokio::join!(new.spare(2), async { drop(leaves(closed).await) });
        new.spare(1).await; // the others wait for their answers
        assert_eq!(places.phases(), [Answering; 2]);
    });
}

#[test]
fn streams_take_places_as_connections_do() {
    run(async {
        let places = Places::new(3, Limits::DEFAULT);
        let (many, _many) = pair(&places).await;
        let ask = async || {
            many.note_stream(|streams, _| streams.waits());
            many.admit_stream().await;
        };
        ask().await;
        let (idle, _idle) = pair(&places).await;
        ask().await;
        assert_eq!(places.phases().len(), 2);
        // The third stream makes an idle connection leave, the fourth waits.
        tokio::join!(ask(), async { drop(leaves(idle).await) });
        many.note_stream(|streams, _| streams.waits());
        let mut fourth = Box::pin(many.admit_stream());
        let short = Duration::from_millis(50);
        assert!(tokio::time::timeout(short, &mut fourth).await.is_err(), "no place is left");
        let mut next = Box::pin(pair(&places));
        assert!(tokio::time::timeout(short, &mut next).await.is_err(), "nor for a connection");
        many.note_stream(Streams::is_given_up);
        fourth.await;
        many.note_stream(Streams::is_given_up);
        next.await;
    });
}

#[test]
fn a_reset_is_noticed_and_a_closed_side_is_no_reset() {
    run(async {
        let places = Places::new(10, Limits::DEFAULT);
        let (place, client) = pair(&places).await;
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let waited = tokio::time::timeout(Duration::from_millis(50), place.broken()).await;
        assert!(waited.is_err(), "a client that sends no more waits for its answer");
        rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
        drop(client);
        place.broken().await.unwrap();
    });
}

/// Writes an answer of that number of bytes, or the part of it that the kernel takes.
async fn write(place: &Place, bytes: usize) {
    let mut wire = Wire::new(place.clone(), None, Vec::new());
    let text = vec![b'x'; bytes];
    place.note(State::requested);
    place.note(State::answered);
    let all = async {
        let mut left = text.as_slice();
        while !left.is_empty() {
            let written = poll_fn(|cx| Pin::new(&mut wire).poll_write(cx, left)).await.unwrap();
            left = left.split_at(written).1;
        }
    };
    if tokio::time::timeout(Duration::from_millis(50), all).await.is_ok() {
        place.note(State::buffered);
        place.note(State::flushed);
    }
}

#[test]
fn a_client_that_does_not_take_an_answer_is_reset() {
    let grace = Duration::from_millis(300);
    let limits = Limits { grace, pace: 1e9, ..Limits::DEFAULT };
    // An answer of more bytes than the kernel takes, and one of fewer: the latter is already out of
    // the exporter's hands.
    for bytes in [64 << 20, 1 << 20] {
        run(async {
            let places = Places::new(1, limits);
            let (place, mut client) = pair(&places).await;
            write(&place, bytes).await;
            let slow = "the client is too slow in taking an answer";
            assert_eq!(place.overdue(true).await, slow, "{bytes}");
            drop(place);
            let read = client.read_to_end(&mut Vec::new());
            assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        });
    }
}

#[test]
fn a_client_that_leaves_one_of_its_answers_alone_is_reset() {
    let limits = Limits { grace: Duration::from_millis(300), ..Limits::DEFAULT };
    run(async {
        let places = Places::new(9, limits);
        let (place, mut client) = pair(&places).await;
        place.note_stream(|streams, _| streams.waits());
        place.admit_stream().await;
        place.note_stream(|streams, now| streams.tells(100, now));
        // All that is written is taken, and at a good pace.
        place.note(|state, now| state.wrote(1 << 30, now));
        assert_eq!(place.overdue(true).await, "the client is too slow in taking an answer");
        drop(place);
        let read = client.read_to_end(&mut Vec::new());
        assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_client_has_time_to_take_the_last_answer() {
    let limits = Limits { closing: Duration::from_millis(1), ..Limits::DEFAULT };
    run(async {
        let places = Places::new(1, limits);
        let (place, mut client) = pair(&places).await;
        write(&place, 1 << 20).await;
        place.note(State::closes);
        let waited = tokio::time::timeout(Duration::from_millis(100), place.overdue(false)).await;
        assert!(waited.is_err(), "{waited:?}");
        let reader = std::thread::spawn(move || client.read_exact(&mut vec![0; 1 << 20]).unwrap());
        assert_eq!(place.overdue(false).await, "closed");
        reader.join().unwrap();
    });
}

#[test]
fn a_client_that_has_taken_an_answer_has_no_debt() {
    let limits = Limits { grace: Duration::ZERO, pace: f64::MAX, ..Limits::DEFAULT };
    run(async {
        let places = Places::new(1, limits);
        let (place, mut client) = pair(&places).await;
        let reader = std::thread::spawn(move || {
            client.read_exact(&mut vec![0; 1 << 20]).unwrap();
            client.write_all(b"more").unwrap();
            client
        });
        write(&place, 1 << 20).await;
        assert_eq!(places.phases(), [Quiet]);
        let mut more = [0; 4];
        loop {
            place.stream().readable().await.unwrap();
            match place.stream().try_read(&mut more) {
                Ok(len) => break assert_eq!(len, 4),
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
        }
        place.settle();
        let waited = tokio::time::timeout(Duration::from_millis(50), place.overdue(true)).await;
        assert!(waited.is_err(), "{waited:?}");
        drop(reader.join().unwrap());
    });
}
