//! Limits of keywords.
//!
//! [`super::message_rows`] counts the messages with each keyword, so reading a mailbox's keywords takes time linear in their
//! number, not in the number of messages.

use super::metadata::MetadataLimits;
use super::parts::Part;
use super::quota::{DeliverError, Quota};
use super::{StoreError, Transaction};
use crate::config::Limits;
use crate::id::{InboxId, MailboxId};
use crate::store::engine::params;

#[derive(Clone, Copy, Debug)]
pub struct KeywordLimits {
    pub per_message: usize,
    /// Different keywords in one mailbox.
    pub per_mailbox: usize,
    /// In octets.
    pub length: usize,
}

impl From<&Limits> for KeywordLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            per_message: limits.keywords_per_message,
            per_mailbox: limits.keywords_per_mailbox,
            length: limits.keyword_length,
        }
    }
}

/// Limits for changes of an inbox.
#[derive(Clone, Copy, Debug)]
pub struct InboxLimits {
    pub quota: Quota,
    pub keywords: KeywordLimits,
    pub metadata: MetadataLimits,
}

impl From<&Limits> for InboxLimits {
    fn from(limits: &Limits) -> Self {
        Self { quota: limits.into(), keywords: limits.into(), metadata: limits.into() }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum FlagError {
    #[error("a message can have at most {0} keywords (limits.keywords_per_message)")]
    TooManyOfMessage(usize),
    #[error(
        "a mailbox can have at most {0} different keywords (limits.keywords_per_mailbox): remove some from its messages"
    )]
    TooManyOfMailbox(usize),
    #[error("the inbox is full")]
    Full,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<DeliverError> for FlagError {
    fn from(error: DeliverError) -> Self {
        match error {
            DeliverError::Full(_) => Self::Full,
            DeliverError::Store(error) => Self::Store(error),
        }
    }
}

/// The number of different keywords in these rows of `mailbox`.
pub(super) fn count(connection: &Transaction<'_>, rows: impl Iterator<Item = MailboxId>) -> Result<usize, StoreError> {
    let mut keywords: Vec<String> = Vec::new();
    for row in rows {
        keywords.extend(connection.query(
            "SELECT lower(keyword) FROM mailbox_keyword WHERE mailbox_id = ?1",
            params![row],
            |row| row.get::<String>(0),
        )?);
    }
    keywords.sort_unstable();
    keywords.dedup();
    Ok(keywords.len())
}

/// Fails if adding the keywords would exceed the limit of the mailbox. Keywords that the mailbox already has are always allowed.
pub(super) fn check(
    connection: &Transaction<'_>,
    parts: &[Part],
    keywords: &[String],
    limits: KeywordLimits,
) -> Result<(), FlagError> {
    let mut new = 0;
    'keywords: for keyword in keywords {
        for part in parts {
            let sql = "SELECT 1 FROM mailbox_keyword WHERE mailbox_id = ?1 AND keyword = lower(?2)";
            if connection.exists(sql, params![part.id, keyword])? {
                continue 'keywords;
            }
        }
        new += 1;
    }
    if new > 0 && count(connection, parts.iter().map(|part| part.id))?.saturating_add(new) > limits.per_mailbox {
        return Err(FlagError::TooManyOfMailbox(limits.per_mailbox));
    }
    Ok(())
}

/// Octets that count towards the quota of an inbox.
pub(super) fn inbox_size(connection: &Transaction<'_>, inbox: &InboxId) -> Result<u64, StoreError> {
    let sql = "SELECT size FROM inbox WHERE id = ?1";
    let size: i64 = connection.query_row(sql, params![inbox], |row| row.get(0))?;
    Ok(size.unsigned_abs())
}
