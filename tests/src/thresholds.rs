//! The thresholds from which on the kernel's tables of neighbours are full; they hold for the whole
//! machine.
#![expect(clippy::disallowed_methods, reason = "reads and writes the running kernel's files")]
#![expect(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]

use std::{
    fs,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

/// The thresholds of the tables of neighbours, put back at the end.
#[derive(Debug)]
pub struct Thresholds {
    /// The way to a thread that stays in the initial network namespace, which alone shows the
    /// thresholds.
    asks: Sender<Ask>,
    answers: Receiver<u64>,
    before: [[u32; 3]; 2],
}

#[derive(Debug)]
enum Ask {
    Set([[u32; 3]; 2]),
    TableFulls,
}

const VERSIONS: [&str; 2] = ["ipv4", "ipv6"];

impl Thresholds {
    /// The thresholds that [`Thresholds::raise`] sets.
    pub const HIGH: [u32; 3] = [100_000, 200_000, 400_000];

    /// Raises the thresholds of both families; `None` where the caller may not write them, or does
    /// not see them: only the initial network namespace shows them.
    #[must_use]
    pub fn raise() -> Option<Self> {
        let probe = "/proc/sys/net/ipv4/neigh/default/gc_thresh1";
        fs::OpenOptions::new().write(true).open(probe).ok()?;
        let (asks, asked) = channel();
        let (answer, answers) = channel();
        let (tell, told) = channel();
        thread::spawn(move || {
            let file =
                |version, level| format!("/proc/sys/net/{version}/neigh/default/gc_thresh{level}");
            let read = |version| {
                [1, 2, 3].map(|level| {
                    fs::read_to_string(file(version, level)).unwrap().trim().parse().unwrap()
                })
            };
            tell.send(VERSIONS.map(read)).unwrap();
            for ask in asked {
                let answered = match ask {
                    Ask::Set(all) => {
                        for (version, values) in VERSIONS.iter().zip(all) {
                            for (level, value) in (1..).zip(values) {
                                fs::write(file(version, level), value.to_string()).unwrap();
                            }
                        }
                        answer.send(0)
                    }
                    Ask::TableFulls => {
                        let text = fs::read_to_string("/proc/thread-self/net/stat/arp_cache");
                        let text = text.unwrap();
                        let last = text.lines().skip(1).map(|line| {
                            let word = line.split_whitespace().last().unwrap();
                            u64::from_str_radix(word, 16).unwrap()
                        });
                        answer.send(last.sum())
                    }
                };
                if answered.is_err() {
                    return;
                }
            }
        });
        let thresholds = Self { asks, answers, before: told.recv().unwrap() };
        thresholds.set(Self::HIGH);
        Some(thresholds)
    }

    fn ask(&self, ask: Ask) -> u64 {
        self.asks.send(ask).unwrap();
        self.answers.recv().unwrap()
    }

    /// Sets the thresholds of IPv4.
    pub fn set(&self, ipv4: [u32; 3]) {
        self.ask(Ask::Set([ipv4, Self::HIGH]));
    }

    /// How often the table of IPv4 neighbours has refused an entry.
    #[must_use]
    pub fn table_fulls(&self) -> u64 {
        self.ask(Ask::TableFulls)
    }
}

impl Drop for Thresholds {
    fn drop(&mut self) {
        self.ask(Ask::Set(self.before));
    }
}
