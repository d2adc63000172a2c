//! Key rotation: which of a claim's three keys signs, and when that changes. Customers publish three CNAMEs once, and
//! keys change behind them. A key is ready, then signs, then retires; once the mail it signed has aged out, it is
//! replaced by a fresh, ready key for the same token. Invariant: exactly one key signs. A key does not sign before it
//! has been seen in the DNS for as long as an older key of its token may be cached, and is not replaced while mail
//! that it signed may still be verified. Exception: if the CNAME of the signing key breaks, another key with a valid
//! CNAME takes over at once. RFC 6376 §3.6.2 (keys in the DNS), §6.1.2 (a missing key).

#[cfg(test)]
mod tests;

use super::tag_list::dkim_key;
use crate::clock::Timestamp;
use std::time::Duration;

/// The TTL of keys, and thus the minimum time that a fresh key is published before it signs.
pub const KEY_TTL: Duration = Duration::from_secs(3600);
/// Maximum time between signing and queueing, by which a message may seem younger than its signature.
const SLACK: Duration = Duration::from_secs(600);
/// Pause before retrying a blocked step.
const BLOCKED: Duration = Duration::from_secs(3600);
/// The first pause between checks for an unpublished key; pauses grow with its age.
const FIRST_LOOK: Duration = Duration::from_secs(60);
const LAST_LOOK: Duration = Duration::from_secs(24 * 3600);
/// Maximum pause between checks.
const LONGEST_REST: Duration = Duration::from_secs(30 * 24 * 3600);

/// The role of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, strum::Display, strum::EnumString, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
#[schema(as = KeyRole)]
pub enum Role {
    /// Exactly one key signs.
    Signing,
    /// Ready to sign next.
    Ready,
    /// No longer signs, but mail signed with it is in transit.
    Retiring,
}

/// The last known state of a token's CNAME in the customer's zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = KeyCname)]
pub enum Cname {
    /// It points to its key.
    Right,
    /// It is missing or points elsewhere.
    Wrong,
    /// Unknown or not checked.
    Unknown,
}

/// One of a claim's three keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    pub role: Role,
    /// The start of its role.
    pub since: Timestamp,
    /// When this key was first seen in the DNS.
    pub seen_at: Option<Timestamp>,
    /// It is the first key of its token, so no other key can be cached.
    pub first: bool,
    /// The customer's record.
    pub cname: Cname,
}

/// A claim's keys by the position of their tokens; `None` while being generated.
pub type Trio = [Option<Key>; 3];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How long a key signs; `None`: until a rotation is requested.
    pub rotate_every: Option<Duration>,
    /// How long a replacement key is published before it signs.
    pub publish_before: Duration,
    /// How long a retired key stays published.
    pub retire_after: Duration,
}

/// The next step for a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing to do before this time.
    Rest(Timestamp),
    /// Check whether the keys at these positions are in the DNS.
    Look(Vec<usize>),
    /// The key at `from` retires, and the one at `to` signs.
    Rotate { from: usize, to: usize },
    /// Generate a fresh key for this position.
    Renew(usize),
}

/// Why no other key can sign yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotYet {
    /// Keys are still being generated.
    Making,
    /// The others have signed recently; the first of them is replaced at this time or later.
    Retiring(Timestamp),
    /// The CNAME of this key is not valid.
    Cname(usize),
    /// This key has not been seen in the DNS.
    Unseen(usize),
    /// This key is too new, and can sign from this time on.
    Fresh(usize, Timestamp),
}

/// The position of the signing key.
pub fn signing(keys: &Trio) -> Option<usize> {
    position(keys, |key| key.role == Role::Signing)
}

/// The step that is due. `queued` is when the oldest unsent message of this domain was queued. `looked`: unseen keys
/// have just been checked.
pub fn step(keys: &Trio, plan: &Plan, queued: Option<Timestamp>, now: Timestamp, looked: bool) -> Step {
    let Some((from, current)) = signing(keys).and_then(|at| Some((at, key(keys, at)?))) else {
        return Step::Rest(now.after(BLOCKED));
    };
    if let Some(to) = stand_in(keys, plan, now) {
        return Step::Rotate { from, to };
    }
    let mut rest = now.after(LONGEST_REST);
    if let Some(every) = plan.rotate_every {
        let due = current.since.after(every);
        match (now >= due, successor(keys, plan, now)) {
            (true, Ok(to)) => return Step::Rotate { from, to },
            (true, Err(NotYet::Fresh(_, at) | NotYet::Retiring(at))) if at > now => rest = rest.min(at),
            (true, Err(_)) => rest = rest.min(now.after(BLOCKED)),
            (false, _) => rest = rest.min(due),
        }
    }
    for (at, retiring) in each(keys).filter(|(_, key)| key.role == Role::Retiring) {
        if may_be_replaced(retiring, plan, queued, now) {
            return Step::Renew(at);
        }
        let due = retiring.since.after(plan.retire_after);
        rest = rest.min(if due > now { due } else { now.after(BLOCKED) });
    }
    let unseen: Vec<(usize, &Key)> = each(keys).filter(|(_, key)| key.seen_at.is_none()).collect();
    if !looked && !unseen.is_empty() {
        return Step::Look(unseen.into_iter().map(|(at, _)| at).collect());
    }
    for (_, key) in unseen {
        let pause = (now.since(key.since) / 2).clamp(FIRST_LOOK, LAST_LOOK);
        rest = rest.min(now.after(pause));
    }
    Step::Rest(rest)
}

/// The next key to sign: the one that has been ready for the longest time.
pub fn successor(keys: &Trio, plan: &Plan, now: Timestamp) -> Result<usize, NotYet> {
    let able = |key: &Key| key.role == Role::Ready && key.cname == Cname::Right && seen_for_long(key, plan, now);
    if let Some((at, _)) = each(keys).filter(|(_, key)| able(key)).min_by_key(|(at, key)| (key.since, *at)) {
        return Ok(at);
    }
    // The obstacle of the next key; those of the others do not matter.
    let next = each(keys).filter(|(_, key)| key.role == Role::Ready).min_by_key(|(at, key)| (key.since, *at));
    Err(match next {
        Some((at, key)) if key.cname != Cname::Right => NotYet::Cname(at),
        Some((at, key)) => match key.seen_at {
            Some(seen) => NotYet::Fresh(at, seen.after(plan.publish_before)),
            None => NotYet::Unseen(at),
        },
        None if keys.iter().any(Option::is_none) => NotYet::Making,
        None => {
            let retired = each(keys).filter(|(_, key)| key.role == Role::Retiring).map(|(_, key)| key.since).min();
            retired.map_or(NotYet::Making, |since| NotYet::Retiring(since.after(plan.retire_after)))
        }
    })
}

/// The replacement for a key with a definitely invalid CNAME: one with a valid CNAME that verifiers can fetch.
pub fn stand_in(keys: &Trio, plan: &Plan, now: Timestamp) -> Option<usize> {
    let current = key(keys, signing(keys)?)?;
    if current.cname != Cname::Wrong {
        return None;
    }
    let right = |role: Role| move |key: &Key| key.role == role && key.cname == Cname::Right;
    position(keys, |key| right(Role::Ready)(key) && (key.first || seen_for_long(key, plan, now)))
        .or_else(|| position(keys, right(Role::Retiring)))
}

/// Whether a retiring key can be replaced: its time is over, and no message it may have signed is queued.
pub fn may_be_replaced(key: &Key, plan: &Plan, queued: Option<Timestamp>, now: Timestamp) -> bool {
    key.role == Role::Retiring
        && now >= key.since.after(plan.retire_after)
        && queued.is_none_or(|oldest| oldest > key.since.after(SLACK))
}

/// Whether two DKIM records have the same key, ignoring white space and the order of tags (RFC 6376 §3.2).
pub fn same_key(one: &str, other: &str) -> bool {
    dkim_key(one).is_some_and(|key| dkim_key(other) == Some(key))
}

/// Seen for long enough that no older key of its token is cached.
fn seen_for_long(key: &Key, plan: &Plan, now: Timestamp) -> bool {
    key.seen_at.is_some_and(|seen| key.first || now >= seen.after(plan.publish_before))
}

fn each(keys: &Trio) -> impl Iterator<Item = (usize, &Key)> {
    keys.iter().enumerate().filter_map(|(at, key)| Some((at, key.as_ref()?)))
}

fn position(keys: &Trio, wanted: impl Fn(&Key) -> bool) -> Option<usize> {
    each(keys).find(|(_, key)| wanted(key)).map(|(at, _)| at)
}

fn key(keys: &Trio, at: usize) -> Option<&Key> {
    keys.get(at)?.as_ref()
}
