//! Delivery attempts as background work: claimed, made, and settled.
//!
//! Invariant: at most `queue.concurrency` attempts run, to one destination no more than its current limit
//! ([`DestinationLimits`](crate::resources::concurrency::DestinationLimits)), and never two of one message to one domain.
//! RFC 5321 §4.5.4.1.

use super::delivery::Deliverer;
use super::slots::{Attempt, Slot};
use crate::clock::Timestamp;
use crate::id::{InboxId, RunnerId};
use crate::jobs::{Claimed, Work};
use crate::mailbox::MailboxService;
use crate::resources::Owner;
use crate::resources::places::Places;
use crate::store::StoreError;
use crate::store::jobs::{Claim, JobKey};
use crate::store::queue::{Due, Settled, Settlement};
use crate::store::quota::DeliverError;
use std::sync::Arc;
use std::time::Duration;

/// Pauses before retries of recording a result: a delivered message must not be sent again.
const SETTLE_PAUSES: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];

/// The attempts of the queue.
#[derive(Debug)]
pub(super) struct Attempts {
    pub deliverer: Deliverer,
    /// How long an attempt keeps its slot while others wait for one.
    pub slot_time: Duration,
    pub mailboxes: MailboxService,
}

impl Work for Attempts {
    type Job = Due;
    const NAME: &'static str = "deliveries";
    const ENDS_JOBS_AT_SHUTDOWN: bool = true;

    async fn claim(&self, claim: Claim, _at_once: bool) -> Result<Vec<Claimed<Due>>, StoreError> {
        let deliverer = &self.deliverer;
        let claimed = deliverer.store.claim_due(claim, deliverer.destinations.clone()).await?;
        deliverer.slots.withdraw(claimed.waiting);
        let job = |due: Due| Claimed {
            key: JobKey::Delivery(due.queued.id.clone(), due.domain.clone()),
            owner: Owner::Account(due.queued.account.clone()),
            job: due,
        };
        Ok(claimed.due.into_iter().map(job).collect())
    }

    async fn next_due(&self, _places: Places) -> Result<Option<Timestamp>, StoreError> {
        // Even without a free place: a running attempt may just have become slow and lose its slot.
        self.deliverer.store.next_attempt_due().await
    }

    async fn run(&self, due: Due, _runner: RunnerId) {
        let deliverer = self.deliverer.on_behalf_of(&due);
        let held = HeldSlot::new(&self.deliverer, &due, self.slot_time);
        let started_at = deliverer.clock.now();
        let mut full = Vec::new();
        loop {
            let (attempting, attempted, slot) = (deliverer.clone(), due.clone(), Arc::clone(&held.slot));
            let known = full.clone();
            // In a separate task, so that a panic in it loses neither the slot nor the message.
            let attempt = tokio::spawn(async move { attempting.attempt(attempted, started_at, &slot, &known).await });
            let settlement = match attempt.await {
                Ok(settlement) => settlement,
                Err(error) => deliverer.broken_off(&due, started_at, &error),
            };
            // Only copies for local inboxes can find no room, so nothing has left yet. Each retry knows more full inboxes.
            match self.record(Owner::Account(due.queued.account.clone()), settlement).await {
                more if more.is_empty() => break,
                more => full.extend(more),
            }
        }
    }
}

impl Attempts {
    /// Records a settlement. Returns the inboxes without room for their copies; then nothing was recorded.
    async fn record(&self, owner: Owner, settlement: Settlement) -> Vec<InboxId> {
        let id = settlement.submission.clone();
        let settlement = Arc::new(settlement);
        let mailboxes = self.mailboxes.for_owner(owner);
        for pause in SETTLE_PAUSES.map(Some).into_iter().chain([None]) {
            match mailboxes.settle(Arc::clone(&settlement)).await {
                Ok(Settled::Recorded) => return Vec::new(),
                Ok(Settled::LeaseLost) => {
                    tracing::info!(submission = %id, "an attempt has lost its lease: the message was dropped, or another daemon has taken it over");
                    return Vec::new();
                }
                Err(DeliverError::Full(inboxes)) => return inboxes,
                Err(DeliverError::Store(error)) => {
                    tracing::error!(submission = %id, %error, "cannot record the result of a delivery");
                }
            }
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
        }
        Vec::new()
    }
}

/// The slot of an attempt, freed however the attempt ends.
struct HeldSlot<'a> {
    deliverer: &'a Deliverer,
    attempt: Attempt,
    slot: Arc<Slot>,
}

impl<'a> HeldSlot<'a> {
    fn new(deliverer: &'a Deliverer, due: &Due, time: Duration) -> Self {
        let slot = Arc::new(Slot::new(due.queued.account.clone(), time));
        let attempt = (due.queued.id.clone(), due.domain.clone());
        deliverer.slots.take(attempt.clone(), Arc::clone(&slot));
        Self { deliverer, attempt, slot }
    }
}

impl Drop for HeldSlot<'_> {
    fn drop(&mut self) {
        self.deliverer.slots.free(&self.attempt);
    }
}
