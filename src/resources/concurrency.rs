//! Limits concurrent deliveries to one destination, adapted to its capacity.
//!
//! Invariant: the limit of a destination begins at [`FIRST`]. It grows by one after each success, up to the maximum and to [`FIRST`]
//! above the running deliveries; it shrinks by one after each delivery without a responsive server, and then does not grow for
//! [`PAUSE`]. It is at least one.

use crate::address::DomainName;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Concurrent deliveries to an unknown destination.
const FIRST: usize = 5;
/// The time after a failure in which the limit does not grow.
const PAUSE: Duration = Duration::from_secs(60);
/// Destinations remembered.
const REMEMBERED: usize = 1024;
/// A destination unused for this long is evicted when others need its entry.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// The limits of all destinations; clones share them.
#[derive(Clone, Debug)]
pub struct DestinationLimits {
    scope: Scope,
    limit: usize,
    known: Arc<Mutex<HashMap<Destination, Known>>>,
}

/// The scope of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Each recipient domain.
    Domain,
    /// The relay for all mail.
    Relay,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// To the hosts of a domain.
    Domain(DomainName),
    /// Through the relay.
    Relay,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    at_once: usize,
    grows_after: Instant,
    used: Instant,
}

impl DestinationLimits {
    /// At most `limit` for each.
    pub fn new(scope: Scope, limit: usize) -> Self {
        Self { scope, limit: limit.max(1), known: Arc::default() }
    }

    /// The destination of mail for a domain.
    pub fn destination(&self, domain: &DomainName) -> Destination {
        match self.scope {
            Scope::Domain => Destination::Domain(domain.clone()),
            Scope::Relay => Destination::Relay,
        }
    }

    /// The current limit.
    pub fn at_once(&self, destination: &Destination) -> usize {
        self.lock().get(destination).map_or(FIRST.min(self.limit), |known| known.at_once)
    }

    /// A server accepted or refused the message while `running` deliveries ran.
    pub fn succeeded(&self, destination: &Destination, running: usize, now: Instant) {
        let limit = self.limit;
        self.change(destination, now, |known| {
            if known.at_once < running.saturating_add(FIRST) && now >= known.grows_after {
                known.at_once = known.at_once.saturating_add(1).min(limit);
            }
        });
    }

    /// No server was reached, or each closed the connection.
    pub fn failed(&self, destination: &Destination, now: Instant) {
        self.change(destination, now, |known| {
            known.at_once = known.at_once.saturating_sub(1).max(1);
            known.grows_after = now + PAUSE;
        });
    }

    fn change(&self, destination: &Destination, now: Instant, change: impl FnOnce(&mut Known)) {
        let mut all = self.lock();
        if all.len() >= REMEMBERED && !all.contains_key(destination) {
            all.retain(|_, known| known.used + FORGOTTEN_AFTER > now);
            if all.len() >= REMEMBERED {
                return;
            }
        }
        let known = all.entry(destination.clone()).or_insert(Known {
            at_once: FIRST.min(self.limit),
            grows_after: now,
            used: now,
        });
        known.used = now;
        change(known);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Destination, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_while_all_is_used_and_shrinks_with_each_failure() {
        let (limits, now) = (DestinationLimits::new(Scope::Domain, 8), Instant::now());
        let to = limits.destination(&"example.org".parse().unwrap());
        assert_eq!(limits.at_once(&to), 5);
        for _ in 0..5 {
            limits.succeeded(&to, 1, now);
        }
        assert_eq!(limits.at_once(&to), 6, "no more are used");
        for running in 5..20 {
            limits.succeeded(&to, running, now);
        }
        assert_eq!(limits.at_once(&to), 8, "the limit");
        limits.failed(&to, now);
        limits.failed(&to, now);
        limits.succeeded(&to, 8, now);
        assert_eq!(limits.at_once(&to), 6, "no more for a while");
        limits.succeeded(&to, 8, now + PAUSE);
        assert_eq!(limits.at_once(&to), 7);
        (0..20).for_each(|_| limits.failed(&to, now));
        assert_eq!(limits.at_once(&to), 1);
        assert_eq!(limits.at_once(&limits.destination(&"example.net".parse().unwrap())), 5, "another one");
    }

    #[test]
    fn a_relay_is_one_destination_and_only_so_many_are_remembered() {
        let (limits, now) = (DestinationLimits::new(Scope::Relay, 3), Instant::now());
        let domain = |number: usize| format!("d{number}.example").parse().unwrap();
        assert_eq!(limits.destination(&domain(1)), limits.destination(&domain(2)));
        assert_eq!(limits.at_once(&Destination::Relay), 3);
        let limits = DestinationLimits::new(Scope::Domain, 8);
        for number in 0..2 * REMEMBERED {
            limits.failed(&limits.destination(&domain(number)), now);
        }
        assert_eq!(limits.lock().len(), REMEMBERED);
        limits.failed(&limits.destination(&domain(2 * REMEMBERED)), now + FORGOTTEN_AFTER);
        assert_eq!(limits.lock().len(), 1);
    }
}
