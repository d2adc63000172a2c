//! A [`FairSemaphore`] for each of many things, such as remote addresses.
//!
//! Invariant: a semaphore in use is kept; the number of unused ones is limited.

use super::fair::{FairSemaphore, Key, Permit};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// Maximum semaphores before unused ones are removed.
const REMEMBERED: usize = 1024;

/// Semaphores by the thing that they limit.
#[derive(Debug)]
pub struct FairSemaphores<T, K: Key> {
    places: usize,
    limit_per_key: usize,
    all: Mutex<HashMap<T, FairSemaphore<K>>>,
}

impl<T: Eq + Hash, K: Key> FairSemaphores<T, K> {
    /// Each has `places`, of which one key holds at most `limit_per_key`.
    pub fn new(places: usize, limit_per_key: usize) -> Self {
        Self { places, limit_per_key, all: Mutex::default() }
    }

    /// Waits for a place of `of`'s semaphore. Cancel safe.
    pub async fn acquire(&self, of: T, key: K) -> Option<Permit<K>> {
        let semaphore = self.of(of);
        semaphore.acquire(key).await
    }

    fn of(&self, of: T) -> FairSemaphore<K> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED && !all.contains_key(&of) {
            all.retain(|_, semaphore| semaphore.is_in_use());
        }
        all.entry(of).or_insert_with(|| FairSemaphore::new(self.places, self.limit_per_key)).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn those_that_nobody_uses_are_forgotten_and_those_in_use_are_not() {
        let semaphores = FairSemaphores::new(1, 1);
        let held = semaphores.acquire(0, "a").await;
        for of in 1..5000 {
            semaphores.acquire(of, "a").await;
        }
        let all = semaphores.all.lock().unwrap();
        assert!(all.len() <= REMEMBERED);
        assert!(all.get(&0).is_some_and(|semaphore| semaphore.try_acquire("b").is_none()));
        drop(held);
    }
}
