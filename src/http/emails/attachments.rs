//! `GET …/emails/{id}/attachments/{number}`: an attachment, decoded, or a range of it (RFC 9110 §14); and links to it.
//!
//! Invariant: a browser stores it and never displays it: what a stranger sent must not run as a page of this site.

use super::{SHOW_FACTOR, find};
use crate::clock::Timestamp;
use crate::http::body::no_room;
use crate::http::caller::Caller;
use crate::http::document::parameters::RangeHeader;
use crate::http::document::requests::LinkInput;
use crate::http::fields::JsonBody;
use crate::http::problem::Problem;
use crate::http::reply::put;
use crate::http::{Context, HttpContext};
use crate::id::{AccountId, InboxId, MessageId};
use crate::message::mime::Tree;
use crate::message::text::attachment;
use crate::net::request::Client;
use crate::resources::Owner;
use crate::resources::spool::{ClientSpool, PATIENCE};
use crate::store::messages::MessageSummary;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::time::Duration;
use utoipa::ToSchema;

/// Seconds that a link works, by default and at most.
const EXPIRES_IN: u64 = 3600;
const MAX_EXPIRES_IN: u64 = 7 * 86_400;
/// Letters of a file name in a response at most.
const NAME: usize = 120;

/// An attachment that was found.
struct Found {
    filename: Option<String>,
    content_type: String,
    octets: Bytes,
}

/// A link to an attachment.
#[derive(Serialize, ToSchema)]
#[schema(as = AttachmentLink)]
pub(in crate::http) struct LinkJson {
    /// The path, which needs no token.
    url: String,
    expires_at: Timestamp,
}

/// An attachment, decoded
#[utoipa::path(
    get, path = "/api/v1/emails/{id}/attachments/{number}", tag = "Emails",
    params(("id" = MessageId, Path), ("number" = u32, Path, description = "`id` of the attachment"), RangeHeader),
    responses((status = 200, body = Vec<u8>, content_type = "*/*"), (status = 206, body = Vec<u8>, content_type = "*/*"),
        (status = 416))
)]
pub(in crate::http) async fn download(
    caller: Caller,
    State(context): Context,
    Path((id, number)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (inbox, message) = find(&caller, &context, &id).await?;
    let number = number.parse().map_err(|_| Problem::not_found())?;
    Ok(respond(read(&caller.spool, &context, inbox.account, message, number).await?, &headers))
}

/// A link to an attachment
///
/// Its path needs no token, until its end.
#[utoipa::path(
    post, path = "/api/v1/emails/{id}/attachments/{number}/link", tag = "Emails",
    params(("id" = MessageId, Path), ("number" = u32, Path, description = "`id` of the attachment")),
    request_body = Option<LinkInput>, responses((status = 201, body = LinkJson))
)]
pub(in crate::http) async fn link(
    caller: Caller,
    State(context): Context,
    Path((id, number)): Path<(String, String)>,
    body: JsonBody,
) -> Result<(StatusCode, Json<LinkJson>), Problem> {
    let (inbox, message) = find(&caller, &context, &id).await?;
    let number: usize = number.parse().map_err(|_| Problem::not_found())?;
    let mut fields = body.optional(&caller.spool).await?;
    let seconds = fields.number("expires_in").unwrap_or(EXPIRES_IN);
    if !(1..=MAX_EXPIRES_IN).contains(&seconds) {
        fields.fault("expires_in", format!("must be 1 to {MAX_EXPIRES_IN} seconds"));
    }
    fields.finish()?;
    let (of, id, account) = (inbox.id.clone(), message.id.clone(), inbox.account);
    // Only to one that is there.
    read(&caller.spool, &context, account, message, number).await?;
    let expires_at = context.clock.now().after(Duration::from_secs(seconds));
    let link = context.links.make(&format!("{of} {id} {number}"), expires_at).map_err(|error| {
        tracing::error!(listener = "http", %error, "cannot make a link");
        Problem::unavailable()
    })?;
    Ok((StatusCode::CREATED, Json(LinkJson { url: format!("/api/v1/attachments/{link}"), expires_at })))
}

/// An attachment by its link
///
/// Needs no token.
#[utoipa::path(
    get, path = "/api/v1/attachments/{link}", tag = "Emails", security(()),
    params(("link" = String, Path), RangeHeader),
    responses((status = 200, body = Vec<u8>, content_type = "*/*"), (status = 206, body = Vec<u8>, content_type = "*/*"),
        (status = 404), (status = 416))
)]
pub(in crate::http) async fn follow(
    client: Option<Extension<Client>>,
    State(context): Context,
    Path(link): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let target = context.links.target(&link, context.clock.now()).ok_or_else(Problem::not_found)?;
    let mut parts = target.split(' ');
    let inbox: Option<InboxId> = parts.next().and_then(|id| id.parse().ok());
    let id: Option<MessageId> = parts.next().and_then(|id| id.parse().ok());
    let number = parts.next().and_then(|number| number.parse().ok());
    let (Some(inbox), Some(id), Some(number)) = (inbox, id, number) else { return Err(Problem::not_found()) };
    let inbox = context.store.inbox_of_any_account(&inbox).await?.ok_or_else(Problem::not_found)?;
    let message = context.store.message(&inbox.id, &id).await?.ok_or_else(Problem::not_found)?;
    let address = client.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Extension(client)| client.0);
    let found = read(&context.spool.client(address), &context, inbox.account, message, number).await?;
    Ok(respond(found, &headers))
}

async fn read(
    spool: &ClientSpool,
    context: &HttpContext,
    account: AccountId,
    message: MessageSummary,
    number: usize,
) -> Result<Found, Problem> {
    let mut work = spool.claim();
    let size = usize::try_from(message.size).unwrap_or(usize::MAX);
    work.wait_to_grow(size.saturating_mul(SHOW_FACTOR), PATIENCE).await.map_err(no_room)?;
    let store = context.store.for_account(&account);
    let raw = store.message_raw(&message.inbox, &message.id).await?.ok_or_else(Problem::not_found)?;
    let owner = Owner::Account(account);
    let found = context.reading.read(&owner, size, move |reader, budget| {
        let _work = work;
        budget.check()?;
        let readable = reader.begin(message.content);
        let tree = Tree::parse(&raw.header, &raw.body, &readable.limits);
        Ok(attachment(&tree, number).map(|(part, octets)| Found {
            filename: part.filename,
            content_type: part.content_type,
            octets: octets.into_owned().into(),
        }))
    });
    found.await?.ok_or_else(Problem::not_found)
}

fn respond(found: Found, headers: &HeaderMap) -> Response {
    let size = found.octets.len();
    let wanted = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let mut response = match wanted.and_then(|text| range(text, size)) {
        None => Body::from(found.octets).into_response(),
        Some(Err(())) => {
            let mut response = StatusCode::RANGE_NOT_SATISFIABLE.into_response();
            put(&mut response, header::CONTENT_RANGE, &format!("bytes */{size}"));
            return response;
        }
        Some(Ok(range)) => {
            let shown = format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1));
            let mut response = (StatusCode::PARTIAL_CONTENT, Body::from(found.octets.slice(range))).into_response();
            put(&mut response, header::CONTENT_RANGE, &shown);
            response
        }
    };
    put(&mut response, header::ACCEPT_RANGES, "bytes");
    put(&mut response, header::CONTENT_TYPE, &media_type(&found.content_type));
    put(&mut response, header::CONTENT_DISPOSITION, &disposition(found.filename.as_deref()));
    put(&mut response, HeaderName::from_static("content-security-policy"), "default-src 'none'; sandbox");
    response
}

/// One range of octets; `None` where there is none that is understood, which is as if there were no such field. An error where it has no
/// octet.
fn range(text: &str, size: usize) -> Option<Result<Range<usize>, ()>> {
    let (first, last) = text.strip_prefix("bytes=")?.trim().split_once('-')?;
    let number = |text: &str| if text.bytes().all(|b| b.is_ascii_digit()) { text.parse::<usize>().ok() } else { None };
    let range = match (first.trim(), last.trim()) {
        ("", last) => size.saturating_sub(number(last)?)..size,
        (first, "") => number(first)?..size,
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            first..last.saturating_add(1).min(size)
        }
    };
    Some(if range.start < range.end { Ok(range) } else { Err(()) })
}

/// The sender's media type, where it is one.
fn media_type(sent: &str) -> String {
    let is_token =
        |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b));
    match sent.split_once('/') {
        Some((kind, subtype)) if is_token(kind) && is_token(subtype) => sent.to_owned(),
        _ => "application/octet-stream".to_owned(),
    }
}

/// RFC 6266: the name without what a path or a shell reads, in ASCII and, where that loses something, in UTF-8 too.
fn disposition(name: Option<&str>) -> String {
    let is_unsafe = |c: char| c.is_control() || "/\\:*?\"<>|%;'".contains(c) || ('\u{202a}'..='\u{202e}').contains(&c);
    let name: String =
        name.unwrap_or_default().chars().take(NAME).map(|c| if is_unsafe(c) { '_' } else { c }).collect();
    let name = name.trim().trim_start_matches('.').trim();
    let name = if name.is_empty() { "attachment" } else { name };
    let ascii: String = name.chars().map(|c| if c.is_ascii() { c } else { '_' }).collect();
    let mut value = format!("attachment; filename=\"{ascii}\"");
    if ascii != name {
        value.push_str("; filename*=UTF-8''");
        for octet in name.bytes() {
            if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
                value.push(char::from(octet));
            } else {
                let _ = write!(value, "%{octet:02X}");
            }
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_rfc_9110_says() {
        for (text, wanted) in [
            ("bytes=0-3", Some(Ok(0..4))),
            ("bytes=8-99", Some(Ok(8..10))),
            ("bytes=4-", Some(Ok(4..10))),
            ("bytes=-3", Some(Ok(7..10))),
            ("bytes=-99", Some(Ok(0..10))),
            ("bytes=10-", Some(Err(()))),
            ("bytes=-0", Some(Err(()))),
            ("bytes=3-1", None),
            ("bytes=0-1,4-5", None),
            ("lines=0-1", None),
            ("bytes=+1-2", None),
            ("bytes=99999999999999999999-", None),
        ] {
            assert_eq!(range(text, 10), wanted, "{text}");
        }
    }

    #[test]
    fn a_file_name_has_nothing_that_a_path_or_a_field_reads() {
        for (name, wanted) in [
            (Some("a b.txt"), "attachment; filename=\"a b.txt\""),
            (Some("../../etc/passwd"), "attachment; filename=\"_.._etc_passwd\""),
            (Some("x\"\r\nSet-Cookie: a"), "attachment; filename=\"x___Set-Cookie_ a\""),
            (Some("\u{202e}gpj.exe"), "attachment; filename=\"_gpj.exe\""),
            (Some("Bö.png"), "attachment; filename=\"B_.png\"; filename*=UTF-8''B%C3%B6.png"),
            (Some("..."), "attachment; filename=\"attachment\""),
            (None, "attachment; filename=\"attachment\""),
        ] {
            assert_eq!(disposition(name), wanted, "{name:?}");
        }
        assert_eq!(media_type("text/html"), "text/html");
        assert_eq!(media_type("text/html\r\nx: y"), "application/octet-stream");
    }
}
