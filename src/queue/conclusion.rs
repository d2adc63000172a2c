//! The settlement of an attempt: which recipients are done, which wait and until when, and the bounce for failed ones.
//!
//! Invariant: every recipient of an attempt is settled in exactly one way; a bounce is never bounced.
//! RFC 5321 §4.5.5 (null reverse path), §6.1, RFC 3464.

use super::delivery::{Deliverer, Done};
use super::outcome::{Outcome, RemoteReply, is_over, pause};
use crate::address::{Address, ReversePath};
use crate::clock::Timestamp;
use crate::config::HumanDuration;
use crate::message::{self, Bounce, Diagnostic, FailedRecipient};
use crate::store::queue::{BounceMessage, Deferral, Due, DueDelivery, End, Ended, QueuedMessage, Settlement, Wait};

/// The pause after a host had its maximum of connections.
const POSTPONED: [HumanDuration; 1] = [HumanDuration::seconds(15)];

impl Deliverer {
    /// The settlement of an attempt that began at `begun`.
    pub(super) fn conclude(&self, due: &Due, begun: Timestamp, done: Done, header: &[u8]) -> Settlement {
        let (now, real) = (self.clock.now(), Timestamp::real());
        let queued = &due.queued;
        let mut settlement = Settlement {
            submission: queued.id.clone(),
            account: queued.account.clone(),
            runner: due.runner.clone(),
            done: Vec::new(),
            deferred: Vec::new(),
            local: done.local,
            bounce: None,
            at: now,
            received_at: real,
        };
        let mut failed = Vec::new();
        let seed = format!("{} {}", queued.id, due.domain);
        for (delivery, outcome) in due.deliveries.iter().zip(done.outcomes) {
            let over = is_over(begun, delivery.due_at, queued.expires_at);
            let outcome = if over { outcome.expired() } else { outcome };
            log(due, &delivery.rcpt_to, &outcome);
            let mut defer = |pauses: &[HumanDuration], wait, reply: RemoteReply| {
                let next = now.after(pause(pauses, delivery.attempts, &seed));
                // The last attempt is made when the message expires.
                let next = if now < queued.expires_at { next.min(queued.expires_at) } else { next };
                let delivery = delivery.id.clone();
                settlement.deferred.push(Deferral { delivery, next, reply: reply.text, mx: reply.mx, wait });
            };
            match outcome {
                Outcome::Deferred(reply) => defer(&self.config.queue.retry_pauses, Wait::Attempt, reply),
                Outcome::Postponed(reply) => defer(&POSTPONED, Wait::Place, reply),
                Outcome::Waiting(reply) => defer(&self.config.queue.retry_pauses, Wait::Domain, reply),
                Outcome::Delivered(reply) => settlement.done.push(ended(delivery, End::Delivered, &reply)),
                Outcome::Bounced(reply) => {
                    settlement.done.push(ended(delivery, End::Bounced, &reply));
                    failed.push((&delivery.rcpt_to, reply));
                }
            }
        }
        let failed: Vec<FailedRecipient<'_>> = failed
            .iter()
            .map(|(address, reply)| FailedRecipient {
                address,
                status: reply.status,
                diagnostic: if reply.is_smtp { Diagnostic::Smtp(&reply.text) } else { Diagnostic::Local(&reply.text) },
                remote_mta: reply.mx.as_deref(),
                last_attempt: real,
            })
            .collect();
        settlement.bounce = self.bounce(queued, &failed, header, real);
        settlement
    }

    /// The bounce, for the sender's own INBOX. A bounce is never bounced.
    fn bounce(
        &self,
        queued: &QueuedMessage,
        failed: &[FailedRecipient<'_>],
        header: &[u8],
        now: Timestamp,
    ) -> Option<BounceMessage> {
        if failed.is_empty() {
            return None;
        }
        let (Some(inbox), ReversePath::Mailbox(to)) = (&queued.inbox, &queued.mail_from) else {
            tracing::warn!(submission = %queued.id, "nobody is left to tell of the failure");
            return None;
        };
        let bounce = message::bounce(&Bounce {
            to,
            platform: &self.config.platform.domain,
            hostname: &self.config.platform.hostname,
            queue_id: queued.id.as_str(),
            arrived_at: queued.arrived_at,
            failed,
            original_header: header,
            now,
            message_id: &format!("bounce.{}", crate::id::MessageId::new()),
        });
        let (header, body) = message::split(&bounce);
        let mut stored = b"Return-Path: <>\r\n".to_vec();
        stored.extend_from_slice(header);
        Some(BounceMessage { inbox: inbox.clone(), to: to.clone(), header: stored, body: body.to_vec() })
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
