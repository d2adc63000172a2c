//! The only way to change a mailbox: delivery, IMAP's commands, and what a settled delivery leaves in inboxes.
//!
//! Invariant: what an inbox may hold is checked in the transaction that stores, and an event is published for every change
//! that was committed, also when the client that made it has gone meanwhile.

mod expunge;
mod long_changes;
mod transfer;

use crate::address::{Address, DomainName};
use crate::id::{InboxId, MailboxId};
use crate::resources::Owner;
use crate::store::deliver::{Delivered, LocalDelivery};
use crate::store::keywords::{FlagError, InboxLimits};
use crate::store::mailbox_changes::{Append, Appended, FlagUpdate};
use crate::store::mailboxes::MailboxError;
use crate::store::open_mailbox::MessageFlags;
use crate::store::queue::{AcceptError, NewSubmission, Settled, Settlement};
use crate::store::room::DeliverError;
use crate::store::routing::Destination;
use crate::store::{Store, StoreError};
use bytes::Bytes;
use long_changes::LongChanges;
use std::sync::Arc;

/// The service, on behalf of an owner: changes take turns by it. Clones share the store.
#[derive(Clone, Debug)]
pub struct MailboxService {
    store: Store,
    limits: InboxLimits,
    long_changes: Arc<LongChanges>,
}

impl MailboxService {
    /// The service of a store, on behalf of the system. A store has one: it keeps long changes of an inbox apart.
    pub fn new(store: Store, limits: impl Into<InboxLimits>) -> Self {
        Self { store, limits: limits.into(), long_changes: Arc::new(LongChanges::new()) }
    }

    /// The same for somebody else.
    pub fn for_owner(&self, owner: Owner) -> Self {
        Self { store: self.store.for_owner(owner), ..self.clone() }
    }

    /// Whether an inbox takes a message of so many octets now. Only the transaction that stores decides.
    pub async fn has_room(&self, inbox: &InboxId, octets: u64) -> Result<bool, StoreError> {
        self.store.inbox_has_room(inbox, octets, self.limits.quota).await
    }

    /// Puts a message with this body into INBOX of each recipient: all of them, or none.
    pub async fn deliver(&self, delivery: LocalDelivery, body: Bytes) -> Result<Vec<Delivered>, DeliverError> {
        self.store.message_deliver(delivery, body, self.limits.quota).await
    }

    /// Takes a message in that an inbox sends: copies for recipients here and for Sent, and a delivery for each recipient
    /// elsewhere. Its account may have `queue_size` octets in the queue.
    pub async fn accept(&self, message: NewSubmission, queue_size: u64) -> Result<(), AcceptError> {
        self.store.submission_accept(message, queue_size, self.limits.quota).await
    }

    /// Where mail of so many octets that is sent here to `addresses` goes now. Only [`Self::accept`] decides on room.
    pub async fn destinations(
        &self,
        platform: &DomainName,
        addresses: Vec<Address>,
        octets: u64,
    ) -> Result<Vec<(Address, Destination)>, StoreError> {
        self.store.destinations(platform, addresses, octets, self.limits.quota).await
    }

    /// Records how a delivery attempt ended, with the copies and the bounce that it leaves in inboxes. Nothing is recorded
    /// where an inbox has no room for its copy; a bounce, which is small, is always stored.
    pub async fn settle(&self, settlement: Arc<Settlement>) -> Result<Settled, DeliverError> {
        self.store.delivery_settle(settlement, self.limits.quota).await
    }

    /// Puts a message into a mailbox; `None` when there is no such mailbox.
    pub async fn append(&self, inbox: &InboxId, name: &str, message: Append) -> Result<Option<Appended>, FlagError> {
        self.store.message_append(inbox, name, message, self.limits).await
    }

    /// Changes flags; returns the flags of those of the messages that are still there.
    pub async fn set_flags(
        &self,
        inbox: &InboxId,
        mailbox: MailboxId,
        uids: Vec<u32>,
        update: FlagUpdate,
    ) -> Result<Vec<MessageFlags>, FlagError> {
        let (store, of, limits, count) = (self.store.clone(), inbox.clone(), self.limits, uids.len());
        self.batch(inbox, count, async move { store.messages_flag(&of, mailbox, uids, update, limits).await }).await
    }

    /// Makes a mailbox, and those above it that are missing.
    pub async fn create(&self, inbox: &InboxId, name: &str) -> Result<(), MailboxError> {
        self.store.mailbox_create(inbox, name).await
    }

    /// Subscribes to a mailbox that exists, or ends a subscription.
    pub async fn subscribe(&self, inbox: &InboxId, name: &str, wanted: bool) -> Result<(), MailboxError> {
        self.store.mailbox_subscribe(inbox, name, wanted).await
    }
}
