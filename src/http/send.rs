//! `POST …/inboxes/{id}/messages`: submits a message, as over SMTP by the inbox.
//!
//! Three forms: JSON with the message's parts, JSON with a complete message in `raw`, or a `message/rfc822` body.
//! Invariant: 202 means that the message is on disk.

use super::HttpContext;
use super::body::{no_room, read_body};
use super::caller::Caller;
use super::compose::{Content, Mailbox, mailbox, mailboxes};
use super::fields::{Fields, is_json, media_type};
use super::problem::Problem;
use super::sending_identity::not_of_the_inbox;
use crate::address::Address;
use crate::auth::login::Login;
use crate::config::Limits;
use crate::envelope::Recipients;
use crate::id::SubmissionId;
use crate::message;
use crate::resources::Owner;
use crate::resources::spool::{PATIENCE, STORED_FACTOR};
use crate::store::inboxes::Inbox;
use crate::submission::{Accepted, Draft, RecipientError, Refusal};
use crate::verification::status::VerifiedStatus;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// How much larger than the message its JSON may be: escapes, base64, field names.
const JSON_FACTOR: usize = 2;

#[derive(Serialize)]
pub(super) struct Sent {
    id: SubmissionId,
    from: Address,
    fallback: Option<FallbackJson>,
    held: bool,
    rcpt_to: Vec<Address>,
}

#[derive(Serialize)]
struct FallbackJson {
    from: Address,
    reason: VerifiedStatus,
}

pub(super) struct SendRequest {
    /// Given in the request; has to be an address of the inbox.
    from: Option<Address>,
    pub(super) rcpt_to: Vec<Address>,
    pub(super) message: Message,
}

pub(super) enum Message {
    Raw(Vec<u8>),
    Parts { from: Option<Mailbox>, to: Vec<Mailbox>, cc: Vec<Mailbox>, bcc: Vec<Mailbox>, content: Box<Content> },
}

pub(super) async fn send(
    caller: Caller,
    State(context): State<HttpContext>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Sent>), Problem> {
    let inbox = caller.inbox(&context, &id).await?;
    let limits = &context.config.limits;
    // The memory for parsing and composing, charged until this function returns.
    let mut work = caller.spool.claim();
    let is_rfc822 = media_type(&headers) == "message/rfc822";
    let (body, factor) = if is_rfc822 {
        // The message, and its stored form.
        (read_body(&caller.spool, body, limits.message_size).await?, STORED_FACTOR)
    } else {
        is_json(&headers)?;
        // The JSON values, and the message with its parts encoded.
        (read_body(&caller.spool, body, limits.message_size.saturating_mul(JSON_FACTOR)).await?, 2)
    };
    work.wait_to_grow(body.len().saturating_mul(factor), PATIENCE).await.map_err(no_room)?;
    let (owner, config) = (Owner::Account(inbox.account.clone()), Arc::clone(&context.config));
    let request = context.reading.work().run(&owner, body.len(), move |_| {
        let limits = &config.limits;
        Ok(if is_rfc822 {
            raw_request(&body, limits)
        } else {
            Fields::parse(&body).and_then(|f| json_request(f, limits))
        })
    });
    let request = request.await??;
    if request.rcpt_to.len() > limits.recipients {
        return Err(too_many_recipients(limits.recipients));
    }
    let login = login(&context, &caller, &inbox, &request).await?;
    let raw = match request.message {
        Message::Raw(raw) => raw,
        Message::Parts { from, to, cc, bcc, content } => {
            let from = from.unwrap_or_else(|| Mailbox::of(login.address.clone()));
            let written =
                context.reading.work().run(&owner, content.octets(), move |_| Ok(content.write(&from, &to, &cc, &bcc)));
            written.await?
        }
    };
    if raw.len() > limits.message_size {
        return Err(Problem::too_large(limits.message_size));
    }
    let found = context.submission.recipients(owner, request.rcpt_to, raw.len()).await.map_err(no_such_recipient)?;
    let listed = found.iter().map(|recipient| recipient.address().clone()).collect();
    let rcpt_to = Recipients::new(found).ok_or_else(no_recipient)?;
    let draft = Draft { rcpt_to, raw: raw.into(), protocol: "HTTP", client: Some(caller.client) };
    let accepted = context.submission.accept(&login, draft).await.map_err(problem)?;
    Ok((StatusCode::ACCEPTED, Json(sent(accepted, listed))))
}

fn sent(accepted: Accepted, rcpt_to: Vec<Address>) -> Sent {
    let fallback = accepted.fallback.map(|f| FallbackJson { from: f.from, reason: f.reason });
    Sent { id: accepted.id, from: accepted.from, fallback, held: accepted.held, rcpt_to }
}

fn too_many_recipients(max_recipients: usize) -> Problem {
    Problem::invalid_field("to", format!("a message has at most {max_recipients} recipients"))
}

fn no_recipient() -> Problem {
    Problem::invalid_field("to", "a message needs at least one recipient in to, cc or bcc")
}

fn no_such_recipient(error: RecipientError) -> Problem {
    let text = error.to_string();
    match error {
        RecipientError::NoSuchUser(_) => Problem::invalid_field("to", text),
        RecipientError::Full(_) => inbox_full(text, "Leave this recipient out, or send to it later."),
        RecipientError::Temporary(error) => error.into(),
    }
}

fn inbox_full(detail: String, fix: &str) -> Problem {
    Problem::new(StatusCode::INSUFFICIENT_STORAGE, "inbox_full", "An inbox is full", detail, fix)
}

fn problem(refusal: Refusal) -> Problem {
    let text = refusal.to_string();
    match refusal {
        Refusal::Unverified { .. } => Problem::new(
            StatusCode::FORBIDDEN,
            "domain_not_verified",
            "The domain is not verified",
            text,
            "Publish the domain's records and verify it, or set its on_unverified to fallback.",
        ),
        Refusal::Malformed(_) | Refusal::Loop => Problem::invalid_field("raw", text).with_code("malformed_message"),
        Refusal::RateLimited { .. } => Problem::too_many(text, Duration::from_secs(60)),
        Refusal::QueueFull { .. } => Problem::too_many(text, Duration::from_secs(60)).with_code("queue_full"),
        Refusal::RecipientFull(_) => inbox_full(text, "Leave these recipients out, or send to them later."),
        Refusal::SenderFull => inbox_full(text, "Delete messages of the inbox, or set its save_sent to false."),
        Refusal::DiskLow | Refusal::Temporary => Problem::unavailable(),
    }
}

/// The equivalent SMTP session: logged in as the given `from`, or else as the inbox's platform address. The From of a raw
/// message is used if it belongs to the inbox; otherwise it is rewritten, as over SMTP.
async fn login(context: &HttpContext, caller: &Caller, inbox: &Inbox, request: &SendRequest) -> Result<Login, Problem> {
    let (wanted, must) = match (&request.from, &request.message) {
        (Some(from), _) => (Some(from.clone()), true),
        (None, Message::Raw(raw)) => (from_of(raw), false),
        (None, Message::Parts { .. }) => (None, false),
    };
    let log_in_as = |address| context.authenticator.log_in_as(&caller.principal, inbox, address);
    let login = match log_in_as(wanted).await? {
        None if !must => log_in_as(None).await?,
        login => login,
    };
    login.ok_or_else(|| not_of_the_inbox("from"))
}

fn from_of(raw: &[u8]) -> Option<Address> {
    message::addresses_of(message::split(raw).0, "From").flatten().next()
}

pub(super) fn json_request(mut fields: Fields, limits: &Limits) -> Result<SendRequest, Problem> {
    let from = mailbox(&mut fields, "from");
    let [to, cc, bcc] = ["to", "cc", "bcc"].map(|field| mailboxes(&mut fields, field));
    let mut rcpt_to = Vec::new();
    for mailbox in to.iter().chain(&cc).chain(&bcc) {
        add_recipient(&mut rcpt_to, mailbox.address.clone(), limits.recipients)?;
    }
    let address = from.as_ref().map(|mailbox| mailbox.address.clone());
    if fields.has("raw") {
        let raw = fields.required_text("raw");
        fields.finish()?;
        let mut request = raw_request(raw.unwrap_or_default().as_bytes(), limits)?;
        if !rcpt_to.is_empty() {
            request.rcpt_to = rcpt_to;
        }
        return Ok(SendRequest { from: address, ..request });
    }
    let content = Box::new(Content::read(&mut fields));
    fields.finish()?;
    if rcpt_to.is_empty() {
        return Err(no_recipient());
    }
    Ok(SendRequest { from: address, rcpt_to, message: Message::Parts { from, to, cc, bcc, content } })
}

/// Adds each spelling once. The limit also bounds the linear search.
fn add_recipient(rcpt_to: &mut Vec<Address>, address: Address, limit: usize) -> Result<(), Problem> {
    if !rcpt_to.contains(&address) {
        if rcpt_to.len() >= limit {
            return Err(too_many_recipients(limit));
        }
        rcpt_to.push(address);
    }
    Ok(())
}

/// A complete message; its To, Cc and Bcc fields give the recipients.
fn raw_request(raw: &[u8], limits: &Limits) -> Result<SendRequest, Problem> {
    if message::has_nul(raw) {
        return Err(Problem::invalid_field("raw", message::NUL_REFUSED));
    }
    let raw = message::line_ends_as_crlf(raw);
    let header = message::split(&raw).0;
    if header.is_empty() {
        return Err(Problem::invalid_field("raw", "must be a message with header fields"));
    }
    if header.len() > limits.message_header_size {
        let text = format!("has more than {} octets of header fields", limits.message_header_size);
        return Err(Problem::invalid_field("raw", text));
    }
    let mut rcpt_to = Vec::new();
    for name in ["To", "Cc", "Bcc"] {
        for (at, address) in message::addresses_of(header, name).enumerate() {
            let address = address.ok_or_else(|| {
                Problem::invalid_field("raw", format!("has an invalid address: number {} of {name}", at + 1))
            })?;
            add_recipient(&mut rcpt_to, address, limits.recipients)?;
        }
    }
    Ok(SendRequest { from: None, rcpt_to, message: Message::Raw(raw) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipients_of_a_raw_message_come_from_its_fields() {
        let raw = b"From: a@x.org\nTo: B <b@x.org>, c@x.org\nCc: B@X.org, b@X.org\nBcc: d@x.org\n\nhi\n";
        let limits = Limits { recipients: 9, ..Limits::default() };
        let request = raw_request(raw, &limits).unwrap();
        let all: Vec<_> = request.rcpt_to.iter().map(ToString::to_string).collect();
        assert_eq!(all, ["b@x.org", "c@x.org", "B@x.org", "d@x.org"]);
        assert!(raw_request(b"To: not an address\r\n\r\n", &limits).is_err());
        assert!(raw_request(b"To: a@b.org\r\n\r\n\0", &limits).is_err());
        assert!(raw_request(raw, &Limits { recipients: 2, ..limits }).is_err());
        let long = format!("To: b@x.org{}\n\nhi", ", b@x.org".repeat(200_000));
        assert!(raw_request(long.as_bytes(), &limits).is_err());
    }
}
