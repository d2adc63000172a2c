//! `GET …/inboxes/{id}/messages`: lists an inbox newest first, shows one message, returns its raw octets. Message
//! content is untrusted text from the sender: decoded, never interpreted.

use super::HttpContext;
use super::body::no_room;
use super::caller::Caller;
use super::problem::Problem;
use super::query::{List, Parameters};
use crate::clock::Timestamp;
use crate::id::{InboxId, MessageId};
use crate::message::addresses::{self, Mailbox};
use crate::message::date::date;
use crate::message::fields::Header;
use crate::message::mime::Tree;
use crate::message::text::{Attachment, content, message_ids};
use crate::message::words::decoded_words;
use crate::reading::Readable;
use crate::resources::Owner;
use crate::resources::memory::Claim;
use crate::resources::spool::PATIENCE;
use crate::store::Store;
use crate::store::messages::MessageSummary;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::IntoResponse;
use futures_util::StreamExt;
use futures_util::stream::{self, Stream};
use serde::Serialize;
use std::io;

/// Octets of a message that are read first; most messages are shorter.
const FIRST_PIECE: usize = 256 * 1024;
/// Octets read at a time after that. The store skips everything before a piece to find it.
const PIECE: usize = 1024 * 1024;
/// Maximum octets of text or HTML in a response.
const SHOWN_TEXT: usize = 2 * 1024 * 1024;
/// Memory needed to show a message, as a multiple of its size: the message, the decoded text, the response.
const SHOW_FACTOR: usize = 3;
/// The same for a header block in a list.
const LIST_FACTOR: usize = 4;

/// A mailbox of a header field.
#[derive(Serialize)]
struct MailboxJson {
    name: Option<String>,
    address: Option<String>,
}

/// A message without its content.
#[derive(Serialize)]
pub(super) struct SummaryJson {
    id: MessageId,
    mailbox: String,
    flags: Vec<String>,
    from: Vec<MailboxJson>,
    to: Vec<MailboxJson>,
    cc: Vec<MailboxJson>,
    reply_to: Vec<MailboxJson>,
    subject: Option<String>,
    date: Option<Timestamp>,
    message_id: Option<String>,
    in_reply_to: Vec<String>,
    references: Vec<String>,
    mail_from: Option<String>,
    rcpt_to: Option<String>,
    received_at: Timestamp,
    size: u64,
    /// The daemon aborted while reading this message, so it is shown as plain text.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unreadable: bool,
}

/// A message with its content.
#[derive(Serialize)]
pub(super) struct MessageJson {
    #[serde(flatten)]
    summary: SummaryJson,
    text: Option<String>,
    html: Option<String>,
    /// The text or HTML is cut; `…/raw` has the complete message.
    truncated: bool,
    attachments: Vec<AttachmentJson>,
}

#[derive(Serialize)]
struct AttachmentJson {
    filename: Option<String>,
    content_type: String,
    size: usize,
    content_id: Option<String>,
}

impl SummaryJson {
    fn new(stored: MessageSummary, readable: Readable) -> Self {
        let header = Header::read(&stored.header, &readable.limits);
        let mailboxes = |name| mailboxes(&header, name);
        let ids = |name| header.find(name).map(message_ids).unwrap_or_default();
        let some = |text: String| (!text.is_empty()).then_some(text);
        let keywords = stored.keywords.split_ascii_whitespace();
        let date = header.find("Date").and_then(date);
        Self {
            id: stored.id,
            flags: stored.flags.names().map(str::to_owned).chain(keywords.map(str::to_owned)).collect(),
            from: mailboxes("From"),
            to: mailboxes("To"),
            cc: mailboxes("Cc"),
            reply_to: mailboxes("Reply-To"),
            subject: header.find("Subject").map(decoded_words),
            date: date.map(|date| Timestamp::from_millis(date.seconds().saturating_mul(1000))),
            message_id: ids("Message-ID").into_iter().next(),
            in_reply_to: ids("In-Reply-To"),
            references: ids("References"),
            mailbox: stored.mailbox,
            mail_from: some(stored.mail_from),
            rcpt_to: some(stored.rcpt_to),
            received_at: stored.internal_date,
            size: stored.size,
            unreadable: readable.is_set_aside,
        }
    }
}

fn mailboxes(header: &Header<'_>, name: &str) -> Vec<MailboxJson> {
    let show = |mailbox: Mailbox<'_>| MailboxJson { name: mailbox.display_name(), address: mailbox.shown_address() };
    addresses::mailboxes(header, name).map(show).collect()
}

impl From<Attachment> for AttachmentJson {
    fn from(part: Attachment) -> Self {
        let Attachment { filename, content_type, size, content_id } = part;
        Self { filename, content_type, size, content_id }
    }
}

impl MessageJson {
    pub(super) fn new(stored: MessageSummary, body: &[u8], readable: Readable) -> Self {
        let content = content(&Tree::parse(&stored.header, body, &readable.limits), SHOWN_TEXT);
        Self {
            text: content.text,
            html: content.html,
            truncated: content.truncated,
            attachments: content.attachments.into_iter().map(AttachmentJson::from).collect(),
            summary: SummaryJson::new(stored, readable),
        }
    }
}

/// `GET`
pub(super) async fn list(
    caller: Caller,
    State(context): State<HttpContext>,
    Path(id): Path<String>,
    mut parameters: Parameters,
) -> Result<List<SummaryJson>, Problem> {
    let inbox = caller.inbox(&context, &id).await?;
    let page = parameters.page::<MessageId>();
    parameters.finish()?;
    let rows = caller.store(&context).messages(&inbox.id, page.after.as_ref(), page.rows()).await?;
    let mut work = caller.spool.claim();
    let octets: usize = rows.iter().map(|row| row.header.len()).sum();
    work.grow_to(octets.saturating_mul(LIST_FACTOR)).map_err(no_room)?;
    let owner = Owner::Account(inbox.account);
    let listed = context.reading.read(&owner, octets, move |reader, _| {
        // Charged until the work is done.
        let _work = work;
        let show = |message: MessageSummary| {
            let readable = reader.begin(message.content);
            SummaryJson::new(message, readable)
        };
        Ok(page.list(rows, |message| message.id.to_string(), show))
    });
    Ok(listed.await?)
}

/// `GET …/{message_id}`
pub(super) async fn show(
    caller: Caller,
    State(context): State<HttpContext>,
    Path((id, message)): Path<(String, String)>,
) -> Result<Json<MessageJson>, Problem> {
    let inbox = caller.inbox(&context, &id).await?;
    let message: MessageId = message.parse().map_err(|_| Problem::not_found())?;
    let mut stored = caller.store(&context).message(&inbox.id, &message).await?.ok_or_else(Problem::not_found)?;
    let mut work = caller.spool.claim();
    let size = usize::try_from(stored.size).unwrap_or(usize::MAX);
    work.wait_to_grow(size.saturating_mul(SHOW_FACTOR), PATIENCE).await.map_err(no_room)?;
    let raw = caller.store(&context).message_raw(&inbox.id, &message).await?.ok_or_else(Problem::not_found)?;
    let owner = Owner::Account(inbox.account);
    let shown = context.reading.read(&owner, size, move |reader, budget| {
        let _work = work;
        budget.check()?;
        stored.header = raw.header;
        let readable = reader.begin(stored.content);
        Ok(MessageJson::new(stored, &raw.body, readable))
    });
    Ok(Json(shown.await?))
}

/// `GET …/{message_id}/raw`: the stored octets. A large message is streamed as the client reads.
pub(super) async fn raw(
    caller: Caller,
    State(context): State<HttpContext>,
    Path((id, message)): Path<(String, String)>,
) -> Result<impl IntoResponse, Problem> {
    let inbox = caller.inbox(&context, &id).await?;
    let message: MessageId = message.parse().map_err(|_| Problem::not_found())?;
    let mut claim = caller.spool.claim();
    claim.grow_to(FIRST_PIECE).map_err(no_room)?;
    let store = caller.store(&context);
    let first = store.message_range(&inbox.id, &message, 0..FIRST_PIECE).await?;
    let (size, first) = first.ok_or_else(Problem::not_found)?;
    let body = if first.len() == size {
        // Charged like any other response.
        Body::from(first)
    } else {
        // One piece being read and one waiting for the client.
        claim.grow_to(2 * PIECE).map_err(no_room)?;
        Body::from_stream(pieces(store, inbox.id, message, first, size, claim))
    };
    let headers = [
        (header::CONTENT_TYPE, "message/rfc822".to_owned()),
        // A browser must not execute content from a sender.
        (header::CONTENT_DISPOSITION, "attachment; filename=\"message.eml\"".to_owned()),
        (header::CONTENT_LENGTH, size.to_string()),
    ];
    Ok((headers, body))
}

/// Streams a message. Fails if the message is deleted meanwhile, which closes the connection.
fn pieces(
    store: Store,
    inbox: InboxId,
    message: MessageId,
    first: Vec<u8>,
    size: usize,
    claim: Claim,
) -> impl Stream<Item = io::Result<Vec<u8>>> {
    let rest = stream::try_unfold((first.len(), claim), move |(at, claim)| {
        let (store, inbox, message) = (store.clone(), inbox.clone(), message.clone());
        async move {
            if at >= size {
                return Ok(None);
            }
            let found = store.message_range(&inbox, &message, at..at.saturating_add(PIECE)).await;
            let found = found.map_err(io::Error::other)?.filter(|(now, piece)| *now == size && !piece.is_empty());
            let (_, piece) = found.ok_or_else(|| io::Error::other("the message has been deleted"))?;
            let next = at.saturating_add(piece.len());
            Ok(Some((piece, (next, claim))))
        }
    });
    stream::once(std::future::ready(Ok(first))).chain(rest)
}
