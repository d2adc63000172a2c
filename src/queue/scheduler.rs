//! When what is tried: attempts that are due are claimed, run side by side, and settled.
//!
//! Invariant: at most `queue.concurrency` attempts run, to one destination at most as many as it takes
//! ([`DestinationLimits`](crate::resources::concurrency::DestinationLimits)), shared out by account
//! ([`slots`](super::slots)), and never two of one message to one domain. A lease outlives its attempt, unless the process
//! dies; then the next start releases it. RFC 5321 §4.5.4.1.

use super::Queue;
use super::slots::{Attempt, Slot};
use crate::clock::Timestamp;
use crate::id::InboxId;
use crate::net::listener::Shutdown;
use crate::resources::Owner;
use crate::store::queue::{Due, InFlight, Settlement};
use crate::store::room::DeliverError;
use std::sync::Arc;
use std::time::Duration;

/// How long an attempt is its owner's.
const LEASE: Duration = Duration::from_secs(30 * 60);
/// The longest sleep. Whoever moves the clock wakes the queue, so this only bounds a mistake.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// Pauses between tries to write an outcome down: a message that was delivered must not be sent again.
const SETTLE_PAUSES: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];

/// An attempt under way. However it ends, its slot is free again and those who wait for it are told.
struct UnderWay {
    queue: Queue,
    attempt: Attempt,
    slot: Arc<Slot>,
}

impl UnderWay {
    fn new(queue: Queue, due: &Due) -> Self {
        let slot = Slot::new(due.queued.account.clone(), queue.inner.slot_time);
        let (attempt, slot) = ((due.queued.id.clone(), due.domain.clone()), Arc::new(slot));
        queue.inner.deliverer.slots.take(attempt.clone(), Arc::clone(&slot));
        Self { queue, attempt, slot }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let inner = &self.queue.inner;
        inner.deliverer.slots.free(&self.attempt);
        inner.ended.notify_waiters();
        inner.wake.notify_one();
    }
}

impl Queue {
    /// Runs the queue until the shutdown; then waits for the attempts under way, and closes the connections.
    pub async fn run(self, shutdown: Shutdown) {
        match self.inner.deliverer.store.release_leases().await {
            Ok(0) => {}
            Ok(released) => tracing::info!(released, "attempts that a crash cut off are due again"),
            Err(error) => tracing::error!(%error, "the queue could not be looked at"),
        }
        let mut key_made = self.inner.deliverer.signer.key_made();
        while !shutdown.is_requested() {
            // Before the look, so that what happens during it is not missed.
            let woken = self.inner.wake.notified();
            let sleep = self.dispatch_and_rest().await;
            tokio::select! {
                () = shutdown.requested() => {}
                () = woken => {}
                // Mail may have waited for it. The signer outlives this, so there is no error.
                Ok(()) = key_made.changed() => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
        self.idle().await;
        self.inner.deliverer.client.close_idle().await;
    }

    /// Resolves when no attempt runs.
    async fn idle(&self) {
        loop {
            let ended = self.inner.ended.notified();
            tokio::pin!(ended);
            // Listens before it looks, so that no end is missed.
            ended.as_mut().enable();
            if self.inner.deliverer.slots.is_empty() {
                return;
            }
            ended.await;
        }
    }

    /// Begins what is due, and says how long nothing else will be.
    async fn dispatch_and_rest(&self) -> Duration {
        // With the store in trouble, or every place taken, a short rest; the end of an attempt wakes anyway.
        let short = Duration::from_secs(1);
        match self.dispatch(self.now()).await {
            Ok(0) => match self.next_due().await {
                Some(next) => next.since(self.now()).clamp(self.shortest_rest(short), LONGEST_SLEEP),
                None => LONGEST_SLEEP,
            },
            Ok(_) => Duration::ZERO,
            Err(()) => short,
        }
    }

    /// What is overdue waits for a place while attempts run: looking for it more often helps nobody.
    fn shortest_rest(&self, short: Duration) -> Duration {
        if self.inner.deliverer.slots.is_empty() { short / 100 } else { short }
    }

    /// Tries everything that is due now, and answers when no attempt runs any more.
    pub async fn settle(&self) {
        let until = self.now();
        loop {
            self.idle().await;
            let begun = self.dispatch(until).await.unwrap_or(0);
            // What the running queue has begun meanwhile may keep places that something due needs.
            if begun == 0 && self.inner.deliverer.slots.is_empty() {
                return;
            }
        }
    }

    /// When the next attempt is due; none when the queue is empty.
    pub async fn next_due(&self) -> Option<Timestamp> {
        let next = self.inner.deliverer.store.next_attempt_due().await;
        next.inspect_err(|error| tracing::error!(%error, "the queue could not be looked at")).ok().flatten()
    }

    fn now(&self) -> Timestamp {
        self.inner.deliverer.clock.now()
    }

    /// Claims what is due at `now` and has a slot, and begins it. How many attempts that were.
    async fn dispatch(&self, now: Timestamp) -> Result<usize, ()> {
        // A task of its own: a caller that goes away leaves nothing claimed that nobody attempts.
        let queue = self.clone();
        let dispatched = tokio::spawn(async move { queue.claim_and_begin(now).await });
        dispatched.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a bug: mail could not be taken from the queue");
            Err(())
        })
    }

    async fn claim_and_begin(&self, now: Timestamp) -> Result<usize, ()> {
        let inner = &self.inner;
        // One at a time: the slots are counted before they are taken.
        let _turn = inner.dispatching.lock().await;
        let (places, attempts) = inner.deliverer.slots.snapshot(inner.deliverer.config.queue.concurrency);
        let in_flight = InFlight { attempts, places, destinations: inner.deliverer.destinations.clone() };
        let lease = self.now().after(LEASE);
        let claimed = inner.deliverer.store.claim_due(now, lease, in_flight).await;
        let claimed = claimed.map_err(|error| tracing::error!(%error, "no mail could be taken from the queue"))?;
        let begun = claimed.due.len();
        for due in claimed.due {
            tokio::spawn(UnderWay::new(self.clone(), &due).run(due));
        }
        inner.deliverer.slots.withdraw(claimed.waiting);
        Ok(begun)
    }
}

impl UnderWay {
    async fn run(self, due: Due) {
        let deliverer = self.queue.inner.deliverer.on_behalf_of(&due);
        let begun = deliverer.clock.now();
        let mut full = Vec::new();
        loop {
            let (attempting, attempted, slot) = (deliverer.clone(), due.clone(), Arc::clone(&self.slot));
            let known = full.clone();
            // A task of its own, so that a bug in it ends neither the slot nor the message.
            let attempt = tokio::spawn(async move { attempting.attempt(attempted, begun, &slot, &known).await });
            let settlement = match attempt.await {
                Ok(settlement) => settlement,
                Err(error) => deliverer.broken_off(&due, begun, &error),
            };
            // Only copies for inboxes here find no room, so nothing has left yet. Each turn knows one more that is full.
            match self.queue.write_down(Owner::Account(due.queued.account.clone()), settlement).await {
                more if more.is_empty() => break,
                more => full.extend(more),
            }
        }
    }
}

impl Queue {
    /// Records an outcome. The inboxes that have no room for their copy: then nothing was recorded.
    async fn write_down(&self, owner: Owner, settlement: Settlement) -> Vec<InboxId> {
        let id = settlement.submission.clone();
        let settlement = std::sync::Arc::new(settlement);
        let mailboxes = self.inner.mailboxes.for_owner(owner);
        for pause in SETTLE_PAUSES.map(Some).into_iter().chain([None]) {
            match mailboxes.settle(std::sync::Arc::clone(&settlement)).await {
                Ok(()) => return Vec::new(),
                Err(DeliverError::Full(inboxes)) => return inboxes,
                Err(DeliverError::Store(error)) => {
                    tracing::error!(submission = %id, %error, "an outcome could not be written down")
                }
            }
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
        }
        Vec::new()
    }
}
