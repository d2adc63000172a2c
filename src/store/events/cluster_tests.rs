//! Events of two daemons on one database.

use super::tests::settled;
use super::*;
use crate::events::Subscription;
use crate::id::TokenId;
use crate::store::engine::postgres::testing::cluster;
use crate::store::testing::{self, held_open, revoked, two_daemons};
use std::collections::BTreeSet;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

const TIMEOUT: Duration = Duration::from_secs(20);

async fn publish(store: &Store, account: &AccountId) -> TokenId {
    let ((token, event), account) = (revoked(), account.clone());
    store.write::<_, StoreError, _>(move |transaction| transaction.publish(&account, event.clone())).await.unwrap();
    token
}

async fn next(subscription: &mut Subscription) -> TokenId {
    match timeout(TIMEOUT, subscription.recv()).await.expect("no event received") {
        Ok(Event::TokenRevoked { token_id }) => token_id,
        other => panic!("{other:?}"),
    }
}

fn tokens(page: EventPage) -> Vec<TokenId> {
    let token = |logged: LoggedEvent| match logged.event {
        Event::TokenRevoked { token_id } => token_id,
        other => panic!("{other:?}"),
    };
    page.events.into_iter().map(token).collect()
}

#[tokio::test]
async fn readers_stop_before_an_open_transaction_and_sessions_do_not() {
    let (_dir, one, two, account) = two_daemons().await;
    let start = two.events_end().await.unwrap();
    let mut heard = [one.events().subscribe(&account, 1).unwrap(), two.events().subscribe(&account, 1).unwrap()];
    let before = publish(&one, &account).await;
    let (open, go, held) = held_open(&one, &account).await;
    let mut later = Vec::new();
    for store in [&one, &two, &one, &two] {
        later.push(publish(store, &account).await);
    }
    // Sessions of both daemons receive all events but the one that is not committed.
    let committed: BTreeSet<TokenId> = later.iter().chain([&before]).cloned().collect();
    for subscription in &mut heard {
        let mut received = BTreeSet::new();
        for _ in 0..committed.len() {
            received.insert(next(subscription).await);
        }
        assert_eq!(received, committed);
    }
    // In both daemons, a reader gets only the events before the open transaction.
    let page = settled(&two, &account, start, 1).await;
    let mut cursor = page.next;
    let mut read = tokens(page);
    for store in [&two, &one, &two] {
        let page = store.events_after(&account, None, cursor, 9).await.unwrap();
        cursor = page.next;
        read.extend(tokens(page));
    }
    assert_eq!(read, std::slice::from_ref(&before));
    go.send(()).unwrap();
    held.await.unwrap();
    for subscription in &mut heard {
        assert_eq!(next(subscription).await, open);
    }
    while read.len() < committed.len() + 1 {
        let page = two.events_after(&account, None, cursor, 2).await.unwrap();
        cursor = page.next;
        read.extend(tokens(page));
    }
    let mut all = vec![before, open];
    all.extend(later);
    // The events are in the order of the transaction IDs.
    assert_eq!(read, all);
    assert!(two.events_after(&account, None, cursor, 9).await.unwrap().events.is_empty());
    assert!(heard.iter_mut().all(|subscription| subscription.try_recv().is_none()), "each event is received once");
}

#[tokio::test]
async fn with_concurrent_writers_sessions_of_both_daemons_and_readers_get_each_event_once() {
    const WRITES: usize = 100;
    let (_dir, one, two, account) = two_daemons().await;
    let mut cursor = one.events_end().await.unwrap();
    let collect = |store: &Store| {
        let mut subscription = store.events().subscribe(&account, 9).unwrap();
        tokio::spawn(async move {
            let mut received = Vec::new();
            while received.len() < 4 * WRITES {
                received.push(next(&mut subscription).await);
            }
            received
        })
    };
    let received = [collect(&one), collect(&two)];
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (store, account) = (if writer % 2 == 0 { one.clone() } else { two.clone() }, account.clone());
            tokio::spawn(async move {
                let mut published = Vec::new();
                for _ in 0..WRITES {
                    published.push(publish(&store, &account).await);
                }
                published
            })
        })
        .collect();
    let mut read = Vec::new();
    while read.len() < 4 * WRITES {
        let page = two.events_after(&account, None, cursor, 7).await.unwrap();
        assert!(!page.has_gap);
        cursor = page.next;
        read.extend(tokens(page));
    }
    let mut published = Vec::new();
    for writer in writers {
        published.extend(writer.await.unwrap());
    }
    published.sort();
    read.sort();
    assert_eq!(read, published);
    for received in received {
        let mut received = received.await.unwrap();
        received.sort();
        assert_eq!(received, published);
    }
}

/// Terminates the connections of both followers, once both are connected.
async fn cut_followers(store: &Store) {
    const CONNECTED: &str = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND (query LIKE 'LISTEN%' OR query LIKE '%pg_visible_in_snapshot%')";
    let count = |expression: &'static str| {
        let sql = format!("SELECT {expression} {CONNECTED}");
        store.write::<_, StoreError, _>(move |transaction| {
            transaction.query_row(&sql, params![], |row| row.get::<i64>(0))
        })
    };
    while count("count(*)").await.unwrap() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    count("count(*) FILTER (WHERE pg_terminate_backend(pid, 5000))").await.unwrap();
}

#[tokio::test]
async fn events_committed_while_the_follower_is_disconnected_are_published_later() {
    let (_dir, one, two, account) = two_daemons().await;
    let mut heard = two.events().subscribe(&account, 1).unwrap();
    for _ in 0..3 {
        cut_followers(&one).await;
        let published = publish(&one, &account).await;
        assert_eq!(next(&mut heard).await, published);
    }
    assert!(heard.try_recv().is_none());
}

#[tokio::test]
async fn an_event_without_a_notification_is_found_by_polling() {
    let (dir, one, two, account) = two_daemons().await;
    let mut heard = two.events().subscribe(&account, 1).unwrap();
    let known = publish(&one, &account).await;
    assert_eq!(next(&mut heard).await, known);
    let token = TokenId::new();
    let insert = format!(
        "INSERT INTO event (position, account_id, kind, data, at)
         SELECT (SELECT max(epoch) FROM event_log) * 281474976710656
             + CAST(CAST(pg_current_xact_id() AS TEXT) AS BIGINT), account_id, kind, replace(data, '{known}', '{token}'), at
         FROM event WHERE account_id = '{account}' AND strpos(data, '{known}') > 0"
    );
    let settings = testing::daemon_config(dir.path(), dir.path()).store;
    let database = settings.url.unwrap().reveal().rsplit_once("dbname=").unwrap().1.to_owned();
    // As if the daemon was killed after its commit, before the notification.
    tokio::task::spawn_blocking(move || cluster().session(&database).command(&insert).unwrap()).await.unwrap();
    assert_eq!(next(&mut heard).await, token);
}

#[tokio::test]
async fn too_many_new_events_are_published_as_a_gap() {
    let (_dir, one, two, account) = two_daemons().await;
    let other = testing::account(&one).await;
    let mut heard = [two.events().subscribe(&account, 1).unwrap(), two.events().of_domains()];
    let flood = move |transaction: &Transaction<'_>| {
        let sql = "INSERT INTO event (position, account_id, kind, data, at)
                   SELECT ?1, ?2, 'inbox_created', '{}', 0 FROM generate_series(1, 10001)";
        transaction.execute(sql, params![transaction.log_position(), other])
    };
    one.write::<_, StoreError, _>(flood).await.unwrap();
    for subscription in &mut heard {
        let missed = timeout(TIMEOUT, subscription.recv()).await.unwrap();
        assert!(matches!(missed, Err(RecvError::Lagged(_))), "{missed:?}");
    }
    let published = publish(&one, &account).await;
    assert_eq!(next(&mut heard[0]).await, published);
}

#[tokio::test]
async fn after_a_restore_from_another_server_new_events_are_after_the_old_ones() {
    let (dir, one, two, account) = two_daemons().await;
    let (start, ours) = (one.events_end().await.unwrap(), account.clone());
    // As restored from another server: events of transaction IDs that this server has not assigned.
    let restored = move |transaction: &Transaction<'_>| {
        for position in [1_i64 << 40, (1 << 40) + 7] {
            let (kind, data) = revoked().1.to_columns().unwrap();
            let sql = "INSERT INTO event (position, account_id, kind, data, at) VALUES (?1, ?2, ?3, ?4, 0)";
            transaction.execute(sql, params![position, ours, kind, data])?;
        }
        Ok::<_, StoreError>(())
    };
    one.write(restored).await.unwrap();
    one.close().await;
    two.close().await;
    drop((one, two));
    let data_dir = dir.path().join("three");
    let config = testing::daemon_config(dir.path(), &data_dir);
    let open = || Store::from_config(&config, crate::resources::disk::FreeDisk::new(&data_dir, 0)).unwrap();
    let store = open();
    let old = settled(&store, &account, start, 2).await;
    assert_eq!((old.events.len(), old.has_gap), (2, false));
    // Cursors from the other server: after the first event, and after the last.
    let (first, last) = (old.events[0].cursor, old.events[1].cursor);
    let published = publish(&store, &account).await;
    assert_eq!(tokens(settled(&store, &account, last, 1).await), std::slice::from_ref(&published));
    assert_eq!(&tokens(settled(&store, &account, first, 2).await)[1..], std::slice::from_ref(&published));
    store.close().await;
    drop(store);
    // The epoch is increased only once.
    let store = open();
    let page = settled(&store, &account, last, 1).await;
    assert_eq!((page.has_gap, tokens(page)), (false, vec![published]));
    let epoch = |transaction: &Transaction<'_>| {
        transaction.query_row("SELECT epoch FROM event_log", params![], |row| row.get::<i64>(0))
    };
    assert_eq!(store.read::<_, StoreError, _>(epoch).await.unwrap(), 1);
}
