//! `/api/v1/drafts` and `/api/v1/inboxes/{id}/drafts`: messages in Drafts with `\Draft`, which mail programs see and write too.
//!
//! Invariant: a draft keeps its id when it is changed, though its octets are a new message to IMAP.

pub(super) mod begun;

use crate::auth::login::Scope;
use crate::clock::Timestamp;
use crate::http::body::no_room;
use crate::http::caller::Caller;
use crate::http::compose::{Attachment, Content, Mailbox};
use crate::http::document::parameters::{AccountQuery, PageQuery};
use crate::http::document::requests::{DraftInput, DraftSending};
use crate::http::emails::answers::mark_answered;
use crate::http::emails::{self, find};
use crate::http::fields::{Fields, JsonBody};
use crate::http::problem::Problem;
use crate::http::query::{Linked, Meta, Parameters};
use crate::http::reply::{Created, Repeated};
use crate::http::send::{Addressed, JSON_FACTOR, Options, Sent, login_of, raw_request, sending_inbox, submit};
use crate::http::version::{IfMatch, Versioned};
use crate::http::{Context, HttpContext};
use crate::id::{AccountId, InboxId, MessageId};
use crate::message::fields::Header;
use crate::message::mime::Tree;
use crate::message::text::{attachment, content};
use crate::message::words::decoded_words;
use crate::message::{ANSWERS, addresses};
use crate::reading::Readable;
use crate::resources::Owner;
use crate::resources::spool::PATIENCE;
use crate::store::StoredMessage;
use crate::store::email_changes::Replaced;
use crate::store::emails::{EmailFilter, EmailPage};
use crate::store::inboxes::Inbox;
use crate::store::mailboxes::MailboxKind;
use crate::store::messages::{Flags, Headed, HeaderBlock, MessageSummary};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// Drafts of a page.
const PER_PAGE: usize = 50;
/// Memory for a draft, as a multiple of its size.
const FACTOR: usize = 4;
/// Attachments of a draft that are kept when it is changed.
const ATTACHMENTS: usize = 1000;

/// A draft without its content.
#[derive(Serialize, ToSchema)]
#[schema(as = Draft)]
pub(in crate::http) struct DraftJson {
    id: MessageId,
    inbox_id: InboxId,
    subject: String,
    to: Vec<String>,
    to_address: String,
    cc: Vec<String>,
    bcc: Vec<String>,
    status: &'static str,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// A draft with its content.
#[derive(Serialize, ToSchema)]
#[schema(as = WholeDraft)]
pub(in crate::http) struct WholeJson {
    #[serde(flatten)]
    draft: DraftJson,
    text_body: Option<String>,
    html_body: Option<String>,
    /// File names.
    attachments: Vec<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = DraftCollection)]
pub(in crate::http) struct DraftsJson {
    /// Of this page.
    count: usize,
    #[schema(value_type = Vec<DraftJson>)]
    drafts: Repeated,
    /// The same as `drafts`.
    #[schema(value_type = Vec<DraftJson>)]
    data: Repeated,
    meta: Meta,
}

/// A draft taken apart, to be changed.
#[derive(Default)]
struct Parts {
    addressed: Addressed,
    content: Content,
}

impl Parts {
    fn read(message: &StoredMessage, readable: Readable) -> Self {
        let header = Header::read(&message.header, &readable.limits);
        let tree = Tree::parse(&message.header, &message.body, &readable.limits);
        let shown = content(&tree, usize::MAX);
        let mailboxes = |name| mailboxes(&header, name);
        let is_kept = |name: &str| {
            let name = name.to_ascii_lowercase();
            name.starts_with("x-")
                || name.starts_with("list-")
                || ["in-reply-to", "references"].contains(&name.as_str())
                || name == ANSWERS.to_ascii_lowercase()
        };
        let fields = header.fields().iter().filter_map(|field| {
            let name = std::str::from_utf8(field.name).ok().filter(|name| is_kept(name))?;
            Some((name.to_owned(), decoded_words(field.value).trim().to_owned()))
        });
        let numbers = 1..=shown.attachments.len().min(ATTACHMENTS);
        let attachments = numbers.filter_map(|number| attachment(&tree, number)).map(|(part, octets)| {
            Attachment::of_stored(part.filename, &part.content_type, part.content_id, octets.into_owned())
        });
        let content = Content {
            reply_to: mailboxes("Reply-To"),
            subject: header.find("Subject").map(decoded_words),
            headers: fields.collect(),
            attachments: attachments.collect(),
            text: shown.text,
            html: shown.html,
        };
        let from = mailboxes("From").into_iter().next();
        let addressed = Addressed { from, to: mailboxes("To"), cc: mailboxes("Cc"), bcc: mailboxes("Bcc") };
        Self { addressed, content }
    }

    /// Takes over what the request names; the rest stays.
    fn change(&mut self, fields: &mut Fields) {
        let names =
            ["from", "to", "cc", "bcc", "reply_to", "subject", "text_body", "html_body", "headers", "attachments"];
        let [from, to, cc, bcc, reply_to, subject, text, html, headers, attachments] =
            names.map(|name| fields.has(name));
        if let Some(kept) = fields.optional_list("keep_attachments") {
            self.keep(kept, fields);
        } else if attachments {
            self.content.attachments.clear();
        }
        let (addressed, content) = (Addressed::read(fields), Content::read(fields));
        let take = |wanted: bool, to: &mut Vec<Mailbox>, new: Vec<Mailbox>| {
            if wanted {
                *to = new;
            }
        };
        take(to, &mut self.addressed.to, addressed.to);
        take(cc, &mut self.addressed.cc, addressed.cc);
        take(bcc, &mut self.addressed.bcc, addressed.bcc);
        take(reply_to, &mut self.content.reply_to, content.reply_to);
        if from {
            self.addressed.from = addressed.from;
        }
        if subject {
            self.content.subject = content.subject;
        }
        if text {
            self.content.text = content.text;
        }
        if html {
            self.content.html = content.html;
        }
        if headers {
            self.content.headers = content.headers;
        }
        self.content.attachments.extend(content.attachments);
    }

    /// Removes all attachments but those of these ids.
    fn keep(&mut self, ids: Vec<Value>, fields: &mut Fields) {
        let mut old: Vec<_> = self.content.attachments.drain(..).map(Some).collect();
        for (at, id) in ids.into_iter().enumerate() {
            let number = id.as_str().and_then(|id| id.parse::<usize>().ok()).and_then(|id| id.checked_sub(1));
            match number.and_then(|number| old.get_mut(number)).and_then(Option::take) {
                Some(kept) => self.content.attachments.push(kept),
                None => {
                    fields.fault(&format!("keep_attachments[{at}]"), "must be the id of one of its attachments, once")
                }
            }
        }
    }

    fn write(mut self, from: Mailbox) -> Vec<u8> {
        if !self.content.has_body() {
            self.content.text = Some(String::new());
        }
        let Addressed { from: given, to, cc, bcc } = self.addressed;
        self.content.write(&given.unwrap_or(from), &to, &cc, &bcc)
    }
}

fn mailboxes(header: &Header<'_>, name: &str) -> Vec<Mailbox> {
    let read = |one: addresses::Mailbox<'_>| one.address().map(|address| Mailbox { name: one.display_name(), address });
    addresses::mailboxes(header, name).filter_map(read).collect()
}

impl DraftJson {
    fn new(stored: MessageSummary, block: &[u8], readable: Readable) -> Self {
        let header = Header::read(block, &readable.limits);
        let list = |name| mailboxes(&header, name).into_iter().map(|one| one.address.to_string()).collect::<Vec<_>>();
        let (to, created_at) = (list("To"), stored.id.made_at());
        Self {
            to_address: to.join(", "),
            to,
            cc: list("Cc"),
            bcc: list("Bcc"),
            subject: header.find("Subject").map(decoded_words).unwrap_or_default(),
            status: "draft",
            created_at,
            updated_at: stored.changed_at.unwrap_or(stored.internal_date).max(created_at),
            id: stored.id,
            inbox_id: stored.inbox,
        }
    }
}

/// Drafts, the newest first
///
/// Of the inbox of the path, else of all that the token sees.
#[utoipa::path(
    get, path = "/api/v1/drafts", tag = "Drafts", params(AccountQuery, PageQuery),
    responses((status = 200, body = DraftsJson))
)]
pub(in crate::http) async fn list(
    caller: Caller,
    State(context): Context,
    path: At,
    mut parameters: Parameters,
) -> Result<Linked<DraftsJson>, Problem> {
    let inbox = inbox_of(&caller, &context, &path).await?;
    let account = parameters.take::<AccountId>("account_id");
    let below = parameters.take::<MessageId>("cursor");
    let per_page = emails::per_page(&mut parameters, PER_PAGE);
    let target = parameters.target();
    parameters.finish()?;
    let store = caller.store(&context);
    let inboxes = match (inbox, &caller.principal.scope) {
        (Some(inbox), _) => vec![inbox.id],
        (None, Scope::Inboxes(_, inboxes)) => inboxes.clone(),
        (None, _) => store.inbox_ids(&caller.account(account)?).await?,
    };
    let filter =
        EmailFilter { mailboxes: vec![MailboxKind::Drafts], set: Flags::DRAFT, below, ..EmailFilter::default() };
    let EmailPage { rows, rest } = store.emails_with_headers(inboxes, filter, per_page).await?;
    let octets = rows.iter().map(|row| row.header.len()).sum();
    let owner = caller.owner();
    let shown = context.reading.read(&owner, octets, move |reader, _| {
        let show = |Headed { message, header }: Headed<HeaderBlock>| {
            let readable = reader.begin(message.content);
            DraftJson::new(message, &header, readable)
        };
        Ok(rows.into_iter().map(show).collect::<Vec<_>>())
    });
    let drafts = shown.await?;
    let meta = Meta { next_cursor: rest.as_ref().map(ToString::to_string) };
    let (count, drafts) = (drafts.len(), Repeated::new(&drafts)?);
    Ok(Linked::new(DraftsJson { count, data: drafts.clone(), drafts, meta }, &target, rest.as_ref()))
}

/// The inbox of the path, if it names one.
async fn inbox_of(caller: &Caller, context: &HttpContext, Path(ids): &At) -> Result<Option<Inbox>, Problem> {
    match ids.first() {
        Some(inbox) => caller.inbox(context, inbox).await.map(Some),
        None => Ok(None),
    }
}

/// Creates a draft
#[utoipa::path(
    post, path = "/api/v1/drafts", tag = "Drafts", request_body = DraftInput,
    responses((status = 201, body = WholeJson), (status = 507))
)]
pub(in crate::http) async fn create(
    caller: Caller,
    State(context): Context,
    path: At,
    body: JsonBody,
) -> Result<Created<WholeJson>, Problem> {
    let inbox = inbox_of(&caller, &context, &path).await?;
    let limit = context.config.limits.message_size.saturating_mul(JSON_FACTOR);
    let mut fields = body.large(&caller.spool, limit, "draft").await?;
    let inbox = match (inbox, fields.text("inbox_id")) {
        (None, named) => sending_inbox(&caller, &context, named).await?,
        (Some(inbox), named) => {
            if named.is_some_and(|named| named != inbox.id.as_str()) {
                fields.fault("inbox_id", "must be the inbox of the path");
            }
            inbox
        }
    };
    let mut parts = Parts::default();
    parts.change(&mut fields);
    fields.finish_as_bad_request()?;
    let id = write(&caller, &context, &inbox, None, parts).await?;
    Ok(draft_of(shown(&caller, &context, &inbox, &id).await?.body, &id))
}

/// 201 with a draft.
fn draft_of(body: WholeJson, id: &MessageId) -> Created<WholeJson> {
    Created { location: format!("/api/v1/drafts/{id}"), body }
}

/// Stores a draft, in the place of the one it replaces.
async fn write(
    caller: &Caller,
    context: &HttpContext,
    inbox: &Inbox,
    replaces: Option<Replaced>,
    parts: Parts,
) -> Result<MessageId, Problem> {
    let login =
        login_of(context, caller, inbox, parts.addressed.from.as_ref().map(|from| from.address.clone())).await?;
    let from = Mailbox::of(login.address);
    let owner = Owner::Account(inbox.account.clone());
    let octets = parts.content.octets();
    let raw = context.reading.work().run(&owner, octets, move |_| Ok(parts.write(from))).await?;
    let limit = context.config.limits.message_size;
    if raw.len() > limit {
        return Err(Problem::too_large(limit));
    }
    let stored = caller.mailboxes(context).put_draft(&inbox.id, replaces, raw.into()).await;
    stored.map_err(emails::problem)
}

/// A draft of the path, with the inbox of the path if it names one.
async fn draft(
    caller: &Caller,
    context: &HttpContext,
    inbox: Option<&str>,
    id: &str,
) -> Result<(Inbox, MessageSummary), Problem> {
    let (found, message) = find(caller, context, id).await?;
    let kind = MailboxKind::of(&message.mailbox, message.special_use.as_deref());
    let is_draft = kind == Some(MailboxKind::Drafts) && message.flags.contains(Flags::DRAFT);
    let is_there = inbox.is_none_or(|inbox| inbox == found.id.as_str());
    if is_draft && is_there { Ok((found, message)) } else { Err(Problem::not_found()) }
}

/// Reads a draft on the pool for heavy work.
async fn read<T: Send + 'static>(
    caller: &Caller,
    context: &HttpContext,
    inbox: &Inbox,
    message: &MessageSummary,
    read: impl FnOnce(StoredMessage, Readable) -> T + Send + 'static,
) -> Result<T, Problem> {
    let mut work = caller.spool.claim();
    let size = usize::try_from(message.size).unwrap_or(usize::MAX);
    work.wait_to_grow(size.saturating_mul(FACTOR), PATIENCE).await.map_err(no_room)?;
    let raw = caller.store(context).message_raw(&inbox.id, &message.id).await?.ok_or_else(Problem::not_found)?;
    let (owner, content) = (Owner::Account(inbox.account.clone()), message.content);
    let done = context.reading.read(&owner, size, move |reader, budget| {
        let _work = work;
        budget.check()?;
        Ok(read(raw, reader.begin(content)))
    });
    Ok(done.await?)
}

async fn shown(
    caller: &Caller,
    context: &HttpContext,
    inbox: &Inbox,
    id: &MessageId,
) -> Result<Versioned<WholeJson>, Problem> {
    let message = caller.store(context).message(&inbox.id, id).await?.ok_or_else(Problem::not_found)?;
    let (stored, version) = (message.clone(), message.version());
    let body = read(caller, context, inbox, &message, move |raw, readable| {
        let tree = Tree::parse(&raw.header, &raw.body, &readable.limits);
        let shown = content(&tree, usize::MAX);
        let attachments = shown.attachments.into_iter().filter_map(|part| part.filename).collect();
        let draft = DraftJson::new(stored, &raw.header, readable);
        WholeJson { draft, text_body: shown.text, html_body: shown.html, attachments }
    });
    Ok(Versioned { body: body.await?, version })
}

/// The ids of a path: that of a draft, and before it that of an inbox where the path is below one.
type At = Path<Vec<String>>;

fn at(Path(ids): &At) -> Result<(Option<&str>, &str), Problem> {
    match ids.as_slice() {
        [id] => Ok((None, id)),
        [inbox, id] => Ok((Some(inbox), id)),
        _ => Err(Problem::not_found()),
    }
}

/// A draft
#[utoipa::path(
    get, path = "/api/v1/drafts/{id}", tag = "Drafts", params(("id" = MessageId, Path)),
    responses((status = 200, body = WholeJson))
)]
pub(in crate::http) async fn show(
    caller: Caller,
    State(context): Context,
    path: At,
) -> Result<Versioned<WholeJson>, Problem> {
    let (inbox, id) = at(&path)?;
    let (inbox, message) = draft(&caller, &context, inbox, id).await?;
    shown(&caller, &context, &inbox, &message.id).await
}

/// Changes what is given
///
/// The draft keeps its id.
#[utoipa::path(
    method(patch, put), path = "/api/v1/drafts/{id}", tag = "Drafts", params(("id" = MessageId, Path)),
    request_body = DraftInput, responses((status = 200, body = WholeJson), (status = 412), (status = 507))
)]
pub(in crate::http) async fn change(
    caller: Caller,
    State(context): Context,
    path: At,
    IfMatch(versions): IfMatch,
    body: JsonBody,
) -> Result<Versioned<WholeJson>, Problem> {
    let (inbox, id) = at(&path)?;
    let (inbox, message) = draft(&caller, &context, inbox, id).await?;
    let limit = context.config.limits.message_size.saturating_mul(JSON_FACTOR);
    let mut fields = body.large(&caller.spool, limit, "draft").await?;
    if fields.text("inbox_id").is_some_and(|named| named != inbox.id.as_str()) {
        fields.fault("inbox_id", "cannot change");
    }
    let mut parts = read(&caller, &context, &inbox, &message, |raw, readable| Parts::read(&raw, readable)).await?;
    parts.change(&mut fields);
    fields.finish()?;
    let replaced = Replaced { id: message.id, versions };
    let id = write(&caller, &context, &inbox, Some(replaced), parts).await?;
    shown(&caller, &context, &inbox, &id).await
}

/// Deletes a draft for good
#[utoipa::path(
    delete, path = "/api/v1/drafts/{id}", tag = "Drafts", params(("id" = MessageId, Path)),
    responses((status = 204), (status = 412))
)]
pub(in crate::http) async fn delete(
    caller: Caller,
    State(context): Context,
    path: At,
    IfMatch(versions): IfMatch,
) -> Result<StatusCode, Problem> {
    let (inbox, id) = at(&path)?;
    let (inbox, message) = draft(&caller, &context, inbox, id).await?;
    caller.mailboxes(&context).remove_email(&inbox.id, &message.id, versions).await.map_err(emails::problem)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a draft
///
/// The draft is gone, and its message in Sent.
#[utoipa::path(
    post, path = "/api/v1/drafts/{id}/send", tag = "Drafts", params(("id" = MessageId, Path)),
    request_body = Option<DraftSending>,
    responses((status = 201, body = Sent), (status = 412), (status = 413), (status = 422), (status = 507))
)]
pub(in crate::http) async fn send(
    caller: Caller,
    State(context): Context,
    path: At,
    IfMatch(versions): IfMatch,
    body: JsonBody,
) -> Result<(StatusCode, Json<Sent>), Problem> {
    let (inbox, id) = at(&path)?;
    let (inbox, message) = draft(&caller, &context, inbox, id).await?;
    let mut fields = body.optional(&caller.spool).await?;
    let send_at = fields.parsed("send_at");
    fields.finish()?;
    let raw = caller.store(&context).message_raw(&inbox.id, &message.id).await?.ok_or_else(Problem::not_found)?;
    let (header, of) = (raw.header.clone(), inbox.id.clone());
    let mut request = raw_request(&raw.into_bytes(), &context.config.limits)?;
    request.options = Options::of_draft(Replaced { id: message.id, versions }, send_at);
    let sent = submit(&caller, &context, inbox, request).await?;
    mark_answered(&caller, &context, &of, &header).await;
    Ok(sent)
}
