//! `POST /api/v1/emails/send`: submits a message, as over SMTP by the inbox.
//!
//! Three forms: JSON with the message's parts, JSON with a complete message in `raw`, or a `message/rfc822` body.
//! Invariant: 201 means that the message is on disk.

use super::body::{no_room, read_body};
use super::caller::Caller;
use super::compose::{Content, Mailbox, mailbox, mailboxes};
use super::document::parameters::SenderQuery;
use super::document::requests::SendInput;
use super::fields::{Fields, is_json, media_type};
use super::problem::Problem;
use super::query::Parameters;
use super::sending_identity::not_of_the_inbox;
use super::version::changed_since;
use super::{Context, HttpContext};
use crate::address::Address;
use crate::auth::login::{Login, Scope};
use crate::clock::Timestamp;
use crate::config::Limits;
use crate::envelope::{MailParameters, RecipientParameters, Recipients};
use crate::id::{InboxId, MessageId};
use crate::message;
use crate::resources::Owner;
use crate::resources::spool::{PATIENCE, STORED_FACTOR};
use crate::store::email_changes::Replaced;
use crate::store::inboxes::Inbox;
use crate::store::sent::{Note, Status};
use crate::submission::{Accepted, Draft, Recipient, RecipientError, Refusal};
use crate::verification::status::VerifiedStatus;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// Octets of a message type, and of metadata as JSON.
const MESSAGE_TYPE: usize = 100;
const METADATA: usize = 16 * 1024;
/// How long before it is sent a message may be accepted.
const SCHEDULE: Duration = Duration::from_secs(7 * 86_400);
/// How much larger than the message its JSON may be: escapes, base64, field names.
pub(super) const JSON_FACTOR: usize = 2;

/// A message that was accepted. `id` is that of its copy in Sent.
#[derive(Serialize, ToSchema)]
#[schema(as = SendResult)]
pub(super) struct Sent {
    id: MessageId,
    inbox_id: InboxId,
    /// The Message-ID that it leaves with.
    message_id: String,
    status: Status,
    from: Address,
    fallback: Option<FallbackJson>,
    held: bool,
    rcpt_to: Vec<Address>,
    /// The ID that the first host that accepts it queues it under: not known yet, and with the email later.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    provider_message_id: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = SendFallback)]
struct FallbackJson {
    from: Address,
    reason: VerifiedStatus,
}

pub(super) struct SendRequest {
    /// Given in the request; has to be an address of the inbox.
    from: Option<Address>,
    pub(super) rcpt_to: Vec<Address>,
    pub(super) message: Message,
    pub(super) options: Options,
}

/// What is asked for beside the message.
#[derive(Default)]
pub(super) struct Options {
    note: Note,
    send_at: Option<Timestamp>,
}

impl Options {
    /// Of a draft.
    pub(super) fn of_draft(draft: Replaced, send_at: Option<Timestamp>) -> Self {
        Self { note: Note { draft: Some(draft), ..Note::default() }, send_at }
    }

    /// Reads `message_type`, `metadata` and `send_at`.
    pub(super) fn read(fields: &mut Fields) -> Self {
        let message_type = fields.text("message_type");
        if message_type.as_deref().is_some_and(|text| text.len() > MESSAGE_TYPE || text.chars().any(char::is_control)) {
            fields.fault("message_type", format!("must be one line of at most {MESSAGE_TYPE} octets"));
        }
        let metadata = if fields.has("metadata") { Some(fields.object("metadata")) } else { None };
        let metadata = metadata.map(|object| Value::Object(object).to_string());
        if metadata.as_deref().is_some_and(|text| text.len() > METADATA) {
            fields.fault("metadata", format!("must be an object of at most {METADATA} octets of JSON"));
        }
        Self { note: Note { message_type, metadata, draft: None }, send_at: fields.parsed("send_at") }
    }
}

pub(super) enum Message {
    Raw(Vec<u8>),
    Parts { from: Option<Mailbox>, to: Vec<Mailbox>, cc: Vec<Mailbox>, bcc: Vec<Mailbox>, content: Box<Content> },
}

/// Sends a message
///
/// The answer is given when the message is on disk.
#[utoipa::path(
    post, path = "/api/v1/emails/send", tag = "Sending", params(SenderQuery),
    request_body(content((SendInput = "application/json"), (String = "message/rfc822"))),
    responses((status = 201, body = Sent), (status = 507))
)]
pub(super) async fn send(
    caller: Caller,
    State(context): Context,
    mut parameters: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Sent>), Problem> {
    let limits = &context.config.limits;
    // The memory for parsing and composing, charged until this function returns.
    let mut work = caller.spool.claim();
    let is_rfc822 = media_type(&headers) == "message/rfc822";
    let in_query = parameters.take::<String>("inbox_id");
    parameters.finish()?;
    let (body, factor) = if is_rfc822 {
        // The message, and its stored form.
        (read_body(&caller.spool, body, limits.message_size).await?, STORED_FACTOR)
    } else {
        is_json(&headers)?;
        // The JSON values, and the message with its parts encoded.
        (read_body(&caller.spool, body, limits.message_size.saturating_mul(JSON_FACTOR)).await?, 2)
    };
    work.wait_to_grow(body.len().saturating_mul(factor), PATIENCE).await.map_err(no_room)?;
    let (owner, config) = (caller.owner(), Arc::clone(&context.config));
    let request = context.reading.work().run(&owner, body.len(), move |_| {
        let limits = &config.limits;
        Ok(if is_rfc822 {
            raw_request(&body, limits).map(|request| (in_query, request))
        } else {
            Fields::parse(&body).and_then(|fields| {
                let mut fields = fields.unwrapped("email");
                let inbox = fields.text("inbox_id").or(in_query);
                json_request(fields, limits).map(|request| (inbox, request))
            })
        })
    });
    let (inbox, request) = request.await??;
    let inbox = sending_inbox(&caller, &context, inbox).await?;
    submit(&caller, &context, inbox, request).await
}

/// The inbox that sends: the one that is named, or the only one that the token sees.
pub(super) async fn sending_inbox(
    caller: &Caller,
    context: &HttpContext,
    named: Option<String>,
) -> Result<Inbox, Problem> {
    let only = match (named, &caller.principal.scope) {
        (Some(named), _) => Some(named),
        (None, Scope::Operator) => None,
        (None, Scope::Account(account)) => match caller.store(context).inbox_ids(account).await?.as_slice() {
            [only] => Some(only.to_string()),
            _ => None,
        },
        (None, Scope::Inboxes(_, inboxes)) => match inboxes.as_slice() {
            [only] => Some(only.to_string()),
            _ => None,
        },
    };
    match only {
        Some(id) => caller.inbox(context, &id).await,
        None => Err(Problem::invalid_field("inbox_id", "is required, where the token sees more than one inbox")
            .with_status(StatusCode::BAD_REQUEST)),
    }
}

/// Submits a message.
pub(super) async fn submit(
    caller: &Caller,
    context: &HttpContext,
    inbox: Inbox,
    request: SendRequest,
) -> Result<(StatusCode, Json<Sent>), Problem> {
    let (limits, owner) = (&context.config.limits, Owner::Account(inbox.account.clone()));
    if inbox.disabled_at.is_some() {
        return Err(inbox_disabled("The inbox is disabled, so it sends no mail."));
    }
    if request.rcpt_to.len() > limits.recipients {
        return Err(too_many_recipients(limits.recipients));
    }
    let login = login(context, caller, &inbox, &request).await?;
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
    let SendRequest { options: Options { note, send_at }, .. } = request;
    let now = context.clock.now();
    let send_at = send_at.filter(|send_at| *send_at > now);
    if send_at.is_some_and(|send_at| send_at.since(now) > SCHEDULE) {
        return Err(Problem::invalid_field("send_at", "must be at most 7 days from now"));
    }
    let found =
        context.submission.recipients(owner, &inbox.id, request.rcpt_to, raw.len()).await.map_err(no_such_recipient)?;
    let listed = found.iter().map(|recipient| recipient.address().clone()).collect();
    let leaves = found.iter().any(|recipient| matches!(recipient, Recipient::Elsewhere(_)));
    let rcpt_to = Recipients::new(found).ok_or_else(no_recipient)?.map(|to| (to, RecipientParameters::default()));
    let parameters = MailParameters::default();
    let draft =
        Draft { parameters, rcpt_to, raw: raw.into(), protocol: "HTTP", client: Some(caller.client), send_at, note };
    let accepted = context.submission.accept(&login, draft).await;
    let _ = caller.charged.set(context.submission.quotas(&inbox.account).to_vec());
    let accepted = accepted.map_err(problem)?;
    let status = match (accepted.held, send_at, leaves) {
        (true, ..) => Status::Held,
        (false, Some(_), _) => Status::Scheduled,
        (false, None, true) => Status::Queued,
        (false, None, false) => Status::Sent,
    };
    Ok((StatusCode::CREATED, Json(sent(inbox.id, accepted, status, listed))))
}

fn sent(inbox_id: InboxId, accepted: Accepted, status: Status, rcpt_to: Vec<Address>) -> Sent {
    let fallback = accepted.fallback.map(|f| FallbackJson { from: f.from, reason: f.reason });
    let Accepted { id, message_id, from, held, .. } = accepted;
    let id = MessageId::of_sent(&id);
    Sent { id, inbox_id, message_id, status, from, fallback, held, rcpt_to, provider_message_id: None }
}

fn too_many_recipients(max_recipients: usize) -> Problem {
    Problem::invalid_field("to", format!("a message has at most {max_recipients} recipients"))
}

fn no_recipient() -> Problem {
    let text = "a message needs at least one recipient in to, cc or bcc";
    Problem::invalid_field("to", text).with_status(StatusCode::BAD_REQUEST)
}

fn no_such_recipient(error: RecipientError) -> Problem {
    let text = error.to_string();
    match error {
        RecipientError::NoSuchUser(_) => Problem::invalid_field("to", text),
        RecipientError::Blocked { entry, .. } => Problem::new(
            StatusCode::FORBIDDEN,
            "recipient_blocked",
            "A list blocks a recipient",
            text,
            format!(
                "Leave this recipient out, or remove the entry {} (DELETE /api/v1/access_entries/{}).",
                entry.pattern, entry.id
            ),
        ),
        RecipientError::Full(_) => inbox_full(text, "Leave this recipient out, or send to it later."),
        RecipientError::Disabled(_) => inbox_disabled(text),
        RecipientError::Temporary(error) => error.into(),
    }
}

/// 409: an inbox takes no mail, or sends none.
pub(super) fn inbox_disabled(detail: impl Into<String>) -> Problem {
    let fix = "Enable the inbox (PATCH /api/v1/inboxes/{id} with is_disabled: false), or use another one.";
    Problem::new(StatusCode::CONFLICT, "inbox_disabled", "An inbox is disabled", detail, fix)
}

pub(super) fn inbox_full(detail: String, fix: &str) -> Problem {
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
        Refusal::RateLimited { retry_after, .. } => Problem::too_many(text, retry_after),
        Refusal::ThreadFull { retry_after, .. } => Problem::too_many(text, retry_after).with_code("thread_limit"),
        Refusal::HoldsSecret(_) => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "token_in_message",
            "The message contains a secret of the account",
            text,
            "Remove the API token or webhook secret from the text, the subject, the other fields and the attachments.",
        ),
        Refusal::QueueFull { .. } => Problem::too_many(text, Duration::from_secs(60)).with_code("queue_full"),
        Refusal::RecipientFull(_) => inbox_full(text, "Leave these recipients out, or send to them later."),
        Refusal::SenderFull => inbox_full(text, "Delete messages of the inbox, or set its save_sent to false."),
        Refusal::NoSuchDraft => Problem::not_found(),
        Refusal::DraftChanged => changed_since(),
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

/// The same for a message that is not sent yet.
pub(super) async fn login_of(
    context: &HttpContext,
    caller: &Caller,
    inbox: &Inbox,
    from: Option<Address>,
) -> Result<Login, Problem> {
    let login = context.authenticator.log_in_as(&caller.principal, inbox, from).await?;
    login.ok_or_else(|| not_of_the_inbox("from"))
}

fn from_of(raw: &[u8]) -> Option<Address> {
    message::addresses_of(message::split(raw).0, "From").flatten().next()
}

pub(super) fn json_request(mut fields: Fields, limits: &Limits) -> Result<SendRequest, Problem> {
    let options = Options::read(&mut fields);
    if fields.has("raw") {
        let parts = Addressed::read(&mut fields);
        let raw = fields.required_text("raw");
        fields.finish()?;
        let rcpt_to = parts.recipients(limits)?;
        let mut request = raw_request(raw.unwrap_or_default().as_bytes(), limits)?;
        if !rcpt_to.is_empty() {
            request.rcpt_to = rcpt_to;
        }
        return Ok(SendRequest { from: parts.from.map(|from| from.address), options, ..request });
    }
    let addressed = Addressed::read(&mut fields);
    let content = Content::read(&mut fields);
    if !content.has_body() {
        fields.fault("text_body", "is required, or html_body, or attachments");
    }
    fields.finish()?;
    parts_request(addressed, content, options, limits)
}

/// Who a message is from and for.
#[derive(Default)]
pub(super) struct Addressed {
    pub(super) from: Option<Mailbox>,
    pub(super) to: Vec<Mailbox>,
    pub(super) cc: Vec<Mailbox>,
    pub(super) bcc: Vec<Mailbox>,
}

impl Addressed {
    /// Reads `from`, `to`, `cc` and `bcc`.
    pub(super) fn read(fields: &mut Fields) -> Self {
        let from = mailbox(fields, "from");
        let [to, cc, bcc] = ["to", "cc", "bcc"].map(|field| mailboxes(fields, field));
        Self { from, to, cc, bcc }
    }

    fn recipients(&self, limits: &Limits) -> Result<Vec<Address>, Problem> {
        let mut rcpt_to = Vec::new();
        for mailbox in self.to.iter().chain(&self.cc).chain(&self.bcc) {
            add_recipient(&mut rcpt_to, mailbox.address.clone(), limits.recipients)?;
        }
        Ok(rcpt_to)
    }
}

/// A message of parts.
pub(super) fn parts_request(
    addressed: Addressed,
    content: Content,
    options: Options,
    limits: &Limits,
) -> Result<SendRequest, Problem> {
    let rcpt_to = addressed.recipients(limits)?;
    if rcpt_to.is_empty() {
        return Err(no_recipient());
    }
    let Addressed { from, to, cc, bcc } = addressed;
    let address = from.as_ref().map(|mailbox| mailbox.address.clone());
    let message = Message::Parts { from, to, cc, bcc, content: Box::new(content) };
    Ok(SendRequest { from: address, rcpt_to, message, options })
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
pub(super) fn raw_request(raw: &[u8], limits: &Limits) -> Result<SendRequest, Problem> {
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
    Ok(SendRequest { from: None, rcpt_to, message: Message::Raw(raw), options: Options::default() })
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
