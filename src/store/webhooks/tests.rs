//! Subscriptions, what is recorded for them, and how it is claimed.

mod bounds;

use super::body::Body;
use super::capacity::Limits;
use super::claim::DueWebhook;
use super::deliveries::{Attempt, Next, RedeliverError, State, Which};
use super::feed::Read;
use super::*;
use crate::events::EventId;
use crate::id::{InboxId, RunnerId, WebhookDeliveryId};
use crate::store::jobs::Claim;
use crate::store::testing::{account, assert_due, settled, store_with_account};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const START: Timestamp = Timestamp::from_millis(1_795_498_267_000);
const LIMIT: Limits = Limits { waiting: 100, octets: i64::MAX };

async fn subscribe(store: &Store, account: &AccountId, events: &[PublicType]) -> Webhook {
    let (id, url) = (WebhookId::new(), "https://a.test/".to_owned());
    let new =
        NewWebhook { id, account: account.clone(), url, events: events.to_vec(), is_active: true, secret: vec![1] };
    store.webhook_create(new, 3, START).await.unwrap()
}

/// Logs an event of an inbox.
async fn log(store: &Store, account: &AccountId, inbox: &InboxId) {
    let (of, event) = (account.clone(), Event::InboxCreated { inbox_id: inbox.clone() });
    store.write::<_, StoreError, _>(move |c| c.publish(&of, event.clone())).await.unwrap();
    settled(store, account).await;
}

/// Records all events of the account, once other transactions have ended. Returns their number.
async fn fan_out(store: &Store, account: &AccountId, limits: Limits, now: Timestamp) -> usize {
    let found = loop {
        match store.webhook_feed_page(account, 1000).await.unwrap() {
            None => return 0,
            Some(found) if found.page.is_settled => break found,
            Some(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let read: Vec<Read> = found
        .page
        .events
        .iter()
        .filter_map(|event| {
            let kind = PublicType::of(&event.event)?;
            let is_wanted = found.wanted.iter().any(|wanted| wanted.includes(event.cursor, kind));
            let body = is_wanted.then(|| Body::new(&serde_json::json!({"type": kind})).unwrap());
            let (at, inbox) = (event.cursor, event.event.inbox().cloned());
            Some(Read { at, id: EventId(at).to_string(), kind, inbox, body })
        })
        .collect();
    let count = read.len();
    assert!(store.webhook_fan_out(account, (found.from, found.page.next), read, limits, now).await.unwrap().is_some());
    assert_due(store).await;
    count
}

async fn claim(store: &Store, now: Timestamp) -> Vec<DueWebhook> {
    let claimed = store.webhook_claim(Claim::new(now, now.after(HOUR), 64)).await.unwrap();
    assert_due(store).await;
    claimed.due
}

async fn settle(store: &Store, due: &DueWebhook, at: Timestamp, next: Next) -> bool {
    let owner = "SELECT lease_owner FROM webhook_delivery WHERE id = ?1 AND lease_owner IS NOT NULL";
    let id = due.id.clone();
    let runner: Option<RunnerId> =
        store.read::<_, StoreError, _>(move |c| c.query_opt(owner, params![id], |row| row.get(0))).await.unwrap();
    let attempt = Attempt { at, status: Some(500), error: None, duration: Duration::from_millis(7) };
    let settled = store.webhook_settle(due, runner.unwrap_or_else(RunnerId::new), attempt, next).await.unwrap();
    assert_due(store).await;
    settled
}

/// How many numbers events have got.
#[cfg(feature = "cluster")]
async fn counted(store: &Store) -> i64 {
    let sql = "SELECT CAST(coalesce(sum(last), 0) AS BIGINT) FROM webhook_sequence";
    store.read::<_, StoreError, _>(move |c| c.query_row(sql, params![], |row| row.get(0))).await.unwrap()
}

fn numbers(due: &[DueWebhook]) -> Vec<i64> {
    due.iter()
        .map(|due| {
            serde_json::from_slice::<serde_json::Value>(&due.body.json().unwrap()).unwrap()["sequence"]
                .as_i64()
                .unwrap()
        })
        .collect()
}

#[tokio::test]
async fn events_from_the_subscription_on_are_recorded_once_and_numbered_by_inbox() {
    let (_dir, store, account) = store_with_account().await;
    let (one, two) = (InboxId::new(), InboxId::new());
    log(&store, &account, &one).await;
    assert_eq!(fan_out(&store, &account, LIMIT, START).await, 0, "without a subscription there is no feed");
    let first = subscribe(&store, &account, &[PublicType::InboxCreated]).await;
    for inbox in [&one, &two, &one] {
        log(&store, &account, inbox).await;
    }
    let from = store.webhook_feed_page(&account, 10).await.unwrap().unwrap();
    assert_eq!(fan_out(&store, &account, LIMIT, START).await, 3);
    // Another reader that has begun at the same place records nothing.
    assert!(
        store.webhook_fan_out(&account, (from.from, from.page.next), Vec::new(), LIMIT, START).await.unwrap().is_none()
    );
    assert_eq!(numbers(&claim(&store, START).await), [1, 1, 2]);

    // A later subscription gets later events, with numbers that go on.
    let second = subscribe(&store, &account, &[PublicType::InboxCreated]).await;
    log(&store, &account, &one).await;
    assert_eq!(fan_out(&store, &account, LIMIT, START).await, 1);
    let of = async |id: &WebhookId| store.webhook_deliveries(&account, id, None, None, 10).await.unwrap();
    let sequences = async |id| of(id).await.iter().map(|delivery| delivery.sequence).collect::<Vec<_>>();
    assert_eq!((sequences(&first.id).await, sequences(&second.id).await), (vec![3, 2, 1, 1], vec![3]));
    let page = of(&first.id).await;
    let rest = store.webhook_deliveries(&account, &first.id, Some(State::Waiting), Some(page[1].at), 10).await.unwrap();
    assert_eq!(rest.iter().map(|delivery| &delivery.id).collect::<Vec<_>>(), [&page[2].id, &page[3].id]);

    // Without an active subscription the log is not read.
    let patch = WebhookPatch { is_active: Some(false), ..WebhookPatch::default() };
    store.webhook_change(&account, &first.id, patch, START).await.unwrap();
    assert!(store.webhook_delete(&account, &second.id, START).await.unwrap());
    assert_due(&store).await;
    assert_eq!(store.webhook_feeds().await.unwrap(), []);
    assert!(of(&first.id).await.iter().all(|delivery| delivery.state == State::Failed));
    let limit = subscribe(&store, &account, &[]).await;
    assert!(matches!(
        store
            .webhook_create(
                NewWebhook {
                    id: WebhookId::new(),
                    account: account.clone(),
                    url: String::new(),
                    events: Vec::new(),
                    is_active: true,
                    secret: Vec::new()
                },
                2,
                START
            )
            .await,
        Err(CreateWebhookError::LimitReached(2))
    ));
    assert_eq!(store.webhook_list(&account, Some(&first.id), 10).await.unwrap(), [limit]);
}

#[tokio::test]
async fn first_attempts_are_in_order_and_the_endpoint_is_one_runners() {
    let (_dir, store, account) = store_with_account().await;
    let inbox = InboxId::new();
    subscribe(&store, &account, &[PublicType::InboxCreated]).await;
    for _ in 0..12 {
        log(&store, &account, &inbox).await;
    }
    fan_out(&store, &account, LIMIT, START).await;
    let due = claim(&store, START).await;
    assert_eq!(numbers(&due), (1..=8).collect::<Vec<_>>(), "as many as an endpoint may have at once");
    let other = store.webhook_claim(Claim::new(START, START.after(HOUR), 64)).await.unwrap();
    assert!(other.due.is_empty() && other.is_held_back, "another runner has the endpoint");

    // One that fails comes again at its time, and holds nothing back.
    let retry = START.after(HOUR);
    assert!(settle(&store, &due[0], START, Next::Retry(retry)).await);
    for due in &due[1..] {
        assert!(settle(&store, due, START, Next::Delivered).await);
    }
    assert!(!settle(&store, &due[1], START, Next::Delivered).await, "it has ended");
    let next = claim(&store, START).await;
    assert_eq!(numbers(&next), [9, 10, 11, 12]);
    for due in &next {
        settle(&store, due, START, Next::Delivered).await;
    }
    assert_eq!(claim(&store, START).await.len(), 0);
    assert_eq!(store.webhook_next_due(crate::resources::places::Places::all_free(1)).await.unwrap(), Some(retry));
    assert_eq!(numbers(&claim(&store, retry).await), [1]);

    // Of a dead runner, when its lease ends; or when its process is known to have ended.
    assert_eq!(numbers(&claim(&store, retry.after(HOUR)).await), [1]);
    store.write(|c| crate::store::jobs::end_leases(c, None)).await.unwrap();
    assert_due(&store).await;
    assert_eq!(numbers(&claim(&store, retry).await), [1]);
}

#[tokio::test]
async fn too_many_waiting_are_recorded_as_failed_and_can_be_made_again() {
    let (_dir, store, account) = store_with_account().await;
    let webhook = subscribe(&store, &account, &[PublicType::InboxCreated]).await;
    let three = Limits { waiting: 3, ..LIMIT };
    for _ in 0..5 {
        log(&store, &account, &InboxId::new()).await;
    }
    fan_out(&store, &account, three, START).await;
    let failed = store.webhook_deliveries(&account, &webhook.id, Some(State::Failed), None, 10).await.unwrap();
    let errors: Vec<_> = failed.iter().map(|delivery| delivery.attempts[0].error.clone().unwrap()).collect();
    assert!(errors.len() == 2 && errors.iter().all(|error| error.contains("3 deliveries")), "{errors:?}");
    for due in claim(&store, START).await {
        settle(&store, &due, START, Next::Delivered).await;
    }
    let again = |which| store.webhook_redeliver(&account, &webhook.id, which, three, START);
    assert_eq!(again(Which::One(failed[0].id.clone())).await.unwrap(), (1, false));
    assert_eq!(again(Which::One(failed[0].id.clone())).await.unwrap(), (0, false), "it is waiting");
    assert_eq!(again(Which::Since(START)).await.unwrap(), (2, true));
    assert_eq!(again(Which::Since(START.after(HOUR))).await.unwrap(), (0, false));
    assert!(matches!(again(Which::One(WebhookDeliveryId::new())).await, Err(RedeliverError::NotFound)));
    assert_due(&store).await;
    assert_eq!(claim(&store, START).await.len(), 3);
}

#[tokio::test]
async fn an_endpoint_is_disabled_when_it_is_gone_or_fails_for_days() {
    let (_dir, store, account) = store_with_account().await;
    let webhook = subscribe(&store, &account, &[PublicType::InboxCreated]).await;
    let shown = async || store.webhook_get(&account, &webhook.id).await.unwrap().unwrap();
    let attempt = async |at, next| {
        log(&store, &account, &InboxId::new()).await;
        fan_out(&store, &account, LIMIT, at).await;
        let due = claim(&store, at).await;
        settle(&store, &due[0], at, next).await;
    };
    let day = |day| START.after(HOUR * 24 * day);
    attempt(day(0), Next::Failed).await;
    attempt(day(4), Next::Failed).await;
    assert_eq!((shown().await.is_active, shown().await.failing_since), (true, Some(day(0))));
    attempt(day(5), Next::Delivered).await;
    assert_eq!(shown().await.failing_since, None);
    attempt(day(6), Next::Failed).await;
    attempt(day(11), Next::Failed).await;
    let disabled = shown().await;
    assert_eq!((disabled.is_active, disabled.disabled.as_ref().unwrap().at), (false, day(11)));
    assert_eq!(store.webhook_feeds().await.unwrap(), []);

    let patch = || WebhookPatch { is_active: Some(true), ..WebhookPatch::default() };
    let active = store.webhook_change(&account, &webhook.id, patch(), day(12)).await.unwrap();
    assert_eq!((active.is_active, active.disabled, active.failing_since), (true, None, None));
    log(&store, &account, &InboxId::new()).await;
    attempt(day(12), Next::Gone).await;
    assert!(shown().await.disabled.unwrap().reason.contains("410"));
    assert_eq!(claim(&store, day(13)).await.len(), 0, "what waited has ended");
    let events = settled(&store, &account).await;
    let disabled = events.iter().filter(|event| matches!(event.event, Event::WebhookDisabled { .. })).count();
    assert_eq!(disabled, 2);
}

#[tokio::test]
async fn what_has_ended_is_removed_after_four_days_and_what_is_deleted_at_once() {
    let (_dir, store, account) = store_with_account().await;
    let (kept, deleted) = (
        subscribe(&store, &account, &[PublicType::InboxCreated]).await,
        subscribe(&store, &account, &[PublicType::InboxCreated]).await,
    );
    log(&store, &account, &InboxId::new()).await;
    fan_out(&store, &account, LIMIT, START).await;
    let due = claim(&store, START).await;
    let of_kept = due.iter().find(|due| due.webhook == kept.id).unwrap();
    settle(&store, of_kept, START, Next::Delivered).await;
    let count = async || {
        let sql = "SELECT (SELECT count(*) FROM webhook_subscription), (SELECT count(*) FROM webhook_delivery),
            (SELECT count(*) FROM webhook_event), (SELECT count(*) FROM webhook_attempt)";
        let row = |row: &Row<'_>| Ok::<[i64; 4], StoreError>([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]);
        store.read::<_, StoreError, _>(move |c| c.query_row(sql, params![], row)).await.unwrap()
    };
    assert!(!store.webhook_remove(START).await.unwrap());
    assert!(store.webhook_delete(&account, &deleted.id, START).await.unwrap());
    assert!(!store.webhook_delete(&account, &deleted.id, START).await.unwrap());
    assert_eq!(store.webhook_get(&account, &deleted.id).await.unwrap(), None);
    while store.webhook_remove(START).await.unwrap() {}
    assert_eq!(count().await, [1, 1, 1, 1]);
    // To send it again does not prolong that.
    let late = START.after(expiry::KEPT);
    let again = store.webhook_redeliver(&account, &kept.id, Which::Since(START), LIMIT, late).await.unwrap();
    assert_eq!(again, (1, false));
    assert!(!store.webhook_remove(late).await.unwrap(), "it is waiting");
    settle(&store, &claim(&store, late).await[0], late, Next::Delivered).await;
    while store.webhook_remove(late).await.unwrap() {}
    assert_eq!((count().await, bounds::usage(&store).await), ([1, 0, 0, 0], (0, 0)));
    assert_due(&store).await;
}

#[tokio::test]
async fn another_account_sees_none_of_it() {
    let (_dir, store, ours) = store_with_account().await;
    let theirs = account(&store).await;
    let webhook = subscribe(&store, &ours, &[PublicType::InboxCreated]).await;
    log(&store, &ours, &InboxId::new()).await;
    log(&store, &theirs, &InboxId::new()).await;
    assert_eq!(fan_out(&store, &ours, LIMIT, START).await, 1);
    assert_eq!(store.webhook_get(&theirs, &webhook.id).await.unwrap(), None);
    assert_eq!(store.webhook_list(&theirs, None, 10).await.unwrap(), []);
    assert_eq!(store.webhook_secrets(&theirs, &webhook.id, START).await.unwrap(), None);
    assert!(store.webhook_deliveries(&theirs, &webhook.id, None, None, 10).await.unwrap().is_empty());
    let refused = store.webhook_change(&theirs, &webhook.id, WebhookPatch::default(), START).await;
    assert!(matches!(refused, Err(ChangeWebhookError::NotFound)), "{refused:?}");
    assert!(!store.webhook_delete(&theirs, &webhook.id, START).await.unwrap());
    let lost = store.webhook_rotate_secret(&theirs, &webhook.id, vec![2], START, START).await.unwrap();
    assert_eq!(lost, None);
    let again = store.webhook_redeliver(&theirs, &webhook.id, Which::Since(START), LIMIT, START).await;
    assert!(matches!(again, Err(RedeliverError::NotFound)));

    let rotated = store.webhook_rotate_secret(&ours, &webhook.id, vec![2], START.after(HOUR), START).await.unwrap();
    assert_eq!(rotated.unwrap().previous_until, Some(START.after(HOUR)));
    let both = SealedSecrets { current: vec![2], previous: Some(vec![1]) };
    assert_eq!(store.webhook_secrets(&ours, &webhook.id, START).await.unwrap(), Some(both));
    let new = SealedSecrets { current: vec![2], previous: None };
    assert_eq!(store.webhook_secrets(&ours, &webhook.id, START.after(HOUR)).await.unwrap(), Some(new));
}

#[tokio::test]
async fn the_number_of_a_deleted_inbox_is_removed_with_its_last_event() {
    let (_dir, store, account) = store_with_account().await;
    let inbox = InboxId::new();
    subscribe(&store, &account, &[PublicType::InboxDeleted]).await;
    log(&store, &account, &inbox).await;
    let (of, event) = (account.clone(), Event::InboxDeleted { inbox_id: inbox.clone() });
    store.write::<_, StoreError, _>(move |c| c.publish(&of, event.clone())).await.unwrap();
    assert_eq!(fan_out(&store, &account, LIMIT, START).await, 2);
    assert_eq!(numbers(&claim(&store, START).await), [2]);
    let left = "SELECT count(*) FROM webhook_sequence";
    let left = store.read::<_, StoreError, _>(move |c| c.query_row(left, params![], |row| row.get::<i64>(0)));
    assert_eq!(left.await.unwrap(), 0);
}

#[tokio::test]
async fn what_a_subscription_no_longer_has_is_not_sent_nor_sent_again() {
    let (_dir, store, account) = store_with_account().await;
    let (webhook, inbox) = (subscribe(&store, &account, &[PublicType::InboxCreated]).await.id, InboxId::new());
    for _ in 0..2 {
        log(&store, &account, &inbox).await;
    }
    fan_out(&store, &account, LIMIT, START).await;
    let due = claim(&store, START).await;
    assert!(settle(&store, &due[0], START, Next::Delivered).await);
    assert!(settle(&store, &due[1], START, Next::Retry(START.after(HOUR))).await);
    let change = async |events: &[PublicType]| {
        let patch = WebhookPatch { events: Some(events.to_vec()), ..WebhookPatch::default() };
        store.webhook_change(&account, &webhook, patch, START).await.unwrap();
        assert_due(&store).await;
    };
    let redeliver = async |which| store.webhook_redeliver(&account, &webhook, which, LIMIT, START).await.unwrap();
    let (old, one) = (Timestamp::from_millis(0), due[0].id.clone());
    change(&[PublicType::InboxCreated, PublicType::InboxDeleted]).await;
    let waiting = async || store.webhook_deliveries(&account, &webhook, Some(State::Waiting), None, 9).await.unwrap();
    assert_eq!(waiting().await.len(), 1, "it still has the type");
    change(&[PublicType::InboxDeleted, PublicType::EmailLabelsChanged]).await;
    assert_eq!(waiting().await.len(), 0);
    assert_eq!(redeliver(Which::Since(old)).await, (0, false));
    assert_eq!(redeliver(Which::One(one.clone())).await, (0, false));
    change(&[PublicType::InboxCreated]).await;
    assert_eq!(redeliver(Which::One(one)).await, (1, false));
    assert_eq!(redeliver(Which::Since(old)).await, (1, false));
}

#[cfg(feature = "cluster")]
#[tokio::test]
async fn a_subscription_gets_what_is_committed_after_it_while_transactions_are_open() {
    let (_dir, store, _other, account) = crate::store::testing::two_daemons().await;
    let (before, open, after) = (InboxId::new(), InboxId::new(), InboxId::new());
    let publish = async |inbox: &InboxId| {
        let (of, event) = (account.clone(), Event::InboxCreated { inbox_id: inbox.clone() });
        store.write::<_, StoreError, _>(move |c| c.publish(&of, event.clone())).await.unwrap();
    };
    let (begun, is_begun) = std::sync::mpsc::channel();
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let may_go = std::sync::Mutex::new(may_go);
    let (holder, of, event) = (store.clone(), account.clone(), Event::InboxCreated { inbox_id: open.clone() });
    let held = tokio::spawn(async move {
        let hold = move |c: &Transaction<'_>| {
            c.publish(&of, event.clone())?;
            let _ = begun.send(());
            let _ = may_go.lock().unwrap().recv();
            Ok::<_, StoreError>(())
        };
        holder.write(hold).await
    });
    tokio::task::spawn_blocking(move || is_begun.recv().unwrap()).await.unwrap();
    publish(&before).await;
    let webhook = subscribe(&store, &account, &[PublicType::InboxCreated]).await;
    publish(&after).await;
    go.send(()).unwrap();
    held.await.unwrap().unwrap();
    settled(&store, &account).await;
    fan_out(&store, &account, LIMIT, START).await;
    let found = store.webhook_deliveries(&account, &webhook.id, None, None, 10).await.unwrap();
    let inboxes: Vec<_> =
        found.iter().filter_map(|delivery| Some((delivery.inbox.clone()?, delivery.sequence))).collect();
    assert_eq!(inboxes, [(after, 1), (open, 1)]);
    assert_eq!(counted(&store).await, 2, "the event before the subscription is counted for nobody");
}
