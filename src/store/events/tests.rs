//! Reading and expiry of the event log, on either engine.

use super::*;
use crate::id::MailboxId;
use crate::store::mailbox_changes::FlagUpdate;
use crate::store::messages::Flags;
use crate::store::testing::{account, inbox, limits, put, store_with_account};

fn kinds(page: &EventPage) -> Vec<&'static str> {
    page.events.iter().map(|logged| (&logged.event).into()).collect()
}

async fn flag(store: &Store, inbox: &InboxId, mailbox: MailboxId, uid: u32, flags: Flags) {
    store.messages_flag(inbox, mailbox, vec![uid], None, FlagUpdate::add(flags), limits(u64::MAX)).await.unwrap();
}

/// The events after `after`, once there are `count` before the stable end, which open transactions of other tests delay.
pub(super) async fn settled(store: &Store, account: &AccountId, after: Cursor, count: usize) -> EventPage {
    let page = async {
        loop {
            let page = store.events_after(account, None, after, 100).await.unwrap();
            if page.events.len() >= count {
                return page;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), page).await.expect("the events are not before the stable end")
}

#[tokio::test]
async fn a_reader_gets_only_the_events_of_its_account_or_inbox_in_pages() {
    let (_dir, store, ours) = store_with_account().await;
    let theirs = account(&store).await;
    let (ann, ben) = (inbox(&store, &ours, "ann").await, inbox(&store, &ours, "ben").await);
    let eve = inbox(&store, &theirs, "eve").await;
    let start = store.events_end().await.unwrap();
    let first = put(&store, &ann, b"Subject: 1\r\n\r\n").await;
    put(&store, &eve, b"Subject: 2\r\n\r\n").await;
    put(&store, &ben, b"Subject: 3\r\n\r\n").await;
    flag(&store, &ann, first.mailbox, first.uid, Flags::DELETED).await;
    store.messages_expunge(&ann, first.mailbox, vec![first.uid]).await.unwrap();
    assert!(store.inbox_delete(&ours, &ben).await.unwrap());

    let all = settled(&store, &ours, start, 5).await;
    let expected = ["message_added", "message_added", "flags_changed", "messages_removed", "inbox_deleted"];
    assert_eq!((kinds(&all), all.has_gap), (expected.to_vec(), false));
    let Event::MessageAdded { inbox_id, message_id, uid, .. } = &all.events[0].event else { panic!("{all:?}") };
    assert_eq!((inbox_id, message_id, *uid), (&ann, &first.id, first.uid));
    assert!(all.events.windows(2).all(|pair| pair[0].cursor < pair[1].cursor));
    let after_all = store.events_after(&ours, None, all.next, 100).await.unwrap();
    assert_eq!((after_all.events.len(), after_all.has_gap), (0, false));
    assert!(all.next <= after_all.next && after_all.next <= store.events_end().await.unwrap());

    // In pages, and from any event on.
    let (mut paged, mut cursor) = (Vec::new(), start);
    loop {
        let page = store.events_after(&ours, None, cursor, 2).await.unwrap();
        cursor = page.next.to_string().parse().unwrap();
        if page.events.is_empty() {
            break;
        }
        paged.extend(page.events);
    }
    assert_eq!(paged, all.events);
    let rest = store.events_after(&ours, None, all.events[2].cursor, 100).await.unwrap();
    assert_eq!(rest.events, all.events[3..]);

    let of_ann = store.events_after(&ours, Some(&ann), start, 100).await.unwrap();
    assert_eq!(kinds(&of_ann), ["message_added", "flags_changed", "messages_removed"]);
    assert_eq!(kinds(&store.events_after(&theirs, None, start, 100).await.unwrap()), ["message_added"]);
    // The inbox of another account.
    assert_eq!(kinds(&store.events_after(&ours, Some(&eve), start, 100).await.unwrap()), [""; 0]);
}

#[tokio::test]
async fn a_rollback_removes_the_event() {
    let (_dir, store, account) = store_with_account().await;
    let start = store.events_end().await.unwrap();
    let (ours, inbox_id) = (account.clone(), InboxId::new());
    let undone = store.write(move |transaction| {
        transaction.publish(&ours, Event::InboxDeleted { inbox_id: inbox_id.clone() })?;
        Err::<(), _>(StoreError::Closed)
    });
    undone.await.unwrap_err();
    assert!(store.events_after(&account, None, start, 9).await.unwrap().events.is_empty());
}

#[tokio::test]
async fn a_reader_before_removed_events_gets_a_gap() {
    let (_dir, store, account) = store_with_account().await;
    let inbox = inbox(&store, &account, "ann").await;
    let start = store.events_end().await.unwrap();
    for _ in 0..3 {
        put(&store, &inbox, b"Subject: x\r\n\r\n").await;
    }
    let all = settled(&store, &account, start, 3).await;
    let cursor = |at: usize| all.events[at].cursor;
    // The first two are old.
    let (first, second) = (cursor(0), cursor(1));
    let age = move |transaction: &Transaction<'_>| {
        for old in [first, second] {
            let sql = "UPDATE event SET at = at - 100000 WHERE position = ?1 AND number = ?2";
            transaction.execute(sql, params![old.position, old.number])?;
        }
        Ok::<_, StoreError>(())
    };
    store.write(age).await.unwrap();
    let before = Timestamp::from_millis(Timestamp::real().millis() - 50_000);
    assert!(store.events_remove(before).await.unwrap());
    assert!(!store.events_remove(before).await.unwrap());

    for (from, has_gap) in [(start, true), (first, true), (second, false)] {
        let left = store.events_after(&account, None, from, 9).await.unwrap();
        assert_eq!((left.events.as_slice(), left.has_gap), (&all.events[2..], has_gap), "{from}");
    }
    // All events are removed: a reader that has read them gets no gap.
    let at = settled(&store, &account, second, 1).await.next;
    assert!(store.events_remove(Timestamp::real().after(Duration::from_secs(9))).await.unwrap());
    assert!(store.events_after(&account, None, second, 9).await.unwrap().has_gap);
    let none = store.events_after(&account, None, at, 9).await.unwrap();
    assert_eq!((none.events.len(), none.has_gap), (0, false));
    put(&store, &inbox, b"Subject: y\r\n\r\n").await;
    let new = settled(&store, &account, none.next, 1).await;
    assert_eq!((new.events.len(), new.has_gap), (1, false));
    // A cursor that this log has never returned.
    let foreign = Cursor { position: i64::MAX, number: 1 };
    assert!(store.events_after(&account, None, foreign, 9).await.unwrap().has_gap);
}

#[tokio::test]
async fn pages_are_read_by_an_index() {
    let (_dir, store, _) = store_with_account().await;
    if !crate::store::testing::has_one_daemon(&store) {
        return;
    }
    let plan = |sql: &'static str| {
        let plan = move |transaction: &Transaction<'_>| {
            let sql = format!("EXPLAIN QUERY PLAN {sql}");
            transaction.query(&sql, params![], |row| row.get::<String>(3))
        };
        store.read(plan)
    };
    for (sql, index) in [(OF_ACCOUNT, "event_by_account (account_id=?"), (OF_INBOX, "event_by_inbox (inbox_id=?")] {
        let plan = plan(sql).await.unwrap().join("; ");
        for half in ["position=? AND rowid>?)", "position>? AND position<?)"] {
            assert!(plan.contains(&format!("{index} AND {half}")), "{plan}");
        }
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
    for (sql, index) in [
        (LAST_OF_ACCOUNT, "event_by_account (account_id=?"),
        (LAST_OF_INBOX, "event_by_inbox (inbox_id=?"),
        (UNSETTLED, "event_by_account (account_id=? AND position>?)"),
    ] {
        let plan = plan(sql).await.unwrap().join("; ");
        assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{plan}");
    }
}

#[tokio::test]
async fn a_reader_begins_at_a_time() {
    let (_dir, store, account) = store_with_account().await;
    let (ann, ben) = (inbox(&store, &account, "ann").await, inbox(&store, &account, "ben").await);
    for n in 0..5 {
        put(&store, if n == 3 { &ben } else { &ann }, b"Subject: x\r\n\r\n").await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let all = settled(&store, &account, Cursor::default(), 5).await.events;
    for (at, limit, count) in [(all[2].at, 100, 3), (all[0].at, 100, 5), (all[0].at, 2, 2), (all[4].at, 100, 1)] {
        let from = store.events_since(&account, None, at, limit).await.unwrap();
        let page = store.events_after(&account, None, from, 100).await.unwrap();
        assert_eq!((page.events, page.has_gap), (all[5 - count..].to_vec(), false));
    }
    let later = all[4].at.after(Duration::from_millis(1));
    let from = store.events_since(&account, None, later, 100).await.unwrap();
    assert_eq!(store.events_after(&account, None, from, 100).await.unwrap().events, []);
    let of_ben = store.events_since(&account, Some(&ben), all[0].at, 100).await.unwrap();
    assert_eq!(store.events_after(&account, Some(&ben), of_ben, 100).await.unwrap().events, all[3..4]);
}
