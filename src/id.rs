//! Ids: a prefix that says what it names, and a ULID. What no client sees is known by its row in the store.
//!
//! Invariant: an id of one kind is never taken for another's; they sort by the time they were made.

use std::fmt;
use std::str::FromStr;

/// The text is no id of this kind.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not an id that begins with {prefix}")]
pub struct NotAnId {
    /// What an id of this kind begins with.
    pub prefix: &'static str,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// What every id of this kind begins with.
            pub const PREFIX: &'static str = $prefix;

            /// A fresh id.
            #[expect(clippy::new_without_default, reason = "a fresh id is no default value")]
            pub fn new() -> Self {
                Self(format!("{}{}", $prefix, ulid::Ulid::new().to_string().to_ascii_lowercase()))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
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
    )*};
}

ids! {
    /// An account (a tenant).
    AccountId "acc_";
    /// An API token.
    TokenId "tok_";
    /// An inbox.
    InboxId "inb_";
    /// An alias.
    AliasId "ali_";
    /// A custom domain: one account's claim to a name.
    DomainId "dom_";
    /// A message in a mailbox.
    MessageId "msg_";
    /// A message taken at the MX: what its Received field names.
    ArrivalId "arr_";
    /// A message accepted for sending: what the queue id in an SMTP reply names.
    SubmissionId "sub_";
    /// One recipient of a submission.
    DeliveryId "dlv_";
}

macro_rules! row_ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_no_other_kind_does() {
        let id = DomainId::new();
        assert_eq!(id.as_str().parse::<DomainId>(), Ok(id.clone()));
        assert_eq!(id.as_str().parse::<InboxId>(), Err(NotAnId { prefix: "inb_" }));
        assert!("dom_'; DROP TABLE".parse::<DomainId>().is_err());
    }
}
