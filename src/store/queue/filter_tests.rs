//! Actions on deliveries that match a filter.

use super::*;
use crate::resources::concurrency::{DestinationLimits, Scope};
use crate::store::jobs;
use crate::store::testing::{NO_LIMITS, assert_due, inbox, limits, outgoing, store_with_account};
use std::collections::BTreeSet;
use tempfile::TempDir;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

struct Fixture {
    _dir: TempDir,
    store: Store,
    account: AccountId,
    inbox: InboxId,
}

impl Fixture {
    async fn open() -> Self {
        let (dir, store, account) = store_with_account().await;
        let inbox = inbox(&store, &account, "hello").await;
        Self { _dir: dir, store, account, inbox }
    }

    async fn accept(&self, rcpt_to: &[&str], change: impl FnOnce(&mut NewSubmission)) -> SubmissionId {
        let mut new = outgoing(&self.account, &self.inbox, rcpt_to, b"body\r\n");
        change(&mut new);
        let id = new.id.clone();
        self.store.submission_accept(new, NO_LIMITS, limits(u64::MAX).quota).await.unwrap();
        id
    }

    /// What has matched, over all batches.
    async fn act(&self, action: QueueAction, filter: &QueueFilter, is_dry_run: bool, now: i64) -> usize {
        let (mut matched, mut after) = (0, None);
        loop {
            let batch = self.store.queue_act(action, filter.clone(), after, is_dry_run, at(now)).await.unwrap();
            matched += batch.matched;
            match batch.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert_due(&self.store).await;
        matched
    }

    async fn claim(&self, now: i64) -> Vec<Due> {
        let mut claim = jobs::Claim::new(at(now), at(now + 60), 0);
        claim.places.free = 200;
        self.store.claim_due(claim, DestinationLimits::new(Scope::Domain, 200)).await.unwrap().due
    }

    async fn claimed(&self, now: i64) -> BTreeSet<String> {
        let due = self.claim(now).await;
        due.iter().flat_map(|due| &due.deliveries).map(|delivery| delivery.rcpt_to.to_string()).collect()
    }

    /// The attempts that are due fail in this way, until an hour later.
    async fn fail(&self, now: i64, reply: &str) {
        for due in self.claim(now).await {
            let deferred = due.deliveries.iter().map(|delivery| deferral(delivery, now + 3600, reply)).collect();
            self.settle(&due, Vec::new(), deferred).await;
        }
    }

    async fn settle(&self, due: &Due, done: Vec<Ended>, deferred: Vec<Deferral>) -> Settled {
        let settlement = Settlement {
            submission: due.queued.id.clone(),
            account: due.queued.account.clone(),
            runner: due.runner.clone(),
            done,
            deferred,
            local: None,
            reports: Vec::new(),
            at: at(0),
            received_at: Timestamp::real(),
        };
        let settled = self.store.delivery_settle(settlement.into(), limits(u64::MAX).quota).await.unwrap();
        assert_due(&self.store).await;
        settled
    }

    async fn recipients(&self) -> BTreeSet<String> {
        let queued = self.store.queue_list(None, None, 1000).await.unwrap();
        queued.iter().flat_map(|message| &message.deliveries).map(|delivery| delivery.rcpt_to.to_string()).collect()
    }
}

fn deferral(delivery: &DueDelivery, next: i64, reply: &str) -> Deferral {
    let (delivery, reply) = (delivery.id.clone(), reply.to_owned());
    Deferral { delivery, next: at(next), reply, mx: None, wait: Wait::Attempt, delay_reported: false }
}

fn set(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|one| (*one).to_owned()).collect()
}

#[tokio::test]
async fn a_filter_selects_by_all_that_it_names() {
    let fixture = Fixture::open().await;
    let first = fixture.accept(&["a@one.example", "b@two.example"], |_| {}).await;
    fixture.fail(0, "451 4.7.1 Greylisted").await;
    fixture.accept(&["c@one.example"], |new| new.now = at(100)).await;
    let other = inbox(&fixture.store, &fixture.account, "other").await;
    let of_other = other.clone();
    fixture.accept(&["d@three.example"], |new| (new.inbox, new.now) = (of_other, at(200))).await;
    let account = Some(fixture.account.clone());
    let domain = |name: &str| Some(name.parse().unwrap());
    let any = QueueFilter::default;
    for (filter, wanted) in [
        (any(), &["a@one.example", "b@two.example", "c@one.example", "d@three.example"][..]),
        (QueueFilter { account, ..any() }, &["a@one.example", "b@two.example", "c@one.example", "d@three.example"]),
        (QueueFilter { account: Some(AccountId::new()), ..any() }, &[]),
        (QueueFilter { id: Some(first), ..any() }, &["a@one.example", "b@two.example"]),
        (QueueFilter { inbox: Some(other), ..any() }, &["d@three.example"]),
        (QueueFilter { domain: domain("ONE.example"), ..any() }, &["a@one.example", "c@one.example"]),
        (QueueFilter { status: Some(QueueStatus::Queued), ..any() }, &["c@one.example", "d@three.example"]),
        (QueueFilter { status: Some(QueueStatus::Deferred), ..any() }, &["a@one.example", "b@two.example"]),
        (QueueFilter { status: Some(QueueStatus::Held), ..any() }, &[]),
        (QueueFilter { accepted_before: Some(at(200)), ..any() }, &["a@one.example", "b@two.example", "c@one.example"]),
        (QueueFilter { error: Some("greylist".into()), ..any() }, &["a@one.example", "b@two.example"]),
        (QueueFilter { error: Some("greylist".into()), domain: domain("one.example"), ..any() }, &["a@one.example"]),
    ] {
        assert_eq!(fixture.act(QueueAction::Drop, &filter, true, 300).await, wanted.len(), "{filter:?}");
        assert_eq!(fixture.act(QueueAction::Hold, &filter, false, 300).await, wanted.len(), "{filter:?}");
        assert_eq!(fixture.act(QueueAction::Release, &any(), true, 300).await, wanted.len(), "{filter:?}");
        let queued = fixture.store.queue_list(None, None, 100).await.unwrap();
        let on_hold = queued.iter().flat_map(|message| &message.deliveries).filter(|delivery| delivery.on_hold);
        let on_hold: BTreeSet<String> = on_hold.map(|delivery| delivery.rcpt_to.to_string()).collect();
        assert_eq!(on_hold, set(wanted), "{filter:?}");
        assert_eq!(fixture.act(QueueAction::Release, &any(), false, 300).await, wanted.len());
    }
}

#[tokio::test]
async fn what_is_on_hold_is_not_attempted_until_it_is_released() {
    let fixture = Fixture::open().await;
    let any = QueueFilter::default();
    let later = fixture.accept(&["later@one.example"], |new| new.send_at = Some(at(5000))).await;
    let now = fixture.accept(&["a@one.example"], |_| {}).await;
    assert_eq!(fixture.act(QueueAction::Hold, &any, false, 0).await, 2);
    assert!(fixture.claimed(10_000).await.is_empty());
    assert_eq!(fixture.store.next_attempt_due().await.unwrap(), None);
    for id in [&now, &later] {
        assert!(!fixture.store.queue_retry(id.clone(), at(0)).await.unwrap());
        let sent = fixture.store.sent_email(&MessageId::of_sent(id), at(0)).await.unwrap().unwrap();
        assert_eq!(sent.status(), crate::store::sent::Status::Held);
    }
    assert_eq!(fixture.act(QueueAction::Retry, &any, false, 0).await, 0);
    assert_eq!(fixture.act(QueueAction::Hold, &any, false, 0).await, 0);
    assert_eq!(fixture.act(QueueAction::Release, &any, false, 10).await, 2);
    // What is to leave later still does.
    assert_eq!(fixture.claimed(4999).await, set(&["a@one.example"]));
    assert_eq!(fixture.claimed(5000).await, set(&["later@one.example"]));
}

#[tokio::test]
async fn a_retry_is_of_what_has_been_attempted() {
    let fixture = Fixture::open().await;
    fixture.accept(&["a@one.example", "b@two.example"], |_| {}).await;
    fixture.fail(0, "451 later").await;
    fixture.accept(&["later@one.example"], |new| new.send_at = Some(at(5000))).await;
    let filter = QueueFilter { domain: Some("one.example".parse().unwrap()), ..QueueFilter::default() };
    assert_eq!(fixture.act(QueueAction::Retry, &filter, false, 60).await, 1);
    assert_eq!(fixture.claimed(60).await, set(&["a@one.example"]));
}

#[tokio::test]
async fn what_happens_during_an_attempt_holds_after_it() {
    let fixture = Fixture::open().await;
    fixture.accept(&["a@one.example", "b@one.example", "c@one.example"], |_| {}).await;
    fixture.fail(0, "451 full").await;
    let claimed = fixture.claim(3600).await;
    assert_eq!(claimed.len(), 1);
    let due = &claimed[0];
    let error = |text: &str| QueueFilter { error: Some(text.into()), ..QueueFilter::default() };
    assert_eq!(fixture.act(QueueAction::Hold, &error("full"), false, 3601).await, 3);
    // One of the attempt is dropped while it runs: what became of the others is recorded.
    let first = due.deliveries[0].clone();
    let id = first.id.clone();
    fixture.store.write(move |c| rows::remove_each(c, std::iter::once(&id))).await.unwrap();
    let done = |delivery: &DueDelivery| Ended {
        delivery: delivery.id.clone(),
        end: End::Delivered,
        reply: "250 ok".into(),
        mx: None,
    };
    let done = due.deliveries[..2].iter().map(done).collect();
    let deferred = vec![deferral(&due.deliveries[2], 7200, "451 again")];
    assert_eq!(fixture.settle(due, done, deferred).await, Settled::Recorded);
    assert_eq!(fixture.recipients().await, set(&[&due.deliveries[2].rcpt_to.to_string()]));
    assert!(fixture.claimed(100_000).await.is_empty(), "it is still on hold");
    assert_eq!(fixture.act(QueueAction::Drop, &error("again"), false, 3601).await, 1);
    assert!(fixture.store.queue_list(None, None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn many_messages_are_changed_in_batches() {
    let fixture = Fixture::open().await;
    for n in 0..205 {
        fixture.accept(&[&format!("r{n}@d{}.example", n % 2), "x@other.example"], |_| {}).await;
    }
    let filter = QueueFilter { domain: Some("d1.example".parse().unwrap()), ..QueueFilter::default() };
    let all = QueueFilter::default();
    let first = fixture.store.queue_act(QueueAction::Drop, all, None, true, at(0)).await.unwrap();
    assert!(first.matched == 2 * 10 && first.next.is_some(), "both deliveries of ten messages: {first:?}");
    assert_eq!(fixture.act(QueueAction::Drop, &filter, false, 0).await, 102);
    assert_eq!(fixture.act(QueueAction::Drop, &filter, true, 0).await, 0);
    assert_eq!(fixture.act(QueueAction::Drop, &QueueFilter::default(), false, 0).await, 103 + 205);
    let queued = "SELECT queued FROM account WHERE id = ?1";
    let account = fixture.account.clone();
    let octets: i64 =
        fixture.store.read(move |c| c.query_row(queued, params![account], |row| row.get(0))).await.unwrap();
    assert_eq!(octets, 0);
    assert!(fixture.store.queue_list(None, None, 10).await.unwrap().is_empty());
}
