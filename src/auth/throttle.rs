//! Limits failed log-ins, against password guessing.
//!
//! Failures are counted over ten minutes, by network and by user name (the name as given, whether it exists or not: a
//! count by account would reveal which names belong together). A network at its limit is refused. A name at its limit is
//! refused to networks that have failures of their own, so its owner can log in from another network. A token that logged
//! in from a network within the last day is not limited there. Where several daemons share the store, the counts are there too,
//! and hold over all of them. Invariant: memory is bounded.

use crate::clock::{Clock, Timestamp};
use crate::net::connections::network_of;
use crate::resources::Owner;
use crate::store::rates::{RateKey, Spent};
use crate::store::{Store, StoreError};
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
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
    /// The store, if other daemons count there too.
    shared: Option<Store>,
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

impl From<Spent> for Count {
    fn from(Spent { amount, ends }: Spent) -> Self {
        Self { failures: u32::try_from(amount).unwrap_or(u32::MAX), expires: ends }
    }
}

/// What is known of an attempt.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    is_exempt: bool,
    network: Option<Count>,
    name: Option<Count>,
}

impl Known {
    /// When the attempt is refused: how long until it is not.
    fn retry_after(self, limit: u32, now: Timestamp) -> Option<Duration> {
        let network = self.network.filter(|_| !self.is_exempt)?;
        if network.failures >= limit {
            return Some(network.expires.since(now));
        }
        self.name.filter(|name| name.failures >= limit).map(|name| name.expires.since(now))
    }
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

    /// The store on behalf of its network.
    fn of(&self, store: &Store) -> Store {
        store.for_owner(Owner::Network(self.network))
    }

    fn exempt_key(&self) -> RateKey {
        RateKey::new("logged_in", format!("{} {:?}", self.network, self.token).as_bytes())
    }

    /// Those of its failures: the network's, and the name's if there is one.
    fn failure_keys(&self) -> Vec<RateKey> {
        let network = RateKey::new("failed_logins of a network", self.network.to_string().as_bytes());
        let name = self.name.map(|name| RateKey::new("failed_logins of a name", &name));
        [Some(network), name].into_iter().flatten().collect()
    }
}

impl Throttle {
    pub(super) fn new(clock: Clock, limit: u32, store: &Store) -> Self {
        let shared = store.is_shared().then(|| store.clone());
        Self { clock, limit: limit.max(1), tables: Mutex::default(), shared }
    }

    /// When the attempt is refused: how long until it is not. To be called before any look-up.
    pub(super) async fn retry_after(&self, attempt: &Attempt) -> Result<Option<Duration>, StoreError> {
        let now = self.clock.now();
        let here = self.known_here(attempt, now);
        let wait = here.retry_after(self.limit, now);
        match &self.shared {
            Some(store) if !here.is_exempt && wait.is_none() => {
                let there = known_there(&attempt.of(store), attempt, now).await?;
                Ok(there.retry_after(self.limit, now))
            }
            _ => Ok(wait),
        }
    }

    fn known_here(&self, attempt: &Attempt, now: Timestamp) -> Known {
        let tables = self.tables();
        let live = |count: Option<&Count>| count.copied().filter(|count| now < count.expires);
        Known {
            is_exempt: live(tables.exempt.get(&(attempt.network, attempt.token))).is_some(),
            network: live(tables.networks.get(&attempt.network)),
            name: attempt.name.and_then(|name| live(tables.names.get(&name))),
        }
    }

    pub(super) async fn failed(&self, attempt: &Attempt) {
        let now = self.clock.now();
        {
            let mut tables = self.tables();
            count(&mut tables.networks, attempt.network, now, WINDOW);
            if let Some(name) = attempt.name {
                count(&mut tables.names, name, now, WINDOW);
            }
            // A token that fails after it succeeded has been revoked.
            tables.exempt.remove(&(attempt.network, attempt.token));
        }
        if let Some(store) = self.shared.as_ref().map(|store| attempt.of(store)) {
            let counted = store.rates_count(attempt.failure_keys(), now, WINDOW).await;
            if let Err(error) = counted.and(store.rate_forget(attempt.exempt_key()).await) {
                tracing::warn!(%error, "a failed log-in was counted by this daemon alone");
            }
        }
    }

    pub(super) async fn succeeded(&self, attempt: &Attempt) {
        let now = self.clock.now();
        let is_new = {
            let mut tables = self.tables();
            let before = tables.exempt.remove(&(attempt.network, attempt.token));
            count(&mut tables.exempt, (attempt.network, attempt.token), now, EXEMPT);
            // Some hours are enough for the other daemons to know.
            before.is_none_or(|before| before.expires.since(now) < EXEMPT / 2)
        };
        if let Some(store) = self.shared.as_ref().filter(|_| is_new)
            && let Err(error) = attempt.of(store).rates_count(vec![attempt.exempt_key()], now, EXEMPT).await
        {
            tracing::warn!(%error, "a log-in was noted by this daemon alone");
        }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn known_there(store: &Store, attempt: &Attempt, now: Timestamp) -> Result<Known, StoreError> {
    let keys = [attempt.exempt_key()].into_iter().chain(attempt.failure_keys()).collect();
    let spent = store.rates_spent(keys, now).await?;
    let at = |index: usize| spent.get(index).copied().flatten();
    Ok(Known { is_exempt: at(0).is_some(), network: at(1).map(Count::from), name: at(2).map(Count::from) })
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
    use crate::store::testing::store_with_account;
    use tempfile::TempDir;

    fn attempt(peer: [u8; 4], token: u8, name: u8) -> Attempt {
        Attempt::new(peer.into(), [token; 32], Some([name; 32]))
    }

    /// By one daemon, or by two in turn where they share a store.
    async fn throttles(limit: u32) -> (TempDir, Clock, [Throttle; 2]) {
        let (clock, (dir, store, _)) = (Clock::manual(), store_with_account().await);
        (dir, clock.clone(), [(); 2].map(|()| Throttle::new(clock.clone(), limit, &store)))
    }

    fn other(throttles: &[Throttle; 2]) -> &Throttle {
        if throttles[0].shared.is_some() { &throttles[1] } else { &throttles[0] }
    }

    #[tokio::test]
    async fn a_network_at_its_limit_is_refused_except_for_a_token_that_has_logged_in() {
        let (_dir, clock, throttles) = throttles(3).await;
        let good = attempt([192, 0, 2, 1], 7, 1);
        throttles[0].succeeded(&good).await;
        for (name, throttle) in [(0, &throttles[0]), (1, other(&throttles)), (2, &throttles[0])] {
            assert_eq!(throttle.retry_after(&attempt([192, 0, 2, 1], 1, name)).await.unwrap(), None);
            throttle.failed(&attempt([192, 0, 2, 1], 1, name)).await;
        }
        for throttle in [&throttles[0], other(&throttles)] {
            let wait = throttle.retry_after(&attempt([192, 0, 2, 1], 1, 9)).await.unwrap().unwrap();
            assert!(wait <= WINDOW);
            assert_eq!(throttle.retry_after(&good).await.unwrap(), None);
            assert_eq!(throttle.retry_after(&attempt([192, 0, 2, 2], 1, 9)).await.unwrap(), None);
        }
        clock.advance_to(clock.now().after(WINDOW));
        assert_eq!(other(&throttles).retry_after(&attempt([192, 0, 2, 1], 1, 9)).await.unwrap(), None);
        // Revoked: on the other daemon, too, once one has seen it.
        throttles[0].failed(&good).await;
        for _ in 0..3 {
            throttles[0].failed(&attempt([192, 0, 2, 1], 1, 2)).await;
        }
        assert!(throttles[0].retry_after(&good).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_name_at_its_limit_is_refused_except_from_a_network_without_failures() {
        let (_dir, _clock, throttles) = throttles(3).await;
        for host in 1..=3 {
            throttles[0].failed(&attempt([192, 0, 2, host], 1, 5)).await;
        }
        let throttle = other(&throttles);
        assert!(throttle.retry_after(&attempt([192, 0, 2, 1], 2, 5)).await.unwrap().is_some());
        assert_eq!(throttle.retry_after(&attempt([198, 51, 100, 1], 2, 5)).await.unwrap(), None);
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
