//! The settlement of an attempt: which recipients are done, which wait and until when, and the reports for the sender.
//!
//! Invariant: every recipient of an attempt is settled in exactly one way; a report is never reported on. The sender gets the reports that
//! were asked for in RCPT. RFC 5321 §4.5.5 (null reverse path), §6.1, RFC 3461 §5.2, §6, RFC 3464.

use super::delivery::{Deliverer, Done, Original};
use super::outcome::{Outcome, RemoteReply, is_over, pause};
use crate::address::{Address, ReversePath};
use crate::clock::Timestamp;
use crate::config::HumanDuration;
use crate::envelope::{Notify, Returned as Ret};
use crate::message::{self, Action, Diagnostic, Report, ReportedRecipient, Returned};
use crate::store::queue::{Deferral, Due, DueDelivery, End, Ended, QueuedMessage, ReportMessage, Settlement, Wait};

/// Octets of the largest body that a bounce returns; of others, the header.
const RETURNED_BODY: usize = 64 * 1024;
/// The pause after a host had its maximum of connections.
const POSTPONED: [HumanDuration; 1] = [HumanDuration::seconds(15)];

/// A recipient that the sender is notified of.
struct Notified<'a> {
    action: Action,
    delivery: &'a DueDelivery,
    reply: RemoteReply,
}

impl Deliverer {
    /// The settlement of an attempt that began at `begun`.
    pub(super) fn conclude(&self, due: &Due, begun: Timestamp, done: Done, original: &Original) -> Settlement {
        let (now, real) = (self.clock.now(), Timestamp::real());
        let queued = &due.queued;
        let mut settlement = Settlement {
            submission: queued.id.clone(),
            account: queued.account.clone(),
            runner: due.runner.clone(),
            done: Vec::new(),
            deferred: Vec::new(),
            local: done.local,
            reports: Vec::new(),
            at: now,
            received_at: real,
        };
        let mut notified: Vec<Notified<'_>> = Vec::new();
        let seed = format!("{} {}", queued.id, due.domain);
        for (delivery, outcome) in due.deliveries.iter().zip(done.outcomes) {
            let over = is_over(begun, delivery.due_at, queued.expires_at);
            let outcome = if over { outcome.expired() } else { outcome };
            log(due, &delivery.rcpt_to, &outcome);
            let action = self.action(queued, delivery, &outcome, [now, real]);
            notified.extend(action.map(|action| Notified { action, delivery, reply: outcome.reply().clone() }));
            let delay_reported = matches!(action, Some(Action::Delayed { .. }));
            let mut defer = |pauses: &[HumanDuration], wait, RemoteReply { text: reply, mx, .. }| {
                let next = now.after(pause(pauses, delivery.attempts, &seed));
                // The last attempt is made when the message expires.
                let next = if now < queued.expires_at { next.min(queued.expires_at) } else { next };
                let delivery = delivery.id.clone();
                settlement.deferred.push(Deferral { delivery, next, reply, mx, wait, delay_reported });
            };
            match outcome {
                Outcome::Deferred(reply) => defer(&self.config.queue.retry_pauses, Wait::Attempt, reply),
                Outcome::Postponed(reply) => defer(&POSTPONED, Wait::Place, reply),
                Outcome::Waiting(reply) => defer(&self.config.queue.retry_pauses, Wait::Domain, reply),
                Outcome::Delivered(reply) => settlement.done.push(ended(delivery, End::Delivered, &reply)),
                Outcome::Bounced(reply) => settlement.done.push(ended(delivery, End::Bounced, &reply)),
            }
        }
        settlement.reports = self.reports(queued, &notified, original, real);
        settlement
    }

    /// What the sender is notified of a recipient, if anything (RFC 3461 §5.2).
    fn action(
        &self,
        queued: &QueuedMessage,
        delivery: &DueDelivery,
        outcome: &Outcome,
        [now, real]: [Timestamp; 2],
    ) -> Option<Action> {
        let (action, kind) = match outcome {
            Outcome::Bounced(_) => (Action::Failed, Notify::FAILURE),
            Outcome::Delivered(RemoteReply { mx: None, .. }) => (Action::Delivered, Notify::SUCCESS),
            Outcome::Delivered(RemoteReply { reports: false, .. }) => (Action::Relayed, Notify::SUCCESS),
            Outcome::Deferred(_) if !delivery.delay_reported && self.is_delayed(queued, now) => {
                (Action::Delayed { until: real.after(queued.expires_at.since(now)) }, Notify::DELAY)
            }
            _ => return None,
        };
        delivery.parameters.wants(kind).then_some(action)
    }

    /// Whether the message has waited for `delay_notice_after`, and is tried again.
    fn is_delayed(&self, queued: &QueuedMessage, now: Timestamp) -> bool {
        let (after, expire_after) = (self.config.queue.delay_notice_after.0, self.config.queue.expire_after.0);
        let left = expire_after.saturating_sub(after);
        !after.is_zero() && now < queued.expires_at && queued.expires_at.since(now) <= left
    }

    /// The reports, for the sender's own INBOX: one for each kind. A report is never reported on.
    fn reports(
        &self,
        queued: &QueuedMessage,
        notified: &[Notified<'_>],
        original: &Original,
        now: Timestamp,
    ) -> Vec<ReportMessage> {
        if notified.is_empty() {
            return Vec::new();
        }
        let (Some(inbox), ReversePath::Mailbox(to)) = (&queued.inbox, &queued.mail_from) else {
            tracing::warn!(submission = %queued.id, "nobody is left to report to");
            return Vec::new();
        };
        let mut actions: Vec<Action> = Vec::new();
        for Notified { action, .. } in notified {
            if !actions.contains(action) {
                actions.push(*action);
            }
        }
        let report = |action: Action| {
            let recipients: Vec<ReportedRecipient<'_>> = notified
                .iter()
                .filter(|one| one.action == action)
                .map(|Notified { delivery, reply, .. }| ReportedRecipient {
                    address: &delivery.rcpt_to,
                    original: delivery.parameters.original.as_ref(),
                    status: reply.status,
                    diagnostic: if reply.is_smtp {
                        Diagnostic::Smtp(&reply.text)
                    } else {
                        Diagnostic::Local(&reply.text)
                    },
                    remote_mta: reply.mx.as_deref(),
                    last_attempt: now,
                })
                .collect();
            // RFC 3461 §4.3: RET is about failures.
            let is_full = action == Action::Failed && queued.parameters.returned == Some(Ret::Full);
            let returned = match &original.body {
                Some(body) if is_full && body.len() <= RETURNED_BODY => {
                    Returned::Message { header: &original.header, body }
                }
                _ => Returned::Header(&original.header),
            };
            let report = message::report(&Report {
                action,
                to,
                platform: &self.config.platform.domain,
                hostname: &self.config.platform.hostname,
                queue_id: queued.id.as_str(),
                envelope_id: queued.parameters.envelope_id.as_ref(),
                arrived_at: queued.arrived_at,
                recipients: &recipients,
                returned,
                now,
                message_id: &format!("bounce.{}", crate::id::MessageId::new()),
            });
            let (header, body) = message::split(&report);
            let mut stored = b"Return-Path: <>\r\n".to_vec();
            stored.extend_from_slice(header);
            ReportMessage {
                inbox: inbox.clone(),
                to: to.clone(),
                header: stored,
                body: body.to_vec(),
                is_bounce: action == Action::Failed,
            }
        };
        actions.into_iter().map(report).collect()
    }
}

fn ended(delivery: &DueDelivery, end: End, reply: &RemoteReply) -> Ended {
    Ended { delivery: delivery.id.clone(), end, reply: reply.text.clone(), mx: reply.mx.clone() }
}

/// One line for each recipient of each attempt.
fn log(due: &Due, rcpt: &Address, outcome: &Outcome) {
    let reply = outcome.reply();
    tracing::info!(
        submission = %due.queued.id,
        %rcpt,
        outcome = outcome.word(),
        status = %reply.status,
        mx = reply.mx.as_deref().unwrap_or("-"),
        tls = %reply.tls,
        reply = reply.text,
        identity = %due.queued.mail_from,
        "delivery"
    );
}
