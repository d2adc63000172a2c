//! Import of messages with their flags and dates.

use crate::config::{Config, Limits};
use crate::http::router;
use crate::http::testing::{Answer, World};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

fn email(raw: &str, flags: &[&str], received_at: &str) -> Value {
    json!({"raw": STANDARD.encode(raw), "flags": flags, "received_at": received_at})
}

async fn with_limits(change: impl FnOnce(&mut Limits)) -> World {
    let mut config = Config::default();
    change(&mut config.limits);
    World::serving_with(config, router).await
}

struct Inbox<'a> {
    world: &'a World,
    id: String,
}

impl Inbox<'_> {
    async fn import(&self, body: Value) -> Answer {
        self.world.post(&self.world.ours.token, &format!("/api/v1/inboxes/{}/import", self.id), body).await
    }

    /// The emails of a mailbox, by subject.
    async fn emails(&self, mailbox: &str) -> Vec<Value> {
        let path = format!("/api/v1/emails?inbox={}&mailbox={mailbox}", self.id);
        let mut emails = self.world.get(&self.world.ours.token, &path).await.json()["data"].as_array().unwrap().clone();
        emails.sort_by_key(|email| email["subject"].to_string());
        emails
    }
}

#[tokio::test]
async fn messages_keep_their_flags_and_dates() {
    let world = World::new().await;
    let id = world.post(&world.ours.token, "/api/v1/inboxes", json!({"name": "ann"})).await.text("id");
    let inbox = Inbox { world: &world, id };
    let emails = json!([
        email("Subject: one\n\nx\n", &["\\seen", "Work", "work", "\\Flagged"], "2020-01-02T03:04:05Z"),
        email("Subject: two\r\n\r\nx\r\n", &[], "2021-01-02T03:04:05.678Z"),
    ]);
    let done = inbox.import(json!({"mailbox": "inbox/Old/2020", "emails": emails})).await;
    assert_eq!((done.status, done.json()), (201, json!({"imported": 2})));
    let found = inbox.emails("INBOX/Old/2020").await;
    let shown = |email: &Value| (email["subject"].clone(), email["flags"].clone(), email["received_at"].clone());
    assert_eq!(shown(&found[1]), (json!("two"), json!([]), json!("2021-01-02T03:04:05.678Z")));
    assert_eq!(
        shown(&found[0]),
        (json!("one"), json!(["\\Seen", "\\Flagged", "Work"]), json!("2020-01-02T03:04:05.000Z"))
    );
    assert_eq!(found[0]["size"], 19);
    let none = inbox.import(json!({"mailbox": "Empty"})).await;
    assert_eq!((none.status, none.json()), (201, json!({"imported": 0})));
    let mailboxes = world.get(&world.ours.token, &format!("/api/v1/inboxes/{}/mailboxes", inbox.id)).await.json();
    assert!(mailboxes["data"].as_array().unwrap().iter().any(|mailbox| mailbox["name"] == "Empty"), "{mailboxes}");
}

#[tokio::test]
async fn a_request_with_a_wrong_message_stores_none() {
    let world = with_limits(|limits| limits.message_size = 4096).await;
    let id = world.post(&world.ours.token, "/api/v1/inboxes", json!({"name": "ann"})).await.text("id");
    let inbox = Inbox { world: &world, id };
    let good = || email("Subject: one\n\nx\n", &[], "2020-01-02T03:04:05Z");
    let keywords: Vec<String> = (0..1000).map(|n| format!("k{n}")).collect();
    let keywords: Vec<&str> = keywords.iter().map(String::as_str).collect();
    for (bad, field) in [
        (email("a\0b", &[], "2020-01-02T03:04:05Z"), "emails[1].raw"),
        (email(&"x".repeat(4097), &[], "2020-01-02T03:04:05Z"), "emails[1].raw"),
        (json!({"raw": "!"}), "emails[1].raw"),
        (json!({}), "emails[1].raw"),
        (email("x", &["\\Recent"], "2020-01-02T03:04:05Z"), "emails[1].flags[0]"),
        (email("x", &["two words"], "2020-01-02T03:04:05Z"), "emails[1].flags[0]"),
        (email("x", &[], "yesterday"), "emails[1].received_at"),
        (email("x", &keywords, "2020-01-02T03:04:05Z"), "emails"),
        (json!({"raw": "eA==", "mailbox": "x"}), "emails[1].mailbox"),
        (json!(1), "emails[1]"),
    ] {
        let refused = inbox.import(json!({"mailbox": "Archive", "emails": [good(), bad]})).await;
        assert_eq!((refused.status, refused.fields()), (422, vec![field.to_owned()]), "{}", refused.json());
    }
    for name in ["", "/a", "a//b", "a*", "a\nb"] {
        let refused = inbox.import(json!({"mailbox": name, "emails": [good()]})).await;
        assert_eq!((refused.status, refused.fields()), (422, vec!["mailbox".to_owned()]), "{name}");
    }
    let many = vec![json!({"raw": ""}); 501];
    assert_eq!(inbox.import(json!({"mailbox": "Archive", "emails": many})).await.fields(), ["emails"]);
    assert_eq!(inbox.emails("Archive").await, Vec::<Value>::new());
    assert_eq!(inbox.import(json!({"mailbox": "Archive", "emails": [good()]})).await.status, 201);
}

#[tokio::test]
async fn a_full_inbox_takes_none() {
    let world = with_limits(|limits| limits.messages = 2).await;
    let id = world.post(&world.ours.token, "/api/v1/inboxes", json!({"name": "ann"})).await.text("id");
    let inbox = Inbox { world: &world, id };
    let emails = |count: usize| vec![email("Subject: x\n\n", &[], "2020-01-02T03:04:05Z"); count];
    let full = inbox.import(json!({"mailbox": "Archive", "emails": emails(3)})).await;
    assert_eq!((full.status, full.code()), (507, "inbox_full"));
    assert_eq!(inbox.emails("Archive").await.len(), 0);
    assert_eq!(inbox.import(json!({"mailbox": "Archive", "emails": emails(2)})).await.status, 201);
}

#[tokio::test]
async fn a_name_is_the_same_in_every_unicode_form() {
    let world = World::new().await;
    let id = world.post(&world.ours.token, "/api/v1/inboxes", json!({"name": "ann"})).await.text("id");
    let inbox = Inbox { world: &world, id };
    for (name, subject) in [("Re\u{301}sume\u{301}s", "one"), ("R\u{e9}sum\u{e9}s", "two")] {
        let emails = json!([email(&format!("Subject: {subject}\n\nx\n"), &[], "2020-01-02T03:04:05Z")]);
        assert_eq!(inbox.import(json!({"mailbox": name, "emails": emails})).await.status, 201);
    }
    assert_eq!(inbox.emails("R%C3%A9sum%C3%A9s").await.len(), 2);
}
