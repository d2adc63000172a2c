//! Response rate limiting over UDP: a token bucket per network. Invariant: memory is bounded, whatever addresses are
//! forged.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

/// Sustained responses per second and network.
const RATE: f64 = 50.0;
/// Responses in a burst.
const BURST: f64 = 200.0;
/// Maximum networks tracked.
const NETWORKS: usize = 20_000;

/// What to do with a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    Answer,
    /// Respond with TC, so that a real client retries over TCP, where addresses cannot be forged.
    Truncate,
    /// Drop it.
    Silence,
}

struct Bucket {
    tokens: f64,
    filled_at: Instant,
    refused: u32,
}

pub(super) struct Limiter {
    buckets: HashMap<IpAddr, Bucket>,
}

impl Limiter {
    pub(super) fn new() -> Self {
        Self { buckets: HashMap::new() }
    }

    /// Decides on one query from `peer`.
    pub(super) fn rule(&mut self, peer: IpAddr) -> Ruling {
        self.rule_at(peer, Instant::now())
    }

    fn rule_at(&mut self, peer: IpAddr, now: Instant) -> Ruling {
        let network = network_of(peer);
        if self.buckets.len() >= NETWORKS && !self.buckets.contains_key(&network) {
            // A full bucket equals a new one. Under a flood from forged networks all start again.
            self.buckets.retain(|_, bucket| filled(bucket, now) < BURST);
            if self.buckets.len() >= NETWORKS {
                self.buckets.clear();
            }
        }
        let bucket = self.buckets.entry(network).or_insert(Bucket { tokens: BURST, filled_at: now, refused: 0 });
        bucket.tokens = filled(bucket, now);
        bucket.filled_at = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ruling::Answer;
        }
        bucket.refused = bucket.refused.wrapping_add(1);
        if bucket.refused % 2 == 1 { Ruling::Truncate } else { Ruling::Silence }
    }
}

fn filled(bucket: &Bucket, now: Instant) -> f64 {
    let elapsed = now.saturating_duration_since(bucket.filled_at).as_secs_f64();
    (bucket.tokens + elapsed * RATE).min(BURST)
}

/// The IPv4 /24 or IPv6 /56: what one customer usually has.
fn network_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & (u32::MAX << 8))),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 72))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_network_over_its_rate_is_truncated_and_others_are_answered() {
        let (mut limiter, start) = (Limiter::new(), Instant::now());
        let flood: Vec<Ruling> =
            (0..=255).map(|i| limiter.rule_at(IpAddr::V4(Ipv4Addr::new(192, 0, 2, i)), start)).collect();
        assert_eq!(flood.iter().filter(|r| **r == Ruling::Answer).count(), 200);
        assert_eq!(flood.iter().filter(|r| **r == Ruling::Truncate).count(), 28);
        let other = "2001:db8::1".parse().unwrap();
        assert_eq!(limiter.rule_at(other, start), Ruling::Answer);
        let later = start + Duration::from_secs(1);
        assert_eq!(limiter.rule_at(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), later), Ruling::Answer);
    }

    #[test]
    fn memory_is_bounded_for_forged_networks() {
        let (mut limiter, now) = (Limiter::new(), Instant::now());
        for i in 0..100_000_u32 {
            limiter.rule_at(IpAddr::V4(Ipv4Addr::from_bits(i << 8)), now);
        }
        assert!(limiter.buckets.len() <= NETWORKS);
    }
}
