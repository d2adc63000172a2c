//! Limits failed log-ins, against password guessing.
//!
//! Failures are counted over ten minutes, by network and by user name (the name as given, whether it exists or not: a
//! count by account would reveal which names belong together). A network at its limit is refused. A name at its limit is
//! refused to networks that have failures of their own, so its owner can log in from another network. A token that logged
//! in from a network within the last day is not limited there. Invariant: memory is bounded.

use crate::clock::{Clock, Timestamp};
use crate::net::connections::network_of;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Failures are counted over this long.
const WINDOW: Duration = Duration::from_secs(600);
/// How long a token that has logged in from a network is exempt there.
const EXEMPT: Duration = Duration::from_secs(24 * 3600);
/// Entries per table.
const ENTRIES: usize = 50_000;

#[derive(Debug)]
pub(super) struct Throttle {
    clock: Clock,
    limit: u32,
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    networks: HashMap<IpAddr, Count>,
    names: HashMap<[u8; 32], Count>,
    exempt: HashMap<(IpAddr, [u8; 32]), Count>,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    failures: u32,
    expires: Timestamp,
}

/// A log-in attempt; token and name are hashes. HTTP has no name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    network: IpAddr,
    token: [u8; 32],
    name: Option<[u8; 32]>,
}

impl Attempt {
    pub(super) fn new(peer: IpAddr, token: [u8; 32], name: Option<[u8; 32]>) -> Self {
        Self { network: network_of(peer), token, name }
    }

    pub(super) fn network(&self) -> IpAddr {
        self.network
    }
}

impl Throttle {
    pub(super) fn new(clock: Clock, limit: u32) -> Self {
        Self { clock, limit: limit.max(1), tables: Mutex::default() }
    }

    /// When the attempt is refused: how long until it is not. To be called before any look-up.
    pub(super) fn retry_after(&self, attempt: &Attempt) -> Option<Duration> {
        let now = self.clock.now();
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let live = |count: Option<&Count>| count.copied().filter(|count| now < count.expires);
        if live(tables.exempt.get(&(attempt.network, attempt.token))).is_some() {
            return None;
        }
        let network = live(tables.networks.get(&attempt.network))?;
        let name = attempt.name.and_then(|name| live(tables.names.get(&name)));
        if network.failures >= self.limit {
            return Some(network.expires.since(now));
        }
        name.filter(|name| name.failures >= self.limit).map(|name| name.expires.since(now))
    }

    pub(super) fn failed(&self, attempt: &Attempt) {
        let now = self.clock.now();
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        count(&mut tables.networks, attempt.network, now, WINDOW);
        if let Some(name) = attempt.name {
            count(&mut tables.names, name, now, WINDOW);
        }
        // A token that fails after it succeeded has been revoked.
        tables.exempt.remove(&(attempt.network, attempt.token));
    }

    pub(super) fn succeeded(&self, attempt: &Attempt) {
        let now = self.clock.now();
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.exempt.remove(&(attempt.network, attempt.token));
        count(&mut tables.exempt, (attempt.network, attempt.token), now, EXEMPT);
    }
}

fn count<K: Eq + Hash + Clone>(table: &mut HashMap<K, Count>, key: K, now: Timestamp, span: Duration) {
    if table.len() >= ENTRIES && !table.contains_key(&key) {
        evict(table, now);
    }
    let fresh = Count { failures: 0, expires: now.after(span) };
    let entry = table.entry(key).or_insert(fresh);
    if entry.expires <= now {
        *entry = fresh;
    }
    entry.failures = entry.failures.saturating_add(1);
}

/// Removes expired entries; if none has expired, the half that would expire first.
fn evict<K: Eq + Hash + Clone>(table: &mut HashMap<K, Count>, now: Timestamp) {
    table.retain(|_, count| now < count.expires);
    if table.len() >= ENTRIES {
        let mut ends: Vec<Timestamp> = table.values().map(|count| count.expires).collect();
        let middle = ends.len() / 2;
        let (_, median, _) = ends.select_nth_unstable(middle);
        let median = *median;
        table.retain(|_, count| count.expires > median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(peer: [u8; 4], token: u8, name: u8) -> Attempt {
        Attempt::new(peer.into(), [token; 32], Some([name; 32]))
    }

    #[test]
    fn a_network_at_its_limit_is_refused_except_for_a_token_that_has_logged_in() {
        let clock = Clock::manual();
        let throttle = Throttle::new(clock.clone(), 3);
        let good = attempt([192, 0, 2, 1], 7, 1);
        throttle.succeeded(&good);
        for name in 0..3 {
            assert_eq!(throttle.retry_after(&attempt([192, 0, 2, 1], 1, name)), None);
            throttle.failed(&attempt([192, 0, 2, 1], 1, name));
        }
        let wait = throttle.retry_after(&attempt([192, 0, 2, 1], 1, 9)).unwrap();
        assert!(wait <= WINDOW);
        assert_eq!(throttle.retry_after(&good), None);
        assert_eq!(throttle.retry_after(&attempt([192, 0, 2, 2], 1, 9)), None);
        clock.advance_to(clock.now().after(WINDOW));
        assert_eq!(throttle.retry_after(&attempt([192, 0, 2, 1], 1, 9)), None);
    }

    #[test]
    fn a_name_at_its_limit_is_refused_except_from_a_network_without_failures() {
        let throttle = Throttle::new(Clock::manual(), 3);
        for host in 1..=3 {
            throttle.failed(&attempt([192, 0, 2, host], 1, 5));
        }
        assert!(throttle.retry_after(&attempt([192, 0, 2, 1], 2, 5)).is_some());
        assert_eq!(throttle.retry_after(&attempt([198, 51, 100, 1], 2, 5)), None);
    }

    #[test]
    fn tables_are_bounded() {
        let now = Timestamp::real();
        let mut table = HashMap::new();
        for key in 0..ENTRIES * 2 {
            count(&mut table, key, now.after(Duration::from_millis(key as u64)), WINDOW);
        }
        assert!(table.len() <= ENTRIES);
        assert!(table.contains_key(&(ENTRIES * 2 - 1)));
    }
}
