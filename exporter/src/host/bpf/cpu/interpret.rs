//! The meaning of the copies: a processor's time in each mode, in nanoseconds.
//!
//! The rules are those of `get_idle_time()` and `get_iowait_time()` of fs/proc/stat.c. While a
//! processor without a tick is idle, its idle time lies in three places: time of idle periods that
//! have ended, the moment the present one began, and the clock.

use bytemuck::bytes_of;
use exporter_common::cpu::Reading;

use super::layout::Flag;

/// A [`Form`] as one process tells it to another.
pub(super) type Words = [u32; 11];

/// Stands for no place.
const NOWHERE: u32 = u32::MAX;

/// Nanoseconds in the order of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal,
/// guest, guest nice.
pub type Times = [u64; 10];

/// How to read the copies of this kernel. All numbers are bytes from the start of a copy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Form {
    /// `kernel_cpustat.cpustat`
    pub(super) cpustat: u32,
    /// Where idle time is kept.
    pub(super) idle: Idle,
}

/// Where a kernel keeps idle time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Idle {
    /// In `cpustat` alone: the tick never stops.
    Counted,
    /// In `tick_sched`, before Linux 7.2.
    Tick {
        /// The processor is idle.
        active: Flag,
        /// The tick may stop; otherwise `cpustat` counts.
        nohz: Flag,
        /// `idle_entrytime`
        entry: u32,
        /// `idle_sleeptime`
        idle: u32,
        /// `iowait_sleeptime`
        iowait: u32,
        /// `idle_sleeptime_seq`, where the kernel has it.
        sequence: Option<u32>,
    },
    /// In `kernel_cpustat`, since Linux 7.2.
    Cpustat {
        /// `idle_elapse`
        active: Flag,
        /// `idle_entrytime`
        entry: u32,
        /// `idle_sleeptime_seq`
        sequence: u32,
        /// `idle_stealtime`, one for idle and one for iowait.
        steal: u32,
    },
}

/// The meaning of one copy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Meaning {
    /// The processor's times.
    Times(Times),
    /// The processor is offline: `/proc/stat` leaves it out.
    Offline,
    /// The copy was taken while the kernel changed the idle times; another is needed.
    Unsettled,
    /// The kernel accounts this processor's time by context (`nohz_full`), in places that are not
    /// copied.
    Tracked,
    /// The copy ends before a number that belongs to it: the layout does not fit.
    Outside,
}

/// `CPUTIME_IDLE` and `CPUTIME_IOWAIT` of `include/linux/kernel_stat.h`.
const IDLE: usize = 5;
const IOWAIT: usize = 6;

impl Form {
    /// The meaning of one processor's copy.
    pub(super) fn interpret(&self, reading: &Reading) -> Meaning {
        if reading.online == 0 {
            return Meaning::Offline;
        }
        if reading.tracking != 0 {
            return Meaning::Tracked;
        }
        self.times(reading).unwrap_or(Meaning::Outside)
    }

    pub(super) const fn words(&self) -> Words {
        let mut words = [0; 11];
        words[0] = self.cpustat;
        match self.idle {
            Idle::Counted => {}
            Idle::Tick { active, nohz, entry, idle, iowait, sequence } => {
                words[1] = 1;
                [words[2], words[3]] = [active.byte, active.mask as u32];
                [words[4], words[5]] = [nohz.byte, nohz.mask as u32];
                [words[6], words[7], words[8]] = [entry, idle, iowait];
                words[9] = match sequence {
                    Some(place) => place,
                    None => NOWHERE,
                };
            }
            Idle::Cpustat { active, entry, sequence, steal } => {
                words[1] = 2;
                [words[2], words[3]] = [active.byte, active.mask as u32];
                [words[6], words[9], words[10]] = [entry, sequence, steal];
            }
        }
        words
    }

    /// `None` for words that are of no form.
    pub(super) fn from_words(words: Words) -> Option<Self> {
        let [
            cpustat,
            kind,
            active,
            active_mask,
            nohz,
            nohz_mask,
            entry,
            idle,
            iowait,
            sequence,
            steal,
        ] = words;
        let flag = |byte, mask| Some(Flag { byte, mask: u8::try_from(mask).ok()? });
        let active = flag(active, active_mask)?;
        let idle = match kind {
            0 => Idle::Counted,
            1 => Idle::Tick {
                active,
                nohz: flag(nohz, nohz_mask)?,
                entry,
                idle,
                iowait,
                sequence: (sequence != NOWHERE).then_some(sequence),
            },
            2 => Idle::Cpustat { active, entry, sequence, steal },
            _ => return None,
        };
        Some(Self { cpustat, idle })
    }

    /// `None` where the copy ends before a number.
    fn times(&self, reading: &Reading) -> Option<Meaning> {
        let stat = bytes_of(&reading.cpustat);
        let mode =
            |i: usize| number::<8>(stat, self.cpustat as usize + 8 * i).map(u64::from_ne_bytes);
        let (mut idle, mut iowait) = (mode(IDLE)?, mode(IOWAIT)?);
        let tick = bytes_of(&reading.tick);
        let word = |copy, at: u32| number::<8>(copy, at as usize).map(u64::from_ne_bytes);
        let settled = |copy, at: u32| {
            let sequence = number::<4>(copy, at as usize).map(u32::from_ne_bytes)?;
            Some(sequence % 2 == 0 && sequence == reading.sequence)
        };
        let is_active = |flag: Flag| reading.active & u32::from(flag.mask) != 0;
        let (active, entry, steal) = match self.idle {
            Idle::Counted => (false, 0, 0),
            Idle::Tick { active, nohz, entry, idle: slept, iowait: waited, sequence } => {
                if tick.get(nohz.byte as usize)? & nohz.mask == 0 {
                    (false, 0, 0)
                } else {
                    if let Some(at) = sequence
                        && !settled(tick, at)?
                    {
                        return Some(Meaning::Unsettled);
                    }
                    (idle, iowait) = (word(tick, slept)?, word(tick, waited)?);
                    (is_active(active), word(tick, entry)?, 0)
                }
            }
            Idle::Cpustat { active, entry, sequence, steal } => {
                if !settled(stat, sequence)? {
                    return Some(Meaning::Unsettled);
                }
                let of = if reading.waiting == 0 { steal } else { steal + 8 };
                (is_active(active), word(stat, entry)?, word(stat, of)?)
            }
        };
        if active && reading.now > entry {
            let elapsed = (reading.now - entry).saturating_sub(steal);
            let mode = if reading.waiting == 0 { &mut idle } else { &mut iowait };
            *mode = mode.saturating_add(elapsed);
        }
        Some(Meaning::Times([
            mode(0)?,
            mode(1)?,
            mode(2)?,
            idle,
            iowait,
            mode(4)?,
            mode(3)?,
            mode(7)?,
            mode(8)?,
            mode(9)?,
        ]))
    }
}

/// The bytes at a place of a copy.
fn number<const N: usize>(copy: &[u8], at: usize) -> Option<[u8; N]> {
    copy.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable as _;

    const TICK: Idle = Idle::Tick {
        active: Flag { byte: 0, mask: 4 },
        nohz: Flag { byte: 0, mask: 16 },
        entry: 8,
        idle: 16,
        iowait: 24,
        sequence: Some(32),
    };
    const CPUSTAT: Idle =
        Idle::Cpustat { active: Flag { byte: 80, mask: 255 }, entry: 88, sequence: 84, steal: 96 };

    /// A processor that has been in each mode for as many nanoseconds as its place in
    /// `enum cpu_usage_stat` says, and is at 1,000 on the clock.
    fn processor() -> Reading {
        let mut reading = Reading { online: 1, now: 1000, ..Reading::zeroed() };
        for (i, mode) in reading.cpustat.iter_mut().take(10).enumerate() {
            *mode = i as u64;
        }
        reading
    }

    fn set<const N: usize>(copy: &mut [u64], at: usize, bytes: [u8; N]) {
        bytemuck::cast_slice_mut::<u64, u8>(copy)[at..at + N].copy_from_slice(&bytes);
    }

    fn with_tick(flags: u8, sequence: u32) -> Reading {
        let mut reading = processor();
        set(&mut reading.tick, 0, [flags]);
        set(&mut reading.tick, 8, 900_u64.to_ne_bytes());
        set(&mut reading.tick, 16, 50_u64.to_ne_bytes());
        set(&mut reading.tick, 24, 60_u64.to_ne_bytes());
        set(&mut reading.tick, 32, sequence.to_ne_bytes());
        Reading { active: flags.into(), sequence, ..reading }
    }

    fn idle_times(idle: Idle, reading: &Reading) -> Option<(u64, u64)> {
        match (Form { cpustat: 0, idle }).interpret(reading) {
            Meaning::Times(times) => Some((times[3], times[4])),
            _ => None,
        }
    }

    #[test]
    fn a_form_arrives_as_it_was_told() {
        let Idle::Tick { active, nohz, entry, idle, iowait, .. } = TICK else { panic!("{TICK:?}") };
        let old = Idle::Tick { active, nohz, entry, idle, iowait, sequence: None };
        for idle in [Idle::Counted, TICK, old, CPUSTAT] {
            let form = Form { cpustat: 7, idle };
            assert_eq!(Form::from_words(form.words()), Some(form));
        }
        assert_eq!(Form::from_words([9; 11]), None);
    }

    #[test]
    fn modes_come_in_the_order_of_the_file() {
        let times = Form { cpustat: 0, idle: Idle::Counted }.interpret(&processor());
        assert_eq!(times, Meaning::Times([0, 1, 2, 5, 6, 4, 3, 7, 8, 9]));
    }

    #[test]
    fn a_period_that_lasts_is_added_to_those_that_have_ended() {
        assert_eq!(idle_times(TICK, &with_tick(16, 2)), Some((50, 60)), "not idle");
        assert_eq!(idle_times(TICK, &with_tick(16 | 4, 2)), Some((150, 60)));
        assert_eq!(
            idle_times(TICK, &Reading { waiting: 1, ..with_tick(16 | 4, 2) }),
            Some((50, 160)),
            "idle while a task waits for a disk"
        );
        assert_eq!(
            idle_times(TICK, &Reading { now: 800, ..with_tick(16 | 4, 2) }),
            Some((50, 60)),
            "it began after the clock was read"
        );
        assert_eq!(idle_times(TICK, &with_tick(4, 2)), Some((5, 6)), "the tick goes on");
    }

    #[test]
    fn stolen_time_is_no_idle_time() {
        let mut reading = processor();
        reading.active = 1;
        set(&mut reading.cpustat, 88, 900_u64.to_ne_bytes());
        set(&mut reading.cpustat, 96, 30_u64.to_ne_bytes());
        set(&mut reading.cpustat, 104, 500_u64.to_ne_bytes());
        assert_eq!(idle_times(CPUSTAT, &reading), Some((5 + 70, 6)));
        assert_eq!(idle_times(CPUSTAT, &Reading { waiting: 2, ..reading }), Some((5, 6)));
        assert_eq!(idle_times(CPUSTAT, &Reading { active: 0, ..reading }), Some((5, 6)));
    }

    #[test]
    fn a_copy_that_was_torn_is_not_used() {
        let torn = |idle, reading: Reading| Form { cpustat: 0, idle }.interpret(&reading);
        assert_eq!(torn(TICK, with_tick(16, 3)), Meaning::Unsettled);
        let changed = Reading { sequence: 4, ..with_tick(16, 2) };
        assert_eq!(torn(TICK, changed), Meaning::Unsettled);
        let changed = Reading { sequence: 2, ..processor() };
        assert_eq!(torn(CPUSTAT, changed), Meaning::Unsettled);
    }

    #[test]
    fn what_the_copies_do_not_tell_is_said() {
        let meaning = |idle, reading: Reading| Form { cpustat: 0, idle }.interpret(&reading);
        assert_eq!(meaning(TICK, Reading { online: 0, ..processor() }), Meaning::Offline);
        assert_eq!(meaning(TICK, Reading { tracking: 1, ..processor() }), Meaning::Tracked);
        let beyond = Form { cpustat: 124, idle: Idle::Counted };
        assert_eq!(beyond.interpret(&processor()), Meaning::Outside);
    }
}
