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
    let path = format!("/api/v1/emails/send?inbox_id={}", inbox(&world, "ann").await);
    let body = json!({
        "to": "Bo <bo@elsewhere.org>", "cc": ["cy@elsewhere.org"], "bcc": ["di@elsewhere.org", "cy@elsewhere.org"],
        "subject": "Hi", "text_body": "Hello\n", "attachments": [{"filename": "a.txt", "content": "YQ=="}],
    });
    let sent = world.post(token, &path, body).await;
    assert_eq!(sent.status, 201, "{}", sent.json());
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
async fn a_message_shows_its_reply_alone_its_codes_and_its_links() {
    let world = World::new().await;
    let token = &world.ours.token;
    let id = inbox(&world, "ann").await;
    let raw = "From: Service <no-reply@service.test>\r\nSubject: Sign in\r\nMessage-ID: <1@service.test>\r\n\r\n\
        Your verification code is 482913.\r\n\r\nConfirm: https://service.test/confirm?t=1\r\n\r\n\
        On Mon, 2 Nov 2026 at 10:00, Ann <ann@inboxlayer.dev> wrote:\r\n> I want to sign in.\r\n";
    let put = world.post(token, "/api/v1/emails", json!({"inbox_id": id, "raw": raw})).await;
    assert_eq!(put.status, 201, "{}", put.json());
    let listed = world.get(token, &format!("/api/v1/emails?inbox={id}")).await.json();
    let path = format!("/api/v1/emails/{}", listed["emails"][0]["id"].as_str().unwrap());
    let shown = world.get(token, &path).await.json();
    let whole = shown["text_body"].as_str().unwrap();
    assert!(whole.contains("> I want to sign in."), "{whole}");
    let reply = shown["extracted_text"].as_str().unwrap();
    assert!(reply.starts_with("Your verification code is 482913.") && !reply.contains("I want"), "{reply}");
    assert_eq!(shown["codes"][0]["code"], "482913");
    let link = json!({"url": "https://service.test/confirm?t=1", "text": "https://service.test/confirm?t=1", "confirmation": true});
    assert_eq!(shown["links"], json!([link]));
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

    let path = format!("/api/v1/emails/send?inbox_id={ann}");
    for from in ["ann@acme.com", "Ann <support@acme.com>", "support+x@acme.com"] {
        let sent = world.post(token, &path, json!({"from": from, "to": ["bo@elsewhere.org"], "text_body": ""})).await;
        assert_eq!((sent.status, sent.text("from").as_str()), (201, "ann@inboxlayer.dev"), "{}", sent.json());
        assert_eq!(sent.json()["fallback"]["reason"], "pending");
    }
    for from in ["ben@acme.com", "ben@inboxlayer.dev", "other@acme.com", "ann@elsewhere.org", "x", "a@b, c@d"] {
        let answer = world.post(token, &path, json!({"from": from, "to": ["bo@elsewhere.org"], "text_body": ""})).await;
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
    let path = format!("/api/v1/emails/send?inbox_id={}", inbox(&world, "ann").await);
    let raw = "From: Ann <ann@inboxlayer.dev>\nTo: bo@elsewhere.org\nBcc: di@elsewhere.org\nSubject: Hi\n\n.\nHello";
    let sent = world.post(token, &path, json!({"raw": raw})).await;
    assert_eq!(sent.status, 201, "{}", sent.json());
    assert_eq!(sent.json()["rcpt_to"], json!(["bo@elsewhere.org", "di@elsewhere.org"]));
    let sent = world.post(token, &path, json!({"raw": raw, "to": ["other@elsewhere.org"]})).await;
    assert_eq!(sent.json()["rcpt_to"], json!(["other@elsewhere.org"]));
    let request = world.request("POST", token, &path).header("content-type", "message/rfc822").body(raw);
    let sent = World::send(request).await;
    assert_eq!((sent.status, sent.text("from").as_str()), (201, "ann@inboxlayer.dev"));

    for (body, field) in [
        (json!({"raw": "Subject: none\n\nx"}), "to"),
        (json!({"raw": "To: x y z\n\nx"}), "raw"),
        (json!({"raw": "To: a@b.org\n\n\u{0}"}), "raw"),
        (json!({"raw": 5}), "raw"),
        (json!({"raw": raw, "text_body": "both"}), "text_body"),
        (json!({"text_body": "x"}), "to"),
        (json!({"to": [], "text_body": "x"}), "to"),
        (json!({"to": ["a@b.org", "bad"], "text_body": "x"}), "to[1]"),
        (json!({"to": ["a@b.org"], "cc": [7], "text_body": "x"}), "cc[0]"),
        (json!({"to": ["a@b.org"], "text_body": "x", "subject": "a\r\nBcc: c@d.org"}), "subject"),
        (json!({"to": (0..101).map(|n| format!("a{n}@b.org")).collect::<Vec<_>>(), "text_body": "x"}), "to"),
    ] {
        let answer = world.post(token, &path, body.clone()).await;
        let status = if field == "to" && !body.to_string().contains("a0@b.org") { 400 } else { 422 };
        assert_eq!((answer.status, answer.fields()), (status, vec![field.to_owned()]), "{body} {}", answer.json());
    }
}

#[tokio::test]
async fn a_message_over_the_size_limit_is_413() {
    let mut config = Config::default();
    config.limits.message_size = 100_000;
    let world = World::serving_with(config, router).await;
    let token = &world.ours.token;
    let path = format!("/api/v1/emails/send?inbox_id={}", inbox(&world, "ann").await);
    for text in ["x".repeat(150_000), "x".repeat(300_000)] {
        let answer = world.post(token, &path, json!({"to": ["a@b.org"], "text_body": text})).await;
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
    let list = world.get(token, &format!("/api/v1/emails?inbox={id}")).await.json();
    let path = "/api/v1/emails";
    assert_eq!(list["data"].as_array().unwrap().len(), 2);
    let shown = world.get(token, &format!("{path}/{}", stored.id)).await.json();
    assert_eq!(shown["from"], json!([{"name": "Bö", "address": "bo@elsewhere.org"}]));
    assert_eq!((&shown["subject"], &shown["mailbox"]), (&json!("Hi"), &json!("INBOX")));
    assert_eq!(shown["labels"], json!(["inbox", "unread"]));
    assert_eq!(
        (shown["from_address"].as_str(), shown["to_address"].as_str()),
        (Some("bo@elsewhere.org"), Some("ann@inboxlayer.dev"))
    );
    assert_eq!(shown["headers"][2], json!({"name": "Subject", "value": "Hi"}));
    assert_eq!(shown["date"], "2026-11-24T05:31:07.000Z");
    assert_eq!(shown["message_id"], "1@elsewhere.org");
    assert_eq!((shown["text_body"].as_str().unwrap().trim_end(), &shown["html_body"]), ("Grüße", &json!(null)));
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
    let path = format!("/api/v1/emails/send?inbox_id={ann}");
    let draft = json!({"to": ["Ben@inboxlayer.dev", "ben@inboxlayer.dev"], "bcc": "ann+b@inboxlayer.dev", "subject": "Hi", "text_body": "x"});
    let sent = world.post(token, &path, draft.clone()).await;
    assert_eq!((sent.status, &sent.json()["rcpt_to"]), (201, &json!(["Ben@inboxlayer.dev", "ann+b@inboxlayer.dev"])));
    assert_eq!(world.get(token, "/api/v1/queue").await.json()["data"], json!([]));
    let raws = async |inbox: &str| {
        let path = format!("/api/v1/emails?inbox={inbox}");
        let listed = world.get(token, &path).await.json();
        let mut raws = Vec::new();
        for row in listed["data"].as_array().unwrap() {
            let raw = world.get(token, &format!("/api/v1/emails/{}/raw", row["id"].as_str().unwrap())).await.body;
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
    assert_eq!(world.post(token, &path, draft).await.status, 201);
    assert_eq!((raws(&ben).await.len(), raws(&ann).await.len()), (2, 3));

    let unknown = world.post(token, &path, json!({"to": ["nobody@inboxlayer.dev"], "text_body": ""})).await;
    assert_eq!((unknown.status, unknown.fields()), (422, vec!["to".to_owned()]));
    let big = json!({"to": "ben@inboxlayer.dev", "text_body": "x\n".repeat(50_000)});
    let full = world.post(token, &path, big).await;
    assert_eq!((full.status, full.code()), (507, "inbox_full"), "{}", full.json());
    assert_eq!(raws(&ben).await.len(), 2);
}

/// An inbox with messages of these subjects, and their ids, the oldest first.
async fn filled(world: &World, subjects: &[&str]) -> (String, Vec<String>) {
    let id = inbox(world, "ann").await;
    let mut ids = Vec::new();
    for subject in subjects {
        let raw = format!("Subject: {subject}\r\n\r\n{subject}\r\n");
        ids.push(put(&world.context.store, &id.parse().unwrap(), raw.as_bytes()).await.id.to_string());
        // Ids of one millisecond have no order among each other.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    (id, ids)
}

#[tokio::test]
async fn labels_are_keywords_flags_and_mailboxes() {
    let world = World::new().await;
    let token = &world.ours.token;
    let (inbox, ids) = filled(&world, &["one"]).await;
    let path = format!("/api/v1/emails/{}", ids[0]);
    let actions = format!("{path}/actions");
    for (path, body, labels) in [
        (
            &path,
            json!({"add_labels": ["Needs Reply", "starred"]}),
            json!(["inbox", "unread", "starred", "needs-reply"]),
        ),
        (
            &path,
            json!({"add_labels": ["NEEDS-reply"], "remove_labels": ["starred"]}),
            json!(["inbox", "unread", "needs-reply"]),
        ),
        (&actions, json!({"mark_read": true, "move_to": "archive"}), json!(["archive", "needs-reply"])),
        (&actions, json!({"mark_read": false, "move_to": "INBOX"}), json!(["inbox", "unread", "needs-reply"])),
        (&path, json!({"labels": ["a", "starred"]}), json!(["inbox", "starred", "a"])),
        (&path, json!({"remove_labels": ["inbox"]}), json!(["archive", "starred", "a"])),
        (&path, json!({"add_labels": ["junk"], "remove_labels": ["a", "b"]}), json!(["junk", "starred"])),
        (&path, json!({"remove_labels": ["junk", "starred"]}), json!(["inbox"])),
        (&path, json!({}), json!(["inbox"])),
    ] {
        let answer = world.patch(token, path, body.clone()).await;
        assert_eq!((answer.status, &answer.json()["labels"]), (200, &labels), "{body} {}", answer.json());
    }
    for (path, body, status) in [
        (&path, json!({"add_labels": ["trash", "junk"]}), 422),
        (&path, json!({"add_labels": [1]}), 422),
        (&path, json!({"add_labels": ["\u{e9}"]}), 422),
        (&path, json!({"mark_read": true}), 422),
        (&path, json!({"labels": ["x"], "add_labels": ["y"]}), 422),
        (&actions, json!({"move_to": "nowhere"}), 400),
        (&actions, json!({"mark_read": "yes"}), 400),
        (&actions, json!({"explode": true}), 422),
    ] {
        let answer = world.patch(token, path, body.clone()).await;
        assert_eq!(answer.status, status, "{body} {}", answer.json());
    }
    let shown = world.get(token, &path).await.json();
    assert!(shown["updated_at"].as_str() > shown["created_at"].as_str(), "{shown}");
    let open = world.context.store.mailbox_open(&inbox.parse().unwrap(), "INBOX", false).await.unwrap().unwrap();
    let flags: Vec<_> = open.messages.iter().map(|message| (message.flags, message.keywords.to_string())).collect();
    assert_eq!(flags, [(crate::store::messages::Flags::SEEN, String::new())]);
}

#[tokio::test]
async fn an_email_is_deleted_to_trash_restored_and_deleted_for_good() {
    let world = World::new().await;
    let token = &world.ours.token;
    let (inbox, ids) = filled(&world, &["one"]).await;
    let path = format!("/api/v1/emails/{}", ids[0]);
    let labels = async || world.get(token, &path).await.json()["labels"].clone();
    assert_eq!(world.delete(token, &path).await.status, 204);
    assert_eq!(labels().await, json!(["trash", "unread"]));
    let restored = world.post(token, &format!("{path}/restore"), json!({})).await;
    assert_eq!((restored.status, &restored.json()["labels"]), (200, &json!(["inbox", "unread"])));
    let to = json!({"to": ["bo@elsewhere.org"], "text_body": "x"});
    let sent = world.post(token, &format!("/api/v1/emails/send?inbox_id={inbox}"), to).await.text("id");
    let sent = format!("/api/v1/emails/{sent}");
    assert_eq!(world.get(token, &sent).await.json()["labels"], json!(["sent"]));
    assert_eq!(world.delete(token, &sent).await.status, 204);
    assert_eq!(world.post(token, &format!("{sent}/restore"), json!({})).await.json()["labels"], json!(["sent"]));
    for status in [204, 204, 404] {
        assert_eq!(world.delete(token, &path).await.status, status);
    }
    assert_eq!(world.get(token, &path).await.status, 404);
}

#[tokio::test]
async fn lists_are_asked_for_by_label_time_and_cursor() {
    let world = World::new().await;
    let token = &world.ours.token;
    let (inbox, ids) = filled(&world, &["0", "1", "2", "3", "4"]).await;
    for (id, labels) in [(0, json!(["a"])), (2, json!(["a", "b", "unread"])), (4, json!(["A", "trash"]))] {
        let answer = world.patch(token, &format!("/api/v1/emails/{}", ids[id]), json!({"labels": labels})).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
    }
    let created = world.get(token, &format!("/api/v1/emails/{}", ids[3])).await.text("created_at");
    let found = async |query: &str| {
        let mut found = Vec::new();
        let mut path = format!("/api/v1/emails?inbox={inbox}&{query}");
        loop {
            let answer = world.get(token, &path).await;
            assert_eq!(answer.status, 200, "{path} {}", answer.json());
            let list = answer.json();
            assert_eq!(list["data"], list["emails"]);
            found.extend(list["data"].as_array().unwrap().iter().map(|m| m["subject"].as_str().unwrap().to_owned()));
            let Some(link) = answer.header("link") else {
                assert_eq!(list["meta"]["next_cursor"], json!(null));
                return found.concat();
            };
            path = link.split(['<', '>']).nth(1).unwrap().to_owned();
            assert!(path.ends_with(list["meta"]["next_cursor"].as_str().unwrap()), "{path}");
        }
    };
    let before = format!("before={created}");
    let after = format!("after={created}&per_page=1");
    for (query, wanted) in [
        ("", "43210"),
        ("per_page=2", "43210"),
        ("per_page=5", "43210"),
        ("label=a", "420"),
        ("label=a&per_page=1", "420"),
        ("label=a,b", "2"),
        ("label=inbox", "3210"),
        ("label=trash,A", "4"),
        ("label=sent", ""),
        ("unread=true", "321"),
        ("unread=false&label=inbox", "0"),
        (before.as_str(), "210"),
        (after.as_str(), "43"),
        ("sender=unknown", ""),
    ] {
        assert_eq!(found(query).await, wanted, "{query}");
    }
    for (query, field) in [
        ("", "inbox"),
        ("inbox=x&per_page=0", "per_page"),
        ("inbox=x&unread=perhaps", "unread"),
        ("inbox=x&cursor=1", "cursor"),
        ("inbox=x&after=now", "after"),
    ] {
        let answer = world.get(token, &format!("/api/v1/emails?{query}")).await;
        assert_eq!((answer.status, answer.fields()), (422, vec![field.to_owned()]), "{query}");
    }
}

#[tokio::test]
async fn an_attachment_is_downloaded_whole_and_in_ranges() {
    let world = World::new().await;
    let token = &world.ours.token;
    let id = inbox(&world, "ann").await;
    let raw = "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\ntext\r\n--x\r\nContent-Type: text/html; name=\"a/b.html\"\r\n\
               Content-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n\r\nMDEyMzQ1Njc4OQ==\r\n--x--\r\n";
    let stored = put(&world.context.store, &id.parse().unwrap(), raw.as_bytes()).await;
    let shown = world.get(token, &format!("/api/v1/emails/{}", stored.id)).await.json();
    assert_eq!((&shown["attachments"][0]["id"], &shown["attachments"][0]["size"]), (&json!("1"), &json!(10)));
    let path = shown["attachments"][0]["path"].as_str().unwrap();
    let whole = world.get(token, path).await;
    assert_eq!((whole.status, whole.body.as_slice()), (200, b"0123456789".as_slice()));
    assert_eq!(whole.header("content-type"), Some("text/html"));
    assert_eq!(whole.header("content-disposition"), Some("attachment; filename=\"a_b.html\""));
    assert_eq!(whole.header("x-content-type-options"), Some("nosniff"));
    let part = World::send(world.request("GET", token, path).header("range", "bytes=2-4")).await;
    assert_eq!(
        (part.status, part.body.as_slice(), part.header("content-range")),
        (206, b"234".as_slice(), Some("bytes 2-4/10"))
    );
    let beyond = World::send(world.request("GET", token, path).header("range", "bytes=10-")).await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */10")));
    let link = world.post(token, &format!("{path}/link"), json!({"expires_in": 60})).await;
    assert_eq!(link.status, 201, "{}", link.json());
    let followed = world.get("", &link.text("url")).await;
    assert_eq!((followed.status, followed.body.as_slice()), (200, b"0123456789".as_slice()));
    let forged = format!("{}A", link.text("url"));
    assert_eq!(world.get("", &forged).await.status, 404);
    let moment = world.context.clock.now().after(std::time::Duration::from_secs(61));
    world.context.clock.advance_to(moment);
    assert_eq!(world.get("", &link.text("url")).await.status, 404);
    assert_eq!(world.post(token, &format!("{path}/link"), json!({"expires_in": 0})).await.status, 422);
    for number in ["0", "2", "x", "-1"] {
        let path = format!("/api/v1/emails/{}/attachments/{number}", stored.id);
        assert_eq!(world.get(token, &path).await.status, 404, "{number}");
    }
}
