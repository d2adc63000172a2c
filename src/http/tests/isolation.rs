//! Every route with another account's token: the account's resources look to it as if they did not exist.

use crate::http::testing::{Answer, World};
use crate::store::testing::put;
use serde_json::{Value, json};

/// Every path of the router with each of its methods; `{…}` is an id.
const ROUTES: &[(&str, &str)] = &[
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/api/v1/custom_domains"),
    ("POST", "/api/v1/custom_domains"),
    ("GET", "/api/v1/custom_domains/{domain}"),
    ("PATCH", "/api/v1/custom_domains/{domain}"),
    ("DELETE", "/api/v1/custom_domains/{domain}"),
    ("POST", "/api/v1/custom_domains/{domain}/verify"),
    ("GET", "/api/v1/custom_domains/{domain}/zone_file"),
    ("GET", "/api/v1/custom_domains/{domain}/checks"),
    ("GET", "/api/v1/custom_domains/{domain}/events"),
    ("GET", "/api/v1/custom_domains/{domain}/dkim_keys"),
    ("POST", "/api/v1/custom_domains/{domain}/rotate_key"),
    ("GET", "/api/v1/accounts"),
    ("POST", "/api/v1/accounts"),
    ("GET", "/api/v1/accounts/{account}"),
    ("GET", "/api/v1/tokens"),
    ("POST", "/api/v1/tokens"),
    ("GET", "/api/v1/tokens/{token}"),
    ("DELETE", "/api/v1/tokens/{token}"),
    ("GET", "/api/v1/inboxes"),
    ("POST", "/api/v1/inboxes"),
    ("GET", "/api/v1/inboxes/{inbox}"),
    ("PATCH", "/api/v1/inboxes/{inbox}"),
    ("DELETE", "/api/v1/inboxes/{inbox}"),
    ("GET", "/api/v1/inboxes/{inbox}/aliases"),
    ("POST", "/api/v1/inboxes/{inbox}/aliases"),
    ("DELETE", "/api/v1/inboxes/{inbox}/aliases/{alias}"),
    ("GET", "/api/v1/inboxes/{inbox}/messages"),
    ("POST", "/api/v1/inboxes/{inbox}/messages"),
    ("GET", "/api/v1/inboxes/{inbox}/messages/{message}"),
    ("GET", "/api/v1/inboxes/{inbox}/messages/{message}/raw"),
    ("GET", "/api/v1/inboxes/{inbox}/sending_identity"),
    ("GET", "/api/v1/queue"),
    ("GET", "/api/v1/queue/{submission}"),
    ("DELETE", "/api/v1/queue/{submission}"),
    ("POST", "/api/v1/queue/{submission}/retry"),
    ("GET", "/api/v1/dkim_zone"),
];

/// An id of each kind.
struct Ids(Vec<(&'static str, String)>);

impl Ids {
    fn path(&self, template: &str) -> String {
        self.0.iter().fold(template.to_owned(), |path, (kind, id)| path.replace(&format!("{{{kind}}}"), id))
    }

    fn with(&self, kind: &'static str, id: &str) -> Self {
        Self(self.0.iter().map(|(k, old)| (*k, if *k == kind { id.to_owned() } else { old.clone() })).collect())
    }

    fn get(&self, kind: &str) -> &str {
        &self.0.iter().find(|(k, _)| *k == kind).unwrap().1
    }
}

fn nobodys() -> Ids {
    let id = |prefix: &str| format!("{prefix}_01jdczz0000000000000000000");
    Ids(vec![
        ("domain", id("dom")),
        ("account", id("acc")),
        ("token", id("tok")),
        ("inbox", id("inb")),
        ("alias", id("ali")),
        ("message", id("msg")),
        ("submission", id("sub")),
    ])
}

/// One resource of every kind, for the account of `token`.
async fn belongings(world: &World, account: &crate::id::AccountId, token: &str, name: &str) -> Ids {
    let inbox = world.post(token, "/api/v1/inboxes", json!({"name": name})).await.text("id");
    let host = format!("{name}-mail.com");
    let domain = world.post(token, "/api/v1/custom_domains", json!({"domain": host})).await.text("id");
    let alias = json!({"address": format!("help@{host}")});
    let alias = world.post(token, &format!("/api/v1/inboxes/{inbox}/aliases"), alias).await.text("id");
    let key = world.post(token, "/api/v1/tokens", json!({"name": "second"})).await.text("id");
    let submitted = json!({"to": ["a@elsewhere.org"], "text": "secret"});
    let submission = world.post(token, &format!("/api/v1/inboxes/{inbox}/messages"), submitted).await.text("id");
    let message = put(&world.context.store, &inbox.parse().unwrap(), b"Subject: secret\r\n\r\nx\r\n").await;
    Ids(vec![
        ("domain", domain),
        ("account", account.to_string()),
        ("token", key),
        ("inbox", inbox),
        ("alias", alias),
        ("message", message.id.to_string()),
        ("submission", submission),
    ])
}

/// A valid body for the route.
fn body(method: &str, template: &str) -> Value {
    match (method, template) {
        ("PATCH", "/api/v1/custom_domains/{domain}") => json!({"is_default": true}),
        ("PATCH", _) => json!({"default_domain_id": null}),
        (_, "/api/v1/inboxes/{inbox}/aliases") => json!({"address": "new@ours-mail.com"}),
        (_, "/api/v1/inboxes/{inbox}/messages") => json!({"to": ["a@elsewhere.org"], "text": "x"}),
        _ => json!({}),
    }
}

async fn ask(world: &World, token: &str, method: &str, path: &str, body: &Value) -> Answer {
    World::send(world.request(method, token, path).json(body)).await
}

/// Everything visible in a response, except the date and the request's id.
fn seen(answer: &Answer) -> (u16, String, String) {
    let headers = answer.headers.iter().filter(|(name, _)| !["date", "x-request-id"].contains(&name.as_str()));
    let headers: Vec<_> = headers.map(|(name, value)| format!("{name}: {value:?}")).collect();
    (answer.status, headers.join("\n"), String::from_utf8_lossy(&answer.body).into_owned())
}

#[test]
fn the_table_lists_every_path_of_the_router() {
    let shape =
        |path: &str| path.split('/').map(|s| if s.starts_with('{') { "{}" } else { s }).collect::<Vec<_>>().join("/");
    let source = include_str!("../router.rs").split("#[cfg(test)]").next().unwrap();
    let paths: Vec<_> =
        source.split('"').filter(|text| text.starts_with("/api/") || text.starts_with("/health")).collect();
    assert!(paths.len() > 10);
    for path in paths {
        assert!(ROUTES.iter().any(|(_, template)| shape(template) == shape(path)), "{path} is not in the table");
    }
}

#[tokio::test]
async fn another_accounts_resources_look_nonexistent() {
    let world = World::new().await;
    let token = world.theirs.token.clone();
    let ours = belongings(&world, &world.ours.account, &world.ours.token, "ours").await;
    let theirs = belongings(&world, &world.theirs.account, &token, "theirs").await;
    let nobodys = nobodys();
    let before = everything(&world, &ours).await;

    for (method, template) in ROUTES.iter().filter(|(_, template)| template.contains('{')) {
        let body = body(method, template);
        let missing = ask(&world, &token, method, &nobodys.path(template), &body).await;
        assert_eq!((missing.status, missing.code()), (404, "not_found"), "{method} {template}");
        let hidden = ask(&world, &token, method, &ours.path(template), &body).await;
        assert_eq!(seen(&hidden), seen(&missing), "{method} {template}");
        // The first account's message or alias under the second account's inbox.
        for inner in ["alias", "message"] {
            if template.contains(&format!("{{{inner}}}")) {
                let through = theirs.with(inner, ours.get(inner)).path(template);
                let hidden = ask(&world, &token, method, &through, &body).await;
                assert_eq!(seen(&hidden), seen(&missing), "{method} {template} under their inbox");
            }
        }
    }
    for (method, template) in ROUTES.iter().filter(|(_, template)| !template.contains('{')) {
        let answer = ask(&world, &token, method, template, &json!({})).await;
        let text = String::from_utf8(answer.body).unwrap();
        assert!(ours.0.iter().all(|(_, id)| !text.contains(id)), "{method} {template}: {text}");
    }
    assert_eq!(everything(&world, &ours).await, before, "the first account's data has changed");
}

#[tokio::test]
async fn ids_of_another_account_in_a_body_are_unknown() {
    let world = World::new().await;
    let token = world.theirs.token.clone();
    let ours = belongings(&world, &world.ours.account, &world.ours.token, "ours").await;
    let theirs = belongings(&world, &world.theirs.account, &token, "theirs").await;
    let nobodys = nobodys();
    for (method, template, field, kind) in [
        ("PATCH", "/api/v1/custom_domains/{domain}", "catch_all_inbox_id", "inbox"),
        ("PATCH", "/api/v1/inboxes/{inbox}", "default_domain_id", "domain"),
        ("POST", "/api/v1/custom_domains", "account_id", "account"),
        ("POST", "/api/v1/inboxes", "account_id", "account"),
        ("POST", "/api/v1/tokens", "account_id", "account"),
    ] {
        let with = |ids: &Ids| {
            let mut body = json!({field: ids.get(kind)});
            match template {
                "/api/v1/custom_domains" => body["domain"] = "new-mail.com".into(),
                "/api/v1/inboxes" => body["name"] = "new".into(),
                _ => {}
            }
            body
        };
        let path = theirs.path(template);
        let missing = ask(&world, &token, method, &path, &with(&nobodys)).await;
        let hidden = ask(&world, &token, method, &path, &with(&ours)).await;
        assert!(matches!(missing.status, 404 | 422), "{method} {template}: {}", missing.status);
        assert_eq!(seen(&hidden), seen(&missing), "{method} {template}");
    }
    for path in ["custom_domains", "inboxes", "tokens", "queue"] {
        let of = |account: &str| format!("/api/v1/{path}?account_id={account}");
        let missing = world.get(&token, &of(nobodys.get("account"))).await;
        let hidden = world.get(&token, &of(ours.get("account"))).await;
        assert_eq!((hidden.status, seen(&hidden)), (404, seen(&missing)), "{path}");
    }
    // A domain that another account claims can be claimed; the response does not differ.
    let again = world.post(&token, "/api/v1/custom_domains", json!({"domain": "ours-mail.com"})).await;
    assert_eq!((again.status, again.text("verified_status").as_str()), (201, "pending"));
}

/// Everything the account's own token sees of it.
async fn everything(world: &World, ours: &Ids) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    // Keys are generated in the background.
    let requested = |(method, path): &&(&str, &str)| *method == "GET" && !path.ends_with("/dkim_keys");
    for (method, template) in ROUTES.iter().filter(requested) {
        let answer = ask(world, &world.ours.token, method, &ours.path(template), &json!({})).await;
        assert!(matches!(answer.status, 200 | 403), "{template}: {}", answer.status);
        all.push(answer.body);
    }
    // The last use of a token is recorded with a delay.
    all.retain(|body| !String::from_utf8_lossy(body).contains("last_used_at"));
    all
}
