//! JSON Schemas of what tools take and show. Those of results are made of the API's document, without references.

use super::tool::{Effect, Kind, Parameter, Picked, Shows, Tool};
use rmcp::model::{JsonObject, Tool as Described, ToolAnnotations};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// How deep references are followed; the document has none to themselves.
const DEEPEST: usize = 16;
/// What the servers of a domain have answered one by one: long, and of no use beside the verdict.
const LEFT_OUT: &str = "evidence";

/// Characters of a text that a result shows.
pub(super) const SHOWN_TEXT: usize = 20_000;

/// Fields of an email that is read, but for its text.
pub(super) const WHOLE_EMAIL: Picked = Picked {
    schema: "WholeEmail",
    fields: &[
        "id",
        "inbox_id",
        "thread_id",
        "message_id",
        "from",
        "to",
        "cc",
        "reply_to",
        "subject",
        "date",
        "received_at",
        "labels",
        "codes",
        "links",
        "attachments",
        "hidden_text",
        "header_from",
        "envelope_from",
        "verified_domain",
        "authentication",
        "status",
        "recipients",
    ],
};

/// A tool as it is described to clients.
pub(super) fn described(tool: &Tool, document: &Value) -> Described {
    let reads = tool.effect == Effect::Reads;
    let annotations = ToolAnnotations::with_title(tool.title)
        .read_only(reads)
        .destructive(matches!(tool.effect, Effect::Changes | Effect::Sends))
        .idempotent(matches!(tool.effect, Effect::Reads | Effect::Changes | Effect::Checks))
        .open_world(tool.is_open);
    Described::new(tool.name, tool.about, Arc::new(input(tool)))
        .with_title(tool.title)
        .with_raw_output_schema(Arc::new(output(tool, document)))
        .with_annotations(annotations)
}

fn input(tool: &Tool) -> JsonObject {
    let properties: Map<_, _> = tool.parameters().map(|p| (p.name.to_owned(), parameter(p))).collect();
    let required: Vec<_> = tool.parameters().filter(|p| p.is_required).map(|p| p.name).collect();
    let schema = json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
    });
    object(schema)
}

fn parameter(parameter: &Parameter) -> Value {
    let mut schema = object(match parameter.kind {
        Kind::Text => json!({"type": "string"}),
        Kind::Id(prefix) => json!({"type": "string", "pattern": format!("^{prefix}")}),
        Kind::Texts | Kind::Listed => json!({"type": "array", "items": {"type": "string"}}),
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Number { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
        Kind::OneOf(words) => json!({"type": "string", "enum": words}),
        Kind::Files => json!({"type": "array", "items": {
            "type": "object",
            "properties": {
                "filename": {"type": "string", "description": "Its name."},
                "content": {"type": "string", "description": "Its octets in base64."},
                "content_type": {"type": "string", "description": "`application/octet-stream` where it is left out."},
            },
            "required": ["filename", "content"],
        }}),
    });
    schema.insert("description".to_owned(), parameter.about.into());
    Value::Object(schema)
}

/// Of the result, or of an error: clients check both by it.
fn output(tool: &Tool, document: &Value) -> JsonObject {
    let result = match &tool.shows {
        Shows::One(fields) => picked_schema(fields, document),
        Shows::Page(name, fields) => {
            let next = described_as(json!({"type": ["string", "null"]}), "`cursor` of the next page, if there is one.");
            json!({
                "type": "object",
                "properties": {*name: {"type": "array", "items": picked_schema(fields, document)}, "next_cursor": next},
                "required": [name, "next_cursor"],
            })
        }
        Shows::Email => email(document),
        Shows::Waited => {
            let since = described_as(json!({"type": "string"}), "For the next call, which misses no email.");
            json!({
                "type": "object",
                "properties": {"email": {"anyOf": [email(document), {"type": "null"}]}, "since": since},
                "required": ["email", "since"],
            })
        }
    };
    object(json!({"type": "object", "anyOf": [result, failure()]}))
}

fn email(document: &Value) -> Value {
    let mut schema = object(picked_schema(&WHOLE_EMAIL, document));
    let extracted =
        "The text without what it quotes and without its signature, as far as it is shown; null where that is `text`.";
    let texts = [
        (
            "text",
            json!({"type": "string"}),
            "A part of the text. Where all of the message is HTML, of its text without what it quotes.",
        ),
        ("text_length", json!({"type": "integer"}), "Characters of the whole text."),
        (
            "next_offset",
            json!({"type": ["integer", "null"]}),
            "`offset` of the next part of the text, if there is more of it.",
        ),
        ("extracted_text", json!({"type": ["string", "null"]}), extracted),
        ("truncated", json!({"type": "boolean"}), "The email has more text than can be read here."),
    ];
    for (name, of_type, about) in texts {
        if let Some(Value::Object(properties)) = schema.get_mut("properties") {
            properties.insert(name.to_owned(), described_as(of_type, about));
        }
        if let Some(Value::Array(required)) = schema.get_mut("required") {
            required.push(name.into());
        }
    }
    Value::Object(schema)
}

fn failure() -> Value {
    json!({
        "type": "object",
        "description": "An error.",
        "properties": {
            "code": {"type": "string", "description": "Stable, for programs."},
            "message": {"type": "string", "description": "What is wrong."},
            "retryable": {"type": "boolean", "description": "The same call may succeed later."},
            "retry_after_seconds": {"type": ["integer", "null"], "description": "When."},
            "next_action": {"type": "string", "description": "What to do."},
            "errors": {"type": "array", "description": "Each argument that is wrong.", "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
                "required": ["field", "message"],
            }},
            "existing_id": {"type": "string", "description": "What is there already."},
        },
        "required": ["code", "message", "retryable", "retry_after_seconds", "next_action"],
    })
}

fn picked_schema(picked: &Picked, document: &Value) -> Value {
    let whole = resolved(&json!({"$ref": format!("#/components/schemas/{}", picked.schema)}), document, DEEPEST);
    let of = |name| whole.get("properties").and_then(|properties| properties.get(name)).cloned().unwrap_or_default();
    let properties: Map<_, _> = picked.fields.iter().map(|name| ((*name).to_owned(), of(name))).collect();
    let is_required = |name: &&&str| {
        whole.get("required").and_then(Value::as_array).is_some_and(|all| all.iter().any(|one| one == **name))
    };
    let required: Vec<_> = picked.fields.iter().filter(is_required).collect();
    json!({"type": "object", "properties": properties, "required": required})
}

/// The fields of an answer.
pub(super) fn pick(picked: &Picked, mut answer: Value) -> JsonObject {
    leave_out(&mut answer);
    let mut take = |name: &&str| Some(((*name).to_owned(), answer.get_mut(*name)?.take()));
    picked.fields.iter().filter_map(&mut take).collect()
}

fn leave_out(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove(LEFT_OUT);
            fields.values_mut().for_each(leave_out);
        }
        Value::Array(items) => items.iter_mut().for_each(leave_out),
        _ => {}
    }
}

/// A schema with what it refers to in place, and the parts of an `allOf` as one object.
fn resolved(schema: &Value, document: &Value, depth: usize) -> Value {
    let Some(deeper) = depth.checked_sub(1) else { return json!({}) };
    match schema {
        Value::Object(fields) => {
            let referred =
                fields.get("$ref").and_then(Value::as_str).and_then(|at| document.pointer(at.strip_prefix('#')?));
            let mut made = referred.map(|to| object(resolved(to, document, deeper))).unwrap_or_default();
            for (name, value) in
                fields.iter().filter(|(name, _)| !["$ref", "format", LEFT_OUT].contains(&name.as_str()))
            {
                match (name.as_str(), value) {
                    ("allOf", Value::Array(parts)) => {
                        parts.iter().for_each(|part| merge(&mut made, object(resolved(part, document, deeper))));
                    }
                    ("required", Value::Array(names)) => {
                        let names = names.iter().filter(|name| *name != LEFT_OUT).cloned();
                        made.insert(name.clone(), names.collect());
                    }
                    _ => {
                        made.insert(name.clone(), resolved(value, document, deeper));
                    }
                }
            }
            Value::Object(made)
        }
        Value::Array(items) => items.iter().map(|item| resolved(item, document, depth)).collect(),
        other => other.clone(),
    }
}

fn merge(into: &mut JsonObject, part: JsonObject) {
    for (name, value) in part {
        match (into.get_mut(&name), value) {
            (Some(Value::Object(old)), Value::Object(new)) => old.extend(new),
            (Some(Value::Array(old)), Value::Array(new)) => old.extend(new),
            (_, value) => {
                into.insert(name, value);
            }
        }
    }
}

fn described_as(schema: Value, about: &str) -> Value {
    let mut schema = object(schema);
    schema.insert("description".to_owned(), about.into());
    Value::Object(schema)
}

pub(super) fn object(value: Value) -> JsonObject {
    match value {
        Value::Object(fields) => fields,
        _ => JsonObject::new(),
    }
}
