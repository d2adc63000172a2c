//! The table of tools against the API's document, and the server over HTTP.

use super::tool::{Kind, Place, Shows, Tool};
use super::tools::TOOLS;
use super::{Api, router};
use crate::auth::login::Scope;
use crate::http;
use crate::http::testing::{Answer, World};
use axum::http::Method;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

fn served(context: http::HttpContext) -> axum::Router {
    let api = http::router(context.clone());
    let tools = Api { router: api.clone(), document: http::document, needed: http::needed };
    api.merge(http::behind_token(router(http::MCP, tools), &context))
}

async fn post(world: &World, token: &str, message: &Value) -> Answer {
    let request = world.request("POST", token, "/mcp").header("accept", "application/json, text/event-stream");
    World::send(request.json(message)).await
}

async fn call(world: &World, token: &str, tool: &str, arguments: Value) -> Value {
    let params = json!({"name": tool, "arguments": arguments});
    let answer =
        post(world, token, &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["result"].clone()
}

/// Arguments of the right types for all that a tool needs.
fn needed(tool: &Tool) -> Value {
    let value = |kind| match kind {
        Kind::Id(prefix) => json!(format!("{prefix}{}", "0".repeat(26))),
        Kind::Texts | Kind::Listed | Kind::Files => json!([]),
        Kind::Flag => json!(true),
        Kind::Number { min, .. } => json!(min),
        Kind::OneOf(words) => json!(words[0]),
        Kind::Text => json!("acme.org"),
    };
    let required = tool.parameters().filter(|parameter| parameter.is_required);
    Value::Object(required.map(|parameter| (parameter.name.to_owned(), value(parameter.kind))).collect())
}

#[test]
fn tools_are_operations_of_the_document_with_its_parameters_and_fields() {
    let document = http::document();
    let follow = |schema: &Value| match schema["$ref"].as_str() {
        Some(at) => document.pointer(at.trim_start_matches('#')).unwrap().clone(),
        None => schema.clone(),
    };
    // Also of the parts of an `allOf`, and of what may be null.
    let properties = |schema: &Value| {
        let schema = follow(schema);
        let mut found = Map::new();
        let parts = ["allOf", "oneOf"].into_iter().filter_map(|name| schema[name].as_array().cloned()).flatten();
        for part in parts.map(|part| follow(&part)).chain([schema.clone()]) {
            found.extend(part["properties"].as_object().cloned().unwrap_or_default());
        }
        found
    };
    for tool in &TOOLS {
        let operation = &document["paths"][tool.path][tool.method.as_str().to_lowercase()];
        assert!(operation.is_object(), "{}: {} {}", tool.name, tool.method, tool.path);
        let known = operation["parameters"].as_array().cloned().unwrap_or_default();
        let known = |place: &str, name: &str| known.iter().any(|one| one["in"] == place && one["name"] == name);
        let body = properties(&operation["requestBody"]["content"]["application/json"]["schema"]);
        for parameter in tool.parameters() {
            let is_there = match parameter.place {
                Place::Path => known("path", "id"),
                Place::Query(under) => known("query", under),
                Place::Body => body.contains_key(parameter.name),
                Place::IdempotencyKey => known("header", "Idempotency-Key"),
                Place::Offset => true,
            };
            assert!(is_there, "{}: {}", tool.name, parameter.name);
        }
        let names: BTreeSet<_> = tool.parameters().map(|parameter| parameter.name).collect();
        assert_eq!(names.len(), tool.parameters().count(), "{}: a parameter is there twice", tool.name);
        let picked = match &tool.shows {
            Shows::One(picked) | Shows::Page(_, picked) => picked,
            Shows::Email | Shows::Waited => &super::schema::WHOLE_EMAIL,
        };
        let mut fields = properties(&json!({"$ref": format!("#/components/schemas/{}", picked.schema)}));
        if picked.schema == "WholeEmail" {
            fields.extend(properties(&json!({"$ref": "#/components/schemas/Email"})));
        }
        for field in picked.fields {
            assert!(fields.contains_key(*field), "{}: {} has no {field}", tool.name, picked.schema);
        }
    }
    let names: BTreeSet<_> = TOOLS.iter().map(|tool| tool.name).collect();
    assert_eq!(names.len(), TOOLS.len());
}

#[test]
fn hints_go_by_the_method() {
    for tool in &TOOLS {
        let described = super::schema::described(tool, &http::document());
        let hints = described.annotations.unwrap();
        assert_eq!(hints.read_only_hint, Some(tool.method == Method::GET), "{}", tool.name);
        assert!(hints.destructive_hint.is_some() && hints.idempotent_hint.is_some() && hints.open_world_hint.is_some());
        let schema = Value::Object(described.output_schema.unwrap().as_ref().clone()).to_string();
        assert!(!schema.contains("$ref"), "{}: {schema}", tool.name);
    }
}

#[tokio::test]
async fn what_needs_the_whole_account_is_what_is_hidden_from_tokens_of_inboxes() {
    let world = World::serving(served).await;
    let token = world.token(Scope::Inboxes(world.ours.account.clone(), Vec::new())).await;
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let listed = post(&world, &token, &list).await.json()["result"]["tools"].as_array().unwrap().clone();
    for tool in &TOOLS {
        assert_eq!(listed.iter().all(|one| one["name"] != tool.name), tool.whole_account, "{}", tool.name);
        let result = call(&world, &token, tool.name, needed(tool)).await;
        let code = &result["structuredContent"]["code"];
        assert_eq!(code == "insufficient_scope", tool.whole_account, "{}: {result}", tool.name);
    }
}

#[tokio::test]
async fn what_another_account_owns_looks_as_if_it_did_not_exist() {
    let world = World::serving(served).await;
    let made = call(&world, &world.theirs.token, "create_inbox", json!({"name": "their-desk"})).await;
    let inbox = made["structuredContent"]["id"].as_str().unwrap().to_owned();
    let draft = json!({"inbox_id": inbox, "text_body": "x"});
    let made = call(&world, &world.theirs.token, "create_draft", draft).await;
    let email = made["structuredContent"]["id"].as_str().unwrap().to_owned();
    let made = call(&world, &world.theirs.token, "create_domain", json!({"domain": "theirs.com"})).await;
    let domain = made["structuredContent"]["id"].as_str().unwrap().to_owned();
    for tool in &TOOLS {
        let mut arguments = needed(tool);
        for parameter in tool.parameters().filter(|parameter| matches!(parameter.kind, Kind::Id(_))) {
            let id = match parameter.kind {
                Kind::Id("inb_") => &inbox,
                Kind::Id("dom_") if parameter.is_required => &domain,
                Kind::Id("msg_") => &email,
                _ => continue,
            };
            arguments[parameter.name] = json!(id);
        }
        if !tool
            .parameters()
            .any(|parameter| matches!(parameter.kind, Kind::Id(prefix) if prefix != "dom_" || parameter.is_required))
        {
            continue;
        }
        if tool.parameters().any(|parameter| parameter.name == "text_body") {
            arguments["text_body"] = json!("x");
            arguments["to"] = json!(["ann@example.org"]);
        }
        let result = call(&world, &world.ours.token, tool.name, arguments).await;
        assert_eq!(result["structuredContent"]["code"], "not_found", "{}: {result}", tool.name);
    }
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_unless_they_are_configured() {
    let mut config = crate::config::Config::default();
    config.http.cors_origins = vec!["https://app.example.com".to_owned()];
    let world = World::serving_with(config, served).await;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    for (origin, status) in
        [("https://app.example.com", 200), ("https://app.example.com.attacker.example", 403), ("null", 403)]
    {
        let request = world.request("POST", &world.ours.token, "/mcp").header("origin", origin);
        let request = request.header("accept", "application/json, text/event-stream").json(&ping);
        let answer = World::send(request).await;
        assert_eq!(answer.status, status, "{origin}");
        let allowed = answer.header("access-control-allow-origin");
        assert_eq!(allowed.is_some(), status == 200, "{origin}: {allowed:?}");
    }
}

#[tokio::test]
async fn a_malformed_call_is_an_error_with_its_id() {
    let world = World::serving(served).await;
    for (id, params) in [
        (json!(7), json!(5)),
        (json!("a"), json!(["list_inboxes"])),
        (json!(8), json!({})),
        (json!(9), json!({"name": 5})),
        (json!(10), json!({"name": {"name": "list_inboxes"}, "arguments": {}})),
        (json!(11), json!({"name": "list_inboxes", "arguments": [1]})),
        (json!(12), json!({"name": "list_inboxes", "arguments": "x"})),
        (json!(13), json!({"name": "no_such_tool"})),
    ] {
        let call = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
        let answer = post(&world, &world.ours.token, &call).await;
        let error = answer.json();
        assert_eq!(
            (answer.status, &error["id"], &error["error"]["code"]),
            (200, &id, &json!(-32602)),
            "{call}: {error}"
        );
        assert!(error["error"]["message"].as_str().is_some_and(|message| message.ends_with('.')), "{error}");
    }
    let without = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call"});
    assert_eq!(post(&world, &world.ours.token, &without).await.json()["error"]["code"], -32602);
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_inboxes", "arguments": null}});
    assert!(post(&world, &world.ours.token, &call).await.json()["result"].is_object());
}

#[tokio::test]
async fn an_email_that_is_read_says_who_it_is_from_and_what_was_checked() {
    let world = World::serving(served).await;
    let token = &world.ours.token;
    let inbox = call(&world, token, "create_inbox", json!({"name": "desk"})).await;
    let inbox = inbox["structuredContent"]["id"].as_str().unwrap().to_owned();
    let raw = "From: Ann <ann@x.org>\r\nSubject: x\r\n\r\nx\r\n";
    let email = world.post(token, "/api/v1/emails", json!({"inbox_id": inbox, "raw": raw})).await.text("id");
    let read = call(&world, token, "read_email", json!({"email_id": email})).await["structuredContent"].clone();
    assert_eq!((&read["header_from"], &read["envelope_from"]), (&json!("ann@x.org"), &json!("ann@x.org")), "{read}");
    for name in ["authentication", "verified_domain"] {
        assert_eq!(read.get(name), Some(&Value::Null), "{read}");
    }
}
