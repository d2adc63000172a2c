//! Changes of all deliveries in the queue that match a filter, in batches.
//!
//! Invariant: the work of a batch is bounded by [`MESSAGES`], however many deliveries match. What is on hold is not attempted until
//! it is released.

use super::super::{Store, StoreError, Transaction};
use super::{attempts, rows};
use crate::address::DomainName;
use crate::clock::Timestamp;
use crate::id::{AccountId, DeliveryId, InboxId, MessageId, SubmissionId};
use crate::store::engine::{Row, params};
use serde::Serialize;
use std::collections::BTreeSet;

/// Messages that a batch compares with the filter, each with as many deliveries as it has recipients.
const MESSAGES: i64 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema, strum::EnumString, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", parse_err_fn = no_action, parse_err_ty = String)]
pub enum QueueAction {
    /// Attempts now what has been attempted before.
    Retry,
    /// Attempts nothing until it is released.
    Hold,
    /// Ends the hold: what it was is due now, or at its own time.
    Release,
    /// Removes without a bounce.
    Drop,
}

fn no_action(_: &str) -> String {
    "must be retry, hold, release or drop".to_owned()
}

/// The status of a delivery in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema, strum::EnumString)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", parse_err_fn = no_status, parse_err_ty = String)]
pub enum QueueStatus {
    /// Not attempted yet.
    Queued,
    /// An attempt has failed.
    Deferred,
    /// On hold, or held until the sender's domain is verified.
    Held,
}

fn no_status(_: &str) -> String {
    "must be queued, deferred or held".to_owned()
}

/// The deliveries that an action applies to: those that match all that is given.
#[derive(Clone, Debug, Default)]
pub struct QueueFilter {
    pub account: Option<AccountId>,
    /// Of one message.
    pub id: Option<SubmissionId>,
    /// The sender's inbox.
    pub inbox: Option<InboxId>,
    /// The domain of the recipient.
    pub domain: Option<DomainName>,
    pub status: Option<QueueStatus>,
    pub accepted_before: Option<Timestamp>,
    /// A part of the last reply, in lower case.
    pub error: Option<String>,
}

/// What a batch has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueBatch {
    /// Deliveries that match.
    pub matched: usize,
    /// The message to continue after, if there may be more.
    pub next: Option<SubmissionId>,
}

/// A delivery that is compared with the filter.
struct Candidate {
    submission: SubmissionId,
    inbox: Option<InboxId>,
    waits_for_domain: bool,
    accepted_at: Timestamp,
    id: DeliveryId,
    domain: DomainName,
    attempts: u32,
    /// `None`: on hold.
    next_attempt_at: Option<Timestamp>,
    last_reply: Option<String>,
}

impl Candidate {
    fn read(row: &Row<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            submission: row.get(0)?,
            inbox: row.get(1)?,
            waits_for_domain: row.get(2)?,
            accepted_at: row.get(3)?,
            id: row.get(4)?,
            domain: row.get(5)?,
            attempts: row.get(6)?,
            next_attempt_at: row.get(7)?,
            last_reply: row.get(8)?,
        })
    }

    fn status(&self) -> QueueStatus {
        match (self.waits_for_domain || self.next_attempt_at.is_none(), self.attempts) {
            (true, _) => QueueStatus::Held,
            (false, 0) => QueueStatus::Queued,
            (false, _) => QueueStatus::Deferred,
        }
    }
}

impl QueueFilter {
    fn matches(&self, one: &Candidate) -> bool {
        let says = |text: &String| one.last_reply.as_ref().is_some_and(|reply| reply.to_lowercase().contains(text));
        self.inbox.as_ref().is_none_or(|inbox| one.inbox.as_ref() == Some(inbox))
            && self.domain.as_ref().is_none_or(|domain| one.domain == *domain)
            && self.status.is_none_or(|status| one.status() == status)
            && self.accepted_before.is_none_or(|before| one.accepted_at < before)
            && self.error.as_ref().is_none_or(says)
    }
}

impl QueueAction {
    fn applies_to(self, one: &Candidate) -> bool {
        let is_on_hold = one.next_attempt_at.is_none();
        match self {
            // What has not been attempted is due already, or is to leave later.
            Self::Retry => !is_on_hold && one.last_reply.is_some(),
            Self::Hold => !is_on_hold,
            Self::Release => is_on_hold,
            Self::Drop => true,
        }
    }

    fn apply(self, c: &Transaction<'_>, found: &[Candidate], now: Timestamp) -> Result<(), StoreError> {
        let all_at = |at: Option<Timestamp>| found.iter().map(|one| (one.id.clone(), at)).collect::<Vec<_>>();
        match self {
            Self::Retry => rows::reschedule(c, &all_at(Some(now))),
            Self::Hold => rows::reschedule(c, &all_at(None)),
            Self::Release => {
                let due = found.iter().map(|one| Ok((one.id.clone(), Some(released_at(c, &one.submission, now)?))));
                rows::reschedule(c, &due.collect::<Result<Vec<_>, StoreError>>()?)
            }
            Self::Drop => {
                rows::remove_each(c, found.iter().map(|one| &one.id))?;
                let messages: BTreeSet<&SubmissionId> = found.iter().map(|one| &one.submission).collect();
                messages.into_iter().try_for_each(|id| attempts::remove_if_settled(c, id))
            }
        }
    }
}

/// Now, or when the sender has chosen.
fn released_at(c: &Transaction<'_>, id: &SubmissionId, now: Timestamp) -> Result<Timestamp, StoreError> {
    let sql = "SELECT send_at FROM sent_email WHERE id = ?1";
    let send_at = c.query_opt(sql, params![MessageId::of_sent(id)], |row| row.get::<Option<Timestamp>>(0))?;
    Ok(send_at.flatten().map_or(now, |at| at.max(now)))
}

/// Deliveries of the next messages that an action applies to, and the message to continue after.
fn matching(
    c: &Transaction<'_>,
    action: QueueAction,
    filter: &QueueFilter,
    after: Option<&SubmissionId>,
) -> Result<(Vec<Candidate>, Option<SubmissionId>), StoreError> {
    let which = if filter.id.is_some() { "id = ?1" } else { "id > ?1" };
    let whose = if filter.account.is_some() { "account_id = ?2" } else { "CAST(?2 AS TEXT) IS NULL" };
    let sql = format!(
        "SELECT s.id, s.inbox_id, s.state = 'held', s.created_at, d.id, d.domain, d.attempts, d.next_attempt_at, d.last_reply
         FROM (SELECT id, inbox_id, state, created_at FROM submission WHERE {which} AND {whose} ORDER BY id LIMIT ?3) s
             JOIN delivery d ON d.submission_id = s.id ORDER BY s.id, d.id"
    );
    let from = filter.id.as_ref().or(after).map_or("", SubmissionId::as_str);
    let (mut found, mut messages, mut last) = (Vec::new(), 0, None);
    for one in c.query(&sql, params![from, filter.account, MESSAGES], Candidate::read)? {
        if last.as_ref() != Some(&one.submission) {
            messages += 1;
            last = Some(one.submission.clone());
        }
        if filter.matches(&one) && action.applies_to(&one) {
            found.push(one);
        }
    }
    Ok((found, last.filter(|_| messages == MESSAGES)))
}

impl Store {
    /// Applies an action to the deliveries that match, of the next messages after `after`; in a dry run it only counts them. The
    /// caller must wake the queue afterwards. A running attempt is not interrupted.
    pub async fn queue_act(
        &self,
        action: QueueAction,
        filter: QueueFilter,
        after: Option<SubmissionId>,
        is_dry_run: bool,
        now: Timestamp,
    ) -> Result<QueueBatch, StoreError> {
        let act = move |c: &Transaction<'_>, is_dry_run: bool| {
            let (found, next) = matching(c, action, &filter, after.as_ref())?;
            if !is_dry_run {
                action.apply(c, &found, now)?;
            }
            Ok::<_, StoreError>(QueueBatch { matched: found.len(), next })
        };
        // Compared in a read first, so that a batch in which nothing matches does not delay writers.
        let first = act.clone();
        let batch = self.read(move |c| first(c, true)).await?;
        if is_dry_run || batch.matched == 0 { Ok(batch) } else { self.write(move |c| act(c, false)).await }
    }
}
