//! Who writes while a large mailbox changes, and what a crash at any moment leaves.

use super::*;
use crate::store::Store;
use crate::store::emails::EmailFilter;
use crate::store::mailbox_changes::FlagUpdate;
use crate::store::messages::Flags;
use crate::store::open_mailbox::Seen;
use crate::store::params;
use crate::store::testing::{self, account, inbox, limits, put, store_with_account};
use crate::store::transfer::{Kind, TransferError};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

/// Octets of each message of [`fill`].
const SIZE: i64 = 16 + 256;

/// Puts this many messages of one content into INBOX, every one marked `\Deleted`; answers the mailbox.
async fn fill(store: &Store, inbox: &InboxId, count: u32) -> MailboxId {
    let mailbox = put(store, inbox, b"Subject: x\r\n\r\nbb").await.mailbox;
    testing::fill(store, inbox, mailbox, count - 1, Flags::DELETED).await;
    let deleted = FlagUpdate::add(Flags::DELETED);
    MailboxService::new(store.clone(), limits(u64::MAX)).set_flags(inbox, mailbox, vec![1], deleted).await.unwrap();
    mailbox
}

/// The UIDs that a session sees.
async fn uids(store: &Store, inbox: &InboxId, name: &str) -> Vec<u32> {
    let open = store.mailbox_open(inbox, name, false).await.unwrap();
    open.map_or(Vec::new(), |open| open.messages.iter().map(|marks| marks.uid).collect())
}

/// Octets that the inbox counts, and rows that are hidden.
async fn counts(store: &Store, inbox: &InboxId) -> (i64, i64) {
    let inbox = inbox.clone();
    store
        .read(move |c| {
            let sql = "SELECT size, (SELECT count(*) FROM mailbox WHERE is_hidden = 1) FROM inbox WHERE id = ?1";
            c.query_row(sql, params![inbox], |row| Ok((row.get(0)?, row.get(1)?)))
        })
        .await
        .unwrap()
}

/// The changes of this many messages that are tried.
#[derive(Clone, Copy, Debug)]
enum Change {
    Copy,
    Move,
    Rename,
    Expunge,
    Delete,
    DeleteInbox,
    Flags,
}

impl Change {
    async fn make(self, store: &Store, account: &AccountId, inbox: &InboxId, mailbox: MailboxId) {
        let mailboxes = MailboxService::new(store.clone(), limits(u64::MAX));
        let all = uids(store, inbox, "INBOX").await;
        match self {
            Self::Copy => {
                let copied = mailboxes.copy(inbox, mailbox, all.clone(), "Archive").await.unwrap();
                assert_eq!(copied.uids, all.iter().map(|uid| (*uid, *uid)).collect::<Vec<_>>());
            }
            Self::Move => {
                let moved = mailboxes.move_to(inbox, mailbox, all.clone(), "Archive").await.unwrap();
                assert_eq!(moved.uids, all.iter().map(|uid| (*uid, *uid)).collect::<Vec<_>>());
            }
            Self::Rename => mailboxes.rename(inbox, "INBOX", "Old").await.unwrap(),
            Self::Expunge => {
                mailboxes.expunge(inbox, mailbox, None).await.unwrap();
                assert!(uids(store, inbox, "INBOX").await.is_empty());
            }
            Self::Delete => {
                mailboxes.move_to(inbox, mailbox, all, "Archive").await.unwrap();
                mailboxes.delete(inbox, "Archive").await.unwrap();
            }
            Self::DeleteInbox => assert!(mailboxes.delete_inbox(account, inbox).await.unwrap()),
            Self::Flags => {
                for batch in all.chunks(BATCH) {
                    mailboxes.set_flags(inbox, mailbox, batch.to_vec(), FlagUpdate::add(Flags::SEEN)).await.unwrap();
                }
            }
        }
        // What goes on after the answer is part of it.
        mailboxes.finish_deletion(inbox).await.unwrap();
        if matches!(self, Self::DeleteInbox) {
            mailboxes.remove_inbox(inbox).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_write_between_the_batches_of_every_change_of_a_large_mailbox() {
    const MESSAGES: u32 = 20_000;
    for change in [
        Change::Copy,
        Change::Move,
        Change::Rename,
        Change::Expunge,
        Change::Delete,
        Change::DeleteInbox,
        Change::Flags,
    ] {
        let (_dir, store, ours) = store_with_account().await;
        let one = inbox(&store, &ours, "one").await;
        let mailbox = fill(&store, &one, MESSAGES).await;
        let theirs = account(&store).await;
        let other = inbox(&store, &theirs, "other").await;
        let done = Arc::new(AtomicBool::new(false));
        let neighbour = tokio::spawn({
            let (store, done) = (store.clone(), Arc::clone(&done));
            async move {
                let mut stored = 0_i64;
                while !done.load(Ordering::Relaxed) {
                    put(&store, &other, b"Subject: y\r\n\r\n").await;
                    stored += 1;
                }
                stored
            }
        });
        let began = std::time::Instant::now();
        change.make(&store, &ours, &one, mailbox).await;
        println!("{change:?} of {MESSAGES} messages: {:?}", began.elapsed());
        done.store(true, Ordering::Relaxed);
        let (stored, batches) = (neighbour.await.unwrap(), i64::from(MESSAGES) / BATCH as i64);
        assert!(stored >= batches / 2, "{change:?}: {stored} messages of another account in {batches} batches");
    }
}

/// A copy of the database as it is on disk at this moment: what a `kill -9` leaves.
async fn snapshot(from: &Path, to: &Path) {
    let (from, to) = (from.join("inboxlayer.db"), to.join("inboxlayer.db"));
    let copy = move || {
        let connection = rusqlite::Connection::open(from).unwrap();
        connection.execute("VACUUM INTO ?1", [to.to_str().unwrap()]).unwrap();
    };
    tokio::task::spawn_blocking(copy).await.unwrap();
}

/// Snapshots of the store while a change is made.
async fn crashes(change: Change) -> (Vec<TempDir>, InboxId, Vec<u32>) {
    let (dir, store, account) = store_with_account().await;
    let one = inbox(&store, &account, "one").await;
    let mailbox = fill(&store, &one, 3000).await;
    let before = uids(&store, &one, "INBOX").await;
    let running = {
        let (store, one) = (store.clone(), one.clone());
        tokio::spawn(async move { change.make(&store, &account, &one, mailbox).await })
    };
    let mut snapshots = Vec::new();
    while !running.is_finished() {
        let copy = tempfile::tempdir().unwrap();
        snapshot(dir.path(), copy.path()).await;
        snapshots.push(copy);
    }
    running.await.unwrap();
    (snapshots, one, before)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_leaves_all_of_a_copy_or_move_or_none_of_it() {
    testing::sqlite_only("a crash is a copy of the file");
    for (change, target) in [(Change::Copy, "Archive"), (Change::Move, "Archive"), (Change::Rename, "Old")] {
        let (snapshots, one, before) = crashes(change).await;
        let (mut unfinished, size) = (0, 3000 * SIZE);
        for snapshot in &snapshots {
            let store = Store::open(snapshot.path()).unwrap();
            unfinished += i64::from(counts(&store, &one).await.1 > 0);
            let found = (uids(&store, &one, "INBOX").await, uids(&store, &one, target).await);
            let (is_here, is_there) = (found.0 == before, found.1 == before);
            let expected = match change {
                Change::Copy => is_here && (is_there || found.1.is_empty()),
                _ => (is_here && found.1.is_empty()) || (is_there && found.0.is_empty()),
            };
            assert!(expected, "{change:?}: {} here, {} there", found.0.len(), found.1.len());
            MailboxService::new(store.clone(), limits(u64::MAX)).finish_long_changes().await.unwrap();
            assert_eq!((uids(&store, &one, "INBOX").await, uids(&store, &one, target).await), found, "{change:?}");
            let copies = if matches!(change, Change::Copy) && is_there { 2 } else { 1 };
            assert_eq!(counts(&store, &one).await, (copies * size, 0), "{change:?}");
            store.close().await;
        }
        assert!(unfinished > 0, "{change:?}: no snapshot between two batches of {}", snapshots.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_in_an_expunge_leaves_the_messages_after_those_removed() {
    testing::sqlite_only("a crash is a copy of the file");
    let (snapshots, one, before) = crashes(Change::Expunge).await;
    let mut unfinished = 0;
    for snapshot in &snapshots {
        let store = Store::open(snapshot.path()).unwrap();
        let left = uids(&store, &one, "INBOX").await;
        assert!(before.ends_with(&left), "{} left", left.len());
        unfinished += i64::from(!left.is_empty() && left.len() < before.len());
        assert_eq!(counts(&store, &one).await, (SIZE * left.len() as i64, 0));
    }
    assert!(unfinished > 0, "no snapshot between two batches of {}", snapshots.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_in_a_deletion_leaves_nothing_that_anybody_sees() {
    testing::sqlite_only("a crash is a copy of the file");
    for change in [Change::Delete, Change::DeleteInbox] {
        let (snapshots, one, _) = crashes(change).await;
        let mut unfinished = 0;
        for snapshot in &snapshots {
            let store = Store::open(snapshot.path()).unwrap();
            let is_gone = store.inbox_of_any_account(&one).await.unwrap().is_none();
            if is_gone {
                assert!(store.emails(vec![one.clone()], EmailFilter::default(), 10).await.unwrap().rows.is_empty());
                assert!(store.mailboxes(&one).await.unwrap().is_empty());
            }
            let listed = uids(&store, &one, "Archive").await.len() + uids(&store, &one, "INBOX").await.len();
            assert!(listed == 3000 || listed == 0, "{change:?}: {listed}");
            MailboxService::new(store.clone(), limits(u64::MAX)).finish_long_changes().await.unwrap();
            let of = one.clone();
            let left: (i64, bool) = store
                .read(move |c| {
                    let sql = "SELECT (SELECT count(*) FROM message), EXISTS (SELECT 1 FROM inbox WHERE id = ?1)";
                    c.query_row(sql, params![of], |row| Ok((row.get(0)?, row.get(1)?)))
                })
                .await
                .unwrap();
            assert_eq!(left, (listed as i64, !is_gone), "{change:?}");
            unfinished += i64::from(listed == 0);
        }
        assert!(unfinished > 0, "{change:?}: no snapshot after the deletion");
    }
}

#[tokio::test]
async fn a_session_hears_of_a_large_move_as_of_a_small_one() {
    let (_dir, store, account) = store_with_account().await;
    let one = inbox(&store, &account, "one").await;
    let (mailbox, mailboxes) = (fill(&store, &one, 1200).await, MailboxService::new(store.clone(), limits(u64::MAX)));
    let archive = store.mailbox_open(&one, "Archive", false).await.unwrap().unwrap();
    let here = store.mailbox_open(&one, "INBOX", false).await.unwrap().unwrap().seen;
    let moved: Vec<u32> = (100..=900).collect();
    let done = mailboxes.move_to(&one, mailbox, moved.clone(), "Archive").await.unwrap();
    assert_eq!(done.uids, moved.iter().map(|uid| (*uid, uid - 99)).collect::<Vec<_>>());
    let gone = store.mailbox_changes(&one, mailbox, here).await.unwrap().unwrap();
    assert!(gone.is_whole && gone.changed.len() == 399 && gone.changed.iter().all(|m| !moved.contains(&m.uid)));
    let there = store.mailbox_changes(&one, archive.id, archive.seen).await.unwrap().unwrap();
    assert_eq!(there.changed.iter().map(|m| m.uid).collect::<Vec<_>>(), (1..=801).collect::<Vec<_>>());
    // Arrivals, flags and a second move find them, whether they have been moved over or not.
    assert_eq!(mailboxes.set_flags(&one, archive.id, vec![801], FlagUpdate::add(Flags::SEEN)).await.unwrap().len(), 1);
    let again = mailboxes.move_to(&one, archive.id, vec![1, 801], "INBOX").await.unwrap();
    assert_eq!(again.uids, [(1, 1201), (801, 1202)]);
    mailboxes.finish_deletion(&one).await.unwrap();
    assert_eq!(uids(&store, &one, "Archive").await, (2..=800).collect::<Vec<_>>());
    let last = store.mailbox_changes(&one, archive.id, there.seen).await.unwrap().unwrap();
    assert_eq!((last.expunged.as_slice(), last.changed.len()), (&[1, 801][..], 0));
    assert_eq!(store.mailbox_status(&one, "Archive").await.unwrap().unwrap().messages, 799);
    assert_ne!(last.seen, Seen::default());
}

#[tokio::test]
async fn a_large_copy_has_its_room_before_the_first_batch_or_leaves_nothing() {
    let (_dir, store, account) = store_with_account().await;
    let one = inbox(&store, &account, "one").await;
    let mailbox = fill(&store, &one, 2000).await;
    let all = uids(&store, &one, "INBOX").await;
    let limit = u64::try_from(2 * 2000 * SIZE).unwrap();
    let full = MailboxService::new(store.clone(), limits(limit - 1)).copy(&one, mailbox, all.clone(), "Archive").await;
    assert!(matches!(full, Err(TransferError::Full)));
    let mailboxes = MailboxService::new(store.clone(), limits(limit));
    let missing = mailboxes.copy(&one, mailbox, all.clone(), "Nowhere").await;
    assert!(matches!(missing, Err(TransferError::NoSuchMailbox)));
    assert_eq!(counts(&store, &one).await, (2000 * SIZE, 0));
    // While it runs, nothing else takes its room.
    let copy = mailboxes.copy(&one, mailbox, all, "Archive");
    let neighbour = async {
        let mut had_room = 0;
        while counts(&store, &one).await.0 == 2000 * SIZE {}
        while counts(&store, &one).await.1 > 0 {
            had_room += i32::from(store.inbox_allows(&one, 1, limits(limit).quota).await.unwrap());
        }
        had_room
    };
    let (copied, had_room) = tokio::join!(copy, neighbour);
    assert_eq!((copied.unwrap().uids.len(), had_room), (2000, 0));
    mailboxes.finish_deletion(&one).await.unwrap();
    assert_eq!(counts(&store, &one).await, (2 * 2000 * SIZE, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_daemon_leaves_a_change_that_is_under_way_alone() {
    for change in [Change::Copy, Change::Move, Change::Rename, Change::Delete, Change::DeleteInbox] {
        let (_dir, store, account) = store_with_account().await;
        let one = inbox(&store, &account, "one").await;
        let mailbox = fill(&store, &one, 2000).await;
        let before = uids(&store, &one, "INBOX").await;
        // Its own locks are those of another process.
        let (other, one_of_other) = (MailboxService::new(store.clone(), limits(u64::MAX)), one.clone());
        let finishing = tokio::spawn(async move {
            loop {
                other.finish_long_changes().await.unwrap();
                other.finish_deletion(&one_of_other).await.unwrap();
            }
        });
        change.make(&store, &account, &one, mailbox).await;
        finishing.abort();
        let found =
            [uids(&store, &one, "INBOX").await, uids(&store, &one, "Archive").await, uids(&store, &one, "Old").await];
        let expected = match change {
            Change::Copy => [before.clone(), before, vec![]],
            Change::Move => [vec![], before, vec![]],
            Change::Rename => [vec![], vec![], before],
            _ => [vec![], vec![], vec![]],
        };
        assert_eq!(found, expected, "{change:?}");
    }
}

#[tokio::test]
async fn a_change_whose_lease_has_ended_is_finished_by_another_daemon_and_cannot_be_published() {
    let (_dir, store, account) = store_with_account().await;
    let one = inbox(&store, &account, "one").await;
    let mailbox = fill(&store, &one, 20).await;
    let (here, other) =
        (MailboxService::new(store.clone(), limits(u64::MAX)), MailboxService::new(store.clone(), limits(u64::MAX)));
    let before = uids(&store, &one, "INBOX").await;
    let transfer = here.to(&one, mailbox, "Archive", Kind::Move);
    let change = here.begin_long_change(&one).await.unwrap();
    let hidden = store.transfer_begin(&transfer, &before).await.unwrap();
    let gathered = store.transfer_gather(transfer.clone(), hidden, 0, before.clone()).await.unwrap();
    other.finish_long_changes().await.unwrap();
    assert_eq!(counts(&store, &one).await.1, 1, "it is under way");

    // As if the daemon had been suspended for longer than the lease.
    store.write(|c| c.execute("UPDATE long_change SET lease_until = 1", params![])).await.unwrap();
    let taken = other.begin_long_change(&one).await.unwrap();
    let late = store.transfer_publish(transfer, hidden, gathered, change.owner().clone()).await.unwrap_err();
    assert!(late.to_string().contains("taken over by another daemon"), "{late}");
    drop(taken);
    // The lease of a daemon that is gone blocks no other for ever.
    drop(change);
    while counts(&store, &one).await.1 > 0 {
        other.finish_long_changes().await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!((uids(&store, &one, "INBOX").await, uids(&store, &one, "Archive").await), (before, vec![]));
}

#[tokio::test]
async fn a_daemon_that_starts_again_ends_the_leases_it_had() {
    let (dir, store, account) = store_with_account().await;
    let one = inbox(&store, &account, "one").await;
    let now = Timestamp::real();
    let lease = |store: &Store| Lease { runner: store.lease_owner(), until: now.after(LEASE) };
    assert!(store.long_change_begin(&one, lease(&store), now).await.unwrap());
    assert!(!store.long_change_begin(&one, lease(&store), now).await.unwrap());
    store.close().await;
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert!(store.long_change_begin(&one, lease(&store), now).await.unwrap());
}
