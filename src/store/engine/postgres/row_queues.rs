//! Serializes the writes of this process that have a [`HotRow`] in common, and those that are to run alone.
//!
//! Invariant: a write that waits for a hot row holds no connection and no hot row with a higher number, so writes cannot deadlock.
//! Between daemons the same hot rows are advisory locks of the database, taken in the same order before the transaction begins.

use crate::store::hot_rows::HotRow;
use crate::store::lock;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::sync::OwnedMutexGuard;

type Queues = HashMap<i64, Arc<tokio::sync::Mutex<()>>>;

/// A queue per hot row in use; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct RowQueues(Arc<Mutex<Queues>>);

/// Turns that a write holds; dropping it releases them.
#[derive(Debug)]
pub(super) struct Held {
    queues: RowQueues,
    /// In ascending order.
    keys: Vec<i64>,
    guards: Vec<OwnedMutexGuard<()>>,
}

impl RowQueues {
    /// Waits for all of `hot_rows`. Cancel safe.
    pub async fn wait(&self, hot_rows: &[HotRow]) -> Held {
        self.wait_at(hot_rows.iter().map(HotRow::key).collect()).await
    }

    /// The same, by lock numbers.
    pub async fn wait_at(&self, mut keys: Vec<i64>) -> Held {
        keys.sort_unstable();
        keys.dedup();
        let mut held = Held { queues: self.clone(), keys, guards: Vec::new() };
        for key in held.keys.clone() {
            let queue = Arc::clone(lock(&self.0).entry(key).or_default());
            held.guards.push(queue.lock_owned().await);
        }
        held
    }
}

impl Held {
    /// The numbers of the advisory locks, in ascending order.
    pub fn keys(&self) -> &[i64] {
        &self.keys
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.guards.clear();
        let mut queues = lock(&self.queues.0);
        for key in &self.keys {
            // No other write holds the hot row or waits for it.
            if queues.get(key).is_some_and(|queue| Arc::strong_count(queue) == 1) {
                queues.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::InboxId;

    #[tokio::test]
    async fn a_turn_has_one_holder_and_its_queue_is_removed_after_use() {
        let (queues, one, two) = (RowQueues::default(), HotRow::Inbox(InboxId::new()), HotRow::Inbox(InboxId::new()));
        let both = queues.wait(&[one.clone(), two.clone(), one.clone()]).await;
        assert_eq!(both.keys().len(), 2);
        let now = std::time::Duration::ZERO;
        // A write that is cancelled while it waits.
        assert!(tokio::time::timeout(now, queues.wait(std::slice::from_ref(&two))).await.is_err());
        let waiting = tokio::spawn({
            let (queues, two) = (queues.clone(), two.clone());
            async move { queues.wait(&[two]).await }
        });
        drop(tokio::time::timeout(now, queues.wait(&[])).await.unwrap());
        drop(both);
        let held = waiting.await.unwrap();
        assert!(tokio::time::timeout(now, queues.wait(&[one, two])).await.is_err());
        drop(held);
        assert!(lock(&queues.0).is_empty(), "{queues:?}");
    }
}
