//! The processors' times in `/proc/stat`, which the copies are held against.

use super::{OfCpu, Times};

/// Nanoseconds in a tick of `/proc/stat` (`USER_HZ` is 100).
const TICK: u64 = 10_000_000;

/// Places in [`Times`] that are compared together: the kernel moves the time of an idle period from
/// one to the other when the task that it waited for wakes up elsewhere.
const IDLE: usize = 3;
const IOWAIT: usize = 4;

/// Puts the ticks of each processor into `ticks`; a line that is malformed is left out. The lines
/// of the processors come first, and the others are not looked at.
pub(super) fn parse(text: &str, ticks: &mut Vec<OfCpu>) {
    ticks.clear();
    for line in text.lines().map_while(|line| line.strip_prefix("cpu")) {
        let mut words = line.split_ascii_whitespace().map_while(|word| word.parse().ok());
        // The line of all processors together has a space where others have a number.
        if line.starts_with(' ') {
            continue;
        }
        let Some(cpu) = words.next().and_then(|cpu| u32::try_from(cpu).ok()) else { continue };
        let mut times = Times::default();
        if times.iter_mut().all(|time| words.next().map(|ticks| *time = ticks).is_some()) {
            ticks.push((cpu, times));
        }
    }
}

/// The first processor and mode (by place in [`Times`]) whose time is not between the ticks of two
/// readings of `/proc/stat`. Processors that one of the three lacks came or went meanwhile.
pub(super) fn outside(before: &[OfCpu], times: &[OfCpu], after: &[OfCpu]) -> Option<(u32, usize)> {
    times.iter().find_map(|(cpu, times)| {
        let (before, after) = (of(before, *cpu)?, of(after, *cpu)?);
        let modes = times.iter().zip(before.iter().zip(after));
        let mode = modes.enumerate().find(|&(_, (time, (before, after)))| {
            let ticks = time / TICK;
            ticks < *before || ticks > *after
        });
        Some((*cpu, mode?.0))
    })
}

/// By how many ticks a time is farthest from where two readings of `/proc/stat` say that it is, of
/// which much time ago one was read before and the other after; `None` stands for no reading before.
pub(super) fn difference(before: Option<&[OfCpu]>, times: &[OfCpu], after: &[OfCpu]) -> u64 {
    let differs = |(cpu, times): &OfCpu| {
        let after = of(after, *cpu)?;
        let before = before.map_or(Some([0; 10]), |before| of(before, *cpu).copied())?;
        let sum = |of: &Times| of[IDLE].saturating_add(of[IOWAIT]);
        let modes = times.iter().zip(before.iter().zip(after)).enumerate();
        let mode = |(i, (time, (before, after))): (usize, (&u64, (&u64, &u64)))| {
            let ticks = time / TICK;
            let idle = i == IDLE || i == IOWAIT;
            if idle { 0 } else { before.saturating_sub(ticks).max(ticks.saturating_sub(*after)) }
        };
        let idle = sum(times) / TICK;
        // Each of the two was rounded down.
        let most = sum(after).saturating_add(1);
        let idle = sum(&before).saturating_sub(idle).max(idle.saturating_sub(most));
        Some(modes.map(mode).fold(idle, u64::max))
    };
    times.iter().filter_map(differs).max().unwrap_or_default()
}

/// The times of a processor.
fn of(all: &[OfCpu], cpu: u32) -> Option<&Times> {
    // Mostly no processor is offline, and each has its own number as its place.
    let there = usize::try_from(cpu).ok().and_then(|place| all.get(place));
    let there = there.filter(|(other, _)| *other == cpu);
    there.or_else(|| all.iter().find(|(other, _)| *other == cpu)).map(|(_, times)| times)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(cpu: u32, time: u64) -> OfCpu {
        (cpu, [time, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    }

    #[test]
    fn lines_of_processors_are_read_and_no_others() {
        let mut ticks = vec![user(9, 9)];
        let text = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu1 1 2 x 4 5 6 7 8 9 10\n\
                    cpu2 1 2 3\ncpu12 10 9 8 7 6 5 4 3 2 1 new\nintr 5 1\ncpu3 1 2 3 4 5 6 7 8 9 10\n";
        parse(text, &mut ticks);
        let want = [(0, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), (12, [10, 9, 8, 7, 6, 5, 4, 3, 2, 1])];
        assert_eq!(ticks, want);
    }

    #[test]
    fn a_time_lies_between_the_ticks_before_and_after() {
        let times = [user(0, 5 * TICK + 1), user(1, 7 * TICK)];
        assert_eq!(outside(&[user(0, 5), user(1, 7)], &times, &[user(0, 5), user(1, 8)]), None);
        let early = outside(&[user(0, 5), user(1, 8)], &times, &[user(0, 5), user(1, 8)]);
        assert_eq!(early, Some((1, 0)));
        let late = outside(&[user(0, 5), user(1, 7)], &times, &[user(0, 4), user(1, 8)]);
        assert_eq!(late, Some((0, 0)));
        assert_eq!(outside(&[user(0, 9)], &times, &[]), None, "it came or went");
    }

    #[test]
    fn an_audit_allows_idle_time_to_have_been_that_of_waiting() {
        let idle = |idle, iowait| [(0, [0, 0, 0, idle, iowait, 0, 0, 0, 0, 0])];
        let times = idle(70 * TICK - 1, 30 * TICK);
        assert_eq!(difference(Some(&idle(60, 39)), &times, &idle(70, 30)), 0, "moved to idle");
        assert_eq!(difference(Some(&idle(60, 41)), &times, &idle(70, 41)), 2);
        assert_eq!(difference(Some(&idle(60, 30)), &times, &idle(68, 29)), 1);
        assert_eq!(difference(None, &times, &idle(69, 29)), 0, "rounded twice");
        let (before, times, after) = ([user(0, 5)], [user(0, 9 * TICK)], [user(0, 6)]);
        assert_eq!(difference(Some(&before), &times, &after), 3);
        assert_eq!(difference(Some(&after), &[user(0, TICK)], &after), 5);
        assert_eq!(difference(Some(&[]), &times, &after), 0, "it came");
        assert_eq!(difference(None, &times, &[]), 0, "it went");
    }
}
