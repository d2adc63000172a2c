//! Operations of the REST API, called with a session's token.

use super::refusal::Refusal;
use crate::in_process::{Answer, OnBehalf, encoded};
use crate::resources::memory::Claim;
use crate::resources::spool::ClientSpool;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, header};
use axum::response::Response;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The API, as it answers one client.
#[derive(Clone, Debug)]
pub(super) struct Api {
    router: Router,
    of: OnBehalf,
}

/// A page of a list.
#[derive(Debug)]
pub(super) struct Listed<T> {
    pub(super) rows: Vec<T>,
    /// The cursor of the next page.
    pub(super) next: Option<String>,
}

/// A path with its parameters.
#[derive(Clone, Debug)]
pub(super) struct To(String, char);

/// The path of these segments below `/api/v1`.
pub(super) fn to<'a>(segments: impl IntoIterator<Item = &'a str>) -> To {
    below("/api/v1", segments)
}

/// The path of a verb of the sandbox, which serves this machine alone.
pub(super) fn to_sandbox<'a>(segments: impl IntoIterator<Item = &'a str>) -> To {
    below("http://localhost/sandbox", segments)
}

fn below<'a>(base: &str, segments: impl IntoIterator<Item = &'a str>) -> To {
    let path = segments.into_iter().fold(base.to_owned(), |path, segment| format!("{path}/{}", encoded(segment)));
    To(path, '?')
}

/// A path of the daemon itself, like `/healthz`.
pub(super) fn service(path: &'static str) -> To {
    To(path.to_owned(), '?')
}

impl To {
    pub(super) fn with(self, name: &str, value: impl std::fmt::Display) -> Self {
        let Self(path, before) = self;
        Self(format!("{path}{before}{name}={}", encoded(&value.to_string())), '&')
    }

    /// With the parameter where there is a value.
    pub(super) fn with_some(self, name: &str, value: Option<impl std::fmt::Display>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }
}

impl Api {
    pub(super) fn new(router: Router, of: OnBehalf) -> Self {
        Self { router, of }
    }

    /// Memory of the client's share.
    pub(super) fn claim(&self) -> Claim {
        self.of.spool.claim()
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, to: To) -> Result<T, Refusal> {
        read(self.call(Method::GET, to, None).await?.body)
    }

    /// With its version, for a later change of it.
    pub(super) async fn versioned<T: DeserializeOwned>(&self, to: To) -> Result<(T, String), Refusal> {
        let answer = self.call(Method::GET, to, None).await?;
        let version = answer.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()).unwrap_or("*").to_owned();
        Ok((read(answer.body)?, version))
    }

    /// `None` if the API answers 404.
    pub(super) async fn find<T: DeserializeOwned>(&self, to: To) -> Result<Option<T>, Refusal> {
        match self.get(to).await {
            Ok(found) => Ok(Some(found)),
            Err(refusal) if refusal.is_not_found() => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// A page of a list, which the API sends as an array or in `data`.
    pub(super) async fn list<T: DeserializeOwned>(&self, to: To) -> Result<Listed<T>, Refusal> {
        let mut answer = self.call(Method::GET, to, None).await?;
        let next = answer.next();
        let rows = answer.body.get_mut("data").map(Value::take).unwrap_or(answer.body);
        Ok(Listed { rows: read(rows)?, next })
    }

    pub(super) async fn post<T: DeserializeOwned>(&self, to: To, body: Value) -> Result<T, Refusal> {
        read(self.call(Method::POST, to, Some(body)).await?.body)
    }

    pub(super) async fn put<T: DeserializeOwned>(&self, to: To, body: Value) -> Result<T, Refusal> {
        read(self.call(Method::PUT, to, Some(body)).await?.body)
    }

    pub(super) async fn patch<T: DeserializeOwned>(&self, to: To, body: Value) -> Result<T, Refusal> {
        read(self.call(Method::PATCH, to, Some(body)).await?.body)
    }

    /// Takes effect only if the version is still the one that there is.
    pub(super) async fn if_unchanged<T: DeserializeOwned>(
        &self,
        method: Method,
        to: To,
        version: &str,
        body: Value,
    ) -> Result<T, Refusal> {
        let mut request = request(method, to, Some(body))?;
        if let Ok(version) = HeaderValue::from_str(version) {
            request.headers_mut().insert(header::IF_MATCH, version);
        }
        read(self.answer(request).await?.body)
    }

    pub(super) async fn delete(&self, to: To) -> Result<(), Refusal> {
        self.call(Method::DELETE, to, None).await.map(drop)
    }

    async fn call(&self, method: Method, to: To, body: Option<Value>) -> Result<Answer, Refusal> {
        self.answer(request(method, to, body)?).await
    }

    async fn answer(&self, request: Request<Body>) -> Result<Answer, Refusal> {
        let answer = self.of.json(&self.router, request).await.map_err(|error| {
            tracing::error!(listener = "http", %error, "cannot read the answer of the API");
            Refusal::unavailable()
        })?;
        if answer.status.is_success() { Ok(answer) } else { Err(Refusal::of_answer(&answer)) }
    }

    /// For what is made of answers beyond them, or sent to the API.
    pub(super) fn spool(&self) -> &ClientSpool {
        &self.of.spool
    }

    /// The answer to a GET as it is, for downloads and streams; `headers` are the browser's that apply to it.
    pub(super) async fn forward(&self, to: To, headers: HeaderMap) -> Result<Response, Refusal> {
        let mut request = request(Method::GET, to, None)?;
        request.headers_mut().extend(headers);
        Ok(self.of.response(&self.router, request).await)
    }
}

fn request(method: Method, To(path, _): To, body: Option<Value>) -> Result<Request<Body>, Refusal> {
    let mut request = Request::builder().method(method).uri(path);
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    // A path that is too long for a URI.
    request.body(body).map_err(|_| Refusal::not_found())
}

fn read<T: DeserializeOwned>(body: Value) -> Result<T, Refusal> {
    serde_json::from_value(body).map_err(|error| {
        tracing::error!(listener = "http", %error, "internal error: an answer of the API is not as the page expects it");
        Refusal::unavailable()
    })
}
