//! The API's description of itself: OpenAPI 3.1, made of the routes' own descriptions, as JSON and as a page for people.
//!
//! A handler describes what is its own; what holds for every route is added here: the refusals, the permissions that a token needs, and
//! that a body may be wrapped in the name of its resource.

mod answers;
mod page;
pub(super) mod parameters;
mod refusals;
pub(super) mod requests;

use super::permission::needed;
use super::reply::put;
use axum::body::Bytes;
use axum::extract::Extension;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::collections::BTreeSet;
use std::sync::LazyLock;
use utoipa::PartialSchema;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem, Paths};
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required, ServerBuilder, Tag,
};

/// What a route gives of its description: schemas and paths.
pub(super) type Described = (Vec<(String, RefOr<Schema>)>, Paths);

const TITLE: &str = "Inboxlayer";
const ABOUT: &str = "Mailboxes on your own domain: REST beside SMTP and IMAP. An unknown field or parameter is refused by name. A body may be \
                     wrapped in the name of its resource. Every answer has `x-request-id`. A POST may have `Idempotency-Key`.";
const TOKEN: &str = "ApiTokenAuth";

/// The document in both forms.
#[derive(Debug)]
pub(super) struct Document {
    json: Served,
    page: Served,
}

#[derive(Debug)]
struct Served {
    body: Bytes,
    content_type: &'static str,
    /// Of the page, which loads nothing and runs nothing.
    policy: Option<String>,
    etag: String,
}

/// The document of the router that serves it, made when somebody asks for it first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lazily(pub(super) &'static LazyLock<Document>);

impl Document {
    pub(super) fn of(described: impl IntoIterator<Item = Described>) -> Self {
        let mut api = document(described);
        answers::require_nullable(&mut api);
        let json = serde_json::to_vec(&api).unwrap_or_default();
        let (page, policy) = page::of(&serde_json::from_slice(&json).unwrap_or_default());
        Self {
            json: Served::new(json, "application/json", None),
            page: Served::new(page.into_bytes(), "text/html; charset=utf-8", Some(policy)),
        }
    }
}

impl Document {
    pub(super) fn value(&self) -> serde_json::Value {
        serde_json::from_slice(&self.json.body).unwrap_or_default()
    }
}

impl Served {
    fn new(body: Vec<u8>, content_type: &'static str, policy: Option<String>) -> Self {
        let etag = format!("\"{}\"", blake3::hash(&body).to_hex());
        Self { body: body.into(), content_type, policy, etag }
    }

    /// 304 where the client has it already (RFC 9110 §13.1.2).
    fn respond(&self, headers: &HeaderMap) -> Response {
        let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
        let mut tags = known.flat_map(|line| line.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
        let is_known = tags.any(|tag| tag == "*" || tag == self.etag);
        let mut response =
            if is_known { StatusCode::NOT_MODIFIED.into_response() } else { self.body.clone().into_response() };
        put(&mut response, header::ETAG, &self.etag);
        put(&mut response, header::CONTENT_TYPE, self.content_type);
        if let Some(policy) = &self.policy {
            put(&mut response, HeaderName::from_static("content-security-policy"), policy);
            put(&mut response, HeaderName::from_static("referrer-policy"), "no-referrer");
        }
        response
    }
}

/// This document, as JSON
///
/// It needs no token.
#[utoipa::path(get, path = "/openapi.json", tag = "Service", security(()), responses((status = 200, body = Object), (status = 304)))]
pub(super) async fn json(Extension(Lazily(document)): Extension<Lazily>, headers: HeaderMap) -> Response {
    document.json.respond(&headers)
}

/// This document, as a page
///
/// It needs no token.
#[utoipa::path(get, path = "/api/docs", tag = "Service", security(()),
    responses((status = 200, body = String, content_type = "text/html"), (status = 304)))]
pub(super) async fn html(Extension(Lazily(document)): Extension<Lazily>, headers: HeaderMap) -> Response {
    document.page.respond(&headers)
}

fn document(described: impl IntoIterator<Item = Described>) -> OpenApi {
    let mut paths = Paths::new();
    let mut schemas = refusals::schemas();
    for (of, more) in described {
        schemas.extend(of);
        paths.merge(more);
    }
    let mut tags = BTreeSet::new();
    for (path, item) in &mut paths.paths {
        for (method, operation) in operations(item) {
            tags.extend(operation.tags.iter().flatten().cloned());
            complete(&method, path, operation);
        }
    }
    let scheme = Http::builder()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An API token: `Authorization: Bearer <token>`, or `token <token>`."));
    let components = ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .responses_from_iter(refusals::responses())
        .security_scheme(TOKEN, SecurityScheme::Http(scheme.build()))
        .build();
    OpenApiBuilder::new()
        .info(InfoBuilder::new().title(TITLE).version(env!("CARGO_PKG_VERSION")).description(Some(ABOUT)).build())
        .servers(Some([ServerBuilder::new().url("/").build()]))
        .tags(Some(tags.into_iter().map(Tag::new)))
        .paths(paths)
        .components(Some(components))
        .build()
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let all = [
        (Method::GET, &mut item.get),
        (Method::PUT, &mut item.put),
        (Method::POST, &mut item.post),
        (Method::DELETE, &mut item.delete),
        (Method::PATCH, &mut item.patch),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// Adds what is the same for every route.
fn complete(method: &Method, path: &str, operation: &mut Operation) {
    let handler = operation.operation_id.take().unwrap_or_default();
    operation.operation_id = Some(operation_id(method, path, &handler));
    let is_open =
        operation.security.as_ref().is_some_and(|security| security.contains(&SecurityRequirement::default()));
    if is_open {
        operation.security = Some(Vec::new());
    } else {
        operation.security = Some(vec![SecurityRequirement::new(TOKEN, needed(method, path).words())]);
    }
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        let mut schemas = body.content.values().filter_map(|content| match content {
            RefOr::T(content) => content.schema.as_ref(),
            RefOr::Ref(_) => None,
        });
        // `Option<T>`: a request without a body is the same as one without fields.
        let is_optional = schemas.any(answers::is_nullable);
        body.required = Some(if is_optional { Required::False } else { Required::True });
        for content in body.content.values_mut() {
            if let RefOr::T(content) = content {
                content.schema = content.schema.take().map(wrapped);
            }
        }
    }
    let parameters = operation.parameters.get_or_insert_default();
    if *method == Method::POST && !is_open {
        let about = "The same for each repetition of a request, which then runs once; a random UUID is good.";
        parameters.push(header_field("Idempotency-Key", about));
    }
    if operation.responses.responses.contains_key("412") {
        parameters.push(header_field("If-Match", "The `ETag` of the version that the change is meant for."));
    }
    refusals::add(method, operation, is_open);
}

/// Of the path and the handler's name: unique, since a path has a handler once.
fn operation_id(method: &Method, path: &str, handler: &str) -> String {
    let path = path.strip_prefix("/api/v1").unwrap_or(path).replace('.', "_");
    let mut words: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && !part.starts_with('{')).collect();
    // PUT does what PATCH does.
    let verb = if *method == Method::PUT { "replace" } else { handler };
    if words.last() != Some(&verb) {
        words.push(verb);
    }
    words.join("_")
}

fn header_field(name: &str, about: &str) -> RefOr<Parameter> {
    let field = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Header).required(Required::False);
    RefOr::T(field.description(Some(about)).schema(Some(String::schema())).build())
}

/// A body, or one that is wrapped in the name of its resource.
fn wrapped(plain: RefOr<Schema>) -> RefOr<Schema> {
    let RefOr::Ref(Ref { ref_location, .. }) = &plain else { return plain };
    let component = ref_location.rsplit('/').next().unwrap_or_default();
    let Some((_, name)) = requests::WRAPPERS.iter().find(|(body, _)| *body == component) else { return plain };
    let outer = ObjectBuilder::new().property(*name, plain.clone()).required(*name);
    OneOfBuilder::new().item(plain).item(outer).into()
}

/// What is below `from` below an inbox as well: the same operations with the inbox in the path.
pub(super) fn below_inbox(paths: Paths, from: &str, to: &str) -> Paths {
    let mut moved = Paths::new();
    for (path, mut item) in paths.paths {
        for (_, operation) in operations(&mut item) {
            let inbox =
                ParameterBuilder::new().name("inbox_id").parameter_in(ParameterIn::Path).required(Required::True);
            let inbox = inbox.schema(Some(crate::id::InboxId::schema()));
            operation.parameters.get_or_insert_default().insert(0, RefOr::T(inbox.build()));
        }
        moved.paths.insert(path.replacen(from, to, 1), item);
    }
    moved
}
