//! Stores with data, for the tests of several modules.

use super::checks::Report;
use super::deliver::inbox_mailbox;
use super::events::LoggedEvent;
use super::keywords::InboxLimits;
use super::message_rows::{self, Delivered, Going, NewMessage};
use super::messages::Flags;
use super::queue::{NewSubmission, SendLimits};
use super::search::{Indexed, Outcome};
use super::sent::Note;
use super::{Store, StoreError, Transaction, bodies, content, due, mailboxes, parts};
use crate::address::Address;
use crate::clock::Timestamp;
use crate::config::Limits;
use crate::envelope::MailParameters;
use crate::events::Cursor;
use crate::id::{AccountId, DomainId, InboxId, MailboxId, MessageId, RunnerId, SubmissionId, TokenId};
use crate::identity::SendIdentity;
use crate::message::ReadLimits;
use crate::message::grams::Grams;
use crate::message::threading::Threading;
use crate::resources::Owner;
use crate::store::engine::{Engine, params};
use crate::verification::status::Policy;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// The default limits, except for the size of an inbox.
pub(crate) fn limits(inbox_size: u64) -> InboxLimits {
    InboxLimits::from(&Limits { inbox_size, ..Limits::default() })
}

thread_local! {
    static SQLITE_ONLY: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// For tests of SQLite's features: stores opened by this thread from now on are on SQLite, whatever `STORE_ENGINE` is.
pub(crate) fn sqlite_only(reason: &str) {
    println!("on SQLite alone: {reason}");
    SQLITE_ONLY.set(true);
}

/// True if only one daemon can use the store: leases are then released when it is opened.
pub(crate) fn has_one_daemon(store: &Store) -> bool {
    matches!(store.inner.engine, Engine::Sqlite(_))
}

/// With `STORE_ENGINE=postgres`, a configuration with the data directory's database on the PostgreSQL server of the tests.
#[cfg(feature = "cluster")]
pub(super) fn cluster_config(data_dir: &Path) -> Option<crate::config::Config> {
    if std::env::var_os("STORE_ENGINE")? != "postgres" || SQLITE_ONLY.get() {
        return None;
    }
    Some(daemon_config(data_dir, data_dir))
}

/// The configuration of a daemon with the database of the directory `database_of` on the PostgreSQL server of the tests.
#[cfg(feature = "cluster")]
pub(crate) fn daemon_config(database_of: &std::path::Path, data_dir: &std::path::Path) -> crate::config::Config {
    let find = || super::engine::postgres::testing::cluster().database_of(database_of);
    // The client has its own Tokio runtime, which cannot be used on a thread of another one.
    let store = std::thread::scope(|scope| scope.spawn(find).join().unwrap());
    crate::config::Config { data_dir: crate::config::DataDir(data_dir.to_owned()), store, ..Default::default() }
}

/// The stores of two daemons on one PostgreSQL database, with an account.
#[cfg(feature = "cluster")]
pub(crate) async fn two_daemons() -> (TempDir, Store, Store, AccountId) {
    let dir = tempfile::tempdir().unwrap();
    let open = |name| {
        let data_dir = dir.path().join(name);
        let disk = crate::resources::disk::FreeDisk::new(&data_dir, 0);
        Store::from_config(&daemon_config(dir.path(), &data_dir), disk).unwrap()
    };
    let (one, two) = (open("one"), open("two"));
    let account = account(&one).await;
    (dir, one, two, account)
}

/// All events of the account, at most 1,000, once the transactions that were open before them have ended: on PostgreSQL, also those of other
/// tests.
pub(crate) async fn settled(store: &Store, account: &AccountId) -> Vec<LoggedEvent> {
    loop {
        let page = store.events_after(account, None, Cursor::default(), 1000).await.unwrap();
        if page.is_settled {
            return page.events;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The event of a token.
#[cfg(feature = "cluster")]
pub(crate) fn revoked() -> (TokenId, crate::events::Event) {
    let token_id = TokenId::new();
    (token_id.clone(), crate::events::Event::TokenRevoked { token_id })
}

/// A transaction that has published an event and commits when the returned `Sender` sends.
#[cfg(feature = "cluster")]
pub(crate) async fn held_open(
    store: &Store,
    account: &AccountId,
) -> (TokenId, std::sync::mpsc::Sender<()>, tokio::task::JoinHandle<()>) {
    let ((token, event), account, store) = (revoked(), account.clone(), store.clone());
    let ((go, goes), (begun, mut begins)) = (std::sync::mpsc::channel(), tokio::sync::mpsc::unbounded_channel());
    let goes: std::sync::Mutex<std::sync::mpsc::Receiver<()>> = std::sync::Mutex::new(goes);
    let work = move |transaction: &Transaction<'_>| {
        transaction.publish(&account, event.clone())?;
        begun.send(()).unwrap();
        goes.lock().unwrap().recv().unwrap();
        Ok::<_, StoreError>(())
    };
    let open = tokio::spawn(async move { store.write(work).await.unwrap() });
    begins.recv().await.unwrap();
    (token, go, open)
}

#[cfg(feature = "cluster")]
impl Store {
    fn postgres(&self) -> &super::engine::postgres::Postgres {
        match &self.inner.engine {
            super::engine::Engine::Postgres(engine) => engine,
            super::engine::Engine::Sqlite(_) => panic!("the store is not on PostgreSQL"),
        }
    }

    /// From now on it looks at other daemons' events so seldom, but for notifications.
    pub(crate) fn looks_every(&self, pause: std::time::Duration) {
        self.postgres().looks_every(pause);
    }

    /// From now on it does not notify other daemons.
    pub(crate) fn loses_notifications(&self) {
        self.postgres().loses_notifications();
    }
}

/// The configurations of daemons that share a new PostgreSQL database, each with its data directory.
#[cfg(feature = "cluster")]
pub(crate) fn daemons<const N: usize>() -> [(TempDir, crate::config::Config); N] {
    let mut shared = None;
    std::array::from_fn(|_| {
        let dir = tempfile::tempdir().unwrap();
        let find = || super::engine::postgres::testing::cluster().database_of(dir.path());
        let find = || std::thread::scope(|scope| scope.spawn(find).join().unwrap());
        let store = shared.get_or_insert_with(find).clone();
        let data_dir = crate::config::DataDir(dir.path().to_owned());
        (dir, crate::config::Config { data_dir, store, ..Default::default() })
    })
}

/// Copies the data directory of a closed store, and its database.
pub(crate) fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        assert!(entry.file_type().unwrap().is_file());
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    #[cfg(feature = "cluster")]
    if cluster_config(from).is_some() {
        let copy = || super::engine::postgres::testing::cluster().copy(from, to);
        std::thread::scope(|scope| scope.spawn(copy).join().unwrap());
    }
}

/// A new store with one account. The directory is removed on drop.
pub(crate) async fn store_with_account() -> (TempDir, Store, AccountId) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let account = account(&store).await;
    (dir, store, account)
}

/// The number of queued writes of an account.
pub(crate) fn waiting_writes(store: &Store, account: &AccountId) -> usize {
    match &store.inner.engine {
        Engine::Sqlite(engine) => engine.waiting(&Owner::Account(account.clone())),
        #[cfg(feature = "cluster")]
        Engine::Postgres(_) => panic!("PostgreSQL has no queue of writes"),
    }
}

/// Creates an account.
pub(crate) async fn account(store: &Store) -> AccountId {
    let id = AccountId::new();
    let created = id.clone();
    store
        .write(move |c| {
            c.execute("INSERT INTO account (id, name, created_at) VALUES (?1, 'test', 0)", params![created])?;
            Ok::<_, StoreError>(())
        })
        .await
        .unwrap();
    id
}

/// Creates an inbox with its standard mailboxes.
pub(crate) async fn inbox(store: &Store, account: &AccountId, name: &str) -> InboxId {
    let id = InboxId::new();
    let (created, account, name) = (id.clone(), account.clone(), name.to_owned());
    store
        .write(move |c| {
            let sql = "INSERT INTO inbox (id, account_id, name, created_at, updated_at) VALUES (?1, ?2, ?3, 0, 0)";
            c.execute(sql, params![created, account, name])?;
            mailboxes::create_standard(c, &created)
        })
        .await
        .unwrap();
    id
}

/// Asserts that `due_account` matches the jobs.
pub(crate) async fn assert_due(store: &Store) {
    let stored = "SELECT kind, account_id, due_at FROM due_account WHERE due_at IS NOT NULL ORDER BY kind, account_id";
    let expected = "SELECT kind, account_id, min(ready) FROM (
            SELECT 'delivery' AS kind, account_id, ready_at AS ready FROM delivery
            UNION ALL SELECT 'requested_check', account_id, asked_ready_at FROM custom_domain
            UNION ALL SELECT 'check', account_id, ready_at FROM custom_domain
            UNION ALL SELECT 'rotation', account_id, ready_at FROM dkim_rotation
            UNION ALL SELECT 'webhook', account_id, ready_at FROM webhook_delivery) job
        WHERE ready IS NOT NULL GROUP BY kind, account_id ORDER BY kind, account_id";
    let read = store.read(move |c| {
        let rows = |sql| c.query(sql, params![], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        Ok::<[Vec<(String, String, i64)>; 2], StoreError>([rows(stored)?, rows(expected)?])
    });
    let [stored, expected] = read.await.unwrap();
    assert_eq!(stored, expected, "due_account differs from the jobs");
}

/// Makes the check of a claim due at `at`.
pub(crate) async fn set_check_due(store: &Store, account: &AccountId, id: &DomainId, at: Timestamp) {
    let (account, id) = (account.clone(), id.clone());
    let work = move |c: &Transaction<'_>| {
        c.execute("UPDATE custom_domain SET next_check_at = ?2 WHERE id = ?1", params![id, at])?;
        due::changed(c, due::Kind::Check, &account)
    };
    store.write::<_, StoreError, _>(work).await.unwrap();
}

/// Stores a message in INBOX.
pub(crate) async fn put(store: &Store, inbox: &InboxId, raw: &[u8]) -> Delivered {
    let inbox = inbox.clone();
    let end = raw.windows(4).position(|w| w == b"\r\n\r\n").map_or(raw.len(), |at| at + 4);
    let (header, body) = (raw[..end].to_vec(), raw[end..].to_vec());
    let body = store.prepare_body(body.into()).await.unwrap();
    store
        .write(move |c| {
            let body_id = bodies::insert(c, &body)?;
            let new = NewMessage {
                id: MessageId::new(),
                inbox: &inbox,
                mailbox: inbox_mailbox(c, &inbox)?,
                content: content::insert_content(c, &header, body_id, body.len())?,
                flags: Flags::default(),
                keywords: "",
                mail_from: "",
                rcpt_to: "",
                internal_date: Timestamp::real(),
                threading: &Threading::of(&header),
            };
            message_rows::insert(c, &new)
        })
        .await
        .unwrap()
}

/// Copies the first message of a mailbox `count` times, at least once, into the same mailbox.
pub(crate) async fn fill(store: &Store, inbox: &InboxId, mailbox: MailboxId, count: u32, flags: Flags) {
    let inbox = inbox.clone();
    let copies = move |c: &Transaction<'_>| {
        let first = "SELECT content_id FROM message WHERE mailbox_id = ?1 ORDER BY uid LIMIT 1";
        let content = c.query_row(first, params![mailbox], |row| row.get(0))?;
        let (internal_date, threading) = (Timestamp::real(), Threading::default());
        let new = || NewMessage {
            id: MessageId::new(),
            inbox: &inbox,
            mailbox,
            content,
            flags,
            keywords: "",
            mail_from: "",
            rcpt_to: "",
            internal_date,
            threading: &threading,
        };
        let one = message_rows::insert(c, &new())?;
        let next = mailboxes::next_uids(c, mailbox, count - 1)?;
        let parts = parts::of(c, &inbox, mailbox)?;
        let copies = (next.first_uid..).take(count as usize - 1).map(|to| Going { part: parts[0], uid: one.uid, to });
        message_rows::copy(c, &inbox, &copies.collect::<Vec<_>>(), mailbox, next.modseq).map(|_| ())
    };
    store.write::<_, StoreError, _>(copies).await.unwrap();
}

/// Inserts a verified claim to acme.test with these tokens.
pub(crate) async fn claim(store: &Store, account: &AccountId, id: &DomainId, tokens: &str) {
    let (account, id, tokens) = (account.clone(), id.clone(), tokens.to_owned());
    store
        .write(move |c| {
            c.execute(
                "INSERT INTO custom_domain (id, account_id, name, status, takes_mail, dkim_tokens, verified_at, created_at, updated_at)
                 VALUES (?1, ?2, 'acme.test', 'verified', 1, ?3, 0, 0, 0)",
                params![id, account, tokens],
            )?;
            Ok::<_, StoreError>(())
        })
        .await
        .unwrap();
}

/// Sets the status of a claim's three DKIM records.
pub(crate) async fn dkim_records(store: &Store, domain: &DomainId, statuses: [&'static str; 3]) {
    let domain = domain.clone();
    store
        .write(move |c| {
            let sql = "SELECT dkim_tokens, name FROM custom_domain WHERE id = ?1";
            let (tokens, name): (String, String) =
                c.query_row(sql, params![&domain], |row| Ok((row.get(0)?, row.get(1)?)))?;
            for (token, status) in tokens.split(' ').zip(statuses) {
                let sql = "INSERT INTO domain_record (domain_id, purpose, name, status, observed, said, checked_at)
                           VALUES (?1, 'dkim', ?2, ?3, '[]', '[]', 0)
                           ON CONFLICT (domain_id, purpose, name) DO UPDATE SET status = excluded.status";
                c.execute(sql, params![domain, format!("{token}._domainkey.{name}"), status])?;
            }
            Ok::<_, StoreError>(())
        })
        .await
        .unwrap();
}

/// Leases the check of a claim and records its result.
pub(crate) async fn record_check(store: &Store, report: Report, policy: Policy, now: Timestamp) {
    let (runner, id) = (RunnerId::new(), report.domain.clone());
    let owner = runner.clone();
    let lease = "UPDATE custom_domain SET lease_owner = ?2 WHERE id = ?1";
    store.write(move |c| c.execute(lease, params![id, owner])).await.unwrap();
    store.domain_record_check(runner, report, None, policy, now, 0).await.unwrap().unwrap();
}

/// For [`Store::submission_accept`].
pub(crate) const NO_LIMITS: SendLimits = SendLimits { queue_size: u64::MAX, thread_messages_per_hour: u32::MAX };

/// A message from an inbox named `hello` to remote recipients, due at once.
pub(crate) fn outgoing(account: &AccountId, inbox: &InboxId, rcpt_to: &[&str], body: &[u8]) -> NewSubmission {
    let from: Address = "hello@inboxlayer.dev".parse().unwrap();
    NewSubmission {
        send_at: None,
        note: Note::default(),
        id: SubmissionId::new(),
        account: account.clone(),
        inbox: inbox.clone(),
        inbox_name: "hello".parse().unwrap(),
        token: TokenId::new(),
        login_address: from.clone(),
        identity: SendIdentity::Platform { address: from.clone() },
        mail_from: from,
        fallback: None,
        held_for: None,
        original_header: b"Subject: x\r\n\r\n".to_vec(),
        is_unsigned: false,
        outgoing_header: b"DKIM-Signature: y\r\nSubject: x\r\n\r\n".to_vec(),
        body: body.to_vec().into(),
        parameters: MailParameters::default(),
        rcpt_to: rcpt_to.iter().map(|address| address.parse::<Address>().unwrap().into()).collect(),
        local: None,
        sent: None,
        protocol: "ESMTPSA",
        client: None,
        arrived_at: Timestamp::real(),
        now: Timestamp::from_millis(0),
        expires_at: Timestamp::from_millis(24 * 3600 * 1000),
    }
}

/// Indexes all of an account's mail.
pub(crate) async fn index_all(store: &Store, account: &AccountId) {
    loop {
        let (messages, has_more) = store.search_unindexed(account, None, 3).await.unwrap();
        let mut batch = Vec::new();
        for message in messages {
            let raw = store.message_raw(&message.inbox, &message.id).await.unwrap().unwrap();
            let grams = Grams::of_message(&raw.header, &raw.body, &ReadLimits::default()).unwrap();
            batch.push(Indexed { message, outcome: Outcome::Grams(grams), overview: None });
        }
        store.search_index(account, None, batch).await.unwrap();
        if !has_more {
            return;
        }
    }
}
