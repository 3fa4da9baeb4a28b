//! `rate_limit`: a bucket of tokens, one for each request, as Go's `rate.Limiter` has it.

use crate::web::config::Rate;
use std::time::Instant;

/// Holds up to `burst` tokens, and gets one each `interval`.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Seconds.
    interval: f64,
    burst: f64,
    tokens: f64,
    last: Instant,
}

impl Bucket {
    /// A full bucket; None where nothing is limited. A burst of 0 lets nothing pass.
    pub(super) fn new(rate: Rate, now: Instant) -> Option<Self> {
        let burst = rate.burst as f64;
        let interval = rate.interval as f64 / 1e9;
        (rate.interval > 0).then_some(Self { interval, burst, tokens: burst, last: now })
    }

    /// Takes a token if there is one.
    pub(super) fn takes(&mut self, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.last).as_secs_f64() / self.interval;
        let tokens = (self.tokens + gained).min(self.burst);
        if tokens < 1.0 {
            return false;
        }
        (self.tokens, self.last) = (tokens - 1.0, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn requests_are_counted_as_by_go() {
        let start = Instant::now();
        let bucket = |interval, burst| Bucket::new(Rate { interval, burst }, start);
        // The seconds at which requests come, and which of them pass.
        for (interval, burst, at, pass) in [
            (
                1_000_000_000,
                1,
                &[0.0, 0.5, 1.0, 1.9, 2.0][..],
                &[true, false, true, false, true][..],
            ),
            (1_000_000_000, 2, &[0.0, 0.0, 0.0, 0.9, 1.0], &[true, true, false, false, true]),
            (1_000_000_000, 2, &[0.0, 60.0, 60.0, 60.0], &[true, true, true, false]),
            (1_000_000_000, 0, &[0.0, 10.0], &[false, false]),
            (1_000_000_000, -1, &[0.0, 10.0], &[false, false]),
            (1, 1, &[0.0, 0.1, 0.2], &[true, true, true]),
        ] {
            let mut bucket = bucket(interval, burst).unwrap();
            for (at, pass) in at.iter().zip(pass) {
                let now = start + Duration::from_secs_f64(*at);
                assert_eq!(bucket.takes(now), *pass, "{interval} {burst} {at}");
            }
        }
        assert!(bucket(0, 0).is_none());
        assert!(bucket(-1, 0).is_none(), "Go takes this for no limit");
    }
}
