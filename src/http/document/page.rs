//! The document as a page: one file without scripts, which works without the network. Invariant: every text of the document is escaped.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt::Write;

const STYLE: &str = include_str!("page.css");

/// The page, and the policy that it is sent with.
pub(super) fn of(api: &Value) -> (String, String) {
    let hash = BASE64.encode(digest(&SHA256, STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let mut out = String::new();
    let title = text(api, "/info/title");
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style></head><body><header><a href=\"/docs\">Docs</a></header><main><h1>{title} {}</h1><p>{}</p>\
         <p>The same for programs: <a href=\"/openapi.json\">/openapi.json</a>.</p>",
        text(api, "/info/version"),
        prose(&text(api, "/info/description"))
    );
    let groups = groups(api);
    out.push_str("<nav aria-label=\"Groups\">");
    for tag in groups.keys() {
        let _ = write!(out, "<a href=\"#{}\">{}</a> ", anchor(tag), escaped(tag));
    }
    out.push_str("<a href=\"#schemas\">Schemas</a></nav>");
    for (tag, operations) in groups {
        let _ = write!(out, "<h2 id=\"{}\">{}</h2>", anchor(tag), escaped(tag));
        for (path, method, operation) in operations {
            show(&mut out, path, method, operation);
        }
    }
    out.push_str("<h2 id=\"schemas\">Schemas</h2>");
    for (name, schema) in object(api, "/components/schemas") {
        let _ = write!(out, "<details id=\"schema-{0}\"><summary>{0}</summary>", escaped(name));
        let _ = write!(out, "<p>{}</p>", prose(&text(schema, "/description")));
        fields(&mut out, schema);
        out.push_str("</details>");
    }
    out.push_str("</main></body></html>\n");
    (out, policy)
}

type Operations<'a> = Vec<(&'a str, &'a str, &'a Value)>;

/// The operations by their first tags.
fn groups(api: &Value) -> BTreeMap<&str, Operations<'_>> {
    let mut groups: BTreeMap<&str, Operations<'_>> = BTreeMap::new();
    for (path, item) in object(api, "/paths") {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let tag = operation.pointer("/tags/0").and_then(Value::as_str).unwrap_or_default();
            groups.entry(tag).or_default().push((path, method, operation));
        }
    }
    groups
}

fn show(out: &mut String, path: &str, method: &str, operation: &Value) {
    let _ = write!(
        out,
        "<details id=\"{}\"><summary><b>{}</b> <code>{}</code> {}</summary>",
        text(operation, "/operationId"),
        method.to_uppercase(),
        escaped(path),
        prose(&text(operation, "/summary"))
    );
    let _ = write!(out, "<p>{}</p>", prose(&text(operation, "/description")));
    let permissions = list(operation, "/security/0/ApiTokenAuth");
    let permissions: Vec<String> = permissions.iter().filter_map(Value::as_str).map(escaped).collect();
    match (list(operation, "/security").is_empty(), permissions.is_empty()) {
        (true, _) => out.push_str("<p>Needs no token.</p>"),
        (false, true) => {}
        (false, false) => {
            let _ = write!(out, "<p>Permissions: <code>{}</code></p>", permissions.join("</code>, <code>"));
        }
    }
    let parameters = list(operation, "/parameters");
    if !parameters.is_empty() {
        out.push_str("<table><tr><th>Parameter<th>In<th>Type<th>");
        for parameter in parameters {
            let required = parameter.get("required").and_then(Value::as_bool).unwrap_or_default();
            let schema = parameter.get("schema").map(kind).unwrap_or_default();
            let (name, place) = (text(parameter, "/name"), text(parameter, "/in"));
            let name = if required { format!("{name} *") } else { name };
            let _ = write!(
                out,
                "<tr><td><code>{name}</code><td>{place}<td>{schema}<td>{}",
                prose(&text(parameter, "/description"))
            );
        }
        out.push_str("</table>");
    }
    for (media_type, content) in object(operation, "/requestBody/content") {
        let schema = content.get("schema").map(kind).unwrap_or_default();
        let _ = write!(out, "<p>Body: {schema} <small>{}</small></p>", escaped(media_type));
    }
    out.push_str("<table><tr><th>Status<th>Answer<th>");
    for (status, response) in object(operation, "/responses") {
        let bodies =
            object(response, "/content").map(|(_, content)| content.get("schema").map(kind).unwrap_or_default());
        let shared = response.get("$ref").and_then(Value::as_str).and_then(|name| name.rsplit('/').next()).map(escaped);
        let shown = shared.unwrap_or_else(|| bodies.collect::<Vec<_>>().join(", "));
        let _ = write!(out, "<tr><td>{}<td>{shown}<td>{}", escaped(status), prose(&text(response, "/description")));
    }
    out.push_str("</table></details>");
}

/// The fields of an object, of all its parts.
fn fields(out: &mut String, schema: &Value) {
    for part in list(schema, "/allOf") {
        if part.get("$ref").is_some() {
            let _ = write!(out, "<p>All of {}, and</p>", kind(part));
        } else {
            fields(out, part);
        }
    }
    let mut properties = object(schema, "/properties").peekable();
    if properties.peek().is_none() {
        if schema.get("allOf").is_none() {
            let _ = write!(out, "<p>{}</p>", kind(schema));
        }
        return;
    }
    let required = list(schema, "/required");
    out.push_str("<table><tr><th>Field<th>Type<th>");
    for (name, property) in properties {
        let star = if required.iter().any(|one| one == name) { " *" } else { "" };
        let about = prose(&text(property, "/description"));
        let _ = write!(out, "<tr><td><code>{}{star}</code><td>{}<td>{about}", escaped(name), kind(property));
    }
    out.push_str("</table>");
}

/// What a schema is, in a few words.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.rsplit('/').next()) {
        return format!("<a href=\"#schema-{0}\">{0}</a>", escaped(name));
    }
    let any = ["/oneOf", "/anyOf", "/allOf"].into_iter().flat_map(|of| list(schema, of)).map(kind).collect::<Vec<_>>();
    if !any.is_empty() {
        return any.join(" or ");
    }
    let values: Vec<String> = list(schema, "/enum").iter().filter_map(Value::as_str).map(escaped).collect();
    if !values.is_empty() {
        return format!("<code>{}</code>", values.join("</code>, <code>"));
    }
    if let Some(items) = schema.get("items") {
        return format!("array of {}", kind(items));
    }
    let wrapped = object(schema, "/properties")
        .map(|(name, inner)| format!("{{<code>{}</code>: {}}}", escaped(name), kind(inner)));
    let wrapped = wrapped.collect::<Vec<_>>().join(", ");
    if !wrapped.is_empty() {
        return wrapped;
    }
    let types = schema.get("type");
    let several =
        types.and_then(Value::as_array).map(|types| types.iter().filter_map(Value::as_str).collect::<Vec<_>>());
    let shown = several.map(|types| types.join(" or ")).or_else(|| types.and_then(Value::as_str).map(str::to_owned));
    let format = text(schema, "/format");
    let format = if format.is_empty() { format } else { format!(" ({format})") };
    format!("{}{format}", escaped(&shown.unwrap_or_else(|| "any".to_owned())))
}

fn object<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let fields = value.pointer(pointer).and_then(Value::as_object);
    fields.into_iter().flat_map(Map::iter).map(|(name, value)| (name.as_str(), value))
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A text, escaped.
fn text(value: &Value, pointer: &str) -> String {
    escaped(value.pointer(pointer).and_then(Value::as_str).unwrap_or_default())
}

fn escaped(text: &str) -> String {
    crate::message::text::escaped(text).replace('"', "&quot;")
}

/// An escaped text with its code between back quotes.
fn prose(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, part) in text.split('`').enumerate() {
        match at % 2 {
            0 => out.push_str(part),
            _ => {
                let _ = write!(out, "<code>{part}</code>");
            }
        }
    }
    out
}

fn anchor(tag: &str) -> String {
    escaped(&tag.to_lowercase().replace(' ', "-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_text_of_the_document_is_escaped() {
        let api = json!({
            "info": {"title": "<b>", "description": "`<i>`"},
            "paths": {"/<x>": {"get": {"tags": ["<t>"], "summary": "<s>", "responses": {"200": {"description": "<r>"}}}}},
            "components": {"schemas": {"<n>": {"type": "<k>", "description": "<d>"}}},
        });
        let (page, policy) = of(&api);
        for tag in ["<b>", "<i>", "<x>", "<t>", "<s>", "<r>", "<n>", "<k>", "<d>", "<script"] {
            let own = if tag == "<b>" { 1 } else { 0 };
            assert_eq!(page.matches(tag).count(), own, "{tag} in {page}");
        }
        assert!(page.contains("<code>&lt;i&gt;</code>"));
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"));
    }
}
