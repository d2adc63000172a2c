//! The only way to change a mailbox: delivery, IMAP's commands, and the copies and bounces of a settled delivery.
//!
//! Invariant: quotas are checked in the transaction that stores, and every committed change publishes an event, even if its client has
//! disconnected.

mod emails;
mod expunge;
mod long_changes;
mod retention;
mod threads;
mod transfer;

use crate::address::{Address, DomainName};
use crate::id::{InboxId, MailboxId};
use crate::resources::Owner;
use crate::store::append::{Append, AppendError, Appended, AppendedAll, PreparedAppend, ReplacedMessage};
use crate::store::deliver::LocalDelivery;
use crate::store::keywords::{FlagError, InboxLimits};
use crate::store::mailbox_changes::{FlagUpdate, Flagged};
use crate::store::mailboxes::{MailboxError, MailboxKind};
use crate::store::message_rows::Delivered;
use crate::store::metadata::{Annotated, EntryName, MetadataError};
use crate::store::open_mailbox::MessageFlags;
use crate::store::queue::{AcceptError, NewSubmission, SendLimits, Settled, Settlement};
use crate::store::quota::{DeliverError, Usage};
use crate::store::routing::Destination;
use crate::store::{Store, StoreError};
use bytes::Bytes;
use long_changes::LongChanges;
use std::sync::Arc;

/// The service on behalf of an owner, by which changes take turns. Clones share the store.
#[derive(Clone, Debug)]
pub struct MailboxService {
    store: Store,
    limits: InboxLimits,
    long_changes: Arc<LongChanges>,
}

impl MailboxService {
    /// On behalf of the system. A store has one service, which serialises the long changes of each inbox.
    pub fn new(store: Store, limits: impl Into<InboxLimits>) -> Self {
        Self { store, limits: limits.into(), long_changes: Arc::new(LongChanges::new()) }
    }

    /// The same on behalf of another owner.
    pub fn for_owner(&self, owner: Owner) -> Self {
        Self { store: self.store.for_owner(owner), ..self.clone() }
    }

    /// True if an inbox has room for a message of this size now. The transaction that stores it decides finally.
    pub async fn is_within_quota(&self, inbox: &InboxId, octets: u64) -> Result<bool, StoreError> {
        self.store.inbox_allows(inbox, octets, self.limits.quota).await
    }

    /// What an inbox uses of its quota; `None` if there is no such inbox.
    pub async fn usage(&self, inbox: &InboxId) -> Result<Option<Usage>, StoreError> {
        self.store.inbox_usage(inbox, self.limits.quota).await
    }

    /// Stores a message with this body in INBOX of each recipient: all or none.
    pub async fn deliver(&self, delivery: LocalDelivery, body: Bytes) -> Result<Vec<Delivered>, DeliverError> {
        self.store.message_deliver(delivery, body, self.limits.quota).await
    }

    /// Accepts a message sent by an inbox: copies for local recipients and for Sent, and a delivery for each other recipient.
    pub async fn accept(&self, message: NewSubmission, limits: SendLimits) -> Result<(), AcceptError> {
        self.store.submission_accept(message, limits, self.limits.quota).await
    }

    /// The current destinations of mail of this size to `addresses`. [`Self::accept`] decides finally on room.
    pub async fn destinations(
        &self,
        sender: &InboxId,
        platform: &DomainName,
        addresses: Vec<Address>,
        octets: u64,
    ) -> Result<Vec<(Address, Destination)>, StoreError> {
        self.store.destinations(sender, platform, addresses, octets, self.limits.quota).await
    }

    /// Records the end of a delivery attempt, with its copies and bounce for inboxes. Nothing is recorded if an inbox has no room for
    /// its copy; a bounce, which is small, is always stored.
    pub async fn settle(&self, settlement: Arc<Settlement>) -> Result<Settled, DeliverError> {
        self.store.delivery_settle(settlement, self.limits.quota).await
    }

    /// Adds a message to a mailbox; `None` if there is no such mailbox.
    pub async fn append(&self, inbox: &InboxId, name: &str, message: Append) -> Result<Option<Appended>, FlagError> {
        match self.append_all(inbox, name, vec![message]).await {
            Ok(AppendedAll { mailbox, uid_validity, uids }) => {
                Ok(uids.first().map(|uid| Appended { mailbox, uid_validity, uid: *uid }))
            }
            Err(AppendError::NoSuchMailbox) => Ok(None),
            Err(AppendError::Flags(error)) => Err(error),
            // One message that replaces none.
            Err(other) => Err(StoreError::Corrupt(other.to_string()).into()),
        }
    }

    /// Adds messages to a mailbox: all or none, at most [`BATCH`](crate::store::batch::BATCH) of them (RFC 3502).
    pub async fn append_all(
        &self,
        inbox: &InboxId,
        name: &str,
        messages: Vec<Append>,
    ) -> Result<AppendedAll, AppendError> {
        let mut prepared = Vec::with_capacity(messages.len());
        for message in messages {
            prepared.push(self.prepare(message).await?);
        }
        self.append_prepared(inbox, name, prepared).await
    }

    /// Makes a message ready to be appended, so that its octets can be dropped before the next one is read.
    pub async fn prepare(&self, message: Append) -> Result<PreparedAppend, StoreError> {
        self.store.prepare_append(message).await
    }

    /// The same as [`Self::append_all`], of messages that are ready.
    pub async fn append_prepared(
        &self,
        inbox: &InboxId,
        name: &str,
        messages: Vec<PreparedAppend>,
    ) -> Result<AppendedAll, AppendError> {
        let (store, of, name, limits) = (self.store.clone(), inbox.clone(), name.to_owned(), self.limits);
        let count = messages.len();
        self.batch(inbox, count, async move { store.messages_append(&of, &name, messages, None, limits).await }).await
    }

    /// Adds messages to a mailbox and removes another one, of any mailbox of the inbox, at once (RFC 8508). The quota is that of the
    /// inbox without the other one.
    pub async fn replace(
        &self,
        inbox: &InboxId,
        replaced: ReplacedMessage,
        name: &str,
        messages: Vec<PreparedAppend>,
    ) -> Result<AppendedAll, AppendError> {
        self.store.messages_append(inbox, name, messages, Some(replaced), self.limits).await
    }

    /// Changes flags; returns the flags of the messages that still exist.
    pub async fn set_flags(
        &self,
        inbox: &InboxId,
        mailbox: MailboxId,
        uids: Vec<u32>,
        update: FlagUpdate,
    ) -> Result<Vec<MessageFlags>, FlagError> {
        let flagged = self.set_flags_of_unchanged(inbox, mailbox, uids, None, update).await?;
        Ok(flagged.messages.into_iter().map(|(flags, _)| flags).collect())
    }

    /// The same with mod-sequences and, with `unchanged_since`, of messages that have no higher one: STORE with UNCHANGEDSINCE (RFC
    /// 7162 §3.1.3). All in one transaction.
    pub async fn set_flags_of_unchanged(
        &self,
        inbox: &InboxId,
        mailbox: MailboxId,
        uids: Vec<u32>,
        unchanged_since: Option<i64>,
        update: FlagUpdate,
    ) -> Result<Flagged, FlagError> {
        let (store, of, limits, count) = (self.store.clone(), inbox.clone(), self.limits, uids.len());
        let verb = async move { store.messages_flag(&of, mailbox, uids, unchanged_since, update, limits).await };
        self.batch(inbox, count, verb).await
    }

    /// Creates a mailbox and its missing parents.
    pub async fn create(&self, inbox: &InboxId, name: &str) -> Result<(), MailboxError> {
        self.create_with_use(inbox, name, None).await.map(drop)
    }

    /// The same with a special use that no other mailbox of the inbox has (RFC 6154). Returns UIDVALIDITY.
    pub async fn create_with_use(
        &self,
        inbox: &InboxId,
        name: &str,
        special_use: Option<MailboxKind>,
    ) -> Result<u32, MailboxError> {
        self.store.mailbox_create(inbox, name, special_use).await
    }

    /// Sets metadata entries of a mailbox or of the inbox as a whole, and removes those without a value: all or none (RFC 5464).
    pub async fn set_metadata(
        &self,
        inbox: &InboxId,
        of: Annotated,
        entries: Vec<(EntryName, Option<Vec<u8>>)>,
    ) -> Result<(), MetadataError> {
        self.store.metadata_set(inbox, of, entries, self.limits).await
    }

    /// Subscribes to an existing mailbox, or unsubscribes.
    pub async fn subscribe(&self, inbox: &InboxId, name: &str, wanted: bool) -> Result<(), MailboxError> {
        self.store.mailbox_subscribe(inbox, name, wanted).await
    }
}
