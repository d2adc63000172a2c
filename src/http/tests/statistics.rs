//! Counts of emails over time.

use crate::clock::Timestamp;
use crate::http::testing::World;
use serde_json::json;

#[tokio::test]
async fn emails_are_counted_by_hour_and_by_day() {
    let world = World::new().await;
    let token = &world.ours.token;
    let inbox = world.post(token, "/api/v1/inboxes", json!({"name": "ann"})).await.text("id");
    for to in [["ann@inboxlayer.dev"], ["a@elsewhere.org"]] {
        let sent = json!({"to": to, "subject": "s", "text_body": "t"});
        assert_eq!(world.post(token, &format!("/api/v1/emails/send?inbox_id={inbox}"), sent).await.status, 201);
    }
    let of = async |query: &str| world.get(token, &format!("/api/v1/statistics{query}")).await.json();
    let by_hour = of("").await;
    assert_eq!(by_hour["total"], json!({"sent": 2, "delivered": 0, "deferred": 0, "bounced": 0, "received": 1}));
    let spans = by_hour["data"].as_array().unwrap();
    assert_eq!((spans.len(), by_hour["interval"].as_str()), (25, Some("hour")));
    assert!(spans.iter().all(|span| span["at"].as_str().unwrap().ends_with(":00:00.000Z")), "{by_hour}");
    // Within the last two, should the hour have just changed.
    let of_last = |field: &str| spans[23..].iter().filter_map(|span| span[field].as_u64()).sum::<u64>();
    assert_eq!((of_last("sent"), of_last("received")), (2, 1));
    assert_eq!(by_hour["complete_since"], json!(null));
    let by_day = of("?interval=day").await;
    assert_eq!((by_day["total"]["sent"].as_u64(), by_day["data"].as_array().unwrap().len()), (Some(2), 31));

    let theirs = world.get(&world.theirs.token, "/api/v1/statistics").await.json();
    assert_eq!(theirs["total"]["sent"], 0);
    let other = format!("/api/v1/statistics?account_id={}", world.ours.account);
    assert_eq!(world.get(&world.theirs.token, &other).await.status, 404);
    assert_eq!(world.get(&world.operator, &other).await.json()["total"]["sent"], 2);
    for (query, field) in [
        ("interval=week", "interval"),
        ("since=2020-01-01T00:00:00Z", "since"),
        ("since=2020-01-01T00:00:00Z&until=2020-01-01T00:00:00Z", "since"),
        ("until=x", "until"),
    ] {
        let refused = world.get(token, &format!("/api/v1/statistics?{query}")).await;
        assert_eq!((refused.status, refused.fields()), (422, vec![field.to_owned()]), "{query}");
    }
    // Ends are spans of their own.
    let within = of("?since=2020-01-01T00:30:00Z&until=2020-01-01T01:00:00.001Z").await;
    assert_eq!(within["until"], "2020-01-01T02:00:00.000Z");
    let ats: Vec<_> = within["data"].as_array().unwrap().iter().map(|span| span["at"].as_str().unwrap()).collect();
    assert_eq!(ats, ["2020-01-01T00:00:00.000Z", "2020-01-01T01:00:00.000Z"]);
    assert!(
        within["complete_since"].as_str().unwrap().parse::<Timestamp>().unwrap()
            > Timestamp::from_millis(1_577_836_800_000)
    );
}

#[tokio::test]
async fn operators_see_what_the_self_check_has_found() {
    let world = World::new().await;
    let path = "/api/v1/self_check";
    assert_eq!(world.get(&world.ours.token, path).await.status, 403);
    assert_eq!(world.get(&world.operator, path).await.json(), json!({"checked_at": null, "warnings": []}));
    let at = Timestamp::from_millis(0);
    let found = crate::http::SelfCheck { checked_at: Some(at), warnings: vec!["publish: x".into()] };
    world.context.readiness.self_checked(found);
    let shown = world.get(&world.operator, path).await.json();
    assert_eq!(shown, json!({"checked_at": at, "warnings": ["publish: x"]}));
}
