//! `basic_auth_users`: whether a name and a password are known.
//!
//! Results are remembered by a keyed digest of name, hash and password, so that a
//! password is checked once: right ones apart from wrong ones, which anyone can send.

use super::{
    hash::{self, DECOY},
    queue::{Origin, Party, Queue},
};
use crate::web::config::Config;
use aws_lc_rs::{hmac, rand};
use std::{
    collections::VecDeque,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
};
use zeroize::Zeroizing;

/// Right ones that are remembered: more than there are users.
const RIGHT: usize = 1024;
/// Wrong ones that are remembered.
const WRONG: usize = 100;
/// The niceness of the thread from its second check on, so that a flood of passwords takes no time
/// from the threads that serve, nor from other programs. A first login is not kept waiting by them.
const NICE: i32 = 10;

/// The verdict on a name and a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Right,
    Wrong,
    /// Too many others wait.
    Busy,
}

type Digest = [u8; 32];

/// The known passwords and those that wait; made when the first password comes.
#[derive(Default)]
pub(super) struct Users(OnceLock<Option<Arc<Checker>>>);

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Users") // none of its secrets
    }
}

struct Checker {
    key: hmac::Key,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    right: VecDeque<Digest>,
    wrong: VecDeque<Digest>,
    queue: Queue<Digest, Secret>,
    /// Whether the thread runs.
    works: bool,
}

/// A hash and a password. `counts` is false for an unknown name: the answer is no in any case.
struct Secret {
    hash: Zeroizing<String>,
    password: Zeroizing<Vec<u8>>,
    counts: bool,
}

impl Users {
    /// Whether the password is that of the user, once it is this one's turn to be checked.
    pub(super) async fn check(
        &self,
        config: &Config,
        user: String,
        password: Zeroizing<Vec<u8>>,
        peer: Option<IpAddr>,
    ) -> Verdict {
        let found = config.users.binary_search_by(|(name, _)| name.cmp(&user)).ok();
        let known = found.and_then(|at| config.users.get(at)).map(|(_, hash)| hash.clone());
        let counts = known.is_some();
        let hash = known.unwrap_or_else(|| Zeroizing::new(DECOY.to_owned()));
        let Some(checker) = self.0.get_or_init(Checker::new) else { return Verdict::Busy };
        let digest = checker.digest(&[user.as_bytes(), hash.as_bytes(), &password]);
        let party = Party { user: Some(user).filter(|_| counts), origin: Origin::of(peer) };
        let asked = {
            let mut state = checker.lock();
            if state.right.contains(&digest) {
                return Verdict::Right;
            }
            if state.wrong.contains(&digest) {
                return Verdict::Wrong;
            }
            let secret = Secret { hash, password, counts };
            let asked = state.queue.put(digest, secret, party);
            let works = std::mem::replace(&mut state.works, true);
            drop(state);
            if !works {
                checker.start();
            }
            asked
        };
        match asked.await {
            Ok(true) => Verdict::Right,
            Ok(false) => Verdict::Wrong,
            Err(_) => Verdict::Busy,
        }
    }
}

impl Checker {
    fn new() -> Option<Arc<Self>> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new()).ok()?;
        Some(Arc::new(Self { key, state: Mutex::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A digest in which each part keeps its bounds.
    fn digest(&self, parts: &[&[u8]]) -> Digest {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }

    /// Starts the thread.
    fn start(self: &Arc<Self>) {
        let shift = Shift { checker: Arc::clone(self), is_over: false };
        let named = thread::Builder::new().name("passwords".into()).stack_size(128 << 10);
        if let Err(error) = named.spawn(move || shift.work()) {
            tracing::warn!(%error, "cannot start a thread for passwords");
        }
    }
}

impl State {
    fn remember(&mut self, digest: Digest, right: bool) {
        let (kept, most) = if right { (&mut self.right, RIGHT) } else { (&mut self.wrong, WRONG) };
        kept.truncate(most - 1);
        kept.push_front(digest);
    }
}

/// The thread's time, which ends when nothing waits.
struct Shift {
    checker: Arc<Checker>,
    is_over: bool,
}

impl Shift {
    fn work(mut self) {
        for checked in 0_u64.. {
            if checked == 1 {
                // Of this thread alone, on Linux.
                let _ = rustix::process::setpriority_process(None, NICE);
            }
            let mut state = self.checker.lock();
            let Some(mut job) = state.queue.begin() else {
                state.works = false;
                self.is_over = true;
                return;
            };
            drop(state);
            let Secret { hash, password, counts } = &job.what;
            let right = hash::matches(hash, password) && *counts;
            let mut state = self.checker.lock();
            state.queue.end(&mut job);
            state.remember(job.key, right);
            drop(state);
            job.answer(right);
        }
    }
}

impl Drop for Shift {
    /// Where the thread could not be started, or unwinds: whoever waits is not kept waiting.
    fn drop(&mut self) {
        if !self.is_over {
            let mut state = self.checker.lock();
            state.works = false;
            state.queue = Queue::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::config::Config;
    use bcrypt::{Version, hash_with_salt};
    use std::path::Path;

    fn config(cost: u32) -> Config {
        let made = hash_with_salt(b"right", cost, *b"sixteen bytes ok").unwrap();
        let hash = made.format_for_version(Version::TwoY);
        Config::parse(&format!("basic_auth_users: {{bob: '{hash}'}}"), Path::new("")).unwrap()
    }

    fn check(users: &Users, config: &Config, user: &str, password: &[u8]) -> Verdict {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let password = Zeroizing::new(password.to_vec());
        runtime.block_on(users.check(config, user.to_owned(), password, None))
    }

    #[test]
    fn verdicts_are_remembered_and_not_mistaken_for_others() {
        let (users, config) = (Users::default(), config(4));
        for _ in 0..2 {
            for (user, password, verdict) in [
                ("bob", &b"right"[..], Verdict::Right),
                ("bob", b"wrong", Verdict::Wrong),
                ("bobr", b"ight", Verdict::Wrong),
                ("bo", b"right", Verdict::Wrong),
                ("", b"", Verdict::Wrong),
            ] {
                assert_eq!(check(&users, &config, user, password), verdict, "{user}");
            }
        }
        let state = users.0.get().unwrap().as_ref().unwrap().lock();
        assert_eq!((state.right.len(), state.wrong.len()), (1, 4));
    }

    #[test]
    fn a_new_hash_is_a_new_question() {
        let users = Users::default();
        assert_eq!(check(&users, &config(4), "bob", b"right"), Verdict::Right);
        let other = hash_with_salt(b"left", 4, *b"sixteen bytes ok").unwrap();
        let text = format!("basic_auth_users: {{bob: '{other}'}}");
        let changed = Config::parse(&text, Path::new("")).unwrap();
        assert_eq!(check(&users, &changed, "bob", b"right"), Verdict::Wrong);
        assert_eq!(check(&users, &changed, "bob", b"left"), Verdict::Right);
    }

    #[test]
    fn wrong_ones_push_no_right_one_out() {
        let (users, config) = (Users::default(), config(4));
        assert_eq!(check(&users, &config, "bob", b"right"), Verdict::Right);
        for i in 0..2 * WRONG {
            assert_eq!(check(&users, &config, "bob", &i.to_le_bytes()), Verdict::Wrong);
        }
        let state = users.0.get().unwrap().as_ref().unwrap().lock();
        assert_eq!((state.right.len(), state.wrong.len()), (1, WRONG));
    }

    #[test]
    fn unknown_names_are_held_against_the_decoy() {
        let (users, config) = (Users::default(), config(4));
        // Even its own password would be of no use to a name that there is not.
        assert_eq!(check(&users, &config, "eve", b"right"), Verdict::Wrong);
        assert!(DECOY.starts_with("$2b$10$"));
    }
}
