//! What a form sends. Invariant: a form is read only if it was sent from a page of this daemon, with its session's CSRF token.

use super::WebContext;
use super::refusal::Refusal;
use super::session::Session;
use crate::resources::memory::Claim;
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use serde_json::{Map, Value, json};

/// Maximum octets of a form without files, which the session's share of memory counts.
const LARGEST: usize = 2 * 1024 * 1024;
/// Of a form of somebody who is not signed in.
const LARGEST_OF_VISITOR: usize = 16 * 1024;
/// Memory for a form, as a multiple of its octets: read, and made a request of the API.
const FACTOR: usize = 4;
pub(super) const CSRF: &str = "csrf";
pub(super) const CSRF_HEADER: &str = "x-csrf";

/// The fields of a form, and the session that sent it.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) session: Session,
    pub(super) fields: Fields,
}

#[derive(Debug, Default)]
pub(super) struct Fields {
    pairs: Vec<(String, String)>,
    /// What they take of the session's share of memory.
    _memory: Option<Claim>,
}

impl Fields {
    pub(super) fn new(pairs: Vec<(String, String)>) -> Self {
        Self { pairs, _memory: None }
    }

    pub(super) fn parse(octets: &[u8]) -> Self {
        Self::new(form_urlencoded::parse(octets).into_owned().collect())
    }

    /// A field's text, without spaces around it. Empty if it was not sent.
    pub(super) fn text(&self, name: &str) -> &str {
        self.raw(name).trim()
    }

    /// A field's text as it was sent.
    pub(super) fn raw(&self, name: &str) -> &str {
        self.pairs.iter().find(|(given, _)| given == name).map_or("", |(_, value)| value)
    }

    /// The text, unless it is empty.
    pub(super) fn some(&self, name: &str) -> Option<&str> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }

    /// Whether the form has the field.
    pub(super) fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|(given, _)| given == name)
    }

    pub(super) fn is_checked(&self, name: &str) -> bool {
        !self.text(name).is_empty()
    }

    /// All values of a name, as of several check boxes.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// An object of the named fields that are not empty.
    pub(super) fn object(&self, names: &[&str]) -> Map<String, Value> {
        names.iter().filter_map(|name| Some(((*name).to_owned(), json!(self.some(name)?)))).collect()
    }
}

impl FromRequest<WebContext> for Form {
    type Rejection = Refusal;

    async fn from_request(request: Request, context: &WebContext) -> Result<Self, Refusal> {
        let (mut parts, body) = request.into_parts();
        let session = <Session as FromRequestParts<_>>::from_request_parts(&mut parts, context).await?;
        let mut memory = session.api.claim();
        let declared = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let size = declared.unwrap_or(LARGEST).min(LARGEST);
        memory.grow_to(size.saturating_mul(FACTOR)).map_err(|_| Refusal::unavailable())?;
        let octets = octets(&parts, body, LARGEST).await?;
        let fields = Fields { _memory: Some(memory), ..Fields::parse(&octets) };
        let header = parts.headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok());
        if !session.is_csrf(header.unwrap_or_else(|| fields.raw(CSRF))) {
            return Err(Refusal::foreign());
        }
        Ok(Self { session, fields })
    }
}

/// The form of a browser that is not signed in.
#[derive(Debug)]
pub(super) struct VisitorForm(pub(super) Fields);

impl FromRequest<WebContext> for VisitorForm {
    type Rejection = Refusal;

    async fn from_request(request: Request, _context: &WebContext) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        Ok(Self(Fields::parse(&octets(&parts, body, LARGEST_OF_VISITOR).await?)))
    }
}

async fn octets(parts: &Parts, body: Body, limit: usize) -> Result<Vec<u8>, Refusal> {
    if !is_from_here(&parts.headers, &parts.uri) {
        return Err(Refusal::foreign());
    }
    let octets = to_bytes(body, limit).await.map_err(|_| {
        Refusal::too_large(&format!("A form has at most {limit} octets."), "Send less text, or attach it as a file.")
    })?;
    Ok(octets.into())
}

/// Whether a browser says that a page of this host sent the request. Browsers older than 2023 send `Origin` alone.
pub(super) fn is_from_here(headers: &HeaderMap, uri: &Uri) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "same-origin" || site == "none";
    }
    let Some(origin) = headers.get(header::ORIGIN).and_then(|value| value.to_str().ok()) else { return false };
    let host = uri.authority().map(|authority| authority.as_str());
    let host = host.or_else(|| headers.get(header::HOST)?.to_str().ok());
    let origin = origin.split_once("://").map(|(_, authority)| authority);
    host.is_some() && origin == host
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_this_host_send_forms() {
        let is = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            pairs.iter().for_each(|(name, value)| drop(headers.insert(*name, value.parse().unwrap())));
            is_from_here(&headers, &Uri::from_static("/x"))
        };
        assert!(is(&[("sec-fetch-site", "same-origin"), ("host", "a.test")]));
        assert!(!is(&[("sec-fetch-site", "cross-site"), ("origin", "https://a.test"), ("host", "a.test")]));
        assert!(!is(&[("sec-fetch-site", "same-site")]));
        assert!(is(&[("origin", "https://a.test:8443"), ("host", "a.test:8443")]));
        assert!(!is(&[("origin", "https://b.test"), ("host", "a.test")]));
        assert!(!is(&[("origin", "null"), ("host", "a.test")]));
        assert!(!is(&[("host", "a.test")]));
    }

    #[test]
    fn fields_are_trimmed_and_repeated_ones_all_read() {
        let fields = Fields::parse(b"domain=+acme.test+&permission=a&permission=b&empty=");
        assert_eq!(
            (fields.text("domain"), fields.raw("domain"), fields.some("empty")),
            ("acme.test", " acme.test ", None)
        );
        assert_eq!(fields.all("permission").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(Value::Object(fields.object(&["domain", "empty"])), json!({"domain": "acme.test"}));
    }
}
