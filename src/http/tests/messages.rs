//! Sending and reading messages over the API.

use crate::config::Config;
use crate::http::router;
use crate::http::testing::World;
use crate::id::InboxId;
use crate::store::testing::put;
use serde_json::json;

async fn inbox(world: &World, name: &str) -> String {
    world.post(&world.ours.token, "/api/v1/inboxes", json!({"name": name})).await.text("id")
}

async fn domain(world: &World, name: &str) -> String {
    let made = world.post(&world.ours.token, "/api/v1/custom_domains", json!({"domain": name})).await;
    assert_eq!(made.status, 201, "{}", made.json());
    made.text("id")
}

#[tokio::test]
async fn a_composed_message_is_accepted_and_queued() {
    let world = World::new().await;
    let token = &world.ours.token;
    let path = format!("/api/v1/inboxes/{}/messages", inbox(&world, "ann").await);
    let body = json!({
        "to": "Bo <bo@elsewhere.org>", "cc": ["cy@elsewhere.org"], "bcc": ["di@elsewhere.org", "cy@elsewhere.org"],
        "subject": "Hi", "text": "Hello\n", "attachments": [{"filename": "a.txt", "content": "YQ=="}],
    });
    let sent = world.post(token, &path, body).await;
    assert_eq!(sent.status, 202, "{}", sent.json());
    assert_eq!(sent.text("from"), "ann@inboxlayer.dev");
    assert_eq!((&sent.json()["fallback"], &sent.json()["held"]), (&json!(null), &json!(false)));
    assert_eq!(sent.json()["rcpt_to"], json!(["bo@elsewhere.org", "cy@elsewhere.org", "di@elsewhere.org"]));

    let queued = world.get(token, &format!("/api/v1/queue/{}", sent.text("id"))).await;
    assert_eq!((queued.status, queued.text("mail_from").as_str()), (200, "ann@inboxlayer.dev"));
    assert_eq!(queued.json()["deliveries"].as_array().unwrap().len(), 3);
    let listed = world.get(token, "/api/v1/queue").await.json();
    assert_eq!(listed["data"][0], queued.json());
    assert_eq!(world.get(&world.operator, "/api/v1/queue").await.json()["data"].as_array().unwrap().len(), 1);
    let retried = format!("/api/v1/queue/{}/retry", sent.text("id"));
    assert_eq!(world.post(token, &retried, json!({})).await.status, 202);
    let one = format!("/api/v1/queue/{}", sent.text("id"));
    assert_eq!(world.delete(token, &one).await.status, 204);
    assert_eq!(world.get(token, &one).await.status, 404);
}

#[tokio::test]
async fn from_must_belong_to_the_inbox_and_falls_back_visibly_while_its_domain_is_pending() {
    let world = World::new().await;
    let token = &world.ours.token;
    let (ann, ben) = (inbox(&world, "ann").await, inbox(&world, "ben").await);
    domain(&world, "acme.com").await;
    let alias = json!({"address": "Support@acme.com"});
    let made = world.post(token, &format!("/api/v1/inboxes/{ann}/aliases"), alias.clone()).await;
    assert_eq!((made.status, made.text("address").as_str()), (201, "support@acme.com"));
    let again = world.post(token, &format!("/api/v1/inboxes/{ben}/aliases"), alias).await;
    assert_eq!((again.status, again.text("existing_id")), (409, made.text("id")));
    let taken = world.post(token, &format!("/api/v1/inboxes/{ann}/aliases"), json!({"address": "ben@acme.com"})).await;
    assert_eq!((taken.status, taken.code(), taken.text("existing_id")), (409, "inbox_has_name", ben.clone()));
    for bad in ["x", "@acme.com", "a+b@acme.com", "a@nowhere.org", "a@inboxlayer.dev", "\"a b\"@acme.com"] {
        let answer = world.post(token, &format!("/api/v1/inboxes/{ann}/aliases"), json!({"address": bad})).await;
        assert_eq!((answer.status, answer.fields()), (422, vec!["address".to_owned()]), "{bad}");
    }

    let path = format!("/api/v1/inboxes/{ann}/messages");
    for from in ["ann@acme.com", "Ann <support@acme.com>", "support+x@acme.com"] {
        let sent = world.post(token, &path, json!({"from": from, "to": ["bo@elsewhere.org"], "text": ""})).await;
        assert_eq!((sent.status, sent.text("from").as_str()), (202, "ann@inboxlayer.dev"), "{}", sent.json());
        assert_eq!(sent.json()["fallback"]["reason"], "pending");
    }
    for from in ["ben@acme.com", "ben@inboxlayer.dev", "other@acme.com", "ann@elsewhere.org", "x", "a@b, c@d"] {
        let answer = world.post(token, &path, json!({"from": from, "to": ["bo@elsewhere.org"], "text": ""})).await;
        assert_eq!((answer.status, answer.fields()), (422, vec!["from".to_owned()]), "{from}");
    }
    let gone = format!("/api/v1/inboxes/{ann}/aliases/{}", made.text("id"));
    assert_eq!(world.delete(token, &gone).await.status, 204);
    assert_eq!(world.delete(token, &gone).await.status, 404);
}

#[tokio::test]
async fn raw_messages_are_accepted_in_both_forms() {
    let world = World::new().await;
    let token = &world.ours.token;
    let path = format!("/api/v1/inboxes/{}/messages", inbox(&world, "ann").await);
    let raw = "From: Ann <ann@inboxlayer.dev>\nTo: bo@elsewhere.org\nBcc: di@elsewhere.org\nSubject: Hi\n\n.\nHello";
    let sent = world.post(token, &path, json!({"raw": raw})).await;
    assert_eq!(sent.status, 202, "{}", sent.json());
    assert_eq!(sent.json()["rcpt_to"], json!(["bo@elsewhere.org", "di@elsewhere.org"]));
    let sent = world.post(token, &path, json!({"raw": raw, "to": ["other@elsewhere.org"]})).await;
    assert_eq!(sent.json()["rcpt_to"], json!(["other@elsewhere.org"]));
    let request = world.request("POST", token, &path).header("content-type", "message/rfc822").body(raw);
    let sent = World::send(request).await;
    assert_eq!((sent.status, sent.text("from").as_str()), (202, "ann@inboxlayer.dev"));

    for (body, field) in [
        (json!({"raw": "Subject: none\n\nx"}), "to"),
        (json!({"raw": "To: x y z\n\nx"}), "raw"),
        (json!({"raw": "To: a@b.org\n\n\u{0}"}), "raw"),
        (json!({"raw": 5}), "raw"),
        (json!({"raw": raw, "text": "both"}), "text"),
        (json!({"text": "x"}), "to"),
        (json!({"to": [], "text": "x"}), "to"),
        (json!({"to": ["a@b.org", "bad"], "text": "x"}), "to[1]"),
        (json!({"to": ["a@b.org"], "cc": [7], "text": "x"}), "cc[0]"),
        (json!({"to": ["a@b.org"], "text": "x", "subject": "a\r\nBcc: c@d.org"}), "subject"),
        (json!({"to": (0..101).map(|n| format!("a{n}@b.org")).collect::<Vec<_>>(), "text": "x"}), "to"),
    ] {
        let answer = world.post(token, &path, body.clone()).await;
        assert_eq!((answer.status, answer.fields()), (422, vec![field.to_owned()]), "{body} {}", answer.json());
    }
}

#[tokio::test]
async fn a_message_over_the_size_limit_is_413() {
    let mut config = Config::default();
    config.limits.message_size = 100_000;
    let world = World::serving_with(config, router).await;
    let token = &world.ours.token;
    let path = format!("/api/v1/inboxes/{}/messages", inbox(&world, "ann").await);
    for text in ["x".repeat(150_000), "x".repeat(300_000)] {
        let answer = world.post(token, &path, json!({"to": ["a@b.org"], "text": text})).await;
        assert_eq!((answer.status, answer.code()), (413, "too_large"));
    }
    let raw = format!("To: a@b.org\r\n\r\n{}", "x\r\n".repeat(50_000));
    let request = world.request("POST", token, &path).header("content-type", "message/rfc822").body(raw);
    assert_eq!(World::send(request).await.status, 413);
    assert_eq!(world.get(token, "/api/v1/queue").await.json()["data"], json!([]));
}

#[tokio::test]
async fn messages_are_listed_shown_and_returned_raw() {
    let world = World::new().await;
    let token = &world.ours.token;
    let id = inbox(&world, "ann").await;
    let inbox: InboxId = id.parse().unwrap();
    let raw = "From: =?utf-8?q?B=C3=B6?= <bo@elsewhere.org>\r\nTo: ann@inboxlayer.dev\r\nSubject: Hi\r\n\
               Message-ID: <1@elsewhere.org>\r\nDate: Tue, 24 Nov 2026 05:31:07 +0000\r\nMIME-Version: 1.0\r\n\
               Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain; charset=utf-8\r\n\
               Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe\r\n--x\r\n\
               Content-Type: image/png\r\nContent-Disposition: attachment; filename=a.png\r\n\r\nPNG\r\n--x--\r\n";
    let stored = put(&world.context.store, &inbox, raw.as_bytes()).await;
    let broken = put(&world.context.store, &inbox, b"\xff\xfe\x00: \r\nno header").await;
    let path = format!("/api/v1/inboxes/{id}/messages");

    let list = world.get(token, &path).await.json();
    assert_eq!(list["data"].as_array().unwrap().len(), 2);
    let shown = world.get(token, &format!("{path}/{}", stored.id)).await.json();
    assert_eq!(shown["from"], json!([{"name": "Bö", "address": "bo@elsewhere.org"}]));
    assert_eq!((&shown["subject"], &shown["mailbox"]), (&json!("Hi"), &json!("INBOX")));
    assert_eq!(shown["date"], "2026-11-24T05:31:07.000Z");
    assert_eq!(shown["message_id"], "1@elsewhere.org");
    assert_eq!((shown["text"].as_str().unwrap().trim_end(), &shown["html"]), ("Grüße", &json!(null)));
    assert_eq!(shown["attachments"][0]["filename"], "a.png");
    assert_eq!(shown["attachments"][0]["content_type"], "image/png");
    let bytes = world.get(token, &format!("{path}/{}/raw", stored.id)).await;
    assert_eq!((bytes.body.as_slice(), bytes.header("content-type")), (raw.as_bytes(), Some("message/rfc822")));
    assert_eq!(world.get(token, &format!("{path}/{}", broken.id)).await.status, 200);

    for odd in ["x", "msg_01jdczz0000000000000000000", "%00"] {
        assert_eq!(world.get(token, &format!("{path}/{odd}")).await.status, 404, "{odd}");
    }
}

#[tokio::test]
async fn local_mail_is_delivered_and_copied_to_sent_with_the_response() {
    let mut config = Config::default();
    config.limits.inbox_size = 100_000;
    let world = World::serving_with(config, router).await;
    let token = &world.ours.token;
    let (ann, ben) = (inbox(&world, "ann").await, inbox(&world, "ben").await);
    let path = format!("/api/v1/inboxes/{ann}/messages");
    let draft = json!({"to": ["Ben@inboxlayer.dev", "ben@inboxlayer.dev"], "bcc": "ann+b@inboxlayer.dev", "subject": "Hi", "text": "x"});
    let sent = world.post(token, &path, draft.clone()).await;
    assert_eq!((sent.status, &sent.json()["rcpt_to"]), (202, &json!(["Ben@inboxlayer.dev", "ann+b@inboxlayer.dev"])));
    assert_eq!(world.get(token, "/api/v1/queue").await.json()["data"], json!([]));
    let raws = async |inbox: &str| {
        let path = format!("/api/v1/inboxes/{inbox}/messages");
        let listed = world.get(token, &path).await.json();
        let mut raws = Vec::new();
        for row in listed["data"].as_array().unwrap() {
            let raw = world.get(token, &format!("{path}/{}/raw", row["id"].as_str().unwrap())).await.body;
            raws.push((row["mailbox"].as_str().unwrap().to_owned(), String::from_utf8(raw).unwrap()));
        }
        raws.sort();
        raws
    };
    let [(_, got)] = raws(&ben).await.try_into().unwrap();
    assert!(got.starts_with("Return-Path: <ann@inboxlayer.dev>\r\n") && !got.contains("Bcc:"), "{got}");
    let [(inbox, _), (mailbox, copy)] = raws(&ann).await.try_into().unwrap();
    assert_eq!((inbox.as_str(), mailbox.as_str()), ("INBOX", "Sent"));
    let bcc = copy.lines().find(|line| line.starts_with("Bcc: ") && line.contains("ann+b@inboxlayer.dev")).unwrap();
    assert_eq!(copy.replacen(&format!("{bcc}\r\n"), "", 1), got.split_once("\r\n").unwrap().1);

    let of_inbox = format!("/api/v1/inboxes/{ann}");
    assert_eq!(world.get(token, &of_inbox).await.json()["save_sent"], true);
    assert_eq!(world.patch(token, &of_inbox, json!({"save_sent": "no"})).await.fields(), ["save_sent"]);
    assert_eq!(world.patch(token, &of_inbox, json!({"save_sent": false})).await.json()["save_sent"], false);
    let kept = world.patch(token, &of_inbox, json!({"default_domain_id": null})).await;
    assert_eq!(kept.json()["save_sent"], false);
    assert_eq!(world.post(token, &path, draft).await.status, 202);
    assert_eq!((raws(&ben).await.len(), raws(&ann).await.len()), (2, 3));

    let unknown = world.post(token, &path, json!({"to": ["nobody@inboxlayer.dev"], "text": ""})).await;
    assert_eq!((unknown.status, unknown.fields()), (422, vec!["to".to_owned()]));
    let big = json!({"to": "ben@inboxlayer.dev", "text": "x\n".repeat(50_000)});
    let full = world.post(token, &path, big).await;
    assert_eq!((full.status, full.code()), (507, "inbox_full"), "{}", full.json());
    assert_eq!(raws(&ben).await.len(), 2);
}
