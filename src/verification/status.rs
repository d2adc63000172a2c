//! The verified_status state machine: (state, findings, now) -> (state, change). Invariant: only definite answers
//! change a status. A pending claim is verified when every required record is valid, and fails on a definite fault
//! after its window. A verified claim fails when at least three definite faults of one required record span the grace
//! period with no good answer between. Indefinite answers neither count nor reset.

#[cfg(test)]
pub(crate) mod model;
#[cfg(test)]
mod tests;

use super::records::RecordKey;
use crate::clock::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// Minimum time between checks of a domain.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// Definite faults of one record before a verified claim can fail.
const FAULTS: u32 = 3;
/// Maximum negative TTL that is waited for: RFC 2308 §5 recommends one to three hours.
const LONGEST_NEGATIVE_TTL: Duration = Duration::from_secs(3 * 3600);

/// `verified_status` of a custom domain.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum VerifiedStatus {
    /// Waiting for valid records within the window.
    Pending,
    /// Its required records are valid.
    Verified,
    /// The window ended, or the records were faulty for longer than the grace period.
    Failed,
}

/// `on_unverified` of a custom domain: what happens to mail from it while it is not verified.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, strum::Display, strum::EnumString, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum OnUnverified {
    /// It leaves under the platform domain.
    #[default]
    Fallback,
    /// It is refused: 550 5.7.1.
    Reject,
    /// It is held until the domain is verified.
    Hold,
}

/// The configured periods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long a claim may be pending before a definite fault fails it.
    pub window: Duration,
    /// How long faults of a verified claim must last before it fails.
    pub grace: Duration,
    /// The interval between checks of a verified claim.
    pub recheck: Duration,
    /// The first interval between checks of a pending claim; it doubles.
    pub first_pause: Duration,
    /// The maximum of these.
    pub longest_pause: Duration,
}

/// The finding about one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    Good,
    /// Definitely missing or invalid.
    Fault,
    /// No definite answer.
    Indefinite,
}

/// The result of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// For each required record.
    pub required: Vec<(RecordKey, Finding)>,
    /// Another claim to the name is verified and its records are still published: this one has to wait.
    pub held_back: bool,
    /// How long caches keep the missing records' negative answers.
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

/// Consecutive definite faults of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultRun {
    /// When the first was seen.
    pub since: Timestamp,
    pub count: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Every required record is valid.
    AllRight,
    /// The window ended with this record still invalid.
    WindowOver(RecordKey),
    /// The faults of this record have spanned the grace period.
    GraceOver(RecordKey),
    /// The owner requested verification.
    VerifyRequested,
    /// Another claim's records have replaced this one's.
    Displaced,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub from: VerifiedStatus,
    pub to: VerifiedStatus,
    pub cause: Cause,
}

/// A check was requested too soon after the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a domain is checked at most once every {} s", CHECK_INTERVAL.as_secs())]
pub struct TooSoon {
    /// When to try again.
    pub retry_after: Duration,
}

/// The state of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub status: VerifiedStatus,
    /// The end of the window, while pending.
    pub window_ends_at: Option<Timestamp>,
    /// Checks in this window; determines the interval.
    pub checks: u32,
    /// Faults of required records, while verified.
    pub faults: BTreeMap<RecordKey, FaultRun>,
    /// When it was last verified.
    pub verified_at: Option<Timestamp>,
    /// Inbound mail for the name belongs to this claim: it is verified, or has failed since by its own faults, and no
    /// other claim to the name has been verified after it.
    pub takes_mail: bool,
    /// When the last check started.
    pub check_started_at: Option<Timestamp>,
    /// When the next check is due; `None` while failed.
    pub next_check_at: Option<Timestamp>,
}

impl State {
    /// A new claim. Its first check is delayed: an immediate query would find nothing, and caches would keep the
    /// negative answer.
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

    /// The first definite fault of a verified claim.
    pub fn degraded_since(&self) -> Option<Timestamp> {
        self.faults.values().map(|run| run.since).min()
    }

    /// The earliest time at which a verified claim fails if its faults persist.
    pub fn deadline(&self, policy: &Policy) -> Option<Timestamp> {
        self.degraded_since().map(|since| since.after(policy.grace))
    }

    /// The owner requests a check: it is due now, for a failed claim in a new window.
    pub fn verify_requested(&self, now: Timestamp, policy: &Policy) -> Result<(Self, Option<Change>), TooSoon> {
        // After a clock was set back the time since the last check is unknown.
        if let Some(started) = self.check_started_at.filter(|started| *started <= now) {
            let since = now.since(started);
            if since < CHECK_INTERVAL {
                return Err(TooSoon { retry_after: CHECK_INTERVAL.saturating_sub(since) });
            }
        }
        let mut next = self.clone();
        // Counts as a check from now on, even before it starts.
        next.check_started_at = Some(now);
        next.next_check_at = Some(now);
        if self.status != VerifiedStatus::Failed {
            return Ok((next, None));
        }
        next.window_ends_at = Some(now.after(policy.window));
        next.checks = 0;
        Ok(next.becomes(VerifiedStatus::Pending, Cause::VerifyRequested))
    }

    /// A check has settled. `spread` is a random number below 1000 that distributes checks.
    pub fn checked(&self, outcome: &Outcome, now: Timestamp, policy: &Policy, spread: u32) -> (Self, Option<Change>) {
        let mut next = self.clone();
        next.checks = self.checks.saturating_add(1);
        match self.status {
            VerifiedStatus::Failed => (next, None),
            VerifiedStatus::Pending => next.pending_checked(outcome, now, policy, spread),
            VerifiedStatus::Verified => next.verified_checked(outcome, now, policy, spread),
        }
    }

    /// Another claim to the name has been verified: a verified claim fails, and in any status it receives no mail
    /// again until it is verified anew.
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
        // A check that started within the window may settle after it if the clock jumps: it does not decide the end.
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
        // One check is scheduled for the end of the window, so that it is not late.
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
        // A record that is no longer required has no effect.
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
            // A fault is checked more often, and once at its deadline.
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

/// At most a tenth shorter than the interval, never longer.
fn recheck_pause(policy: &Policy, spread: u32) -> Duration {
    let tenth = policy.recheck / 10;
    policy.recheck.saturating_sub(tenth * spread.min(1000) / 1000).max(CHECK_INTERVAL)
}
