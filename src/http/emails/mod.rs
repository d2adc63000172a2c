//! `/api/v1/emails`: lists an inbox newest first, shows one email, returns its raw octets, changes and deletes it.

pub(super) mod actions;
pub(super) mod answers;
pub(super) mod attachments;
pub(super) mod import;
pub(super) mod ingest;
pub(super) mod labels;
mod previews;
pub(super) mod search;
mod terms;
pub(super) mod wait;

#[cfg(any(test, fuzzing))]
pub(super) use crate::views::email::WholeJson as MessageJson;
pub(super) use actions::{not_scheduled, problem};

use super::body::no_room;
use super::caller::Caller;
use super::problem::Problem;
use super::query::{Linked, Meta, Parameters};
use super::reply::Repeated;
use super::version::Versioned;
use super::{Context, HttpContext, Id};
use crate::clock::Timestamp;
use crate::http::document::parameters::{EmailQuery, OneInboxQuery};
use crate::id::{InboxId, MessageId, ThreadId};
use crate::message::searched::lower;
use crate::resources::Owner;
use crate::resources::memory::Claim;
use crate::resources::spool::PATIENCE;
use crate::store::emails::{EmailFilter, EmailPage};
use crate::store::inboxes::Inbox;
use crate::store::messages::{Flags, Headed, ListedHeader, MessageSummary};
use crate::store::search::candidates::SearchIn;
use crate::store::{Store, StoreError};
pub(super) use crate::views::email::EmailJson;
use crate::views::email::WholeJson;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::IntoResponse;
use futures_util::StreamExt;
use futures_util::stream::{self, Stream};
use labels::Label;
use serde::Serialize;
use std::io;
use terms::Terms;
use utoipa::ToSchema;

/// Octets of a message that are read first; most messages are shorter.
const FIRST_PIECE: usize = 256 * 1024;
/// Octets read at a time after that. The store skips everything before a piece to find it.
const PIECE: usize = 1024 * 1024;
/// Memory needed to show a message, as a multiple of its size: the message, the decoded text, the response.
const SHOW_FACTOR: usize = 3;
/// The same for a header block in a list.
const LIST_FACTOR: usize = 4;
/// Emails of a page at most, and by default.
const MAX_PER_PAGE: usize = 100;
const PER_PAGE: usize = 50;

/// A page of emails.
#[derive(Serialize, ToSchema)]
pub(super) struct EmailList {
    #[schema(value_type = Vec<EmailJson>)]
    emails: Repeated,
    /// The same as `emails`.
    #[schema(value_type = Vec<EmailJson>)]
    data: Repeated,
    meta: Meta,
}

impl EmailList {
    pub(super) fn new(emails: &[EmailJson], rest: Option<&MessageId>) -> Result<Self, Problem> {
        let emails = Repeated::new(&emails)?;
        Ok(Self { data: emails.clone(), emails, meta: Meta { next_cursor: rest.map(ToString::to_string) } })
    }
}

pub(super) fn per_page(parameters: &mut Parameters, default: usize) -> usize {
    parameters.number("per_page", 1..=MAX_PER_PAGE, "").unwrap_or(default)
}

/// What a list is asked for.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) filter: EmailFilter,
    pub(super) per_page: usize,
}

impl Page {
    /// Takes `cursor`, `per_page`, `after`, `before`, `label` or `labels` (perhaps several, with commas),
    /// `mailbox`, `thread` and `unread`.
    pub(super) fn take(parameters: &mut Parameters, longest_label: usize) -> Self {
        let mut filter = EmailFilter::default();
        let per_page = per_page(parameters, PER_PAGE);
        let mut time = |name| parameters.take::<Timestamp>(name).map(MessageId::first_at);
        let (after, before) = (time("after"), time("before"));
        filter.from = after;
        let cursor = parameters.take::<MessageId>("cursor");
        filter.below = [cursor, before].into_iter().flatten().min();
        let labels = ["label", "labels"].map(|name| parameters.take::<String>(name));
        for text in labels.iter().flatten().flat_map(|labels| labels.split(',')) {
            match Label::parse(text.trim(), longest_label) {
                Ok(label) => label.ask(&mut filter),
                Err(error) => parameters.fault("label", error),
            }
        }
        filter.mailbox = parameters.take::<String>("mailbox");
        filter.thread = parameters.take::<ThreadId>("thread");
        match parameters.take::<bool>("unread") {
            Some(true) => filter.unset |= Flags::SEEN,
            Some(false) => filter.set |= Flags::SEEN,
            None => {}
        }
        Self { filter, per_page }
    }
}

/// An email of the path, and the inbox it is in, if the caller may see it.
pub(super) async fn find(caller: &Caller, context: &HttpContext, id: &str) -> Result<(Inbox, MessageSummary), Problem> {
    let id: MessageId = id.parse().map_err(|_| Problem::not_found())?;
    let store = caller.store(context);
    let inbox = store.inbox_of_message(&id).await?.ok_or_else(Problem::not_found)?;
    let inbox = caller.inbox(context, inbox.as_str()).await?;
    let message = store.message(&inbox.id, &id).await?.ok_or_else(Problem::not_found)?;
    Ok((inbox, message))
}

/// A message as JSON, without its content.
async fn shown(
    caller: &Caller,
    context: &HttpContext,
    inbox: &Inbox,
    id: &MessageId,
) -> Result<Versioned<EmailJson>, Problem> {
    let found = caller.store(context).message_listed(&inbox.id, id).await?.ok_or_else(Problem::not_found)?;
    let version = found.message.version();
    let mut shown = show_all(caller, context, Owner::Account(inbox.account.clone()), vec![found]).await?;
    let body = shown.pop().ok_or_else(Problem::not_found)?;
    Ok(Versioned { body, version })
}

/// Messages as JSON.
pub(super) async fn show_all(
    caller: &Caller,
    context: &HttpContext,
    owner: Owner,
    rows: Vec<Headed<ListedHeader>>,
) -> Result<Vec<EmailJson>, Problem> {
    let mut work = caller.spool.claim();
    let octets: usize = rows.iter().map(|row| row.header.unparsed()).sum();
    work.grow_to(octets.saturating_mul(LIST_FACTOR)).map_err(no_room)?;
    let shown = context.reading.read(&owner, octets, move |reader, _| {
        // Charged until the work is done.
        let _work = work;
        Ok(rows.into_iter().map(|row| EmailJson::new(row, reader)).collect())
    });
    Ok(shown.await?)
}

/// Emails of an inbox, the newest first
#[utoipa::path(
    get, path = "/api/v1/emails", tag = "Emails", params(OneInboxQuery, EmailQuery),
    responses((status = 200, body = EmailList))
)]
pub(super) async fn list(
    caller: Caller,
    State(context): Context,
    mut parameters: Parameters,
) -> Result<Linked<EmailList>, Problem> {
    let inbox: Option<String> = parameters.take("inbox");
    if inbox.is_none() {
        parameters.fault("inbox", "is required: the id of an inbox");
    }
    let page = Page::take(&mut parameters, context.config.limits.keyword_length);
    let sender = parameters.take::<String>("sender");
    let with_previews = parameters.take::<bool>("preview").unwrap_or(false);
    let target = parameters.target();
    parameters.finish()?;
    let inbox = caller.inbox(&context, &inbox.unwrap_or_default()).await?;
    let (rows, rest) = match sender {
        Some(sender) => {
            let terms = Terms { from: vec![lower(sender)], ..Terms::default() };
            let of = SearchIn { account: inbox.account.clone(), inboxes: Some(vec![inbox.id.clone()]) };
            let (found, rest) = search::scan(&caller, &context, of, page.filter, terms, page.per_page).await?;
            (found.into_iter().map(|found| found.row.into()).collect(), rest)
        }
        None => {
            let store = caller.store(&context);
            let EmailPage { rows, rest } = store.emails(vec![inbox.id.clone()], page.filter, page.per_page).await?;
            (rows, rest)
        }
    };
    let owner = Owner::Account(inbox.account);
    let emails = previews::show_all(&caller, &context, owner, rows, with_previews).await?;
    page_of(&emails, rest.as_ref(), &target)
}

/// A page of an inbox, and the cursor of the next one.
pub(super) async fn newest(
    caller: &Caller,
    context: &HttpContext,
    inbox: &Inbox,
    page: Page,
) -> Result<(Vec<EmailJson>, Option<MessageId>), Problem> {
    let store = caller.store(context);
    let EmailPage { rows, rest } = store.emails(vec![inbox.id.clone()], page.filter, page.per_page).await?;
    Ok((show_all(caller, context, Owner::Account(inbox.account.clone()), rows).await?, rest))
}

/// A page, with a link to the next one.
pub(super) fn page_of(
    emails: &[EmailJson],
    rest: Option<&MessageId>,
    target: &str,
) -> Result<Linked<EmailList>, Problem> {
    Ok(Linked::new(EmailList::new(emails, rest)?, target, rest))
}

/// An email with its text, attachments, one-time codes and links
#[utoipa::path(
    get, path = "/api/v1/emails/{id}", tag = "Emails", params(("id" = MessageId, Path)),
    responses((status = 200, body = WholeJson))
)]
pub(super) async fn show(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
) -> Result<Versioned<WholeJson>, Problem> {
    let (inbox, stored) = find(&caller, &context, &id).await?;
    let version = stored.version();
    let body = whole(&caller, &context, &inbox, stored, Damaged::IsAFault).await?.ok_or_else(Problem::not_found)?;
    Ok(Versioned { body, version })
}

/// What a damaged body is to a request.
#[derive(Clone, Copy, Debug)]
enum Damaged {
    IsAFault,
    /// It must not hide other emails.
    IsSkipped,
}

/// `None` also where the stored body is damaged.
fn unless_damaged<T>(read: Result<Option<T>, StoreError>, id: &MessageId) -> Result<Option<T>, StoreError> {
    match read {
        Err(error) if error.is_damage() => {
            tracing::error!(listener = "http", %error, email = %id, "skipping an email whose stored body is damaged");
            Ok(None)
        }
        read => read,
    }
}

/// A message as JSON, with its content; `None` if it was deleted meanwhile.
async fn whole(
    caller: &Caller,
    context: &HttpContext,
    inbox: &Inbox,
    stored: MessageSummary,
    damaged: Damaged,
) -> Result<Option<WholeJson>, Problem> {
    let mut work = caller.spool.claim();
    let size = usize::try_from(stored.size).unwrap_or(usize::MAX);
    work.wait_to_grow(size.saturating_mul(SHOW_FACTOR), PATIENCE).await.map_err(no_room)?;
    let store = caller.store(context);
    let sent = store.sent_email(&stored.id, context.clock.now()).await?;
    let raw = store.message_raw(&inbox.id, &stored.id).await;
    let raw = match damaged {
        Damaged::IsAFault => raw?,
        Damaged::IsSkipped => unless_damaged(raw, &stored.id)?,
    };
    let Some(raw) = raw else { return Ok(None) };
    let owner = Owner::Account(inbox.account.clone());
    let shown = context.reading.read(&owner, size, move |reader, budget| {
        let _work = work;
        budget.check()?;
        let readable = reader.begin(stored.content);
        Ok(WholeJson::new(stored, &raw, readable).with(sent))
    });
    Ok(Some(shown.await?))
}

/// The octets of the message
#[utoipa::path(
    get, path = "/api/v1/emails/{id}/raw", tag = "Emails", params(("id" = MessageId, Path)),
    responses((status = 200, content_type = "message/rfc822", body = String))
)]
pub(super) async fn raw(caller: Caller, State(context): Context, Path(id): Id) -> Result<impl IntoResponse, Problem> {
    let (inbox, message) = find(&caller, &context, &id).await?;
    let mut claim = caller.spool.claim();
    claim.grow_to(FIRST_PIECE).map_err(no_room)?;
    let store = caller.store(&context);
    let first = store.message_range(&inbox.id, &message.id, 0..FIRST_PIECE).await?;
    let (size, first) = first.ok_or_else(Problem::not_found)?;
    let body = if first.len() == size {
        // Charged like any other response.
        Body::from(first)
    } else {
        // One piece being read and one waiting for the client.
        claim.grow_to(2 * PIECE).map_err(no_room)?;
        Body::from_stream(pieces(store, inbox.id, message.id, first, size, claim))
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
