//! The store: commits, reads, opening and closing.

use super::append::Append;
use super::engine::sqlite::READERS;
use super::mailbox_changes::FlagUpdate;
use super::messages::Flags;
use super::testing::sqlite_only;
use super::*;
use crate::clock::Timestamp;
use crate::config::Limits;
use crate::events::Event;
use crate::id::MailboxId;
use crate::mailbox::MailboxService;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;

fn account(connection: &Transaction<'_>, id: &str) -> Result<(), StoreError> {
    connection.execute("INSERT INTO account (id, name, created_at) VALUES (?1, 'x', 0)", params![id])?;
    Ok(())
}

fn changed(inbox: &InboxId, mailbox: i64) -> Event {
    Event::FlagsChanged { inbox_id: inbox.clone(), mailbox: MailboxId::new(mailbox), modseq: 1 }
}

async fn count(store: &Store) -> i64 {
    store.read(|c| c.query_row("SELECT count(*) FROM account WHERE name = 'x'", params![], |r| r.get(0))).await.unwrap()
}

#[tokio::test]
async fn an_event_is_published_after_its_commit_even_if_the_caller_is_cancelled_and_not_after_a_rollback() {
    let (_dir, store, owner) = testing::store_with_account().await;
    let inbox = testing::inbox(&store, &owner, "one").await;
    let mut heard = store.events().subscribe(&owner, 1).unwrap();
    let of = inbox.clone();
    let undone = store.write(move |transaction| {
        transaction.publish_of_inbox(&of, changed(&of, 1))?;
        Err::<(), _>(StoreError::Closed)
    });
    undone.await.unwrap_err();
    assert!(heard.try_recv().is_none());

    // The caller is cancelled while the writer runs.
    let (begun, mut begins) = mpsc::unbounded_channel();
    let (go, goes) = std::sync::mpsc::channel::<()>();
    let (writer, of) = (store.clone(), inbox.clone());
    let caller = tokio::spawn(async move {
        writer
            .write(move |transaction| {
                begun.send(()).unwrap();
                goes.recv().unwrap();
                transaction.publish_of_inbox(&of, changed(&of, 7))
            })
            .await
    });
    begins.recv().await.unwrap();
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    go.send(()).unwrap();
    assert_eq!(heard.recv().await.unwrap(), changed(&inbox, 7));
}

#[tokio::test]
async fn only_the_writes_of_failed_or_panicking_verbs_are_rolled_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let writes = (0..40).map(|i| {
        let store = store.clone();
        tokio::spawn(async move {
            store
                .write(move |c| {
                    account(c, &format!("acc_{i}"))?;
                    assert!(i % 4 != 1, "a bug");
                    if i % 4 == 2 { Err(StoreError::Closed) } else { Ok(()) }
                })
                .await
        })
    });
    let mut committed = 0;
    for write in writes.collect::<Vec<_>>() {
        committed += i64::from(write.await.unwrap().is_ok());
    }
    assert_eq!(committed, 20);
    assert_eq!(count(&store).await, 20);
}

#[tokio::test]
async fn writes_in_a_transaction_with_one_that_fails_run_again_and_are_committed() {
    sqlite_only("a group commit");
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    // All are in one group, because the first waits until the others are queued.
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let first = store.write(move |c| {
        counted.fetch_add(1, Ordering::Relaxed);
        let _ = wait.recv();
        account(c, "acc_1")
    });
    let fails = store.write(|c| {
        account(c, "acc_2")?;
        Err::<(), _>(StoreError::NoRow("acc_2".into()))
    });
    let last = store.write(|c| account(c, "acc_3"));
    let release = async move { go.send(()).unwrap() };
    let (first, fails, last, ()) = tokio::join!(first, fails, last, release);
    first.unwrap();
    last.unwrap();
    assert!(matches!(fails, Err(StoreError::NoRow(_))), "{fails:?}");
    assert_eq!((runs.load(Ordering::Relaxed), count(&store).await), (2, 2));
    // Alone in its transaction.
    let alone = store.write(|c| account(c, "acc_3")).await;
    assert!(matches!(alone, Err(StoreError::Sqlite(_))), "{alone:?}");
    store.write(|c| account(c, "acc_2")).await.unwrap();
    assert_eq!(count(&store).await, 3);
}

#[tokio::test]
async fn the_files_are_readable_only_by_the_user_in_any_directory() {
    use std::os::unix::fs::PermissionsExt;
    sqlite_only("the files of the database");
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.write(|c| account(c, "acc_1")).await.unwrap();
    let modes = std::fs::read_dir(dir.path()).unwrap().map(|entry| {
        let entry = entry.unwrap();
        (entry.file_name(), entry.metadata().unwrap().permissions().mode() & 0o077)
    });
    let modes: Vec<_> = modes.collect();
    assert!(modes.len() >= 4 && modes.iter().all(|(_, mode)| *mode == 0), "{modes:?}");
}

#[tokio::test]
async fn with_a_full_disk_exactly_the_successful_writes_are_committed() {
    sqlite_only("the limit of its pages");
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let set_page_limit = |store: &Store, pages: &'static str| {
        let set = move |c: &Transaction<'_>| Ok::<_, StoreError>(c.sqlite().execute_batch(pages)?);
        let store = store.clone();
        async move { store.write(set).await.unwrap() }
    };
    set_page_limit(&store, "PRAGMA max_page_count = 1").await; // SQLite raises it to the current number.
    // All are in one group, because the first waits until the others are queued.
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let first = store.write(move |c| {
        let _ = wait.recv();
        account(c, "acc_1")
    });
    let large = store.write(|c| c.execute("INSERT INTO body (data) VALUES (zeroblob(9999999))", params![]));
    let after = store.write(|c| account(c, "acc_3"));
    let release = async move { go.send(()).unwrap() };
    let (first, large, after, ()) = tokio::join!(first, large, after, release);
    assert!(large.is_err());
    let succeeded = i64::from(first.is_ok()) + i64::from(after.is_ok());
    assert_eq!(count(&store).await, succeeded, "{first:?} {after:?}");
    set_page_limit(&store, "PRAGMA max_page_count = 1000000").await;
    store.write(|c| account(c, "acc_4")).await.unwrap();
    assert_eq!(count(&store).await, succeeded + 1);
}

#[tokio::test]
async fn a_data_directory_can_be_opened_by_one_store_and_reopened_with_its_data() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(OpenError::InUse { .. })));
    store.write(|c| account(c, "acc_1")).await.unwrap();
    store.close().await;
    assert!(matches!(store.write(|c| account(c, "acc_2")).await, Err(StoreError::Closed)));
    drop(store);
    assert_eq!(count(&Store::open(dir.path()).unwrap()).await, 1);
}

/// A handle of owner `number`.
fn owned(store: &Store, number: usize) -> Store {
    let number = u32::try_from(number).unwrap();
    store.for_owner(Owner::Network(std::net::Ipv4Addr::from_bits(number).into()))
}

/// A read that runs until the returned sender is dropped. The receiver gets a value when it starts.
fn slow_read(store: Store) -> (tokio::task::JoinHandle<()>, mpsc::UnboundedReceiver<()>, std::sync::mpsc::Sender<()>) {
    let (begun, has_begun) = mpsc::unbounded_channel();
    let (end, wait) = std::sync::mpsc::channel::<()>();
    let read = tokio::spawn(async move {
        let work = move |_: &Transaction<'_>| {
            let _ = begun.send(());
            let _ = wait.recv();
            Ok::<_, StoreError>(())
        };
        store.read(work).await.unwrap();
    });
    (read, has_begun, end)
}

/// Asserts that all connections are usable, by concurrent reads that wait for each other.
async fn assert_all_readers_usable(store: &Store) {
    let all = Arc::new(std::sync::Barrier::new(READERS));
    let reads = (0..READERS).map(|n| {
        let (store, all) = (owned(store, n), Arc::clone(&all));
        tokio::spawn(async move {
            let count = move |c: &Transaction<'_>| {
                all.wait();
                c.query_row("SELECT count(*) FROM account WHERE name = 'x'", params![], |row| row.get::<i64>(0))
            };
            store.read(count).await.unwrap()
        })
    });
    for read in reads.collect::<Vec<_>>() {
        read.await.unwrap();
    }
}

#[tokio::test]
async fn the_connection_of_a_cancelled_read_is_returned_when_its_work_ends() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut working = Vec::new();
    for n in 0..READERS {
        let (read, mut has_begun, end) = slow_read(owned(&store, n));
        has_begun.recv().await.unwrap();
        read.abort();
        assert!(read.await.unwrap_err().is_cancelled());
        working.push(end);
    }
    // All connections are in use: new reads wait, and do not fail.
    let mut waiting = std::pin::pin!(count(&store));
    for _ in 0..100 {
        tokio::task::yield_now().await;
        assert!(std::future::poll_fn(|c| std::task::Poll::Ready(waiting.as_mut().poll(c))).await.is_pending());
    }
    drop(working);
    assert_eq!(waiting.await, 0);
    assert_all_readers_usable(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_reads_do_not_leak_connections() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for round in 0..40 {
        let reads: Vec<_> = (0..20)
            .map(|n| {
                let store = owned(&store, n % 3);
                tokio::spawn(async move { count(&store).await })
            })
            .collect();
        for _ in 0..round % 4 {
            tokio::task::yield_now().await;
        }
        reads.iter().step_by(2).for_each(tokio::task::JoinHandle::abort);
        for (n, read) in reads.into_iter().enumerate() {
            match read.await {
                Ok(found) => assert_eq!(found, 0),
                Err(error) => assert!(n % 2 == 0 && error.is_cancelled(), "{error}"),
            }
        }
    }
    assert_all_readers_usable(&store).await;
}

#[tokio::test]
async fn the_statement_of_a_cancelled_caller_is_interrupted() {
    sqlite_only("its interrupt handle");
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (begun, mut has_begun) = mpsc::unbounded_channel();
    let (ended, mut has_ended) = mpsc::unbounded_channel();
    let read = {
        let store = store.clone();
        tokio::spawn(async move {
            let endless = move |c: &Transaction<'_>| {
                let _ = begun.send(());
                let sql = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
                let done = c.query_row(sql, params![], |row| row.get::<i64>(0));
                let _ = ended.send(match &done {
                    Err(StoreError::Sqlite(error)) => error.sqlite_error_code(),
                    _ => None,
                });
                done
            };
            store.read(endless).await
        })
    };
    has_begun.recv().await.unwrap();
    read.abort();
    assert_eq!(has_ended.recv().await.unwrap(), Some(rusqlite::ErrorCode::OperationInterrupted));
    // Later statements are not interrupted.
    assert_all_readers_usable(&store).await;
}

#[tokio::test]
async fn an_owner_cannot_use_all_read_connections() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (greedy, other) = (owned(&store, 1), owned(&store, 2));
    let mut endless = Vec::new();
    for _ in 0..READERS * 3 {
        endless.push(slow_read(greedy.clone()));
    }
    let begun = |endless: &mut Vec<(_, mpsc::UnboundedReceiver<()>, _)>| {
        endless.iter_mut().filter(|(_, has_begun, _)| !has_begun.is_empty()).count()
    };
    while begun(&mut endless) < READERS - 1 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    for _ in 0..10 {
        assert_eq!(count(&other).await, 0);
    }
    assert_eq!(begun(&mut endless), READERS - 1);
}

#[tokio::test]
async fn owners_write_round_robin() {
    sqlite_only("one writer takes turns");
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut writes = Vec::new();
    // The first blocks the writer until all others are queued.
    writes.push(tokio::spawn({
        let store = store.clone();
        let work = move |_: &Transaction<'_>| wait.recv().map_err(|_| StoreError::Closed);
        async move { store.write(work).await.unwrap() }
    }));
    for (n, owner) in [1, 1, 1, 1, 2, 2, 3].into_iter().enumerate() {
        let (store, order) = (owned(&store, owner), Arc::clone(&order));
        let work = move |_: &Transaction<'_>| {
            lock(&order).push((owner, n));
            Ok::<_, StoreError>(())
        };
        writes.push(tokio::spawn(async move { store.write(work).await.unwrap() }));
        // On the single-threaded runtime, the task runs until its job is queued.
        tokio::task::yield_now().await;
    }
    go.send(()).unwrap();
    for write in writes {
        write.await.unwrap();
    }
    assert_eq!(*lock(&order), [(1, 0), (2, 4), (3, 6), (1, 1), (2, 5), (1, 2), (1, 3)]);
}

#[tokio::test]
async fn all_statements_of_a_read_see_one_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (counted, mut has_counted) = mpsc::unbounded_channel();
    let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
    let read = store.read(move |c| {
        let count = || c.query_row("SELECT count(*) FROM account WHERE name = 'x'", params![], |r| r.get::<i64>(0));
        let before = count()?;
        let _ = counted.send(());
        let _ = goes_on.recv();
        Ok::<_, StoreError>((before, count()?))
    });
    let write = async {
        has_counted.recv().await.unwrap();
        store.write(|c| account(c, "acc_1")).await.unwrap();
        go_on.send(()).unwrap();
    };
    let (read, ()) = tokio::join!(read, write);
    let (before, after) = read.unwrap();
    assert_eq!(before, after);
    assert_eq!(count(&store).await, before + 1);
}

/// The schema as a version after this one might leave it: each table has one more column.
async fn expand(store: &Store) {
    let expand = |c: &Transaction<'_>| {
        let tables = c.table_names()?.into_iter().filter(|name| !name.starts_with("search_gram"));
        for table in tables {
            c.execute(&format!("ALTER TABLE {table} ADD COLUMN of_next_version INTEGER"), params![])?;
        }
        let sql = "INSERT INTO schema_version (version, minimum_reader)
                   SELECT max(version) + 1, max(minimum_reader) FROM schema_version";
        c.execute(sql, params![]).map(drop)
    };
    store.write::<_, StoreError, _>(expand).await.unwrap();
}

#[tokio::test]
async fn a_store_works_on_the_schema_of_the_next_version() {
    let (dir, mut store, account) = testing::store_with_account().await;
    let one = testing::inbox(&store, &account, "hello").await;
    expand(&store).await;
    // As the daemon that runs while another brings the schema forward, and as one that starts afterwards.
    for round in ["runs", "starts"] {
        let service = MailboxService::new(store.clone(), &Limits::default());
        let other = testing::inbox(&store, &account, round).await;
        let inbox = testing::put(&store, &one, b"Subject: delivered\r\n\r\nx\r\n").await.mailbox;
        let append = || Append {
            flags: Flags::default(),
            keywords: "urgent".into(),
            internal_date: Timestamp::real(),
            header: bytes::Bytes::from_static(b"Subject: appended\r\n\r\n"),
            body: bytes::Bytes::from_static(b"x\r\n"),
        };
        let first = service.append(&one, "INBOX", append()).await.unwrap().unwrap().uid;
        let second = service.append(&one, "INBOX", append()).await.unwrap().unwrap().uid;
        service.set_flags(&one, inbox, vec![first], FlagUpdate::add(Flags::DELETED)).await.unwrap();
        service.move_to(&one, inbox, vec![second], "Archive").await.unwrap();
        service.expunge(&one, inbox, None).await.unwrap();
        service.create(&other, "Elsewhere").await.unwrap();
        let open = store.mailbox_open(&one, "INBOX", true).await.unwrap().unwrap();
        assert_eq!(open.messages.uids.len(), if round == "runs" { 1 } else { 2 });

        let message = testing::outgoing(&account, &one, &["ann@elsewhere.test"], b"body\r\n");
        let quota = testing::limits(u64::MAX).quota;
        store.submission_accept(message, testing::NO_LIMITS, quota).await.unwrap();
        let domain = crate::id::DomainId::new();
        let unverify = "UPDATE custom_domain SET status = 'failed', takes_mail = 0";
        store.write::<_, StoreError, _>(move |c| c.execute(unverify, params![]).map(drop)).await.unwrap();
        let tokens = ["1", "2", "3"].map(|number| format!("{round}{number}")).join(" ");
        testing::claim(&store, &testing::account(&store).await, &domain, &tokens).await;
        testing::dkim_records(&store, &domain, ["valid", "missing", "mismatch"]).await;
        testing::assert_due(&store).await;
        while store.bodies_sweep(std::time::Duration::ZERO).await.unwrap() {}
        drop(service);
        store.close().await;
        drop(store);
        store = Store::open(dir.path()).unwrap();
    }
}
