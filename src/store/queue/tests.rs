//! Accepting, claiming and settling on a real store.

use super::*;
use crate::envelope::Recipients;
use crate::events::Event;
use crate::id::{DeliveryId, RunnerId};
use crate::identity::{Claim, SendIdentity, VerifiedDomain};
use crate::resources::Owner;
use crate::resources::concurrency::{DestinationLimits, Scope};
use crate::store::deliver::LocalDelivery;
use crate::store::jobs::{self, JobKey, Lease};
use crate::store::routing::Route;
use crate::store::testing::{NO_LIMITS, assert_due, inbox, limits, outgoing, store_with_account};
use std::time::Duration;
use tempfile::TempDir;

const HOUR: Duration = Duration::from_secs(3600);

struct Fixture {
    dir: TempDir,
    store: Store,
    account: AccountId,
    inbox: InboxId,
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

impl Fixture {
    async fn open() -> Self {
        let (dir, store, account) = store_with_account().await;
        let inbox = inbox(&store, &account, "hello").await;
        Self { dir, store, account, inbox }
    }

    fn message(&self, rcpt_to: &[&str]) -> NewSubmission {
        outgoing(&self.account, &self.inbox, rcpt_to, b"body\r\n")
    }

    async fn count(&self, table: &'static str) -> i64 {
        while self.store.bodies_sweep(std::time::Duration::ZERO).await.unwrap() {}
        let count =
            move |c: &Transaction<'_>| c.query_row(&format!("SELECT count(*) FROM {table}"), params![], |r| r.get(0));
        self.store.read(count).await.unwrap()
    }

    async fn settle(&self, settlement: Settlement) -> Settled {
        let settled = self.store.delivery_settle(settlement.into(), limits(u64::MAX).quota).await.unwrap();
        assert_due(&self.store).await;
        settled
    }

    async fn claim_while_running<'a>(
        &self,
        now: Timestamp,
        running: impl IntoIterator<Item = &'a Due>,
        free: usize,
    ) -> Claimed {
        let destinations = DestinationLimits::new(Scope::Domain, 4);
        assert_due(&self.store).await;
        let claimed = self.store.claim_due(claim_with(now, running, free), destinations).await.unwrap();
        assert_due(&self.store).await;
        claimed
    }

    async fn claim(&self, now: Timestamp) -> Vec<Due> {
        self.claim_while_running(now, [], 200).await.due
    }
}

/// A claim by the runner of the attempts `due`, with `free` free places.
fn claim_with<'a>(now: Timestamp, due: impl IntoIterator<Item = &'a Due>, free: usize) -> jobs::Claim {
    let mut claim = jobs::Claim::new(now, now.after(HOUR), 0);
    for due in due {
        claim.lease.runner = due.runner.clone();
        claim.running.insert(JobKey::Delivery(due.queued.id.clone(), due.domain.clone()));
        claim.places.take(&Owner::Account(due.queued.account.clone()));
    }
    claim.places.free = free;
    claim
}

fn ended(delivery: DeliveryId) -> Ended {
    Ended { delivery, end: End::Delivered, reply: "250 2.0.0 ok".into(), mx: None }
}

fn settlement(due: &Due) -> Settlement {
    Settlement {
        submission: due.queued.id.clone(),
        account: due.queued.account.clone(),
        runner: due.runner.clone(),
        done: due.deliveries.iter().map(|d| ended(d.id.clone())).collect(),
        deferred: Vec::new(),
        local: None,
        reports: Vec::new(),
        at: at(0),
        received_at: Timestamp::real(),
    }
}

#[tokio::test]
async fn recipients_share_a_body_which_is_deleted_when_the_last_is_settled() {
    let fixture = Fixture::open().await;
    let rcpt_to: Vec<String> = (0..10).map(|i| format!("r{i}@d{}.example", i % 3)).collect();
    let mut rcpt_to: Vec<&str> = rcpt_to.iter().map(String::as_str).collect();
    // A duplicate: domains are compared without regard to case, remote local parts exactly.
    rcpt_to.push("r0@D0.example");
    fixture.store.submission_accept(fixture.message(&rcpt_to), NO_LIMITS, limits(u64::MAX).quota).await.unwrap();
    assert_eq!(
        [fixture.count("body").await, fixture.count("content").await, fixture.count("delivery").await],
        [1, 2, 10]
    );

    let due = fixture.claim(at(0)).await;
    assert_eq!(due.iter().map(|d| d.deliveries.len()).collect::<Vec<_>>().iter().sum::<usize>(), 10);
    assert_eq!(due.len(), 3, "one attempt per domain");
    for due in due {
        assert_eq!(fixture.count("body").await, 1);
        assert_eq!(fixture.settle(settlement(&due)).await, Settled::Recorded);
    }
    for table in ["submission", "delivery", "content", "body"] {
        assert_eq!(fixture.count(table).await, 0, "{table}");
    }
}

#[tokio::test]
async fn a_message_that_leaves_the_queue_releases_its_body_unless_the_copy_in_sent_has_it() {
    let fixture = Fixture::open().await;
    for (sent, released) in [(Some(SentCopy::AsItLeaves), 0), (None, 1)] {
        let new = NewSubmission { sent, ..fixture.message(&["a@example.org"]) };
        fixture.store.submission_accept(new, NO_LIMITS, limits(u64::MAX).quota).await.unwrap();
        let due = fixture.claim(at(0)).await.pop().unwrap();
        assert_eq!(fixture.settle(settlement(&due)).await, Settled::Recorded);
        let count =
            |c: &Transaction<'_>| c.query_row("SELECT count(*) FROM body_released", params![], |row| row.get::<i64>(0));
        assert_eq!(fixture.store.read(count).await.unwrap(), released);
        // After the sweep.
        assert_eq!([fixture.count("content").await, fixture.count("body").await], [1, 1]);
    }
}

#[tokio::test]
async fn a_claimed_attempt_belongs_to_its_runner_until_the_lease_expires_or_the_daemon_restarts() {
    let fixture = Fixture::open().await;
    fixture
        .store
        .submission_accept(fixture.message(&["a@example.org"]), NO_LIMITS, limits(u64::MAX).quota)
        .await
        .unwrap();
    let first = fixture.claim(at(0)).await;
    assert_eq!(first.len(), 1);
    assert!(fixture.claim(at(0)).await.is_empty());
    assert_eq!(fixture.store.next_attempt_due().await.unwrap(), Some(at(0).after(HOUR)));
    // A runner does not claim an attempt that it is running, even after the lease has expired.
    assert!(fixture.claim_while_running(at(7200), &first, 9).await.due.is_empty());
    // A renewed lease.
    let renew = |runner: &RunnerId| {
        let (lease, queued) = (Lease { runner: runner.clone(), until: at(10_000) }, &first[0].queued);
        fixture.store.renew_leases(lease, vec![JobKey::Delivery(queued.id.clone(), first[0].domain.clone())])
    };
    renew(&first[0].runner).await.unwrap();
    assert!(fixture.claim(at(9999)).await.is_empty());
    let second = fixture.claim(at(10_000)).await;
    assert_eq!(second.len(), 1, "the lease has expired");
    // The previous owner can neither renew the lease nor settle the attempt.
    renew(&first[0].runner).await.unwrap();
    assert_eq!(fixture.store.next_attempt_due().await.unwrap(), Some(at(10_000).after(HOUR)));
    assert_eq!(fixture.settle(settlement(&first[0])).await, Settled::LeaseLost);
    assert_eq!(fixture.count("delivery").await, 1);
    // The data directory is locked, so a restarted daemon releases the leases of the previous one.
    let Fixture { dir, store, account, inbox } = fixture;
    store.close().await;
    drop(store);
    let fixture = Fixture { store: Store::open(dir.path()).unwrap(), dir, account, inbox };
    let third = fixture.claim(at(10_000)).await;
    if !crate::store::testing::has_one_daemon(&fixture.store) {
        assert!(third.is_empty(), "another daemon may own the lease");
        return;
    }
    assert_eq!(third.len(), 1);
    assert_eq!(fixture.settle(settlement(&second[0])).await, Settled::LeaseLost);
    assert_eq!(fixture.settle(settlement(&third[0])).await, Settled::Recorded);
    assert_eq!(fixture.count("delivery").await, 0);
}

#[tokio::test]
async fn a_bounce_and_a_local_copy_are_delivered_with_the_settlement() {
    let fixture = Fixture::open().await;
    let friend = inbox(&fixture.store, &fixture.account, "friend").await;
    fixture
        .store
        .submission_accept(
            fixture.message(&["friend@inboxlayer.dev", "nobody@inboxlayer.dev"]),
            NO_LIMITS,
            limits(u64::MAX).quota,
        )
        .await
        .unwrap();
    let due = fixture.claim(at(0)).await.pop().unwrap();
    let platform = "inboxlayer.dev".parse().unwrap();
    let to = fixture.store.route(&platform, &"friend@inboxlayer.dev".parse().unwrap(), at(0)).await.unwrap();
    let Route::Inbox(recipient) = to else { panic!("{to:?}") };
    let mut events = fixture.store.events().subscribe(&fixture.account, 1).unwrap();
    let settled = Settlement {
        local: Some(LocalDelivery {
            mail_from: due.queued.mail_from.clone(),
            recipients: Recipients::new(vec![recipient]).unwrap(),
            header: b"Received: z\r\nSubject: x\r\n\r\n".to_vec(),
            received_at: Timestamp::real(),
        }),
        reports: vec![ReportMessage {
            inbox: fixture.inbox.clone(),
            to: "hello@inboxlayer.dev".parse().unwrap(),
            header: b"Subject: failed\r\n\r\n".to_vec(),
            body: b"sorry\r\n".to_vec(),
            is_bounce: true,
        }],
        ..settlement(&due)
    };
    fixture.store.delivery_settle(settled.into(), limits(u64::MAX).quota).await.unwrap();
    for changed in [&friend, &fixture.inbox] {
        let event = events.try_recv().unwrap();
        assert!(matches!(&event, Event::MessageReceived { inbox_id, .. } if inbox_id == changed), "{event:?}");
    }
    let event = events.try_recv().unwrap();
    assert!(matches!(&event, Event::EmailDelivered(attempt) if attempt.reply == "250 2.0.0 ok"), "{event:?}");
    // The local copy refers to the body; nothing is left in the queue.
    assert_eq!(
        [fixture.count("submission").await, fixture.count("body").await, fixture.count("content").await],
        [0, 2, 2]
    );
}

#[tokio::test]
async fn a_deferred_message_is_listed_with_its_reply_and_can_be_retried_or_dropped() {
    let fixture = Fixture::open().await;
    let message = fixture.message(&["a@example.org"]);
    let id = message.id.clone();
    fixture.store.submission_accept(message, NO_LIMITS, limits(u64::MAX).quota).await.unwrap();
    let due = fixture.claim(at(0)).await.pop().unwrap();
    let deferral = Deferral {
        delivery: due.deliveries[0].id.clone(),
        next: at(300),
        reply: "451 4.3.0 later".to_owned(),
        mx: Some("mx.example.org".to_owned()),
        wait: Wait::Attempt,
        delay_reported: false,
    };
    let deferred = Settlement { done: Vec::new(), deferred: vec![deferral], ..settlement(&due) };
    fixture.store.delivery_settle(deferred.into(), limits(u64::MAX).quota).await.unwrap();

    assert!(fixture.claim(at(299)).await.is_empty());
    assert_eq!(fixture.store.next_attempt_due().await.unwrap(), Some(at(300)));
    let shown = fixture.store.queue_show(id.clone()).await.unwrap().unwrap();
    assert_eq!((shown.deliveries[0].attempts, shown.deliveries[0].last_reply.as_deref()), (1, Some("451 4.3.0 later")));
    assert_eq!(
        fixture.store.queue_list(Some(fixture.account.clone()), None, 10).await.unwrap(),
        std::slice::from_ref(&shown)
    );
    assert_eq!(fixture.store.queue_list(None, None, 10).await.unwrap(), [shown]);
    assert_eq!(fixture.store.queue_list(Some(AccountId::new()), None, 10).await.unwrap(), []);
    assert_eq!(fixture.store.queue_list(None, Some(id.clone()), 10).await.unwrap(), []);

    assert!(fixture.store.queue_retry(id.clone(), at(10)).await.unwrap());
    assert_eq!(fixture.claim(at(10)).await.len(), 1);
    assert!(fixture.store.queue_drop(id.clone()).await.unwrap());
    assert!(!fixture.store.queue_drop(id.clone()).await.unwrap());
    assert!(!fixture.store.queue_retry(id, at(10)).await.unwrap());
    assert_eq!([fixture.count("delivery").await, fixture.count("body").await], [0, 0]);
    // The attempt that ran meanwhile has lost its lease.
    assert_eq!(fixture.settle(settlement(&due)).await, Settled::LeaseLost);
}

#[tokio::test]
async fn a_message_deferred_for_a_domain_that_changed_during_the_attempt_is_due_at_once() {
    for (change, is_due) in [
        ("UPDATE custom_domain SET updated_at = 1", false),
        ("UPDATE custom_domain SET status = 'verified'", true),
        ("UPDATE custom_domain SET on_unverified = 'fallback'", true),
        ("DELETE FROM custom_domain", true),
    ] {
        let fixture = Fixture::open().await;
        let (domain, account) = (crate::id::DomainId::new(), fixture.account.clone());
        let held = NewSubmission { held_for: Some(domain.clone()), ..fixture.message(&["a@example.org"]) };
        let claim = "INSERT INTO custom_domain (id, account_id, name, status, on_unverified, dkim_tokens, created_at, updated_at)
                     VALUES (?1, ?2, 'acme.com', 'pending', 'hold', 'one two three', 0, 0)";
        fixture.store.write(move |c| c.execute(claim, params![domain, account])).await.unwrap();
        fixture.store.submission_accept(held, NO_LIMITS, limits(u64::MAX).quota).await.unwrap();
        let due = fixture.claim(at(0)).await.pop().unwrap();
        assert!(due.queued.is_held);
        // After the attempt has read the domain.
        fixture.store.write(move |c| c.batch(change)).await.unwrap();
        let wait = async |due: &Due, wait| {
            let (delivery, reply) = (due.deliveries[0].id.clone(), "kept".to_owned());
            let deferred = vec![Deferral { delivery, next: at(300), reply, mx: None, wait, delay_reported: false }];
            let settled = Settlement { done: Vec::new(), deferred, ..settlement(due) };
            assert_eq!(fixture.settle(settled).await, Settled::Recorded);
        };
        wait(&due, Wait::Place).await;
        assert!(fixture.claim(at(0)).await.is_empty(), "{change}");
        let due = fixture.claim(at(300)).await.pop().unwrap();
        wait(&due, Wait::Domain).await;
        assert_eq!(fixture.claim(at(0)).await.len(), usize::from(is_due), "{change}");
    }
}

#[tokio::test]
async fn a_new_identity_replaces_the_outgoing_header_block() {
    let fixture = Fixture::open().await;
    let claim = Claim {
        id: crate::id::DomainId::new(),
        name: "acme.com".parse().unwrap(),
        status: VerifiedStatus::Verified,
        on_unverified: crate::verification::status::OnUnverified::Fallback,
    };
    let domain = VerifiedDomain::of(&claim).unwrap();
    let identity = SendIdentity::Custom { local: "hello".parse().unwrap(), domain };
    let message = NewSubmission { mail_from: identity.address(), identity, ..fixture.message(&["a@example.org"]) };
    fixture.store.submission_accept(message, NO_LIMITS, limits(u64::MAX).quota).await.unwrap();
    let from = "hello@inboxlayer.dev".parse().unwrap();
    let header = b"From: hello@inboxlayer.dev\r\n\r\n".to_vec();
    let new = NewOutgoing {
        mail_from: from,
        domain: None,
        fallback: Some(VerifiedStatus::Failed),
        header: header.clone(),
        is_unsigned: false,
        expires_at: at(3600),
    };
    let attempt = fixture.claim(at(0)).await.pop().unwrap().key();
    let of_another = AttemptKey { runner: RunnerId::new(), ..attempt.clone() };
    assert_eq!(fixture.store.replace_outgoing(of_another, new.clone()).await.unwrap(), Settled::LeaseLost);
    assert_eq!(fixture.store.replace_outgoing(attempt, new).await.unwrap(), Settled::Recorded);
    let due = fixture.claim(at(0).after(HOUR)).await.pop().unwrap();
    assert_eq!((due.queued.domain, due.queued.mail_from.to_string().as_str()), (None, "hello@inboxlayer.dev"));
    assert_eq!(fixture.store.content(due.queued.outgoing).await.unwrap().header, header);
    assert_eq!(
        [fixture.count("content").await, fixture.count("body").await],
        [2, 1],
        "the previous header block is removed"
    );
}

#[tokio::test]
async fn a_destination_is_limited_to_its_concurrency() {
    let fixture = Fixture::open().await;
    for _ in 0..6 {
        fixture
            .store
            .submission_accept(
                fixture.message(&["a@big.example", "a@small.example"]),
                NO_LIMITS,
                limits(u64::MAX).quota,
            )
            .await
            .unwrap();
    }
    let count = |due: &[Due], domain: &str| due.iter().filter(|due| due.domain.as_str() == domain).count();
    let claim = async |running: &[Due]| {
        let destinations = DestinationLimits::new(Scope::Domain, 2);
        fixture.store.claim_due(claim_with(at(0), running, 100), destinations).await.unwrap().due
    };
    let mut first = claim(&[]).await;
    assert_eq!((first.len(), count(&first, "big.example"), count(&first, "small.example")), (4, 2, 2));
    assert!(claim(&first).await.is_empty());
    let ended = first.iter().position(|due| due.domain.as_str() == "small.example").unwrap();
    first.remove(ended);
    let next = claim(&first).await;
    assert_eq!((next.len(), count(&next, "small.example")), (1, 1));
}

#[tokio::test]
async fn a_backlog_of_one_account_does_not_delay_the_others() {
    let mut fixture = Fixture::open().await;
    for number in 0..3 {
        let many: Vec<String> = (0..1000).map(|i| format!("a@slow{number}-{i}.example")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        fixture.store.submission_accept(fixture.message(&many), NO_LIMITS, limits(u64::MAX).quota).await.unwrap();
    }
    let first = fixture.account.clone();
    let others: Vec<AccountId> = (0..3).map(|_| AccountId::new()).collect();
    for (number, account) in others.iter().enumerate() {
        let id = account.clone();
        let make = move |c: &Transaction<'_>| {
            c.execute("INSERT INTO account (id, name, created_at) VALUES (?1, 'x', 0)", params![id])
        };
        fixture.store.write::<_, StoreError, _>(make).await.unwrap();
        fixture.account = account.clone();
        fixture.inbox = inbox(&fixture.store, account, ["one", "two", "three"][number]).await;
        let late = NewSubmission { now: at(60), ..fixture.message(&["b@example.org"]) };
        fixture.store.submission_accept(late, NO_LIMITS, limits(u64::MAX).quota).await.unwrap();
    }
    let of = |due: &[Due], account: &AccountId| due.iter().filter(|due| due.queued.account == *account).count();
    let Claimed { due, waiting } = fixture.claim_while_running(at(60), [], 8).await;
    assert_eq!(others.iter().map(|other| of(&due, other)).collect::<Vec<_>>(), [1, 1, 1]);
    assert_eq!((of(&due, &first), waiting), (3, 1), "an account leaves as many places free as it takes");
    // Without a free place, the waiting accounts are counted.
    let Claimed { due: more, waiting } = fixture.claim_while_running(at(60), &due, 0).await;
    assert_eq!((more.len(), waiting), (0, 1));
}

#[tokio::test]
async fn claims_use_indexes() {
    crate::store::testing::sqlite_only("reads its query plans");
    let fixture = Fixture::open().await;
    fixture
        .store
        .submission_accept(fixture.message(&["a@example.org"]), NO_LIMITS, limits(u64::MAX).quota)
        .await
        .unwrap();
    let plan = |sql: &'static str| {
        let read = move |c: &Transaction<'_>| {
            let mut statement = c.sqlite().prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
            let rows = statement.raw_query().mapped(|row| row.get::<_, String>(3)).collect::<Result<Vec<_>, _>>()?;
            Ok::<_, StoreError>(rows.join("; "))
        };
        let store = fixture.store.clone();
        async move { store.read(read).await.unwrap() }
    };
    for (sql, index) in [
        (jobs::ACCOUNTS_IN_TIME, "due_account_by_time (kind=? AND due_at>?)"),
        (jobs::ACCOUNTS_DUE, "due_account_by_time (kind=? AND due_at<?)"),
        (claim::CANDIDATES, "INDEX delivery_ready (account_id=? AND ready_at<?)"),
    ] {
        let plan = plan(sql).await;
        assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{sql}: {plan}");
    }
}

#[tokio::test]
async fn messages_of_a_thread_are_limited_per_hour_with_and_without_copies_in_sent() {
    let fixture = Fixture::open().await;
    let other = inbox(&fixture.store, &fixture.account, "other").await;
    let limits_of_two = SendLimits { thread_messages_per_hour: 2, ..NO_LIMITS };
    let send = async |inbox: &InboxId, header: &str, saved: bool, now: Timestamp| {
        let header = header.replace('\n', "\r\n").into_bytes();
        let new = NewSubmission {
            inbox: inbox.clone(),
            outgoing_header: header,
            sent: saved.then_some(SentCopy::AsItLeaves),
            now,
            ..fixture.message(&["a@example.org"])
        };
        fixture.store.submission_accept(new, limits_of_two, limits(u64::MAX).quota).await
    };
    let until = |result: Result<(), AcceptError>| match result {
        Err(AcceptError::ThreadFull { limit: 2, until }) => until,
        other => panic!("{other:?}"),
    };
    let first = "From: hello@inboxlayer.dev\nTo: a@example.org\nMessage-ID: <1@x>\nSubject: Lunch\n\n";
    let by_reference = "Message-ID: <2@x>\nIn-Reply-To: <1@x>\n\n";
    let by_subject = "From: hello@inboxlayer.dev\nTo: a@example.org\nSubject: Re: lunch\n\n";
    send(&fixture.inbox, first, true, at(0)).await.unwrap();
    send(&fixture.inbox, by_reference, true, at(10)).await.unwrap();
    send(&fixture.inbox, by_subject, false, at(20)).await.unwrap();
    assert_eq!(until(send(&fixture.inbox, by_reference, true, at(30)).await), at(3610));
    assert_eq!(until(send(&fixture.inbox, by_subject, false, at(3609)).await), at(3610));
    // Another thread, and the same one in another inbox.
    for n in 0..3 {
        send(&fixture.inbox, &first.replace("1@x", &format!("{n}@y")), true, at(30)).await.unwrap();
    }
    send(&other, by_reference, true, at(30)).await.unwrap();
    send(&other, by_reference, true, at(30)).await.unwrap();
    send(&fixture.inbox, by_reference, false, at(3610)).await.unwrap();
    assert_eq!(until(send(&fixture.inbox, by_reference, true, at(3611)).await), at(3620));
}
