//! What holds for every resource: repetition under a key, versions, other methods, other origins.

use crate::config::Config;
use crate::http::router;
use crate::http::testing::{Answer, World};
use crate::store::testing::put;
use serde_json::{Value, json};

async fn keyed(world: &World, token: &str, key: &str, path: &str, body: &Value) -> Answer {
    World::send(world.request("POST", token, path).header("idempotency-key", key).json(body)).await
}

#[tokio::test]
async fn a_post_with_a_key_runs_once() {
    let world = World::new().await;
    let (token, inboxes) = (&world.ours.token, "/api/v1/inboxes");
    let body = json!({"name": "ann"});
    let first = keyed(&world, token, "k1", inboxes, &body).await;
    assert_eq!((first.status, first.header("idempotency-replayed")), (201, None), "{}", first.json());
    let again = keyed(&world, token, "k1", inboxes, &body).await;
    assert_eq!((again.status, &again.body, again.header("idempotency-replayed")), (201, &first.body, Some("true")));
    for field in ["location", "content-type"] {
        assert_eq!(again.header(field), first.header(field), "{field}");
    }
    let other = keyed(&world, token, "k1", inboxes, &json!({"name": "ben"})).await;
    assert_eq!((other.status, other.code()), (409, "idempotency_key_reused"));
    let other = keyed(&world, token, "k1", "/api/v1/custom_domains", &body).await;
    assert_eq!((other.status, other.code()), (409, "idempotency_key_reused"));
    // Without the key it is another request; a key belongs to its token.
    assert_eq!(world.post(token, inboxes, body.clone()).await.status, 409);
    assert_eq!(keyed(&world, &world.theirs.token, "k1", inboxes, &json!({"name": "cyd"})).await.status, 201);

    // What was refused has done nothing, and may be corrected.
    assert_eq!(keyed(&world, token, "k2", inboxes, &json!({"name": "No"})).await.status, 422);
    assert_eq!(keyed(&world, token, "k2", inboxes, &json!({"name": "dan"})).await.status, 201);
    assert_eq!(keyed(&world, "wrong", "k3", inboxes, &body).await.status, 401);
    for key in ["", &"k".repeat(256), "é"] {
        let refused = keyed(&world, token, key, inboxes, &body).await;
        assert_eq!((refused.status, refused.code()), (400, "invalid_idempotency_key"), "{key}");
    }
}

#[tokio::test]
async fn an_answer_with_a_secret_is_not_kept() {
    let world = World::new().await;
    let token = &world.ours.token;
    let made = keyed(&world, token, "k", "/api/v1/tokens", &json!({})).await;
    assert_eq!(made.status, 201);
    let again = keyed(&world, token, "k", "/api/v1/tokens", &json!({})).await;
    assert_eq!((again.status, again.code()), (409, "idempotency_answer_not_kept"));
    assert_eq!(again.text("existing_id"), made.text("id"));
    assert!(!String::from_utf8_lossy(&again.body).contains(&made.text("token")));
}

#[tokio::test]
async fn a_large_answer_is_kept_up_to_a_limit() {
    let world = World::new().await;
    let token = &world.ours.token;
    world.post(token, "/api/v1/inboxes", json!({"name": "ann"})).await;
    for (octets, is_kept) in [(30 * 1024, true), (70 * 1024, false)] {
        let draft = json!({"text_body": "x".repeat(octets)});
        let key = octets.to_string();
        let made = keyed(&world, token, &key, "/api/v1/drafts", &draft).await;
        assert_eq!(made.status, 201, "{octets}");
        let again = keyed(&world, token, &key, "/api/v1/drafts", &draft).await;
        match is_kept {
            true => assert_eq!((again.status, again.body == made.body), (201, true)),
            false => assert_eq!((again.status, again.text("existing_id")), (409, made.text("id"))),
        }
    }
}

#[tokio::test]
async fn of_requests_with_one_key_at_a_time_one_runs() {
    let world = World::new().await;
    let body = json!({"domain": "acme.com"});
    let requests = (0..8).map(|_| keyed(&world, &world.ours.token, "k", "/api/v1/custom_domains", &body));
    let answers = futures_util::future::join_all(requests).await;
    let made: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert!(!made.is_empty() && made.iter().all(|answer| answer.body == made[0].body));
    assert_eq!(made.iter().filter(|answer| answer.header("idempotency-replayed").is_none()).count(), 1);
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        assert_eq!((answer.status, answer.code()), (409, "idempotency_key_in_use"));
        assert!(answer.header("retry-after").is_some());
    }
}

#[tokio::test]
async fn an_account_uses_so_many_keys_a_day() {
    let mut config = Config::default();
    config.limits.idempotency_keys = 2;
    let world = World::serving_with(config, router).await;
    let (token, inboxes) = (&world.ours.token, "/api/v1/inboxes");
    for name in ["ann", "ben"] {
        assert_eq!(keyed(&world, token, name, inboxes, &json!({"name": name})).await.status, 201);
    }
    let refused = keyed(&world, token, "cyd", inboxes, &json!({"name": "cyd"})).await;
    assert_eq!((refused.status, refused.code()), (429, "too_many_requests"));
    assert_eq!(refused.header("retry-after"), Some("86400"));
    assert_eq!(keyed(&world, token, "ann", inboxes, &json!({"name": "ann"})).await.status, 201);
    world.context.clock.advance_to(world.context.clock.now().after(std::time::Duration::from_secs(86_400)));
    assert_eq!(keyed(&world, token, "cyd", inboxes, &json!({"name": "cyd"})).await.status, 201);
}

#[tokio::test]
async fn a_change_may_name_the_version_that_it_is_meant_for() {
    let world = World::new().await;
    let token = &world.ours.token;
    let inbox = world.post(token, "/api/v1/inboxes", json!({"name": "ann"})).await.text("id");
    let domain = world.post(token, "/api/v1/custom_domains", json!({"domain": "acme.com"})).await.text("id");
    let user = json!({"account_id": world.ours.account, "email": "ann@example.org"});
    let user = world.post(&world.operator, "/api/v1/users", user).await.text("user_id");
    let draft =
        world.post(token, "/api/v1/drafts", json!({"to": "bo@elsewhere.org", "text_body": "x"})).await.text("id");
    let label = world.post(token, "/api/v1/mailbox_labels", json!({"name": "Urgent"})).await.text("id");
    let webhook = json!({"url": "https://app.example.com/hook"});
    let webhook = world.post(token, "/api/v1/webhook_subscriptions", webhook).await.text("id");
    let email = put(&world.context.store, &inbox.parse().unwrap(), b"Subject: x\r\n\r\nx\r\n").await.id;
    for (path, method, body) in [
        (format!("/api/v1/drafts/{draft}"), "PATCH", json!({"subject": "Lunch"})),
        (format!("/api/v1/inboxes/{inbox}/drafts/{draft}"), "PUT", json!({"subject": "Dinner"})),
        (format!("/api/v1/mailbox_labels/{label}"), "PATCH", json!({"color": "orange"})),
        (format!("/api/v1/mailbox_labels/{label}"), "PUT", json!({"name": "Later"})),
        (format!("/api/v1/emails/{email}"), "PUT", json!({"add_labels": ["urgent"]})),
        (format!("/api/v1/emails/{email}"), "PATCH", json!({"labels": ["other", "unread"]})),
        (format!("/api/v1/emails/{email}/actions"), "PATCH", json!({"mark_read": true, "move_to": "archive"})),
        (format!("/api/v1/inboxes/{inbox}"), "PATCH", json!({"save_sent": false})),
        (format!("/api/v1/custom_domains/{domain}"), "PUT", json!({"is_default": true})),
        (format!("/api/v1/users/{user}"), "PATCH", json!({"first_name": "Ann"})),
        (format!("/api/v1/webhook_subscriptions/{webhook}"), "PATCH", json!({"active": false})),
        (format!("/api/v1/webhook_subscriptions/{webhook}"), "PUT", json!({"active": true})),
    ] {
        let etag = |answer: &Answer| answer.header("etag").unwrap().to_owned();
        let change = |tags: &str| World::send(world.request(method, token, &path).header("if-match", tags).json(&body));
        let shown = path.trim_end_matches("/actions");
        let first = etag(&world.get(token, shown).await);
        let changed = change(&format!("\"0\", {first}")).await;
        assert_eq!(changed.status, 200, "{path}: {}", changed.json());
        let second = etag(&changed);
        assert_eq!(etag(&world.get(token, shown).await), second);
        assert_ne!(first, second, "{path}");
        let late = change(&first).await;
        assert_eq!((late.status, late.code()), (412, "precondition_failed"), "{path}");
        assert_eq!(etag(&world.get(token, shown).await), second);
        assert_eq!(change("*").await.status, 200);
    }
}

#[tokio::test]
async fn an_email_is_deleted_and_a_draft_sent_in_the_version_that_if_match_names() {
    let world = World::new().await;
    let token = &world.ours.token;
    let inbox = world.post(token, "/api/v1/inboxes", json!({"name": "ours"})).await.text("id");
    let email = put(&world.context.store, &inbox.parse().unwrap(), b"Subject: x\r\n\r\nx\r\n").await.id;
    let made = json!({"to": "bo@elsewhere.org", "text_body": "x"});
    let [sent, deleted] = [
        world.post(token, "/api/v1/drafts", made.clone()).await.text("id"),
        world.post(token, "/api/v1/drafts", made.clone()).await.text("id"),
    ];
    let later = world.context.clock.now().after(std::time::Duration::from_secs(3600)).to_string();
    let scheduled = json!({"to": "bo@elsewhere.org", "text_body": "x", "send_at": later});
    let scheduled = world.post(token, "/api/v1/emails/send", scheduled).await.text("id");
    for (method, path, shown, status) in [
        // To Trash, then for good.
        ("DELETE", format!("/api/v1/emails/{email}"), format!("/api/v1/emails/{email}"), 204),
        ("DELETE", format!("/api/v1/emails/{email}"), format!("/api/v1/emails/{email}"), 204),
        ("DELETE", format!("/api/v1/emails/{scheduled}"), format!("/api/v1/emails/{scheduled}"), 204),
        ("DELETE", format!("/api/v1/drafts/{deleted}"), format!("/api/v1/drafts/{deleted}"), 204),
        ("POST", format!("/api/v1/drafts/{sent}/send"), format!("/api/v1/drafts/{sent}"), 201),
    ] {
        let etag = async || world.get(token, &shown).await.header("etag").unwrap().to_owned();
        let act = |tag: &str| World::send(world.request(method, token, &path).header("if-match", tag).json(&json!({})));
        let first = etag().await;
        let id = shown.rsplit('/').next().unwrap();
        let label = json!({"add_labels": ["todo"], "remove_labels": ["unread"]});
        let relabel = async || world.patch(token, &format!("/api/v1/emails/{id}"), label.clone()).await.status;
        let star = json!({"add_labels": ["starred"]});
        assert_eq!(relabel().await, 200);
        assert_eq!(world.patch(token, &format!("/api/v1/emails/{id}"), star).await.status, 200);
        let late = act(&first).await;
        assert_eq!((late.status, late.code()), (412, "precondition_failed"), "{method} {path}");
        let second = etag().await;
        assert_ne!(first, second);
        assert_eq!(act(&second).await.status, status, "{method} {path}");
        let unstar = json!({"remove_labels": ["starred", "todo"]});
        world.patch(token, &format!("/api/v1/emails/{id}"), unstar).await;
    }
    let queue = world.get(token, "/api/v1/queue").await.json();
    assert_eq!(queue["data"].as_array().unwrap().len(), 1, "the scheduled email is not queued any more: {queue}");
    let listed = world.get(token, &format!("/api/v1/emails?inbox={inbox}")).await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "{listed}");
}

#[tokio::test]
async fn an_answer_says_what_is_left_of_the_limit_that_it_was_charged_to() {
    let mut config = Config::default();
    (config.limits.creations_per_hour, config.limits.claims_per_hour) = (2, 7);
    let world = World::serving_with(config, router).await;
    let token = &world.ours.token;
    if world.context.store.is_shared() {
        return;
    }
    for (name, left) in [("ann", 1), ("ben", 0), ("cyd", 0)] {
        let answer = world.post(token, "/api/v1/inboxes", json!({"name": name})).await;
        assert_eq!(answer.status, if name == "cyd" { 429 } else { 201 });
        assert_eq!(answer.header("ratelimit-policy"), Some("\"creations_per_hour\";q=2;w=3600"));
        let shown = answer.header("ratelimit").unwrap();
        assert!(shown.starts_with(&format!("\"creations_per_hour\";r={left};t=3")), "{shown}");
    }
    let answer = world.post(token, "/api/v1/custom_domains", json!({"domain": "acme.com"})).await;
    assert!(answer.header("ratelimit").unwrap().starts_with("\"claims_per_hour\";r=6;t=3"));
    assert_eq!(world.get(token, "/api/v1/inboxes").await.header("ratelimit-policy"), None);
}

#[tokio::test]
async fn what_sends_says_what_is_left_of_the_hour() {
    let mut config = Config::default();
    (config.limits.messages_per_hour, config.limits.recipients_per_hour) = (3, 100);
    let world = World::serving_with(config, router).await;
    let token = &world.ours.token;
    if world.context.store.is_shared() {
        return;
    }
    let inbox = world.post(token, "/api/v1/inboxes", json!({"name": "ann"})).await.text("id");
    let body = json!({"inbox_id": inbox, "to": ["a@elsewhere.org", "b@elsewhere.org"], "text_body": "x"});
    let draft = world.post(token, "/api/v1/drafts", body.clone()).await.text("id");
    let sent = world.post(token, "/api/v1/emails/send", body.clone()).await;
    let reply = format!("/api/v1/emails/{}/reply", sent.text("id"));
    let again = world.post(token, &reply, json!({"text_body": "x"})).await;
    let of_draft = world.post(token, &format!("/api/v1/drafts/{draft}/send"), json!({})).await;
    let refused = world.post(token, "/api/v1/emails/send", body).await;
    let policy = "\"messages_per_hour\";q=3;w=3600, \"recipients_per_hour\";q=100;w=3600";
    for (answer, status, messages, recipients) in
        [(&sent, 201, 2, 98), (&again, 201, 1, 96), (&of_draft, 201, 0, 94), (&refused, 429, 0, 94)]
    {
        assert_eq!((answer.status, answer.header("ratelimit-policy")), (status, Some(policy)), "{}", answer.json());
        let shown = answer.header("ratelimit").unwrap();
        let (first, second) = shown.split_once(", ").unwrap();
        assert!(first.starts_with(&format!("\"messages_per_hour\";r={messages};t=3")), "{shown}");
        assert!(second.starts_with(&format!("\"recipients_per_hour\";r={recipients};t=3")), "{shown}");
    }
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((3500..=3600).contains(&wait), "{wait}");
}

#[tokio::test]
async fn head_and_options_are_answered() {
    let world = World::new().await;
    let token = &world.ours.token;
    let get = world.get(token, "/api/v1/inboxes").await;
    let head = World::send(world.request("HEAD", token, "/api/v1/inboxes")).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some(get.body.len().to_string().as_str()));
    assert_eq!(World::send(world.request("HEAD", "", "/api/v1/inboxes")).await.status, 401);
    let options = World::send(world.request("OPTIONS", "", "/api/v1/inboxes")).await;
    let allow = options.header("allow").unwrap();
    assert_eq!((options.status, options.body.len()), (204, 0));
    assert!(["GET", "HEAD", "POST"].iter().all(|method| allow.contains(method)), "{allow}");
    assert_eq!(World::send(world.request("OPTIONS", "", "/api/v1/nothing")).await.status, 404);
    assert_eq!(options.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn pages_of_configured_origins_may_call_the_api() {
    let mut config = Config::default();
    config.http.cors_origins = vec!["https://app.example".into()];
    let world = World::serving_with(config, router).await;
    let preflight = |origin: &str| {
        let request = world.request("OPTIONS", "", "/api/v1/inboxes").header("origin", origin);
        let request = request.header("access-control-request-method", "POST");
        World::send(request.header("access-control-request-headers", "authorization, idempotency-key"))
    };
    let allowed = preflight("https://app.example").await;
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://app.example"));
    let headers = allowed.header("access-control-allow-headers").unwrap();
    assert!(headers.contains("last-event-id"), "{headers}");
    assert!(headers.contains("authorization") && headers.contains("idempotency-key"), "{headers}");
    assert!(allowed.header("access-control-allow-methods").unwrap().contains("POST"));
    assert_eq!(preflight("https://evil.example").await.header("access-control-allow-origin"), None);
    let request = world.request("GET", &world.ours.token, "/api/v1/inboxes").header("origin", "https://app.example");
    let answer = World::send(request).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some("https://app.example")));
    for field in ["x-request-id", "content-range", "accept-ranges"] {
        assert!(answer.header("access-control-expose-headers").unwrap().contains(field), "{field}");
    }
    assert_eq!(answer.header("access-control-allow-credentials"), None);
}
