//! Drafts that begin as answers or as what was to leave later; the counts of mailboxes; previews.

use crate::http::testing::World;
use crate::store::testing::put;
use serde_json::{Value, json};
use std::time::Duration;

const LETTER: &str = "From: Ann <ann@x.org>\r\nTo: ben@inboxlayer.dev, Eve <eve@y.org>\r\nSubject: Lunch\r\nMessage-ID: <m@x>\r\n\
    Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nAt noon?\r\n\
    --b\r\nContent-Type: text/plain; name=menu.txt\r\nContent-Disposition: attachment; filename=menu.txt\r\n\r\nsoup\r\n--b--\r\n";

async fn begin(world: &World, email: &str, kind: &str) -> Value {
    let body = json!({"kind": kind, "force": false});
    let answer = world.post(&world.ours.token, &format!("/api/v1/emails/{email}/drafts"), body).await;
    assert_eq!(answer.status, 201, "{}", answer.json());
    answer.json()
}

#[tokio::test]
async fn an_answer_begins_as_a_draft_that_is_addressed_and_quotes() {
    let world = World::new().await;
    let token = &world.ours.token;
    let ben = world.post(token, "/api/v1/inboxes", json!({"name": "ben"})).await.text("id");
    let email = put(&world.context.store, &ben.parse().unwrap(), LETTER.as_bytes()).await.id.to_string();
    let reply = begin(&world, &email, "reply").await;
    assert_eq!(
        (&reply["to"], &reply["cc"], &reply["subject"]),
        (&json!(["ann@x.org"]), &json!([]), &json!("Re: Lunch"))
    );
    assert!(reply["text_body"].as_str().unwrap().contains("> At noon?"), "{reply}");
    assert_eq!((&reply["html_body"], &reply["attachments"]), (&Value::Null, &json!([])));
    assert_eq!(begin(&world, &email, "reply_all").await["cc"], json!(["eve@y.org"]));
    let forward = begin(&world, &email, "forward").await;
    assert_eq!((&forward["to"], &forward["attachments"]), (&json!([]), &json!(["menu.txt"])));
    let shown = world.get(token, &format!("/api/v1/emails/{}", reply["id"].as_str().unwrap())).await.json();
    assert_eq!((&shown["in_reply_to"], &shown["labels"]), (&json!(["m@x"]), &json!(["drafts"])));
    let wrong = world.post(token, &format!("/api/v1/emails/{email}/drafts"), json!({"kind": "answer"})).await;
    assert_eq!((wrong.status, wrong.fields()), (422, vec!["kind".to_owned()]));

    let counts = world.get(token, &format!("/api/v1/inboxes/{ben}/mailboxes")).await.json();
    let of =
        |label: &str| counts["data"].as_array().unwrap().iter().find(|one| one["label"] == label).cloned().unwrap();
    assert_eq!(of("inbox"), json!({"name": "INBOX", "label": "inbox", "emails": 1, "unread": 1}));
    assert_eq!(of("drafts")["emails"], 3);
    let named = |name: &'static str, more: &'static str| {
        let path = format!("/api/v1/emails?inbox={ben}&mailbox={name}{more}");
        let world = &world;
        async move { world.get(token, &path).await.json()["data"].as_array().unwrap().len() }
    };
    assert_eq!((named("INBOX", "").await, named("Drafts", "").await, named("Nowhere", "").await), (1, 3, 0));
    assert_eq!((named("INBOX", "&label=urgent").await, named("INBOX", "&sender=ann").await), (0, 1));
    let list = world.get(token, &format!("/api/v1/emails?inbox={ben}&label=inbox&preview=true")).await.json();
    assert_eq!((&list["data"][0]["preview"], &list["data"][0]["has_attachments"]), (&json!("At noon?"), &json!(true)));
    let found = world.get(token, &format!("/api/v1/emails/search?inbox={ben}&q=noon&preview=true")).await.json();
    assert_eq!(found["data"][0]["preview"].as_str().map(|text| text.contains("noon")), Some(true), "{found}");
    let plain = world.get(token, &format!("/api/v1/emails?inbox={ben}&label=inbox")).await.json();
    assert_eq!(plain["data"][0].get("preview"), None);
}

#[tokio::test]
async fn a_reply_to_a_program_or_to_itself_begins_only_if_it_is_forced() {
    let world = World::new().await;
    let token = &world.ours.token;
    let ben = world.post(token, "/api/v1/inboxes", json!({"name": "ben"})).await.text("id");
    for (fields, code) in [
        ("From: ann@x.org\r\nAuto-Submitted: auto-replied", "automatic_email"),
        ("From: ann@x.org\r\nList-Id: <all.x.org>", "automatic_email"),
        ("From: ben@inboxlayer.dev", "reply_to_self"),
    ] {
        let raw = format!("{fields}\r\nSubject: x\r\n\r\nx\r\n");
        let email = put(&world.context.store, &ben.parse().unwrap(), raw.as_bytes()).await.id;
        let path = format!("/api/v1/emails/{email}/drafts");
        for kind in ["reply", "reply_all"] {
            let refused = world.post(token, &path, json!({"kind": kind})).await;
            assert_eq!((refused.status, refused.code()), (409, code), "{fields}");
            assert_eq!(world.post(token, &path, json!({"kind": kind, "force": true})).await.status, 201);
        }
        assert_eq!(world.post(token, &path, json!({"kind": "forward"})).await.status, 201);
    }
}

#[tokio::test]
async fn what_a_draft_answers_is_marked_when_the_draft_is_sent() {
    let world = World::new().await;
    let token = &world.ours.token;
    let ben = world.post(token, "/api/v1/inboxes", json!({"name": "ben"})).await.text("id");
    let html = LETTER
        .replace("Content-Type: text/plain\r\n\r\nAt noon?", "Content-Type: text/html\r\n\r\n<p>At <b>noon</b>?</p>");
    let mailbox = ben.parse().unwrap();
    for (kind, mark) in [("reply", "\\Answered"), ("forward", "$Forwarded")] {
        let email = put(&world.context.store, &mailbox, html.as_bytes()).await.id;
        let draft = begin(&world, email.as_str(), kind).await;
        assert_eq!(draft["html_body"].as_str().is_some_and(|html| html.contains("<b>noon</b>")), kind == "forward");
        let path = format!("/api/v1/drafts/{}", draft["id"].as_str().unwrap());
        let changed = world.patch(token, &path, json!({"to": "bo@elsewhere.org", "text_body": "Yes."})).await;
        assert_eq!(changed.status, 200, "{}", changed.json());
        let flags = || async {
            let found = world.context.store.message(&mailbox, &email).await.unwrap().unwrap();
            (found.flags.contains(crate::store::messages::Flags::ANSWERED), found.keywords)
        };
        assert_eq!(flags().await, (false, String::new()), "{kind}");
        let sent = world.post(token, &format!("{path}/send"), json!({})).await;
        assert_eq!(sent.status, 201, "{}", sent.json());
        let (is_answered, keywords) = flags().await;
        assert_eq!((is_answered, keywords.contains("$Forwarded")), (kind == "reply", kind == "forward"), "{mark}");
        let raw =
            String::from_utf8_lossy(&world.get(token, &format!("/api/v1/emails/{}/raw", sent.text("id"))).await.body)
                .to_ascii_lowercase();
        assert!(!raw.contains("inboxlayer-answers"), "{raw}");
    }
}

#[tokio::test]
async fn attachments_of_a_draft_stay_one_by_one() {
    let world = World::new().await;
    let token = &world.ours.token;
    let ben = world.post(token, "/api/v1/inboxes", json!({"name": "ben"})).await.text("id");
    let file = |name: &str| json!({"filename": name, "content": "eA=="});
    let draft = json!({"inbox_id": ben, "text_body": "x", "attachments": [file("a"), file("b"), file("c")]});
    let made = world.post(token, "/api/v1/drafts", draft).await;
    let path = format!("/api/v1/drafts/{}", made.text("id"));
    for (change, wanted) in [
        (json!({"keep_attachments": ["3", "1"]}), json!(["c", "a"])),
        (json!({"keep_attachments": ["1"], "attachments": [file("d")]}), json!(["c", "d"])),
        (json!({"subject": "y"}), json!(["c", "d"])),
        (json!({"attachments": [file("e")]}), json!(["e"])),
        (json!({"keep_attachments": []}), json!([])),
    ] {
        let changed = world.patch(token, &path, change.clone()).await;
        assert_eq!((changed.status, &changed.json()["attachments"]), (200, &wanted), "{change}");
    }
    let wrong = world.patch(token, &path, json!({"keep_attachments": ["1"]})).await;
    assert_eq!((wrong.status, wrong.fields()), (422, vec!["keep_attachments[0]".to_owned()]));
}

#[tokio::test]
async fn what_is_to_leave_later_can_become_a_draft_again() {
    let world = World::new().await;
    let token = &world.ours.token;
    let ann = world.post(token, "/api/v1/inboxes", json!({"name": "ann"})).await.text("id");
    let file = json!([{"filename": "a.txt", "content": "eA=="}]);
    let draft = json!({"inbox_id": ann, "to": "bo@elsewhere.org", "bcc": "eve@elsewhere.org", "subject": "Hi", "text_body": "x", "attachments": file});
    let made = world.post(token, "/api/v1/drafts", draft).await.text("id");
    let later = world.context.clock.now().after(Duration::from_secs(10));
    let sent = world.post(token, &format!("/api/v1/drafts/{made}/send"), json!({"send_at": later.to_string()})).await;
    assert_eq!((sent.status, sent.text("status").as_str()), (201, "scheduled"), "{}", sent.json());
    assert_eq!(world.get(token, &format!("/api/v1/drafts/{made}")).await.status, 404);
    let path = format!("/api/v1/emails/{}", sent.text("id"));
    let again = world.post(token, &format!("{path}/cancel"), json!({})).await;
    assert_eq!(again.status, 201, "{}", again.json());
    let again = again.json();
    assert_eq!((&again["to"], &again["bcc"]), (&json!(["bo@elsewhere.org"]), &json!(["eve@elsewhere.org"])));
    assert_eq!((&again["subject"], &again["attachments"]), (&json!("Hi"), &json!(["a.txt"])));
    assert_eq!(world.get(token, &path).await.status, 404);
    assert_eq!(world.get(token, "/api/v1/queue").await.json()["data"], json!([]));

    let now = world.post(token, &format!("/api/v1/drafts/{}/send", again["id"].as_str().unwrap()), json!({})).await;
    let left = world.post(token, &format!("/api/v1/emails/{}/cancel", now.text("id")), json!({})).await;
    assert_eq!((left.status, left.code()), (409, "not_scheduled"));
    assert_eq!(world.get(token, "/api/v1/drafts").await.json()["count"], 0);
}
