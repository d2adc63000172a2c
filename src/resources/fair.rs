//! A semaphore whose places are shared fairly by key.
//!
//! Invariant: a free place goes to the waiting key that holds the fewest, and among equals to the one that has waited
//! longest; within a key, first come first served. No key holds more than its limit. Acquiring is cancel safe, and costs
//! O(log n) in the number of waiting keys.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Places shared by key; clones share them.
#[derive(Debug)]
pub struct FairSemaphore<K: Key>(Arc<Mutex<State<K>>>);

/// The key of a share.
pub trait Key: Clone + Ord + Hash {}
impl<K: Clone + Ord + Hash> Key for K {}

#[derive(Debug)]
struct State<K: Key> {
    free: usize,
    limit_per_key: usize,
    next_ticket: u64,
    is_closed: bool,
    keys: HashMap<K, Share<K>>,
    /// Waiting keys below their limit, with the ticket of the first waiter.
    order: BTreeSet<Rank<K>>,
}

/// The rank of a waiting key: fewest places first, then longest wait.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank<K> {
    held: usize,
    ticket: u64,
    key: K,
}

/// A key that holds or waits for places.
#[derive(Debug)]
struct Share<K: Key> {
    held: usize,
    waiting: VecDeque<(u64, oneshot::Sender<Permit<K>>)>,
}

/// A place. Dropping it passes it on.
#[derive(Debug)]
pub struct Permit<K: Key> {
    semaphore: FairSemaphore<K>,
    key: K,
}

impl<K: Key> FairSemaphore<K> {
    /// A semaphore of `places`, of which one key holds at most `limit_per_key`. Both are at least one.
    pub fn new(places: usize, limit_per_key: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free: places.max(1),
            limit_per_key: limit_per_key.max(1),
            next_ticket: 0,
            is_closed: false,
            keys: HashMap::new(),
            order: BTreeSet::new(),
        })))
    }

    /// Waits for a place; `None` once the semaphore is closed. Cancel safe.
    pub async fn acquire(&self, key: K) -> Option<Permit<K>> {
        let (mut waiter, receiver) = {
            let mut state = self.lock();
            if state.is_closed {
                return None;
            }
            if state.take(&key) {
                drop(state);
                return Some(self.permit(key));
            }
            let (sender, receiver) = oneshot::channel();
            let ticket = state.wait(&key, sender);
            (Waiter { semaphore: self, key, ticket, is_waiting: true }, receiver)
        };
        let permit = receiver.await.ok();
        waiter.is_waiting = false;
        permit
    }

    #[cfg(any(test, feature = "cluster"))]
    pub fn try_acquire(&self, key: K) -> Option<Permit<K>> {
        let mut state = self.lock();
        let taken = !state.is_closed && state.take(&key);
        drop(state);
        taken.then(|| self.permit(key))
    }

    /// Hands out no more places; waiters get `None`.
    pub fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.order.clear();
        let waiting: Vec<_> = state.keys.values_mut().flat_map(|share| std::mem::take(&mut share.waiting)).collect();
        drop(state);
        drop(waiting);
    }

    /// True while there is another handle: every holder and waiter has one.
    pub(super) fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    fn permit(&self, key: K) -> Permit<K> {
        Permit { semaphore: self.clone(), key }
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        // No foreign code runs while it is locked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Key> Clone for FairSemaphore<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Key> State<K> {
    /// Takes a place if one is free and the key is below its limit. Any waiters then wait for their own key's limit.
    fn take(&mut self, key: &K) -> bool {
        let held = self.keys.get(key).map_or(0, |share| share.held);
        if self.free == 0 || held >= self.limit_per_key {
            return false;
        }
        self.free -= 1;
        self.share(key).held += 1;
        true
    }

    fn share(&mut self, key: &K) -> &mut Share<K> {
        self.keys.entry(key.clone()).or_insert_with(|| Share { held: 0, waiting: VecDeque::new() })
    }

    /// The key's rank, if it is waiting and below its limit.
    fn rank(&self, key: &K) -> Option<Rank<K>> {
        let share = self.keys.get(key).filter(|share| share.held < self.limit_per_key)?;
        share.waiting.front().map(|(ticket, _)| Rank { held: share.held, ticket: *ticket, key: key.clone() })
    }

    /// Changes a key's share and updates `order`.
    fn change<T>(&mut self, key: &K, change: impl FnOnce(&mut Share<K>) -> T) -> T {
        if let Some(entry) = self.rank(key) {
            self.order.remove(&entry);
        }
        let changed = change(self.share(key));
        match self.rank(key) {
            Some(entry) => {
                self.order.insert(entry);
            }
            None => {
                if let Entry::Occupied(entry) = self.keys.entry(key.clone())
                    && entry.get().held == 0
                    && entry.get().waiting.is_empty()
                {
                    entry.remove();
                }
            }
        }
        changed
    }

    fn wait(&mut self, key: &K, sender: oneshot::Sender<Permit<K>>) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.change(key, |share| share.waiting.push_back((ticket, sender)));
        ticket
    }

    /// The next waiter to get a place, if any.
    fn next(&mut self) -> Option<(K, oneshot::Sender<Permit<K>>)> {
        if self.free == 0 {
            return None;
        }
        let Rank { key, .. } = self.order.first().cloned()?;
        let (_, sender) = self.change(&key, |share| {
            share.held += 1;
            share.waiting.pop_front()
        })?;
        self.free -= 1;
        Some((key, sender))
    }
}

impl<K: Key> Drop for Permit<K> {
    fn drop(&mut self) {
        let mut state = self.semaphore.lock();
        state.free += 1;
        state.change(&self.key, |share| share.held = share.held.saturating_sub(1));
        let next = state.next();
        drop(state);
        if let Some((key, sender)) = next {
            // If the receiver is gone, the permit is dropped here and passed on.
            drop(sender.send(self.semaphore.permit(key)));
        }
    }
}

/// A waiter. Dropping it removes it from the queue.
struct Waiter<'a, K: Key> {
    semaphore: &'a FairSemaphore<K>,
    key: K,
    ticket: u64,
    is_waiting: bool,
}

impl<K: Key> Drop for Waiter<'_, K> {
    fn drop(&mut self) {
        if !self.is_waiting {
            return;
        }
        let mut state = self.semaphore.lock();
        let left = state.change(&self.key, |share| {
            let at = share.waiting.binary_search_by_key(&self.ticket, |(ticket, _)| *ticket);
            at.ok().and_then(|at| share.waiting.remove(at))
        });
        drop(state);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::task::yield_now;

    async fn settled() {
        for _ in 0..100 {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn the_key_with_the_fewest_places_is_next_and_none_takes_more_than_its_limit() {
        let semaphore = FairSemaphore::new(3, 2);
        let first = semaphore.acquire("many").await.unwrap();
        let _second = semaphore.acquire("many").await.unwrap();
        assert!(semaphore.try_acquire("many").is_none());
        let other = semaphore.try_acquire("few").unwrap();
        let served = Arc::new(Mutex::new(Vec::new()));
        for key in ["many", "many", "few", "third"] {
            let (semaphore, served) = (semaphore.clone(), Arc::clone(&served));
            tokio::spawn(async move {
                let permit = semaphore.acquire(key).await.unwrap();
                served.lock().unwrap().push(key);
                std::mem::forget(permit);
            });
            settled().await;
        }
        drop(first);
        settled().await;
        assert_eq!(*served.lock().unwrap(), ["third"]);
        drop(other);
        settled().await;
        assert_eq!(*served.lock().unwrap(), ["third", "few"]);
    }

    #[tokio::test]
    async fn those_who_left_are_passed_over_and_no_place_is_lost() {
        struct AtWork(Arc<AtomicUsize>);
        impl Drop for AtWork {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let semaphore = FairSemaphore::new(2, 2);
        let count = Arc::new(AtomicUsize::new(0));
        let mut tasks = Vec::new();
        for number in 0..2000_usize {
            let (semaphore, count) = (semaphore.clone(), Arc::clone(&count));
            tasks.push(tokio::spawn(async move {
                let _permit = semaphore.acquire(number % 7).await.unwrap();
                assert!(count.fetch_add(1, Ordering::SeqCst) < 2);
                let _at_work = AtWork(count);
                yield_now().await;
            }));
            if number % 3 == 0 {
                yield_now().await;
            }
            if number % 2 == 0 {
                tasks[number.saturating_sub(4)].abort();
            }
        }
        let mut aborted = 0;
        for task in tasks {
            match task.await {
                Ok(()) => {}
                Err(error) if error.is_cancelled() => aborted += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(aborted > 100, "{aborted}");
        let state = semaphore.lock();
        assert_eq!((state.free, state.keys.len(), state.order.len()), (2, 0, 0));
    }

    #[tokio::test]
    async fn nobody_waits_for_a_closed_semaphore() {
        let semaphore = FairSemaphore::new(1, 1);
        let permit = semaphore.acquire(1).await.unwrap();
        let waiting = tokio::spawn({
            let semaphore = semaphore.clone();
            async move { semaphore.acquire(2).await.is_none() }
        });
        settled().await;
        semaphore.close();
        assert!(waiting.await.unwrap());
        drop(permit);
        assert!(semaphore.acquire(3).await.is_none());
    }
}
