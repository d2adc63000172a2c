//! Ids: a prefix for the kind, and a ULID. What no client sees is identified by its row number, a body by its hash. Invariant: an id of
//! one kind never parses as another; ids sort by creation time.

use crate::clock::Timestamp;
use std::fmt;
use std::str::FromStr;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{Object, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// The last moment that a ULID can name, with 48 bits of milliseconds.
const LAST_MILLIS: u64 = (1 << 48) - 1;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not an id that begins with {prefix}")]
pub struct NotAnId {
    /// The prefix of ids of this kind.
    pub prefix: &'static str,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The prefix of every id of this kind.
            pub const PREFIX: &'static str = $prefix;

            #[expect(clippy::new_without_default, reason = "a fresh id is no default value")]
            pub fn new() -> Self {
                Self(format!("{}{}", $prefix, ulid::Ulid::new().to_string().to_ascii_lowercase()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// For clients that know a number as the id: of 53 bits, all that JSON keeps in every language, and the same for the
            /// same id.
            pub fn number(&self) -> u64 {
                let hash = blake3::hash(self.0.as_bytes());
                let octets = hash.as_bytes().first_chunk().copied().unwrap_or_default();
                u64::from_be_bytes(octets) >> 11
            }

            /// When it was made: real time.
            pub fn made_at(&self) -> Timestamp {
                let ulid = self.0.strip_prefix($prefix).and_then(|text| ulid::Ulid::from_string(text).ok());
                let millis = ulid.map_or(0, |ulid| ulid.timestamp_ms());
                Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
            }

            /// What no id made at or after this time is below.
            pub fn first_at(time: Timestamp) -> Self {
                let millis = u64::try_from(time.millis()).unwrap_or(0).min(LAST_MILLIS);
                Self(format!("{}{}", $prefix, ulid::Ulid::from_parts(millis, 0).to_string().to_ascii_lowercase()))
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                let ulid = text.strip_prefix($prefix).ok_or(NotAnId { prefix: $prefix })?;
                if ulid.len() == 26 && ulid.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase()) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(NotAnId { prefix: $prefix })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                Object::builder().schema_type(Type::String).pattern(Some(concat!("^", $prefix, "[0-9a-z]{26}$"))).into()
            }
        }

        impl ToSchema for $name {}

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <String as serde::Deserialize>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// A tenant.
    AccountId "acc_";
    TokenId "tok_";
    /// A user of an account.
    UserId "usr_";
    InboxId "inb_";
    AliasId "ali_";
    /// A custom domain: one account's claim to a name.
    DomainId "dom_";
    /// A message in a mailbox.
    MessageId "msg_";
    /// Messages of an inbox that belong together.
    ThreadId "thr_";
    /// A label that an account has made.
    LabelId "lbl_";
    /// An entry of an allow or block list.
    AccessEntryId "ace_";
    /// A device token for push notifications.
    NotificationTokenId "ntk_";
    /// A webhook subscription.
    WebhookId "whk_";
    /// An event for the endpoint of a webhook subscription.
    WebhookDeliveryId "whd_";
    /// A message received at the MX; used in its Received field.
    ArrivalId "arr_";
    /// A message accepted for sending; the queue id in SMTP replies.
    SubmissionId "sub_";
    /// One recipient of a submission.
    DeliveryId "dlv_";
    /// An HTTP request, in its response and in the log.
    RequestId "req_";
    /// A runner of background work, from its start to its end: the owner of leases.
    RunnerId "run_";
}

impl MessageId {
    /// Of the copy in Sent of a message that was accepted for sending: what SMTP and the API answer.
    pub fn of_sent(id: &SubmissionId) -> Self {
        Self(id.0.replacen(SubmissionId::PREFIX, Self::PREFIX, 1))
    }
}

impl ThreadId {
    /// Of the thread that begins with this message.
    pub fn of_first(id: &MessageId) -> Self {
        Self(id.0.replacen(MessageId::PREFIX, Self::PREFIX, 1))
    }
}

impl SubmissionId {
    /// Of the message whose copy in Sent has this id, if it was sent from here.
    pub fn of_sent(id: &MessageId) -> Self {
        Self(id.0.replacen(MessageId::PREFIX, Self::PREFIX, 1))
    }
}

macro_rules! row_ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(i64);

        impl $name {
            /// By the row's number.
            pub const fn new(row: i64) -> Self {
                Self(row)
            }

            /// The row's number.
            pub const fn row(self) -> i64 {
                self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

row_ids! {
    /// A mailbox of an inbox, or a hidden row that holds some of its messages: a row of the table `mailbox`.
    MailboxId;
    /// The octets of a message, a header block before a body: a row of the table `content`.
    ContentId;
    /// A body: a row of the table `body`.
    BodyId;
}

/// The name of a body: the BLAKE3 hash of its octets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BodyHash([u8; 32]);

impl BodyHash {
    pub const fn new(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for BodyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for BodyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_parses_as_its_own_kind_only() {
        let id = DomainId::new();
        assert_eq!(id.as_str().parse::<DomainId>(), Ok(id.clone()));
        assert_eq!(id.as_str().parse::<InboxId>(), Err(NotAnId { prefix: "inb_" }));
        assert!("dom_'; DROP TABLE".parse::<DomainId>().is_err());
    }
}
