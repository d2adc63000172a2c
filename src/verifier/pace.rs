//! The rate limit of checks over all domains: after a downtime all of them can be due at once, which must not overload name
//! servers.
//!
//! Invariant: in any period no more checks begin than the rate allows, plus a tenth of a second's worth.

use std::time::Duration;
use tokio::time::Instant;

/// A token bucket.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: f64,
    burst: f64,
    held: f64,
    filled_at: Instant,
}

impl Pace {
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second.max(1));
        let burst = (per_second / 10.0).max(1.0);
        Self { per_second, burst, held: burst, filled_at: now }
    }

    /// The number of checks that may begin now.
    pub(super) fn free(&mut self, now: Instant) -> usize {
        let gained = now.saturating_duration_since(self.filled_at).as_secs_f64() * self.per_second;
        self.held = (self.held + gained).min(self.burst);
        self.filled_at = now;
        // Not negative, and small.
        self.held.max(0.0) as usize
    }

    /// This number of checks has begun. Requested ones may exceed the limit: others then wait longer, but at most for a second's
    /// worth.
    pub(super) fn take(&mut self, begun: usize) {
        let begun = u32::try_from(begun).map_or(f64::MAX, f64::from);
        self.held = (self.held - begun).max(-self.per_second);
    }

    /// Time until another check may begin.
    pub(super) fn until_next(&self) -> Duration {
        Duration::from_secs_f64(((1.0 - self.held) / self.per_second).clamp(0.0, 2.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_span_sees_more_than_the_rate_and_a_tenth() {
        let start = Instant::now();
        let mut pace = Pace::new(50, start);
        let mut begun = Vec::new();
        for millis in 0..10_000_u64 {
            let now = start + Duration::from_millis(millis);
            let free = pace.free(now);
            pace.take(free);
            begun.extend(std::iter::repeat_n(millis, free));
        }
        assert!((500..=505).contains(&begun.len()), "{}", begun.len());
        for from in (0..9_000).step_by(100) {
            let within = begun.iter().filter(|at| (from..from + 1000).contains(*at)).count();
            assert!(within <= 55, "{within} in the second from {from} ms");
        }
    }

    #[test]
    fn what_is_asked_for_is_paid_back_and_the_wait_is_known() {
        let start = Instant::now();
        let mut pace = Pace::new(10, start);
        assert_eq!(pace.free(start), 1);
        pace.take(100);
        assert_eq!(pace.free(start), 0);
        let soon = start + pace.until_next() + Duration::from_millis(1);
        assert!(soon - start >= Duration::from_secs(1));
        assert_eq!(pace.free(soon), 1);
    }
}
