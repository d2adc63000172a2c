//! Events as users know them: their names, their ids, and which of the logged ones they are.
//!
//! Invariant: a name that has been published stays; a logged event is one public event or none.

use super::cursor::{Cursor, NotACursor};
use super::event::Event;
use crate::verification::status::VerifiedStatus;
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use strum::VariantArray;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{Object, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// The name of an event.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, strum::Display, strum::IntoStaticStr, VariantArray,
)]
pub enum PublicType {
    #[strum(serialize = "email.received")]
    EmailReceived,
    /// A message was accepted for sending.
    #[strum(serialize = "email.sent")]
    EmailSent,
    #[strum(serialize = "email.delivered")]
    EmailDelivered,
    #[strum(serialize = "email.deferred")]
    EmailDeferred,
    #[strum(serialize = "email.bounced")]
    EmailBounced,
    /// Reserved: there are no reports of complaints yet.
    #[strum(serialize = "email.complained")]
    EmailComplained,
    #[strum(serialize = "email.labels_changed")]
    EmailLabelsChanged,
    #[strum(serialize = "custom_domain.created")]
    DomainCreated,
    #[strum(serialize = "custom_domain.verified")]
    DomainVerified,
    #[strum(serialize = "custom_domain.failed")]
    DomainFailed,
    #[strum(serialize = "custom_domain.degraded")]
    DomainDegraded,
    #[strum(serialize = "custom_domain.recovered")]
    DomainRecovered,
    #[strum(serialize = "custom_domain.deleted")]
    DomainDeleted,
    #[strum(serialize = "inbox.created")]
    InboxCreated,
    #[strum(serialize = "inbox.deleted")]
    InboxDeleted,
    /// Deliveries to its endpoint have stopped.
    #[strum(serialize = "webhook_subscription.disabled")]
    WebhookDisabled,
}

impl PublicType {
    /// All names, in the order of the documentation.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// What a logged event is to users; `None`: it is for sessions and background work alone.
    pub fn of(event: &Event) -> Option<Self> {
        match event {
            Event::MessageReceived { .. } => Some(Self::EmailReceived),
            Event::EmailAccepted(_) => Some(Self::EmailSent),
            Event::EmailDelivered(_) => Some(Self::EmailDelivered),
            Event::EmailDeferred(_) => Some(Self::EmailDeferred),
            Event::EmailBounced(_) => Some(Self::EmailBounced),
            // A mailbox is a label.
            Event::FlagsChanged { .. } | Event::MessagesAdded { .. } => Some(Self::EmailLabelsChanged),
            Event::DomainCreated { .. } => Some(Self::DomainCreated),
            Event::DomainStatusChanged { to: VerifiedStatus::Verified, .. } => Some(Self::DomainVerified),
            Event::DomainStatusChanged { to: VerifiedStatus::Failed, .. } => Some(Self::DomainFailed),
            Event::DomainDegraded { .. } => Some(Self::DomainDegraded),
            Event::DomainRecovered { .. } => Some(Self::DomainRecovered),
            Event::DomainDeleted { .. } => Some(Self::DomainDeleted),
            Event::InboxCreated { .. } => Some(Self::InboxCreated),
            Event::InboxDeleted { .. } => Some(Self::InboxDeleted),
            Event::WebhookDisabled { .. } => Some(Self::WebhookDisabled),
            Event::MessageAdded { .. }
            | Event::MessagesRemoved { .. }
            | Event::MailboxDeleted { .. }
            | Event::MailboxesChanged { .. }
            | Event::MetadataChanged { .. }
            | Event::DomainStatusChanged { to: VerifiedStatus::Pending, .. }
            | Event::DomainUpdated { .. }
            | Event::DomainChecked { .. }
            | Event::TokenRevoked { .. }
            | Event::InboxDisabled { .. } => None,
        }
    }

    fn names() -> impl Iterator<Item = &'static str> {
        Self::ALL.iter().map(Into::into)
    }
}

/// No event has this name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("must be a type of events: {}", PublicType::names().collect::<Vec<_>>().join(", "))]
pub struct NotAType;

impl FromStr for PublicType {
    type Err = NotAType;

    fn from_str(text: &str) -> Result<Self, NotAType> {
        Self::ALL.iter().copied().find(|one| <&str>::from(*one) == text).ok_or(NotAType)
    }
}

impl Serialize for PublicType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.into())
    }
}

impl PartialSchema for PublicType {
    fn schema() -> RefOr<Schema> {
        Object::builder().schema_type(Type::String).enum_values(Some(Self::names())).into()
    }
}

impl ToSchema for PublicType {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("EventType")
    }
}

/// The id of an event: the cursor of a reader that has read up to and including it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventId(pub Cursor);

impl EventId {
    const PREFIX: &'static str = "evt_";
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::PREFIX, self.0)
    }
}

impl FromStr for EventId {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        text.strip_prefix(Self::PREFIX).ok_or(NotACursor)?.parse().map(Self)
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl PartialSchema for EventId {
    fn schema() -> RefOr<Schema> {
        Object::builder().schema_type(Type::String).pattern(Some("^evt_[0-9]+-[0-9]+$")).into()
    }
}

impl ToSchema for EventId {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{DomainId, InboxId, MailboxId, MessageId, TokenId};
    use crate::verification::event::EventCause;

    #[test]
    fn names_are_read_as_they_are_written() {
        for one in PublicType::ALL {
            assert_eq!(one.to_string().parse(), Ok(*one));
        }
        assert_eq!(PublicType::ALL.len(), 16);
        let error = "email.lost".parse::<PublicType>().unwrap_err().to_string();
        assert!(error.starts_with("must be a type of events: email.received, email.sent, "), "{error}");
    }

    #[test]
    fn an_id_is_a_cursor() {
        let id = EventId(Cursor { position: 281_474_976_710_656, number: 7 });
        assert_eq!(id.to_string(), "evt_281474976710656-7");
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "evt_", "281474976710656-7", "evt_7", "evt_1-2-3"] {
            assert!(wrong.parse::<EventId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_sessions_alone_need_is_not_public() {
        let (inbox_id, mailbox, domain_id) = (InboxId::new(), MailboxId::new(1), DomainId::new());
        let status = |from, to| {
            let (domain_id, cause) = (domain_id.clone(), EventCause::AllRight);
            PublicType::of(&Event::DomainStatusChanged { domain_id, from, to, cause })
        };
        use VerifiedStatus::{Failed, Pending, Verified};
        assert_eq!(status(Pending, Verified), Some(PublicType::DomainVerified));
        assert_eq!(status(Verified, Failed), Some(PublicType::DomainFailed));
        assert_eq!(status(Failed, Pending), None);
        let message = (inbox_id.clone(), MessageId::new());
        for (event, public) in [
            (
                Event::MessageReceived { inbox_id: message.0.clone(), mailbox, message_id: message.1.clone(), uid: 1 },
                Some(PublicType::EmailReceived),
            ),
            // What a client appends, and mail that a list blocks.
            (Event::MessageAdded { inbox_id: message.0, mailbox, message_id: message.1, uid: 1 }, None),
            (
                Event::MessagesAdded { inbox_id: inbox_id.clone(), mailbox, modseq: 2 },
                Some(PublicType::EmailLabelsChanged),
            ),
            (Event::MessagesRemoved { inbox_id, mailbox, modseq: 3 }, None),
            (Event::DomainChecked { domain_id }, None),
            (Event::TokenRevoked { token_id: TokenId::new() }, None),
        ] {
            assert_eq!(PublicType::of(&event), public, "{event:?}");
        }
    }
}
