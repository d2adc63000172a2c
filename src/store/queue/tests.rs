//! The verbs of the queue on a real store.

use super::*;
use crate::address::ReversePath;
use crate::identity::{Claim, SendIdentity, VerifiedDomain};
use crate::store::testing::{inbox, store_with_account};
use std::time::Duration;
use tempfile::TempDir;

const HOUR: Duration = Duration::from_secs(3600);

struct Post {
    _dir: TempDir,
    store: Store,
    account: AccountId,
    inbox: InboxId,
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

impl Post {
    async fn open() -> Self {
        let (dir, store, account) = store_with_account().await;
        let inbox = inbox(&store, &account, "hello").await;
        Self { _dir: dir, store, account, inbox }
    }

    fn message(&self, rcpt_to: &[&str]) -> NewSubmission {
        let from: Address = "hello@inboxlayer.dev".parse().unwrap();
        NewSubmission {
            id: SubmissionId::new(),
            account: self.account.clone(),
            inbox: self.inbox.clone(),
            inbox_name: "hello".parse().unwrap(),
            token: TokenId::new(),
            login_address: from.clone(),
            identity: SendIdentity::Platform { address: from.clone() },
            mail_from: from,
            fallback: None,
            original_header: b"Subject: x\r\n\r\n".to_vec(),
            outgoing_header: b"DKIM-Signature: y\r\nSubject: x\r\n\r\n".to_vec(),
            body: b"body\r\n".to_vec(),
            rcpt_to: Recipients::new(rcpt_to.iter().map(|r| r.parse().unwrap()).collect()).unwrap(),
            protocol: "ESMTPSA",
            client: None,
            arrived_at: Timestamp::real(),
            now: at(0),
            expires_at: at(0).after(24 * HOUR),
        }
    }

    async fn count(&self, table: &'static str) -> i64 {
        let count = move |c: &Connection| {
            Ok::<_, StoreError>(c.query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get(0))?)
        };
        self.store.read(count).await.unwrap()
    }

    async fn claim(&self, now: Timestamp) -> Vec<Due> {
        self.store.claim_due(now, now.after(HOUR), 100, none_in_flight()).await.unwrap()
    }
}

fn none_in_flight() -> InFlight {
    InFlight { attempts: Vec::new(), per_domain: 4, per_account: 100 }
}

fn settlement(due: &Due) -> Settlement {
    Settlement {
        submission: due.letter.id.clone(),
        done: due.deliveries.iter().map(|d| d.id.clone()).collect(),
        deferred: Vec::new(),
        local: None,
        bounce: None,
        at: at(0),
        received_at: Timestamp::real(),
    }
}

#[tokio::test]
async fn ten_recipients_share_one_body_and_the_last_one_settled_takes_it_along() {
    let post = Post::open().await;
    let rcpt_to: Vec<String> = (0..10).map(|i| format!("r{i}@d{}.example", i % 3)).collect();
    let mut rcpt_to: Vec<&str> = rcpt_to.iter().map(String::as_str).collect();
    rcpt_to.push("R0@D0.example");
    post.store.enqueue(post.message(&rcpt_to)).await.unwrap();
    assert_eq!([post.count("body").await, post.count("content").await, post.count("delivery").await], [1, 2, 10]);

    let due = post.claim(at(0)).await;
    assert_eq!(due.iter().map(|d| d.deliveries.len()).collect::<Vec<_>>().iter().sum::<usize>(), 10);
    assert_eq!(due.len(), 3, "one attempt a domain");
    for due in due {
        assert_eq!(post.count("body").await, 1);
        post.store.settle(settlement(&due).into(), u64::MAX).await.unwrap();
    }
    for table in ["submission", "delivery", "content", "body"] {
        assert_eq!(post.count(table).await, 0, "{table}");
    }
}

#[tokio::test]
async fn what_is_claimed_stays_claimed_until_its_lease_lapses_or_a_restart() {
    let post = Post::open().await;
    post.store.enqueue(post.message(&["a@example.org"])).await.unwrap();
    let first = post.claim(at(0)).await;
    assert_eq!(first.len(), 1);
    assert!(post.claim(at(0)).await.is_empty());
    assert_eq!(post.store.next_attempt_due().await.unwrap(), Some(at(0).after(HOUR)));
    // An attempt that is known to run is left alone, whatever the clock says.
    let busy = InFlight {
        attempts: vec![(first[0].letter.id.clone(), first[0].domain.clone())],
        per_domain: 4,
        per_account: 100,
    };
    assert!(post.store.claim_due(at(7200), at(9000), 9, busy).await.unwrap().is_empty());
    assert_eq!(post.claim(at(7200)).await.len(), 1, "lapsed");
    assert_eq!(post.store.release_leases().await.unwrap(), 1);
    assert_eq!(post.claim(at(7200)).await.len(), 1, "released at start");
}

#[tokio::test]
async fn a_bounce_and_a_local_copy_are_placed_with_the_settlement() {
    let post = Post::open().await;
    let friend = inbox(&post.store, &post.account, "friend").await;
    post.store.enqueue(post.message(&["friend@inboxlayer.dev", "nobody@inboxlayer.dev"])).await.unwrap();
    let due = post.claim(at(0)).await.pop().unwrap();
    let to = |inbox: &InboxId, mail_from| ForInbox {
        account: post.account.clone(),
        inbox: inbox.clone(),
        mail_from,
        rcpt_to: "hello@inboxlayer.dev".parse().unwrap(),
    };
    let local = vec![to(&friend, due.letter.mail_from.clone())];
    let placed = post
        .store
        .settle(
            std::sync::Arc::new(Settlement {
                local: Some((b"Received: z\r\nSubject: x\r\n\r\n".to_vec(), local)),
                bounce: Some((
                    b"Subject: failed\r\n\r\n".to_vec(),
                    b"sorry\r\n".to_vec(),
                    to(&post.inbox, ReversePath::Null),
                )),
                ..settlement(&due)
            }),
            u64::MAX,
        )
        .await
        .unwrap();
    assert_eq!(placed.iter().map(|p| p.inbox.clone()).collect::<Vec<_>>(), [friend, post.inbox.clone()]);
    // The copy keeps the message's body; the queue keeps nothing.
    assert_eq!([post.count("submission").await, post.count("body").await, post.count("content").await], [0, 2, 2]);
}

#[tokio::test]
async fn a_deferral_says_when_and_why_and_people_may_hasten_or_drop_it() {
    let post = Post::open().await;
    let message = post.message(&["a@example.org"]);
    let id = message.id.clone();
    post.store.enqueue(message).await.unwrap();
    let due = post.claim(at(0)).await.pop().unwrap();
    let said = (due.deliveries[0].id.clone(), at(300), "451 4.3.0 later".to_owned(), Some("mx.example.org".to_owned()));
    let deferred = Settlement { done: Vec::new(), deferred: vec![said], ..settlement(&due) };
    post.store.settle(deferred.into(), u64::MAX).await.unwrap();

    assert!(post.claim(at(299)).await.is_empty());
    assert_eq!(post.store.next_attempt_due().await.unwrap(), Some(at(300)));
    let shown = post.store.queue_show(id.clone()).await.unwrap().unwrap();
    assert_eq!((shown.deliveries[0].attempts, shown.deliveries[0].last_reply.as_deref()), (1, Some("451 4.3.0 later")));
    assert_eq!(
        post.store.queue_list(Some(post.account.clone()), None, 10).await.unwrap(),
        std::slice::from_ref(&shown)
    );
    assert_eq!(post.store.queue_list(None, None, 10).await.unwrap(), [shown]);
    assert_eq!(post.store.queue_list(Some(AccountId::new()), None, 10).await.unwrap(), []);
    assert_eq!(post.store.queue_list(None, Some(id.clone()), 10).await.unwrap(), []);

    assert!(post.store.queue_retry(id.clone(), at(10)).await.unwrap());
    assert_eq!(post.claim(at(10)).await.len(), 1);
    assert!(post.store.queue_drop(id.clone()).await.unwrap());
    assert!(!post.store.queue_drop(id.clone()).await.unwrap());
    assert!(!post.store.queue_retry(id, at(10)).await.unwrap());
    assert_eq!([post.count("delivery").await, post.count("body").await], [0, 0]);
    // The attempt that ran meanwhile ends without harm.
    assert_eq!(post.store.settle(settlement(&due).into(), u64::MAX).await.unwrap(), []);
}

#[tokio::test]
async fn another_header_block_replaces_the_one_that_was_to_leave() {
    let post = Post::open().await;
    let claim = Claim {
        id: crate::id::DomainId::new(),
        name: "acme.com".parse().unwrap(),
        status: VerifiedStatus::Verified,
        on_unverified: crate::domain::status::OnUnverified::Fallback,
    };
    let domain = VerifiedDomain::of(&claim).unwrap();
    let identity = SendIdentity::Custom { local: "hello".parse().unwrap(), domain };
    let message = NewSubmission { mail_from: identity.address(), identity, ..post.message(&["a@example.org"]) };
    let id = message.id.clone();
    post.store.enqueue(message).await.unwrap();
    let from = "hello@inboxlayer.dev".parse().unwrap();
    let header = b"From: hello@inboxlayer.dev\r\n\r\n".to_vec();
    post.store.replace_outgoing(id, from, VerifiedStatus::Failed, header.clone()).await.unwrap();
    let due = post.claim(at(0)).await.pop().unwrap();
    assert_eq!((due.letter.domain, due.letter.mail_from.to_string().as_str()), (None, "hello@inboxlayer.dev"));
    assert_eq!(post.store.content(due.letter.outgoing).await.unwrap().header, header);
    assert_eq!([post.count("content").await, post.count("body").await], [2, 1], "the old one is gone");
}

#[tokio::test]
async fn one_domain_never_takes_all_the_places() {
    let post = Post::open().await;
    for _ in 0..6 {
        post.store.enqueue(post.message(&["a@big.example", "a@small.example"])).await.unwrap();
    }
    let domains = |due: &[Due]| due.iter().map(|d| d.domain.to_string()).collect::<Vec<_>>();
    let claim = async |limit, attempts: Vec<_>| {
        post.store
            .claim_due(at(0), at(3600), limit, InFlight { attempts, per_domain: 2, per_account: 100 })
            .await
            .unwrap()
    };
    let first = claim(100, Vec::new()).await;
    assert_eq!(domains(&first).iter().filter(|d| *d == "big.example").count(), 2);
    assert_eq!(first.len(), 4);
    let running: Vec<_> = first.iter().map(|d| (d.letter.id.clone(), d.domain.clone())).collect();
    assert!(claim(100, running.clone()).await.is_empty());
    let (big, _): (Vec<_>, Vec<_>) = running.into_iter().partition(|(_, d)| d.as_str() == "big.example");
    assert_eq!(domains(&claim(1, big.clone()).await), ["small.example"]);
    let one_big = big.into_iter().take(1).collect();
    assert_eq!(claim(100, one_big).await.len(), 3, "one more to the big one, two to the small");
}

#[tokio::test]
async fn one_account_cannot_take_every_place() {
    let (mut post, others) = (Post::open().await, AccountId::new());
    for i in 0..9 {
        post.store.enqueue(post.message(&[&format!("a@slow{i}.example")])).await.unwrap();
    }
    let theirs = others.clone();
    let make = move |c: &Connection| c.execute("INSERT INTO account VALUES (?1, 'x', 0)", [theirs]).map_err(Into::into);
    post.store.write::<_, StoreError, _>(make).await.unwrap();
    post.account = others.clone();
    post.inbox = inbox(&post.store, &others, "other").await;
    post.store.enqueue(post.message(&["b@example.org"])).await.unwrap();

    let mut attempts = Vec::new();
    let mut claimed = Vec::new();
    // Every place is asked for, time and again, as attempts end that never do.
    for _ in 0..3 {
        let in_flight = InFlight { attempts: attempts.clone(), per_domain: 4, per_account: 3 };
        let due = post.store.claim_due(at(0), at(3600), 6, in_flight).await.unwrap();
        attempts.extend(due.iter().map(|due| (due.letter.id.clone(), due.domain.clone())));
        claimed.extend(due.into_iter().map(|due| due.letter.account));
    }
    assert_eq!(claimed.len(), 4);
    assert_eq!(claimed.iter().filter(|account| **account == Some(others.clone())).count(), 1);
}
