//! Inboxes at custom domains, and creation that is repeated.

use crate::http::testing::{Answer, World};
use serde_json::{Value, json};

const INBOXES: &str = "/api/v1/inboxes";

async fn domain(world: &World, name: &str) -> String {
    world.post(&world.ours.token, "/api/v1/custom_domains", json!({"domain": name})).await.text("id")
}

/// As if a check had found its records.
async fn verify(world: &World, domain: &str) {
    let id = domain.to_owned();
    let sql = "UPDATE custom_domain SET status = 'verified' WHERE id = ?1";
    let store = &world.context.store;
    store.write(move |c| c.execute(sql, crate::store::params![id])).await.unwrap();
}

/// The inbox as lists show it.
fn without_emails(answer: &Answer) -> Value {
    let mut json = answer.json();
    for field in ["emails", "data", "meta"] {
        assert!(json.as_object_mut().unwrap().remove(field).is_some(), "{field} in {json}");
    }
    json
}

fn addresses(inbox: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let list = inbox["addresses"].as_array().unwrap().iter();
    list.map(|address| (text(&address["address"]), text(&address["status"]))).collect()
}

async fn create(world: &World, name: &str, domain: &str) -> Answer {
    world.post(&world.ours.token, INBOXES, json!({"inbox": {"name": name, "custom_domain_id": domain}})).await
}

#[tokio::test]
async fn a_name_that_is_not_free_on_the_platform_is_an_alias_at_the_custom_domain() {
    let world = World::new().await;
    let token = &world.ours.token;
    let (acme, other) = (domain(&world, "acme.com").await, domain(&world, "acme.org").await);
    world.post(&world.theirs.token, INBOXES, json!({"name": "sales"})).await;

    let free = create(&world, "Team", &acme).await;
    assert_eq!((free.status, free.text("name").as_str()), (201, "team"), "{}", free.json());
    assert_eq!(free.json()["default_domain_id"], acme.as_str());
    let wanted = [("team@inboxlayer.dev", "verified"), ("team@acme.com", "pending"), ("team@acme.org", "pending")];
    assert_eq!(addresses(&free.json()), wanted.map(|(address, status)| (address.into(), status.into())));

    for (local, status) in [("support", "pending"), ("sales", "verified")] {
        let made = create(&world, local, &acme).await;
        assert_eq!(made.status, 201, "{}", made.json());
        let (name, path) = (made.text("name"), format!("{INBOXES}/{}", made.text("id")));
        assert!(name.starts_with(&format!("{local}-")) && name.len() == local.len() + 5, "{name}");
        assert_eq!(made.text("platform_address"), format!("{name}@inboxlayer.dev"));
        let at_acme = format!("{local}@acme.com");
        let sender = if status == "verified" { at_acme.clone() } else { made.text("platform_address") };
        assert_eq!(made.text("email_address"), sender);
        assert!(addresses(&made.json()).contains(&(at_acme, status.into())));
        let aliases = world.get(token, &format!("{path}/aliases")).await.json();
        assert_eq!(aliases["data"][0]["address"], format!("{local}@acme.com"));
        assert_eq!(aliases["data"][0]["is_primary"], true);

        verify(&world, &acme).await;
        assert_eq!(world.get(token, &path).await.text("email_address"), format!("{local}@acme.com"));
        let listed = world.get(token, INBOXES).await.json();
        let listed =
            listed["data"].as_array().unwrap().iter().find(|inbox| inbox["name"] == name.as_str()).unwrap().clone();
        assert_eq!(listed, without_emails(&world.get(token, &path).await));
        // It leaves under the alias too.
        let identity = world.get(token, &format!("{path}/sending_identity")).await;
        assert_eq!(identity.text("from"), format!("{local}@acme.com"));
        // At another domain it may be wanted again, and at this one not.
        let again = create(&world, local, &acme).await;
        assert_eq!((again.status, again.code()), (409, "alias_has_name"));
        assert_eq!(create(&world, local, &other).await.status, 201);
    }
    let again = create(&world, "team", &other).await;
    assert_eq!((again.status, again.code(), again.text("existing_id")), (409, "inbox_exists", free.text("id")));
    for (body, field) in [
        (json!({"name": "x", "custom_domain_id": "dom_01jdczz0000000000000000000"}), "custom_domain_id"),
        (json!({"name": "x", "custom_domain_id": acme, "default_domain_id": acme}), "default_domain_id"),
        (json!({"name": "a+b", "custom_domain_id": acme}), "name"),
        (json!({"custom_domain_id": acme}), "name"),
    ] {
        let refused = world.post(token, INBOXES, body.clone()).await;
        assert_eq!((refused.status, refused.fields()), (422, vec![field.to_owned()]), "{body}");
    }
    let foreign = world.post(&world.theirs.token, INBOXES, json!({"name": "x", "custom_domain_id": acme})).await;
    assert_eq!((foreign.status, foreign.fields()), (422, vec!["custom_domain_id".to_owned()]));
}

#[tokio::test]
async fn a_client_id_makes_creation_idempotent() {
    let world = World::new().await;
    let token = &world.ours.token;
    let acme = domain(&world, "acme.com").await;
    for (path, body, other) in [
        (INBOXES, json!({"name": "ann", "client_id": "c-1"}), json!({"name": "ben", "client_id": "c-1"})),
        (
            INBOXES,
            json!({"name": "support", "custom_domain_id": acme, "client_id": "c-2"}),
            json!({"name": "ann", "client_id": "c-2"}),
        ),
        (
            "/api/v1/custom_domains",
            json!({"domain": "acme.org", "client_id": "c-1"}),
            json!({"domain": "acme.net", "client_id": "c-1"}),
        ),
    ] {
        let made = world.post(token, path, body.clone()).await;
        assert_eq!(made.status, 201, "{}", made.json());
        let again = world.post(token, path, body.clone()).await;
        assert_eq!((again.status, again.json()), (201, made.json()));
        assert_eq!(again.header("location"), made.header("location"));
        let used = world.post(token, path, other).await;
        assert_eq!((used.status, used.code(), used.text("existing_id")), (409, "client_id_used", made.text("id")));
    }
    // It is the account's, and free again with the inbox.
    let theirs = world.post(&world.theirs.token, INBOXES, json!({"name": "cyd", "client_id": "c-1"})).await;
    assert_eq!(theirs.status, 201);
    let list = world.get(token, INBOXES).await.json();
    let ann = list["data"].as_array().unwrap().iter().find(|inbox| inbox["name"] == "ann").unwrap();
    assert_eq!(world.delete(token, &format!("{INBOXES}/{}", ann["id"].as_str().unwrap())).await.status, 204);
    assert_eq!(world.post(token, INBOXES, json!({"name": "dan", "client_id": "c-1"})).await.status, 201);
    for bad in ["", "a\nb", &"x".repeat(129)] {
        let refused = world.post(token, INBOXES, json!({"name": "eve", "client_id": bad})).await;
        assert_eq!((refused.status, refused.fields()), (422, vec!["client_id".to_owned()]), "{bad}");
    }
}

#[tokio::test]
async fn a_disabled_inbox_takes_no_mail_and_sends_none() {
    let world = World::new().await;
    let token = &world.ours.token;
    let made = world.post(token, INBOXES, json!({"name": "ann"})).await;
    let (ann, path) = (made.text("id"), format!("{INBOXES}/{}", made.text("id")));
    let ben = world.post(token, INBOXES, json!({"name": "ben"})).await.text("id");
    let send = |from: &str, to: &str| {
        world.post(token, "/api/v1/emails/send", json!({"inbox_id": from, "to": to, "text_body": "x"}))
    };
    let ingest = || world.post(token, "/api/v1/emails", json!({"inbox_id": ann, "raw": "Subject: x\n\nx\n"}));
    let before = send(&ann, "ben@inboxlayer.dev").await.text("id");
    let set = |is_disabled: bool| world.patch(token, &path, json!({"is_disabled": is_disabled}));
    assert_eq!(made.json()["is_disabled"], false);
    assert_eq!(set(true).await.json()["is_disabled"], true);
    assert_eq!(world.get(token, &path).await.json()["is_disabled"], true);
    let reply = format!("/api/v1/emails/{before}/reply");
    for refused in [
        send(&ann, "ben@inboxlayer.dev").await,
        send(&ben, "ann@inboxlayer.dev").await,
        ingest().await,
        world.post(token, &reply, json!({"text_body": "x"})).await,
    ] {
        assert_eq!((refused.status, refused.code()), (409, "inbox_disabled"), "{}", refused.json());
    }
    // What is there can be read and changed.
    assert_eq!(world.get(token, &format!("/api/v1/emails/{before}")).await.status, 200);
    assert_eq!(world.delete(token, &format!("/api/v1/emails/{before}")).await.status, 204);
    assert_eq!(set(false).await.json()["is_disabled"], false);
    assert_eq!(send(&ann, "ben@inboxlayer.dev").await.status, 201);
    assert_eq!(send(&ben, "ann@inboxlayer.dev").await.status, 201);
    assert_eq!(ingest().await.status, 201);
}
