//! Concurrent changes of one mailbox by two daemons: UIDs, mod-sequences, and the synchronization of sessions.

use super::append::Append;
use super::mailbox_changes::FlagUpdate;
use super::messages::Flags;
use super::open_mailbox::Seen;
use super::testing::{inbox, two_daemons};
use super::*;
use crate::clock::Timestamp;
use crate::config::Limits;
use crate::id::MailboxId;
use crate::mailbox::MailboxService;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

const MESSAGES: usize = 40;

/// A session that has selected the mailbox and applies changes.
struct Session {
    store: Store,
    inbox: InboxId,
    mailbox: MailboxId,
    seen: Seen,
    messages: BTreeMap<u32, Flags>,
}

impl Session {
    async fn open(store: &Store, inbox: &InboxId) -> Self {
        let open = store.mailbox_open(inbox, "INBOX", false).await.unwrap().unwrap();
        let messages = open.messages.iter().map(|message| (message.uid, message.flags)).collect();
        Self { store: store.clone(), inbox: inbox.clone(), mailbox: open.id, seen: open.seen, messages }
    }

    async fn sync(&mut self) {
        let changes = self.store.mailbox_changes(&self.inbox, self.mailbox, self.seen).await.unwrap().unwrap();
        assert!(!changes.is_whole);
        assert!(changes.seen.modseq >= self.seen.modseq && changes.seen.uid_next >= self.seen.uid_next);
        for message in changes.changed.iter() {
            let is_new = message.uid >= self.seen.uid_next;
            assert!(is_new || self.messages.contains_key(&message.uid), "UID {} appeared late", message.uid);
            self.messages.insert(message.uid, message.flags);
        }
        for uid in changes.expunged {
            self.messages.remove(&uid);
        }
        self.seen = changes.seen;
    }
}

fn message() -> Append {
    Append {
        flags: Flags::default(),
        keywords: String::new(),
        internal_date: Timestamp::real(),
        header: bytes::Bytes::from_static(b"Subject: x\r\n\r\n"),
        body: bytes::Bytes::from_static(b"x\r\n"),
    }
}

#[tokio::test]
async fn uids_are_assigned_once_and_sessions_of_both_daemons_see_the_same() {
    let (_dir, one, two, account) = two_daemons().await;
    let inbox = inbox(&one, &account, "ann").await;
    let mailbox = one.mailbox_open(&inbox, "INBOX", false).await.unwrap().unwrap().id;
    let is_over = Arc::new(AtomicBool::new(false));
    let sessions: Vec<_> = [&one, &two]
        .map(|store| {
            let (store, inbox, is_over) = (store.clone(), inbox.clone(), Arc::clone(&is_over));
            tokio::spawn(async move {
                let mut session = Session::open(&store, &inbox).await;
                while !is_over.load(Ordering::SeqCst) {
                    session.sync().await;
                }
                session.sync().await;
                session
            })
        })
        .into();
    // Of the messages that a writer appends, some are flagged, some expunged and some moved.
    let writers: Vec<_> = [&one, &two, &one, &two]
        .map(|store| {
            let (service, inbox) = (MailboxService::new(store.clone(), &Limits::default()), inbox.clone());
            tokio::spawn(async move {
                let (mut appended, mut moved) = (Vec::new(), Vec::new());
                for number in 0..MESSAGES {
                    let uid = service.append(&inbox, "INBOX", message()).await.unwrap().unwrap().uid;
                    appended.push(uid);
                    let flags = if number % 4 == 1 { Flags::DELETED } else { Flags::SEEN };
                    if number % 4 < 2 {
                        service.set_flags(&inbox, mailbox, vec![uid], FlagUpdate::add(flags)).await.unwrap();
                    }
                    if number % 4 == 1 {
                        service.expunge(&inbox, mailbox, Some(vec![uid])).await.unwrap();
                    }
                    if number % 4 == 2 {
                        let copied = service.move_to(&inbox, mailbox, vec![uid], "Archive").await.unwrap();
                        moved.extend(copied.uids.into_iter().map(|(_, there)| there));
                    }
                }
                (appended, moved)
            })
        })
        .into();
    let (mut appended, mut moved) = (Vec::new(), Vec::new());
    for writer in writers {
        let (more, further) = writer.await.unwrap();
        assert!(more.is_sorted_by(|a, b| a < b) && further.is_sorted_by(|a, b| a < b));
        appended.extend(more);
        moved.extend(further);
    }
    is_over.store(true, Ordering::SeqCst);
    for (assigned, count) in [(&appended, 4 * MESSAGES), (&moved, MESSAGES)] {
        assert_eq!((assigned.len(), assigned.iter().collect::<BTreeSet<_>>().len()), (count, count));
    }
    assert_eq!(moved.iter().max().copied(), u32::try_from(MESSAGES).ok(), "without gaps: {moved:?}");
    let whole = Session::open(&two, &inbox).await;
    assert_eq!(whole.messages.len(), 2 * MESSAGES);
    for session in sessions {
        let session = session.await.unwrap();
        assert_eq!((&session.messages, session.seen), (&whole.messages, whole.seen));
    }
    // Each change has its own mod-sequence.
    let changes = 4 * MESSAGES + 2 * MESSAGES + MESSAGES + MESSAGES;
    assert_eq!(whole.seen.modseq, 1 + i64::try_from(changes).unwrap());
    let distinct = |c: &Transaction<'_>| {
        let sql = "SELECT count(*) - count(DISTINCT (mailbox_id, modseq)) FROM message";
        c.query_row(sql, params![], |row| row.get::<i64>(0))
    };
    assert_eq!(one.read::<_, StoreError, _>(distinct).await.unwrap(), 0);
}
