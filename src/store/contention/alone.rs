//! Writes that others run into again and again are done, and what they cost the others is bounded.

use super::*;
use tokio::task::JoinHandle;

/// Adds one to a row of `of` again and again, in writes of `owners` accounts: how often each has.
async fn busy(pair: &Pair, of: &AccountId, owners: usize) -> Vec<(Arc<AtomicUsize>, JoinHandle<()>)> {
    let mut writers = Vec::new();
    for number in 0..owners {
        let owner = account(&pair.stores[0]).await;
        let (store, of, counted) =
            (pair.stores[number % 2].for_account(&owner), of.clone(), Arc::<AtomicUsize>::default());
        let count = Arc::clone(&counted);
        let writing = tokio::spawn(async move {
            loop {
                let of = of.clone();
                let add = move |c: &Transaction<'_>| {
                    c.execute("UPDATE account SET queued = queued + 1 WHERE id = ?1", params![of])
                };
                store.write::<_, StoreError, _>(add).await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        writers.push((counted, writing));
    }
    writers
}

/// The numbers of writes, none of which has failed.
fn ended(writers: Vec<(Arc<AtomicUsize>, JoinHandle<()>)>) -> Vec<usize> {
    let ended = |(count, writing): (Arc<AtomicUsize>, JoinHandle<()>)| {
        assert!(!writing.is_finished(), "a short write failed");
        writing.abort();
        count.load(Ordering::Relaxed)
    };
    writers.into_iter().map(ended).collect()
}

/// A write that takes `time`, in which others change what it has read; counts its runs.
async fn slow(store: Store, of: AccountId, time: Duration, runs: Arc<AtomicUsize>) -> Result<usize, StoreError> {
    let slow = move |c: &Transaction<'_>| {
        runs.fetch_add(1, Ordering::Relaxed);
        let sql = "SELECT queued FROM account WHERE id = ?1";
        let queued: i64 = c.query_row(sql, params![of], |row| row.get(0))?;
        std::thread::sleep(time);
        c.execute("UPDATE account SET queued = ?2 WHERE id = ?1", params![of, queued + 1])
    };
    store.write(slow).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_always_conflicts_with_others_succeeds() {
    let pair = Pair::open().await;
    let of = account(&pair.stores[0]).await;
    let others = busy(&pair, &of, 8).await;
    // Ten runs of the long one take longer than a write is tried after a lost connection.
    for (time, count) in [(Duration::from_millis(100), 5), (Duration::from_millis(1200), 1)] {
        let runs = Arc::<AtomicUsize>::default();
        for number in 0..count {
            slow(pair.stores[number % 2].clone(), of.clone(), time, Arc::clone(&runs)).await.unwrap();
        }
        let runs = runs.load(Ordering::Relaxed);
        println!("{count} writes of {time:?} were run {runs} times");
        // Ten that conflict, and the one that runs alone.
        assert!(runs <= count * 11, "{runs} runs of {count} writes");
    }
    println!("short writes beside them: {:?}", ended(others));
}

/// PostgreSQL summarizes ended transactions while one is open that is older: ten for each connection that the server allows.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_conflicts_succeeds_while_a_transaction_of_another_database_is_open() {
    const ENDED: usize = 1500;
    let pair = Pair::on(small_cluster).await;
    let of = account(&pair.stores[0]).await;
    let open = tokio::task::spawn_blocking(|| {
        let session = small_cluster().session("postgres");
        session.command("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT pg_current_xact_id()").unwrap();
        session
    });
    let open = open.await.unwrap();
    let others = busy(&pair, &of, 8).await;
    let many = async {
        while others.iter().map(|(count, _)| count.load(Ordering::Relaxed)).sum::<usize>() < ENDED {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(180), many).await.expect("short writes go on");
    let runs = Arc::<AtomicUsize>::default();
    slow(pair.stores[0].clone(), of, Duration::from_millis(100), Arc::clone(&runs)).await.unwrap();
    let runs = runs.load(Ordering::Relaxed);
    println!("{runs} runs; short writes: {:?}", ended(others));
    assert!(runs <= 11, "{runs} runs");
    tokio::task::spawn_blocking(move || drop(open)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_run_alone_do_so_one_after_the_other_and_all_others_write_in_between() {
    const OWNERS: usize = 4;
    const WRITES: usize = 3;
    let pair = Pair::open().await;
    let of = account(&pair.stores[0]).await;
    let others = busy(&pair, &of, 6).await;
    let (start, runs) = (Instant::now(), Arc::<AtomicUsize>::default());
    let mut alone = Vec::new();
    for number in 0..OWNERS {
        let store = pair.stores[number % 2].for_account(&account(&pair.stores[0]).await);
        let (of, runs) = (of.clone(), Arc::clone(&runs));
        alone.push(tokio::spawn(async move {
            for _ in 0..WRITES {
                slow(store.clone(), of.clone(), Duration::from_millis(150), Arc::clone(&runs)).await.unwrap();
            }
        }));
    }
    for writer in alone {
        writer.await.unwrap();
    }
    let (took, written) = (start.elapsed(), ended(others));
    let runs = runs.load(Ordering::Relaxed);
    println!("{} slow writes in {runs} runs and {took:?}; short ones beside them: {written:?}", OWNERS * WRITES);
    assert!(written.iter().all(|count| *count > OWNERS * WRITES), "{written:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_write_waits_in_vain_to_run_alone_others_have_half_of_the_time() {
    let pair = Pair::open().await;
    let (of, other) = (account(&pair.stores[0]).await, account(&pair.stores[0]).await);
    // As of a daemon that is suspended in the middle of a write.
    let hanging = tokio::spawn(slow(pair.stores[0].clone(), other, Duration::from_secs(12), Arc::default()));
    let others = busy(&pair, &of, 4).await;
    let alone = tokio::spawn(slow(pair.stores[1].clone(), of, Duration::from_millis(100), Arc::default()));
    let (mut before, mut looks, mut stood_still) = (0, 0, 0);
    while !hanging.is_finished() {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let now: usize = others.iter().map(|(count, _)| count.load(Ordering::Relaxed)).sum();
        stood_still += usize::from(now == before);
        (looks, before) = (looks + 1, now);
    }
    hanging.await.unwrap().unwrap();
    alone.await.unwrap().unwrap();
    println!("others stood still at {stood_still} of {looks} looks, and made {before} writes: {:?}", ended(others));
    assert!(stood_still > 0 && stood_still * 3 <= looks * 2, "{stood_still} of {looks}");
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicting_writes_of_one_account_do_not_block_another_account() {
    let pair = Pair::open().await;
    let (noisy, quiet) = (account(&pair.stores[0]).await, account(&pair.stores[0]).await);
    let slow = |store: Store, owner: AccountId| async move {
        slow(store.for_account(&owner), owner, Duration::from_millis(50), Arc::default()).await
    };
    // With as many at a time that need 50 ms each, some are run more than ten times or wait for the others.
    let writers: Vec<_> = (0..12).map(|n| tokio::spawn(slow(pair.stores[n % 2].clone(), noisy.clone()))).collect();
    let alone = |c: &Transaction<'_>| {
        // ALL_WRITES: `writes` as octets.
        let sql = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                   WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.mode = 'ExclusiveLock'
                       AND CAST(l.classid AS BIGINT) = 30578 AND CAST(l.objid AS BIGINT) = 1769235827";
        c.query_row(sql, params![], |row| row.get::<i64>(0))
    };
    let mut written = 0;
    while writers.iter().any(|writer| !writer.is_finished()) {
        assert_eq!(pair.stores[0].read::<_, StoreError, _>(alone).await.unwrap(), 0, "a write waits for all others");
        let of = quiet.clone();
        let count =
            move |c: &Transaction<'_>| c.execute("UPDATE account SET queued = queued + 1 WHERE id = ?1", params![of]);
        pair.stores[1].for_account(&quiet).write::<_, StoreError, _>(count).await.unwrap();
        written += 1;
    }
    for writer in writers {
        writer.await.unwrap().unwrap();
    }
    println!("12 writes of one account ran into one another; {written} of another were made meanwhile");
    assert!(written > 12, "{written}");
}
