//! Webhook subscriptions over the API: what is refused, and who may subscribe to what.

use crate::auth::token::Token;
use crate::config::Config;
use crate::http::router;
use crate::http::testing::World;
use crate::net::ranges::AllowedNetworks;
use crate::store::StoreError;
use base64::prelude::*;
use serde_json::{Value, json};

const PATH: &str = "/api/v1/webhook_subscriptions";

#[tokio::test]
async fn a_subscription_is_made_with_its_secret_and_shown_without() {
    let world = World::new().await;
    let token = world.ours.token.clone();
    let body =
        json!({"url": "https://app.example.com/hook", "events": ["inbox.created", "email.received", "inbox.created"]});
    let keyed = || world.request("POST", &token, PATH).header("idempotency-key", "one").json(&body);
    let made = World::send(keyed()).await;
    assert_eq!(made.status, 201, "{}", made.json());
    let (id, secret) = (made.text("id"), made.text("secret"));
    assert!(secret.starts_with("whsec_") && made.header("location").unwrap().ends_with(&id));
    assert_eq!(made.json()["events"], json!(["inbox.created", "email.received"]), "as given, without repetitions");
    let again = World::send(keyed()).await;
    assert_eq!(
        (again.status, again.code(), again.text("existing_id")),
        (409, "idempotency_answer_not_kept", id.clone())
    );

    let path = format!("{PATH}/{id}");
    let shown = world.get(&token, &path).await.json();
    assert!(shown.get("secret").is_none() && shown["active"] == true, "{shown}");
    let rotated = world.post(&token, &format!("{path}/rotate_secret"), json!({})).await;
    assert_eq!(rotated.status, 200);
    assert_ne!(rotated.text("secret"), secret);
    assert!(rotated.json()["previous_secret_expires_at"].is_string());
    let changed = world.patch(&token, &path, json!({"webhook_subscription": {"active": false}})).await.json();
    assert_eq!((&changed["active"], &changed["url"]), (&Value::Bool(false), &shown["url"]));
    let refused = world.post(&token, &format!("{path}/redeliver"), json!({"since": "2020-01-01T00:00:00Z"})).await;
    assert_eq!((refused.status, refused.code()), (409, "subscription_inactive"));
    assert_eq!(world.delete(&token, &path).await.status, 204);
    assert_eq!(world.get(&token, &path).await.status, 404);
    // Without types: all there are.
    let all = world.post(&token, PATH, json!({"url": "https://app.example.com/"})).await.json();
    assert!(all["events"].as_array().unwrap().len() > 10, "{all}");
}

#[tokio::test]
async fn each_wrong_field_is_named() {
    let world = World::new().await;
    let token = world.ours.token.clone();
    for (body, fields) in [
        (json!({}), vec!["url"]),
        (json!({"url": 5}), vec!["url"]),
        (json!({"url": null}), vec!["url"]),
        (json!({"url": "http://app.example.com/"}), vec!["url"]),
        (
            json!({"url": "https://127.0.0.1/", "events": ["email.received", "email.read", 1]}),
            vec!["url", "events[1]", "events[2]"],
        ),
        (json!({"url": "https://a.example/", "events": []}), vec!["events"]),
        (json!({"url": "https://a.example/", "active": "yes"}), vec!["active"]),
        (json!({"url": "https://a.example/", "secret": "mine"}), vec!["secret"]),
    ] {
        let refused = world.post(&token, PATH, body.clone()).await;
        assert_eq!(
            (refused.status, refused.fields()),
            (422, fields.iter().map(|f| (*f).to_owned()).collect()),
            "{body}"
        );
    }
    let refused = world.post(&token, PATH, json!({"url": "https://a.example/", "events": ["email.read"]})).await;
    let message = refused.json()["errors"][0]["message"].clone();
    assert!(message.as_str().unwrap().contains("email.received, email.sent"), "{message}");
}

#[tokio::test]
async fn a_token_subscribes_to_what_it_may_read() {
    let world = World::new().await;
    let limited = async |permissions: &[&str]| {
        world.post(&world.ours.token, "/api/v1/tokens", json!({"permissions": permissions})).await.text("token")
    };
    let body = |kind: &str| json!({"url": "https://app.example.com/", "events": [kind]});
    let hooks = limited(&["webhooks:write"]).await;
    for (kind, needed) in [
        ("email.received", "messages:read"),
        ("email.bounced", "messages:read"),
        ("custom_domain.verified", "domains:read"),
        ("inbox.created", "inboxes:read"),
    ] {
        let refused = world.post(&hooks, PATH, body(kind)).await;
        assert_eq!((refused.status, refused.code()), (403, "insufficient_permission"), "{kind}");
        assert!(refused.text("detail").contains(needed), "{kind}");
        let both = limited(&["webhooks:write", needed]).await;
        let made = world.post(&both, PATH, body(kind)).await;
        assert_eq!(made.status, 201, "{kind}");
        // Nor may it lead what others have subscribed to elsewhere.
        let path = format!("{PATH}/{}", made.text("id"));
        let moved = world.patch(&hooks, &path, json!({"url": "https://other.example.com/"})).await;
        assert_eq!(moved.status, 403, "{kind}");
        let other = if kind == "inbox.created" { "email.received" } else { "inbox.created" };
        // Nor with other types: what they had can be sent again.
        let others =
            limited(&["webhooks:write", if other == "email.received" { "messages:read" } else { "inboxes:read" }])
                .await;
        let moved = json!({"url": "https://other.example.com/", "events": [other]});
        assert_eq!(world.patch(&others, &path, moved.clone()).await.status, 403, "{kind}");
        assert_eq!(world.patch(&world.ours.token, &path, moved).await.status, 200, "{kind}");
    }
    let reader = limited(&["webhooks:read"]).await;
    assert_eq!(world.get(&reader, PATH).await.status, 200);
    assert_eq!(world.post(&reader, PATH, body("inbox.created")).await.status, 403);
    let inbox = world.post(&world.ours.token, "/api/v1/inboxes", json!({"name": "one"})).await.text("id");
    let of_inbox = world.post(&world.ours.token, "/api/v1/tokens", json!({"inbox_ids": [inbox]})).await.text("token");
    assert_eq!(world.get(&of_inbox, PATH).await.status, 403);
}

/// Pages in use by the database, in octets.
async fn database_octets(world: &World) -> i64 {
    let read = world.context.store.read(|c| {
        let value = |name: &str| c.sqlite().query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
        Ok::<_, StoreError>((value("page_count")? - value("freelist_count")?) * value("page_size")?)
    });
    read.await.unwrap()
}

#[tokio::test]
async fn webhooks_of_mail_for_a_dead_endpoint_take_about_as_much_room_as_the_mail() {
    const EMAILS: usize = 500;
    crate::store::testing::sqlite_only("measures the pages of the file");
    let mut config = Config::default();
    config.webhooks.allow_networks = AllowedNetworks::loopback();
    let world = World::serving_with(config, router).await;
    let token = &world.ours.token;
    let inbox = world.post(token, "/api/v1/inboxes", json!({"name": "ann"})).await.text("id");
    // Nothing listens there.
    let body = json!({"url": "http://127.0.0.1:1/", "events": ["email.received"]});
    let webhook = world.post(token, PATH, body).await.text("id");
    let start = database_octets(&world).await;
    let mut mail = 0;
    for n in 0..EMAILS {
        // Text that hardly compresses.
        let mut random = vec![0; 54_000];
        blake3::Hasher::new().update(&n.to_be_bytes()).finalize_xof().fill(&mut random);
        let lines: Vec<_> = random.chunks(54).map(|line| BASE64_STANDARD.encode(line)).collect();
        let text = lines.join("\n");
        mail += text.len();
        let body = json!({"inbox_id": inbox, "from": "bo@outside.test", "to": "ann@inboxlayer.dev", "subject": "x", "text_body": text});
        assert_eq!(world.post(token, "/api/v1/emails", body).await.status, 201);
    }
    let stored = database_octets(&world).await - start;
    world.context.webhooks.settle().await;
    let grown = database_octets(&world).await - start - stored;
    println!("{mail} octets of mail: {stored} in the database, and {grown} of webhooks");
    assert!(grown < i64::try_from(mail).unwrap() * 3 / 2, "{grown}");
    let waiting = world.get(token, &format!("{PATH}/{webhook}/deliveries?state=waiting&per_page=100")).await;
    assert_eq!(waiting.json()["data"].as_array().unwrap().len(), 100);
    assert!(waiting.json()["meta"]["next_cursor"].is_string());
}

#[tokio::test]
async fn a_message_with_a_secret_or_with_too_many_words_like_one_is_refused() {
    let world = World::new().await;
    let token = &world.ours.token;
    world.post(token, "/api/v1/inboxes", json!({"name": "ann"})).await;
    let send = async |text: &str| {
        let email = json!({"to": "bo@elsewhere.org", "text_body": text});
        world.post(token, "/api/v1/emails/send", email).await
    };
    let made = world.post(token, PATH, json!({"url": "https://app.example.com/hook"})).await;
    let (id, first) = (made.text("id"), made.text("secret"));
    let theirs = world.post(&world.theirs.token, PATH, json!({"url": "https://app.example.com/hook"})).await;
    let second = world.post(token, &format!("{PATH}/{id}/rotate_secret"), json!({})).await.text("secret");
    for secret in [&first, &second] {
        let refused = send(&format!("The secret is {secret}.")).await;
        assert_eq!((refused.status, refused.code()), (422, "token_in_message"), "{}", refused.json());
        assert!(refused.text("detail").contains(&id), "{}", refused.json());
    }
    assert_eq!(send(&theirs.text("secret")).await.status, 201);
    assert_eq!(world.delete(token, &format!("{PATH}/{id}")).await.status, 204);
    assert_eq!(send(&first).await.status, 201);

    let invented = || Token::generate().unwrap().secret().reveal().to_owned();
    let many = |count| (0..count).map(|_| invented()).collect::<Vec<_>>().join(" ");
    assert_eq!(send(&many(99)).await.status, 201);
    let hidden = send(&format!("{} {token}", many(100))).await;
    assert_eq!((hidden.status, hidden.code()), (422, "token_in_message"));
}
