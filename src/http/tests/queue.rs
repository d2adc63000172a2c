//! Actions on what is in the queue, by filter.

use crate::http::testing::World;
use serde_json::{Value, json};

const ACTIONS: &str = "/api/v1/queue/actions";

/// An inbox of the first account with a message in the queue for each of the recipients: its id, and theirs.
async fn queued(world: &World, name: &str, rcpt_to: &[&str]) -> (String, Vec<String>) {
    let token = &world.ours.token;
    let inbox = world.post(token, "/api/v1/inboxes", json!({"name": name})).await.text("id");
    let mut ids = Vec::new();
    for to in rcpt_to {
        let body = json!({"inbox_id": inbox, "to": to, "text_body": "x"});
        ids.push(world.post(token, "/api/v1/emails/send", body).await.text("id"));
    }
    (inbox, ids)
}

#[tokio::test]
async fn deliveries_are_held_released_and_dropped_by_filter() {
    let world = World::new().await;
    let token = &world.ours.token;
    let (inbox, ids) = queued(&world, "ann", &["a@one.example", "b@one.example", "c@two.example"]).await;
    let act = async |token: &str, body: Value| {
        let answer = world.post(token, ACTIONS, body.clone()).await;
        assert_eq!(answer.status, 200, "{body}: {}", answer.json());
        assert_eq!(answer.json()["meta"], json!({"next_cursor": null}));
        answer.json()["matched"].as_u64().unwrap()
    };
    let operator = &world.operator;
    let of_inbox = json!({"action": "hold", "inbox_id": inbox, "domain": "ONE.example"});
    assert_eq!(act(operator, of_inbox).await, 2);
    let status = async |id: &str| world.get(token, &format!("/api/v1/emails/{id}")).await.text("status");
    assert_eq!((status(&ids[0]).await, status(&ids[2]).await), ("held".into(), "queued".into()));
    let shown = world.get(token, &format!("/api/v1/queue/{}", ids[0])).await.json();
    assert_eq!(
        (&shown["deliveries"][0]["on_hold"], &shown["deliveries"][0]["next_attempt_at"]),
        (&json!(true), &json!(null))
    );
    let retried = world.post(token, &format!("/api/v1/queue/{}/retry", ids[0]), json!({})).await;
    assert_eq!((retried.status, retried.code()), (409, "on_hold"));
    assert_eq!(world.post(token, &format!("/api/v1/queue/{}/retry", ids[2]), json!({})).await.status, 202);
    // Another account's are not there.
    assert_eq!(act(&world.theirs.token, json!({"action": "drop", "all": true})).await, 0);
    assert_eq!(act(&world.theirs.token, json!({"action": "drop", "inbox_id": inbox})).await, 0);
    assert_eq!(act(operator, json!({"action": "release", "id": ids[0]})).await, 1);
    let counts = json!({"action": "drop", "status": "held", "dry_run": true});
    assert_eq!((act(token, counts.clone()).await, act(token, counts).await), (1, 1));
    assert_eq!(act(token, json!({"action": "drop", "older_than": 3600})).await, 0);
    assert_eq!(act(token, json!({"action": "drop", "all": true})).await, 3);
    assert_eq!(status(&ids[0]).await, "dropped");
    assert_eq!(world.get(token, "/api/v1/queue").await.json()["data"], json!([]));
}

#[tokio::test]
async fn an_action_says_what_it_is_for() {
    let world = World::new().await;
    let token = &world.ours.token;
    for (body, field) in [
        (json!({"all": true}), "action"),
        (json!({"action": "lose", "all": true}), "action"),
        (json!({"action": "drop"}), "all"),
        (json!({"action": "drop", "all": true, "domain": "one.example"}), "all"),
        (json!({"action": "drop", "status": "sent"}), "status"),
        (json!({"action": "drop", "id": "inb_x", "domain": "one.example"}), "id"),
        (json!({"action": "drop", "error": "x".repeat(1001)}), "error"),
        (json!({"action": "drop", "all": true, "cursor": "x"}), "cursor"),
    ] {
        let refused = world.post(token, ACTIONS, body.clone()).await;
        assert_eq!((refused.status, refused.fields()), (422, vec![field.to_owned()]), "{body}");
    }
    for action in ["hold", "release"] {
        let refused = world.post(token, ACTIONS, json!({"action": action, "all": true})).await;
        assert_eq!((refused.status, refused.code()), (403, "insufficient_scope"), "{action}");
    }
}
