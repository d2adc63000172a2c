//! The API over real sockets.

mod begun;
mod connections;
mod conversations;
mod document;
mod domain_check;
mod domains;
mod event_order;
mod events;
mod http2;
mod identities;
mod imports;
mod inboxes;
mod isolation;
mod messages;
mod notification_tokens;
mod protocol;
mod queue;
mod searches;
mod statistics;
mod users;
mod webhooks;

use super::testing::World;
use crate::auth::login::Scope;
use crate::config::Config;
use crate::events::Event;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn health_needs_no_token_and_fails_when_the_store_is_closed() {
    let world = World::new().await;
    let answer = world.get("", "/healthz").await;
    assert_eq!((answer.status, answer.text("status").as_str()), (200, "ok"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    world.context.store.close().await;
    let answer = world.get("", "/healthz").await;
    assert_eq!((answer.status, answer.code()), (503, "unavailable"));
    assert!(answer.header("retry-after").is_some());
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
}

#[tokio::test]
async fn readiness_ends_with_the_store_and_before_the_daemon() {
    let world = World::new().await;
    let answer = world.get("", "/readyz").await;
    assert_eq!((answer.status, answer.text("status").as_str()), (200, "ready"));
    world.context.readiness.end();
    assert_eq!(world.get("", "/readyz").await.status, 503);
    assert_eq!(world.get("", "/healthz").await.status, 200, "what it has begun it goes on with");

    let world = World::new().await;
    world.context.store.close().await;
    let answer = world.get("", "/readyz").await;
    assert_eq!((answer.status, answer.code()), (503, "unavailable"));
}

#[tokio::test]
async fn requests_without_a_valid_token_are_401() {
    let world = World::new().await;
    for token in ["", "ilt_x", &format!("{}x", world.ours.token)] {
        for path in ["/api/v1/inboxes", "/api/v1/accounts", "/api/v1/queue/x"] {
            let answer = world.get(token, path).await;
            assert_eq!((answer.status, answer.code()), (401, "unauthorized"), "{token} {path}");
            assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"));
        }
    }
}

#[tokio::test]
async fn token_guessing_is_limited_and_a_valid_token_still_works() {
    let mut config = Config::default();
    config.limits.failed_logins = 3;
    let world = World::serving_with(config, super::router).await;
    assert_eq!(world.get(&world.ours.token, "/api/v1/inboxes").await.status, 200);
    for _ in 0..3 {
        assert_eq!(world.get("guess", "/api/v1/inboxes").await.status, 401);
    }
    let slowed = world.get("guess", "/api/v1/inboxes").await;
    assert_eq!((slowed.status, slowed.code()), (429, "too_many_requests"));
    assert!(slowed.header("retry-after").unwrap().parse::<u64>().unwrap() <= 600);
    assert_eq!(world.get(&world.ours.token, "/api/v1/inboxes").await.status, 200);
}

#[tokio::test]
async fn every_answer_names_its_request_and_a_refusal_is_json_of_the_type_that_the_client_accepts() {
    let world = World::new().await;
    let token = &world.ours.token;
    for path in ["/healthz", "/api/v1/inboxes", "/api/v1/inboxes/x", "/nothing"] {
        let (first, second) = (world.get(token, path).await, world.get(token, path).await);
        assert!(first.header("x-request-id").unwrap().starts_with("req_"), "{path}");
        assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
        let own = world.request("GET", token, path).header("x-request-id", "mine-1");
        assert_eq!(World::send(own).await.header("x-request-id"), Some("mine-1"), "{path}");
    }
    for (accept, content_type) in [
        ("*/*", "application/problem+json"),
        ("application/json", "application/json"),
        ("application/json, application/problem+json", "application/problem+json"),
    ] {
        let refused = World::send(world.request("GET", token, "/nothing").header("accept", accept)).await;
        assert_eq!((refused.status, refused.header("content-type")), (404, Some(content_type)), "{accept}");
        let json = refused.json();
        assert_eq!((&json["error"], &json["error_code"]), (&json["detail"], &json["code"]));
        assert_eq!(json["error_code"], "not_found");
    }
    let scheme = world.request("GET", "", "/api/v1/inboxes").header("authorization", format!("token {token}"));
    assert_eq!(World::send(scheme).await.status, 200);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let world = World::new().await;
    let answer = world.get(&world.ours.token, "/api/v1/nothing").await;
    assert_eq!((answer.status, answer.code()), (404, "not_found"));
    let answer = world.delete(&world.ours.token, "/api/v1/inboxes").await;
    assert_eq!((answer.status, answer.code()), (405, "method_not_allowed"));
    let allowed = answer.header("allow").unwrap();
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
    for path in ["/api/v1/inboxes/%ff", "/api/v1/custom_domains/a%C3/verify", "/%80", "/api/v1/emails/msg_%e2%82/raw"] {
        let answer = world.get(&world.ours.token, path).await;
        assert_eq!((answer.status, answer.code()), (400, "malformed_request"), "{path}");
    }
}

#[tokio::test]
async fn a_slash_at_the_end_of_a_path_is_accepted() {
    let world = World::new().await;
    let token = &world.ours.token;
    for path in ["/healthz", "/api/v1/inboxes", "/api/v1/queue", "/api/v1/custom_domains"] {
        let (plain, slash) = (world.get(token, path).await, world.get(token, &format!("{path}/")).await);
        assert_eq!((plain.status, slash.status, &plain.body), (200, 200, &slash.body), "{path}");
    }
    let made = world.post(token, "/api/v1/inboxes/", json!({"name": "slash"})).await;
    assert_eq!(made.status, 201);
    let made = made.json();
    let id = made["id"].as_str().unwrap();
    let list = world.get(token, "/api/v1/inboxes/?per_page=1").await.json();
    assert_eq!(list["data"][0]["id"], id);
    assert_eq!(world.get(token, &format!("/api/v1/inboxes/{id}/")).await.status, 200);
    assert_eq!(world.delete(token, "/api/v1/inboxes/").await.status, 405);
    assert_eq!(world.get(token, "/api/v1/inboxes//").await.status, 404);
}

#[tokio::test]
async fn bodies_are_parsed_strictly() {
    let world = World::new().await;
    let post = |content_type: &'static str, body: Vec<u8>| {
        let request = world.request("POST", &world.ours.token, "/api/v1/inboxes");
        World::send(request.header("content-type", content_type).body(body))
    };
    for (content_type, body, status, code) in [
        ("text/plain", "{}", 415, "unsupported_media_type"),
        ("application/json", "{", 400, "malformed_request"),
        ("application/json", "[]", 400, "malformed_request"),
        ("application/json; charset=utf-8", "\u{fffd}", 400, "malformed_request"),
        ("application/json", "{}", 422, "invalid_request"),
    ] {
        let answer = post(content_type, body.into()).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{content_type} {body}");
    }
    assert_eq!(post("application/json", vec![0xff, 0xfe]).await.status, 400);
    let answer = post("application/json", vec![b' '; 70_000]).await;
    assert_eq!((answer.status, answer.code()), (413, "too_large"));
    let answer = world.post(&world.ours.token, "/api/v1/inboxes", json!({"nmae": "x", "name": 5})).await;
    assert_eq!(answer.status, 422);
    assert_eq!(answer.fields(), ["name", "nmae"]);
    let answer = world.get(&world.ours.token, "/api/v1/inboxes?per_page=0&cursor=x&page=2").await;
    assert_eq!(answer.status, 422);
    assert_eq!(answer.fields(), ["per_page", "cursor", "page"]);
}

#[tokio::test]
async fn inboxes_are_created_listed_changed_and_deleted() {
    let world = World::new().await;
    let token = &world.ours.token;
    let made = world.post(token, "/api/v1/inboxes", json!({"name": "ann"})).await;
    assert_eq!(made.status, 201);
    let path = format!("/api/v1/inboxes/{}", made.text("id"));
    assert_eq!(made.header("location"), Some(path.as_str()));
    assert_eq!(made.text("email_address"), "ann@inboxlayer.dev");
    assert_eq!(made.json()["default_domain_id"], json!(null));
    assert!(made.text("created_at").ends_with('Z'));
    let mut with_emails = made.json();
    (with_emails["emails"], with_emails["data"]) = (json!([]), json!([]));
    with_emails["meta"] = json!({"next_cursor": null});
    assert_eq!(world.get(token, &path).await.json(), with_emails);

    let again = world.post(token, "/api/v1/inboxes", json!({"name": "ann"})).await;
    assert_eq!((again.status, again.code()), (409, "inbox_exists"));
    assert_eq!(again.text("existing_id"), made.text("id"));
    let foreign = world.post(&world.theirs.token, "/api/v1/inboxes", json!({"name": "ann"})).await;
    assert_eq!((foreign.status, foreign.code()), (409, "inbox_name_taken"));
    assert_eq!(foreign.json().get("existing_id"), None);
    for bad in ["", "Ann", "a b", "postmaster", "admin", "-a", "a@b"] {
        let answer = world.post(token, "/api/v1/inboxes", json!({"name": bad})).await;
        assert_eq!((answer.status, answer.fields()), (422, vec!["name".to_owned()]), "{bad}");
    }
    for name in ["ben", "cyd", "dan"] {
        assert_eq!(world.post(token, "/api/v1/inboxes", json!({"name": name})).await.status, 201);
    }
    let first = world.get(token, "/api/v1/inboxes?per_page=3").await.json();
    let cursor = first["meta"]["next_cursor"].as_str().unwrap();
    let rest = world.get(token, &format!("/api/v1/inboxes?per_page=3&cursor={cursor}")).await.json();
    assert_eq!((first["data"].as_array().unwrap().len(), rest["data"].as_array().unwrap().len()), (3, 1));
    assert_eq!(rest["meta"]["next_cursor"], json!(null));

    let answer = world.patch(token, &path, json!({"default_domain_id": "dom_01jdczz0000000000000000000"})).await;
    assert_eq!((answer.status, answer.fields()), (422, vec!["default_domain_id".to_owned()]));
    assert_eq!(world.patch(token, &path, json!({"default_domain_id": null})).await.status, 200);
    assert_eq!(world.patch(token, &path, json!({"name": "x"})).await.fields(), ["name"]);

    let mut heard = world.context.events.subscribe(&world.ours.account, usize::MAX).unwrap();
    assert_eq!(world.delete(token, &path).await.status, 204);
    assert!(matches!(heard.recv().await, Ok(Event::InboxDeleted { inbox_id: id }) if id.as_str() == made.text("id")));
    assert_eq!(world.delete(token, &path).await.status, 404);
    assert_eq!(world.get(token, &path).await.status, 404);
}

#[tokio::test]
async fn tokens_are_shown_once_and_keep_to_their_scope_until_revoked() {
    let world = World::new().await;
    let token = &world.ours.token;
    let inbox = world.post(token, "/api/v1/inboxes", json!({"name": "ann"})).await.text("id");
    let other = world.post(token, "/api/v1/inboxes", json!({"name": "ben"})).await.text("id");
    let made = world.post(token, "/api/v1/tokens", json!({"name": "bot", "inbox_ids": [inbox]})).await;
    assert_eq!((made.status, made.text("scope").as_str()), (201, "inboxes"));
    let (id, secret) = (made.text("id"), made.text("token"));
    assert!(secret.len() < 60);
    let shown = world.get(token, &format!("/api/v1/tokens/{id}")).await;
    assert_eq!(shown.json().get("token"), None);
    assert!(!String::from_utf8(world.get(token, "/api/v1/tokens").await.body).unwrap().contains(&secret));

    // It sees its own inbox and no other, and cannot act for the whole account.
    assert_eq!(world.get(&secret, &format!("/api/v1/inboxes/{inbox}")).await.status, 200);
    assert_eq!(world.get(&secret, "/api/v1/inboxes").await.json()["data"].as_array().unwrap().len(), 1);
    let missing = world.get(&secret, "/api/v1/inboxes/inb_01jdczz0000000000000000000").await;
    let hidden = world.get(&secret, &format!("/api/v1/inboxes/{other}")).await;
    assert_eq!((hidden.status, hidden.body), (404, missing.body));
    for (method, path) in [
        ("POST", "/api/v1/inboxes".to_owned()),
        ("DELETE", format!("/api/v1/inboxes/{inbox}")),
        ("POST", format!("/api/v1/inboxes/{inbox}/aliases")),
        ("GET", "/api/v1/tokens".into()),
        ("POST", "/api/v1/tokens".into()),
        ("GET", "/api/v1/queue".into()),
        ("GET", "/api/v1/accounts".into()),
    ] {
        let answer = World::send(world.request(method, &secret, &path).json(&json!({}))).await;
        assert_eq!((answer.status, answer.code()), (403, "insufficient_scope"), "{method} {path}");
    }

    let mut heard = world.context.events.subscribe(&world.ours.account, usize::MAX).unwrap();
    let path = format!("/api/v1/tokens/{id}");
    assert_eq!(world.delete(token, &path).await.status, 204);
    assert!(matches!(heard.recv().await, Ok(Event::TokenRevoked { token_id: revoked }) if revoked.as_str() == id));
    assert_eq!(world.get(&secret, &format!("/api/v1/inboxes/{inbox}")).await.status, 401);
    assert!(world.get(token, &path).await.json()["revoked_at"].is_string());

    for (body, field) in [
        (json!({"scope": "root"}), "scope"),
        (json!({"scope": "inboxes"}), "inbox_ids"),
        (json!({"inbox_ids": ["x"]}), "inbox_ids[0]"),
        (json!({"inbox_ids": "x"}), "inbox_ids"),
        (json!({"name": "a\nb"}), "name"),
        (json!({"expires_at": "tomorrow"}), "expires_at"),
        (json!({"expires_at": "2001-01-01T00:00:00Z"}), "expires_at"),
        (json!({"account_id": "x"}), "account_id"),
    ] {
        let answer = world.post(token, "/api/v1/tokens", body.clone()).await;
        assert_eq!((answer.status, answer.fields()), (422, vec![field.to_owned()]), "{body}");
    }
    let answer = world.post(&world.theirs.token, "/api/v1/tokens", json!({"inbox_ids": [inbox]})).await;
    assert_eq!(answer.fields(), ["inbox_ids"]);
    let answer = world.post(token, "/api/v1/tokens", json!({"scope": "operator"})).await;
    assert_eq!((answer.status, answer.code()), (403, "insufficient_scope"));
}

#[tokio::test]
async fn operators_create_accounts_and_act_for_them() {
    let world = World::new().await;
    let made = world.post(&world.operator, "/api/v1/accounts", json!({"name": "Acme"})).await;
    assert_eq!(made.status, 201);
    let account = made.text("account_id");
    assert!(made.json()["id"].is_u64(), "{}", made.json());
    let key = world.post(&world.operator, "/api/v1/tokens", json!({"account_id": account})).await.text("token");
    assert_eq!(world.get(&key, &format!("/api/v1/accounts/{account}")).await.text("name"), "Acme");
    let inbox =
        world.post(&world.operator, "/api/v1/inboxes", json!({"name": "ann", "account_id": account})).await.text("id");
    assert_eq!(world.get(&key, &format!("/api/v1/inboxes/{inbox}")).await.status, 200);
    assert_eq!(world.get(&world.operator, &format!("/api/v1/inboxes/{inbox}")).await.status, 200);
    let listed = world.get(&world.operator, &format!("/api/v1/inboxes?account_id={account}")).await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    for path in ["/api/v1/inboxes"] {
        let answer = world.get(&world.operator, path).await;
        assert_eq!((answer.status, answer.fields()), (422, vec!["account_id".to_owned()]), "{path}");
    }
    let unknown = json!({"name": "ben", "account_id": "acc_01jdczz0000000000000000000"});
    assert_eq!(world.post(&world.operator, "/api/v1/inboxes", unknown).await.fields(), ["account_id"]);
    assert_eq!(world.get(&world.operator, "/api/v1/accounts").await.json().as_array().unwrap().len(), 3);
    assert_eq!(world.post(&world.operator, "/api/v1/tokens", json!({"scope": "operator"})).await.status, 201);

    let own = format!("/api/v1/accounts/{}", world.ours.account);
    assert_eq!(world.get(&world.ours.token, &own).await.status, 200);
    let shown = world.get(&world.ours.token, &own).await.json();
    assert_eq!(world.get(&world.ours.token, "/api/v1/accounts").await.json(), json!([shown]));
    let by_number = format!("/api/v1/accounts/{}", shown["id"]);
    assert_eq!(world.get(&world.ours.token, &by_number).await.json(), shown);
    assert_eq!(world.get(&world.theirs.token, &by_number).await.status, 404);
    let answer = world.post(&world.ours.token, "/api/v1/accounts", json!({"name": "x"})).await;
    assert_eq!((answer.status, answer.code()), (403, "insufficient_scope"));
    for bad in [json!({}), json!({"name": ""}), json!({"name": "a\u{7}"})] {
        assert_eq!(world.post(&world.operator, "/api/v1/accounts", bad).await.fields(), ["name"]);
    }
}

#[tokio::test]
async fn malformed_requests_get_a_response_and_the_server_keeps_running() {
    let world = World::new().await;
    for (bytes, begins) in [
        ("GARBAGE\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(40_000)), "HTTP/1.1 431"),
        ("GET /healthz HTTP/1.0\r\n\r\n".to_owned(), "HTTP/1.0 200"),
    ] {
        let mut stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut answer = vec![0; begins.len()];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), begins);
    }
    assert_eq!(world.get("", "/healthz").await.status, 200);
    world.shutdown.request();
    assert!(world.shutdown.finished(std::time::Duration::from_secs(10)).await);
    assert!(tokio::net::TcpStream::connect(world.address).await.is_err());
    drop(world.token(Scope::Operator).await);
}
