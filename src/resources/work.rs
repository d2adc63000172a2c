//! Heavy work: parsing, searching, composing, signing, anything that grows with a message or a mailbox.
//!
//! Invariant: it runs off the async threads, in turns by owner, limited by the places of the pool; it checks its [`WorkBudget`] and so
//! ends soon after its caller was cancelled. Work on few octets runs on the caller's thread, which takes less time than a hand-over.

use super::Owner;
use super::fair::FairSemaphore;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Work on up to this many octets runs on the caller's thread. It must be linear work.
pub const INLINE: usize = 64 * 1024;

/// The caller was cancelled or the pool is closed: the result is not needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the work was cancelled")]
pub struct Cancelled;

/// Why work has no result. Temporary to a client: 451, `NO [UNAVAILABLE]`, 503.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The daemon is stopping.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    #[error("the work panicked: {0}")]
    Panicked(String),
}

/// Places for heavy work; clones share them.
#[derive(Clone, Debug)]
pub struct WorkPool {
    places: FairSemaphore<Owner>,
    is_closed: Arc<AtomicBool>,
}

/// Tells work to end.
#[derive(Clone, Debug)]
pub struct WorkBudget {
    is_cancelled: Arc<AtomicBool>,
    is_closed: Arc<AtomicBool>,
}

impl WorkBudget {
    /// Fails once the result is no longer needed. Cheap: call it for every part, message or few kilobytes.
    pub fn check(&self) -> Result<(), Cancelled> {
        let is_over = self.is_cancelled.load(Ordering::Relaxed) || self.is_closed.load(Ordering::Relaxed);
        if is_over { Err(Cancelled) } else { Ok(()) }
    }
}

/// Cancels work when the future that waits for it is dropped.
#[derive(Debug)]
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Default for WorkPool {
    fn default() -> Self {
        Self::new(std::thread::available_parallelism().map_or(2, usize::from).max(2))
    }
}

impl WorkPool {
    /// A pool of `places`, at least two. No owner takes the last one.
    pub fn new(places: usize) -> Self {
        let places = places.max(2);
        Self { places: FairSemaphore::new(places, places - 1), is_closed: Arc::default() }
    }

    /// Runs work on `octets` of input. Dropping the future cancels it.
    pub async fn run<T, F>(&self, owner: &Owner, octets: usize, work: F) -> Result<T, WorkError>
    where
        T: Send + 'static,
        F: FnOnce(&WorkBudget) -> Result<T, Cancelled> + Send + 'static,
    {
        let budget = WorkBudget { is_cancelled: Arc::default(), is_closed: Arc::clone(&self.is_closed) };
        if octets <= INLINE {
            return done(&budget, work);
        }
        let place = self.places.acquire(owner.clone()).await.ok_or(Cancelled)?;
        let _cancel = CancelOnDrop(Arc::clone(&budget.is_cancelled));
        let running = tokio::task::spawn_blocking(move || {
            let _place = place;
            done(&budget, work)
        });
        match running.await {
            Ok(done) => done,
            // Cancelled by the runtime's shutdown; panics have been caught.
            Err(_) => Err(Cancelled.into()),
        }
    }

    /// Cancels running work and rejects new work, except small work.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.places.close();
    }
}

fn done<T>(budget: &WorkBudget, work: impl FnOnce(&WorkBudget) -> Result<T, Cancelled>) -> Result<T, WorkError> {
    match std::panic::catch_unwind(AssertUnwindSafe(|| work(budget))) {
        Ok(done) => Ok(done?),
        Err(cause) => {
            let text = cause.downcast_ref::<String>().map(String::as_str).or(cause.downcast_ref::<&str>().copied());
            Err(WorkError::Panicked(text.unwrap_or("no message").to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::AccountId;
    use std::sync::mpsc;

    fn account() -> Owner {
        Owner::Account(AccountId::new())
    }

    #[tokio::test]
    async fn one_owner_leaves_a_place_to_others_and_work_without_a_caller_ends() {
        let pool = WorkPool::new(2);
        let (greedy, other) = (account(), account());
        let (ended, has_ended) = mpsc::channel();
        let mut endless = Vec::new();
        for _ in 0..10 {
            let (pool, greedy, ended) = (pool.clone(), greedy.clone(), ended.clone());
            endless.push(tokio::spawn(async move {
                let endless = move |budget: &WorkBudget| {
                    while budget.check().is_ok() {
                        std::thread::yield_now();
                    }
                    ended.send(()).unwrap();
                    budget.check()
                };
                pool.run(&greedy, usize::MAX, endless).await
            }));
        }
        drop(ended);
        assert_eq!(pool.run(&other, usize::MAX, |_| Ok(7)).await.unwrap(), 7);
        endless.iter().for_each(tokio::task::JoinHandle::abort);
        // Running work ends; the channel closes with the last one.
        let count = tokio::task::spawn_blocking(move || has_ended.iter().count()).await.unwrap();
        assert!(count <= 10);
        assert_eq!(pool.run(&greedy, usize::MAX, |_| Ok(8)).await.unwrap(), 8);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_of_this_work_alone_and_a_closed_pool_does_only_small_work() {
        let pool = WorkPool::new(2);
        for octets in [0, usize::MAX] {
            let failed = pool.run(&account(), octets, |_| -> Result<(), _> { panic!("a bug") }).await;
            assert!(matches!(failed, Err(WorkError::Panicked(text)) if text == "a bug"));
        }
        pool.close();
        assert!(matches!(pool.run(&account(), usize::MAX, |_| Ok(())).await, Err(WorkError::Cancelled(_))));
        assert!(pool.run(&account(), 0, |_| Ok(())).await.is_ok());
    }
}
