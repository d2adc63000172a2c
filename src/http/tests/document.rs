//! The document against the routes: its references resolve, and routes take the fields and parameters that it names and no others.

use super::isolation::{belongings, template};
use crate::http::router::document;
use crate::http::testing::World;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Each operation: method, path, description.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let all = paths.flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter();
        methods.map(move |(method, operation)| (method.to_uppercase(), path.clone(), operation.clone()))
    });
    all.collect()
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn the_document_is_whole() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 50);
    for reference in &found {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference} is not there");
    }
    for name in document["components"]["responses"].as_object().unwrap().keys() {
        assert!(found.contains(&format!("#/components/responses/{name}")), "no operation has the refusal {name}");
    }
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        assert!(ids.insert(operation["operationId"].to_string()), "{method} {path}: the id is not unique: {operation}");
        assert!(
            operation["summary"].as_str().is_some_and(|text| text.len() > 5 && !text.contains('\n')),
            "{method} {path}"
        );
        assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{method} {path}");
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let named = parameters.iter().filter(|parameter| parameter["in"] == "path").map(|parameter| &parameter["name"]);
        let named: Vec<_> = named.map(|name| format!("{{{}}}", name.as_str().unwrap())).collect();
        let in_path: Vec<_> = path.split('/').filter(|part| part.starts_with('{')).collect();
        assert_eq!(named, in_path, "{method} {path}");
        for (status, response) in operation["responses"].as_object().unwrap() {
            let is_described =
                response.get("$ref").is_some() || response["description"].as_str().is_some_and(|text| !text.is_empty());
            assert!(is_described, "{method} {path} {status}");
        }
    }
}

/// The names after `known:` in the message about the field `unknown_field`.
fn known(answer: &Value) -> Option<BTreeSet<String>> {
    let errors = answer["errors"].as_array()?;
    let error = errors.iter().find(|error| error["field"] == "unknown_field")?;
    let (_, names) = error["message"].as_str()?.split_once("known: ")?;
    Some(names.split(", ").filter(|name| *name != "none").map(str::to_owned).collect())
}

/// The plain form of a body, and the name that it may be wrapped in.
fn body(document: &Value, operation: &Value) -> Option<(Map<String, Value>, Option<String>)> {
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    let resolve = |schema: &Value| match schema["$ref"].as_str() {
        Some(reference) => document.pointer(&reference[1..]).unwrap()["properties"].as_object().cloned(),
        None => None,
    };
    let forms: Vec<&Value> = match schema["oneOf"].as_array() {
        Some(forms) => forms.iter().filter(|form| form["type"] != "null").collect(),
        None => vec![schema],
    };
    let plain = forms.iter().find_map(|form| resolve(form))?;
    let wrapper = forms.iter().find_map(|form| form["required"][0].as_str().map(str::to_owned));
    Some((plain, wrapper))
}

#[tokio::test]
async fn routes_take_the_fields_of_the_document_and_no_others() {
    let world = World::new().await;
    let token = &world.ours.token;
    let ours = belongings(&world, &world.ours.account, token, "ours").await;
    let (document, mut bodies) = (document(), 0);
    for (method, path, operation) in operations(&document) {
        let Some((fields, wrapper)) = body(&document, &operation) else {
            assert!(operation.get("requestBody").is_none(), "{method} {path} has a body that is not an object");
            continue;
        };
        bodies += 1;
        let token = if operation["description"].as_str().is_some_and(|text| text.contains("For operators")) {
            &world.operator
        } else {
            token
        };
        let target = ours.path(&template(&path));
        let plain = json!({"unknown_field": 1});
        let wrapped = wrapper.map(|name| json!({name: {"unknown_field": 1}}));
        for body in [Some(plain), wrapped].into_iter().flatten() {
            let answer = World::send(world.request(&method, token, &target).json(&body)).await;
            let named = known(&answer.json()).unwrap_or_else(|| panic!("{method} {path} {body}: {}", answer.json()));
            let documented: BTreeSet<String> = fields.keys().cloned().collect();
            assert_eq!(named, documented, "{method} {path} {body}");
        }
    }
    assert!(bodies > 25, "{bodies}");
}

#[tokio::test]
async fn routes_take_the_parameters_of_the_document_and_no_others() {
    let world = World::new().await;
    let token = &world.ours.token;
    let ours = belongings(&world, &world.ours.account, token, "ours").await;
    for (method, path, operation) in operations(&document()) {
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let in_query = parameters.iter().filter(|parameter| parameter["in"] == "query");
        let documented: BTreeSet<String> = in_query.map(|one| one["name"].as_str().unwrap().to_owned()).collect();
        let target = ours.path(&template(&path));
        let and = if target.contains('?') { '&' } else { '?' };
        let request = world.request(&method, token, &format!("{target}{and}unknown_field=1"));
        // Bodies are another test's.
        let has_body = operation.get("requestBody").is_some();
        if method == "GET" || (!documented.is_empty() && has_body) {
            let answer = World::send(if has_body { request.json(&json!({})) } else { request }).await;
            assert_eq!(known(&answer.json()).unwrap_or_default(), documented, "{method} {path}: {}", answer.json());
        }
    }
}

/// Where an answer is not as its schema says.
fn faults(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        return faults(document, document.pointer(&reference[1..]).unwrap(), value, at);
    }
    let list = |name: &str| schema[name].as_array().cloned().unwrap_or_default();
    let mut found: Vec<String> = list("allOf").iter().flat_map(|part| faults(document, part, value, at)).collect();
    let forms = [list("oneOf"), list("anyOf")].concat();
    if !forms.is_empty() && !forms.iter().any(|form| faults(document, form, value, at).is_empty()) {
        found.push(format!("{at} is none of its forms: {value}"));
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.clone(),
        Value::Null => vec![],
        kind => vec![kind.clone()],
    };
    if !kinds.is_empty() && !kinds.iter().any(|one| *one == kind) {
        found.push(format!("{at} is {kind} for {kinds:?}"));
    }
    if let Some(map) = value.as_object() {
        let missing = list("required").into_iter().filter(|name| !map.contains_key(name.as_str().unwrap()));
        found.extend(missing.map(|name| format!("{at} has no {name}")));
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            if let Some(value) = map.get(name) {
                found.extend(faults(document, property, value, &format!("{at}.{name}")));
            }
        }
    }
    if let (Some(values), false) = (value.as_array(), schema["items"].is_null()) {
        found.extend(values.iter().flat_map(|value| faults(document, &schema["items"], value, &format!("{at}[]"))));
    }
    found
}

#[tokio::test]
async fn answers_have_the_fields_that_the_document_requires() {
    let world = World::new().await;
    let token = &world.ours.token;
    let ours = belongings(&world, &world.ours.account, token, "ours").await;
    let (document, mut answers) = (document(), 0);
    for (method, path, operation) in operations(&document).into_iter().filter(|(method, ..)| method == "GET") {
        let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
        let answer = world.get(token, &ours.path(&template(&path))).await;
        if schema.is_null() || answer.status != 200 {
            continue;
        }
        answers += 1;
        let found = faults(&document, schema, &answer.json(), "");
        assert!(found.is_empty(), "{method} {path}: {found:?}: {}", answer.json());
    }
    assert!(answers > 25, "{answers}");
    let required = |name: &str, field: &str| {
        let required = &document["components"]["schemas"][name]["required"];
        required.as_array().is_some_and(|all| all.contains(&json!(field)))
    };
    // What may be null is there; what may be left out is not null; a request may leave out what is optional.
    for (name, field, is_required) in [
        ("Inbox", "default_domain_id", true),
        ("Token", "expires_at", true),
        ("CustomDomain", "catch_all_inbox_id", true),
        ("EmailDelivery", "send_at", true),
        ("Email", "thread_id", true),
        ("SendResult", "fallback", true),
        ("SendResult", "provider_message_id", false),
        ("User", "password", false),
        ("Problem", "existing_id", false),
        ("InboxInput", "client_id", false),
    ] {
        assert_eq!(required(name, field), is_required, "{name}.{field}");
        let schema = &document["components"]["schemas"][name]["properties"][field];
        assert!(!schema.is_null(), "{name} has no {field}");
    }
}

#[tokio::test]
async fn the_document_is_served_in_both_forms() {
    let world = World::new().await;
    for (path, content_type) in [("/openapi.json", "application/json"), ("/api/docs", "text/html; charset=utf-8")] {
        let answer = world.get("", path).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(content_type)), "{path}");
        let etag = answer.header("etag").unwrap();
        let head = World::send(world.request("HEAD", "", path)).await;
        assert_eq!((head.status, head.body.len(), head.header("etag")), (200, 0, Some(etag)), "{path}");
        assert_eq!(head.header("content-length"), Some(answer.body.len().to_string().as_str()), "{path}");
        let known =
            World::send(world.request("GET", "", path).header("if-none-match", format!("\"x\", W/{etag}"))).await;
        assert_eq!((known.status, known.body.len()), (304, 0), "{path}");
        assert_eq!(World::send(world.request("GET", "", path).header("if-none-match", "\"x\"")).await.status, 200);
    }
    let page = world.get("", "/api/docs").await;
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    let text = String::from_utf8(page.body.clone()).unwrap();
    for (method, path, operation) in operations(&document()) {
        let shown = format!("<b>{method}</b> <code>{path}</code>");
        assert!(text.contains(&shown) && text.contains(operation["operationId"].as_str().unwrap()), "{shown}");
    }
    assert!(!text.contains("<script") && !text.contains(" src=\""));
}
