//! The minimum rate of a transfer, of what clients send and of what is sent to them: who is slower does not keep what is
//! held for it.
//!
//! Invariant: over every period but the first, which is twice as long, no fewer octets came than the rate asks for.

use crate::config::Limits;
use std::time::Duration;
use tokio::time::Instant;

/// How fast a client must send, and read what is sent to it.
#[derive(Clone, Copy, Debug)]
pub struct MinimumRate {
    /// Octets in a second, on average over a period; 0: none.
    pub octets_per_second: u64,
    pub period: Duration,
}

/// The progress of one transfer in the period that runs.
#[derive(Debug)]
pub struct Progress {
    rate: MinimumRate,
    period_ends: Instant,
    missing: u64,
}

impl Progress {
    /// Of a transfer that begins now.
    pub fn new(rate: MinimumRate, now: Instant) -> Self {
        Self { rate, period_ends: now + rate.period * 2, missing: rate.needed() }
    }

    /// Counts octets that have arrived.
    pub fn received(&mut self, octets: usize) {
        self.missing = self.missing.saturating_sub(u64::try_from(octets).unwrap_or(u64::MAX));
    }

    /// The client was not waited for, for so long: that time does not count.
    pub fn pause(&mut self, time: Duration) {
        self.period_ends += time;
    }

    /// When [`Progress::is_too_slow`] is to be asked again.
    pub fn period_ends(&self) -> Instant {
        self.period_ends
    }

    /// True when a period is over in which too little came. Begins the next period where one is over.
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
