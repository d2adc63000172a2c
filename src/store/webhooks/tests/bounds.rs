//! How much is kept for an account, in what order, and what a look at it costs.

use super::super::feed::Recorded;
use super::super::{capacity, claim, expiry, listing};
use super::*;

/// What is counted for all accounts, and what is there.
pub(super) async fn usage(store: &Store) -> (i64, i64) {
    let sql = "SELECT (SELECT CAST(coalesce(sum(octets), 0) AS BIGINT) FROM webhook_usage),
        (SELECT CAST(coalesce(sum(length(body)), 0) AS BIGINT) FROM webhook_event)
            + 2048 * (SELECT count(*) FROM webhook_delivery)";
    let row = |row: &Row<'_>| Ok::<_, StoreError>((row.get(0)?, row.get(1)?));
    store.read::<_, StoreError, _>(move |c| c.query_row(sql, params![], row)).await.unwrap()
}

#[tokio::test]
async fn what_is_kept_is_bounded_and_what_ended_first_goes_first() {
    let (_dir, store, account) = store_with_account().await;
    let webhook = subscribe(&store, &account, &[PublicType::InboxCreated]).await;
    let limits = Limits { waiting: 1000, octets: 100 * 1024 };
    let mut all = Recorded::default();
    for round in 0..30 {
        for _ in 0..10 {
            log(&store, &account, &InboxId::new()).await;
        }
        let page = store.webhook_feed_page(&account, 1000).await.unwrap().unwrap();
        let read = page.page.events.iter().map(|event| {
            let body = Body::new(&serde_json::json!({"round": round})).unwrap();
            let inbox = event.event.inbox().cloned();
            Read {
                at: event.cursor,
                id: event.cursor.to_string(),
                kind: PublicType::InboxCreated,
                inbox,
                body: Some(body),
            }
        });
        let (places, read, at) = ((page.from, page.page.next), read.collect(), START.after(Duration::from_secs(round)));
        let recorded = store.webhook_fan_out(&account, places, read, limits, at).await.unwrap().unwrap();
        all = Recorded { not_sent: all.not_sent + recorded.not_sent, removed: all.removed + recorded.removed };
        let (counted, there) = usage(&store).await;
        assert!(counted <= limits.octets && there <= counted, "{round}: {there} octets, {counted} counted");
    }
    let of = async |state| store.webhook_deliveries(&account, &webhook.id, state, None, 1000).await.unwrap();
    let waiting = of(Some(State::Waiting)).await;
    // Half of it waits, the first ones; of those that did not find room, the last are there.
    assert!((20..=25).contains(&waiting.len()), "{}", waiting.len());
    assert_eq!(waiting.last().unwrap().sequence, 1);
    let failed = of(Some(State::Failed)).await;
    let error = failed[0].attempts[0].error.clone().unwrap();
    assert!(error.contains("50 KiB"), "{error}");
    assert_eq!((all.not_sent, waiting.len() + failed.len() + all.removed), (300 - waiting.len(), 300));
    assert_eq!(of(None).await[0].id, failed[0].id);
    // A dead endpoint has no more than its part, as soon as there is another.
    subscribe(&store, &account, &[PublicType::InboxCreated]).await;
    log(&store, &account, &InboxId::new()).await;
    fan_out(&store, &account, limits, START.after(HOUR)).await;
    assert_eq!(claim(&store, START.after(HOUR)).await.iter().filter(|due| due.webhook != webhook.id).count(), 1);
}

#[tokio::test]
async fn what_is_sent_again_does_not_hold_back_first_attempts() {
    let (_dir, store, account) = store_with_account().await;
    let (webhook, inbox) = (subscribe(&store, &account, &[PublicType::InboxCreated]).await.id, InboxId::new());
    for _ in 0..20 {
        log(&store, &account, &inbox).await;
    }
    fan_out(&store, &account, LIMIT, START).await;
    // Ended without an attempt.
    for is_active in [false, true] {
        let patch = WebhookPatch { is_active: Some(is_active), ..WebhookPatch::default() };
        store.webhook_change(&account, &webhook, patch, START).await.unwrap();
    }
    let which = Which::Since(Timestamp::from_millis(0));
    assert_eq!(store.webhook_redeliver(&account, &webhook, which, LIMIT, START).await.unwrap(), (20, false));
    let again = claim(&store, START).await;
    assert_eq!(numbers(&again), [1, 2, 3, 4], "half of the places");
    assert_eq!(claim(&store, START).await.len(), 0);
    for _ in 0..2 {
        log(&store, &account, &inbox).await;
    }
    fan_out(&store, &account, LIMIT, START).await;
    // The runner of the first four has the endpoint.
    for due in &again {
        settle(&store, due, START, Next::Delivered).await;
    }
    assert_eq!(numbers(&claim(&store, START).await), [21, 22, 5, 6, 7, 8]);
}

#[tokio::test]
async fn many_waiting_deliveries_end_with_their_subscription() {
    const MANY: u32 = 1200;
    let (_dir, store, account) = store_with_account().await;
    let webhook = subscribe(&store, &account, &[PublicType::InboxCreated]).await;
    let (of, inbox) = (account.clone(), InboxId::new());
    let publish = move |c: &Transaction<'_>| {
        (0..MANY).try_for_each(|_| c.publish(&of, Event::InboxCreated { inbox_id: inbox.clone() }))
    };
    store.write::<_, StoreError, _>(publish).await.unwrap();
    let limits = Limits { waiting: MANY, ..LIMIT };
    while fan_out(&store, &account, limits, START).await > 0 {}
    // As a daemon leaves it that dies in the middle.
    let id = webhook.id.clone();
    let sql = "UPDATE webhook_subscription SET is_active = 0 WHERE id = ?1";
    store.write::<_, StoreError, _>(move |c| c.execute(sql, params![id])).await.unwrap();
    let waiting =
        async || store.webhook_deliveries(&account, &webhook.id, Some(State::Waiting), None, MANY).await.unwrap();
    assert_eq!(waiting().await.len(), MANY as usize);
    store.webhook_remove(START).await.unwrap();
    assert_eq!(waiting().await.len(), 0);
    assert_due(&store).await;
    assert!(store.webhook_delete(&account, &webhook.id, START).await.unwrap());
    while store.webhook_remove(START).await.unwrap() {}
    assert_eq!(usage(&store).await, (0, 0));
}

#[tokio::test]
async fn statements_over_many_deliveries_use_an_index() {
    crate::store::testing::sqlite_only("reads its query plans");
    let (_dir, store, _) = store_with_account().await;
    for (sql, index) in [
        (listing::LISTED, "sqlite_autoindex_webhook_delivery_2 (webhook_id=? AND (position,number)<(?,?))"),
        (listing::LISTED_BY_STATE, "webhook_delivery_of_state (webhook_id=? AND state=? AND (position,number)<(?,?))"),
        (claim::FIRST, "webhook_delivery_first (webhook_id=? AND attempts=?)"),
        (claim::AGAIN, "webhook_delivery_again (webhook_id=? AND retries=?)"),
        (capacity::WAITING, "COVERING INDEX webhook_delivery_waiting (webhook_id=?)"),
        (claim::RETRIED, "webhook_delivery_retried (webhook_id=? AND next_attempt_at<?)"),
        (capacity::OLDEST, "webhook_delivery_ended (account_id=? AND ended_at>?)"),
        (expiry::ENDED, "webhook_event_by_age (created_at<?)"),
    ] {
        let read = store.read(move |c| {
            let mut statement = c.sqlite().prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
            let mut rows = statement.raw_query();
            let mut steps = Vec::new();
            while let Some(row) = rows.next()? {
                steps.push(row.get::<_, String>("detail")?);
            }
            Ok::<_, StoreError>(steps)
        });
        let plan = read.await.unwrap();
        assert!(plan[0].contains(index) && !plan.iter().any(|step| step.contains("TEMP B-TREE")), "{sql}: {plan:?}");
    }
}
