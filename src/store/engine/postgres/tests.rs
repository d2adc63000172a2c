//! The engine on a real server: lost commit replies, conflicts, cancelled reads, TLS, and unsupported databases.

use super::testing::{cluster, of_url};
use super::{OpenError, Postgres, SchemaError};
use crate::config::Store as Settings;
use crate::events::{Event, Events};
use crate::id::{AccountId, TokenId};
use crate::resources::Owner;
use crate::secret::Secret;
use crate::store::engine::{Octets, Transaction, params};
use crate::store::{Access, StoreError};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// An engine on its own database, with a table of numbers.
async fn engine() -> (tempfile::TempDir, Settings, Arc<Postgres>) {
    blocking(|| {
        let directory = tempfile::tempdir().unwrap();
        let settings = cluster().database_of(directory.path());
        let engine = Postgres::open(&settings, Events::new(), Access::Shared).unwrap();
        let session = super::Connector::new(&settings, Access::Shared).unwrap().connect().unwrap();
        session.command("CREATE TABLE number (kind TEXT NOT NULL, n BIGINT NOT NULL)").unwrap();
        (directory, settings, Arc::new(engine))
    })
    .await
}

/// Replaces `from` by `to` in the URL.
fn with(settings: Settings, from: &str, to: &str) -> Settings {
    let url = settings.url.as_ref().unwrap().reveal().replace(from, to);
    Settings { url: Some(Secret::new(url)), ..settings }
}

async fn write<T: Send + 'static>(
    engine: &Postgres,
    work: impl Fn(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    engine.write(&Owner::System, &[], work).await
}

fn count(transaction: &Transaction<'_>, kind: &str) -> Result<i64, StoreError> {
    transaction.query_row("SELECT count(*) FROM number WHERE kind = ?1", params![kind], |row| row.get(0))
}

fn add(transaction: &Transaction<'_>, kind: &str) -> Result<(), StoreError> {
    transaction.execute("INSERT INTO number (kind, n) VALUES (?1, 1)", params![kind]).map(drop)
}

async fn counted(engine: &Postgres, kind: &'static str) -> i64 {
    engine.read(&Owner::System, move |transaction| count(transaction, kind)).await.unwrap()
}

#[tokio::test]
async fn two_writes_that_each_read_what_the_other_changes_are_serialized() {
    let (_directory, _, engine) = engine().await;
    let (both_have_read, runs) = (Arc::new(Barrier::new(2)), Arc::new(AtomicUsize::new(0)));
    // Each inserts a row only if there is none, so serialized writes insert one row.
    let verb = |own: &'static str| {
        let (engine, both_have_read, runs) = (Arc::clone(&engine), Arc::clone(&both_have_read), Arc::clone(&runs));
        let is_first = AtomicBool::new(true);
        tokio::spawn(async move {
            let work = move |transaction: &Transaction<'_>| {
                runs.fetch_add(1, Ordering::Relaxed);
                let found = count(transaction, "a")? + count(transaction, "b")?;
                if is_first.swap(false, Ordering::Relaxed) {
                    both_have_read.wait();
                }
                if found == 0 {
                    add(transaction, own)?;
                }
                Ok(found)
            };
            write(&engine, work).await.unwrap()
        })
    };
    let (a, b) = (verb("a"), verb("b"));
    let mut found = [a.await.unwrap(), b.await.unwrap()];
    found.sort_unstable();
    assert_eq!(found, [0, 1]);
    assert_eq!(counted(&engine, "a").await + counted(&engine, "b").await, 1);
    assert!(runs.load(Ordering::Relaxed) >= 3, "one of them was retried");
}

#[tokio::test]
async fn written_values_are_read_back_unchanged() {
    let (_directory, _, engine) = engine().await;
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let stored = body.clone();
    let id = write(&engine, move |transaction| transaction.insert_body(&[stored.clone().into()])).await.unwrap();
    let read = |range: std::ops::Range<usize>| {
        let engine = Arc::clone(&engine);
        async move { engine.read(&Owner::System, move |t| t.read_range(Octets::Body(id), range.clone())).await.unwrap() }
    };
    assert_eq!(read(0..usize::MAX).await, (body.len(), body.clone()));
    assert_eq!(read(1_000_000..1_000_007).await, (body.len(), body[1_000_000..1_000_007].to_vec()));
    assert_eq!(read(2_999_999..4_000_000).await.1, body[2_999_999..]);
    assert!(read(5_000_000..6_000_000).await.1.is_empty() && read(7..7).await.1.is_empty());

    let values = engine
        .read::<_, StoreError, _>(&Owner::System, |t| {
            let sql = "SELECT CAST(?1 AS BIGINT), CAST(?2 AS TEXT), CAST(?3 AS BYTEA), CAST(?4 AS SMALLINT), CAST(?5 AS TEXT) IS NULL,
                           (SELECT sum(n) FROM (VALUES (9223372036854775806), (1)) v (n)), '?1 it''s', CAST(?6 AS BOOLEAN)";
            let values = params![i64::MIN, "ünï\u{1}", vec![0_u8, 255], 7, None::<String>, true];
            t.query_row(sql, values, |row| {
                let first: (i64, String, Vec<u8>, u8) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
                let second: (bool, i64, String, bool) = (row.get(4)?, row.get(5)?, row.get(6)?, row.get(7)?);
                Ok((first, second))
            })
        })
        .await
        .unwrap();
    assert_eq!(values, ((i64::MIN, "ünï\u{1}".into(), vec![0, 255], 7), (true, i64::MAX, "?1 it's".into(), true)));
    let refused = engine
        .read::<String, StoreError, _>(&Owner::System, |t| {
            t.query_row("SELECT CAST(?1 AS TEXT)", params!["a\0b"], |row| row.get(0))
        })
        .await
        .unwrap_err();
    let reason =
        std::error::Error::source(&refused).map(|e| format!("{e:?}")).unwrap_or_default() + &refused.to_string();
    assert!(reason.contains("NUL"), "{reason}");
}

#[tokio::test]
async fn a_write_that_fails_or_panics_is_rolled_back_and_the_next_one_succeeds() {
    let (_directory, _, engine) = engine().await;
    let panics = write(&engine, |transaction| -> Result<(), StoreError> {
        add(transaction, "a")?;
        panic!("a bug");
    });
    assert!(matches!(panics.await, Err(StoreError::Aborted(_))));
    // The verb ignores the error of a statement.
    let ignores = write(&engine, |transaction| {
        add(transaction, "a")?;
        let failed = transaction.execute("INSERT INTO number (kind, n) VALUES (NULL, 1)", params![]);
        assert!(failed.is_err());
        Ok(())
    });
    assert!(matches!(ignores.await, Err(StoreError::Aborted(_))));
    let fails = write(&engine, |transaction| add(transaction, "a").and(Err::<(), _>(StoreError::Closed)));
    assert!(matches!(fails.await, Err(StoreError::Closed)));
    write(&engine, |transaction| add(transaction, "b")).await.unwrap();
    assert_eq!((counted(&engine, "a").await, counted(&engine, "b").await), (0, 1));
}

#[tokio::test]
async fn a_write_that_loses_its_connection_before_the_commit_is_retried() {
    let (_directory, settings, engine) = engine().await;
    let runs = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&runs);
    write(&engine, move |transaction| {
        add(transaction, "a")?;
        if counter.fetch_add(1, Ordering::Relaxed) < 2 {
            let own: i64 = transaction.query_row("SELECT pg_backend_pid()", params![], |row| row.get(0))?;
            let other = super::Connector::new(&settings, Access::Shared).unwrap().connect().unwrap();
            other.command(&format!("SELECT pg_terminate_backend({own}, 5000)")).unwrap();
        }
        add(transaction, "b")
    })
    .await
    .unwrap();
    assert_eq!(runs.load(Ordering::Relaxed), 3);
    assert_eq!((counted(&engine, "a").await, counted(&engine, "b").await), (1, 1));
}

/// Forwards connections to the server. At the first `COMMIT` after `cuts` is set, the connection is closed: before COMMIT is
/// forwarded (1), or before its reply is (2).
fn proxy(cuts: Arc<AtomicUsize>) -> u16 {
    const COMMIT: &[u8] = b"COMMIT; SELECT pg_advisory_unlock_all()\0";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let socket = cluster().socket();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut server) = (client.unwrap(), UnixStream::connect(&socket).unwrap());
            let (mut to_client, mut from_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let is_cut = Arc::new(AtomicBool::new(false));
            let (answer_is_cut, cuts) = (Arc::clone(&is_cut), Arc::clone(&cuts));
            std::thread::spawn(move || {
                let mut octets = [0; 65536];
                while let Ok(count @ 1..) = from_server.read(&mut octets) {
                    if answer_is_cut.load(Ordering::SeqCst) {
                        break;
                    }
                    to_client.write_all(&octets[..count]).unwrap();
                }
                let _ = to_client.shutdown(Shutdown::Both);
            });
            std::thread::spawn(move || {
                let mut octets = [0; 65536];
                while let Ok(count @ 1..) = client.read(&mut octets) {
                    if octets[..count].windows(COMMIT.len()).any(|window| window == COMMIT) {
                        match cuts.swap(0, Ordering::SeqCst) {
                            0 => {}
                            1 => break,
                            _ => is_cut.store(true, Ordering::SeqCst),
                        }
                    }
                    server.write_all(&octets[..count]).unwrap();
                }
                let _: Result<(), _> = TcpStream::shutdown(&client, Shutdown::Both);
                let _ = server.shutdown(Shutdown::Both);
            });
        }
    });
    port
}

#[tokio::test]
async fn a_write_whose_commit_reply_is_lost_is_committed_and_published_once() {
    for cut in [1, 2] {
        let (_directory, settings, engine) = engine().await;
        let cuts = Arc::new(AtomicUsize::new(0));
        let port = proxy(Arc::clone(&cuts));
        let name = settings.url.as_ref().unwrap().reveal().rsplit_once("dbname=").unwrap().1.to_owned();
        let settings = of_url(format!("postgres://mail:of%20the%20tests@127.0.0.1:{port}/{name}"));
        let (runs, events, account) = (Arc::new(AtomicUsize::new(0)), Events::new(), AccountId::new());
        let hub = events.clone();
        let through_proxy = blocking(move || Postgres::open(&settings, hub, Access::Shared).unwrap()).await;
        let mut heard = events.subscribe(&account, usize::MAX).unwrap();
        let (counter, publisher) = (Arc::clone(&runs), account.clone());
        cuts.store(cut, Ordering::SeqCst);
        let work = move |transaction: &Transaction<'_>| {
            transaction.publish(&publisher, Event::TokenRevoked { token_id: TokenId::new() })?;
            add(transaction, "a")?;
            Ok::<_, StoreError>(counter.fetch_add(1, Ordering::SeqCst))
        };
        let value = through_proxy.write(&Owner::System, &[], work).await.unwrap();
        let expected = if cut == 1 { 2 } else { 1 };
        assert_eq!((runs.load(Ordering::SeqCst), value), (expected, expected - 1), "cut {cut}");
        assert_eq!(counted(&engine, "a").await, 1, "cut {cut}");
        assert!(heard.try_recv().is_some() && heard.try_recv().is_none());
    }
}

#[tokio::test]
async fn dropping_the_future_of_a_read_cancels_its_statement() {
    let (_directory, settings, engine) = engine().await;
    let (began, has_begun) = tokio::sync::oneshot::channel();
    let began = std::sync::Mutex::new(Some(began));
    let reader = Arc::clone(&engine);
    let read = tokio::spawn(async move {
        let work = move |transaction: &Transaction<'_>| {
            began.lock().unwrap().take().map(|began| began.send(()));
            transaction.exists("SELECT pg_sleep(600) IS NULL", params![])
        };
        reader.read(&Owner::System, work).await
    });
    has_begun.await.unwrap();
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query LIKE '%pg_sleep(600)%'
                    AND pid <> pg_backend_pid()";
    let session = blocking(move || super::Connector::new(&settings, Access::Shared).unwrap().connect().unwrap()).await;
    let session = blocking(move || {
        while session.command(sleeping).unwrap().as_deref() != Some("1") {}
        session
    })
    .await;
    read.abort();
    let gone = tokio::time::timeout(
        std::time::Duration::from_secs(20),
        blocking(move || while session.command(sleeping).unwrap().as_deref() != Some("0") {}),
    );
    gone.await.expect("the statement still runs");
    assert_eq!(counted(&engine, "a").await, 0, "the pool still works");
}

#[tokio::test]
async fn large_results_are_streamed_and_small_ones_allow_nested_statements() {
    let (_directory, _, engine) = engine().await;
    let read = |rows: i64, nested: bool| {
        let engine = Arc::clone(&engine);
        async move {
            let work = move |transaction: &Transaction<'_>| {
                let mut sum = 0;
                transaction.for_each(
                    "SELECT n FROM generate_series(1, CAST(?1 AS BIGINT)) n",
                    params![rows],
                    |row| {
                        sum += row.get::<i64>(0)?;
                        if nested {
                            count(transaction, "a")?;
                        }
                        Ok(std::ops::ControlFlow::Continue(()))
                    },
                )?;
                Ok::<_, StoreError>(sum)
            };
            engine.read(&Owner::System, work).await
        }
    };
    assert_eq!(read(100_000, false).await.unwrap(), 5_000_050_000);
    assert_eq!(read(1000 - 1, true).await.unwrap(), 499_500);
    assert!(read(5000, true).await.unwrap_err().to_string().contains("the rows of another"));
    assert_eq!(read(10, true).await.unwrap(), 55);
}

#[tokio::test]
async fn an_unsupported_database_is_refused_with_the_reason() {
    blocking(|| {
        let cluster = cluster();
        let refusal = |name: &str| match Postgres::open(&cluster.settings(name), Events::new(), Access::Shared) {
            Err(OpenError::Schema(refusal)) => refusal,
            other => panic!("{name}: {other:?}"),
        };
        cluster.run("CREATE DATABASE read_only");
        cluster.run("ALTER DATABASE read_only SET default_transaction_read_only = on");
        assert!(matches!(refusal("read_only"), SchemaError::ReadOnly));
        cluster.run("CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0");
        assert!(matches!(refusal("ascii"), SchemaError::Encoding(found) if found == "SQL_ASCII"));
        cluster.run("CREATE DATABASE icu LOCALE_PROVIDER icu ICU_LOCALE 'en' LOCALE 'C' TEMPLATE template0");
        assert!(matches!(refusal("icu"), SchemaError::Collation));

        cluster.run("CREATE DATABASE newer TEMPLATE store");
        // A newer version that this program supports, and one that it does not.
        cluster.session("newer").command("INSERT INTO schema_version VALUES (1000, 1)").unwrap();
        drop(Postgres::open(&cluster.settings("newer"), Events::new(), Access::Shared).unwrap());
        cluster.session("newer").command("INSERT INTO schema_version VALUES (1001, 1000)").unwrap();
        let refused = refusal("newer");
        assert!(matches!(refused, SchemaError::TooNew { found: 1001, minimum: 1000, .. }), "{refused}");
        let unknown = with(cluster.settings("store"), "user=mail", "user=unknown");
        assert!(matches!(Postgres::open(&unknown, Events::new(), Access::Shared), Err(OpenError::Connect(_))));
    })
    .await;
}

#[tokio::test]
async fn shared_and_exclusive_access_exclude_each_other() {
    let (_directory, settings, engine) = engine().await;
    let open = |access| {
        let settings = settings.clone();
        blocking(move || Postgres::open(&settings, Events::new(), access))
    };
    let by = |opened| match opened {
        Err(OpenError::Store(StoreError::InUse(by))) => by,
        other => panic!("{other:?}"),
    };
    drop(open(Access::Shared).await.unwrap());
    let refused = by(open(Access::Exclusive).await);
    assert!(refused.starts_with("inboxlayer from this machine since 20"), "{refused}");
    engine.close().await;
    drop(engine);
    let exclusive = open(Access::Exclusive).await.unwrap();
    for access in [Access::Shared, Access::Exclusive] {
        assert!(by(open(access).await).starts_with("inboxlayer exclusive from "));
    }
    drop(exclusive);
    drop(open(Access::Shared).await.unwrap());
}

#[tokio::test]
async fn a_running_daemon_refuses_a_schema_that_it_does_not_support() {
    let (_directory, settings, engine) = engine().await;
    let insert = |row: &'static str| {
        let settings = settings.clone();
        blocking(move || {
            let session = super::Connector::new(&settings, Access::Shared).unwrap().connect().unwrap();
            session.command(&format!("INSERT INTO schema_version VALUES {row}")).unwrap();
        })
    };
    // A newer version that it supports.
    insert("(1000, 1)").await;
    std::thread::sleep(std::time::Duration::from_millis(1500));
    write(&engine, |transaction| add(transaction, "known")).await.unwrap();
    insert("(1001, 1000)").await;
    let began = std::time::Instant::now();
    let refused = loop {
        match write(&engine, |transaction| add(transaction, "unknown")).await {
            Ok(()) => assert!(began.elapsed().as_secs() < 60, "it still writes"),
            Err(refused) => break refused.to_string(),
        }
    };
    assert!(refused.contains("schema version 1001, which requires a program that supports version 1000"), "{refused}");
    let read = engine.read(&Owner::System, |transaction| count(transaction, "known")).await;
    assert_eq!(read.unwrap_err().to_string(), refused);
}

#[tokio::test]
async fn daemons_that_start_concurrently_create_the_schema_once() {
    blocking(|| {
        cluster().run("CREATE DATABASE together");
        let start = || {
            std::thread::spawn(|| {
                Postgres::open(&cluster().settings("together"), Events::new(), Access::Shared).map(drop)
            })
        };
        let starts: Vec<_> = (0..4).map(|_| start()).collect();
        for started in starts {
            started.join().unwrap().unwrap();
        }
        let once = "SELECT CAST(count(*) = max(version) AS TEXT) FROM schema_version";
        let once = cluster().session("together").command(once).unwrap();
        assert_eq!(once.as_deref(), Some("true"));
    })
    .await;
}

#[tokio::test]
async fn the_server_certificate_is_verified() {
    blocking(|| {
        let trusting = cluster().tls_settings("store", Some(cluster().certificate()));
        drop(Postgres::open(&trusting, Events::new(), Access::Shared).unwrap());
        let session = super::Connector::new(&trusting, Access::Shared).unwrap().connect().unwrap();
        let sql = "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        assert_eq!(session.command(sql).unwrap().as_deref(), Some("true"));
        let distrusting = cluster().tls_settings("store", None);
        assert!(matches!(Postgres::open(&distrusting, Events::new(), Access::Shared), Err(OpenError::Connect(_))));
        let other_name = with(trusting, "localhost", "127.0.0.1");
        assert!(matches!(Postgres::open(&other_name, Events::new(), Access::Shared), Err(OpenError::Connect(_))));
    })
    .await;
}
