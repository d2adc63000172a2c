//! Every route with another account's token: the account's resources look to it as if they did not exist.

use crate::http::router::document;
use crate::http::testing::{Answer, World};
use crate::id::AccountId;
use crate::secret::Secret;
use crate::store::testing::put;
use crate::store::users::{NewUser, User};
use serde_json::{Value, json};

/// Every path of the router with each of its methods; `{…}` is an id.
fn routes() -> Vec<(String, String)> {
    let document = document();
    let paths = document["paths"].as_object().unwrap().iter();
    let all = paths.flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().keys();
        methods.map(move |method| (method.to_uppercase(), template(path)))
    });
    all.chain([("GET".to_owned(), "/api/v1/email_threads?inbox={inbox}".to_owned())]).collect()
}

/// A path of the document with what its ids are of.
pub(super) fn template(path: &str) -> String {
    let kinds = [
        ("custom_domains", "domain"),
        ("users", "user"),
        ("accounts", "account"),
        ("tokens", "token"),
        ("inboxes", "inbox"),
        ("aliases", "alias"),
        ("emails", "message"),
        ("email_threads", "thread"),
        ("mailbox_labels", "label"),
        ("drafts", "draft"),
        ("access_entries", "entry"),
        ("queue", "submission"),
        ("notification_tokens", "device"),
        ("webhook_subscriptions", "webhook"),
    ];
    let parts: Vec<&str> = path.split('/').collect();
    let named =
        parts.iter().enumerate().map(|(at, part)| match kinds.iter().find(|(of, _)| at > 0 && *of == parts[at - 1]) {
            Some((_, kind)) if part.starts_with('{') => format!("{{{kind}}}"),
            None if part.starts_with('{') => "1".to_owned(),
            _ => (*part).to_owned(),
        });
    let named = named.collect::<Vec<_>>().join("/");
    let query = match path {
        "/api/v1/emails" => "?inbox={inbox}",
        "/api/v1/emails/search" => "?q=secret&inbox={inbox}",
        "/api/v1/emails/send" => "?inbox_id={inbox}",
        // An answer about the present changes by itself.
        "/api/v1/statistics" => "?since=2100-01-01T00:00:00Z&until=2100-01-02T00:00:00Z",
        // They end by themselves then.
        _ if path.ends_with("/stream") || path.ends_with("/wait") => "?timeout=1",
        _ => "",
    };
    named + query
}

const SECRET: &str = "Subject: secret\r\nContent-Type: image/png\r\n\r\nx\r\n";

/// An id of each kind.
pub(super) struct Ids(Vec<(&'static str, String)>);

impl Ids {
    pub(super) fn path(&self, template: &str) -> String {
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
        ("user", id("usr")),
        ("inbox", id("inb")),
        ("alias", id("ali")),
        ("message", id("msg")),
        ("submission", id("sub")),
        ("thread", id("thr")),
        ("label", id("lbl")),
        ("entry", id("ace")),
        ("device", id("ntk")),
        ("draft", id("msg")),
        ("webhook", id("whk")),
    ])
}

/// One resource of every kind, for the account of `token`.
pub(super) async fn belongings(world: &World, account: &AccountId, token: &str, name: &str) -> Ids {
    let inbox = world.post(token, "/api/v1/inboxes", json!({"name": name})).await.text("id");
    let host = format!("{name}-mail.com");
    let domain = world.post(token, "/api/v1/custom_domains", json!({"domain": host})).await.text("id");
    let alias = json!({"address": format!("help@{host}")});
    let alias = world.post(token, &format!("/api/v1/inboxes/{inbox}/aliases"), alias).await.text("id");
    let key = world.post(token, "/api/v1/tokens", json!({"name": "second"})).await.text("id");
    let user = user(world, account, &format!("{name}@{host}")).await;
    let submitted = json!({"to": ["a@elsewhere.org"], "text_body": "secret"});
    let submission = world.post(token, &format!("/api/v1/emails/send?inbox_id={inbox}"), submitted).await.text("id");
    let draft =
        world.post(token, &format!("/api/v1/inboxes/{inbox}/drafts"), json!({"subject": "secret"})).await.text("id");
    let label = world.post(token, "/api/v1/mailbox_labels", json!({"name": "secret"})).await.text("id");
    let entry = json!({"direction": "receive", "action": "block", "pattern": "spam.example"});
    let entry = world.post(token, "/api/v1/access_entries", entry).await.text("id");
    let device = json!({"token": "secret", "platform": "ios"});
    let device = world.post(token, "/api/v1/notification_tokens", device).await.text("id");
    let webhook = json!({"url": "https://app.example.com/secret", "events": ["email.received"]});
    let webhook = world.post(token, "/api/v1/webhook_subscriptions", webhook).await.text("id");
    let message = put(&world.context.store, &inbox.parse().unwrap(), SECRET.as_bytes()).await;
    let thread = world.get(token, &format!("/api/v1/emails/{}", message.id)).await.text("thread_id");
    Ids(vec![
        ("domain", domain),
        ("account", account.to_string()),
        ("token", key),
        ("user", user.id.to_string()),
        ("inbox", inbox),
        ("alias", alias),
        ("message", message.id.to_string()),
        ("submission", submission),
        ("thread", thread),
        ("label", label),
        ("entry", entry),
        ("device", device),
        ("draft", draft),
        ("webhook", webhook),
    ])
}

async fn user(world: &World, account: &AccountId, email: &str) -> User {
    let (email, password) = (email.to_owned(), Secret::new("hash"));
    let new =
        NewUser { account: account.clone(), email, first_name: String::new(), last_name: String::new(), password };
    world.context.store.user_create(new, world.context.clock.now()).await.unwrap()
}

/// A valid body for the route.
fn body(method: &str, template: &str) -> Value {
    match (method, template) {
        ("PATCH" | "PUT", "/api/v1/custom_domains/{domain}") => json!({"is_default": true}),
        (_, template) if template.ends_with("/link") => json!({}),
        (_, template) if template.ends_with("/reply") || template.ends_with("/forward") => {
            json!({"to": "a@elsewhere.org", "text_body": "x"})
        }
        (_, template) if template.contains("/drafts") => json!({"subject": "theirs"}),
        (_, template) if template.contains("mailbox_labels") => json!({"name": "theirs"}),
        (_, template) if template.starts_with("/api/v1/emails/{message}") => json!({"add_labels": ["seen-by-them"]}),
        ("PATCH", "/api/v1/users/{user}") => json!({"first_name": "x"}),
        (_, template) if template.ends_with("/redeliver") => json!({"since": "2020-01-01T00:00:00Z"}),
        ("PATCH" | "PUT", "/api/v1/webhook_subscriptions/{webhook}") => json!({"active": false}),
        ("PATCH", _) => json!({"default_domain_id": null}),
        (_, "/api/v1/inboxes/{inbox}/aliases") => json!({"address": "new@ours-mail.com"}),
        (_, "/api/v1/emails/send?inbox_id={inbox}") => json!({"to": ["a@elsewhere.org"], "text_body": "x"}),
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

#[tokio::test]
async fn another_accounts_resources_look_nonexistent() {
    let world = World::new().await;
    let token = world.theirs.token.clone();
    let ours = belongings(&world, &world.ours.account, &world.ours.token, "ours").await;
    let theirs = belongings(&world, &world.theirs.account, &token, "theirs").await;
    let nobodys = nobodys();
    let before = everything(&world, &ours).await;

    let routes = routes();
    assert!(routes.len() > 80, "{routes:?}");
    for (method, template) in routes.iter().filter(|(_, template)| template.contains('{')) {
        if template == "/api/v1/emails?inbox={inbox}" && method == "POST" {
            continue;
        }
        let body = body(method, template);
        let missing = ask(&world, &token, method, &nobodys.path(template), &body).await;
        assert_eq!((missing.status, missing.code()), (404, "not_found"), "{method} {template}");
        let hidden = ask(&world, &token, method, &ours.path(template), &body).await;
        assert_eq!(seen(&hidden), seen(&missing), "{method} {template}");
        // The first account's message or alias under the second account's inbox.
        for inner in ["alias", "message", "draft"] {
            if template.contains(&format!("{{{inner}}}")) {
                let through = theirs.with(inner, ours.get(inner)).path(template);
                let hidden = ask(&world, &token, method, &through, &body).await;
                assert_eq!(seen(&hidden), seen(&missing), "{method} {template} under their inbox");
            }
        }
    }
    for (method, template) in routes.iter().filter(|(_, template)| !template.contains('{')) {
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
        ("POST", "/api/v1/access_entries", "account_id", "account"),
        ("POST", "/api/v1/notification_tokens", "account_id", "account"),
        ("POST", "/api/v1/webhook_subscriptions", "account_id", "account"),
        ("POST", "/api/v1/access_entries", "inbox_id", "inbox"),
    ] {
        let with = |ids: &Ids| {
            let mut body = json!({field: ids.get(kind)});
            match template {
                "/api/v1/custom_domains" => body["domain"] = "new-mail.com".into(),
                "/api/v1/inboxes" => body["name"] = "new".into(),
                "/api/v1/notification_tokens" => {
                    body["token"] = "new".into();
                    body["platform"] = "ios".into();
                }
                "/api/v1/webhook_subscriptions" => body["url"] = "https://app.example.com/".into(),
                "/api/v1/access_entries" => {
                    body["direction"] = "send".into();
                    body["action"] = "block".into();
                    body["pattern"] = "*".into();
                }
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
    for path in [
        "custom_domains",
        "inboxes",
        "tokens",
        "queue",
        "access_entries",
        "notification_tokens",
        "webhook_subscriptions",
    ] {
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
    // Keys are generated in the background; a link needs no token.
    // The end of the log is that of all accounts.
    let is_of_log = |path: &str| path.starts_with("/api/v1/events") || path.ends_with("?timeout=1");
    let is_other =
        |path: &str| path.ends_with("/dkim_keys") || path.starts_with("/api/v1/attachments/") || is_of_log(path);
    let requested = |(method, path): &(String, String)| method == "GET" && !is_other(path);
    for (method, template) in routes().into_iter().filter(requested) {
        let answer = ask(world, &world.ours.token, &method, &ours.path(&template), &json!({})).await;
        assert!(matches!(answer.status, 200 | 403), "{template}: {}", answer.status);
        all.push(answer.body);
    }
    // The last use of a token is recorded with a delay.
    all.retain(|body| !String::from_utf8_lossy(body).contains("last_used_at"));
    all
}
