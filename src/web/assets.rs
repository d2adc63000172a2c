//! Files that pages load: inside the binary, compressed once, cached by browsers under the hash in their URL.

use super::WebContext;
use super::headers::accepts_gzip;
use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use std::sync::LazyLock;

#[derive(Debug)]
struct Asset {
    name: &'static str,
    kind: &'static str,
    octets: &'static [u8],
    /// The first characters of its hash.
    version: String,
    compressed: Vec<u8>,
}

impl Asset {
    fn new(name: &'static str, kind: &'static str, octets: &'static [u8]) -> Self {
        let version = blake3::hash(octets).to_hex().chars().take(12).collect();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        // Nothing fails that writes to memory; an empty file is not sent.
        let compressed = encoder.write_all(octets).and_then(|()| encoder.finish()).unwrap_or_default();
        Self { name, kind, octets, version, compressed }
    }
}

const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

static ASSETS: LazyLock<[Asset; 5]> = LazyLock::new(|| {
    [
        Asset::new("style.css", CSS, include_bytes!("assets/style.css")),
        Asset::new("app.js", JS, include_bytes!("assets/app.js")),
        Asset::new("htmx.js", JS, include_bytes!("assets/htmx.min.js")),
        Asset::new("htmx-sse.js", JS, include_bytes!("assets/htmx-sse.min.js")),
        Asset::new("icon.svg", SVG, include_bytes!("assets/icon.svg")),
    ]
});

/// The URL of a file.
pub(super) fn url(name: &str) -> String {
    let found = ASSETS.iter().find(|asset| asset.name == name);
    found.map_or_else(String::new, |asset| format!("/assets/{}/{}", asset.version, asset.name))
}

pub(super) fn routes() -> Router<WebContext> {
    Router::new().route("/assets/{version}/{name}", get(show)).route(
        "/favicon.ico",
        get(async |headers: HeaderMap| show(Path((String::new(), "icon.svg".to_owned())), headers).await),
    )
}

async fn show(Path((version, name)): Path<(String, String)>, headers: HeaderMap) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let caching = if version == asset.version { "public, max-age=31536000, immutable" } else { "no-cache" };
    let kind = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static(caching)),
        (header::VARY, HeaderValue::from_static("accept-encoding")),
    ];
    if accepts_gzip(&headers) && !asset.compressed.is_empty() {
        return (kind, [(header::CONTENT_ENCODING, "gzip")], asset.compressed.as_slice()).into_response();
    }
    (kind, asset.octets).into_response()
}
