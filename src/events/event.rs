//! The kinds of events, and how they are stored.
//!
//! Invariant: a kind that has been published keeps its name and the meaning of its fields, since rows of it are stored and clients
//! will read them; fields may be added. No event says anything of another account.

use crate::address::{Address, DomainName};
use crate::id::{DeliveryId, DomainId, InboxId, MailboxId, MessageId, SubmissionId, TokenId, WebhookId};
use crate::verification::event::EventCause;
use crate::verification::status::VerifiedStatus;
use serde::{Deserialize, Serialize};

/// What has happened in an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Event {
    /// A message was delivered to an inbox: from outside, from an inbox here, or a bounce.
    MessageReceived {
        inbox_id: InboxId,
        mailbox: MailboxId,
        message_id: MessageId,
        uid: u32,
    },
    /// A client has appended a message, or a copy of a sent one was filed.
    MessageAdded {
        inbox_id: InboxId,
        mailbox: MailboxId,
        message_id: MessageId,
        uid: u32,
    },
    /// Messages were copied or moved to a mailbox.
    MessagesAdded {
        inbox_id: InboxId,
        mailbox: MailboxId,
        modseq: i64,
    },
    /// Messages have other flags or keywords: those with this modification number.
    FlagsChanged {
        inbox_id: InboxId,
        mailbox: MailboxId,
        modseq: i64,
    },
    /// Messages were expunged, or moved to another mailbox.
    MessagesRemoved {
        inbox_id: InboxId,
        mailbox: MailboxId,
        modseq: i64,
    },
    /// Mailboxes of an inbox were created or renamed, or subscriptions have changed.
    MailboxesChanged {
        inbox_id: InboxId,
    },
    /// Metadata entries of a mailbox, or of the inbox as a whole, were set or removed.
    MetadataChanged {
        inbox_id: InboxId,
        mailbox: Option<MailboxId>,
        entries: Vec<String>,
    },
    MailboxDeleted {
        inbox_id: InboxId,
        mailbox: MailboxId,
    },
    /// A message was accepted for sending.
    EmailAccepted(NewEmail),
    /// The next host has accepted a message for one recipient.
    EmailDelivered(DeliveryAttempt),
    /// An attempt has failed for one recipient, and another will be made.
    EmailDeferred(DeliveryAttempt),
    /// A message has failed for one recipient.
    EmailBounced(DeliveryAttempt),
    DomainCreated {
        domain_id: DomainId,
        domain: DomainName,
    },
    /// Its owner has changed its settings.
    DomainUpdated {
        domain_id: DomainId,
    },
    /// A check has settled.
    DomainChecked {
        domain_id: DomainId,
    },
    DomainStatusChanged {
        domain_id: DomainId,
        from: VerifiedStatus,
        to: VerifiedStatus,
        cause: EventCause,
    },
    /// A required record of a verified domain is at fault: it fails after the grace period.
    DomainDegraded {
        domain_id: DomainId,
    },
    /// All required records of a degraded domain are valid again.
    DomainRecovered {
        domain_id: DomainId,
    },
    /// Sessions logged in under it end.
    DomainDeleted {
        domain_id: DomainId,
        /// Of a row of before it was recorded: none.
        #[serde(default)]
        domain: Option<DomainName>,
    },
    /// A token no longer opens anything.
    TokenRevoked {
        token_id: TokenId,
    },
    InboxCreated {
        inbox_id: InboxId,
    },
    InboxDeleted {
        inbox_id: InboxId,
    },
    /// Sessions logged in to it end.
    InboxDisabled {
        inbox_id: InboxId,
    },
    /// Deliveries to its endpoint have stopped.
    WebhookDisabled {
        subscription_id: WebhookId,
        reason: String,
    },
}

/// A message that was accepted for sending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewEmail {
    pub submission_id: SubmissionId,
    /// Which inbox sends it.
    pub inbox_id: InboxId,
    /// Recipients elsewhere: each of them has another event when it is settled.
    pub remote_recipients: usize,
}

/// A delivery attempt, for one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryAttempt {
    pub submission_id: SubmissionId,
    /// Which inbox has sent the message; none: it was deleted.
    pub inbox_id: Option<InboxId>,
    pub delivery_id: DeliveryId,
    pub recipient: Address,
    /// The remote server's reply or our own text, its first [`DeliveryAttempt::REPLY`] octets.
    pub reply: String,
    /// The host that replied.
    pub mx: Option<String>,
}

impl DeliveryAttempt {
    /// Maximum octets of a reply.
    pub const REPLY: usize = 1000;
}

impl Event {
    /// Its kind, and its data as JSON: columns of the log.
    pub fn to_columns(&self) -> Result<(&'static str, String), serde_json::Error> {
        let mut tagged = serde_json::to_value(self)?;
        Ok((self.into(), tagged.get_mut("data").map_or(serde_json::Value::Null, serde_json::Value::take).to_string()))
    }

    /// From these columns. An error also for a kind that a later version of the program has written.
    pub fn from_columns(kind: &str, data: &str) -> Result<Self, serde_json::Error> {
        let data: serde_json::Value = serde_json::from_str(data)?;
        serde_json::from_value(serde_json::json!({"kind": kind, "data": data}))
    }

    /// The inbox it is about.
    pub fn inbox(&self) -> Option<&InboxId> {
        match self {
            Self::MessageReceived { inbox_id, .. }
            | Self::MessageAdded { inbox_id, .. }
            | Self::MessagesAdded { inbox_id, .. }
            | Self::FlagsChanged { inbox_id, .. }
            | Self::MessagesRemoved { inbox_id, .. }
            | Self::MailboxDeleted { inbox_id, .. }
            | Self::MailboxesChanged { inbox_id }
            | Self::MetadataChanged { inbox_id, .. }
            | Self::EmailAccepted(NewEmail { inbox_id, .. })
            | Self::InboxCreated { inbox_id }
            | Self::InboxDeleted { inbox_id }
            | Self::InboxDisabled { inbox_id } => Some(inbox_id),
            Self::EmailDelivered(attempt) | Self::EmailDeferred(attempt) | Self::EmailBounced(attempt) => {
                attempt.inbox_id.as_ref()
            }
            Self::DomainCreated { .. }
            | Self::DomainUpdated { .. }
            | Self::DomainChecked { .. }
            | Self::DomainStatusChanged { .. }
            | Self::DomainDegraded { .. }
            | Self::DomainRecovered { .. }
            | Self::DomainDeleted { .. }
            | Self::TokenRevoked { .. }
            | Self::WebhookDisabled { .. } => None,
        }
    }

    /// The mailbox whose messages have changed, and its inbox: what NOTIFY (RFC 5465) reports of mailboxes that are not selected. A
    /// session learns of it from `AuthSession::next`, and finds its name and counts with `Store::mailbox_statuses`.
    pub fn mailbox(&self) -> Option<(&InboxId, MailboxId)> {
        match self {
            Self::MessageReceived { inbox_id, mailbox, .. }
            | Self::MessageAdded { inbox_id, mailbox, .. }
            | Self::MessagesAdded { inbox_id, mailbox, .. }
            | Self::FlagsChanged { inbox_id, mailbox, .. }
            | Self::MessagesRemoved { inbox_id, mailbox, .. }
            | Self::MailboxDeleted { inbox_id, mailbox } => Some((inbox_id, *mailbox)),
            _ => None,
        }
    }

    /// The email it is about: the one that came in, or the sent one.
    pub fn email(&self) -> Option<MessageId> {
        match self {
            Self::MessageReceived { message_id, .. } | Self::MessageAdded { message_id, .. } => {
                Some(message_id.clone())
            }
            Self::EmailAccepted(NewEmail { submission_id, .. }) => Some(MessageId::of_sent(submission_id)),
            Self::EmailDelivered(attempt) | Self::EmailDeferred(attempt) | Self::EmailBounced(attempt) => {
                Some(MessageId::of_sent(&attempt.submission_id))
            }
            _ => None,
        }
    }

    /// The custom domain it is about.
    pub fn domain(&self) -> Option<&DomainId> {
        match self {
            Self::DomainCreated { domain_id, .. }
            | Self::DomainUpdated { domain_id }
            | Self::DomainChecked { domain_id }
            | Self::DomainStatusChanged { domain_id, .. }
            | Self::DomainDegraded { domain_id }
            | Self::DomainRecovered { domain_id }
            | Self::DomainDeleted { domain_id, .. } => Some(domain_id),
            _ => None,
        }
    }

    /// Mail may be waiting for this change of a custom domain.
    pub fn frees_mail(&self) -> bool {
        matches!(self, Self::DomainUpdated { .. } | Self::DomainStatusChanged { .. } | Self::DomainDeleted { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id<T: std::str::FromStr>(prefix: &str) -> T
    where
        T::Err: std::fmt::Debug,
    {
        format!("{prefix}01arz3ndektsv4rrffq69g5fav").parse().unwrap()
    }

    /// Rows of these are stored: a change here breaks them.
    #[test]
    fn kinds_and_fields_are_those_that_are_stored() {
        let (inbox_id, mailbox, domain_id): (InboxId, _, DomainId) = (id("inb_"), MailboxId::new(7), id("dom_"));
        let attempt = DeliveryAttempt {
            submission_id: id("sub_"),
            inbox_id: None,
            delivery_id: id("dlv_"),
            recipient: "a@example.org".parse().unwrap(),
            reply: "250 ok".into(),
            mx: Some("mx.example.org".into()),
        };
        let events = [
            (
                Event::MessageReceived { inbox_id: inbox_id.clone(), mailbox, message_id: id("msg_"), uid: 3 },
                "message_received",
                r#"{"inbox_id":"inb_01arz3ndektsv4rrffq69g5fav","mailbox":7,"message_id":"msg_01arz3ndektsv4rrffq69g5fav","uid":3}"#,
            ),
            (
                Event::FlagsChanged { inbox_id, mailbox, modseq: 9 },
                "flags_changed",
                r#"{"inbox_id":"inb_01arz3ndektsv4rrffq69g5fav","mailbox":7,"modseq":9}"#,
            ),
            (
                Event::EmailDelivered(attempt),
                "email_delivered",
                r#"{"delivery_id":"dlv_01arz3ndektsv4rrffq69g5fav","inbox_id":null,"mx":"mx.example.org","recipient":"a@example.org","reply":"250 ok","submission_id":"sub_01arz3ndektsv4rrffq69g5fav"}"#,
            ),
            (
                Event::DomainStatusChanged {
                    domain_id: domain_id.clone(),
                    from: VerifiedStatus::Pending,
                    to: VerifiedStatus::Verified,
                    cause: EventCause::AllRight,
                },
                "domain_status_changed",
                r#"{"cause":"all_right","domain_id":"dom_01arz3ndektsv4rrffq69g5fav","from":"pending","to":"verified"}"#,
            ),
            (
                Event::DomainCreated { domain_id, domain: "acme.com".parse().unwrap() },
                "domain_created",
                r#"{"domain":"acme.com","domain_id":"dom_01arz3ndektsv4rrffq69g5fav"}"#,
            ),
        ];
        for (event, kind, data) in events {
            let stored = event.to_columns().unwrap();
            assert_eq!((stored.0, stored.1.as_str()), (kind, data));
            assert_eq!(Event::from_columns(kind, data).unwrap(), event);
        }
        assert!(Event::from_columns("of_a_later_version", "{}").is_err());
    }
}
