//! Quotas: counts, limits, and concurrent writes.

use super::*;
use crate::address::{Address, DomainName, ReversePath};
use crate::clock::Timestamp;
use crate::envelope::Recipients;
use crate::id::{AccountId, MailboxId};
use crate::mailbox::MailboxService;
use crate::store::append::Append;
use crate::store::deliver::LocalDelivery;
use crate::store::keywords::{FlagError, InboxLimits};
use crate::store::mailbox_changes::{FlagChange, FlagUpdate};
use crate::store::message_rows::Delivered;
use crate::store::messages::Flags;
use crate::store::routing::Route;
use crate::store::testing::{inbox, limits, put, store_with_account};
use crate::store::transfer::TransferError;
use bytes::Bytes;

fn service(store: &Store, limits: InboxLimits) -> MailboxService {
    MailboxService::new(store.clone(), limits)
}

const HEADER: &[u8] = b"Subject: x\r\n\r\n";

async fn deliver(store: &Store, to: &[&str], body: usize, limit: u64) -> Result<Vec<Delivered>, DeliverError> {
    let platform = DomainName::parse("inboxlayer.dev").unwrap();
    let mut recipients = Vec::new();
    for name in to {
        let address = Address::parse(&format!("{name}@inboxlayer.dev")).unwrap();
        match store.route(&platform, &address, Timestamp::real()).await.unwrap() {
            Route::Inbox(recipient) => recipients.push(recipient),
            other => panic!("{other:?}"),
        }
    }
    let delivery = LocalDelivery {
        mail_from: ReversePath::Null,
        recipients: Recipients::new(recipients).unwrap(),
        header: HEADER.to_vec(),
        received_at: Timestamp::real(),
    };
    store.message_deliver(delivery, vec![b'x'; body].into(), limits(limit).quota).await
}

async fn append(store: &Store, inbox: &InboxId, mailbox: &str, octets: usize, limit: u64) -> Result<(), FlagError> {
    let append = Append {
        flags: Flags::default(),
        keywords: String::new(),
        internal_date: Timestamp::real(),
        header: Bytes::new(),
        body: vec![b'x'; octets].into(),
    };
    service(store, limits(limit)).append(inbox, mailbox, append).await.map(|done| assert!(done.is_some()))
}

/// The size of the inbox's messages. Asserts that the maintained count matches the rows.
async fn size(store: &Store, inbox: &InboxId) -> u64 {
    let inbox = inbox.clone();
    let (count, rows, sum): (i64, i64, i64) = store
        .read(move |c| {
            let sql = "SELECT size, messages, (SELECT coalesce(sum(length(c.header) + n.size + octet_length(m.keywords)), 0) FROM message m
                           JOIN content c ON c.id = m.content_id JOIN body_name n ON n.body_id = c.body_id WHERE m.inbox_id = i.id)
                       FROM inbox i WHERE id = ?1";
            c.query_row(sql, params![inbox], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        })
        .await
        .unwrap();
    assert_eq!(count.unsigned_abs(), sum.unsigned_abs() + rows.unsigned_abs() * ROW);
    sum.unsigned_abs()
}

async fn mailbox(store: &Store, inbox: &InboxId, name: &str) -> MailboxId {
    store.mailbox_open(inbox, name, false).await.unwrap().unwrap().id
}

#[tokio::test]
async fn the_count_is_correct_after_append_copy_move_expunge_and_delete() {
    let (_dir, store, account) = store_with_account().await;
    let one = inbox(&store, &account, "one").await;
    assert_eq!(size(&store, &one).await, 0);
    let raw = [HEADER, &[b'x'; 86]].concat();
    for _ in 0..3 {
        put(&store, &one, &raw).await;
    }
    append(&store, &one, "Junk", 50, u64::MAX).await.unwrap();
    assert_eq!(size(&store, &one).await, 350);
    let usage = service(&store, limits(9000)).usage(&one).await.unwrap().unwrap();
    assert_eq!((usage.used, usage.limit), (Quota { octets: 350 + 4 * ROW, messages: 4 }, limits(9000).quota));
    assert_eq!(service(&store, limits(9000)).usage(&InboxId::new()).await.unwrap(), None);
    let (from, junk) = (mailbox(&store, &one, "INBOX").await, mailbox(&store, &one, "Junk").await);
    service(&store, limits(u64::MAX)).copy(&one, from, vec![1, 2], "Archive").await.unwrap();
    assert_eq!(size(&store, &one).await, 550);
    service(&store, limits(u64::MAX)).move_to(&one, from, vec![1, 2, 9], "Trash").await.unwrap();
    assert_eq!(size(&store, &one).await, 550);
    service(&store, limits(u64::MAX)).set_flags(&one, junk, vec![1], FlagUpdate::add(Flags::DELETED)).await.unwrap();
    service(&store, limits(u64::MAX)).expunge(&one, junk, None).await.unwrap();
    assert_eq!(size(&store, &one).await, 500);
    service(&store, limits(u64::MAX)).delete(&one, "Trash").await.unwrap();
    service(&store, limits(u64::MAX)).finish_deletion(&one).await.unwrap();
    assert_eq!(size(&store, &one).await, 300);
    service(&store, limits(u64::MAX)).rename(&one, "INBOX", "Old").await.unwrap();
    assert_eq!(size(&store, &one).await, 300);
    // Deleting the inbox removes its messages and bodies.
    assert!(store.inbox_delete(&account, &one).await.unwrap());
    service(&store, limits(u64::MAX)).remove_inbox(&one).await.unwrap();
    while store.bodies_sweep(std::time::Duration::ZERO).await.unwrap() {}
    let left: i64 = store.read(|c| c.query_row("SELECT count(*) FROM body", params![], |r| r.get(0))).await.unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_message_that_exceeds_one_quota_is_stored_for_no_recipient() {
    let (_dir, store, account) = store_with_account().await;
    let (one, two) = (inbox(&store, &account, "one").await, inbox(&store, &account, "two").await);
    let octets = HEADER.len() as u64 + 100;
    let whole = octets + ROW;
    deliver(&store, &["one"], 100, whole).await.unwrap();
    let allows = async |octets: u64, limit: u64| store.inbox_allows(&one, octets, limits(limit).quota).await.unwrap();
    assert!(!allows(0, whole).await && allows(1, whole + 1 + ROW).await && !allows(2, whole + 1 + ROW).await);
    match deliver(&store, &["two", "one", "one"], 1, whole).await {
        Err(DeliverError::Full(inboxes)) => assert_eq!(inboxes, std::slice::from_ref(&one)),
        other => panic!("{other:?}"),
    }
    assert_eq!((size(&store, &one).await, size(&store, &two).await), (octets, 0));
    // Two addresses of an inbox get one copy.
    deliver(&store, &["two", "two"], 100, whole).await.unwrap();
    assert_eq!(size(&store, &two).await, octets);
    assert!(matches!(append(&store, &one, "INBOX", 1, whole).await, Err(FlagError::Full)));
    let from = mailbox(&store, &one, "INBOX").await;
    let copy = service(&store, limits(2 * whole - 1)).copy(&one, from, vec![1], "Junk").await;
    assert!(matches!(copy, Err(TransferError::Full)));
    service(&store, limits(u64::MAX)).move_to(&one, from, vec![1], "Junk").await.unwrap();
    assert_eq!(size(&store, &one).await, octets);
}

#[tokio::test]
async fn concurrent_writes_do_not_exceed_the_quota() {
    let (_dir, store, account) = store_with_account().await;
    let one = inbox(&store, &account, "one").await;
    let limit = 5 * (HEADER.len() as u64 + 86 + ROW) + 99;
    let tries = (0..40).map(|n| {
        let (store, one) = (store.clone(), one.clone());
        tokio::spawn(async move {
            match n % 2 {
                0 => deliver(&store, &["one"], 86, limit).await.is_ok(),
                _ => append(&store, &one, "INBOX", 100, limit).await.is_ok(),
            }
        })
    });
    let mut stored = 0;
    for one in tries.collect::<Vec<_>>() {
        stored += u64::from(one.await.unwrap());
    }
    assert_eq!((stored, size(&store, &one).await), (5, 500));
}

#[tokio::test]
async fn deleting_one_inbox_keeps_the_count_of_another_with_the_same_message() {
    let (_dir, store, account): (_, _, AccountId) = store_with_account().await;
    let (ours, theirs) = (inbox(&store, &account, "ours").await, inbox(&store, &account, "theirs").await);
    deliver(&store, &["ours", "theirs"], 86, 100 + ROW).await.unwrap();
    assert!(store.inbox_delete(&account, &ours).await.unwrap());
    assert_eq!(size(&store, &theirs).await, 100);
}

#[tokio::test]
async fn messages_and_keywords_are_limited_and_counted() {
    let (_dir, store, account) = store_with_account().await;
    let one = inbox(&store, &account, "one").await;
    let mut few = limits(u64::MAX);
    few.quota.messages = 3;
    few.keywords.per_mailbox = 3;
    few.keywords.per_message = 2;
    let mailbox = put(&store, &one, HEADER).await.mailbox;
    service(&store, few).copy(&one, mailbox, vec![1], "INBOX").await.unwrap();
    let two = service(&store, few).copy(&one, mailbox, vec![1, 2], "Archive").await;
    assert!(matches!(two, Err(TransferError::Full)));
    service(&store, few).copy(&one, mailbox, vec![1], "Archive").await.unwrap();
    assert!(!store.inbox_allows(&one, 0, few.quota).await.unwrap());

    let stores = async |uid: u32, change: FlagChange, keywords: &[&str], limits: InboxLimits| {
        let keywords = keywords.iter().map(|keyword| (*keyword).to_owned()).collect();
        service(&store, limits)
            .set_flags(&one, mailbox, vec![uid], FlagUpdate { change, flags: Flags::default(), keywords })
            .await
    };
    let count = async || {
        let of = one.clone();
        let sql = "SELECT size FROM inbox WHERE id = ?1";
        store.read(move |c| c.query_row(sql, params![of], |row| row.get::<i64>(0))).await.unwrap()
    };
    let bare = count().await;
    stores(1, FlagChange::Add, &["one", "two"], few).await.unwrap();
    assert_eq!(count().await, bare + 7);
    assert!(matches!(stores(1, FlagChange::Add, &["three"], few).await, Err(FlagError::TooManyOfMessage(2))));
    stores(2, FlagChange::Add, &["TWO", "three"], few).await.unwrap();
    assert!(matches!(stores(2, FlagChange::Replace, &["four"], few).await, Err(FlagError::TooManyOfMailbox(3))));
    assert_eq!(count().await, bare + 7 + 9);
    // A keyword that no message has any more does not count.
    stores(2, FlagChange::Remove, &["THREE"], few).await.unwrap();
    stores(2, FlagChange::Add, &["four"], few).await.unwrap();
    // COPY and MOVE are limited too.
    few.keywords.per_mailbox = 2;
    few.quota.messages = 9;
    let mut gone = Vec::new();
    gone.push(service(&store, few).copy(&one, mailbox, vec![1, 2], "Archive").await);
    gone.push(service(&store, few).move_to(&one, mailbox, vec![1, 2], "Archive").await);
    assert!(gone.iter().all(|gone| matches!(gone, Err(TransferError::TooManyKeywords(2)))), "{gone:?}");
    service(&store, few).move_to(&one, mailbox, vec![1], "Archive").await.unwrap();
    // In a full inbox, flags can be set and keywords cannot.
    let full = limits(1);
    assert!(matches!(stores(2, FlagChange::Add, &["five"], full).await, Err(FlagError::Full)));
    stores(2, FlagChange::Remove, &["TWO"], full).await.unwrap();
    service(&store, full).set_flags(&one, mailbox, vec![2], FlagUpdate::add(Flags::DELETED)).await.unwrap();
    service(&store, limits(u64::MAX)).expunge(&one, mailbox, None).await.unwrap();
    let left: i64 =
        store.read(|c| c.query_row("SELECT count(*) FROM mailbox_keyword", params![], |row| row.get(0))).await.unwrap();
    assert_eq!(left, 2);
    size(&store, &one).await;
}
