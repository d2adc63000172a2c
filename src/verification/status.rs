//! The verified_status machine: (state, what a check found, now) -> (state, change).
//!
//! Invariant: only definite answers change a status. A pending claim becomes verified when every required record is right,
//! and fails on a definite fault once its window is over. A verified claim fails when three definite faults of one
//! required record span the grace with no good answer between. Indefinite answers neither count nor reset.

#[cfg(test)]
pub(crate) mod model;
#[cfg(test)]
mod tests;

use super::records::RecordKey;
use crate::clock::Timestamp;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// At most one check of a domain in this time.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// Definite faults of one record before a verified claim can fail.
const FAULTS: u32 = 3;
/// Longest negative TTL that is waited for: RFC 2308 §5 finds one to three hours sensible.
const LONGEST_NEGATIVE_TTL: Duration = Duration::from_secs(3 * 3600);

/// `verified_status` of a custom domain. No other value exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum VerifiedStatus {
    /// Waiting for its records, inside a window.
    Pending,
    /// Its required records are right.
    Verified,
    /// The window ended, or the records broke for longer than the grace.
    Failed,
}

impl VerifiedStatus {
    /// As it stands in JSON and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Verified => "verified",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for VerifiedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for VerifiedStatus {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "pending" => Ok(Self::Pending),
            "verified" => Ok(Self::Verified),
            "failed" => Ok(Self::Failed),
            _ => Err(UnknownWord(text.to_owned())),
        }
    }
}

/// `on_unverified` of a custom domain: what happens to mail that should leave under it while it is not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUnverified {
    /// It leaves under the platform domain.
    #[default]
    Fallback,
    /// It is refused: 550 5.7.1.
    Reject,
    /// It is kept until the domain is verified.
    Hold,
}

impl OnUnverified {
    /// As it stands in JSON and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fallback => "fallback",
            Self::Reject => "reject",
            Self::Hold => "hold",
        }
    }
}

impl fmt::Display for OnUnverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for OnUnverified {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "fallback" => Ok(Self::Fallback),
            "reject" => Ok(Self::Reject),
            "hold" => Ok(Self::Hold),
            _ => Err(UnknownWord(text.to_owned())),
        }
    }
}

/// A word that is none of those expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of the words expected here")]
pub struct UnknownWord(pub String);

/// The spans of time the machine works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long a claim may stay pending before a definite fault fails it.
    pub window: Duration,
    /// How long the faults of a verified claim must last before it fails.
    pub grace: Duration,
    /// The pause between checks of a verified claim.
    pub recheck: Duration,
    /// The first pause between checks of a pending claim; it doubles.
    pub first_pause: Duration,
    /// The longest of those.
    pub longest_pause: Duration,
}

/// What a check found of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is right.
    Good,
    /// It is definitely not there, or definitely not right.
    Fault,
    /// Nobody could say.
    Indefinite,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Of each required record.
    pub required: Vec<(RecordKey, Finding)>,
    /// Another claim to the name is verified and its records still stand: this one has to wait.
    pub held_back: bool,
    /// How long caches keep the records that were not there.
    pub negative_ttl: Option<Duration>,
}

impl Outcome {
    fn all_good(&self) -> bool {
        !self.required.is_empty() && self.required.iter().all(|(_, finding)| *finding == Finding::Good)
    }

    fn first_fault(&self) -> Option<&RecordKey> {
        self.required.iter().find(|(_, finding)| *finding == Finding::Fault).map(|(record, _)| record)
    }
}

/// Definite faults of one record with no good answer between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultRun {
    /// When the first was seen.
    pub since: Timestamp,
    /// How many have been seen.
    pub count: u32,
}

/// Why a status changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Every required record is right.
    AllRight,
    /// The window was over and this record was still not right.
    WindowOver(RecordKey),
    /// The faults of this record have spanned the grace.
    GraceOver(RecordKey),
    /// The owner asked for a new verification.
    VerifyRequested,
    /// The records of another claim to the name have taken the place of this one's.
    Displaced,
}

/// A change of status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Before.
    pub from: VerifiedStatus,
    /// After.
    pub to: VerifiedStatus,
    /// Why.
    pub cause: Cause,
}

/// A check was asked for too soon after the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a domain is checked at most once in {} s", CHECK_INTERVAL.as_secs())]
pub struct TooSoon {
    /// When to ask again.
    pub retry_after: Duration,
}

/// All that the machine keeps of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The status.
    pub status: VerifiedStatus,
    /// When the window ends or ended, while pending.
    pub window_ends_at: Option<Timestamp>,
    /// Checks in this window: sets the pause.
    pub checks: u32,
    /// Faults of required records, while verified.
    pub faults: BTreeMap<RecordKey, FaultRun>,
    /// When it became verified last.
    pub verified_at: Option<Timestamp>,
    /// Inbound mail for the name is this claim's: it is verified, or has failed by a fault of its own records since and no
    /// other claim to the name has been verified after it.
    pub takes_mail: bool,
    /// When the last check began.
    pub check_started_at: Option<Timestamp>,
    /// When the next check is due; none while failed.
    pub next_check_at: Option<Timestamp>,
}

impl State {
    /// A new claim. Its first check waits a little: asked at once, the records cannot be there yet, and the caches would
    /// remember that they were not.
    pub fn created(now: Timestamp, policy: &Policy) -> Self {
        Self {
            status: VerifiedStatus::Pending,
            window_ends_at: Some(now.after(policy.window)),
            checks: 0,
            faults: BTreeMap::new(),
            verified_at: None,
            takes_mail: false,
            check_started_at: None,
            next_check_at: Some(now.after(policy.first_pause)),
        }
    }

    /// The first of the definite faults of a verified claim.
    pub fn degraded_since(&self) -> Option<Timestamp> {
        self.faults.values().map(|run| run.since).min()
    }

    /// When a verified claim fails at the earliest, if its faults stay.
    pub fn deadline(&self, policy: &Policy) -> Option<Timestamp> {
        self.degraded_since().map(|since| since.after(policy.grace))
    }

    /// The owner asks for a check: it is due now, on a failed claim in a new window.
    pub fn verify_requested(&self, now: Timestamp, policy: &Policy) -> Result<(Self, Option<Change>), TooSoon> {
        // A clock that was set back says nothing of how long ago that was.
        if let Some(started) = self.check_started_at.filter(|started| *started <= now) {
            let since = now.since(started);
            if since < CHECK_INTERVAL {
                return Err(TooSoon { retry_after: CHECK_INTERVAL.saturating_sub(since) });
            }
        }
        let mut next = self.clone();
        // The check counts from now on, also before it is taken up.
        next.check_started_at = Some(now);
        next.next_check_at = Some(now);
        if self.status != VerifiedStatus::Failed {
            return Ok((next, None));
        }
        next.window_ends_at = Some(now.after(policy.window));
        next.checks = 0;
        Ok(next.becomes(VerifiedStatus::Pending, Cause::VerifyRequested))
    }

    /// A check has settled. `spread` is a random number below 1000 that keeps claims apart.
    pub fn checked(&self, outcome: &Outcome, now: Timestamp, policy: &Policy, spread: u32) -> (Self, Option<Change>) {
        let mut next = self.clone();
        next.checks = self.checks.saturating_add(1);
        match self.status {
            VerifiedStatus::Failed => (next, None),
            VerifiedStatus::Pending => next.pending_checked(outcome, now, policy, spread),
            VerifiedStatus::Verified => next.verified_checked(outcome, now, policy, spread),
        }
    }

    /// Another claim to the name has become verified: a verified claim fails, and whatever its status it takes no mail again
    /// until it is verified anew.
    pub fn displaced(&self) -> (Self, Option<Change>) {
        let next = Self { takes_mail: false, ..self.clone() };
        match self.status {
            VerifiedStatus::Verified => next.becomes_failed(Cause::Displaced),
            VerifiedStatus::Pending | VerifiedStatus::Failed => (next, None),
        }
    }

    fn pending_checked(
        mut self,
        outcome: &Outcome,
        now: Timestamp,
        policy: &Policy,
        spread: u32,
    ) -> (Self, Option<Change>) {
        if outcome.all_good() && !outcome.held_back {
            self.window_ends_at = None;
            self.verified_at = Some(now);
            self.takes_mail = true;
            self.next_check_at = Some(now.after(recheck_pause(policy, spread)));
            return self.becomes(VerifiedStatus::Verified, Cause::AllRight);
        }
        // A check that began within the window ends after it where the clock jumps ahead: it says nothing of the end.
        let begun = self.check_started_at.unwrap_or(now);
        let over = self.window_ends_at.is_none_or(|end| begun >= end);
        if let (true, Some(record)) = (over, outcome.first_fault()) {
            return self.becomes_failed(Cause::WindowOver(record.clone()));
        }
        let doublings = self.checks.saturating_sub(1).min(31);
        let growing = policy.first_pause.saturating_mul(1 << doublings).min(policy.longest_pause);
        let negative = outcome.negative_ttl.unwrap_or_default().min(LONGEST_NEGATIVE_TTL);
        let pause = growing.max(negative).max(CHECK_INTERVAL);
        let next = now.after(pause + pause * spread.min(1000) / 10_000);
        // One check falls on the end of the window, so that it does not end late.
        let end = self.window_ends_at.filter(|end| *end >= now.after(CHECK_INTERVAL));
        self.next_check_at = Some(end.map_or(next, |end| end.min(next)));
        (self, None)
    }

    fn verified_checked(
        mut self,
        outcome: &Outcome,
        now: Timestamp,
        policy: &Policy,
        spread: u32,
    ) -> (Self, Option<Change>) {
        // A record that is required no longer has no say.
        self.faults.retain(|record, _| outcome.required.iter().any(|(required, _)| required == record));
        let mut over = None;
        for (record, finding) in &outcome.required {
            match finding {
                Finding::Good => {
                    self.faults.remove(record);
                }
                Finding::Fault => {
                    let run = self.faults.entry(record.clone()).or_insert(FaultRun { since: now, count: 0 });
                    run.count = run.count.saturating_add(1);
                    if run.count >= FAULTS && now >= run.since.after(policy.grace) {
                        over.get_or_insert(record);
                    }
                }
                Finding::Indefinite => {}
            }
        }
        if let Some(record) = over {
            return self.becomes_failed(Cause::GraceOver(record.clone()));
        }
        let pause = recheck_pause(policy, spread);
        self.next_check_at = Some(match self.deadline(policy) {
            None => now.after(pause),
            // A fault is looked at more often, and once at its deadline.
            Some(deadline) => {
                let soon = now.after(pause.min(policy.grace / 6).max(CHECK_INTERVAL));
                if deadline >= now.after(CHECK_INTERVAL) { soon.min(deadline) } else { soon }
            }
        });
        (self, None)
    }

    fn becomes(mut self, to: VerifiedStatus, cause: Cause) -> (Self, Option<Change>) {
        let from = std::mem::replace(&mut self.status, to);
        self.faults.clear();
        self.checks = 0;
        (self, Some(Change { from, to, cause }))
    }

    fn becomes_failed(mut self, cause: Cause) -> (Self, Option<Change>) {
        self.window_ends_at = None;
        self.next_check_at = None;
        self.becomes(VerifiedStatus::Failed, cause)
    }
}

/// Up to a tenth shorter than the span, never longer.
fn recheck_pause(policy: &Policy, spread: u32) -> Duration {
    let tenth = policy.recheck / 10;
    policy.recheck.saturating_sub(tenth * spread.min(1000) / 1000).max(CHECK_INTERVAL)
}
