//! Threads: related messages of one inbox, by Message-IDs and references, then by base subject (RFC 5256) and participants.
//!
//! Invariant: a message is assigned to a thread in the transaction that stores it, and stays there; a copy is in the thread of
//! its source. A thread exists while it has messages. The work is bounded: references, candidates by subject, and participants.

use super::engine::ToValue;
use super::{Store, StoreError, Transaction, message_rows};
use crate::id::{AccountId, ContentId, InboxId, MessageId, ThreadId};
use crate::message::threading::Threading;
use crate::store::engine::{Row, params};

/// The number of the newest threads with the same base subject that are considered.
const MAX_CANDIDATES: i64 = 5;
/// Stored participants per thread.
const MAX_PARTICIPANTS: usize = 50;
/// Stored characters of a subject.
const MAX_SUBJECT: usize = 200;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    pub id: ThreadId,
    pub inbox: InboxId,
    /// The subject of its first message.
    pub subject: String,
    /// Addresses in lower case.
    pub participants: Vec<String>,
    /// The newest message.
    pub last: MessageId,
    pub emails: u64,
}

/// A message without a thread.
#[derive(Debug)]
pub struct Unthreaded {
    pub id: MessageId,
    pub content: ContentId,
    pub header: Vec<u8>,
}

/// A message to assign to a thread.
pub(super) struct Member<'a> {
    pub id: &'a MessageId,
    pub inbox: &'a InboxId,
    /// Sent by the inbox: its recipients are compared with participants instead of its sender.
    pub was_sent: bool,
    pub threading: &'a Threading,
    /// The thread that it was in before it was stored anew.
    pub was_in: Option<&'a ThreadId>,
}

/// Finds or creates the thread of a message, and adds the message's participants and references to it.
pub(super) fn assign(connection: &Transaction<'_>, member: &Member<'_>) -> Result<ThreadId, StoreError> {
    let Member { id, inbox, threading, was_in, .. } = member;
    let found_thread = match was_in {
        Some(thread) => by_id(connection, thread)?,
        None => found(connection, member)?,
    };
    let addresses = threading.from.iter().chain(&threading.to);
    let thread = match found_thread {
        Some((thread, participants)) => {
            let joined = joined(&participants, addresses);
            let sql = "UPDATE thread SET participants = ?2, last_id = CASE WHEN last_id < ?3 THEN ?3 ELSE last_id END WHERE id = ?1";
            connection.execute(sql, params![thread, joined, id])?;
            thread
        }
        None => {
            let thread = was_in.cloned().unwrap_or_else(|| ThreadId::of_first(id));
            let subject: String = threading.subject.chars().take(MAX_SUBJECT).collect();
            let sql = "INSERT INTO thread (id, account_id, inbox_id, subject, base_subject, participants, last_id)
                       SELECT ?1, account_id, id, ?3, ?4, ?5, ?6 FROM inbox WHERE id = ?2";
            let values = params![thread, inbox, subject, threading.base_subject, joined("", addresses), id];
            connection.execute(sql, values)?;
            thread
        }
    };
    let sql =
        "INSERT INTO thread_reference (inbox_id, reference, thread_id) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
    threading.ids.iter().try_for_each(|id| connection.execute(sql, params![inbox, id, thread]).map(drop))?;
    Ok(thread)
}

/// The thread of the inbox that a message it sends would be in.
pub(super) fn of_reply(
    connection: &Transaction<'_>,
    inbox: &InboxId,
    id: &MessageId,
    threading: &Threading,
) -> Result<Option<ThreadId>, StoreError> {
    // The first is its own.
    if threading.ids.len() <= 1 && !threading.is_reply {
        return Ok(None);
    }
    let member = Member { id, inbox, was_sent: true, threading, was_in: None };
    Ok(found(connection, &member)?.map(|(thread, _)| thread))
}

type Found = Option<(ThreadId, String)>;

fn found(connection: &Transaction<'_>, member: &Member<'_>) -> Result<Found, StoreError> {
    match by_reference(connection, member.inbox, &member.threading.ids)? {
        Some(found) => Ok(Some(found)),
        None => by_subject(connection, member),
    }
}

fn by_id(connection: &Transaction<'_>, thread: &ThreadId) -> Result<Found, StoreError> {
    let sql = "SELECT id, participants FROM thread WHERE id = ?1";
    connection.query_opt(sql, params![thread], |row| Ok((row.get(0)?, row.get(1)?)))
}

fn by_reference(connection: &Transaction<'_>, inbox: &InboxId, ids: &[i64]) -> Result<Found, StoreError> {
    let sql = "SELECT t.id, t.participants FROM thread_reference r JOIN thread t ON t.id = r.thread_id
               WHERE r.inbox_id = ?1 AND r.reference = ?2";
    for id in ids {
        let found = connection.query_opt(sql, params![inbox, id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// For a reply without known references: a thread with the same base subject and a common participant.
fn by_subject(connection: &Transaction<'_>, member: &Member<'_>) -> Result<Found, StoreError> {
    let Threading { is_reply, base_subject, from, to, .. } = member.threading;
    let others = if member.was_sent { to } else { from };
    if !is_reply || base_subject.is_empty() || others.is_empty() {
        return Ok(None);
    }
    let sql =
        "SELECT id, participants FROM thread WHERE inbox_id = ?1 AND base_subject = ?2 ORDER BY last_id DESC LIMIT ?3";
    let row = |row: &Row<'_>| Ok((row.get::<ThreadId>(0)?, row.get::<String>(1)?));
    let candidates = connection.query(sql, params![member.inbox, base_subject, MAX_CANDIDATES], row)?;
    let participates =
        |(_, all): &(ThreadId, String)| all.split(' ').any(|one| others.iter().any(|other| other == one));
    Ok(candidates.into_iter().find(participates))
}

/// Adds new addresses to participants.
fn joined<'a>(participants: &str, addresses: impl Iterator<Item = &'a String>) -> String {
    let mut all: Vec<&str> = participants.split(' ').filter(|one| !one.is_empty()).collect();
    for address in addresses {
        if all.len() < MAX_PARTICIPANTS && !all.contains(&address.as_str()) {
            all.push(address);
        }
    }
    all.join(" ")
}

/// Removes those of the threads that have no messages.
pub(super) fn remove_empty(
    connection: &Transaction<'_>,
    threads: impl IntoIterator<Item = ThreadId>,
) -> Result<(), StoreError> {
    let sql = "DELETE FROM thread WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM message WHERE thread_id = ?1)";
    threads.into_iter().try_for_each(|thread| connection.execute(sql, params![thread]).map(drop))
}

const THREAD: &str = "SELECT t.id, t.inbox_id, t.subject, t.participants, t.last_id,
        (SELECT count(*) FROM message m WHERE m.thread_id = t.id)
    FROM thread t JOIN inbox i ON i.id = t.inbox_id AND i.account_id = t.account_id";

fn thread(row: &Row<'_>) -> Result<Thread, StoreError> {
    let participants: String = row.get(3)?;
    Ok(Thread {
        id: row.get(0)?,
        inbox: row.get(1)?,
        subject: row.get(2)?,
        participants: participants.split(' ').filter(|one| !one.is_empty()).map(str::to_owned).collect(),
        last: row.get(4)?,
        emails: row.get::<i64>(5)?.unsigned_abs(),
    })
}

#[derive(Clone, Debug)]
pub enum ThreadsOf {
    Account(AccountId),
    Inboxes(Vec<InboxId>),
}

impl Store {
    /// Threads whose newest message is older than `below`, ordered by their newest message, the newest first.
    pub async fn threads(
        &self,
        of: ThreadsOf,
        below: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<Thread>, StoreError> {
        self.read(move |connection| {
            let below = below.as_ref().map_or("~", MessageId::as_str);
            let rows = i64::try_from(limit).unwrap_or(i64::MAX);
            let list = |column: &str, id: &dyn ToValue| {
                let sql = format!("{THREAD} WHERE t.{column} = ?1 AND t.last_id < ?2 ORDER BY t.last_id DESC LIMIT ?3");
                connection.query(&sql, params![id, below, rows], thread)
            };
            let mut found = Vec::new();
            match &of {
                ThreadsOf::Account(account) => found = list("account_id", account)?,
                ThreadsOf::Inboxes(inboxes) => {
                    for inbox in inboxes {
                        found.extend(list("inbox_id", inbox)?);
                    }
                    found.sort_unstable_by(|one, other| other.last.cmp(&one.last));
                    found.truncate(limit);
                }
            }
            Ok(found)
        })
        .await
    }

    pub async fn thread(&self, id: &ThreadId) -> Result<Option<Thread>, StoreError> {
        let id = id.clone();
        self.read(move |connection| connection.query_opt(&format!("{THREAD} WHERE t.id = ?1"), params![id], thread))
            .await
    }

    /// The oldest messages without a thread.
    pub async fn unthreaded(&self, limit: u32) -> Result<Vec<Unthreaded>, StoreError> {
        self.read(move |connection| {
            let sql =
                "SELECT m.id, c.id, substr(c.header, 1, 65536) FROM message m JOIN content c ON c.id = m.content_id
                       WHERE m.thread_id IS NULL ORDER BY m.id LIMIT ?1";
            let row = |row: &Row<'_>| Ok(Unthreaded { id: row.get(0)?, content: row.get(1)?, header: row.get(2)? });
            connection.query(sql, params![limit], row)
        })
        .await
    }

    /// Assigns threads to those of the messages that have none.
    pub(crate) async fn thread_all(&self, messages: Vec<(MessageId, Threading)>) -> Result<(), StoreError> {
        self.write(move |connection| {
            for (id, threading) in &messages {
                let sql = "SELECT inbox_id, mail_from <> '' AND rcpt_to = '' FROM message WHERE id = ?1 AND thread_id IS NULL";
                let row = |row: &Row<'_>| Ok((row.get::<InboxId>(0)?, row.get(1)?));
                let Some((inbox, was_sent)) = connection.query_opt(sql, params![id], row)? else { continue };
                let thread = assign(connection, &Member { id, inbox: &inbox, was_sent, threading, was_in: None })?;
                message_rows::set_thread(connection, id, &thread)?;
            }
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{inbox, put, store_with_account};

    async fn thread_of(store: &Store, inbox: &InboxId, raw: &str) -> ThreadId {
        let id = put(store, inbox, raw.replace('\n', "\r\n").as_bytes()).await.id;
        store.message(inbox, &id).await.unwrap().unwrap().thread.unwrap()
    }

    #[tokio::test]
    async fn messages_of_an_inbox_are_threaded_by_references_then_by_subject_and_participants() {
        let (_dir, store, account) = store_with_account().await;
        let (ours, other) = (inbox(&store, &account, "ours").await, inbox(&store, &account, "other").await);
        let of = async |raw: &str| thread_of(&store, &ours, raw).await;
        let first = of("Message-ID: <1@x>\nFrom: ann@x.org\nTo: us@y.org\nSubject: Lunch\n\nx\n").await;
        let early =
            of("Message-ID: <3@x>\nIn-Reply-To: <2@x>\nReferences: <0@x> <2@x>\nFrom: cy@x.org\nSubject: Other\n\nx\n")
                .await;
        assert_ne!(first, early);
        for (raw, wanted) in [
            ("Message-ID: <5@x>\nReferences: <9@x> <1@x>\nFrom: bo@x.org\nSubject: Renamed\n\nx\n", &first),
            ("Message-ID: <2@x>\nFrom: us@y.org\nSubject: the message that was answered\n\nx\n", &early),
            (
                "Message-ID: <6@x>\nIn-Reply-To: <5@x>\nReferences: <3@x>\nFrom: bo@x.org\nSubject: nearest\n\nx\n",
                &first,
            ),
            ("From: Ann@X.org\nSubject: RE: [list] lunch\n\nx\n", &first),
        ] {
            assert_eq!(&of(raw).await, wanted, "{raw}");
        }
        for raw in [
            "From: ann@x.org\nSubject: Lunch\n\nx\n",
            "From: eve@x.org\nTo: us@y.org\nSubject: Re: Lunch\n\nx\n",
            "From: ann@x.org\nSubject: Re: Dinner\n\nx\n",
            "From: ann@x.org\nSubject: Re:\n\nx\n",
        ] {
            let new = of(raw).await;
            assert!(new != first && new != early, "{raw}");
        }
        assert_ne!(
            thread_of(&store, &other, "In-Reply-To: <1@x>\nFrom: ann@x.org\nSubject: Re: Lunch\n\nx\n").await,
            first
        );
        let shown = store.thread(&first).await.unwrap().unwrap();
        assert_eq!((shown.subject.as_str(), shown.emails), ("Lunch", 4));
        assert_eq!(shown.participants, ["ann@x.org", "us@y.org", "bo@x.org"]);
        let listed = store.threads(ThreadsOf::Account(account), None, 100).await.unwrap();
        assert_eq!(listed.iter().map(|thread| thread.emails).sum::<u64>(), 11);
        assert!(listed.is_sorted_by(|one, other| one.last > other.last));
        assert_eq!(store.threads(ThreadsOf::Inboxes(vec![other]), None, 100).await.unwrap().len(), 1);
    }
}
