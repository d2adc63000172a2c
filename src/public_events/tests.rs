//! Events of a real store, rendered.

use super::emails::EVENT_TEXT;
use super::*;
use crate::address::{Address, ReversePath};
use crate::config::Config;
use crate::dkim::Keys;
use crate::dns::Resolver;
use crate::envelope::Recipients;
use crate::events::{Cursor, DeliveryAttempt, Event};
use crate::id::{DeliveryId, MailboxId, MessageId, SubmissionId};
use crate::resources::reading::ReadingLog;
use crate::resources::work::WorkPool;
use crate::store::deliver::LocalDelivery;
use crate::store::quota::Quota;
use crate::store::routing::Route;
use crate::store::testing::{inbox, store_with_account};
use crate::verifier::Verifier;
use serde_json::Value;

struct World {
    _dir: tempfile::TempDir,
    store: Store,
    account: AccountId,
    events: PublicEvents,
}

async fn world() -> World {
    world_with(Config::default()).await
}

async fn world_with(config: Config) -> World {
    let (dir, store, account) = store_with_account().await;
    world_on(dir, store, account, config).await
}

async fn world_on(dir: tempfile::TempDir, store: Store, account: AccountId, config: Config) -> World {
    let (clock, config) = (Clock::manual(), Arc::new(config));
    let keys = Keys::open(store.clone(), dir.path(), &config, clock.clone()).await.unwrap();
    let resolver = Resolver::new(&config.dns).unwrap();
    let verifier = Verifier::new(Arc::clone(&config), store.clone(), clock.clone(), resolver);
    let registry = Registry::new(Arc::clone(&config), store.clone(), clock.clone(), keys, verifier);
    let spool = Spool::open(dir.path(), &config.limits).unwrap();
    let reading = Reading::new(&config, WorkPool::default(), ReadingLog::default());
    let platform = config.platform.domain.clone();
    let events = PublicEvents::new(store.clone(), clock, platform, registry, reading, &spool);
    World { _dir: dir, store, account, events }
}

impl World {
    /// A message from outside, for the inbox of this name.
    async fn deliver(&self, name: &str, raw: &[u8]) -> MessageId {
        let to = Address::parse(&format!("{name}@inboxlayer.dev")).unwrap();
        let route = self.store.route(&to.domain, &to, Timestamp::real()).await.unwrap();
        let Route::Inbox(recipient) = route else { panic!("{route:?}") };
        let (header, body) = crate::message::split(raw);
        let delivery = LocalDelivery {
            mail_from: ReversePath::Mailbox("ann@example.org".parse().unwrap()),
            recipients: Recipients::new(vec![recipient]).unwrap(),
            header: header.to_vec(),
            received_at: Timestamp::real(),
        };
        let quota = Quota { octets: u64::MAX, messages: u64::MAX };
        let delivered = self.store.message_deliver(delivery, body.to_vec().into(), quota).await.unwrap();
        delivered[0].id.clone()
    }

    /// All events of the account so far, as users see them.
    async fn shown(&self) -> Vec<(PublicType, Value)> {
        let page = async {
            loop {
                let page = self.store.events_after(&self.account, None, Cursor::default(), 100).await.unwrap();
                if page.is_settled {
                    return page;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        let shown = self.events.render(&self.account, &page.await.events).await.unwrap();
        shown.into_iter().map(|event| (event.r#type, serde_json::from_str(event.data.get()).unwrap())).collect()
    }

    /// A logged event, rendered by itself.
    async fn one(&self, event: Event) -> Option<Value> {
        let logged = LoggedEvent { cursor: Cursor::default(), at: Timestamp::real(), event };
        let shown = self.events.render(&self.account, &[logged]).await.unwrap().pop();
        shown.map(|event| serde_json::to_value(event).unwrap())
    }
}

#[tokio::test]
async fn a_received_email_is_shown_whole_with_its_text_cut() {
    let world = world().await;
    let inbox = inbox(&world.store, &world.account, "ann").await;
    let long = "x".repeat(70);
    let raw = format!(
        "From: Bank <no-reply@bank.example>\r\nTo: ann@inboxlayer.dev\r\nSubject: Your code\r\n\r\nYour code is 482913.\r\n{}",
        format!("{long}\r\n").repeat(1000)
    );
    let id = world.deliver("ann", raw.as_bytes()).await;
    let shown = world.shown().await;
    let [(PublicType::EmailReceived, email)] = shown.as_slice() else { panic!("{shown:?}") };
    let of_inbox = world.one(Event::InboxCreated { inbox_id: inbox.clone() }).await.unwrap();
    assert_eq!(of_inbox["data"]["platform_address"], "ann@inboxlayer.dev");
    assert_eq!(
        (email["id"].as_str(), email["inbox_id"].as_str(), email["from_address"].as_str()),
        (Some(id.as_str()), Some(inbox.as_str()), Some("no-reply@bank.example"))
    );
    assert_eq!((&email["codes"][0]["code"], &email["labels"][0]), (&"482913".into(), &"inbox".into()));
    assert_eq!((&email["truncated"], email["text_body"].as_str().unwrap().len()), (&true.into(), EVENT_TEXT));
    assert_eq!((email["url"].as_str(), email.get("headers")), (Some(format!("/api/v1/emails/{id}").as_str()), None));
}

#[tokio::test]
async fn many_emails_are_shown_in_order_and_a_deleted_one_by_its_ids() {
    let world = world().await;
    let inbox = inbox(&world.store, &world.account, "ann").await;
    let mut ids = Vec::new();
    for n in 0..5 {
        // Two of them are read together, the large one alone.
        let size = if n == 2 { 1_500_000 } else { 400_000 };
        let raw = format!("Subject: {n}\r\n\r\n{}", format!("{}\r\n", "y".repeat(78)).repeat(size / 80));
        ids.push(world.deliver("ann", raw.as_bytes()).await);
    }
    world.store.email_remove(&inbox, &ids[1], Default::default()).await.unwrap();
    let shown = world.shown().await;
    let emails: Vec<&Value> = shown.iter().map(|(_, data)| data).collect();
    assert_eq!(
        emails.iter().map(|email| email["id"].as_str().unwrap()).collect::<Vec<_>>(),
        ids.iter().map(MessageId::as_str).collect::<Vec<_>>()
    );
    let subjects: Vec<_> = emails.iter().map(|email| email["subject"].as_str()).collect();
    assert_eq!(subjects, [Some("0"), None, Some("2"), Some("3"), Some("4")]);
    assert_eq!(emails[1], &serde_json::json!({"id": ids[1], "inbox_id": inbox, "deleted": true}));
}

#[tokio::test]
async fn an_email_whose_stored_body_is_damaged_does_not_hold_up_the_others() {
    let world = world().await;
    inbox(&world.store, &world.account, "ann").await;
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(world.deliver("ann", format!("Subject: {n}\r\n\r\nbody {n}\r\n").as_bytes()).await);
    }
    let of = ids[1].clone();
    let damage = move |c: &crate::store::Transaction<'_>| {
        let sql = "UPDATE body SET data = ?2 WHERE id = (SELECT c.body_id FROM message m JOIN content c ON c.id = m.content_id
                   WHERE m.id = ?1)";
        c.execute(sql, crate::store::params![of, vec![0_u8; 100]])
    };
    assert_eq!(world.store.write::<_, StoreError, _>(damage).await.unwrap(), 1);
    let shown = world.shown().await;
    let emails: Vec<&Value> = shown.iter().map(|(_, data)| data).collect();
    let subjects: Vec<_> = emails.iter().map(|email| email["subject"].as_str()).collect();
    assert_eq!(subjects, [Some("0"), None, Some("2")]);
    assert_eq!((&emails[1]["id"], &emails[1]["unreadable"]), (&ids[1].as_str().into(), &true.into()));
}

#[tokio::test]
async fn an_email_larger_than_the_memory_of_the_account_is_shown_by_its_header() {
    let mut config = Config::default();
    config.limits.memory_per_account = 300_000;
    let world = world_with(config).await;
    inbox(&world.store, &world.account, "ann").await;
    let raw = format!("Subject: large\r\n\r\n{}", format!("{}\r\n", "y".repeat(78)).repeat(2000));
    world.deliver("ann", raw.as_bytes()).await;
    let shown = world.shown().await;
    let (_, email) = shown.last().unwrap();
    assert_eq!((&email["subject"], &email["truncated"], email.get("text_body")), (&"large".into(), &true.into(), None));
}

#[tokio::test]
async fn an_attempt_says_what_the_host_replied_and_other_accounts_mail_is_not_read() {
    let world = world().await;
    let theirs = crate::store::testing::account(&world.store).await;
    let eve = inbox(&world.store, &theirs, "eve").await;
    let message_id = world.deliver("eve", b"Subject: secret\r\n\r\n").await;
    let of_theirs = Event::MessageReceived {
        inbox_id: eve.clone(),
        mailbox: MailboxId::new(1),
        message_id: message_id.clone(),
        uid: 1,
    };
    let shown = world.one(of_theirs).await.unwrap();
    assert_eq!(shown["data"], serde_json::json!({"id": message_id, "inbox_id": eve, "deleted": true}));

    let submission_id = SubmissionId::new();
    let attempt = DeliveryAttempt {
        submission_id: submission_id.clone(),
        inbox_id: Some(eve.clone()),
        delivery_id: DeliveryId::new(),
        recipient: "a@example.org".parse().unwrap(),
        reply: "550 5.1.1 no such user".into(),
        mx: Some("mx.example.org".into()),
    };
    let shown = world.one(Event::EmailBounced(attempt)).await.unwrap();
    assert_eq!(
        (
            &shown["type"],
            &shown["id"],
            &shown["data"]["recipient"],
            &shown["data"]["reply"],
            &shown["data"]["email_id"]
        ),
        (
            &"email.bounced".into(),
            &"evt_0-0".into(),
            &"a@example.org".into(),
            &"550 5.1.1 no such user".into(),
            &serde_json::json!(MessageId::of_sent(&submission_id))
        )
    );
    assert_eq!(world.one(Event::TokenRevoked { token_id: crate::id::TokenId::new() }).await, None);
}

/// Its next events.
#[cfg(feature = "cluster")]
async fn next(follower: &mut Follower) -> Vec<LoggedEvent> {
    loop {
        if let Followed::Page(page) = follower.next().await.unwrap() {
            return page.events;
        }
    }
}

#[cfg(feature = "cluster")]
#[tokio::test]
async fn a_follower_gets_what_another_daemon_commits_before_a_transaction_that_began_earlier_has_ended() {
    use crate::store::testing::{held_open, two_daemons};
    let (dir, one, two, account) = two_daemons().await;
    inbox(&one, &account, "ann").await;
    let world = world_on(dir, one, account.clone(), Config::default()).await;
    let (_dir, events) = (tempfile::tempdir().unwrap(), world.events.clone());
    let other = World { _dir, store: two.clone(), account: account.clone(), events };
    let types = PublicType::ALL.iter().copied().collect();
    let selection = Selection { account: account.clone(), inbox: None, email: None, types };
    let mut follower = world.events.follow(selection, world.events.end().await.unwrap());
    let (_, go, held) = held_open(&two, &account).await;
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(other.deliver("ann", format!("Subject: {n}\r\n\r\n").as_bytes()).await);
    }
    // They may still come after what the open transaction writes.
    let early = tokio::time::timeout(std::time::Duration::from_millis(100), next(&mut follower)).await;
    assert!(early.is_err(), "{early:?}");
    go.send(()).unwrap();
    held.await.unwrap();
    let mut got = Vec::new();
    while got.len() < ids.len() {
        let events = tokio::time::timeout(std::time::Duration::from_secs(60), next(&mut follower)).await.unwrap();
        got.extend(events.into_iter().map(|logged| match logged.event {
            Event::MessageReceived { message_id, .. } => message_id,
            other => panic!("{other:?}"),
        }));
    }
    assert_eq!(got, ids);
}

#[tokio::test]
async fn a_token_needs_the_permission_for_what_an_event_is_about() {
    for r#type in PublicType::ALL {
        let words: Vec<_> = needed(*r#type).words().collect();
        let subject = r#type.to_string();
        let wanted = match subject.split_once('.').unwrap().0 {
            "email" => "messages:read",
            "custom_domain" => "domains:read",
            "webhook_subscription" => "webhooks:read",
            _ => "inboxes:read",
        };
        assert_eq!(words, [wanted], "{subject}");
    }
}
