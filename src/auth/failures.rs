//! Failed log-ins, counted, so that guessing is slow.
//!
//! Two counts, each over ten minutes: failures from a network, and failures for a user name (the name as it was given,
//! whether it exists or not: a count by account would tell which names belong together). A network over its count is not
//! heard; for a name over its count, a network that has failed itself is not heard. So the owner gets in from a network
//! of their own however many others guess, and a token that has just opened something from a network keeps doing so
//! there. Invariant: memory is bounded, whatever is tried.

use crate::clock::{Clock, Timestamp};
use crate::net::connections::network_of;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Failures are counted over this long.
const WINDOW: Duration = Duration::from_secs(600);
/// A token that opened something stays welcome from that network for this long.
const WELCOME: Duration = Duration::from_secs(24 * 3600);
/// Entries of each table at most.
const MOST: usize = 50_000;

/// Counts of failures.
#[derive(Debug)]
pub(super) struct Failures {
    clock: Clock,
    limit: u32,
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    networks: HashMap<IpAddr, Count>,
    names: HashMap<[u8; 32], Count>,
    welcome: HashMap<(IpAddr, [u8; 32]), Count>,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    failures: u32,
    until: Timestamp,
}

/// An attempt: from where, with which token, and for whom (hashes; a name only where one was given).
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

    /// The network it came from.
    pub(super) fn network(&self) -> IpAddr {
        self.network
    }
}

impl Failures {
    pub(super) fn new(clock: Clock, limit: u32) -> Self {
        Self { clock, limit: limit.max(1), tables: Mutex::default() }
    }

    /// How long the attempt must wait, if it must; asked before anything is looked up.
    pub(super) fn must_wait(&self, attempt: &Attempt) -> Option<Duration> {
        let now = self.clock.now();
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let live = |count: Option<&Count>| count.copied().filter(|count| now < count.until);
        if live(tables.welcome.get(&(attempt.network, attempt.token))).is_some() {
            return None;
        }
        let network = live(tables.networks.get(&attempt.network))?;
        let name = attempt.name.and_then(|name| live(tables.names.get(&name)));
        if network.failures >= self.limit {
            return Some(network.until.since(now));
        }
        name.filter(|name| name.failures >= self.limit).map(|name| name.until.since(now))
    }

    /// It failed.
    pub(super) fn failed(&self, attempt: &Attempt) {
        let now = self.clock.now();
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        count(&mut tables.networks, attempt.network, now, WINDOW);
        if let Some(name) = attempt.name {
            count(&mut tables.names, name, now, WINDOW);
        }
        // What was welcome and now fails has been revoked.
        tables.welcome.remove(&(attempt.network, attempt.token));
    }

    /// It opened something.
    pub(super) fn succeeded(&self, attempt: &Attempt) {
        let now = self.clock.now();
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.welcome.remove(&(attempt.network, attempt.token));
        count(&mut tables.welcome, (attempt.network, attempt.token), now, WELCOME);
    }
}

fn count<K: Eq + Hash + Clone>(table: &mut HashMap<K, Count>, key: K, now: Timestamp, span: Duration) {
    if table.len() >= MOST && !table.contains_key(&key) {
        make_room(table, now);
    }
    let fresh = Count { failures: 0, until: now.after(span) };
    let entry = table.entry(key).or_insert(fresh);
    if entry.until <= now {
        *entry = fresh;
    }
    entry.failures = entry.failures.saturating_add(1);
}

/// Those that have run out go; where none has, the half that would soonest.
fn make_room<K: Eq + Hash + Clone>(table: &mut HashMap<K, Count>, now: Timestamp) {
    table.retain(|_, count| now < count.until);
    if table.len() >= MOST {
        let mut ends: Vec<Timestamp> = table.values().map(|count| count.until).collect();
        let middle = ends.len() / 2;
        let (_, median, _) = ends.select_nth_unstable(middle);
        let median = *median;
        table.retain(|_, count| count.until > median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(peer: [u8; 4], token: u8, name: u8) -> Attempt {
        Attempt::new(peer.into(), [token; 32], Some([name; 32]))
    }

    #[test]
    fn a_network_over_its_count_waits_and_its_good_token_does_not() {
        let clock = Clock::manual();
        let failures = Failures::new(clock.clone(), 3);
        let good = attempt([192, 0, 2, 1], 7, 1);
        failures.succeeded(&good);
        for name in 0..3 {
            assert_eq!(failures.must_wait(&attempt([192, 0, 2, 1], 1, name)), None);
            failures.failed(&attempt([192, 0, 2, 1], 1, name));
        }
        let wait = failures.must_wait(&attempt([192, 0, 2, 1], 1, 9)).unwrap();
        assert!(wait <= WINDOW);
        assert_eq!(failures.must_wait(&good), None);
        assert_eq!(failures.must_wait(&attempt([192, 0, 2, 2], 1, 9)), None);
        clock.advance_to(clock.now().after(WINDOW));
        assert_eq!(failures.must_wait(&attempt([192, 0, 2, 1], 1, 9)), None);
    }

    #[test]
    fn many_networks_that_guess_at_one_name_wait_and_its_owner_does_not() {
        let failures = Failures::new(Clock::manual(), 3);
        for host in 1..=3 {
            failures.failed(&attempt([192, 0, 2, host], 1, 5));
        }
        assert!(failures.must_wait(&attempt([192, 0, 2, 1], 2, 5)).is_some());
        assert_eq!(failures.must_wait(&attempt([198, 51, 100, 1], 2, 5)), None);
    }

    #[test]
    fn tables_stay_bounded() {
        let now = Timestamp::real();
        let mut table = HashMap::new();
        for key in 0..MOST * 2 {
            count(&mut table, key, now.after(Duration::from_millis(key as u64)), WINDOW);
        }
        assert!(table.len() <= MOST);
        assert!(table.contains_key(&(MOST * 2 - 1)));
    }
}
