//! The limits of webhooks.

use super::Scene;
use crate::rest::Rest;
use crate::serve::rows;
use serde_json::json;

#[test]
fn subscriptions_and_waiting_deliveries_of_an_account() {
    let inside = "[webhooks]\nallow_networks = [\"127.0.0.0/8\"]";
    let scene = Scene::with(&format!("webhook_subscriptions = 1\nwebhook_deliveries = 2\n{inside}"));
    let api = Rest::new(&format!("http://{}", scene.daemon.http), &scene.token);
    // Nothing listens there.
    let body = json!({"url": "http://127.0.0.1:1/", "events": ["email.received"]});
    let subscribe = || api.post("/api/v1/webhook_subscriptions", body.clone());
    let path = format!("/api/v1/webhook_subscriptions/{}", subscribe().expect(201).at("/id"));
    assert_eq!(subscribe().expect(403).at("/code"), "limit_reached");
    for _ in 0..4 {
        let email = json!({"inbox_id": scene.inbox, "from": "a@elsewhere.example", "to": "b@elsewhere.example", "text_body": "x"});
        api.post("/api/v1/emails", email).expect(201);
    }
    let all = api.poll(&format!("{path}/deliveries"), |answer| rows(&answer.body).len() == 4);
    let of = |state| rows(&all.body).iter().filter(|row| row["state"] == state).collect::<Vec<_>>();
    assert_eq!((of("waiting").len(), of("failed").len()), (2, 2), "{}", all.text);
    let error = of("failed")[0]["attempts"][0]["error"].as_str().unwrap();
    assert!(error.contains("2 deliveries of this subscription were waiting"), "{error}");
    api.delete(&path).expect(204);
    subscribe().expect(201);
}

#[test]
fn octets_of_waiting_deliveries_of_an_account() {
    let inside = "[webhooks]\nallow_networks = [\"127.0.0.0/8\"]";
    // Half of them, 32 KiB, may wait.
    let scene = Scene::with(&format!("webhook_octets = 65536\n{inside}"));
    let api = Rest::new(&format!("http://{}", scene.daemon.http), &scene.token);
    // Nothing listens there.
    let body = json!({"url": "http://127.0.0.1:1/", "events": ["email.received"]});
    let webhook = api.post("/api/v1/webhook_subscriptions", body).expect(201);
    let path = format!("/api/v1/webhook_subscriptions/{}/deliveries", webhook.at("/id"));
    let mut random = 1_u32;
    let mut word = |_| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        format!("{:06x}\n", random >> 8)
    };
    for _ in 0..5 {
        // Some 8 KB when the event is compressed.
        let text: String = (0..1200).map(&mut word).collect();
        let email = json!({"inbox_id": scene.inbox, "from": "a@elsewhere.example", "to": "b@elsewhere.example", "text_body": text});
        api.post("/api/v1/emails", email).expect(201);
    }
    let all = api.poll(&path, |answer| rows(&answer.body).len() == 5);
    let of = |state| rows(&all.body).iter().filter(|row| row["state"] == state).collect::<Vec<_>>();
    assert!(of("waiting").len() >= 2 && !of("failed").is_empty(), "{}", all.text);
    for row in of("failed") {
        let error = row["attempts"][0]["error"].as_str().unwrap();
        assert!(error.contains("32 KiB of deliveries of this subscription were waiting"), "{error}");
    }
}
