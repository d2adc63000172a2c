//! Events with the newest first, and those of one email.

use super::events::{inbox, list, types, write_to_itself};
use crate::http::testing::World;
use serde_json::json;

#[tokio::test]
async fn the_newest_are_first_where_that_is_asked_for_and_an_email_has_its_own() {
    let world = World::new().await;
    let ann = inbox(&world, "ann").await;
    let ben = inbox(&world, "ben").await;
    write_to_itself(&world, &ann, "ann", "one").await;
    let all = list(&world, "").await;
    let (id, received) = (all["data"][1]["id"].as_str().unwrap(), &all["data"][2]);

    // The newest first, one after another.
    let (mut before, mut back) = (String::new(), Vec::new());
    loop {
        let page = list(&world, &format!("?order=desc&limit=1{before}")).await;
        before = format!("&before={}", page["meta"]["next_cursor"].as_str().unwrap());
        back.extend(page["data"].as_array().unwrap().clone());
        if page["meta"]["has_more"] == false {
            break;
        }
    }
    back.reverse();
    assert_eq!(json!(back), all["data"]);
    assert_eq!(
        types(&list(&world, "?order=desc").await),
        ["email.sent", "email.received", "inbox.created", "inbox.created"]
    );
    assert_eq!(types(&list(&world, &format!("?order=desc&before={id}")).await), ["inbox.created"]);
    assert_eq!(types(&list(&world, &format!("?order=desc&inbox_id={ben}")).await), ["inbox.created"]);
    assert_eq!(types(&list(&world, "?order=desc&before=evt_9000000000000000000-1&limit=1").await), ["email.sent"]);

    // Of one email.
    let email = received["data"]["id"].as_str().unwrap();
    let sent = all["data"][3]["data"]["id"].as_str().unwrap();
    assert_ne!(email, sent);
    for (query, expected) in [
        (format!("?email_id={email}"), "email.received"),
        (format!("?email_id={sent}&inbox_id={ann}"), "email.sent"),
        (format!("?email_id={sent}&order=desc"), "email.sent"),
    ] {
        assert_eq!(types(&list(&world, &query).await), [expected], "{query}");
    }

    for (query, field) in [
        ("?order=down", "order"),
        ("?order=desc&after=evt_0-0", "after"),
        ("?before=evt_0-0", "before"),
        ("?order=desc&before=2026-11-30T00:00:00Z", "before"),
        ("?email_id=1", "email_id"),
    ] {
        let refused = world.get(&world.ours.token, &format!("/api/v1/events{query}")).await;
        assert_eq!((refused.status, refused.fields()), (422, vec![field.to_owned()]), "{query}");
    }
}
