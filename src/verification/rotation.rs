//! Which of a claim's three keys signs, and when that changes. Customers publish three CNAMEs once; keys change behind them.
//!
//! A key is ready, then signs, then retires; when the mail it signed has aged out, a fresh key stands behind the same
//! token, ready. Invariant: exactly one signs. None begins to before it was seen in the DNS for as long as an older key
//! of its token may be cached, and none is replaced while mail that it signed may still be verified. The one exception is
//! no rotation: when the CNAME of the key that signs has broken, another whose CNAME is right takes over at once.
//!
//! RFC 6376 §3.6.2 (keys in the DNS), §6.1.2 (a key that is gone).

#[cfg(test)]
mod tests;

use super::tag_list::dkim_key;
use crate::clock::Timestamp;
use std::time::Duration;

/// How long resolvers may remember a key, and so the shortest time that a fresh one is seen before it signs.
pub const KEY_TTL: Duration = Duration::from_secs(3600);
/// Between signing and being queued: a message may be counted as younger than its signature by so much.
const SLACK: Duration = Duration::from_secs(600);
/// Before what stands in the way is looked at again.
const BLOCKED: Duration = Duration::from_secs(3600);
/// Pauses between looks for a key that is not in the DNS yet. They grow with its age.
const FIRST_LOOK: Duration = Duration::from_secs(60);
const LAST_LOOK: Duration = Duration::from_secs(24 * 3600);
/// Nothing is left alone for longer.
const LONGEST_REST: Duration = Duration::from_secs(30 * 24 * 3600);

/// What a key is for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It signs. One does.
    Signing,
    /// It waits for its turn.
    Ready,
    /// It has signed; mail with its signature is still about.
    Retiring,
}

impl Role {
    /// As it stands in JSON and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Signing => "signing",
            Self::Ready => "ready",
            Self::Retiring => "retiring",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Role {
    type Err = super::status::UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Signing, Self::Ready, Self::Retiring]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| super::status::UnknownWord(text.to_owned()))
    }
}

/// A token's CNAME in the customer's zone, as last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cname {
    /// It leads to its key.
    Right,
    /// It is missing or leads elsewhere.
    Wrong,
    /// Nobody could say, or nobody has looked.
    Unknown,
}

/// One of a claim's three keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// What it is for.
    pub role: Role,
    /// Since when.
    pub since: Timestamp,
    /// When this very key was first seen in the DNS.
    pub seen_at: Option<Timestamp>,
    /// No other key has ever stood behind its token, so none can be cached.
    pub first: bool,
    /// The customer's record.
    pub cname: Cname,
}

/// A claim's keys by the position of their tokens; none where it is still being made.
pub type Trio = [Option<Key>; 3];

/// The spans of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How long a key signs; none: until somebody asks for the next.
    pub rotate_every: Option<Duration>,
    /// How long a key behind a used token is seen in the DNS before it signs.
    pub publish_before: Duration,
    /// How long a key that has signed stays.
    pub retire_after: Duration,
}

/// What is to be done for a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing before this time.
    Rest(Timestamp),
    /// See whether the keys at these positions are in the DNS.
    Look(Vec<usize>),
    /// The key at `from` retires, the one at `to` signs.
    Rotate {
        /// The one that signed.
        from: usize,
        /// The one that signs.
        to: usize,
    },
    /// A fresh key for this position.
    Renew(usize),
}

/// Why no other key can sign now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotYet {
    /// Keys are still being made.
    Making,
    /// All others have signed not long ago; the first is replaced at this time at the earliest.
    Retiring(Timestamp),
    /// The CNAME of the one at this position is not right, as last seen.
    Cname(usize),
    /// The one at this position is not seen in the DNS.
    Unseen(usize),
    /// The one at this position was made not long ago, and signs from this time on.
    Fresh(usize, Timestamp),
}

/// The position of the key that signs.
pub fn signing(keys: &Trio) -> Option<usize> {
    position(keys, |key| key.role == Role::Signing)
}

/// The step that is due. `queued`: the oldest message under this domain that has not left, by the time it was queued.
/// `looked`: what is not seen now has just been looked for.
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

/// The key that can follow the one that signs, by schedule or on demand: that which has been ready for longest.
pub fn successor(keys: &Trio, plan: &Plan, now: Timestamp) -> Result<usize, NotYet> {
    let able = |key: &Key| key.role == Role::Ready && key.cname == Cname::Right && seen_for_long(key, plan, now);
    if let Some((at, _)) = each(keys).filter(|(_, key)| able(key)).min_by_key(|(at, key)| (key.since, *at)) {
        return Ok(at);
    }
    // The obstacle of the one that comes next; those of the others would be no help.
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

/// Who signs in place of a key whose CNAME is definitely not right: one whose CNAME is, and that verifiers can have.
pub fn stand_in(keys: &Trio, plan: &Plan, now: Timestamp) -> Option<usize> {
    let current = key(keys, signing(keys)?)?;
    if current.cname != Cname::Wrong {
        return None;
    }
    let right = |role: Role| move |key: &Key| key.role == role && key.cname == Cname::Right;
    position(keys, |key| right(Role::Ready)(key) && (key.first || seen_for_long(key, plan, now)))
        .or_else(|| position(keys, right(Role::Retiring)))
}

/// Whether a key that retires can go: its time is over, and no message that it may have signed waits to leave.
pub fn may_be_replaced(key: &Key, plan: &Plan, queued: Option<Timestamp>, now: Timestamp) -> bool {
    key.role == Role::Retiring
        && now >= key.since.after(plan.retire_after)
        && queued.is_none_or(|oldest| oldest > key.since.after(SLACK))
}

/// Whether two DKIM records have the same key: white space and the order of tags do not matter (RFC 6376 §3.2).
pub fn same_key(one: &str, other: &str) -> bool {
    dkim_key(one).is_some_and(|key| dkim_key(other) == Some(key))
}

/// Seen, and for so long that no older key of its token is cached anywhere.
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
