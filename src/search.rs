//! Fills the index of searches with mail that has arrived, and keeps its overviews for lists.
//!
//! Invariant: accepting mail does not wait for it; what is not indexed yet is in the tail ([`crate::store::search`]), which searches
//! compare. A job is an account and one batch of its messages, so that accounts take turns; a batch is one transaction, so after a
//! crash the index goes on where it was.

#[cfg(test)]
mod tests;

use crate::clock::{Clock, Timestamp};
use crate::id::{AccountId, RunnerId};
use crate::jobs::{Claimed, Runner, Work};
use crate::message::fields::Header;
use crate::message::grams::Grams;
use crate::message::overview::Overview;
use crate::net::listener::Shutdown;
use crate::reading::Reading;
use crate::resources::memory::{MemoryBudget, NoRoom};
use crate::resources::places::Places;
use crate::resources::spool::{PATIENCE, Spool};
use crate::resources::work::WorkError;
use crate::resources::{Client, Owner};
use crate::store::jobs::{Claim, JobKey};
use crate::store::messages::LONGEST_BLOCK;
use crate::store::search::{Indexed, Outcome, Unindexed};
use crate::store::{Store, StoreError, StoredMessage};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Accounts whose mail is indexed at once.
const CONCURRENCY: usize = 2;
/// Messages of a batch at most: other writes wait while one is stored.
const BATCH: u32 = 32;
/// Octets of a batch at most, but for a message that alone has more.
const OCTETS: u64 = 4 * 1024 * 1024;
/// Memory for a message, as a multiple of its size.
const FACTOR: usize = 4;
/// After a batch that failed.
const LATER: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Work(#[from] WorkError),
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

impl IndexError {
    /// The daemon is stopping, and the next one goes on.
    fn is_of_stop(&self) -> bool {
        matches!(self, Self::Work(WorkError::Cancelled(_)) | Self::Store(StoreError::Closed))
    }
}

/// The service; clones share it.
#[derive(Clone, Debug)]
pub struct SearchIndex {
    runner: Runner<Indexing>,
}

/// The mail of accounts as background work.
#[derive(Debug)]
struct Indexing {
    store: Store,
    reading: Reading,
    memory: MemoryBudget,
    /// Where the next claim begins, so that every account has its turn.
    after: Mutex<String>,
}

impl SearchIndex {
    /// Does nothing until it runs.
    pub fn new(store: Store, clock: Clock, reading: Reading, spool: &Spool) -> Self {
        let (memory, after) = (spool.memory().clone(), Mutex::default());
        let indexing = Indexing { store: store.clone(), reading, memory, after };
        Self { runner: Runner::new(indexing, CONCURRENCY, store, clock) }
    }

    /// Indexes mail as it arrives, until shutdown.
    pub async fn run(self, shutdown: Shutdown) {
        self.runner.run(&shutdown).await;
    }

    /// Indexes what is due.
    #[cfg(test)]
    pub async fn settle(&self) {
        self.runner.settle().await;
    }

    /// Empties the index and fills it again with all mail, while no daemon runs. `report` is called with how many messages there are, and
    /// how many of them are done. What is left when it is interrupted, a daemon indexes.
    pub async fn rebuild(&self, mut report: impl FnMut(u64, u64)) -> Result<u64, IndexError> {
        let indexing = self.runner.work();
        let of = indexing.store.search_clear().await?;
        loop {
            let accounts = indexing.store.search_accounts().await?;
            if accounts.is_empty() {
                return Ok(of);
            }
            for account in accounts {
                while indexing.batch(&account, None, None).await? {
                    report(of.saturating_sub(indexing.store.search_tail_size().await?), of);
                }
            }
            report(of.saturating_sub(indexing.store.search_tail_size().await?), of);
        }
    }
}

impl Work for Indexing {
    type Job = (AccountId, Timestamp);
    const NAME: &'static str = "batches of mail for the index of searches";
    const ENDS_JOBS_AT_SHUTDOWN: bool = false;

    async fn claim(&self, claim: Claim, _at_once: bool) -> Result<Vec<Claimed<Self::Job>>, StoreError> {
        let now = claim.now;
        let after = self.after.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (accounts, after) = self.store.search_claim(claim, after).await?;
        *self.after.lock().unwrap_or_else(PoisonError::into_inner) = after;
        let claimed = |account: AccountId| Claimed {
            key: JobKey::SearchIndex(account.clone()),
            owner: Owner::Account(account.clone()),
            job: (account, now),
        };
        Ok(accounts.into_iter().map(claimed).collect())
    }

    async fn run(&self, (account, now): Self::Job, runner: RunnerId) {
        if let Err(error) = self.batch(&account, Some(runner.clone()), Some(now)).await {
            if error.is_of_stop() {
                tracing::debug!(%error, %account, "stopped while indexing mail for searches");
                return;
            }
            tracing::warn!(%error, %account, "cannot index mail for searches; trying again later");
            // The lease keeps others from trying meanwhile.
            tokio::time::sleep(LATER).await;
            let _ = self.store.search_index(&account, Some(runner), Vec::new()).await;
        }
    }

    async fn next_due(&self, places: Places) -> Result<Option<Timestamp>, StoreError> {
        self.store.search_next_due(places).await
    }
}

impl Indexing {
    /// Indexes some of an account's messages. True if there may be more.
    async fn batch(
        &self,
        account: &AccountId,
        runner: Option<RunnerId>,
        now: Option<Timestamp>,
    ) -> Result<bool, IndexError> {
        let store = self.store.for_account(account);
        let (mut messages, mut has_more) = store.search_unindexed(account, now, BATCH).await?;
        let mut octets = 0_u64;
        let fitting = messages.iter().take_while(|message| {
            let is_first = octets == 0;
            octets = octets.saturating_add(message.size.max(1));
            is_first || octets <= OCTETS
        });
        let count = fitting.count();
        has_more |= count < messages.len();
        messages.truncate(count);
        let mut batch = Vec::with_capacity(messages.len());
        for message in messages {
            batch.push(self.read(&store, account, message).await?);
        }
        store.search_index(account, runner, batch).await?;
        Ok(has_more)
    }

    async fn read(&self, store: &Store, account: &AccountId, message: Unindexed) -> Result<Indexed, IndexError> {
        let left_out = |message| Indexed { message, outcome: Outcome::LeftOut, overview: None };
        let size = usize::try_from(message.size).unwrap_or(usize::MAX);
        let mut claim = self.memory.claim(&Client::of_account(account));
        match claim.wait_to_grow(size.saturating_mul(FACTOR), PATIENCE).await {
            // It might never find room, and the others would wait behind it.
            Err(_) if message.size > OCTETS => return Ok(left_out(message)),
            grown => grown?,
        }
        let StoredMessage { header, body } = match store.message_raw(&message.inbox, &message.id).await {
            Ok(Some(raw)) => raw,
            // It is gone, and goes out of the tail with the next batch.
            Ok(None) => return Ok(left_out(message)),
            Err(error) if error.is_damage() => return Ok(left_out(message)),
            Err(error) => return Err(error.into()),
        };
        let (owner, content) = (Owner::Account(account.clone()), message.content);
        let read = self.reading.read(&owner, size, move |reader, budget| {
            let _claim = claim;
            budget.check()?;
            let readable = reader.begin(content);
            if readable.is_set_aside {
                return Ok((Outcome::LeftOut, None));
            }
            let block = header.get(..LONGEST_BLOCK).unwrap_or(&header);
            let overview = Overview::read(&Header::read(block, &readable.limits)).written();
            let grams = Grams::of_message(&header, &body, &readable.limits);
            Ok((grams.map_or(Outcome::LeftOut, Outcome::Grams), overview))
        });
        let (outcome, overview) = read.await?;
        Ok(Indexed { message, outcome, overview })
    }
}
