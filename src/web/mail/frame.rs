//! An email's HTML as a document of its own, its attachments and its source.
//!
//! Invariant: the document has an origin of its own (`sandbox` in its policy, wherever it is opened), runs nothing, sends no form, and
//! loads nothing of other hosts unless the reader has asked for images.

use super::messages::{Attachment, Whole};
use crate::message::display::{Display, Displayed};
use crate::web::api::to;
use crate::web::refusal::Refusal;
use crate::web::session::Session;
use axum::body::to_bytes;
use axum::extract::{Path, Query};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, PreEscaped, html};
use serde::Deserialize;

/// Images of the message that its page may show: how many, and octets of one and of all.
const IMAGES: usize = 30;
const IMAGE: usize = 2 * 1024 * 1024;
const ALL_IMAGES: usize = 6 * 1024 * 1024;
/// Memory for a page, as a multiple of its HTML.
const FACTOR: usize = 4;

const WITHOUT_IMAGES: &str = "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline'; \
     img-src data: blob:; form-action 'none'; base-uri 'none'; frame-ancestors 'self'";
const WITH_IMAGES: &str = "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline'; \
     img-src data: blob: https: http:; form-action 'none'; base-uri 'none'; frame-ancestors 'self'";
/// Mail is written for a white page.
const STYLE: &str = "html{background:#fff;color:#1a1f27;color-scheme:light;font:15px/1.5 system-ui,sans-serif;overflow-wrap:break-word}\
     body{margin:12px}img{max-width:100%;height:auto}table{max-width:100%}";

#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    /// The word of [`image_word`].
    #[serde(default)]
    images: String,
}

/// The word by which the page asks for images of other hosts. A link from elsewhere cannot have it.
pub(super) fn image_word(session: &Session, email: &str) -> String {
    session.word(&format!("images {email}"))
}

pub(super) async fn html(
    session: Session,
    Path((_, email)): Path<(String, String)>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Refusal> {
    let whole: Whole = session.api.get(to(["emails", &email])).await?;
    let remote_images = wanted.images == image_word(&session, &email);
    let Some(page) = whole.html_body else { return Err(Refusal::not_found()) };
    let images = images(&session, &email, &page, &whole.attachments).await?;
    document(&session, page, images, remote_images).await
}

/// HTML of a stranger as a document of its own.
pub(in crate::web) async fn document(
    session: &Session,
    page: String,
    images: Vec<(String, String)>,
    remote_images: bool,
) -> Result<Response, Refusal> {
    let shown = displayed(session, page, images, remote_images).await?;
    let document = html! {
        (DOCTYPE)
        html {
            head {
                meta charset="utf-8";
                meta name="referrer" content="no-referrer";
                meta name="viewport" content="width=device-width, initial-scale=1";
                base target="_blank";
                title { "HTML of an email" }
                style { (PreEscaped(STYLE)) }
            }
            body { (PreEscaped(shown.html)) }
        }
    };
    let policy = if remote_images { WITH_IMAGES } else { WITHOUT_IMAGES };
    let headers = [
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy)),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    Ok((headers, document).into_response())
}

/// The HTML without what acts.
pub(super) async fn displayed(
    session: &Session,
    html: String,
    images: Vec<(String, String)>,
    remote_images: bool,
) -> Result<Displayed, Refusal> {
    let mut memory = session.api.spool().claim();
    let octets = html.len().saturating_mul(FACTOR).saturating_add(images.iter().map(|(_, data)| data.len()).sum());
    memory.grow_to(octets).map_err(|_| Refusal::unavailable())?;
    let size = html.len();
    let show = move || {
        let _memory = memory;
        Display { remote_images, images: &images }.show(&html)
    };
    session.run(size, show).await
}

/// The images of the message that its HTML names, as `data:` URLs by their Content-ID.
async fn images(
    session: &Session,
    email: &str,
    html: &str,
    attachments: &[Attachment],
) -> Result<Vec<(String, String)>, Refusal> {
    let mut found = Vec::new();
    let mut octets = 0_usize;
    for attachment in attachments {
        let Some(id) = attachment.content_id.as_deref().filter(|id| !id.is_empty() && html.contains(id)) else {
            continue;
        };
        let size = usize::try_from(attachment.size).unwrap_or(usize::MAX);
        let is_small = size <= IMAGE && octets.saturating_add(size) <= ALL_IMAGES;
        if !is_image(&attachment.content_type) || !is_small || found.len() >= IMAGES {
            continue;
        }
        let mut memory = session.api.spool().claim();
        memory.grow_to(size.saturating_mul(FACTOR)).map_err(|_| Refusal::unavailable())?;
        let target = to(["emails", email, "attachments", &attachment.id]);
        let response = session.api.forward(target, HeaderMap::new()).await?;
        if !response.status().is_success() {
            continue;
        }
        let Ok(read) = to_bytes(response.into_body(), IMAGE).await else { continue };
        octets = octets.saturating_add(read.len());
        found.push((id.to_owned(), format!("data:{};base64,{}", attachment.content_type, STANDARD.encode(read))));
    }
    Ok(found)
}

/// A picture of pixels: no SVG, which is a document.
fn is_image(content_type: &str) -> bool {
    ["image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "image/avif"].contains(&content_type)
}

pub(super) async fn attachment(
    session: Session,
    Path((_, email, number)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let range = headers.get(header::RANGE).map(|range| (header::RANGE, range.clone()));
    let target = to(["emails", &email, "attachments", &number]);
    passed_on(session.api.forward(target, range.into_iter().collect()).await?)
}

pub(super) async fn source(session: Session, Path((_, email)): Path<(String, String)>) -> Result<Response, Refusal> {
    passed_on(session.api.forward(to(["emails", &email, "raw"]), HeaderMap::new()).await?)
}

/// A download of the API; a refusal is shown as a page.
fn passed_on(response: Response) -> Result<Response, Refusal> {
    match response.status().as_u16() {
        200..300 | 416 => Ok(response),
        404 => Err(Refusal::not_found()),
        _ => Err(Refusal::unavailable()),
    }
}
