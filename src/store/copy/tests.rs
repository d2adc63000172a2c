//! Copies of a store with rows in every table.

use super::*;
use crate::config::{Config, DataDir};
use crate::resources::disk::FreeDisk;
use crate::store::OpenError;
use crate::store::testing::{self, sqlite_only};
use std::path::Path;

/// Rows for the tables that the helpers of the tests do not fill, in SQLite's dialect.
const ROWS: &str = "
    INSERT INTO claimed_name VALUES ('acme.test', 'A');
    INSERT INTO inbox_name VALUES ('one', 'A');
    INSERT INTO account_user VALUES ('usr_1', 'A', 'ann@acme.test', 'Ann', 'Ü', 'hash', NULL, 1, 2);
    INSERT INTO notification_token VALUES ('ntk_1', 'A', 'usr_1', 'device', 'ios', 1, 2);
    INSERT INTO token (id, account_id, name, hash, scope, created_at, user_id, permissions) VALUES ('tok_1', 'A', 'ü''', x'00ff01', 'inboxes', 1, 'usr_1', 'domains:read');
    INSERT INTO idempotency VALUES ('tok_1', x'00', x'01', 'A', 5, 201, '{}', x'7b7d', NULL);
    INSERT INTO long_change VALUES ('I', 'run_1', 1);
    INSERT INTO sealing_check VALUES (1, x'00');
    INSERT INTO token_inbox VALUES ('tok_1', 'I');
    INSERT INTO alias VALUES ('ali_1', 'D', 'sales', 'I', 1, 1);
    UPDATE inbox SET default_domain_id = 'D' WHERE id = 'I';
    UPDATE custom_domain SET catch_all_inbox_id = 'I' WHERE id = 'D';
    INSERT INTO domain_event VALUES ('D', 1, 5, NULL, 'pending', '{}');
    INSERT INTO domain_check VALUES ('D', 1, 5, 'pending', x'0a', x'');
    INSERT INTO domain_finding VALUES ('D', x'0a', x'00');
    INSERT INTO dkim_key (token, domain_id, role, role_since, sealed, public, created_at) VALUES ('t1', 'D', 'signing', 0, x'ff', 'v=DKIM1', 0);
    INSERT INTO dkim_kept VALUES ('t0', 'v=DKIM1', 7);
    INSERT INTO dkim_rotation (domain_id, account_id, due_at) VALUES ('D', 'A', 9);
    INSERT INTO ses_identity (name, mark, created_at) VALUES ('acme.test', 'm', 1);
    INSERT INTO object_condemned VALUES ('o', 1, 0);
    INSERT INTO body_unnamed SELECT id FROM body LIMIT 1;
    INSERT INTO body_released (body_id) SELECT id FROM body LIMIT 1;
    INSERT INTO thread_reference SELECT inbox_id, 5, id FROM thread LIMIT 1;
    INSERT INTO sent_email VALUES ('msg_1', 'I', '[]', 'reply', '{}', 5, 1, 'thr_1');
    INSERT INTO sent_result VALUES ('msg_1', 'b@c.test', 1, '550 no', 'mx.c.test', 7);
    INSERT INTO label VALUES ('lbl_1', 'A', 'Urgent', 'urgent', '#ff0000', 1, 2);
    INSERT INTO access_entry VALUES ('ace_1', 'A', 'I', 'receive', 'block', 'example.org', 1);
    INSERT INTO webhook_subscription (id, account_id, url, events, is_active, secret, since_position, since_number, created_at, updated_at)
        VALUES ('whk_1', 'A', 'https://a.test/', 'email.received', 1, x'00', 0, 0, 1, 1);
    INSERT INTO webhook_feed VALUES ('A', 0, 5);
    INSERT INTO webhook_sequence VALUES ('A', 'I', 7);
    INSERT INTO webhook_event VALUES ('A', 0, 5, 'evt_1', 'email.received', 'I', 7, x'7b7d', 1, 0, 2050);
    INSERT INTO webhook_delivery (id, webhook_id, account_id, position, number, state, attempts, ended_at) VALUES ('whd_1', 'whk_1', 'A', 0, 5, 'failed', 1, 1);
    INSERT INTO webhook_usage VALUES ('A', 2050);
    INSERT INTO webhook_attempt VALUES ('whd_1', 1, 1, 500, NULL, 3);
    INSERT INTO unreadable SELECT id, 1, 1 FROM content LIMIT 1;
    INSERT INTO mailbox_keyword SELECT id, 'urgent', 1 FROM mailbox LIMIT 1;
    INSERT INTO mailbox_metadata SELECT id, '/shared/comment', x'00ff' FROM mailbox LIMIT 1;
    INSERT INTO inbox_metadata VALUES ('I', '/private/comment', x'');
    UPDATE mailbox SET least_modseq = 9 WHERE id = (SELECT min(id) FROM mailbox);
    UPDATE message SET saved_at = NULL, object_id = 'msg_o' WHERE uid = 1;
    INSERT INTO expunged SELECT id, 77, 9 FROM mailbox LIMIT 1;
    UPDATE mailbox SET part_of = (SELECT max(id) FROM mailbox) WHERE id = (SELECT min(id) FROM mailbox);
    INSERT INTO submission (id, account_id, inbox_id, inbox_name, state, mail_from, original_id, outgoing_id, protocol, arrived_at, created_at, expires_at)
        SELECT 'sub_1', 'A', 'I', 'one', 'queued', 'one@acme.test', id, id, 'ESMTPSA', 1, 1, 2 FROM content LIMIT 1;
    INSERT INTO delivery (id, submission_id, account_id, rcpt_to, domain, next_attempt_at) VALUES ('del_1', 'sub_1', 'A', 'b@c.test', 'c.test', 5);
    INSERT INTO due_account (kind, account_id, due_at) VALUES ('delivery', 'A', 5) ON CONFLICT (kind, account_id) DO NOTHING";

/// A store with rows in every table, and more messages in one mailbox than a batch has rows.
async fn filled(directory: &Path) -> Store {
    let store = Store::from_config(&sqlite(directory), FreeDisk::new(directory, 0)).unwrap();
    let account = testing::account(&store).await;
    let inbox = testing::inbox(&store, &account, "one").await;
    let first = testing::put(&store, &inbox, b"Subject: one\r\n\r\nbody\0\xFF\r\n").await;
    testing::put(&store, &inbox, &[b"Subject: two\r\n\r\n".as_slice(), &vec![b'x'; 3_000_000]].concat()).await;
    testing::fill(&store, &inbox, first.mailbox, 1200, crate::store::messages::Flags::default()).await;
    let domain = crate::id::DomainId::new();
    testing::claim(&store, &account, &domain, "t1 t2 t3").await;
    testing::dkim_records(&store, &domain, ["valid", "missing", "mismatch"]).await;
    let ids = [("'A'", account.to_string()), ("'I'", inbox.to_string()), ("'D'", domain.to_string())];
    for sql in ROWS.split(';') {
        let sql = ids.iter().fold(sql.to_owned(), |sql, (short, id)| sql.replace(short, &format!("'{id}'")));
        store.write(move |c| c.execute(&sql, params![])).await.unwrap();
    }
    store
}

fn sqlite(directory: &Path) -> Config {
    Config { data_dir: DataDir(directory.to_owned()), ..Config::default() }
}

async fn copied(from: &Store, to: &Store) -> Result<u64, CopyError> {
    from.copy_to(to, "the source", &mut |_| {}).await
}

async fn digests(store: &Store) -> Vec<(&'static str, Digest)> {
    let mut digests = Vec::new();
    for table in store.tables().await.unwrap() {
        digests.push((table.name, store.digest(&table).await.unwrap()));
    }
    digests
}

/// The digests of a copy, as of the source's epoch of the event log.
async fn copied_digests(store: &Store) -> Vec<(&'static str, Digest)> {
    store.write(|c| c.execute("UPDATE event_log SET epoch = epoch - 1", params![])).await.unwrap();
    let digests = digests(store).await;
    store.write(|c| c.execute("UPDATE event_log SET epoch = epoch + 1", params![])).await.unwrap();
    digests
}

fn empty(directory: &Path) -> Store {
    Store::open_two(&sqlite(&directory.join("none")), &sqlite(directory)).unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_is_copied_and_new_rows_get_unused_numbers() {
    sqlite_only("copies between two files: cheap to interrupt anywhere");
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = filled(from.path()).await;
    let before = digests(&source).await;
    before.iter().for_each(|(table, digest)| assert!(digest.rows > 0, "{table} has no row in this test"));
    let mut seen = Vec::new();
    let target = empty(to.path());
    let rows = source.copy_to(&target, "the source", &mut |progress| seen.push(progress)).await.unwrap();
    assert_eq!(rows, before.iter().map(|(_, digest)| digest.rows).sum::<u64>());
    assert_eq!(copied_digests(&target).await, before);
    assert!(
        TABLES.iter().all(|table| seen.iter().any(|p| p.table == *table && p.step == Step::Compared && p.rows == p.of))
    );
    // The copy can be opened.
    drop(target);
    let opened = Store::from_config(&sqlite(to.path()), FreeDisk::new(to.path(), 0)).unwrap();
    let account = testing::account(&opened).await;
    let inbox = testing::inbox(&opened, &account, "two").await;
    testing::put(&opened, &inbox, b"Subject: later\r\n\r\nlater").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_copy_cannot_be_opened_and_can_be_continued() {
    sqlite_only("copies between two files: cheap to interrupt anywhere");
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = filled(from.path()).await;
    let before = digests(&source).await;
    for cut in [1, 7, 9, 20, 30] {
        let target = empty(to.path());
        let from = source.clone();
        let task = tokio::spawn(async move {
            let mut reports = 0;
            let mut interrupt = |_| {
                reports += 1;
                assert!(reports < cut, "interrupted");
            };
            from.copy_to(&target, "the source", &mut interrupt).await.unwrap();
        });
        assert!(task.await.unwrap_err().is_panic());
        let refused = Store::from_config(&sqlite(to.path()), FreeDisk::new(to.path(), 0)).unwrap_err();
        assert!(matches!(&refused, OpenError::IncompleteCopy(source) if source == "the source"), "{refused}");
    }
    let target = empty(to.path());
    let other = source.copy_to(&target, "another source", &mut |_| {}).await.unwrap_err();
    assert!(matches!(other, CopyError::OtherSource(_)), "{other}");
    copied(&source, &target).await.unwrap();
    assert_eq!(copied_digests(&target).await, before);
    // The complete copy is not continued.
    let again = copied(&source, &target).await.unwrap_err();
    assert!(matches!(again, CopyError::NotEmpty(_)), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_different_value_in_the_target_is_detected() {
    sqlite_only("copies between two files: cheap to interrupt anywhere");
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = filled(from.path()).await;
    let target = empty(to.path());
    let from = source.clone();
    let half = target.clone();
    let task = tokio::spawn(async move {
        let mut interrupt = |progress: Progress| assert!(progress.table != "delivery", "interrupted");
        let _ = from.copy_to(&half, "the source", &mut interrupt).await;
    });
    assert!(task.await.unwrap_err().is_panic());
    let damage = "UPDATE message SET flags = 1 WHERE uid = 600";
    assert_eq!(target.write(|c| c.execute(damage, params![])).await.unwrap(), 1);
    let found = copied(&source, &target).await.unwrap_err();
    assert!(matches!(found, CopyError::Different { table: "message", .. }), "{found}");
}

#[cfg(feature = "cluster")]
#[tokio::test(flavor = "multi_thread")]
async fn copies_to_postgresql_and_back_are_equal() {
    use crate::store::engine::postgres::testing::cluster;
    sqlite_only("both engines are named");
    let (from, between, to) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = filled(from.path()).await;
    let before = digests(&source).await;
    let database = between.path().to_owned();
    let settings = tokio::task::spawn_blocking(move || cluster().database_of(&database)).await.unwrap();
    let postgres = Config { store: settings, ..sqlite(between.path()) };
    let (_, target) = Store::open_two(&sqlite(&to.path().join("none")), &postgres).unwrap();
    copied(&source, &target).await.unwrap();
    assert_eq!(copied_digests(&target).await, before);
    let account = testing::account(&target).await;
    target.write(move |c| c.execute("DELETE FROM account WHERE id = ?1", params![account])).await.unwrap();
    target.close().await;
    drop(target);

    let (middle, last) = Store::open_two(&postgres, &sqlite(to.path())).unwrap();
    let middle_digests = digests(&middle).await;
    copied(&middle, &last).await.unwrap();
    assert_eq!(copied_digests(&last).await, middle_digests);
    drop(middle);

    // New rows get unused numbers.
    let opened = Store::from_config(&postgres, FreeDisk::new(between.path(), 0)).unwrap();
    let inbox = testing::inbox(&opened, &testing::account(&opened).await, "two").await;
    testing::put(&opened, &inbox, b"Subject: later\r\n\r\nlater").await;
    // The copy requires exclusive access, and a daemon is connected.
    let another = tempfile::tempdir().unwrap();
    let beside = Config { data_dir: DataDir(another.path().to_owned()), ..postgres.clone() };
    let refused = Store::open_two(&beside, &sqlite(&another.path().join("to"))).unwrap_err();
    assert!(refused.is_in_use() && refused.to_string().contains("inboxlayer from this machine since "), "{refused}");
    // The daemon still works.
    testing::put(&opened, &inbox, b"Subject: later\r\n\r\nlater").await;
}
