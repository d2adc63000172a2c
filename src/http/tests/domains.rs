//! The six documented endpoints. Verification itself is tested in `verifier`.

use crate::config::{Config, Provider};
use crate::events::Event;
use crate::http::router;
use crate::http::testing::World;
use serde_json::json;

const PATH: &str = "/api/v1/custom_domains";

#[tokio::test]
async fn a_domain_is_claimed_shown_listed_changed_and_deleted() {
    let world = World::new().await;
    let token = &world.ours.token;
    let made = world.post(token, PATH, json!({"domain": "Acme.COM."})).await;
    assert_eq!(made.status, 201, "{}", made.json());
    let path = format!("{PATH}/{}", made.text("id"));
    assert_eq!(made.header("location"), Some(path.as_str()));
    let json = made.json();
    assert_eq!((made.text("domain").as_str(), made.text("verified_status").as_str()), ("acme.com", "pending"));
    assert_eq!(json["capabilities"], json!({"sending": false, "receiving": false}));
    assert_eq!(json["dkim_tokens"].as_array().unwrap().len(), 3);
    assert_eq!((&json["catch_all_inbox_id"], &json["is_default"]), (&json!(null), &json!(false)));
    assert_eq!(json["on_unverified"], "fallback");
    for field in ["degraded_since", "verified_at", "last_checked_at"] {
        assert_eq!(json.get(field), Some(&json!(null)), "{field}");
    }
    for field in ["verdict", "created_at", "updated_at", "next_check_at", "window_ends_at"] {
        assert!(json[field].is_string(), "{field} in {json}");
    }
    let records = json["records"].as_array().unwrap();
    let of = |purpose: &str| records.iter().filter(|r| r["purpose"] == purpose).collect::<Vec<_>>();
    assert_eq!((of("dkim").len(), of("mx").len(), of("spf").len(), of("dmarc").len()), (3, 1, 1, 1));
    assert_eq!(of("mx")[0]["priority"], 10);
    assert_eq!(of("dkim")[0]["type"], "CNAME");
    for record in records {
        assert_eq!((&record["status"], &record["error"]), (&json!("not_checked"), &json!(null)));
        assert_eq!((&record["observed"], &record["checked_at"]), (&json!([]), &json!(null)));
        assert!(record["host_label"].is_string() && record["required"].is_boolean());
    }
    assert_eq!(world.get(token, &path).await.json(), json);
    let listed = world.get(token, PATH).await.json();
    assert_eq!(listed, json!([json]));

    let again = world.post(token, PATH, json!({"domain": "acme.com"})).await;
    assert_eq!((again.status, again.code(), again.text("existing_id")), (409, "domain_exists", made.text("id")));

    let inbox = world.post(token, "/api/v1/inboxes", json!({"name": "ann"})).await.text("id");
    let changed = world.patch(token, &path, json!({"is_default": true, "catch_all_inbox_id": inbox})).await;
    assert_eq!((changed.status, changed.text("catch_all_inbox_id")), (200, inbox.clone()));
    assert_eq!(changed.json()["is_default"], true);
    let changed = world.patch(token, &path, json!({"catch_all_inbox_id": null})).await.json();
    assert_eq!((&changed["catch_all_inbox_id"], &changed["is_default"]), (&json!(null), &json!(true)));
    for (body, field) in [
        (json!({"domain": "other.com"}), "domain"),
        (json!({"verified_status": "verified"}), "verified_status"),
        (json!({"is_default": "yes"}), "is_default"),
        (json!({"on_unverified": "explode"}), "on_unverified"),
        (json!({"catch_all_inbox_id": "x"}), "catch_all_inbox_id"),
    ] {
        let answer = world.patch(token, &path, body.clone()).await;
        assert_eq!((answer.status, answer.fields()), (422, vec![field.to_owned()]), "{body}");
    }

    let of_inbox = format!("/api/v1/inboxes/{inbox}");
    let default = world.patch(token, &of_inbox, json!({"default_domain_id": made.text("id")})).await;
    assert_eq!(default.text("default_domain_id"), made.text("id"));
    let mut heard = world.context.events.subscribe(&world.ours.account, usize::MAX).unwrap();
    assert_eq!(world.delete(token, &path).await.status, 204);
    assert!(
        matches!(heard.recv().await, Ok(Event::DomainDeleted { domain_id: id, .. }) if id.as_str() == made.text("id"))
    );
    assert_eq!(world.get(token, &path).await.status, 404);
    assert_eq!(world.get(token, &of_inbox).await.json()["default_domain_id"], json!(null));
}

#[tokio::test]
async fn names_that_cannot_be_claimed_are_rejected_with_the_reason() {
    let world = World::new().await;
    for (name, code) in [
        ("inboxlayer.dev", "platform_domain"),
        ("x.inboxlayer.dev", "platform_domain"),
        ("co.uk", "public_suffix"),
        ("com", "single_label"),
        ("192.0.2.1", "ip_literal"),
        ("acme.test", "special_use"),
        ("", "invalid_domain"),
        ("a b.com", "invalid_domain"),
    ] {
        let answer = world.post(&world.ours.token, PATH, json!({"domain": name})).await;
        assert_eq!((answer.status, answer.code()), (422, code), "{name}");
        assert_eq!(answer.fields(), ["domain"]);
        assert!(!answer.text("fix").is_empty());
    }
}

#[tokio::test]
async fn fields_of_the_published_api_may_repeat_what_the_service_makes() {
    let world = World::new().await;
    let token = &world.ours.token;
    let spf = world.context.config.records.spf.clone();
    let wanted =
        json!({"domain": "acme.com", "dkim_host": "", "dkim_value": null, "spf_host": "acme.com", "spf_value": spf});
    let made = world.post(token, PATH, json!({"custom_domain": wanted})).await;
    assert_eq!(made.status, 201, "{}", made.json());
    let json = made.json();
    assert_eq!((&json["dkim_host"], &json["dkim_value"]), (&json["records"][0]["name"], &json["records"][0]["value"]));
    for (field, value) in [
        ("dkim_host", "x._domainkey.acme.org"),
        ("dkim_value", "x"),
        ("spf_host", "acme.com"),
        ("spf_value", "v=spf1 -all"),
    ] {
        let other = world.post(token, PATH, json!({"domain": "acme.org", field: value})).await;
        assert_eq!((other.status, other.fields()), (422, vec![field.to_owned()]));
    }
    let path = format!("{PATH}/{}", made.text("id"));
    let put = |body| World::send(world.request("PUT", token, &path).json(&body));
    let whole = put(json!({"custom_domain": {
        "domain": "Acme.com", "is_default": true, "dkim_host": json["records"][2]["name"], "dkim_value": json["dkim_value"],
        "spf_host": "acme.com.", "spf_value": spf,
    }})).await;
    assert_eq!((whole.status, &whole.json()["is_default"]), (200, &json!(true)), "{}", whole.json());
    for (body, field) in [(json!({"spf_value": "v=spf1 -all"}), "spf_value"), (json!({"domain": "acme.org"}), "domain")]
    {
        let refused = put(body).await;
        assert_eq!((refused.status, refused.fields()), (422, vec![field.to_owned()]));
    }
}

#[tokio::test]
async fn verify_returns_the_object_at_once_and_at_most_once_in_ten_seconds() {
    let world = World::new().await;
    let token = &world.ours.token;
    let path = format!("{PATH}/{}", world.post(token, PATH, json!({"domain": "acme.com"})).await.text("id"));
    let verify = format!("{path}/verify");
    // The first check, as curl sends it: no body, no content type.
    let answer = World::send(world.request("POST", token, &verify)).await;
    assert_eq!((answer.status, answer.text("verified_status").as_str()), (200, "pending"), "{}", answer.json());
    let unknown = world.post(token, &verify, json!({"force": true})).await;
    assert_eq!((unknown.status, unknown.fields()), (422, vec!["force".to_owned()]));
}

#[tokio::test]
async fn an_operator_acts_for_the_named_account() {
    let world = World::new().await;
    let requested = world.get(&world.operator, PATH).await;
    assert_eq!((requested.status, requested.fields()), (422, vec!["account_id".to_owned()]));
    let body = json!({"domain": "acme.com", "account_id": world.ours.account});
    let made = world.post(&world.operator, PATH, body).await;
    assert_eq!(made.status, 201);
    let path = format!("{PATH}/{}", made.text("id"));
    assert_eq!(world.get(&world.ours.token, &path).await.json(), world.get(&world.operator, &path).await.json());
    let unknown = json!({"domain": "acme.org", "account_id": "acc_01jdczz0000000000000000000"});
    assert_eq!(world.post(&world.operator, PATH, unknown).await.fields(), ["account_id"]);
    assert_eq!(world.delete(&world.operator, &path).await.status, 204);
}

#[tokio::test]
async fn the_history_is_paginated_and_the_records_are_available_as_a_zone_file() {
    let world = World::new().await;
    let token = &world.ours.token;
    let path = format!("{PATH}/{}", world.post(token, PATH, json!({"domain": "acme.com"})).await.text("id"));
    let checks = world.get(token, &format!("{path}/checks")).await;
    assert_eq!((checks.status, checks.json()), (200, json!({"data": [], "meta": {"next_cursor": null}})));
    let events = world.get(token, &format!("{path}/events?per_page=1")).await.json();
    let created = &events["data"][0];
    assert_eq!(
        (&created["from"], &created["to"], &created["cause"]),
        (&json!(null), &json!("pending"), &json!("created"))
    );
    assert_eq!(
        (&created["number"], &created["records"], &events["meta"]["next_cursor"]),
        (&json!(1), &json!([]), &json!(null))
    );
    assert!(created["at"].is_string() && created["message"].is_string());
    for (query, field) in [("cursor=x", "cursor"), ("limit=0", "limit"), ("since=1", "since")] {
        let wrong = world.get(token, &format!("{path}/events?{query}")).await;
        assert_eq!((wrong.status, wrong.fields()), (422, vec![field.to_owned()]));
    }

    let file = world.get(token, &format!("{path}/zone_file")).await;
    assert_eq!((file.status, file.header("content-type")), (200, Some("text/plain; charset=utf-8")));
    let text = String::from_utf8(file.body).unwrap();
    assert!(text.contains("\n$ORIGIN acme.com.\n") && text.contains("\n@ IN MX 10 smtp.inboxlayer.dev.\n"), "{text}");
}

#[tokio::test]
async fn with_amazon_ses_keys_cannot_be_listed_or_rotated() {
    let mut config = Config::default();
    config.dkim.provider = Provider::Ses;
    let world = World::serving_with(config, router).await;
    let path =
        format!("{PATH}/{}", world.post(&world.ours.token, PATH, json!({"domain": "acme.com"})).await.text("id"));
    let (keys, rotate) = (format!("{path}/dkim_keys"), format!("{path}/rotate_key"));
    for answer in [
        world.post(&world.ours.token, &rotate, json!({})).await,
        world.get(&world.ours.token, &keys).await,
        world.get(&world.operator, "/api/v1/dkim_zone").await,
    ] {
        assert_eq!((answer.status, answer.code()), (409, "keys_at_provider"), "{}", answer.json());
        assert!(answer.text("detail").contains("which it rotates itself"), "{}", answer.json());
        assert!(answer.text("fix").starts_with("No action is needed"), "{}", answer.json());
    }
    // Other accounts learn nothing.
    assert_eq!(world.post(&world.theirs.token, &rotate, json!({})).await.status, 404);
    assert_eq!(world.get(&world.theirs.token, &keys).await.status, 404);
    assert_eq!(world.get(&world.ours.token, "/api/v1/dkim_zone").await.status, 403);
}
