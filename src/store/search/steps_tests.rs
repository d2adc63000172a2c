//! What a search costs does not depend on other accounts: counted in steps, not in time.

use super::*;
use crate::store::Store;
use crate::store::engine::search::Document;
use crate::store::testing::{has_one_daemon, store_with_account};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A trigram that every document has, and one that few have.
const COMMON: u32 = 1;
const RARE: u32 = 2;

/// Adds documents of an account: each has the common trigram, every `rare`th also the rare one, and a hundred others.
async fn add(store: &Store, account: i64, numbers: Range<i64>, rare: i64) {
    let all: Vec<i64> = numbers.collect();
    for some in all.chunks(200) {
        let some = some.to_vec();
        let work = move |c: &Transaction<'_>| {
            for number in &some {
                let others = (0..100_u64).map(|n| 1000 + (number.unsigned_abs() * 7919 + n * n * 104_729) % 20_000);
                let mut grams: Vec<u32> = others.filter_map(|n| n.try_into().ok()).chain([COMMON]).collect();
                grams.extend((number % rare == 0).then_some(RARE));
                grams.sort_unstable();
                grams.dedup();
                let number = (account << BITS) + number;
                c.index_insert(&Document { number, message: &MessageId::new(), grams: &grams })?;
            }
            Ok::<_, StoreError>(())
        };
        store.write(work).await.unwrap();
    }
}

/// How many documents of an account have the trigrams, and the steps that it takes to find them: instructions of SQLite's virtual machine,
/// of which each page of the index takes some, or pages that PostgreSQL looks at.
async fn steps(dir: &Path, store: &Store, account: i64, documents: i64, grams: &'static [u32]) -> (usize, u64) {
    let within = (account << BITS)..(account << BITS) + documents;
    if !has_one_daemon(store) {
        return pages(store, within, grams).await;
    }
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let mut reader = rusqlite::Connection::open_with_flags(dir.join("inboxlayer.db"), flags).unwrap();
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    let handler = move || {
        counter.fetch_add(1, Ordering::Relaxed);
        false
    };
    reader.progress_handler(1, Some(handler)).unwrap();
    let (sql, words) = crate::store::engine::sqlite::search::statement(grams);
    let mut statement = reader.prepare(sql).unwrap();
    let rows = statement.query_map((words, within.start, within.end, 20), |row| row.get::<_, i64>(0)).unwrap();
    let found = rows.map(Result::unwrap).count();
    (found, count.load(Ordering::Relaxed))
}

#[cfg(not(feature = "cluster"))]
async fn pages(_: &Store, _: Range<i64>, _: &'static [u32]) -> (usize, u64) {
    unreachable!("all stores are on SQLite")
}

#[cfg(feature = "cluster")]
async fn pages(store: &Store, within: Range<i64>, grams: &'static [u32]) -> (usize, u64) {
    let read = store.read(move |c| {
        let found = c.index_find(grams, within.clone(), 20)?.numbers.len();
        let mut pages = 0;
        for sql in crate::store::engine::postgres::search::statements(grams, within.clone()) {
            let sql = format!("EXPLAIN (ANALYZE, BUFFERS) {sql}");
            let lines: Vec<String> = c.query(&sql, params![], |row| row.get(0))?;
            let of_all = lines.iter().find_map(|line| line.trim().strip_prefix("Buffers: shared "));
            let counts = of_all.unwrap_or_default().split([' ', '=']);
            pages += counts.filter_map(|word| word.parse::<u64>().ok()).sum::<u64>();
        }
        Ok::<_, StoreError>((found, pages))
    });
    read.await.unwrap()
}

#[tokio::test]
async fn a_search_takes_the_same_steps_however_much_mail_other_accounts_have() {
    let (dir, store, _) = store_with_account().await;
    add(&store, 2, 0..40, 1000).await;
    let mut before: Option<[(usize, u64); 3]> = None;
    let mut others = 0;
    for count in [500, 8000] {
        // On both sides of it.
        add(&store, 1, others..count, 3).await;
        add(&store, 3, others..count, 3).await;
        others = count;
        if !has_one_daemon(&store) {
            store.write(|c| c.execute("ANALYZE search_document", params![])).await.unwrap();
        }
        let mut now = [(0, 0); 3];
        for (steps_of, grams) in now.iter_mut().zip([&[COMMON][..], &[RARE], &[COMMON, RARE]]) {
            *steps_of = steps(dir.path(), &store, 2, 40, grams).await;
        }
        assert_eq!(now.map(|(found, _)| found), [20, 1, 1]);
        for ((_, few), (_, many)) in before.iter().flatten().zip(now) {
            assert!(many <= 3 * few, "{few} steps beside 1,000 documents, {many} beside 16,000");
        }
        before = Some(now);
    }
    // And it is not all that cheap: what it has to go through costs.
    let (found, many) = steps(dir.path(), &store, 1, others, &[COMMON]).await;
    println!("steps: {before:?}; {found} documents of many: {many}");
}
