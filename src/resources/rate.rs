//! The minimum rate of transfers in both directions: a slower client loses its connection, and what is held for it.
//!
//! Invariant: in every period at least the octets of the minimum rate were transferred. The first period is twice as long.

use crate::config::Limits;
use std::time::Duration;
use tokio::time::Instant;

/// The minimum rate at which a client must send and read.
#[derive(Clone, Copy, Debug)]
pub struct MinimumRate {
    /// Octets per second, averaged over a period; 0: no minimum.
    pub octets_per_second: u64,
    pub period: Duration,
}

/// The progress of one transfer in the current period.
#[derive(Debug)]
pub struct Progress {
    rate: MinimumRate,
    period_ends: Instant,
    missing: u64,
}

impl Progress {
    /// For a transfer that begins now.
    pub fn new(rate: MinimumRate, now: Instant) -> Self {
        Self { rate, period_ends: now + rate.period * 2, missing: rate.needed() }
    }

    /// Counts transferred octets.
    pub fn received(&mut self, octets: usize) {
        self.missing = self.missing.saturating_sub(u64::try_from(octets).unwrap_or(u64::MAX));
    }

    /// Excludes this time, in which the client was not waited for.
    pub fn pause(&mut self, time: Duration) {
        self.period_ends += time;
    }

    /// When [`Progress::is_too_slow`] is to be called next.
    pub fn period_ends(&self) -> Instant {
        self.period_ends
    }

    /// True if a period has ended with too few octets. Starts the next period if one has ended.
    pub fn is_too_slow(&mut self, now: Instant) -> bool {
        if now < self.period_ends {
            return false;
        }
        let too_slow = self.missing > 0;
        self.period_ends = now + self.rate.period;
        self.missing = self.rate.needed();
        too_slow
    }
}

impl MinimumRate {
    /// As configured.
    pub fn of(limits: &Limits) -> Self {
        Self { octets_per_second: limits.minimum_rate, period: limits.minimum_rate_period.0 }
    }

    fn needed(&self) -> u64 {
        let milliseconds = u64::try_from(self.period.as_millis()).unwrap_or(u64::MAX);
        self.octets_per_second.saturating_mul(milliseconds) / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: MinimumRate = MinimumRate { octets_per_second: 100, period: Duration::from_secs(10) };

    #[test]
    fn who_keeps_up_goes_on_and_who_stops_is_too_slow() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut progress = Progress::new(RATE, begin);
        assert!(!progress.is_too_slow(at(19)));
        progress.received(1000);
        for n in 2..50 {
            assert!(!progress.is_too_slow(at(n * 10)));
            assert_eq!(progress.period_ends(), at(n * 10 + 10));
            progress.received(400);
            progress.received(600);
        }
        assert!(!progress.is_too_slow(at(500)));
        progress.received(999);
        assert!(progress.is_too_slow(at(510)));
    }

    #[test]
    fn time_in_which_the_client_is_not_waited_for_does_not_count() {
        let begin = Instant::now();
        let mut progress = Progress::new(RATE, begin);
        progress.pause(Duration::from_secs(1000));
        assert!(!progress.is_too_slow(begin + Duration::from_secs(1019)));
        assert!(progress.is_too_slow(begin + Duration::from_secs(1020)));
    }

    #[test]
    fn no_rate_is_asked_for_with_0() {
        let begin = Instant::now();
        let mut progress = Progress::new(MinimumRate { octets_per_second: 0, ..RATE }, begin);
        assert!(!progress.is_too_slow(begin + Duration::from_secs(1000)));
    }
}
