//! Query parameters as the document has them. Handlers take them out of [`Parameters`](crate::http::query::Parameters); a
//! test holds that they are the same.
#![expect(dead_code, reason = "read by the derives alone")]

use crate::access::{Action, Direction};
use crate::clock::Timestamp;
use crate::events::EventId;
use crate::id::{AccessEntryId, AccountId, InboxId, MessageId, ThreadId};
use crate::store::webhooks::deliveries::State;
use std::str::FromStr;
use utoipa::IntoParams;

/// Of every list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Entries of a page, 50 by default.
    #[param(minimum = 1, maximum = 100)]
    per_page: Option<u32>,
}

/// Of a list of emails.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct EmailQuery {
    /// `next_cursor` of the page before.
    cursor: Option<MessageId>,
    /// Entries of a page, 50 by default.
    #[param(minimum = 1, maximum = 100)]
    per_page: Option<u32>,
    /// Labels that the emails have, with commas between them.
    label: Option<String>,
    /// The same as `label`.
    labels: Option<String>,
    /// The name of the mailbox that the emails are in, as `/inboxes/{id}/mailboxes` shows it.
    mailbox: Option<String>,
    /// The thread that the emails are in.
    thread: Option<ThreadId>,
    unread: Option<bool>,
    /// Emails put into the inbox at or after this time.
    after: Option<Timestamp>,
    /// Emails put into the inbox before this time.
    before: Option<Timestamp>,
}

/// Of the list of entries of allow and block lists.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AccessQuery {
    /// `next_cursor` of the page before.
    cursor: Option<AccessEntryId>,
    /// Entries of a page, 50 by default.
    #[param(minimum = 1, maximum = 100)]
    per_page: Option<u32>,
    /// Entries of this inbox alone.
    inbox: Option<InboxId>,
    direction: Option<Direction>,
    action: Option<Action>,
    /// For operator tokens: whose.
    account_id: Option<AccountId>,
}

/// Of a log-out.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogOutQuery {
    /// Revokes the tokens of all log-ins of the user, too.
    everywhere: Option<bool>,
}

/// Of a list that goes over all inboxes of an account.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AccountQuery {
    /// For operator tokens: whose.
    account_id: Option<AccountId>,
}

/// Of a list that may be of one inbox.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct InboxQuery {
    /// The inbox; all that the token sees where it is left out.
    inbox: Option<InboxId>,
}

/// Of a list that is of one inbox.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct OneInboxQuery {
    inbox: InboxId,
    /// A part of From.
    sender: Option<String>,
    /// With `preview` and `has_attachments` of each email.
    preview: Option<bool>,
}

/// Of a search.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SearchQuery {
    /// Words, `"phrases"`, `from:`, `to:`, `subject:`, `label:`, `before:`, `after:`, `has:attachment`, `is:unread`, `is:read`,
    /// `is:starred`.
    q: String,
    /// `next_cursor` of the page before.
    cursor: Option<MessageId>,
    /// Entries of a page, 20 by default.
    #[param(minimum = 1, maximum = 100)]
    per_page: Option<u32>,
    /// With `preview` and `has_attachments` of each email.
    preview: Option<bool>,
}

/// Of sending with the message itself as the body.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SenderQuery {
    /// The inbox that sends, where JSON does not name it; not needed with a token that sees one inbox.
    inbox_id: Option<InboxId>,
}

/// Of the dry run of sending.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LoginQuery {
    /// An address of the inbox; its platform address where it is left out.
    login: Option<String>,
}

/// Of the deliveries of a webhook subscription.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeliveryQuery {
    state: Option<State>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Entries of a page, 50 by default.
    #[param(minimum = 1, maximum = 100)]
    per_page: Option<u32>,
}

/// Of an attachment.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct RangeHeader {
    /// One range of octets: `bytes=0-99`.
    range: Option<String>,
}

/// Of the list of events.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventQuery {
    /// `asc`, the oldest first, where it is left out.
    #[param(inline)]
    order: Option<Order>,
    /// With `asc`: `next_cursor` of the answer before, the id of an event, or a time; the beginning of the log where it is left out.
    after: Option<String>,
    /// With `desc`: `next_cursor` of the answer before, or the id of an event; the end of the log where it is left out.
    before: Option<EventId>,
    /// Events of an answer, 50 by default.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// Types of events, with commas between them; all that the token may see where it is left out.
    types: Option<String>,
    /// Events of this inbox alone.
    inbox_id: Option<InboxId>,
    /// Events of this email alone: that it came in or was sent, and each attempt to deliver it.
    email_id: Option<MessageId>,
}

/// The order of a list of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(rename_all = "lowercase")]
pub(crate) enum Order {
    /// The oldest first.
    #[default]
    Asc,
    /// The newest first.
    Desc,
}

impl FromStr for Order {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "asc" => Ok(Self::Asc),
            "desc" => Ok(Self::Desc),
            _ => Err("must be asc or desc"),
        }
    }
}

/// Of statistics.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct StatisticsQuery {
    /// The length of a span: `hour` where it is left out.
    interval: Option<Interval>,
    /// The first span has this time in it; 24 hours or 30 days before `until` where it is left out.
    since: Option<Timestamp>,
    /// The last span ends at or after this time; now where it is left out.
    until: Option<Timestamp>,
}

/// The length of a span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(rename_all = "lowercase")]
pub(crate) enum Interval {
    #[default]
    Hour,
    /// In UTC.
    Day,
}

impl FromStr for Interval {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "hour" => Ok(Self::Hour),
            "day" => Ok(Self::Day),
            _ => Err("must be hour or day"),
        }
    }
}

/// Of streams of events.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct StreamQuery {
    /// Types of events, with commas between them; all that the token may see where it is left out.
    types: Option<String>,
    /// The id of an event or a time: events after it come first. `Last-Event-ID` goes before it.
    since: Option<String>,
    /// Seconds after which the stream ends, 3600 by default.
    #[param(minimum = 1, maximum = 3600)]
    timeout: Option<u32>,
}

/// For a stream of a domain.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct TimeoutQuery {
    /// Seconds after which the stream ends, 3600 by default.
    #[param(minimum = 1, maximum = 3600)]
    timeout: Option<u32>,
}

/// For resuming a stream.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct LastEventHeader {
    /// The id that the client received last.
    #[param(rename = "Last-Event-ID")]
    last_event_id: Option<EventId>,
}

/// Of a request that waits for an email.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WaitQuery {
    /// A part of From.
    from: Option<String>,
    /// A part of To or Cc.
    to: Option<String>,
    /// A part of the subject.
    subject: Option<String>,
    /// Words and `"phrases"`, as in a search.
    q: Option<String>,
    /// What the email has.
    #[param(inline)]
    has: Option<Has>,
    /// The id of an event or a time: an email that has arrived after it is returned at once. Now, where it is left out.
    since: Option<String>,
    /// Seconds to wait, 25 by default.
    #[param(minimum = 1, maximum = 60)]
    timeout: Option<u32>,
}

#[derive(utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum Has {
    Code,
    Attachment,
}
