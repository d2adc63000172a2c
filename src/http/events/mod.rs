//! `/api/v1/events`: what has happened in an account, in pages and as streams.
//!
//! Invariant: a token sees events of what it has the permissions for, and one that is limited to inboxes those of an inbox that it names.

pub(super) mod stream;

use super::body::no_room;
use super::caller::Caller;
use super::document::parameters::{AccountQuery, EventQuery, Order};
use super::permission;
use super::problem::Problem;
use super::query::Parameters;
use super::{Context, HttpContext};
use crate::auth::login::{Authenticator, Permissions};
use crate::clock::Timestamp;
use crate::config::Limits;
use crate::events::{Cursor, EventId, PublicType};
use crate::id::{AccountId, MessageId, TokenId};
use crate::public_events::{PublicEvent, PublicEvents, RenderError, Selection, needed};
use crate::resources::permits::{NonePermitted, Permit, Permits};
use crate::store::StoreError;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// Events of an answer at most, and by default.
const MAX_EVENTS: usize = 100;
const EVENTS: usize = 50;
/// Events that are rendered together.
const GROUP: usize = 8;
/// Octets of an answer, after which it ends with the group.
const OCTETS: usize = 4 * 1024 * 1024;
/// `Retry-After` where too many streams are open.
const STREAM_RETRY: Duration = Duration::from_secs(5);

/// What streams and waiting requests share. Clones share it.
#[derive(Clone, Debug)]
pub struct Streams(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    permits: Permits,
    /// For error texts.
    limits: [usize; 2],
    authenticator: Authenticator,
    events: PublicEvents,
}

impl Streams {
    /// Of the limits, it reads `streams` and `streams_per_account`.
    pub fn new(limits: &Limits, authenticator: Authenticator, events: PublicEvents) -> Self {
        let limits = [limits.streams, limits.streams_per_account];
        let [total, per_account] = limits;
        Self(Arc::new(Inner { permits: Permits::new(total, per_account), limits, authenticator, events }))
    }

    /// 503 where too many are open.
    pub(super) fn permit(&self, account: &AccountId) -> Result<Permit, Problem> {
        let [total, per_account] = self.0.limits;
        self.0.permits.take(account).map_err(|none| {
            let detail = match none {
                NonePermitted::Total => format!("The daemon has {total} streams open, which is the limit."),
                NonePermitted::Account => format!("The account has {per_account} streams open, which is the limit."),
            };
            let fix = "Close a stream, or try again after the time in `Retry-After`.";
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Problem::new(status, "too_many_streams", "Too many streams", detail, fix).retry_after(STREAM_RETRY)
        })
    }

    /// False where the token has been revoked or has expired.
    pub(super) async fn may_go_on(&self, token: &TokenId) -> Result<bool, StoreError> {
        self.0.authenticator.is_live(token).await
    }

    /// `None` where a stream has to end: its token is no longer valid, or that cannot be known.
    pub(super) async fn check(&self, token: &TokenId) -> Option<()> {
        match self.may_go_on(token).await {
            Ok(may) => may.then_some(()),
            Err(error) => {
                tracing::error!(listener = "http", %error, "a stream ends: cannot check its token");
                None
            }
        }
    }
}

/// A page of events.
#[derive(Serialize, ToSchema)]
pub(super) struct EventList {
    data: Vec<PublicEvent>,
    meta: EventListMeta,
}

#[derive(Serialize, ToSchema)]
pub(super) struct EventListMeta {
    /// `after` of the next request; `before` with `order=desc`.
    next_cursor: EventId,
    /// There are more events.
    has_more: bool,
    /// Events after `after` are no longer kept: read the present state.
    has_gap: bool,
}

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// After this event.
    Event(EventId),
    /// Before what is logged at or after it.
    Time(Timestamp),
}

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let of_event = text.parse().map(Self::Event);
        let of_time = || text.parse().map(Self::Time);
        of_event
            .or_else(|_| of_time())
            .map_err(|_| "must be the id of an event (evt_…), or a time as in RFC 3339: 2026-11-24T05:31:07Z")
    }
}

impl Place {
    pub(super) async fn cursor(self, context: &HttpContext, of: &Selection) -> Result<Cursor, Problem> {
        match self {
            Self::Event(EventId(cursor)) => Ok(cursor),
            Self::Time(time) => Ok(context.public_events.since(&of.account, of.inbox.as_ref(), time).await?),
        }
    }
}

/// The types that are asked for; all that the token may see where none are.
fn types(parameters: &mut Parameters) -> Option<BTreeSet<PublicType>> {
    let text: String = parameters.take("types")?;
    let parsed = text.split(',').map(|name| name.trim().parse::<PublicType>()).collect::<Result<_, _>>();
    parsed.map_err(|error| parameters.fault("types", error)).ok()
}

/// 403 where the token may not see a type that it asks for.
fn permitted(types: Option<BTreeSet<PublicType>>, permissions: Permissions) -> Result<BTreeSet<PublicType>, Problem> {
    match types {
        Some(types) => {
            let all = types.iter().fold(Permissions::empty(), |all, one| all | needed(*one));
            permission::suffice(permissions, all).map(|()| types)
        }
        None => Ok(PublicType::ALL.iter().copied().filter(|one| permissions.contains(needed(*one))).collect()),
    }
}

fn render_failed(error: RenderError) -> Problem {
    tracing::error!(listener = "http", %error, "cannot show events");
    Problem::unavailable()
}

/// Events, the oldest or the newest first
///
/// For programs that ask again and again: `after` is `next_cursor` of the answer before. For people, `order=desc` has the newest first, and
/// `before` is `next_cursor` of the answer before. A page of few events may have more behind it (`has_more`): one request reads a bounded
/// part of the log. A token that is limited to inboxes names one.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "Events", params(EventQuery, AccountQuery),
    responses((status = 200, body = EventList))
)]
pub(super) async fn list(
    caller: Caller,
    State(context): Context,
    mut parameters: Parameters,
) -> Result<Json<EventList>, Problem> {
    let order: Order = parameters.take("order").unwrap_or_default();
    let (after, before): (Option<Place>, Option<EventId>) = (parameters.take("after"), parameters.take("before"));
    match order {
        Order::Asc if before.is_some() => {
            parameters.fault("before", "goes with order=desc; the oldest first have `after`")
        }
        Order::Desc if after.is_some() => {
            parameters.fault("after", "goes with order=asc; the newest first have `before`")
        }
        _ => {}
    }
    let limit = parameters.number("limit", 1..=MAX_EVENTS, "").unwrap_or(EVENTS);
    let types = types(&mut parameters);
    let inbox: Option<String> = parameters.take("inbox_id");
    let email: Option<MessageId> = parameters.take("email_id");
    let account: Option<AccountId> = parameters.take("account_id");
    parameters.finish()?;
    let (account, inbox) = match inbox {
        Some(id) => {
            let inbox = caller.inbox(&context, &id).await?;
            if account.is_some_and(|account| account != inbox.account) {
                return Err(Problem::not_found());
            }
            (inbox.account, Some(inbox.id))
        }
        None => (caller.account(account)?, None),
    };
    let of = Selection { account, inbox, email, types: permitted(types, caller.principal.permissions)? };
    let page = match (order, after) {
        (Order::Desc, _) => context.public_events.page_before(&of, before.map(|EventId(cursor)| cursor), limit).await?,
        (Order::Asc, None) => context.public_events.page(&of, Cursor::default(), limit).await?,
        (Order::Asc, Some(place)) => context.public_events.page(&of, place.cursor(&context, &of).await?, limit).await?,
    };
    let mut claim = caller.spool.claim();
    let (mut data, mut octets) = (Vec::new(), 0_usize);
    let (mut next, mut has_more) = (page.next, page.has_more);
    let mut groups = page.events.chunks(GROUP).peekable();
    while let Some(group) = groups.next() {
        let shown = context.public_events.render(&of.account, group).await.map_err(render_failed)?;
        octets = shown.iter().map(|event| event.data.get().len()).fold(octets, usize::saturating_add);
        claim.grow_to(octets).map_err(no_room)?;
        data.extend(shown);
        if octets > OCTETS && groups.peek().is_some() {
            next = group.last().map_or(next, |last| last.cursor);
            has_more = true;
            break;
        }
    }
    let meta = EventListMeta { next_cursor: EventId(next), has_more, has_gap: page.has_gap && after.is_some() };
    Ok(Json(EventList { data, meta }))
}
