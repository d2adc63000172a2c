//! Device tokens for push notifications.

use crate::http::testing::World;
use crate::id::NotificationTokenId;
use crate::store::notification_tokens::{MAX_NOTIFICATION_TOKENS, NotificationToken};
use serde_json::json;

const PATH: &str = "/api/v1/notification_tokens";

#[tokio::test]
async fn a_device_is_registered_once() {
    let world = World::new().await;
    let token = &world.ours.token;
    let user = json!({"account_id": world.ours.account, "email": "ann@example.org", "password": "correct horse"});
    let user = world.post(&world.operator, "/api/v1/users", user).await.text("user_id");
    let log_in = json!({"email": "ann@example.org", "password": "correct horse"});
    let log_in = world.post("", "/api/v1/auth", log_in).await.text("token");

    let made = world.post(token, PATH, json!({"token": "device", "platform": "ios"})).await;
    assert_eq!((made.status, &made.json()["success"], &made.json()["user_id"]), (201, &json!(true), &json!(null)));
    let location = made.header("location").unwrap().to_owned();
    assert_eq!(location, format!("{PATH}/{}", made.text("id")));
    let again = json!({"notification_token": {"token": "device", "platform": "android"}});
    let again = world.post(&log_in, PATH, again).await;
    assert_eq!((again.status, again.text("id"), again.text("user_id")), (201, made.text("id"), user.clone()));
    let other = world.post(&log_in, PATH, json!({"token": "other", "platform": "web"})).await.text("id");
    let listed = world.get(token, PATH).await.json();
    let shown: Vec<_> =
        listed["data"].as_array().unwrap().iter().map(|one| (&one["token"], &one["platform"])).collect();
    assert_eq!(shown, [(&json!("device"), &json!("android")), (&json!("other"), &json!("web"))]);
    let page = world.get(token, &format!("{PATH}?per_page=1")).await;
    assert_eq!(page.json()["data"].as_array().unwrap().len(), 1);
    assert!(page.header("link").unwrap().contains(&made.text("id")));

    // Another account may have the same device.
    let theirs = world.post(&world.theirs.token, PATH, json!({"token": "device", "platform": "ios"})).await;
    assert_eq!(theirs.status, 201);
    assert_ne!(theirs.text("id"), made.text("id"));
    assert_eq!(world.delete(token, &location).await.status, 204);
    assert_eq!(world.delete(token, &location).await.status, 404);
    assert_eq!(world.delete(&world.operator, &format!("{PATH}/{other}")).await.status, 204);
    assert_eq!(world.get(token, PATH).await.json()["data"], json!([]));
    for (body, fields) in [
        (json!({}), vec!["token", "platform"]),
        (json!({"token": "", "platform": "ios"}), vec!["token"]),
        (json!({"token": "x".repeat(4097), "platform": "i\nos"}), vec!["token", "platform"]),
    ] {
        let refused = world.post(token, PATH, body).await;
        assert_eq!((refused.status, refused.fields()), (422, fields.into_iter().map(str::to_owned).collect()));
    }
}

#[tokio::test]
async fn an_account_has_so_many_devices() {
    let world = World::new().await;
    let (account, now) = (&world.ours.account, world.context.clock.now());
    for n in 0..MAX_NOTIFICATION_TOKENS {
        let new = NotificationToken {
            id: NotificationTokenId::new(),
            account: account.clone(),
            user: None,
            token: n.to_string(),
            platform: "ios".to_owned(),
            created_at: now,
            updated_at: now,
        };
        world.context.store.notification_token_register(new).await.unwrap();
    }
    let register = |device: &str| world.post(&world.ours.token, PATH, json!({"token": device, "platform": "ios"}));
    let refused = register("new").await;
    assert_eq!((refused.status, refused.code()), (403, "limit_reached"));
    assert_eq!(register("0").await.status, 201);
    let others = json!({"token": "new", "platform": "ios"});
    assert_eq!(world.post(&world.theirs.token, PATH, others).await.status, 201);
}
