//! Replies, forwards, drafts, labels, threads, search and what has become of what was sent, over the API.

use crate::http::testing::{Answer, World};
use crate::store::testing::put;
use serde_json::{Value, json};

async fn inbox(world: &World, name: &str) -> String {
    world.post(&world.ours.token, "/api/v1/inboxes", json!({"name": name})).await.text("id")
}

async fn received(world: &World, inbox: &str, raw: &str) -> String {
    let raw = raw.replace('\n', "\r\n");
    put(&world.context.store, &inbox.parse().unwrap(), raw.as_bytes()).await.id.to_string()
}

async fn email(world: &World, id: &str) -> Value {
    let shown = world.get(&world.ours.token, &format!("/api/v1/emails/{id}")).await;
    assert_eq!(shown.status, 200, "{}", shown.json());
    shown.json()
}

async fn post(world: &World, path: &str, body: Value) -> Answer {
    world.post(&world.ours.token, &format!("/api/v1/{path}"), body).await
}

const LUNCH: &str = "From: Bo <bo@elsewhere.org>\nTo: ann@inboxlayer.dev, cy@elsewhere.org\nCc: Ann <ann@inboxlayer.dev>, di@elsewhere.org\n\
    Reply-To: desk@elsewhere.org\nSubject: Lunch\nMessage-ID: <1@elsewhere.org>\nDate: Tue, 24 Nov 2026 05:31:07 +0000\nMIME-Version: 1.0\n\
    Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/plain\n\nAt noon?\n--x\nContent-Type: image/png; name=map.png\n\
    Content-Disposition: attachment\nContent-Transfer-Encoding: base64\n\nUE5H\n--x--\n";

#[tokio::test]
async fn a_reply_is_in_the_thread_quotes_and_goes_to_whom_the_message_says() {
    let world = World::new().await;
    let ann = inbox(&world, "ann").await;
    let id = received(&world, &ann, LUNCH).await;
    let sent = post(&world, &format!("emails/{id}/reply"), json!({"text_body": "Yes."})).await;
    assert_eq!((sent.status, &sent.json()["rcpt_to"]), (201, &json!(["desk@elsewhere.org"])), "{}", sent.json());
    let (reply, original) = (email(&world, &sent.text("id")).await, email(&world, &id).await);
    assert_eq!((&reply["subject"], &reply["in_reply_to"]), (&json!("Re: Lunch"), &json!(["1@elsewhere.org"])));
    assert_eq!((&reply["thread_id"], &reply["message_id"]), (&original["thread_id"], &sent.json()["message_id"]));
    let text = reply["text_body"].as_str().unwrap().replace('\r', "");
    assert!(
        text.starts_with("Yes.\n\nOn Tue, 24 Nov 2026 05:31:07 +0000, Bo <bo@elsewhere.org> wrote:\n> At noon?"),
        "{text}"
    );
    assert_eq!(original["flags"], json!(["\\Answered"]));
    assert_eq!((&reply["attachments"], &reply["status"]), (&json!([]), &json!("queued")));
    assert_eq!(reply["recipients"][0]["status"], "queued");

    let all = post(&world, &format!("emails/{id}/reply"), json!({"html_body": "<p>All</p>", "reply_all": true})).await;
    assert_eq!(all.json()["rcpt_to"], json!(["desk@elsewhere.org", "cy@elsewhere.org", "di@elsewhere.org"]));
    // A reply to what the inbox has sent goes to whom it was sent.
    let again = post(&world, &format!("emails/{}/reply", sent.text("id")), json!({"text_body": "And?"})).await;
    assert_eq!(again.json()["rcpt_to"], json!(["desk@elsewhere.org"]));
    let other = json!({"text_body": "x", "to": "eve@elsewhere.org", "subject": "Other", "message_type": "note", "metadata": {"a": 1}});
    let other = email(&world, &post(&world, &format!("emails/{id}/reply"), other).await.text("id")).await;
    assert_eq!((&other["subject"], &other["to_address"]), (&json!("Other"), &json!("eve@elsewhere.org")));
    assert_eq!((&other["message_type"], &other["metadata"]), (&json!("note"), &json!({"a": 1})));
    let threads = world.get(&world.ours.token, "/api/v1/email_threads").await.json();
    assert_eq!((threads["data"].as_array().unwrap().len(), &threads["data"][0]["email_count"]), (1, &json!(5)));
    let thread = world
        .get(&world.ours.token, &format!("/api/v1/email_threads/{}", original["thread_id"].as_str().unwrap()))
        .await;
    assert_eq!(thread.json()["emails"].as_array().unwrap().len(), 5, "{}", thread.json());
    for (body, status) in [
        (json!({}), 422),
        (json!({"text_body": "x", "reply_all": 1}), 422),
        (json!({"text_body": "x", "metadata": 1}), 422),
    ] {
        assert_eq!(post(&world, &format!("emails/{id}/reply"), body).await.status, status);
    }
}

#[tokio::test]
async fn a_reply_to_a_program_a_list_or_the_inbox_itself_is_refused_unless_forced() {
    let world = World::new().await;
    let ann = inbox(&world, "ann").await;
    let from = |header: &str| format!("From: bo@elsewhere.org\nTo: ann@inboxlayer.dev\nSubject: x\n{header}\nx\n");
    let bounce = json!({"inbox_id": ann, "raw": "Return-Path: <>\nFrom: daemon@elsewhere.org\nSubject: x\n\nx\n"});
    let bounce = post(&world, "emails", bounce).await.text("id");
    let own = "From: Ann <ann+news@inboxlayer.dev>\nTo: bo@elsewhere.org\nSubject: x\n\nx\n";
    for (id, code, why) in [
        (
            received(&world, &ann, &from("Auto-Submitted: auto-replied\n")).await,
            "automatic_email",
            "Auto-Submitted: auto-replied",
        ),
        (received(&world, &ann, &from("List-Id: <talk.elsewhere.org>\n")).await, "automatic_email", "List-Id"),
        (received(&world, &ann, &from("Precedence: bulk\n")).await, "automatic_email", "Precedence: bulk"),
        (bounce, "automatic_email", "return path"),
        (received(&world, &ann, own).await, "reply_to_self", "ann+news@inboxlayer.dev"),
    ] {
        for reply_all in [false, true] {
            let path = format!("emails/{id}/reply");
            let refused = post(&world, &path, json!({"text_body": "x", "reply_all": reply_all})).await;
            assert_eq!((refused.status, refused.code()), (409, code), "{}", refused.json());
            assert!(refused.text("error").contains(why), "{}", refused.json());
        }
        assert_eq!(email(&world, &id).await["flags"], json!([]), "a refused reply marks nothing");
        let forced = post(&world, &format!("emails/{id}/reply"), json!({"text_body": "x", "force": true})).await;
        assert_eq!(forced.status, 201, "{}", forced.json());
        assert_eq!(post(&world, &format!("emails/{id}/forward"), json!({"to": "cy@elsewhere.org"})).await.status, 201);
    }
    let person = received(&world, &ann, &from("Auto-Submitted: no\n")).await;
    assert_eq!(post(&world, &format!("emails/{person}/reply"), json!({"text_body": "x"})).await.status, 201);
    // Whom the request names counts as well.
    let copy = json!({"text_body": "x", "cc": "ann@inboxlayer.dev"});
    let refused = post(&world, &format!("emails/{person}/reply"), copy).await;
    assert_eq!((refused.status, refused.code()), (409, "reply_to_self"), "{}", refused.json());
    assert_eq!(
        post(&world, &format!("emails/{person}/forward"), json!({"to": "cy@elsewhere.org", "force": true}))
            .await
            .status,
        422
    );
}

#[tokio::test]
async fn an_email_says_who_is_in_from_and_in_the_envelope_and_that_nothing_was_authenticated() {
    let world = World::new().await;
    let ann = inbox(&world, "ann").await;
    for (from, header_from) in [
        ("From: Bo <Bo@Elsewhere.org>", json!("Bo@elsewhere.org")),
        ("From: bo@elsewhere.org, cy@elsewhere.org", Value::Null),
        ("From: bo@elsewhere.org\nFrom: cy@elsewhere.org", Value::Null),
        ("From: somebody", Value::Null),
        ("X-From: bo@elsewhere.org", Value::Null),
    ] {
        let raw = format!("{from}\nSubject: x\n\nx\n");
        let id = received(&world, &ann, &raw).await;
        let shown = email(&world, &id).await;
        assert_eq!(shown["header_from"], header_from, "{from}");
        for field in ["authentication", "verified_domain", "envelope_from"] {
            assert_eq!(shown.get(field), Some(&Value::Null), "{field}");
        }
    }
    let body = json!({"from": "Bo <bo@elsewhere.org>", "to": "ann@inboxlayer.dev", "text_body": "x"});
    let shown = email(&world, &post(&world, "emails", body).await.text("id")).await;
    assert_eq!(
        (&shown["envelope_from"], &shown["header_from"]),
        (&json!("bo@elsewhere.org"), &json!("bo@elsewhere.org"))
    );
}

#[tokio::test]
async fn a_forward_takes_the_attachments_with_it() {
    let world = World::new().await;
    let ann = inbox(&world, "ann").await;
    let id = received(&world, &ann, LUNCH).await;
    assert_eq!(post(&world, &format!("emails/{id}/forward"), json!({"text_body": "x"})).await.status, 400);
    let sent = post(&world, &format!("emails/{id}/forward"), json!({"to": "eve@elsewhere.org"})).await;
    assert_eq!(sent.status, 201, "{}", sent.json());
    let forward = email(&world, &sent.text("id")).await;
    assert_eq!(forward["subject"], "Fwd: Lunch");
    let text = forward["text_body"].as_str().unwrap();
    assert!(
        text.contains("Forwarded message") && text.contains("Subject: Lunch") && text.contains("At noon?"),
        "{text}"
    );
    assert_eq!(
        (&forward["attachments"][0]["filename"], &forward["attachments"][0]["size"]),
        (&json!("map.png"), &json!(3))
    );
    assert_eq!(email(&world, &id).await["labels"], json!(["inbox", "unread", "$Forwarded"]));
}

#[tokio::test]
async fn a_draft_that_was_copied_can_be_changed() {
    let world = World::new().await;
    let ann = inbox(&world, "ann").await;
    let made = post(&world, "drafts", json!({"to": "bo@elsewhere.org", "subject": "One"})).await.text("id");
    let of = ann.parse().unwrap();
    let drafts = world.context.store.mailbox_open(&of, "Drafts", false).await.unwrap().unwrap().id;
    world.context.mailboxes.copy(&of, drafts, vec![1], "Drafts").await.unwrap();
    let list = world.get(&world.ours.token, "/api/v1/drafts").await.json();
    let copy = list["data"][0]["id"].as_str().unwrap().to_owned();
    let kept = |email: &Value| ["id", "email_id", "thread_id", "labels"].map(|field| email[field].clone());
    for id in [made, copy] {
        let before = email(&world, &id).await;
        let path = format!("/api/v1/drafts/{id}");
        let changed = world.patch(&world.ours.token, &path, json!({"subject": "Another"})).await;
        assert_eq!(changed.status, 200, "{}", changed.json());
        let after = email(&world, &id).await;
        assert_eq!((kept(&after), &after["subject"]), (kept(&before), &json!("Another")));
    }
}

#[tokio::test]
async fn a_draft_keeps_its_id_until_it_is_sent() {
    let world = World::new().await;
    let token = &world.ours.token;
    let ann = inbox(&world, "ann").await;
    let attachment = json!([{"filename": "a.txt", "content_type": "text/plain", "content": "YQ=="}]);
    let body = json!({"to": ["bo@elsewhere.org"], "subject": "One", "text_body": "first", "attachments": attachment, "headers": {"X-A": "1"}});
    let made = post(&world, "drafts", body).await;
    assert_eq!(
        (made.status, made.text("status").as_str(), made.text("inbox_id")),
        (201, "draft", ann.clone()),
        "{}",
        made.json()
    );
    let path = format!("/api/v1/drafts/{}", made.text("id"));
    let empty = post(&world, &format!("inboxes/{ann}/drafts"), json!({})).await;
    assert_eq!((empty.status, &empty.json()["to"], &empty.json()["subject"]), (201, &json!([]), &json!("")));
    let changed = world.patch(token, &path, json!({"subject": "Two", "cc": "cy@elsewhere.org"})).await;
    assert_eq!(
        (changed.status, changed.text("id"), changed.text("subject").as_str()),
        (200, made.text("id"), "Two"),
        "{}",
        changed.json()
    );
    assert_eq!((changed.text("text_body").trim_end(), &changed.json()["attachments"]), ("first", &json!(["a.txt"])));
    let below = world
        .patch(token, &format!("/api/v1/inboxes/{ann}/drafts/{}", made.text("id")), json!({"html_body": "<b>x</b>"}))
        .await;
    assert_eq!((below.status, below.text("html_body").trim_end()), (200, "<b>x</b>"));
    let list = world.get(token, "/api/v1/drafts").await.json();
    assert_eq!((&list["count"], &list["data"][1]["to_address"]), (&json!(2), &json!("bo@elsewhere.org")));
    assert_eq!(world.get(token, &format!("/api/v1/inboxes/{ann}/drafts")).await.json()["drafts"], list["drafts"]);
    let labels = || async { email(&world, &made.text("id")).await["labels"].clone() };
    assert_eq!(labels().await, json!(["drafts"]));
    let labelled = format!("/api/v1/emails/{}", made.text("id"));
    let add = json!({"add_labels": ["starred", "unread", "todo"]});
    assert_eq!(world.patch(token, &labelled, add).await.status, 200);
    assert_eq!(world.patch(token, &path, json!({"text_body": "second"})).await.status, 200);
    assert_eq!(labels().await, json!(["drafts", "unread", "starred", "todo"]));

    let sent = post(&world, &format!("drafts/{}/send", made.text("id")), json!({})).await;
    assert_eq!(
        (sent.status, &sent.json()["rcpt_to"]),
        (201, &json!(["bo@elsewhere.org", "cy@elsewhere.org"])),
        "{}",
        sent.json()
    );
    let sent = email(&world, &sent.text("id")).await;
    assert_eq!((&sent["labels"], &sent["subject"]), (&json!(["sent"]), &json!("Two")));
    assert_eq!(
        (&sent["headers"].to_string().contains("X-A"), &sent["attachments"][0]["filename"]),
        (&true, &json!("a.txt"))
    );
    assert_eq!(world.get(token, &path).await.status, 404);
    assert_eq!(post(&world, &format!("drafts/{}/send", empty.text("id")), json!({})).await.status, 400);
    assert_eq!(world.delete(token, &format!("/api/v1/drafts/{}", empty.text("id"))).await.status, 204);
    assert_eq!(world.get(token, "/api/v1/drafts").await.json()["count"], 0);
    // Sent several times at once, it goes out once.
    let made = post(&world, "drafts", json!({"to": ["bo@elsewhere.org"], "subject": "Once"})).await.text("id");
    let send = format!("drafts/{made}/send");
    let sent =
        tokio::join!(post(&world, &send, json!({})), post(&world, &send, json!({})), post(&world, &send, json!({})));
    let mut statuses = [sent.0.status, sent.1.status, sent.2.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 404, 404]);
    let sent = world.get(token, &format!("/api/v1/emails?inbox={ann}&label=sent")).await.json();
    assert_eq!(sent["data"].as_array().unwrap().iter().filter(|email| email["subject"] == "Once").count(), 1);
    // What is no draft is none.
    let id = received(&world, &ann, "Subject: x\n\nx\n").await;
    assert_eq!(world.get(token, &format!("/api/v1/drafts/{id}")).await.status, 404);
    let path = post(&world, "drafts", json!({"subject": "x"})).await.text("id");
    let path = format!("/api/v1/drafts/{path}");
    for (body, status) in [
        (json!({"to": "x"}), 400),
        (json!({"subject": 1}), 400),
        (json!({"what": 1}), 422),
        (json!({"subject": 1, "attachments": [{"filename": "a", "content": "", "what": 1}]}), 422),
    ] {
        assert_eq!(post(&world, "drafts", body.clone()).await.status, status, "{body}");
        assert_eq!(world.patch(token, &path, body.clone()).await.status, 422, "{body}");
    }
}

#[tokio::test]
async fn labels_have_names_and_colours() {
    let world = World::new().await;
    let token = &world.ours.token;
    let ann = inbox(&world, "ann").await;
    let id = received(&world, &ann, "Subject: x\n\nx\n").await;
    let made = post(&world, "mailbox_labels", json!({"name": "Needs Reply", "color": "#ff8800"})).await;
    assert_eq!(
        (made.status, made.text("slug").as_str(), &made.json()["system"]),
        (201, "needs-reply", &json!(false)),
        "{}",
        made.json()
    );
    let short = post(&world, "mailbox_labels", json!({"name": "Very urgent", "slug": "vu"})).await;
    assert_eq!((short.status, short.text("slug").as_str()), (201, "vu"));
    let labelled = world
        .patch(token, &format!("/api/v1/emails/{id}"), json!({"add_labels": ["Very Urgent", "needs-reply"]}))
        .await;
    assert_eq!(labelled.json()["labels"], json!(["inbox", "unread", "vu", "needs-reply"]));
    let again = post(&world, "mailbox_labels", json!({"name": "x", "slug": "VU"})).await;
    assert_eq!((again.status, again.text("existing_id")), (409, short.text("id")));
    let path = format!("/api/v1/mailbox_labels/{}", short.text("id"));
    let changed = world.patch(token, &path, json!({"name": "Urgent", "slug": "vu", "color": "red"})).await;
    assert_eq!((changed.status, changed.text("name").as_str(), changed.text("color").as_str()), (200, "Urgent", "red"));
    assert_eq!(world.patch(token, &path, json!({"slug": "other"})).await.status, 422);
    let listed = world.get(token, "/api/v1/mailbox_labels").await.json();
    let slugs: Vec<_> =
        listed["data"].as_array().unwrap().iter().map(|label| label["slug"].as_str().unwrap()).collect();
    assert_eq!(
        slugs,
        ["inbox", "drafts", "sent", "junk", "trash", "archive", "unread", "starred", "needs-reply", "vu"]
    );
    assert_eq!(world.delete(token, "/api/v1/mailbox_labels/inbox").await.status, 403);
    assert_eq!(world.delete(token, &path).await.status, 204);
    assert_eq!(world.delete(token, &path).await.status, 404);
    for body in [
        json!({}),
        json!({"name": ""}),
        json!({"name": "Inbox"}),
        json!({"name": "a", "slug": "a b"}),
        json!({"name": "a", "color": "<"}),
    ] {
        assert_eq!(post(&world, "mailbox_labels", body.clone()).await.status, 422, "{body}");
    }
}

#[tokio::test]
async fn search_finds_decoded_text_in_one_inbox_and_in_all() {
    let world = World::new().await;
    let token = &world.ours.token;
    let (ann, ben) = (inbox(&world, "ann").await, inbox(&world, "ben").await);
    received(&world, &ann, LUNCH).await;
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    received(&world, &ben, "From: Zoë <z@elsewhere.org>\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\nRMO2bmVyIGF0IG5vb24=\n").await;
    let found = async |query: &str| {
        let (mut subjects, mut path) = (Vec::new(), format!("/api/v1/emails/search?{query}"));
        loop {
            let answer = world.get(token, &path).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.json());
            let page = answer.json();
            subjects.extend(
                page["emails"].as_array().unwrap().iter().map(|email| email["subject"].as_str().unwrap().to_owned()),
            );
            let Some(link) = answer.header("link") else { return subjects.join(",") };
            path = link.split(['<', '>']).nth(1).unwrap().to_owned();
        }
    };
    for (query, wanted) in [
        ("q=noon", "Grüße,Lunch"),
        ("q=noon&per_page=1", "Grüße,Lunch"),
        ("q=d%C3%B6ner", "Grüße"),
        ("q=%22at%20noon%22", "Grüße,Lunch"),
        ("q=subject:gr%C3%BC%C3%9Fe", "Grüße"),
        ("q=has:attachment", "Lunch"),
        ("q=from:bo@elsewhere.org", "Lunch"),
        ("q=to:di@elsewhere.org", "Lunch"),
        ("q=map.png", "Lunch"),
        ("q=noon%20is:read", ""),
        ("q=label:inbox%20is:unread%20after:2020-01-01", "Grüße,Lunch"),
        ("q=before:2020-01-01", ""),
        ("q=nothing", ""),
    ] {
        assert_eq!(found(query).await, wanted, "{query}");
    }
    assert_eq!(found(&format!("q=noon&inbox={ann}")).await, "Lunch");
    let of = |sender: &str| format!("/api/v1/emails?inbox={ben}&sender={sender}");
    for (sender, count) in [("zo%C3%AB", 1), ("z@elsewhere.org", 1), ("bo@elsewhere.org", 0)] {
        let listed = world.get(token, &of(sender)).await.json();
        assert_eq!(listed["data"].as_array().unwrap().len(), count, "{sender}");
    }
    for query in ["", "q=", "q=is:odd", "q=%20"] {
        assert_eq!(world.get(token, &format!("/api/v1/emails/search?{query}")).await.status, 400, "{query}");
    }
}

#[tokio::test]
async fn what_comes_in_by_the_api_is_received() {
    let world = World::new().await;
    let ann = inbox(&world, "ann").await;
    for body in [
        json!({"inbox_id": ann, "raw": "From: bo@elsewhere.org\nSubject: Hi\n\nx\n"}),
        json!({"from": "Bo <bo@elsewhere.org>", "to": "ann@inboxlayer.dev", "subject": "Hi", "text_body": "x"}),
    ] {
        let made = post(&world, "emails", body).await;
        assert_eq!((made.status, made.text("job")), (201, made.text("id")), "{}", made.json());
        let shown = email(&world, &made.text("id")).await;
        assert_eq!(
            (&shown["subject"], &shown["labels"], &shown["mail_from"]),
            (&json!("Hi"), &json!(["inbox", "unread"]), &json!("bo@elsewhere.org"))
        );
        assert_eq!(shown["rcpt_to"], "ann@inboxlayer.dev");
    }
    assert_eq!(world.get(&world.ours.token, "/api/v1/queue").await.json()["data"], json!([]));
}

#[tokio::test]
async fn what_is_to_leave_later_waits_and_can_be_cancelled() {
    let world = World::new().await;
    let token = &world.ours.token;
    let (ann, ben) = (inbox(&world, "ann").await, inbox(&world, "ben").await);
    let later = world.context.clock.now().after(std::time::Duration::from_secs(3600));
    let body = json!({"inbox_id": ann, "to": ["ben@inboxlayer.dev", "bo@elsewhere.org"], "text_body": "x", "send_at": later.to_string()});
    let sent = post(&world, "emails/send", body.clone()).await;
    assert_eq!((sent.status, sent.text("status").as_str()), (201, "scheduled"), "{}", sent.json());
    let shown = email(&world, &sent.text("id")).await;
    assert_eq!((&shown["status"], &shown["send_at"]), (&json!("scheduled"), &json!(later.to_string())));
    assert_eq!(world.get(token, &format!("/api/v1/emails?inbox={ben}")).await.json()["data"], json!([]));
    let queued = world.get(token, &format!("/api/v1/queue/{}", sent.text("id"))).await.json();
    assert_eq!(queued["deliveries"][0]["next_attempt_at"], later.to_string());
    assert_eq!(world.delete(token, &format!("/api/v1/emails/{}", sent.text("id"))).await.status, 204);
    for path in ["emails", "queue"] {
        assert_eq!(world.get(token, &format!("/api/v1/{path}/{}", sent.text("id"))).await.status, 404, "{path}");
    }
    let mut far = body;
    far["send_at"] = json!("2099-01-01T00:00:00Z");
    assert_eq!(post(&world, "emails/send", far).await.status, 422);
    let here = json!({"inbox_id": ann, "to": "ben@inboxlayer.dev", "text_body": "x"});
    let here = post(&world, "emails/send", here).await;
    assert_eq!(
        (here.text("status").as_str(), &email(&world, &here.text("id")).await["status"]),
        ("sent", &json!("sent"))
    );
}

#[tokio::test]
async fn a_copy_that_a_mail_program_appends_to_sent_is_the_one_that_is_there() {
    use crate::store::append::Append;
    use crate::store::messages::Flags;
    let world = World::new().await;
    let ann = inbox(&world, "ann").await;
    let (header, body) =
        ("From: ann@inboxlayer.dev\r\nTo: bo@elsewhere.org\r\nMessage-ID: <own@x>\r\n\r\n", "Hello\r\n");
    let sent = post(&world, &format!("emails/send?inbox_id={ann}"), json!({"raw": format!("{header}{body}")})).await;
    assert_eq!((sent.status, sent.text("message_id").as_str()), (201, "own@x"), "{}", sent.json());
    let appended = async |mailbox: &str, header: &str, body: &'static str| {
        let message = Append {
            flags: Flags::SEEN | Flags::FLAGGED,
            keywords: "work".to_owned(),
            internal_date: crate::clock::Timestamp::real(),
            header: header.to_owned().into(),
            body: body.into(),
        };
        world.context.mailboxes.append(&ann.parse().unwrap(), mailbox, message).await.unwrap().unwrap().uid
    };
    assert_eq!(appended("Sent", header, body).await, 1);
    assert_eq!(email(&world, &sent.text("id")).await["labels"], json!(["sent", "starred", "work"]));
    let other = header.replace("own@x", "other@x");
    let uids = [
        appended("Sent", header, "Other\r\n").await,
        appended("Sent", &other, body).await,
        appended("Drafts", header, body).await,
    ];
    assert_eq!(uids, [2, 3, 1]);
}
