//! Checks as they run: the state of a domain's check, and a reader that waits for its changes.
//!
//! Invariant: each request that waits has a receiver; counts of queries are read from memory, and from the daemon that runs the check alone.

use super::Registry;
use crate::dns::{Counts, Progress};
use crate::events::{Subscription, Wakes};
use crate::id::{AccountId, DomainId};
use crate::store::StoreError;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

/// How often the counts of a running check are read.
const READ_EVERY: Duration = Duration::from_millis(300);

/// Whether a domain is being checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// No check is due.
    Idle,
    /// One is due or requested, and has not begun.
    Waiting,
    Running,
}

/// The state of a domain's check; serialized as its JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct CheckProgress {
    pub state: CheckState,
    /// Name servers queried so far. Null, like the others, unless the check runs in the daemon that answers.
    pub name_servers: Option<u32>,
    /// Queries sent so far.
    pub queries: Option<u32>,
    /// Those that were answered or timed out.
    pub answers: Option<u32>,
}

impl CheckProgress {
    fn of(state: CheckState) -> Self {
        Self { state, name_servers: None, queries: None, answers: None }
    }
}

impl From<Counts> for CheckProgress {
    fn from(Counts { name_servers, queries, answers }: Counts) -> Self {
        let [name_servers, queries, answers] = [name_servers, queries, answers].map(Some);
        Self { state: CheckState::Running, name_servers, queries, answers }
    }
}

/// What a reader is woken by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A check begins, goes on or ends.
    Check,
    /// The domain has changed, or may have.
    Domain,
    /// A token of the account was revoked.
    CheckToken,
}

/// Waits for what happens to a domain.
#[derive(Debug)]
pub struct Watched {
    domain: DomainId,
    events: Subscription,
    running: watch::Receiver<HashMap<DomainId, Arc<Progress>>>,
    is_running: bool,
    wakes: Wakes,
    /// [`Wakes::checks`] when the token was to be checked last.
    checks: u32,
}

impl Registry {
    /// The state of a domain's check. `None` if the account has no such domain.
    pub async fn check_progress(
        &self,
        account: &AccountId,
        id: &DomainId,
    ) -> Result<Option<CheckProgress>, StoreError> {
        let row = self.store.for_account(account).domain_get(account, id).await?;
        Ok(row.map(|row| {
            if let Some(counts) = self.verifier.progress(id) {
                return counts.into();
            }
            let now = self.clock.now();
            let is_due = row.verify_requested || row.state.next_check_at.is_some_and(|due| due <= now);
            CheckProgress::of(match row.check_leased_until {
                Some(until) if until > now => CheckState::Running,
                _ if is_due => CheckState::Waiting,
                _ => CheckState::Idle,
            })
        }))
    }

    /// The counts of a check that runs in this daemon.
    pub fn check_counts(&self, id: &DomainId) -> Option<CheckProgress> {
        self.verifier.progress(id).map(CheckProgress::from)
    }

    /// Waits from now on.
    pub fn watch(&self, account: &AccountId, id: &DomainId) -> Watched {
        let events = self.store.events();
        let wakes = events.wakes(account, None);
        let checks = wakes.checks();
        let mut running = self.verifier.running().subscribe();
        let is_running = running.borrow_and_update().contains_key(id);
        Watched { domain: id.clone(), events: events.of_domains(), running, is_running, wakes, checks }
    }
}

impl Watched {
    /// Cancel safe.
    pub async fn next(&mut self) -> Seen {
        loop {
            tokio::select! {
                heard = self.events.recv() => match heard {
                    Ok(event) if event.domain() == Some(&self.domain) => return Seen::Domain,
                    Ok(_) => {}
                    // The event may have been missed.
                    Err(RecvError::Lagged(_)) => return Seen::Domain,
                    // The store is gone.
                    Err(RecvError::Closed) => std::future::pending().await,
                },
                Ok(()) = self.running.changed() => {
                    let is_running = self.running.borrow_and_update().contains_key(&self.domain);
                    if std::mem::replace(&mut self.is_running, is_running) != is_running {
                        return Seen::Check;
                    }
                }
                () = self.wakes.next() => {
                    let checks = self.wakes.checks();
                    if std::mem::replace(&mut self.checks, checks) != checks {
                        return Seen::CheckToken;
                    }
                }
                () = tokio::time::sleep(READ_EVERY), if self.is_running => return Seen::Check,
            }
        }
    }
}
