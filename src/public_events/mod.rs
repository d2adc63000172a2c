//! Events as webhooks, streams and lists show them: what is in the log, with what it is about as it is now.
//!
//! Invariant: a page of events costs a bounded number of reads, and memory that is claimed for the account; an event whose email,
//! domain or inbox is gone is shown by its ids. A fault is temporary: the caller renders the same events again.

mod data;
mod emails;
mod log;

pub use log::{Followed, Follower, Selection};

use crate::address::DomainName;
use crate::clock::{Clock, Timestamp};
use crate::events::{EventId, PublicType};
use crate::id::{AccountId, InboxId};
use crate::reading::Reading;
use crate::registry::Registry;
use crate::resources::memory::{MemoryBudget, NoRoom};
use crate::resources::spool::Spool;
use crate::resources::work::WorkError;
use crate::store::event_subjects::Subject;
use crate::store::events::LoggedEvent;
use crate::store::permissions::Permissions;
use crate::store::{Store, StoreError};
use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::Arc;
use utoipa::ToSchema;

/// Something that has happened in an account.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub struct PublicEvent {
    pub id: EventId,
    pub r#type: PublicType,
    pub created_at: Timestamp,
    /// The inbox that it has happened in, if in one.
    pub inbox_id: Option<InboxId>,
    /// What it is about, by `type`.
    #[schema(value_type = Object)]
    pub data: Box<RawValue>,
}

/// Why events could not be shown: temporary.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    #[error(transparent)]
    Work(#[from] WorkError),
    #[error("cannot write an event as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Renders events. Clones share it.
#[derive(Clone, Debug)]
pub struct PublicEvents(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    clock: Clock,
    platform: DomainName,
    registry: Registry,
    reading: Reading,
    memory: MemoryBudget,
}

impl PublicEvents {
    pub fn new(
        store: Store,
        clock: Clock,
        platform: DomainName,
        registry: Registry,
        reading: Reading,
        spool: &Spool,
    ) -> Self {
        let memory = spool.memory().clone();
        Self(Arc::new(Inner { store, clock, platform, registry, reading, memory }))
    }

    /// Events of the account, without those that are not public.
    pub async fn render(&self, account: &AccountId, events: &[LoggedEvent]) -> Result<Vec<PublicEvent>, RenderError> {
        let public = events.iter().filter_map(|logged| Some((PublicType::of(&logged.event)?, logged)));
        let public: Vec<(PublicType, &LoggedEvent)> = public.collect();
        if public.is_empty() {
            return Ok(Vec::new());
        }
        let store = self.0.store.for_account(account);
        let logged = public.iter().map(|(_, logged)| logged.event.clone()).collect();
        let subjects = store.event_subjects(account, logged, self.0.clock.now()).await?;
        let mut shown = Vec::with_capacity(public.len());
        let mut emails = Vec::new();
        for (at, ((r#type, logged), subject)) in public.into_iter().zip(subjects).enumerate() {
            let data = match subject {
                Subject::Email(email) => {
                    let gone = data::gone_email(&email);
                    emails.push((at, email));
                    gone
                }
                Subject::Emails { emails, is_cut } => data::labels(&logged.event, &emails, is_cut),
                Subject::Domain(row) => {
                    let view = row.map(|row| self.0.registry.view(&row));
                    data::domain(&logged.event, view)?
                }
                Subject::Inbox(inbox) => data::inbox(&logged.event, inbox.as_deref(), &self.0.platform),
                Subject::InEvent => data::of_event(&logged.event),
            };
            let (id, inbox_id) = (EventId(logged.cursor), logged.event.inbox().cloned());
            let data = serde_json::value::to_raw_value(&data)?;
            shown.push(PublicEvent { id, r#type, created_at: logged.at, inbox_id, data });
        }
        for (at, data) in self.whole_emails(account, &store, emails).await? {
            if let Some(event) = shown.get_mut(at) {
                event.data = data;
            }
        }
        Ok(shown)
    }
}

/// What a token needs to see events of a type, beside the permission for the list or stream that they are in.
pub fn needed(r#type: PublicType) -> Permissions {
    match r#type {
        PublicType::EmailReceived
        | PublicType::EmailSent
        | PublicType::EmailDelivered
        | PublicType::EmailDeferred
        | PublicType::EmailBounced
        | PublicType::EmailComplained
        | PublicType::EmailLabelsChanged => Permissions::MESSAGES_READ,
        PublicType::DomainCreated
        | PublicType::DomainVerified
        | PublicType::DomainFailed
        | PublicType::DomainDegraded
        | PublicType::DomainRecovered
        | PublicType::DomainDeleted => Permissions::DOMAINS_READ,
        PublicType::InboxCreated | PublicType::InboxDeleted => Permissions::INBOXES_READ,
        PublicType::WebhookDisabled => Permissions::WEBHOOKS_READ,
    }
}

#[cfg(test)]
mod tests;
