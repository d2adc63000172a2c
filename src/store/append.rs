//! APPEND of one or several messages (RFC 3502), and REPLACE (RFC 8508): one transaction.
//!
//! Invariant: all messages are stored or none, and the message that one replaces is removed in the same transaction. Every verb takes
//! the inbox and changes only that.

use super::batch::BATCH;
use super::bodies::{NewBody, NewObject};
use super::hot_rows::HotRow;
use super::keywords::{self, FlagError, InboxLimits};
use super::mailbox_changes::{self, FlagChange, FlagUpdate, ToFlag};
use super::mailboxes::MailboxKind;
use super::message_rows::{self, NewMessage};
use super::messages::Flags;
use super::quota;
use super::{Store, StoreError, Transaction, bodies, content, parts};
use crate::clock::Timestamp;
use crate::id::{BodyId, InboxId, MailboxId, MessageId};
use crate::message;
use crate::message::threading::Threading;
use crate::store::engine::{Row, params};
use bytes::Bytes;

/// The time after the acceptance of a message in which an APPEND of it to Sent is ignored, in milliseconds.
const APPENDED_WITHIN: i64 = 10 * 60 * 1000;
/// The number of copies of a body in Sent whose Message-IDs are compared.
const MAX_COPIES: i64 = 20;

/// The message of an APPEND.
#[derive(Debug)]
pub struct Append {
    /// System flags.
    pub flags: Flags,
    /// Separated by spaces.
    pub keywords: String,
    pub internal_date: Timestamp,
    /// The header block, with the empty line.
    pub header: Bytes,
    pub body: Bytes,
}

/// The location of an appended message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub mailbox: MailboxId,
    pub uid_validity: u32,
    pub uid: u32,
}

/// The location of messages that were appended together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendedAll {
    pub mailbox: MailboxId,
    pub uid_validity: u32,
    /// In the order of the messages; that of one that was in Sent already is lower than its neighbours.
    pub uids: Vec<u32>,
}

/// The message that another one replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplacedMessage {
    pub mailbox: MailboxId,
    pub uid: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error("there is no mailbox with this name")]
    NoSuchMailbox,
    /// It was expunged.
    #[error("the message to replace does not exist any more")]
    NoSuchMessage,
    #[error("at most {BATCH} messages can be appended together: append the others with another command")]
    TooMany,
    #[error(transparent)]
    Flags(#[from] FlagError),
}

impl From<StoreError> for AppendError {
    fn from(error: StoreError) -> Self {
        Self::Flags(error.into())
    }
}

/// A message with its body prepared for the transaction: compressed, and durable if there is an object store.
#[derive(Debug)]
pub struct PreparedAppend {
    flags: Flags,
    keywords: String,
    internal_date: Timestamp,
    header: Bytes,
    body: NewBody,
}

impl PreparedAppend {
    /// Octets of memory that it needs.
    pub fn memory(&self) -> usize {
        self.header.len().saturating_add(self.body.stored_len()).saturating_add(self.keywords.len())
    }

    fn octets(&self) -> u64 {
        quota::octets(self.header.len(), self.body.len().saturating_add(self.keywords.len()))
    }
}

/// A transaction's part that is the same for each message.
struct Target<'a> {
    inbox: &'a InboxId,
    mailbox: MailboxId,
    replaced: Option<ReplacedMessage>,
    limits: InboxLimits,
}

/// Finds the copy in Sent that was stored when the message was accepted, if the client now appends the same message: one with the
/// same body and Message-ID that was stored within [`APPENDED_WITHIN`].
fn copy_in_sent(
    connection: &Transaction<'_>,
    inbox: &InboxId,
    mailbox: MailboxId,
    body: BodyId,
    header: &[u8],
) -> Result<Option<u32>, StoreError> {
    let Some(wanted) = message::message_id(header) else { return Ok(None) };
    let sql = "SELECT name, special_use FROM mailbox WHERE id = ?1";
    let row = |row: &Row<'_>| Ok((row.get::<String>(0)?, row.get::<Option<String>>(1)?));
    let (name, special_use) = connection.query_row(sql, params![mailbox], row)?;
    if MailboxKind::of(&name, special_use.as_deref()) != Some(MailboxKind::Sent) {
        return Ok(None);
    }
    let since = Timestamp::from_millis(Timestamp::real().millis().saturating_sub(APPENDED_WITHIN));
    for part in parts::of(connection, inbox, mailbox)? {
        let sql = "SELECT m.uid, c.header FROM content c JOIN message m ON m.content_id = c.id
                   WHERE c.body_id = ?1 AND m.mailbox_id = ?2 AND m.internal_date >= ?3 AND m.mail_from <> '' AND m.rcpt_to = ''
                   ORDER BY m.uid DESC LIMIT ?4";
        let row = |row: &Row<'_>| Ok((row.get::<i64>(0)?, row.get::<Vec<u8>>(1)?));
        let found = connection.query(sql, params![body, part.id, since, MAX_COPIES], row)?;
        let same = found.into_iter().find(|(_, header)| message::message_id(header).as_ref() == Some(&wanted));
        if let Some((uid, _)) = same {
            return Ok(Some(part.shown(uid)));
        }
    }
    Ok(None)
}

impl Target<'_> {
    /// Fails if the messages exceed the quota, less what the replaced message has counted.
    fn check_quota(&self, connection: &Transaction<'_>, messages: &[PreparedAppend]) -> Result<(), AppendError> {
        let quota = self.limits.quota;
        let Some(replaced) = self.replaced else {
            let octets = messages.iter().map(|message| (self.inbox, message.octets()));
            return Ok(quota::check(connection, octets, quota).map_err(FlagError::from)?);
        };
        let parts = parts::of(connection, self.inbox, replaced.mailbox)?;
        let part = parts::holder(connection, &parts, replaced.uid)?.ok_or(AppendError::NoSuchMessage)?;
        let sql = "SELECT c.size + octet_length(m.keywords) FROM message m JOIN content c ON c.id = m.content_id
                   WHERE m.mailbox_id = ?1 AND m.uid = ?2";
        let values = params![part.id, part.stored(replaced.uid)];
        let before = connection.query_row(sql, values, |row| row.get::<i64>(0))?.unsigned_abs();
        let after = messages.iter().map(PreparedAppend::octets).sum::<u64>();
        let is_allowed = after <= before || quota::allows_messages(connection, self.inbox, after - before, 0, quota)?;
        if is_allowed { Ok(()) } else { Err(FlagError::Full.into()) }
    }

    /// Stores a message. Returns its UID, or that of its copy in Sent.
    fn store(&self, connection: &Transaction<'_>, message: &PreparedAppend) -> Result<u32, AppendError> {
        let &Self { inbox, mailbox, replaced, limits } = self;
        let added: Vec<String> = message.keywords.split_ascii_whitespace().map(str::to_owned).collect();
        if added.len() > limits.keywords.per_message {
            return Err(FlagError::TooManyOfMessage(limits.keywords.per_message).into());
        }
        keywords::check(connection, &parts::of(connection, inbox, mailbox)?, &added, limits.keywords)?;
        let body_id = bodies::insert(connection, &message.body)?;
        let is_replaced = |uid: &u32| replaced == Some(ReplacedMessage { mailbox, uid: *uid });
        let copy = copy_in_sent(connection, inbox, mailbox, body_id, &message.header)?.filter(|uid| !is_replaced(uid));
        if let Some(uid) = copy {
            let update = FlagUpdate { change: FlagChange::Add, flags: message.flags, keywords: added };
            let (uids, added) = (&[uid], &update.keywords);
            let to_flag = ToFlag { inbox, mailbox, uids, unchanged_since: None, added, limits };
            mailbox_changes::flag(connection, &to_flag, |before| update.apply(before))?;
            return Ok(uid);
        }
        let new = NewMessage {
            id: MessageId::new(),
            inbox,
            mailbox,
            content: content::insert_content(connection, &message.header, body_id, message.body.len())?,
            flags: message.flags,
            keywords: &message.keywords,
            mail_from: "",
            rcpt_to: "",
            internal_date: message.internal_date,
            threading: &Threading::of(&message.header),
        };
        Ok(message_rows::insert(connection, &new)?.uid)
    }

    fn remove_replaced(&self, connection: &Transaction<'_>) -> Result<(), StoreError> {
        let Some(ReplacedMessage { mailbox, uid }) = self.replaced else { return Ok(()) };
        mailbox_changes::remove(connection, self.inbox, mailbox, |part| {
            let values = params![part.id, part.stored(uid)];
            message_rows::remove(connection, self.inbox, part.id, "mailbox_id = ?1 AND uid = ?2", values)
        })
    }
}

fn append(
    connection: &Transaction<'_>,
    inbox: &InboxId,
    name: &str,
    messages: &[PreparedAppend],
    replaced: Option<ReplacedMessage>,
    limits: InboxLimits,
) -> Result<AppendedAll, AppendError> {
    let sql = "SELECT id, uid_validity FROM mailbox WHERE inbox_id = ?1 AND name = ?2";
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let found = connection.query_opt(sql, params![inbox, name], row)?;
    let (mailbox, uid_validity) = found.ok_or(AppendError::NoSuchMailbox)?;
    let target = Target { inbox, mailbox, replaced, limits };
    target.check_quota(connection, messages)?;
    let uids = messages.iter().map(|message| target.store(connection, message)).collect::<Result<_, _>>()?;
    target.remove_replaced(connection)?;
    Ok(AppendedAll { mailbox, uid_validity, uids })
}

impl Store {
    /// Makes a message ready for [`Store::messages_append`].
    pub async fn prepare_append(&self, message: Append) -> Result<PreparedAppend, StoreError> {
        self.check_disk()?;
        let Append { flags, keywords, internal_date, header, body } = message;
        let body = self.prepare_body(body).await?;
        Ok(PreparedAppend { flags, keywords, internal_date, header, body })
    }

    /// Appends up to [`BATCH`] messages, and removes the one that they replace, if any.
    pub async fn messages_append(
        &self,
        inbox: &InboxId,
        name: &str,
        messages: Vec<PreparedAppend>,
        replaced: Option<ReplacedMessage>,
        limits: InboxLimits,
    ) -> Result<AppendedAll, AppendError> {
        self.check_disk()?;
        if messages.len() > BATCH {
            return Err(AppendError::TooMany);
        }
        let objects: Vec<NewObject> = messages.iter().filter_map(|message| message.body.object()).collect();
        let (inbox, name) = (inbox.clone(), name.to_owned());
        let hot_row = [HotRow::Inbox(inbox.clone())];
        let appended = self.write_serialized(&hot_row, move |connection| {
            append(connection, &inbox, &name, &messages, replaced, limits)
        });
        appended.await.inspect(|_| objects.iter().for_each(NewObject::committed))
    }
}

#[cfg(test)]
mod tests;
