//! `POST /api/v1/inboxes/{id}/import`: puts messages into a mailbox with their flags and dates, as APPEND does: for moving mailboxes here.
//!
//! Invariant: all messages of a request are stored or none. Nothing is sent, and no webhook learns of mail that has come in.

use super::super::Id;
use crate::clock::Timestamp;
use crate::http::Context;
use crate::http::body::no_room;
use crate::http::caller::Caller;
use crate::http::compose::decoded_base64;
use crate::http::document::requests::ImportInput;
use crate::http::fields::{Fields, JsonBody};
use crate::http::problem::Problem;
use crate::http::send::{JSON_FACTOR, inbox_full};
use crate::id::InboxId;
use crate::message::fields::header_end;
use crate::message::{NUL_REFUSED, has_nul, line_ends_as_crlf};
use crate::resources::Owner;
use crate::resources::spool::{PATIENCE, STORED_FACTOR};
use crate::store::append::{Append, AppendError};
use crate::store::batch::BATCH;
use crate::store::keywords::{FlagError, KeywordLimits};
use crate::store::mailboxes::{MailboxError, canonical_name};
use crate::store::messages::Flags;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

const BAD_NAME: &str = "must be levels of text, separated by single slashes, without * and % and control characters";

/// How many emails were put into the mailbox: all of the request.
#[derive(Serialize, ToSchema)]
#[schema(as = ImportResult)]
pub(in crate::http) struct Imported {
    imported: usize,
}

/// Puts emails into a mailbox of an inbox, with their flags and dates
///
/// All of them, or none. Nothing is sent, and webhooks are not called. A mailbox that is missing is created.
#[utoipa::path(
    post, path = "/api/v1/inboxes/{id}/import", tag = "Emails", params(("id" = InboxId, Path)), request_body = ImportInput,
    responses((status = 201, body = Imported), (status = 507))
)]
pub(in crate::http) async fn import(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
    body: JsonBody,
) -> Result<(StatusCode, Json<Imported>), Problem> {
    let limits = &context.config.limits;
    let inbox = caller.inbox(&context, &id).await?;
    let body = body.octets(&caller.spool, limits.message_size.saturating_mul(JSON_FACTOR)).await?;
    let mut work = caller.spool.claim();
    // The values of the JSON, and the messages with their stored form.
    work.wait_to_grow(body.len().saturating_mul(1 + STORED_FACTOR), PATIENCE).await.map_err(no_room)?;
    let mut fields = Fields::parse(&body)?;
    drop(body);
    let name = fields.required_text("mailbox").and_then(|text| {
        let name = canonical_name(&text);
        if name.is_none() {
            fields.fault("mailbox", BAD_NAME);
        }
        name
    });
    let reading = Reading { keywords: limits.into(), message_size: limits.message_size, now: Timestamp::real() };
    let values = fields.list("emails", false);
    if values.len() > BATCH {
        fields.fault("emails", format!("must be at most {BATCH}"));
    }
    let read = |(at, value)| fields.within(&format!("emails[{at}]"), value, |email| reading.email(email));
    let messages: Vec<Append> = values.into_iter().take(BATCH).enumerate().filter_map(read).collect();
    fields.finish()?;
    let (name, imported) = (name.unwrap_or_default(), messages.len());
    let mailboxes = context.mailboxes.for_owner(Owner::Account(inbox.account.clone()));
    match mailboxes.create(&inbox.id, &name).await {
        Ok(()) | Err(MailboxError::Exists) => {}
        Err(MailboxError::Store(error)) => return Err(error.into()),
        Err(refused) => return Err(Problem::invalid_field("mailbox", refused.to_string())),
    }
    if imported > 0 {
        mailboxes.append_all(&inbox.id, &name, messages).await.map_err(problem)?;
    }
    Ok((StatusCode::CREATED, Json(Imported { imported })))
}

/// What is needed to read an email of the request.
struct Reading {
    keywords: KeywordLimits,
    message_size: usize,
    now: Timestamp,
}

impl Reading {
    fn email(&self, fields: &mut Fields) -> Option<Append> {
        let raw = fields.required_text("raw").and_then(|text| {
            let raw = decoded_base64(text).map(|raw| line_ends_as_crlf(&raw));
            if raw.is_none() {
                fields.fault("raw", "must be base64 (RFC 4648 §4 or §5)");
            }
            raw
        });
        if raw.as_deref().is_some_and(has_nul) {
            fields.fault("raw", NUL_REFUSED);
        }
        if raw.as_ref().is_some_and(|raw| raw.len() > self.message_size) {
            fields.fault("raw", format!("must be at most {} octets (limits.message_size)", self.message_size));
        }
        let (flags, keywords) = self.flags(fields);
        let internal_date = fields.parsed("received_at").unwrap_or(self.now);
        let raw = Bytes::from(raw?);
        let end = header_end(&raw);
        let (header, body) = (raw.slice(..end), raw.slice(end..));
        Some(Append { flags, keywords: keywords.join(" "), internal_date, header, body })
    }

    fn flags(&self, fields: &mut Fields) -> (Flags, Vec<String>) {
        let (mut flags, mut keywords) = (Flags::default(), Vec::<String>::new());
        for (at, value) in fields.list("flags", false).into_iter().enumerate() {
            let text = if let Value::String(text) = value { text } else { String::new() };
            let system = Flags::NAMED.into_iter().find(|(_, name)| name.eq_ignore_ascii_case(&text));
            match system {
                Some((flag, _)) => flags |= flag,
                None if !is_keyword(&text) => fields.fault(&format!("flags[{at}]"), "must be a flag of IMAP"),
                None if text.len() > self.keywords.length => {
                    let limit = self.keywords.length;
                    fields.fault(
                        &format!("flags[{at}]"),
                        format!("must be at most {limit} octets (limits.keyword_length)"),
                    );
                }
                None if keywords.iter().any(|known| known.eq_ignore_ascii_case(&text)) => {}
                None => keywords.push(text),
            }
        }
        (flags, keywords)
    }
}

/// An atom of IMAP (RFC 3501 §9).
fn is_keyword(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !b"(){%*\"\\]".contains(&b))
}

fn problem(error: AppendError) -> Problem {
    let text = error.to_string();
    match error {
        AppendError::Flags(FlagError::Full) => {
            inbox_full("The inbox is full.".to_owned(), "Delete messages of the inbox.")
        }
        AppendError::Flags(FlagError::Store(error)) => error.into(),
        AppendError::Flags(FlagError::TooManyOfMessage(_) | FlagError::TooManyOfMailbox(_)) => {
            Problem::invalid_field("emails", text)
        }
        // It was deleted or renamed after it was created above.
        AppendError::NoSuchMailbox => Problem::unavailable(),
        AppendError::NoSuchMessage | AppendError::TooMany => Problem::invalid_field("emails", text),
    }
}
