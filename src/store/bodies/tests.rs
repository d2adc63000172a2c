//! Bodies in the database and in object stores: deduplication, ranges, and sweeps concurrent with writers.

use super::format::FRAME;
use crate::address::{Address, DomainName, ReversePath};
use crate::clock::Timestamp;
use crate::envelope::Recipients;
use crate::id::{BodyId, ContentId, InboxId};
use crate::store::deliver::LocalDelivery;
use crate::store::engine::params;
use crate::store::message_rows::Delivered;
use crate::store::quota::{DeliverError, Quota};
use crate::store::routing::Route;
use crate::store::testing::{account, inbox, store_with_account};
use crate::store::{Store, StoreError};
use bytes::Bytes;
use std::time::Duration;

const ROOM: Quota = Quota { octets: 1 << 40, messages: 1 << 30 };
const NO_GRACE: Duration = Duration::ZERO;

async fn deliver(store: &Store, name: &str, body: &Bytes) -> Result<Delivered, DeliverError> {
    let platform = DomainName::parse("inboxlayer.dev").unwrap();
    let address = Address::parse(&format!("{name}@inboxlayer.dev")).unwrap();
    let Route::Inbox(recipient) = store.route(&platform, &address, Timestamp::real()).await.unwrap() else {
        panic!("no inbox {name}")
    };
    let delivery = LocalDelivery {
        mail_from: ReversePath::Null,
        recipients: Recipients::new(vec![recipient]).unwrap(),
        header: format!("Subject: {name}\r\n\r\n").into_bytes(),
        received_at: Timestamp::real(),
    };
    Ok(store.message_deliver(delivery, body.clone(), ROOM).await?.remove(0))
}

async fn count(store: &Store, table: &'static str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    store.read(move |t| t.query_row(&sql, &[], |row| row.get(0))).await.unwrap()
}

async fn remove(store: &Store, message: &Delivered) {
    let (mailbox, uid) = (message.mailbox, message.uid);
    let delete = move |t: &crate::store::Transaction<'_>| {
        let sql = "DELETE FROM message WHERE mailbox_id = ?1 AND uid = ?2 RETURNING content_id";
        let content: Option<ContentId> = t.query_opt(sql, params![mailbox, uid], |row| row.get(0))?;
        crate::store::content::remove_unreferenced(t, content)
    };
    store.write(delete).await.unwrap();
}

async fn body_of(store: &Store, message: &Delivered) -> Result<Vec<u8>, StoreError> {
    Ok(store.message_raw(&message.inbox, &message.id).await?.expect("the message exists").body)
}

async fn sweep(store: &Store) {
    while store.bodies_sweep(NO_GRACE).await.unwrap() {}
}

fn noise(size: usize, seed: u32) -> Bytes {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..size).map(next).collect()
}

/// Two inboxes of two accounts.
async fn two() -> (tempfile::TempDir, Store, InboxId, InboxId) {
    let (dir, store, first) = store_with_account().await;
    let second = account(&store).await;
    let (one, two) = (inbox(&store, &first, "one").await, inbox(&store, &second, "two").await);
    (dir, store, one, two)
}

#[tokio::test]
async fn accounts_share_the_row_of_a_body_and_each_is_charged_its_full_size() {
    let (_dir, store, one, two) = two().await;
    for body in
        [Bytes::from_static(b"hello\r\n"), Bytes::from("the same text\r\n".repeat(60_000)), noise(3 * FRAME + 9, 1)]
    {
        let before = (count(&store, "body").await, count(&store, "content").await);
        let first = deliver(&store, "one", &body).await.unwrap();
        let second = deliver(&store, "two", &body).await.unwrap();
        assert_eq!((count(&store, "body").await, count(&store, "content").await), (before.0 + 1, before.1 + 2));
        for message in [&first, &second] {
            assert_eq!(body_of(&store, message).await.unwrap(), body);
            let range = body.len() / 2..body.len() / 2 + 100;
            let read =
                store.body_range(&message.inbox, message.mailbox, message.uid, range.clone()).await.unwrap().unwrap();
            assert_eq!(read, body[range.start..range.end.min(body.len())]);
        }
    }
    let size = |inbox: InboxId| {
        store
            .read(move |t| t.query_row("SELECT size FROM inbox WHERE id = ?1", params![inbox], |row| row.get::<i64>(0)))
    };
    assert_eq!(size(one).await.unwrap(), size(two).await.unwrap());
}

#[tokio::test]
async fn text_is_stored_compressed() {
    let (_dir, store, ..) = two().await;
    let body = Bytes::from("All work and no play makes Jack a dull boy.\r\n".repeat(1000));
    deliver(&store, "one", &body).await.unwrap();
    let stored: i64 =
        store.read(|t| t.query_row("SELECT length(data) FROM body", &[], |row| row.get(0))).await.unwrap();
    assert!(stored < 1000, "{stored} octets for {}", body.len());
}

#[tokio::test]
async fn a_body_is_deleted_after_its_last_message_unless_it_is_stored_again() {
    let (_dir, store, ..) = two().await;
    let body = noise(5000, 3);
    let (first, second) = (deliver(&store, "one", &body).await.unwrap(), deliver(&store, "two", &body).await.unwrap());
    remove(&store, &first).await;
    sweep(&store).await;
    assert_eq!(body_of(&store, &second).await.unwrap(), body);

    // Released, and referenced again before the sweep.
    remove(&store, &second).await;
    let third = deliver(&store, "one", &body).await.unwrap();
    sweep(&store).await;
    assert_eq!(body_of(&store, &third).await.unwrap(), body);
    assert_eq!(count(&store, "body_released").await, 0);

    remove(&store, &third).await;
    assert_eq!(count(&store, "body").await, 1, "deleting a message does not reveal whether others have the body");
    sweep(&store).await;
    assert_eq!(
        (count(&store, "body").await, count(&store, "body_name").await, count(&store, "body_released").await),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn a_damaged_row_is_an_error_until_the_body_is_stored_again() {
    let (_dir, store, ..) = two().await;
    for size in [300, 5 * FRAME] {
        let body = noise(size, 7);
        let message = deliver(&store, "one", &body).await.unwrap();
        let flip = |t: &crate::store::Transaction<'_>| {
            let (id, data): (BodyId, Vec<u8>) =
                t.query_row("SELECT id, data FROM body ORDER BY id DESC LIMIT 1", &[], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })?;
            let mut data = data;
            data[100] ^= 1;
            t.execute("UPDATE body SET data = ?2 WHERE id = ?1", params![id, data]).map(|_| ())
        };
        store.write(flip).await.unwrap();
        let hash = super::format::hash_of(&body).to_string();
        let refused = body_of(&store, &message).await.unwrap_err().to_string();
        assert!(refused.contains(&hash), "{refused}");
        let depth = crate::store::open_mailbox::Depth::Body;
        let fetched = store.messages_fetch(&message.inbox, message.mailbox, vec![message.uid], depth, 1000).await;
        let is_damaged = fetched.unwrap().0[0].is_damaged;
        assert_eq!(is_damaged, size == 300, "a large body is not read with its message");
        let range = |range| store.body_range(&message.inbox, message.mailbox, message.uid, range);
        assert!(range(0..10).await.is_err());
        if size > FRAME {
            assert_eq!(range(FRAME..FRAME + 10).await.unwrap().unwrap(), body[FRAME..FRAME + 10]);
        }
        // Storing the body again repairs it.
        let again = deliver(&store, "two", &body).await.unwrap();
        assert_eq!(body_of(&store, &again).await.unwrap(), body);
        assert_eq!(body_of(&store, &message).await.unwrap(), body);
    }
}

/// Removes the hash of the last body, as in a store of an older version.
async fn remove_hash(store: &Store, body: &Bytes) {
    let body = body.to_vec();
    let remove = move |t: &crate::store::Transaction<'_>| {
        let id: BodyId = t.query_row("SELECT max(id) FROM body", &[], |row| row.get(0))?;
        t.execute("UPDATE body SET data = ?2 WHERE id = ?1", params![id, body])?;
        t.execute("DELETE FROM body_name WHERE body_id = ?1", params![id])?;
        t.execute("INSERT INTO body_unnamed (body_id) VALUES (?1)", params![id]).map(|_| ())
    };
    store.write(remove).await.unwrap();
}

#[tokio::test]
async fn bodies_without_a_hash_are_readable_and_get_a_hash() {
    let (_dir, store, ..) = two().await;
    let bodies = [
        noise(100, 1),
        noise(3 * FRAME, 2),
        Bytes::from("text\r\n".repeat(1000)),
        Bytes::from("text\r\n".repeat(1000)),
        Bytes::new(),
    ];
    let mut messages = Vec::new();
    for body in &bodies {
        messages.push(deliver(&store, "one", body).await.unwrap());
        remove_hash(&store, body).await;
    }
    let gone = deliver(&store, "one", &noise(50, 9)).await.unwrap();
    remove_hash(&store, &noise(50, 9)).await;
    loop {
        for (message, body) in messages.iter().zip(&bodies) {
            assert_eq!(body_of(&store, message).await.unwrap(), *body);
        }
        if count(&store, "body_unnamed").await == 1 {
            remove(&store, &gone).await;
            sweep(&store).await;
        }
        if !store.body_hash_oldest().await.unwrap() {
            break;
        }
    }
    sweep(&store).await;
    // Two were equal.
    assert_eq!((count(&store, "body").await, count(&store, "body_name").await), (4, 4));
    for (message, body) in messages.iter().zip(&bodies) {
        assert_eq!(body_of(&store, message).await.unwrap(), *body);
    }
}

#[cfg(feature = "cluster")]
mod in_objects {
    use super::*;
    use crate::config::{Bodies, HumanDuration};
    use crate::store::bodies::objects::Objects;
    use crate::store::bodies::testing::{Fault, FaultProxy, Moto};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn files(folder: &std::path::Path) -> Vec<String> {
        let mut found = Vec::new();
        for part in std::fs::read_dir(folder).unwrap() {
            let files = std::fs::read_dir(part.unwrap().path()).unwrap();
            found.extend(files.map(|file| file.unwrap().file_name().into_string().unwrap()));
        }
        found
    }

    async fn all_sweeps(store: &Store) {
        for _ in 0..3 {
            sweep(store).await;
            store.objects_condemn_orphans(NO_GRACE).await.unwrap();
            store.objects_delete(NO_GRACE).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn keep_in(store: &Store, bodies: &Bodies) {
        let keys = crate::store::bodies::objects::credentials::Keys::of_tests();
        store.keep_bodies_in(Objects::open_with(bodies, Some(keys)).unwrap().unwrap());
    }

    fn in_folder(store: &Store, folder: &std::path::Path) {
        keep_in(store, &Bodies { store: format!("file://{}", folder.display()).parse().unwrap(), ..Bodies::default() });
    }

    #[tokio::test]
    async fn a_body_is_one_object_which_is_deleted_after_its_last_message() {
        let (dir, store, ..) = two().await;
        let folder = dir.path().join("objects");
        in_folder(&store, &folder);
        for body in [noise(700, 1), noise(2 * FRAME + 5, 2)] {
            let (first, second) =
                (deliver(&store, "one", &body).await.unwrap(), deliver(&store, "two", &body).await.unwrap());
            assert_eq!(count(&store, "body").await, 1);
            store.objects_delete(NO_GRACE).await.unwrap();
            assert_eq!(files(&folder).len(), 1);
            for message in [&first, &second] {
                assert_eq!(body_of(&store, message).await.unwrap(), body);
            }
            remove(&store, &first).await;
            all_sweeps(&store).await;
            assert_eq!(body_of(&store, &second).await.unwrap(), body);
            remove(&store, &second).await;
            // During the grace period, readers that have read the row may still fetch the object.
            assert!(store.bodies_sweep(Duration::from_secs(3600)).await.unwrap());
            store.objects_delete(NO_GRACE).await.unwrap();
            assert_eq!(files(&folder).len(), 1);
            store.write(|t| t.execute("UPDATE body_released SET due_at = 0", &[]).map(|_| ())).await.unwrap();
            all_sweeps(&store).await;
            assert_eq!((files(&folder), count(&store, "body").await), (vec![], 0));
        }
    }

    #[tokio::test]
    async fn an_object_whose_transaction_fails_or_is_cancelled_is_deleted_at_once() {
        let (dir, store, ..) = two().await;
        let folder = dir.path().join("objects");
        in_folder(&store, &folder);
        let kept = deliver(&store, "one", &noise(100, 1)).await.unwrap();
        // The second object of the same body is condemned by its own transaction.
        deliver(&store, "two", &noise(100, 1)).await.unwrap();
        store.write(|t| t.execute("UPDATE inbox SET size = 1099511627776", &[]).map(|_| ())).await.unwrap();
        assert!(deliver(&store, "one", &noise(200, 2)).await.is_err());
        drop(store.prepare_body(noise(200, 3)).await.unwrap());
        assert_eq!(files(&folder).len(), 4);
        store.objects_condemn_unreferenced().await.unwrap();
        store.objects_delete(NO_GRACE).await.unwrap();
        assert_eq!(files(&folder).len(), 1);
        assert_eq!(body_of(&store, &kept).await.unwrap(), noise(100, 1));
    }

    #[tokio::test]
    async fn an_unreferenced_object_is_deleted_after_the_grace_period() {
        let (dir, store, ..) = two().await;
        let folder = dir.path().join("objects");
        in_folder(&store, &folder);
        let kept = deliver(&store, "one", &noise(100, 1)).await.unwrap();
        let lost = store.prepare_body(noise(200, 2)).await.unwrap();
        store.objects_condemn_orphans(Duration::from_secs(3600)).await.unwrap();
        store.objects_delete(NO_GRACE).await.unwrap();
        assert_eq!(files(&folder).len(), 2);
        tokio::time::sleep(Duration::from_millis(20)).await;
        store.objects_condemn_orphans(NO_GRACE).await.unwrap();
        // Condemned and not yet deleted: a transaction cannot refer to it any more.
        let named = store.write(move |t| super::super::insert(t, &lost)).await;
        assert!(matches!(named, Err(StoreError::Aborted(_))), "{named:?}");
        store.objects_delete(NO_GRACE).await.unwrap();
        assert_eq!(files(&folder).len(), 1);
        assert_eq!(body_of(&store, &kept).await.unwrap(), noise(100, 1));
    }

    /// Writers store and remove the same few bodies while sweeps run without a grace period.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn concurrent_sweeps_delete_no_body_that_a_message_refers_to() {
        let (dir, store, ..) = two().await;
        let folder = dir.path().join("objects");
        in_folder(&store, &folder);
        let is_over = Arc::new(AtomicBool::new(false));
        let sweeper = {
            let (store, is_over) = (store.clone(), Arc::clone(&is_over));
            tokio::spawn(async move {
                let mut rounds = 0;
                while !is_over.load(Ordering::Relaxed) {
                    store.bodies_sweep(NO_GRACE).await.unwrap();
                    store.objects_condemn_orphans(NO_GRACE).await.unwrap();
                    store.objects_delete(NO_GRACE).await.unwrap();
                    rounds += 1;
                }
                rounds
            })
        };
        let writers = (0..4_u32).map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                let (mut stored, mut refused) = (0, 0);
                for round in 0..60_u32 {
                    let body = noise(300, (round + writer) % 3);
                    let name = if writer % 2 == 0 { "one" } else { "two" };
                    match deliver(&store, name, &body).await {
                        Ok(message) => {
                            stored += 1;
                            for _ in 0..2 {
                                assert_eq!(body_of(&store, &message).await.unwrap(), body);
                                tokio::task::yield_now().await;
                            }
                            if round % 8 != 0 {
                                remove(&store, &message).await;
                            }
                        }
                        // The object was condemned between the put and the transaction: nothing was stored.
                        Err(DeliverError::Store(StoreError::Aborted(_))) => refused += 1,
                        Err(error) => panic!("{error}"),
                    }
                }
                (stored, refused)
            })
        });
        let mut counts = (0, 0);
        for writer in writers.collect::<Vec<_>>() {
            let (stored, refused) = writer.await.unwrap();
            counts = (counts.0 + stored, counts.1 + refused);
        }
        is_over.store(true, Ordering::Relaxed);
        let rounds = sweeper.await.unwrap();
        println!("{} stored, {} refused, {rounds} rounds of sweeps", counts.0, counts.1);
        assert!(counts.0 > 20 && rounds > 3, "{counts:?}, {rounds}");
        let named: Vec<String> =
            store.read(|t| t.query("SELECT object FROM body_name", &[], |row| row.get(0))).await.unwrap();
        all_sweeps(&store).await;
        let mut left = files(&folder);
        let mut named: Vec<String> = named.iter().map(|name| name.split_once('/').unwrap().1.to_owned()).collect();
        left.sort();
        named.sort();
        assert!(!left.is_empty() && left.iter().all(|file| named.contains(file)), "{left:?} {named:?}");
    }

    #[tokio::test]
    async fn bodies_of_acknowledged_messages_are_in_the_bucket_despite_faults() {
        let moto = Moto::start().await;
        moto.make_bucket("mail").await;
        let proxy = FaultProxy::start(moto.address()).await;
        let (_dir, store, ..) = two().await;
        let bodies = Bodies {
            store: "s3://mail/bodies".parse().unwrap(),
            endpoint: Some(proxy.url()),
            region: Some("us-east-1".into()),
            timeout: HumanDuration::seconds(1),
            cache: 1000,
            ..Bodies::default()
        };
        keep_in(&store, &bodies);
        let faults =
            [Fault::Status(500), Fault::CutUpload, Fault::FailAfterSuccess, Fault::CutAnswer, Fault::Status(503)];
        let mut acknowledged = Vec::new();
        for round in 0..12_u32 {
            let fault = faults[round as usize % faults.len()];
            // Some faults end within the retries, some do not.
            proxy.next(std::iter::repeat_n(fault, if round % 3 == 2 { 30 } else { 2 }));
            let body = noise(400 + round as usize, round / 2);
            match deliver(&store, "one", &body).await {
                Ok(message) => acknowledged.push((message, body)),
                Err(DeliverError::Store(StoreError::Object(_))) => {}
                Err(error) => panic!("{error}"),
            }
        }
        proxy.clear();
        println!("{} acknowledged", acknowledged.len());
        assert!((4..12).contains(&acknowledged.len()), "{}", acknowledged.len());
        assert_eq!(count(&store, "message").await, i64::try_from(acknowledged.len()).unwrap());
        for round in 0..2 {
            for (message, body) in &acknowledged {
                assert_eq!(body_of(&store, message).await.unwrap(), *body, "{round}");
            }
            all_sweeps(&store).await;
        }
    }
}
