//! The API's description of itself: a superset of the published contract, which the published SDK carries.

use crate::daemon::Daemon;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Fields and parameters that a request needs here, and that the contract does not say are needed.
const NEEDED: [(&str, &str); 3] = [
    ("GET /api/v1/emails: parameter \"inbox\"", "it"),
    ("POST /api/v1/mailbox_labels", "name"),
    ("POST /api/v1/webhook_subscriptions.webhook_subscription", "url"),
];

/// The contract of the SDK in `target/python`.
fn contract() -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/lib");
    let versions = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}: run tests/run", folder.display()));
    let file = |version: std::fs::DirEntry| version.path().join("site-packages/inboxlayer_sdk/openapi/api-v1.json");
    let mut found = versions.map(|version| file(version.unwrap())).filter(|path| path.exists());
    serde_json::from_slice(&std::fs::read(found.next().expect("the SDK: run tests/run")).unwrap()).unwrap()
}

/// A schema as the comparison needs it: references and compositions are resolved.
#[derive(Debug, Default)]
struct Shape {
    /// Its forms; more than one where a value may have one of several.
    forms: Vec<Form>,
    is_nullable: bool,
}

#[derive(Clone, Debug, Default)]
struct Form {
    kind: String,
    properties: BTreeMap<String, Value>,
    required: Vec<String>,
    items: Option<Value>,
    is_closed: bool,
}

fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(reference) => resolved(document, document.pointer(reference.trim_start_matches('#')).unwrap()),
        None => value,
    }
}

fn shape(document: &Value, schema: &Value) -> Shape {
    let schema = resolved(document, schema);
    let list = |name: &str| schema.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut shape = Shape { is_nullable: schema["nullable"] == true, ..Shape::default() };
    for one in [list("oneOf"), list("anyOf")].concat() {
        let inner = self::shape(document, &one);
        shape.is_nullable |= inner.is_nullable;
        shape.forms.extend(inner.forms);
    }
    if let all @ [_, ..] = list("allOf").as_slice() {
        let mut whole = Form { kind: "object".to_owned(), ..Form::default() };
        for form in all.iter().flat_map(|one| self::shape(document, one).forms) {
            whole.properties.extend(form.properties);
            whole.required.extend(form.required);
        }
        shape.forms.push(whole);
    }
    let kinds = match &schema["type"] {
        Value::String(kind) => vec![kind.clone()],
        Value::Array(kinds) => kinds.iter().map(|kind| kind.as_str().unwrap().to_owned()).collect(),
        _ => Vec::new(),
    };
    for kind in kinds {
        if kind == "null" {
            shape.is_nullable = true;
            continue;
        }
        let properties = schema["properties"].as_object().cloned().unwrap_or_default();
        shape.forms.push(Form {
            kind,
            properties: properties.into_iter().collect(),
            required: list("required").iter().map(|name| name.as_str().unwrap().to_owned()).collect(),
            items: schema.get("items").cloned(),
            is_closed: schema["additionalProperties"] == false,
        });
    }
    shape
}

/// Compares two documents.
struct Comparison<'a> {
    theirs: &'a Value,
    ours: &'a Value,
    missing: Vec<String>,
}

impl Comparison<'_> {
    fn of(theirs: &Value, ours: &Value) -> Vec<String> {
        let mut comparison = Comparison { theirs, ours, missing: Vec::new() };
        for (path, item) in object(&theirs["paths"]) {
            for (method, operation) in object(item) {
                let at = format!("{} {path}", method.to_uppercase());
                match &ours["paths"][path][method] {
                    Value::Null => comparison.missing.push(at),
                    own => comparison.operation(&at, operation, own),
                }
            }
        }
        comparison.missing
    }

    fn operation(&mut self, at: &str, theirs: &Value, ours: &Value) {
        for parameter in list(&theirs["parameters"]) {
            let name = &parameter["name"];
            let own = list(&ours["parameters"]).iter().find(|own| own["name"] == *name && own["in"] == parameter["in"]);
            let at = format!("{at}: parameter {name}");
            let Some(own) = own else {
                self.missing.push(at);
                continue;
            };
            if own["required"] == true && parameter["required"] != true && !NEEDED.contains(&(&at, "it")) {
                self.missing.push(format!("{at} is needed"));
            }
            self.takes(&at, &parameter["schema"], &own["schema"]);
        }
        let body = |operation: &Value| operation["requestBody"]["content"]["application/json"]["schema"].clone();
        match (body(theirs), body(ours)) {
            (Value::Null, _) => {}
            (_, Value::Null) => self.missing.push(format!("{at}: body")),
            (theirs, ours) => self.takes(at, &theirs, &ours),
        }
        for (status, response) in object(&theirs["responses"]) {
            let own = resolved(self.ours, &ours["responses"][status]);
            let at = format!("{at}: {status}");
            if own.is_null() {
                self.missing.push(at);
                continue;
            }
            for (media_type, content) in object(&response["content"]) {
                match &own["content"][media_type]["schema"] {
                    Value::Null => self.missing.push(format!("{at} {media_type}")),
                    own => self.gives(&at, &content["schema"], &own.clone()),
                }
            }
        }
    }

    /// What may be sent by the contract may be sent here.
    fn takes(&mut self, at: &str, theirs: &Value, ours: &Value) {
        let (theirs, ours) = (shape(self.theirs, theirs), shape(self.ours, ours));
        for wanted in &theirs.forms {
            let fits = |own: &&Form| {
                own.kind == wanted.kind && wanted.properties.keys().all(|name| own.properties.contains_key(name))
            };
            let Some(own) = ours.forms.iter().find(fits) else {
                self.missing.push(format!("{at}: {} with {:?}", wanted.kind, wanted.properties.keys()));
                continue;
            };
            for name in own.required.iter().filter(|name| !wanted.required.contains(name)) {
                if !NEEDED.contains(&(at, name)) {
                    self.missing.push(format!("{at}: {name} is needed"));
                }
            }
            for (name, property) in &wanted.properties {
                self.takes(&format!("{at}.{name}"), property, &own.properties[name]);
            }
            if let (Some(items), Some(own)) = (&wanted.items, &own.items) {
                self.takes(&format!("{at}[]"), items, own);
            }
        }
    }

    /// What is answered here may be answered by the contract, and has all of its fields.
    fn gives(&mut self, at: &str, theirs: &Value, ours: &Value) {
        let (theirs, ours) = (shape(self.theirs, theirs), shape(self.ours, ours));
        let [wanted] = theirs.forms.as_slice() else { panic!("{at}: {theirs:?}") };
        if ours.is_nullable && !theirs.is_nullable {
            self.missing.push(format!("{at} may be null"));
        }
        if ours.forms.is_empty() {
            self.missing.push(format!("{at} has no type"));
        }
        for own in &ours.forms {
            if own.kind != wanted.kind {
                self.missing.push(format!("{at} is {} for {}", own.kind, wanted.kind));
                continue;
            }
            for (name, property) in &wanted.properties {
                match own.properties.get(name) {
                    None => self.missing.push(format!("{at}.{name}")),
                    Some(own) => self.gives(&format!("{at}.{name}"), property, own),
                }
            }
            for name in own.properties.keys().filter(|name| wanted.is_closed && !wanted.properties.contains_key(*name))
            {
                self.missing.push(format!("{at}.{name} is one too many"));
            }
            match (&wanted.items, &own.items) {
                (Some(items), Some(own)) => self.gives(&format!("{at}[]"), items, own),
                (Some(_), None) => self.missing.push(format!("{at}[]")),
                (None, _) => {}
            }
        }
    }
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn document(daemon: &Daemon) -> Value {
    daemon.api_as("").get("/openapi.json").expect(200).body
}

#[test]
fn the_document_is_a_superset_of_the_published_contract() {
    let (daemon, contract) = (Daemon::start(), contract());
    let document = document(&daemon);
    let missing = Comparison::of(&contract, &document);
    assert!(missing.is_empty(), "{}", missing.join("\n"));

    // A difference of each kind is seen.
    for (pointer, change, seen) in [
        ("/paths/~1api~1v1~1me", Value::Null, "GET /api/v1/me"),
        ("/components/schemas/Inbox/properties/email_address", Value::Null, ": 201.email_address"),
        ("/components/schemas/Inbox/properties/name", json!({"type": "integer"}), "name is integer for string"),
        ("/components/schemas/Email/properties/subject", json!({"type": ["string", "null"]}), "subject may be null"),
        (
            "/components/schemas/InboxInput/properties/custom_domain_id",
            Value::Null,
            "POST /api/v1/inboxes: object with",
        ),
        (
            "/components/schemas/DomainInput/properties/spf_value",
            Value::Null,
            "POST /api/v1/custom_domains.custom_domain: object with",
        ),
        ("/paths/~1api~1v1~1emails~1send/post/responses/429", Value::Null, "POST /api/v1/emails/send: 429"),
        ("/paths/~1api~1v1~1emails~1search/get/parameters", json!([]), "GET /api/v1/emails/search: parameter \"q\""),
        ("/components/schemas/AuthResponse/properties/more", json!({"type": "string"}), "more is one too many"),
    ] {
        let mut changed = document.clone();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = changed.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent}")).as_object_mut().unwrap();
        let name = name.replace("~1", "/");
        match change {
            Value::Null => assert!(parent.remove(&name).is_some(), "no {pointer}"),
            change => {
                parent.insert(name, change);
            }
        }
        let missing = Comparison::of(&contract, &changed).join("\n");
        assert!(missing.contains(seen), "{pointer}: {missing}");
    }
}
