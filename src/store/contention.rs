//! Concurrent writes of two daemons on one PostgreSQL database: conflicts, hot rows, and a shared queue.

use super::deliver::LocalDelivery;
use super::engine::postgres::testing::{Cluster, cluster, small_cluster};
use super::hot_rows::HotRow;
use super::jobs::Claim;
use super::params;
use super::queue::{End, Ended, NewSubmission, Settled, Settlement};
use super::routing::Route;
use super::testing::{NO_LIMITS, account, assert_due, inbox, limits, outgoing};
use super::{Store, StoreError, Transaction, bodies, mailbox_tree};
use crate::address::{Address, DomainName, ReversePath};
use crate::clock::Timestamp;
use crate::config::Config;
use crate::config::DataDir;
use crate::envelope::Recipients;
use crate::id::{AccountId, DeliveryId, InboxId};
use crate::resources::concurrency::{DestinationLimits, Scope};
use crate::resources::disk::FreeDisk;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

mod alone;

/// Two stores on one database.
struct Pair {
    _directories: [TempDir; 2],
    stores: [Store; 2],
}

impl Pair {
    async fn open() -> Self {
        Self::on(cluster).await
    }

    async fn on(cluster: fn() -> &'static Cluster) -> Self {
        tokio::task::spawn_blocking(move || {
            let directories = [(); 2].map(|()| tempfile::tempdir().unwrap());
            let settings = cluster().database_of(directories[0].path());
            let stores = directories.each_ref().map(|directory| {
                let data_dir = DataDir(directory.path().to_owned());
                let store = crate::config::Store { write_connections: 8, ..settings.clone() };
                let config = Config { data_dir, store, ..Config::default() };
                Store::from_config(&config, FreeDisk::new(directory.path(), 0)).unwrap()
            });
            Self { _directories: directories, stores }
        })
        .await
        .unwrap()
    }

    /// Runs `each` for the numbers below `count`, `at_once` at a time, on both stores. Returns the duration.
    async fn run<F: Future<Output = ()> + Send + 'static>(
        &self,
        count: usize,
        at_once: usize,
        each: impl Fn(Store, usize) -> F + Clone + Send + 'static,
    ) -> Duration {
        let start = Instant::now();
        let tasks = (0..at_once).map(|task| {
            let (store, each) = (self.stores[task % 2].clone(), each.clone());
            tokio::spawn(async move {
                for number in (task..count).step_by(at_once) {
                    each(store.clone(), number).await;
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        start.elapsed()
    }
}

/// Delivers a message, and counts the runs of the verb. Returns the UID.
async fn deliver(store: &Store, name: &str, serialized: bool, runs: &Arc<AtomicUsize>) -> u32 {
    let platform = DomainName::parse("inboxlayer.dev").unwrap();
    let address: Address = format!("{name}@inboxlayer.dev").parse().unwrap();
    let Route::Inbox(recipient) = store.route(&platform, &address, Timestamp::real()).await.unwrap() else {
        panic!("no inbox {name}");
    };
    let delivery = LocalDelivery {
        mail_from: ReversePath::Null,
        recipients: Recipients::new(vec![recipient]).unwrap(),
        header: format!("Message-ID: <{}@test>\r\n\r\n", ulid::Ulid::new()).into_bytes(),
        received_at: Timestamp::real(),
    };
    let body = store.prepare_body(format!("{}\r\n", ulid::Ulid::new()).into_bytes().into()).await.unwrap();
    let (hot_rows, runs) = (if serialized { delivery.hot_rows() } else { Vec::new() }, Arc::clone(runs));
    let work = move |c: &Transaction<'_>| {
        runs.fetch_add(1, Ordering::Relaxed);
        let id = bodies::insert(c, &body)?;
        Ok::<_, StoreError>(delivery.deliver(c, id, body.len())?[0].uid)
    };
    store.write_serialized(&hot_rows, work).await.unwrap()
}

fn message(account: &AccountId, inbox: &InboxId, rcpt_to: &str) -> NewSubmission {
    let body = format!("{}\r\n", ulid::Ulid::new());
    outgoing(account, inbox, &[rcpt_to], body.as_bytes())
}

const MESSAGES: usize = 200;

/// Delivers [`MESSAGES`] messages to `mailboxes` mailboxes, sixteen at a time. Returns the number of runs of the verb, and the
/// UIDs.
async fn deliveries(pair: &Pair, mailboxes: usize, serialized: bool) -> (usize, Vec<u32>) {
    for number in 0..mailboxes {
        let owner = account(&pair.stores[0]).await;
        inbox(&pair.stores[0], &owner, &format!("to{serialized}{mailboxes}-{number}")).await;
    }
    let (runs, uids) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (counted, seen) = (Arc::clone(&runs), Arc::clone(&uids));
    let each = move |store: Store, number: usize| {
        let (runs, uids) = (Arc::clone(&counted), Arc::clone(&seen));
        async move {
            let name = format!("to{serialized}{mailboxes}-{}", number % mailboxes);
            let uid = deliver(&store, &name, serialized, &runs).await;
            uids.lock().unwrap().push(uid);
        }
    };
    let took = pair.run(MESSAGES, 16, each).await;
    let (runs, mut uids) = (runs.load(Ordering::Relaxed), uids.lock().unwrap().clone());
    println!("{MESSAGES} messages to {mailboxes} mailboxes, serialized: {serialized}: {runs} runs, {took:?}");
    uids.sort_unstable();
    (runs, uids)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_turns_deliveries_of_two_daemons_to_one_mailbox_conflict_less() {
    let pair = Pair::open().await;
    let all: Vec<u32> = (1..).take(MESSAGES).collect();
    let (without, uids) = deliveries(&pair, 1, false).await;
    assert_eq!(uids, all);
    let (runs, uids) = deliveries(&pair, 1, true).await;
    assert_eq!(uids, all);
    assert!(without > runs, "without hot rows: {without} runs, with hot rows: {runs}");
    deliveries(&pair, 16, false).await;
    deliveries(&pair, 16, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_submissions_of_one_account_are_all_queued() {
    let pair = Pair::open().await;
    let owner = account(&pair.stores[0]).await;
    let hello = inbox(&pair.stores[0], &owner, "hello").await;
    let sender = owner.clone();
    let each = move |store: Store, _| {
        let new = message(&sender, &hello, "a@example.org");
        async move { store.submission_accept(new, NO_LIMITS, limits(u64::MAX).quota).await.unwrap() }
    };
    println!("{MESSAGES} submissions of one account: {:?}", pair.run(MESSAGES, 16, each).await);
    let all = pair.stores[1].queue_list(Some(owner), None, 1000).await.unwrap();
    assert_eq!(all.len(), MESSAGES);
    assert_due(&pair.stores[1]).await;
}

/// Claims and settles due deliveries until the queue is empty. Returns them.
async fn empty_queue(store: Store) -> Vec<DeliveryId> {
    let (now, mut taken) = (Timestamp::from_millis(1000), Vec::new());
    loop {
        let claim = Claim::new(now, now.after(Duration::from_secs(3600)), 24);
        let claimed = store.claim_due(claim, DestinationLimits::new(Scope::Domain, 20)).await.unwrap();
        if claimed.due.is_empty() {
            let count = |c: &Transaction<'_>| c.exists("SELECT 1 FROM delivery", params![]);
            match store.read(count).await.unwrap() {
                true => continue,
                false => return taken,
            }
        }
        let settled = claimed.due.into_iter().map(|due| {
            let store = store.clone();
            tokio::spawn(async move {
                let taken: Vec<DeliveryId> = due.deliveries.iter().map(|delivery| delivery.id.clone()).collect();
                let done = taken.iter().map(|id| Ended {
                    delivery: id.clone(),
                    end: End::Delivered,
                    reply: "250 2.0.0 taken".to_owned(),
                    mx: None,
                });
                let settlement = Settlement {
                    submission: due.queued.id.clone(),
                    account: due.queued.account.clone(),
                    runner: due.runner.clone(),
                    done: done.collect(),
                    deferred: Vec::new(),
                    local: None,
                    reports: Vec::new(),
                    at: now,
                    received_at: Timestamp::real(),
                };
                let settled = store.delivery_settle(settlement.into(), limits(u64::MAX).quota).await.unwrap();
                assert_eq!(settled, Settled::Recorded);
                taken
            })
        });
        for attempt in settled.collect::<Vec<_>>() {
            taken.extend(attempt.await.unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_delivery_is_claimed_by_one_of_two_daemons() {
    let pair = Pair::open().await;
    for daemons in [1, 2] {
        for number in 0..6 {
            let owner = account(&pair.stores[0]).await;
            let from = inbox(&pair.stores[0], &owner, &format!("from{daemons}-{number}")).await;
            for message_number in 0..40 {
                let new = message(&owner, &from, &format!("a@to{}.example", message_number % 5));
                pair.stores[0].submission_accept(new, NO_LIMITS, limits(u64::MAX).quota).await.unwrap();
            }
        }
        let start = Instant::now();
        let tasks: Vec<_> = pair.stores.iter().take(daemons).map(|s| tokio::spawn(empty_queue(s.clone()))).collect();
        let mut taken = Vec::new();
        for task in tasks {
            taken.push(task.await.unwrap());
        }
        println!("240 deliveries by {daemons}: {:?}", start.elapsed());
        assert_eq!(taken.iter().map(Vec::len).sum::<usize>(), 240, "each is settled once");
        assert_eq!(taken.iter().flatten().collect::<BTreeSet<_>>().len(), 240, "none is claimed twice");
        assert!(taken.iter().all(|of_one| !of_one.is_empty()), "both daemons claim deliveries");
        assert_due(&pair.stores[0]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn accounts_make_mailboxes_at_the_same_time_and_no_uidvalidity_comes_twice_in_one() {
    let pair = Pair::open().await;
    let (mut accounts, mut inboxes) = (Vec::new(), Vec::new());
    for number in 0..8 {
        let owner = account(&pair.stores[0]).await;
        for half in ["a", "b"] {
            inboxes.push(inbox(&pair.stores[0], &owner, &format!("makes{number}{half}")).await);
        }
        accounts.push(owner);
    }
    let runs = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&runs);
    let each = move |store: Store, number: usize| {
        let (inbox, runs) = (inboxes[number % inboxes.len()].clone(), Arc::clone(&counted));
        async move {
            let hot_row = [HotRow::Inbox(inbox.clone())];
            let make = move |c: &Transaction<'_>| {
                runs.fetch_add(1, Ordering::Relaxed);
                mailbox_tree::create(c, &inbox, &format!("m{number}"))
            };
            store.write_serialized(&hot_row, make).await.unwrap();
        }
    };
    let took = pair.run(MESSAGES, 16, each).await;
    println!("{MESSAGES} mailboxes of 8 accounts: {} runs, {took:?}", runs.load(Ordering::Relaxed));
    for owner in accounts {
        let twice = move |c: &Transaction<'_>| {
            let sql =
                "SELECT count(*) - count(DISTINCT m.uid_validity) FROM mailbox m JOIN inbox i ON i.id = m.inbox_id
                       WHERE i.account_id = ?1";
            c.query_row(sql, params![owner], |row| row.get::<i64>(0))
        };
        assert_eq!(pair.stores[0].read::<_, StoreError, _>(twice).await.unwrap(), 0);
    }
}
