//! How far the check of a domain is, and its stream. The check itself is tested in `registry`.

use crate::http::testing::World;
use serde_json::json;
use std::time::Duration;

const PATH: &str = "/api/v1/custom_domains";
/// For what has to come; a test that fails ends.
const PATIENCE: Duration = Duration::from_secs(60);

struct Reading {
    response: reqwest::Response,
    text: String,
}

impl Reading {
    async fn open(world: &World, token: &str, path: &str) -> Self {
        let response = world.request("GET", token, path).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), response.headers()["content-type"].to_str().unwrap()),
            (200, "text/event-stream")
        );
        Self { response, text: String::new() }
    }

    /// The next event; `None`: the stream has ended.
    async fn event(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.replace('\n', " "), rest.to_owned());
                self.text = rest;
                if block != ":" {
                    return Some(block);
                }
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await.expect("a block").unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

#[tokio::test]
async fn a_stream_shows_what_happens_to_a_domain_and_ends_with_it() {
    let world = World::new().await;
    let token = &world.ours.token;
    let id = world.post(token, PATH, json!({"domain": "acme.com"})).await.text("id");
    let (path, changed) = (format!("{PATH}/{id}"), format!("event: custom_domain data: {{\"id\":\"{id}\"}}"));
    // No verifier runs here: what is due waits.
    let idle = world.get(token, &format!("{path}/check")).await;
    assert_eq!((idle.text("state").as_str(), &idle.json()["queries"]), ("idle", &json!(null)));
    assert_eq!(world.post(token, &format!("{path}/verify"), json!({})).await.status, 200);
    let waiting = json!({"state": "waiting", "name_servers": null, "queries": null, "answers": null});
    assert_eq!(world.get(token, &format!("{path}/check")).await.json(), waiting);
    let mut stream = Reading::open(&world, token, &format!("{path}/stream")).await;
    let first = stream.event().await.unwrap();
    assert!(first.starts_with("event: check data: ") && first.contains("\"state\":\"waiting\""), "{first}");
    world.patch(token, &path, json!({"on_unverified": "hold"})).await;
    assert_eq!(stream.event().await.as_ref(), Some(&changed));
    assert_eq!(world.delete(token, &path).await.status, 204);
    assert_eq!(stream.event().await, None);
}

#[tokio::test]
async fn a_stream_is_of_its_account_and_ends_with_its_token() {
    let world = World::new().await;
    let id = world.post(&world.ours.token, PATH, json!({"domain": "acme.com"})).await.text("id");
    for what in ["check", "stream"] {
        let path = format!("{PATH}/{id}/{what}");
        assert_eq!(world.get(&world.theirs.token, &path).await.status, 404);
        assert_eq!(world.get("", &path).await.status, 401);
    }
    let wrong = world.get(&world.ours.token, &format!("{PATH}/{id}/stream?timeout=0")).await;
    assert_eq!((wrong.status, wrong.fields()), (422, vec!["timeout".to_owned()]));
    let made = world
        .post(&world.ours.token, "/api/v1/tokens", json!({"name": "reader", "permissions": ["domains:read"]}))
        .await;
    let (token, own) = (made.text("token"), made.text("id"));
    let mut stream = Reading::open(&world, &token, &format!("{PATH}/{id}/stream")).await;
    assert!(stream.event().await.is_some());
    assert_eq!(world.delete(&world.ours.token, &format!("/api/v1/tokens/{own}")).await.status, 204);
    while stream.event().await.is_some() {}
}
