//! `GET …/emails/search?q=`: the emails that fit, the newest first.
//!
//! Candidates come from [`Store::candidates`](crate::store::Store::candidates) alone, and each is read and compared here. One request looks
//! at [`LOOKED_AT`] emails and [`OCTETS`] octets at most; where that ends before the page is full, the answer has a cursor.

use super::previews;
use super::terms::{Terms, parse};
use super::{EmailList, page_of, per_page, unless_damaged};
use crate::auth::login::Scope;
use crate::http::body::no_room;
use crate::http::caller::Caller;
use crate::http::document::parameters::{AccountQuery, InboxQuery, SearchQuery};
use crate::http::problem::Problem;
use crate::http::query::{Linked, Parameters};
use crate::http::{Context, HttpContext};
use crate::id::{AccountId, MessageId};
use crate::message::highlights::Highlight;
use crate::resources::spool::PATIENCE;
use crate::store::emails::EmailFilter;
use crate::store::messages::{Headed, HeaderBlock};
use crate::store::search::candidates::SearchIn;
use axum::extract::State;
use axum::http::StatusCode;
use std::sync::Arc;

/// Emails of a page by default.
const PER_PAGE: usize = 20;
/// Emails that one request looks at.
const LOOKED_AT: usize = 2000;
/// Octets of bodies that one request reads, but for a message that alone has more.
const OCTETS: u64 = 64 * 1024 * 1024;
/// Candidates that are asked for together at most: as many as a page has at first, then twice as many each time.
const BATCH: usize = 100;
/// Memory for a message, as a multiple of its size.
const FACTOR: usize = 4;

/// Emails that fit a query, the newest first
///
/// A page may be short or empty and have a next one: one request looks at a bounded number of emails.
#[utoipa::path(
    get, path = "/api/v1/emails/search", tag = "Emails", params(SearchQuery, InboxQuery, AccountQuery),
    responses((status = 200, body = EmailList))
)]
pub(in crate::http) async fn search(
    caller: Caller,
    State(context): Context,
    mut parameters: Parameters,
) -> Result<Linked<EmailList>, Problem> {
    let inbox = parameters.take::<String>("inbox");
    let account = parameters.take::<AccountId>("account_id");
    let mut filter = EmailFilter { below: parameters.take("cursor"), ..EmailFilter::default() };
    let per_page = per_page(&mut parameters, PER_PAGE);
    let q = parameters.take::<String>("q").unwrap_or_default();
    let with_previews = parameters.take::<bool>("preview").unwrap_or(false);
    let target = parameters.target();
    parameters.finish()?;
    let terms = parse(&q, context.config.limits.keyword_length, &mut filter);
    let terms = terms.map_err(|error| Problem::invalid_field("q", error).with_status(StatusCode::BAD_REQUEST))?;
    let of = match (inbox, &caller.principal.scope) {
        (Some(inbox), _) => {
            let inbox = caller.inbox(&context, &inbox).await?;
            SearchIn { account: inbox.account, inboxes: Some(vec![inbox.id]) }
        }
        (None, Scope::Inboxes(account, inboxes)) => {
            SearchIn { account: account.clone(), inboxes: Some(inboxes.clone()) }
        }
        (None, _) => SearchIn { account: caller.account(account)?, inboxes: None },
    };
    let (found, rest) = scan(&caller, &context, of, filter, terms, per_page).await?;
    let (rows, highlights): (Vec<_>, Vec<_>) =
        found.into_iter().map(|found| (found.row.into(), found.highlights)).unzip();
    let mut emails = previews::show_all(&caller, &context, caller.owner(), rows, with_previews).await?;
    emails.iter_mut().zip(highlights).for_each(|(email, highlights)| email.highlights = highlights);
    page_of(&emails, rest.as_ref(), &target)
}

/// An email that fits.
pub(super) struct FoundEmail {
    pub(super) row: Headed<HeaderBlock>,
    pub(super) highlights: Vec<Highlight>,
}

/// The first that fit, and from where to go on.
pub(super) async fn scan(
    caller: &Caller,
    context: &HttpContext,
    of: SearchIn,
    mut filter: EmailFilter,
    terms: Terms,
    limit: usize,
) -> Result<(Vec<FoundEmail>, Option<MessageId>), Problem> {
    let (store, grams, terms) = (caller.store(context), terms.grams(), Arc::new(terms));
    let (mut fitting, mut octets) = (Vec::new(), 0_u64);
    let (mut looked_at, mut batch) = (0, limit.min(BATCH));
    while looked_at < LOOKED_AT {
        let page = store.candidates(of.clone(), grams.clone(), filter.clone(), batch).await?;
        looked_at += batch;
        batch = (2 * batch).min(BATCH);
        for found in by_header(caller, context, page.rows, &terms).await? {
            let id = found.row.message.id.clone();
            if terms.needs_body() {
                octets = octets.saturating_add(found.row.message.size);
                fitting.extend(by_body(caller, context, found, &terms).await?);
            } else {
                fitting.push(found);
            }
            if fitting.len() >= limit || octets > OCTETS {
                return Ok((fitting, Some(id)));
            }
        }
        filter.below = page.rest;
        if filter.below.is_none() {
            break;
        }
    }
    Ok((fitting, filter.below))
}

/// Those whose header block does not rule them out.
pub(super) async fn by_header(
    caller: &Caller,
    context: &HttpContext,
    rows: Vec<Headed<HeaderBlock>>,
    terms: &Arc<Terms>,
) -> Result<Vec<FoundEmail>, Problem> {
    let (octets, terms) = (rows.iter().map(|row| row.header.len()).sum(), Arc::clone(terms));
    let mut work = caller.spool.claim();
    work.wait_to_grow(octets, PATIENCE).await.map_err(no_room)?;
    let owner = caller.owner();
    let kept = context.reading.read(&owner, octets, move |reader, budget| {
        let _work = work;
        let mut kept = Vec::new();
        for row in rows {
            budget.check()?;
            let readable = reader.begin(row.message.content);
            if terms.fit_header(&row.header, &readable.limits) {
                let is_whole = !terms.needs_body();
                let found = || terms.highlights(&row.header, None, &readable.limits);
                let highlights = if is_whole { found() } else { Vec::new() };
                kept.push(FoundEmail { row, highlights });
            }
        }
        Ok(kept)
    });
    Ok(kept.await?)
}

/// The email, if the rest does not rule it out.
pub(super) async fn by_body(
    caller: &Caller,
    context: &HttpContext,
    found: FoundEmail,
    terms: &Arc<Terms>,
) -> Result<Option<FoundEmail>, Problem> {
    let FoundEmail { row, .. } = found;
    let message = &row.message;
    let size = usize::try_from(message.size).unwrap_or(usize::MAX);
    let mut work = caller.spool.claim();
    work.wait_to_grow(size.saturating_mul(FACTOR), PATIENCE).await.map_err(no_room)?;
    let raw = caller.store(context).message_raw(&message.inbox, &message.id).await;
    // Deleted since it was found, or damaged.
    let Some(raw) = unless_damaged(raw, &message.id)? else { return Ok(None) };
    let (terms, content) = (Arc::clone(terms), message.content);
    let owner = caller.owner();
    let fits = context.reading.read(&owner, size, move |reader, budget| {
        let _work = work;
        budget.check()?;
        let limits = reader.begin(content).limits;
        let fits = terms.fit(&raw.header, &raw.body, &limits);
        Ok(fits.then(|| terms.highlights(&raw.header, Some(&raw.body), &limits)))
    });
    Ok(fits.await?.map(|highlights| FoundEmail { row, highlights }))
}
