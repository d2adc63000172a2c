//! Serializes the writes of this process that have a [`Turn`] in common, and those that are to run alone.
//!
//! Invariant: a write that waits for a turn holds no connection and no turn with a higher number, so writes cannot deadlock.
//! Between daemons the same turns are advisory locks of the database, taken in the same order before the transaction begins.

use crate::store::lock;
use crate::store::turns::Turn;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::sync::OwnedMutexGuard;

type Queues = HashMap<i64, Arc<tokio::sync::Mutex<()>>>;

/// A queue per turn in use; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct TurnQueues(Arc<Mutex<Queues>>);

/// Turns that a write holds; dropping it releases them.
#[derive(Debug)]
pub(super) struct Held {
    turns: TurnQueues,
    /// In ascending order.
    keys: Vec<i64>,
    guards: Vec<OwnedMutexGuard<()>>,
}

impl TurnQueues {
    /// Waits for all of `turns`. Cancel safe.
    pub async fn wait(&self, turns: &[Turn]) -> Held {
        self.wait_at(turns.iter().map(Turn::key).collect()).await
    }

    /// The same for turns by the numbers of their locks.
    pub async fn wait_at(&self, mut keys: Vec<i64>) -> Held {
        keys.sort_unstable();
        keys.dedup();
        let mut held = Held { turns: self.clone(), keys, guards: Vec::new() };
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
        let mut queues = lock(&self.turns.0);
        for key in &self.keys {
            // No other write holds the turn or waits for it.
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
        let (turns, one, two) = (TurnQueues::default(), Turn::Inbox(InboxId::new()), Turn::Inbox(InboxId::new()));
        let both = turns.wait(&[one.clone(), two.clone(), one.clone()]).await;
        assert_eq!(both.keys().len(), 2);
        let now = std::time::Duration::ZERO;
        // A write that is cancelled while it waits.
        assert!(tokio::time::timeout(now, turns.wait(std::slice::from_ref(&two))).await.is_err());
        let waiting = tokio::spawn({
            let (turns, two) = (turns.clone(), two.clone());
            async move { turns.wait(&[two]).await }
        });
        drop(tokio::time::timeout(now, turns.wait(&[])).await.unwrap());
        drop(both);
        let held = waiting.await.unwrap();
        assert!(tokio::time::timeout(now, turns.wait(&[one, two])).await.is_err());
        drop(held);
        assert!(lock(&turns.0).is_empty(), "{turns:?}");
    }
}
