//! A form with files. Invariant: it is read only if a page of this daemon sent it, with its session's CSRF token; what it takes of memory
//! and disk is charged to the client while it comes in and until it is dropped.

use super::multipart::{File, boundary, parse};
use crate::resources::memory::Claim;
use crate::resources::spool::ClientSpool;
use crate::web::WebContext;
use crate::web::form::{CSRF, CSRF_HEADER, Fields, is_from_here};
use crate::web::refusal::Refusal;
use crate::web::session::Session;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Octets of the fields beside the files.
const TEXTS: usize = 4 * 1024 * 1024;
/// Time limit for receiving a form.
const LONGEST: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct Upload {
    pub(super) session: Session,
    pub(super) fields: Fields,
    pub(super) is_partial: bool,
    files: Vec<File>,
    body: Bytes,
}

impl FromRequest<WebContext> for Upload {
    type Rejection = Refusal;

    async fn from_request(request: Request, context: &WebContext) -> Result<Self, Refusal> {
        let (mut parts, body) = request.into_parts();
        let session = <Session as FromRequestParts<_>>::from_request_parts(&mut parts, context).await?;
        if !is_from_here(&parts.headers, &parts.uri) {
            return Err(Refusal::foreign());
        }
        let limit = context.config.limits.message_size;
        let body = read(session.api.spool(), body, limit).await?;
        let content_type =
            parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (fields, files) = match boundary(content_type) {
            Some(boundary) => {
                let malformed = || Refusal::malformed("The form is incomplete, or has more than 1000 parts.");
                parse(&body, &boundary).ok_or_else(malformed)?.into_fields()
            }
            None => (Fields::parse(&body), Vec::new()),
        };
        let given = parts.headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok());
        if !session.is_csrf(given.unwrap_or_else(|| fields.raw(CSRF))) {
            return Err(Refusal::foreign());
        }
        Ok(Self { session, fields, is_partial: super::is_partial(&parts.headers), files, body })
    }
}

impl Upload {
    /// The files as attachments of the API, and the memory that they take.
    pub(super) fn attachments(&self) -> Result<(Vec<Value>, Claim), Refusal> {
        let octets: usize = self.files.iter().map(|file| file.at.len()).sum();
        let mut memory = self.session.api.spool().claim();
        // In base64, as a value and as a text.
        memory.grow_to(octets.saturating_mul(3)).map_err(|_| Refusal::unavailable())?;
        let attachment = |file: &File| {
            let content = STANDARD.encode(self.body.get(file.at.clone()).unwrap_or_default());
            json!({"filename": file.name, "content_type": file.content_type, "content": content})
        };
        Ok((self.files.iter().map(attachment).collect(), memory))
    }
}

/// Reads a form of a message with at most `limit` octets.
async fn read(spool: &ClientSpool, body: Body, limit: usize) -> Result<Bytes, Refusal> {
    let largest = limit.saturating_add(TEXTS);
    let too_large = || {
        let detail = format!("An email with its files has at most {limit} octets (limits.message_size).");
        Refusal::too_large(&detail, "Attach less, or send a link to the file.")
    };
    let broken = || Refusal::malformed("The connection closed, or was too slow, before the end of the form.");
    let mut incoming = spool.begin();
    let mut pieces = body.into_data_stream();
    let (last, mut progress) = (Instant::now() + LONGEST, spool.progress());
    loop {
        let piece = match timeout_at(progress.period_ends().min(last), pieces.next()).await {
            Ok(Some(Ok(piece))) => piece,
            Ok(Some(Err(_))) => return Err(broken()),
            Ok(None) => break,
            Err(_) if Instant::now() >= last || progress.is_too_slow(Instant::now()) => return Err(broken()),
            Err(_) => continue,
        };
        if piece.len() > largest.saturating_sub(incoming.len()) {
            return Err(too_large());
        }
        progress.received(piece.len());
        incoming.push(&piece).map_err(|_| Refusal::unavailable())?;
        incoming.spill().await.map_err(|error| {
            tracing::error!(listener = "http", %error, "cannot write a form to the spool");
            Refusal::unavailable()
        })?;
    }
    incoming.into_bytes().await.map_err(|_| Refusal::unavailable())
}
