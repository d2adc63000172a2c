//! Migration of databases of older schema versions.

use super::*;
use crate::clock::Timestamp;
use crate::id::{AccountId, DomainId, InboxId};
use crate::store::jobs::Claim;
use crate::store::{Store, StoreError};
use crate::verification::judge::RecordStatus;
use crate::verification::records::{Purpose, RecordKey};
use rusqlite::params;
use rusqlite::types::{ToSql, ToSqlOutput};

macro_rules! to_sql {
    ($($id:ident)*) => {$(
        impl ToSql for $id {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.as_str().into())
            }
        }
    )*};
}

to_sql!(AccountId DomainId InboxId);

/// Creates a database of an older schema version.
fn at_version(connection: &Connection, version: usize) {
    for migration in &MIGRATIONS[..version] {
        connection.execute_batch(migration.sql).unwrap();
    }
    connection.pragma_update(None, "user_version", i64::try_from(version).unwrap()).unwrap();
}

/// Files in a directory that are copies of the database.
fn copies(dir: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut copies: Vec<PathBuf> = files.filter(|path| path.to_str().unwrap().contains(".schema-")).collect();
    copies.sort();
    copies
}

fn value<T: rusqlite::types::FromSql>(path: &Path, sql: &str) -> T {
    Connection::open(path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

const BEFORE: usize = 15;
const KNOWN: i64 = MIGRATIONS.len() as i64;

/// The database of the version before minimum readers, with an account.
fn database_before(dir: &Path) -> PathBuf {
    let path = dir.join("inboxlayer.db");
    let connection = Connection::open(&path).unwrap();
    at_version(&connection, BEFORE);
    let sql = "INSERT INTO account (id, name, created_at) VALUES ('acc_1', 'kept', 0)";
    connection.execute(sql, []).unwrap();
    path
}

#[test]
fn a_migration_leaves_the_database_usable_by_the_version_before() {
    for (version, migration) in (1_u32..).zip(MIGRATIONS).filter(|(version, _)| *version > BASE) {
        assert!(migration.minimum_reader < version, "migration {version}");
    }
}

#[test]
fn a_newer_schema_is_refused_unless_its_minimum_reader_is_supported() {
    crate::store::testing::sqlite_only("migrations of SQLite");
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path()).unwrap());
    let connection = Connection::open(dir.path().join("inboxlayer.db")).unwrap();
    let known = u32::try_from(MIGRATIONS.len()).unwrap();
    let step = |version: u32, minimum: u32| {
        let sql = "INSERT INTO schema_version (version, minimum_reader) VALUES (?1, ?2)";
        connection.execute(sql, [version, minimum]).unwrap();
        connection.pragma_update(None, "user_version", version).unwrap();
    };
    step(known + 1, known);
    drop(Store::open(dir.path()).unwrap());
    assert_eq!(value::<u32>(&dir.path().join("inboxlayer.db"), "PRAGMA user_version"), known + 1);
    step(known + 2, known + 2);
    let refused = Store::open(dir.path()).unwrap_err().to_string();
    let wanted = format!("has schema version {0}, which requires a program that supports version {0}", known + 2);
    assert!(refused.contains(&wanted) && refused.contains(&format!("this one supports {known}")), "{refused}");
    assert_eq!(copies(dir.path()), [] as [PathBuf; 0]);
}

#[test]
fn an_older_database_is_copied_and_migrated() {
    use std::os::unix::fs::PermissionsExt;
    crate::store::testing::sqlite_only("migrations of SQLite");
    let dir = tempfile::tempdir().unwrap();
    let path = database_before(dir.path());
    for old in ["20250101T000000000Z.schema-3", "20260101T000000000Z.schema-14", "20260102T000000000Z.schema-14"] {
        std::fs::write(path.with_extension(format!("db.{old}")), "older").unwrap();
    }
    drop(Store::open(dir.path()).unwrap());
    assert_eq!(value::<i64>(&path, "PRAGMA user_version"), KNOWN);
    let copies = copies(dir.path());
    assert_eq!(copies.len(), 2, "the newest two are kept: {copies:?}");
    assert!(copies[0].ends_with("inboxlayer.db.20260102T000000000Z.schema-14"));
    let copy = &copies[1];
    assert!(copy.to_str().unwrap().ends_with(".schema-15"), "{copy:?}");
    assert_eq!(value::<i64>(copy, "PRAGMA user_version"), 15);
    assert_eq!(value::<String>(copy, "SELECT name FROM account WHERE id = 'acc_1'"), "kept");
    assert_eq!(value::<String>(copy, "PRAGMA integrity_check"), "ok");
    assert_eq!(std::fs::metadata(copy).unwrap().permissions().mode() & 0o077, 0);
    // Without a migration no copy is made.
    drop(Store::open(dir.path()).unwrap());
    assert_eq!(self::copies(dir.path()), copies);
}

#[test]
fn a_failed_migration_changes_nothing_and_its_error_says_how_to_restore_the_copy() {
    let dir = tempfile::tempdir().unwrap();
    let path = database_before(dir.path());
    let disk = FreeDisk::new(dir.path(), 0);
    let mut steps: Vec<Migration> =
        MIGRATIONS.iter().map(|step| Migration { minimum_reader: step.minimum_reader, sql: step.sql }).collect();
    let number = u32::try_from(steps.len()).unwrap() + 2;
    steps.push(contract(number - 1, "UPDATE account SET name = 'changed'"));
    steps.push(contract(number, "CREATE TABLE half (x TEXT); INSERT INTO nowhere VALUES (1)"));
    let open = || {
        let mut connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        apply(&mut connection, &path, &disk, &steps).unwrap_err().to_string()
    };
    let refusal = open();
    let copies = copies(dir.path());
    let (shown, copy) = (path.display(), copies[0].display());
    let wanted = format!("cannot migrate {shown} from schema version {BEFORE} to {number}: no such table: nowhere");
    assert!(refusal.starts_with(&wanted), "{refusal}");
    let back = format!("rm -f '{shown}-wal' '{shown}-shm' && cp '{copy}' '{shown}'");
    assert!(refusal.ends_with(&back), "{refusal}");
    assert_eq!(value::<i64>(&path, "PRAGMA user_version"), 15);
    assert_eq!(value::<String>(&path, "SELECT name FROM account WHERE id = 'acc_1'"), "kept");
    assert_eq!(value::<u32>(&path, "SELECT count(*) FROM sqlite_schema WHERE name IN ('half', 'schema_version')"), 0);
    // A daemon that restarts in a loop makes only one copy.
    assert_eq!((open(), self::copies(dir.path())), (refusal, copies.clone()));
    // The commands restore the copy.
    Connection::open(&path).unwrap().execute("UPDATE account SET name = 'later'", []).unwrap();
    assert!(std::process::Command::new("sh").args(["-c", &back]).status().unwrap().success());
    assert_eq!(value::<String>(&path, "SELECT name FROM account WHERE id = 'acc_1'"), "kept");
    // After a write, another copy is made.
    Connection::open(&path).unwrap().execute("UPDATE account SET name = 'later'", []).unwrap();
    open();
    assert_eq!(self::copies(dir.path()).len(), 2);
}

#[test]
fn without_disk_space_for_the_copy_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let path = database_before(dir.path());
    let mut connection = Connection::open(&path).unwrap();
    let refused = run(&mut connection, &path, &FreeDisk::new(dir.path(), u64::MAX)).unwrap_err();
    let refusal = refused.to_string();
    assert!(refusal.contains("cannot copy") && refusal.contains("only 0 are free above limits.free_disk"), "{refusal}");
    assert_eq!(value::<i64>(&path, "PRAGMA user_version"), 15);
    assert_eq!(copies(dir.path()), [] as [PathBuf; 0]);
}

/// A store of the first schema version: a verified claim that is degraded, with its evidence, a check and a key.
fn first_version(path: &Path, account: &AccountId, domain: &DomainId) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(MIGRATIONS[0].sql).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    connection.execute("INSERT INTO account (id, name, created_at) VALUES (?1, 'test', 0)", [account]).unwrap();
    let sql = "INSERT INTO custom_domain (id, account_id, name, status, dkim_tokens, verified_at, next_check_at, created_at, updated_at)
               VALUES (?1, ?2, 'acme.com', 'verified', 'a b c', 5, 70, 0, 0)";
    connection.execute(sql, params![domain, account]).unwrap();
    let error = r#"{"code":"missing","message":"there is no CNAME record","fix":"Create it."}"#;
    let sql =
        "INSERT INTO domain_record (domain_id, position, status, observed, error, checked_at, fault_since, fault_count)
               VALUES (?1, 0, 'missing', '[]', ?2, 60, 10, 2)";
    connection.execute(sql, params![domain, error]).unwrap();
    connection.execute("INSERT INTO domain_check VALUES (?1, 1, 60, 'verified', '[]')", [domain]).unwrap();
    let sql = "INSERT INTO dkim_key (token, domain_id, role, role_since, sealed, public, created_at)
               VALUES ('a', ?1, 'signing', 0, x'00', 'v=DKIM1; p=A', 0)";
    connection.execute(sql, [domain]).unwrap();
}

/// A mailbox of three messages, the first of them \Seen and no longer \Recent.
fn mailbox(connection: &Connection, account: &AccountId, inbox: &InboxId) {
    let sql = "INSERT INTO inbox (id, account_id, name, created_at, updated_at) VALUES (?1, ?2, 'one', 0, 0)";
    connection.execute(sql, params![inbox, account]).unwrap();
    let sql = "INSERT INTO mailbox (id, inbox_id, name, uid_validity, uid_next, recent_from) VALUES (1, ?1, 'INBOX', 1, 4, 2)";
    connection.execute(sql, [inbox]).unwrap();
    connection.execute("INSERT INTO body VALUES (1, x'00')", []).unwrap();
    connection.execute("INSERT INTO content VALUES (1, 1, 100, x'00')", []).unwrap();
    for uid in 1..4 {
        let sql = "INSERT INTO message (mailbox_id, uid, flags, modseq, content_id, internal_date, id, inbox_id)
                   VALUES (1, ?1, ?1 = 1, 1, 1, 0, ?1, ?2)";
        connection.execute(sql, params![uid, inbox]).unwrap();
    }
}

/// A claim of the first schema version, with the changes of its status.
fn claim(connection: &Connection, name: &str, status: &str, verified_at: i64, events: &[(&str, &str)]) {
    let (account, domain) = (AccountId::new(), DomainId::new());
    connection.execute("INSERT INTO account (id, name, created_at) VALUES (?1, 'test', 0)", [&account]).unwrap();
    let sql = "INSERT INTO custom_domain (id, account_id, name, status, dkim_tokens, ever_verified, verified_at, created_at, updated_at)
               VALUES (?1, ?2, ?3, ?4, 'a b c', 1, ?5, 0, 0)";
    connection.execute(sql, params![domain, account, name, status, verified_at]).unwrap();
    for (number, (to, cause)) in events.iter().enumerate() {
        let sql = "INSERT INTO domain_event (domain_id, number, at, to_status, cause) VALUES (?1, ?2, 0, ?3, json_object('cause', ?4))";
        connection.execute(sql, params![domain, i64::try_from(number).unwrap(), to, cause]).unwrap();
    }
}

#[test]
fn a_claim_displaced_before_the_migration_receives_no_mail() {
    let mut connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(MIGRATIONS[0].sql).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    let (verified, gone, over) = (("verified", "all_right"), ("failed", "records_gone"), ("failed", "grace_over"));
    claim(&connection, "broken.com", "failed", 1, &[verified, gone, verified, over]);
    claim(&connection, "deleted.com", "failed", 2, &[verified, gone]);
    claim(&connection, "asked.com", "pending", 3, &[verified, gone, ("pending", "asked")]);
    claim(&connection, "passed.com", "failed", 4, &[verified, over]);
    claim(&connection, "passed.com", "failed", 5, &[verified, over]);
    claim(&connection, "valid.com", "failed", 7, &[verified, over]);
    claim(&connection, "valid.com", "verified", 6, &[verified]);
    apply_after(&mut connection, MIGRATIONS, &mut 1).unwrap();
    let sql = "SELECT group_concat(name || ' ' || verified_at, ', ' ORDER BY verified_at) FROM custom_domain WHERE takes_mail";
    let taking: String = connection.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(taking, "broken.com 1, passed.com 5, valid.com 6");
}

/// Evidence of `records` records of a claim before records had keys, each with its position as the observed value; and a change
/// of status caused by two of them.
fn by_position(connection: &Connection, domain: &DomainId, records: i64) {
    for position in 0..records {
        let sql =
            "INSERT INTO domain_record (domain_id, position, status, observed, checked_at, fault_since, fault_count)
                   VALUES (?1, ?2, 'mismatch', json_array(CAST(?2 AS TEXT)), 60, 10 + ?2, 2)";
        connection.execute(sql, params![domain, position]).unwrap();
    }
    let cause = r#"{"cause":"grace_over","records":[{"record":"b._domainkey.acme.com CNAME","expected":"x","found":["y"]},
                    {"record":"acme.com TXT","expected":"v=spf1","found":[]},null]}"#;
    let sql = "INSERT INTO domain_event (domain_id, number, at, to_status, cause) VALUES (?1, 1, 0, 'failed', ?2)";
    connection.execute(sql, params![domain, cause]).unwrap();
}

#[tokio::test]
async fn evidence_by_position_is_migrated_to_evidence_by_record_key() {
    crate::store::testing::sqlite_only("migrations of SQLite");
    let columns = "(id, account_id, name, status, dkim_tokens, ownership_secret, contested_at, return_path, created_at, updated_at)";
    for (contested, return_path, records) in
        [(None, None, 6), (None, Some("bounce"), 8), (Some(1), None, 7), (Some(1), Some("bounce"), 9)]
    {
        let (dir, account, id) = (tempfile::tempdir().unwrap(), AccountId::new(), DomainId::new());
        let connection = Connection::open(dir.path().join("inboxlayer.db")).unwrap();
        let old = MIGRATIONS.iter().position(|step| step.sql.contains("the record's key")).unwrap();
        at_version(&connection, old);
        connection.execute("INSERT INTO account (id, name, created_at) VALUES (?1, 'test', 0)", [&account]).unwrap();
        let sql = format!(
            "INSERT INTO custom_domain {columns} VALUES (?1, ?2, 'acme.com', 'verified', 'a b c', 's', ?3, ?4, 0, 0)"
        );
        connection.execute(&sql, params![id, account, contested, return_path]).unwrap();
        by_position(&connection, &id, records);
        drop(connection);
        let store = Store::open(dir.path()).unwrap();

        let row = store.domain_get(&account, &id).await.unwrap().unwrap();
        let mut found: Vec<String> = Vec::new();
        for (RecordKey { purpose, name }, (evidence, at)) in &row.evidence {
            assert_eq!(*at, Timestamp::from_millis(60));
            found.push(format!("{} {purpose} {name}", evidence.observed[0]));
        }
        found.sort();
        let all = [
            "dkim a._domainkey.acme.com",
            "dkim b._domainkey.acme.com",
            "dkim c._domainkey.acme.com",
            "mx acme.com",
            "spf acme.com",
            "dmarc _dmarc.acme.com",
            "ownership _inboxlayer.acme.com",
            "return_path bounce.acme.com",
            "return_path_spf bounce.acme.com",
        ];
        let expected = all.iter().filter(|record| contested.is_some() || !record.starts_with("ownership"));
        let expected = expected.filter(|record| return_path.is_some() || !record.starts_with("return_path"));
        let wanted: Vec<String> = expected.enumerate().map(|(at, record)| format!("{at} {record}")).collect();
        assert_eq!(found, wanted);
        let mx = row.state.faults.iter().find(|(record, _)| record.purpose == Purpose::Mx).unwrap().1;
        assert_eq!((mx.since, mx.count), (Timestamp::from_millis(13), 2), "the grace period continues");

        let events = store.domain_events(&account, &id, None, 9).await.unwrap();
        let names: Vec<_> =
            events[0].records.as_array().unwrap().iter().map(|r| (&r["purpose"], &r["name"], &r["found"])).collect();
        let json = |text: &str| serde_json::Value::from(text);
        let (dkim, spf) = ((json("dkim"), json("b._domainkey.acme.com")), (json("spf"), json("acme.com")));
        let seen = (serde_json::json!(["y"]), serde_json::json!([]));
        assert_eq!(names, [(&dkim.0, &dkim.1, &seen.0), (&spf.0, &spf.1, &seen.1)]);
    }
}

#[tokio::test]
async fn a_store_of_the_first_version_is_migrated_with_its_data() {
    crate::store::testing::sqlite_only("migrations of SQLite");
    let (dir, account, domain) = (tempfile::tempdir().unwrap(), AccountId::new(), DomainId::new());
    let (path, inbox) = (dir.path().join("inboxlayer.db"), InboxId::new());
    first_version(&path, &account, &domain);
    mailbox(&Connection::open(&path).unwrap(), &account, &inbox);
    let new = InboxId::new();
    let sql = "INSERT INTO inbox (id, account_id, name, created_at, updated_at) VALUES (?1, ?2, 'two', 0, 0)";
    Connection::open(&path).unwrap().execute(sql, params![new, account]).unwrap();
    let store = Store::open(dir.path()).unwrap();

    let status = store.mailbox_status(&inbox, "INBOX").await.unwrap().unwrap();
    assert_eq!((status.messages, status.recent, status.unseen), (3, 2, 2));

    // An inbox with one mailbox keeps just that: its owner has deleted the standard ones.
    assert_eq!(store.mailboxes(&inbox).await.unwrap().len(), 1);
    let uses = ["\\Archive", "\\Drafts", "", "\\Junk", "\\Sent", "\\Trash"];
    let made = store.mailboxes(&new).await.unwrap();
    assert_eq!(made.iter().map(|m| m.special_use.as_deref().unwrap_or_default()).collect::<Vec<_>>(), uses);
    assert_eq!(store.subscriptions(&new).await.unwrap(), made.into_iter().map(|m| m.name).collect::<Vec<_>>());
    let sql = "SELECT count(DISTINCT uid_validity), max(uid_validity) - (SELECT last FROM uid_validity) FROM mailbox";
    let last =
        store.read(move |c| c.query_row(sql, &[], |row| Ok::<(i64, i64), StoreError>((row.get(0)?, row.get(1)?))));
    assert_eq!(last.await.unwrap(), (7, 0));

    let row = store.domain_get(&account, &domain).await.unwrap().unwrap();
    let (evidence, at) = &row.evidence[&RecordKey::dkim("a", &row.name)];
    assert_eq!((row.evidence.len(), evidence.status, *at), (1, RecordStatus::Missing, Timestamp::from_millis(60)));
    assert_eq!(evidence.error.as_ref().unwrap().fix, "Create it.");
    assert_eq!(row.state.degraded_since(), Some(Timestamp::from_millis(10)), "the grace period continues");

    let claim = Claim::new(Timestamp::from_millis(80), Timestamp::from_millis(90), 9);
    assert_eq!(store.domain_next_due(claim.places.clone()).await.unwrap(), Some(Timestamp::from_millis(70)));
    assert_eq!(store.domain_claim_due(claim, 9).await.unwrap().len(), 1);

    let keys = [("a".to_owned(), "v=DKIM1; p=A".to_owned())];
    assert_eq!(store.dkim_zone().await.unwrap().keys, keys);
    assert!(store.domain_delete(&account, &domain, crate::clock::Timestamp::real()).await.unwrap());
    assert_eq!(store.dkim_zone().await.unwrap().keys, keys, "mail signed with it may still be in transit");
}
