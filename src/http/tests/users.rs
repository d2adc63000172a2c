//! Users, their log-ins and passwords, and tokens with permissions.

use crate::auth::login::Scope;
use crate::config::Config;
use crate::http::router;
use crate::http::testing::{Answer, World};
use crate::store::tokens::NewToken;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const AUTH: &str = "/api/v1/auth";
const PASSWORD: &str = "correct horse battery";

/// A user of the first account: the id.
async fn user(world: &World, email: &str) -> String {
    let body = json!({"account_id": world.ours.account, "email": email, "first_name": "Ann", "last_name": "Lee", "password": PASSWORD});
    let made = world.post(&world.operator, "/api/v1/users", body).await;
    assert_eq!(made.status, 201, "{}", made.json());
    assert_eq!(made.json().get("password"), None);
    made.text("user_id")
}

async fn log_in(world: &World, email: &str, password: &str) -> Answer {
    world.post("", AUTH, json!({"email": email, "password": password})).await
}

#[tokio::test]
async fn a_user_logs_in_changes_the_password_and_logs_out() {
    let world = World::new().await;
    let id = user(&world, "Ann@Example.org").await;
    let [token, other] =
        [log_in(&world, "ann@example.org", PASSWORD).await, log_in(&world, " ANN@example.org", PASSWORD).await].map(
            |answer| {
                assert_eq!(answer.status, 200, "{}", answer.json());
                let fields: Vec<_> = answer.json().as_object().unwrap().keys().cloned().collect();
                assert_eq!(fields, ["expires_at", "name", "token"]);
                assert_eq!(answer.text("name"), "Ann Lee");
                answer.text("token")
            },
        );
    let me = world.get(&token, "/api/v1/me").await;
    assert_eq!((me.status, me.text("user_id"), me.text("email").as_str()), (200, id.clone(), "ann@example.org"));
    assert!(me.json()["id"].is_u64() && me.json().get("password").is_none(), "{}", me.json());
    // A token that no log-in made is of the account's first user.
    assert_eq!(world.get(&world.ours.token, "/api/v1/me").await.json(), me.json());
    assert_eq!((world.get(&world.theirs.token, "/api/v1/me").await.code()), "no_user");

    let change = |body: Value| World::send(world.request("PATCH", &token, "/api/v1/password").json(&body));
    for (body, field) in [
        (json!({"current_password": PASSWORD, "password": "short", "password_confirmation": "short"}), "password"),
        (
            json!({"current_password": PASSWORD, "password": "long enough", "password_confirmation": "other"}),
            "password_confirmation",
        ),
        (json!({"current_password": PASSWORD, "password_confirmation": "other"}), "password"),
    ] {
        let refused = change(json!({"user": body})).await;
        assert_eq!((refused.status, refused.fields()), (422, vec![field.to_owned()]));
    }
    let new = json!({"current_password": "wrong", "password": "long enough", "password_confirmation": "long enough"});
    let wrong = change(json!({"user": new})).await;
    assert_eq!((wrong.status, wrong.code()), (401, "invalid_credentials"));
    let new = json!({"current_password": PASSWORD, "password": "long enough", "password_confirmation": "long enough"});
    let changed = change(json!({"user": new})).await;
    assert_eq!((changed.status, changed.json()), (200, json!({"success": true})));
    assert_eq!(world.get(&token, "/api/v1/me").await.status, 200);
    assert_eq!(world.get(&other, "/api/v1/me").await.status, 401, "other log-ins end");
    assert_eq!(log_in(&world, "ann@example.org", PASSWORD).await.status, 401);
    assert_eq!(log_in(&world, "ann@example.org", "long enough").await.status, 200);

    let out = world.delete(&token, AUTH).await;
    assert_eq!((out.status, out.json()), (200, json!({"success": true})));
    assert_eq!(world.get(&token, "/api/v1/me").await.status, 401);
}

#[tokio::test]
async fn every_refused_log_in_is_the_same_and_guessing_is_limited() {
    let mut config = Config::default();
    config.limits.failed_logins = 4;
    let world = World::serving_with(config, router).await;
    let id = user(&world, "ann@example.org").await;
    let disabled = user(&world, "ben@example.org").await;
    let path = format!("/api/v1/users/{disabled}");
    assert_eq!(world.patch(&world.operator, &path, json!({"disabled": true})).await.status, 200);
    let seen = |answer: &Answer| (answer.status, answer.body.clone());
    let wrong = log_in(&world, "ann@example.org", "wrong").await;
    assert_eq!((wrong.status, wrong.code()), (401, "invalid_credentials"));
    for (email, password) in [("ben@example.org", PASSWORD), ("cyd@example.org", PASSWORD), ("", "")] {
        assert_eq!(seen(&log_in(&world, email, password).await), seen(&wrong), "{email}");
    }
    let limited = log_in(&world, "ann@example.org", PASSWORD).await;
    assert_eq!((limited.status, limited.code()), (429, "too_many_requests"));
    assert!(limited.header("retry-after").is_some());
    assert_eq!(world.get(&world.operator, &format!("/api/v1/users/{id}")).await.status, 200);
}

#[tokio::test]
async fn a_wrong_password_counts_though_the_client_hangs_up() {
    // As many as have memory at once.
    const HUNG_UP: u32 = 5;
    let mut config = Config::default();
    config.limits.failed_logins = HUNG_UP;
    let world = World::serving_with(config, router).await;
    user(&world, "ann@example.org").await;
    let body = json!({"email": "ann@example.org", "password": "wrong"}).to_string();
    let length = body.len();
    let request = format!(
        "POST {AUTH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    for _ in 0..HUNG_UP {
        let mut client = TcpStream::connect(world.address).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
    }
    // Log-ins that wait for their answers fail as well: alone, the limit would let as many pass.
    let mut refused = 0;
    while log_in(&world, "ann@example.org", "wrong again").await.status == 401 {
        refused += 1;
        assert!(refused < HUNG_UP, "those of clients that hung up do not count");
    }
    assert_eq!(log_in(&world, "ann@example.org", PASSWORD).await.status, 429);
}

#[tokio::test]
async fn disabling_a_user_and_setting_a_password_end_their_log_ins() {
    let world = World::new().await;
    let id = user(&world, "ann@example.org").await;
    let path = format!("/api/v1/users/{id}");
    let token = log_in(&world, "ann@example.org", PASSWORD).await.text("token");
    let disabled = world.patch(&world.ours.token, &path, json!({"disabled": true})).await;
    assert!(disabled.json()["disabled_at"].is_string(), "{}", disabled.json());
    assert_eq!(world.get(&token, "/api/v1/me").await.status, 401);
    assert_eq!(log_in(&world, "ann@example.org", PASSWORD).await.status, 401);
    world.patch(&world.ours.token, &path, json!({"disabled": false})).await;
    let token = log_in(&world, "ann@example.org", PASSWORD).await.text("token");
    let set = world.post(&world.operator, &format!("{path}/password"), json!({})).await;
    assert_eq!(set.text("password").len(), 20);
    assert_eq!(world.get(&token, "/api/v1/me").await.status, 401);
    assert_eq!(log_in(&world, "ann@example.org", &set.text("password")).await.status, 200);

    let again = json!({"account_id": world.theirs.account, "email": "ANN@example.org"});
    let again = world.post(&world.operator, "/api/v1/users", again).await;
    assert_eq!((again.status, again.code(), again.text("existing_id")), (409, "user_exists", id));
    let own = json!({"email": "cyd@example.org"});
    assert_eq!(world.post(&world.ours.token, "/api/v1/users", own).await.status, 403);
    assert_eq!(world.get(&world.ours.token, "/api/v1/users").await.json()["data"].as_array().unwrap().len(), 1);
    assert_eq!(world.get(&world.theirs.token, "/api/v1/users").await.json()["data"], json!([]));
    for (field, value) in
        [("email", "no address"), ("account_id", "acc_01jdczz0000000000000000000"), ("password", "short")]
    {
        let mut body = json!({"account_id": world.ours.account, "email": "dan@example.org"});
        body[field] = value.into();
        assert_eq!(world.post(&world.operator, "/api/v1/users", body).await.fields(), [field]);
    }
}

#[tokio::test]
async fn the_oldest_log_in_ends_where_a_user_has_too_many() {
    let world = World::new().await;
    let id = user(&world, "ann@example.org").await;
    let first = log_in(&world, "ann@example.org", PASSWORD).await.text("token");
    let user = Some(id.parse().unwrap());
    for hash in 1..=50 {
        assert_eq!(world.get(&first, "/api/v1/me").await.status, 200, "{hash}");
        let new = NewToken::new("log-in", Scope::Account(world.ours.account.clone()), [hash; 32]);
        let new = NewToken { user: user.clone(), ..new };
        world.context.store.token_create(new, 1, world.context.clock.now()).await.unwrap();
    }
    assert_eq!(world.get(&first, "/api/v1/me").await.status, 401);
}

#[tokio::test]
async fn a_token_with_permissions_does_no_more_and_gives_no_more() {
    let world = World::new().await;
    let token = &world.ours.token;
    let inbox = world.post(token, "/api/v1/inboxes", json!({"name": "ann"})).await.text("id");
    let make = |by: &str, permissions: Value| {
        let by = by.to_owned();
        let world = &world;
        async move { world.post(&by, "/api/v1/tokens", json!({"permissions": permissions})).await }
    };
    let made = make(token, json!(["inboxes:read", "tokens:write"])).await;
    assert_eq!((made.status, &made.json()["permissions"]), (201, &json!(["inboxes:read", "tokens:write"])));
    let limited = made.text("token");
    let inbox = format!("/api/v1/inboxes/{inbox}");
    let shown = world.get(&limited, &inbox).await;
    assert_eq!((shown.status, shown.json().get("emails")), (200, None));
    assert_eq!(world.get(token, &inbox).await.json()["emails"], json!([]));
    assert_eq!(world.get(&limited, "/api/v1/accounts").await.status, 200);
    for (method, path) in [
        ("DELETE", inbox.as_str()),
        ("POST", "/api/v1/inboxes"),
        ("GET", "/api/v1/custom_domains"),
        ("GET", "/api/v1/queue"),
        ("GET", "/api/v1/emails?inbox=inb_01jdczz0000000000000000000"),
    ] {
        let refused = World::send(world.request(method, &limited, path).json(&json!({}))).await;
        assert_eq!((refused.status, refused.code()), (403, "insufficient_permission"), "{method} {path}");
    }
    let inherits = world.post(&limited, "/api/v1/tokens", json!({})).await;
    assert_eq!(inherits.json()["permissions"], json!(["inboxes:read", "tokens:write"]));
    for (permissions, field) in [(json!(["messages:send"]), "permissions"), (json!(["fly"]), "permissions[0]")] {
        let refused = make(&limited, permissions).await;
        assert_eq!((refused.status, refused.fields()), (422, vec![field.to_owned()]));
    }
    assert_eq!(make(token, json!(null)).await.json()["permissions"], json!(null));
    let none = make(token, json!([])).await;
    assert_eq!(none.json()["permissions"], json!([]));
    assert_eq!(world.get(&none.text("token"), &inbox).await.status, 403);
}
