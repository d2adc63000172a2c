//! The index is filled in batches, by turns of accounts, and after a crash.

use super::*;
use crate::config::Config;
use crate::id::InboxId;
use crate::jobs::LEASE;
use crate::message::grams::Place;
use crate::resources::reading::ReadingLog;
use crate::resources::work::WorkPool;
use crate::store::emails::EmailFilter;
use crate::store::search::candidates::SearchIn;
use crate::store::testing::{account, inbox, put, store_with_account};

const MINUTE: Duration = Duration::from_secs(60);

fn service(dir: &std::path::Path, store: &Store, clock: &Clock) -> SearchIndex {
    let config = Config::default();
    let reading = Reading::new(&config, WorkPool::default(), ReadingLog::default());
    let spool = Spool::open(dir, &config.limits).unwrap();
    SearchIndex::new(store.clone(), clock.clone(), reading, &spool)
}

async fn fill(store: &Store, inbox: &InboxId, count: usize) {
    for n in 0..count {
        put(store, inbox, format!("Subject: needle {n}\r\n\r\ntext\r\n").as_bytes()).await;
    }
}

async fn candidates(store: &Store, account: &AccountId, word: &str) -> usize {
    let of = SearchIn { account: account.clone(), inboxes: None };
    let grams = Grams::of_terms([(Place::Anywhere, word)], false);
    store.candidates(of, grams, EmailFilter::default(), 1000).await.unwrap().rows.len()
}

#[tokio::test]
async fn mail_is_indexed_some_time_after_it_arrived() {
    let (dir, store, account) = store_with_account().await;
    let clock = Clock::manual();
    let search = service(dir.path(), &store, &clock);
    let inbox = inbox(&store, &account, "one").await;
    fill(&store, &inbox, 70).await;
    search.settle().await;
    assert_eq!(store.search_tail_size().await.unwrap(), 70, "it may not be complete yet");
    let due = search.runner.next_due().await.unwrap();
    assert!(due > clock.now() && due < clock.now().after(MINUTE), "{due}");
    clock.advance_to(clock.now().after(MINUTE));
    search.settle().await;
    assert_eq!(store.search_tail_size().await.unwrap(), 0);
    assert_eq!((candidates(&store, &account, "needle").await, candidates(&store, &account, "hay").await), (70, 0));
    assert_eq!(search.runner.next_due().await, None);
}

#[tokio::test]
async fn after_a_crash_the_index_goes_on_where_it_was() {
    let (dir, store, account) = store_with_account().await;
    let clock = Clock::manual();
    let inbox = inbox(&store, &account, "one").await;
    fill(&store, &inbox, 100).await;
    clock.advance_to(clock.now().after(MINUTE));
    // A batch is stored, the next one is claimed, and the process is gone.
    let dead = service(dir.path(), &store, &clock);
    let indexing = dead.runner.work();
    let claim = || Claim {
        now: clock.now(),
        lease: crate::store::jobs::Lease { runner: store.lease_owner(), until: clock.now().after(LEASE) },
        places: Places::all_free(2),
        running: std::collections::HashSet::new(),
    };
    let first = claim();
    let runner = first.lease.runner.clone();
    assert_eq!(indexing.claim(first, false).await.unwrap().len(), 1);
    assert!(indexing.batch(&account, Some(runner), Some(clock.now())).await.unwrap());
    assert_eq!(indexing.claim(claim(), false).await.unwrap().len(), 1);
    assert_eq!(store.search_tail_size().await.unwrap(), 100 - u64::from(BATCH));
    assert_eq!(candidates(&store, &account, "needle").await, 100);

    let search = service(dir.path(), &store, &clock);
    assert_eq!(search.runner.work().claim(claim(), false).await.unwrap().len(), 0, "leased");
    let late = RunnerId::new();
    let (message, _) = store.search_unindexed(&account, None, 1).await.unwrap();
    let batch =
        message.into_iter().map(|message| Indexed { message, outcome: Outcome::LeftOut, overview: None }).collect();
    store.search_index(&account, Some(late), batch).await.unwrap();
    assert_eq!(store.search_tail_size().await.unwrap(), 100 - u64::from(BATCH), "another's lease");
    clock.advance_to(clock.now().after(LEASE));
    search.settle().await;
    assert_eq!(store.search_tail_size().await.unwrap(), 0);
    assert_eq!((candidates(&store, &account, "needle").await, candidates(&store, &account, "hay").await), (100, 0));
}

#[tokio::test]
async fn accounts_take_turns() {
    let (dir, store, many) = store_with_account().await;
    let (clock, few) = (Clock::manual(), account(&store).await);
    let (long, short) = (inbox(&store, &many, "long").await, inbox(&store, &few, "short").await);
    fill(&store, &long, 200).await;
    fill(&store, &short, 1).await;
    clock.advance_to(clock.now().after(MINUTE));
    let search = service(dir.path(), &store, &clock);
    let shutdown = Shutdown::new();
    shutdown.spawn(search.run(shutdown.clone()));
    // The one message of the other account does not wait for the many.
    loop {
        let left = store.search_tail_size().await.unwrap();
        let (waiting, _) = store.search_unindexed(&few, None, 1).await.unwrap();
        if waiting.is_empty() {
            assert!(left > 0, "the many are done, or a test machine was stopped");
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    shutdown.request();
    assert!(shutdown.finished(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn the_index_is_built_anew_with_a_report_of_how_far_it_is() {
    let (dir, store, account) = store_with_account().await;
    let clock = Clock::manual();
    let search = service(dir.path(), &store, &clock);
    let inbox = inbox(&store, &account, "one").await;
    fill(&store, &inbox, 70).await;
    let mut reports = Vec::new();
    assert_eq!(search.rebuild(|done, of| reports.push((done, of))).await.unwrap(), 70);
    assert_eq!((reports.first(), reports.last()), (Some(&(u64::from(BATCH), 70)), Some(&(70, 70))));
    fill(&store, &inbox, 1).await;
    assert_eq!(search.rebuild(|_, _| {}).await.unwrap(), 71);
    assert_eq!((candidates(&store, &account, "needle").await, candidates(&store, &account, "hay").await), (71, 0));
}
