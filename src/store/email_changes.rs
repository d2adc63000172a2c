//! Changes of one message by its ID, in any mailbox of an inbox: its flags, keywords and mailbox together.
//!
//! Invariant: every verb takes the inbox, and changes the message in the transaction that finds it, by the same functions as the
//! IMAP commands, so sessions are notified.

use super::bodies::{NewBody, NewObject};
use super::hot_rows::HotRow;
use super::keywords::{FlagError, InboxLimits};
use super::mailbox_changes::{self, FlagChange, FlagUpdate, ToFlag};
use super::mailboxes::{self, MailboxError, MailboxKind};
use super::message_rows::{Kept, NewMessage};
use super::messages::Flags;
use super::open_mailbox::MessageFlags;
use super::parts::{self, Part};
use super::transfer::{self, Kind, Transfer, TransferError};
use super::version::{self, Versions};
use super::{Store, StoreError, Transaction, bodies, content, expunged, message_rows, queue, quota};
use crate::clock::Timestamp;
use crate::events::Event;
use crate::id::{InboxId, MailboxId, MessageId, SubmissionId};
use crate::message;
use crate::message::threading::Threading;
use crate::store::engine::{Row, params};
use bytes::Bytes;

/// The mailbox to move a message to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Created if it does not exist.
    Kind(MailboxKind),
    Named(String),
    /// Out of Trash, Junk or Archive: drafts to Drafts, sent messages to Sent, others to INBOX.
    Origin,
}

#[derive(Clone, Debug, Default)]
pub struct EmailChange {
    pub set: Flags,
    pub unset: Flags,
    /// Keywords to add.
    pub add: Vec<String>,
    /// Keywords to remove.
    pub remove: Vec<String>,
    /// Removes all keywords that are not in `add`.
    pub replaces_keywords: bool,
    pub to: Option<Target>,
    /// The versions of the message that the change applies to.
    pub versions: Versions,
}

#[derive(Debug, thiserror::Error)]
pub enum EmailError {
    #[error("the inbox has no email with this id")]
    NoSuchEmail,
    #[error("the inbox has no mailbox {0:?}")]
    NoSuchMailbox(String),
    /// Its version is not one of those that the change is for.
    #[error("the email has changed")]
    Changed,
    #[error("the email does not wait to leave any more")]
    NotScheduled,
    #[error(transparent)]
    Flags(#[from] FlagError),
    #[error(transparent)]
    Transfer(#[from] TransferError),
    #[error(transparent)]
    Mailbox(#[from] MailboxError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The effect of deleting a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// Moved to Trash.
    ToTrash,
    /// Removed permanently, because it was in Trash.
    ForGood,
}

/// The location of a message.
struct Location {
    mailbox: MailboxId,
    kind: Option<MailboxKind>,
    /// The UID in the mailbox, as opposed to that in the part.
    uid: u32,
    part: Part,
    flags: Flags,
    /// Separated by spaces.
    keywords: String,
    was_sent: bool,
    version: Timestamp,
    kept: Kept,
}

fn find(connection: &Transaction<'_>, inbox: &InboxId, id: &MessageId) -> Result<Location, EmailError> {
    let sql =
        "SELECT b.id, b.name, b.special_use, m.uid + p.uid_offset, p.id, m.flags, m.mail_from <> '' AND m.rcpt_to = '',
                   m.changed_at, m.keywords, m.thread_id, m.email_id
               FROM message m JOIN mailbox p ON p.id = m.mailbox_id
                   JOIN mailbox b ON b.id = CASE p.is_hidden WHEN 0 THEN p.id ELSE p.part_of END
               WHERE m.inbox_id = ?1 AND m.id = ?2";
    let row = |row: &Row<'_>| {
        let (name, special_use): (String, Option<String>) = (row.get(1)?, row.get(2)?);
        let kind = MailboxKind::of(&name, special_use.as_deref());
        let kept = Kept { thread: row.get(9)?, email_id: row.get(10)?, object_id: None };
        let rest = (row.get(6)?, row.get(7)?, row.get(8)?, kept);
        Ok((row.get(0)?, kind, row.get(3)?, row.get::<MailboxId>(4)?, row.get(5)?, rest))
    };
    let found = connection.query_opt(sql, params![inbox, id], row)?;
    let (mailbox, kind, uid, row, flags, (was_sent, version, keywords, kept)) = found.ok_or(EmailError::NoSuchEmail)?;
    let part = parts::of(connection, inbox, mailbox)?.into_iter().find(|part| part.id == row);
    let part = part.ok_or(EmailError::NoSuchEmail)?;
    Ok(Location { mailbox, kind, uid, part, flags, keywords, was_sent, version, kept })
}

/// The same, if it has one of the versions.
fn find_version(
    connection: &Transaction<'_>,
    inbox: &InboxId,
    id: &MessageId,
    versions: &Versions,
) -> Result<Location, EmailError> {
    let at = find(connection, inbox, id)?;
    if versions.has(at.version) { Ok(at) } else { Err(EmailError::Changed) }
}

impl EmailChange {
    pub fn to(target: Target) -> Self {
        Self { to: Some(target), ..Self::default() }
    }

    fn apply(&self, before: &MessageFlags) -> MessageFlags {
        let update = |change, flags, keywords: &Vec<String>| FlagUpdate { change, flags, keywords: keywords.clone() };
        let flags = before.flags.union(self.set).difference(self.unset);
        if self.replaces_keywords {
            return update(FlagChange::Replace, flags, &self.add).apply(before);
        }
        let added = update(FlagChange::Add, self.set, &self.add).apply(before);
        update(FlagChange::Remove, self.unset, &self.remove).apply(&added)
    }

    fn has_flags(&self) -> bool {
        let has_keywords = !self.add.is_empty() || !self.remove.is_empty() || self.replaces_keywords;
        has_keywords || !self.set.is_empty() || !self.unset.is_empty()
    }
}

/// Moves a message, unless it is already in the target.
fn move_to(
    connection: &Transaction<'_>,
    inbox: &InboxId,
    at: &Location,
    target: &Target,
    limits: InboxLimits,
) -> Result<(), EmailError> {
    let kind = match target {
        Target::Named(name) => {
            let found = mailboxes::find(connection, inbox, name)?;
            return match found {
                Some(found) if found == at.mailbox => Ok(()),
                Some(_) => transfer(connection, inbox, at, name.clone(), limits),
                None => Err(EmailError::NoSuchMailbox(name.clone())),
            };
        }
        Target::Origin => match at.kind {
            Some(MailboxKind::Trash | MailboxKind::Junk | MailboxKind::Archive) => origin(at),
            _ => return Ok(()),
        },
        Target::Kind(kind) => *kind,
    };
    let target = mailboxes::of_kind(connection, inbox, kind)?;
    if target == at.mailbox {
        return Ok(());
    }
    let name = connection.query_row("SELECT name FROM mailbox WHERE id = ?1", params![target], |row| row.get(0))?;
    transfer(connection, inbox, at, name, limits)
}

fn origin(at: &Location) -> MailboxKind {
    match (at.flags.contains(Flags::DRAFT), at.was_sent) {
        (true, _) => MailboxKind::Drafts,
        (false, true) => MailboxKind::Sent,
        (false, false) => MailboxKind::Inbox,
    }
}

fn transfer(
    connection: &Transaction<'_>,
    inbox: &InboxId,
    at: &Location,
    to: String,
    limits: InboxLimits,
) -> Result<(), EmailError> {
    let (from, keywords) = (at.mailbox, limits.keywords.per_mailbox);
    let transfer = Transfer { inbox: inbox.clone(), from, to, kind: Kind::Move, keywords };
    transfer::at_once(connection, &transfer, &[at.uid])?;
    Ok(())
}

/// Removes a message permanently.
fn remove(connection: &Transaction<'_>, inbox: &InboxId, at: &Location) -> Result<(), StoreError> {
    message_rows::remove(
        connection,
        inbox,
        at.part.id,
        "mailbox_id = ?1 AND uid = ?2",
        params![at.part.id, at.part.stored(at.uid)],
    )?;
    let modseq = expunged::note(connection, at.mailbox, std::iter::once(at.uid))?;
    let event = Event::MessagesRemoved { inbox_id: inbox.clone(), mailbox: at.mailbox, modseq };
    connection.publish_of_inbox(inbox, event)
}

/// Why a draft was not removed.
pub(super) enum RemoveDraftError {
    /// It was sent, removed or moved.
    Gone,
    /// It has another version.
    Changed,
    Store(StoreError),
}

impl From<RemoveDraftError> for EmailError {
    fn from(error: RemoveDraftError) -> Self {
        match error {
            RemoveDraftError::Gone => Self::NoSuchEmail,
            RemoveDraftError::Changed => Self::Changed,
            RemoveDraftError::Store(error) => Self::Store(error),
        }
    }
}

/// Removes a draft from Drafts.
pub(super) fn remove_draft(
    connection: &Transaction<'_>,
    inbox: &InboxId,
    draft: &Replaced,
) -> Result<(), RemoveDraftError> {
    let at = find_draft(connection, inbox, draft)?;
    remove(connection, inbox, &at).map_err(RemoveDraftError::Store)
}

fn find_draft(connection: &Transaction<'_>, inbox: &InboxId, draft: &Replaced) -> Result<Location, RemoveDraftError> {
    let at = match find_version(connection, inbox, &draft.id, &draft.versions) {
        Ok(at) => at,
        Err(EmailError::Changed) => return Err(RemoveDraftError::Changed),
        Err(EmailError::Store(error)) => return Err(RemoveDraftError::Store(error)),
        Err(_) => return Err(RemoveDraftError::Gone),
    };
    if at.kind != Some(MailboxKind::Drafts) || !at.flags.contains(Flags::DRAFT) {
        return Err(RemoveDraftError::Gone);
    }
    Ok(at)
}

/// A draft that is replaced or sent, and the versions of it that this is meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    pub id: MessageId,
    pub versions: Versions,
}

/// Stores a draft in Drafts, in the place of `replaces`, whose ID, labels and thread it gets. A mark to expunge was for the old octets.
fn put_draft(
    connection: &Transaction<'_>,
    inbox: &InboxId,
    replaces: Option<&Replaced>,
    header: &[u8],
    body: &NewBody,
    limits: InboxLimits,
) -> Result<MessageId, EmailError> {
    let (mut version, mut kept) = (None, Kept::default());
    let (mut flags, mut keywords) = (Flags::DRAFT | Flags::SEEN, String::new());
    if let Some(replaced) = replaces {
        let at = find_draft(connection, inbox, replaced)?;
        remove(connection, inbox, &at)?;
        version = Some(version::next(at.version, Timestamp::real()));
        (flags, keywords) = (at.flags.difference(Flags::DELETED), at.keywords);
        // EMAILID names the octets (RFC 8474 §5.1).
        kept = Kept { object_id: Some(MessageId::new()), ..at.kept };
    }
    let octets = quota::octets(header.len(), body.len().saturating_add(keywords.len()));
    quota::check(connection, std::iter::once((inbox, octets)), limits.quota).map_err(FlagError::from)?;
    let body_id = bodies::insert(connection, body)?;
    let new = NewMessage {
        id: replaces.map_or_else(MessageId::new, |replaced| replaced.id.clone()),
        inbox,
        mailbox: mailboxes::of_kind(connection, inbox, MailboxKind::Drafts)?,
        content: content::insert_content(connection, header, body_id, body.len())?,
        flags,
        keywords: &keywords,
        mail_from: "",
        rcpt_to: "",
        internal_date: Timestamp::real(),
        threading: &Threading::of(header),
    };
    let id = message_rows::insert_again(connection, &new, &kept)?.id;
    if let Some(version) = version {
        message_rows::set_changed(connection, &id, version)?;
    }
    Ok(id)
}

impl Store {
    /// Stores a draft in Drafts, in the place of `replaces`, whose ID it gets. Returns the ID.
    pub async fn draft_put(
        &self,
        inbox: &InboxId,
        replaces: Option<Replaced>,
        raw: Bytes,
        limits: InboxLimits,
    ) -> Result<MessageId, EmailError> {
        self.check_disk()?;
        let (header, body) = message::split(&raw);
        let (header, body) = (raw.slice_ref(header), raw.slice_ref(body));
        let body = self.prepare_body(body).await?;
        let (hot_row, inbox, object) = ([HotRow::Inbox(inbox.clone())], inbox.clone(), body.object());
        let stored = self.write_serialized(&hot_row, move |connection| {
            put_draft(connection, &inbox, replaces.as_ref(), &header, &body, limits)
        });
        stored.await.inspect(|_| object.iter().for_each(NewObject::committed))
    }

    /// Removes a message permanently, from any mailbox.
    pub async fn email_remove(&self, inbox: &InboxId, id: &MessageId, versions: Versions) -> Result<(), EmailError> {
        let (hot_row, inbox, id) = ([HotRow::Inbox(inbox.clone())], inbox.clone(), id.clone());
        self.write_serialized(&hot_row, move |connection| {
            let at = find_version(connection, &inbox, &id, &versions)?;
            Ok(remove(connection, &inbox, &at)?)
        })
        .await
    }

    /// The same, and removes it from the queue.
    pub async fn email_cancel(&self, inbox: &InboxId, id: &MessageId, versions: Versions) -> Result<(), EmailError> {
        let (hot_row, inbox, id) = ([HotRow::Inbox(inbox.clone())], inbox.clone(), id.clone());
        self.write_serialized(&hot_row, move |connection| {
            let at = find_version(connection, &inbox, &id, &versions)?;
            if !queue::remove(connection, &SubmissionId::of_sent(&id))? {
                return Err(EmailError::NotScheduled);
            }
            Ok(remove(connection, &inbox, &at)?)
        })
        .await
    }

    pub async fn email_change(
        &self,
        inbox: &InboxId,
        id: &MessageId,
        change: EmailChange,
        limits: InboxLimits,
    ) -> Result<(), EmailError> {
        let (hot_row, inbox, id) = ([HotRow::Inbox(inbox.clone())], inbox.clone(), id.clone());
        self.write_serialized(&hot_row, move |connection| {
            let at = find_version(connection, &inbox, &id, &change.versions)?;
            if change.has_flags() {
                let (mailbox, uids, added) = (at.mailbox, &[at.uid], &change.add);
                let to_flag = ToFlag { inbox: &inbox, mailbox, uids, unchanged_since: None, added, limits };
                mailbox_changes::flag(connection, &to_flag, |before| change.apply(before))?;
            }
            match &change.to {
                Some(target) => move_to(connection, &inbox, &at, target, limits),
                None => Ok(()),
            }
        })
        .await
    }

    /// Moves a message to Trash, or removes it permanently if it is in Trash.
    pub async fn email_delete(
        &self,
        inbox: &InboxId,
        id: &MessageId,
        versions: Versions,
        limits: InboxLimits,
    ) -> Result<Deleted, EmailError> {
        let (hot_row, inbox, id) = ([HotRow::Inbox(inbox.clone())], inbox.clone(), id.clone());
        self.write_serialized(&hot_row, move |connection| {
            let at = find_version(connection, &inbox, &id, &versions)?;
            if at.kind == Some(MailboxKind::Trash) {
                remove(connection, &inbox, &at)?;
                return Ok(Deleted::ForGood);
            }
            move_to(connection, &inbox, &at, &Target::Kind(MailboxKind::Trash), limits)?;
            Ok(Deleted::ToTrash)
        })
        .await
    }
}
